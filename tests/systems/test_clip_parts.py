"""A part of a library: what rows play never changes under them, every clip has its turn, and runs resume and rewind."""

import re
from collections import Counter
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from components.episode import Done
from components.motion import ClipBins, MotionCursor, MotionLibrary, MotionReference
from engine import SceneError, Simulation, SnapshotError, build
from engine.inspect.edit import Editor
from engine.ranks.distribution import Distribution
from engine.snapshot.history import Ring
from engine.snapshot.snapshot import Snapshot, restore, save, start_over
from engine.tools.audit import Audit
from scenes.motion_tracking import CONFIGS, experiment
from systems.clip_parts import choose_part, draw_first_part, exchange_clips, part_of
from systems.motion.mapped import mapped_table
from systems.reference import chosen_of, sample_reference
from systems.sampling import bins_of, chances, count_failures
from systems.tick import BEGIN
from tests.helpers import needs_g1

CLIPS = "squat,wave,stand,turn,march,twist"
SMALL = {
    "robot": "humanoid",
    "clip": CLIPS,
    "num_envs": 6,
    "hidden": (8,),
    "horizon": 5,
    "randomise": "none",
    "seconds": 0.6,
}


def run_of(**numbers: Any) -> Simulation:
    """Six rows in episodes of at most 0.6 s, three of six clips at once, of which one is exchanged every 5 ticks."""
    given = {**SMALL, "clips_at_once": 3, "clips_every": 1, **numbers}
    return build(experiment(CONFIGS["laptop"].replace(**given)).train(), seed=2)


@pytest.fixture(scope="module")
def whole() -> MotionLibrary:
    return build(experiment(CONFIGS["laptop"].replace(**SMALL)).train()).world[MotionLibrary]


def part(whole: MotionLibrary, slots: int = 3) -> MotionLibrary:
    made = part_of(whole, slots)
    draw_first_part(torch.Generator().manual_seed(0), made)
    return made


def reference_at(library: MotionLibrary, clip: Tensor, time: Tensor, *, on_frames: bool = False) -> MotionReference:
    """The reference of rows that are there in their clips."""
    axes = {"dof": library.num_dofs, "tracked": library.num_tracked}
    made = MotionReference.make(len(clip), axes)
    sample_reference(MotionCursor.make(len(clip), clip=clip, time=time), library, made, on_frames=on_frames)
    return made


