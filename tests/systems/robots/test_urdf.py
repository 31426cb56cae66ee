"""Robots out of URDF: on a free base, with limits of torque and speed, and with the meshes that can be found."""

import math
from pathlib import Path

import numpy as np
import pytest

from engine.errors import SceneError
from scenes.robots import load
from systems.robots.model import build_robot
from tests.helpers import data_path
from tests.systems.robots.foreign import BALL, built, urdf, urdf_joint, urdf_link, write

SHINS = ("left_shin", "right_shin")
HINGES = ("left_thigh_joint", "left_shin_joint", "right_thigh_joint", "right_shin_joint")
MESH = '<{role}><geometry><mesh filename="{file}"/></geometry></{role}>'
TETRAHEDRON = "v 0 0 0\nv .1 0 0\nv 0 .1 0\nv 0 0 .1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SceneError) as error:
        built(folder, text, "robot.urdf")
    return str(error.value).replace(str(folder / "robot.urdf"), "robot.urdf")


def test_a_urdf_is_a_robot_on_a_free_base_that_stands_on_what_is_fixed_to_its_shins(tmp_path: Path) -> None:
    model = built(tmp_path, urdf(), "robot.urdf")
    robot = model.robot
    assert robot.dof_names == HINGES and robot.foot_names == SHINS and model.notes == ()
    assert robot.body_names == ("trunk", "left_thigh", "left_shin", "right_thigh", "right_shin")
    assert robot.torque_limit.tolist() == [80.0] * 4 and robot.velocity_limit.tolist() == [20.0] * 4
    assert robot.default_height == pytest.approx(0.3 + 0.3 + 0.05)
    assert model.body_mass.sum() == pytest.approx(5 + 2 * (1 + 1 + 0.2))
    np.testing.assert_allclose(robot.position_limit.numpy(), [[-1, 1]] * 4)


def test_urdf_is_known_by_its_content_whatever_the_file_is_called(tmp_path: Path) -> None:
    text = urdf(before="<!-- <mujoco> exported -->")
    assert build_robot(load(str(write(tmp_path, text, "walker.xml")))).robot.foot_names == SHINS


@pytest.mark.parametrize("encoding", ["gb2312", "shift_jis", "cp1252", "utf-16", "us-ascii"])
def test_the_encoding_of_a_urdf_does_not_matter(encoding: str, tmp_path: Path) -> None:
    declaration = (
        f'<?xml version="1.0" encoding="{encoding}"?><!-- {"" if encoding in ("cp1252", "us-ascii") else "机器"} -->'
    )
    text = urdf().replace('<?xml version="1.0"?>', declaration)
    assert declaration in text
    (tmp_path / "robot.urdf").write_text(text, encoding=encoding)
    assert build_robot(load(str(tmp_path / "robot.urdf"))).robot.foot_names == SHINS


@pytest.mark.parametrize("name", ["walker.urdf", "./walker.urdf", "~/walker.urdf", "./walker"])
def test_a_file_in_the_folder_is_a_robot_by_its_name_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, urdf(), name.removeprefix("~/"))
    assert load(name).feet == SHINS


def test_links_without_inertia_weigh_nothing(tmp_path: Path) -> None:
    pad = f'<link name="pad">{BALL.format(r=0.03)}</link>' + urdf_joint("left_foot", "pad", "fixed", at="0.1 0 0")
    model = built(tmp_path, urdf(pad), "robot.urdf")
    assert model.body_mass.sum() == pytest.approx(5 + 2 * 2.2) and len(model.foot_point_body) == 3


def test_a_link_called_world_is_not_part_of_the_robot(tmp_path: Path) -> None:
    for kind in ("fixed", "floating"):
        world = '<link name="world"/>' + urdf_joint("world", "trunk", kind).replace("<limit", "<!-- limit").replace(
            'velocity="20"/>', 'velocity="20"/ -->'
        )
        assert built(tmp_path, urdf(world), "robot.urdf").robot.body_names[0] == "trunk"


