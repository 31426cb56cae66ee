"""Isolation of the robot in a model: one tree of bodies on a free joint, in our own gravity, on our own floor.

A file may describe a whole scene. Everything in it that is not the robot is left out, everything about the robot that is
not supported is refused, and everything that changes how it would move gets a note, here and nowhere else.
"""

import re
from collections.abc import Iterable
from itertools import count

import mujoco
import numpy as np

from engine.errors import SceneError, listing
from systems.robots.sources import touches

GRAVITY = (0.0, 0.0, -9.81)  # m/s²
JOINT = mujoco.mjtJoint
ON_JOINTS = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)
_EQUALITY = mujoco.mjtEq
_FLAG, _TURN = mujoco.mjtDisableBit, mujoco.mjtOrientation
OURS = re.compile(r"floor|.*:\d+")  # names of shapes that this project adds
SWITCHES = {  # that change how a robot moves, in words
    _FLAG.mjDSBL_CONTACT: "contacts", _FLAG.mjDSBL_CONSTRAINT: "constraints", _FLAG.mjDSBL_LIMIT: "joint limits",
    _FLAG.mjDSBL_GRAVITY: "gravity", _FLAG.mjDSBL_SPRING: "springs", _FLAG.mjDSBL_DAMPER: "damping",
    _FLAG.mjDSBL_ACTUATION: "actuators", _FLAG.mjDSBL_CLAMPCTRL: "limits of control",
}  # fmt: skip


def isolate(spec: mujoco.MjSpec, robot: str) -> list[str]:
    """Leave only the robot in a spec, and say what else mattered, one sentence each.

    Raises SceneError for two robots, closed loops and deformable parts.
    """
    if spec.flexes:
        raise SceneError(
            f"Robot '{robot}' has deformable parts ({listing(f.name for f in spec.flexes)}), which are not supported; "
            "take them out of the file."
        )
    paired = {name for pair in spec.pairs for name in (pair.geomname1, pair.geomname2)}
    for geom in spec.geoms:
        if geom.name and geom.name in paired:
            geom.contype = 1  # it touches by being named in a pair; here it touches the floor like any other
    for part in (*spec.sensors, *spec.keys, *spec.pairs, *spec.cameras, *spec.lights, *spec.skins, *spec.tuples):
        spec.delete(part)
    trunk = _trunk(spec, robot)
    notes = _leave_out_ground(spec)
    if trunk is not None:
        notes += [*_release(spec, trunk, robot), *_leave_out_bodies(spec, trunk), *_free_base(trunk, spec)]
        notes += [*_name_bodies(spec), *_free_fall(trunk.joints[0])]
    _give_way(spec)
    return [*notes, *_options(spec), *_body_forces(spec), *_joint_limits(spec)]


def _give_way(spec: mujoco.MjSpec) -> None:
    """Rename shapes that are called as the floor, the terrain or a shape without a name is called here."""
    taken = {geom.name for geom in spec.geoms}
    for geom in spec.geoms:
        if OURS.fullmatch(geom.name):
            geom.name = next(name for n in count(1) if (name := f"{geom.name}_{n}") not in taken)
            taken.add(geom.name)


def _trunk(spec: mujoco.MjSpec, robot: str) -> mujoco.MjsBody | None:
    """The first body of the robot: that of the only tree that moves freely and has joints to move; None without one."""
    trees = {body: [j for j in _joints(body) if j not in list(body.joints)] for body in spec.worldbody.bodies}
    moving = [body for body, joints in trees.items() if _is_free(body) and joints]
    if len(moving) > 1:
        counts = listing(f"{body.name or 'unnamed'} with {len(trees[body])} joints" for body in moving)
        raise SceneError(f"Robot '{robot}': its file has several robots ({counts}). Keep one in each file.")
    held = [body for body in trees if body.joints and not _is_free(body) and trees[body]]
    if not moving and len(held) == 1:
        joints = listing(joint.name or "an unnamed joint" for joint in held[0].joints)
        raise SceneError(
            f"Robot '{robot}' does not move freely: its first body '{held[0].name}' hangs on {joints}. Write <freejoint/> "
            "there instead."
        )
    return moving[0] if moving else None


def _is_free(body: mujoco.MjsBody) -> bool:
    """Whether a body of the world moves freely: by a free joint, or by three slides and a ball or three hinges."""
    kinds = sorted(int(joint.type) for joint in body.joints)
    free, ball, slide, hinge = (
        int(kind) for kind in (JOINT.mjJNT_FREE, JOINT.mjJNT_BALL, JOINT.mjJNT_SLIDE, JOINT.mjJNT_HINGE)
    )
    return kinds in ([free], sorted([ball, *[slide] * 3]), sorted([*[slide] * 3, *[hinge] * 3]))


