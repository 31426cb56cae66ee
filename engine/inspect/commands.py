"""Handlers of what debugger clients ask for, run in the tick thread at a safe point; each request gets one answer.

Nothing raises here: a command that cannot be carried out is answered with an error, and has changed nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from engine.ecs.binding import Key
from engine.ecs.component import info
from engine.errors import BreakError, EditError, LockstepError, ReplayError, SnapshotError
from engine.inspect.breakpoints import provenance
from engine.inspect.client import DebugClient
from engine.inspect.inspector import Inspector
from engine.protocol import messages
from engine.protocol.framing import pack_array
from engine.protocol.vitals import find_ends
from engine.recording.recorder import MOST_ROWS, Recorder
from engine.snapshot.history import Ring

Answer = dict[str, Any] | None
"""The fields of an `ok`; None where the answer comes later, or there is none."""
_CODES: dict[type[LockstepError], str] = {
    BreakError: "bad_expression",
    ReplayError: "out_of_history",
    SnapshotError: "out_of_history",
}
_SHOWN = 32  # values of an edit that its event says


def handle(inspector: Inspector, client: DebugClient, message: messages.ClientMessage) -> None:
    """Do what a client asks for, and answer it."""
    number = getattr(message, "id", 0)
    try:
        answer = HANDLERS[type(message)](inspector, client, message)
    except LockstepError as error:
        code, text = getattr(error, "code", None) or _CODES.get(type(error), "bad_message"), str(error)
    except Exception as error:  # a debugger may be wrong in ways that nobody thought of; the training goes on
        code, text = "unsupported", f"That failed: {type(error).__name__}: {error}"[:500]
    else:
        if answer is not None:
            inspector.server.post(client, {"t": "ok", "id": number, **answer})
        return
    inspector.server.post(client, {"t": message.refusal, "id": number, "code": code, "text": text})


def _asset(inspector: Inspector, client: DebugClient, message: messages.AssetRequest) -> Answer:
    handed_out = [figure.asset for figure in inspector.view.figures if figure.asset is not None]
    if not handed_out:
        raise EditError("unsupported", "This run hands out no model: its scene gives none to the figures it shows.")
    for asset in handed_out:
        if asset.hash == message.hash:
            return asset.part(message.offset)
    raise EditError("unsupported", f"This run has no model {message.hash}; its schema says the hashes of those it has.")


# -- stopping and going --------------------------------------------------------------------------------


def _pause(inspector: Inspector, client: DebugClient, message: messages.PauseRequest) -> Answer:
    inspector.steps.stand(inspector.steps.why if inspector.steps.stands else "asked for")
    inspector.pending.append((client, message.id))
    return None


def _run(inspector: Inspector, client: DebugClient, message: messages.RunRequest) -> Answer:
    inspector.go_on()
    return _published(inspector)


def _published(inspector: Inspector) -> dict[str, Any]:
    """The answer of what moved the run, after all clients have been sent how it goes on."""
    inspector.publish()
    return {"tick": inspector.tick}


def _step(inspector: Inspector, client: DebugClient, message: messages.StepRequest) -> Answer:
    if not inspector.steps.stands:
        raise EditError("not_paused", "The run is not paused; pause it before a step.")
    _need_live(inspector)
    inspector.steps.step(message.unit, message.count)
    inspector.pending.append((client, message.id))
    return None


def _run_to(inspector: Inspector, client: DebugClient, message: messages.RunToRequest) -> Answer:
    _need_live(inspector)
    if message.tick is not None and message.tick <= inspector.tick - inspector.inside:
        raise EditError("bad_message", f"The run is at tick {inspector.tick}; tick {message.tick} has passed, seek it.")
    inspector.steps.run_to(message.system, message.tick)
    inspector.pending.append((client, message.id))
    return None


def _need_live(inspector: Inspector) -> None:
    if inspector.viewing:
        raise EditError("not_paused", f"Tick {inspector.tick} is in view; go back with live, or on with branch, first.")


# -- breaks --------------------------------------------------------------------------------------------


def _break(inspector: Inspector, client: DebugClient, message: messages.BreakRequest) -> Answer:
    if message.action == "keep" and inspector.recorder is None:
        _start_recorder(inspector, message.rows or inspector.publisher.selected[client])
    return {"break": inspector.breakpoints.add(message, client).number}


def _unbreak(inspector: Inspector, client: DebugClient, message: messages.UnbreakRequest) -> Answer:
    inspector.breakpoints.remove(message.number)
    return {}


# -- time ----------------------------------------------------------------------------------------------


def _history(inspector: Inspector) -> Ring:
    if inspector.inside:
        raise EditError("not_paused", "The tick is not over; finish it (step tick) before going elsewhere.")
    if inspector.ring is None:
        raise EditError(
            "out_of_history", "This run keeps no history; a warning gave the reason when it began to, or ceased."
        )
    return inspector.ring


def _seek(inspector: Inspector, client: DebugClient, message: messages.SeekRequest) -> Answer:
    ring, reach = _history(inspector), inspector.reach()
    if message.tick not in reach:
        which = f"only {reach[0]} to {reach[-1]}" if reach else "as none has run yet"
        raise EditError(
            "out_of_history",
            f"Tick {message.tick} cannot be put in view, {which}: the past is kept from when the first debugger "
            f"attached, as far as {inspector.history[1] >> 20:,} MiB hold it.",
        )
    inspector.seek(ring, message.tick)
    inspector.steps.stand("viewing")
    return _published(inspector) | {"exact": ring.exact}


def _live(inspector: Inspector, client: DebugClient, message: messages.LiveRequest) -> Answer:
    viewing = inspector.viewing
    inspector.seek(_history(inspector), None)
    if viewing:
        inspector.steps.stand("back from an earlier tick")
    return _published(inspector)


def _branch(inspector: Inspector, client: DebugClient, message: messages.BranchRequest) -> Answer:
    _history(inspector).branch()
    inspector.interventions.branch()
    inspector.resets.clear()  # they were of the present that is given up
    _note(inspector, client, "branch", f"tick {inspector.tick}", None, None, "")
    try:
        inspector.run.continue_from(inspector.tick)
    finally:
        if inspector.recorder is not None:
            inspector.recorder.rewind()
        inspector.jumped()
        inspector.publish()
    return {"tick": inspector.tick}


# -- intervening ---------------------------------------------------------------------------------------


def _set_column(inspector: Inspector, client: DebugClient, message: messages.SetColumnRequest) -> Answer:
    address = list(inspector.world.columns())[message.column]
    inspector.editor.live_signals = _live_signals(inspector)
    values = message.array
    old = inspector.editor.set_column(address, message.rows, values, message.labels, force=message.force)
    inspector.wrote()
    rows, labels = list(message.rows), message.labels
    where = f"{address} of {f'row {rows[0]}' if len(rows) == 1 else f'{len(rows)} rows'}"
    new = np.broadcast_to(values.reshape(old.shape if values.size == old.size else (1, -1)), old.shape)
    more = {"rows": rows[:_SHOWN], "labels": None if labels is None else list(labels)[:_SHOWN]}
    change = (where, old.tolist(), new.tolist(), message.reason)
    _note(inspector, client, "set", *change, column=address, row=rows[0], more=more)
    return {"old": pack_array(old)}


def _set_constant(inspector: Inspector, client: DebugClient, message: messages.SetConstantRequest) -> Answer:
    old, new, when = inspector.editor.set_constant(message.address, message.value)
    inspector.server.renew()
    inspector.wrote()
    more = {"address": message.address, "when": when}
    _note(inspector, client, "set", message.address, old, new, message.reason, more=more)
    return {"old": old, "new": new, "when": when}


def _reset(inspector: Inspector, client: DebugClient, message: messages.ResetRequest) -> Answer:
    _need_live(inspector)
    if inspector.table not in find_ends(inspector.simulation):
        raise EditError("unsupported", "This scene declares no endings, so that there is nothing to reset a row with.")
    count = inspector.world.tables[inspector.table].rows
    if message.rows and max(message.rows) >= count:
        raise EditError("bad_message", f"'{inspector.table}' has {count} rows; there is no row {max(message.rows)}.")
    inspector.resets += [row for row in message.rows if row not in inspector.resets]
    shown = ", ".join(map(str, message.rows[:8])) + (", …" if len(message.rows) > 8 else "")
    _note(inspector, client, "reset", f"rows {shown}", None, None, "")
    return {"rows": len(message.rows)}


def _live_signals(inspector: Inspector) -> frozenset[Key]:
    """Signals that were written before the next system of the tick, and are still read by it or a later one."""
    if inspector.steps.next is None:
        return frozenset()
    before, after = inspector.steps.due()
    written = {key for entry in before for key in entry.writes}
    read = {key for entry in after for key in (*entry.reads, *entry.asks)}
    return frozenset(key for key in written & read if key[0] and info(key[1]).lifetime == "signal")


def _note(
    inspector: Inspector, client: DebugClient, what: str, where: str, old: Any, new: Any, reason: str, *,
    column: str | None = None, row: int | None = None, more: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write an intervention into the log, and send an event of it."""
    line = {"tick": inspector.tick, "client": client.name, "what": what, "where": where, "old": old, "new": new, "reason": reason}  # fmt: skip
    inspector.interventions.note(line, viewing=inspector.viewing)
    short = {"old": old, "new": new} if np.size(new) <= _SHOWN else {}
    fields = {"client": client.name, "what": what, "reason": reason, **short, **(more or {})}
    inspector.publisher.event("edit", f"{client.name}: {what} {where}", column=column, row=row, fields=fields)


