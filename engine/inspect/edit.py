"""Changes by hand, at a safe point: values of state columns, and constants by address.

Everything is checked before anything changes, and the old values are given back, so that undoing is another change.
"""

from collections.abc import Sequence

import attrs
import numpy as np
import torch

from engine.ecs.component import info
from engine.ecs.condition import AnyRow, FirstTick
from engine.ecs.constants import addresses
from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry
from engine.ecs.table import as_numpy
from engine.errors import EditError, SceneError, did_you_mean, listing
from engine.inspect.breakpoints import key_of
from engine.protocol.vitals import find_ends
from engine.snapshot.snapshot import one_thread


@attrs.define(eq=False)
class Editor:
    """Edits one simulation. `live_signals` says which signal components may be edited now, which is none between ticks."""

    simulation: Simulation
    live_signals: frozenset[tuple[str, type]] = frozenset()

    def set_column(
        self,
        address: str,
        rows: Sequence[int],
        values: np.ndarray,
        labels: Sequence[int] | None = None,
        *,
        force: bool = False,
    ) -> np.ndarray:
        """Write `values` into the flat `labels` of rows, or all values of a row; what was there, as (rows, labels).

        There is one value for each row and label, or for each label, or one for all. State only: what is derived from it
        is computed again by its own writers. Raises EditError for a derived column, a signal that nobody reads any more,
        values that do not fit or that the column cannot hold and, without `force`, values that are not finite.
        """
        world = self.simulation.world
        column = world.columns().get(address)
        if column is None:
            near = did_you_mean(address, world.columns())
            raise EditError("unknown_column", f"There is no column '{address}'.{near}")
        key = key_of(self.simulation, address)
        self._refuse_cache(address, key)
        flat = column.reshape(len(column), -1) if column.is_contiguous() else None
        if flat is None:
            raise EditError("not_editable", f"{address} lies in memory that belongs to something else.")
        places = list(range(flat.shape[1])) if labels is None else list(labels)
        _refuse_twice(address, "row", rows)
        _refuse_twice(address, "value", places)
        new = _spread(address, np.asarray(values), len(rows), len(places))
        with torch.no_grad():
            ready = torch.from_numpy(np.array(new)).to(column.dtype)
            if not force and not bool(ready.isfinite().all()):
                raise EditError("not_editable", f"{address}: a value is not finite. Ask for it with force.")
            if not column.is_floating_point() and not np.array_equal(as_numpy(ready), new):
                kind = str(column.dtype).removeprefix("torch.")
                wrong = new[as_numpy(ready) != new][0]
                raise EditError("bad_shape", f"{address} holds {kind}; {wrong} is not a valid value.")
            index = torch.tensor(list(rows))[:, None], torch.tensor(places)[None, :]
            old = as_numpy(flat[index]).copy()
            flat[index] = ready.to(column.device)
        self._derive_again(key)
        return old

    def _refuse_cache(self, address: str, key: tuple[str, type]) -> None:
        writers = [entry for entry in self.simulation.schedule.entries if key in entry.writes]
        lifetime = info(key[1]).lifetime
        if lifetime == "derived":
            read = (cls for entry in writers for home, cls in entry.reads if home and info(cls).lifetime == "state")
            sources = listing(dict.fromkeys(cls.__name__ for cls in read))
            by = f"`{writers[0].name}`" if writers else "nobody"
            cure = f"; edit {sources}" if sources else ""
            raise EditError("not_editable", f"{address} is derived by {by}{cure}.")
        if lifetime == "signal" and key not in self.live_signals:
            by = f"`{writers[0].name}`" if writers else "its writer"
            why = f"it counts only between {by} and its last reader. Pause there to edit it."
            raise EditError("not_editable", f"{address} is a signal: {why}")

    def _derive_again(self, key: tuple[str, type]) -> None:
        """Run the writers of what is derived from an edited component, in the tick's order.

        Not those that draw, or keep state of their own: noise and histories would move on twice.
        """
        stale, world = {key}, self.simulation.world
        due: dict[tuple[int, str], Entry] = {}
        plan = self.simulation.schedule.plan()
        while True:
            before = len(stale)
            for entry in plan:
                caches = entry.writes and all(home and info(cls).lifetime == "derived" for home, cls in entry.writes)
                if caches and stale & {*entry.reads} and entry.system.signature.rng is None:
                    stale |= {*entry.writes}
                    due[_same(entry)] = entry
            if len(stale) == before:
                break
        with torch.no_grad(), one_thread():
            for entry in [each for each in plan if due.get(_same(each)) is each]:
                entry.call()
        world.condition_cache.clear()

    def set_constant(self, address: str, text: str) -> tuple[str, str, str]:
        """Give a constant another value, as --set does; (old, new, "live" or "at_reset"): from when on it counts.

        The value becomes part of the world: snapshots keep it. Raises EditError where nothing would come of it.
        """
        simulation = self.simulation
        known = addresses(simulation.scene.bundles)
        if address not in known:
            near = did_you_mean(address, known) or " --explain lists them."
            raise EditError("unknown_column", f"There is no constant '{address}'.{near}")
        bundle, system = address.split(".")[:2]
        entries = [e for e in simulation.schedule.entries if (e.bundle, e.name) == (bundle, system)]
        begin = simulation.schedule.tick.begin
        if all(isinstance(entry.when, FirstTick) or entry.phase == begin for entry in entries):
            why = "counts only when the run begins; give it with --set to a new one."
            raise EditError("not_editable", f"{address} {why}")
        old = simulation.constants.value(address)
        code = "bad_message"
        try:
            simulation.constants.parse(address, text)
            code = "not_editable"
            simulation.constants.edit(address, text)
        except SceneError as error:
            raise EditError(code, str(error)) from None
        new = simulation.constants.value(address)
        when = "at_reset" if all(self._at_reset(entry) for entry in entries) else "live"
        return repr(old), repr(new), when

    def edited(self) -> dict[str, str]:
        """The values of constants that are not what the scene was built with, by address."""
        return {address: self.value(address) for address in self.simulation.world.constants}

    def value(self, address: str) -> str:
        """The value of a constant, in words."""
        return repr(self.simulation.constants.value(address))

    def _at_reset(self, entry: Entry) -> bool:
        """Whether a system runs only where episodes ended."""
        if not isinstance(entry.when, AnyRow):
            return False
        asked = getattr(self.simulation.world.component(entry.when.component, entry.when.table), entry.when.column)
        return any(asked is each for ends in find_ends(self.simulation).values() for each in (ends.ended, *ends.follow))


def _same(entry: Entry) -> tuple[int, str]:
    """What a system that stands in the tick twice has in common."""
    return id(entry.system.function), entry.table


def _refuse_twice(address: str, what: str, numbers: Sequence[int]) -> None:
    if len({*numbers}) < len(numbers):
        twice = next(number for number in numbers if list(numbers).count(number) > 1)
        raise EditError("bad_message", f"{address}: {what} {twice} is named twice.")


def _spread(address: str, values: np.ndarray, rows: int, labels: int) -> np.ndarray:
    """One value for each row and label."""
    if values.dtype.kind not in "biuf":
        raise EditError("bad_shape", f"{address}: values of type {values.dtype} are no numbers.")
    if values.size == rows * labels:
        return values.reshape(rows, labels)
    if values.size in (1, labels):
        return np.broadcast_to(values.reshape(1, -1), (rows, labels))
    raise EditError("bad_shape", f"{address}: {values.size} values were given for {rows} rows × {labels} values.")
