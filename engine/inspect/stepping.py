"""Stepping: where in its tick a run is, and whether a step or run_to has got where it goes."""

from collections import Counter

import attrs

from engine.ecs.schedule import Entry, Schedule


@attrs.define(eq=False)
class Stepper:
    """Counts down steps. A run stands at a boundary (before a system, or between ticks) where `stands` is true.

    `next` is the system before which the run is, None between ticks. `wanted` says that the run is to stand, once a step
    or a run_to under way has got where it goes.
    """

    schedule: Schedule
    wanted: bool = False
    why: str = ""
    next: Entry | None = None
    substep: int = 0
    goal: tuple[str, int] | None = None  # unit and count of a step under way, "to system" or "to tick" and its number
    _place: int = -1
    _visit: int | None = None
    _layouts: dict[bool, list[tuple[Entry, int, int]]] = attrs.field(factory=dict)

    @property
    def stands(self) -> bool:
        """Whether to stop at this boundary."""
        return self.wanted and self.goal is None

    @property
    def inspects(self) -> bool:
        """Whether boundaries between systems matter just now."""
        return self.goal is not None and self.goal[0] not in ("tick", "to tick")

    def stand(self, why: str) -> None:
        """Stop at the next boundary."""
        self.wanted, self.goal, self.why = True, None, why

    def go(self) -> None:
        """Go on without a goal."""
        self.wanted, self.goal, self.why = False, None, ""

    def step(self, unit: str, count: int) -> None:
        """Go on for `count` systems, phases (each repetition of one counts) or ticks; what is left of one counts as one."""
        self.wanted, self.goal = True, (unit, count)

    def run_to(self, system: int | None, tick: int | None) -> None:
        """Go on until just before the entry of that number, or after that tick; one of the two is given."""
        self.wanted, self.goal = True, ("to system", system) if system is not None else ("to tick", tick or 0)

    # -- what the run does -----------------------------------------------------------------------------

    def begin_tick(self) -> None:
        """A tick begins."""
        self._place, self._visit, self.next, self.substep = -1, None, None, 0

    def pass_finish(self) -> None:
        """The systems up to the phase `Tick.finished` have run."""
        plan = self.schedule.plan(self.schedule.world.clock.begun)
        self._place = max(self._place, self.schedule.until_finish(plan) - 1)

    def reach(self, entry: Entry, number: int) -> bool:
        """The run is before this system; whether it is to stand here."""
        visit = self._find(entry)
        if self.goal == ("to system", number):
            self.stand("run_to")
        if self._visit is not None and visit != self._visit:
            self._count_down("phase")
        self._visit, self.next = visit, entry
        return self.stands

    def ran(self) -> None:
        """A system has run."""
        self._count_down("system")

    def end_tick(self, tick: int) -> None:
        """The tick is over."""
        self._count_down("tick")
        if self._visit is not None:
            self._count_down("phase")
        if self.goal is not None and self.goal[0] == "to tick" and tick >= self.goal[1]:
            self.stand("run_to")
        self.begin_tick()

    def due(self) -> tuple[list[Entry], list[Entry]]:
        """The systems of this tick before the boundary, and those after it."""
        layout = self._layout()
        here = max(self._place, 0)
        return [entry for entry, _, _ in layout[:here]], [entry for entry, _, _ in layout[here:]]

    def _count_down(self, unit: str) -> None:
        """One of these units is over, if a step counts them."""
        if self.goal is None or self.goal[0] != unit:
            return
        if self.goal[1] > 1:
            self.goal = unit, self.goal[1] - 1
        else:
            self.stand("step")

    def _find(self, entry: Entry) -> int:
        """Move to the next place of an entry in the tick; which visit of a phase that is, counted over the tick."""
        layout = self._layout()
        later = (i for i in range(self._place + 1, len(layout)) if layout[i][0] is entry)
        self._place = next(later, self._place)
        _, visit, self.substep = layout[max(self._place, 0)]
        return visit

    def _layout(self) -> list[tuple[Entry, int, int]]:
        """The tick's entries, each with the visit of a phase that it belongs to, and which repetition of the phase it is."""
        begun = self.schedule.world.clock.begun
        if begun not in self._layouts:
            plan, times, visit = self.schedule.plan(begun), Counter[str](), -1
            first: dict[str, Entry] = {}
            layout = []
            for entry in plan:
                if first.setdefault(entry.phase, entry) is entry:
                    visit += 1
                    times[entry.phase] += 1
                layout.append((entry, visit, times[entry.phase] - 1))
            self._layouts[begun] = layout
        return self._layouts[begun]
