"""Kinematic tree of a robot as constant matrices, for forward kinematics in torch.

Every hinge or slide is a node with a frame of its own; the free root is node 0.
"""

from collections.abc import Sequence

import attrs
import mujoco
import numpy as np
import torch
from torch import Tensor

from engine.errors import SceneError
from systems.maths import quaternion

PAIRS = [(k, m) for k in range(4) for m in range(k, 4)]  # products of components of a quaternion
_IDENTITY = np.array((1.0, 0.0, 0.0, 0.0))
_FREE, _SLIDE, _HINGE = mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE


@attrs.frozen(eq=False)
class KinematicTree:
    """A tree as matrices; nodes in order of depth, the root first, then the bodies that are wanted."""

    widths: tuple[int, ...]  # number of nodes at each depth
    levels: tuple[Tensor, ...]  # (2 · 4 nodes, 4 parents) of each depth below the root: A above B
    columns: Tensor  # (nodes - 1,) of the joint at each node but the root
    joints: int  # in the arguments
    forms: Tensor  # (9, 10) products of a quaternion's components to its rotation matrix
    places: Tensor  # (nodes + bodies, 3 nodes): rotation matrices to places from the root's origin
    axes: Tensor  # (3, nodes - 1, 1) in the node's frame
    above: Tensor  # (nodes + bodies, nodes): 1 where the node carries the node or body, or is it
    node: Tensor  # (bodies,) that each body is fixed to
    welded: tuple[tuple[int, Tensor], ...]  # bodies whose frame is turned in their node's, and (4, 4) by how much
    slides: Tensor  # nodes, without the root, that are slides
    sliding: Tensor  # (nodes + bodies, slides): 1 where the slide moves it


@attrs.frozen(eq=False)
class FixedFrame:
    """A frame that is fixed to a body of the model, or to a node."""

    body: int
    place: np.ndarray = attrs.field(factory=lambda: np.zeros(3))  # (3,) m
    rotation: np.ndarray = attrs.field(factory=lambda: _IDENTITY)  # (4,)

    def then(self, place: np.ndarray, rotation: np.ndarray) -> "FixedFrame":
        """A frame that is fixed to this one."""
        turned = np.zeros(3)
        mujoco.mju_rotVecQuat(turned, place, self.rotation)
        return FixedFrame(self.body, self.place + turned, _multiply(self.rotation, rotation))


@attrs.frozen(eq=False)
class _Node:
    """A joint: where its frame is in its parent's with the joint at 0, and its axis in its own."""

    parent: int
    place: np.ndarray  # (3,) m
    rotation: np.ndarray  # (4,)
    axis: np.ndarray  # (3,)
    slide: bool
    column: int


def check_tree(model: mujoco.MjModel) -> None:
    """SceneError for a model that is not one robot of hinges and slides on a free root."""
    kinds = [int(kind) for kind in model.jnt_type]
    if not kinds or kinds[0] != _FREE or model.jnt_bodyid[0] != 1:
        raise SceneError(
            "Forward kinematics need a robot on a free root; the first body of this model has none. "
            "Write <freejoint/> into it."
        )
    for joint, kind in enumerate(kinds[1:], 1):
        name, body = model.joint(joint).name or "an unnamed joint", model.body(int(model.jnt_bodyid[joint])).name
        if model.body_rootid[model.jnt_bodyid[joint]] != 1:
            raise SceneError(
                f"Forward kinematics are of one robot, but {name} moves the body '{body}', which is no part of "
                f"'{model.body(1).name}'. Take it out of the model, or hang it on the robot."
            )
        if kind not in (_HINGE, _SLIDE):
            raise SceneError(
                f"Forward kinematics know hinges and slides, but {name} of the body '{body}' is a ball joint. "
                'Write three joints of type="hinge" with the axes 1 0 0, 0 1 0 and 0 0 1 in its place.'
            )


