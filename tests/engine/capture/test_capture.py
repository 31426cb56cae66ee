"""Capture: which systems are recorded together, that a replay gives the bytes of the systems, and what is left alone and why."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from engine import Bundle, Rng, SceneError, Simulation, World, Write, build, constant, every, resource, system
from engine.capture.capture import Capture, capture_for, refuse_capture
from engine.capture.cpu_recorder import CpuRecorder, HostReadError
from engine.capture.cuda_graphs import CudaGraphs
from engine.capture.launches import Streams, Work, capturing, launch
from engine.capture.segments import always, segments
from engine.ecs.condition import Every
from engine.ecs.schedule import Entry, Observer
from engine.ecs.world import Clock
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from tests.engine.toy import Age, Distance, Place, Seen, Wind, move, toy, toy_systems


def made(*functions: Callable[..., None], **options: Any) -> Simulation:
    """The toy with these systems at the end of OBSERVE; masks decide nothing."""
    systems = toy_systems()
    systems["OBSERVE"] += [system(function, **options) for function in functions]
    simulation = build(toy(systems, repeat=2), seed=5)
    always(simulation.schedule)
    return simulation


@contextmanager
def captured(simulation: Simulation, **options: Any) -> Iterator[Capture]:
    """The simulation with a recorder."""
    capture = Capture(simulation, CpuRecorder(**options), say=lambda sentence: None)
    with capture.attached():
        yield capture


def both(*functions: Callable[..., None], ticks: int = 20, recorder: Any = None, **options: Any) -> Capture:
    """Run the toy with and without a recorder; all of the world has the same bytes in the end."""
    plain, other = made(*functions, **options), made(*functions, **options)
    plain.run(ticks)
    with captured(other, **(recorder or {})) as capture:
        other.run(ticks)
    assert save(plain.world) == save(other.world)
    return capture


def by_name(plan: list[Entry], names: set[str]) -> set[int]:
    """The ids of entries with these names."""
    return {id(entry) for entry in plan if entry.name in names}


def names_of(parts: list[Any]) -> list[Any]:
    """Entries and segments by the names of their systems."""
    return [[e.name for e in part] if isinstance(part, tuple) else part.name for part in parts]


def test_systems_between_those_that_are_called_form_a_segment() -> None:
    plan = made().schedule.plan()
    names = ["move", "move", "measure", "finish", "restart", "measure", "look"]
    assert names_of(segments(plan, set())) == [names]
    assert names_of(segments(plan, by_name(plan, {"finish"}))) == [names[:3], "finish", names[4:]]
    assert names_of(segments(plan, by_name(plan, {"finish"}), cut=5)) == [names[:3], "finish", ["restart"], names[5:]]
    assert names_of(segments(plan, by_name(plan, {"move", "look"}))) == ["move", "move", names[2:6], "look"]


def test_a_replayed_tick_has_the_bytes_of_a_called_one_and_is_one_launch() -> None:
    capture = both(ticks=30)
    assert capture.sentences == []
    assert capture.described() == ["`move` (MOVE) to `look` (OBSERVE): 7 systems, 1 launches"]
    # the first tick enters at RESET; ticks 1 and 2 are compared; 3 to 29 are replayed
    assert capture.report() == {"capture/eager_ticks": 2, "capture/launches": 1.0, "capture/eager_systems": 0.0}
    assert capture.report() == {"capture/eager_ticks": 0}


def drift(rng: Rng, place: Write[Place]) -> None:
    """A random push, every third tick."""
    place.x.add_(torch.rand(place.x.shape, generator=rng))


def test_systems_that_run_every_few_ticks_are_recorded_with_those_of_their_tick() -> None:
    capture = both(drift, when=every(3), ticks=30)
    assert capture.sentences == [] and len(capture.captured) == 2
    assert [len(each.entries) for each in capture.captured.values()] == [7, 8]


def item(place: Place, age: Write[Age]) -> None:
    """Ask the device for a number."""
    if place.x.sum().item() > 1e9:
        age.moves.zero_()


def copied(place: Place, age: Write[Age]) -> None:
    """Copy to the host."""
    age.moves.add_(int(place.x.numpy().sum()) * 0)


def masked(distance: Distance, age: Write[Age]) -> None:
    """Write where a mask says, by an index."""
    age.moves[distance.value > 1e9] = 0


def built(age: Write[Age]) -> None:
    """Make a tensor of numbers of the host."""
    age.moves.add_(torch.tensor([0, 0, 0, 0]))


def timed(clock: Clock, age: Write[Age]) -> None:
    """Use the number of the tick."""
    age.moves.add_(clock.tick)


def gusting(wind: Write[Wind]) -> None:
    """Count on the host."""
    wind.gusts += 1


def replacing(wind: Write[Wind]) -> None:
    """Put another tensor where one was."""
    wind.push = wind.push + 0.0
    wind.push.add_(0.0)


class Meter:
    """An object that counts, and keeps an array of numpy."""

    def __init__(self) -> None:
        self.turns = 0
        self.array = np.zeros(4)


@resource
class Gauge:
    """What a library of somebody else keeps."""

    meter: Meter = constant(factory=Meter)


def turning(gauge: Write[Gauge], age: Write[Age]) -> None:
    """Every hundredth time do something else."""
    gauge.meter.turns += 1
    if gauge.meter.turns % 100 == 0:
        age.moves.zero_()


def storing(gauge: Write[Gauge], age: Write[Age]) -> None:
    """Keep something in an array of the host."""
    gauge.meter.array += 1.0
    age.moves.add_(1)


COUNT = {"calls": 0}


def growing(age: Write[Age]) -> None:
    """Do more in every run."""
    COUNT["calls"] += 1
    for _ in range(COUNT["calls"]):
        age.moves.add_(0)


def counting(age: Write[Age]) -> None:
    """Use a number that the host counts, but not in the world."""
    COUNT["calls"] += 1
    age.moves.add_(COUNT["calls"] * 0 + COUNT["calls"])


READS = "it reads the device"
OBSTACLES = [
    (item, f"{READS} (local_scalar_dense). Use masks", 1),
    (copied, f"{READS} (numpy). Use masks", 1),
    (masked, f"{READS} (index with a mask, torch.tensor of numbers of the host). Use masks", 1),
    (built, f"{READS} (torch.tensor of numbers of the host). Make it once and keep it.", 1),
    (timed, "it asks the clock for `tick`, a number of the host that a replay would not renew. Compute with", 1),
    (gusting, "it changes Wind.gusts on the host. Keep that in a tensor.", None),
    (counting, "aten.add_.Tensor takes a number of the host that changes from run to run (5, then 6). Keep that in", 5),
    (growing, "its operations differ from run to run. Do the same ones for all rows in every tick", 5),
]


@pytest.mark.parametrize(("function", "why", "runs"), OBSTACLES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_be_replayed_is_named_with_the_reason_and_the_cure(
    function: Callable[..., None], why: str, runs: int | None
) -> None:
    COUNT["calls"] = 0
    simulation = made(function)
    with captured(simulation) as capture:
        simulation.run(20)
    first = capture.sentences[0]
    assert first.startswith(f"`{function.__name__}` (OBSERVE) is called, not replayed: ")
    assert why in first
    if runs is not None:  # the others are replayed
        assert len(capture.sentences) == 1
        assert capture.report()["capture/eager_systems"] == 1.0
        assert capture.described() == ["`move` (MOVE) to `look` (OBSERVE): 7 systems, 1 launches"]


@pytest.mark.parametrize(("function", "name"), [(turning, "turns"), (storing, "array")], ids=["turning", "storing"])
def test_what_an_object_keeps_on_the_host_is_found(function: Callable[..., None], name: str) -> None:
    systems = toy_systems()
    systems["OBSERVE"].append(system(function))
    simulation = build(toy(systems, Bundle("gauge", resources=[Gauge()])), seed=5)
    with captured(simulation) as capture:
        simulation.run(20)
    assert capture.sentences == [
        f"`{function.__name__}` (OBSERVE) is called, not replayed: it uses Gauge.meter.{name}, which changes on the host from run "
        "to run. Keep that in a tensor."
    ]
    assert simulation.world[Gauge].meter.turns + simulation.world[Gauge].meter.array[0] == 20


@pytest.mark.parametrize("function", [item, copied, masked, built, timed], ids=lambda f: f.__name__)
def test_a_tick_around_what_is_called_has_the_same_bytes(function: Callable[..., None]) -> None:
    both(function)


def test_what_its_declaration_says_is_never_recorded() -> None:
    def called(function: Callable[..., None], **options: Any) -> str:
        with captured(made(function, **options)) as capture:
            return capture.sentences[0]

    assert "not replayed: it asks a friend. Once it needs nothing of the host," in called(
        drift, may_sync="it asks a friend"
    )
    assert "not replayed: it takes the world, which is on the host." in called(look_around)
    why = "not replayed: its condition every(3) is asked on the host, in its place."
    assert why in called(drift, when=Calm(3))


def look_around(world: World) -> None:
    """See everything."""


class Calm(Every):
    """A condition of somebody's own."""

    def holds(self, world: World) -> bool:
        """True while there is no gust."""
        return super().holds(world) and world.resource(Wind).gusts == 0


