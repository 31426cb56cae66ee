"""Robots out of other people's MJCF: what they stand on, what is left out, replaced or refused, and that there is a note of it."""

import re
from pathlib import Path

import attrs
import mujoco
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.robot import Capsule
from engine.errors import SceneError
from systems.motion.clips import make_clip
from systems.robots.describe import describe
from systems.robots.model import build_robot
from systems.robots.summary import robot_facts
from tests.physics.rows import PENDULUM, one_foot
from tests.systems.robots.foreign import FEET, JOINT, built, described, foreign, joint_names, motors, write

SPHERES = "".join(
    f'<body name="{{side}}_pad_{i}" pos="{x} {y} -0.04"><geom type="sphere" size="0.012" mass="0.01"/></body>'
    for i, (x, y) in enumerate(((0.1, 0.03), (0.1, -0.03), (-0.05, 0.03), (-0.05, -0.03), (0.0, 0.0)))
)
SOUND = foreign()


def mass(model: mujoco.MjModel) -> float:
    return float(model.body_mass.sum())


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SceneError) as error:
        built(folder, text)
    return str(error.value).replace(str(folder / "robot.xml"), "robot.xml")


def test_a_sound_robot_is_read_without_a_word(tmp_path: Path) -> None:
    model = built(tmp_path, SOUND)
    assert model.robot.foot_names == FEET and model.robot.end_effectors == FEET and model.notes == ()
    assert model.robot.dof_names == tuple(joint_names())
    # pelvis 0.6 m above the ground in the file, soles 0.05 + 0.5 + 0.04 + 0.01 below the pelvis
    assert model.robot.default_height == pytest.approx(0.6, abs=1e-6)


@pytest.mark.parametrize(
    "foot",
    [
        '<body name="{side}_sole" pos="0 0 -0.05"><site name="{side}_s"/></body>',
        '<body name="{side}_toe"><geom type="box" size=".01 .01 .01" pos="0.1 0 -0.03" mass="0" contype="0" conaffinity="0"/></body>',
        '<body name="{side}_imu"><body name="{side}_imu_2"/></body>',
        '<body><site name="{side}_unnamed"/></body>',
    ],
)
def test_frames_and_shells_that_hang_on_a_foot_do_not_make_the_hands_feet(foot: str, tmp_path: Path) -> None:
    model = built(tmp_path, foreign(foot=foot))
    assert model.robot.foot_names == FEET
    assert model.robot.default_height == pytest.approx(0.6, abs=1e-6)
    assert model.robot.body_names == built(tmp_path, SOUND).robot.body_names
    assert set(model.merged.values()) == (set(FEET) if "name" in foot.split(">")[0] else set())


def test_a_foot_made_of_bodies_without_joints_is_one_body_that_touches_at_all_of_them(tmp_path: Path) -> None:
    model = built(tmp_path, foreign(foot=SPHERES))
    assert model.robot.foot_names == FEET
    assert model.robot.body_names == built(tmp_path, SOUND).robot.body_names
    assert len(model.foot_point_body) == 2 * (4 + 5)
    assert {model.robot.body_names[body] for body in model.foot_point_body} == set(FEET)
    assert mass(model.model) == pytest.approx(mass(built(tmp_path, SOUND).model) + 10 * 0.01)
    friction = [model.model.geom_condim[geom] for geom in model.foot_geoms]
    assert friction == [3] * 18
    assert model.robot.default_height == pytest.approx(0.602, abs=1e-6)  # the pads reach 2 mm lower


def test_an_articulated_toe_is_part_of_the_leg_and_the_foot_stays_the_foot(tmp_path: Path) -> None:
    toe = '<body name="{side}_toe" pos="0.12 0 -0.04"><joint name="{side}_toe_joint" axis="0 1 0" range="-1 1"/><geom type="sphere" size="0.01" mass="0.1"/></body>'
    model = built(tmp_path, foreign(foot=toe))
    assert model.robot.foot_names == FEET and "left_toe_joint" in model.robot.dof_names
    toes = [g for g in range(model.model.ngeom) if "toe" in model.model.body(model.model.geom_bodyid[g]).name]
    assert [model.model.geom_condim[g] for g in toes] == [3, 3]  # it does not slide either


def test_a_low_ankle_is_not_the_foot_below_it(tmp_path: Path) -> None:
    ankle = '<body name="left_ankle_roll_link"'
    low = '<geom type="sphere" size="0.01" pos="0 0 -0.03" mass="0.001"/>'
    text = SOUND.replace(ankle, f"{low}{ankle}").replace(
        ankle.replace("left", "right"), low + ankle.replace("left", "right")
    )
    assert built(tmp_path, text).robot.foot_names == FEET


