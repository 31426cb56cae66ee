"""What a table's numbers mean is decided by what a robot can do with them, and never wrongly."""

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from benchmarks.clip_evidence import BareTable, turned, verdict
from components.motion import Clip
from engine.errors import SceneError
from scenes import robots
from systems.motion.check import Verification, surplus_joints, verify_clip
from systems.motion.files import read_clips
from systems.motion.frame_rate import jump_rate, published_near
from systems.motion.joint_orders import PUBLISHED
from systems.motion.joint_tree import joint_tree, other_side
from systems.motion.kinematics import resample
from systems.motion.library import build_library
from systems.motion.unfit import Unfit
from systems.robots.model import RobotModel, build_robot
from tests.helpers import data_path, needs_g1
from tests.made_clips import clip_made_once
from tests.systems.motion_robots import doll

ASSUMED: Any = dict.fromkeys(("rotation", "rate", "joints", "angles", "lengths"), "assumed")
ORDER = {order.word: order.names for order in PUBLISHED}


@pytest.fixture(scope="module")
def g1() -> RobotModel:
    """The G1 with 29 joints."""
    return build_robot(robots.load("g1"))


@pytest.fixture(scope="module")
def walk(g1: RobotModel) -> Clip:
    """Our walk at 30 frames per second, of which nothing is known."""
    clip = resample(clip_made_once("walk", g1.robot, g1), 30.0)
    return attrs.evolve(clip, dof_names=None, file_rotation="wxyz", origins=ASSUMED, source="a.csv", typed="a.csv")


def scalar_last(clip: Clip) -> Clip:
    """A clip whose file has its quaternions scalar last, read as scalar first."""
    return attrs.evolve(clip, root_rotation=np.roll(clip.root_rotation, -1, -1))


def reordered(clip: Clip, names: tuple[str, ...], own: tuple[str, ...]) -> Clip:
    """A clip whose columns are in another order, or only some of them."""
    return attrs.evolve(clip, dof_position=clip.dof_position[:, [own.index(name) for name in names]])


@needs_g1
@pytest.mark.parametrize("heading", [0, 45, 90, 135, 180, 300])
def test_quaternion_order_of_a_walk_is_told_at_every_heading(walk: Clip, g1: RobotModel, heading: int) -> None:
    right = turned(walk, heading)
    for clip, order in ((right, "wxyz"), (scalar_last(right), "xyzw")):
        found, findings = verify_clip(clip, g1.robot, g1)
        assert_allclose(found.root_rotation, right.root_rotation, atol=1e-12)
        assert f"quaternions are taken as {order} (score" in findings[0]
        assert findings[0].count("30 frames per second are assumed (write a.csv:60fps, say, for another rate)") == 1


@needs_g1
def test_clip_that_stands_still_is_refused_where_both_orders_are_as_good_and_the_cures_work(
    g1: RobotModel, tmp_path: Path
) -> None:
    still = clip_made_once("stand", g1.robot, g1)
    path = tmp_path / "still.csv"
    rotation = np.roll(still.root_rotation, -1, -1)
    np.savetxt(path, np.concatenate((still.root_position, rotation, still.dof_position), 1), delimiter=",")
    message = f"two readings are about as likely: quaternions .* Write {path}:[wx]yz[wz]? or {path}:"
    (clip,) = read_clips(str(path))
    assert isinstance(clip, Clip)
    with pytest.raises(SceneError, match=message.replace("[wx]yz[wz]?", "[wxyz]+")):
        verify_clip(clip, g1.robot, g1)
    for order, expected in (("xyzw", (1.0, 0.0, 0.0, 0.0)), ("wxyz", (0.0, 0.0, 0.0, 1.0))):
        (clip,) = read_clips(f"{path}:{order}")
        assert isinstance(clip, Clip)
        assert_allclose(verify_clip(clip, g1.robot, g1)[0].root_rotation[0], expected)


