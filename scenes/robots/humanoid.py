"""A small humanoid of our own, written in code: no files, quick to simulate, stands on its motors."""

from components.robot import Motor, RobotDescription

LEG = (("hip_pitch", "y", -2.0, 2.0), ("hip_roll", "x", -0.6, 0.6), ("hip_yaw", "z", -1.0, 1.0),
       ("knee", "y", -0.05, 2.4), ("ankle_pitch", "y", -0.9, 0.7), ("ankle_roll", "x", -0.4, 0.4))  # fmt: skip
ARM = (("shoulder_pitch", "y", -3.0, 2.5), ("shoulder_roll", "x", -2.0, 2.0), ("elbow", "y", -2.2, 0.1))
PLACE = {"hip_pitch": "0 {y} -0.05", "knee": "0 0 -0.25", "ankle_pitch": "0 0 -0.25", "shoulder_pitch": "0 {y} 0.25",
         "elbow": "0 0 -0.18"}  # fmt: skip
SOLE = "".join(
    f'<geom type="sphere" size="0.01" mass="0.1" pos="{x} {y} -0.04"/>' for x in (-0.06, 0.12) for y in (-0.03, 0.03)
)
LINK = {
    "hip_yaw": '<geom fromto="0 0 -0.05 0 0 -0.2" size="0.045" mass="1.8"/>',
    "knee": '<geom fromto="0 0 -0.04 0 0 -0.2" size="0.035" mass="1.2"/>',
    "ankle_roll": SOLE,
    "shoulder_roll": '<geom fromto="0 0 -0.03 0 0 -0.15" size="0.03" mass="0.6"/>',
    "elbow": '<geom fromto="0 0 -0.02 0 0 -0.2" size="0.025" mass="0.5"/>',
}
HUB = '<geom type="sphere" size="0.03" mass="0.3" contype="0" conaffinity="0"/>'


def mjcf() -> str:
    """The robot as MJCF text: 19 hinges on capsules and spheres, about 19 kg and 1.0 m tall."""

    def chain(side: str, parts: tuple[tuple[str, str, float, float], ...], y: float) -> str:
        (part, axis, low, high), rest = parts[0], parts[1:]
        if side == "right" and axis == "x":
            low, high = -high, -low
        direction = " ".join("1" if axis == a else "0" for a in "xyz")
        return (
            f'<body name="{side}_{part}_link" pos="{PLACE.get(part, "0 0 0").format(y=y)}">'
            f'<joint name="{side}_{part}_joint" axis="{direction}" range="{low} {high}"/>'
            f"{LINK.get(part, HUB)}{chain(side, rest, y) if rest else ''}</body>"
        )

    legs, arms = (
        "".join(chain(s, parts, y) for s, y in (("left", w), ("right", -w))) for parts, w in ((LEG, 0.09), (ARM, 0.16))
    )
    return f"""<mujoco model="humanoid"><compiler angle="radian"/>
      <default><geom type="capsule"/><joint armature="0.01"/></default>
      <worldbody><body name="pelvis" pos="0 0 0.6"><freejoint/><geom type="sphere" size="0.08" mass="2.5"/>{legs}
        <body name="torso_link" pos="0 0 0.08"><joint name="waist_yaw_joint" axis="0 0 1" range="-1.5 1.5"/>
          <geom fromto="0 -0.05 0.15 0 0.05 0.15" size="0.09" mass="4"/><geom type="sphere" size="0.07" pos="0 0 0.35" mass="1"/>
          {arms}</body></body></worldbody></mujoco>"""


def humanoid() -> RobotDescription:
    """19 joints with G1-like names; stiff enough to stand without a policy."""
    sides = ("left", "right")
    feet = tuple(f"{side}_ankle_roll_link" for side in sides)
    hands = tuple(f"{side}_elbow_link" for side in sides)
    return RobotDescription(
        name="humanoid",
        model=mjcf,
        motors={
            ".*_hip_.*|.*_knee_joint|waist_.*": Motor(150.0, 6.0, 90.0, 20.0),
            ".*_ankle_.*": Motor(120.0, 4.0, 50.0, 20.0),
            ".*_shoulder_.*|.*_elbow_joint": Motor(30.0, 1.5, 20.0, 25.0),
        },
        default_pose={
            ".*_hip_pitch_joint": -0.2,
            ".*_knee_joint": 0.4,
            ".*_ankle_pitch_joint": -0.2,
            ".*_elbow_joint": -0.4,
        },
        feet=feet,
        tracked_bodies=(
            "pelvis",
            *(f"{s}_{p}_link" for s in sides for p in ("knee", "ankle_roll")),
            "torso_link",
            *hands,
        ),
        anchor_body="torso_link",
        end_effectors=(*feet, *hands),
    )
