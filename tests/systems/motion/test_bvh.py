"""BVH files: skeletons, channel orders, units, axes, names of bones, and damage."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SceneError
from systems.motion.retarget.bones import find_bones, read_bones, read_human
from systems.motion.retarget.bvh import BvhFile, BvhJoint, read_bvh
from systems.motion.retarget.human import LANDMARKS
from tests.systems.motion.retarget_inputs import TREE, bvh_text

ARM = (("root", None, (0.0, 0.0, 0.0)), ("elbow", "root", (1.0, 0.0, 0.0)), ("hand", "elbow", (0.0, 2.0, 0.0)))


def _file(tmp_path: Path, text: str, name: str = "motion.bvh") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def _matrix(axis: str, degrees: float) -> np.ndarray:
    """A turn by hand, independent of the reader's."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "X": np.array(((1, 0, 0), (0, c, -s), (0, s, c))),
        "Y": np.array(((c, 0, s), (0, 1, 0), (-s, 0, c))),
        "Z": np.array(((c, -s, 0), (s, c, 0), (0, 0, 1))),
    }[axis]


def test_a_turned_joint_carries_what_hangs_on_it(tmp_path: Path):
    angles = {"root": [(90.0, 0.0, 0.0)], "elbow": [(0.0, 0.0, 0.0)]}
    bvh = read_bvh(_file(tmp_path, bvh_text(ARM, angles, order="ZXY", frames=1)))
    place = dict(zip(bvh.names, bvh.positions()[0], strict=True))
    assert place["elbow"] == pytest.approx((0.0, 1.0, 0.0), abs=1e-6)  # x turned to y
    assert place["hand"] == pytest.approx((-2.0, 1.0, 0.0), abs=1e-6)
    assert place["hand End Site"] == pytest.approx((-2.0, 1.0, 5.0), abs=1e-6)


@given(
    st.permutations("XYZ"),
    st.lists(st.tuples(*[st.floats(-180.0, 180.0)] * 6), min_size=1, max_size=3),
)
def test_channels_turn_one_after_the_other_in_any_order(order: list[str], rows: list[tuple[float, ...]]):
    turns = tuple(f"{axis}rotation" for axis in order)
    joints = (
        BvhJoint("root", -1, (0.0, 0.0, 0.0), turns),
        BvhJoint("elbow", 0, (1.0, 2.0, 3.0), turns),
        BvhJoint("hand", 1, (0.5, -1.0, 2.0), ()),
    )
    positions = BvhFile(joints=joints, fps=30.0, values=np.array(rows)).positions()
    for row, place in zip(rows, positions, strict=True):
        first, second = (
            np.linalg.multi_dot([_matrix(axis, angle) for axis, angle in zip(order, part, strict=True)])
            for part in (row[:3], row[3:])
        )
        assert place[1] == pytest.approx(first @ (1.0, 2.0, 3.0), abs=1e-9)
        assert place[2] == pytest.approx(first @ (1.0, 2.0, 3.0) + first @ second @ (0.5, -1.0, 2.0), abs=1e-9)


def test_positions_of_a_joint_take_the_place_of_its_offset():
    joints = (
        BvhJoint("root", -1, (9.0, 9.0, 9.0), ("Xposition", "Yposition", "Zposition")),
        BvhJoint("tip", 0, (9.0, 9.0, 9.0), ("Zposition", "Xrotation")),
    )
    positions = BvhFile(joints=joints, fps=30.0, values=np.array([[1.0, 2.0, 3.0, 4.0, 90.0]])).positions()
    assert positions[0] == pytest.approx(np.array([(1.0, 2.0, 3.0), (1.0, 2.0, 7.0)]))


@pytest.mark.parametrize(("size", "unit"), [(1.0, "cm"), (0.01, "m"), (10.0, "mm"), (1 / 2.54, "in"), (0.17717, "cmu")])
def test_the_unit_is_found_by_the_legs(tmp_path: Path, size: float, unit: str):
    human = read_human(_file(tmp_path, bvh_text(size=size)))
    assert human.leg == pytest.approx(0.82, abs=0.002)  # 42 and 40 cm
    assert human.notes[0] == f"lengths are in {unit}, by a leg of 0.82 m"
    assert human.notes[1] == "y is up"
    assert human.fps == pytest.approx(30.0, abs=1e-3)


def test_a_leg_of_no_unit_is_refused_and_the_cure_works(tmp_path: Path):
    path = _file(tmp_path, bvh_text(size=0.05))  # a leg is 4.1 long
    with pytest.raises(SceneError, match=r"a leg is 4.1 long, .* Say which with --unit"):
        read_human(path)
    assert read_human(path, unit="in").leg == pytest.approx(4.1 * 0.0254, abs=1e-3)