@needs_g1
@pytest.mark.parametrize("clip", ["squat", "sway", "wave", "turn"])
@pytest.mark.parametrize("window", [0.0, 2.0])
def test_tables_of_our_clips_are_read_rightly_or_refused(
    g1: RobotModel, tmp_path: Path, clip: str, window: float
) -> None:
    made = resample(clip_made_once(clip, g1.robot, g1), 30.0)
    if window:
        rows = slice(15, 15 + round(30.0 * window))
        parts = {name: getattr(made, name)[rows] for name in ("root_position", "root_rotation", "dof_position")}
        made = attrs.evolve(made, **parts)
    verdicts = [
        verdict(BareTable(turned(made, heading), order, window, heading), tmp_path / "bare.csv")[0]
        for heading in (15, 105, 195, 240)
        for order in ("wxyz", "xyzw")
    ]
    assert verdicts == ["right"] * 8


@needs_g1
@given(heading=st.integers(0, 359), order=st.sampled_from(["wxyz", "xyzw"]), first=st.integers(0, 60))
@settings(max_examples=15, deadline=None)
def test_no_table_is_read_wrongly(g1: RobotModel, heading: int, order: str, first: int) -> None:
    made = resample(clip_made_once("squat", g1.robot, g1), 30.0)
    rows = slice(first, first + 45)
    parts = {name: getattr(made, name)[rows] for name in ("root_position", "root_rotation", "dof_position")}
    right = turned(attrs.evolve(made, **parts, dof_names=None, file_rotation="wxyz", origins=ASSUMED), heading)
    unfit = Unfit(skip=True)
    sound = Verification(g1.robot, g1, unfit).verify([scalar_last(right) if order == "xyzw" else right])
    assert all("does not say how it is written, and" in text for text in unfit.found)
    for found, _ in sound.values():
        assert_allclose(found.root_rotation, right.root_rotation, atol=1e-9)


@needs_g1
@pytest.mark.parametrize("order", ["wxyz", "xyzw"])
@pytest.mark.parametrize("turn", [(0.5, -0.5, -0.5, 0.5), (0.5, 0.5, 0.5, 0.5), (0.6, 0.0, 0.8, 0.0)])
def test_robot_that_lies_is_never_guessed_at(g1: RobotModel, turn: tuple[float, ...], order: str) -> None:
    """Nothing of what standing feet do tells the order then; what the file says is believed."""
    angles = np.tile(g1.robot.default_position.double().numpy(), (60, 1))
    angles += 0.1 * np.sin(np.arange(60) / 9.0)[:, None]
    lying = Clip("lying", 30.0, np.tile((0.0, 0.0, 0.12), (60, 1)), np.tile(turn, (60, 1)), angles)
    table = attrs.evolve(scalar_last(lying) if order == "xyzw" else lying, file_rotation="wxyz", origins=ASSUMED)
    with pytest.raises(
        SceneError, match=r"does not say how it is written, and .*: quaternions .* Write lying:\w+ or lying:"
    ):
        verify_clip(table, g1.robot, g1)
    stated = attrs.evolve(lying, dof_names=g1.robot.dof_names, file_rotation="wxyz")
    assert_allclose(verify_clip(stated, g1.robot, g1)[0].root_rotation, lying.root_rotation)


@needs_g1
@pytest.mark.parametrize("word", list(ORDER))
@pytest.mark.parametrize("clip", ["walk", "wave", "twist"])
def test_joint_order_of_a_table_without_names_is_told(g1: RobotModel, word: str, clip: str) -> None:
    own = g1.robot.dof_names
    made = resample(clip_made_once(clip, g1.robot, g1), 30.0)
    table = attrs.evolve(reordered(made, ORDER[word], own), dof_names=None, file_rotation="wxyz", origins=ASSUMED)
    found, findings = verify_clip(table, g1.robot, g1)
    kept = [own.index(name) for name in ORDER[word]]
    assert_allclose(found.dof_position[:, kept], made.dof_position[:, kept])
    order = next(order for order in PUBLISHED if order.word == word)
    assert f"joints are taken in the order {order.label} (score" in findings[0]


