"""Motion tracking: targets, every tracking term and the reset against numpy loops; the task as a whole."""

import math
from dataclasses import dataclass
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

from components.episode import Done
from components.motion import (
    AnchorView,
    DofFar,
    MotionCursor,
    MotionFar,
    MotionLibrary,
    MotionReference,
    RelativeTarget,
    TrackedState,
)
from components.robot import DofState, Flight, RootState
from engine.errors import SceneError
from systems import tracking as task
from systems import tracking_terms as track
from systems.maths.quaternion import multiply
from tests.systems.task_rows import (
    about,
    from_euler,
    generator,
    matrix,
    matrix_angle,
    random_rotations,
    small_bodies,
    small_robot,
)

AXES = {"dof": 2, "tracked": 4, "viewed": 5, "termination": 1}
ROWS, BODIES, ANCHOR = 5, 4, 3


@dataclass
class Rows:
    """Random robots and references."""

    tracked: TrackedState
    reference: MotionReference
    dofs: DofState
    target: RelativeTarget


@pytest.fixture
def rows() -> Rows:
    rng = generator(7)

    def draw(*shape: int) -> Tensor:
        return torch.randn((ROWS, *shape), generator=rng)

    tracked = TrackedState.make(
        ROWS, AXES, position=draw(4, 3), rotation=random_rotations(ROWS, 4), linear_velocity=draw(4, 3), angular_velocity=draw(4, 3)
    )  # fmt: skip
    reference = MotionReference.make(
        ROWS, AXES, dof_position=draw(2), dof_velocity=draw(2), body_position=draw(4, 3),
        body_rotation=random_rotations(ROWS, 4, seed=1), body_linear_velocity=draw(4, 3), body_angular_velocity=draw(4, 3),
    )  # fmt: skip
    target = RelativeTarget.make(ROWS, AXES)
    task.align_reference(tracked, reference, small_bodies(), target)
    return Rows(tracked, reference, DofState.make(ROWS, AXES, position=draw(2), velocity=draw(2)), target)


def numbers(value: Tensor) -> np.ndarray:
    return value.numpy().astype(np.float64)