def test_bodies_that_a_description_names_stay_bodies(tmp_path: Path) -> None:
    description = described(tmp_path, foreign(foot='<body name="{side}_sole" pos="0 0 -0.05"/>'))
    tracked = attrs.evolve(description, tracked_bodies=("pelvis", "left_sole", *FEET))
    model = build_robot(tracked)
    assert "left_sole" in model.robot.body_names and "right_sole" not in model.robot.body_names


def test_a_robot_without_shapes_that_collide_is_refused(tmp_path: Path) -> None:
    text = SOUND.replace('<geom type="capsule"/>', '<geom type="capsule" contype="0" conaffinity="0"/>')
    assert refusal(tmp_path, text) == (
        "Nothing of the robot in robot.xml can touch the floor: it has no shape that collides. Use a file of it with collision "
        'shapes (a scene that pairs them with its floor, if there is one), or write contype="1" on the geoms of its soles.'
    )


def test_a_robot_whose_soles_do_not_collide_is_refused_by_name(tmp_path: Path) -> None:
    text = SOUND.replace('size="0.01" mass="0.1"', 'size="0.01" mass="0.1" contype="0" conaffinity="0"')
    text = text.replace('size="0.035" mass="1.2"', 'size="0.035" mass="1.2" contype="0" conaffinity="0"')
    assert refusal(tmp_path, text).startswith(
        "The robot in robot.xml has nothing to stand on: left_ankle_roll_link, right_ankle_roll_link reach lowest, but have no "
        "shape that collides; the lowest that does is '"
    )


def test_shapes_that_touch_only_in_pairs_touch_the_floor(tmp_path: Path) -> None:
    text = SOUND.replace('<geom type="capsule"/>', '<geom type="capsule" contype="0" conaffinity="0"/>')
    sole = '<geom type="sphere" size="0.01" mass="0.1" pos="-0.06 -0.03 -0.04"/>'
    for side in ("left", "right"):
        text = text.replace(sole, sole.replace("<geom", f'<geom name="{side}_heel"'), 1)
    pairs = '<contact><pair geom1="left_heel" geom2="floor"/><pair geom1="right_heel" geom2="floor"/></contact>'
    model = built(tmp_path, text.replace("</mujoco>", pairs + "</mujoco>"))  # the floor is in another file
    assert model.robot.foot_names == FEET and len(model.foot_geoms) == 2


def test_a_robot_that_lies_on_its_trunk_is_refused(tmp_path: Path) -> None:
    text = foreign(pelvis='<geom type="sphere" size="0.1" pos="0 0 -0.6"/>')
    assert refusal(tmp_path, text).startswith(
        "The robot in robot.xml does not stand in its default pose: its first body 'pelvis' reaches lowest."
    )


def test_a_root_below_the_feet_is_refused() -> None:
    with pytest.raises(SceneError, match=r"stands with its root at -0.30 m, which is below its feet \(arm\)"):
        build_robot(attrs.evolve(one_foot(Capsule("arm", 0.05, (0.0, 0.0, 0.35))), default_height=None))


def test_gravity_of_the_file_is_replaced_and_said(tmp_path: Path) -> None:
    model = built(tmp_path, foreign(head='<option gravity="0 0 0"/>'))
    assert model.model.opt.gravity.tolist() == [0.0, 0.0, -9.81]
    assert model.notes == ("Its file has the gravity 0 0 0 m/s²; 0 0 -9.81 is used.",)
    assert built(tmp_path, foreign(head='<option gravity="0 0 -9.8"/>')).notes == ()


def test_forces_that_a_file_switches_off_are_on(tmp_path: Path) -> None:
    head = '<option wind="1 0 0"><flag contact="disable" gravity="disable" limit="disable"/></option>'
    model = built(tmp_path, foreign(head=head))
    assert model.model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONTACT) == 0
    assert model.notes == (
        "Its file switches off contacts, joint limits, gravity; here they are on.",
        "Its file has wind or a medium of its own; here there is none.",
    )


def test_gravity_compensation_is_taken_off(tmp_path: Path) -> None:
    model = built(tmp_path, SOUND.replace('<body name="torso_link"', '<body name="torso_link" gravcomp="1"'))
    assert not model.model.body_gravcomp.any()
    assert model.notes == ("Its file takes weight off torso_link (gravcomp); here every body has its weight.",)


def test_ground_other_than_a_level_floor_is_left_out_and_said(tmp_path: Path) -> None:
    hills = '<geom name="hills" type="hfield" hfield="h"/><geom name="step" type="box" size="1 1 0.1"/>'
    floor = '<geom name="floor" type="plane" size="0 0 1"/><light/><camera name="eye"/>'
    text = foreign(head='<asset><hfield name="h" nrow="2" ncol="2" size="1 1 1 1"/></asset>', world=floor + hills)
    model = built(tmp_path, text)
    assert model.notes == ("Left out: the terrain hills, step; there is only a flat floor.",)
    assert [model.model.geom(g).name for g in range(model.model.ngeom) if not model.model.geom_bodyid[g]] == ["floor"]
    assert built(tmp_path, foreign(world=floor)).notes == ()