@needs_g1
def test_table_of_another_robots_joints_whose_feet_are_off_the_floor_is_refused_and_the_cure_works(
    walk: Clip, g1: RobotModel
) -> None:
    """The 27 columns of a Unitree H1-2 could be those of a G1 with 27 joints, whose legs are 20 cm shorter."""
    table = reordered(walk, ORDER["g1-27"], g1.robot.dof_names)
    for lift, sound in ((0.0, True), (0.08, True), (0.2, False)):
        higher = walk.root_position + np.array((0.0, 0.0, lift))
        clip = attrs.evolve(table, root_position=higher)
        if sound:
            verify_clip(clip, g1.robot, g1)
        else:
            with pytest.raises(
                SceneError, match=r"seems to be of another robot than g1_29dof: .* come down to 0.20 m"
            ) as error:
                verify_clip(clip, g1.robot, g1)
            assert "or write a.csv:g1-27 if it is right as it is." in str(error.value)
            verify_clip(attrs.evolve(clip, joint_order="g1-27"), g1.robot, g1)
            verify_clip(attrs.evolve(walk, root_position=higher), g1.robot, g1)


@needs_g1
def test_word_for_the_joint_order_wins_over_evidence(walk: Clip, g1: RobotModel) -> None:
    own = g1.robot.dof_names
    half = reordered(walk, ORDER["single-waist"], own)
    found, findings = verify_clip(attrs.evolve(half, joint_order="single-waist"), g1.robot, g1)
    assert "waist_roll, waist_pitch" in findings[1]
    assert "joints are taken" not in findings[0]
    assert not found.dof_position[:, [own.index("waist_roll_joint"), own.index("waist_pitch_joint")]].any()
    with pytest.raises(SceneError, match=r"cannot be in the order 'g1-29' for .* It may be lock-wrist, single-waist"):
        verify_clip(attrs.evolve(half, joint_order="g1-29"), g1.robot, g1)


@needs_g1
def test_auto_means_the_robot_that_has_the_joints_which_the_clip_moves(g1: RobotModel) -> None:
    made = resample(clip_made_once("wave", g1.robot, g1), 30.0)
    rolls = [g1.robot.dof_names.index(f"{side}_wrist_roll_joint") for side in ("left", "right")]
    rolling = made.dof_position.copy()
    rolling[:, rolls] = 0.3 * np.sin(np.arange(made.num_frames) / 10.0)[:, None]
    for angles, expected in ((made.dof_position, "g1_23dof"), (rolling, "g1")):
        sold = reordered(attrs.evolve(made, dof_position=angles), ORDER["single-waist"], g1.robot.dof_names)
        assert robots.fitting([attrs.evolve(sold, dof_names=None, file_rotation="wxyz", origins=ASSUMED)]) == expected
    assert robots.fitting([made]) == "g1"


@needs_g1
def test_angles_in_degrees_and_lengths_in_centimetres_are_taken_and_said(walk: Clip, g1: RobotModel) -> None:
    table = attrs.evolve(
        walk, dof_position=np.rad2deg(walk.dof_position), root_position=1000.0 * walk.root_position, dof_names=None
    )
    found, findings = verify_clip(table, g1.robot, g1)
    assert_allclose(found.dof_position, walk.dof_position)
    assert_allclose(found.root_position, walk.root_position)
    assert "angles are taken in degrees (score" in findings[0]
    assert "lengths are in millimetres" in findings[0]
    stated = attrs.evolve(table, origins={**ASSUMED, "lengths": "file"})
    with pytest.raises(SceneError, match=r"would fit as millimetres. Name the clip as a.csv:mm, or as a.csv:m if"):
        verify_clip(stated, g1.robot, g1)


@needs_g1
def test_clips_of_one_folder_share_their_convention(walk: Clip, g1: RobotModel) -> None:
    """A clip that stands still is read as those beside it, and one line speaks of all of them."""
    still = resample(clip_made_once("stand", g1.robot, g1), 30.0)
    still = attrs.evolve(still, dof_names=None, file_rotation="wxyz", origins=ASSUMED, source="x/still.csv")
    clips = [
        attrs.evolve(scalar_last(clip), typed="x", source=f"x/{i}.csv") for i, clip in enumerate((walk, still, walk))
    ]
    unfit = Unfit(skip=False)
    verification = Verification(g1.robot, g1, unfit)
    sound = verification.verify(clips)
    assert not unfit.found
    assert_allclose(sound[1][0].root_rotation, still.root_rotation)
    (line,) = verification.decided
    assert line.text.startswith("3 clips of x do not say how they are written: quaternions are taken as xyzw (score")
    assert "write x:60fps, say" in line.text


