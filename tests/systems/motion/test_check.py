"""Clips that cannot be right are refused in one sentence; what is suspicious is a warning; feet find the floor."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from components.motion import Clip
from engine.errors import SceneError
from scenes import robots
from systems.maths import quaternion
from systems.maths.rotation import rotate, yawed
from systems.motion.check import verify_clip
from systems.motion.files import read_clips
from systems.motion.floor import put_on_floor
from systems.motion.joint_orders import BREADTH_FIRST_ORDER
from systems.motion.kinematics import body_poses
from systems.robots.model import build_robot
from tests.helpers import data_path, needs_g1
from tests.made_clips import clip_made_once
from tests.systems.motion_robots import MuJoCoRobot, doll, g1

KIMODO = ("motions", "kimodo_g1_29dof")


@cache
def doll_and_squat() -> tuple[MuJoCoRobot, Clip]:
    """The half-metre humanoid and its squat."""
    robot = doll()
    return robot, clip_made_once("squat", robot.robot, robot)


def verify(height: str = "keep", **changes: Any) -> tuple[Clip, list[str]]:
    """The doll's squat with some fields changed, verified."""
    robot, clip = doll_and_squat()
    return verify_clip(attrs.evolve(clip, **changes), robot.robot, robot, height=height)


def changed(field: str, place: Any, value: Any) -> dict[str, np.ndarray]:
    """One field of the doll's squat with one entry replaced."""
    array = getattr(doll_and_squat()[1], field).copy()
    array[place] = value
    return {field: array}


def read(spec: str) -> Clip:
    """One clip of a file."""
    (clip,) = read_clips(spec)
    assert isinstance(clip, Clip)
    return clip


def with_bodies() -> dict[str, Any]:
    """Body poses of the doll's squat, as a file would hold them."""
    robot, clip = doll_and_squat()
    position, rotation = body_poses(robot, clip.root_position, clip.root_rotation, clip.dof_position)
    return {"body_position": position, "body_rotation": rotation, "body_names": robot.robot.body_names}


