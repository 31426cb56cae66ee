"""Mirror images: the bodies are reflected, twice gives the same bytes, and a robot whose sides differ is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from components.motion import Clip
from engine.errors import SceneError
from scenes.robots.menagerie import available, menagerie
from systems.motion.kinematics import body_poses
from systems.motion.tools.mirror import mirror_clip
from systems.motion.writers import CONTAINERS
from systems.robots.model import RobotModel
from systems.robots.symmetry import joint_mirror
from tests.helpers import needs_g1
from tests.made_clips import clip_made_once
from tests.systems.motion.tools.robots import clips, lopsided, model

FLIP = np.diag((1.0, -1.0, 1.0))
OTHER_SIDE = {"left": "right", "right": "left", "A": "B", "B": "A"}


def matrices(rotation: np.ndarray) -> np.ndarray:
    """Rotation matrices of quaternions scalar first, by the textbook formula."""
    w, x, y, z = np.moveaxis(rotation / np.linalg.norm(rotation, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def random_clip(robot: RobotModel, seed: int) -> Clip:
    """Any poses within the limits, in any place and orientation."""
    random = np.random.default_rng(seed)
    low, high = robot.robot.position_limit.double().numpy().T
    rotation = random.normal(size=(5, 4))
    return Clip(
        name="any",
        fps=50.0,
        root_position=random.normal(size=(5, 3)),
        root_rotation=rotation / np.linalg.norm(rotation, axis=1, keepdims=True),
        dof_position=random.uniform(low, high, size=(5, len(low))),
        dof_names=robot.robot.dof_names,
    )


def poses(clip: Clip, robot: RobotModel) -> tuple[np.ndarray, np.ndarray]:
    """Position and rotation matrix of every body."""
    position, rotation = body_poses(robot, clip.root_position, clip.root_rotation, clip.dof_position)
    return position, matrices(rotation)


def counterpart(name: str) -> str:
    """The body of that name on the other side."""
    for side, other in OTHER_SIDE.items():
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name


def misfit(clip: Clip, robot: RobotModel) -> tuple[float, float]:
    """How far (m) bodies of the mirrored clip are from the reflected ones, and how far their turns are from reflected turns.

    Frames of the two sides may differ by a fixed turn, which the pose with all joints at zero shows.
    """
    still = Clip("zero", 50.0, np.zeros((1, 3)), np.array([[1.0, 0, 0, 0]]), robot.model.qpos0[None, 7:])
    names = robot.robot.body_names
    other = [names.index(counterpart(name)) for name in names]
    _, zero = poses(still, robot)
    fixed = np.swapaxes(FLIP @ zero[0][other] @ FLIP, -1, -2) @ zero[0]
    position, turn = poses(clip, robot)
    image_position, image_turn = poses(mirror_clip(clip, robot), robot)
    return (
        float(np.abs(image_position - position[:, other] @ FLIP).max()),
        float(np.abs(image_turn - FLIP @ turn[:, other] @ FLIP @ fixed).max()),
    )


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(["humanoid", "twisted"]), seed=st.integers(0, 2**31))
def test_the_bodies_of_a_mirrored_clip_are_the_reflected_bodies(name: str, seed: int):
    robot = model(name)
    assert max(misfit(random_clip(robot, seed), robot)) < 1e-9


@needs_g1
def test_the_bodies_of_a_g1_are_reflected_as_far_as_its_model_is_symmetric():
    robot = model("g1")
    clip = clip_made_once("walk", robot.robot, robot)
    assert max(misfit(clip, robot)) < 2e-4  # the shoulders of the model lie at 100.22 and −100.21 mm


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(["humanoid", "twisted"]), seed=st.integers(0, 2**31))
def test_the_mirror_image_of_the_mirror_image_is_the_clip_to_the_bit(name: str, seed: int):
    robot = model(name)
    clip = random_clip(robot, seed)
    again = mirror_clip(mirror_clip(clip, robot), robot)
    for field in ("root_position", "root_rotation", "dof_position"):
        assert getattr(again, field).tobytes() == getattr(clip, field).tobytes()


@pytest.mark.parametrize("ending", CONTAINERS)
def test_a_file_that_is_mirrored_twice_is_the_same_file(ending: str, tmp_path: Path):
    name = f"walk.{ending}"
    assert clips("convert", "walk", "--robot", "humanoid", "--out", tmp_path / name) == 0
    for source, target in (("", "once"), ("once", "twice")):
        words = ("mirror", tmp_path / source / name, "--robot", "humanoid", "--out", tmp_path / target / name)
        assert clips(*words) == 0
    whole = (tmp_path / name).read_bytes()
    assert (tmp_path / "once" / name).read_bytes() != whole
    assert (tmp_path / "twice" / name).read_bytes() == whole


def test_pairs_and_signs_follow_from_axes_and_not_from_names():
    found = joint_mirror(model("twisted"))
    names = model("twisted").robot.dof_names
    pairs = {name: (names[image], sign) for name, image, sign in zip(names, found.image, found.sign, strict=True)}
    assert pairs == {
        "S": ("S", -1.0),  # about the vertical
        "A_swing": ("B_swing", -1.0),  # B hangs on a body that is turned by 180°, so that its y points the other way
        "A_lift": ("B_lift", -1.0),  # worked out by hand: (1, 0, 0.5) becomes (1, 0, 0.5), which is B's in the world
        "A_reach": ("B_reach", -1.0),  # slides along (0, 0.6, -0.8) and the opposite of its reflection
        "B_swing": ("A_swing", -1.0),
        "B_lift": ("A_lift", -1.0),
        "B_reach": ("A_reach", -1.0),
    }
    assert_array_equal(found.offset, np.zeros(7))


def test_the_left_hand_that_waves_becomes_the_right_one():
    robot = model("humanoid")
    clip = clip_made_once("wave", robot.robot, robot)  # with the right hand
    image = mirror_clip(clip, robot)
    names = robot.robot.dof_names
    left, right = names.index("left_elbow_joint"), names.index("right_elbow_joint")
    assert_allclose(image.dof_position[:, left], clip.dof_position[:, right], rtol=0, atol=0)
    roll = names.index("right_shoulder_roll_joint")
    assert_allclose(image.dof_position[:, names.index("left_shoulder_roll_joint")], -clip.dof_position[:, roll])


@pytest.mark.parametrize(
    ("part", "changed", "finding"),
    [
        ('pos="0 -0.16 0.25"', 'pos="0 -0.16 0.28"', "left_shoulder_pitch_joint is 30.0 mm and 0.0° off"),
        (
            '<joint name="right_elbow_joint" axis="0 1 0"',
            '<joint name="right_elbow_joint" axis="0 1 0.1"',
            "left_elbow_joint is 0.0 mm and 5.7° off the mirror image of right_elbow_joint",
        ),
        ('<joint name="waist_yaw_joint" axis="0 0 1"', '<joint name="waist_yaw_joint" axis="0 1 1"', "waist_yaw_joint is"),
    ],
)  # fmt: skip
def test_a_robot_whose_sides_differ_is_refused_with_what_differs(part: str, changed: str, finding: str):
    with pytest.raises(SceneError, match="is not symmetric about the plane y = 0 of pelvis") as caught:
        joint_mirror(lopsided(part, changed))
    assert finding in str(caught.value)


def test_a_robot_with_one_arm_is_refused_with_the_joints_that_have_no_counterpart():
    robot = lopsided('<joint name="right_elbow_joint"', '<joint name="right_elbow_joint" type="slide"')
    with pytest.raises(SceneError, match="left_elbow_joint has no counterpart, right_elbow_joint has no counterpart"):
        joint_mirror(robot)


@pytest.mark.parametrize("name", ["g1", "g1_23dof", "g1_humanoidverse"])
def test_every_g1_has_a_mirror_image_of_each_joint_on_the_other_side(name: str):
    if not available():
        pytest.skip("the G1 is not installed")
    robot = model(name)
    names = robot.robot.dof_names
    found = joint_mirror(robot)
    assert [names[image] for image in found.image] == [counterpart(joint) for joint in names]
    turned = [joint for joint, sign in zip(names, found.sign, strict=True) if sign < 0.0]
    assert turned == [joint for joint in names if "roll" in joint or "yaw" in joint]


@pytest.mark.parametrize(
    ("file", "sides"),
    [
        ("unitree_h1/h1.xml", ("left", "right")),
        ("booster_t1/t1.xml", ("Left", "Right")),
        ("robotis_op3/op3.xml", ("l_", "r_")),
        ("berkeley_humanoid/berkeley_humanoid.xml", ("LL", "LR")),
    ],
)
def test_joints_of_other_makers_are_paired_with_those_of_the_other_side(file: str, sides: tuple[str, str]):
    if not available():
        pytest.skip("the Menagerie is not installed")
    robot = model(str(menagerie(file)))
    names = robot.robot.dof_names
    image = dict(zip(names, (names[joint] for joint in joint_mirror(robot).image), strict=True))
    swapped = {**dict([sides]), **dict([sides[::-1]])}
    for joint in names:
        side = next((side for side in sides if side in joint), "")
        assert image[joint] == (joint.replace(side, swapped[side]) if side else joint)
    assert misfit_of_places(random_clip(robot, 0), robot, image) < 2e-3  # where a frame lies on a middle axis is free


def misfit_of_places(clip: Clip, robot: RobotModel, image: dict[str, str]) -> float:
    """How far the frame origins of bodies on one side are from the reflected ones of their counterparts."""
    names = [*robot.robot.dof_names]
    bodies = dict(zip(names, robot.model.jnt_bodyid[1:] - 1, strict=True))
    body = [bodies[name] for name in names if image[name] != name]
    other = [bodies[image[name]] for name in names if image[name] != name]
    here, _ = poses(mirror_clip(clip, robot), robot)
    there, _ = poses(clip, robot)
    return float(np.abs(here[:, body] - there[:, other] @ FLIP).max())
