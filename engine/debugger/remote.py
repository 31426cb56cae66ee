"""Runs on another machine, through ssh: nothing but a shell is needed there, and nothing is opened to the network."""

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from engine.debugger.connection import Address
from engine.errors import AttachError

_LIST = (
    'for d in "${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/lockstep" "${TMPDIR:-/tmp}/lockstep-$(id -u)" "/tmp/lockstep-$(id -u)"; do for f in "$d"/*.json; do '
    '[ -f "$f" ] && p=$(basename "$f" .json) && kill -0 "${p%%-*}" 2>/dev/null '
    '&& printf "%s\\t%s\\n" "${f%.json}.sock" "$(tr -d "\\n" <"$f")"; done; done; true'
)
_SECONDS = 60.0  # to log in, which may ask for a password


@attrs.frozen
class RemoteRun:
    """A run that is alive on another machine: its socket there, and its note."""

    socket: str
    note: dict[str, Any]

    def line(self) -> str:
        """One line of a list of runs."""
        note = self.note
        return f"{Path(self.socket).stem:>10}  {note.get('run')}  ({note.get('scene')} on {note.get('host')} since {note.get('started')})"


def check_host(host: str) -> str:
    """The host as it is given to ssh; AttachError for what ssh would take for an option."""
    if not host or host.startswith("-") or any(letter.isspace() for letter in host):
        raise AttachError(f"'{host}' is no host for --ssh; say it as `ssh` takes it: HOST or USER@HOST.")
    return host


def remote_runs(host: str) -> list[RemoteRun]:
    """The runs that are alive on a host; AttachError when ssh does not get there."""
    program = shutil.which("ssh")
    if program is None:
        raise AttachError("--ssh needs the program `ssh`, which is not installed.")
    try:
        done = subprocess.run(
            [program, "--", check_host(host), _LIST], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise AttachError(f"ssh to {host} took longer than {_SECONDS:g} s.") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise AttachError(f"ssh to {host} failed: {said[0].rstrip('.')}.")
    found: dict[str, RemoteRun] = {}
    for line in done.stdout.splitlines():
        path, _, text = line.partition("\t")
        with contextlib.suppress(ValueError):
            note = json.loads(text)
            if isinstance(note, dict):
                found.setdefault(path, RemoteRun(path, note))
    return list(found.values())


@contextlib.contextmanager
def forwarded(host: str, remote: str) -> Iterator[Address]:
    """A local socket that leads to a socket on the host, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="lockstep-ssh-") as folder:
        local = Path(folder) / "run.sock"
        command = ["ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0177"]
        process = subprocess.Popen(
            [*command, "-L", f"{local}:{remote}", "--", check_host(host)], stderr=subprocess.PIPE, text=True
        )
        try:
            end = time.monotonic() + _SECONDS
            while not local.exists():
                if process.poll() is not None or time.monotonic() > end:
                    said = (process.stderr.read() if process.poll() is not None and process.stderr else "").strip()
                    raise AttachError(f"ssh to {host} could not forward {remote}: {said or 'it took too long'}.")
                time.sleep(0.05)
            yield Address(path=str(local))
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
