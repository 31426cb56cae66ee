"""--randomise: the published sets with their numbers, what joins and takes away, and what is refused."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.observation import Observation
from components.randomization import Drawn
from engine import SceneError, Simulation, build, term
from engine.snapshot.snapshot import restore, save
from scenes.tasks import randomisation as names
from scenes.tasks.g1 import g1_observations
from scenes.tasks.humanoidverse import humanoidverse_observations
from scenes.tasks.randomisation import Delay, chosen, drawing, motors, sets, through_imu
from systems import observations as seen
from systems.draws.draw import Draw
from systems.pushes import Push
from tests.helpers import tracking, tracking_scene
from tests.systems.task_rows import small_robot

KNOWN = sets(("foot",), ("torso",), ("root",))
SMALL: dict[str, Any] = {
    "robot": "humanoid", "clip": "stand", "num_envs": 4, "hidden": (8,), "horizon": 6, "physics_threads": 1
}  # fmt: skip


def small(config: str = "laptop", ticks: int = 3, **numbers: Any) -> Simulation:
    simulation = build(tracking_scene(config, **{**SMALL, **numbers}))
    simulation.run(ticks)
    return simulation


def test_the_numbers_of_the_mjlab_task_are_the_published_ones() -> None:
    terms = KNOWN["mjlab_tracking"]
    assert terms["push"] == Push((1.0, 3.0), (0.5, 0.5, 0.2), (0.52, 0.52, 0.78), replace=False)
    assert terms["torso_com"] == Draw(
        "body_com", ((-0.025, 0.025), (-0.05, 0.05), (-0.05, 0.05)), ("torso",), operation="add"
    )
    assert terms["encoder_bias"] == Draw("encoder_bias", (-0.01, 0.01), operation="add")
    assert terms["foot_friction"] == Draw("friction", (0.3, 1.2), ("foot",), shared=True)
    assert len(terms) == 4


def test_the_numbers_of_humanoidverse_are_the_published_ones() -> None:
    terms = KNOWN["humanoidverse"]
    assert terms["push"] == Push((5.0, 10.0), (1.0, 1.0, 0.0), (0.0, 0.0, 0.0), replace=True)
    assert terms["torso_com"] == Draw("body_com", ((-0.1, 0.1),) * 3, ("torso",), operation="add")
    assert terms["link_mass"] == Draw("body_mass", (0.8, 1.2), names.LINKS, operation="scale")
    for gain in ("stiffness", "damping"):
        assert terms[gain] == Draw(gain, (0.75, 1.25), operation="scale", when="reset")
    assert terms["friction"] == Draw("friction", (0.5, 1.25), shared=True)
    assert terms["torque_noise"] == Draw("torque_noise", (0.05, 0.15), when="reset")  # 0.1 × 0.5 … 1.5
    assert terms["control_delay"] == Delay((0, 2))
    assert len(terms) == 8


def test_the_numbers_of_the_velocity_tasks_are_the_published_ones() -> None:
    go1 = KNOWN["go1_velocity"]
    assert go1["foot_friction"] == Draw("friction", (0.3, 1.5), ("foot",), shared=True)
    assert go1["foot_torsional_friction"] == Draw(
        "torsional_friction", (1e-4, 2e-2), ("foot",), "log_uniform", shared=True
    )
    assert go1["foot_rolling_friction"] == Draw("rolling_friction", (1e-5, 5e-3), ("foot",), "log_uniform", shared=True)
    for terms in (go1, KNOWN["mjlab_velocity"]):
        assert terms["push"] == Push((1.0, 3.0), (0.5, 0.5, 0.4), (0.52, 0.52, 0.78))
        assert terms["encoder_bias"] == Draw("encoder_bias", (-0.015, 0.015), operation="add")
        assert terms["torso_com"] == Draw(
            "body_com", ((-0.025, 0.025), (-0.025, 0.025), (-0.03, 0.03)), ("torso",), operation="add"
        )


def test_the_set_of_gains_has_the_published_range() -> None:
    assert KNOWN["gains"] == {gain: Draw(gain, (0.9, 1.1), operation="scale") for gain in ("stiffness", "damping")}


def test_names_are_joined_and_taken_away_from_left_to_right() -> None:
    assert chosen("none", KNOWN) == {}
    assert chosen("gains", KNOWN) == KNOWN["gains"]
    assert list(chosen("mjlab_tracking,-push", KNOWN)) == ["torso_com", "encoder_bias", "foot_friction"]
    mixed = chosen("mjlab_tracking,-push,humanoidverse.push,gains.stiffness,gravity", KNOWN)
    assert mixed["push"] == KNOWN["humanoidverse"]["push"] and mixed["stiffness"] == KNOWN["gains"]["stiffness"]
    assert mixed["gravity"] == KNOWN["extra"]["gravity"] and "damping" not in mixed
    assert chosen("mjlab_tracking,beyondmimic.push", KNOWN) == KNOWN["mjlab_tracking"]  # the same twice is one


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mjlab", "randomise=mjlab: there is no set or term 'mjlab'; sets are mjlab_tracking, beyondmimic,"),
        ("none,gains", "randomise=none,gains: there is no set or term 'none'; sets are"),
        ("mjlab.push", "randomise=mjlab.push: there is no set 'mjlab'; there are mjlab_tracking,"),
        ("gains.push", "randomise=gains.push: there is no set or term 'gains.push';"),
        ("-push", "randomise=-push: '-push' takes away what is not there; before it stand none."),
        ("push", "randomise=push: 'push' differs from set to set; write mjlab_tracking.push or beyondmimic.push or"),
        ("", "randomise=: there is no set or term '';"),
    ],
)  # fmt: skip
def test_names_that_mean_nothing_are_refused(text: str, words: str) -> None:
    with pytest.raises(SceneError) as error:
        tracking(randomise=text)
    assert str(error.value).startswith(words)


def test_two_sets_that_say_one_term_differently_are_refused_and_the_cure_can_be_typed() -> None:
    with pytest.raises(SceneError) as error:
        chosen("gains,pbhc,extra", KNOWN)
    text = str(error.value)
    assert text.startswith(
        "randomise=gains,pbhc,extra: gains and pbhc both say `stiffness`, and differently. Choose the second:"
    )
    for _ in range(5):  # one term after the other
        try:
            found = chosen(text.rpartition("--randomise ")[2].rstrip("."), KNOWN)
            break
        except SceneError as error:
            text = str(error)
    assert found["stiffness"] == KNOWN["pbhc"]["stiffness"] and found["damping"] == KNOWN["pbhc"]["damping"]


WORDS = st.sampled_from([*KNOWN, "none", "-push", "humanoidverse.push", "encoder_bias", "foot", "", "extra.gravity"])


@given(st.lists(WORDS, max_size=5))
@settings(deadline=None, max_examples=200)
def test_whatever_is_typed_gives_terms_or_a_sentence(words: list[str]) -> None:
    text, found = "", {}
    try:
        found = chosen(",".join(words), KNOWN)
    except SceneError as error:
        text = str(error)
    assert all(isinstance(each, (Draw, Push, Delay)) for each in found.values())
    assert not text or (text.startswith("randomise=") and text.endswith((".", "?")))


def test_what_motors_are_asked_for_is_delay_and_noise() -> None:
    assert motors("none", small_robot()) == {}
    assert motors("humanoidverse", small_robot()) == {"latency": (0, 2), "torque_noise": pytest.approx(0.15)}


def test_pushes_are_as_strong_as_robustness_says() -> None:
    push = drawing("mjlab_tracking", small_robot(), 0.1)["push"]
    assert isinstance(push, Push) and push.linear == pytest.approx((0.05, 0.05, 0.02))
    assert "push" not in drawing("mjlab_tracking", small_robot(), 0.0)


@pytest.mark.parametrize("name", [n for n in KNOWN if n != "go1_velocity"])
def test_every_set_runs(name: str) -> None:
    control = {"control": "P", "substeps": 6} if name in ("humanoidverse", "pbhc") else {}
    world = small(randomise=name, robustness=1.0, **control).world
    assert (world[Drawn].value.std(0) > 0.0).sum() >= world[Drawn].value.shape[1] - 28  # what link_inertia leaves alone
    assert bool(world[Observation].actor.isfinite().all())


def test_feet_that_feel_no_torsion_cannot_have_another() -> None:
    with pytest.raises(
        SceneError, match="foot_torsional_friction: torsional_friction has no effect on left_ankle_roll_link:0"
    ):
        small(randomise="go1_velocity")


def test_the_critic_sees_what_was_drawn_and_a_played_policy_needs_none_of_it() -> None:
    made = tracking(**SMALL, randomise="mjlab_tracking,control_delay", privileged=True)
    simulation = build(made.train())
    simulation.run(5)
    plain = small(randomise="mjlab_tracking,control_delay").world[Observation].critic.shape[1]
    world = simulation.world
    assert world[Observation].critic.shape[1] == plain + world[Drawn].value.shape[1] + 1
    assert world[Observation].actor.shape[1] == small(randomise="none").world[Observation].actor.shape[1]
    assert made.evaluate is not None
    for drawn in ("none", "mjlab_tracking", "humanoidverse.torso_com,control_delay"):
        other = tracking(**SMALL, randomise="mjlab_tracking,control_delay", privileged=True, randomise_played=drawn)
        assert other.evaluate is not None
        playing = build(other.evaluate.scene())
        restore(playing.world, save(world), only=other.evaluate.restores)
        playing.run(3)


def test_what_is_drawn_where_a_policy_is_played_is_said_apart() -> None:
    made = tracking(**SMALL, randomise="mjlab_tracking", randomise_played="gains")
    assert made.evaluate is not None and made.film is not None
    for trial in (made.evaluate, made.film):
        playing = build(trial.scene())
        playing.run(2)
        labels = playing.world.tables["robot"].axes["draw"]
        assert {label.partition("[")[0] for label in labels} == {"stiffness", "damping"}


def test_a_critic_with_nothing_to_see_is_refused() -> None:
    with pytest.raises(SceneError) as error:
        small(randomise="none", privileged=True)
    assert str(error.value) == (
        "privileged=True has no effect with randomise=none: nothing is drawn. Choose --randomise mjlab_tracking."
    )


@pytest.mark.parametrize("terms", [g1_observations(), humanoidverse_observations()])
def test_an_askew_imu_changes_what_the_actor_sees_and_no_width(terms: Any) -> None:
    found = through_imu(terms)
    functions = {name: each.function for name, each in found.items()}
    asked = [n for n, e in terms.items() if e.function in (seen.base_angular_velocity, seen.projected_gravity)]
    for name in asked:
        assert functions[name] in (seen.imu_angular_velocity, seen.imu_gravity)
        assert found[name].settings["groups"] == ("actor",) and found[name].settings.get("noise") == terms[
            name
        ].settings.get("noise")
        assert functions[f"true_{name}"] is terms[name].function and found[f"true_{name}"].settings["groups"] == (
            "critic",
        )
    assert asked and len(found) == len(terms) + len(asked)
    for config in ("laptop", "humanoidverse_tracking"):
        one, other = (
            small(config, control="P", substeps=6, randomise=text).world[Observation]
            for text in ("none", "imu_mounting")
        )
        assert (one.actor.shape, one.critic.shape) == (other.actor.shape, other.critic.shape)
        assert not torch.equal(one.actor, other.actor)


def test_only_what_the_critic_sees_is_left_alone_by_the_imu() -> None:
    terms = {"spin": term(seen.base_angular_velocity, groups=("critic",))}
    assert through_imu(terms) == terms
