"""The main scene: it builds for every robot, learns without findings, and stays within its budgets."""

import ast
import math
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from components.control import DofTarget
from components.episode import Done, Episode, PushTimer, Reward, Rewritten
from components.learning import Policy
from components.metrics import Score
from components.observation import Observation
from components.robot import Robot
from engine import SceneError, Simulation, build
from engine.ecs.component import num_bytes
from engine.ecs.constants import addresses
from engine.ecs.schedule import Entry, Observer
from engine.runner.flags import flat
from engine.runner.trial import reaching
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from engine.tools.profile import count_operations
from scenes import robots
from scenes.motion_tracking import CONFIGS
from tests.helpers import REPOSITORY, data_path, evaluated, needs_g1, shorter, tracking, tracking_scene

SMALL: dict[str, Any] = {"hidden": (16,), "physics_threads": 1}
NOT_COUNTED = {
    "begin_physics",
    "step_physics",
    "refresh_kinematics",
    "restart_physics",
    "act",
    "estimate_advantage",
    "improve_policy",
}


def small(rows: int = 8, **arguments: Any) -> Simulation:
    """The scene with few rows and a tiny network."""
    return build(tracking_scene(**{"robot": "humanoid", "clip": "squat", "num_envs": rows, **SMALL, **arguments}))