@pytest.mark.parametrize(
    ("turn", "level"),
    [
        ('euler="0 0 1"', True), ('euler="0 0.2 0"', False), ('quat="0.9 0 0 0.4"', True), ('quat="0.9 0.1 0 0"', False),
        ('zaxis="0 0 2"', True), ('zaxis="0 1 1"', False), ('axisangle="0 0 1 1"', True), ('xyaxes="0 1 0 -1 0 0.5"', False),
    ],
)  # fmt: skip
def test_a_floor_that_is_tilted_is_ground_that_is_left_out(turn: str, level: bool, tmp_path: Path) -> None:
    notes = built(tmp_path, foreign(world=f'<geom name="floor" type="plane" size="0 0 1" {turn}/>')).notes
    assert notes == (() if level else ("Left out: the terrain floor; there is only a flat floor.",))


@pytest.mark.parametrize(
    ("world", "note"),
    [
        ('<body name="table"><geom type="box" size="1 1 1"/></body>', "Left out: table beside the robot; "),
        (
            '<body name="box" pos="1 0 0"><freejoint/><geom type="sphere" size="0.1"/></body>',
            "Left out: the loose object box; ",
        ),
        (
            '<body name="door"><joint name="hinge"/><geom type="sphere" size="0.1"/></body>',
            "Left out: door, with joints that are not the robot's.",
        ),
    ],
)
def test_what_stands_beside_the_robot_is_left_out_and_said(world: str, note: str, tmp_path: Path) -> None:
    model = built(tmp_path, foreign(world=world))
    sound = built(tmp_path, SOUND)
    assert model.robot.body_names == sound.robot.body_names and mass(model.model) == mass(sound.model)
    assert len(model.notes) == 1 and model.notes[0].startswith(note), model.notes


def test_the_pose_of_a_keyframe_is_the_robots_where_a_box_is_counted_too(tmp_path: Path) -> None:
    box = '<body name="box"><freejoint/><geom type="sphere" size="0.1"/></body>'
    joints = np.arange(19) * 0.01
    qpos = [9, 9, 9, 1, 0, 0, 0, 0, 0, 0.6, 1, 0, 0, 0, *joints]
    key = f'<keyframe><key name="home" qpos="{" ".join(map(str, qpos))}"/></keyframe>'
    model = built(tmp_path, foreign(world=box, end=key))
    low, high = model.robot.position_limit.numpy().T
    np.testing.assert_allclose(model.robot.default_position.numpy(), np.clip(joints, low, high), atol=1e-6)


def test_two_robots_in_one_file_are_refused(tmp_path: Path) -> None:
    other = '<body name="rival"><freejoint/><geom size="0.1" type="sphere"/><body><joint name="r"/><geom size="0.1" type="sphere"/></body></body>'
    assert refusal(tmp_path, foreign(world=other)) == (
        "Robot 'robot': its file has several robots (rival with 1 joints, pelvis with 19 joints). Keep one in each file."
    )


def test_closed_loops_are_refused_with_their_parts(tmp_path: Path) -> None:
    rod = f'<body name="rod">{JOINT.format(name="rod_joint")}<geom fromto="0 0 0 0 0 -0.3" size="0.01" mass="0.1"/></body>'
    loop = '<equality><connect body1="rod" body2="left_ankle_roll_link" anchor="0 0 -0.3"/></equality>'
    message = refusal(tmp_path, foreign(pelvis=rod, end=loop))
    assert message.startswith("Robot 'robot' has closed loops (rod to left_ankle_roll_link), which are not supported")
    inactive = loop.replace("<connect", '<connect active="false"')
    assert built(tmp_path, foreign(pelvis=rod, end=inactive)).notes == ()


def test_a_robot_that_hangs_in_the_world_is_let_go(tmp_path: Path) -> None:
    model = built(tmp_path, foreign(end='<equality><weld body1="pelvis"/></equality>'))
    assert model.notes == ("Its file holds pelvis in place; here nothing does.",) and model.model.neq == 0


NECK = f'<body name="head">{JOINT.format(name="neck")}<geom type="sphere" size="0.05" mass="0.5"/></body>'


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (motors(), "it has no actuator"),
        ('<equality><joint joint1="neck" joint2="waist_yaw_joint"/></equality>', "it follows waist_yaw_joint"),
        (
            '<tendon><fixed name="cord"><joint joint="neck" coef="1"/></fixed></tendon>'
            + motors().replace("</actuator>", '<motor tendon="cord"/></actuator>'),
            "the tendon cord pulls it",
        ),
    ],
)
def test_a_joint_without_a_motor_of_its_own_gets_none_and_does_not_move(end: str, reason: str, tmp_path: Path) -> None:
    model = built(tmp_path, foreign(pelvis=NECK, end=end))
    assert model.robot.dof_names == tuple(joint_names()) and model.model.nu == 19
    assert mass(model.model) == pytest.approx(mass(built(tmp_path, SOUND).model) + 0.5)
    assert f"Joints without a motor of their own do not move here: neck ({reason})." in model.notes


