"""Sets of locomotion by name: terms of one published task in another, and what is refused."""

from typing import Any

import pytest

from components.episode import Done, PenaltyScale, Reward, SoftLimits
from components.robot import Flight, FootState
from engine import SceneError, Simulation, build
from engine.tools.audit import Audit
from scenes.velocity import CONFIGS, experiment
from tests.helpers import go1, needs_g1

SMALL: dict[str, Any] = {"num_envs": 2, "hidden": (8,), "horizon": 4, "physics_threads": 1}


def walking(config: str = "laptop", **numbers: Any) -> Simulation:
    """The scene of a configuration with other sets, built with few rows."""
    return build(experiment(CONFIGS[config].replace(**{"robot": "humanoid", **SMALL, **numbers})).train())


@needs_g1
def test_a_task_takes_the_rewards_and_ends_of_another_and_brings_what_they_read() -> None:
    plain = walking(robot="g1_humanoidverse")
    assert (
        not {PenaltyScale, SoftLimits} & plain.world.resources.keys()
        and ("robot", Flight) not in plain.world.components
    )
    both = "mjlab_velocity,-foot_slip,humanoidverse_locomotion.penalty_slippage,feet_air_time,limits_dof_pos"
    mixed = walking(robot="g1_humanoidverse", rewards=both, terminations="humanoidverse_locomotion")
    audit = Audit(mixed.schedule)
    mixed.run(6)
    axes = mixed.world.tables["robot"].axes
    assert axes["reward"][-4:] == ("penalty_slippage", "feet_air_time", "limits_dof_pos", "gait_contact")
    assert "foot_slip" not in axes["reward"] and axes["termination"] == ("terminate_by_gravity", "diverged", "time_out")
    assert float(mixed.world[PenaltyScale].value) == pytest.approx(0.1) and ("robot", Flight) in mixed.world.components
    assert bool(mixed.world[Reward].terms.isfinite().all()) and audit.findings == []


@needs_g1
def test_the_published_task_of_humanoidverse_is_seen_as_mjlab_sees() -> None:
    made = walking("humanoidverse_locomotion", robot="g1", observations="mjlab_velocity,-feet_force", robustness=0.5)
    made.run(2)
    seen = made.world.tables["robot"].axes["critic_observation"]
    assert not [label for label in seen if label.startswith("feet_force")]
    assert ("robot", FootState) in made.world.components


@needs_g1
@pytest.mark.parametrize("robot", ["g1", "h1", "t1", "go1"])
def test_a_walker_may_end_by_what_humanoidverse_leaves_off(robot: str) -> None:
    """While it stands, nothing of it ends an episode."""
    made = walking(
        robot=go1() if robot == "go1" else robot,
        terminations="mjlab_velocity,terminate_by_contact,terminate_by_low_height",
    )
    made.run(3)
    assert made.world.tables["robot"].axes["termination"][3:] == ("terminate_by_contact", "terminate_by_low_height")
    assert not bool(made.world[Done].reason[:, 3:].any())


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"rewards": "mjlab"}, "rewards=mjlab: there is no set or term 'mjlab'; sets are mjlab_velocity, from_afar"),
        (
            {"rewards": "posture"},
            "rewards=posture: 'posture' differs from set to set; write mjlab_velocity.posture or from",
        ),
        ({"rewards": "none"}, "rewards=none leaves nothing; choose a set, such as --rewards mjlab_velocity."),
        (
            {"rewards": "humanoidverse_locomotion"},
            "HumanoidVerse has weights for the G1, the H1 and the Go2, and none for 'hu",
        ),
        ({"rewards": "base_height"}, "rewards=base_height: there is no set or term 'base_height'"),
        ({"observations": "height_scan"}, "observations=height_scan: there is no set or term 'height_scan'"),
        (
            {"terminations": "tipped,-diverged"},
            "terminations=tipped,-diverged: '-diverged' takes away what is not there",
        ),
        (
            {"observations": "humanoidverse_locomotion", "randomise": "none", "robustness": 0.5},
            "robustness=0.5 has no effect: no observation has sensor noise, and nothing pushes.",
        ),
    ],
)
def test_what_means_nothing_or_two_things_is_refused(numbers: dict[str, Any], words: str) -> None:
    with pytest.raises(SceneError) as error:
        walking(**numbers)
    assert str(error.value).startswith(words)


def test_a_term_of_weight_0_is_no_part_of_the_scene() -> None:
    axes = walking(gait_weight=0.0).world.tables["robot"].axes
    assert "gait_contact" not in axes["reward"]
