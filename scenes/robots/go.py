"""Unitree Go1 and Go2: small quadrupeds with 12 joints."""

from pathlib import Path

from components.robot import Box, Capsule, Motor, RobotDescription
from scenes.robots.menagerie import LARGE, menagerie
from scenes.robots.motors import servo

ROTOR = 1.11842e-4  # kg·m²; geared 6 : 1 at hip and thigh, 9 : 1 at the calf (mjlab, unitree_go1)
HIP, CALF = servo(ROTOR * 6**2, 23.7, 30.1), servo(ROTOR * 9**2, 35.55, 20.06)
POSE = {".*_thigh_joint": 0.9, ".*_calf_joint": -1.8, ".R_hip_joint": 0.1, ".L_hip_joint": -0.1}
SHAPES = (
    Box("trunk", (0.0, 0.0, 0.0), (0.13, 0.09, 0.05)),
    Capsule("trunk", 0.06, (0.24, 0.0, 0.0)),
    Capsule(".*_thigh", 0.015, (-0.02, 0.0, 0.0), (0.0, 0.0, -0.2)),
    Capsule(".*_calf", 0.023, (0.0, 0.0, -0.213)),
)
GO2_POSE = {
    ".L_hip_joint": 0.1, ".R_hip_joint": -0.1, "F._thigh_joint": 0.8, "R._thigh_joint": 1.0, ".*_calf_joint": -1.5,
}  # fmt: skip
FEET = ("FR", "FL", "RR", "RL")


def go1(file: Path | None = None) -> RobotDescription:
    """The Go1 of the Menagerie, or in a file with its names; gains, pose and height of mjlab; a foot is the end of a calf."""
    return RobotDescription(
        name="go1", model=file or menagerie("unitree_go1/go1.xml", LARGE), joint_damping=0.0, shapes=SHAPES,
        motors={".*_(hip|thigh)_joint": HIP, ".*_calf_joint": CALF}, default_pose=POSE, default_height=0.278,
        feet=tuple(f"{leg}_calf" for leg in FEET), anchor_body="trunk",
    )  # fmt: skip


def go2(file: Path) -> RobotDescription:
    """The Go2 in its maker's URDF; gains, pose, height and action scale of unitree_rl_gym."""
    motors = {joint: Motor(20.0, 0.5, *limits, action_scale=0.25) for joint, limits in
              ((".*_(hip|thigh)_joint", (23.7, 30.1)), (".*_calf_joint", (35.55, 20.07)))}  # fmt: skip
    return RobotDescription(
        name="go2", model=file, motors=motors, default_pose=GO2_POSE, default_height=0.42, anchor_body="base",
        feet=tuple(f"{leg}_foot" for leg in FEET),
    )  # fmt: skip
