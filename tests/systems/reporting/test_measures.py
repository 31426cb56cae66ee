"""Measures of episodes are worked out by hand on two bodies, two joints and two feet."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from components.command import Command
from components.control import Action, DofTarget, DofTorque, PdGains
from components.episode import Done
from components.episode_log import CommandLog, FootLog, ReferenceLog, RobotLog, TorqueLog
from components.motion import MotionCursor, MotionReference, TrackedState
from components.physics import Physics
from components.robot import BaseFrame, BodyState, Contact, DofState, Robot, RootState
from components.side_by_side import Simulator
from engine.ecs.world import Clock
from scenes import robots
from systems.episode_log import episode_log, log_feet, log_robot, log_servo_torque, sole_points
from systems.reporting.measures import COMMANDS, Episodes, find_failures, frame_measures, measure_episodes
from systems.robots.model import RobotModel, build_robot
from tests.systems.task_rows import small_robot

DT = 0.02
AXES = {"frame": 6, "dof": 2, "tracked": 2, "foot": 2, "termination": ("fallen", "late"), "body": 4}


def played(frames: tuple[int, ...] = (6,), **logs: Any) -> Episodes:
    """Episodes of so many frames, of which as many rows as frames are given failed where `failed` says so."""
    rows = len(frames)
    robot = {"frames": list(frames), "running": [False] * rows, "failed": logs.pop("failed", [False] * rows)}
    reason = logs.pop("reason", None)
    made = RobotLog.make(rows, AXES, **robot, **({"reason": reason} if reason else {}), **logs.pop("robot", {}))
    more: dict[str, Any] = {
        "clips": (COMMANDS,),
        "clip": torch.zeros(rows, dtype=torch.int64),
        "clip_frames": torch.zeros(1).long(),
    }
    return Episodes(
        dt=DT,
        robot=made,
        joints=("hip", "knee"),
        feet=("left", "right"),
        reasons=("fallen", "late"),
        **{**more, **logs},
    )


def built(name: str) -> RobotModel:
    return build_robot(robots.load(name), control="servo", dt=0.005)


def shifted(rows: int, by: float) -> Tensor:
    """(rows, 6, 2, 3) places of two bodies above each other, moved along x."""
    body = torch.tensor([[by, 0.0, 0.0], [by, 0.0, 1.0]])
    return body.expand(rows, 6, 2, 3).clone()


def beside(rows: int = 1, by: float = 0.0, **more: Any) -> dict[str, Any]:
    """A reference that the robot misses by so many m, in clips of seven frames: six control steps."""
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(rows, 6, 2, 4).tolist()
    columns = {
        "position": shifted(rows, by).tolist(), "rotation": upright, "reference_position": shifted(rows, 0.0).tolist(),
        "reference_rotation": upright, "time": [[DT * (n + 1) for n in range(6)]] * rows, **more,
    }  # fmt: skip
    return {
        "reference": ReferenceLog.make(rows, AXES, **columns), "clips": ("walk",), "clip_frames": torch.tensor([7]),
        "ends": torch.tensor([1]), "tracked_feet": torch.tensor([0, 1]),
    }  # fmt: skip


def test_only_frames_of_the_first_episode_count_and_frames_weigh_alike() -> None:
    speeds = torch.zeros(2, 6, 2)
    speeds[0, :, 0], speeds[1] = 3.0, 9.0
    rows = measure_episodes(played((6, 2), robot={"dof_velocity": speeds.tolist()}))
    assert_close(rows[0]["joint speed L2 rad/s"], (6 * 3.0 + 2 * 9.0 * math.sqrt(2)) / 8)
    assert_close(rows[0]["length s"], DT * (6 + 2) / 2)


def test_jerk_and_acceleration_are_differences_of_joint_speeds() -> None:
    speeds = [[[0.0, 0.0], [0.1, 0.0], [0.4, 0.0], [0.4, 0.0], [0.4, 0.0], [0.4, 0.0]]]
    (row,) = measure_episodes(played(robot={"dof_velocity": speeds}))
    assert_close(row["joint acceleration L2 rad/s²"], (0.1 + 0.3) / DT / 5, rtol=1e-4, atol=0.0)
    jerks = (0.2 + 0.3) / DT**2 / 4  # of one joint; the other rests
    assert_close(row["joint jerk L2 rad/s³"], jerks, rtol=1e-4, atol=0.0)
    assert_close(row["joint jerk rad/s³"], jerks / 2, rtol=1e-4, atol=0.0)
    assert row["jerky frames %"] == 0.0


def test_a_motion_that_stays_beside_its_reference_is_off_globally_only() -> None:
    (row,) = measure_episodes(played(**beside(by=0.3)))
    assert_close(row["MPJPE global mm"], 300.0, rtol=1e-5, atol=0.0)
    for name in ("MPJPE local mm", "R-MPKPE mm", "MPJPE procrustes mm", "end effectors mm", "velocity mm/frame"):
        assert row[name] == pytest.approx(0.0, abs=1e-2)
    assert row["success %"] == row["success 0.5 m %"] == row["success height, tilt %"] == row["completion %"] == 100.0
    assert row["survival 0.7 m %"] == 100.0 and row["clip length s"] == pytest.approx(6 * DT)
    assert row["MPJPE global mm (succeeded)"] == row["MPJPE global mm"]


def test_far_and_low_episodes_do_not_succeed_by_the_rules_for_them() -> None:
    place = shifted(3, 0.0)
    place[0, 3:, :, 0] = 0.6  # beyond half a metre
    place[1, 4:, :, 0] = 0.8  # and beyond 0.7 m
    place[2, 2, :, 2] -= 0.26  # too low for one frame
    (row,) = measure_episodes(played((6, 6, 6), **beside(3, position=place.tolist())))
    assert row["success %"] == 100.0
    assert row["success 0.5 m %"] == pytest.approx(100 / 3)
    assert row["success height, tilt %"] == pytest.approx(200 / 3)
    assert row["survival 0.7 m %"] == pytest.approx(100 * (6 + 4 + 6) / 18)


def test_an_episode_that_failed_ends_its_errors_and_is_said_where_and_why() -> None:
    place = shifted(2, 0.0)
    place[0, :2, :, 0], place[0, 2:, :, 0] = 0.1, 9.0
    episodes = played(
        (2, 6), failed=[True, False], reason=[[True, False], [False, False]], **beside(2, position=place.tolist())
    )
    (row,) = measure_episodes(episodes)
    assert row["success %"] == 50.0 and row["completion %"] == pytest.approx(100 * (2 + 6) / 12)
    assert row["MPJPE global mm"] == pytest.approx((2 * 100.0 + 6 * 0.0) / 8, rel=1e-5)
    assert row["MPJPE global mm (succeeded)"] == 0.0
    (failure,) = find_failures(episodes)
    assert failure["clip"] == "walk" and failure["row"] == 0 and failure["why"] == ["fallen"]
    assert failure["time s"] == pytest.approx(2 * DT)


def test_joints_are_off_by_their_mean_their_norm_and_the_changes_of_both() -> None:
    angles = torch.zeros(1, 6, 2)
    angles[0, :, 0], angles[0, 3:, 1] = 0.3, 0.4
    (row,) = measure_episodes(played(robot={"dof_position": angles.tolist()}, **beside()))
    assert row["joints rad"] == pytest.approx((3 * 0.15 + 3 * 0.35) / 6)
    assert row["joints L2 rad"] == pytest.approx((3 * 0.3 + 3 * 0.5) / 6)
    assert row["joint velocity L2 mrad/frame"] == pytest.approx(1e3 * 0.4 / 5)
    assert row["joint acceleration L2 mrad/frame²"] == pytest.approx(1e3 * (0.4 + 0.4) / 4)


def test_a_reference_foot_is_down_while_it_is_low_and_slow_and_contacts_are_compared_with_that() -> None:
    reference = shifted(1, 0.0)
    reference[0, 2:4, 0, 2] = 0.1  # the left foot is lifted in two frames
    reference[0, 5, 1, 0] = 0.1  # the right one slides in the last, by 5 m/s
    given = beside(reference_position=reference.tolist())
    touching = [[[True, True]] * 6]
    episodes = played(foot=FootLog.make(1, AXES, touching=touching), **given)
    down = episodes.reference_down
    assert down is not None
    assert down[0, :, 0].tolist() == [True, True, False, False, True, True]
    assert down[0, :, 1].tolist() == [True] * 5 + [False]
    (row,) = measure_episodes(episodes)
    assert row["contact error %"] == pytest.approx(100 * 3 / 12)


def test_power_counts_work_that_is_done_slip_only_feet_that_touch_and_transport_costs_per_weight_and_speed() -> None:
    torque, speeds = [[[2.0, 5.0]] * 6], [[[3.0, -1.0]] * 6]
    touching = [[[True, False]] * 3 + [[False, False]] * 3]
    velocity = [[[[0.3, 0.4, 7.0], [9.0, 0.0, 0.0]]] * 6]
    (row,) = measure_episodes(
        played(
            robot={"dof_velocity": speeds, "root_velocity": [[[0.6, 0.0, 2.0]] * 6]},
            torque=TorqueLog.make(1, AXES, value=torque),
            foot=FootLog.make(1, AXES, touching=touching, velocity=velocity),
            command=CommandLog.make(1, AXES, asked=[[[0.5, 0.0, 0.2]] * 6], moved=[[[0.2, 0.4, 0.1]] * 6]),
            mass=10.0,
        )
    )
    assert row["power W"] == pytest.approx(6.0)
    assert row["foot slip m/s"] == pytest.approx(0.5)
    assert row["cost of transport"] == pytest.approx(6.0 / (10.0 * 9.81 * 0.6))
    assert row["linear velocity error m/s"] == pytest.approx(0.5) and row["yaw rate error rad/s"] == pytest.approx(0.1)


def test_who_hardly_moves_has_no_cost_of_transport() -> None:
    still = {"robot": {"root_velocity": [[[0.05, 0.0, 0.0]] * 6]}, "mass": 10.0}
    logs = {"torque": TorqueLog.make(1, AXES), "command": CommandLog.make(1, AXES)}
    (row,) = measure_episodes(played(**still, **logs))
    assert row["cost of transport"] is None


def test_clips_have_rows_of_their_own_and_one_together() -> None:
    given = {
        **beside(2, by=0.1),
        "clips": ("walk", "unused", "squat"),
        "clip": torch.tensor([0, 2]),
        "clip_frames": torch.tensor([7, 9, 13]),
    }
    rows = measure_episodes(played((6, 6), **given))
    assert [row["clip"] for row in rows] == ["walk", "squat", "all"]
    assert [row["completion %"] for row in rows] == [100.0, 50.0, 75.0]


def test_numbers_that_are_not_finite_are_left_out_and_do_not_stop_the_measuring() -> None:
    place = shifted(1, 0.0)
    place[0, 5] = torch.nan
    found = frame_measures(played(**beside(position=place.tolist())))
    assert found["MPJPE procrustes mm"][0, :5].abs().max() < 1e-2


# -- what is logged ------------------------------------------------------------------------------------


def test_a_row_is_logged_until_its_first_episode_ends() -> None:
    log = RobotLog.make(2, AXES)
    for tick, ended in enumerate(([False, False], [True, False], [False, False]), 1):
        done = Done.make(2, AXES, ended=ended, terminated=ended, reason=[[each, False] for each in ended])
        dofs = DofState.make(2, AXES, position=[[float(tick), 0.0]] * 2)
        log_robot(Clock(tick=tick, begun=True), done, RootState.make(2, AXES), dofs, Action.make(2, AXES), log)
    assert (
        log.frames.tolist() == [2, 3] and log.running.tolist() == [False, True] and log.failed.tolist() == [True, False]
    )
    assert log.reason.tolist() == [[True, False], [False, False]]
    assert log.dof_position[1, :3, 0].tolist() == [1.0, 2.0, 3.0]


def test_a_log_that_is_full_keeps_what_it_has() -> None:
    log = RobotLog.make(1, {**AXES, "frame": 1})
    for tick in (1, 2):
        given = (Done.make(1, AXES), RootState.make(1, AXES), DofState.make(1, AXES), Action.make(1, AXES))
        log_robot(Clock(tick=tick, begun=True), *given, log)
    assert log.frames.tolist() == [1]


def test_the_torque_of_a_servo_is_that_of_its_gains_within_its_limit() -> None:
    log = TorqueLog.make(1, AXES)
    log_servo_torque(
        Clock(tick=1, begun=True),
        DofTarget.make(1, AXES, position=[[1.0, 9.0]]),
        DofState.make(1, AXES, position=[[0.5, 0.0]], velocity=[[0.5, 0.0]]),
        PdGains.make(1, AXES, stiffness=[[10.0, 10.0]], damping=[[2.0, 2.0]]),
        small_robot(),
        log,
    )
    assert log.value[0, 0].tolist() == [10.0 * 0.5 - 2.0 * 0.5, 20.0]


def test_the_sole_of_a_foot_that_turns_about_its_heel_moves_and_the_heel_does_not() -> None:
    model = built("humanoid")
    points, axes = sole_points(model), {**model.axes, "frame": 1}
    assert points[:, 2].max() < -0.01  # below the frame of the foot's body
    spin = [[[0.0, 2.0, 0.0]] * len(model.axes["body"])]
    upright = [[[1.0, 0.0, 0.0, 0.0]] * len(model.axes["body"])]
    log = FootLog.make(1, axes)
    bodies = BodyState.make(1, axes, rotation=upright, angular_velocity=spin)
    backend = SimpleNamespace(model=model)
    log_feet(Clock(tick=1, begun=True), bodies, Contact.make(1, axes), model.robot, Physics(backend=backend), log)
    x, z = points[:, 0], points[:, 2]
    assert_close(log.velocity[0, 0], torch.stack((2.0 * z, 0.0 * z, -2.0 * x), -1))


ROBOT = (RootState, DofState, Action, Robot)


@pytest.mark.parametrize(
    ("present", "kept"),
    [
        (ROBOT, {RobotLog, FootLog, Contact}),
        ((*ROBOT, Contact, Command, BaseFrame, DofTorque), {RobotLog, FootLog, CommandLog, TorqueLog}),
        ((*ROBOT, Contact, MotionReference, TrackedState, MotionCursor), {RobotLog, FootLog, ReferenceLog}),
        ((*ROBOT, Simulator, DofTarget, PdGains), {RobotLog, TorqueLog}),
    ],
)
def test_what_a_scene_has_is_logged(present: tuple[type, ...], kept: set[type]) -> None:
    bundle = episode_log(present, frames=6)
    assert bundle is not None and {*bundle.components} == kept
    assert episode_log(present[1:], frames=6) is None
