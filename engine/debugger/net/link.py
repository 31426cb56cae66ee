"""The socket thread: connects to a run, shakes hands, splits frames, answers pings, and tries again when it is cut off.

No Qt here. Whoever uses a Link is told by `notify`, called on the socket thread, that there is something to take.
"""

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from select import select
from typing import Any

from engine.debugger.net.connection import LIMITS, MAGIC, PROTOCOL, Address, other_version, proof, said, user_name
from engine.errors import AttachError, WireError
from engine.protocol.framing import LENGTH, decode_body, encode_frame

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
_HANDSHAKE = 5.0  # seconds for all of it
_PING, _SILENCE = 1.0, 10.0  # seconds between pings, and without a word until the connection counts as dead
_WAITING = 2048  # messages that may wait to be taken; then the socket is left alone, and the run drops frames
_OUTGOING = 4 << 20  # bytes that may wait to be sent to a run that does not read
_BAD = 3  # frames that cannot be read until the connection is made anew
_FINAL = {"version": "over", "auth": "over", "ended": "ended"}  # what a goodbye means
_CHUNK = 1 << 18


class _Cut(Exception):
    """The connection is over. `then` is what that means: 'lost' (try again), 'over' (of no use), 'ended' (so is the run)."""

    def __init__(self, text: str, then: str = "lost") -> None:
        super().__init__(text)
        self.then = then


class Link:
    """One connection, made again whenever it breaks. Messages wait in order until `take` is called.

    Besides what the run sends there are messages of type 'link' {status, text}: 'open' behind a handshake, 'lost' when
    the connection broke, 'over' when it will not be made again, 'ended' when the run is over. Nothing that a run sends ends the thread otherwise.
    """

    def __init__(
        self, address: Address, notify: Callable[[], None], role: str = "observe", name: str = "window"
    ) -> None:
        self.address, self.role, self.name = address, role, name
        self.schema_hash = ""
        self.latency = 0.0
        self.bad = 0
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
        taken: list[dict[str, Any]] = []
        with contextlib.suppress(IndexError):
            while len(taken) < most:
                taken.append(self._inbox.popleft())
        if len(taken) == most:
            self._wake()
        return taken

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already
            self._wake_out.send(b"w")

    def _tell(self, status: str, text: str) -> None:
        self._put({"t": "link", "status": status, "text": text})

    def _put(self, message: dict[str, Any]) -> None:
        self._inbox.append(message)
        self._notify()

    # -- the thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                with self._connected() as connection:
                    pause = FIRST_PAUSE
                    self._serve(connection)
                break
            except (_Cut, AttachError, OSError, WireError) as error:
                text, then = self._reason(error)
            if then != "lost":
                self._tell(then, text)
                break
            self._tell("lost", f"{text} Trying again in {pause:.1f} s.")
            self._stop.wait(pause)
            pause = min(LONGEST_PAUSE, 2.0 * pause)
        self._close_wakers()

    def _close_wakers(self) -> None:
        self._wake_in.close()
        self._wake_out.close()

    def _reason(self, error: Exception) -> tuple[str, str]:
        """A sentence about why the connection is over, and what that means."""
        if isinstance(error, _Cut) and error.then != "lost":
            return str(error), error.then
        if self._pid and self.address.is_here and not _alive(self._pid):
            return f"Run ended: its process {self._pid} is gone without a word.", "ended"
        if not isinstance(error, AttachError) and (cut := self.address.cut()):
            return cut, "lost"
        if isinstance(error, (_Cut, AttachError)):
            return str(error), "lost"
        if isinstance(error, WireError):
            return f"The run sent what is no frame: {error}", "lost"
        return f"No connection to {self.address}: {getattr(error, 'strerror', None) or error or 'timed out'}.", "lost"

    def _connected(self) -> "_Connection":
        sock = self.address.open(_HANDSHAKE)
        if not self.address.path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock)
        try:
            self._shake_hands(connection)
        except BaseException:
            sock.close()
            raise
        return connection

    def _shake_hands(self, connection: "_Connection") -> None:
        deadline = time.monotonic() + _HANDSHAKE
        connection.queue_bytes(MAGIC)
        hello = self._expect(connection, "hello", deadline)
        run, protocol, nonce = hello.get("run"), hello.get("protocol"), hello.get("nonce")
        if not isinstance(run, dict) or not isinstance(protocol, list) or not protocol:
            raise _Cut(other_version(None), "over")
        if protocol[0] != PROTOCOL[0]:
            raise _Cut(other_version(protocol), "over")
        shown = b""
        if hello.get("auth") == "token":
            if not self.address.token or not isinstance(nonce, bytes) or len(nonce) < 16:
                raise _Cut(
                    f"The run at {self.address} asks for its token: give --token-file with its <pid>.token.", "over"
                )
            shown = proof(self.address.token, nonce, self.role)
        connection.queue(
            {
                "t": "auth",
                "protocol": list(PROTOCOL),
                "client": user_name(),
                "role": self.role,
                "proof": shown,
                "schema": self.schema_hash,
            }
        )
        welcome = self._expect(connection, "welcome", deadline)
        pid = run.get("pid")
        self._pid = pid if isinstance(pid, int) and pid > 0 and run.get("host") == socket.gethostname() else 0
        self._outbox.clear()  # what was meant for the connection before
        self._put(hello)
        self._put(welcome)
        self._tell("open", "")

    def _expect(self, connection: "_Connection", kind: str, deadline: float) -> dict[str, Any]:
        while not self._stop.is_set():
            message = connection.next_message()
            if message is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _Cut(f"The run at {self.address} does not answer.")
                connection.exchange(self._wake_in, min(left, 0.25), True)
            elif message["t"] == kind:
                return message
            elif message["t"] in ("bye", "error"):
                raise _Cut(said(message), _FINAL.get(str(message.get("code")), "lost"))
        raise _Cut("Closed.", "over")

    def _serve(self, connection: "_Connection") -> None:
        heard = pinged = time.monotonic()
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
            if connection.exchange(self._wake_in, _PING / 4, len(self._inbox) < _WAITING):
                heard = now
            if now - heard > _SILENCE and len(self._inbox) < _WAITING:
                raise _Cut(f"The run has been silent for {_SILENCE:.0f} s.")
            for message in self._messages(connection):
                if message["t"] == "ping":
                    connection.queue({"t": "pong", "n": message.get("n")})
                elif message["t"] == "pong":
                    self.latency = time.monotonic() - sent.get(message.get("n", 0), time.monotonic())
                elif message["t"] == "bye":
                    raise _Cut(said(message), _FINAL.get(str(message.get("code")), "lost"))
                else:
                    self._put(message)

    def _messages(self, connection: "_Connection") -> "list[dict[str, Any]]":
        """Whole messages that have come; bad ones are dropped and counted."""
        messages: list[dict[str, Any]] = []
        while len(messages) < _WAITING:
            try:
                message = connection.next_message()
            except WireError as error:
                self.bad += 1
                connection.bad += 1
                if connection.bad >= _BAD:
                    raise _Cut(f"The run sent {_BAD} frames that cannot be read; the last: {error}") from None
                continue
            if message is None:
                break
            messages.append(message)
        return messages


