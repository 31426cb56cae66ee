"""The run's side of the live debugger: lets clients in, checks what they say, and carries it to the tick thread.

The sockets belong to a thread of their own (engine/inspect/sockets.py), so that a tick never waits for a client.
"""

import atexit
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from engine.errors import SceneError, WireError
from engine.inspect.client import HANDSHAKE_FRAME, REPLIES, Peer, TooLarge
from engine.inspect.inbox import Inbox, Item
from engine.inspect.listener import Debug, listen
from engine.inspect.sockets import Sockets
from engine.protocol import messages
from engine.protocol.discovery import beside, free_stem, remove, runs_folder, write_note
from engine.protocol.fields import COLUMNS, HZ, ROWS, Refused
from engine.protocol.framing import MAGIC, PROTOCOL, encode_frame, other_version, schema_hash
from engine.protocol.messages import Known, Message

CLIENTS, SUBSCRIPTIONS, BREAKS = 4, 64, 32
IDLE, PING = 10.0, 1.0
"""Seconds of silence until a client is given up, and between pings."""
STUCK, STATE_EVERY = 1.0, 0.5
"""Seconds without a word from the tick thread until the hub speaks for it; between its states."""
_BAD_MESSAGES = 3
_SCHEDULE = os.path.join("engine", "ecs", "schedule.py")
_DEEPEST = 40  # frames of a stack that are shown


