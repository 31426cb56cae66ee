"""Joint angles of ASAP and PHC clips, which hold them twice: as angles (`dof`) and as rotation vectors (`pose_aa`)."""

import numpy as np

from engine.errors import SceneError
from systems.motion.arrays import NamedArrays
from systems.motion.joint_orders import PUBLISHED
from systems.motion.options import ClipOptions

AGREES = 1e-2  # rad between an angle and the rotation vector of its joint
MOVES = 0.05  # rad; a joint that turns less tells nothing about its axis


def joint_angles(arrays: NamedArrays, dof: np.ndarray, options: ClipOptions) -> tuple[np.ndarray, tuple[str, ...]]:
    """The angles that count, and what a person should know of it.

    A joint's two records agree where its rotation vector is its angle times one unit axis in all frames, whichever
    axis that is. Raises SceneError where they differ and the user has not chosen one.
    """
    if "pose_aa" not in arrays:
        options.idle("source", f"{arrays.source} holds joint angles once, without 'pose_aa' beside 'dof'.")
        return dof, ()
    count = dof.shape[1]
    pose = arrays.array("pose_aa", len(dof), "joints + 1", 3)
    if pose.shape[1] < count + 1:
        raise SceneError(
            f"'pose_aa' in {arrays.source} has {pose.shape[1]} rows for {count} joints; it needs the root and every joint."
        )
    turned = pose[:, 1 : count + 1]
    axes = _axes(dof, turned)
    word = options.get("source")
    if word == "pose_aa":
        fits = np.median(_error(dof, turned, axes), 0) <= AGREES
        return np.einsum("tjc,jc->tj", turned, np.where(fits[:, None], axes, 1.0)), ()
    if word == "dof":
        return dof, ()
    _check_agreement(arrays.source, options.item, dof, turned, axes)
    known = arrays.names("joints") or options.get("joints")
    order = () if known else _order(arrays.source, options.item, turned)
    return dof, (*_backward(arrays.source, dof, axes), *order)


def _axes(dof: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """(joints, 3): the unit axis that best makes rotation vectors of the angles; any for a joint that does not move."""
    sums = np.einsum("tj,tjc->jc", np.nan_to_num(dof), np.nan_to_num(turned))
    length = np.linalg.norm(sums, axis=-1, keepdims=True)
    return np.where(length > 1e-9, sums / np.maximum(length, 1e-9), (1.0, 0.0, 0.0))


def _error(dof: np.ndarray, turned: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(frames, joints) rad between rotation vectors, which are at most π long, and angles about axes."""
    errors = [np.linalg.norm(turned - (dof + turns * 2.0 * np.pi)[..., None] * axes, axis=-1) for turns in (-1, 0, 1)]
    return np.asarray(np.minimum.reduce(errors))


def _check_agreement(source: str, item: str, dof: np.ndarray, turned: np.ndarray, axes: np.ndarray) -> None:
    error = _error(dof, turned, axes)
    if not np.nanmax(error, initial=0.0) > AGREES:
        return
    frame, joint = (int(i) for i in np.unravel_index(np.nanargmax(error), error.shape))
    raise SceneError(
        f"{source}, frame {frame}: joint {joint} is {dof[frame, joint]:.3f} rad in 'dof' and "
        f"{turned[frame, joint].sum():.3f} rad in 'pose_aa', so one of the two is wrong or in another joint order. Say "
        f"which counts: name the clip as {item}:dof or as {item}:pose_aa."
    )


def _backward(source: str, dof: np.ndarray, axes: np.ndarray) -> tuple[str, ...]:
    joints = np.flatnonzero((axes.sum(-1) < -0.5) & (np.abs(dof).max(0, initial=0.0) > MOVES))
    if not len(joints):
        return ()
    return (
        f"{source}: {len(joints)} of {dof.shape[1]} joints (the first is {joints[0]}) turn the other way round in "
        "'pose_aa' than in 'dof', as about an axis of -1; 'dof' is played.",
    )


def _order(source: str, item: str, turned: np.ndarray) -> tuple[str, ...]:
    """What the axes tell of the joint order. Raises SceneError where they fit none that is usual but another."""
    count = turned.shape[1]
    orders = [order for order in PUBLISHED if len(order.names) == count]
    if not orders or not len(turned):
        return ()
    size = np.nan_to_num(np.abs(turned))
    frames = size.max(-1).argmax(0)  # where each joint turns most
    most = size[frames, np.arange(count)]
    wrong = [
        [j for j in range(count) if most[j].max() > MOVES and most[j].argmax() != _axis(o.names[j])] for o in orders
    ]
    fitting = [order for order, joints in zip(orders, wrong, strict=True) if not joints]
    if any(order.usual for order in fitting):
        return ()
    joint, name = wrong[0][0], orders[0].names[wrong[0][0]]
    where = (
        f"{source}, frame {frames[joint]}: joint {joint} should be {name}, which turns about {'xyz'[_axis(name)]}, but the "
        f"file turns it about {'xyz'[most[joint].argmax()]}."
    )
    if fitting:
        cures = " or ".join(f"{item}:{order.word}" for order in fitting)
        raise SceneError(f"{where} Its joints fit the order {fitting[0].label}. Name the clip as {cures}.")
    return (f"{where} They are in another order, or of another robot than the G1.",)


def _axis(name: str) -> int:
    return next((axis for word, axis in (("roll", 0), ("yaw", 2)) if word in name), 1)
