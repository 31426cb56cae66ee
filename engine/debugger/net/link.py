"""Connection with a thread of its own, made again whenever it breaks. No Qt.

Whoever uses a Link hears from `notify`, called on that thread, that there is something to take.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from engine.debugger.net.connection import Address, Connection, ConnectionEnded, ended_by, user_name
from engine.errors import AttachError, WireError
from engine.protocol.discovery import alive

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
_HANDSHAKE = 5.0  # seconds for each step of it
_PING, _SILENCE = 1.0, 10.0  # seconds between pings, and without a word until the connection counts as dead
_WAITING = 2048  # messages that may wait to be taken; then the socket is left alone, and the run drops frames


class Link:
    """One connection, made again whenever it breaks. Messages wait in order until `take` is called.

    Besides what the run sends there are messages of type 'link' {status, text}: 'open' after a handshake, 'lost' when
    the connection broke, 'over' when it will not be made again, 'ended' when the run is over. Nothing that a run sends ends the thread otherwise.
    """

    def __init__(self, address: Address, notify: Callable[[], None], role: str = "observe") -> None:
        self.address, self.role = address, role
        self.schema_hash = ""
        self.latency = 0.0
        self._notify = notify
        self._inbox: deque[dict[str, Any]] = deque()
        self._outbox: deque[dict[str, Any]] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._stop = threading.Event()
        self._pid = 0
        self._thread = threading.Thread(target=self._work, name="debugger link", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def close(self) -> None:
        """Disconnect for good; returns once the thread is gone, and `notify` is not called any more."""
        self._notify = lambda: None
        self._stop.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(_HANDSHAKE)
        else:
            self._close_wakers()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message when the socket takes it; lost if the connection is."""
        self._outbox.append(message)
        self._wake()

    def take(self, most: int = 256) -> list[dict[str, Any]]:
        """The oldest messages that wait."""
        taken = [self._inbox.popleft() for _ in range(min(most, len(self._inbox)))]
        if len(taken) == most:
            self._wake()
        return taken

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already
            self._wake_out.send(b"w")

    def _put_status(self, status: str, text: str) -> None:
        self._put({"t": "link", "status": status, "text": text})

    def _put(self, message: dict[str, Any]) -> None:
        self._inbox.append(message)
        self._notify()

    # -- the thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                with contextlib.closing(self._connected()) as connection:
                    pause = FIRST_PAUSE
                    self._serve(connection)
                break
            except (AttachError, WireError) as error:
                text, then = self._reason(error)
            if then != "lost":
                self._put_status(then, text)
                break
            self._put_status("lost", f"{text} Trying again in {pause:.1f} s.")
            self._stop.wait(pause)
            pause = min(LONGEST_PAUSE, 2.0 * pause)
        self._close_wakers()

    def _close_wakers(self) -> None:
        self._wake_in.close()
        self._wake_out.close()

    def _reason(self, error: Exception) -> tuple[str, str]:
        """Why the connection is over, in a sentence, and what that means."""
        then = error.then if isinstance(error, ConnectionEnded) else "lost"
        if then == "lost" and self._pid and self.address.path and not self.address.tunnel and not alive(self._pid):
            return f"Run ended: its process {self._pid} is gone without a word.", "ended"
        return str(error), then

    def _connected(self) -> Connection:
        connection = Connection.attach(
            self.address,
            role=self.role,
            client=user_name(),
            schema=self.schema_hash,
            timeout=_HANDSHAKE,
            wait_for_schema=False,
            cancelled=self._stop.is_set,
        )
        run = connection.hello["run"]
        pid = run.get("pid")
        self._pid = pid if isinstance(pid, int) and pid > 0 and run.get("host") == socket.gethostname() else 0
        self._outbox.clear()  # what was meant for the connection before
        self._put(connection.hello)
        self._put_status("open", "")
        self._put(connection.welcome)  # after which subscriptions may be sent: the connection is open by then
        return connection

    def _serve(self, connection: Connection) -> None:
        received = pinged = time.monotonic()
        sent: dict[int, float] = {}
        number = 0
        while not self._stop.is_set():
            while self._outbox:
                connection.queue(self._outbox.popleft())
            now = time.monotonic()
            if now - pinged >= _PING:
                number, pinged = number + 1, now
                sent = {number: now}
                connection.queue({"t": "ping", "n": number})
            if connection.exchange(_PING / 4, self._wake_in, len(self._inbox) < _WAITING):
                received = now
            if now - received > _SILENCE and len(self._inbox) < _WAITING:
                raise ConnectionEnded(f"The run has been silent for {_SILENCE:.0f} s.")
            for _ in range(_WAITING):
                message = connection.next_message()
                if message is None:
                    break
                if message["t"] == "ping":
                    connection.queue({"t": "pong", "n": message.get("n")})
                elif message["t"] == "pong":
                    self.latency = time.monotonic() - sent.get(message.get("n", 0), time.monotonic())
                elif message["t"] == "bye":
                    raise ended_by(message)
                else:
                    self._put(message)