def assert_same_reference(a: MotionReference, b: MotionReference) -> None:
    for name in ("dof_position", "dof_velocity", "body_position", "body_rotation", "body_linear_velocity"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


# -- the tables ----------------------------------------------------------------------------------------


def test_clips_that_are_here_are_sampled_as_from_the_whole_and_others_cannot_be_drawn(whole: MotionLibrary):
    some = part(whole)
    assert some.held is not None
    here = some.held.clips
    assert len(some.vectors) == 3 * int(whole.frames.max()) and len(here.unique()) == 3
    clip, time = here.repeat(4), torch.linspace(0.0, 7.0, 12)
    assert_same_reference(reference_at(some, clip, time), reference_at(whole, clip, time))
    assert some.weight.nonzero().flatten().tolist() == sorted(here.tolist())
    assert_close(some.weight.sum(), torch.tensor(1.0))
    drawn = chosen_of(some.usual, torch.rand(2000, generator=torch.Generator().manual_seed(0)))
    assert sorted(drawn.unique().tolist()) == sorted(here.tolist())
    usual = whole.usual[sorted(here.tolist())]
    counted = torch.tensor([int((drawn == clip).sum()) for clip in sorted(here.tolist())]) / 2000
    assert_close(counted, usual / usual.sum(), atol=0.04, rtol=0.0)


def test_what_is_not_likely_is_not_chosen_by_the_greatest_draw_either():
    highest, rng = torch.tensor([1.0 - 2**-24]), torch.Generator().manual_seed(0)
    for least in [*torch.rand(500, generator=rng).tolist(), 0.25, 0.5, 1.0, 1.0 + 2 ** (-23), 2.0 - 2 ** (-23)]:
        assert chosen_of(torch.tensor([0.0, least, 0.0, 0.0]), highest).tolist() == [1]
    sums = torch.rand(1_000_000, generator=rng) + 1.0  # of all exponents the same
    assert bool((sums * highest < sums).all())


def test_a_slot_is_taken_when_no_row_plays_its_clip_and_not_before(whole: MotionLibrary):
    some = part(whole)
    held = some.held
    assert held is not None
    playing, time = MotionCursor.make(3, clip=held.clips), torch.tensor([0.5, 1.0, 1.5])
    choose_part(playing, torch.Generator().manual_seed(1), some)
    leaving, coming = int(held.clips[0]), int(held.coming[0])
    staying = held.clips[1:].tolist()
    assert held.coming[1:].tolist() == [-1, -1] and coming not in (leaving, *staying)
    assert some.weight.nonzero().flatten().tolist() == sorted(staying)  # whoever starts over does not draw it
    before = held.coming.clone()
    choose_part(playing, torch.Generator().manual_seed(2), some)
    assert torch.equal(held.coming, before)  # nothing more is given away while one waits
    exchange_clips(playing, some)
    assert int(held.clips[0]) == leaving and held.pending
    assert_same_reference(reference_at(some, playing.clip, time), reference_at(whole, playing.clip, time))
    playing.clip[0] = staying[0]
    exchange_clips(playing, some)
    assert int(held.clips[0]) == coming and not held.pending
    assert some.weight.nonzero().flatten().tolist() == sorted([coming, *staying])
    both = torch.tensor([coming, *staying])
    assert_same_reference(reference_at(some, both, time), reference_at(whole, both, time))


def test_before_a_clip_comes_again_all_others_have_come_as_often(whole: MotionLibrary):
    some, rng = part(whole, slots=2), torch.Generator().manual_seed(0)
    held = some.held
    assert held is not None
    for _ in range(30):
        choose_part(MotionCursor.make(1, clip=[int(held.clips[1 - int(held.first)])]), rng, some)
        away = ~held.here
        assert int(held.turns.max() - held.turns[away].min()) <= 2
    assert held.turns.tolist().count(int(held.turns.max())) >= 1 and int(held.turns.sum()) == 2 + 30


def test_the_next_clip_is_one_that_can_be_drawn(whole: MotionLibrary):
    some = part(whole)
    held = some.held
    assert held is not None
    known = sorted(held.clips.tolist())
    for clip in range(6):
        assert int(held.following[clip]) == next((each for each in known if each > clip), known[0])


# -- a run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["uniform", "adaptive"])
def test_no_episode_is_broken_and_no_frame_changes_while_clips_are_exchanged(whole: MotionLibrary, mode: str):
    simulation = run_of(sampling=mode)
    world = simulation.world
    cursor, done, held = world[MotionCursor], world[Done], world[MotionLibrary].held
    assert held is not None
    simulation.run(1)
    seen, exchanges, before = Counter[int](), 0, held.clips.clone()
    for _ in range(250):
        clip, time = cursor.clip.clone(), cursor.time.clone()
        drawable = held.drawable.clone()
        simulation.run(1)
        goes_on = ~done.ended
        assert torch.equal(cursor.clip[goes_on], clip[goes_on])
        assert_close(cursor.time[goes_on], time[goes_on] + 0.02)
        assert torch.equal(done.ended, done.reason.any(-1))  # nobody ends without a reason of its own
        assert bool(drawable[cursor.clip[done.ended]].all())
        assert bool(held.here[cursor.clip].all())
        assert_same_reference(world[MotionReference], reference_at(whole, cursor.clip, cursor.time, on_frames=True))
        seen.update(cursor.clip.tolist())
        exchanges += int((held.clips != before).sum())
        before.copy_(held.clips)
    assert sorted(seen) == [0, 1, 2, 3, 4, 5] and exchanges > 5


def test_the_systems_change_nothing_that_they_do_not_declare():
    simulation = run_of()
    audit = Audit(simulation.schedule)
    simulation.run(60)
    assert [finding.text for finding in audit.findings] == []


def test_a_run_goes_on_to_the_same_bytes_from_a_snapshot_and_when_it_is_rewound():
    simulation, other = run_of(sampling="adaptive"), run_of(sampling="adaptive")
    ring = Ring(simulation, every=7, budget=1 << 27)
    simulation.run(40)
    saved = save(simulation.world)
    early = {name: column.clone() for name, column in simulation.world.columns().items()}
    simulation.run(60)
    late = {name: column.clone() for name, column in simulation.world.columns().items()}
    tables = simulation.world[MotionLibrary].vectors.clone(), simulation.world[MotionLibrary].start.clone()
    restore(other.world, saved)
    other.run(60)
    ring.seek(39)
    for name, column in early.items():
        assert torch.equal(column, simulation.world.columns()[name]), name
    ring.branch()
    simulation.run(60)
    for world in (other.world, simulation.world):
        for name, column in late.items():
            assert torch.equal(column, world.columns()[name]), name
        library = world[MotionLibrary]
        held, room = library.held, int(library.frames.max())
        assert held is not None and torch.equal(library.start, tables[1])
        for slot, clip in enumerate(held.clips.tolist()):  # after a short clip, rests of longer ones may lie
            frames = slice(slot * room, slot * room + int(library.frames[clip]))
            assert torch.equal(library.vectors[frames], tables[0][frames])


def test_a_run_of_another_number_of_clips_is_refused(whole: MotionLibrary):
    saved = save(run_of().world)
    with pytest.raises(SnapshotError, match="the saved run held 3 clips at once, and this one is to hold 4"):
        restore(run_of(clips_at_once=4).world, saved)
    everything = build(experiment(CONFIGS["laptop"].replace(**SMALL)).train(), seed=2)
    for world, taken in ((everything.world, saved), (run_of().world, save(everything.world))):
        with pytest.raises(SnapshotError, match=r"belongs to another world: streams.*tracking\.choose_part"):
            restore(world, taken)


def test_a_run_of_another_number_of_clips_in_all_is_refused():
    saved = save(run_of().world)
    other = run_of(clip="squat,wave,stand,turn")
    sentence = (
        "MotionLibrary: the saved run had 6 clips, of which it held 3 at once, and this one has 4. Rows are in the middle of clips that "
        "are known by number; go on with the clips that it began with."
    )
    with pytest.raises(SnapshotError, match=re.escape(sentence)):
        restore(other.world, saved, any_identity=True)


def test_a_run_that_goes_on_with_other_rows_holds_what_it_held():
    simulation, other = run_of(), run_of(num_envs=4)
    simulation.run(33)
    held, there = simulation.world[MotionLibrary].held, other.world[MotionLibrary].held
    assert held is not None and there is not None
    before = held.clips.tolist(), held.turns.tolist()
    start_over(other.world, Snapshot.decode(save(simulation.world)), 33)
    for entry in other.schedule.plan(begun=False):
        if entry.phase == BEGIN:
            entry.call()
    assert (there.clips.tolist(), there.turns.tolist()) == before


def test_the_first_clips_follow_from_the_seed_and_each_is_among_them_as_often():
    counts = torch.zeros(6)
    simulation = run_of()
    held = simulation.world[MotionLibrary].held
    assert held is not None
    for seed in range(600):
        held.turns.zero_()
        draw_first_part(torch.Generator().manual_seed(seed), simulation.world[MotionLibrary])
        assert len(held.clips.unique()) == 3 and sorted(held.turns.tolist()) == [0, 0, 0, 1, 1, 1]
        counts[held.clips] += 1
    assert_close(counts, torch.full((6,), 300.0), atol=50.0, rtol=0.0)  # 4 standard deviations of 12.2
    simulation, other = run_of(), run_of()
    simulation.run(1), other.run(1)
    first, second = simulation.world[MotionLibrary].held, other.world[MotionLibrary].held
    assert first is not None and second is not None and torch.equal(first.clips, second.clips)


def test_scenes_of_one_experiment_hold_clips_of_their_own():
    made = experiment(CONFIGS["laptop"].replace(**{**SMALL, "clips_at_once": 3, "clips_every": 1}))
    simulation, other = build(made.train(), seed=2), build(made.train(), seed=2)
    held = other.world[MotionLibrary].held
    assert held is not None
    before = held.clips.clone(), other.world[MotionLibrary].vectors.clone(), other.world[MotionLibrary].start.clone()
    simulation.run(60)
    library = other.world[MotionLibrary]
    for then, now in zip(before, (held.clips, library.vectors, library.start), strict=True):
        assert torch.equal(then, now)
    other.run(60)
    for name, column in simulation.world.columns().items():
        assert torch.equal(column, other.world.columns()[name]), name


@needs_g1
@pytest.mark.parametrize(
    ("name", "observations"),
    [
        ("laptop", "mjlab_tracking,phase_embedding"),
        ("humanoidverse_tracking", ""),
        ("humanoidverse_tracking_laptop", ""),
    ],
)
def test_tasks_whose_terms_look_into_the_library_hold_some_of_the_clips(name: str, observations: str):
    numbers = {"clip": "squat,stand,wave", "num_envs": 4, "hidden": (8,), "horizon": 5, "seconds": 0.2}
    config = CONFIGS[name].replace(**numbers, clips_at_once=2, clips_every=1)
    simulation = build(experiment(config.replace(observations=observations or config.observations)).train())
    simulation.run(40)
    held = simulation.world[MotionLibrary].held
    assert held is not None and int(held.turns.min()) > 0


def test_what_is_held_goes_to_the_device_of_the_tables(whole: MotionLibrary):
    some = part_of(whole, 3)
    moved = {name: getattr(some, name).to("meta") for name in ("start", "frames", "seconds", "weight")}
    there = attrs.evolve(some, **moved)  # as a build for another device does
    assert there.held is not None
    assert {each.device.type for each in (there.held.drawable, there.held.here, there.held.following)} == {"meta"}
    assert there.held.clips.device.type == "cpu" and whole.start.device.type == "cpu"


def test_cutting_rows_into_blocks_exchanges_clips_all_the_same():
    simulation = run_of(num_envs=64)
    Distribution(simulation, 32)
    simulation.run(80)
    held = simulation.world[MotionLibrary].held
    assert held is not None and int(held.turns.sum()) > 3


def test_a_row_that_is_asked_to_goes_on_with_a_clip_that_is_here():
    simulation = run_of()
    simulation.run(23)
    held, cursor = simulation.world[MotionLibrary].held, simulation.world[MotionCursor]
    assert held is not None
    expected = int(held.following[cursor.clip[4]])
    Editor(simulation).set_column("robot.NextClip.asked", [4], torch.ones(1, dtype=torch.bool).numpy())
    simulation.run(1)
    assert int(cursor.clip[4]) == expected and float(cursor.start[4]) == 0.0


# -- adaptive sampling ---------------------------------------------------------------------------------


def test_failures_of_a_clip_that_is_away_are_kept_until_it_is_back(whole: MotionLibrary):
    some, bins = part(whole), bins_of(whole)
    held = some.held
    assert held is not None
    bins.failures.copy_(torch.arange(len(bins.clip)) * 0.01)
    bins.visits.fill_(1.0)
    before = bins.failures.clone()
    done = Done.make(1, {"termination": 1}, terminated=[True])
    cursor = MotionCursor.make(1, clip=[int(held.clips[0])], time=[0.0])
    count_failures(done, cursor, some, bins, alpha=0.5)
    away = ~held.here[bins.clip]
    assert torch.equal(bins.failures[away], before[away])
    first = int(bins.first[held.clips[0]])
    assert float(bins.failures[first]) == pytest.approx(0.5 + 0.5 * float(before[first]))
    assert float(bins.failures[first + 1]) == pytest.approx(0.5 * float(before[first + 1]))


def test_chances_among_some_bins_are_those_of_a_library_of_their_clips_alone(whole: MotionLibrary):
    some = part(whole)
    held = some.held
    assert held is not None
    bins, among = bins_of(whole), held.drawable[bins_of(whole).clip]
    rng = torch.Generator().manual_seed(4)
    bins.failures.copy_(torch.rand(len(among), generator=rng, dtype=torch.float64))
    bins.visits.copy_(torch.rand(len(among), generator=rng, dtype=torch.float64) + 1.0)
    numbers = {"floor": 0.1, "kernel": 3, "decay": 0.8, "prior": 0.1}
    found = chances(bins, **numbers, among=among)
    assert not bool(found[~among].any())
    place = among.cumsum(0) - 1
    usual = bins.usual[among] / bins.usual[among].sum()
    alone = ClipBins(
        clip=bins.clip[among], within=bins.within[among], last=place[bins.last[among]], usual=usual, first=bins.first, count=bins.count,
        failures=bins.failures[among], visits=bins.visits[among],
    )  # fmt: skip
    assert_close(found[among], chances(alone, **numbers))


# -- what is accepted ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (
            {"clips_at_once": 1},
            "clips_at_once=1 makes no sense: while one leaves there is none to play. Give at least 2, or 0",
        ),
        ({"clips_at_once": -3}, "clips_at_once=-3 makes no sense"),
        ({"clips_at_once": 2, "clips_every": 0}, "clips_every=0 makes no sense; give at least 1 iteration."),
        (
            {"clips_at_once": 2, "learner": "auto"},
            "clips_at_once=2 is not for --learner auto, which goes back to moments",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_refused(numbers: dict[str, Any], sentence: str):
    with pytest.raises(SceneError, match=re.escape(sentence)):
        CONFIGS["laptop"].replace(**numbers)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (
            {"clips_at_once": 6},
            "clips_at_once=6 has no effect on a library of 6 clips, which are held all at once. Hold all, --clips-at-once 0, or name more",
        ),
        (
            {"clips_at_once": 3, "clip": "squat"},
            "clips_at_once=3 has no effect on a library of 1 clip, which is held anyway. Hold all, --clips-at-once 0, or name more clips.",
        ),
        (
            {"clips_every": 7},
            "clips_every=7 has no effect where all clips are held; leave it at 100, or say how many are: --clips-at-once 64.",
        ),
    ],
)
def test_numbers_without_effect_are_refused_where_rows_learn_and_not_where_they_are_played(
    numbers: dict[str, Any], sentence: str
):
    made = experiment(CONFIGS["laptop"].replace(**{**SMALL, **numbers}))
    scene = made.train()  # is made for an evaluation, too, and not built
    with pytest.raises(SceneError, match=re.escape(sentence)):
        build(scene)
    assert made.evaluate is not None and build(made.evaluate.scene()).world[MotionLibrary].held is None


