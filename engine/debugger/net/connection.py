"""A client's end of a debugger connection: finding the socket, the handshake, frames in and out. No Qt."""

import contextlib
import getpass
import hmac
import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, Self

import attrs

from engine.errors import AttachError, WireError
from engine.protocol.framing import LENGTH, Limits, decode_body, encode_frame

MAGIC = b"ENGDBG1\n"
PROTOCOL = (1, 0)
LIMITS = Limits(frame=1 << 23)
"""What a client takes from a run: a schema has at most 4 MiB, a data frame about 1 MiB."""
PATIENCE = 5.0
"""Seconds for each step of the handshake."""
Socket = socket.socket
_BAD_FRAMES = 3  # in a row, and the connection is given up


class Way(Protocol):
    """What has to stand before an address can be reached, such as an ssh that forwards it."""

    def ready(self) -> None:
        """Returns when it stands; AttachError when it does not come to that."""

    def broken(self) -> str:
        """Why it does not stand any more; '' while it does."""


@attrs.frozen
class Address:
    """Where a run listens: a Unix socket, or a host and port with the token of the run. `tunnel` leads to another machine."""

    path: str = ""
    host: str = ""
    port: int = 0
    token: bytes = attrs.field(default=b"", repr=False)
    tunnel: Way | None = attrs.field(default=None, repr=False)

    @property
    def is_here(self) -> bool:
        """Whether the run is a process of this machine, as far as the address tells."""
        return bool(self.path) and self.tunnel is None

    def cut(self) -> str:
        """Why a connection to it has ended, if that can be told; '' otherwise."""
        return "" if self.tunnel is None else self.tunnel.broken()

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    def open(self, timeout: float = PATIENCE) -> Socket:
        """A connected socket; AttachError with the cure when nobody listens."""
        if self.tunnel is not None:
            self.tunnel.ready()
        try:
            if not self.path:
                return socket.create_connection((self.host, self.port), timeout)
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                made.settimeout(timeout)
                made.connect(self.path)
            except BaseException:
                made.close()
                raise
            return made
        except OSError as error:
            why = error.strerror or str(error)
            raise AttachError(
                f"No run listens at {self} ({why}); `python -m engine.debugger --list` shows the runs that are alive."
            ) from None


def proof(token: bytes, nonce: bytes, role: str) -> bytes:
    """HMAC-SHA256(token, nonce + role): shows that the client has the token without sending it."""
    return hmac.digest(token, nonce + role.encode(), "sha256")


