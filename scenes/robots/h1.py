"""Unitree H1 from the MuJoCo Menagerie, with 19 joints or, torso and arms welded, with the 10 of its legs."""

from pathlib import Path

from components.robot import Motor, RobotDescription
from engine.errors import SceneError
from scenes.robots.menagerie import menagerie

MOTORS = {  # stiffness, damping, torque limit and speed limit as HumanoidVerse has them
    pattern: Motor(*numbers, action_scale=0.25)
    for pattern, numbers in {
        ".*_hip_.*": (200.0, 5.0, 200.0, 23.0),
        ".*_knee": (300.0, 6.0, 300.0, 14.0),
        ".*_ankle": (40.0, 2.0, 40.0, 9.0),
        "torso": (300.0, 6.0, 200.0, 23.0),
        ".*_shoulder_(pitch|roll)": (100.0, 2.0, 40.0, 9.0),
        ".*_shoulder_yaw|.*_elbow": (100.0, 2.0, 18.0, 20.0),
    }.items()
}
POSE = {".*_hip_pitch|.*_ankle": -0.4, ".*_knee": 0.8}
LOCKED = {19: "", 10: "torso|.*_(shoulder|elbow).*"}  # by the number of joints


def h1(joints: int = 19, file: Path | None = None) -> RobotDescription:
    """The H1 with 19 or 10 `joints`, of the Menagerie or in a file with its names. SceneError for another number."""
    if joints not in LOCKED:
        raise SceneError(f"The H1 was asked for with {joints} joints; it comes with 19, or 10 without torso and arms.")
    feet = ("left_ankle_link", "right_ankle_link")
    return RobotDescription(
        name=f"h1_{joints}dof", model=file or menagerie("unitree_h1/h1.xml"), motors=MOTORS, default_pose=POSE,
        locked_joints=LOCKED[joints], joint_damping=0.0, feet=feet, anchor_body="torso_link",
        end_effectors=(*feet, *(f"{side}_elbow_link" for side in ("left", "right") if joints == 19)),
    )  # fmt: skip
