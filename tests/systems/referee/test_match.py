"""Matches are measured as the simulator has it, scored by hand, and put in one table."""

import json
import math
import re
from pathlib import Path
from typing import Any

import attrs
import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine import SceneError
from engine.runner.cli import usage
from scenes.robots import load
from scenes.robots.menagerie import LARGE, available
from scenes.robots.referee import main
from systems.deploy.policy import OnnxPolicy
from systems.maths.rotation import rotate_inverse
from systems.referee.arena import arena_of_export, measure
from systems.referee.command import Contender, print_out
from systems.referee.foreign import load_foreign
from systems.referee.match import Protocol, play_motion, pushes, walk, within
from systems.referee.poses import reference_of_export
from systems.referee.scores import (
    Exertion,
    TrackedEpisode,
    WalkedEpisode,
    mean_motion,
    rounded,
    tracking_scores,
    walking_scores,
)
from tests.helpers import data_path
from tests.systems.deploy.test_deploy import changed
from tests.systems.referee.makers import linear_policy, robot_called, table_file

UPRIGHT = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
FORWARD = (0.5, 0.0, 0.0)


def effort(frames: int, **more: Tensor) -> Exertion:
    """Of one joint and one body that stand still and touch."""
    still = torch.zeros(frames, 1, dtype=torch.float64)
    rest = Exertion(still, still, still, torch.zeros(frames, 1, 3), torch.ones(frames, 1, dtype=torch.bool))
    return attrs.evolve(rest, **more)


def tried(shift: tuple[float, float, float], *, length: int = 4, frames: int = 4) -> TrackedEpisode:
    """An anchor and an end effector a metre ahead, both off by `shift` in every frame; the end effector's twice."""
    place = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64).expand(frames, 2, 3)
    off = torch.tensor([shift, tuple(2.0 * x for x in shift)], dtype=torch.float64)
    turn = UPRIGHT.expand(frames, 2, 4)
    joint = torch.zeros(frames, 1, dtype=torch.float64)
    return TrackedEpisode(place + off, turn, place, turn, joint + 0.1, joint, joint + 2.0, effort(frames), length)


def standing(tmp_path: Path, **more: Any) -> Path:
    """A policy that asks the humanoid for its default pose, whatever it sees, and its table."""
    joints = len(robot_called("humanoid").dof_names)
    table_file(tmp_path / "own.toml", ["command"], more.pop("table", ""))
    return linear_policy(tmp_path / "stand.onnx", np.zeros((3, joints)), **more)


# -- scores --------------------------------------------------------------------------------------------


def test_errors_of_a_try_are_those_of_its_frames_and_its_rules_are_three() -> None:
    found = tracking_scores([tried((0.0, 0.2, 0.0)), tried((0.0, 0.4, 0.0))], 0, [1], 0.02)
    assert found["episodes"] == 2 and found["completion %"] == 100.0
    assert found["MPJPE global mm"] == pytest.approx(1e3 * (0.3 + 0.6) / 2)  # (0.2 + 0.4) / 2 and (0.4 + 0.8) / 2
    assert found["MPJPE local mm"] == pytest.approx(1e3 * (0.1 + 0.2) / 2)
    assert found["R-MPKPE mm"] == pytest.approx(1e3 * (0.1 + 0.2) / 2)
    assert found["end effectors mm"] == pytest.approx(1e3 * (0.2 + 0.4) / 2)
    assert found["velocity mm/frame"] == pytest.approx(0.0) and found["joints rad"] == pytest.approx(0.1)
    assert found["joint velocity rad/s"] == pytest.approx(2.0)
    assert (found["success %"], found["success 0.5 m %"], found["success height, tilt %"]) == (100.0, 50.0, 100.0)


@pytest.mark.parametrize(("rise", "own", "published"), [(0.2, 100.0, 100.0), (-0.26, 0.0, 0.0)])
def test_an_anchor_a_quarter_of_a_metre_off_in_height_loses(rise: float, own: float, published: float) -> None:
    found = tracking_scores([tried((0.0, 0.0, rise))], 0, [], 0.02)
    assert (found["success %"], found["success height, tilt %"]) == (own, published)


def test_an_end_effector_a_quarter_of_a_metre_off_in_height_loses_by_our_rule_alone() -> None:
    found = tracking_scores([tried((0.0, 0.0, 0.14))], 0, [1], 0.02)  # the end effector 0.28 m
    assert (found["success %"], found["success height, tilt %"]) == (0.0, 100.0)