@attrs.define(eq=False)
class Connection:
    """An attached client. Made by `attach`; `receive` is for one thread, `send` and `close` for any.

    hello, welcome: what the run said; schema: what the simulation is, or None when the run has the schema whose hash the
    client named. bad: frames that were dropped because they could not be read.
    """

    socket: Socket
    address: Address = attrs.field(factory=Address)
    hello: dict[str, Any] = attrs.field(factory=dict)
    welcome: dict[str, Any] = attrs.field(factory=dict)
    schema: dict[str, Any] | None = None
    bad: int = 0
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    _sending: Any = attrs.field(factory=threading.Lock, init=False)
    _bad_in_a_row: int = attrs.field(default=0, init=False)

    @classmethod
    def attach(
        cls,
        address: Address,
        *,
        role: str = "observe",
        client: str = "lockstep debugger",
        schema: str = "",
        timeout: float = PATIENCE,
    ) -> Self:
        """Connect and shake hands. `schema` is the hash of a schema that the client still has, '' for none.

        Raises AttachError with what the run said: another version, a wrong token, too many clients, no answer.
        """
        made = cls(address.open(timeout), address)
        try:
            made._shake_hands(address, role, client, schema, timeout)
        except BaseException:
            made.close()
            raise
        return made

    def _shake_hands(self, address: Address, role: str, client: str, schema: str, timeout: float) -> None:
        self._send_all(MAGIC)
        self.hello = self._expect("hello", address, timeout)
        version = self.hello.get("protocol")
        if not (isinstance(version, list) and version and version[0] == PROTOCOL[0]):
            raise AttachError(other_version(version))
        shown = b""
        if self.hello.get("auth") == "token":
            nonce = self.hello.get("nonce")
            if not address.token:
                raise AttachError(f"The run at {address} asks for its token: give --token-file with its <pid>.token.")
            if not isinstance(nonce, bytes) or len(nonce) < 16:
                raise AttachError(f"What listens at {address} does not shake hands as a run does: it sent no nonce.")
            shown = proof(address.token, nonce, role)
        self.send(
            {"t": "auth", "protocol": list(PROTOCOL), "client": client, "role": role, "proof": shown, "schema": schema}
        )
        self.welcome = self._expect("welcome", address, timeout)
        if not schema or self.welcome.get("schema") != schema:
            self.schema = self._expect("schema", address, timeout)

    def _expect(self, kind: str, address: Address, timeout: float) -> dict[str, Any]:
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            message = self.receive(left)
            if message is None:
                continue
            if message["t"] == kind:
                return message
            if message["t"] == "bye":
                raise AttachError(said(message))
        raise AttachError(
            f"{address} took the connection but sent no '{kind}' within {timeout:g} s; is a Lockstep run listening there?"
        )

    # -- frames ----------------------------------------------------------------------------------------

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; AttachError when the run is gone."""
        self._send_all(encode_frame(message))

    def _send_all(self, data: bytes) -> None:
        try:
            with self._sending:
                self.socket.sendall(data)
        except OSError as error:
            raise AttachError(f"The connection to the run is lost ({error.strerror or error}).") from None

    def receive(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next message, None after `timeout` seconds without one; AttachError when the connection has ended.

        Pings are answered and data frames acknowledged on the way. A frame that cannot be read is dropped and counted;
        three in a row end the connection.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            body = self._take()
            if body is None:
                left = None if end is None else end - time.monotonic()
                if (left is not None and left <= 0) or not self._wait(left):
                    return None
                continue
            try:
                message = decode_body(body, LIMITS)
            except WireError as error:
                self._count_bad(error)
                continue
            self._bad_in_a_row = 0
            if message["t"] == "ping":
                self._answer({"t": "pong", "n": message.get("n", 0)})
                continue
            if message["t"] == "data":
                self._answer({"t": "ack", "seq": message.get("seq", 0)})
            return message

    def _answer(self, message: Mapping[str, Any]) -> None:
        """A run that has hung up cannot be answered, but what it said before, its goodbye, can still be read."""
        with contextlib.suppress(AttachError):
            self.send(message)

    def _take(self) -> bytes | None:
        if len(self._buffer) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._buffer)
        if length > LIMITS.frame:
            raise AttachError(f"The run sent a frame of {length} bytes; {LIMITS.frame} are the most. Attach again.")
        if len(self._buffer) < LENGTH.size + length:
            return None
        body = bytes(self._buffer[LENGTH.size : LENGTH.size + length])
        del self._buffer[: LENGTH.size + length]
        return body

    def _wait(self, timeout: float | None) -> bool:
        """Read once; False when nothing came in time."""
        try:
            if not select.select([self.socket], [], [], timeout)[0]:
                return False
            data = self.socket.recv(1 << 18)
        except (OSError, ValueError) as error:
            raise AttachError(self.address.cut() or f"The connection to the run is lost ({error}).") from None
        if not data:
            raise AttachError(self.address.cut() or "The run closed the connection.")
        self._buffer += data
        return True

    def _count_bad(self, error: WireError) -> None:
        self.bad += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= _BAD_FRAMES:
            raise AttachError(f"The run sent {_BAD_FRAMES} frames in a row that cannot be read ({error}).") from None

    def close(self) -> None:
        """Hang up; a `receive` that waits in another thread raises AttachError."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def said(bye: Mapping[str, Any]) -> str:
    """The sentence with which a run ended a connection."""
    text = bye.get("text")
    return text if isinstance(text, str) and text else f"The run ended the connection ({bye.get('code')})."


def other_version(theirs: Any) -> str:
    """The sentence for a run whose major version is not ours."""
    if not (isinstance(theirs, list) and len(theirs) == 2 and all(type(n) is int for n in theirs)):
        return "What listens there does not say which protocol it speaks; it is no Lockstep run."
    older = "this debugger" if theirs[0] > PROTOCOL[0] else "the run's engine"
    return (
        f"The run speaks debugger protocol {theirs[0]}.{theirs[1]}, this debugger {PROTOCOL[0]}.{PROTOCOL[1]}: upgrade "
        f"{older} (pip install --upgrade lockstep-sim)."
    )


def user_name() -> str:
    """How a client calls itself, for the list of who is attached."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):  # neither the environment nor the system has a name
        login = str(os.getuid())
    return f"{login}@{socket.gethostname()}"
