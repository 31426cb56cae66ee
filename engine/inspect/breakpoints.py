"""Where a run stops or says something by itself: breaks, what they hit, and who wrote what was hit."""

from typing import Any

import attrs
import numpy as np

from engine.ecs.binding import Key
from engine.ecs.component import info
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry
from engine.ecs.table import as_numpy
from engine.ecs.world import flat_labels
from engine.errors import EditError, did_you_mean, listing
from engine.inspect.expression import Expression, compile_break
from engine.inspect.server import BREAKS
from engine.protocol import messages

MOST_ROWS = 32
"""Rows that a hit names."""


class Writers:
    """Which system wrote a component last, seen by the version counters of its columns while `see` is a hook."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.seen: dict[Key, tuple[Entry, int]] = {}
        self._versions: dict[Key, int] = {}

    def begin(self) -> None:
        """Look from now on; what was seen before is out of date."""
        self.seen.clear()
        self._versions = {key: self._version(key) for entry in self.simulation.schedule.entries for key in entry.writes}

    def see(self, entry: Entry) -> None:
        """A system has run."""
        for key in entry.writes:
            version = self._version(key)
            if version != self._versions.get(key):
                self._versions[key] = version
                self.seen[key] = entry, self.simulation.world.clock.tick

    def declared(self, key: Key) -> list[Entry]:
        """The systems that may write a component, in the tick's order, each once."""
        entries = [entry for entry in self.simulation.schedule.entries if key in entry.writes]
        return list({entry.name: entry for entry in entries}.values())

    def name(self, key: Key) -> str:
        """Who wrote it, in words."""
        if key in self.seen:
            return self.seen[key][0].name
        names = [entry.name for entry in self.declared(key)]
        return names[0] if len(names) == 1 else f"one of {listing(names)}" if names else "nobody"

    def _version(self, key: Key) -> int:
        component = self.simulation.world.components.get(key)
        return sum(getattr(component, name)._version for name in info(key[1]).columns) if component is not None else 0


def key_of(simulation: Simulation, address: str) -> Key:
    """The table and component of a column 'table.Component.column'."""
    table, component, _ = address.split(".")
    return next(key for key in simulation.world.components if key[0] == table and info(key[1]).name == component)


def provenance(simulation: Simulation, writers: Writers, address: str) -> dict[str, Any]:
    """Who wrote a column and in which tick, "observed" or only "declared"; who reads it, and what it was made from."""
    key, entries = key_of(simulation, address), simulation.schedule.entries
    declared, observed = writers.declared(key), writers.seen.get(key)
    writer = observed[0] if observed else declared[0] if declared else None
    sources = [cls.__name__ for home, cls in (writer.reads if writer else ()) if home]
    return {
        "writer": writer.name if writer else "",
        "tick": observed[1] if observed else max(simulation.world.clock.tick, 0),
        "kind": "observed" if observed else "declared",
        "readers": list(dict.fromkeys(entry.name for entry in entries if key in entry.reads)),
        "sources": list(dict.fromkeys(sources)),
    }


@attrs.define(eq=False)
class Breakpoint:
    """A condition, where it is asked, and what happens when it holds."""

    number: int
    expression: Expression | None  # None: whenever the run comes by
    place: str  # "tick", or "before" or "after" a system
    system: int | None
    rows: "np.ndarray | None"
    skip: int
    action: str
    owner: object = None
    tick: int = -2  # of the last hit: one hit a tick, where it is asked in each
    last_event: float = 0.0  # when the last event went out
    kept: bool = False


Hit = tuple[Breakpoint, dict[str, Any]]
"""A break that holds, and the event that says so: text, row, column, system (who wrote it), fields."""


