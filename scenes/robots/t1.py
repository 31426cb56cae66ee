"""Booster T1 from the MuJoCo Menagerie: a small humanoid with 23 joints."""

from pathlib import Path

from components.robot import Motor, RobotDescription
from scenes.robots.menagerie import menagerie

UNKNOWN_SPEED = 100.0  # rad/s; its model does not say how fast a motor turns
MOTORS = {  # stiffness and damping as MuJoCo Playground has them, torque limits of the model
    pattern: Motor(*numbers, UNKNOWN_SPEED)
    for pattern, numbers in {
        ".*Head_.*": (20.0, 2.0, 7.0),
        ".*_(Shoulder|Elbow)_.*": (20.0, 2.0, 18.0),
        "Waist": (50.0, 3.0, 30.0),
        ".*_Hip_Pitch": (30.0, 3.0, 45.0),
        ".*_Hip_(Roll|Yaw)": (30.0, 3.0, 30.0),
        ".*_Knee_Pitch": (30.0, 3.0, 60.0),
        ".*_Ankle_Pitch": (10.0, 3.0, 20.0),
        ".*_Ankle_Roll": (10.0, 3.0, 15.0),
    }.items()
}
POSE = {
    ".*_Hip_Pitch|.*_Ankle_Pitch": -0.2, ".*_Knee_Pitch": 0.4, "Left_Shoulder_Roll": -1.4, "Right_Shoulder_Roll": 1.4,
    "Left_Elbow_Yaw": -0.4, "Right_Elbow_Yaw": 0.4,
}  # fmt: skip


def t1(file: Path | None = None) -> RobotDescription:
    """The T1 of the Menagerie, or in a file with its names, in its keyframe `home`."""
    feet = ("left_foot_link", "right_foot_link")
    return RobotDescription(
        name="t1", model=file or menagerie("booster_t1/t1.xml"), motors=MOTORS, default_pose=POSE,
        default_height=0.665, feet=feet, end_effectors=(*feet, "left_hand_link", "right_hand_link"), anchor_body="Trunk",
    )  # fmt: skip
