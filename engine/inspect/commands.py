"""What a debugger may tell a run to do, done on the tick thread at a safe point, and answered.

Nothing raises here: a command that cannot be carried out is answered with an error, and has changed nothing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.ecs.binding import Key
from engine.ecs.component import info
from engine.errors import BreakError, EditError, LockstepError, ReplayError, SnapshotError
from engine.inspect.breakpoints import provenance
from engine.inspect.client import Peer
from engine.protocol import messages as say
from engine.protocol.framing import pack_array
from engine.protocol.vitals import find_ends
from engine.recording.recorder import MOST_ROWS, Recorder
from engine.snapshot.history import Ring

if TYPE_CHECKING:
    from engine.inspect.inspector import Inspector

Answer = dict[str, Any] | None
"""The fields of an `ok`; None where the answer comes later, or there is none."""
_CODES: dict[type[LockstepError], str] = {
    BreakError: "bad_expression",
    ReplayError: "out_of_history",
    SnapshotError: "out_of_history",
}
_SHOWN = 32  # values of an edit that its event says


def obey(run: "Inspector", peer: Peer, message: say.Message) -> None:
    """Do what a client says, and answer it."""
    number = getattr(message, "id", 0)
    try:
        answer = _ORDERS[type(message)](run, peer, message)
    except LockstepError as error:
        code = error.code if isinstance(error, EditError) else _CODES.get(type(error), "bad_message")
        _refuse(run, peer, message, number, code, str(error))
    except Exception as error:  # a debugger may be wrong in ways that nobody thought of; the training goes on
        _refuse(run, peer, message, number, "unsupported", f"That failed: {type(error).__name__}: {error}"[:500])
    else:
        if answer is not None:
            run.hub.post(peer, {"t": "ok", "id": number, **answer})


def _refuse(run: "Inspector", peer: Peer, message: say.Message, number: int, code: str, text: str) -> None:
    kind = "sub_no" if isinstance(message, say.Sub) else "error"
    run.hub.post(peer, {"t": kind, "id": number, "code": code, "text": text})


# -- looking -------------------------------------------------------------------------------------------


def _sub(run: "Inspector", peer: Peer, message: say.Sub) -> Answer:
    run.feed.subscribe(peer, message, paused=run.steps.stands)
    return None


def _unsub(run: "Inspector", peer: Peer, message: say.Unsub) -> Answer:
    run.feed.unsubscribe(peer, message.id)
    return None


def _select(run: "Inspector", peer: Peer, message: say.Select) -> Answer:
    run.feed.select(peer, message.rows)
    return None


def _provenance(run: "Inspector", peer: Peer, message: say.Provenance) -> Answer:
    return provenance(run.simulation, run.writers, list(run.world.columns())[message.column])


def _asset(run: "Inspector", peer: Peer, message: say.Asset) -> Answer:
    handed_out = [figure.asset for figure in run.simulation.scene.view.figures if figure.asset is not None]
    if not handed_out:
        raise EditError("unsupported", "This run hands out no model: its scene gives none to the figures it shows.")
    for asset in handed_out:
        if asset.hash == message.hash:
            return asset.part(message.offset)
    raise EditError("unsupported", f"This run has no model {message.hash}; its schema says the hashes of those it has.")


# -- stopping and going --------------------------------------------------------------------------------


def _pause(run: "Inspector", peer: Peer, message: say.Pause) -> Answer:
    run.steps.stand(run.steps.why if run.steps.stands else "asked for")
    run.pending.append((peer, message.id))
    return None


def _run(run: "Inspector", peer: Peer, message: say.Run) -> Answer:
    run.go_on()
    run.publish()
    return {"tick": run.tick}


def _step(run: "Inspector", peer: Peer, message: say.Step) -> Answer:
    if not run.steps.stands:
        raise EditError("not_paused", "The run is not paused; pause it before a step.")
    _need_live(run)
    run.steps.step(message.unit, message.count)
    run.pending.append((peer, message.id))
    return None


def _run_to(run: "Inspector", peer: Peer, message: say.RunTo) -> Answer:
    _need_live(run)
    if message.tick is not None and message.tick <= run.tick - run.inside:
        raise EditError("bad_message", f"The run is at tick {run.tick}; tick {message.tick} lies behind, seek it.")
    run.steps.run_to(message.system, message.tick)
    run.pending.append((peer, message.id))
    return None


def _need_live(run: "Inspector") -> None:
    if run.viewing:
        raise EditError("not_paused", f"Tick {run.tick} is in view; go back with live, or on with branch, first.")


# -- breaks --------------------------------------------------------------------------------------------


def _break(run: "Inspector", peer: Peer, message: say.Break) -> Answer:
    if message.action == "keep" and run.recorder is None:
        _start_recorder(run, message.rows or run.feed.selected[peer])
    return {"break": run.breaks.add(message, peer).number}


def _unbreak(run: "Inspector", peer: Peer, message: say.Unbreak) -> Answer:
    run.breaks.remove(message.number)
    return {}


# -- time ----------------------------------------------------------------------------------------------


def _history(run: "Inspector") -> Ring:
    if run.inside:
        raise EditError("not_paused", "The tick is not over; finish it (step tick) before going elsewhere.")
    if run.ring is None:
        raise EditError("out_of_history", "This run keeps no history; a warning said why when it began to, or ceased.")
    return run.ring


def _seek(run: "Inspector", peer: Peer, message: say.Seek) -> Answer:
    ring, reach = _history(run), run.reach()
    if message.tick not in reach:
        which = f"only {reach[0]} to {reach[-1]}" if reach else "as none has run yet"
        raise EditError(
            "out_of_history",
            f"Tick {message.tick} cannot be put in view, {which}: the past is kept from when the first debugger "
            f"attached, as far as {run.history[1] >> 20:,} MiB hold it.",
        )
    run.seek(ring, message.tick)
    run.steps.stand("viewing")
    run.publish()
    return {"tick": run.tick, "exact": ring.exact}


def _live(run: "Inspector", peer: Peer, message: say.Live) -> Answer:
    viewing = run.viewing
    run.seek(_history(run), None)
    if viewing:
        run.steps.stand("back from an earlier tick")
    run.publish()
    return {"tick": run.tick}


def _branch(run: "Inspector", peer: Peer, message: say.Branch) -> Answer:
    _history(run).branch()
    run.journal.branch()
    run.resets.clear()  # they were of the present that is given up
    _note(run, peer, "branch", f"tick {run.tick}", None, None, "")
    try:
        if run.branched is not None:
            run.branched(run.tick)
    finally:
        if run.recorder is not None:
            run.recorder.rewind()
        run.jumped()
        run.publish()
    return {"tick": run.tick}


# -- intervening ---------------------------------------------------------------------------------------


def _set_column(run: "Inspector", peer: Peer, message: say.SetColumn) -> Answer:
    address = list(run.world.columns())[message.column]
    run.editor.live_signals = _live_signals(run)
    old = run.editor.set_column(address, message.rows, message.values, message.labels, force=message.force)
    run.wrote()
    rows = list(message.rows)
    where = f"{address} of {f'row {rows[0]}' if len(rows) == 1 else f'{len(rows)} rows'}"
    new = np.broadcast_to(message.values.reshape(old.shape if message.values.size == old.size else (1, -1)), old.shape)
    more = {"rows": rows[:_SHOWN], "labels": None if message.labels is None else list(message.labels)[:_SHOWN]}
    _note(run, peer, "set", where, old.tolist(), new.tolist(), message.reason, column=address, row=rows[0], more=more)
    return {"old": pack_array(old)}


def _set_constant(run: "Inspector", peer: Peer, message: say.SetConstant) -> Answer:
    old, new, when = run.editor.set_constant(message.address, message.value)
    run.hub.renew()
    run.wrote()
    _note(run, peer, "set", message.address, old, new, message.reason, more={"address": message.address, "when": when})
    return {"old": old, "new": new, "when": when}


def _reset(run: "Inspector", peer: Peer, message: say.Reset) -> Answer:
    _need_live(run)
    if run.table not in find_ends(run.simulation):
        raise EditError("unsupported", "This scene declares no endings, so that there is nothing to reset a row with.")
    count = run.world.tables[run.table].rows
    if message.rows and max(message.rows) >= count:
        raise EditError("bad_message", f"'{run.table}' has {count} rows; there is no row {max(message.rows)}.")
    run.resets += [row for row in message.rows if row not in run.resets]
    shown = ", ".join(map(str, message.rows[:8])) + (", …" if len(message.rows) > 8 else "")
    _note(run, peer, "reset", f"rows {shown}", None, None, "")
    return {"rows": len(message.rows)}


def _live_signals(run: "Inspector") -> frozenset[Key]:
    """Signals that were written before the next system of the tick, and are still read by it or a later one."""
    if run.steps.next is None:
        return frozenset()
    before, behind = run.steps.due()
    written = {key for entry in before for key in entry.writes}
    read = {key for entry in behind for key in (*entry.reads, *entry.asks)}
    return frozenset(key for key in written & read if key[0] and info(key[1]).lifetime == "signal")


def _note(
    run: "Inspector", peer: Peer, what: str, where: str, old: Any, new: Any, reason: str, *,
    column: str | None = None, row: int | None = None, more: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write an intervention down, and tell everybody."""
    run.journal.note(run.tick, peer.name, what, where, old, new, reason, viewing=run.viewing)
    short = {"old": old, "new": new} if np.size(new) <= _SHOWN else {}
    fields = {"client": peer.name, "what": what, "reason": reason, **short, **(more or {})}
    run.feed.event("edit", f"{peer.name}: {what} {where}", column=column, row=row, fields=fields)


