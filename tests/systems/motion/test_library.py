"""The library: what is in it, and what sampling it at any time gives."""

import weakref
from collections.abc import Sequence

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from components.episode import Done
from components.motion import BuiltInClip, Clip, MotionCursor, MotionLibrary, MotionReference
from engine.errors import SceneError
from engine.tools.operations import OperationMode
from systems.maths import quaternion
from systems.motion import plausible
from systems.motion.check import verify_clip
from systems.motion.files import read_clips
from systems.motion.kinematics import angular_velocity, body_poses, continuous, differentiate, resample
from systems.motion.library import build_library
from systems.motion.packing import Packing
from systems.reference import (
    advance_motion,
    draw_motion,
    motion_ended,
    sample_reference,
    sample_root_and_dofs,
)
from tests.helpers import data_path
from tests.systems.motion_robots import doll, g1

DT = 0.02


def turning(
    frames: int = 41, fps: float = 50.0, rate: tuple[float, float, float] = (0.0, 0.0, 1.5), name: str = "turn"
) -> Clip:
    """The doll hovers at its default pose, drifts along x at 0.5 m/s and turns at a constant rate in world axes."""
    robot = doll().robot
    time = np.arange(frames) / fps
    turn = quaternion.from_rotation_vector(torch.from_numpy(time[:, None] * np.array(rate))).numpy()
    dofs = np.tile(robot.default_position.double().numpy(), (frames, 1))
    dofs[:, 0] = 0.4 * time
    position = np.stack((0.5 * time, np.zeros(frames), np.full(frames, 0.46)), 1)
    return Clip(name, fps, position, turn, dofs, dof_names=robot.dof_names)


def library(*clips: Clip | BuiltInClip, fps: float = 50.0) -> MotionLibrary:
    """A library for the doll."""
    model = doll()
    return build_library(clips or (turning(),), model.robot, model, fps=fps)


def ended(rows: int) -> Done:
    """Every row's episode has ended."""
    return Done.make(rows, {"termination": 1}, ended=True)  # type: ignore[attr-defined]


def cursor(rows: int, **values: object) -> MotionCursor:
    """A cursor component."""
    return MotionCursor.make(rows, **values)  # type: ignore[attr-defined]