def test_a_policy_is_evaluated_on_all_clips_and_the_memory_is_stated():
    made = experiment(CONFIGS["laptop"].replace(**{**SMALL, "clips_at_once": 2}))
    assert made.evaluate is not None
    playing = build(made.evaluate.scene())
    library = playing.world[MotionLibrary]
    assert library.held is None and len(library.names) == 6
    playing.run(1)
    assert playing.world[MotionCursor].clip[:6].tolist() == [0, 1, 2, 3, 4, 5]
    frames, longest = len(library.vectors), int(library.frames.max())
    each = 4 * (library.vectors.shape[1] + 4 * library.rotations.shape[1])
    assert made.facts["clips"] == (
        f"6 clips, {frames:,} frames at 50 per second: {frames * each / 2**20:.1f} MiB in a file; 2 at once, of up to {longest:,} "
        f"frames: {2 * longest * each / 2**20:.1f} MiB of memory"
    )
    plain = experiment(CONFIGS["laptop"].replace(**SMALL))
    assert plain.facts["clips"].endswith(f"per second: {frames * each / 2**20:.1f} MiB of memory")
    assert plain.sources == made.sources  # the same frames, wherever they are kept


def test_tables_in_files_are_written_and_read_and_leave_no_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = mapped_table(3, 4)
    table.copy_(torch.arange(12.0).view(3, 4))
    assert table[1].tolist() == [4.0, 5.0, 6.0, 7.0] and not [*tmp_path.iterdir()]
    assert mapped_table(0, 4).shape == (0, 4)

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(
        SceneError, match=r"8 MiB of clips cannot be kept in .* \(No space left on device\). Name a folder"
    ):
        mapped_table(2**21, 1)