def test_a_leg_that_moves_passively_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, foreign(end=motors(without=("left_ankle_pitch_joint",))))
    assert message.startswith(
        "The robot in robot.xml has legs that move passively: left_ankle_pitch_joint (it has no actuator) between the root and "
        "left_ankle_roll_link, right_ankle_roll_link."
    )


def test_the_nearest_pose_within_the_ranges_is_the_default_and_said(tmp_path: Path) -> None:
    model = built(tmp_path, SOUND.replace('range="-0.05 2.4"', 'range="0.3 2.4"'))
    pose = dict(zip(model.robot.dof_names, model.robot.default_position.tolist(), strict=True))
    assert pose["left_knee_joint"] == pose["right_knee_joint"] == pytest.approx(0.3)
    assert model.notes[0].startswith(
        "The file's own pose is outside of joint ranges; the default pose has left_knee_joint at 0.3"
    )
    assert model.robot.foot_names == FEET


def test_the_keyframe_to_stand_in_is_home_before_stand_before_the_first_that_is_upright(tmp_path: Path) -> None:
    def keys(*names: str, quat: str = "1 0 0 0") -> str:
        made = [
            f'<key name="{name}" qpos="0 0 1 {quat} {" ".join([f"{0.1 * (i + 1):g}"] * 19)}"/>'
            for i, name in enumerate(names)
        ]
        return f"<keyframe>{''.join(made)}</keyframe>"

    def chosen(text: str) -> float:
        model = built(tmp_path, text.replace('range="-2.2 0.1"', 'range="-2.2 2.2"'))
        return float(model.robot.default_position[0])

    assert chosen(foreign(end=keys("a", "standing", "home"))) == pytest.approx(0.3)
    assert chosen(foreign(end=keys("a", "standing", "b"))) == pytest.approx(0.2)
    assert chosen(foreign(end=keys("a", "b"))) == pytest.approx(0.1)
    assert chosen(foreign(end=keys("stand_on_left_leg", "squat"))) == pytest.approx(0.2)
    assert chosen(foreign(end=keys("stand_on_left_leg"))) == pytest.approx(0.1)
    assert chosen(foreign(end=keys("upright", "squat"))) == pytest.approx(0.1)
    assert chosen(foreign(end=keys("lying", quat="0 1 0 0"))) == 0.0
    model = built(tmp_path, foreign(end=keys("a", "home")))
    assert "Its default pose is the keyframe 'home', one of 2." in model.notes


def test_a_root_that_is_drawn_lying_is_refused(tmp_path: Path) -> None:
    text = SOUND.replace('<body name="pelvis"', '<body name="pelvis" quat="0.7071 0.7071 0 0"')
    assert "stands with its z axis 90° from upright" in refusal(tmp_path, text)


@pytest.mark.parametrize(("angle", "scale", "meant"), [("degree", 1.0, "radian"), ("radian", 57.3, "degree")])
def test_ranges_in_the_other_unit_are_refused_with_a_cure_that_works(
    angle: str, scale: float, meant: str, tmp_path: Path
) -> None:
    def scaled(match: re.Match[str]) -> str:
        return 'range="' + " ".join(f"{scale * float(n):g}" for n in match[1].split()) + '"'

    text = re.sub(r'(?<![a-z])range="([^"]*)"', scaled, SOUND).replace('angle="radian"', f'angle="{angle}"')
    message = refusal(tmp_path, text)
    assert f'Write <compiler angle="{meant}"/> into the file.' in message
    mended = built(tmp_path, text.replace(f'angle="{angle}"', f'angle="{meant}"'))
    np.testing.assert_allclose(
        mended.robot.position_limit.numpy(), built(tmp_path, SOUND).robot.position_limit.numpy(), atol=2e-3
    )


@pytest.mark.parametrize(
    ("attributes", "factor", "words"),
    [
        ("pos|size|fromto", 1000.0, r"up to 297 m from the ones that they hang on. MJCF and URDF count metres"),
        ("pos|size|fromto", 0.02, r"up to 0.00594 m from the ones that they hang on. MJCF and URDF count metres"),
        ("mass", 1000.0, r"weighs 1.89e\+04 kg. MJCF and URDF count kilograms"),
        ("mass", 0.001, r"weighs 0.0189 kg. MJCF and URDF count kilograms"),
    ],
)
def test_lengths_and_masses_in_another_unit_are_refused(
    attributes: str, factor: float, words: str, tmp_path: Path
) -> None:
    def scaled(found: re.Match[str]) -> str:
        return f'{found[1]}="{" ".join(f"{factor * float(number):g}" for number in found[2].split())}"'

    with pytest.raises(SceneError, match=words):
        built(tmp_path, re.sub(rf'\b({attributes})="([^"]*)"', scaled, SOUND))


