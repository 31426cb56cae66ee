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
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from engine.errors import SceneError, WireError
from engine.inspect.client import HANDSHAKE_FRAME, REPLIES, DebugClient
from engine.inspect.listener import ListenOptions, listen
from engine.inspect.sockets import Sockets
from engine.protocol import messages
from engine.protocol.discovery import beside, free_stem, remove, runs_folder, write_note
from engine.protocol.framing import MAGIC, PROTOCOL, FrameTooLarge, encode_frame, other_version, schema_hash
from engine.protocol.messages import COLUMNS, HZ, ROWS, ClientMessage, RefusedMessage, SchemaBounds

CLIENTS, SUBSCRIPTIONS, BREAKS = 4, 64, 32
MESSAGES, BYTES = 1024, 2 << 20
"""Messages of clients that may wait for the tick thread, and their bytes."""
IDLE, PING = 10.0, 1.0
"""Seconds of silence until a client is given up, and between pings."""
STUCK, STATE_EVERY = 1.0, 0.5
"""Seconds without a word from the tick thread until the server speaks for it; between its states."""
_BAD_MESSAGES = 3
_SCHEDULE = os.path.join("engine", "ecs", "schedule.py")
_DEEPEST = 40  # frames of a stack that are shown


@attrs.frozen
class Joined:
    """A client has been let in."""


@attrs.frozen
class Left:
    """A client has gone. `controlled`: it held control, which nobody has now."""

    controlled: bool


