"""Terms of motion tracking: how close is the robot, is it lost, and where should it go?

`TrackedState` and the reference are compared at the same moment. Terms on `RelativeTarget` forgive horizontal
drift and heading; the others compare in the world.
"""

import math

import torch
from torch import Tensor

from components.motion import (
    AnchorView,
    DofFar,
    MotionCursor,
    MotionFar,
    MotionLibrary,
    MotionReference,
    RelativeTarget,
    TrackedBodies,
    TrackedState,
)
from components.robot import DofState, Flight, RootState
from systems.maths.quaternion import angle_between, yaw
from systems.maths.tensors import indices
from systems.reference import nearest_frame, sample_root_and_dofs
from systems.rewards import squares

STILL = 1e-6  # m/s or rad/s, below which nothing moves

# -- rewards: squared errors, for the settings `std` or `width` ----------------------------------------


def global_anchor_position(tracked: TrackedState, reference: MotionReference, bodies: TrackedBodies) -> Tensor:
    """‖p' − p‖² of the anchor in the world; m²."""
    return squares(tracked.position[:, bodies.anchor], reference.body_position[:, bodies.anchor]).sum(-1)


def global_anchor_orientation(tracked: TrackedState, reference: MotionReference, bodies: TrackedBodies) -> Tensor:
    """Squared angle between the anchors in the world; rad²."""
    return angle_between(tracked.rotation[:, bodies.anchor], reference.body_rotation[:, bodies.anchor]).square_()


def body_position(tracked: TrackedState, target: RelativeTarget) -> Tensor:
    """Mean ‖Δp‖² over tracked bodies, against the re-placed reference; m²."""
    return squares(tracked.position, target.position).mean((1, 2)).mul_(3.0)


def body_orientation(tracked: TrackedState, target: RelativeTarget) -> Tensor:
    """Mean squared angle over tracked bodies, against the re-placed reference; rad²."""
    return angle_between(tracked.rotation, target.rotation).square_().mean(-1)


def body_linear_velocity(tracked: TrackedState, reference: MotionReference) -> Tensor:
    """Mean ‖Δv‖² over tracked bodies, in world axes; (m/s)²."""
    return squares(tracked.linear_velocity, reference.body_linear_velocity).mean((1, 2)).mul_(3.0)


def body_angular_velocity(tracked: TrackedState, reference: MotionReference) -> Tensor:
    """Mean ‖Δω‖² over tracked bodies, in world axes; (rad/s)²."""
    return squares(tracked.angular_velocity, reference.body_angular_velocity).mean((1, 2)).mul_(3.0)


def _picked(value: Tensor, bodies: TrackedBodies, names: tuple[str, ...]) -> Tensor:
    return value.index_select(1, indices(bodies.names, tuple(names), value.device)) if names else value


def world_position(
    tracked: TrackedState,
    reference: MotionReference,
    bodies: TrackedBodies,
    *,
    of: tuple[str, ...] = (),
) -> Tensor:
    """Mean (Δp)² over x, y, z and the bodies matching the patterns `of` (default: all); m²."""
    pair = (_picked(tracked.position, bodies, of), _picked(reference.body_position, bodies, of))
    return squares(*pair).mean((1, 2))