def _joints(body: mujoco.MjsBody) -> list[mujoco.MjsJoint]:
    return list(body.find_all(mujoco.mjtObj.mjOBJ_JOINT))


def _free_base(trunk: mujoco.MjsBody, spec: mujoco.MjSpec) -> list[str]:
    """A free joint in place of several joints that do the same."""
    joints = list(trunk.joints)
    if len(joints) == 1:
        return []
    names = {joint.name or "an unnamed joint" for joint in joints}
    for actuator in list(spec.actuators):
        if actuator.target in names:
            spec.delete(actuator)
    for joint in joints:
        spec.delete(joint)
    trunk.add_freejoint()
    return [f"Its first body moves by {listing(sorted(names))}; a free joint takes their place."]


def _name_bodies(spec: mujoco.MjSpec) -> list[str]:
    """Call bodies without a name after their first joint."""
    taken, named = {body.name for body in spec.bodies}, []
    for body in spec.bodies[1:]:
        name = next((joint.name for joint in body.joints if joint.name), "")
        if name and not body.name:
            body.name = name if name not in taken else f"{name}_body"
            taken.add(body.name)
            named.append(body.name)
    return [f"Bodies without a name are called after their joints: {listing(named, 6)}."] if named else []


def _free_fall(joint: mujoco.MjsJoint) -> list[str]:
    """Nothing but gravity and contacts acts on the base; a `<joint type="free"/>` takes on the file's default damping."""
    brake = {
        "damping": joint.damping,
        "stiffness": joint.stiffness,
        "armature": joint.armature,
        "frictionloss": joint.frictionloss,
    }
    found = [name for name, value in brake.items() if np.any(value)]
    joint.damping, joint.stiffness = np.zeros_like(joint.damping), np.zeros_like(joint.stiffness)
    joint.armature = joint.frictionloss = 0.0
    return [f"Its free joint has {listing(found)}; here the base moves freely."] if found else []


def _release(spec: mujoco.MjSpec, trunk: mujoco.MjsBody, robot: str) -> list[str]:
    """Delete constraints between parts, tendons, and actuators that are not on a joint; SceneError for closed loops."""
    bodies = [trunk, *trunk.find_all(mujoco.mjtObj.mjOBJ_BODY)]
    loops, held, coupled = [], [], []
    for one in list(spec.equalities):
        if one.active and one.type in (_EQUALITY.mjEQ_CONNECT, _EQUALITY.mjEQ_WELD):
            sites = one.objtype == mujoco.mjtObj.mjOBJ_SITE
            ends = [spec.site(name).parent if sites else spec.body(name) for name in (one.name1, one.name2) if name]
            ours = [carrier(body) for body in ends if body in bodies]
            if len(ours) == 2 and ours[0] != ours[1]:
                loops.append(f"{one.name1} to {one.name2}")
            elif len(ours) == 1:
                held.append(ours[0].name)
        elif one.active and one.type == _EQUALITY.mjEQ_JOINT:
            coupled.append(f"{one.name1} to {one.name2}" if one.name2 else one.name1)
        spec.delete(one)
    if loops:
        raise SceneError(
            f"Robot '{robot}' has closed loops ({listing(loops, 8)}), which are not supported: its joints would be driven "
            "apart. Use a model of it whose legs are open chains, or take the loops' rods out of the file."
        )
    notes = [f"Its file holds {listing(held)} in place; here nothing does."] if held else []
    if coupled:
        notes.append(f"Left out: what couples the joints {listing(coupled, 8)}.")
    return [*notes, *_leave_out_tendons(spec)]


def carrier(body: mujoco.MjsBody) -> mujoco.MjsBody:
    """The body that one without joints hangs on and is a part of; itself where it has joints."""
    while not body.joints and body.parent is not None and body.parent.name != "world":
        body = body.parent
    return body


def _leave_out_tendons(spec: mujoco.MjSpec) -> list[str]:
    others = [a for a in spec.actuators if a.trntype not in ON_JOINTS]
    names = [actuator.name or actuator.target for actuator in others]
    tendons = [tendon.name or "an unnamed tendon" for tendon in spec.tendons]
    for part in (*others, *spec.tendons):
        spec.delete(part)
    notes = [f"Left out: {_plural('tendon', tendons)} {listing(tendons, 8)}."] if tendons else []
    if names:
        notes.append(f"Left out, as no single joint is driven: {_plural('actuator', names)} {listing(names, 8)}.")
    return notes