@needs_g1
def test_clips_that_disagree_do_not_decide_for_one_that_is_open(walk: Clip, g1: RobotModel) -> None:
    still = scalar_last(resample(clip_made_once("stand", g1.robot, g1), 30.0))
    still = attrs.evolve(still, dof_names=None, file_rotation="wxyz", origins=ASSUMED)
    clips = [attrs.evolve(clip, typed="x") for clip in (walk, still, scalar_last(walk))]
    unfit = Unfit(skip=True)
    sound = Verification(g1.robot, g1, unfit).verify(clips)
    assert sorted(sound) == [0, 2]
    assert "two readings are about as likely: quaternions" in unfit.found[0]


@needs_g1
def test_many_that_do_not_fit_are_listed_or_left_out(
    walk: Clip, g1: RobotModel, caplog: pytest.LogCaptureFixture
) -> None:
    short = attrs.evolve(walk, name="short", dof_position=walk.dof_position[:, :12])
    broken = attrs.evolve(walk, name="broken", root_rotation=2.0 * walk.root_rotation)
    clips = [short, walk, broken]
    with pytest.raises(SceneError, match=r"2 of 3 clips do not fit(.|\n)*'short'(.|\n)*'broken'"):
        build_library(tuple(clips), g1.robot, g1)
    assert build_library(clips, g1.robot, g1, skip_unfit=True).names == ("walk",)
    assert any("2 of 3 clips are left out" in record.message for record in caplog.records)


def test_plain_robot_takes_its_own_order_and_a_tie_is_no_question() -> None:
    """All joints move alike, so that every order is the same motion."""
    robot = doll()
    count = len(robot.robot.dof_names)
    wave = np.tile(0.05 * np.sin(np.arange(60) / 10.0)[:, None], (1, count)) - 0.05
    clip = Clip("plain", 30.0, np.tile((0.0, 0.0, 0.47), (60, 1)), np.tile((1.0, 0, 0, 0), (60, 1)), wave)
    found, findings = verify_clip(attrs.evolve(clip, file_rotation="wxyz", origins=ASSUMED), robot.robot, robot)
    assert_allclose(found.dof_position, wave)
    assert "joints are taken in the order of test; 30 frames" in findings[0]


def test_joint_that_a_clip_lacks_is_held_at_its_default_where_legs_are_complete() -> None:
    robot = doll()
    clip = clip_made_once("squat", robot.robot, robot)
    names = robot.robot.dof_names
    for lost in ("left_elbow", "left_shoulder_roll"):
        kept = [i for i, name in enumerate(names) if name != lost]
        less = attrs.evolve(clip, dof_position=clip.dof_position[:, kept], dof_names=tuple(names[i] for i in kept))
        found, findings = verify_clip(less, robot.robot, robot)
        at = names.index(lost)
        assert_allclose(found.dof_position[:, at], float(robot.robot.default_position[at]))
        assert findings == [f"Clip 'squat' (made): {lost} missing, held at the default angle."]
    for lost in ("left_knee", "spine"):
        kept = [i for i, name in enumerate(names) if name != lost]
        less = attrs.evolve(clip, dof_position=clip.dof_position[:, kept], dof_names=tuple(names[i] for i in kept))
        with pytest.raises(SceneError, match=f"is for another robot: it lacks {lost}"):
            verify_clip(less, robot.robot, robot)


def test_joints_by_what_they_carry() -> None:
    robot = doll()
    tree = joint_tree(robot, robot.robot)
    names = robot.robot.dof_names
    carried = {
        "leg": [name for name, is_leg in zip(names, tree.leg, strict=True) if is_leg],
        "trunk": [name for name, is_trunk in zip(names, tree.trunk, strict=True) if is_trunk],
    }
    legs = ("hip_yaw", "hip_roll", "hip_pitch", "knee", "ankle_pitch", "ankle_roll")
    assert sorted(carried["leg"]) == sorted(f"{side}_{joint}" for side in ("left", "right") for joint in legs)
    assert carried["trunk"] == ["spine"]
    assert tree.depth[names.index("spine")] == 0
    assert tree.depth[names.index("left_elbow")] == 4
    assert tree.depth[names.index("right_ankle_roll")] == 5
    signs = {names[left]: sign for left, _, sign in tree.mirror}
    assert signs["left_knee"] == 1 and signs["left_hip_roll"] == -1 and signs["left_hip_yaw"] == -1
    assert len(signs) == 10