def test_a_base_of_three_slides_and_three_hinges_becomes_a_free_joint(tmp_path: Path) -> None:
    base = "".join(
        f'<joint name="t{a}" type="slide" axis="{v}"/>' for a, v in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True)
    )
    base += "".join(f'<joint name="r{a}" axis="{v}"/>' for a, v in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True))
    model = built(tmp_path, foreign(free=base))
    assert model.robot.dof_names == tuple(joint_names())
    assert model.notes == ("Its first body moves by rx, ry, rz, tx, ty, tz; a free joint takes their place.",)


def test_a_free_joint_that_takes_on_the_files_damping_falls_freely_and_that_is_said(tmp_path: Path) -> None:
    text = foreign(free='<joint type="free" damping="5"/>')
    model = built(tmp_path, text)
    assert model.notes == ("Its free joint has damping, armature; here the base moves freely.",)
    assert not model.model.dof_damping[:6].any() and not model.model.dof_armature[:6].any()
    assert model.robot.armature.tolist() == pytest.approx([0.01] * 19)


def test_a_robot_in_a_plane_is_refused_with_a_cure_that_works(tmp_path: Path) -> None:
    base = '<joint name="rootx" type="slide" axis="1 0 0"/><joint name="rootz" type="slide" axis="0 0 1"/>'
    message = refusal(tmp_path, foreign(free=base))
    assert message == (
        "Robot 'robot' does not move freely: its first body 'pelvis' hangs on rootx, rootz. Write <freejoint/> there instead."
    )
    assert built(tmp_path, foreign(free="<freejoint/>")).notes == ()


def test_a_file_that_is_included_counts_like_one(tmp_path: Path) -> None:
    write(tmp_path, SOUND, "inner.xml")
    scene = '<mujoco><include file="inner.xml"/><worldbody><light/><geom name="floor" type="plane" size="1 1 1"/></worldbody></mujoco>'
    model = built(tmp_path, scene, "scene.xml")
    assert model.robot.foot_names == FEET and model.notes == ()


MESH = '<asset><mesh name="shell" file="shell.stl"/><texture name="skin" type="2d" file="skin.png"/><material name="m" texture="skin"/></asset>'


def test_visual_files_that_are_missing_do_not_matter(tmp_path: Path) -> None:
    looks = '<geom type="mesh" mesh="shell" contype="0" conaffinity="0" mass="0" material="m"/>'
    model = built(tmp_path, foreign(head=MESH, pelvis=looks))
    assert model.notes == ("1 mesh files that only pictures need are missing (shell.stl); films show the rest.",)
    assert mass(model.model) == mass(built(tmp_path, SOUND).model)


@pytest.mark.parametrize("role", ['mass="0"', 'contype="0" conaffinity="0"'])
def test_a_mesh_that_touches_or_weighs_something_is_asked_for_by_name(role: str, tmp_path: Path) -> None:
    text = foreign(head='<compiler meshdir="parts"/>' + MESH, pelvis=f'<geom type="mesh" mesh="shell" {role}/>')
    message = refusal(tmp_path, text).replace(str(tmp_path), "FOLDER")
    assert message == (
        "robot.xml needs shell.stl beside it (folder FOLDER/parts), for shapes that touch or weigh something. Copy what is "
        "missing there."
    )


def test_looks_of_bodies_whose_inertia_comes_from_their_shapes_weigh(tmp_path: Path) -> None:
    looks = '<geom type="sphere" size="0.05" mass="3" contype="0" conaffinity="0"/><inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/>'
    text = foreign(head='<compiler inertiafromgeom="true"/>', pelvis=looks)
    assert mass(built(tmp_path, text).model) == pytest.approx(mass(built(tmp_path, SOUND).model) + 3.0)


def test_a_body_that_moves_without_mass_is_named(tmp_path: Path) -> None:
    text = foreign(pelvis=f'<body name="ghost">{JOINT.format(name="g")}</body>')
    assert refusal(tmp_path, text) == (
        "robot.xml does not compile: mass and inertia of moving bodies must be larger than mjMINVAL Element name 'ghost', id 2, "
        "line 3. Give the body an <inertial> or a shape with a mass, or take its joint out."
    )


