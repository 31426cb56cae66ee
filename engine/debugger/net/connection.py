"""Connection of a debugger client to a run: its address, the handshake, frames in and out. No Qt."""

import contextlib
import getpass
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import attrs

from engine.errors import AttachError, WireError
from engine.protocol import framing
from engine.protocol.discovery import proof

LIMITS = framing.Limits(frame=1 << 23)
"""Largest frames that a client takes from a run: a schema has at most 4 MiB, a data frame about 1 MiB."""
PATIENCE = 5.0  # seconds for each step of the handshake
CHUNK = 1 << 18  # bytes that are read at once
Socket = socket.socket
_LISTENING = 2.0  # seconds in which what forwards has to listen where it has made a socket
_BAD_FRAMES = 3  # and the connection is given up
_OUTGOING = 4 << 20  # bytes that may wait to be sent to a run that does not read


class Forwarding(Protocol):
    """A process that has to run for an address to be reached, such as an ssh."""

    def ready(self) -> None:
        """Returns when it forwards; AttachError when it does not come to that."""

    def broken(self) -> str:
        """Why it does not forward any more; '' while it does."""


@attrs.frozen
class Address:
    """Address of a run: a Unix socket, or a host and port with the token of the run. `tunnel` leads to another machine."""

    path: str = ""
    host: str = ""
    port: int = 0
    token: bytes = attrs.field(default=b"", repr=False)
    tunnel: Forwarding | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    def open(self, timeout: float = PATIENCE) -> Socket:
        """A connected socket; AttachError with the cure when nobody listens."""
        if self.tunnel is not None:
            self.tunnel.ready()
        try:
            if not self.path:
                made = socket.create_connection((self.host, self.port), timeout)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return made
            return self._connected(timeout)
        except OSError as error:
            why = error.strerror or str(error)
            cure = "`python -m engine.debugger --list` shows the runs that are alive."
            raise AttachError(f"No run listens at {self} ({why}); {cure}") from None

    def _connected(self, timeout: float) -> Socket:
        """A socket on the path. What forwards makes its file a moment before it listens there, so that one may be refused."""
        end = time.monotonic() + (_LISTENING if self.tunnel is not None else 0.0)
        while True:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                made.settimeout(timeout)
                made.connect(self.path)
                return made
            except BaseException as error:
                made.close()
                if not isinstance(error, ConnectionRefusedError) or time.monotonic() >= end:
                    raise
            time.sleep(0.02)


class ConnectionEnded(AttachError):
    """A connection is over. `then`: "lost" (worth another try), "over" (of no use), "ended" (the run is over as well)."""

    def __init__(self, text: str, then: str = "lost") -> None:
        super().__init__(text)
        self.then = then