# -- files ---------------------------------------------------------------------------------------------


def _snapshot(inspector: Inspector, client: DebugClient, message: messages.SnapshotRequest) -> Answer:
    _need_live(inspector)
    if inspector.inside or not inspector.world.clock.begun:
        raise EditError("unsupported", "A checkpoint is written between ticks of a training only.")
    name = inspector.run.save_checkpoint()
    inspector.publisher.event("checkpoint", f"checkpoint {name}")
    return {"name": name}


def _record(inspector: Inspector, client: DebugClient, message: messages.RecordRequest) -> Answer:
    if message.on:
        if inspector.recorder is not None:
            raise EditError("busy", "The run is being recorded already; stop that first.")
        rows = _start_recorder(inspector, inspector.publisher.selected[client])
        inspector.publisher.event("record", f"recording rows {', '.join(map(str, rows))}")
        return {"path": ""}
    if inspector.recorder is None:
        raise EditError("bad_message", "Nothing is being recorded.")
    path = inspector.end_recording("request", f"{client.name} asked for a recording.")
    if path is None:
        raise EditError("unsupported", "The recording cannot be written; the log says why.")
    inspector.publisher.event("record", f"recording written: {path.name}")
    return {"path": str(path)}


def _start_recorder(inspector: Inspector, chosen: tuple[int, ...]) -> list[int]:
    if inspector.run.folder is None:
        raise EditError("unsupported", "There is no run folder to write recordings to.")
    count = inspector.world.tables[inspector.table].rows
    rows = [row for row in chosen if row < count][:MOST_ROWS] or None
    folder, report = inspector.run.folder / "records", partial(inspector.publisher.event, "record")
    inspector.recorder = Recorder(inspector.simulation, rows=rows, folder=folder, warn=report)
    inspector.recorder.attach()
    return [int(row) for row in inspector.recorder.trace.rows]


HANDLERS: dict[type[messages.ClientMessage], Callable[[Inspector, DebugClient, Any], Answer]] = {
    messages.SubscribeRequest: lambda on, by, asked: on.publisher.subscribe(by, asked, paused=on.steps.stands),
    messages.UnsubscribeRequest: lambda on, by, asked: on.publisher.unsubscribe(by, asked.id),
    messages.SelectMessage: lambda on, by, asked: on.publisher.select(by, asked.rows),
    messages.ProvenanceRequest: lambda on, by, asked: provenance(
        on.simulation, on.writers, list(on.world.columns())[asked.column]
    ),
    messages.AssetRequest: _asset,
    messages.PauseRequest: _pause, messages.RunRequest: _run, messages.StepRequest: _step, messages.RunToRequest: _run_to, messages.BreakRequest: _break, messages.UnbreakRequest: _unbreak,
    messages.SeekRequest: _seek, messages.LiveRequest: _live, messages.BranchRequest: _branch, messages.SetColumnRequest: _set_column, messages.SetConstantRequest: _set_constant,
    messages.ResetRequest: _reset, messages.SnapshotRequest: _snapshot, messages.RecordRequest: _record,
}  # fmt: skip
