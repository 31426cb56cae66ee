"""MJCF edits that make a robot ready for training: our actuators, our collision shapes, nothing that only costs time.

Angles are left to the compiler, because a file may be written in degrees.
"""

import re

import attrs
import mujoco

from components.robot import Box, Capsule, Motor, RobotDescription
from engine.errors import SceneError, did_you_mean, listing

CONTACT_SENSOR = "contact:"  # + body name: net contact force of that body
DEPTH_SENSOR = "depth"  # the least distance of two shapes that touch, negative where they overlap
SELF_SENSOR = "self contact"  # largest force between two parts of the robot
_GEOM = mujoco.mjtGeom
_OBJECT = mujoco.mjtObj
_FORCE, _DISTANCE = (
    1 << int(f) for f in (mujoco.mjtConDataField.mjCONDATA_FORCE, mujoco.mjtConDataField.mjCONDATA_DIST)
)
_LEAST_DISTANCE, _MAX_FORCE, _NET_FORCE = 1, 2, 3


@attrs.frozen
class Solver:
    """What the simulator spends its time on; `benchmarks/physics_options.py` measures what each costs."""

    iterations: int = 10  # Newton
    line_search: int = 20
    elliptic: bool = False  # friction cone; pyramidal otherwise
    impedance_ratio: float = 1.0
    joint_friction: bool = False  # keep the model's dry friction, one constraint row per joint
    islands: bool = False  # one robot per simulation is one island; looking for more costs time
    sparse: bool = True  # constraint Jacobians: a foot moves with its own leg only


def read_spec(description: RobotDescription) -> mujoco.MjSpec:
    """The robot's model as its author wrote it; SceneError where it is missing or does not parse."""
    model = description.model
    try:
        if callable(model):
            return mujoco.MjSpec.from_string(model())
        if not model.is_file():
            raise SceneError(f"Robot '{description.name}' needs the model file {model}, which does not exist.")
        return mujoco.MjSpec.from_file(str(model))
    except ValueError as error:
        source = "its generated MJCF" if callable(model) else str(model)
        raise SceneError(f"Robot '{description.name}': {source} is not valid MJCF: {error}") from None


def lacks(spec: mujoco.MjSpec) -> list[str]:
    """What keeps a model from being a robot here, as phrases; empty when it can be used."""
    found = []
    free = [j for j in spec.joints if j.type == mujoco.mjtJoint.mjJNT_FREE]
    trunks = spec.worldbody.bodies
    if len(free) != 1 or not trunks or (free[0].parent is not None and free[0].parent.name != trunks[0].name):
        found.append(f"one free joint, on its first body (it has {len(free)} free joints)")
    if len(trunks) > 1:
        found.append(f"a single tree of bodies (it has {len(trunks)}: {listing(b.name or 'unnamed' for b in trunks)})")
    moving = hinges(spec)
    if not moving:
        found.append("joints to move")
    if any(not j.name for j in moving):
        found.append(f"joint names (on {listing(j.parent.name or 'an unnamed body' for j in moving if not j.name)})")
    balls = [j.name for j in spec.joints if j.type == mujoco.mjtJoint.mjJNT_BALL]
    if balls:
        found.append(f"hinges in place of ball joints ({listing(balls)})")
    unnamed = [b for b in spec.bodies if not b.name]
    if unnamed:
        found.append(f"body names ({len(unnamed)} bodies have none)")
    endless = [j.name or "an unnamed joint" for j in moving if not j.range[0] < j.range[1]]
    if endless:
        found.append(f"joint ranges (on {listing(endless)})")
    return found


def hinges(spec: mujoco.MjSpec) -> list[mujoco.MjsJoint]:
    """The joints that get a motor, in the order of the file."""
    return [j for j in spec.joints if j.type in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)]


def strip(spec: mujoco.MjSpec, *, visual: bool) -> None:
    """Take out the file's own actuators, sensors, keyframes, contact pairs, scenery and, unless `visual`, looks."""
    for part in (*spec.actuators, *spec.sensors, *spec.keys, *spec.pairs, *spec.worldbody.geoms):
        spec.delete(part)
    if visual:
        return
    for geom in spec.geoms:
        if not (geom.contype or geom.conaffinity) and geom.parent.explicitinertial:
            spec.delete(geom)
    drop_unused_meshes(spec)


def drop_unused_meshes(spec: mujoco.MjSpec) -> None:
    """Forget meshes that no geom shows, so that their files are not read."""
    used = {g.meshname for g in spec.geoms}
    for mesh in spec.meshes:
        if mesh.name not in used:
            spec.delete(mesh)


def lock_joints(spec: mujoco.MjSpec, pattern: str) -> None:
    """Weld the joints that match at 0 and merge their bodies into the parents."""
    if not pattern:
        return
    for joint in hinges(spec):
        if re.fullmatch(pattern, joint.name):
            spec.delete(joint)
    spec.fuse_static()


def clear_shapes(spec: mujoco.MjSpec, description: RobotDescription, *, visual: bool) -> None:
    """Make room for the description's collision shapes, if it has any."""
    if not description.shapes:
        return
    for geom in spec.geoms:
        if not (geom.contype or geom.conaffinity):
            continue
        if visual or not geom.parent.explicitinertial:  # it is looked at, or weighs something
            geom.contype = geom.conaffinity = 0
        else:
            spec.delete(geom)
    if not visual:
        drop_unused_meshes(spec)


