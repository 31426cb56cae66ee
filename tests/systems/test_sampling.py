"""Adaptive sampling of starts: bins and chances worked out by hand, the floor for any failures, and the state in snapshots."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from components.episode import Done
from components.motion import ClipBins, MotionCursor, MotionLibrary, SamplerNumbers
from engine import SceneError, Simulation, build
from engine.runner.trial import reaching
from engine.snapshot.snapshot import restore, save
from systems.metrics import report
from systems.reference import draw_motion
from systems.sampling import bin_at, bins_of, chances, count_failures, draw_by_failures, sampling
from tests.helpers import tracking
from tests.systems.motion.test_library import bare_library

DT = 0.02
PLAIN: dict[str, Any] = {"floor": 0.1, "kernel": 1, "decay": 0.8, "prior": 0.0}


def filled(bins: ClipBins, failures: Any, visits: Any) -> ClipBins:
    """The bins with these running means."""
    bins.failures.copy_(torch.as_tensor(failures, dtype=torch.float64))
    bins.visits.copy_(torch.as_tensor(visits, dtype=torch.float64))
    return bins


def done_of(terminated: list[bool], truncated: list[bool] | None = None) -> Done:
    """Rows that failed, and rows that ran out of time."""
    cut = truncated or [False] * len(terminated)
    ended = [a or b for a, b in zip(terminated, cut, strict=True)]
    return Done.make(len(ended), {"termination": 1}, ended=ended, terminated=terminated, truncated=cut)


def drawn(library: MotionLibrary, bins: ClipBins, rows: int, **numbers: Any) -> tuple[MotionCursor, SamplerNumbers]:
    """Where `rows` episodes begin."""
    at, written = MotionCursor.make(rows), SamplerNumbers.zeros()  # type: ignore[attr-defined]
    stream = torch.Generator().manual_seed(1)
    draw_by_failures(done_of([True] * rows), library, bins, stream, at, written, dt=DT, **{**PLAIN, **numbers})
    return at, written


# -- bins ----------------------------------------------------------------------------------------------


def test_a_clip_has_one_bin_more_than_it_has_whole_seconds_and_shares_none() -> None:
    bins = bins_of(bare_library([40, 50, 101]))
    assert bins.count.tolist() == [1, 2, 3] and bins.first.tolist() == [0, 1, 3]
    assert bins.clip.tolist() == [0, 1, 1, 2, 2, 2] and bins.within.tolist() == [0, 0, 1, 0, 1, 2]
    assert bins.last.tolist() == [0, 2, 2, 5, 5, 5]
    whole = 0.78 + 0.98 + 2.0  # seconds of the three clips
    expected = [0.78, 0.49, 0.49, 2 / 3, 2 / 3, 2 / 3]
    assert_close(bins.usual, torch.tensor(expected, dtype=torch.float64) / whole, atol=1e-7, rtol=0.0)


def test_frame_t_of_a_clip_with_b_bins_lies_in_bin_t_times_b_over_its_frames() -> None:
    library = bare_library([50, 101])
    bins = bins_of(library)
    clip = torch.tensor([0, 0, 1, 1, 1, 1])
    frame = torch.tensor([24, 25, 33, 34, 100, 5000])  # 24·2/50 = 0.96, 25·2/50 = 1; 33·3/101 = 0.98, 34·3/101 = 1.01
    assert bin_at(bins, library, clip, frame / 50.0).tolist() == [0, 1, 2, 3, 4, 4]


def test_failures_and_visits_are_running_means_and_time_limits_are_no_failures() -> None:
    library = bare_library([50, 101])
    bins = bins_of(library)
    cursor = MotionCursor.make(4, clip=[0, 0, 1, 1], time=[0.1, 0.2, 1.0, 1.9])  # type: ignore[attr-defined]
    count_failures(done_of([True, True, False, False], [False, False, False, True]), cursor, library, bins, alpha=0.25)
    assert_close(bins.failures, torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    assert_close(bins.visits, torch.tensor([0.5, 0.0, 0.0, 0.25, 0.25], dtype=torch.float64))
    count_failures(done_of([False, False, True, False]), cursor, library, bins, alpha=0.25)
    assert_close(bins.failures, torch.tensor([0.375, 0.0, 0.0, 0.25, 0.0], dtype=torch.float64))
    assert_close(bins.visits, torch.tensor([0.875, 0.0, 0.0, 0.4375, 0.4375], dtype=torch.float64))


# -- chances -------------------------------------------------------------------------------------------


def test_chances_are_failure_rates_in_shares_above_the_floor() -> None:
    """Three equal bins with rates 0.1, 0.3, 0 and a floor of 0.1: 0.9 · (1/4, 3/4, 0) + 0.1 / 3."""
    bins = filled(bins_of(bare_library([101])), [1.0, 6.0, 0.0], [10.0, 20.0, 5.0])
    expected = torch.tensor([0.225, 0.675, 0.0], dtype=torch.float64) + 0.1 / 3
    assert_close(chances(bins, **PLAIN), expected)


def test_a_failure_makes_earlier_bins_of_its_own_clip_likelier_and_no_other() -> None:
    """A kernel of 1, 0.5, 0.25 over 1.75: the bin itself has 4/7, the one before 2/7, the one before that 1/7."""
    bins = bins_of(bare_library([151, 151]))  # 4 bins each
    own = filled(bins, [0, 0, 0, 1.0, 0, 0, 0, 0], [1.0] * 8)
    found = chances(own, floor=0.5, kernel=3, decay=0.5, prior=0.0)
    # the last bin stands for those past the clip's end: it keeps the whole of its rate
    expected = np.array([0, 1, 3, 7, 0, 0, 0, 0]) / 11 * 0.5 + 0.5 / 8
    assert_close(found, torch.tensor(expected))
    first = filled(bins, [0, 0, 0, 0, 1.0, 0, 0, 0], [1.0] * 8)
    found = chances(first, floor=0.5, kernel=3, decay=0.5, prior=0.0)
    assert_close(found[3], torch.tensor(0.0625, dtype=torch.float64))  # nothing but the floor before the boundary
    assert_close(found[4], torch.tensor(0.5625, dtype=torch.float64))


def test_bins_where_hardly_anybody_was_count_like_the_mean() -> None:
    """Visits 8, 2, 2 with failures 1, 0, 2: R = 1/4; half a mean bin of 4 visits, 2, at that rate is added to each."""
    bins = filled(bins_of(bare_library([101])), [1.0, 0.0, 2.0], [8.0, 2.0, 2.0])
    rates = torch.tensor([1.5 / 10, 0.5 / 4, 2.5 / 4], dtype=torch.float64)
    assert_close(chances(bins, floor=0.2, kernel=1, decay=0.8, prior=0.5), 0.8 * rates / rates.sum() + 0.2 / 3)


def test_chances_equal_those_of_a_loop_over_bins() -> None:
    draw = np.random.default_rng(3)
    library = bare_library([30, 205, 101, 400], [1.0, 0.5, 3.0, 1.0])
    bins = bins_of(library)
    visits = draw.uniform(0.1, 9.0, len(bins.clip))
    failures = visits * draw.uniform(0.0, 1.0, len(visits)) ** 3
    mean, rate_of_all = 0.1 * visits.mean(), failures.sum() / visits.sum()
    rate = (failures + mean * rate_of_all) / (visits + mean)
    seconds, weight, wanted, usual = [0.58, 4.08, 2.0, 7.98], [1.0, 0.5, 3.0, 1.0], [], []
    for clip, count in enumerate([1, 5, 3, 9]):
        first = [0, 1, 6, 9][clip]
        for b in range(count):
            powers = [0.7**i for i in range(4)]
            ahead = [rate[first + min(b + i, count - 1)] for i in range(4)]
            usual.append(weight[clip] * seconds[clip] / count)
            wanted.append(usual[-1] * sum(k * r for k, r in zip(powers, ahead, strict=True)) / sum(powers))
    expected = 0.85 * np.array(wanted) / sum(wanted) + 0.15 * np.array(usual) / sum(usual)
    found = chances(filled(bins, failures, visits), floor=0.15, kernel=4, decay=0.7, prior=0.1)
    assert_close(found, torch.tensor(expected), atol=1e-7, rtol=0.0)


@settings(max_examples=40, deadline=None)
@given(
    frames=st.lists(st.integers(2, 400), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
    rows=st.sampled_from([0.0, 1e-9, 1.0, 1e6]),
    floor=st.floats(0.01, 1.0),
    kernel=st.integers(1, 5),
    prior=st.sampled_from([0.0, 0.1, 3.0]),
)
def test_no_failures_of_any_number_of_rows_take_the_floor_away(
    frames: list[int], seed: int, rows: float, floor: float, kernel: int, prior: float
) -> None:
    draw = np.random.default_rng(seed)
    bins = bins_of(bare_library(frames, draw.uniform(0.1, 5.0, len(frames)).tolist()))
    visits = draw.uniform(0.0, 1.0, len(bins.clip)) * draw.integers(0, 2, len(bins.clip))
    failures = visits * draw.uniform(0.0, 1.0, len(visits)) ** draw.integers(0, 9)
    found = chances(filled(bins, failures * rows, visits * rows), floor=floor, kernel=kernel, decay=0.8, prior=prior)
    assert abs(float(found.sum()) - 1.0) < 1e-9
    assert bool((found >= floor * bins.usual * (1.0 - 1e-9)).all())
    if rows == 1e6:  # the meaning of the numbers does not change with the number of rows
        fewer = chances(filled(bins, failures, visits), floor=floor, kernel=kernel, decay=0.8, prior=prior)
        assert_close(found, fewer, atol=1e-9, rtol=0.0)


def test_without_a_failure_starts_are_uniform() -> None:
    bins = bins_of(bare_library([101, 51], [1.0, 4.0]))
    assert_close(chances(bins, **PLAIN), bins.usual)
    assert_close(chances(filled(bins, [0.0] * 5, [3.0] * 5), **{**PLAIN, "prior": 0.1}), bins.usual)


# -- draws ---------------------------------------------------------------------------------------------


def test_starts_are_drawn_by_the_chances_and_evenly_within_a_bin() -> None:
    library, rows = bare_library([61, 121]), 60_000
    bins = filled(bins_of(library), [0.0, 1.0, 0.0, 0.0, 3.0], [4.0] * 5)
    at, _ = drawn(library, bins, rows, on_frames=True)
    frame = (at.start * 50.0).round().long()
    assert bool((frame <= library.frames[at.clip] - 2).all()) and bool((at.start >= 0.0).all())
    which = bins.first[at.clip] + frame * bins.count[at.clip] // (library.frames[at.clip] - 1)
    found = torch.bincount(which, minlength=5).double() / rows
    assert_close(found, chances(bins, **PLAIN), atol=0.006, rtol=0.0)
    inside = torch.bincount(frame[which == 4], minlength=120)[80:].double()
    assert float(inside.min()) > 0.8 * float(inside.mean()) and float(inside.max()) < 1.2 * float(inside.mean())
    assert_close(at.time, at.start + DT)


def test_without_failures_every_frame_is_as_likely_as_with_uniform_sampling() -> None:
    library, rows = bare_library([11, 101, 31]), 70_000
    at, _ = drawn(library, bins_of(library), rows, on_frames=True)
    other = MotionCursor.make(rows)  # type: ignore[attr-defined]
    draw_motion(done_of([True] * rows), library, torch.Generator().manual_seed(2), other, dt=DT, on_frames=True)
    counts = [
        torch.bincount(library.start[each.clip] + (each.start * 50.0).round().long(), minlength=143)
        for each in (at, other)
    ]
    assert bool(((counts[0] == 0) == (counts[1] == 0)).all())  # all frames but each clip's last
    assert int((counts[0] - counts[1]).abs().max()) < 6 * (2 * 500) ** 0.5


def test_only_ended_rows_begin_anew() -> None:
    library = bare_library([101])
    at = MotionCursor.make(2, clip=0, time=1.5, start=0.7)  # type: ignore[attr-defined]
    stream, numbers = torch.Generator().manual_seed(0), SamplerNumbers.zeros()
    draw_by_failures(done_of([False, True]), library, bins_of(library), stream, at, numbers, dt=DT, on_frames=True)
    assert_close(torch.stack((at.start[0], at.time[0])), torch.tensor([0.7, 1.5]))
    assert float(at.start[1]) != 0.7


def test_numbers_say_how_even_the_chances_are_and_where_the_largest_is() -> None:
    library = bare_library([50, 101])
    even = filled(bins_of(bare_library([101])), [1.0] * 3, [1.0] * 3)
    _, numbers = drawn(bare_library([101]), even, 1)
    assert abs(float(numbers.entropy) - 1.0) < 1e-9 and abs(float(numbers.top_probability) - 1 / 3) < 1e-9
    bins = filled(bins_of(library), [0.0, 0.0, 0.0, 1.0, 0.0], [1.0] * 5)
    _, numbers = drawn(library, bins, 1, floor=0.5)
    likely = 0.5 * np.array([0.49, 0.49, 2 / 3, 2 / 3, 2 / 3]) / 2.98 + np.array(
        [0, 0, 0, 0.5, 0]
    )  # 0.98 s in two, 2 s in three
    assert abs(float(numbers.entropy) + float((likely * np.log(likely)).sum()) / np.log(5)) < 1e-7
    assert abs(float(numbers.top_probability) - likely[3]) < 1e-7
    assert abs(float(numbers.top_bin) - 0.6) < 1e-9 and float(numbers.top_clip) == 1.0
    assert abs(float(numbers.top_second) - 2.0 / 3) < 1e-6
    alone = bare_library([20])
    assert float(drawn(alone, bins_of(alone), 1)[1].entropy) == 1.0


# -- in a scene ----------------------------------------------------------------------------------------


def adaptive(**numbers: Any) -> Simulation:
    """A humanoid that falls, on two clips."""
    usual = {"robot": "humanoid", "clip": "stand,squat", "num_envs": 8, "hidden": (8,), "horizon": 8}
    made = tracking(**{**usual, "sampling": "adaptive", "physics_threads": 1, "randomise": "none", **numbers})
    return build(made.train(), overrides={"tracking.terminate.anchor_height.most": "0.02"})


@pytest.fixture(scope="module")
def trained() -> Simulation:
    """After some iterations in which rows failed."""
    simulation = adaptive()
    simulation.run(65)
    return simulation


def test_failures_are_counted_where_the_reference_is_and_reported(trained: Simulation) -> None:
    bins, numbers = trained.world[ClipBins], report(trained.world, DT)
    assert float(bins.failures.sum()) > 0.0 and bins.clip.tolist() == [0] * 4 + [1] * 5
    assert_close(bins.visits.sum(), torch.tensor(8.0 * (1.0 - 0.999**64), dtype=torch.float64))
    assert {f"sampler/{n}" for n in ("entropy", "top_probability", "top_bin", "top_clip", "top_second")} <= {*numbers}
    assert 0.0 < numbers["sampler/entropy"] <= 1.0 + 1e-9


def test_a_run_that_goes_on_from_a_snapshot_draws_the_same_to_the_bit(trained: Simulation) -> None:
    taken, other = save(trained.world), adaptive()
    restore(other.world, taken)
    assert save(other.world) == taken
    trained.run(16)
    other.run(16)
    assert save(other.world) == save(trained.world)


def test_statistics_of_other_clips_are_left_behind() -> None:
    bins = bins_of(bare_library([101]))
    bins.load({"failures": torch.ones(7), "visits": torch.ones(7)})
    assert float(bins.failures.sum()) == float(bins.visits.sum()) == 0.0
    bins.load({"failures": torch.ones(3), "visits": torch.full((3,), 2.0)})
    assert bins.visits.tolist() == [2.0] * 3


def test_a_policy_that_is_played_begins_with_first_frames_and_counts_no_failures() -> None:
    made = tracking(robot="humanoid", clip="stand", num_envs=2, hidden=(8,), physics_threads=1, sampling="adaptive")
    assert made.evaluate is not None
    playing = made.evaluate.scene()
    assert not any(isinstance(each, ClipBins) for bundle in playing.bundles for each in bundle.resources)
    assert not reaching({"tracking.draw_motion.floor": "0.5"}, made.train(), playing)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tracking.draw_motion.floor=0", "floor=0 is a share; give a number above 0, at most 1"),
        ("tracking.draw_motion.kernel=0", "kernel=0 is a number of bins; give a whole number from 1"),
        ("tracking.draw_motion.prior=-1", "prior=-1 is a share of visits"),
        ("tracking.count_failures.alpha=2", "alpha=2 is a share"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(override: str, message: str) -> None:
    starts = sampling(bare_library([101]), "adaptive", order="weight", dt=DT, on_frames=True)
    address, text = override.split("=")
    _, name, constant = address.split(".")
    (each,) = [s for group in starts.systems.values() for s in group if s.name == name]
    each.constants[constant] = type(each.constants[constant])(text)
    with pytest.raises(SceneError, match=message):
        starts.checks[0](None)


def test_a_decay_without_a_kernel_has_no_effect_and_is_refused() -> None:
    starts = sampling(bare_library([101]), "adaptive", order="weight", dt=DT, on_frames=True)
    ((draw,),) = [group for group in starts.systems.values() if group[0].name == "draw_motion"]
    draw.constants.update(kernel=1, decay=0.5)
    with pytest.raises(SceneError, match=r"decay=0.5 has no effect with a kernel of 1 bin; leave it at 0.8"):
        starts.checks[0](None)


def test_an_unknown_mode_and_clips_in_turn_are_refused() -> None:
    with pytest.raises(SceneError, match=r"cannot begin by sampling 'adaptiv'; .* Did you mean"):
        sampling(bare_library([9]), "adaptiv", order="weight", dt=DT, on_frames=True)
    with pytest.raises(SceneError, match=r"order='cycle' has no effect"):
        sampling(bare_library([9]), "adaptive", order="cycle", dt=DT, on_frames=True)