def test_a_condition_of_somebodys_own_is_asked_in_its_place() -> None:
    both(drift, when=Calm(3))


def test_memory_that_is_replaced_is_named() -> None:
    capture = both(replacing)
    cure = "Write into the tensor that is there, with copy_ or out=."
    assert capture.sentences == [
        f"`replacing` (OBSERVE) is called, not replayed: it puts something else in the place of Wind.push. {cure}",
        f"`move` (MOVE) is called, not replayed: Wind.push is another one time and again. {cure}",
    ]


@cache
def kept(device: torch.device) -> torch.Tensor:
    """Numbers that are copied to a device once."""
    return torch.tensor([1.0, 2.0], device=device)


def using(place: Write[Place]) -> None:
    """Use what is kept."""
    place.x.add_(kept(place.x.device))


def test_a_system_that_makes_a_tensor_in_its_first_run_and_keeps_it_is_replayed() -> None:
    kept.cache_clear()
    simulation = made(using)
    with captured(simulation) as capture:
        simulation.run(20)
    assert capture.sentences == [] and [len(each.entries) for each in capture.captured.values()] == [8]
    assert kept.cache_info().misses == 1


def hosted(place: Write[Place]) -> None:
    """Work on the host that changes nothing."""
    place.x.add_(0.0 * float(place.x.sum()))


