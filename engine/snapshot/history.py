"""History of a simulation: go back to any tick of it, look around, return, or go on from there.

A ring keeps a snapshot every few ticks. A tick is a function of the snapshot before it, so the ticks between are run again.
As a command, python -m engine.replay RUN re-creates episodes of a run folder: engine/runner/replay_command.py.
"""

import time
from collections.abc import Callable
from typing import Any, Self

import attrs
import torch
from torch import Tensor

from engine.ecs.component import info
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Observer
from engine.ecs.table import tensors_in
from engine.errors import ReplayError, SceneError
from engine.snapshot.encoding import copied
from engine.snapshot.snapshot import Snapshot, capture, one_thread, restore


@attrs.frozen(eq=False)
class _Moment:
    """A snapshot, and the signals of its tick, which only onlookers read."""

    snapshot: Snapshot
    signals: dict[str, Tensor]
    num_bytes: int

    @property
    def tick(self) -> int:
        return self.snapshot.tick


class Ring:
    """Snapshots of the last ticks, at most `every` apart, in `budget` bytes; the oldest make room for the newest.

    A tick is named by its number; the world is always after a whole one, and after -1 where none has run. `seek`
    puts an earlier tick in view. From there, `live` returns to the present and `branch` makes the tick in view the present;
    running before either is refused. The observers of the schedule do not see what is run again.

    What is written into columns or resources by hand between two ticks is noticed and kept, since running again would
    not repeat it. Call `keep` after other changes by hand: to a random stream, or through methods of a resource. `watched`:
    after which ticks it is looked for; after others, whoever writes by hand calls `touch`. `failed`: called, instead of the
    run, when a snapshot of a tick cannot be taken, as where memory is full; the ring is of no use from then on.
    Raises SceneError for a senseless setting, and for a budget that does not hold two snapshots: the present is kept beside
    the ring while another tick is in view, inside the budget.
    """

    def __init__(
        self,
        simulation: Simulation,
        *,
        every: int = 50,
        budget: int = 2**30,
        watched: Callable[[int], bool] = lambda tick: True,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        if every < 1:
            raise SceneError(f"Ring(every={every}) makes no sense; a snapshot is kept every 1 tick or more.")
        self.simulation = simulation
        self.every = every
        self.budget = budget
        self.watched = watched
        self.failed = failed
        self.abandoned: Snapshot | None = None
        """The present that the last `branch` left behind, where the budget has room for it; set it to None to drop it."""
        self._world, self._schedule = simulation.world, simulation.schedule
        self._signals = {
            f"{table}.{cls.__name__}.{name}": getattr(instance, name)
            for (table, cls), instance in self._world.components.items()
            if info(cls).lifetime == "signal"
            for name in info(cls).columns
        }
        self._tensors = [t for name, t in self._world.columns().items() if name not in self._signals]
        self._tensors += [t for item in self._world.resources.values() for _, t in tensors_in(item)]
        self._fields = [
            (item, field.name)
            for cls, item in self._world.resources.items()
            for field in attrs.fields(cls)
            if not field.metadata.get("constant")
        ]
        self.seconds = 0.0
        """CPU time of the last snapshot; memory that is new costs several times as much as memory that is used again."""
        self._moments: list[_Moment] = []
        self._present: _Moment | None = None
        self._spare: list[_Moment] = []
        self._inside = False
        self._known = self.tick  # what the last tick left
        self._marks: tuple[Any, ...] | None = None  # None: something else was done since; empty: nobody is watched
        self._take()
        need = 2 * self._moments[0].num_bytes
        if need > budget:
            raise SceneError(
                f"Ring(budget={budget:,}) does not hold two snapshots of '{self._world.name}', which take {need:,} bytes; "
                "one to go back to and one of the present are the least. Give it more, or simulate fewer rows."
            )
        self.observer = Observer(before_tick=self._before, after_tick=self._after)
        self._schedule.attach(self.observer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def tick(self) -> int:
        """The tick that the world is after: the one in view, or the present."""
        clock = self._world.clock
        return clock.tick if clock.begun else -1

    @property
    def viewing(self) -> bool:
        """Whether a tick was sought, so that the world is not the present."""
        return self._present is not None

    @property
    def ticks(self) -> range:
        """The ticks that can be sought, the present last; an edit of the present is noticed first."""
        if self._present is None and not self._inside:
            self._notice()
        end = self._present.tick if self._present else self._known
        return range(self._moments[0].tick, end + 1)

    @property
    def kept(self) -> list[int]:
        """The ticks of the snapshots in the ring, oldest first."""
        return [moment.tick for moment in self._moments]

    @property
    def num_bytes(self) -> int:
        """Memory of the snapshots: the ring's, the present's and the abandoned one's."""
        held = [*self._moments, *self._spare, *([self._present] if self._present else [])]
        return sum(moment.num_bytes for moment in held) + (self.abandoned.num_bytes if self.abandoned else 0)

    @property
    def exact(self) -> bool:
        """Whether ticks that are run again give the same bytes: on the CPU, unless a resource says exact_resume = False."""
        items = self._world.resources.values()
        return self._world.device.type == "cpu" and all(getattr(item, "exact_resume", True) for item in items)

    def seek(self, tick: int) -> None:
        """Put the world after that tick, as it was when the next one began; the present is kept for `live`.

        What was written by hand while another tick was in view is lost. A tick that an error broke off halfway never
        happened. Raises ReplayError for a tick out of range.
        """
        self._undo_unfinished()
        reach = self.ticks
        if tick not in reach:
            raise ReplayError(
                f"The ring reaches from tick {reach[0]} to tick {reach[-1]}; tick {tick} is not among them. "
                "A larger budget= keeps more of the past."
            )
        if self._present is None:
            self._present = self._capture()
        start = max((m for m in [*self._moments, self._present] if m.tick <= tick), key=lambda moment: moment.tick)
        if self._edited() or not start.tick <= self.tick <= tick:
            self._restore(start)
        self._run_again(tick)

    def live(self) -> None:
        """Put the world back to the present, bit for bit; nothing happens where it is there."""
        if self._present is not None:
            self._restore(self._present)
            self._spare.append(self._present)
            self._present = None

    def branch(self) -> None:
        """Go on from the tick in view, with what was written by hand since it was sought.

        Snapshots of later ticks leave the ring; the present that is given up becomes `abandoned`, until the next
        branch. Raises ReplayError where no tick was sought.
        """
        if self._present is None:
            raise ReplayError(
                f"Tick {self.tick} is the present, so there is nothing to branch off; seek(tick) comes first."
            )
        if self.tick != self._known:
            self._moments.clear()  # restored from elsewhere, so that none of them leads here
        while self._moments and self._moments[-1].tick > self.tick:
            self._spare.append(self._moments.pop())
        fits = 3 * self._present.num_bytes <= self.budget
        self.abandoned, self._present = self._present.snapshot if fits else None, None
        self._take()

    def snapshot_at(self, tick: int) -> Snapshot:
        """A snapshot of the world after that tick, the caller's own; the world is left as it was.

        Raises ReplayError for a tick out of range.
        """
        viewing, edited = self.viewing, self._edited()
        here = self._capture() if viewing else None
        try:
            self.seek(tick)
            return capture(self._world)
        finally:
            if here is None:
                self.live()
            else:
                self._restore(here)
                self._marks = None if edited else self._marks

    def keep(self) -> None:
        """Take a snapshot of the present now. Raises ReplayError while another tick is in view, and inside a tick."""
        if self.viewing or self._inside:
            where = f"Tick {self.tick} is in view" if self.viewing else f"Tick {self.tick} is not over"
            raise ReplayError(f"{where}; only the present after a whole tick can be kept.")
        if self.tick != self._known:
            self._moments.clear()
        self._take()

    def touch(self) -> None:
        """Something was written by hand to the tick that the world is after."""
        self._marks = None

    def close(self) -> None:
        """Return to the present, stop keeping snapshots and let go of them."""
        self.live()
        self._schedule.detach(self.observer)
        self._spare.clear()
        del self._moments[:-1]

    def _before(self) -> None:
        if self._present is not None:
            raise ReplayError(
                f"Tick {self.tick} is in view and tick {self._present.tick} is the present, so there is nothing to go on "
                "from. Call live() to go on from the present, or branch() to go on from the tick in view."
            )
        self._survive(self._notice)
        self._inside = True

    def _survive(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            if self.failed is None:
                raise
            self.failed(error)

    def _after(self) -> None:
        if not self._inside:
            raise ReplayError(
                f"A tick that had begun before seek() was finished after it, and left tick {self.tick} broken."
            )
        self._inside = False
        self._look()
        if not self._moments or self.tick - self._moments[-1].tick >= self.every:
            self._survive(self._take)

    def _notice(self) -> None:
        """Keep the present where it is not what the last tick left: it was edited, or restored from elsewhere."""
        if self.tick != self._known:
            self._moments.clear()
        if self._edited():
            self._take()

    def _edited(self) -> bool:
        if self.tick != self._known or self._marks is None:
            return True
        return bool(self._marks) and self._read_marks() != self._marks

    def _look(self) -> None:
        """The world is what a tick, or a snapshot, left."""
        self._known = self.tick
        self._marks = self._read_marks() if self.watched(self.tick) else ()

    def _read_marks(self) -> tuple[Any, ...]:
        """What changes when somebody writes: version counters, plain values and edited constants."""
        values = [getattr(item, name) for item, name in self._fields]
        plain = [v for v in values if v is None or isinstance(v, (bool, int, float, str, bytes))]
        identities = [id(v) for v in values if isinstance(v, Tensor)]
        return [tensor._version for tensor in self._tensors], identities, plain, dict(self._world.constants)

    def _take(self) -> None:
        """Keep the world in place of what was kept of the same tick; the oldest make room."""
        if self._moments and self._moments[-1].tick == self.tick:
            self._spare.append(self._moments.pop())
        sizes = [moment.num_bytes for moment in (*self._moments, *self._spare)]
        size = max(sizes, default=0)
        room = self.budget - size - (self.abandoned.num_bytes if self.abandoned else 0)  # one is for the present
        while self._moments and sum(moment.num_bytes for moment in self._moments) + size > room:
            self._spare.append(self._moments.pop(0))
        self._moments.append(self._capture())
        del self._spare[1:]
        self._look()

    def _capture(self) -> _Moment:
        start = time.thread_time()
        old = self._spare.pop() if self._spare else None
        snapshot = capture(self._world, old.snapshot if old else None)
        with one_thread():
            signals = copied(self._signals, old.signals if old else None)
        self.seconds = time.thread_time() - start
        return _Moment(snapshot, signals, snapshot.num_bytes + sum(t.nbytes for t in signals.values()))

    def _restore(self, moment: _Moment) -> None:
        restore(self._world, moment.snapshot)
        with torch.no_grad(), one_thread():
            for name, tensor in self._signals.items():
                tensor.copy_(moment.signals[name])
        self._look()

    def _run_again(self, tick: int) -> None:
        with self._schedule.unobserved():
            self._schedule.run(tick - self.tick)
        self._look()

    def _undo_unfinished(self) -> None:
        """Go back to the end of the last whole tick when a tick was left halfway."""
        if self._inside:
            last, self._inside = self._known, False
            self._restore(self._moments[-1])
            self._run_again(last)
