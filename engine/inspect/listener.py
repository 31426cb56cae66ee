"""Where a run listens for debuggers: its Unix socket, and a TCP port when asked for; who may come in."""

import hmac
import ipaddress
import secrets
import socket
import stat
import struct
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from engine.errors import SceneError
from engine.protocol.discovery import LONGEST_PATH, beside, proof, write_private

FAILURES, WINDOW, PAUSE = 3, 10.0, 10.0
"""So many strangers within so many seconds, and nobody is let in for so many seconds."""
_BACKLOG = 64
Socket = socket.socket


@attrs.frozen
class ListenOptions:
    """What --debug asks for: host and port of a TCP listener besides the Unix socket; port 0 for none."""

    host: str = "127.0.0.1"
    port: int = 0


def parse_debug(text: str, expose: bool = False) -> ListenOptions | None:
    """What 'on', 'off', 'tcp:PORT' or 'tcp:HOST:PORT' says; None for 'off'.

    SceneError for anything else, and for a host that is not this machine unless `expose`.
    """
    if text == "off":
        return None
    if text == "on":
        return ListenOptions()
    scheme, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if scheme != "tcp" or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise SceneError(f"--debug {text} is not understood; say on, off, tcp:PORT or tcp:HOST:PORT, as in tcp:5555.")
    if not loopback(host) and not expose:
        raise SceneError(
            f"--debug {text} would let other machines in, and nothing that is sent is encrypted. Forward a port with "
            f"`ssh -L {port}:127.0.0.1:{port}` to --debug tcp:{port} instead, or add --debug-expose."
        )
    return ListenOptions(host, int(port))


def loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@attrs.define(eq=False)
class Listener:
    """A listening socket. `token` is b"" where the system says who connects, else what a client must prove to have."""

    socket: Socket
    token: bytes = attrs.field(default=b"", repr=False)
    paused_until: float = 0.0
    _failures: deque[float] = attrs.field(factory=deque, init=False)

    @property
    def auth(self) -> str:
        """How a client shows who it is, as `hello` calls it."""
        return "token" if self.token else "peer"

    def accept(self) -> Socket | None:
        """A connection, not blocking; None when there is none after all. OSError when the process has no room."""
        try:
            made, _ = self.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None
        made.setblocking(False)
        if made.family != socket.AF_UNIX:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def same_user(self, made: Socket, uid: int) -> bool:
        """Whether the process at the other end may talk at all: on a Unix socket, one of the user `uid`."""
        return bool(self.token) or peer_uid(made) == uid

    def proven(self, given: bytes, nonce: bytes, role: str) -> bool:
        """Whether a client has the token, compared in constant time."""
        if not self.token:
            return True
        return hmac.compare_digest(proof(self.token, nonce, role), given)

    def failed(self, now: float) -> bool:
        """Count a stranger; True when that makes one too many, and `paused_until` is set."""
        self._failures.append(now)
        while self._failures[0] < now - WINDOW:
            self._failures.popleft()
        if len(self._failures) < FAILURES:
            return False
        self._failures.clear()
        self.paused_until = now + PAUSE
        return True


def listen(stem: Path, debug: ListenOptions, expose: bool) -> tuple[list[Listener], list[str]]:
    """The listeners of a run, and what its user should read about them. SceneError, and nothing is left open."""
    listeners, notices = [listen_unix(beside(stem, ".sock"))], []
    if debug.port:
        token = beside(stem, ".token")
        try:
            listeners.append(listen_tcp(debug, token, expose))
        except SceneError:
            listeners[0].socket.close()
            raise
        notices.append(f"Debuggers may attach at {debug.host}:{debug.port} with the token in {token}.")
        if not loopback(debug.host):
            notices.append(
                "WARNING: other machines can reach this port, and what is sent is not encrypted. The right way is "
                f"`python -m engine.debugger --ssh HOST`, which forwards {beside(stem, '.sock')}."
            )
    return listeners, notices


def listen_unix(path: Path) -> Listener:
    """A listener at a path that nobody but this user may connect to; SceneError when that cannot be."""
    if len(str(path).encode()) > LONGEST_PATH:
        raise SceneError(
            f"{path} is too long for a socket ({LONGEST_PATH} bytes are the most); set XDG_RUNTIME_DIR to a short folder."
        )
    with _opened(socket.AF_UNIX, f": a socket at {path} cannot be made") as made:
        made.bind(str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return Listener(made)


@contextmanager
def _opened(family: int, problem: str, cure: str = "") -> Iterator[Socket]:
    """A socket that listens, not blocking, once it has been bound; SceneError of what was tried, and it is closed."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        yield made
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise SceneError(f"No debugger can attach{problem} ({error}){cure}.") from None


def listen_tcp(debug: ListenOptions, token_path: Path, expose: bool = False) -> Listener:
    """A listener on a port, whose token is written where only this user can read it."""
    if not loopback(debug.host) and not expose:
        raise SceneError(f"A debugger at {debug.host} would let other machines in; that takes --debug-expose.")
    family, token = socket.AF_INET6 if ":" in debug.host else socket.AF_INET, secrets.token_bytes(32)
    with _opened(family, f" at {debug.host}:{debug.port}", "; choose another port") as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((debug.host, debug.port))
        write_private(token_path, token.hex())
    return Listener(made, token)


def peer_uid(made: socket.socket) -> int | None:
    """The user whose process is at the other end of a Unix socket; None when the system does not say."""
    try:
        if sys.platform == "darwin":  # struct xucred {version, uid, ...} of LOCAL_PEERCRED
            return int(struct.unpack("II", made.getsockopt(0, 1, 8))[1])
        credentials = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    except (OSError, AttributeError):
        return None
