"""Robot files for Isaac Gym's importer, written from the compiled model, and what the importer made of them compared with it.

The importer drops or misreads much of MJCF, so a file has only what it is known to read: one tree of named bodies with explicit
inertia, joints with explicit ranges, collision shapes. Motors, armature and friction are set by name after loading.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mujoco
import numpy as np

from engine.errors import SceneError, did_you_mean, listing
from systems.robots.model import RobotModel

FILE = "robot.xml"
SPACING = 3.0  # m between the origins of rows, so that the search for contacts does not see them in one place
_TOLERANCE = 1e-3  # relative; numbers are float32 there
_DIGITS = 9
_SIZES = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): ("sphere", 1),
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): ("capsule", 2),
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): ("cylinder", 2),
    int(mujoco.mjtGeom.mjGEOM_BOX): ("box", 3),
}
_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
_JOINTS = {int(mujoco.mjtJoint.mjJNT_HINGE): "hinge", int(mujoco.mjtJoint.mjJNT_SLIDE): "slide"}


def refuse_unreadable(model: RobotModel) -> None:
    """SceneError for what Isaac Gym cannot simulate of a robot, or its importer would leave out without a word."""
    compiled, name = model.model, model.robot.name
    if model.self_collision:
        raise SceneError(
            f"Isaac Gym cannot let the parts of robot '{name}' collide with each other but for those that touch by design; leave "
            "--self-collision out (--no-self-collision), or choose --backend mujoco."
        )
    lost = {
        "constraints between its bodies": bool(compiled.neq),
        "tendons": bool(compiled.ntendon),
        "springs in its joints": bool(compiled.jnt_stiffness[1:].any()),
        "dry friction in its joints": bool(compiled.dof_frictionloss[6:].any()),
        "joints that are not at 0 where the file draws them": bool(compiled.qpos0[7:].any()),
        "ellipsoids or other shapes that are not sphere, capsule, cylinder, box or mesh": any(
            int(compiled.geom_type[geom]) not in (*_SIZES, _MESH) for geom in model.shape_geoms
        ),
    }
    found = [what for what, there in lost.items() if there]
    if found:
        raise SceneError(f"Robot '{name}' has {listing(found)}, which Isaac Gym would lose. Choose --backend mujoco.")


def write_asset(model: RobotModel, folder: Path) -> Path:
    """The robot as MJCF in `folder`, its meshes beside it; the file."""
    compiled = model.model
    root = ElementTree.Element("mujoco", model="robot")
    ElementTree.SubElement(root, "compiler", angle="radian", inertiafromgeom="false", autolimits="false")
    meshes = sorted({int(compiled.geom_dataid[g]) for g in model.shape_geoms if compiled.geom_type[g] == _MESH})
    if meshes:
        assets = ElementTree.SubElement(root, "asset")
        for mesh in meshes:
            _write_mesh(compiled, mesh, folder / f"mesh{mesh}.obj")
            ElementTree.SubElement(assets, "mesh", name=f"mesh{mesh}", file=f"mesh{mesh}.obj")
    places = [ElementTree.SubElement(root, "worldbody")]
    for body in range(1, compiled.nbody):
        places.append(_add_body(model, body, places[int(compiled.body_parentid[body])]))
    for geom in model.shape_geoms:
        _add_shape(compiled, geom, places[int(compiled.geom_bodyid[geom])])
    path = folder / FILE
    path.write_bytes(ElementTree.tostring(root, "utf-8"))
    return path


def _add_body(model: RobotModel, body: int, parent: ElementTree.Element) -> ElementTree.Element:
    compiled = model.model
    given = {"pos": _numbers(compiled.body_pos[body]), "quat": _numbers(compiled.body_quat[body])}
    place = ElementTree.SubElement(parent, "body", {"name": compiled.body(body).name, **given})
    inertia = model.body_inertia[body - 1]
    parts = [inertia[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    center, mass = _numbers(model.body_com[body - 1]), _numbers(model.body_mass[body - 1])
    # in the axes of the body, so that nobody needs to turn principal axes
    ElementTree.SubElement(place, "inertial", pos=center, mass=mass, fullinertia=_numbers(parts))
    for joint in range(compiled.body_jntadr[body], compiled.body_jntadr[body] + compiled.body_jntnum[body]):
        name, kind = compiled.joint(joint).name, int(compiled.jnt_type[joint])
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            ElementTree.SubElement(place, "freejoint", name=name or "root")
            continue
        limited = bool(compiled.jnt_limited[joint])
        attributes = {"type": _JOINTS[kind], "limited": str(limited).lower()}
        for what, values in (("pos", compiled.jnt_pos), ("axis", compiled.jnt_axis), ("range", compiled.jnt_range)):
            attributes |= {what: _numbers(values[joint])} if limited or what != "range" else {}
        ElementTree.SubElement(place, "joint", {"name": name, **attributes})
    return place


def _add_shape(compiled: mujoco.MjModel, geom: int, body: ElementTree.Element) -> None:
    kind = int(compiled.geom_type[geom])
    given = {"pos": _numbers(compiled.geom_pos[geom]), "quat": _numbers(compiled.geom_quat[geom])}
    if kind == _MESH:
        given |= {"type": "mesh", "mesh": f"mesh{int(compiled.geom_dataid[geom])}"}
    else:
        name, count = _SIZES[kind]
        given |= {"type": name, "size": _numbers(compiled.geom_size[geom, :count])}
    ElementTree.SubElement(body, "geom", given)


def _write_mesh(compiled: mujoco.MjModel, mesh: int, path: Path) -> None:
    """A mesh in its own axes as an OBJ file, of which everybody takes the convex hull."""
    first, count = int(compiled.mesh_vertadr[mesh]), int(compiled.mesh_vertnum[mesh])
    face, faces = int(compiled.mesh_faceadr[mesh]), int(compiled.mesh_facenum[mesh])
    lines = [f"v {_numbers(point)}" for point in compiled.mesh_vert[first : first + count]]
    corners = compiled.mesh_face[face : face + faces] + 1
    lines += [f"f {a} {b} {c}" for a, b, c in corners.tolist()]
    path.write_text("\n".join(lines) + "\n")


def _numbers(values: object) -> str:
    return " ".join(f"{value:.{_DIGITS}g}" for value in np.asarray(values).reshape(-1).tolist())


def friction(model: RobotModel) -> np.ndarray:
    """(shapes,) sliding friction with the floor, 0 for shapes that slide."""
    shapes = list(model.shape_geoms)
    return np.where(model.model.geom_condim[shapes] >= 3, model.model.geom_friction[shapes, 0], 0.0)


def settings(model: RobotModel, rows: int, file: Path, *, gpu: bool) -> dict[str, Any]:
    """What the worker needs of a simulation, as plain data by name."""
    compiled, robot = model.model, model.robot
    owners = [robot.body_names[body - 1] for body in compiled.geom_bodyid[list(model.shape_geoms)]]
    return {
        "rows": rows,
        "file": str(file),
        "gpu": gpu,
        "threads": 1,  # results depend on the number
        "dt": model.dt,
        "gravity": compiled.opt.gravity.tolist(),
        "control": model.control,
        "spacing": SPACING,
        "height": robot.default_height,
        "joints": list(robot.dof_names),
        "bodies": list(robot.body_names),
        "shapes": {name: owners.count(name) for name in robot.body_names},
        "stiffness": robot.stiffness.tolist(),
        "damping": robot.damping.tolist(),
        "joint_damping": compiled.dof_damping[6:].tolist(),
        "torque_limit": robot.torque_limit.tolist(),
        "armature": compiled.dof_armature[6:].tolist(),
        "friction": friction(model).tolist(),
    }


def refuse_other_names(model: RobotModel, found: Mapping[str, list[str]]) -> None:
    """SceneError where the importer made other joints or bodies than the robot has."""
    for what, known in (("joints", model.robot.dof_names), ("bodies", model.robot.body_names)):
        missing, extra = [n for n in known if n not in found[what]], [n for n in found[what] if n not in known]
        if missing or extra or len(found[what]) != len(known):
            lacks = f"it lacks {listing(missing)}" if missing else ""
            adds = f"it adds {listing(extra)}" if extra else ""
            near = did_you_mean(missing[0], extra) if missing else ""
            differences = " and ".join(part for part in (lacks, adds) if part) or f"it has {len(found[what])} of them"
            raise SceneError(
                f"Isaac Gym's importer misreads the {what} of robot '{model.robot.name}': {differences}.{near} Choose --backend mujoco."
            )


def refuse_misread(model: RobotModel, found: Mapping[str, Any]) -> None:
    """SceneError, with the differences, where what Isaac Gym loaded is not the compiled model."""
    differences = [*_joint_differences(model, found["joints"]), *_body_differences(model, found["bodies"])]
    if differences:
        shown, more = "; ".join(differences[:4]), len(differences) - 4
        rest = f"; and {more} more" if more > 0 else ""
        raise SceneError(
            f"Isaac Gym's importer misreads the robot '{model.robot.name}': {shown}{rest}. Choose --backend mujoco, and report it "
            "with what `python -m systems.physics.isaacgym selfcheck` writes."
        )


def _joint_differences(model: RobotModel, found: Mapping[str, Any]) -> list[str]:
    compiled, robot, differences = model.model, model.robot, []
    servo = model.control == "servo"
    for at, name in enumerate(robot.dof_names):
        read = found[name]
        limited = bool(compiled.jnt_limited[1 + at])
        if read["limited"] != limited:
            differences.append(f"joint '{name}' has {'no ' * (not read['limited'])}limits there")
            continue
        low, high = compiled.jnt_range[1 + at].tolist()
        expected: dict[str, float] = {
            "armature": float(compiled.dof_armature[6 + at]),
            "effort": float(robot.torque_limit[at]),
            "stiffness": float(robot.stiffness[at]) if servo else 0.0,
            "damping": float(robot.damping[at] + compiled.dof_damping[6 + at]) if servo else 0.0,
        }
        expected |= {"lower": low, "upper": high} if limited else {}
        for what, value in expected.items():
            if not _same(read[what], value):
                differences.append(f"{what} of joint '{name}' is {read[what]:.6g} there and {value:.6g} here")
    return differences


def _body_differences(model: RobotModel, found: Mapping[str, Any]) -> list[str]:
    differences = []
    owners = [int(body) - 1 for body in model.model.geom_bodyid[list(model.shape_geoms)]]
    for at, name in enumerate(model.robot.body_names):
        read, mass, inertia = found[name], float(model.body_mass[at]), model.body_inertia[at]
        if not _same(read["mass"], mass):
            differences.append(f"mass of body '{name}' is {read['mass']:.6g} kg there and {mass:.6g} kg here")
        if np.abs(np.subtract(read["center"], model.body_com[at])).max() > _TOLERANCE:
            here, there = _numbers(model.body_com[at].round(4)), _numbers(np.round(read["center"], 4))
            differences.append(f"centre of mass of body '{name}' is {there} m there and {here} m here")
        if np.abs(np.subtract(read["inertia"], inertia)).max() > 5.0 * _TOLERANCE * np.abs(inertia).max() + 1e-7:
            there = _numbers(np.diag(read["inertia"]).round(6))
            differences.append(
                f"inertia of body '{name}' is {there} kg·m² there and {_numbers(np.diag(inertia).round(6))} here"
            )
        if read["shapes"] != owners.count(at):
            differences.append(f"body '{name}' has {read['shapes']} collision shapes there and {owners.count(at)} here")
    return differences


def _same(found: float, expected: float) -> bool:
    return abs(found - expected) <= _TOLERANCE * max(abs(expected), 1e-3)