def test_sound_clip_passes_unchanged_and_without_a_word() -> None:
    clip, warnings = verify(**with_bodies())
    assert warnings == []
    assert_allclose(clip.dof_position, doll_and_squat()[1].dof_position)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            changed("dof_position", (7, 2), np.nan),
            r"frame 7 .0.14 s.: joint position \[2\] is nan. Every number must be",
        ),
        (changed("root_position", (3, 0), np.inf), r"frame 3 .*: root position \[0\] is inf"),
        (changed("root_rotation", 5, 0.0), "frame 5 .*: the root quaternion has length 0.000 instead of 1"),
        (changed("root_rotation", 5, 2.0), "frame 5 .*: the root quaternion has length 4.000 instead of 1"),
        ({"fps": 0.5}, "says 0.5 frames per second; 1 to 1000 are believable"),
        ({"fps": float("nan")}, "says nan frames per second"),
        (
            changed("dof_position", (9, 0), 2.9),
            "frame 9 .*: spine is 2.900 rad, outside its range -2.500 to 2.500 by more than",
        ),
        (
            changed("dof_position", (9, 0), 2.0),
            "frame 8 .*: spine moves 2.00 rad .* 3.3 times its speed limit. The clip jumps",
        ),
        (changed("root_position", (100, 0), 1.0), "frame 99 .*: the root moves at 5.* m/s to the next frame, over 12"),
        (
            changed("root_rotation", 100, (0.0, 0.0, 0.0, 1.0)),
            "frame 99 .*: the root turns at 15.* rad/s to the next frame",
        ),
        (
            {"root_position": 100.0 * doll_and_squat()[1].root_position},
            "the root is 4.*m above the floor .* fit as centimetres. Name the clip as squat:cm, or as squat:m if",
        ),
        (
            {"dof_position": np.rad2deg(doll_and_squat()[1].dof_position)},
            "cannot be what its file says, angles in radians: it scores .* with angles in degrees .* Name it as squat:deg",
        ),
    ],
)
def test_clips_that_cannot_be_right(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        verify(**changes)


@pytest.mark.parametrize("frames", [0, 1])
def test_clip_without_motion(frames: int) -> None:
    _, clip = doll_and_squat()
    names = ("root_position", "root_rotation", "dof_position")
    with pytest.raises(
        SceneError, match=f"has {frames} {'frames' if frames != 1 else 'frame'}; a motion needs at least 2"
    ):
        verify(**{name: getattr(clip, name)[:frames] for name in names})


def test_unknown_height() -> None:
    with pytest.raises(SceneError, match=r"Clip height 'high' is unknown. Say 'keep' .* or 'auto'"):
        verify("high")


def dashed(name: str) -> str:
    """A name as in left-knee."""
    return name.replace("_", "-")


def parted(name: str) -> str:
    """A name as in Left Knee."""
    return name.replace("_", " ").title()


def in_humps(name: str) -> str:
    """A name as in leftKnee."""
    first, *words = name.split("_")
    return first + "".join(map(str.title, words))


@pytest.mark.parametrize("spelled", ["{}_joint", "{}_dof", "{}_joint_dof", "{}"])
@pytest.mark.parametrize("case", [str, str.upper, str.title, dashed, parted, in_humps])
def test_joints_are_matched_by_name_in_any_order_and_spelling(spelled: str, case: Callable[[str], str]) -> None:
    robot, clip = doll_and_squat()
    order = np.random.default_rng(0).permutation(len(robot.robot.dof_names))
    shuffled = {
        "dof_position": clip.dof_position[:, order],
        "dof_names": tuple(case(spelled.format(robot.robot.dof_names[i])) for i in order),
    }
    found, warnings = verify(**shuffled)
    assert_allclose(found.dof_position, clip.dof_position)
    assert warnings == []


def test_names_at_other_columns_than_their_joints_are_said_and_right_ones_are_not() -> None:
    names = doll_and_squat()[0].robot.dof_names
    order = np.random.default_rng(5).permutation(len(names))
    _, warnings = verify(dof_names=tuple(names[i] for i in order))
    assert re.search(
        r"stand at other columns than theirs: it scores 3\d\.\d as named, and 8\.\d in the order", warnings[0]
    )
    right = {"dof_names": tuple(names[i] for i in order), "dof_position": doll_and_squat()[1].dof_position[:, order]}
    assert verify(**right)[1] == []


def test_clip_of_another_robot_names_the_joints() -> None:
    robot, clip = doll_and_squat()
    names = ("tail", *robot.robot.dof_names[1:])
    with pytest.raises(
        SceneError, match=r"is for another robot: it lacks spine; test has no tail. Use a clip made for"
    ):
        verify(dof_names=names)
    with pytest.raises(SceneError, match=r"it has 16 joints without names, and test has 21. Write their names"):
        verify(dof_names=None, dof_position=clip.dof_position[:, :16])
    with pytest.raises(SceneError, match="is for another robot: it has 29 joints without names, as the G1 with 29"):
        verify(dof_names=None, dof_position=np.zeros((clip.num_frames, 29)))
    with pytest.raises(SceneError, match="names the joint 'spine' twice"):
        verify(dof_names=("spine", "spine", *robot.robot.dof_names[2:]))
    with pytest.raises(SceneError, match="names 1 joints but has angles for 21"):
        verify(dof_names=("spine",))


def test_nameless_joints_of_the_right_number_are_taken_in_the_order_of_the_robot() -> None:
    found, warnings = verify(dof_names=None)
    assert_allclose(found.dof_position, doll_and_squat()[1].dof_position)
    assert len(warnings) == 1
    assert re.search(
        r"Clip 'squat' .made. does not say how it is written: joints are taken in the order of test "
        r"\(score \d.*; in the order of test, breadth first as in PhysX \d+.\d, lower is better\).",
        warnings[0],
    )


def test_quaternions_nearly_of_length_one_are_scaled() -> None:
    clip, warnings = verify(root_rotation=1.01 * doll_and_squat()[1].root_rotation)
    assert_allclose(np.linalg.norm(clip.root_rotation, axis=1), 1.0)
    assert "the root quaternion has length 1.0100; it is scaled to 1" in warnings[0]


def test_joint_slightly_beyond_its_limit_and_too_fast_is_a_warning() -> None:
    dofs = doll_and_squat()[1].dof_position.copy()
    dofs[:, 0] = np.linspace(0.0, 2.6, len(dofs))
    _, warnings = verify(dof_position=dofs)
    assert "spine is 2.600 rad, outside its range -2.500 to 2.500; the robot will not reach it" in warnings[0]
    _, warnings = verify(**changed("dof_position", (9, 0), 0.7))  # 0.7 rad in 1/50 s is 35 rad/s of 30
    assert "frame 8 (0.16 s): spine moves 0.70 rad to the next frame, 1.2 times its speed limit" in warnings[0]


def test_wrapped_angle_is_told_to_unwrap() -> None:
    robot, clip = doll_and_squat()
    wide = attrs.evolve(robot.robot, position_limit=robot.robot.position_limit * 4.0)
    dofs = clip.dof_position.copy()
    dofs[100:, 0] += 2.0 * np.pi
    with pytest.raises(SceneError, match=r"spine moves 6.28 rad to the next frame.*unwrap the angle"):
        verify_clip(attrs.evolve(clip, dof_position=dofs), wide, robot)


def test_angles_that_are_a_whole_turn_off_are_turned_back() -> None:
    _, clip = doll_and_squat()
    wrapped = np.where(clip.dof_position < -0.2, clip.dof_position + 2.0 * np.pi, clip.dof_position)
    found, findings = verify(dof_position=wrapped)
    assert_allclose(found.dof_position, clip.dof_position)
    count = int((clip.dof_position < -0.2).sum())
    assert f"rad, a whole turn off its range; {count} such angles are turned back" in findings[0]


def test_angles_that_are_a_whole_turn_off_are_no_degrees() -> None:
    """A joint near 1 rad plus a turn is beyond 7, where angles may be degrees; degrees would leave the robot standing still."""
    _, clip = doll_and_squat()
    angles = clip.dof_position.copy()
    joint = int(np.abs(angles).max(0).argmax())
    assert np.abs(angles).max() > 7.0 - 2.0 * np.pi
    angles[60:] += 2.0 * np.pi * np.sign(angles[60:]) * (np.arange(angles.shape[1]) == joint)
    found, findings = verify(dof_position=angles, origins={"angles": "assumed"})
    assert_allclose(found.dof_position, clip.dof_position)
    assert "a whole turn off its range" in findings[0] and "degrees" not in " ".join(findings)


def test_motion_with_y_up_is_refused_and_one_that_lies_is_mentioned() -> None:
    _, clip = doll_and_squat()
    half, none = np.sqrt(0.5), 0.0
    back = quaternion.multiply(
        torch.tensor((half, -half, none, none), dtype=torch.float64).expand(clip.num_frames, 4),
        torch.from_numpy(clip.root_rotation),
    ).numpy()
    place = clip.root_position[:, (0, 2, 1)] * (1.0, 1.0, -1.0)
    with pytest.raises(
        SceneError, match=r"leans over by 90 degrees in the median frame, and would be upright if y were up"
    ):
        verify(root_rotation=back, root_position=place)
    lying = np.tile((half, none, half, none), (clip.num_frames, 1))
    _, findings = verify(root_rotation=lying)
    assert any("leans over by 90 degrees in the median frame. Does the robot lie?" in text for text in findings)


@needs_g1
def test_motion_with_y_up_is_called_so_where_nothing_says_the_order_of_its_quaternions(tmp_path: Path) -> None:
    model = build_robot(robots.load("g1"))
    clip = clip_made_once("squat", model.robot, model)
    half = float(np.sqrt(0.5))
    for heading in (0.0, 90.0, 270.0):
        first, then = np.array((half, -half, 0.0, 0.0)), yawed(np.array([np.radians(heading)]))[0]
        turn = quaternion.multiply(torch.from_numpy(first), torch.from_numpy(then)).numpy()
        turns = np.tile(turn, (clip.num_frames, 1))
        rotation = quaternion.multiply(torch.from_numpy(turns), torch.from_numpy(clip.root_rotation)).numpy()
        rows = np.concatenate((rotate(turns, clip.root_position), np.roll(rotation, -1, -1), clip.dof_position), 1)
        np.savetxt(tmp_path / "squat.csv", rows, delimiter=",")
        with pytest.raises(SceneError, match="would be upright if y were up"):
            verify_clip(read(str(tmp_path / "squat.csv")), model.robot, model)


def test_robot_that_lies_along_y_is_not_taken_for_one_with_y_up() -> None:
    _, clip = doll_and_squat()
    half = float(np.sqrt(0.5))
    lying = np.tile((half, -half, 0.0, 0.0), (clip.num_frames, 1))
    _, findings = verify(root_rotation=lying)
    assert any("leans over by 90 degrees in the median frame. Does the robot lie?" in text for text in findings)


def test_frame_rate_is_checked_against_joint_velocities() -> None:
    _, clip = doll_and_squat()
    velocity = np.gradient(clip.dof_position, axis=0) * 50.0
    assert verify(dof_velocity=velocity)[1] == []
    with pytest.raises(
        SceneError, match=r"says 30 frames per second, but its joint velocities fit 50.0. Name it as .*:50fps"
    ):
        verify(dof_velocity=velocity, fps=30.0)
    _, warnings = verify(dof_velocity=velocity[::-1].copy())
    assert "has joint velocities that do not fit its joint angles; they are computed anew" in warnings[0]


def test_bodies_that_disagree_with_the_joints() -> None:
    bodies = with_bodies()
    moved = bodies["body_position"].copy()
    moved[40, 3] += (0.0, 0.004, 0.003)  # 5 mm
    _, warnings = verify(**{**bodies, "body_position": moved})
    name = bodies["body_names"][3]
    assert f"frame 40 (0.80 s): {name} is 0.0050 m away from where the clip's joints put it" in warnings[0]
    moved[40, 3] += (0.0, 0.04, 0.0)
    with pytest.raises(SceneError, match=r"is 0.0441 m away .* in another order .*, or the clip is for another robot"):
        verify(**{**bodies, "body_position": moved})
    turned = bodies["body_rotation"].copy()
    turned[40, 3] = (0.0, 1.0, 0.0, 0.0)
    with pytest.raises(SceneError, match=f"{name} is .* rad away"):
        verify(**{**bodies, "body_rotation": turned})
    with pytest.raises(SceneError, match="has 2 bodies without names"):
        verify(body_position=moved[:, :2])


def test_bodies_without_names_are_found_by_their_places_in_whatever_order() -> None:
    bodies = with_bodies()
    order = [0, *np.random.default_rng(1).permutation(np.arange(1, len(bodies["body_names"])))]
    mixed = {name: bodies[name][:, order] for name in ("body_position", "body_rotation")}
    clip, warnings = verify(**{**bodies, **mixed, "body_names": None})
    assert_allclose(clip.dof_position, verify(**bodies)[0].dof_position)
    assert warnings == [
        "Clip 'squat' (made) has bodies without names in another order than test's; each is where the joints put one."
    ]
    elsewhere = mixed["body_position"].copy()
    elsewhere[10:, -1] += 1.0
    with pytest.raises(SceneError, match="The joints or bodies are in another order"):
        verify(**{**bodies, **mixed, "body_position": elsewhere, "body_names": None})
    with pytest.raises(SceneError, match="The joints or bodies are in another order"):
        verify(**{**bodies, **mixed})


@pytest.mark.parametrize("times", [2, 4])
def test_frames_that_were_written_several_times_are_said_and_rest_is_not(times: int) -> None:
    _, clip = doll_and_squat()
    arrays = ("root_position", "root_rotation", "dof_position")
    _, warnings = verify(**{name: getattr(clip, name).repeat(times, 0) for name in arrays}, fps=times * clip.fps)
    assert len(warnings) == 1 and "frames repeat the one before, so it moves in jerks." in warnings[0]
    assert verify(**{name: getattr(clip, name)[[0] * 50 + list(range(100)) + [99] * 50] for name in arrays})[1] == []


def test_what_was_typed_and_does_not_fit_the_bodies_is_named() -> None:
    _, clip = doll_and_squat()
    turned = {"root_rotation": np.tile((0.0, 0.0, 0.0, 1.0), (clip.num_frames, 1)), "origins": {"rotation": "option"}}
    with pytest.raises(SceneError, match=r"Read as 'test\.pkl:xyzw' says, the clip's joints do not fit its bodies\."):
        verify(**with_bodies(), **turned, typed="test.pkl:xyzw")


def test_root_is_found_by_name_among_the_bodies() -> None:
    _, clip = doll_and_squat()
    bodies = with_bodies()
    back = slice(None, None, -1)
    found, warnings = verify(
        root_position=bodies["body_position"][:, -1],
        root_rotation=bodies["body_rotation"][:, -1],
        body_position=bodies["body_position"][:, back],
        body_rotation=bodies["body_rotation"][:, back],
        body_names=bodies["body_names"][back],
    )
    assert_allclose(found.root_position, clip.root_position)
    assert warnings == []


def turned(clip: Clip, roll: int) -> np.ndarray:
    """The root quaternions with their numbers rotated by `roll` places."""
    return np.roll(clip.root_rotation, roll, -1)


def test_scalar_last_read_as_scalar_first_lies_on_its_side() -> None:
    _, clip = doll_and_squat()
    half = np.sqrt(0.5)
    heading = np.tile((half, 0.0, 0.0, half), (clip.num_frames, 1))  # faces left: wxyz
    message = (
        "cannot be what its file says, quaternions wxyz: it scores .* with quaternions xyzw .* Name it as a.csv:xyzw"
    )
    with pytest.raises(SceneError, match=message):
        verify(root_rotation=np.roll(heading, -1, -1), file_rotation="wxyz", source="a.csv")


def test_scalar_first_read_as_scalar_last_is_upside_down() -> None:
    message = (
        "cannot be what its file says, quaternions xyzw: .* Name it as a.pkl:wxyz, or as a.pkl:xyzw if it is right"
    )
    with pytest.raises(SceneError, match=message):
        verify(root_rotation=turned(doll_and_squat()[1], 1), file_rotation="xyzw", source="a.pkl")


def test_clip_that_stays_upright_either_way_is_caught_by_its_sliding_feet() -> None:
    robot = g1()
    walk = read(str(data_path(*KIMODO, "kimodo_walk.csv")))
    assert verify_clip(walk, robot.robot, robot)[0].num_frames == 150
    wrong = attrs.evolve(walk, root_rotation=turned(walk, -1))
    with pytest.raises(SceneError, match=r"cannot be what its file says, quaternions wxyz"):
        verify_clip(attrs.evolve(wrong, origins={**walk.origins, "rotation": "file"}), robot.robot, robot)
    mended, findings = verify_clip(wrong, robot.robot, robot)
    assert_allclose(mended.root_rotation, walk.root_rotation / np.linalg.norm(walk.root_rotation, axis=1)[:, None])
    assert "quaternions are taken as xyzw (score" in findings[0]
    declared = attrs.evolve(walk, root_rotation=turned(walk, -1), file_rotation="")
    assert verify_clip(declared, robot.robot, robot)[0].num_frames == 150


@pytest.mark.parametrize("name", ["walk", "wave", "high5", "jumpjack"])
def test_joints_counted_breadth_first_are_put_in_order_and_said(name: str) -> None:
    robot = g1()
    clip = read(str(data_path(*KIMODO, f"kimodo_{name}.csv")))
    columns = [robot.robot.dof_names.index(joint) for joint in BREADTH_FIRST_ORDER[29]]
    mixed = attrs.evolve(clip, dof_position=clip.dof_position[:, columns])
    found, findings = verify_clip(mixed, robot.robot, robot)
    assert_allclose(found.dof_position, clip.dof_position)
    assert "joints are taken in the order of the G1 with 29 joints, breadth first as in PhysX (score" in findings[0]


@needs_g1
@pytest.mark.parametrize("dofs", [29, 23])
def test_every_clip_of_the_data_folder_passes(dofs: int) -> None:
    robot = build_robot(robots.load({29: "g1", 23: "g1_23dof"}[dofs]))
    clips = read_clips(str(data_path("motions")))
    assert len(clips) >= 18
    for clip in clips:
        assert isinstance(clip, Clip)
        sound, warnings = verify_clip(clip, robot.robot, robot)
        assert sound.dof_position.shape == (clip.num_frames, dofs)
        wrists = [text for text in warnings if "wrist_roll" in text]
        assert bool(wrists) == (clip.dof_position.shape[1] != dofs)
        if wrists:
            word = (
                "missing, held at the default angles"
                if dofs == 29
                else f"left out, as {robot.robot.name} has no such joints"
            )
            assert word in wrists[0]


def test_real_npz_agrees_with_its_bodies_to_a_millimetre() -> None:
    robot = g1()
    clip = read(str(data_path(*KIMODO, "kimodo_walk_50hz.npz")))
    assert not any("away from where" in text for text in verify_clip(clip, robot.robot, robot)[1])
    assert clip.dof_names is not None
    nameless = attrs.evolve(clip, dof_names=None, body_names=None)
    assert not any("away from where" in text for text in verify_clip(nameless, robot.robot, robot)[1])


def test_real_npz_of_another_simulator_is_put_in_order() -> None:
    robot = g1()
    clip = read(str(data_path(*KIMODO, "kimodo_wave_50hz.npz")))
    columns = [robot.robot.dof_names.index(joint) for joint in BREADTH_FIRST_ORDER[29]]
    mixed = attrs.evolve(clip, dof_names=None, body_names=None, dof_position=clip.dof_position[:, columns])
    found, findings = verify_clip(mixed, robot.robot, robot)
    assert_allclose(found.dof_position, clip.dof_position)
    assert "breadth first as in PhysX (score" in findings[0]


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (-0.03, "a foot is 3.0 cm under the floor. Say --clip-height auto to put the feet on the floor."),
        (0.05, "the lowest foot hangs 5.0 cm above the floor in the median frame. Say --clip-height auto"),
    ],
)
def test_feet_in_or_above_the_floor(shift: float, message: str) -> None:
    _, clip = doll_and_squat()
    moved = clip.root_position + np.array((0.0, 0.0, shift))
    _, warnings = verify(root_position=moved)
    assert message in warnings[0]
    mended, warnings = verify("auto", root_position=moved)
    assert f"height changed by {-100 * shift:+.1f} to {-100 * shift:+.1f} cm" in warnings[0]
    assert_allclose(mended.root_position, clip.root_position, atol=1e-6)