def blend(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Linear interpolation of one frame pair, written out."""
    return (1.0 - share) * a + share * b


# ---- building


def test_unique_clips_are_loaded_once_and_indexed() -> None:
    made = library(turning(), turning(21, name="short"), turning())
    assert made.names == ("turn", "short")
    assert made.start.tolist() == [0, 41]
    assert made.frames.tolist() == [41, 21]
    assert_close(made.seconds, torch.tensor([0.8, 0.4]))
    assert_close(made.weight, torch.tensor([2 / 3, 1 / 3]))
    assert len(made.vectors) == 62


def test_clips_of_one_name_from_different_files_stay_apart() -> None:
    made = library(*(attrs.evolve(turning(), source=source) for source in ("a/turn.npz", "b/turn.npz")))
    assert made.names == ("turn", "turn (2)")


def test_built_in_clips_are_made_for_the_robot() -> None:
    made = library(BuiltInClip("stand", 3.0), BuiltInClip("wave"))
    assert made.names == ("stand", "wave")
    assert made.frames.tolist() == [151, 201]
    assert_close(made.weight, torch.tensor([0.75, 0.25]))
    assert made.warnings == ()
    assert made.dof_velocity[:151].abs().max() == 0.0  # the stand stands


def test_no_clips_and_unknown_clips_are_refused() -> None:
    model = doll()
    with pytest.raises(
        SceneError, match=r"was given no clips. Name a built-in clip .stand, sway, .*, walk. or a file."
    ):
        build_library([], model.robot, model)
    with pytest.raises(SceneError, match=r"There is no built-in clip 'sqat'; .* Did you mean squat?"):
        build_library([BuiltInClip("sqat")], model.robot, model)


def test_a_list_of_clips_is_handed_over_and_what_files_say_of_bodies_is_let_go_clip_by_clip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, alive = doll(), []
    clips = [turning(9, name=f"turn {i}") for i in range(5)]
    for i, clip in enumerate(clips):
        position, rotation = body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position)
        clips[i] = attrs.evolve(clip, body_position=position, body_rotation=rotation)
    held = [weakref.ref(clip.body_position) for clip in clips]
    check = plausible.check_bodies

    def counted(clip: Clip, *arguments: object) -> Sequence[object]:
        alive.append(sum(reference() is not None for reference in held))
        return check(clip, *arguments)

    monkeypatch.setattr(plausible, "check_bodies", counted)
    del clip, position
    build_library(clips, model.robot, model)
    assert clips == []
    assert alive == [5, 4, 3, 2, 1]


def raised(clip: Clip, height: float) -> Clip:
    """A clip that much higher, in m."""
    return attrs.evolve(clip, root_position=clip.root_position + np.array((0.0, 0.0, height)))


@pytest.mark.parametrize("height", ["keep", "auto"])
def test_a_library_of_many_clips_is_equal_to_the_bit_to_those_of_each_alone(height: str) -> None:
    model = doll()
    backward = turning(9, name="backward")
    whole = turning(11, name="whole")
    clips = [
        turning(12),
        attrs.evolve(turning(8, name="still picture"), fps=0.0),
        turning(10, 30.0, name="thirty"),
        attrs.evolve(backward, dof_velocity=-np.gradient(backward.dof_position, axis=0) * 50.0),
        raised(whole, 0.2),
        attrs.evolve(turning(7, name="lying"), root_position=np.full((7, 3), np.nan)),
        turning(13, name="last"),
    ]
    many = build_library(tuple(clips), model.robot, model, height=height, skip_unfit=True)
    assert many.names == ("turn", "thirty", "backward", "whole", "last")
    assert many.frames.tolist() == [12, 16, 9, 11, 13]  # of 10 frames at 30 per second, 0.3 s
    for clip, first, count in zip((clips[i] for i in (0, 2, 3, 4, 6)), many.start, many.frames, strict=True):
        alone = build_library([clip], model.robot, model, height=height)
        rows = slice(int(first), int(first + count))
        assert torch.equal(many.vectors[rows], alone.vectors) and torch.equal(many.rotations[rows], alone.rotations)


@pytest.mark.parametrize("change", ["fps", "root_position"])
def test_rows_of_a_clip_that_verification_changes_are_computed_again(change: str) -> None:
    model, first, after = doll(), turning(6), turning(5, name="after")
    changed = {"fps": attrs.evolve(first, fps=25.0), "root_position": raised(first, 0.1)}[change]
    packing = Packing([first, after], model.robot, model, 50.0)
    for index, clip in enumerate((first, after)):
        packing.poses(index, clip)
    frames = packing.finish({0: changed, 1: after})
    fresh = Packing([changed, after], model.robot, model, 50.0)
    assert frames == fresh.finish({0: changed, 1: after}) == [{"fps": 11, "root_position": 6}[change], 5]
    assert torch.equal(packing.vectors, fresh.vectors) and torch.equal(packing.rotations, fresh.rotations)


def test_bodies_stay_in_the_precision_of_their_file_until_the_clip_is_verified() -> None:
    path = str(data_path("motions", "kimodo_g1_29dof", "kimodo_walk_50hz.npz"))
    (clip,), model = read_clips(path), g1()
    assert isinstance(clip, Clip) and clip.body_position is not None and clip.dof_velocity is not None
    assert {clip.body_position.dtype, clip.dof_velocity.dtype} == {np.dtype(np.float32)}
    assert {clip.root_position.dtype, clip.root_rotation.dtype, clip.dof_position.dtype} == {np.dtype(np.float64)}
    verified, _ = verify_clip(clip, model.robot, model)
    assert verified.body_position is None and verified.body_rotation is None and verified.dof_velocity is None


def test_findings_are_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    high = attrs.evolve(turning(), root_position=turning().root_position + np.array((0.0, 0.0, 0.05)))
    made = library(high)
    assert len(made.warnings) == 1
    assert "hangs" in made.warnings[0]
    assert [record.message for record in caplog.records] == list(made.warnings)


# ---- resampling and velocities


def test_thirty_frames_per_second_become_fifty() -> None:
    clip = resample(turning(31, 30.0), 50.0)  # 1 s
    assert clip.num_frames == 51
    assert_close(clip.root_position[:, 0], 0.5 * np.arange(51) / 50.0)
    expected = 1.5 * np.arange(51) / 50.0
    assert_close(2.0 * np.arctan2(clip.root_rotation[:, 3], clip.root_rotation[:, 0]), expected)


def test_rate_that_is_not_whole_keeps_its_speed() -> None:
    clip = resample(turning(300, 29.97), 50.0)  # 299 / 29.97 = 9.9766 s
    assert clip.num_frames == 499  # 0, 0.02, … 9.96
    assert_close(differentiate(clip.root_position, 50.0)[:, 0], np.full(499, 0.5))


@given(frames=st.integers(2, 200), fps=st.sampled_from([10.0, 24.0, 29.97, 30.0, 60.0, 120.0]))
@settings(max_examples=40, deadline=None)
def test_resampling_never_runs_past_the_clip(frames: int, fps: float) -> None:
    clip = turning(frames, fps, rate=(0.0, 0.0, 0.5))
    after = resample(clip, 50.0)
    assert after.seconds <= clip.seconds + 1e-6 < after.seconds + 1.0 / 50.0 + 1e-5
    assert_close(after.root_position[:, 0], 0.5 * np.arange(after.num_frames) / 50.0, atol=1e-9, rtol=0.0)


def test_velocity_of_a_parabola_is_exact_inside_and_one_sided_at_the_ends() -> None:
    time = np.arange(6) / 50.0
    velocity = differentiate(time[:, None] ** 2, 50.0)[:, 0]
    assert_close(velocity[1:-1], 2.0 * time[1:-1])
    assert_close(velocity[[0, -1]], np.array([0.02, 0.08 + 0.1]))  # (0.02² − 0)/0.02 and (0.1² − 0.08²)/0.02


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_angular_velocity_ignores_the_signs_of_quaternions(data: st.DataObject) -> None:
    rate = data.draw(st.tuples(*[st.floats(-6.0, 6.0)] * 3))
    signs = np.array(data.draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=41, max_size=41)))
    rotation = turning(rate=rate).root_rotation * signs[:, None]
    velocity = angular_velocity(rotation, 50.0)
    assert np.abs(velocity - np.array(rate)).max() < 1e-6  # all frames, the last one included
    smooth = continuous(rotation)
    assert ((smooth[1:] * smooth[:-1]).sum(-1) > 0.0).all()
    assert_close(np.abs(smooth), np.abs(rotation))


def test_body_velocities_agree_with_differences_of_body_poses() -> None:
    made = library(BuiltInClip("squat"))
    numeric = (made.body_position[2:] - made.body_position[:-2]) * 25.0
    assert (numeric - made.body_linear_velocity[1:-1]).abs().max() < 0.01  # m/s, of 0.8
    turn = quaternion.multiply(made.body_rotation[2:], quaternion.conjugate(made.body_rotation[:-2]))
    assert (quaternion.to_rotation_vector(turn) * 25.0 - made.body_angular_velocity[1:-1]).abs().max() < 0.02


def test_velocities_equal_those_of_the_published_layout() -> None:
    path = str(data_path("motions", "kimodo_g1_29dof", "kimodo_walk_50hz.npz"))
    model = g1()
    made = build_library(read_clips(path), model.robot, model)
    with np.load(path) as file:
        tracked = [list(file["body_names"]).index(name) for name in model.robot.tracked_bodies]
        assert_close(made.dof_velocity, torch.from_numpy(file["joint_vel"]), atol=2e-3, rtol=1e-3)
        assert_close(made.body_position, torch.from_numpy(file["body_pos_w"][:, tracked]), atol=1e-4, rtol=0.0)
        inside = slice(1, -1)  # at the ends the file repeats the root's angular velocity of the neighbour
        linear = torch.from_numpy(file["body_lin_vel_w"][:, tracked])
        angular = torch.from_numpy(file["body_ang_vel_w"][:, tracked])
        assert_close(made.body_linear_velocity[inside], linear[inside], atol=5e-3, rtol=1e-3)
        assert_close(made.body_angular_velocity[inside], angular[inside], atol=1e-2, rtol=0.0)


# ---- sampling


def test_sampling_at_frames_gives_the_frames() -> None:
    made = library(turning(), turning(21, name="short", rate=(1.0, 0.0, 0.0)))
    clip = torch.tensor([0, 0, 1, 1])
    frame = torch.tensor([0, 17, 3, 20])
    position, rotation, linear, angular, dofs, speed = sample_root_and_dofs(made, clip, frame / 50.0)
    at = made.start[clip] + frame
    near = {"atol": 2e-6, "rtol": 0.0}
    assert_close(position, made.root_position[at], **near)
    assert_close(rotation, made.root_rotation[at], **near)
    assert_close(linear, made.root_linear_velocity[at], **near)
    assert_close(angular, made.root_angular_velocity[at], **near)
    assert_close(dofs, made.dof_position[at], **near)
    assert_close(speed, made.dof_velocity[at], **near)
    body_position, body_rotation, body_linear, body_angular = sample_bodies(made, clip, frame / 50.0)
    assert_close(body_position, made.body_position[at], **near)
    assert_close(body_rotation, made.body_rotation[at], **near)
    assert_close(body_linear, made.body_linear_velocity[at], **near)
    assert_close(body_angular, made.body_angular_velocity[at], **near)


def test_sampling_between_frames_blends_vectors_and_turns_along_the_circle() -> None:
    made = library(turning())
    clip, time = torch.tensor([0]), torch.tensor([0.105])  # frame 5.25
    position, rotation, linear, angular, dofs, speed = sample_root_and_dofs(made, clip, time)
    assert_close(position[0], blend(made.root_position[5], made.root_position[6], 0.25), atol=1e-6, rtol=0.0)
    assert_close(2.0 * torch.atan2(rotation[0, 3], rotation[0, 0]), torch.tensor(1.5 * 0.105), atol=1e-6, rtol=0.0)
    assert_close(dofs[0, 0], torch.tensor(0.4 * 0.105), atol=1e-6, rtol=0.0)
    assert_close(linear[0], torch.tensor([0.5, 0.0, 0.0]), atol=1e-5, rtol=0.0)
    assert_close(angular[0], torch.tensor([0.0, 0.0, 1.5]), atol=1e-4, rtol=0.0)
    assert_close(speed[0, 0], torch.tensor(0.4), atol=1e-5, rtol=0.0)


def test_tiny_turns_are_blended_too_and_stay_of_unit_length() -> None:
    made = library(turning(rate=(0.0, 0.0, 0.01)))  # 0.0002 rad per frame
    share = torch.linspace(0.0, 1.0, 9)
    _, rotation, *_ = sample_root_and_dofs(made, torch.zeros(9, dtype=torch.int64), (10.0 + share) / 50.0)
    assert_close(rotation[:, 3] / rotation[0, 3], 1.0 + share / 10.0, atol=1e-3, rtol=0.0)
    assert_close(rotation.norm(dim=-1), torch.ones(9), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("time", [0.8, 0.8001, 5.0])
def test_last_frame_is_held_beyond_the_end_of_its_clip(time: float) -> None:
    made = library(turning(), turning(21, name="short", rate=(3.0, 0.0, 0.0)))
    position, rotation, *_ = sample_bodies(made, torch.tensor([0, 1]), torch.tensor([time, time]))
    assert_close(position, made.body_position[[40, 61]], atol=2e-6, rtol=0.0)
    assert_close(rotation, made.body_rotation[[40, 61]], atol=2e-6, rtol=0.0)


def test_time_before_the_clip_gives_its_first_frame() -> None:
    made = library(turning(), turning(21, name="short"))
    position, *_ = sample_root_and_dofs(made, torch.tensor([1]), torch.tensor([-1.0]))
    assert_close(position[0], made.root_position[41])


def test_reference_is_what_sampling_gives_and_costs_few_operations() -> None:
    made = library(turning(), BuiltInClip("squat"))
    rows = 7
    at = cursor(rows, clip=torch.arange(rows) % 2, time=torch.linspace(-0.1, 5.0, rows))
    axes = {"dof": made.num_dofs, "tracked": made.num_tracked}
    reference = MotionReference.make(rows, axes)  # type: ignore[attr-defined]
    counter = Counter()
    with counter:
        sample_reference(at, made, reference)
    assert counter.operations < 80  # views included
    *_, dofs, speed = sample_root_and_dofs(made, at.clip, at.time)
    position, rotation, linear, angular = sample_bodies(made, at.clip, at.time)
    for field, expected in (
        ("dof_position", dofs), ("dof_velocity", speed), ("body_position", position),
        ("body_rotation", rotation), ("body_linear_velocity", linear), ("body_angular_velocity", angular),
    ):  # fmt: skip
        assert_close(getattr(reference, field), expected)


class Counter(OperationMode):
    """Counts dispatched operations."""

    operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.operations += 1
        return func(*args, **(kwargs or {}))


@given(time=st.lists(st.floats(-1.0, 3.0), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_sampling_equals_a_loop_over_rows(time: list[float]) -> None:
    made = SHARED
    clip = [i % 2 for i in range(len(time))]
    position, *_ = sample_bodies(made, torch.tensor(clip), torch.tensor(time))
    for row, (index, moment) in enumerate(zip(clip, time, strict=True)):
        last = int(made.frames[index]) - 1
        place = min(max(moment * 50.0, 0.0), float(last))
        first = min(int(place), last - 1)
        start = int(made.start[index])
        expected = blend(made.body_position[start + first], made.body_position[start + first + 1], place - first)
        assert (position[row] - expected).abs().max() < 1e-5


SHARED = library(turning(), turning(21, name="short", rate=(1.0, 0.0, 0.0)))


# ---- the cursor


@given(frames=st.integers(2, 400), first=st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_episode_from_a_frame_ends_after_exactly_the_frames_that_are_left(frames: int, first: int) -> None:
    first = min(first, frames - 2)
    made = bare_library([frames])
    at = cursor(1, start=first / 50.0, time=first / 50.0 + DT)
    steps = 1
    while not bool(motion_ended(at, made)):
        advance_motion(at, dt=DT)
        steps += 1
        assert steps <= frames
    assert steps == frames - 1 - first


def sample_bodies(
    made: MotionLibrary, clip: torch.Tensor, time: torch.Tensor, *, on_frames: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pose and velocity of the tracked bodies at `time` of `clip`."""
    reference = MotionReference.make(len(clip), {"dof": made.num_dofs, "tracked": made.num_tracked})  # type: ignore[attr-defined]
    at = cursor(len(clip))
    at.clip.copy_(clip)
    at.time.copy_(time)
    sample_reference(at, made, reference, on_frames=on_frames)
    return (
        reference.body_position,
        reference.body_rotation,
        reference.body_linear_velocity,
        reference.body_angular_velocity,
    )


def bare_library(frames: list[int], weights: list[float] | None = None) -> MotionLibrary:
    """A library without contents, for questions about time only."""
    count = torch.tensor(frames)
    weight = torch.tensor(weights or [1.0] * len(frames))
    return MotionLibrary(
        names=tuple(str(i) for i in range(len(frames))),
        warnings=(),
        fps=50.0,
        num_dofs=1,
        num_tracked=1,
        start=count.cumsum(0) - count,
        frames=count,
        seconds=(count - 1) / 50.0,
        weight=weight / weight.sum(),
        vectors=torch.zeros(1, 20),
        rotations=torch.zeros(1, 2, 4),
    )


def test_time_does_not_drift_over_ten_minutes() -> None:
    at = cursor(2, start=[0.0, 0.0131], time=[0.0, 0.0131])
    for _ in range(30000):
        advance_motion(at, dt=DT)
    assert_close(at.time, torch.tensor([600.0, 600.0131]), atol=1e-4, rtol=0.0)


def test_only_ended_rows_draw_a_new_start() -> None:
    made = bare_library([51, 101])
    at = cursor(3, clip=1, time=0.5, start=0.3)
    done = Done.make(3, {"termination": 1}, ended=[True, False, True])  # type: ignore[attr-defined]
    draw_motion(done, made, torch.Generator().manual_seed(0), at, start_share=1.0, dt=DT)
    assert_close(at.start, torch.tensor([0.0, 0.3, 0.0]))
    assert_close(at.time, torch.tensor([DT, 0.5, DT]))
    assert at.clip[1] == 1


@pytest.mark.parametrize("on_frames", [False, True])
def test_every_frame_is_as_likely_as_any_other_whatever_the_lengths_of_clips(on_frames: bool) -> None:
    frames, rows = [11, 101, 31], 140_000
    at = cursor(rows)
    made = bare_library(frames)
    draw_motion(ended(rows), made, torch.Generator().manual_seed(1), at, dt=DT, on_frames=on_frames)
    for clip, count in enumerate(frames):
        assert abs(int((at.clip == clip).sum()) / rows - (count - 1) / 140) < 0.005
    place = (at.start * 50.0).round().long() + made.start[at.clip]
    counts = torch.bincount(place, minlength=sum(frames))
    inside = [first + i for first, count in zip(made.start.tolist(), frames, strict=True) for i in range(1, count - 2)]
    assert int(counts[inside].min()) > 850 and int(counts[inside].max()) < 1200  # 1000 each


def test_weights_multiply_how_likely_the_frames_of_a_clip_are() -> None:
    at = cursor(60_000)
    draw_motion(ended(60_000), bare_library([11, 51], [5.0, 2.0]), torch.Generator().manual_seed(1), at, dt=DT)
    assert abs(float((at.clip == 0).float().mean()) - 5 * 10 / (5 * 10 + 2 * 50)) < 0.006


def test_clips_that_always_begin_with_their_first_frame_are_drawn_by_weight_alone() -> None:
    """Every episode shows the whole clip then, so that the frames of all are seen equally often."""
    at = cursor(60_000)
    made = bare_library([11, 51], [1.0, 2.0])
    draw_motion(ended(60_000), made, torch.Generator().manual_seed(1), at, start_share=1.0, dt=DT)
    assert abs(float((at.clip == 0).float().mean()) - 1 / 3) < 0.006


def test_start_times_lie_evenly_in_clips_that_have_a_weight() -> None:
    made = bare_library([51, 101, 11], [3.0, 1.0, 0.0])
    at = cursor(20000)
    draw_motion(ended(20000), made, torch.Generator().manual_seed(1), at, dt=DT)
    assert (at.clip < 2).all()  # no weight, no draw
    for clip, seconds in ((0, 1.0), (1, 2.0)):
        start = at.start[at.clip == clip]
        assert 0.0 <= start.min() < 0.01
        assert seconds - DT - 0.01 < start.max() < seconds - DT
        assert abs(float(start.mean()) - 0.5 * (seconds - DT)) < 0.02
    assert_close(at.time, at.start + DT)


def test_same_stream_draws_the_same() -> None:
    made = bare_library([51, 101])
    first, second = cursor(50), cursor(50)
    for each in (first, second):
        draw_motion(ended(50), made, torch.Generator().manual_seed(7), each, dt=DT)
    assert_close(first.start, second.start)


def test_shortest_clip_starts_at_its_first_frame() -> None:
    at = cursor(100)
    draw_motion(ended(100), bare_library([2]), torch.Generator().manual_seed(0), at, dt=DT)
    assert at.start.abs().max() < 1e-6
    assert motion_ended(at, bare_library([2])).all()  # one step


def test_a_share_of_starts_that_is_none_is_refused() -> None:
    with pytest.raises(SceneError, match=r"start_share=1.5 is a share of episodes; give a number from 0 to 1"):
        draw_motion(ended(1), bare_library([9]), torch.Generator(), cursor(1), start_share=1.5, dt=DT)


def test_of_mixed_starts_a_share_shows_whole_clips_and_the_others_any_frame() -> None:
    """Clips of 10 and 90 steps: half begin at 0 in either clip alike, half in every one of 100 steps alike."""
    rows, made = 80_000, bare_library([11, 91])
    at = cursor(rows)
    draw_motion(ended(rows), made, torch.Generator().manual_seed(1), at, start_share=0.5, dt=DT, on_frames=True)
    frame = (at.start * 50.0).round().long()
    counts = [float(((at.clip == clip) & (frame == 0)).sum()) / rows for clip in (0, 1)]
    assert_close(torch.tensor(counts), torch.full((2,), 0.25 + 0.005), atol=0.006, rtol=0.0)
    inside = torch.bincount(frame[(at.clip == 1) & (frame > 0)], minlength=90)[1:] / rows
    assert abs(float(inside.mean()) - 0.005) < 1e-4 and float(inside.min()) > 0.0038


def test_unknown_order_of_clips_is_refused() -> None:
    with pytest.raises(SceneError, match=r"Clips cannot be taken in order 'random'; say 'weight' .* or 'cycle'"):
        draw_motion(ended(1), bare_library([9]), torch.Generator(), cursor(1), order="random", dt=DT)


def test_clips_in_cycle_give_every_row_its_own() -> None:
    at = cursor(5)
    draw_motion(ended(5), bare_library([9, 9, 9]), torch.Generator(), at, order="cycle", dt=DT)
    assert at.clip.tolist() == [0, 1, 2, 0, 1]


def test_starts_on_frames_are_all_frames_but_the_last() -> None:
    at = cursor(4000)
    draw_motion(ended(4000), bare_library([6]), torch.Generator().manual_seed(0), at, on_frames=True, dt=DT)
    frames = at.start * 50.0
    assert_close(frames, frames.round(), atol=1e-5, rtol=0.0)
    counts = torch.bincount(frames.round().long(), minlength=6)
    assert counts[5] == 0
    assert counts[:5].min() > 4000 / 5 * 0.85


def test_sampling_on_frames_equals_blending_there_and_holds_the_ends() -> None:
    made = library(turning(frames=30), turning(frames=12, rate=(0.3, -0.4, 2.0), name="other"))
    clip = torch.tensor([0, 1, 1, 0, 1])
    time = torch.tensor([0.28, 0.02, 0.22, -1.0, 99.0])
    for blended, nearest in zip(
        sample_bodies(made, clip, time), sample_bodies(made, clip, time, on_frames=True), strict=True
    ):
        assert_close(nearest, blended, atol=2e-6, rtol=1e-5)
    for blended, nearest in zip(
        sample_root_and_dofs(made, clip, time), sample_root_and_dofs(made, clip, time, on_frames=True), strict=True
    ):
        assert_close(nearest, blended, atol=2e-6, rtol=1e-5)