@attrs.define(eq=False)
class Breakpoints:
    """The breaks of a run."""

    simulation: Simulation
    writers: Writers
    known: dict[int, Breakpoint] = attrs.field(factory=dict)
    _made: int = 0

    @property
    def inspect(self) -> bool:
        """Whether one is asked between systems."""
        return any(each.place != "tick" for each in self.known.values())

    def add(self, message: messages.BreakRequest, owner: object = None) -> Breakpoint:
        """A new break of a client; EditError or BreakError for what cannot be asked."""
        if len(self.known) >= BREAKS:
            raise EditError("over_budget", f"{BREAKS} breaks are the most; remove one first.")
        place, _, system = message.at.partition(" ")
        number = None if place == "tick" else self._system(place, system.strip())
        expression = compile_break(message.when, self.simulation.world) if message.when.strip() else None
        if expression is not None and message.rows and max(message.rows) >= expression.rows:
            text = f"'{expression.table}' has {expression.rows} rows; there is no row {max(message.rows)}."
            raise EditError("bad_message", text)
        rows = None if message.rows is None else np.array(message.rows, np.int64)
        self._made += 1
        made = Breakpoint(self._made, expression, place, number, rows, message.skip, message.action, owner)
        self.known[made.number] = made
        return made

    def _system(self, place: str, system: str) -> int:
        entries = self.simulation.schedule.entries
        names = {entry.name: number for number, entry in reversed([*enumerate(entries)])}
        number = int(system) if system.isdecimal() else names.get(system)
        if number is None or number >= len(entries):
            near = did_you_mean(system, names)
            raise EditError("bad_message", f"There is no system '{system}' to break {place}.{near}")
        return number

    def remove(self, number: int) -> None:
        """Forget a break; EditError for one that is not there."""
        if self.known.pop(number, None) is None:
            raise EditError("bad_message", f"There is no break {number}.")

    def leave(self, owner: object) -> None:
        """A client has gone, and with it its breaks: nobody else knows of them."""
        self.known = {number: each for number, each in self.known.items() if each.owner is not owner}

    def forget(self) -> None:
        """Time has jumped: what a value was in the tick before is not known."""
        for each in self.known.values():
            if each.expression is not None:
                each.expression.forget()
            each.tick = -2

    def ask(self, place: str, system: int | None, *, memory: bool = True) -> list[Hit]:
        """The breaks of a place that hold now. Without `memory` those that compare with the tick before are not asked."""
        found, tick = [], self.simulation.world.clock.tick
        for each in list(self.known.values()):
            if each.place != place or each.system != system:
                continue
            hit = self._always(each) if each.expression is None else self._holds(each, each.expression, memory)
            if hit is None or (place == "tick" and each.tick == tick):
                continue
            each.tick = tick
            if each.skip > 0:
                each.skip -= 1
                continue
            found.append(hit)
        return found

    def _always(self, each: Breakpoint) -> Hit:
        """Of a break without a condition."""
        names = [entry.name for entry in self.simulation.schedule.entries]
        where = each.place if each.system is None else f"{each.place} {names[each.system]}"
        return each, {"text": f"break: {where}", "fields": {"break": each.number}}

    def _holds(self, each: Breakpoint, expression: Expression, memory: bool) -> Hit | None:
        """Of a break whose condition holds for any row that it asks about."""
        if expression.memory and not memory:
            return None
        hits: np.ndarray = expression.hits().cpu().numpy()
        rows = np.flatnonzero(hits) if each.rows is None else each.rows[hits[each.rows]]
        return self._hit(each, expression, np.unique(rows)) if len(rows) else None

    def _hit(self, each: Breakpoint, expression: Expression, rows: np.ndarray) -> Hit:
        blamed = expression.blamed()
        values = None if blamed is None else as_numpy(blamed).reshape(expression.rows, -1)
        if not expression.by_row:  # it holds for the whole table, not for each of its rows
            rows = np.flatnonzero(values.any(1)) if values is not None else rows[:0]
        row = int(rows[0]) if len(rows) else None
        address, label = self._place(expression, row, values)
        writer = self.writers.name(key_of(self.simulation, address))
        where = "" if row is None else f" at row {row}" + (f", {label}" if label else "")
        where += f" of {address}" if row is not None and len(expression.columns) > 1 else ""
        text = f"break: {expression.text} hit{where}, written by {writer}"
        text += "" if row is None else f"; {len(rows)} of {expression.rows} rows"
        fields = {"break": each.number, "rows": rows[:MOST_ROWS].tolist(), "count": len(rows), "label": label}
        return each, {"text": text, "row": row, "column": address, "system": writer, "fields": fields}

    def _place(self, expression: Expression, row: int | None, values: "np.ndarray | None") -> tuple[str, str]:
        """The column of an expression that is to blame in a row, and the label in it, as far as that is known."""
        columns, address = self.simulation.world.columns(), expression.columns[0]
        if row is None or values is None:
            return address, ""
        for each in expression.columns:
            held = as_numpy(columns[each][row]).reshape(-1)
            bad = ~np.isfinite(held) if columns[each].is_floating_point() else np.zeros(len(held), bool)
            if bad.any():
                return each, flat_labels(self.simulation.world, each)[int(np.flatnonzero(bad)[0])]
        labels = flat_labels(self.simulation.world, address)  # the first value that it holds for, if it says so of each
        several = len(labels) > 1 and values.shape[1] == len(labels)
        return address, labels[int(values[row].argmax())] if several else ""