@attrs.define(eq=False)
class Connection:
    """An attached client. Made by `attach`; `receive` is for one thread, `send` and `close` for any.

    hello, welcome: what the run sent first; schema: what the simulation is, or None when the run has the schema whose hash
    the client named. bad: frames that were dropped because they could not be read.
    """

    socket: Socket
    address: Address = attrs.field(factory=Address)
    hello: dict[str, Any] = attrs.field(factory=dict)
    welcome: dict[str, Any] = attrs.field(factory=dict)
    schema: dict[str, Any] | None = None
    bad: int = 0
    _incoming: framing.FrameBuffer = attrs.field(factory=framing.FrameBuffer, init=False)
    _outgoing: bytearray = attrs.field(factory=bytearray, init=False)
    _sending: Any = attrs.field(factory=threading.Lock, init=False)
    _left: bool = attrs.field(default=False, init=False)

    @classmethod
    def attach(
        cls,
        address: Address,
        *,
        role: str = "observe",
        client: str = "lockstep debugger",
        schema: str = "",
        timeout: float = PATIENCE,
        wait_for_schema: bool = True,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Connect and shake hands. `schema` is the hash of a schema that the client still has, "" for none.

        Without `wait_for_schema` it comes as an ordinary message. `cancelled` is asked now and then whether to give up. Raises
        ConnectionEnded with the reason: another version, a wrong token, too many clients, no answer.
        """
        made = cls(address.open(timeout), address)
        try:
            made._shake_hands(role, client, schema, timeout, cancelled)
            if wait_for_schema and (not schema or made.welcome.get("schema") != schema):
                made.schema = made._expect("schema", timeout, cancelled)
        except BaseException:
            made.close()
            raise
        return made

    def _shake_hands(self, role: str, client: str, schema: str, timeout: float, cancelled: Callable[[], bool]) -> None:
        self._send_all(framing.MAGIC)
        self.hello = self._expect("hello", timeout, cancelled)
        version, run = self.hello.get("protocol"), self.hello.get("run")
        if not isinstance(run, dict) or not isinstance(version, list) or version[:1] != [framing.PROTOCOL[0]]:
            raise ConnectionEnded(framing.other_version(version if isinstance(run, dict) else None), "over")
        auth = {"t": "auth", "protocol": list(framing.PROTOCOL), "client": client, "role": role, "schema": schema}
        self.send({**auth, "proof": self._proof(role) if self.hello.get("auth") == "token" else b""})
        self.welcome = self._expect("welcome", timeout, cancelled)

    def _proof(self, role: str) -> bytes:
        nonce = self.hello.get("nonce")
        if self.address.token and isinstance(nonce, bytes) and len(nonce) >= 16:
            return proof(self.address.token, nonce, role)
        text = f"What listens at {self.address} does not shake hands as a run does: it sent no nonce."
        if not self.address.token:
            text = f"The run at {self.address} asks for its token: give --token-file with its <pid>.token."
        raise ConnectionEnded(text, "over")

    def _expect(self, kind: str, timeout: float, cancelled: Callable[[], bool]) -> dict[str, Any]:
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0 and not cancelled():
            message = self.receive(min(left, 0.25))
            if message is None:
                continue
            if message["t"] == kind:
                return message
            if message["t"] in ("bye", "error"):
                raise ended_by(message)
        text = f"{self.address} took the connection but sent no '{kind}' within {timeout:g} s"
        raise ConnectionEnded(f"{text}; is a Lockstep run listening there?")

    # -- frames, waiting for each --------------------------------------------------------------------------

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; ConnectionEnded when the run is gone."""
        self._send_all(framing.encode_frame(message))

    def _send_all(self, data: bytes) -> None:
        try:
            with self._sending:
                self.socket.sendall(data)
        except OSError as error:
            raise ConnectionEnded(f"The connection to the run is lost ({error.strerror or error}).") from None

    def receive(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next message, None after `timeout` seconds without one; ConnectionEnded when the connection has ended.

        Pings are answered and data frames acknowledged on the way.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            message = self.next_message()
            if message is None:
                left = None if end is None else end - time.monotonic()
                if (left is not None and left <= 0) or not self.exchange(left):
                    return None
            elif message["t"] == "ping":
                self._answer({"t": "pong", "n": message.get("n", 0)})
            else:
                if message["t"] == "data":
                    self._answer({"t": "ack", "seq": message.get("seq", 0)})
                return message

    def _answer(self, message: Mapping[str, Any]) -> None:
        """A run that has hung up cannot be answered, but what it sent before, its goodbye, can still be read."""
        with contextlib.suppress(AttachError):
            self.send(message)

    # -- frames, waiting for none --------------------------------------------------------------------------

    def queue(self, message: Mapping[str, Any]) -> None:
        """Line up a message for `exchange`; ConnectionEnded when too much is waiting already."""
        data = framing.encode_frame(message)
        if len(self._outgoing) + len(data) > _OUTGOING:
            raise ConnectionEnded("The run does not read what it is sent.")
        self._outgoing += data

    def exchange(self, seconds: float | None, wake: Socket | None = None, read: bool = True) -> bool:
        """Send and receive what can be, waiting for it at most some seconds or until `wake`; True when something came."""
        reading = [each for each in (wake, self.socket if read else None) if each is not None]
        try:
            readable, writable, _ = select.select(reading, [self.socket] if self._outgoing else [], [], seconds)
            if wake in readable and wake is not None:
                with contextlib.suppress(OSError):
                    wake.recv(4096)
            if writable:
                self._flush()
            if self.socket not in readable:
                return False
            data = self.socket.recv(CHUNK)
        except (OSError, ValueError) as error:
            raise ConnectionEnded(self._cut() or f"The connection to the run is lost ({error}).") from None
        if not data:
            raise ConnectionEnded(self._cut() or "The run closed the connection.")
        self._incoming.feed(data)
        return True

    def _cut(self) -> str:
        """Why the connection has ended, if the tunnel knows; '' otherwise."""
        return "" if self._left or self.address.tunnel is None else self.address.tunnel.broken()

    def _flush(self) -> None:
        try:
            del self._outgoing[: self.socket.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads any more, but a goodbye may lie unread on this side
            self._outgoing.clear()

    def next_message(self) -> dict[str, Any] | None:
        """The next message that has come whole, None without one.

        A frame that cannot be read is dropped and counted; the third ends the connection, as does one that is too long.
        """
        while True:
            try:
                body = self._incoming.take(LIMITS.frame)
            except framing.FrameTooLarge as error:
                text = f"The run sent a frame of {error.length} bytes; {LIMITS.frame} are the most. Attach again."
                raise ConnectionEnded(text) from None
            if body is None:
                return None
            try:
                return framing.decode_body(body, LIMITS)
            except WireError as error:
                self.bad += 1
                if self.bad >= _BAD_FRAMES:
                    text = f"The run sent {_BAD_FRAMES} frames that cannot be read; the last: {error}"
                    raise ConnectionEnded(text) from None

    def hang_up(self) -> None:
        """Leave; a `receive` that waits in another thread raises ConnectionEnded."""
        self._left = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up and free the socket; no other thread may wait for it then, as the next socket may get its number."""
        self.hang_up()
        self.socket.close()


def ended_by(bye: Mapping[str, Any]) -> ConnectionEnded:
    """The end of a connection by a goodbye of the run, in its words."""
    text, code = bye.get("text"), str(bye.get("code"))
    text = text if isinstance(text, str) and text else f"The run ended the connection ({code})."
    return ConnectionEnded(text, {"version": "over", "auth": "over", "ended": "ended"}.get(code, "lost"))


def user_name() -> str:
    """user@host, by which others see a client."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):  # neither the environment nor the system has a name
        login = str(os.getuid())
    return f"{login}@{socket.gethostname()}"