def test_a_segment_that_comes_first_and_again_later_counts_the_tick_once() -> None:
    ends = []
    for recorded in (False, True):
        systems = toy_systems()
        systems["MOVE"] = [system(move), system(hosted, may_sync="it is on the host")]
        systems["OBSERVE"].append(system(stamp))
        simulation = build(toy(systems, repeat=2), seed=5)
        always(simulation.schedule)
        if not recorded:
            simulation.run(20)
        else:
            with captured(simulation) as capture:
                simulation.run(20)
            assert [(each.counts, len(each.entries)) for each in capture.captured.values()] == [
                (True, 1),
                (False, 1),
                (False, 6),
            ]
        assert simulation.world[Age].moves.tolist() == [19] * 4
        ends.append(save(simulation.world))
    assert ends[0] == ends[1]


# -- what changes on the host while systems are replayed -------------------------------------------


@resource
class Held:
    """Whatever may be kept on the host."""

    pair: tuple[float, float] = (1.0, 2.0)
    array: np.ndarray = constant(factory=lambda: np.ones(2))
    many: dict[str, float] = constant(factory=lambda: {"a": 1.0})
    listed: list[float] = constant(factory=lambda: [1.0])
    meter: Meter = constant(factory=Meter)
    best: float = math.nan


def of_pair(held: Held, place: Write[Place]) -> None:
    """Use a tuple."""
    place.x.add_(held.pair[0])