def test_left_stays_left_whatever_axis_is_up(tmp_path: Path):
    for turn in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        tree = tuple((name, above, tuple(float(place[i]) for i in turn)) for name, above, place in TREE)
        human = read_human(_file(tmp_path, bvh_text(tree)))
        hips, toes, ankles = human.of("hip")[0], human.of("toe")[0], human.of("ankle")[0]
        left, forward = hips[0] - hips[1], (toes - ankles).mean(0)
        assert human.of("shoulder")[0, 0, 2] > hips[0, 2] > ankles[0, 2]
        assert np.cross(forward, left)[2] > 0.0  # left is to the left of where the toes point, seen from above


def test_a_mirrored_skeleton_is_refused_and_the_cure_works(tmp_path: Path):
    mirrored = tuple((name, above, (-place[0], *place[1:])) for name, above, place in TREE)
    path = _file(tmp_path, bvh_text(mirrored))
    with pytest.raises(SceneError, match="the toes point backwards, so left and right are exchanged"):
        read_human(path)
    other = {"left": "right", "right": "left"}
    plain = find_bones(read_bvh(path), "mirrored")
    names = read_bvh(path).names
    bones = {mark: names[plain[f"{other[mark.split('_')[0]]}_{mark.split('_')[1]}"]] for mark in LANDMARKS}
    assert read_human(path, bones=bones).leg == pytest.approx(0.82, abs=0.002)


def test_a_person_who_lies_aslant_is_asked_about_and_the_cure_works(tmp_path: Path):
    lying = {"Hips": [(0.0, 45.0, 0.0)] * 30}  # about x, which is second in the order ZXY
    path = _file(tmp_path, bvh_text(angles=lying))
    with pytest.raises(SceneError, match=r"not clear which is up. Say e\.g\. --up y"):
        read_human(path)
    assert read_human(path, up="y").of("hip")[0, :, 2] == pytest.approx(0.95 - 0.05 * np.sqrt(0.5), abs=1e-3)


def test_a_first_frame_of_another_pose_is_left_out(tmp_path: Path):
    down = {"LeftArm": [(80.0, 0.0, 0.0), *[(0.0, 0.0, 0.0)] * 29]}  # as in files whose first frame is a T-pose
    human = read_human(_file(tmp_path, bvh_text(angles=down)))
    assert len(human.points) == 29
    assert "the first frame is a pose apart from the motion and is left out" in human.notes
    assert len(read_human(_file(tmp_path, bvh_text())).points) == 30


NAMING = {  # of one bone each: hip, knee, ankle, toe, shoulder, elbow, wrist
    "CMU": ("{Left}UpLeg", "{Left}Leg", "{Left}Foot", "{Left}ToeBase", "{Left}Arm", "{Left}ForeArm", "{Left}Hand"),
    "Mixamo": tuple(f"mixamorig:{{Left}}{b}" for b in ("UpLeg", "Leg", "Foot", "ToeBase", "Arm", "ForeArm", "Hand")),
    "Xsens": (
        "{Left}UpperLeg", "{Left}LowerLeg", "{Left}Foot", "{Left}Toe", "{Left}UpperArm", "{Left}ForeArm", "{Left}Hand"
    ),
    "MotionBuilder": (
        "{Left}Hip", "{Left}Knee", "{Left}Ankle", "{Left}Toe", "{Left}Shoulder", "{Left}Elbow", "{Left}Wrist"
    ),
    "SMPL": ("{L}_Hip", "{L}_Knee", "{L}_Ankle", "{L}_Foot", "{L}_Shoulder", "{L}_Elbow", "{L}_Wrist"),
    "Unreal": ("thigh_{l}", "calf_{l}", "foot_{l}", "ball_{l}", "upperarm_{l}", "lowerarm_{l}", "hand_{l}"),
    "Blender": ("thigh.{L}", "shin.{L}", "foot.{L}", "toe.{L}", "upper_arm.{L}", "forearm.{L}", "hand.{L}"),
    "ASF": ("{l}femur", "{l}tibia", "{l}foot", "{l}toes", "{l}humerus", "{l}radius", "{l}wrist"),
    "3ds Max": tuple(f"Bip01 {{L}} {b}" for b in ("Thigh", "Calf", "Foot", "Toe0", "UpperArm", "Forearm", "Hand")),
}  # fmt: skip