def shape(spec: mujoco.MjSpec, description: RobotDescription, *, self_collision: bool) -> list[str]:
    """Put the description's collision shapes on; returns the names of the foot geoms.

    Everything touches the floor and, on request, each other. Feet have friction; the rest slides.
    """
    for one in description.shapes:
        _add_shape(spec, one, description.name)
    feet = []
    for number, geom in enumerate(g for g in spec.geoms if g.contype or g.conaffinity):
        geom.name = geom.name or f"{geom.parent.name}:{number}"
        foot = geom.parent.name in description.feet
        geom.contype, geom.conaffinity = 1, int(self_collision)
        geom.condim, geom.priority = (3, 1) if foot else (1, 0)
        if foot:
            geom.friction = [description.foot_friction, 0.005, 0.0001]
            feet.append(geom.name)
    return feet


def _add_shape(spec: mujoco.MjSpec, one: Capsule | Box, robot: str) -> None:
    bodies = [b for b in spec.bodies if re.fullmatch(one.body, b.name)]
    if not bodies:
        names = [b.name for b in spec.bodies if b.name != "world"]
        raise SceneError(
            f"Robot '{robot}' has a collision shape for body '{one.body}', which matches none of its bodies: "
            f"{listing(names)}.{did_you_mean(one.body, names)}"
        )
    for body in bodies:
        geom = body.add_geom(
            mass=0.0, contype=1, conaffinity=1, margin=0.0, gap=0.0, group=3, rgba=[0.2, 0.6, 0.2, 0.3]
        )
        if isinstance(one, Box):
            geom.type, geom.pos, geom.size = _GEOM.mjGEOM_BOX, list(one.center), list(one.half_size)
        elif one.end is None:
            geom.type, geom.pos, geom.size = _GEOM.mjGEOM_SPHERE, list(one.start), [one.radius, 0, 0]
        else:
            geom.type, geom.size = _GEOM.mjGEOM_CAPSULE, [one.radius, 0, 0]
            geom.fromto = [*one.start, *one.end]


def drive(spec: mujoco.MjSpec, motors: dict[str, Motor], *, control: str, joint_friction: bool) -> None:
    """Give every joint its motor: a position servo with the motor's gains, or a plain torque."""
    for joint in hinges(spec):
        motor = motors[joint.name]
        joint.actfrclimited = mujoco.mjtLimited.mjLIMITED_FALSE  # the motor alone says how strong it is
        if motor.armature is not None:
            joint.armature = motor.armature
        if not joint_friction:
            joint.frictionloss = 0.0
        actuator = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.gear = [1, 0, 0, 0, 0, 0]
        actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_FALSE
        actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.forcerange = [-motor.torque, motor.torque]
        actuator.dyntype = mujoco.mjtDyn.mjDYN_NONE
        if control == "servo":
            actuator.set_to_position(kp=motor.stiffness, kv=motor.damping)
        else:
            actuator.set_to_motor()


def set_options(spec: mujoco.MjSpec, solver: Solver, dt: float) -> None:
    """Time step, integrator and solver; no silent reset of simulations that went bad."""
    option = spec.option
    option.timestep = dt
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    option.iterations, option.ls_iterations = solver.iterations, solver.line_search
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC if solver.elliptic else mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.impratio = solver.impedance_ratio
    option.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE if solver.sparse else mujoco.mjtJacobian.mjJAC_DENSE
    option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    if not solver.islands:
        option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)


def add_floor(spec: mujoco.MjSpec) -> None:
    """An endless plane at height 0 that lets the other side of a contact decide its friction."""
    spec.worldbody.add_geom(
        name="floor", type=_GEOM.mjGEOM_PLANE, size=[0, 0, 1], contype=0, conaffinity=1, condim=1, priority=0,
        friction=[1.0, 0.005, 0.0001], rgba=[0.45, 0.47, 0.5, 1.0],
    )  # fmt: skip


def add_contact_sensors(spec: mujoco.MjSpec, bodies: list[str], *, self_collision: bool) -> None:
    """Net contact force of each of `bodies`; the deepest contact; and the strongest contact of the robot with itself."""
    for name in bodies:
        spec.add_sensor(
            name=CONTACT_SENSOR + name, type=mujoco.mjtSensor.mjSENS_CONTACT, objtype=_OBJECT.mjOBJ_BODY,
            objname=name, intprm=[_FORCE, _NET_FORCE, 1],
        )  # fmt: skip
    spec.add_sensor(name=DEPTH_SENSOR, type=mujoco.mjtSensor.mjSENS_CONTACT, intprm=[_DISTANCE, _LEAST_DISTANCE, 1])
    if self_collision:
        root = spec.worldbody.bodies[0].name
        spec.add_sensor(
            name=SELF_SENSOR, type=mujoco.mjtSensor.mjSENS_CONTACT, objtype=_OBJECT.mjOBJ_XBODY, objname=root,
            reftype=_OBJECT.mjOBJ_XBODY, refname=root, intprm=[_FORCE, _MAX_FORCE, 1],
        )  # fmt: skip
