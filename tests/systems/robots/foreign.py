"""Robot files as other people write them: a small humanoid of ours with one thing of theirs in it."""

from pathlib import Path

from components.robot import RobotDescription
from scenes.robots.humanoid import SOLE, mjcf
from systems.robots.describe import describe
from systems.robots.model import RobotModel, build_robot

LIMITS = ' actuatorfrcrange="-80 80"'
FEET = ("left_ankle_roll_link", "right_ankle_roll_link")
JOINT = '<joint name="{name}" axis="0 1 0" range="-1 1"/>'
MOTOR = '<motor joint="{name}" forcerange="-{torque} {torque}"/>'


def foreign(
    *, head: str = "", world: str = "", pelvis: str = "", foot: str = "", end: str = "", free: str = "<freejoint/>"
) -> str:
    """The humanoid as MJCF, with text at the head, in the world, in the pelvis, in each foot and at the end.

    `{side}` in `foot` is left or right. Without actuators its joints have a torque limit of 80 N·m.
    """
    text = mjcf().replace('<joint armature="0.01"', f'<joint armature="0.01"{LIMITS}')
    for side in ("left", "right"):
        text = text.replace(SOLE, "SOLE" + foot.replace("{side}", side), 1)
    text = text.replace("SOLE", SOLE).replace("<default>", f"{head}<default>", 1)
    text = text.replace("<worldbody>", f"<worldbody>{world}").replace("<freejoint/>", f"{free}{pelvis}")
    return text.replace("</mujoco>", f"{end}</mujoco>")


def joint_names() -> list[str]:
    """The joints of the humanoid, in order."""
    return [part.split('"')[0] for part in mjcf().split('joint name="')[1:]]


def motors(*, without: tuple[str, ...] = ()) -> str:
    """An actuator section with a motor for every joint but some."""
    found = [MOTOR.format(name=name, torque=80) for name in joint_names() if name not in without]
    return f"<actuator>{''.join(found)}</actuator>"


def write(folder: Path, text: str, name: str = "robot.xml") -> Path:
    """`text` as a robot file in a folder."""
    path = folder / name
    path.write_text(text)
    return path


def described(folder: Path, text: str, name: str = "robot.xml") -> RobotDescription:
    """The description of a robot file with that text."""
    return describe(write(folder, text, name))


def built(folder: Path, text: str, name: str = "robot.xml") -> RobotModel:
    """The robot of a file with that text, as the scenes build it."""
    return build_robot(described(folder, text, name))


LINK = (
    '<link name="{name}"><inertial><mass value="{mass}"/><inertia ixx="{i}" iyy="{i}" izz="{i}" ixy="0" ixz="0" iyz="0"/>'
    '</inertial>{shapes}</link>'
)  # fmt: skip
BALL = '<collision><geometry><sphere radius="{r}"/></geometry></collision>'


def urdf_link(name: str, shapes: str = "", mass: float = 1.0) -> str:
    """A link with some mass."""
    return LINK.format(name=name, shapes=shapes, mass=mass, i=0.01 * mass)


def urdf_joint(parent: str, child: str, kind: str = "revolute", more: str = "", at: str = "0 0 -0.3") -> str:
    """A joint named after its child; hinges have 80 N·m, 20 rad/s and a range of 1 rad to either side."""
    limit = "" if kind == "fixed" else '<limit lower="-1" upper="1" effort="80" velocity="20"/>'
    return (
        f'<joint name="{child}_joint" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{at}"/><axis xyz="0 1 0"/>{limit}{more}</joint>'
    )


def urdf(more: str = "", *, sole: str = BALL.format(r=0.05), base: str = "", before: str = "") -> str:
    """A trunk on two legs of two links, each with a foot that is fixed to the shin."""
    parts = [urdf_link("trunk", base or BALL.format(r=0.1), 5.0)]
    for side, y in (("left", 0.1), ("right", -0.1)):
        thigh, shin, foot = (f"{side}_{part}" for part in ("thigh", "shin", "foot"))
        parts += [urdf_link(thigh), urdf_link(shin), urdf_link(foot, sole, 0.2)]
        parts += [urdf_joint("trunk", thigh, at=f"0 {y} 0"), urdf_joint(thigh, shin), urdf_joint(shin, foot, "fixed")]
    return f'<?xml version="1.0"?>{before}<robot name="walker">{"".join(parts)}{more}</robot>'
