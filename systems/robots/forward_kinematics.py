"""Forward kinematics in torch: where the bodies of a robot are and how they move, for many states, with gradients.

Every hinge or slide is a node with a frame of its own; the free root is node 0. Inside, tensors have components first
and states last, so that each operation runs over long rows of memory.

Only rotations are computed down the tree, one depth at a time: a node's is c A q + s B q, where q is its parent's
rotation, c and s are cosine and sine of half the joint's angle, and A and B are constant matrices. All else is a sum over
a body's ancestors, and so one matrix product for all bodies. Velocities are summed as spatial velocities about the root's
origin (Featherstone, Rigid Body Dynamics Algorithms, 2008, ch. 2), and the gradient goes back as forces and torques
about the same point.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import mujoco
import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from components.robot import Robot
from engine.errors import SceneError, did_you_mean, listing
from systems.robots.kinematic_tree import PAIRS, FixedFrame, KinematicTree, check_tree, kinematic_tree

MOST = 8192  # states that are computed at a time, where there are many


class RobotParts(Protocol):
    """What a `RobotModel` has that kinematics need."""

    @property
    def model(self) -> mujoco.MjModel:
        """As MuJoCo compiled it."""

    @property
    def robot(self) -> Robot:
        """Has the virtual bodies."""


class ForwardKinematics:
    """Poses and velocities of some bodies of one robot, as columns of `BodyState` have them.

    Takes and returns tensors with one state per row; frames, units and quaternions are those of `components/robot.py`.
    Results are differentiable once, with respect to every argument, and not to be written into. They are views of memory
    in which states lie next to each other: operations on whole tensors keep that layout and are fastest in it. The same
    arguments give the same bits, for any number of threads.
    """

    def __init__(self, bodies: tuple[str, ...], joints: tuple[str, ...], tree: KinematicTree) -> None:
        self.bodies = bodies
        self.joints = joints  # the columns of the arguments
        self._tree = tree

    @classmethod
    def of(
        cls,
        model: mujoco.MjModel | RobotParts,
        bodies: Sequence[str] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "ForwardKinematics":
        """Of a compiled robot: of `bodies` in the order given, virtual ones among them, or of all that have a name in the model.

        Raises SceneError for a body that the robot lacks, and a model that is not one robot of hinges and slides
        on a free root.
        """
        compiled, virtual = (
            (model, ()) if isinstance(model, mujoco.MjModel) else (model.model, model.robot.virtual_bodies)
        )
        check_tree(compiled)
        parts = [i for i in range(1, compiled.nbody) if compiled.body_rootid[i] == 1 and compiled.body(i).name]
        frames = {compiled.body(i).name: FixedFrame(i) for i in parts}
        wanted = tuple(frames if bodies is None else bodies)
        for body in virtual:
            frames[body.name] = FixedFrame(frames[body.parent].body, np.array(body.position), np.array(body.rotation))
        for name in wanted:
            if name not in frames:
                raise SceneError(
                    f"Forward kinematics were asked for the body '{name}', which the robot does not have. "
                    f"It has: {listing(frames, 40)}.{did_you_mean(name, frames)}"
                )
        joints = tuple(compiled.joint(i).name for i in range(1, compiled.njnt))
        return cls(wanted, joints, kinematic_tree(compiled, [frames[name] for name in wanted], dtype, device))

    def poses(self, root_position: Tensor, root_rotation: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Where bodies are: (N, 3) m, (N, 4), (N, joints) rad or m -> position (N, bodies, 3), rotation (N, bodies, 4).

        The root's rotation is scaled to unit norm first, here as in `moving`.
        """
        self._fit(root_position=root_position, root_rotation=root_rotation, joints=joints)
        position, rotation = self._pieces(root_position, root_rotation, joints)
        return position, rotation

    def moving(
        self,
        root_position: Tensor,
        root_rotation: Tensor,
        root_linear_velocity: Tensor,
        root_angular_velocity: Tensor,
        joints: Tensor,
        joint_velocities: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where bodies are and how they move: position, rotation, linear and angular velocity, each (N, bodies, 3 or 4).

        Velocities of the root are those of its frame origin, (N, 3) m/s and rad/s in world axes; of joints (N, joints).
        """
        self._fit(
            root_position=root_position,
            root_rotation=root_rotation,
            root_linear_velocity=root_linear_velocity,
            root_angular_velocity=root_angular_velocity,
            joints=joints,
            joint_velocities=joint_velocities,
        )
        speeds = (root_linear_velocity, root_angular_velocity, joint_velocities)
        position, rotation, linear, angular = self._pieces(root_position, root_rotation, joints, *speeds)
        return position, rotation, linear, angular

    def _pieces(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Results of `_Forward`, states first; of many states one piece after the other, so that a cache holds each."""
        if len(arguments[0]) <= 2 * MOST:
            whole = _Forward.apply(self._tree, *arguments)
        else:
            pieces = zip(*(argument.split(MOST) for argument in arguments), strict=True)
            found = [_Forward.apply(self._tree, *piece) for piece in pieces]
            whole = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
        return tuple(part.permute(2, 1, 0) for part in whole)

    def _fit(self, **arguments: Tensor) -> None:
        """SceneError for a tensor of another shape, type or device."""
        like, count = self._tree.above, len(arguments["root_position"])
        for name, tensor in arguments.items():
            width = len(self.joints) if name.startswith("joint") else 4 if name == "root_rotation" else 3
            if tensor.shape != (count, width):
                raise SceneError(
                    f"Forward kinematics got {name} of the shape {tuple(tensor.shape)}; it must be ({count}, {width}): "
                    f"one row per state, and a column for each of {listing(self.joints, 40) if name.startswith('joint') else 'its components'}."
                )
            if tensor.dtype != like.dtype or tensor.device != like.device:
                raise SceneError(
                    f"Forward kinematics of {like.dtype} on {like.device} got {name} of {tensor.dtype} on {tensor.device}. "
                    f"Write {name}.to({like.dtype}) or ask `ForwardKinematics.of` for another dtype and device."
                )


class _Forward(Function):
    """`ForwardKinematics.moving`, or without velocities `.poses`, and its gradient; results (3 or 4, bodies, N)."""

    @staticmethod
    def forward(
        ctx: Any,
        tree: KinematicTree,
        root_position: Tensor,
        root_rotation: Tensor,
        joints: Tensor,
        root_linear: Tensor | None = None,
        root_angular: Tensor | None = None,
        joint_speeds: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        states, count, bodies = len(root_position), len(tree.columns) + 1, len(tree.node)
        angles = joints.t().index_select(0, tree.columns)
        norm = torch.linalg.vector_norm(root_rotation, dim=-1)
        turns = tree.above.new_empty(count, 4, states)
        torch.div(root_rotation.t(), norm, out=turns[0])
        half = 0.5 * angles
        cosine, sine = half.cos(), half.sin_()
        if len(tree.slides):
            cosine[tree.slides], sine[tree.slides] = 1.0, 0.0
        angle_parts = [part.unsqueeze(1).split(tree.widths[1:]) for part in (cosine, sine)]
        parts, flat = turns.split(tree.widths), turns.flatten(0, 1).split([4 * width for width in tree.widths])
        for matrix, above, own, c, s in zip(tree.levels, flat, parts[1:], *angle_parts, strict=False):
            still, turned = torch.mm(matrix, above).view(2, *own.shape)
            torch.mul(still, c, out=own).addcmul_(turned, s)
        matrices = _matrices(turns, tree.forms)
        axes = _combine(matrices[:, :, 1:], tree.axes)
        places = torch.matmul(tree.places, matrices.flatten(1, 2))
        if len(tree.slides):
            places += tree.sliding @ (axes * angles).index_select(1, tree.slides)
        position = places[:, count:] + root_position.t().unsqueeze(1)
        rotation = turns.index_select(0, tree.node)
        for body, matrix in tree.welded:
            rotation[body] = matrix @ rotation[body]
        ctx.tree = tree
        ctx.set_materialize_grads(False)
        rotation = rotation.transpose(0, 1)
        if root_linear is None or root_angular is None or joint_speeds is None:
            ctx.save_for_backward(turns[0], norm, axes, places, rotation)
            return position, rotation
        speeds = joint_speeds.t().index_select(0, tree.columns)
        # angular and linear, the latter at the root's origin, of each node by itself
        twists = tree.above.new_empty(6, count, states)
        twists[:3, 0], twists[3:, 0] = root_angular.t(), root_linear.t()
        torch.mul(axes, speeds, out=twists[:3, 1:])
        slid = twists[:3, 1:].index_select(1, tree.slides) if len(tree.slides) else None
        if slid is not None:
            twists[:3, 1:].index_fill_(1, tree.slides, 0.0)
        _cross(places[:, 1:count], twists[:3, 1:], out=twists[3:, 1:])
        if slid is not None:
            twists[3:, 1:].index_copy_(1, tree.slides, slid)
        motion = torch.bmm(tree.above[count:].expand(6, bodies, count), twists)
        angular, linear = motion[:3], motion[3:]
        _add_cross(angular, places[:, count:], out=linear)
        ctx.save_for_backward(turns[0], norm, axes, places, rotation, twists, speeds, motion)
        return position, rotation, linear, angular

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        tree: KinematicTree = ctx.tree
        root, norm, axes, places, rotation, *moving = ctx.saved_tensors
        count = len(tree.columns) + 1
        own = places[:, 1:count]
        along_position, along_rotation, along_linear, along_angular = (*gradients, None, None)[:4]
        loads = places.new_zeros(6, *places.shape[1:])  # on nodes and bodies: forces, then torques about their places
        forces, torques = loads[:3], loads[3:]
        root_linear = root_angular = joint_speeds = None
        if along_position is not None:
            forces[:, count:] = along_position
        if along_rotation is not None:
            _torque(along_rotation.contiguous(), rotation, out=torques[:, count:])
        root_position = forces[:, count:].sum(1).t()
        if along_linear is not None or along_angular is not None:
            twists, speeds, motion = moving
            pulls = torch.zeros_like(motion)
            if along_angular is not None:
                pulls[:3] = along_angular
            if along_linear is not None:
                pulls[3:] = along_linear
                _add_cross(places[:, count:], pulls[3:], out=pulls[:3])
                _add_cross(pulls[3:], motion[:3], out=forces[:, count:])
            pulls = torch.bmm(tree.above[count:].t().expand(6, count, -1), pulls)
            root_angular, root_linear = pulls[:3, 0].t(), pulls[3:, 0].t()
            turning, shifting = pulls[:3, 1:], pulls[3:, 1:]
            _add_cross(shifting, own, out=turning)
            if len(tree.slides):
                turning.index_copy_(1, tree.slides, shifting.index_select(1, tree.slides))
                axial = axes * speeds
            else:
                axial = twists[:3, 1:]
            joint_speeds = _scatter(_dot(axes, turning), tree)
            _cross(axial, turning, out=torques[:, 1:count])
            _cross(twists[:3, 1:], shifting, out=forces[:, 1:count])
        _add_cross(places, forces, out=torques)
        loads = torch.bmm(tree.above.t().expand(6, count, -1), loads)
        forces, torques = loads[:3, 1:], loads[3:, 1:]
        _add_cross(forces, own, out=torques)
        if len(tree.slides):
            torques.index_copy_(1, tree.slides, forces.index_select(1, tree.slides))
        joints = _scatter(_dot(axes, torques), tree)
        root_rotation = _turning(loads[3:, 0], root).div_(norm).t()
        return None, root_position, root_rotation, joints, root_linear, root_angular, joint_speeds


def _matrices(turns: Tensor, forms: Tensor) -> Tensor:
    """Rotation matrices (3, 3, nodes, N) of quaternions (nodes, 4, N)."""
    products = turns.new_empty(len(PAIRS), len(turns), turns.shape[-1])
    parts = turns.transpose(0, 1)
    start = 0
    for k in range(4):
        torch.mul(parts[k : k + 1], parts[k:], out=products[start : start + 4 - k])
        start += 4 - k
    return torch.mm(forms, products.flatten(1)).view(3, 3, *products.shape[1:])


def _combine(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Matrices (3, 3, nodes, N) times constant vectors (3, nodes, 1)."""
    total = matrices[:, 0] * vectors[0]
    return total.addcmul_(matrices[:, 1], vectors[1]).addcmul_(matrices[:, 2], vectors[2])


def _cross(a: Tensor, b: Tensor, out: Tensor) -> None:
    """a × b along the first axis, written to `out`."""
    (ax, ay, az), (bx, by, bz), (x, y, z) = a.unbind(), b.unbind(), out.unbind()
    torch.mul(ay, bz, out=x).addcmul_(az, by, value=-1.0)
    torch.mul(az, bx, out=y).addcmul_(ax, bz, value=-1.0)
    torch.mul(ax, by, out=z).addcmul_(ay, bx, value=-1.0)


def _add_cross(a: Tensor, b: Tensor, out: Tensor) -> None:
    """a × b along the first axis, added to `out`."""
    (ax, ay, az), (bx, by, bz), (x, y, z) = a.unbind(), b.unbind(), out.unbind()
    x.addcmul_(ay, bz).addcmul_(az, by, value=-1.0)
    y.addcmul_(az, bx).addcmul_(ax, bz, value=-1.0)
    z.addcmul_(ax, by).addcmul_(ay, bx, value=-1.0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a[0] * b[0]).addcmul_(a[1], b[1]).addcmul_(a[2], b[2])


def _torque(gradient: Tensor, rotation: Tensor, out: Tensor) -> None:
    """½ (w g − g_w u + u × g) of quaternions' gradients (4, bodies, N): what they pull about the world's axes."""
    real, vector = 0.5 * rotation[0], 0.5 * rotation[1:]
    torch.mul(real, gradient[1:], out=out).addcmul_(vector, gradient[0], value=-1.0)
    _add_cross(vector, gradient[1:], out=out)


def _turning(torque: Tensor, rotation: Tensor) -> Tensor:
    """2 (0, t) ⊗ q: the gradient of a quaternion (4, N) that a torque (3, N) about the world's axes stands for."""
    double = 2.0 * torque
    vector = double * rotation[0]
    _add_cross(double, rotation[1:], out=vector)
    return torch.cat((-(double * rotation[1:]).sum(0, keepdim=True), vector))


def _scatter(values: Tensor, tree: KinematicTree) -> Tensor:
    """One row per joint of the arguments from one per node, and states first."""
    return values.new_zeros(tree.joints, values.shape[-1]).index_copy_(0, tree.columns, values).t()