def test_a_try_that_ends_early_has_not_succeeded() -> None:
    found = tracking_scores([tried((0.0, 0.0, 0.0), length=8)], 0, [1], 0.02)
    assert found["completion %"] == 50.0
    assert [found[f"success{rule} %"] for rule in ("", " 0.5 m", " height, tilt")] == [0.0, 0.0, 0.0]


def test_walks_are_off_their_command_once_they_have_begun() -> None:
    count = 150  # 3 s
    velocity = torch.zeros(count, 2, dtype=torch.float64)
    velocity[100:, 0] = 0.4
    went = WalkedEpisode(
        velocity, torch.full((count,), 0.1).double(), torch.tensor([FORWARD]).double().expand(count, 3),
        effort(count, torque=torch.full((count, 1), 3.0).double(), speeds=torch.full((count, 1), 2.0).double()), count, False,
    )  # fmt: skip
    fell = attrs.evolve(went, fell=True)
    found = walking_scores([went, fell], mass=10.0, dt=0.02)
    assert found["linear velocity error m/s"] == pytest.approx(0.1, abs=1e-6)
    assert found["yaw rate error rad/s"] == pytest.approx(0.1, abs=1e-6)
    assert mean_motion([went, fell], 0.02) == [0.4, 0.0, 0.1]
    assert (found["survived %"], found["survived s"], found["power W"]) == (50.0, 3.0, 6.0)
    assert found["cost of transport"] == pytest.approx(6.0 / (10.0 * 9.81 * 0.4 / 3.0))


def test_what_is_no_number_is_none_and_others_have_four_digits() -> None:
    assert rounded({"a": math.nan, "b": 1.23456, "c": 3}) == {"a": None, "b": 1.235, "c": 3}


# -- measuring -----------------------------------------------------------------------------------------


def test_a_robot_that_stands_touches_with_its_feet_which_do_not_slip_and_its_torques_are_its_servos(
    tmp_path: Path,
) -> None:
    policy = load_foreign(standing(tmp_path), str(tmp_path / "own.toml"), load)
    went = walk(policy, policy.arena, (0.0, 0.0, 0.0), 1.0)
    assert not went.fell and len(went.velocity) == 50
    model, robot = policy.arena.robot.model, policy.arena.robot
    seen = measure(robot)
    touching = {model.body(i).name for i in np.flatnonzero(seen.touching)}
    assert touching == {"left_ankle_roll_link", "right_ankle_roll_link"}
    assert np.abs(seen.touch_velocity[seen.touching]).max() < 1e-2
    pull = policy.arena.stiffness * (policy.arena.default - seen.pose[7:]) - policy.arena.damping * seen.speed[6:]
    np.testing.assert_allclose(seen.torque, pull, atol=0.2)
    assert walking_scores([went], policy.arena.mass, 0.02)["foot slip m/s"] < 1e-2


def test_a_foot_that_turns_on_the_spot_slips_by_the_speed_of_where_it_touches(tmp_path: Path) -> None:
    policy = load_foreign(standing(tmp_path), str(tmp_path / "own.toml"), load)
    robot = policy.arena.robot
    walk(policy, policy.arena, (0.0, 0.0, 0.0), 0.5)
    data = robot.data
    data.qvel[:] = 0.0
    data.qvel[3:6] = rotate_inverse(data.qpos[3:7], np.array((0.0, 0.0, 1.0)))  # rad/s about z, through the pelvis
    mujoco.mj_forward(robot.model, data)
    seen = measure(robot)
    for body in np.flatnonzero(seen.touching):
        points = [c.pos for c in data.contact if body in robot.model.geom_bodyid[c.geom]]
        arm = np.mean(points, 0) - data.qpos[:3]
        np.testing.assert_allclose(seen.touch_velocity[body, :2], (-arm[1], arm[0]), atol=1e-3)


def test_a_robot_that_is_asked_to_lie_down_falls_and_its_walk_is_as_long_as_it_stood(tmp_path: Path) -> None:
    joints = robot_called("humanoid").dof_names
    bias = np.array([1.5 if name.endswith("hip_pitch_joint") else 0.0 for name in joints])
    policy = load_foreign(standing(tmp_path, bias=bias), str(tmp_path / "own.toml"), load)
    went = walk(policy, policy.arena, FORWARD, 4.0)
    assert went.fell and 5 < len(went.velocity) < 200


