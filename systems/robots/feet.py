"""Feet of a robot: the bodies that reach lowest of those that can touch the floor, whatever hangs on them."""

from pathlib import Path

import attrs
import mujoco
import numpy as np

from engine.errors import SceneError, listing

BAND = 0.02  # m: bodies this close to the lowest point of the default pose stand on the floor
SAME = 0.003  # m: of two bodies of one leg that reach as low, the upper one is the foot
LYING = 0.25  # height of the centre of mass against the reach of the parts, below which a robot lies
_GEOM = mujoco.mjtGeom


@attrs.frozen
class Stand:
    """What a robot stands on in a pose: bodies, the joints between them and the root, and sentences about it."""

    feet: tuple[str, ...]
    legs: tuple[str, ...]
    notes: tuple[str, ...] = ()


def standing(model: mujoco.MjModel, angles: dict[str, float], path: Path) -> Stand:
    """What the robot of a compiled file stands on with its joints at `angles` (rad) and its root upright.

    Raises SceneError where nothing can touch the floor, or what should stand on it cannot.
    """
    data = mujoco.MjData(model)
    data.qpos[:7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    for name, angle in angles.items():
        data.qpos[model.jnt_qposadr[model.joint(name).id]] = angle
    mujoco.mj_kinematics(model, data)
    bottom = _bottoms(model, data)
    if not bottom:
        raise SceneError(
            f"Nothing of the robot in {path} can touch the floor: it has no shape that collides. {_cure(path)}"
        )
    floor = min(bottom.values())
    _check_lowest(model, data, floor, bottom, path)
    near = {body: height for body, height in bottom.items() if height < floor + BAND}
    feet = sorted(body for body in near if not _is_in_the_way(model, body, near))
    if 1 in feet:
        raise SceneError(
            f"The robot in {path} does not stand in its default pose: its first body '{model.body(1).name}' reaches lowest. "
            "Write a keyframe called home in which it stands on its feet."
        )
    _check_upright(model, data, floor, [model.body(foot).name for foot in feet], path)
    legs = {joint for foot in feet for body in _chain(model, foot)[:-1] for joint in _joints(model, body)}
    notes = []
    if len(feet) == 1:
        notes.append(
            f"It stands on one body, {model.body(feet[0]).name}: no other reaches within {100 * BAND:g} cm of as low."
        )
    names = tuple(model.body(foot).name for foot in feet)
    return Stand(names, tuple(model.joint(joint).name for joint in sorted(legs)), tuple(notes))


def _check_upright(model: mujoco.MjModel, data: mujoco.MjData, floor: float, feet: list[str], path: Path) -> None:
    """SceneError where a robot lies: its centre of mass is low against how far its parts reach."""
    height = float(model.body_mass @ data.xipos[:, 2] / model.body_mass.sum()) - floor
    reach = float(np.linalg.norm(data.xipos[1:] - data.xipos[1], axis=1).max())
    if height < LYING * reach:
        raise SceneError(
            f"The robot in {path} lies in its default pose: its centre of mass is {100 * height:.0f} cm above what touches the "
            f"floor ({listing(feet, 6)}), and its parts reach {100 * reach:.0f} cm. Write a keyframe called home in which it stands."
        )


def _check_lowest(
    model: mujoco.MjModel, data: mujoco.MjData, floor: float, bottom: dict[int, float], path: Path
) -> None:
    """SceneError where the mass of a body is below all that can touch: its shapes are only looks."""
    heights = {b: float(data.xipos[b, 2]) for b in range(1, model.nbody) if model.body_mass[b]}
    lowest = min(heights, key=lambda body: heights[body])
    if heights[lowest] < floor - BAND and _carrier(model, lowest) not in bottom:
        names = dict.fromkeys(
            model.body(_carrier(model, b)).name for b in heights if heights[b] < heights[lowest] + BAND
        )
        first = model.body(min(bottom, key=lambda body: bottom[body])).name
        raise SceneError(
            f"The robot in {path} has nothing to stand on: {listing(names)} reach lowest, but have no shape that collides; the "
            f"lowest that does is '{first}', {100 * (floor - heights[lowest]):.0f} cm higher. {_cure(path)}"
        )


def _cure(path: Path) -> str:
    if path.suffix == ".urdf":
        return "Give the links that it stands on <collision> shapes."
    return (
        'Use a file of it with collision shapes (a scene that pairs them with its floor, if there is one), or write contype="1" '
        "on the geoms of its soles."
    )


def _is_in_the_way(model: mujoco.MjModel, body: int, near: dict[int, float]) -> bool:
    """Whether another body of the same leg is the foot."""
    for other, height in near.items():
        if other in _chain(model, body)[1:] and height <= near[body] + SAME:
            return True
        if body in _chain(model, other)[1:] and height < near[body] - SAME:
            return True
    return False


def _chain(model: mujoco.MjModel, body: int) -> list[int]:
    """A body and those that it hangs on, up to the root."""
    found = [body]
    while body > 1:
        body = int(model.body_parentid[body])
        found.append(body)
    return found


def _joints(model: mujoco.MjModel, body: int) -> range:
    return range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body])


def _carrier(model: mujoco.MjModel, body: int) -> int:
    """The body that one without joints is part of."""
    return int(model.body_weldid[body])


def _bottoms(model: mujoco.MjModel, data: mujoco.MjData) -> dict[int, float]:
    """The lowest point, m, of every body that can touch something; bodies without a joint count to what they hang on."""
    lowest: dict[int, float] = {}
    for geom in range(model.ngeom):
        body = _carrier(model, int(model.geom_bodyid[geom]))
        if body and (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            height = float(data.geom_xpos[geom, 2]) - _reach(model, geom, data.geom_xmat[geom].reshape(3, 3)[2])
            lowest[body] = min(lowest.get(body, height), height)
    return lowest


def _reach(model: mujoco.MjModel, geom: int, up: np.ndarray) -> float:
    """How far a shape reaches below its centre, m; `up` is the world's vertical in its axes."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == _GEOM.mjGEOM_SPHERE:
        return float(size[0])
    if kind == _GEOM.mjGEOM_CAPSULE:
        return float(size[0] + abs(up[2]) * size[1])
    if kind == _GEOM.mjGEOM_CYLINDER:
        return float(np.hypot(up[0], up[1]) * size[0] + abs(up[2]) * size[1])
    if kind == _GEOM.mjGEOM_ELLIPSOID:
        return float(np.linalg.norm(up * size))
    if kind == _GEOM.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first = model.mesh_vertadr[mesh]
        return float(-(model.mesh_vert[first : first + model.mesh_vertnum[mesh]] @ up).min())
    center, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    return float(np.abs(up) @ half - up @ center)