def test_a_link_that_only_the_base_floats_on_is_not_part_of_the_robot(tmp_path: Path) -> None:
    odom = '<link name="odom"/>' + urdf_joint("odom", "trunk", "floating")
    model = built(tmp_path, urdf(odom), "robot.urdf")
    assert model.robot.body_names[0] == "trunk" and model.robot.foot_names == SHINS


def test_ranges_in_degrees_are_refused_with_a_cure_that_works(tmp_path: Path) -> None:
    message = refusal(tmp_path, urdf().replace('lower="-1" upper="1"', 'lower="-57" upper="57"'))
    assert "URDF counts radians: write lower and upper of its <limit> in radians." in message


def test_continuous_joints_turn_once_around_and_that_is_said(tmp_path: Path) -> None:
    text = urdf().replace('name="left_shin_joint" type="revolute"', 'name="left_shin_joint" type="continuous"')
    model = built(tmp_path, text, "robot.urdf")
    assert model.robot.position_limit[1].tolist() == pytest.approx([-math.pi, math.pi])
    assert model.notes == ("Continuous joints may turn by π to either side here: left_shin_joint.",)


def test_joints_that_mimic_another_do_not_move_and_that_is_said(tmp_path: Path) -> None:
    finger = urdf_link("finger", mass=0.1) + urdf_joint(
        "trunk", "finger", more='<mimic joint="left_shin_joint"/>', at="0 0 0.3"
    )
    model = built(tmp_path, urdf(finger), "robot.urdf")
    assert model.robot.dof_names == HINGES
    assert (
        model.notes[-1]
        == "Joints without a motor of their own do not move here: finger_joint (it follows left_shin_joint)."
    )