def world_position_of_two(
    tracked: TrackedState,
    reference: MotionReference,
    bodies: TrackedBodies,
    *,
    first: tuple[str, ...],
    second: tuple[str, ...],
    widths: tuple[float, float],
    shares: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Σ over two sets of bodies of share · exp(−e / width), e as in `world_position`; `widths` in m²."""
    errors = (world_position(tracked, reference, bodies, of=each) for each in (first, second))
    near = [share * torch.exp(e / -width) for e, width, share in zip(errors, widths, shares, strict=True)]
    return near[0] + near[1]


def world_rotation(
    tracked: TrackedState,
    reference: MotionReference,
    bodies: TrackedBodies,
    *,
    of: tuple[str, ...] = (),
) -> Tensor:
    """Mean angle² over the bodies matching the patterns `of` (default: all); rad²."""
    pair = (_picked(tracked.rotation, bodies, of), _picked(reference.body_rotation, bodies, of))
    return angle_between(*pair).square_().mean(-1)


def world_linear_velocity(tracked: TrackedState, reference: MotionReference) -> Tensor:
    """Mean (Δv)² over x, y, z and bodies; (m/s)²."""
    return squares(tracked.linear_velocity, reference.body_linear_velocity).mean((1, 2))


def world_angular_velocity(tracked: TrackedState, reference: MotionReference) -> Tensor:
    """Mean (Δω)² over x, y, z and bodies; (rad/s)²."""
    return squares(tracked.angular_velocity, reference.body_angular_velocity).mean((1, 2))


def dof_position_error(dofs: DofState, reference: MotionReference) -> Tensor:
    """Mean (Δq)² over joints; rad²."""
    return squares(dofs.position, reference.dof_position).mean(-1)


def max_dof_position_error(dofs: DofState, reference: MotionReference) -> Tensor:
    """max |Δq| over joints; rad."""
    return (dofs.position - reference.dof_position).abs().amax(-1)


def world_rotation_components(tracked: TrackedState, reference: MotionReference) -> Tensor:
    """Mean (Δq)² over the four numbers of every body's quaternion, of q and −q the closer one."""
    apart, together = ((tracked.rotation + sign * reference.body_rotation).square().sum(-1) for sign in (-1.0, 1.0))
    return 0.25 * torch.minimum(apart, together).mean(-1)


def _radial(velocity: Tensor, wanted: Tensor, width: float) -> Tensor:
    """exp(−(1 − cos ∠) / width) · ρ exp(0.4 (1 − ρ^2.5)) of vectors (..., n), with ρ = |v| / |v'|: 1 where they agree."""
    ours, theirs = (torch.linalg.vector_norm(each, dim=-1) + STILL for each in (velocity, wanted))
    cosine = ((velocity * wanted).sum(-1) + STILL**2) / (ours * theirs)
    share = (ours / theirs).clamp_max(10.0)  # beyond, the value is 0 to the last bit
    return ((cosine - 1.0) / width).exp() * share * (0.4 * (1.0 - share.pow(2.5))).exp()


def radial_body_velocity(tracked: TrackedState, reference: MotionReference, *, narrow: float = 0.75) -> Tensor:
    """How well body velocities agree in direction and size, the mean over bodies, each at most 1.

    exp(−(1 − cos ∠) / `narrow`) · ρ exp(0.4 (1 − ρ^2.5)) with ρ = ‖v‖ / ‖v'‖, in world axes; 1 where both stand still.
    """
    return _radial(tracked.linear_velocity, reference.body_linear_velocity, narrow).mean(-1)


def radial_dof_velocity(dofs: DofState, reference: MotionReference, *, narrow: float = 0.75) -> Tensor:
    """How well the vector of joint velocities agrees in direction and size; the formula of `radial_body_velocity`."""
    return _radial(dofs.velocity, reference.dof_velocity, narrow)


def dof_velocity_error(dofs: DofState, reference: MotionReference) -> Tensor:
    """Mean (Δq̇)² over joints; (rad/s)²."""
    return squares(dofs.velocity, reference.dof_velocity).mean(-1)


def contact_mask(flight: Flight, cursor: MotionCursor, library: MotionLibrary) -> Tensor:
    """Share of the feet that are down where the clip's `contact_mask` has them bear load, and up where it has them in the air."""
    wanted = library.contacts.index_select(0, nearest_frame(library, cursor.clip, cursor.time))
    return 1.0 - (flight.down.float() - wanted).abs().mean(-1)


# -- terminations --------------------------------------------------------------------------------------


def anchor_height(
    tracked: TrackedState, reference: MotionReference, bodies: TrackedBodies, *, most: float = 0.25
) -> Tensor:
    """The anchor is more than `most` in m above or below the reference's."""
    return (tracked.position[:, bodies.anchor, 2] - reference.body_position[:, bodies.anchor, 2]).abs_() > most


def anchor_tilt(
    tracked: TrackedState, reference: MotionReference, bodies: TrackedBodies, *, most: float = 0.8
) -> Tensor:
    """The z of unit gravity, seen from robot and reference anchor, differs by more than `most`.

    That z is 2 (x² + y²) − 1 of the anchor's quaternion.
    """
    ours, theirs = tracked.rotation[:, bodies.anchor, 1:3], reference.body_rotation[:, bodies.anchor, 1:3]
    return theirs.square().addcmul_(ours, ours, value=-1.0).sum(-1).abs_() > 0.5 * most


def end_effector_height(
    tracked: TrackedState, target: RelativeTarget, bodies: TrackedBodies, *, most: float = 0.25
) -> Tensor:
    """Any end effector is more than `most` in m above or below the re-placed reference's."""
    apart = (tracked.position[..., 2] - target.position[..., 2]).index_select(1, bodies.end_effectors)
    return torch.linalg.vector_norm(apart, math.inf, dim=-1) > most


def motion_far(tracked: TrackedState, reference: MotionReference, far: MotionFar) -> Tensor:
    """Any tracked body is further from the reference's, in the world, than the current radius."""
    distance = torch.linalg.vector_norm(tracked.position - reference.body_position, dim=-1)
    return distance.amax(-1) > far.threshold


def dof_far(dofs: DofState, reference: MotionReference, far: DofFar) -> Tensor:
    """The joints together, √Σ (Δq)², are further from the reference's than the current distance."""
    return torch.linalg.vector_norm(dofs.position - reference.dof_position, dim=-1) > far.threshold


# -- observations --------------------------------------------------------------------------------------


def command(reference: MotionReference) -> Tensor:
    """Joint positions and velocities to have at the end of the next control step; 2 per joint, rad and rad/s."""
    return torch.cat((reference.dof_position, reference.dof_velocity), -1)


def anchor_position(view: AnchorView) -> Tensor:
    """The reference anchor seen from the robot's; 3 numbers, m."""
    return view.position[:, -1]


def anchor_orientation(view: AnchorView) -> Tensor:
    """The reference anchor's orientation seen from the robot's; 6 numbers, rot6."""
    return view.rotation[:, -1]


def bodies_position(view: AnchorView) -> Tensor:
    """The robot's tracked bodies seen from its anchor; 3 per body, m."""
    return view.position[:, :-1].flatten(1)


def bodies_orientation(view: AnchorView) -> Tensor:
    """Orientations of the robot's tracked bodies seen from its anchor; 6 per body, rot6."""
    return view.rotation[:, :-1].flatten(1)


def phase(cursor: MotionCursor, library: MotionLibrary) -> Tensor:
    """Share of the clip that has passed when the next control step ends; 1 number."""
    return (cursor.time / library.seconds[cursor.clip]).unsqueeze(-1)


def target_offset(tracked: TrackedState, reference: MotionReference) -> Tensor:
    """Reference minus robot of every tracked body, turned into the heading of the robot's first; 3 per body, m."""
    return _from_heading(reference.body_position - tracked.position, tracked)


def target_position(
    tracked: TrackedState, reference: MotionReference, bodies: TrackedBodies, *, of: tuple[str, ...] = ()
) -> Tensor:
    """Reference bodies that match `of` (default: all) seen from the robot's first, turned into its heading; 3 per body, m."""
    return _from_heading(_picked(reference.body_position, bodies, of) - tracked.position[:, :1], tracked)


def target_velocity(tracked: TrackedState, reference: MotionReference, *, world_axes: bool = False) -> Tensor:
    """Velocity of every reference body, turned into the heading of the robot's first or in `world_axes`; 3 per body, m/s."""
    wanted = reference.body_linear_velocity
    return wanted.flatten(1) if world_axes else _from_heading(wanted, tracked)


def dof_position_offset(dofs: DofState, reference: MotionReference) -> Tensor:
    """Reference minus robot of every joint; rad."""
    return reference.dof_position - dofs.position


def dof_velocity_offset(dofs: DofState, reference: MotionReference) -> Tensor:
    """Reference minus robot of every joint's velocity; rad/s."""
    return reference.dof_velocity - dofs.velocity


def turned_since_start(root: RootState, cursor: MotionCursor, library: MotionLibrary) -> Tensor:
    """Yaw of the root minus that of the first frame of its clip, in (−π, π]; 1 number, rad."""
    first = library.root_rotation.index_select(0, library.start.index_select(0, cursor.clip))
    off = yaw(root.rotation) - yaw(first)
    return torch.atan2(off.sin(), off.cos()).unsqueeze(-1)


def future_joints(
    cursor: MotionCursor, library: MotionLibrary, *, steps: int, every: int = 1, dt: float = 0.02
) -> Tensor:
    """Joint positions and velocities of the reference in the next `steps` control steps of `dt` in s, each `every` steps.

    The first is one `every` after the pose to have at the end of the coming step; a clip's last frame stays. 2 per joint and step,
    all positions first; rad and rad/s.
    """
    ahead = dt * every * torch.arange(1, steps + 1, device=cursor.time.device)
    times = (cursor.time.unsqueeze(-1) + ahead).flatten()
    _, _, _, _, positions, speeds = sample_root_and_dofs(library, cursor.clip.repeat_interleave(steps), times)
    return torch.cat([each.unflatten(0, (-1, steps)).flatten(1) for each in (positions, speeds)], -1)


def phase_embedding(cursor: MotionCursor, library: MotionLibrary, *, size: int = 16) -> Tensor:
    """The phase φ as sin(2^k π φ) and cos(2^k π φ) for k = 0 … `size` / 2 − 1, sines first; `size` numbers."""
    angle = math.pi * phase(cursor, library) * 2.0 ** torch.arange(size // 2, device=cursor.time.device)
    return torch.cat((angle.sin(), angle.cos()), -1)


def _from_heading(offset: Tensor, tracked: TrackedState) -> Tensor:
    """World offsets (rows, bodies, 3) in axes turned about z to where the first body's x axis points; flattened."""
    heading = yaw(tracked.rotation[:, 0]).unsqueeze(-1)
    cosine, sine = heading.cos(), heading.sin()
    x, y, z = offset.unbind(-1)
    return torch.stack((cosine * x + sine * y, cosine * y - sine * x, z), -1).flatten(1)
