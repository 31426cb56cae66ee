"""MJCF edits that make a robot ready for training: our actuators, our collision shapes, nothing that only costs time.

Angles are left to the compiler, because a file may be written in degrees.
"""

import re
from collections.abc import Iterable
from typing import Any

import attrs
import mujoco

from components.robot import Box, Capsule, Motor, RobotDescription
from engine.errors import SceneError, did_you_mean, listing
from systems.ground.grid import Terrain
from systems.robots.isolate import carrier, isolate
from systems.robots.sources import read_source, touches, weighs

CONTACT_SENSOR = "contact:"  # + body name: net contact force of that body
DEPTH_SENSOR = "depth"  # the least distance of two shapes that touch, negative where they overlap
SELF_SENSOR = "self contact"  # largest force between two parts of the robot
_GEOM = mujoco.mjtGeom
_OBJECT = mujoco.mjtObj
_FORCE, _DISTANCE = (
    1 << int(f) for f in (mujoco.mjtConDataField.mjCONDATA_FORCE, mujoco.mjtConDataField.mjCONDATA_DIST)
)
_LEAST_DISTANCE, _MAX_FORCE, _NET_FORCE = 1, 2, 3
_FLOOR: dict[str, Any] = {  # contacts and looks of what robots walk on
    "contype": 0, "conaffinity": 1, "condim": 1, "priority": 0, "friction": [1.0, 0.005, 0.0001],
    "rgba": [0.45, 0.47, 0.5, 1.0], "material": "",
}  # fmt: skip


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
    warm_start: bool = True  # begin at the last step's acceleration: a worse guess, as targets jump and feet strike
    mid_phase: bool = False  # a tree of boxes before shapes are compared; robots have too few for it to pay


def read_spec(description: RobotDescription) -> tuple[mujoco.MjSpec, list[str]]:
    """The robot of a description's model and nothing else, and what was left out or replaced, one sentence each.

    Raises SceneError where the model is missing, does not parse or is of a kind that is not supported.
    """
    spec, notes = read_source(description.model, description.name)
    return spec, [*notes, *isolate(spec, description.name)]


def lacks(spec: mujoco.MjSpec) -> list[str]:
    """What keeps a model from being a robot here, as phrases; empty when it can be used."""
    found = []
    free = [j for j in spec.joints if j.type == mujoco.mjtJoint.mjJNT_FREE]
    trunks = spec.worldbody.bodies
    moving = hinges(spec)
    if len(trunks) != 1 or len(free) != 1:
        where = (
            f"free joints are on {listing(j.parent.name or 'unnamed' for j in free)}"
            if free
            else "it has 0 free joints; write <freejoint/> there"
        )
        found.append(f"one free joint, on its first body ({where})")
    if len(trunks) > 1:
        found.append(f"a single tree of bodies (it has {len(trunks)}: {listing(b.name or 'unnamed' for b in trunks)})")
    if not moving:
        found.append("joints to move")
    if any(not j.name for j in moving):
        found.append(f"joint names (on {listing(j.parent.name or 'an unnamed body' for j in moving if not j.name)})")
    balls = [j.name or "an unnamed joint" for j in spec.joints if j.type == mujoco.mjtJoint.mjJNT_BALL]
    if balls:
        found.append(f"hinges in place of ball joints ({listing(balls)})")
    unnamed = [b for b in spec.bodies if not b.name and b.joints]
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
    """Take out the file's own actuators and, unless `visual`, its looks."""
    for actuator in list(spec.actuators):
        spec.delete(actuator)
    if visual:
        return
    for geom in list(spec.geoms):
        if not touches(geom) and not weighs(spec, geom):
            spec.delete(geom)
        else:
            geom.material = ""
    for part in (*spec.materials, *spec.textures):
        spec.delete(part)
    drop_unused_meshes(spec)


def drop_unused_meshes(spec: mujoco.MjSpec) -> None:
    """Forget meshes that no geom shows, so that their files are not read."""
    used = {g.meshname for g in spec.geoms}
    for mesh in spec.meshes:
        if mesh.name not in used:
            spec.delete(mesh)


def merge_still_bodies(spec: mujoco.MjSpec, named: Iterable[str]) -> dict[str, str]:
    """Make bodies without a joint part of the body they hang on, but for those that are `named`; from which to which.

    Toes, soles and sensor frames are bodies in a file, and parts of a foot for everything here.
    """
    keep = set(named) - {""}
    still = [body for body in spec.bodies[1:] if carrier(body) != body]
    for body in still:
        body.fuse = body.name not in keep
    merged = {body.name: carrier(body).name for body in still if body.fuse and body.name}
    for exclude in list(spec.excludes):
        first, second = (merged.get(name, name) for name in (exclude.bodyname1, exclude.bodyname2))
        spec.delete(exclude)
        if first != second and "world" not in (first, second):
            spec.add_exclude(bodyname1=first, bodyname2=second)
    if still:
        spec.fuse_static()
    return merged


def lock_joints(spec: mujoco.MjSpec, pattern: str) -> None:
    """Weld the joints that match where the file draws them."""
    for joint in hinges(spec) if pattern else ():
        if re.fullmatch(pattern, joint.name):
            spec.delete(joint)


def clear_shapes(spec: mujoco.MjSpec, description: RobotDescription, *, visual: bool) -> None:
    """Make room for the description's collision shapes, if it has any."""
    if not description.shapes:
        return
    for geom in list(spec.geoms):
        if not touches(geom):
            continue
        if visual or weighs(spec, geom):  # it is looked at, or weighs something
            geom.contype = geom.conaffinity = 0
        else:
            spec.delete(geom)
    if not visual:
        drop_unused_meshes(spec)


