"""Robot description out of somebody's model file: what their model says is what they get."""

import math
import re
from pathlib import Path

import mujoco
import numpy as np

from components.robot import Motor, RobotDescription
from engine.errors import SceneError, listing
from systems.robots import mjcf
from systems.robots.drives import Drive, drives, undriven
from systems.robots.feet import Stand, standing
from systems.robots.isolate import isolate
from systems.robots.pose import MOST_LEAN, Pose, keyframe, lean, unused_keyframes, within_ranges
from systems.robots.silence import quiet
from systems.robots.sources import kind, read_source, reason, touches, weighs
from systems.robots.urdf import speed_limits

UNKNOWN_SPEED = 100.0  # rad/s; MJCF does not say how fast a motor turns
SETTLING = 0.05  # s, damping per stiffness where the file has no servo
TINY, HUGE = 0.1, 12.6  # rad; joints that all move less, or any that moves further, are in another unit
NEAR, FAR = 0.01, 4.0  # m from a body to the one it hangs on; all that are nearer, or one farther, is in another unit
LIGHT, HEAVY = 0.05, 2000.0  # kg of a whole robot


def describe(path: Path) -> RobotDescription:
    """The robot in an MJCF or URDF file, with the file's own shapes, keyframe pose, torque limits and servo gains.

    Joints without a position servo get one that spends the whole torque on 1 rad of error. Feet are the bodies
    that reach lowest; they are the end effectors too. Raises SceneError with the list of what the file lacks.
    """
    spec, notes = read_source(path, path.stem)
    pose, idle = keyframe(spec), undriven(spec)
    notes += [*unused_keyframes(spec), *_slides(spec), *isolate(spec, path.stem)]
    model = _compile(spec, path)
    motors, replaced = drives(model)
    _check_complete(spec, motors, idle, path)
    _check_units(model, path)
    pose = pose or _drawn_pose(model, path)
    angles, moved = within_ranges(model, pose)
    stand = standing(model, angles, path)
    held = _held(stand, [name for name in motors if name in idle], idle, path)
    if held:
        why = listing((f"{name} ({idle[name]})" for name in held), 6)
        notes.append(f"Joints without a motor of their own do not move here: {why}.")
    speeds = speed_limits(path) if kind(path) == "robot" else {}
    driven = [name for name in motors if name not in held]
    return RobotDescription(
        name=path.stem,
        model=path,
        motors={re.escape(name): _motor(motors[name], speeds.get(name, UNKNOWN_SPEED)) for name in driven},
        default_pose={re.escape(name): angles[name] for name in driven if angles[name]},
        feet=stand.feet,
        end_effectors=stand.feet,
        locked_joints="|".join(map(re.escape, held)),
        notes=(*notes, *replaced, *pose.notes, *moved, *stand.notes),
    )


def _slides(spec: mujoco.MjSpec) -> list[str]:
    names = [j.name for j in spec.joints if j.type == mujoco.mjtJoint.mjJNT_SLIDE and j.parent.parent != spec.worldbody]
    return [f"Joints that slide have angles in m and torques in N: {listing(names, 8)}."] if names else []


def _compile(spec: mujoco.MjSpec, path: Path) -> mujoco.MjModel:
    """The file's own model with nothing that only a picture needs; SceneError where it lacks something or does not compile."""
    missing = mjcf.lacks(spec)
    for geom in list(spec.geoms):
        if not touches(geom) and not weighs(spec, geom):
            spec.delete(geom)
    mjcf.drop_unused_meshes(spec)
    try:
        with quiet():
            model = spec.compile()
    except ValueError as error:
        if missing:
            raise _lacking(path, missing) from None
        raise SceneError(f"{path} does not compile: {reason(error)}") from None
    return model


def _check_complete(spec: mujoco.MjSpec, motors: dict[str, Drive], idle: dict[str, str], path: Path) -> None:
    """SceneError with all that a file lacks to be a robot."""
    missing = mjcf.lacks(spec)
    limitless = [name for name, drive in motors.items() if name and drive.torque is None and name not in idle]
    if limitless:
        place = "actuatorfrcrange of the joint, or forcerange of its actuator"
        place = 'effort="…" above 0 in the <limit> of the joint' if kind(path) == "robot" else place
        missing.append(f"torque limits ({place}; on {listing(limitless, 8)})")
    if missing:
        raise _lacking(path, missing)


def _lacking(path: Path, missing: list[str]) -> SceneError:
    return SceneError(f"{path} cannot be used as a robot. It lacks: {'; '.join(missing)}.")


def _check_units(model: mujoco.MjModel, path: Path) -> None:
    """SceneError where angles, lengths or masses are of a size that shows another unit."""
    longest, mass = float(np.linalg.norm(model.body_pos[2:], axis=1).max(initial=0.0)), float(model.body_mass.sum())
    if longest and not NEAR <= longest <= FAR:
        raise SceneError(
            f"Bodies of {path} are up to {longest:.3g} m from the ones that they hang on. MJCF and URDF count metres; is it "
            "written in another unit? Export it again in metres."
        )
    if not LIGHT <= mass <= HEAVY:
        raise SceneError(
            f"The robot in {path} weighs {mass:.3g} kg. MJCF and URDF count kilograms; are its masses or densities in "
            "another unit? Export it again in kilograms and metres."
        )
    turning = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
    widest = max((float(abs(model.jnt_range[j]).max()) for j in turning), default=1.0)
    if TINY < widest < HUGE:
        return
    read, meant = ("degrees", "radian") if widest <= TINY else ("radians", "degree")
    cure = f'Write <compiler angle="{meant}"/> into the file.'
    if kind(path) == "robot":
        cure = "URDF counts radians: write lower and upper of its <limit> in radians."
    raise SceneError(
        f"The joints of {path} turn by at most {widest:.3g} rad: its ranges seem to be read as {read} by mistake. {cure}"
    )


def _drawn_pose(model: mujoco.MjModel, path: Path) -> Pose:
    """The pose that a file draws; SceneError where the root's z axis does not point up in it."""
    tilt = lean(model.qpos0[3:7])
    if tilt > MOST_LEAN:
        raise SceneError(
            f"The first body of {path} stands with its z axis {math.degrees(tilt):.0f}° from upright. A robot's first body has "
            "z up and x forward where it stands; turn its frame, or write a keyframe called home in which it does."
        )
    return Pose({}, "file's own pose")


def _held(stand: Stand, idle: list[str], why: dict[str, str], path: Path) -> list[str]:
    """Joints without a motor; SceneError where a foot hangs on one."""
    weak = [f"{name} ({why[name]})" for name in idle if name in stand.legs]
    if weak:
        raise SceneError(
            f"The robot in {path} has legs that move passively: {listing(weak)} between the root and {listing(stand.feet)}. "
            "That is not supported; give each an actuator of its own, or take the joint out of the file."
        )
    return idle


def _motor(drive: Drive, speed: float) -> Motor:
    """The file's servo, or one that spends the whole torque on 1 rad of error."""
    assert drive.torque is not None
    stiffness = drive.stiffness or drive.torque
    damping = drive.damping or SETTLING * stiffness
    return Motor(stiffness=stiffness, damping=damping, torque=drive.torque, speed=speed, armature=drive.armature)