def kinematic_tree(
    model: mujoco.MjModel, wanted: list[FixedFrame], dtype: torch.dtype, device: torch.device | str
) -> KinematicTree:
    """The tree that moves the frames that are `wanted`, each fixed to a body of the model."""
    nodes, frames = _nodes(model, wanted)
    depth = [0]
    for node in nodes[1:]:
        depth.append(depth[node.parent] + 1)
    order = sorted(range(len(nodes)), key=lambda i: depth[i])
    depth.sort()
    rank = {node: i for i, node in enumerate(order)}
    nodes = [nodes[0], *(attrs.evolve(nodes[i], parent=rank[nodes[i].parent]) for i in order[1:])]
    frames = [attrs.evolve(frame, body=rank[frame.body]) for frame in frames]
    count = len(nodes)

    def tensor(values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype, device=device)

    def whole(values: Sequence[int] | np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=device)

    places, above = np.zeros((count + len(frames), 3, count)), np.zeros((count + len(frames), count))
    above[0, 0] = 1.0
    hung = [(node.parent, node.place) for node in nodes[1:]] + [(frame.body, frame.place) for frame in frames]
    for i, (carrier, place) in enumerate(hung, 1):
        places[i], above[i] = places[carrier], above[carrier]
        places[i, :, carrier] += place
        if i < count:
            above[i, i] = 1.0
    widths = tuple(depth.count(level) for level in range(depth[-1] + 1))
    levels = []
    for level in range(1, len(widths)):
        first, start = sum(widths[:level]), sum(widths[: level - 1])
        matrix = np.zeros((2, widths[level], 4, widths[level - 1], 4))
        for i, node in enumerate(nodes[first : first + widths[level]]):
            matrix[0, i, :, node.parent - start] = _times(node.rotation)
            if not node.slide:
                turned = _multiply(node.rotation, np.concatenate(((0.0,), node.axis)))
                matrix[1, i, :, node.parent - start] = _times(turned)
        levels.append(tensor(matrix.reshape(8 * widths[level], -1)))
    slides = [i for i, node in enumerate(nodes[1:]) if node.slide]
    return KinematicTree(
        widths=widths,
        levels=tuple(levels),
        columns=whole([node.column for node in nodes[1:]]),
        joints=model.njnt - 1,
        forms=tensor(_quadratic_forms()),
        places=tensor(places.reshape(count + len(frames), -1)),
        axes=tensor(np.array([node.axis for node in nodes[1:]]).reshape(-1, 3).T[..., None].copy()),
        above=tensor(above),
        node=whole([frame.body for frame in frames]),
        welded=tuple((i, tensor(_times(f.rotation))) for i, f in enumerate(frames) if (f.rotation != _IDENTITY).any()),
        slides=whole(slides),
        sliding=tensor(above[:, 1:][:, slides]),
    )


def _nodes(model: mujoco.MjModel, wanted: list[FixedFrame]) -> tuple[list[_Node], list[FixedFrame]]:
    """Nodes that carry the frames that are `wanted`, in the model's order, and these frames in nodes."""
    needed = {1}
    for frame in wanted:
        body = frame.body
        while body > 1:
            needed.add(body)
            body = int(model.body_parentid[body])
    nodes = [_Node(-1, np.zeros(3), _IDENTITY, np.zeros(3), False, -1)]
    frames = {1: FixedFrame(0)}
    for body in sorted(needed - {1}):
        frame = frames[int(model.body_parentid[body])].then(model.body_pos[body], model.body_quat[body])
        start = int(model.body_jntadr[body])
        for joint in range(start, start + int(model.body_jntnum[body])):
            axis, anchor, still = model.jnt_axis[joint].copy(), model.jnt_pos[joint], np.zeros(3)
            rest = float(model.qpos0[model.jnt_qposadr[joint]])
            slide = bool(model.jnt_type[joint] == _SLIDE)
            if slide:
                frame = frame.then(-rest * axis, _IDENTITY)
            else:
                frame = frame.then(anchor, np.concatenate(((np.cos(0.5 * rest),), -np.sin(0.5 * rest) * axis)))
                still = -anchor
            nodes.append(_Node(frame.body, frame.place, frame.rotation, axis, slide, joint - 1))
            frame = FixedFrame(len(nodes) - 1, still)
        frames[body] = frame
    return nodes, [frames[each.body].then(each.place, each.rotation) for each in wanted]


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product = np.zeros(4)
    mujoco.mju_mulQuat(product, a, b)
    return product


def _times(rotation: np.ndarray) -> np.ndarray:
    """(4, 4): what multiplying by `rotation` from the right does to the components of a quaternion."""
    return np.stack([_multiply(unit, rotation) for unit in np.eye(4)], 1)


def _quadratic_forms() -> np.ndarray:
    """(9, 10): the entries of a rotation matrix, row by row, from the products of two components."""
    units = torch.eye(4, dtype=torch.float64)

    def matrix(components: Tensor) -> Tensor:
        return quaternion.to_matrix(components).flatten()

    forms = [
        matrix(units[k]) if k == m else matrix(units[k] + units[m]) - matrix(units[k]) - matrix(units[m])
        for k, m in PAIRS
    ]
    return torch.stack(forms, 1).numpy()