@pytest.mark.slow
def test_pushes_that_nobody_could_stand_are_not_survived(tmp_path: Path) -> None:
    policy = load_foreign(standing(tmp_path), str(tmp_path / "own.toml"), load)
    assert pushes(policy, policy.arena, Protocol(push=6.0), (0.0, 0.0, 0.0)) == 0


def test_commands_are_within_what_a_policy_was_trained_for(tmp_path: Path) -> None:
    spans = "command_ranges = { lin_vel_x = [0.0, 0.4], lin_vel_y = [0.0, 0.0], ang_vel_yaw = [-1.0, 1.0] }"
    policy = load_foreign(standing(tmp_path, table=spans), str(tmp_path / "own.toml"), load)
    assert within(policy, (0.4, 0.0, -1.0)) and not within(policy, FORWARD)


# -- our own -------------------------------------------------------------------------------------------


def test_an_exported_tracker_brings_its_motion_and_begins_on_it(exported: Path) -> None:
    policy = OnnxPolicy.load(exported / "track.onnx")
    reference = reference_of_export(policy)
    assert len(reference.poses) == policy.length + 1  # type: ignore[operator]
    np.testing.assert_allclose(reference.poses[0], policy.start[0], atol=1e-6)
    tries = play_motion(policy, arena_of_export(policy), reference, Protocol(episodes=2))
    first, second = tries
    start = torch.from_numpy(reference.poses[1, 7:])
    assert_close(first.reference_joints[0], start)
    assert float((first.joints[0] - start).abs().max()) < float((second.joints[0] - start).abs().max())


def test_a_try_ends_where_the_anchor_leans_and_the_numbers_with_it(exported: Path) -> None:
    """Without stiffness the robot sinks."""
    contender = Contender.load(exported / "track.onnx", None, load)
    contender.policy.numbers = {**contender.policy.numbers, "joint_stiffness": np.zeros(19)}
    found = contender.play(Protocol(episodes=1), typed=False)["scores"]
    assert 0.0 < found["completion %"] < 100.0 and found["success %"] == 0.0
    assert found["end effectors mm"] > 0.0 and found["power W"] > 0.0


# -- the command ---------------------------------------------------------------------------------------


def test_the_table_has_a_column_for_each_policy_and_the_file_what_each_command_came_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], exported: Path
) -> None:
    stand, out = standing(tmp_path), tmp_path / "out" / "found.json"
    words = [str(stand), str(exported / "track.onnx"), str(exported / "walk.onnx"), "--episodes", "1", "--push", "0"]
    words += ["--seconds", "0.2", "--command", "0", "0", "0", "--command", "0.1", "0", "0", "--json", str(out)]
    with pytest.raises(SceneError, match="--table has no effect: playground_g1 is for files that take obs and give"):
        main([*words[1:], "--table", "playground_g1"])
    assert not out.exists()
    words = [str(exported / "steps.onnx"), *words]
    assert main([*words, "--table", str(tmp_path / "own.toml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["trackers", "track"] and lines[1].split() == ["clip", "squat"]
    at = next(i for i, line in enumerate(lines) if line.startswith("walkers"))
    assert lines[at].split() == ["walkers", "steps", "stand", "walk"]
    survived = next(line for line in lines[at:] if line.startswith("survived %")).split()
    assert survived == ["survived", "%", "100", "100", "100"]
    assert lines[-1].split()[:4] == ["asked", "0.00", "0.00", "0.00"]
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["protocol"]["commands"] == [[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]] and "fallen" in written["protocol"]
    assert [each["policy"] for each in written["policies"]] == ["steps", "stand", "track", "walk"]
    assert [each["command"] for each in written["policies"][0]["walks"]] == written["protocol"]["commands"]
    assert (
        written["policies"][0]["table"] == "mjlab_walker"
        and written["policies"][1]["table"] == "own"
        and written["policies"][3]["table"] == ""
    )


def test_a_network_that_gives_no_numbers_is_named(tmp_path: Path) -> None:
    policy = load_foreign(standing(tmp_path, bias=np.full(19, np.nan)), str(tmp_path / "own.toml"), load)
    with pytest.raises(SceneError, match=r"stand\.onnx gives an action that is not finite in control step 0"):
        walk(policy, policy.arena, FORWARD, 0.1)


def test_a_table_that_cannot_be_kept_is_refused_before_anything_plays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], exported: Path
) -> None:
    words = [str(exported / "walk.onnx"), "--seconds", "0.1", "--command", "0", "0", "0", "--push", "0", "--json"]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SceneError, match="cannot be written"):
        main([*words, str(tmp_path / "file" / "found.json")])
    with pytest.raises(SceneError, match="which is a folder"):
        main([*words, str(tmp_path)])
    assert not capsys.readouterr().out


