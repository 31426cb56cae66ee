"""The thread that owns a run's debugger sockets: it lets connections in, moves bytes, and looks at the clock."""

import contextlib
import os
import selectors
import socket
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from engine.inspect.client import DebugClient
from engine.inspect.listener import Listener
from engine.protocol.framing import encode_frame

MAX_UNAUTHENTICATED = 8
"""Connections that have not shaken hands yet, at once."""
HANDSHAKE_SECONDS, CLOSING_SECONDS = 2.0, 0.5
"""Seconds for each step of the handshake, and to read a goodbye."""
_LOOK = 0.25  # seconds between looks at the clock while anybody is connected


@attrs.define(eq=False, slots=False)
class Sockets:
    """Sockets, and who is at their other ends. With nobody there the thread sleeps: `wakes`, how often it woke, stays as it is.

    last_error: the traceback of the last mistake of ours that the thread survived, "" for none.
    on_data(client, now): bytes came, or credit for bytes that came before. on_close(client): a client is gone, once for each.
    on_timer(now): called about four times a second while anybody is connected. All three run on the thread.
    """

    on_data: Callable[[DebugClient, float], None]
    on_close: Callable[[DebugClient], None]
    on_timer: Callable[[float], None]
    lock: Any = attrs.field(factory=threading.Lock)
    clients: list[DebugClient] = attrs.field(factory=list, init=False)
    listeners: list[Listener] = attrs.field(factory=list, init=False)
    wakes: int = attrs.field(default=0, init=False)
    last_error: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken = False
        self._looked = 0.0
        self._closing_message: dict[str, Any] | None = None
        self._thread: threading.Thread | None = None

    # -- for other threads -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; the listeners are there."""
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        for listener in self.listeners:
            self._selector.register(listener.socket, selectors.EVENT_READ, listener)
        self._thread = threading.Thread(target=self._loop, name="debugger sockets", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something is to be sent."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):
                self._wake_in.send(b"x")

    def stop(self, closing_message: dict[str, Any]) -> None:
        """Send everybody a goodbye and end the thread; returns when it has, or after two seconds."""
        self._closing_message = closing_message
        if self._thread is not None:
            self._woken = False
            self.wake()
            self._thread.join(4 * CLOSING_SECONDS)
        else:
            self.close_listeners()
            self._selector.close()

    def close_listeners(self) -> None:
        """Nobody comes in any more."""
        for listener in self.listeners:
            listener.socket.close()
        self.listeners.clear()

    def attached(self) -> list[DebugClient]:
        """Clients that have been let in."""
        return [client for client in list(self.clients) if client.stage == "attached"]

    # -- the thread ------------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while self._closing_message is None:
                self._turn(self._patience())
            self._close_all(self._closing_message)
        except Exception:  # nothing may reach the run; it goes on without a debugger
            self.last_error = traceback.format_exc()
        finally:
            for client in list(self.clients):
                self.drop(client)
            self.close_listeners()
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()

    def _turn(self, patience: float | None) -> None:
        ready = self._selector.select(patience)
        self.wakes += 1
        now = time.monotonic()
        for key, mask in ready:
            self._guarded(partial(self._serve, key.data, mask, now), key.data)
        self._reopen(now)
        if self.clients and now - self._looked >= _LOOK / 2:
            self._looked = now
            self._guarded(partial(self.on_timer, now), None)
        for client in list(self.clients):
            self._guarded(partial(self._advance, client, now), client)

    def _patience(self) -> float | None:
        if self.clients:
            now = time.monotonic()
            return min([_LOOK, *(rest for client in self.clients if (rest := client.seconds_to_credit(now)))])
        return _LOOK if any(listener.paused_until for listener in self.listeners) else None

    def _guarded(self, work: Callable[[], None], whose: Any) -> None:
        """A mistake of ours costs a client its connection, not the others theirs."""
        try:
            work()
        except Exception:
            self.last_error = traceback.format_exc()
            if isinstance(whose, DebugClient):
                self.drop(whose)

    def _serve(self, what: Any, mask: int, now: float) -> None:
        if what is None:
            with contextlib.suppress(BlockingIOError):
                self._wake_out.recv(4096)
            self._woken = False  # only now: a byte that came in between was read, and what it is about is sent below
        elif isinstance(what, Listener):
            self._accept(what, now)
        elif mask & selectors.EVENT_READ and what in self.clients:
            if not what.read():
                self.drop(what)
            elif what.stage != "leaving":
                self.on_data(what, now)

    def _advance(self, client: DebugClient, now: float) -> None:
        """What a connection needs whether or not anything came."""
        if client.stage in ("magic", "auth") and now - client.opened > HANDSHAKE_SECONDS:
            self.drop(client)
        elif client.stage in ("auth", "attached") and client.incoming.complete and not client.seconds_to_credit(now):
            self.on_data(client, now)
        self._send(client, now)
        if client.stage == "leaving" and client in self.clients:
            if now > client.leave_by:
                self.drop(client)
            elif not client.has_replies:
                client.shut_down_writing()

    # -- connections -----------------------------------------------------------------------------------

    def _accept(self, listener: Listener, now: float) -> None:
        try:
            made = listener.accept()
        except OSError:  # no file descriptors are left: look again later
            self._pause(listener, now + 1.0)
            return
        if made is None:
            return
        if not listener.same_user(made, os.getuid()):
            self.throttle(listener, now)
            made.close()
        elif sum(client.stage != "attached" for client in self.clients) >= MAX_UNAUTHENTICATED:
            made.close()
        else:
            client = DebugClient(made, listener)
            self.clients.append(client)
            self._watch(client, selectors.EVENT_READ)

    def throttle(self, listener: Listener, now: float) -> None:
        """Count somebody who is not who they should be; too many, and the listener is left alone for a while."""
        if listener.failed(now):
            self._pause(listener, listener.paused_until)

    def _pause(self, listener: Listener, until: float) -> None:
        listener.paused_until = until
        if listener.socket in self._selector.get_map():  # those that came before it was closed may still fail
            self._selector.unregister(listener.socket)

    def _reopen(self, now: float) -> None:
        for listener in self.listeners:
            if listener.paused_until and now >= listener.paused_until:
                listener.paused_until = 0.0
                self._selector.register(listener.socket, selectors.EVENT_READ, listener)

    def drop(self, client: DebugClient) -> None:
        """Close a connection at once."""
        if client not in self.clients:
            return
        was_attached = client.stage == "attached"
        self._watch(client, 0)
        with self.lock:
            self.clients.remove(client)
            client.close()
        if was_attached:
            self.on_close(client)

    def close_with_reason(self, client: DebugClient, code: str, text: str, tick: int | None = None) -> None:
        """Say why, and close when that has been read."""
        if client.stage == "leaving":
            return
        was_attached = client.stage == "attached"
        frame = encode_frame({"t": "bye", "code": code, "text": text, "tick": tick})
        with self.lock:
            client.begin_close(frame, time.monotonic() + CLOSING_SECONDS)
        if was_attached:
            self.on_close(client)

    def _send(self, client: DebugClient, now: float) -> None:
        """Send until the client has all, or takes no more; then wait for what is missing."""
        while client in self.clients and client.pending:
            if not client.sending:
                with self.lock:
                    frame = client.take()
                if frame is None:
                    break
                client.begin_send(frame)
            if not client.write():
                self.drop(client)
            elif client.sending:
                break
        if client not in self.clients:
            return
        wanted = 0 if client.seconds_to_credit(now) else selectors.EVENT_READ
        self._watch(client, wanted | (selectors.EVENT_WRITE if client.sending else 0))

    def _watch(self, client: DebugClient, wanted: int) -> None:
        """Have the selector look at a client's socket for these events, if any."""
        if wanted == client.selected:
            return
        if client.selected:
            self._selector.unregister(client.socket)
        if wanted:
            self._selector.register(client.socket, wanted, client)
        client.selected = wanted

    def _close_all(self, closing_message: dict[str, Any]) -> None:
        for listener in self.listeners:
            if not listener.paused_until:
                self._selector.unregister(listener.socket)
        self.close_listeners()
        for client in list(self.clients):
            if client.stage == "attached":
                self.close_with_reason(client, **closing_message)
            elif client.stage != "leaving":
                self.drop(client)
        end = time.monotonic() + CLOSING_SECONDS
        while self.clients and time.monotonic() < end:
            for client in list(self.clients):
                self._advance(client, time.monotonic())
            for key, _ in self._selector.select(0.05):
                if isinstance(key.data, DebugClient) and not key.data.read():
                    self.drop(key.data)