@needs_g1
def test_joints_level_by_level_are_those_that_physx_counts(g1: RobotModel) -> None:
    names = g1.robot.dof_names
    level = tuple(names[joint] for joint in joint_tree(g1, g1.robot).breadth_first())
    assert level == ORDER["g1-29-breadth-first"]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("left_knee", "right_knee"), ("R_HipPitch", "L_HipPitch"), ("LHipYaw", "RHipYaw"), ("l_arm_elx", "r_arm_elx"),
        ("leg_left_1_joint", "leg_right_1_joint"), ("lower_spine", "lower_spine"), ("FL_hip", "FL_hip"),
    ],
)  # fmt: skip
def test_names_of_the_other_side(name: str, other: str) -> None:
    assert other_side(name) == other


def flight(fps: float, seconds: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Height of the lowest foot and of the centre of mass in 3 s with one jump that takes so long."""
    time = np.arange(round(3.0 * fps)) / fps
    phase = np.clip(time - 1.2, 0.0, seconds)
    jump = 0.5 * 9.81 * phase * (seconds - phase)
    return jump, 0.7 + jump


@pytest.mark.parametrize("fps", [24.0, 30.0, 50.0, 60.0, 100.0, 120.0])
def test_jump_shows_the_frame_rate(fps: float) -> None:
    low, mass = flight(fps)
    rate = jump_rate(low, mass, mass, np.ones_like(low), doll().robot)
    assert rate is not None
    assert abs(rate / fps - 1.0) < 1e-6
    assert published_near(rate) == fps


def test_what_is_no_jump_shows_no_rate() -> None:
    low, mass = flight(50.0)
    robot, up = doll().robot, np.ones_like(low)
    assert jump_rate(0.0 * low, mass, mass, up, robot) is None  # the feet stay down
    assert jump_rate(low, mass, mass, -up, robot) is None  # on the hands
    assert jump_rate(low, mass, 0.1 + 0.0 * mass, up, robot) is None  # sitting
    assert jump_rate(low, 0.7 + 0.1 * low, mass, up, robot) is None  # too low to tell
    assert jump_rate(low, 0.7 + 2.0 * np.minimum(low, 0.2), mass, up, robot) is None  # no parabola
    assert jump_rate(low[70:], mass[70:], mass[70:], up[70:], robot) is None  # cut off
    assert published_near(75.0) is None


@needs_g1
def test_real_jumps_without_a_rate_are_taken_at_the_one_at_which_they_fall(tmp_path: Path) -> None:
    model = build_robot(robots.load("g1_23dof"))
    (raw,) = read_clips(str(data_path("motions", "asap_g1_23dof", "asap_CR7_level1.pkl")))
    assert isinstance(raw, Clip)
    sound, _ = verify_clip(raw, model.robot, model)
    fast = resample(attrs.evolve(sound, body_names=None), 120.0)
    table = attrs.evolve(fast, fps=30.0, file_rotation="wxyz", origins=ASSUMED, typed="a.csv")
    found, findings = verify_clip(table, model.robot, model)
    assert found.fps == 120.0
    assert "120 frames per second are taken, since jumps fall as at 121 (write a.csv:30fps if not)" in findings[0]
    by_hand, findings = verify_clip(attrs.evolve(table, origins={**ASSUMED, "rate": "option"}), model.robot, model)
    assert by_hand.fps == 30.0
    assert not any("per second" in text for text in findings)
    _, findings = verify_clip(attrs.evolve(table, origins={**ASSUMED, "rate": "file"}), model.robot, model)
    assert any(
        "says 30 frames per second, but its jumps fall as at 121; write a.csv:120fps" in text for text in findings
    )


@needs_g1
def test_joints_beyond_the_robot_are_those_that_move(g1: RobotModel) -> None:
    small = build_robot(robots.load("g1_23dof"))
    made = clip_made_once("wave", g1.robot, g1)
    assert surplus_joints(made, small.robot, small) == []
    moved = made.dof_position.copy()
    moved[5:, g1.robot.dof_names.index("left_wrist_yaw_joint")] = 0.4
    assert surplus_joints(attrs.evolve(made, dof_position=moved), small.robot, small) == ["left_wrist_yaw"]
    assert surplus_joints(attrs.evolve(made, dof_position=np.nan * moved), small.robot, small) == []