def test_a_value_that_a_policy_lacks_is_a_dash() -> None:
    some = [
        {"kind": "walker", "policy": n, "robot": "r", "scores": s} for n, s in (("a", {"x": 1.5}), ("b", {"y": None}))
    ]
    assert [line.split() for line in print_out("walker", some).splitlines()[2:]] == [["x", "1.5", "–"], ["y", "–", "–"]]
    assert print_out("tracker", some) == ""


def test_bad_input_is_one_sentence_and_nothing_is_written(exported: Path, tmp_path: Path) -> None:
    track, walker = str(exported / "track.onnx"), str(exported / "walk.onnx")
    cut, text, out = tmp_path / "cut.onnx", tmp_path / "text.onnx", tmp_path / "out.json"
    cut.write_bytes((exported / "walk.onnx").read_bytes()[:5000])
    text.write_text("no policy", encoding="utf-8")
    bare = changed(exported / "track.onnx", tmp_path / "old.onnx", motion_reference=None)
    for words, message in (
        ([str(cut)], "cut.onnx is cut, or no ONNX file"),
        ([str(text)], "text.onnx is cut, or no ONNX file"),
        ([str(tmp_path / "none.onnx")], "There is no policy at"),
        ([str(bare)], "does not hold the motion that it follows"),
        ([track, "--clip", "sqat"], "was not trained on the clip 'sqat'; it knows squat. Did you mean squat?"),
        ([walker, "--clip", "squat"], "--clip has no effect: none of the policies follows a clip"),
        ([track, "--command", "0", "0", "0"], "--command has no effect: none of the policies follows commands"),
        ([walker, "--command", "9", "0", "0"], "asks for 9 forward, but"),
        ([walker, "--seconds", "0"], "--seconds is 0"),
        ([walker, "--episodes", "0"], "--episodes is 0"),
        ([walker, "--push", "nan"], "--push is nan"),
        ([walker, "--fast"], "Unrecognized arguments: --fast"),
    ):
        with pytest.raises(SceneError) as refused:
            main([*words, "--json", str(out)])
        assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not out.exists()


def test_the_console_script_knows_the_command() -> None:
    assert re.search(r"^  referee +Play policies of this and of other projects", usage(), re.MULTILINE)


# -- policies of others --------------------------------------------------------------------------------

WALKERS = (
    "playground/joystick_g1.onnx",
    pytest.param(
        "playground/joystick_go1.onnx",
        marks=pytest.mark.skipif(not available(LARGE), reason=f"the data package {LARGE} is not installed"),
    ),
    "holosoma/loco_fastsac_g1_29dof.onnx",
    "holosoma/loco_ppo_g1_29dof.onnx",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKERS)
def test_a_walker_of_another_project_walks_forward_for_twenty_seconds(name: str) -> None:
    contender = Contender.load(data_path("policies", *name.split("/")), None, load)
    went = walk(contender.policy, contender.arena, FORWARD, 20.0)
    assert not went.fell and len(went.velocity) == 1000
    assert float(went.velocity[100:, 0].mean()) == pytest.approx(0.5, abs=0.15)
    assert 6.0 < float(np.linalg.norm(contender.arena.robot.data.qpos[:2])) < 14.0


@pytest.mark.slow
def test_holosoma_s_dancer_keeps_upright_to_the_end_of_its_motion() -> None:
    contender = Contender.load(data_path("policies", "holosoma", "dance_fastsac_g1_29dof.onnx"), None, load)
    assert contender.reference is not None and len(contender.reference.poses) == 6774
    scores = contender.play(Protocol(episodes=1), typed=False)["scores"]
    assert scores["completion %"] == 100.0 and scores["success height, tilt %"] == 100.0
    assert scores["R-MPKPE mm"] < 80.0 and scores["MPJPE procrustes mm"] < 50.0


def test_a_walker_of_another_project_takes_its_first_steps() -> None:
    contender = Contender.load(data_path("policies", "holosoma", "loco_ppo_g1_29dof.onnx"), None, load)
    went = walk(contender.policy, contender.arena, FORWARD, 2.0)
    assert not went.fell and float(went.velocity[50:, 0].mean()) > 0.3
