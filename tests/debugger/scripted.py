"""A server that speaks the debugger protocol from a made-up run: for tests of clients, and for looking at them.

It stands still until a test calls `advance`, so what a client receives depends on nothing but what a test does; with
`python -m tests.debugger.scripted` it listens in the folder of live runs and advances 50 times a second.
"""

import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from engine.errors import WireError
from engine.protocol.discovery import remove, runs_folder, write_note
from engine.protocol.framing import decode_body, encode_frame, pack_array, unpack_array
from tests.debugger.scripted_run import SYSTEMS, ScriptedRun

TICKS_PER_SECOND = 50
PATIENCE = 30.0  # s that a test waits for what has to come, on a machine that has much else to do
HISTORY = 500
FEATURES = ["values", "pose", "trace", "column", "timing", "learner", "vitals", "break", "set", "step", "seek", "branch",
            "record", "snapshot", "provenance", "reset"]  # fmt: skip


@attrs.define(eq=False)
class Peer:
    """One client as the scripted server sees it."""

    socket: socket.socket
    subs: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    sent: dict[int, int] = attrs.field(factory=dict)  # last tick sent, by subscription
    waiting: set[int] = attrs.field(factory=set)  # sequence numbers not acknowledged
    selected: list[int] = attrs.field(factory=lambda: [0])
    role: str = "observe"
    sequence: int = 0