# -- files ---------------------------------------------------------------------------------------------


def _snapshot(run: "Inspector", peer: Peer, message: say.Snapshot) -> Answer:
    _need_live(run)
    if run.saved is None or run.inside or not run.world.clock.begun:
        raise EditError("unsupported", "A checkpoint is written between ticks of a training only.")
    name = run.saved()
    run.feed.event("checkpoint", f"checkpoint {name}")
    return {"name": name}


def _record(run: "Inspector", peer: Peer, message: say.Record) -> Answer:
    if message.on:
        if run.recorder is not None:
            raise EditError("busy", "The run is being recorded already; stop that first.")
        rows = _start_recorder(run, run.feed.selected[peer])
        run.feed.event("record", f"recording rows {', '.join(map(str, rows))}")
        return {"path": ""}
    if run.recorder is None:
        raise EditError("bad_message", "Nothing is being recorded.")
    path = run.recorder.keep("request", f"{peer.name} asked for a recording.")
    run.recorder.detach()
    run.recorder = None
    if path is None:
        raise EditError("unsupported", "The recording cannot be written; the log says why.")
    run.feed.event("record", f"recording written: {path.name}")
    return {"path": str(path)}


def _start_recorder(run: "Inspector", chosen: tuple[int, ...]) -> list[int]:
    if run.folder is None:
        raise EditError("unsupported", "There is no run folder to write recordings to.")
    count = run.world.tables[run.table].rows
    rows = [row for row in chosen if row < count][:MOST_ROWS] or None

    def tell(text: str) -> None:
        run.feed.event("record", text)

    run.recorder = Recorder(run.simulation, rows=rows, folder=run.folder / "records", say=tell)
    run.recorder.attach()
    return [int(row) for row in run.recorder.trace.rows]


_ORDERS: dict[type[say.Message], Callable[["Inspector", Peer, Any], Answer]] = {
    say.Sub: _sub, say.Unsub: _unsub, say.Select: _select, say.Provenance: _provenance, say.Asset: _asset,
    say.Pause: _pause, say.Run: _run, say.Step: _step, say.RunTo: _run_to, say.Break: _break, say.Unbreak: _unbreak,
    say.Seek: _seek, say.Live: _live, say.Branch: _branch, say.SetColumn: _set_column, say.SetConstant: _set_constant,
    say.Reset: _reset, say.Snapshot: _snapshot, say.Record: _record,
}  # fmt: skip