def add_shapes(spec: mujoco.MjSpec, description: RobotDescription) -> list[str]:
    """Put the description's collision shapes on; returns the names of their bodies."""
    return [name for one in description.shapes for name in _add_shape(spec, one, description.name)]


def make_touch(spec: mujoco.MjSpec, description: RobotDescription, *, self_collision: bool) -> list[str]:
    """Let every shape touch the floor and, on request, each other; returns the names of the foot geoms.

    Feet, and what moves beyond them, have friction; the rest slides.
    """
    feet = []
    for number, geom in enumerate(g for g in spec.geoms if touches(g)):
        geom.name = geom.name or f"{geom.parent.name}:{number}"
        geom.contype, geom.conaffinity = 1, int(self_collision)
        foot = _belongs_to(geom.parent, description.feet)
        geom.condim, geom.priority = (3, 1) if foot else (1, 0)
        if foot:
            geom.friction = [description.foot_friction, 0.005, 0.0001]
        if geom.parent.name in description.feet:
            feet.append(geom.name)
    return feet


def _belongs_to(body: mujoco.MjsBody, feet: tuple[str, ...]) -> bool:
    above: mujoco.MjsBody | None = body
    while above is not None and above.name not in feet:
        above = above.parent
    return above is not None


def _add_shape(spec: mujoco.MjSpec, one: Capsule | Box, robot: str) -> list[str]:
    bodies = [b for b in spec.bodies if re.fullmatch(one.body, b.name)]
    if not bodies:
        names = [b.name for b in spec.bodies if b.name != "world"]
        raise SceneError(
            f"Robot '{robot}' has a collision shape for body '{one.body}', which matches none of its bodies: "
            f"{listing(names)}.{did_you_mean(one.body, names)}"
        )
    for body in bodies:
        geom = body.add_geom(
            mass=0.0, contype=1, conaffinity=1, margin=0.0, gap=0.0, group=3, rgba=[0.2, 0.6, 0.2, 0.3], material=""
        )
        if isinstance(one, Box):
            geom.type, geom.pos, geom.size = _GEOM.mjGEOM_BOX, list(one.center), list(one.half_size)
        elif one.end is None:
            geom.type, geom.pos, geom.size = _GEOM.mjGEOM_SPHERE, list(one.start), [one.radius, 0, 0]
        else:
            geom.type, geom.size = _GEOM.mjGEOM_CAPSULE, [one.radius, 0, 0]
            geom.fromto = [*one.start, *one.end]
    return [body.name for body in bodies]


def drive(
    spec: mujoco.MjSpec,
    motors: dict[str, Motor],
    *,
    control: str,
    joint_friction: bool,
    joint_damping: float | None = None,
) -> None:
    """Give every joint its motor: a position servo with the motor's gains, or a plain torque.

    `joint_damping` in N·m·s/rad takes the place of the file's.
    """
    for joint in hinges(spec):
        motor = motors[joint.name]
        joint.actfrclimited = mujoco.mjtLimited.mjLIMITED_FALSE  # the motor alone says how strong it is
        if motor.armature is not None:
            joint.armature = motor.armature
        if joint_damping is not None:
            joint.damping[0] = joint_damping
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
            actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE  # of 0; rows may have an offset of their own


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
    disable = mujoco.mjtDisableBit
    option.disableflags = int(disable.mjDSBL_AUTORESET)
    for enabled, flag in (
        (solver.islands, disable.mjDSBL_ISLAND),
        (solver.warm_start, disable.mjDSBL_WARMSTART),
        (solver.mid_phase, disable.mjDSBL_MIDPHASE),
    ):
        option.disableflags |= 0 if enabled else int(flag)


def add_floor(spec: mujoco.MjSpec) -> None:
    """An endless plane at height 0 that lets the other side of a contact decide its friction."""
    spec.worldbody.add_geom(name="floor", type=_GEOM.mjGEOM_PLANE, size=[0, 0, 1], **_FLOOR)


def add_terrain(spec: mujoco.MjSpec, terrain: Terrain, **looks: Any) -> None:
    """Terrain in place of the floor, with the same contacts: height fields for tiles of triangles, boxes for blocks.

    A height field would make a ramp, one square long, of every upright side. Every part of the ground costs time in every physics
    step, wherever it is, so that parts are joined. `looks` are attributes of its geoms.
    """
    given, terrain = {**_FLOOR, **looks}, terrain.joined()
    for number, tile in enumerate(terrain.fields):
        (west, east), (south, north) = tile.x, tile.y
        field = spec.add_hfield(name=f"terrain:{number}", nrow=tile.shares.shape[0], ncol=tile.shares.shape[1])
        field.size = [0.5 * (east - west), 0.5 * (north - south), tile.span, 1.0]
        field.userdata = tile.shares.ravel()
        spec.worldbody.add_geom(
            name=f"terrain field:{number}", type=_GEOM.mjGEOM_HFIELD, hfieldname=field.name,
            pos=[0.5 * (west + east), 0.5 * (south + north), tile.lowest], **given,
        )  # fmt: skip
    bottom = terrain.lowest - 1.0
    for number, one in enumerate(terrain.blocks):
        (west, east), (south, north) = one.x, one.y
        spec.worldbody.add_geom(
            name=f"terrain block:{number}", type=_GEOM.mjGEOM_BOX,
            pos=[0.5 * (west + east), 0.5 * (south + north), 0.5 * (bottom + one.top)],
            size=[0.5 * (east - west), 0.5 * (north - south), 0.5 * (one.top - bottom)], **given,
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