def test_clip_far_from_the_floor_is_refused_but_can_be_put_down() -> None:
    moved = doll_and_squat()[1].root_position + np.array((0.0, 0.0, 1.5))
    with pytest.raises(
        SceneError,
        match=r"the lowest foot is at 1.50 m in the median frame; the floor is at 0\. If lengths are in metres",
    ):
        verify(root_position=moved)
    mended, _ = verify("auto", root_position=moved)
    assert_allclose(mended.root_position, doll_and_squat()[1].root_position, atol=1e-6)


def floor_clip(low: np.ndarray, fps: float = 50.0) -> np.ndarray:
    """Height of the lowest foot after `put_on_floor` when it was `low` before."""
    frames = len(low)
    zero = np.zeros((frames, 3))
    clip = Clip("jump", fps, zero, np.tile((1.0, 0, 0, 0), (frames, 1)), np.zeros((frames, 1)))
    return low + put_on_floor(clip, low)[0].root_position[:, 2]


@given(
    offset=st.floats(-0.5, 0.5), height=st.floats(0.05, 0.6), flight=st.floats(0.2, 0.6), drift=st.floats(-0.05, 0.05)
)
@settings(max_examples=60, deadline=None)
def test_jumps_keep_their_height_and_standing_feet_reach_the_floor(
    offset: float, height: float, flight: float, drift: float
) -> None:
    time = np.arange(250) / 50.0
    phase = np.clip((time - 2.0) / flight, 0.0, 1.0)
    jump = 4.0 * height * phase * (1.0 - phase)
    after = floor_clip(offset + drift * time / 5.0 + jump)
    # on a slope the opening stays below by half its window at an end, |drift| / 5 s × 0.5 s, and at the jump
    assert np.abs(after - jump).max() < abs(drift) * 0.3 + 1.5e-3


