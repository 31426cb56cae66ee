"""Runs on another machine through ssh, which needs nothing but a shell there and opens nothing to the network."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from engine.debugger.net.connection import Address
from engine.errors import AttachError
from engine.protocol.discovery import LiveRun, parse_note
from engine.terminal import signals_handled

_LIST = (
    'for d in "${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/lockstep" "${TMPDIR:-/tmp}/lockstep-$(id -u)" "/tmp/lockstep-$(id -u)"; do for f in "$d"/*.json; do '
    '[ -f "$f" ] && p=$(basename "$f" .json) && kill -0 "${p%%-*}" 2>/dev/null '
    '&& printf "%s\\t%s\\n" "${f%.json}.sock" "$(tr -d "\\n" <"$f")"; done; done; true'
)
_SECONDS = 60.0  # to log in, which may ask for a password
_END = 3.0  # seconds that ssh has to end
_LAST_WORDS = 0.5  # seconds from a cut connection to the end of the ssh that cut it
_OPTIONS = ("ExitOnForwardFailure=yes", "StreamLocalBindMask=0177", "ServerAliveInterval=5", "ServerAliveCountMax=3")


def check_host(host: str) -> str:
    """The host as it is given to ssh; AttachError for what ssh would take for an option."""
    if not host or host.startswith("-") or any(letter.isspace() for letter in host):
        raise AttachError(f"'{host}' is not a host for --ssh; give it as `ssh` takes it: HOST or USER@HOST.")
    return host


def remote_runs(host: str) -> list[LiveRun]:
    """The runs that are alive on a host, with their sockets there; AttachError when ssh does not get there."""
    try:
        done = subprocess.run(
            [_ssh(), "--", check_host(host), _LIST],
            stdin=subprocess.DEVNULL,  # what is typed, or piped in, is for the debugger
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AttachError(f"ssh to {host} took longer than {_SECONDS:g} s.") from None
    if done.returncode != 0:
        raise AttachError(f"ssh to {host} failed: {_last_line(done.stderr, done.returncode)}.")
    found: dict[str, LiveRun] = {}
    for line in done.stdout.splitlines():
        path, _, text = line.partition("\t")
        if note := parse_note(text):
            found.setdefault(path, LiveRun(Path(path), note))
    return list(found.values())


def _ssh() -> str:
    program = shutil.which("ssh")
    if program is None:
        raise AttachError("--ssh needs the program `ssh`, which is not installed.")
    return program


def _last_line(text: str, status: int | None) -> str:
    lines = text.strip().splitlines()
    return lines[-1].rstrip(". \r") if lines else f"it ended with status {status}"


class Tunnel:
    """An ssh that leads from a local socket to one on the host. Started anew, without questions, when it has ended."""

    def __init__(self, host: str, remote: str, folder: Path) -> None:
        self.host, self.remote = check_host(host), remote
        self.local, self._log = folder / "run.sock", folder / "ssh.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock, self._closed = threading.RLock(), threading.Event()  # a signal may come while it is held

    def ready(self) -> None:
        """Returns when the local socket can be connected to; AttachError with the last line of ssh when it does not get there."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start(asks=self._process is None)

    def _start(self, asks: bool) -> None:
        """Start ssh; without `asks` it does not ask for a password, as when a window stands in front of the terminal."""
        self.local.unlink(missing_ok=True)
        options = [*_OPTIONS, *(() if asks else ("BatchMode=yes",))]
        command = [_ssh(), "-N", *(word for option in options for word in ("-o", option))]
        command += ["-L", f"{self.local}:{self.remote}", "--", self.host]
        end = time.monotonic() + _SECONDS
        with self._log.open("wb") as log:
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )
        while not self.local.exists():
            if process.poll() is not None:
                raise AttachError(f"ssh to {self.host} could not forward {self.remote}: {self._last_words()}.")
            if time.monotonic() > end or self._closed.wait(0.05):
                self._end()
                raise AttachError(f"ssh to {self.host} could not forward {self.remote}: it took too long.")

    def broken(self) -> str:
        """Why a connection through it was cut, if it was ssh that ended; '' while that runs, and where it was closed here."""
        process = self._process
        if process is None or self._closed.is_set():
            return ""
        try:
            process.wait(_LAST_WORDS)
        except subprocess.TimeoutExpired:
            return ""
        return "" if self._closed.is_set() else f"ssh to {self.host} ended: {self._last_words()}."

    def _last_words(self) -> str:
        try:
            text = self._log.read_text(errors="replace")
        except OSError:  # nothing was logged yet, or the folder went with the tunnel, which another thread may close
            text = ""
        return _last_line(text, None if self._process is None else self._process.poll())

    def _end(self) -> None:
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """End ssh for good."""
        self._closed.set()
        with self._lock:
            self._end()


@contextlib.contextmanager
def forwarded(host: str, remote: str) -> Iterator[Address]:
    """A local socket that leads to a socket on the host, for as long as the block lasts, or the process, also when a signal ends it."""
    with tempfile.TemporaryDirectory(prefix="lockstep-ssh-", ignore_cleanup_errors=True) as folder:
        tunnel = Tunnel(host, remote, Path(folder))

        def tidy(number: int, _: object) -> None:
            tunnel.close()
            shutil.rmtree(folder, ignore_errors=True)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        with signals_handled((signal.SIGTERM, signal.SIGHUP), tidy):
            try:
                tunnel.ready()
                yield Address(path=str(tunnel.local), tunnel=tunnel)
            finally:
                tunnel.close()