def of_array(held: Held, place: Write[Place]) -> None:
    """Use an array."""
    place.x.add_(float(held.array[0]))


def of_dict(held: Held, place: Write[Place]) -> None:
    """Use a dict."""
    place.x.add_(held.many["a"])


def of_list(held: Held, place: Write[Place]) -> None:
    """Use a list."""
    place.x.add_(held.listed[0])


def of_object(held: Held, place: Write[Place]) -> None:
    """Use a number in an object."""
    place.x.add_(held.meter.turns)


def of_wind(wind: Wind, place: Write[Place]) -> None:
    """Use a tensor."""
    place.x.add_(wind.push)


def change(world: World) -> None:
    """Change all of them."""
    held = world[Held]
    held.pair = (held.pair[0] + 1.0, 2.0)
    held.array += 1.0
    held.many["a"] += 1.0
    held.listed[0] += 1.0
    held.meter.turns += 1
    world[Wind].push = world[Wind].push * 2.0


def changing(held: Write[Held], wind: Write[Wind]) -> None:
    """Change all of them, in a system."""
    held.pair = (held.pair[0] + 1.0, 2.0)
    held.array += 1.0
    held.many["a"] += 1.0
    held.listed[0] += 1.0
    held.meter.turns += 1
    wind.push = wind.push * 2.0


USERS = [of_pair, of_array, of_dict, of_list, of_object, of_wind]


