"""Robot description out of somebody's MJCF file: what their model says is what they get."""

import re
from collections.abc import Iterable
from pathlib import Path

import mujoco
import numpy as np

from components.robot import Motor, RobotDescription
from engine.errors import SceneError, listing
from systems.robots import mjcf
from systems.robots.silence import quiet

FOOT_BAND = 0.02  # m: parts this close to the lowest point of the default pose are feet
UNKNOWN_SPEED = 100.0  # rad/s; MJCF does not say how fast a motor turns
SETTLING = 0.05  # s, damping per stiffness where the file has no servo


def describe(path: Path) -> RobotDescription:
    """The robot in an MJCF file, with the file's own shapes, keyframe pose, torque limits and servo gains.

    Joints without a position servo get one that spends the whole torque on 1 rad of error. Feet are the
    leaf bodies that reach lowest; they are the end effectors too. Raises SceneError with the list of what the file lacks.
    """
    bare = RobotDescription(name=path.stem, model=path, motors={})
    spec = mjcf.read_spec(bare)
    missing = mjcf.lacks(spec)
    torques = _torque_limits(spec)
    limitless = [j.name for j in mjcf.hinges(spec) if j.name and j.name not in torques]
    if limitless:
        missing.append(
            f"torque limits (actuatorfrcrange of the joint, or forcerange of its actuator; on {listing(limitless)})"
        )
    if missing:
        raise SceneError(f"{path} cannot be used as a robot. It lacks: {'; '.join(missing)}.")
    try:
        with quiet():
            model = spec.compile()
    except ValueError as error:
        raise SceneError(f"{path} does not compile: {error}") from None
    data = mujoco.MjData(model)
    if model.nkey:
        mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_kinematics(model, data)
    pose = {model.joint(i).name: float(data.qpos[model.jnt_qposadr[i]]) for i in range(1, model.njnt)}
    feet = _feet(model, data)
    return RobotDescription(
        name=path.stem,
        model=path,
        motors={re.escape(name): _motor(spec, model, name, torque) for name, torque in torques.items()},
        default_pose={re.escape(name): angle for name, angle in pose.items() if angle},
        feet=feet,
        end_effectors=feet,
    )


def _torque_limits(spec: mujoco.MjSpec) -> dict[str, float]:
    """N·m of every joint whose file says it: the joint's own range, else its actuator's."""
    found = {}
    for joint in mjcf.hinges(spec):
        limits = [joint.actfrcrange]
        for actuator in _actuators(spec, joint.name):
            gear = abs(float(actuator.gear[0]))
            limits.append(np.asarray(actuator.forcerange) * gear)
            if actuator.biastype == mujoco.mjtBias.mjBIAS_NONE:
                limits.append(np.asarray(actuator.ctrlrange) * float(actuator.gainprm[0]) * gear)
        spans = [float(max(abs(low), abs(high))) for low, high in limits if low < high]
        if spans:
            found[joint.name] = spans[0]
    return found


def _actuators(spec: mujoco.MjSpec, joint: str) -> Iterable[mujoco.MjsActuator]:
    return (a for a in spec.actuators if a.target == joint and a.trntype == mujoco.mjtTrn.mjTRN_JOINT)


def _motor(spec: mujoco.MjSpec, model: mujoco.MjModel, joint: str, torque: float) -> Motor:
    stiffness, damping = torque, SETTLING * torque
    for actuator in _actuators(spec, joint):
        bias = model.actuator_biasprm[actuator.id]  # compiled: a damping ratio has become a damping
        if actuator.biastype == mujoco.mjtBias.mjBIAS_AFFINE and bias[1] < 0.0:
            stiffness = -float(bias[1])
            damping = -float(bias[2]) or SETTLING * stiffness
    return Motor(stiffness=stiffness, damping=damping, torque=torque, speed=UNKNOWN_SPEED)


def _feet(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[str, ...]:
    """Leaf bodies whose colliding parts reach lowest in the default pose."""
    leaves = set(range(1, model.nbody)) - {int(p) for p in model.body_parentid}
    lowest: dict[int, float] = {}
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        if body in leaves and (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            center, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
            turn = data.geom_xmat[geom].reshape(3, 3)[2]
            bottom = float(data.geom_xpos[geom, 2] + turn @ center - np.abs(turn) @ half)
            lowest[body] = min(lowest.get(body, bottom), bottom)
    floor = min(lowest.values(), default=0.0)
    return tuple(model.body(body).name for body, height in sorted(lowest.items()) if height < floor + FOOT_BAND)