@pytest.mark.parametrize("program", NAMING)
def test_bones_are_found_by_the_names_of_every_program(tmp_path: Path, program: str):
    ours = ("UpLeg", "Leg", "Foot", "Toe", "Arm", "ForeArm", "Hand")
    names = {}
    for side in ("Left", "Right"):
        words = {"Left": side, "L": side[0], "l": side[0].lower()}
        names.update({f"{side}{bone}": name.format(**words) for bone, name in zip(ours, NAMING[program], strict=True)})
    bvh = read_bvh(_file(tmp_path, bvh_text(names=names, frames=2)))
    found = find_bones(bvh, program)
    known = read_bvh(_file(tmp_path, bvh_text(frames=2)))
    assert found == find_bones(known, "LAFAN1")
    assert set(found) == set(LANDMARKS)


def test_a_collar_called_shoulder_is_not_the_shoulder(tmp_path: Path):
    collars = (("LeftShoulder", "Spine", (3, 36, 0)), ("RightShoulder", "Spine", (-3, 36, 0)))
    bvh = read_bvh(_file(tmp_path, bvh_text((*TREE, *collars), frames=2)))
    found = find_bones(bvh, "LAFAN1")
    assert bvh.names[found["left_shoulder"]] == "LeftArm"


def test_toes_may_be_where_the_foot_ends(tmp_path: Path):
    bare = tuple(part for part in TREE if not part[0].endswith("Toe"))
    bvh = read_bvh(_file(tmp_path, bvh_text(bare, frames=2)))
    assert bvh.names[find_bones(bvh, "toeless")["right_toe"]] == "RightFoot End Site"


def test_an_unknown_skeleton_is_refused_with_its_bones_and_the_cure_works(tmp_path: Path):
    path = _file(tmp_path, bvh_text(names={"LeftUpLeg": "bone_7"}))
    with pytest.raises(SceneError) as refused:
        read_human(path)
    text = str(refused.value)
    assert "no bone was found for left_hip" in text and "bone_7" in text
    assert '{"left_hip": "NAME OF A BONE", …} and name it with --bones FILE' in text
    bones = _file(tmp_path, json.dumps({"left_hip": "bone_7"}), "bones.json")
    assert read_human(path, bones=read_bones(bones)).leg == pytest.approx(0.82, abs=0.002)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"left_hip": "bone_8"}', "has no bone 'bone_8' for left_hip; .* Did you mean bone_7"),
        ('{"left_hop": "bone_7"}', "'left_hop' is no landmark; .* Did you mean left_hip"),
        ('["bone_7"]', "should be like"),
        ("{", "cannot be read as a list of bones"),
    ],
)
def test_a_wrong_list_of_bones_is_refused(tmp_path: Path, content: str, message: str):
    path = _file(tmp_path, bvh_text(names={"LeftUpLeg": "bone_7"}))
    with pytest.raises(SceneError, match=message):
        read_human(path, bones=read_bones(_file(tmp_path, content, "bones.json")))


GOOD = bvh_text(ARM, frames=2)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("", "is no BVH file: one begins with a line HIERARCHY"),
        (GOOD.partition("MOTION")[0], "and has a line MOTION"),
        (GOOD.replace("OFFSET 0", "OFSET 0", 1), "Line 4 of .* has 'OFSET' where 'OFFSET' belongs"),
        (GOOD.replace("Zrotation", "Wrotation", 1), "has a channel 'Wrotation'; channels are Xposition"),
        (GOOD.replace("Frames: 2", "Frames: 9"), "says it has 9 frames and has 2. Is it cut short"),
        (GOOD.replace("Frame Time: 0.0333333", "Frame Time: 0"), "both need a positive number"),
        (GOOD.rstrip().rpartition(" ")[0] + "\n", "Line 25 of .* has 11 numbers; the skeleton has 12 channels"),
        (GOOD.rstrip().rpartition(" ")[0] + " nan\n", "Line 25 of .* has words that are no numbers"),
    ],
)
def test_damage_is_named_with_its_line(tmp_path: Path, damaged: str, message: str):
    with pytest.raises(SceneError, match=message):
        read_bvh(_file(tmp_path, damaged))


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(["", "}", "JOINT", "\x00", "é", "1e999", "\n"]))
def test_no_damage_reaches_a_person_as_a_traceback(place: int, scrap: str):
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = _file(Path(folder), GOOD[:place] + scrap + GOOD[place + 1 :])
        with suppress(SceneError):
            assert np.isfinite(read_bvh(path).positions()).all()
