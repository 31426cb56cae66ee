"""Unitree G1 from the MuJoCo Menagerie, with 29 joints or, wrists welded, with 23 or, all above the legs welded, with 12."""

from pathlib import Path

from components.robot import Capsule, RobotDescription
from engine.errors import SceneError, did_you_mean
from scenes.robots.g1_profiles import PROFILES
from scenes.robots.menagerie import menagerie

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
REACH = ("shoulder_roll", "elbow")
VARIANTS = {  # by the number of joints: those that are welded, parts of an arm that are followed, shapes of arms
    29: ("", (*REACH, "wrist_yaw"), (FOREARM, HAND)),
    23: (".*_wrist_.*", REACH, (LONG_FOREARM,)),
    12: ("waist_.*|.*_(shoulder|elbow|wrist)_.*", (), (LONG_FOREARM,)),
}


def g1(joints: int = 29, gains: str = "motor", file: Path | None = None) -> RobotDescription:
    """The G1 with 29, 23 or 12 `joints`; `gains` "motor" or "humanoidverse"; its model from the Menagerie or a file of one's own.

    SceneError for others or without its model.
    """
    if joints not in VARIANTS:
        raise SceneError(
            f"The G1 was asked for with {joints} joints; it comes with 29, 23 without wrists, or 12 of its legs."
        )
    if gains not in PROFILES:
        raise SceneError(f"The G1 has no gains '{gains}'; it has {', '.join(PROFILES)}.{did_you_mean(gains, PROFILES)}")
    (motors, pose, height), (locked, arm, arms) = PROFILES[gains], VARIANTS[joints]
    leg = ("hip_roll", "knee", "ankle_roll")
    legs, reach = ([f"{side}_{part}_link" for side in ("left", "right") for part in parts] for parts in (leg, arm))
    feet, ends = (legs[2], legs[5]), reach[len(arm) - 1 :: len(arm)] if arm else ()
    return RobotDescription(
        name=f"g1_{joints}dof", model=file or menagerie("unitree_g1/g1.xml"), locked_joints=locked, shapes=(*TRUNK, *arms),
        motors=motors, default_pose=pose, default_height=height, feet=feet, end_effectors=(*feet, *ends),
        tracked_bodies=("pelvis", *legs, "torso_link", *reach), anchor_body="torso_link",
    )  # fmt: skip