@attrs.define(eq=False, slots=False)
class Hub:
    """Lets debuggers in and carries messages between them and the tick thread. It knows nothing of what they mean.

    run: the map `run` of `hello` (name, scene, pid, host, started, device, seed, folder). schema: the schema message, or
    a function that makes it when the first client comes. features: what `hello` lists. debug: also listen on TCP.

    For the thread that called `start`, or that ticks:
      attached          whether anybody is there: one attribute read, all that an unattended tick pays
      drain()           what clients said since: (peer, a message of engine/protocol/messages.py, Joined or Left), in order. Messages
                        have been checked against the schema; those that control come only from the peer that may
      wait(seconds)     until something is there to drain, for a paused run; True when there is
      post(peer, m)     an answer (`ok`, `error`, `sub_ok`, ...) or an event for one client, in order
      broadcast(m)      an event for all clients
      offer(peer, s, m) data for subscription s: kind, ticks and cols of a `data` message whose arrays nobody writes to
                        any more; sub, seq and lost are filled in, arrays are packed. Latest wins; False when something
                        was lost
      send()            once behind several calls of broadcast and offer with wake=False
      empty(peer, s)    whether an offer would not replace one that still waits
      publish(state)    the `state` message, to everybody, in order with answers and events; say it at least every
                        STATE_EVERY seconds
      renew()           the schema says something else now: whoever comes next is told anew
      controller        the peer that holds control, or None

    None of these raises for what a client does, or waits. `ping`, `control`, acknowledgements and, when the tick thread
    says nothing for STUCK seconds, a `state` with where it is (`why`, `stack`) are answered by the hub itself.
    """

    run: Mapping[str, Any]
    schema: "Mapping[str, Any] | Callable[[], Mapping[str, Any]]"
    features: tuple[str, ...] = messages.KINDS
    engine: str = "lockstep"
    debug: Debug = attrs.field(factory=Debug)
    expose: bool = False
    folder: Path | None = None
    attached: bool = attrs.field(default=False, init=False)
    controller: Peer | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.stem: Path | None = None
        self._sockets = Sockets(self._hear, self._parted, self._watch)
        self._lock = self._sockets.lock
        self._inbox = Inbox(self._lock)
        self._ticker = threading.get_ident()
        self._beat = self._said_state = self._pinged = 0.0
        self._state: dict[str, Any] | None = None
        self._sessions = 0
        self._owing = False
        self._known: Known | None = None
        self._stale = False
        self._schema_frame, self._schema_hash = b"", ""
        self._owner = os.getpid()

    @property
    def wakes(self) -> int:
        """How often the thread of the sockets has woken up."""
        return self._sockets.wakes

    @property
    def trouble(self) -> str:
        """The traceback of the last mistake that the hub made and survived, "" for none."""
        return self._sockets.trouble

    # -- life ------------------------------------------------------------------------------------------

    def start(self) -> list[str]:
        """Open the sockets and start the thread; sentences that the user should read, if any.

        SceneError when nothing can be opened: the run can go on without a debugger.
        """
        try:
            folder = runs_folder(create=True) if self.folder is None else self.folder
            self.stem = free_stem(folder, os.getpid())
            self._sockets.listeners, notices = listen(self.stem, self.debug, self.expose)
            write_note(beside(self.stem, ".json"), self._note())
            self._sockets.start()
        except (OSError, SceneError) as error:
            self._sockets.close_listeners()
            if self.stem is not None:
                remove(self.stem)
            if isinstance(error, SceneError):
                raise
            raise SceneError(f"No debugger can attach: {error}.") from None
        atexit.register(self.close)
        return notices

    def _note(self) -> dict[str, Any]:
        words = {word: str(self.run.get(word, "")) for word in ("host", "scene", "started")}
        words["host"] = words["host"] or socket.gethostname()
        return {"protocol": list(PROTOCOL), "pid": os.getpid(), "run": str(self.run.get("name", "")), **words}

    def close(self, text: str = "The run has ended.", code: str = "ended", tick: int | None = None) -> None:
        """Say goodbye to every client, close and remove everything; a second call does nothing.

        Called when the process ends, if nobody did before.
        """
        if os.getpid() != self._owner or self.stem is None:
            return  # a forked child has our sockets, but they are not its own to close
        atexit.unregister(self.close)
        stem, self.stem = self.stem, None
        self._sockets.stop({"code": code, "text": text, "tick": tick})
        self.attached = False
        remove(stem)

    # -- for the tick thread ---------------------------------------------------------------------------

    def drain(self) -> list[Item]:
        """Everything that has come since, in order."""
        self._ticker, self._beat = threading.get_ident(), time.monotonic()
        if not self._inbox:
            return []
        with self._lock:
            found = self._inbox.take()
            self.attached = bool(self._sockets.attached())
        return found

    def wait(self, seconds: float) -> bool:
        """Sleep until there is something to drain."""
        self._ticker, self._beat = threading.get_ident(), time.monotonic() + seconds
        there = self._inbox.arrived.wait(seconds)
        self._beat = time.monotonic()
        return there

    def post(self, peer: Peer, message: Mapping[str, Any]) -> None:
        """Send one client an answer or event; one that cannot be packed becomes an error of the same id."""
        frame = _packed(message)
        if message["t"] == "sub_no":
            with self._lock:
                peer.forget(message["id"])
        self._queue(peer, frame)
        self._sockets.wake()

    def broadcast(self, message: Mapping[str, Any], *, wake: bool = True) -> None:
        """Send every client an event."""
        if self.attached:
            frame = _packed(message)
            for peer in self._sockets.attached():
                self._queue(peer, frame)
            self._owing = True
            if wake:
                self.send()

    def offer(self, peer: Peer, subscription: int, message: dict[str, Any], *, wake: bool = True) -> bool:
        """Put data where the hub takes it as soon as the client has room."""
        with self._lock:
            if peer.gone or subscription not in peer.subscriptions:
                return False
            kept = peer.offer(subscription, message)
            self._owing = self._owing or peer.ready  # otherwise its next acknowledgement wakes the thread
        if wake:
            self.send()
        return kept

    def send(self) -> None:
        """Have what was given with `wake=False` sent: one wake of the other thread for all of it."""
        if self._owing:
            self._owing = False
            self._sockets.wake()

    def empty(self, peer: Peer, subscription: int) -> bool:
        """Whether nothing of a subscription waits to be sent."""
        with self._lock:
            return peer.empty(subscription)

    def publish(self, state: Mapping[str, Any]) -> None:
        """Tell everybody how the run goes on."""
        self._ticker, self._beat = threading.get_ident(), time.monotonic()
        self._state = {**state, "t": "state"}
        self._tell(self._state)
        self._sockets.wake()

    def renew(self) -> None:
        """What the schema says has changed, but for what it names."""
        self._stale = True

    def _tell(self, state: Mapping[str, Any]) -> None:
        self._said_state = time.monotonic()
        frame = _packed(state)
        with self._lock:
            for peer in self._sockets.attached():
                peer.tell_state(frame)

    def _queue(self, peer: Peer, frame: bytes) -> None:
        with self._lock:
            fits = peer.gone or peer.reply(frame)
        if not fits:
            peer.too_slow = True

    # -- what clients say ------------------------------------------------------------------------------

    def _hear(self, peer: Peer, now: float) -> None:
        if peer.stage == "magic":
            begun = peer.opening(MAGIC)
            if begun is False:
                self._sockets.drop(peer)
            if not begun:
                return
            peer.stage, peer.opened = "auth", now
            peer.greet(encode_frame(self._hello(peer)))
        try:
            while (body := peer.next_frame(now, self._longest(peer))) is not None:
                if peer.stage == "auth":
                    self._authenticate(peer, body, now)
                else:
                    self._take(peer, body, now)
                if peer.gone:
                    return
            peer.compact()
        except TooLarge as error:
            self._sockets.dismiss(peer, "too_large", str(error))

    def _longest(self, peer: Peer) -> int:
        if peer.stage == "auth":
            return HANDSHAKE_FRAME
        return messages.LARGE_FRAME if self.controller is peer else messages.FRAME

    def _hello(self, peer: Peer) -> dict[str, Any]:
        limits = {"subscriptions": SUBSCRIPTIONS, "columns": COLUMNS, "rows": ROWS, "hz": int(HZ), "breaks": BREAKS,
                  "clients": CLIENTS, "frame": messages.FRAME, "set_frame": messages.LARGE_FRAME}  # fmt: skip
        return {"t": "hello", "protocol": list(PROTOCOL), "engine": self.engine, "nonce": peer.nonce,
                "auth": peer.listener.auth, "run": dict(self.run), "features": list(self.features), "limits": limits}  # fmt: skip

    def _authenticate(self, peer: Peer, body: bytes, now: float) -> None:
        try:
            auth, values = messages.decode(body)
        except Refused as error:
            self._sockets.dismiss(peer, error.code, str(error))
            return
        peer.charge(now, values, False)
        if not isinstance(auth, messages.Auth):
            self._sockets.dismiss(peer, "bad_message", "A client answers 'hello' with 'auth'.")
        elif auth.protocol[0] != PROTOCOL[0]:
            self._sockets.dismiss(peer, "version", other_version(PROTOCOL, auth.protocol))
        elif not peer.listener.proven(auth.proof, peer.nonce, auth.role):
            self._sockets.distrust(peer.listener, now)
            self._sockets.dismiss(peer, "auth", "The token is not this run's; give --token-file with its <pid>.token.")
        elif len(self._sockets.attached()) >= CLIENTS:
            self._sockets.dismiss(peer, "busy", f"{CLIENTS} debuggers are attached already; close one of them.")
        else:
            self._let_in(peer, auth, now)

    def _let_in(self, peer: Peer, auth: messages.Auth, now: float) -> None:
        self._make_schema()
        self._sessions += 1
        peer.session, peer.name = self._sessions, auth.client
        takes = auth.role == "control" and self.controller is None
        if takes:
            peer.role, self.controller = "control", peer
        holder = self.controller.name if self.controller is not None else None
        welcome = {"t": "welcome", "session": peer.session, "role": peer.role, "controller": holder, "schema": self._schema_hash}  # fmt: skip
        peer.greet(encode_frame(welcome))
        if auth.schema != self._schema_hash:
            peer.greet(self._schema_frame)
        if not self.attached:
            self._beat = now
        with self._lock:
            peer.stage = "attached"
            if self._state is not None:
                peer.tell_state(_packed(self._state))
            self._inbox.joined(peer)
            self.attached = True
        if takes:
            self._tell_control(f"{peer.name} holds control")

    def _make_schema(self) -> None:
        if self._known is None or self._stale:
            self._stale = False
            schema = dict(self.schema() if callable(self.schema) else self.schema)
            self._schema_hash = schema.setdefault("hash", schema_hash(schema))
            self._schema_frame = encode_frame(schema)
            self._known = Known.of(schema)

    def _take(self, peer: Peer, body: bytes, now: float) -> None:
        try:
            message, values = messages.decode(body, self._known)
        except Refused as error:
            peer.charge(now, 0, False)
            self._refuse(peer, error)
            return
        peer.bad = 0
        peer.charge(now, values, isinstance(message, (messages.Ack, messages.Ping, messages.Pong)))
        match message:
            case messages.Ack(seq=seq):
                peer.acknowledge(seq)
            case messages.Ping(n=n):
                self._queue(peer, encode_frame({"t": "pong", "n": n}))
            case messages.Pong():
                pass
            case messages.Control():
                self._control(peer, message)
            case _:
                self._pass_on(peer, message, len(body))

    def _refuse(self, peer: Peer, error: Refused) -> None:
        self._queue(peer, encode_frame({"t": error.answer, "id": error.id, "code": error.code, "text": str(error)}))
        peer.bad = peer.bad + 1 if error.code == "bad_message" else 0
        if peer.bad >= _BAD_MESSAGES:
            self._sockets.dismiss(
                peer, "bad_message", f"{_BAD_MESSAGES} messages in a row were bad; the last one: {error}"
            )

    def _pass_on(self, peer: Peer, message: Message, size: int) -> None:
        number = getattr(message, "id", None)
        if message.controls and self.controller is not peer:
            self._error(peer, number, "not_controller", self._who_controls())
        elif isinstance(message, messages.Sub) and len(peer.subscriptions | {message.id}) > SUBSCRIPTIONS:
            text = f"{SUBSCRIPTIONS} subscriptions are the most; stop one of them."
            self._queue(peer, encode_frame({"t": "sub_no", "id": number, "code": "over_budget", "text": text}))
        else:
            self._open_or_close_slot(peer, message)
            if not self._inbox.put(peer, message, size):
                text = f"{len(self._inbox)} messages wait for the run: it is {self._where()}."
                answer = "sub_no" if isinstance(message, messages.Sub) else "error"
                self._refuse(peer, Refused("busy", text, number, answer))

    def _open_or_close_slot(self, peer: Peer, message: Message) -> None:
        if isinstance(message, (messages.Sub, messages.Unsub)):
            with self._lock:
                peer.forget(message.id)
                if isinstance(message, messages.Sub):
                    peer.subscriptions.add(message.id)

    def _error(self, peer: Peer, number: int | None, code: str, text: str) -> None:
        self._queue(peer, encode_frame({"t": "error", "id": number, "code": code, "text": text}))

    # -- control ---------------------------------------------------------------------------------------

    def _control(self, peer: Peer, message: messages.Control) -> None:
        if message.do == "take" and self.controller not in (None, peer):
            self._error(peer, message.id, "busy", self._who_controls())
            return
        taken = message.do == "take"
        if taken and self.controller is None:
            self._hand_control(peer, f"{peer.name} holds control")
        elif not taken and self.controller is peer:
            self._hand_control(None, f"{peer.name} has given control back")
        holder = self.controller.name if self.controller is not None else None
        self._queue(peer, encode_frame({"t": "ok", "id": message.id, "role": peer.role, "controller": holder}))

    def _hand_control(self, peer: Peer | None, text: str) -> None:
        if self.controller is not None:
            self.controller.role = "observe"
        self.controller = peer
        if peer is not None:
            peer.role = "control"
        self._tell_control(text)

    def _tell_control(self, text: str) -> None:
        holder = self.controller
        tick = (self._state or {}).get("tick")
        fields = {"controller": holder.name if holder is not None else None}
        event = {"t": "event", "kind": "control", "tick": tick, "row": None, "column": None, "system": None,
                 "text": f"{text}.", "fields": fields}  # fmt: skip
        for each in self._sockets.attached():
            self._queue(each, encode_frame(event))

    def _who_controls(self) -> str:
        if self.controller is None:
            return "Only the debugger that holds control may do that, and nobody does; take control first."
        return f"Only the debugger that holds control may do that, and {self.controller.name} does; ask there to release it."

    # -- a tick that does not come back ----------------------------------------------------------------

    def _where(self) -> str:
        return f"in {_stack_summary(self._ticker)[0]} for {max(0.0, time.monotonic() - self._beat):.0f} s"

    def _watch(self, now: float) -> None:
        if self.attached and now - self._beat > STUCK and now - self._said_state > STATE_EVERY:
            base = self._state or {"t": "state", "mode": "running", "tick": None}
            where, stack = self._where(), _stack_summary(self._ticker)[1]
            self._tell({**base, "why": where, "stuck": now - self._beat, "stack": stack})
        ping = now - self._pinged >= PING
        for peer in self._sockets.attached():
            if now - peer.heard > IDLE:
                self._sockets.dismiss(peer, "idle", f"The debugger said nothing for {IDLE:g} s.")
            elif peer.too_slow:
                text = f"More than {REPLIES} answers and events waited: the debugger is too slow."
                self._sockets.dismiss(peer, "too slow", text)
            elif ping:
                self._pinged = now
                self._queue(peer, encode_frame({"t": "ping", "n": int(now * 1000)}))

    def _parted(self, peer: Peer) -> None:
        controlled = self.controller is peer
        self._inbox.left(peer, controlled)
        if not self._sockets.attached():
            self._state = None
        if controlled:
            self._hand_control(None, f"{peer.name} has gone, nobody holds control")


def _packed(message: Mapping[str, Any]) -> bytes:
    try:
        return encode_frame(message)
    except WireError as error:
        return encode_frame({"t": "error", "id": message.get("id"), "code": "unsupported", "text": str(error)})


def _stack_summary(thread: int) -> tuple[str, list[str]]:
    """(system that another thread is in, 'function (file:line)' of its stack, outermost first)."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "a thread that has ended", []
    stack = traceback.extract_stack(frame)
    lines = [f"{each.name} ({'/'.join(Path(each.filename).parts[-2:])}:{each.lineno})" for each in stack]
    called = [index + 1 for index, each in enumerate(stack) if each.filename.endswith(_SCHEDULE)]
    return stack[min(called[-1] if called else -1, len(stack) - 1)].name, lines[-_DEEPEST:]