@pytest.mark.parametrize("function", USERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("who", ["host", "system"])
def test_what_changes_on_the_host_now_and_then_is_recorded_anew(function: Callable[..., None], who: str) -> None:
    def run(simulation: Simulation) -> None:
        for tick in range(40):
            if who == "host" and tick in (12, 27):
                change(simulation.world)
            simulation.run()

    ends = []
    for recorded in (False, True):
        systems = toy_systems()
        if who == "system":
            systems["OBSERVE"].append(system(changing, when=every(13), may_sync="a curriculum on the host"))
        systems["OBSERVE"].append(system(function))  # which uses it in the same tick
        simulation = build(toy(systems, Bundle("held", resources=[Held()])), seed=5)
        always(simulation.schedule)
        if not recorded:
            run(simulation)
        else:
            with captured(simulation) as capture:
                run(simulation)
            found = capture.report()
            assert found["capture/eager_ticks"] < 20 and found["capture/eager_systems"] < 0.5
            assert [each for each in capture.sentences if "a curriculum" not in each] == []
        ends.append(save(simulation.world))
    assert ends[0] == ends[1]


def of_best(held: Held, place: Write[Place]) -> None:
    """Use a number that nobody knows yet."""
    place.x.add_(1.0 if math.isnan(held.best) else held.best)


def test_a_number_that_is_nan_all_the_time_has_not_changed() -> None:
    systems = toy_systems()
    systems["OBSERVE"].append(system(of_best))
    simulation = build(toy(systems, Bundle("held", resources=[Held()])), seed=5)
    with captured(simulation) as capture:
        simulation.run(20)
    assert capture.sentences == [] and capture.report()["capture/eager_ticks"] == 2


def test_a_recording_that_is_given_up_keeps_only_its_seconds() -> None:
    simulation = made(gusty)
    with captured(simulation) as capture:
        simulation.run(8)
        (old,) = capture.captured.values()
        seconds = old.stands_in.seconds
        simulation.world[Wind].gusts = 3
        simulation.run(8)
    assert old not in capture.captured.values() and old.launches is None and old.values == [] and old.written == []
    assert old.stands_in in capture.stand_ins and old.stands_in.seconds == seconds > 0.0


# -- recordings that fail ----------------------------------------------------------------------------


def late(place: Place, age: Write[Age]) -> None:
    """Do nothing of the kind until it has been compared."""
    COUNT["calls"] += 1
    if COUNT["calls"] == 4:
        place.x.sum().item()
    age.moves.add_(1)


def test_a_recording_that_fails_has_had_no_effect_and_names_the_system() -> None:
    def calls(simulation: Simulation) -> None:
        COUNT["calls"] = 0
        simulation.run(20)

    plain, other = made(late), made(late)
    calls(plain)
    with captured(other) as capture:
        calls(other)
    assert save(plain.world) == save(other.world)
    assert capture.sentences == [
        "`late` (OBSERVE) is called, not replayed: it reads the device (local_scalar_dense). Where that is none of its doing, "
        "--capture off calls all systems."
    ]
    assert capture.report()["capture/eager_systems"] > 0.9


class Watched(CpuRecorder):
    """A recorder that counts; a GPU without memory `fails` before anything runs."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.fails, self.count = fails, 0

    def record(self, run: Callable[[], None], streams: Streams) -> list[Work]:
        """Count, and fail."""
        self.count += 1
        if self.fails:
            raise RuntimeError("out of memory\nand more")
        return super().record(run, streams)


def test_where_no_recording_can_begin_one_sentence_says_so_and_nobody_tries_again() -> None:
    plain, other = made(), made()
    plain.run(20)
    capture = Capture(other, recorder := Watched(fails=True), say=lambda sentence: None)
    with capture.attached():
        other.run(20)
    assert save(plain.world) == save(other.world) and recorder.count == 1
    assert capture.sentences == [
        "No recording can begin: out of memory. Systems are called from now on, as --capture off says."
    ]


def test_after_a_recording_that_failed_all_are_recorded_anew() -> None:
    COUNT["calls"] = 0
    simulation = made(late)
    simulation.schedule.tick = type(simulation.schedule.tick)(
        ("MOVE", "SENSE", "RESET", "REFRESH", "OBSERVE"), ("MOVE",), entry="RESET", finished="SENSE"
    )
    simulation.schedule.attach(Observer(at_finish=lambda: None))
    capture = Capture(simulation, recorder := Watched(), say=lambda sentence: None)
    with capture.attached():
        simulation.run(4)
        assert recorder.count == 2 and not capture.captured  # the first of the tick has succeeded
        simulation.run(6)
    assert recorder.count == 4 and [len(each.entries) for each in capture.captured.values()] == [4, 3]


def test_recording_changes_neither_memory_nor_random_streams() -> None:
    stream, x = torch.Generator().manual_seed(1), torch.zeros(3)
    before = stream.get_state()

    def run() -> None:
        x.add_(torch.rand(3, generator=stream))

    parts = CpuRecorder().record(run, [[stream]])
    assert torch.equal(x, torch.zeros(3)) and torch.equal(stream.get_state(), before)
    for part in parts * 2:
        part()
    again = torch.Generator().manual_seed(1)
    assert torch.equal(x, torch.rand(3, generator=again) + torch.rand(3, generator=again))


def test_a_stream_that_is_not_registered_with_its_part_is_refused() -> None:
    early, late, x = torch.Generator(), torch.Generator(), torch.zeros(3)

    def run() -> None:
        x.add_(torch.rand(3, generator=early))
        launch(lambda: None)
        x.add_(torch.rand(3, generator=late))

    assert len(CpuRecorder().record(run, [[early], [late]])) == 3
    assert len(CpuRecorder(whole=True).record(run, [[early], [late]])) == 1
    with pytest.raises(RuntimeError, match="it draws from a random stream that is not registered with the graph"):
        CpuRecorder().record(run, [[early, late], []])


def test_a_recorder_refuses_what_waits_for_the_device() -> None:
    x = torch.zeros(3)
    with pytest.raises(HostReadError, match=r"it reads the device \(nonzero\)"):
        CpuRecorder().record(lambda: x.add_(1).nonzero(), [[]])
    assert torch.equal(x, torch.zeros(3))


# -- what happens around ticks ---------------------------------------------------------------------


def test_what_is_written_between_ticks_is_seen_by_a_tick_of_calls() -> None:
    plain, other = made(), made()
    with captured(other) as capture:
        for _ in range(3):
            for each in (plain, other):
                each.run(6)
                each.world[Place].x.add_(0.25)
        assert capture.report()["capture/eager_ticks"] == 2 + 2  # warming up, and after the first two writes
    assert save(plain.world) == save(other.world)


def test_a_number_that_the_host_changes_is_recorded_anew() -> None:
    plain, other = made(gusty), made(gusty)
    with captured(other) as capture:
        for gusts in (1, 2, 3):
            for each in (plain, other):
                each.world[Wind].gusts = gusts
                each.run(15)
    assert save(plain.world) == save(other.world) and capture.sentences == []
    assert capture.report()["capture/eager_ticks"] == 3 * 2


def gusty(wind: Wind, place: Write[Place]) -> None:
    """Use a number of the host."""
    place.x.add_(0.01 * wind.gusts)


def test_who_uses_a_number_that_changes_in_every_tick_is_called_and_the_others_are_replayed() -> None:
    plain, other = made(gusty), made(gusty)
    with captured(other) as capture:
        for tick in range(20):
            for each in (plain, other):
                each.world[Wind].gusts = tick
                each.run()
    assert save(plain.world) == save(other.world)
    end = "is called, not replayed: Wind.gusts changes on the host time and again. Keep that in a tensor."
    assert capture.sentences == [f"`move` (MOVE) {end}", f"`gusty` (OBSERVE) {end}"]
    assert capture.described() == ["`measure` (SENSE) to `look` (OBSERVE): 5 systems, 1 launches"]


def test_a_constant_that_is_edited_is_recorded_anew() -> None:
    plain, other = made(), made()
    with captured(other):
        for each in (plain, other):
            each.run(10)
            each.constants.edit("toy.move.step", "0.7")
            each.run(10)
    assert save(plain.world) == save(other.world)


def test_a_captured_run_goes_on_from_a_snapshot_to_the_same_bytes() -> None:
    whole = made()
    with captured(whole):
        whole.run(12)
        kept = save(whole.world)
        whole.run(12)
    other = made()
    with captured(other) as capture:
        other.run(8)
        restore(other.world, kept)
        other.run(12)
    assert save(other.world) == save(whole.world)
    assert capture.report()["capture/eager_ticks"] == 2 + 1  # the one after the snapshot was put back


def test_who_looks_between_systems_sees_every_one_of_them() -> None:
    seen: list[str] = []
    observer = Observer(after_entry=lambda entry: seen.append(entry.name))
    simulation = made()
    with captured(simulation) as capture:
        simulation.run(5)
        simulation.schedule.attach(observer)
        simulation.run(2)
        simulation.schedule.detach(observer)
        simulation.run(3)
    assert seen == ["move", "move", "measure", "finish", "restart", "measure", "look"] * 2
    assert capture.sentences == [
        "Ticks in which a debugger stops or looks between systems are not replayed; let it run on."
    ]
    assert capture.report()["capture/eager_ticks"] == 2 + 2


def test_an_audit_calls_every_system() -> None:
    simulation = made()
    with captured(simulation) as capture:
        audit = Audit(simulation.schedule)
        simulation.run(5)
        audit.detach()
    assert capture.sentences[0].startswith("Every system is called by itself, none is replayed: --row-blocks, --audit")
    assert audit.findings == []


def test_who_looks_at_finished_rows_looks_between_two_launches() -> None:
    seen = []
    simulation = made()
    simulation.schedule.tick = type(simulation.schedule.tick)(
        ("MOVE", "SENSE", "RESET", "REFRESH", "OBSERVE"), ("MOVE",), entry="RESET", finished="SENSE"
    )
    simulation.schedule.attach(Observer(at_finish=lambda: seen.append(simulation.world[Distance].value.clone())))
    with captured(simulation) as capture:
        simulation.run(6)
    assert capture.report()["capture/launches"] == 2.0 and len(seen) == 5
    assert [len(each.entries) for each in capture.captured.values()] == [4, 3]


# -- other libraries -------------------------------------------------------------------------------


def outside(place: Place, age: Write[Age]) -> None:
    """Let numpy write in the middle."""
    place.x.clamp_(-3.0, 3.0)
    launch(lambda: age.moves.numpy().__iadd__(7))
    age.moves.mul_(2).remainder_(1000)


def joining(place: Place, age: Write[Age]) -> None:
    """Let numpy write in the middle, inside a graph."""
    launch(lambda: age.moves.numpy().__iadd__(7), joins=True)
    age.moves.mul_(2).remainder_(1000)


@pytest.mark.parametrize(
    ("function", "whole", "launches"), [(outside, False, 3.0), (outside, True, 1.0), (joining, False, 1.0)]
)
def test_work_of_another_library_comes_in_its_place(
    function: Callable[..., None], whole: bool, launches: float
) -> None:
    capture = both(function, recorder={"whole": whole})
    assert capture.report()["capture/launches"] == launches and capture.sentences == []


def test_nothing_is_recorded_unless_somebody_does() -> None:
    seen: list[bool] = []
    launch(lambda: seen.append(capturing()))
    assert seen == [False]


# -- the clock, and terms --------------------------------------------------------------------------


def test_the_tick_on_the_device_is_that_of_the_host_whoever_set_it() -> None:
    clock = Clock(tick=4)
    assert int(clock.device_tick) == 4
    clock.tick = 9
    assert int(clock.device_tick) == 9 and clock.device_tick is clock.number


def stamp(clock: Clock, age: Write[Age]) -> None:
    """Keep the number of the tick."""
    age.moves.copy_(clock.device_tick)


def test_a_replay_knows_the_number_of_its_tick() -> None:
    capture = both(stamp, ticks=25)
    assert capture.sentences == []
    simulation = made(stamp)
    with captured(simulation):
        simulation.run(25)
        assert simulation.world[Age].moves.tolist() == [24] * 4
        simulation.world.clock.tick = 100  # as a snapshot does
        simulation.run()
        assert simulation.world[Age].moves.tolist() == [101] * 4


def test_terms_that_are_not_finite_are_noticed_now_and_then() -> None:
    simulation = made()
    with captured(simulation):
        simulation.run(10)
        simulation.world[Wind].push.fill_(torch.nan)  # no column: ticks are replayed
        simulation.run(60)
    assert {found.tick for found in simulation.world.nonfinite.values()} <= {50}
    assert simulation.world[Seen].value.isnan().any()


# -- where it may be asked for ---------------------------------------------------------------------


def test_graphs_of_a_gpu_are_refused_for_the_processor() -> None:
    with pytest.raises(SceneError, match=r"--capture on records CUDA graphs, and --device is cpu\. Leave it out"):
        refuse_capture("on", "cpu")
    assert capture_for(made(), "auto", print) is None and capture_for(made(), "off", print) is None
    with pytest.raises(SceneError, match="--capture whole"):
        capture_for(made(), "whole", print)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_replays_what_it_calls() -> None:
    ends = []
    for graphs in (False, True):
        simulation = build(toy(toy_systems(), repeat=2), seed=5, device="cuda")
        simulation.world[Wind].push = simulation.world[Wind].push.cuda()
        if graphs:
            capture = Capture(simulation, CudaGraphs(torch.device("cuda")))
            with capture.attached():
                simulation.run(8)
                torch.cuda.set_sync_debug_mode("error")
                try:
                    simulation.run(12)
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            assert capture.sentences == [] and capture.report()["capture/launches"] == 1.0
        else:
            simulation.run(20)
        ends.append({name: column.cpu() for name, column in simulation.world.columns().items()})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