@attrs.define(eq=False, slots=False)
class DebugServer:
    """Lets debuggers in and carries messages between them and the tick thread. It knows nothing of what they mean.

    run: the map `run` of `hello` (name, scene, pid, host, started, device, seed, folder). schema: the schema message, or
    a function that makes it when the first client comes. features: what `hello` lists. debug: also listen on TCP.
    attached: whether anybody is there, which is all that an unattended tick reads. controller: who holds control.

    What the tick thread calls (drain to renew) neither raises for what a client does, nor waits. `ping`, `control`,
    acknowledgements and, when the tick thread says nothing for STUCK seconds, a `state` with where it is (`why`, `stack`)
    are answered by the server itself.
    """

    run: Mapping[str, Any]
    schema: "Mapping[str, Any] | Callable[[], Mapping[str, Any]]"
    features: tuple[str, ...] = messages.KINDS
    engine: str = "lockstep"
    debug: ListenOptions = attrs.field(factory=ListenOptions)
    expose: bool = False
    folder: Path | None = None
    attached: bool = attrs.field(default=False, init=False)
    controller: DebugClient | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.stem: Path | None = None
        self.sockets = Sockets(self._on_data, self._on_close, self._on_timer)
        self._lock = self.sockets.lock
        self._inbox: deque[tuple[DebugClient, ClientMessage | Joined | Left, int]] = deque()  # with sizes in bytes
        self._arrived = threading.Event()
        self._ticker = threading.get_ident()
        self._beat = self._state_sent = self._pinged = 0.0
        self._state: dict[str, Any] | None = None
        self._sessions = 0
        self._unsent = False
        self._known: SchemaBounds | None = None
        self._stale = False
        self._schema_frame, self._schema_hash = b"", ""
        self._owner = os.getpid()

    @property
    def holder(self) -> str | None:
        """The name of the client that holds control."""
        return self.controller.name if self.controller is not None else None

    # -- life ------------------------------------------------------------------------------------------

    def start(self) -> list[str]:
        """Open the sockets and start the thread; sentences that the user should read, if any.

        SceneError when nothing can be opened: the run can go on without a debugger.
        """
        try:
            folder = runs_folder(create=True) if self.folder is None else self.folder
            self.stem = free_stem(folder, os.getpid())
            self.sockets.listeners, notices = listen(self.stem, self.debug, self.expose)
            write_note(beside(self.stem, ".json"), self._note())
            self.sockets.start()
        except (OSError, SceneError) as error:
            self.sockets.close_listeners()
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
        self.sockets.stop({"code": code, "text": text, "tick": tick})
        self.attached = False
        remove(stem)

    # -- for the tick thread ---------------------------------------------------------------------------

    def drain(self) -> list[tuple[DebugClient, ClientMessage | Joined | Left]]:
        """What clients have sent since, in order: checked against the schema, and what needs control only from who has it."""
        self._ticker, self._beat = threading.get_ident(), time.monotonic()
        if not self._inbox:
            return []
        with self._lock:
            found = [(client, message) for client, message, _ in self._inbox]
            self._inbox.clear()
            self._arrived.clear()
            self.attached = bool(self.sockets.attached())
        return found

    def wait(self, seconds: float) -> bool:
        """Sleep until there is something to drain, for a paused run; True when there is."""
        self._ticker, self._beat = threading.get_ident(), time.monotonic() + seconds
        there = self._arrived.wait(seconds)
        self._beat = time.monotonic()
        return there

    def post(self, client: DebugClient, message: Mapping[str, Any]) -> None:
        """Send one client an answer or event, in order; one that cannot be packed becomes an error of the same id."""
        frame = _packed(message)
        if message["t"] == "sub_no":
            with self._lock:
                client.forget(message["id"])
        self._queue(client, frame)
        self.sockets.wake()

    def broadcast(self, message: Mapping[str, Any], *, wake: bool = True) -> None:
        """Send every client an event."""
        if self.attached:
            frame = _packed(message)
            for client in self.sockets.attached():
                self._queue(client, frame)
            self._unsent = True
            if wake:
                self.send()

    def offer(self, client: DebugClient, subscription: int, message: dict[str, Any], *, wake: bool = True) -> bool:
        """Put data where the server takes it as soon as the client has room; False when something was lost, as latest wins.

        message: kind, ticks and cols of a `data` message whose arrays nobody writes to any more.
        """
        with self._lock:
            if client.gone or subscription not in client.subscriptions:
                return False
            kept = client.offer(subscription, message)
            self._unsent = self._unsent or client.ready  # otherwise its next acknowledgement wakes the thread
        if wake:
            self.send()
        return kept

    def send(self) -> None:
        """Have what was given with `wake=False` sent: one wake of the other thread for all of it."""
        if self._unsent:
            self._unsent = False
            self.sockets.wake()

    def empty(self, client: DebugClient, subscription: int) -> bool:
        """Whether nothing of a subscription waits to be sent, which an offer would replace."""
        with self._lock:
            return client.empty(subscription)

    def publish(self, state: Mapping[str, Any]) -> None:
        """Tell everybody how the run goes on, in order with answers and events; at least every STATE_EVERY seconds."""
        self._ticker, self._beat = threading.get_ident(), time.monotonic()
        self._state = {**state, "t": "state"}
        self._send_state(self._state)
        self.sockets.wake()

    def renew(self) -> None:
        """The schema has changed, but for what it names: the next client is sent the new one."""
        self._stale = True

    def _send_state(self, state: Mapping[str, Any]) -> None:
        self._state_sent = time.monotonic()
        frame = _packed(state)
        with self._lock:
            for client in self.sockets.attached():
                client.queue_state(frame)

    def _queue(self, client: DebugClient, frame: bytes) -> None:
        with self._lock:
            fits = client.gone or client.reply(frame)
        if not fits:
            client.too_slow = True

    # -- what clients say ------------------------------------------------------------------------------

    def _on_data(self, client: DebugClient, now: float) -> None:
        if client.stage == "magic":
            begun = client.incoming.skip(MAGIC)
            if begun is False:
                self.sockets.drop(client)
            if not begun:
                return
            client.stage, client.opened = "auth", now
            client.queue_handshake(encode_frame(self._hello(client)))
        try:
            while (body := client.next_frame(now, self._longest(client))) is not None:
                if client.stage == "auth":
                    self._authenticate(client, body, now)
                else:
                    self._on_message(client, body, now)
                if client.gone:
                    return
        except FrameTooLarge as error:
            self.sockets.close_with_reason(client, "too_large", str(error))

    def _longest(self, client: DebugClient) -> int:
        if client.stage == "auth":
            return HANDSHAKE_FRAME
        return messages.LARGE_FRAME if self.controller is client else messages.FRAME

    def _hello(self, client: DebugClient) -> dict[str, Any]:
        limits = {"subscriptions": SUBSCRIPTIONS, "columns": COLUMNS, "rows": ROWS, "hz": int(HZ), "breaks": BREAKS,
                  "clients": CLIENTS, "frame": messages.FRAME, "set_frame": messages.LARGE_FRAME}  # fmt: skip
        return {"t": "hello", "protocol": list(PROTOCOL), "engine": self.engine, "nonce": client.nonce,
                "auth": client.listener.auth, "run": dict(self.run), "features": list(self.features), "limits": limits}  # fmt: skip

    def _authenticate(self, client: DebugClient, body: bytes, now: float) -> None:
        try:
            auth = messages.decode(body)
        except RefusedMessage as error:
            self.sockets.close_with_reason(client, error.code, str(error))
            return
        client.charge(now, len(body), False)
        if not isinstance(auth, messages.AuthMessage):
            self.sockets.close_with_reason(client, "bad_message", "A client answers 'hello' with 'auth'.")
        elif auth.protocol[0] != PROTOCOL[0]:
            self.sockets.close_with_reason(client, "version", other_version(PROTOCOL, auth.protocol))
        elif not client.listener.proven(auth.proof, client.nonce, auth.role):
            self.sockets.throttle(client.listener, now)
            text = "The token is not this run's; give --token-file with its <pid>.token."
            self.sockets.close_with_reason(client, "auth", text)
        elif len(self.sockets.attached()) >= CLIENTS:
            text = f"{CLIENTS} debuggers are attached already; close one of them."
            self.sockets.close_with_reason(client, "busy", text)
        else:
            self._admit(client, auth, now)

    def _admit(self, client: DebugClient, auth: messages.AuthMessage, now: float) -> None:
        self._make_schema()
        self._sessions += 1
        client.session, client.name = self._sessions, auth.client
        takes = auth.role == "control" and self.controller is None
        if takes:
            client.role, self.controller = "control", client
        welcome = {"t": "welcome", "session": client.session, "role": client.role, "controller": self.holder, "schema": self._schema_hash}  # fmt: skip
        client.queue_handshake(encode_frame(welcome))
        if auth.schema != self._schema_hash:
            client.queue_handshake(self._schema_frame)
        if not self.attached:
            self._beat = now
        with self._lock:
            client.stage = "attached"
            if self._state is not None:
                client.queue_state(_packed(self._state))
            self._inbox.append((client, Joined(), 0))
            self.attached = True
        self._arrived.set()
        if takes:
            self._announce_control(f"{client.name} holds control")

    def _make_schema(self) -> None:
        if self._known is None or self._stale:
            self._stale = False
            schema = dict(self.schema() if callable(self.schema) else self.schema)
            self._schema_hash = schema.setdefault("hash", schema_hash(schema))
            self._schema_frame = encode_frame(schema)
            self._known = SchemaBounds.of(schema)

    def _on_message(self, client: DebugClient, body: bytes, now: float) -> None:
        try:
            message = messages.decode(body, self._known)
        except RefusedMessage as error:
            client.charge(now, 0, False)
            self._refuse(client, error)
            return
        client.bad = 0
        small = isinstance(message, (messages.AckMessage, messages.PingMessage, messages.PongMessage))
        client.charge(now, len(body), small)
        match message:
            case messages.AckMessage(seq=seq):
                client.acknowledge(seq)
            case messages.PingMessage(n=n):
                self._queue(client, encode_frame({"t": "pong", "n": n}))
            case messages.PongMessage():
                pass
            case messages.ControlRequest():
                self._control(client, message)
            case _:
                self._pass_on(client, message, len(body))

    def _refuse(self, client: DebugClient, error: RefusedMessage) -> None:
        self._error(client, error.id, error.code, str(error), error.answer)
        client.bad = client.bad + 1 if error.code == "bad_message" else 0
        if client.bad >= _BAD_MESSAGES:
            text = f"{_BAD_MESSAGES} messages in a row were bad; the last one: {error}"
            self.sockets.close_with_reason(client, "bad_message", text)

    def _pass_on(self, client: DebugClient, message: ClientMessage, size: int) -> None:
        asked = {message.id} if isinstance(message, messages.SubscribeRequest) else set()
        if message.controls and self.controller is not client:
            self._error(client, message.id, "not_controller", self._who_controls())
            return
        if asked and len(client.subscriptions | asked) > SUBSCRIPTIONS:
            text = f"{SUBSCRIPTIONS} subscriptions are the most; stop one of them."
            self._error(client, message.id, "over_budget", text, message.refusal)
            return
        with self._lock:
            if isinstance(message, (messages.SubscribeRequest, messages.UnsubscribeRequest)):
                client.forget(message.id)
                client.subscriptions |= asked
            waiting = len(self._inbox)
            fits = waiting < MESSAGES and size + sum(each for _, _, each in self._inbox) <= BYTES
            if fits:
                self._inbox.append((client, message, size))
        if fits:
            self._arrived.set()
        else:
            text = f"{waiting} messages wait for the run: it is {self._where()}."
            self._error(client, message.id, "busy", text, message.refusal)

    def _error(self, client: DebugClient, number: int | None, code: str, text: str, answer: str = "error") -> None:
        self._queue(client, encode_frame({"t": answer, "id": number, "code": code, "text": text}))

    # -- control ---------------------------------------------------------------------------------------

    def _control(self, client: DebugClient, message: messages.ControlRequest) -> None:
        if message.do == "take" and self.controller not in (None, client):
            self._error(client, message.id, "busy", self._who_controls())
            return
        if message.do == "take" and self.controller is None:
            self._hand_control(client, f"{client.name} holds control")
        elif message.do == "release" and self.controller is client:
            self._hand_control(None, f"{client.name} has given control back")
        answer = {"t": "ok", "id": message.id, "role": client.role, "controller": self.holder}
        self._queue(client, encode_frame(answer))

    def _hand_control(self, client: DebugClient | None, text: str) -> None:
        if self.controller is not None:
            self.controller.role = "observe"
        self.controller = client
        if client is not None:
            client.role = "control"
        self._announce_control(text)

    def _announce_control(self, text: str) -> None:
        event = {"t": "event", "kind": "control", "tick": (self._state or {}).get("tick"), "row": None, "column": None,
                 "system": None, "text": f"{text}.", "fields": {"controller": self.holder}}  # fmt: skip
        for each in self.sockets.attached():
            self._queue(each, encode_frame(event))

    def _who_controls(self) -> str:
        who = (
            "nobody does; take control first" if self.holder is None else f"{self.holder} does; ask there to release it"
        )
        return f"Only the debugger that holds control may do that, and {who}."

    # -- a tick that does not come back ----------------------------------------------------------------

    def _where(self) -> str:
        return f"in {stack_summary(self._ticker)[0]} for {max(0.0, time.monotonic() - self._beat):.0f} s"

    def _on_timer(self, now: float) -> None:
        if self.attached and now - self._beat > STUCK and now - self._state_sent > STATE_EVERY:
            base = self._state or {"t": "state", "mode": "running", "tick": None}
            where, stack = self._where(), stack_summary(self._ticker)[1]
            self._send_state({**base, "why": where, "stuck": now - self._beat, "stack": stack})
        ping = now - self._pinged >= PING
        for client in self.sockets.attached():
            if now - client.last_frame > IDLE:
                self.sockets.close_with_reason(client, "idle", f"The debugger sent nothing for {IDLE:g} s.")
            elif client.too_slow:
                text = f"More than {REPLIES} answers and events waited: the debugger is too slow."
                self.sockets.close_with_reason(client, "too slow", text)
            elif ping:
                self._pinged = now
                self._queue(client, encode_frame({"t": "ping", "n": int(now * 1000)}))

    def _on_close(self, client: DebugClient) -> None:
        controlled = self.controller is client
        with self._lock:
            if any(each is client and isinstance(message, Joined) for each, message, _ in self._inbox):
                self._inbox = deque(item for item in self._inbox if item[0] is not client)  # it was never there
            else:
                self._inbox.append((client, Left(controlled), 0))
        self._arrived.set()
        if not self.sockets.attached():
            self._state = None
        if controlled:
            self._hand_control(None, f"{client.name} has gone, nobody holds control")


def _packed(message: Mapping[str, Any]) -> bytes:
    try:
        return encode_frame(message)
    except WireError as error:
        return encode_frame({"t": "error", "id": message.get("id"), "code": "unsupported", "text": str(error)})


def stack_summary(thread: int) -> tuple[str, list[str]]:
    """(system that another thread is in, 'function (file:line)' of its stack, outermost first)."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "a thread that has ended", []
    stack = traceback.extract_stack(frame)
    lines = [f"{each.name} ({'/'.join(Path(each.filename).parts[-2:])}:{each.lineno})" for each in stack]
    called = [index + 1 for index, each in enumerate(stack) if each.filename.endswith(_SCHEDULE)]
    return stack[min(called[-1] if called else -1, len(stack) - 1)].name, lines[-_DEEPEST:]