def test_a_leg_that_mimics_another_is_refused(tmp_path: Path) -> None:
    text = urdf().replace(
        '<joint name="right_shin_joint" type="revolute">',
        '<joint name="right_shin_joint" type="revolute"><mimic joint="left_shin_joint"/>',
    )
    assert "legs that move passively: right_shin_joint (it follows left_shin_joint)" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "file", ["package://walker_description/meshes/part.obj", "meshes/part.obj", "package://elsewhere/meshes/part.obj"]
)
def test_meshes_are_found_by_package_and_by_folder(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "walker_description"
    (folder / "meshes").mkdir(parents=True)
    (folder / "urdf").mkdir()
    (folder / "meshes" / "part.obj").write_text(TETRAHEDRON)
    home = folder / "urdf" if file.startswith("package") else folder
    sole = BALL.format(r=0.05)
    model = built(
        home, urdf(sole=sole, base=BALL.format(r=0.1) + MESH.format(role="collision", file=file)), "robot.urdf"
    )
    assert model.model.nmesh == 1 and model.notes == ()


@pytest.mark.parametrize("file", ["package://walker/part.stl", "part.dae"])
def test_looks_that_are_missing_or_in_another_format_do_not_matter(file: str, tmp_path: Path) -> None:
    (tmp_path / "part.dae").write_text("<COLLADA/>")
    text = urdf(base=BALL.format(r=0.1) + MESH.format(role="visual", file=file))
    (note,) = built(tmp_path, text, "robot.urdf").notes
    assert note == f"1 meshes that only pictures need are missing or of another format ({file}); films show the rest."


@pytest.mark.parametrize(("file", "fault"), [("a/part.stl", "is not there"), ("part.dae", "is no .stl, .obj, .msh")])
def test_a_mesh_that_collides_is_asked_for_by_name(file: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "part.dae").write_text("<COLLADA/>")
    message = refusal(tmp_path, urdf(base=MESH.format(role="collision", file=file)))
    assert message.startswith(f"robot.urdf: link 'trunk' collides as the mesh {file}, which {fault}")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (urdf_link("cart"), "is several trees of links (roots: trunk, cart)"),
        (
            urdf_link("cart") + urdf_joint("trunk", "cart", "planar"),
            "joints of a kind that is not supported: cart_joint (planar)",
        ),
        (
            (urdf_link("cart") + urdf_joint("trunk", "cart")).replace('effort="80"', 'effort="0"'),
            'It lacks: torque limits (effort="…" above 0 in the <limit> of the joint; on cart_joint)',
        ),
        (
            (urdf_link("cart") + urdf_joint("trunk", "cart")).replace('lower="-1" upper="1"', ""),
            "It lacks: joint ranges (on cart_joint)",
        ),
        (
            urdf_link("cart") + urdf_link("van") + 2 * urdf_joint("trunk", "cart").replace("cart_joint", "j"),
            "two joints called j",
        ),
        (2 * urdf_link("cart") + urdf_joint("trunk", "cart"), "two links called cart"),
        ("<link>", "is not well-formed XML"),
    ],
)
def test_what_is_no_single_robot_is_refused(more: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, urdf(more))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("r.sdf", "<sdf/>", "is an SDF file, and a robot is read from MJCF or URDF; convert it to URDF"),
        ("r.xml", '<?xml version="1.0"?><sdf version="1.7"/>', "is an SDF file"),
        ("r.urdf.xacro", "<robot/>", "is a xacro template, and a robot is read from MJCF or URDF; expand it first: xacro r.urdf.xacro > robot.urdf."),
        ("r.urdf", '<robot xmlns:xacro="x"><xacro:include filename="y"/></robot>', "is a xacro template"),
        ("r.usd", "PXR-USDC", "is a USD file"),
        ("r.mjb", "binary", "is a compiled MuJoCo model"),
        ("r.stl", "solid", "is a mesh"),
        ("r.xml", "<mujocoinclude/>", "is a part for other files to include"),
        ("r.xml", "<html></html>", "is a web page"),
        ("r.xml", "<sensors/>", "is neither MJCF (<mujoco>) nor URDF (<robot>): its first element is <sensors>."),
        ("r.xml", "version https://git-lfs.github.com/spec/v1", "is only a pointer of Git LFS to the real file, and"),
        ("r.xml", '<mujoco>\n<body pos="0 nan 1"/></mujoco>', 'r.xml has pos="0 nan 1". Every number must be finite'),
        ("r.xml", "", "is neither MJCF (<mujoco>) nor URDF (<robot>): it holds no XML."),
        ("r.xml", "<mujoco><body></mujoco>", "is not valid MJCF"),
    ],
)  # fmt: skip
def test_other_files_are_named_and_refused(name: str, text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SceneError) as error:
        load(str(write(tmp_path, text, name)))
    assert words in str(error.value)


def test_an_impossible_inertia_is_refused_with_a_cure_that_works(tmp_path: Path) -> None:
    broken = urdf().replace('ixx="0.05"', 'ixx="0.5"')
    message = refusal(tmp_path, broken)
    assert (
        'write <compiler balanceinertia="true"/> into the file (into <mujoco> of a URDF)' in message
        and "\n" not in message
    )
    mended = broken.replace("</robot>", '<mujoco><compiler balanceinertia="true"/></mujoco></robot>')
    assert built(tmp_path, mended, "robot.urdf").robot.foot_names == SHINS


def test_a_folder_and_a_missing_file_name_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, urdf(), "walker.urdf")
    with pytest.raises(SceneError, match=r"is a folder, and a robot is one file; in it are walker.urdf"):
        load(str(tmp_path))
    with pytest.raises(SceneError, match=r"There is no robot file .*walkr.urdf; .* Did you mean walker.urdf\?"):
        load(str(tmp_path / "walkr.urdf"))


def test_the_go2_of_unitree_stands_on_four_legs() -> None:
    model = build_robot(load(str(data_path("robots", "unitree_go2", "go2.urdf"))))
    assert model.robot.foot_names == ("FL_calf", "FR_calf", "RL_calf", "RR_calf")
    assert 0.25 < model.robot.default_height < 0.45 and model.body_mass.sum() == pytest.approx(15.0, abs=0.5)
