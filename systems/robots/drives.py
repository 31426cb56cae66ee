"""Drives of a robot's file: which joints have a motor, how strong it is, and the gains of its servo."""

import attrs
import mujoco
import numpy as np

from engine.errors import listing
from systems.robots.isolate import ON_JOINTS
from systems.robots.mjcf import hinges

_BIAS, _GAIN, _DYNAMICS = mujoco.mjtBias, mujoco.mjtGain, mujoco.mjtDyn
REPLACED = (  # of actuators and joints
    "Motors that are stronger one way than the other get the larger limit both ways",
    "Several actuators of one joint become one motor with the sum of their torques",
    "Muscles, filters, delays and other dynamics of actuators are left out",
    "Dry friction (frictionloss) is left out, as for every robot",
    "Velocity servos become position servos",
)
_MOVING = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))


@attrs.frozen
class Drive:
    """What a file says of the motor of one joint; None where it does not."""

    torque: float | None  # N·m
    stiffness: float | None  # N·m/rad
    damping: float | None  # N·m·s/rad
    armature: float | None  # kg·m², with that of its actuators; None where they have none of their own


def undriven(spec: mujoco.MjSpec) -> dict[str, str]:
    """Why joints have no motor, by name, in a file as its author wrote it.

    A file without actuators drives all joints but those that follow another.
    """
    on_joints = {actuator.target for actuator in spec.actuators if actuator.trntype in ON_JOINTS}
    pulled = {actuator.target for actuator in spec.actuators if actuator.trntype == mujoco.mjtTrn.mjTRN_TENDON}
    found = {}
    if on_joints or pulled:
        found = {joint.name: "it has no actuator" for joint in hinges(spec)}
    for tendon in spec.tendons:
        if tendon.name in pulled:
            joints = [wrap.target.name for wrap in tendon.path if wrap.type == mujoco.mjtWrap.mjWRAP_JOINT]
            found |= dict.fromkeys(joints, f"the tendon {tendon.name} pulls it")
    for one in spec.equalities:
        if one.active and one.type == mujoco.mjtEq.mjEQ_JOINT:
            found[one.name1] = f"it follows {one.name2}" if one.name2 else "the file holds it in place"
    return {name: reason for name, reason in found.items() if name not in on_joints}


def drives(model: mujoco.MjModel) -> tuple[dict[str, Drive], list[str]]:
    """The drive of every hinge and slide of a compiled model by its own actuators, and what is replaced, one sentence each."""
    found: dict[str, Drive] = {}
    odd: dict[str, list[str]] = {sentence: [] for sentence in REPLACED}
    for joint in range(model.njnt):
        if int(model.jnt_type[joint]) not in _MOVING:
            continue
        name = model.joint(joint).name
        actuators = [a for a in range(model.nu) if _is_on(model, a, joint)]
        spans = [span for a in actuators if (span := _span(model, a)) is not None]
        if model.jnt_actfrclimited[joint]:
            spans = [(float(model.jnt_actfrcrange[joint, 0]), float(model.jnt_actfrcrange[joint, 1]))]
        low, high = (sum(span[side] for span in spans) for side in (0, 1))
        torque = max(abs(low), abs(high))
        dynamic = any(
            int(model.actuator_dyntype[a]) != int(_DYNAMICS.mjDYN_NONE) or model.actuator_delay[a] for a in actuators
        )
        rubs = model.dof_frictionloss[model.jnt_dofadr[joint]] > 0.0
        stiffness, damping = _gains(model, actuators)
        brakes = stiffness is None and any(model.actuator_biasprm[a, 2] < 0.0 for a in actuators)
        damping = damping if stiffness is not None or brakes else None  # that of a motor is no servo's
        cases = (abs(low + high) > 0.01 * torque, len(spans) > 1, dynamic, rubs, brakes)
        for case, sentence in zip(cases, REPLACED, strict=True):
            odd[sentence] += [name] if case else []
        found[name] = Drive(torque or None, stiffness, damping, _armature(model, joint, actuators))
    return found, [f"{sentence}: {listing(names, 8)}." for sentence, names in odd.items() if names]


def _is_on(model: mujoco.MjModel, actuator: int, joint: int) -> bool:
    return int(model.actuator_trntype[actuator]) in map(int, ON_JOINTS) and model.actuator_trnid[actuator, 0] == joint


def _span(model: mujoco.MjModel, actuator: int) -> tuple[float, float] | None:
    """Least and largest torque of an actuator, N·m at its joint; None where nothing limits it."""
    gear = float(model.actuator_gear[actuator, 0])
    ends = None
    if model.actuator_forcelimited[actuator]:
        ends = model.actuator_forcerange[actuator] * gear
    elif model.actuator_ctrllimited[actuator] and model.actuator_biastype[actuator] == _BIAS.mjBIAS_NONE:
        if model.actuator_gaintype[actuator] == _GAIN.mjGAIN_FIXED:
            ends = model.actuator_ctrlrange[actuator] * model.actuator_gainprm[actuator, 0] * gear
    return None if ends is None else (float(np.min(ends)), float(np.max(ends)))


def _gains(model: mujoco.MjModel, actuators: list[int]) -> tuple[float | None, float | None]:
    """Stiffness and damping of the servos among some actuators of a joint."""
    affine = [a for a in actuators if model.actuator_biastype[a] == _BIAS.mjBIAS_AFFINE]
    square = [float(model.actuator_gear[a, 0]) ** 2 for a in affine]
    stiffness, damping = (
        -sum(g * float(model.actuator_biasprm[a, column]) for g, a in zip(square, affine, strict=True))
        for column in (1, 2)  # compiled: a damping ratio has become a damping
    )
    damping += sum(float(model.actuator_gear[a, 0]) ** 2 * float(model.actuator_damping[a]) for a in actuators)
    return stiffness if stiffness > 0.0 else None, damping if damping > 0.0 else None


def _armature(model: mujoco.MjModel, joint: int, actuators: list[int]) -> float | None:
    added = sum(float(model.actuator_gear[a, 0]) ** 2 * float(model.actuator_armature[a]) for a in actuators)
    return float(model.dof_armature[model.jnt_dofadr[joint]]) + added if added else None
