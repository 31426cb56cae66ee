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

from engine.inspect.client import Peer
from engine.inspect.listener import Listener
from engine.protocol.framing import encode_frame

STRANGERS = 8
"""Connections that have not shaken hands yet, at once."""
HANDSHAKE, FAREWELL = 2.0, 0.5
"""Seconds for each step of the handshake, and to read a goodbye."""
_LOOK = 0.25  # seconds between looks at the clock while anybody is connected


@attrs.define(eq=False, slots=False)
class Sockets:
    """Sockets, and who is at their other ends. With nobody there the thread sleeps: `wakes` stays as it is.

    hear(peer, now): bytes came, or credit for bytes that came before. parted(peer): a client is gone, once for each.
    watch(now): called about four times a second while anybody is connected. All three run on the thread.
    """

    hear: Callable[[Peer, float], None]
    parted: Callable[[Peer], None]
    watch: Callable[[float], None]
    lock: Any = attrs.field(factory=threading.Lock)
    peers: list[Peer] = attrs.field(factory=list, init=False)
    listeners: list[Listener] = attrs.field(factory=list, init=False)
    wakes: int = attrs.field(default=0, init=False)
    trouble: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken = False
        self._looked = 0.0
        self._farewell: dict[str, Any] | None = None
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

    def stop(self, farewell: dict[str, Any]) -> None:
        """Send everybody a goodbye and end the thread; returns when it has, or after two seconds."""
        self._farewell = farewell
        if self._thread is not None:
            self._woken = False
            self.wake()
            self._thread.join(4 * FAREWELL)
        else:
            self.close_listeners()
            self._selector.close()

    def close_listeners(self) -> None:
        """Nobody comes in any more."""
        for listener in self.listeners:
            listener.socket.close()
        self.listeners.clear()

    def attached(self) -> list[Peer]:
        """Clients that have been let in."""
        return [peer for peer in list(self.peers) if peer.stage == "attached"]

    # -- the thread ------------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while self._farewell is None:
                self._turn(self._patience())
            self._say_goodbye(self._farewell)
        except Exception:  # nothing may reach the run; it goes on without a debugger
            self.trouble = traceback.format_exc()
        finally:
            for peer in list(self.peers):
                self.drop(peer)
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
        if self.peers and now - self._looked >= _LOOK / 2:
            self._looked = now
            self._guarded(partial(self.watch, now), None)
        for peer in list(self.peers):
            self._guarded(partial(self._tend, peer, now), peer)

    def _patience(self) -> float | None:
        if self.peers:
            now = time.monotonic()
            return min([_LOOK, *(rest for peer in self.peers if (rest := peer.rest(now)))])
        return _LOOK if any(listener.paused_until for listener in self.listeners) else None

    def _guarded(self, work: Callable[[], None], whose: Any) -> None:
        """A mistake of ours costs a client its connection, not the others theirs."""
        try:
            work()
        except Exception:
            self.trouble = traceback.format_exc()
            if isinstance(whose, Peer):
                self.drop(whose)

    def _serve(self, what: Any, mask: int, now: float) -> None:
        if what is None:
            with contextlib.suppress(BlockingIOError):
                self._wake_out.recv(4096)
            self._woken = False  # only now: a byte that came in between was read, and what it is about is sent below
        elif isinstance(what, Listener):
            self._accept(what, now)
        elif mask & selectors.EVENT_READ and what in self.peers:
            if not what.read():
                self.drop(what)
            elif what.stage != "leaving":
                self.hear(what, now)

    def _tend(self, peer: Peer, now: float) -> None:
        """What a connection needs whether or not anything came."""
        if peer.stage in ("magic", "auth") and now - peer.opened > HANDSHAKE:
            self.drop(peer)
        elif peer.stage in ("auth", "attached") and peer.has_frame and not peer.rest(now):
            self.hear(peer, now)
        self._send(peer, now)
        if peer.stage == "leaving" and peer in self.peers:
            if now > peer.leave_by:
                self.drop(peer)
            elif not peer.owes:
                peer.end()

    # -- connections -----------------------------------------------------------------------------------

    def _accept(self, listener: Listener, now: float) -> None:
        try:
            made = listener.accept()
        except OSError:  # no file descriptors are left: look again later
            self._pause(listener, now + 1.0)
            return
        if made is None:
            return
        if not listener.trusts(made, os.getuid()):
            self.distrust(listener, now)
            made.close()
        elif sum(peer.stage != "attached" for peer in self.peers) >= STRANGERS:
            made.close()
        else:
            peer = Peer(made, listener)
            self.peers.append(peer)
            peer.watched = selectors.EVENT_READ
            self._selector.register(made, peer.watched, peer)

    def distrust(self, listener: Listener, now: float) -> None:
        """Count somebody who is not who they should be; too many, and the listener is left alone for a while."""
        if listener.failed(now):
            self._pause(listener, listener.paused_until)

    def _pause(self, listener: Listener, until: float) -> None:
        listener.paused_until = until
        if listener.socket in self._selector.get_map():  # those that came before it was closed may fail behind that
            self._selector.unregister(listener.socket)

    def _reopen(self, now: float) -> None:
        for listener in self.listeners:
            if listener.paused_until and now >= listener.paused_until:
                listener.paused_until = 0.0
                self._selector.register(listener.socket, selectors.EVENT_READ, listener)

    def drop(self, peer: Peer) -> None:
        """Close a connection at once."""
        if peer not in self.peers:
            return
        was_attached = peer.stage == "attached"
        if peer.watched:
            self._selector.unregister(peer.socket)
        with self.lock:
            self.peers.remove(peer)
            peer.hang_up()
        if was_attached:
            self.parted(peer)

    def dismiss(self, peer: Peer, code: str, text: str, tick: int | None = None) -> None:
        """Say why, and close when that has been read."""
        if peer.stage == "leaving":
            return
        was_attached = peer.stage == "attached"
        with self.lock:
            peer.leave(
                encode_frame({"t": "bye", "code": code, "text": text, "tick": tick}), time.monotonic() + FAREWELL
            )
        if was_attached:
            self.parted(peer)

    def _send(self, peer: Peer, now: float) -> None:
        """Send until the client has all, or takes no more; then wait for what is missing."""
        while peer in self.peers and peer.pending:
            if not peer.moving:
                with self.lock:
                    frame = peer.take()
                if frame is None:
                    break
                peer.move(frame)
            if not peer.write():
                self.drop(peer)
            elif peer.moving:
                break
        if peer not in self.peers:
            return
        wanted = (selectors.EVENT_WRITE if peer.moving else 0) | (0 if peer.rest(now) else selectors.EVENT_READ)
        if wanted != peer.watched:
            _rewatch(self._selector, peer, wanted)

    def _say_goodbye(self, farewell: dict[str, Any]) -> None:
        for listener in self.listeners:
            if not listener.paused_until:
                self._selector.unregister(listener.socket)
        self.close_listeners()
        for peer in list(self.peers):
            if peer.stage == "attached":
                self.dismiss(peer, farewell["code"], farewell["text"], farewell["tick"])
            elif peer.stage != "leaving":
                self.drop(peer)
        end = time.monotonic() + FAREWELL
        while self.peers and time.monotonic() < end:
            for peer in list(self.peers):
                self._tend(peer, time.monotonic())
            for key, _ in self._selector.select(0.05):
                if isinstance(key.data, Peer) and not key.data.read():
                    self.drop(key.data)


def _rewatch(selector: selectors.BaseSelector, peer: Peer, wanted: int) -> None:
    if wanted and peer.watched:
        selector.modify(peer.socket, wanted, peer)
    elif wanted:
        selector.register(peer.socket, wanted, peer)
    else:
        selector.unregister(peer.socket)
    peer.watched = wanted