def _leave_out_bodies(spec: mujoco.MjSpec, trunk: mujoco.MjsBody) -> list[str]:
    """Delete the other trees of bodies; say what could have been touched or carried."""
    objects, furniture, machines = [], [], []
    for body in [each for each in spec.worldbody.bodies if each != trunk]:
        name = body.name or "an unnamed body"
        geoms = list(body.find_all(mujoco.mjtObj.mjOBJ_GEOM))
        if _is_free(body):
            objects.append(name)
        elif _joints(body):
            machines.append(name)
        elif any(touches(geom) for geom in geoms):
            furniture.append(name)
        spec.delete(body)
    notes = []
    if objects:
        notes.append(
            f"Left out: the loose {_plural('object', objects)} {listing(objects, 8)}; the robot plays without, so a motion that "
            "carries or kicks something is learned with nothing there."
        )
    if furniture:
        notes.append(f"Left out: {listing(furniture, 8)} beside the robot; there is only a flat floor.")
    if machines:
        notes.append(f"Left out: {listing(machines, 8)}, with joints that are not the robot's.")
    return notes


def _leave_out_ground(spec: mujoco.MjSpec) -> list[str]:
    """Delete geoms of the world, and height fields; say all but level planes and what nothing touches."""
    terrain = []
    hilly = mujoco.mjtGeom.mjGEOM_HFIELD
    for geom in [geom for geom in spec.geoms if geom.parent == spec.worldbody or geom.type == hilly]:
        if touches(geom) and not _is_level(geom):
            terrain.append(geom.name or f"a {geom.type.name.removeprefix('mjGEOM_').lower()}")
        spec.delete(geom)
    for hills in list(spec.hfields):
        spec.delete(hills)
    return [f"Left out: the terrain {listing(terrain, 8)}; there is only a flat floor."] if terrain else []


def _is_level(geom: mujoco.MjsGeom) -> bool:
    """Whether a geom of the world is a plane that is not tilted."""
    alt = geom.alt
    tilts = {_TURN.mjORIENTATION_QUAT: geom.quat[1:3], _TURN.mjORIENTATION_EULER: alt.euler[:2],
             _TURN.mjORIENTATION_AXISANGLE: alt.axisangle[:2], _TURN.mjORIENTATION_ZAXIS: alt.zaxis[:2]}  # fmt: skip
    return geom.type == mujoco.mjtGeom.mjGEOM_PLANE and not np.any(tilts.get(alt.type, (1.0,)))


def _options(spec: mujoco.MjSpec) -> list[str]:
    """Our own gravity, still air and every force switched on."""
    option, notes = spec.option, []
    if not np.allclose(option.gravity, GRAVITY, atol=0.02):
        notes.append(f"Its file has the gravity {_numbers(option.gravity)} m/s²; {_numbers(GRAVITY)} is used.")
    option.gravity = list(GRAVITY)
    off = [word for flag, word in SWITCHES.items() if option.disableflags & int(flag)]
    if off:
        notes.append(f"Its file switches off {listing(off)}; here they are on.")
    option.disableflags = option.enableflags = 0
    if np.any(option.wind) or option.density or option.viscosity:
        notes.append("Its file has wind or a medium of its own; here there is none.")
    option.wind, option.density, option.viscosity = [0.0] * 3, 0.0, 0.0
    option.disableactuator = 0
    return notes


def _body_forces(spec: mujoco.MjSpec) -> list[str]:
    """No body is relieved of its weight."""
    light = [body.name for body in spec.bodies if body.gravcomp]
    for body in spec.bodies:
        body.gravcomp = 0.0
    for joint in spec.joints:
        joint.actgravcomp = False
    return (
        [f"Its file takes weight off {listing(light, 6)} (gravcomp); here every body has its weight."] if light else []
    )


def _joint_limits(spec: mujoco.MjSpec) -> list[str]:
    """Ranges that a file has are kept to; a joint without one gets that of its servo's targets."""
    loose, borrowed = [], []
    servos = {a.target: a for a in spec.actuators if a.biasprm[1] < 0.0 and a.ctrlrange[0] < a.ctrlrange[1]}
    for joint in spec.joints:
        if joint.name in servos and not joint.range[0] < joint.range[1]:
            targets = np.array(servos[joint.name].ctrlrange)
            degrees = joint.compiler.degree and joint.type == JOINT.mjJNT_HINGE
            joint.range = np.degrees(targets) if degrees else targets
            borrowed.append(joint.name)
        elif joint.range[0] < joint.range[1] and joint.limited == mujoco.mjtLimited.mjLIMITED_FALSE:
            loose.append(joint.name)
        if joint.range[0] < joint.range[1]:
            joint.limited = mujoco.mjtLimited.mjLIMITED_TRUE
    notes = [f"Its file does not enforce the ranges of {listing(loose, 8)}; here they are limits."] if loose else []
    if borrowed:
        notes.append(f"Joints without a range get that of their actuator's targets: {listing(borrowed, 8)}.")
    return notes


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _plural(word: str, names: list[str]) -> str:
    return word if len(names) == 1 else f"{word}s"