@pytest.mark.parametrize(("name", "most"), [("motion_tracking", 80), ("replay_motion", 50), ("cartpole", 145)])
def test_a_scene_is_read_in_two_minutes(name: str, most: int) -> None:
    text = (REPOSITORY / "scenes" / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= most
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert not [
        inner.name for f in functions for inner in ast.walk(f) if isinstance(inner, ast.FunctionDef) and inner is not f
    ]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_named_configuration_trains_plays_and_has_a_help_for_every_number(name: str) -> None:
    made = tracking(name, robot="humanoid", clip="stand", num_envs=2, physics_threads=1, hidden=(8,), horizon=3)
    simulation = build(made.train())
    simulation.run(5)
    assert made.evaluate is not None and made.film is not None
    for trial in (made.evaluate, made.film):
        playing = build(trial.scene())
        restore(playing.world, save(simulation.world), only=trial.restores)
        playing.run(2)
    flags = flat(CONFIGS[name])
    assert not [flag.text for flag in flags.values() if not (flag.help() if callable(flag.help) else flag.help)]


def test_what_a_trial_binds_is_not_overridden_and_everything_else_is() -> None:
    made = tracking(robot="humanoid", clip="stand", num_envs=2, **SMALL)
    assert made.evaluate is not None
    typed = {
        "tracking.observe.noisy": "True",
        "tracking.draw_motion.start_share": "0.5",
        "tracking.reset_to_reference.joint": "0.5",
        "ppo.improve_policy.epochs": "1",
        "tracking.terminate.anchor_height.most": "0.5",
    }
    known = addresses(made.train().bundles)
    reached = reaching({a: v for a, v in typed.items() if a in known}, made.train(), made.evaluate.scene())
    assert "tracking.terminate.anchor_height.most" in reached
    assert not {"tracking.observe.noisy", "tracking.draw_motion.start_share", "tracking.reset_to_reference.joint"} & {
        *reached
    }
    bias = [address for address in known if address.startswith("randomization.") and "bias" in address]
    assert bias and [*reaching(dict.fromkeys(bias, "0.2"), made.train(), made.evaluate.scene())] == bias


@needs_g1
def test_observation_widths_of_the_g1_are_the_published_ones() -> None:
    world = small(2, robot="g1").world
    assert world[Observation].actor.shape == (2, 160)
    assert world[Observation].critic.shape == (2, 286)


def test_audited_ticks_of_learning_have_no_findings() -> None:
    simulation = small(horizon=5)
    audit = Audit(simulation.schedule)
    simulation.run(12)
    assert simulation.world.clock.tick > 2 * 5  # learned twice
    assert [finding.text for finding in audit.findings] == []


def test_the_worst_tick_stays_within_three_hundred_operations() -> None:
    simulation = small(horizon=1000)
    simulation.run(4)
    world = simulation.world
    counted = []
    for _ in range(4):  # every fourth tick counts tracking errors as well
        world[Episode].step[0] = 10_000  # runs out of time
        world[PushTimer].wait[1] = 1  # is pushed
        costs = count_operations(simulation.schedule)
        assert bool(world[Done].truncated[0]) and bool(world[PushTimer].due[1])
        counted.append(sum(c.operations for (_, name), c in costs.items() if name not in NOT_COUNTED))
    assert max(counted) <= 300


@needs_g1
def test_columns_of_4096_rows_take_less_than_four_gigabytes() -> None:
    made = build(tracking_scene(robot="g1", num_envs=2, physics_threads=1)).world  # real networks, two rows
    axes = made.tables["robot"].axes
    need = sum(num_bytes(cls, 4096, axes) for _, cls in made.components)
    assert need < 2 * 2**30  # simulations take 0.1 GiB and one update's scratch 0.2 GiB beside this


def test_truncated_rows_keep_what_the_critic_would_have_seen() -> None:
    """The kept observation equals the ordinary one of a world in which the same row is not cut off."""
    from components.learning import Rollout

    cut, whole = small(horizon=1000), small(horizon=1000)
    for simulation in (cut, whole):
        simulation.run(4)
        simulation.world[PushTimer].wait.fill_(1000)
    going_on = ~whole.world[Rewritten].rows
    cut.world[Episode].step.fill_(10_000)
    for simulation in (cut, whole):
        simulation.run(1)
    compared = going_on & cut.world[Done].truncated & ~whole.world[Done].ended
    assert bool(compared.any())
    kept = cut.world[Rollout].final_critic[:, (cut.world.clock.tick - 1) % 1000]
    torch.testing.assert_close(kept[compared], whole.world[Observation].critic[compared], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("control", ["P", "V", "T"])
def test_explicit_controllers_run_every_substep(control: str) -> None:
    simulation = small(control=control, around="reference" if control == "P" else "default", substeps=4)
    seen: list[str] = []

    def note(entry: Entry) -> None:
        seen.append(entry.name)

    simulation.run(2)
    simulation.schedule.attach(Observer(after_entry=note))
    simulation.run(1)
    assert seen.count("compute_torque") == seen.count("step_physics") == 4


def test_evaluation_scores_every_row_once_and_is_repeatable() -> None:
    made = shorter(tracking(robot="humanoid", clip="squat,wave", num_envs=4, **SMALL), ticks=60)
    simulation = build(made.train())
    simulation.run(2)
    first, second = (evaluated(made, save(simulation.world), seed=3) for _ in range(2))
    assert first == second
    assert [row["clip"] for row in first["table"]] == ["squat", "wave", "all"]
    assert sum(row["episodes"] for row in first["table"][:2]) == 64
    assert all(math.isfinite(v) for v in first["summary"].values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip": "squad"}, "squad"),
        ({"robot": "g2"}, "g2"),
        ({"backend": "mujoko"}, "mujoko"),
        ({"num_envs": 0}, "at least 1"),
        ({"num_envs": -3}, "-3"),
        ({"substeps": 0}, "substeps=0"),
        ({"seconds": 0.0}, "seconds=0.0"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: dict[str, Any], message: str) -> None:
    from engine import LockstepError

    with pytest.raises(LockstepError, match=message) as caught:
        small(**arguments)
    assert "\n" not in str(caught.value)


def test_absurd_numbers_of_rows_are_refused_before_allocating() -> None:
    with pytest.raises(SceneError, match=r"memory|GiB"):
        small(2_000_000_000)


@pytest.fixture(
    params=[
        "asap_g1_23dof/asap_kick_level1.pkl",
        "kimodo_g1_29dof/kimodo_wave.csv",
        "kimodo_g1_29dof/kimodo_walk_50hz.npz",
    ]
)
def real_clip(request: pytest.FixtureRequest) -> str:
    """Real clips of every format."""
    return str(data_path("motions", request.param))


def test_any_mjcf_file_with_a_free_joint_and_torque_limits_trains(tmp_path: Path) -> None:
    description = robots.load("humanoid")
    own = small().world[Robot]
    pose = [0, 0, own.default_height, 1, 0, 0, 0, *own.default_position.tolist()]
    assert callable(description.model)
    text = description.model().replace('armature="0.01"', 'armature="0.01" actuatorfrcrange="-60 60"')
    file = tmp_path / "somebody.xml"
    key = f"<keyframe><key qpos='{' '.join(map(str, pose))}'/></keyframe>"
    file.write_text(text.replace("</mujoco>", f"{key}</mujoco>"))
    simulation = small(robot=str(file), clip="stand", horizon=4)
    simulation.run(9)
    assert simulation.world[Robot].name == "somebody"
    assert simulation.world[Robot].end_effectors == simulation.world[Robot].foot_names


def test_other_devices_than_the_processor_are_refused() -> None:
    with pytest.raises(SceneError, match="simulates in host memory"):
        small(device="cuda:0")


@needs_g1
def test_real_clips_of_every_format_train(real_clip: str) -> None:
    made = build(tracking_scene(clip=real_clip, num_envs=4, horizon=4, **SMALL))
    made.run(9)
    assert len(made.world.tables["robot"].axes["dof"]) == (23 if real_clip.endswith("pkl") else 29)
    assert all(bool(p.isfinite().all()) for p in made.world[Policy].actor.parameters())
    assert Score not in {cls for _, cls in made.world.components}


def test_a_row_whose_simulation_fails_is_put_aside_and_the_others_do_not_notice() -> None:
    sound, broken = small(horizon=4), small(horizon=4)
    for simulation in (sound, broken):
        simulation.run(6)

    def poison(entry: Entry) -> None:
        if entry.name == "aim_around_reference":
            broken.world[DofTarget].position[2] = math.nan

    broken.schedule.attach(poisoning := Observer(after_entry=poison))
    for simulation in (sound, broken):
        simulation.run(1)
    broken.schedule.detach(poisoning)
    reasons = broken.world.tables["robot"].axes["termination"]
    assert broken.world[Done].reason[:, reasons.index("diverged")].tolist() == [i == 2 for i in range(8)]
    assert float(broken.world[Reward].total[2]) == 0.0
    for address, column in broken.world.columns().items():
        if column.is_floating_point() and "DofTarget" not in address:
            assert bool(column.isfinite().all()), address
    others = [0, 1, 3, 4, 5, 6, 7]
    for name in ("robot.DofState.position", "robot.RootState.rotation", "robot.Observation.actor"):
        assert torch.equal(sound.world.columns()[name][others], broken.world.columns()[name][others])
    broken.run(8)
    assert all(bool(p.isfinite().all()) for p in broken.world[Policy].actor.parameters())


def test_an_evaluation_ends_with_the_last_episode_and_measures_what_it_would_have() -> None:
    made = shorter(tracking(robot="humanoid", clip="squat", num_envs=2, **SMALL), ticks=100)
    data = save(build(made.train()).world)
    assert made.evaluate is not None and made.evaluate.over is not None
    whole = attrs.evolve(made, evaluate=attrs.evolve(made.evaluate, over=None))
    found, ticks = [], []
    for each in (made, whole):
        shares: list[float] = []
        fall = {"tracking.terminate.end_effector_height.most": "0.003"}
        found.append(evaluated(each, data, overrides=fall, progress=shares.append))
        ticks.append(len(shares) - 1)
    assert found[0] == found[1] and found[0]["summary"]["success %"] == 0.0
    assert ticks[0] < 0.5 * ticks[1] == 0.5 * made.evaluate.ticks