def close(value: Tensor, expected: Any, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(numbers(value), np.asarray(expected, dtype=np.float64), atol=tolerance)


# -- targets -------------------------------------------------------------------------------------------


def aligned(rows: Rows, row: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Positions and rotation matrices of the re-placed reference of one row, by the definition."""
    place, theirs = numbers(rows.tracked.position[row]), numbers(rows.reference.body_position[row])
    turn = matrix(rows.tracked.rotation[row, ANCHOR]) @ matrix(rows.reference.body_rotation[row, ANCHOR]).T
    heading = about("z", math.atan2(turn[1, 0], turn[0, 0]))
    origin = np.array([place[ANCHOR, 0], place[ANCHOR, 1], theirs[ANCHOR, 2]])
    positions = [origin + heading @ (theirs[b] - theirs[ANCHOR]) for b in range(BODIES)]
    return positions, [heading @ matrix(rows.reference.body_rotation[row, b]) for b in range(BODIES)]


def test_the_reference_is_replaced_at_the_robots_place_and_heading(rows: Rows) -> None:
    for row in range(ROWS):
        positions, rotations = aligned(rows, row)
        for body in range(BODIES):
            close(rows.target.position[row, body], positions[body])
            close(tensor(matrix(rows.target.rotation[row, body])), rotations[body])


def test_a_robot_that_only_drifted_and_turned_is_on_target(rows: Rows) -> None:
    turn = about("z", 2.5)
    for row in range(ROWS):
        for body in range(BODIES):
            moved = turn @ numbers(rows.reference.body_position[row, body]) + [3.0, -2.0, 0.0]
            rows.tracked.position[row, body] = tensor(moved)
    heading = from_euler(torch.zeros(1), torch.zeros(1), tensor([2.5]))
    rows.tracked.rotation.copy_(multiply(heading.unsqueeze(0), rows.reference.body_rotation))
    task.align_reference(rows.tracked, rows.reference, small_bodies(), rows.target)
    close(track.body_position(rows.tracked, rows.target), np.zeros(ROWS), 1e-9)
    close(track.body_orientation(rows.tracked, rows.target), np.zeros(ROWS), 1e-9)
    assert not track.end_effector_height(rows.tracked, rows.target, small_bodies(), most=1e-4).any()


def test_the_anchor_sees_bodies_and_target(rows: Rows) -> None:
    view = AnchorView.make(ROWS, AXES)
    task.derive_anchor_view(rows.tracked, rows.reference, small_bodies(), view)
    for row in range(ROWS):
        place, back = numbers(rows.tracked.position[row, ANCHOR]), matrix(rows.tracked.rotation[row, ANCHOR]).T
        bodies = [(rows.tracked.position[row, b], rows.tracked.rotation[row, b]) for b in range(BODIES)]
        goal = (rows.reference.body_position[row, ANCHOR], rows.reference.body_rotation[row, ANCHOR])
        for i, (position, rotation) in enumerate([*bodies, goal]):
            close(view.position[row, i], back @ (numbers(position) - place))
            close(view.rotation[row, i], (back @ matrix(rotation))[:, :2].reshape(-1))
    assert_close(track.anchor_position(view), view.position[:, 4])
    assert_close(track.anchor_orientation(view), view.rotation[:, 4])
    assert_close(track.bodies_position(view), view.position[:, :4].reshape(ROWS, 12))
    assert_close(track.bodies_orientation(view), view.rotation[:, :4].reshape(ROWS, 24))


def test_tracked_bodies_become_indices() -> None:
    robot = small_robot(tracked_bodies=("torso", "left_foot"), end_effectors=("left_foot",))
    found = task.tracked_bodies(robot)
    assert (found.body_index.tolist(), found.anchor, found.end_effectors.tolist()) == ([3, 1], 0, [1])
    with pytest.raises(SceneError) as error:
        task.tracked_bodies(small_robot(tracked_bodies=("torso",)))
    assert str(error.value) == "Robot 'small' tracks torso, but not 'left_foot'; track it too."


# -- rewards -------------------------------------------------------------------------------------------


def test_anchor_errors_are_in_the_world(rows: Rows) -> None:
    position = track.global_anchor_position(rows.tracked, rows.reference, small_bodies())
    orientation = track.global_anchor_orientation(rows.tracked, rows.reference, small_bodies())
    for row in range(ROWS):
        apart = numbers(rows.tracked.position[row, ANCHOR]) - numbers(rows.reference.body_position[row, ANCHOR])
        close(position[row], apart @ apart)
        pair = matrix(rows.tracked.rotation[row, ANCHOR]), matrix(rows.reference.body_rotation[row, ANCHOR])
        close(orientation[row], matrix_angle(*pair) ** 2, 1e-4)


def test_body_errors_are_means_over_bodies_against_the_replaced_reference(rows: Rows) -> None:
    position, orientation = (
        track.body_position(rows.tracked, rows.target),
        track.body_orientation(rows.tracked, rows.target),
    )
    for row in range(ROWS):
        positions, rotations = aligned(rows, row)
        apart = [np.sum((numbers(rows.tracked.position[row, b]) - positions[b]) ** 2) for b in range(BODIES)]
        turned = [matrix_angle(matrix(rows.tracked.rotation[row, b]), rotations[b]) ** 2 for b in range(BODIES)]
        close(position[row], np.mean(apart), 1e-4)
        close(orientation[row], np.mean(turned), 1e-4)


def test_velocity_errors_are_means_of_squared_norms_in_the_world(rows: Rows) -> None:
    linear = track.body_linear_velocity(rows.tracked, rows.reference)
    angular = track.body_angular_velocity(rows.tracked, rows.reference)
    v = numbers(rows.tracked.linear_velocity) - numbers(rows.reference.body_linear_velocity)
    w = numbers(rows.tracked.angular_velocity) - numbers(rows.reference.body_angular_velocity)
    close(linear, (v**2).sum(-1).mean(-1))
    close(angular, (w**2).sum(-1).mean(-1))


def test_world_errors_also_average_over_axes_and_may_pick_bodies(rows: Rows) -> None:
    apart = (numbers(rows.tracked.position) - numbers(rows.reference.body_position)) ** 2
    bodies = small_bodies()
    close(track.world_position(rows.tracked, rows.reference, bodies), apart.mean((1, 2)))
    feet = track.world_position(rows.tracked, rows.reference, bodies, of=(".*_foot",))
    close(feet, apart[:, 1:3].mean((1, 2)))
    turned = [
        [
            matrix_angle(matrix(rows.tracked.rotation[r, b]), matrix(rows.reference.body_rotation[r, b])) ** 2
            for b in range(BODIES)
        ]
        for r in range(ROWS)
    ]
    close(track.world_rotation(rows.tracked, rows.reference, bodies), np.mean(turned, 1), 1e-4)
    close(track.world_rotation(rows.tracked, rows.reference, bodies, of=("torso",)), np.array(turned)[:, 3], 1e-4)
    v = numbers(rows.tracked.linear_velocity) - numbers(rows.reference.body_linear_velocity)
    w = numbers(rows.tracked.angular_velocity) - numbers(rows.reference.body_angular_velocity)
    close(track.world_linear_velocity(rows.tracked, rows.reference), (v**2).mean((1, 2)))
    close(track.world_angular_velocity(rows.tracked, rows.reference), (w**2).mean((1, 2)))


def test_joint_errors_are_means_over_joints(rows: Rows) -> None:
    q = numbers(rows.dofs.position) - numbers(rows.reference.dof_position)
    v = numbers(rows.dofs.velocity) - numbers(rows.reference.dof_velocity)
    close(track.dof_position_error(rows.dofs, rows.reference), (q**2).mean(-1))
    close(track.dof_velocity_error(rows.dofs, rows.reference), (v**2).mean(-1))


# -- terminations --------------------------------------------------------------------------------------


def upright(count: int) -> tuple[TrackedState, MotionReference, RelativeTarget]:
    one = [1.0, 0.0, 0.0, 0.0]
    return (
        TrackedState.make(count, AXES, rotation=one),
        MotionReference.make(count, AXES, body_rotation=one),
        RelativeTarget.make(count, AXES, rotation=one),
    )


def test_the_anchor_may_not_leave_the_references_height() -> None:
    tracked, reference, _ = upright(3)
    tracked.position[:, ANCHOR, 2] = tensor([0.26, -0.26, 0.24])
    tracked.position[:, 0, 2] = 5.0
    assert track.anchor_height(tracked, reference, small_bodies(), most=0.25).tolist() == [True, True, False]


def test_the_anchor_may_not_tilt_away_from_the_reference(rows: Rows) -> None:
    fallen = track.anchor_tilt(rows.tracked, rows.reference, small_bodies(), most=0.8)
    for row in range(ROWS):
        ours = (matrix(rows.tracked.rotation[row, ANCHOR]).T @ [0, 0, -1])[2]
        theirs = (matrix(rows.reference.body_rotation[row, ANCHOR]).T @ [0, 0, -1])[2]
        assert bool(fallen[row]) == (abs(theirs - ours) > 0.8)
    assert fallen.any() and not fallen.all()
    tracked, reference, _ = upright(2)
    zero = torch.zeros(2)
    tracked.rotation[:, ANCHOR] = from_euler(zero, tensor([1.36, 1.38]), zero)  # 1 - cos = 0.791, 0.810
    assert track.anchor_tilt(tracked, reference, small_bodies(), most=0.8).tolist() == [False, True]


def test_end_effectors_may_not_leave_the_targets_height() -> None:
    tracked, _, target = upright(3)
    tracked.position[0, 1, 2] = 0.26
    tracked.position[1, 2, 2] = -0.26
    tracked.position[2, 0, 2] = 5.0  # not an end effector
    assert track.end_effector_height(tracked, target, small_bodies(), most=0.25).tolist() == [True, True, False]


def test_no_body_may_leave_the_radius_around_the_reference() -> None:
    tracked, reference, _ = upright(2)
    tracked.position[0, 2] = tensor([0.9, 1.2, 0.1])  # 1.503 m
    tracked.position[1, 2] = tensor([0.9, 1.2, 0.0])  # 1.5 m exactly is not beyond
    far = MotionFar(threshold=tensor(1.5001))
    assert track.motion_far(tracked, reference, far).tolist() == [True, False]


def test_joints_together_may_not_leave_the_reference() -> None:
    dofs = DofState.make(2, AXES, position=[[0.3, 0.4], [0.3, 0.3]])
    assert track.dof_far(dofs, MotionReference.make(2, AXES), DofFar(threshold=tensor(0.49))).tolist() == [True, False]


# -- observations --------------------------------------------------------------------------------------


def test_the_command_is_the_references_joints(rows: Rows) -> None:
    expected = torch.cat((rows.reference.dof_position, rows.reference.dof_velocity), 1)
    assert torch.equal(track.command(rows.reference), expected)


def test_targets_are_seen_from_the_heading_of_each_rows_own_root(rows: Rows) -> None:
    offset, position = (
        track.target_offset(rows.tracked, rows.reference),
        track.target_position(rows.tracked, rows.reference, small_bodies()),
    )
    for row in range(ROWS):
        root = matrix(rows.tracked.rotation[row, 0])
        back = about("z", -math.atan2(root[1, 0], root[0, 0]))
        ours, theirs = numbers(rows.tracked.position[row]), numbers(rows.reference.body_position[row])
        close(offset[row], np.concatenate([back @ (theirs[b] - ours[b]) for b in range(BODIES)]))
        close(position[row], np.concatenate([back @ (theirs[b] - ours[0]) for b in range(BODIES)]))


def test_phase_is_the_share_of_the_rows_own_clip() -> None:
    class Library:
        seconds = tensor([2.0, 8.0])

    cursor = MotionCursor.make(2, clip=[0, 1], time=[1.0, 2.0])
    assert track.phase(cursor, Library()).tolist() == [[0.5], [0.25]]  # type: ignore[arg-type]


# -- reset ---------------------------------------------------------------------------------------------

FACING = from_euler(tensor([0.3]), tensor([-0.2]), tensor([1.0]))[0]


def reset(
    monkeypatch: pytest.MonkeyPatch, count: int, ended: Any, exact: bool = False, **noise: Any
) -> tuple[RootState, DofState]:
    """Reset onto a made-up reference: position (1, 2, 3), turned, moving, joints at 0.5 and 1.75."""

    def sample(library: Any, clip: Tensor, time: Tensor, *, on_frames: bool = False) -> tuple[Tensor, ...]:
        assert time.tolist() == [4.0] * count  # the moment at which the episode starts
        made = ([1.0, 2.0, 3.0], FACING.tolist(), [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.5, 1.75], [7.0, 8.0])
        return tuple(tensor(value).expand(count, -1) for value in made)

    monkeypatch.setattr(task, "sample_root_and_dofs", sample)
    root, dofs = RootState.make(count, position=-1.0), DofState.make(count, AXES, position=-1.0)
    cursor = MotionCursor.make(count, start=4.0, time=4.02)
    library: Any = None
    done = Done.make(count, AXES, ended=ended)
    if exact:
        task.start_on_reference(done, library, cursor, root, dofs)
    else:
        task.reset_to_reference(done, library, cursor, small_robot(), generator(), root, dofs, **noise)
    return root, dofs


@pytest.mark.parametrize("noise", [task.reset_noise(0.0), {"exact": True}])
def test_without_noise_ended_rows_are_exactly_where_their_clip_begins(
    monkeypatch: pytest.MonkeyPatch, noise: dict[str, Any]
) -> None:
    root, dofs = reset(monkeypatch, 2, [True, False], **noise)
    assert root.position.tolist() == [[1.0, 2.0, 3.0], [-1.0, -1.0, -1.0]]
    assert torch.equal(root.rotation, torch.stack((FACING, torch.zeros(4))))
    assert_close(root.linear_velocity[0], tensor([0.1, 0.2, 0.3]))
    assert_close(root.angular_velocity[0], tensor([0.4, 0.5, 0.6]))
    assert dofs.position.tolist() == [[0.5, 1.75], [-1.0, -1.0]]
    assert dofs.velocity.tolist() == [[7.0, 8.0], [0.0, 0.0]]


def test_reset_noise_fills_its_ranges_and_joints_stay_within_soft_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    root, dofs = reset(monkeypatch, 6000, True)

    def spans(value: Tensor, centre: list[float], half: list[float]) -> None:
        apart = value - tensor(centre)
        assert bool((apart.abs() <= tensor(half) + 1e-5).all())
        assert bool((apart.amax(0) > 0.98 * tensor(half)).all()) and bool((apart.amin(0) < -0.98 * tensor(half)).all())

    spans(root.position, [1.0, 2.0, 3.0], [0.05, 0.05, 0.01])
    spans(root.linear_velocity, [0.1, 0.2, 0.3], [0.5, 0.5, 0.2])
    spans(root.angular_velocity, [0.4, 0.5, 0.6], [0.52, 0.52, 0.78])
    spans(dofs.position[:, :1], [0.5], [0.1])
    assert 1.65 <= float(dofs.position[:, 1].min()) < 1.652 and float(dofs.position[:, 1].max()) == pytest.approx(1.8)
    assert dofs.velocity[0].tolist() == dofs.velocity[1].tolist() == [7.0, 8.0]


def test_reset_turns_by_euler_angles_about_world_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = reset(monkeypatch, 3000, True)
    found = []
    for q in root.rotation:
        r = matrix(q) @ matrix(FACING).T  # premultiplied: roll, then pitch, then yaw about fixed axes
        found.append((math.atan2(r[2, 1], r[2, 2]), -math.asin(r[2, 0]), math.atan2(r[1, 0], r[0, 0])))
    angles = np.array(found)
    half = np.array([0.1, 0.1, 0.2])
    assert bool((np.abs(angles) <= half + 1e-5).all())
    assert bool((angles.max(0) > 0.98 * half).all()) and bool((angles.min(0) < -0.98 * half).all())


def test_joint_velocity_noise_is_there_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, dofs = reset(monkeypatch, 4000, True, joint_velocity=0.5)
    apart = dofs.velocity - tensor([7.0, 8.0])
    assert 0.49 < float(apart.max()) <= 0.5 and -0.5 <= float(apart.min()) < -0.49


def test_noise_is_drawn_for_every_row_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    root, dofs = reset(monkeypatch, 50, True)
    assert len(root.position[:, 0].unique()) == len(dofs.position[:, 0].unique()) == 50


# -- terms of other published sets ------------------------------------------------------------------------


def test_some_reference_bodies_and_their_velocities_are_seen_in_the_robots_heading(rows: Rows) -> None:
    three = track.target_position(rows.tracked, rows.reference, small_bodies(), of=("torso", "left_foot"))
    local = track.target_velocity(rows.tracked, rows.reference)
    for row in range(ROWS):
        facing = matrix(rows.tracked.rotation[row, 0])
        back = about("z", -math.atan2(facing[1, 0], facing[0, 0]))
        place, root = numbers(rows.reference.body_position[row]), numbers(rows.tracked.position[row, 0])
        close(three[row], np.concatenate([back @ (place[b] - root) for b in (1, 3)]))  # in the order of the bodies
        speeds = numbers(rows.reference.body_linear_velocity[row])
        close(local[row], np.concatenate([back @ speeds[b] for b in range(BODIES)]))
    world = track.target_velocity(rows.tracked, rows.reference, world_axes=True)
    close(world, numbers(rows.reference.body_linear_velocity).reshape(ROWS, -1))


def test_joints_lag_behind_by_reference_minus_robot(rows: Rows) -> None:
    apart = numbers(rows.reference.dof_position) - numbers(rows.dofs.position)
    close(track.dof_position_offset(rows.dofs, rows.reference), apart)
    close(track.max_dof_position_error(rows.dofs, rows.reference), np.abs(apart).max(-1))
    faster = numbers(rows.reference.dof_velocity) - numbers(rows.dofs.velocity)
    close(track.dof_velocity_offset(rows.dofs, rows.reference), faster)


def test_quaternions_are_compared_number_by_number_of_the_closer_sign(rows: Rows) -> None:
    ours, theirs = numbers(rows.tracked.rotation), numbers(rows.reference.body_rotation)
    expected = [
        np.mean([min(np.mean((a - b) ** 2), np.mean((a + b) ** 2)) for a, b in zip(*row, strict=True)])
        for row in zip(ours, theirs, strict=True)
    ]
    close(track.world_rotation_components(rows.tracked, rows.reference), expected)
    rows.reference.body_rotation.copy_(-rows.tracked.rotation)
    close(track.world_rotation_components(rows.tracked, rows.reference), np.zeros(ROWS))


def radial(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The published value of two vectors: direction, then size."""
    share = np.linalg.norm(ours) / np.linalg.norm(theirs)
    cosine = float(ours @ theirs) / (np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(np.exp(-(1 - cosine) / 0.75) * share * np.exp(0.4 * (1 - share**2.5)))


def test_radial_velocities_compare_direction_and_size(rows: Rows) -> None:
    ours, theirs = numbers(rows.tracked.linear_velocity), numbers(rows.reference.body_linear_velocity)
    expected = [np.mean([radial(*pair) for pair in zip(*row, strict=True)]) for row in zip(ours, theirs, strict=True)]
    close(track.radial_body_velocity(rows.tracked, rows.reference), expected)
    joints = zip(numbers(rows.dofs.velocity), numbers(rows.reference.dof_velocity), strict=True)
    close(track.radial_dof_velocity(rows.dofs, rows.reference), [radial(*pair) for pair in joints])
    rows.dofs.velocity.copy_(rows.reference.dof_velocity)
    close(track.radial_dof_velocity(rows.dofs, rows.reference), np.ones(ROWS))
    rows.dofs.velocity.copy_(1.5 * rows.reference.dof_velocity)  # too fast pays less than just as fast
    assert bool((track.radial_dof_velocity(rows.dofs, rows.reference) < 0.999).all())
    for ours_, theirs_, value in ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)):  # still as asked for, and moving unasked
        rows.dofs.velocity.fill_(ours_)
        rows.reference.dof_velocity.fill_(theirs_)
        close(track.radial_dof_velocity(rows.dofs, rows.reference), np.full(ROWS, value))


def test_feet_that_are_down_where_the_clip_has_them_down_are_paid_for() -> None:
    """Frame 0 wants both feet, frame 1 the left one; a row with the left foot down has half of it and all of it."""
    library = attrs.evolve(walking(2), contacts=tensor([[1.0, 1.0], [1.0, 0.0]]))
    flight = Flight.make(3, {"foot": 2}, down=[[True, False], [True, False], [False, True]])
    at = MotionCursor.make(3, clip=0, time=[0.0, 0.02, 0.02])
    assert track.contact_mask(flight, at, library).tolist() == [0.5, 1.0, 0.0]


def walking(frames: int = 11) -> MotionLibrary:
    """A clip of one joint and one body at 50 frames per second: in frame t the joint is at t, and faster by 100 + t; it begins at a yaw of 3 rad."""
    count = torch.tensor([frames])
    time = torch.arange(float(frames))
    vectors = torch.zeros(frames, 9 + 2 + 9)
    vectors[:, 9], vectors[:, 10] = time, 100.0 + time
    facing = from_euler(torch.zeros(frames), torch.zeros(frames), torch.full((frames,), 3.0))
    return MotionLibrary(
        names=("walk",), warnings=(), fps=50.0, num_dofs=1, num_tracked=1, start=count - count, frames=count,
        seconds=(count - 1) / 50.0, weight=torch.ones(1), vectors=vectors, rotations=facing.unsqueeze(1).expand(-1, 2, 4),
    )  # fmt: skip


def test_the_future_of_the_joints_is_that_of_the_clip_and_ends_with_its_last_frame() -> None:
    at = MotionCursor.make(2, clip=0, time=[0.04, 0.16])
    seen = track.future_joints(at, walking(), steps=3, every=2)
    expected = [[4.0, 6.0, 8.0, 104.0, 106.0, 108.0], [10.0, 10.0, 10.0, 110.0, 110.0, 110.0]]
    close(seen, expected, 1e-3)


def test_the_turn_since_the_clip_began_goes_the_short_way_round() -> None:
    zero = torch.zeros(2)
    root = RootState.make(2, rotation=from_euler(zero, zero, tensor([-3.0, 1.0])))
    turned = track.turned_since_start(root, MotionCursor.make(2, clip=0, time=0.1), walking())
    close(turned[:, 0], [2 * math.pi - 6.0, -2.0])


def test_the_phase_is_embedded_in_waves_of_doubling_frequency() -> None:
    at = MotionCursor.make(1, clip=0, time=[0.06])  # of 0.2 s: φ = 0.3
    waves = [math.pi * 0.3 * 2**k for k in range(3)]
    close(track.phase_embedding(at, walking(), size=6)[0], [*map(math.sin, waves), *map(math.cos, waves)])