@attrs.define(eq=False, slots=False)
class ScriptedServer:
    """Use as a context manager. `path` is the Unix socket; `received` every message of every client, in order.

    advance(n): n ticks pass and what is due is sent. event(kind, ...), end(text), drop() and raw(bytes) do to the client
    what a run may do to it. `deaf` commands get no answer; `refuse` maps a command to (code, text);
    `models` are handed out by hash, in parts of 100 bytes.
    """

    path: Path
    run: ScriptedRun = attrs.field(factory=ScriptedRun)
    protocol: tuple[int, int] = (1, 0)
    tick: int = 1000
    mode: str = "running"
    token: bytes = b""
    received: deque[dict[str, Any]] = attrs.field(factory=deque)
    deaf: set[str] = attrs.field(factory=set)
    refuse: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    models: dict[str, bytes] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.peers: list[Peer] = []
        self._connections: list[socket.socket] = []
        self.breaks: dict[int, dict[str, Any]] = {}
        self.controller: str | None = None
        self.view: int | None = None
        self.next: int | None = None
        self.why = ""
        self.intervened = 0
        self._lock = threading.RLock()
        self._arrived = threading.Condition(self._lock)

    def __enter__(self) -> "ScriptedServer":
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(os.fspath(self.path))
        self._listener.listen(8)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        _hang_up(self._listener)  # which wakes the thread that accepts
        self._threads[0].join()
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)
        for thread in self._threads:
            thread.join()
        self.path.unlink(missing_ok=True)

    # -- what a test does ------------------------------------------------------------------------------

    def advance(self, ticks: int = 1) -> None:
        """Let ticks pass (none while paused), and send what is due with at most two frames unacknowledged."""
        with self._lock:
            for _ in range(ticks):
                if self.mode in ("running", "viewing"):
                    self.tick += 1
                for peer in list(self.peers):
                    self._publish(peer)

    def event(self, kind: str, text: str = "", *, row: int | None = None, column: int | None = None,
              system: int | None = None, fields: dict[str, Any] | None = None) -> None:  # fmt: skip
        """Tell every client of something that happened."""
        self._all({"t": "event", "kind": kind, "tick": self.tick, "row": row, "column": column, "system": system,
                   "text": text, "fields": fields or {}})  # fmt: skip

    def end(self, text: str = "the run has finished") -> None:
        """Say goodbye and hang up, as a run does that ends."""
        with self._lock:
            self.mode = "ended"
            self._all(self.state())
            self._all({"t": "bye", "code": "ended", "text": text, "tick": self.tick})
            self.drop()

    def drop(self) -> None:
        """Hang up without a word."""
        with self._lock:
            for peer in self.peers:
                _hang_up(peer.socket)
            self.peers.clear()

    def raw(self, data: bytes) -> None:
        """Send bytes that need not be a frame."""
        with self._lock:
            for peer in self.peers:
                peer.socket.sendall(data)

    def messages(self, message_type: str, /, **fields: Any) -> list[dict[str, Any]]:
        """What clients have sent so far of a type and with these fields, in order."""
        wanted = {"t": message_type, **fields}.items()
        with self._lock:  # a deque must not be gone through while another thread adds to it
            return [message for message in self.received if all(message.get(key) == value for key, value in wanted)]

    def wait(self, message_type: str, /, **fields: Any) -> dict[str, Any]:
        """The latest message of a type and with these fields that a client sent, as soon as there is one."""
        with self._lock:
            there = self._arrived.wait_for(lambda: self.messages(message_type, **fields), PATIENCE)
            assert there, f"no '{message_type}' {fields} came within {PATIENCE} s, but {[*self.received][-20:]}"
            return self.messages(message_type, **fields)[-1]

    # -- connections -----------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                peer = Peer(self._listener.accept()[0])
            except OSError:
                return
            self._connections.append(peer.socket)
            self._threads.append(threading.Thread(target=self._serve, args=(peer,), daemon=True))
            self._threads[-1].start()

    def _serve(self, peer: Peer) -> None:
        try:
            if _exactly(peer.socket, 8) != b"ENGDBG1\n":
                return
            self._send(peer, self._hello())
            self._welcome(peer, self._read(peer))
            while True:
                message = self._read(peer)
                with self._lock:
                    self._obey(peer, message)
        except (OSError, EOFError):
            pass
        finally:
            with self._lock:
                if peer in self.peers:
                    self.peers.remove(peer)
            peer.socket.close()

    def _hello(self) -> dict[str, Any]:
        return {
            "t": "hello",
            "protocol": list(self.protocol),
            "engine": "lockstep 0.1.0",
            "nonce": bytes(range(16)),
            "auth": "token" if self.token else "peer",
            "run": {
                "name": "scripted/2026-01-01_12-00-00",
                "scene": "scripted",
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "started": "2026-01-01T12:00:00",
                "device": "cpu",
                "seed": self.run.seed,
                "folder": "runs/scripted/2026-01-01_12-00-00",
            },
            "features": FEATURES,
            "limits": {"subscriptions": 64, "rows": 64, "columns": 256, "hz": 60, "breaks": 32, "clients": 4},
        }

    def _welcome(self, peer: Peer, auth: dict[str, Any]) -> None:
        schema = self.run.schema()
        with self._lock:
            peer.role = auth["role"]
            if peer.role == "control" and self.controller is None:
                self.controller = auth["client"]
            self.peers.append(peer)
            self._send(peer, {"t": "welcome", "session": len(self.received), "role": peer.role,
                              "controller": self.controller, "schema": schema["hash"]})  # fmt: skip
            if auth["schema"] != schema["hash"]:
                self._send(peer, schema)
            self._send(peer, self.state())

    def _read(self, peer: Peer) -> dict[str, Any]:
        (length,) = struct.unpack(">I", _exactly(peer.socket, 4))
        message = decode_body(_exactly(peer.socket, length))
        with self._lock:
            self.received.append(message)
            self._arrived.notify_all()
        return message

    def _send(self, peer: Peer, message: dict[str, Any]) -> None:
        try:
            peer.socket.sendall(encode_frame(message))
        except OSError:
            return  # its thread finds out

    def _all(self, message: dict[str, Any]) -> None:
        with self._lock:
            for peer in self.peers:
                self._send(peer, message)

    # -- data ------------------------------------------------------------------------------------------

    def _publish(self, peer: Peer) -> None:
        for sub in list(peer.subs.values()):
            last = peer.sent.get(sub["id"], self.tick - 1)
            wait = 1 if sub["id"] not in peer.sent or self.mode == "paused" else round(TICKS_PER_SECOND / sub["hz"])
            due = self.tick - last >= max(1, wait)
            if not due or len(peer.waiting) >= 2:
                continue
            peer.sequence += 1
            peer.waiting.add(peer.sequence)
            peer.sent[sub["id"]] = self.tick
            rows = peer.selected if sub["rows"] == "selected" else sub["rows"]
            rows = [row for row in rows if row < self.run.rows]
            self._send(peer, self.run.data(sub, rows, last + 1, self.tick, peer.sequence))

    def state(self) -> dict[str, Any]:
        """The `state` message of this moment."""
        return {
            "t": "state",
            "mode": self.mode,
            "tick": self.tick,
            "next": self.next,
            "substep": 0,
            "why": self.why,
            "ticks_per_second": float(TICKS_PER_SECOND),
            "cost": 0.003,
            "dropped": 0,
            "controller": self.controller,
            "inspected": self.mode == "paused",
            "view": self.view,
            "history": [max(0, self.tick - HISTORY), self.tick],
            "exact": True,
            "intervened": self.intervened,
        }

    # -- commands --------------------------------------------------------------------------------------

    def _obey(self, peer: Peer, message: dict[str, Any]) -> None:
        kind = message["t"]
        if kind == "ack":
            peer.waiting = {seq for seq in peer.waiting if seq > message["seq"]}
        elif kind == "ping":
            self._send(peer, {"t": "pong", "n": message["n"]})
        elif kind == "sub":
            peer.subs[message["id"]] = message
            peer.sent.pop(message["id"], None)
            self._send(peer, {"t": "sub_ok", "id": message["id"], "hz": float(message["hz"]), "bytes": 1000})
            self._publish(peer)
        elif kind == "unsub":
            peer.subs.pop(message["id"], None)
        elif kind == "select":
            peer.selected = message["rows"]
        elif kind not in self.deaf and "id" in message:
            self._answer(peer, message)

    def _answer(self, peer: Peer, message: dict[str, Any]) -> None:
        kind, number = message["t"], message["id"]
        command: Callable[[Peer, dict[str, Any]], dict[str, Any]] | None = getattr(self, f"_do_{kind}", None)
        code, text = self.refuse.get(kind, ("unsupported", f"'{kind}' is no message of this protocol."))
        if kind in self.refuse or command is None:
            self._send(peer, {"t": "error", "id": number, "code": code, "text": text})
            return
        if kind == "step" and self.mode != "paused":
            self._send(peer, {"t": "error", "id": number, "code": "not_paused", "text": "Pause before stepping."})
            return
        try:
            answer = command(peer, message)
        except (KeyError, ValueError, IndexError, TypeError, WireError) as error:
            self._send(
                peer, {"t": "error", "id": number, "code": "bad_message", "text": f"'{kind}' is wrong: {error}."}
            )
            return
        self._all(self.state())
        self._send(peer, {"t": "ok", "id": number, **answer})

    def _pause_at(self, system: int | None, why: str) -> dict[str, Any]:
        self.mode, self.next, self.why = "paused", system, why
        return {}

    def _do_pause(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        return self._pause_at(self.next or 0, "paused by hand")

    def _do_run(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.mode, self.next, self.why, self.view = "running", None, "", None
        return {}

    def _do_step(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        systems = {"system": 1, "phase": 2, "tick": len(SYSTEMS)}[message["unit"]] * message["count"]
        place = (self.next or 0) + systems
        self.tick += place // len(SYSTEMS)
        self._pause_at(place % len(SYSTEMS), "stepped")
        for each in self.peers:
            self._publish(each)
        return {}

    def _do_run_to(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.tick = message["tick"] if message.get("tick") is not None else self.tick + 1
        return self._pause_at(message.get("system") or 0, "arrived")

    def _do_set(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.intervened += 1
        self.event("edit", f"edit: {message['reason']}", column=message.get("column"))
        if "address" in message:
            return {"old": "0.3", "new": message["value"], "when": "live"}
        rows, labels = np.array(message["rows"]), message["labels"]
        old = self.run.sample(message["column"], np.full(len(rows), self.tick), rows).reshape(len(rows), -1)
        old = old if labels is None else old[:, labels]
        new = unpack_array(message["values"])
        new = np.broadcast_to(new.reshape(-1) if new.size in (1, old.shape[1]) else new.reshape(old.shape), old.shape)
        self.run.edits.append((message["column"], self.tick, rows, labels, new))
        return {"old": pack_array(old)}

    def _do_break(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        number = len(self.breaks) + 1
        self.breaks[number] = message
        return {"break": number}

    def _do_unbreak(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.breaks.pop(message["break"], None)
        return {}

    def _do_seek(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.mode, self.view = "viewing", message["tick"]
        return {}

    def _do_live(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.mode, self.view, self.why = "paused", None, "back from an earlier tick"
        return {}

    def _do_branch(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.tick = self.view if self.view is not None else self.tick
        self.intervened += 1
        return self._do_live(peer, message)

    def _do_snapshot(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        return {"name": f"iteration_000001_tick_{self.tick}.lockstep"}

    def _do_record(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.event("record", "recording" if message["on"] else "recording saved")
        return {"path": "" if message["on"] else "records/1.rec"}

    def _do_reset(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        self.event("reset", fields={"reasons": {"by hand": len(message["rows"])}, "rows": len(message["rows"])})
        return {}

    def _do_control(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        peer.role = "control" if message["do"] == "take" else "observe"
        self.controller = "scripted client" if message["do"] == "take" else None
        self.event("control", f"{self.controller or 'nobody'} holds control.")
        return {"role": peer.role, "controller": self.controller}

    def _do_asset(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        data, offset = self.models[message["hash"]], message["offset"]
        return {"hash": message["hash"], "offset": offset, "size": len(data), "data": data[offset : offset + 100]}

    def _do_provenance(self, peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
        address = {number: name for name, number in self.run.ids.items()}[message["column"]]
        component = address.split(".")[1]
        writers = [name for name, _, _, _, writes, _ in SYSTEMS if component in writes]
        readers = [name for name, _, _, reads, _, _ in SYSTEMS if component in reads]
        sources = [f"robot.{each}" for name, _, _, reads, _, _ in SYSTEMS if name in writers[-1:] for each in reads]
        return {
            "writer": (writers or [""])[-1],
            "tick": self.tick,
            "kind": "observed",
            "readers": readers,
            "sources": sources,
        }


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _hang_up(peer: socket.socket) -> None:
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def main() -> None:
    """Serve until interrupted."""
    stem = runs_folder(create=True) / str(os.getpid())
    with ScriptedServer(stem.with_suffix(".sock")) as server:
        write_note(stem.with_suffix(".json"), {"protocol": [1, 0], "pid": os.getpid(), "host": socket.gethostname(),
                   "scene": "scripted", "run": "scripted", "started": "2026-01-01T12:00:00"})  # fmt: skip
        try:
            while True:
                time.sleep(1 / TICKS_PER_SECOND)
                server.advance()
                if server.tick % (TICKS_PER_SECOND // 2) == 0:
                    server._all(server.state())
                if server.tick % 40 == 0:
                    server.event("reset", fields={"reasons": {"anchor_height": 3, "time_limit": 1}, "rows": 4})
        except KeyboardInterrupt:
            server.end("interrupted")
        finally:
            remove(stem)


if __name__ == "__main__":
    main()