@pytest.mark.parametrize(
    ("name", "encoding"), [("a.mjcf", "utf-8"), ("a.XML", "utf-8"), ("a.xml", "utf-16"), ("a.xml", "iso-8859-1")]
)
def test_the_ending_and_the_encoding_of_a_file_do_not_matter(name: str, encoding: str, tmp_path: Path) -> None:
    write(tmp_path, "<mujocoinclude><option timestep='0.003'/></mujocoinclude>", "part.xml")
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + foreign(head='<include file="part.xml"/>')
    (tmp_path / name).write_text(text.replace("left_knee", "Kniegelenk_fünf"), encoding=encoding)
    names = [joint.replace("left_knee", "Kniegelenk_fünf") for joint in joint_names()]
    assert build_robot(describe(tmp_path / name)).robot.dof_names == tuple(names)


def test_text_of_an_encoding_that_a_file_does_not_name_is_read(tmp_path: Path) -> None:
    (tmp_path / "robot.xml").write_text(SOUND.replace("left_knee", "knie_fünf"), encoding="cp1252")
    assert "knie_fünf_joint" in build_robot(describe(tmp_path / "robot.xml")).robot.dof_names


def test_text_of_another_encoding_than_a_file_names_is_read(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="utf-16"?>' + SOUND.replace("left_knee", "knie_fünf")
    (tmp_path / "robot.xml").write_text(text, encoding="utf-8")
    assert "knie_fünf_joint" in build_robot(describe(tmp_path / "robot.xml")).robot.dof_names


def test_keyframes_that_are_no_pose_to_stand_in_are_said(tmp_path: Path) -> None:
    keys = '<key name="short" qpos="0 0 1 1 0 0 0 0"/><key name="prone" qpos="0 0 0.1 0.7071 0 0.7071 0{zeros}"/><key time="1"/>'
    text = foreign(end=f"<keyframe>{keys.format(zeros=' 0' * 19)}</keyframe>")
    assert described(tmp_path, text).notes == (
        "The keyframe 'short' has 8 numbers where this model has 26; it is not used.",
        "The keyframe 'prone' leans by 90°; it is not used.",
    )


@pytest.mark.parametrize("name", ["floor", "pelvis:0", "terrain field:0"])
def test_shapes_may_be_called_as_those_that_the_project_adds(name: str, tmp_path: Path) -> None:
    shape = "".join(f'<geom name="{each}" type="sphere" size=".01"/>' for each in (name, f"{name}_1", ""))
    model = built(tmp_path, foreign(pelvis=shape.replace(' name=""', "")))
    assert model.robot.foot_names == FEET
    assert {model.model.geom(g).name for g in range(model.model.ngeom)} >= {"floor", f"{name}_1", f"{name}_2"}


def test_joints_that_slide_are_said(tmp_path: Path) -> None:
    slide = '<body name="mast"><joint name="lift" type="slide" axis="0 0 1" range="0 0.1"/><geom size="0.02 0.02" mass="0.1"/></body>'
    model = built(tmp_path, foreign(pelvis=slide))
    assert "lift" in model.robot.dof_names
    assert model.notes == ("Joints that slide have angles in m and torques in N: lift.",)


def test_deformable_parts_are_refused(tmp_path: Path) -> None:
    cloth = '<flexcomp name="cloth" type="grid" count="3 3 1" spacing=".1 .1 .1" radius=".01" mass="0.1"/>'
    assert "has deformable parts (cloth), which are not supported" in refusal(tmp_path, foreign(world=cloth))


@pytest.mark.parametrize(
    ("actuators", "torque", "stiffness", "damping", "note"),
    [
        ('<position joint="swing" kp="30" kv="2" gear="3" forcerange="-5 5"/>', 15.0, 270.0, 18.0, ""),
        ('<motor joint="swing" gear="20" ctrlrange="-1 1"/>', 20.0, 20.0, 1.0, ""),
        ('<motor joint="swing" gear="20" ctrlrange="-1 1" damping="0.01"/>', 20.0, 20.0, 1.0, ""),
        (
            '<position joint="swing" kp="30" forcerange="-5 5"/><velocity joint="swing" kv="4" forcerange="-1 1"/>',
            6.0, 30.0, 4.0, "Several actuators of one joint become one motor with the sum of their torques: swing.",
        ),
        (
            '<motor joint="swing" forcerange="-4 8"/>', 8.0, 8.0, 0.4,
            "Motors that are stronger one way than the other get the larger limit both ways: swing.",
        ),
        (
            '<velocity joint="swing" kv="4" forcerange="-6 6"/>', 6.0, 6.0, 4.0,
            "Velocity servos become position servos: swing.",
        ),
        (
            '<general joint="swing" dyntype="filter" dynprm="0.1" forcerange="-4 4"/>', 4.0, 4.0, 0.2,
            "Muscles, filters, delays and other dynamics of actuators are left out: swing.",
        ),
    ],
)  # fmt: skip
def test_actuators_become_one_motor_of_the_same_strength(
    actuators: str, torque: float, stiffness: float, damping: float, note: str, tmp_path: Path
) -> None:
    model = built(tmp_path, PENDULUM.replace("</mujoco>", f"<actuator>{actuators}</actuator></mujoco>"))
    robot = model.robot
    found = [robot.torque_limit.item(), robot.stiffness.item(), robot.damping.item()]
    assert found == pytest.approx([torque, stiffness, damping])
    assert [n for n in model.notes if "stands on one body" not in n] == ([note] if note else [])


def test_inertia_and_damping_of_an_actuator_count_with_the_square_of_its_gear(tmp_path: Path) -> None:
    servo = '<actuator><position joint="swing" kp="30" kv="1" gear="3" forcerange="-5 5" armature="0.01" damping="0.1"/></actuator></mujoco>'
    robot = built(tmp_path, PENDULUM.replace("</mujoco>", servo)).robot
    assert robot.armature.item() == pytest.approx(0.02 + 9 * 0.01)
    assert robot.damping.item() == pytest.approx(9 * 1 + 9 * 0.1)


def test_dry_friction_is_left_out_and_said(tmp_path: Path) -> None:
    model = built(tmp_path, SOUND.replace('name="left_knee_joint"', 'name="left_knee_joint" frictionloss="0.5"'))
    assert not model.model.dof_frictionloss.any()
    assert model.notes == ("Dry friction (frictionloss) is left out, as for every robot: left_knee_joint.",)


def test_springs_of_joints_and_reference_angles_stay(tmp_path: Path) -> None:
    text = SOUND.replace('name="left_elbow_joint"', 'name="left_elbow_joint" ref="-0.5" stiffness="7" springref="-0.2"')
    model = built(tmp_path, text)
    joint = model.model.joint("left_elbow_joint")
    assert joint.stiffness[0] == 7.0 and model.model.qpos_spring[joint.qposadr[0]] == pytest.approx(-0.2)
    pose = dict(zip(model.robot.dof_names, model.robot.default_position.tolist(), strict=True))
    assert pose["left_elbow_joint"] == pytest.approx(-0.5)


def test_joints_without_a_range_get_that_of_their_servos_targets(tmp_path: Path) -> None:
    for angle in ("radian", "degree"):
        text = PENDULUM.replace(' range="-2 1"', "").replace("radian", angle)
        servo = '<actuator><position joint="swing" kp="30" ctrlrange="-1.5 1.2" forcerange="-5 5"/></actuator></mujoco>'
        model = built(tmp_path, text.replace("</mujoco>", servo))
        assert model.robot.position_limit[0].tolist() == pytest.approx([-1.5, 1.2])
        assert "Joints without a range get that of their actuator's targets: swing." in model.notes


def test_facts_say_what_a_robot_is_and_stands_on(tmp_path: Path) -> None:
    facts = robot_facts(built(tmp_path, foreign(foot='<body name="{side}_sole"/>')))
    assert facts["robot"].startswith("robot: ") and "its root (pelvis) stands at 0.600 m" in facts["robot"]
    assert facts["feet"] == "left_ankle_roll_link, right_ankle_roll_link"
    assert facts["joints"].startswith("19: left_hip_pitch_joint, ")
    assert facts["motors"] == "80 N·m, stiffness 80 N·m/rad"
    assert facts["merged"] == "left_sole in left_ankle_roll_link, right_sole in right_ankle_roll_link"


def test_a_robot_that_is_drawn_lying_is_refused(tmp_path: Path) -> None:
    down = '<geom type="sphere" size="0.02" mass="2.5"/><body name="lying" quat="0.7071 0 0.7071 0">'
    text = SOUND.replace('<geom type="sphere" size="0.08" mass="2.5"/>', down).replace(
        "</worldbody>", "</body></worldbody>"
    )
    message = refusal(tmp_path, text)
    assert message.startswith("The robot in robot.xml lies in its default pose: its centre of mass is "), message
    assert message.endswith("Write a keyframe called home in which it stands.")


def test_bodies_without_a_name_are_called_after_their_joints(tmp_path: Path) -> None:
    model = built(tmp_path, SOUND.replace('<body name="left_knee_link"', "<body"))
    assert "left_knee_joint" in model.robot.body_names
    assert model.notes == ("Bodies without a name are called after their joints: left_knee_joint.",)


def test_a_material_of_every_shape_that_only_pictures_need_is_forgotten(tmp_path: Path) -> None:
    head = '<asset><texture name="t" type="2d" builtin="flat" width="4" height="4"/><material name="paint" texture="t"/></asset>'
    text = foreign(head=head).replace('<geom type="capsule"/>', '<geom type="capsule" material="paint"/>')
    assert built(tmp_path, text).robot.foot_names == FEET


def test_knees_that_are_always_bent_and_have_other_names_still_squat(tmp_path: Path) -> None:
    text = SOUND.replace('range="-0.05 2.4"', 'range="0.3 2.4"').replace("knee", "joint4")
    model = built(tmp_path, text)
    assert len(make_clip("squat", model.robot, model).dof_position) > 50


ODDITIES: dict[str, dict[str, str]] = {  # of a file, none of which changes what the robot is
    "sole frame": {"foot": '<body name="{side}_sole" pos="0 0 -0.05"><site name="{side}_s"/></body>'},
    "toe shell": {
        "foot": '<body name="{side}_toe"><geom type="box" size=".01 .01 .01" mass="0" contype="0" conaffinity="0"/></body>'
    },
    "no gravity": {"head": '<option gravity="0 0 0"/>'},
    "no contacts": {"head": '<option><flag contact="disable"/></option>'},
    "a table": {"world": '<body name="table"><geom type="box" size="1 1 1"/></body>'},
    "a box": {"world": '<body name="box"><freejoint/><geom type="sphere" size="0.1"/></body>'},
    "a floor and a light": {"world": '<geom type="plane" size="0 0 1"/><light/>'},
    "stairs": {"world": '<geom name="stair" type="box" size="1 1 0.1"/>'},
    "motors": {"end": motors()},
    "a cord": {"end": '<tendon><fixed name="cord"><joint joint="waist_yaw_joint" coef="1"/></fixed></tendon>'},
    "held up": {"end": '<equality><weld body1="pelvis"/></equality>'},
    "sensors": {"end": '<sensor><framepos objtype="body" objname="torso_link"/></sensor>'},
    "excludes": {"end": '<contact><exclude body1="torso_link" body2="pelvis"/></contact>'},
    "a lost skin": {"head": '<asset><texture name="lost" type="2d" file="lost.png"/></asset>'},
}
QUIET = {"sole frame", "toe shell", "a floor and a light", "motors", "sensors", "excludes", "a lost skin"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(sorted(ODDITIES)), min_size=1, max_size=3, unique=True))
def test_any_oddities_of_a_sound_robot_leave_the_same_robot_and_all_that_matters_is_said(
    kinds: list[str], tmp_path: Path
) -> None:
    parts: dict[str, str] = {}
    options = [kind for kind in kinds if "<option" in ODDITIES[kind].get("head", "")]
    for kind in [k for k in kinds if k not in options[1:]]:
        for place, text in ODDITIES[kind].items():
            parts[place] = parts.get(place, "") + text
    model, sound = built(tmp_path, foreign(**parts)), built(tmp_path, SOUND)
    for name in ("dof_names", "body_names", "foot_names", "end_effectors", "anchor_body"):
        assert getattr(model.robot, name) == getattr(sound.robot, name)
    for name in ("position_limit", "torque_limit", "stiffness", "damping", "armature", "default_position"):
        np.testing.assert_allclose(getattr(model.robot, name).numpy(), getattr(sound.robot, name).numpy())
    assert model.robot.default_height == pytest.approx(sound.robot.default_height, abs=1e-6)
    np.testing.assert_allclose(model.body_mass, sound.body_mass)
    np.testing.assert_allclose(model.body_inertia, sound.body_inertia, atol=1e-12)
    assert model.model.opt.gravity.tolist() == [0.0, 0.0, -9.81] and not model.model.neq and not model.model.ntendon
    assert len(model.notes) == len({k for k in kinds if k not in options[1:]} - QUIET), model.notes


