"""Replay of a run's episodes, simulated again from its checkpoints: every column of one row, tick by tick.

A policy learns from all rows, so all of them are run again from the checkpoint before an episode, up to the last tick
that carries anything from row to row. From there on only the watched rows are simulated, and what comes out counts
only if it equals what the run logged; otherwise the other rows are run again as well.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np

from engine.ecs.component import info
from engine.ecs.condition import Every, FirstTick
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry, Observer, Schedule
from engine.ecs.world import World, flat_labels
from engine.errors import ReplayError, SnapshotError
from engine.files import whole_rows
from engine.protocol.vitals import Ends, find_ends
from engine.recording.failures import logged_failures
from engine.recording.row_ring import row_digest, traced_addresses, traced_columns
from engine.runner.checkpoint import checkpoints, moment
from engine.snapshot.snapshot import Snapshot, restore

Pair = tuple[int, int]
"""Row and tick."""

Progress = Callable[[int, int, str], None]
"""Called with the ticks done, the ticks to do, and what is being done."""


@attrs.frozen
class LoggedFailure:
    """Row of failures.jsonl: which episode failed, and what its last state comes to."""

    tick: int
    row: int
    first_tick: int | None
    reasons: tuple[str, ...] = attrs.field(converter=tuple)
    digest: str
    iteration: int


@attrs.define(eq=False)
class EpisodeReplay:
    """One episode of one row, from the state right after its reset to that before the next one.

    `ticks` (T,); `columns` by address (T, ...). The signals of the first sample still belong to the episode before.
    """

    row: int
    ticks: np.ndarray
    columns: dict[str, np.ndarray]
    ended: bool
    reasons: tuple[str, ...]
    digest: str
    alone: int = 0  # of the ticks, how many ran without the other rows
    labels: dict[str, tuple[str, ...]] = attrs.field(factory=dict)  # of the values of one sample, by address
    units: dict[str, str] = attrs.field(factory=dict)
    docs: dict[str, str] = attrs.field(factory=dict)  # what columns and components are, by address
    signals: frozenset[str] = frozenset()  # addresses whose first sample belongs to the episode before

    @property
    def name(self) -> str:
        """row_17_tick_290"""
        return f"row_{self.row}_tick_{self.ticks[-1]}"


@attrs.define(eq=False)
class RowRecorder:
    """Collects the episode of one row that is under way at one tick, while a schedule runs."""

    world: World
    ends: Ends
    row: int
    tick: int
    whole: bool
    done: bool = False
    reasons: tuple[str, ...] = ()
    digest: str = ""
    samples: list[dict[str, np.ndarray]] = attrs.field(factory=list)
    ticks: list[int] = attrs.field(factory=list)

    def at_finish(self) -> None:
        """Before anything starts over: the last sample of an episode that ends."""
        if self.done or not bool(self.ends.ended[self.row]):
            return
        if self.world.clock.tick < self.tick:
            self.samples, self.ticks, self.whole = [], [], True
            return
        self._take()
        self.done = True
        self.digest = row_digest(self.world, self.ends.table, self.row)
        fired = [True] if self.ends.reason is None else self.ends.reason[self.row].tolist()
        self.reasons = tuple(label for label, true in zip(self.ends.labels, fired, strict=True) if true)

    def after_tick(self) -> None:
        """The state that the next tick starts from."""
        if not self.done:
            self._take()

    def _take(self) -> None:
        kept = {a: c[self.row].numpy(force=True).copy() for a, c in traced_columns(self.world, self.ends.table).items()}
        self.samples.append(kept)
        self.ticks.append(self.world.clock.tick)

    def episode(self, alone_from: int | None) -> EpisodeReplay:
        """The episode that was collected."""
        columns = {a: np.stack([sample[a] for sample in self.samples]) for a in self.samples[0]}
        alone = 0 if alone_from is None else sum(tick > alone_from for tick in self.ticks)
        labels = {address: flat_labels(self.world, address) for address in columns}
        units = {address: self.world.declaration(address).unit for address in columns}
        docs = {address: self.world.declaration(address).doc for address in columns}
        docs |= {f"{table}.{cls.__name__}": info(cls).doc for table, cls in self.world.components}
        signals = frozenset(columns) - {*traced_addresses(self.world, self.ends.table, signals=False)}
        return EpisodeReplay(
            self.row,
            np.array(self.ticks),
            columns,
            self.done,
            self.reasons,
            self.digest,
            alone,
            labels,
            units,
            docs,
            signals,
        )


def last_carrying_tick(schedule: Schedule, first: int, last: int) -> int:
    """The last tick in (first, last] in which one row may reach another through a resource; `first` if there is none.

    A resource carries when a system writes it and its value finds a way into columns. Resources that can `focus`
    hold every row apart. Whether a system mixes rows within columns, only a comparison with the log can show.
    """
    entries = schedule.entries
    carrying: set[tuple[str, type]] = set()
    while True:
        found = {
            key
            for entry in entries
            if any(home or (home, cls) in carrying for home, cls in entry.writes)
            for key in (*entry.reads, *entry.writes)
            if not key[0] and not hasattr(key[1], "focus")
        }
        if found <= carrying:
            break
        carrying |= found
    writers = [entry for entry in entries if carrying & {*entry.writes}]
    return next((t for t in range(last, first, -1) if any(_may_run(w, t) for w in writers)), first)


def _may_run(entry: Entry, tick: int) -> bool:
    if isinstance(entry.when, Every):
        return tick > 0 and tick % entry.when.ticks == 0
    return not isinstance(entry.when, FirstTick) or tick == 0


@attrs.define(eq=False)
class RunReplay:
    """Replay of the episodes of a run folder, from its checkpoints and failures. `build` makes its simulation anew."""

    folder: Path
    build: Callable[[], Simulation]
    warn: Callable[[str], None] = print
    any_identity: bool = False
    simulation: Simulation = attrs.field(init=False)
    table: str = attrs.field(init=False)
    failures: list[LoggedFailure] = attrs.field(init=False)
    points: dict[int, Path | None] = attrs.field(init=False)  # ticks from which it can be run on; None: the beginning
    last_tick: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.simulation = self.build()
        if not find_ends(self.simulation):
            raise ReplayError(
                f"The scene '{self.simulation.scene.name}' does not say when its episodes end. "
                "Give one of its bundles endings=Endings(...)."
            )
        self.table = next(iter(find_ends(self.simulation)))
        names = [field.name for field in attrs.fields(LoggedFailure)]
        self.failures = [
            LoggedFailure(**{name: line[name] for name in names})
            for line in logged_failures(self.folder)
            if line.get("table", self.table) == self.table
        ]
        self.points = {-1: None}
        for path in reversed(checkpoints(self.folder)):
            iteration, ticks = moment(path)
            self.points[iteration * self.simulation.scene.iteration + ticks] = path
        reached = [row["tick"] for row, _ in whole_rows(self.folder / "metrics.jsonl")]
        self.last_tick = max([-1, *reached, *self.points, *(failure.tick for failure in self.failures)])

    @property
    def rows(self) -> int:
        """Rows of the table whose episodes these are."""
        return self.simulation.world.tables[self.table].rows

    def logged(self, row: int, tick: int) -> LoggedFailure | None:
        """The failure of that row in that tick, if it was logged."""
        return next((f for f in self.failures if (f.row, f.tick) == (row, tick)), None)

    def episodes(self, wanted: Sequence[Pair], progress: Progress | None = None) -> list[EpisodeReplay]:
        """The episodes that were under way in (row, tick), in that order, each whole.

        Raises ReplayError for a row or tick that the run does not have, before anything runs; SnapshotError for a
        checkpoint that does not fit.
        """
        for row, tick in wanted:
            if not 0 <= row < self.rows:
                raise ReplayError(f"--row {row} is not one of the run's rows 0 to {self.rows - 1}.")
            if not 0 <= tick <= self.last_tick:
                raise ReplayError(f"--tick {tick} is not one of the run's ticks 0 to {self.last_tick}.")
        made: dict[Pair, EpisodeReplay] = {}
        waiting = {pair: self._start(*pair) for pair in wanted}
        trust = True
        while waiting:
            start = max(waiting.values())
            together = [pair for pair, point in waiting.items() if point == start]
            if not self._go_to(start):
                waiting |= {pair: self._before(start) for pair in together}
                continue
            found, refused = self._run(start, together, trust, progress)
            made |= found
            trust = not refused
            for pair in together:
                if pair in found:
                    del waiting[pair]
                elif pair not in refused:  # its episode began before this point
                    waiting[pair] = self._before(start)
        return [made[pair] for pair in wanted]

    def _start(self, row: int, tick: int) -> int:
        """The last point before an episode's reset, as far as that is known."""
        logged = self.logged(row, tick)
        before = tick if logged is None or logged.first_tick is None else logged.first_tick
        return self._before(max(before, 0))

    def _before(self, tick: int) -> int:
        """The last point before a tick; -1 is the beginning."""
        return max(point for point in self.points if point < tick)

    def _run(
        self, start: int, pairs: Sequence[Pair], trust: bool, progress: Progress | None
    ) -> tuple[dict[Pair, EpisodeReplay], set[Pair]]:
        """Run on from a point until the episodes have ended: those that were found whole, and those whose last
        state differs from the logged one although only their rows were simulated."""
        world, schedule = self.simulation.world, self.simulation.schedule
        ends = find_ends(self.simulation)[self.table]
        recorders = {pair: RowRecorder(world, ends, *pair, whole=start == -1) for pair in pairs}
        end = max(tick for _, tick in pairs)
        alone_from = None
        if trust and all(self.logged(*pair) for pair in pairs):
            alone_from = last_carrying_tick(schedule, start, end)
        observers = [Observer(at_finish=each.at_finish, after_tick=each.after_tick) for each in recorders.values()]
        for observer in observers:
            schedule.attach(observer)
        path = self.points[start]
        source = path.stem if path else "the beginning"
        last = max(end, self.last_tick) if alone_from is None else end
        for tick in range(start, last):
            if all(recorder.done for recorder in recorders.values()):
                break
            if alone_from is not None and tick >= alone_from:
                _focus(world, [recorder.row for recorder in recorders.values() if not recorder.done])
            self.simulation.run()
            if progress is not None:
                progress(tick + 1 - start, max(end, tick + 1) - start, f"{self.rows} rows from {source}")
        for observer in observers:
            schedule.detach(observer)
        _focus(world, None)
        logged = {pair: self.logged(*pair) for pair in pairs if alone_from is not None}
        refused = {pair for pair, failure in logged.items() if failure and recorders[pair].digest != failure.digest}
        found = {p: each.episode(alone_from) for p, each in recorders.items() if p not in refused and each.whole}
        return found, refused

    def _go_to(self, point: int) -> bool:
        """Bring the simulation to a point; False when its checkpoint is damaged, which is forgotten then."""
        path = self.points[point]
        if path is None:
            if self.simulation.world.clock.begun:
                self.simulation = self.build()
            return True
        try:
            taken = Snapshot.decode(path.read_bytes())
        except (SnapshotError, OSError) as error:
            self.warn(f"{path}: {error} Going back to the checkpoint before it.")
            del self.points[point]
            return False
        restore(self.simulation.world, taken, any_identity=self.any_identity)
        return True


def _focus(world: World, rows: Sequence[int] | None) -> None:
    """Let resources that can spare the work simulate these rows only; None: all."""
    for item in world.resources.values():
        if hasattr(item, "focus"):
            item.focus(rows)
