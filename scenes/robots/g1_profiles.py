"""Gains, pose and height of the Unitree G1: from its motors' data, and as HumanoidVerse has them."""

from components.robot import Motor
from scenes.robots.motors import geared

SMALL, SMALL_GEARS = (0.139e-4, 0.017e-4, 0.169e-4), (1 + 46 / 18, 1 + 56 / 16)
M5020, TWO_5020 = (geared(SMALL, SMALL_GEARS, 25.0, 37.0, count) for count in (1, 2))  # two: parallel linkages
M7520_14 = geared((0.489e-4, 0.098e-4, 0.533e-4), (4.5, 1 + 48 / 22), 88.0, 32.0)
M7520_22 = geared((0.489e-4, 0.109e-4, 0.738e-4), (4.5, 5.0), 139.0, 20.0)
M4010 = geared((0.068e-4, 0.0, 0.0), (5.0, 5.0), 5.0, 22.0)

MOTOR_GAINS = {
    ".*_hip_(pitch|yaw)_joint|waist_yaw_joint": M7520_14,
    ".*_hip_roll_joint|.*_knee_joint": M7520_22,
    ".*_ankle_.*|waist_(roll|pitch)_joint": TWO_5020,
    ".*_shoulder_.*|.*_elbow_joint|.*_wrist_roll_joint": M5020,
    ".*_wrist_(pitch|yaw)_joint": M4010,
}
KNEES_BENT = {
    ".*_hip_pitch_joint": -0.312,
    ".*_knee_joint": 0.669,
    ".*_ankle_pitch_joint": -0.363,
    ".*_shoulder_pitch_joint|left_shoulder_roll_joint": 0.2,
    "right_shoulder_roll_joint": -0.2,
    ".*_elbow_joint": 0.6,
}
HUMANOIDVERSE_GAINS = {
    pattern: Motor(stiffness, damping, torque, speed, action_scale=0.25)
    for pattern, stiffness, damping, torque, speed in (
        (".*_hip_.*", 100.0, 2.5, 88.0, 32.0),
        (".*_knee_joint", 200.0, 5.0, 139.0, 20.0),
        (".*_ankle_pitch_joint", 20.0, 0.2, 50.0, 37.0),
        (".*_ankle_roll_joint", 20.0, 0.1, 50.0, 37.0),
        ("waist_yaw_joint", 400.0, 5.0, 88.0, 32.0),
        ("waist_(roll|pitch)_joint", 400.0, 5.0, 50.0, 37.0),
        (".*_shoulder_pitch_joint", 90.0, 2.0, 25.0, 37.0),
        (".*_shoulder_roll_joint|.*_elbow_joint", 60.0, 1.0, 25.0, 37.0),
        (".*_shoulder_yaw_joint", 20.0, 0.4, 25.0, 37.0),
        (".*_wrist_roll_joint", 4.0, 0.2, 25.0, 37.0),
        (".*_wrist_(pitch|yaw)_joint", 4.0, 0.2, 5.0, 22.0),
    )
}
HUMANOIDVERSE_POSE = {".*_hip_pitch_joint": -0.1, ".*_knee_joint": 0.3, ".*_ankle_pitch_joint": -0.2}
PROFILES = {"motor": (MOTOR_GAINS, KNEES_BENT, 0.76), "humanoidverse": (HUMANOIDVERSE_GAINS, HUMANOIDVERSE_POSE, 0.8)}