def loop(side: str) -> str:
    return f'<equality><connect body1="rod" body2="{side}_ankle_roll_link" anchor="0 0 -0.3"/></equality>'


ROD = f'<body name="rod">{JOINT.format(name="rod_joint")}<geom fromto="0 0 0 0 0 -0.3" size="0.01" mass="0.1"/></body>'
CURES: dict[str, tuple[str, str]] = {  # a refused file, and the same as its refusal says to write it
    "loop": (foreign(pelvis=ROD, end=loop("left")), SOUND),
    "planar": (foreign(free='<joint name="x" type="slide"/>'), SOUND),
    "passive ankle": (foreign(end=motors(without=("left_knee_joint",))), foreign(end=motors())),
    "dumb soles": (
        SOUND.replace('<geom type="capsule"/>', '<geom type="capsule" contype="0" conaffinity="0"/>'),
        SOUND.replace('<geom type="capsule"/>', '<geom type="capsule" contype="0" conaffinity="0"/>').replace(
            'size="0.01" mass="0.1"', 'size="0.01" mass="0.1" contype="1"'
        ),
    ),
    "no limits": (SOUND.replace(' actuatorfrcrange="-80 80"', ""), foreign(end=motors()).replace(' actuatorfrcrange="-80 80"', "")),
}  # fmt: skip


@pytest.mark.parametrize("kind", CURES)
def test_the_cure_of_a_refusal_works_when_it_is_written(kind: str, tmp_path: Path) -> None:
    broken, mended = CURES[kind]
    refusal(tmp_path, broken)
    assert built(tmp_path, mended).robot.foot_names == FEET
