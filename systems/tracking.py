"""Tracking of a reference motion: targets, reset to the reference, and the task's terms; tracking().

Rewards and terminations compare the robot at the end of a control step with the reference of that very
moment; the command that the policy sees is the pose to have at the end of the next.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from components.episode import Done, Rewritten
from components.motion import (
    AnchorView,
    MotionCursor,
    MotionLibrary,
    MotionReference,
    RelativeTarget,
    TrackedBodies,
    TrackedState,
)
from components.robot import BodyState, DofState, Robot, RootState
from engine import Bundle, Rng, System, Term, Write, any_row, put_rows, system
from engine.errors import SceneError, listing
from systems.clip_parts import clip_parts
from systems.kinematics import derive_tracked_state
from systems.maths.bodies import tracked_bodies
from systems.maths.gradients import write
from systems.maths.quaternion import difference, to_columns, turn, turn_by_euler, yaw
from systems.maths.tensors import vector
from systems.next_clip import next_clip
from systems.reference import (
    advance_motion,
    falls_on_frames,
    sample_reference,
    sample_reference_on_tile,
    sample_root_and_dofs,
)
from systems.sampling import sampling
from systems.task import task
from systems.tick import ADVANCE, COMMAND, OBSERVE, RECORD, REFRESH, RESET, SENSE
from systems.tracking_terms import anchor_orientation, anchor_position, contact_mask
from systems.vitals import tracking_vitals

Triple = tuple[float, float, float]


# -- targets -------------------------------------------------------------------------------------------


def align_reference(
    tracked: TrackedState, reference: MotionReference, bodies: TrackedBodies, relative: Write[RelativeTarget]
) -> None:
    """Re-place the reference at the robot's horizontal position and heading; height, roll and pitch stay its own.

    With robot anchor (p, q) and reference anchor (p', q'): Δq = yaw(q ⊗ q'⁻¹), rotation Δq ⊗ q_b and position
    (p.x, p.y, p'.z) + Δq · (p_b − p').
    """
    at = bodies.anchor
    heading = yaw(difference(tracked.rotation[:, at], reference.body_rotation[:, at])).unsqueeze(-1)
    write(relative.rotation, turn, reference.body_rotation, "z", heading)
    cosine, sine = heading.cos(), heading.sin()
    x, y, _ = (reference.body_position - reference.body_position[:, at : at + 1]).unbind(-1)
    place_x, place_y, _ = tracked.position[:, at : at + 1].unbind(-1)
    turned_x = torch.addcmul(place_x, cosine, x).addcmul_(sine, y, value=-1.0)
    turned_y = torch.addcmul(place_y, sine, x).addcmul_(cosine, y)
    write(relative.position, torch.stack, (turned_x, turned_y, reference.body_position[..., 2]), -1)


def derive_anchor_view(
    tracked: TrackedState, reference: MotionReference, bodies: TrackedBodies, view: Write[AnchorView]
) -> None:
    """See the robot's tracked bodies, as far as the view has them, and the reference's anchor, from the robot's anchor."""
    at, count = slice(bodies.anchor, bodies.anchor + 1), view.position.shape[1] - 1
    first = slice(0, count) if count else at  # without bodies, the anchor's own axes are asked for all the same
    positions = torch.cat((tracked.position[:, first], reference.body_position[:, at]), 1).sub_(tracked.position[:, at])
    columns = to_columns(
        torch.cat((tracked.rotation[:, first], reference.body_rotation[:, at]), 1)
    )  # three axes of each
    arrows = torch.cat((columns[..., :6], positions), -1).view(len(positions), -1, 3).mT.contiguous()
    own = columns[:, bodies.anchor if count else 0].unflatten(-1, (3, 3))  # the anchor's axes, one in each row
    seen = torch.bmm(own, arrows).unflatten(2, (-1, 3)).transpose(1, 2)  # rows, bodies, xyz, (x axis, y axis, place)
    view.rotation.unflatten(2, (3, 2)).copy_(seen[:, -count - 1 :, :, :2])
    view.position.copy_(seen[:, -count - 1 :, :, 2])


def sees_anchor_only(observations: Mapping[str, Term]) -> bool:
    """Whether of all bodies the terms see no more than the reference's anchor from the robot's."""
    bodies = (BodyState, TrackedState, RelativeTarget, AnchorView)
    looking = [each for each in observations.values() if any(p.type in bodies for p in each.signature.parameters)]
    return all(each.function in (anchor_position, anchor_orientation) for each in looking)


# -- reset ---------------------------------------------------------------------------------------------


def reset_to_reference(
    done: Done,
    library: MotionLibrary,
    cursor: MotionCursor,
    robot: Robot,
    rng: Rng,
    root: Write[RootState],
    dofs: Write[DofState],
    *,
    position: Triple = (0.05, 0.05, 0.01),
    rotation: Triple = (0.1, 0.1, 0.2),
    linear: Triple = (0.5, 0.5, 0.2),
    angular: Triple = (0.52, 0.52, 0.78),
    joint: float = 0.1,
    joint_velocity: float = 0.0,
    on_frames: bool = False,
) -> None:
    """Put ended rows where their clip is when their episode begins, plus U(−x, x) of every quantity.

    x: `position` m, `rotation` roll, pitch, yaw about world axes in rad, `linear` m/s, `angular` rad/s in
    world axes, `joint` rad (then held within soft limits), `joint_velocity` rad/s. All 0: exactly the reference.
    `on_frames` says that episodes begin on frames of their clip.
    """
    place, facing, velocity, spin, joints, speeds = sample_root_and_dofs(
        library, cursor.clip, cursor.start, on_frames=on_frames
    )
    count = joints.shape[1]
    spans = (
        *position,
        *rotation,
        *linear,
        *angular,
        *(joint for _ in range(count)),
        *(joint_velocity for _ in range(count)),
    )
    if any(spans):
        used = spans if joint_velocity else spans[:-count]
        drawn = torch.rand((len(done.ended), len(used)), generator=rng, device=place.device).sub_(0.5)
        noise = drawn.mul_(vector(tuple(2.0 * x for x in used), place.device))
        place, velocity, spin = place + noise[:, :3], velocity + noise[:, 6:9], spin + noise[:, 9:12]
        facing = turn_by_euler(facing, noise[:, 3:6])
        low, high = robot.soft_position_limit.unbind(-1)
        joints = torch.clamp(joints + noise[:, 12 : 12 + count], low, high)
        speeds = speeds + noise[:, 12 + count :] if joint_velocity else speeds
    put_state(done, root, dofs, (place, facing, velocity, spin, joints, speeds))


def start_on_reference(
    done: Done,
    library: MotionLibrary,
    cursor: MotionCursor,
    root: Write[RootState],
    dofs: Write[DofState],
    *,
    on_frames: bool = False,
) -> None:
    """Put ended rows exactly where their clip is when their episode begins; `on_frames` as in `reset_to_reference`."""
    put_state(done, root, dofs, sample_root_and_dofs(library, cursor.clip, cursor.start, on_frames=on_frames))


def put_state(done: Done, root: RootState, dofs: DofState, state: tuple[Tensor, ...]) -> None:
    """Write root pose and motion, then joint positions and velocities, into ended rows."""
    motion = (root.position, root.rotation, root.linear_velocity, root.angular_velocity)
    for column, value in zip((*motion, dofs.position, dofs.velocity), state, strict=True):
        put_rows(column, done.ended, value)


NOISE = ("position", "rotation", "linear", "angular", "joint", "joint_velocity")  # constants of reset_to_reference


def reset_noise(share: float) -> dict[str, Any]:
    """Constants of `reset_to_reference`: a `share` of the G1 task's reset noise; 0 resets exactly to the reference."""
    defaults = inspect.signature(reset_to_reference).parameters
    spans = {name: defaults[name].default for name in NOISE}
    return {n: tuple(share * x for x in v) if isinstance(v, tuple) else share * v for n, v in spans.items()}


def refuse_maskless(library: MotionLibrary, rewards: Mapping[str, Term]) -> None:
    """SceneError for a reward of contacts with clips that do not say which feet bear load."""
    asked = next((name for name, each in rewards.items() if each.function is contact_mask), None)
    labelled = (library.contacts >= 0.0).all(-1)[library.start].tolist() if len(library.contacts) else []
    lacking = [name for i, name in enumerate(library.names) if not labelled or not labelled[i]]
    if asked is not None and lacking:
        raise SceneError(
            f"`{asked}` compares feet with the contact_mask of clips, which these lack or have for another number of feet: "
            f"{listing(lacking, 6)}. Leave them out, or take the term away: --rewards …,-{asked}."
        )


# -- the task ------------------------------------------------------------------------------------------


def tracking(
    library: MotionLibrary,
    robot: Robot,
    *,
    rewards: Mapping[str, Term],
    terminations: Mapping[str, Term],
    observations: Mapping[str, Term],
    start: str = "uniform",
    order: str = "weight",
    at_once: int = 0,
    part_ticks: int = 2400,
    reset: Callable[..., None] = reset_to_reference,
    reset_noise: Mapping[str, Any] | None = None,
    noisy: bool = True,
    noise_curriculum: bool = False,
    observation_limit: float = math.inf,
    only_positive: bool = False,
    on_tiles: bool = False,
    dt: float = 0.02,
) -> Bundle:
    """Follow the clips of `library` at one control step `dt` in s per tick; tables of terms are in `scenes/tasks`.

    Where the library has one frame per tick, episodes start on frames and nothing is blended. `start` is a mode of
    `systems/sampling.py`; `order` draws clips by "weight" or in "cycle"; `at_once` holds so many of them and exchanges half every
    `part_ticks` (0: all); `reset` puts ended rows on the reference and `reset_noise` gives its constants (the defaults are the G1
    task's); `noisy` is observation noise; `on_tiles` counts places of clips from where `terrain_of_clips` puts them. Raises SceneError
    as of `refuse_maskless`.
    """
    refuse_maskless(library, rewards)
    exact = falls_on_frames(library, dt)
    sample = sample_reference_on_tile if on_tiles else sample_reference
    again = any_row(Rewritten, "rows")
    cut_off = any_row(Done, "truncated")  # what the critic would see next is asked only of rows that are cut off
    common = task(
        observations=observations,
        rewards=rewards,
        terminations=terminations,
        noisy=noisy,
        noise_curriculum=noise_curriculum,
        observation_limit=observation_limit,
        only_positive=only_positive,
        dt=dt,
    )
    looks_around = any(p.type is AnchorView for each in observations.values() for p in each.signature.parameters)
    view = [AnchorView] if looks_around else []
    systems: dict[str, list[System]] = {
        SENSE: [
            system(derive_tracked_state, after="refresh_kinematics"),
            system(align_reference, after="derive_tracked_state"),
        ],
        ADVANCE: [system(advance_motion, dt=dt)],
        RECORD: [system(sample, name="sample_reference", when=cut_off, on_frames=exact)],
        RESET: [
            system(reset, name="reset_to_reference", when=again, on_frames=exact, **(reset_noise or {})),
        ],
        REFRESH: [system(derive_tracked_state, when=again, after="refresh_kinematics")],
        COMMAND: [system(sample, name="sample_reference", on_frames=exact)],
        OBSERVE: [system(derive_anchor_view) for _ in view],
    }
    if looks_around:
        systems[RECORD].append(system(derive_anchor_view, when=cut_off))
    held = Bundle("all", resources=[library])
    if at_once:
        begun = "start_on_tile" if on_tiles else "reset_to_reference"
        held = clip_parts(library, at_once=at_once, ticks=part_ticks, after=begun)
    starts, following = sampling(library, start, order=order, dt=dt, on_frames=exact), next_clip(dt=dt)
    for each in {**starts.systems, **following.systems, **common.systems, **held.systems}:
        parts = (starts.systems, following.systems, systems, common.systems, held.systems)
        systems[each] = [one for part in parts for one in part.get(each, ())]
    return Bundle(
        "tracking",
        components=[
            *(MotionCursor, MotionReference, TrackedState, RelativeTarget),
            *following.components,
            *view,
            *common.components,
        ],
        resources=[*held.resources, tracked_bodies(robot), *starts.resources, *common.resources],
        systems=systems,
        axes={
            "tracked": robot.tracked_bodies,
            "viewed": (*(() if sees_anchor_only(observations) else robot.tracked_bodies), "target"),
            **common.axes,
        },
        checks=[*starts.checks, *common.checks, *held.checks],
        vitals={**tracking_vitals(), **common.vitals},
    )