def test_clip_with_feet_up_for_long_is_moved_as_a_whole() -> None:
    time = np.arange(250) / 50.0
    low = 0.03 + 0.5 * np.clip(time - 2.0, 0.0, 1.0)  # a handstand, say
    assert_allclose(floor_clip(low), low - np.percentile(low, 10.0), atol=1e-9)


def test_deep_crouch_between_two_jumps_sinks_by_a_centimetre_at_most() -> None:
    """A recording whose floor rises by 12 cm within a second, as those taken from video do."""
    time = np.arange(120) / 30.0
    low = 0.12 * np.abs(np.clip(2.0 * (time - 2.0), -1.0, 1.0))
    after = floor_clip(low, fps=30.0)
    assert -0.0101 < after.min() < -0.005
    assert np.abs(after[[0, -1]]).max() < 0.02  # and both ends still stand


@needs_g1
def test_auto_height_mends_every_real_clip() -> None:
    robot = build_robot(robots.load("g1_23dof"))
    for path in sorted(Path(data_path("motions", "asap_g1_23dof")).glob("*.pkl")):
        clip, _ = verify_clip(read(str(path)), robot.robot, robot, height="auto")
        points = robot.foot_points(*body_poses(robot, clip.root_position, clip.root_rotation, clip.dof_position))
        low = points[..., 2].min(1)
        assert low.min() > -0.0101
        assert np.percentile(low, 25) < 0.02