class _Connection:
    """A socket with its buffers; frames come out of one, and go into the other."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.bad = 0
        self._incoming = bytearray()
        self._outgoing = bytearray()

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def queue(self, message: dict[str, Any]) -> None:
        """Line up a message; _Cut when too much is waiting already."""
        self.queue_bytes(encode_frame(message))

    def queue_bytes(self, data: bytes) -> None:
        if len(self._outgoing) + len(data) > _OUTGOING:
            raise _Cut("The run does not read what it is sent.")
        self._outgoing += data

    def exchange(self, wake: socket.socket, seconds: float, read: bool) -> bool:
        """Send and receive what can be, waiting for it at most some seconds; True when something came."""
        readable, writable, _ = select(
            [wake, self.sock] if read else [wake], [self.sock] if self._outgoing else [], [], seconds
        )
        if wake in readable:
            with contextlib.suppress(OSError):
                wake.recv(4096)
        if writable:
            try:
                del self._outgoing[: self.sock.send(self._outgoing)]
            except BlockingIOError:
                pass
            except OSError:  # nobody reads any more, but a goodbye may lie unread on this side
                self._outgoing.clear()
        if self.sock not in readable:
            return False
        try:
            data = self.sock.recv(_CHUNK)
        except BlockingIOError:
            return False
        if not data:
            raise _Cut("The run closed the connection.")
        self._incoming += data
        return True

    def next_message(self) -> dict[str, Any] | None:
        """One whole message; None when there is none yet. _Cut for a length that cannot be, WireError for a bad frame."""
        if len(self._incoming) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._incoming)
        if length > LIMITS.frame:
            raise _Cut(f"The run announced a frame of {length} bytes; {LIMITS.frame} are the most.")
        if len(self._incoming) < LENGTH.size + length:
            return None
        body = bytes(memoryview(self._incoming)[LENGTH.size : LENGTH.size + length])
        del self._incoming[: LENGTH.size + length]
        return decode_body(body, LIMITS)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return not Path("/proc/self").exists()
    return state not in "ZX"  # a process that has ended, and whose parent has not asked how
