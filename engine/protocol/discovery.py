"""Discovery of live runs: a folder per user that nobody else may enter, with a socket and a note for each run.

    <pid>.sock   the Unix socket that the run listens on, mode 0600
    <pid>.json   protocol, pid, host, scene, run, started: what a list of runs shows
    <pid>.token  the secret of a run that also listens on TCP, 64 hexadecimal digits, mode 0600

A run's second server in one process is called <pid>-2, and so on.
"""

import contextlib
import errno
import hmac
import json
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from engine.errors import AttachError, SceneError

LONGEST_PATH = 103
"""Bytes of a socket's path that every system takes (Linux: 107, macOS: 103)."""
_LONGEST_NOTE = 1 << 16  # bytes; a note is written by a run, but read from a folder that also holds leftovers


def runs_folder(create: bool = False) -> Path:
    """$XDG_RUNTIME_DIR/lockstep, or <temporary folder>/lockstep-<uid> where there is none.

    Created with mode 0700 if asked; SceneError when what is there belongs to somebody else or is open to others.
    """
    private = os.environ.get("XDG_RUNTIME_DIR", "")
    if private and os.path.isabs(private) and os.access(private, os.W_OK | os.X_OK):
        folder = Path(private) / "lockstep"
        if len(os.fsencode(folder)) + len("/4194304-99.sock") <= LONGEST_PATH:
            return verified(folder, create)
    return verified(_temporary(), create)


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"lockstep-{os.getuid()}"


def _folders() -> list[Path]:
    """Folders in which runs of this user may be: ours, and those of runs with another environment, where they are safe."""
    others, found = [_temporary()], [runs_folder()]
    if "XDG_RUNTIME_DIR" not in os.environ:
        others.append(Path("/run/user", str(os.getuid()), "lockstep"))  # its usual value
    for each in others:
        with contextlib.suppress(SceneError, OSError):
            if each not in found:
                found.append(verified(each))
    return found


def verified(folder: Path, create: bool = False) -> Path:
    """The folder, if it is a real folder of this user that nobody else may enter; SceneError otherwise."""
    if create:
        folder.mkdir(mode=0o700, parents=False, exist_ok=True)
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return folder
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        what = "is not a folder" if not stat.S_ISDIR(found.st_mode) else f"has mode {found.st_mode & 0o777:04o}"
        raise SceneError(
            f"{folder}, where debuggers look for runs, {what} and belongs to user {found.st_uid}; it must be a folder of "
            f"user {os.getuid()} with mode 0700, or others could listen. Remove it, or set XDG_RUNTIME_DIR to a folder of your own."
        )
    return folder


@attrs.frozen
class LiveRun:
    """One entry of the folder: the socket to connect to, and the note of the run."""

    socket: Path
    note: dict[str, Any]

    @property
    def pid(self) -> int:
        """The process id on the host of the run."""
        return int(self.note["pid"])

    @property
    def here(self) -> bool:
        """Whether it runs on this host."""
        return bool(self.note["host"] == socket.gethostname())

    def line(self) -> str:
        """One line of a list of runs."""
        note = self.note
        return f"{self.socket.stem:>10}  {note['run']}  ({note['scene']} on {note['host']} since {note['started']})"


def proof(token: bytes, nonce: bytes, role: str) -> bytes:
    """HMAC-SHA256(token, nonce + role): shows that a client has the token without sending it."""
    return hmac.digest(token, nonce + role.encode(), "sha256")


def live_runs(folder: Path | None = None) -> list[LiveRun]:
    """Every run that is alive, oldest first. Files of runs of this host that are gone are removed."""
    folders = _folders() if folder is None else [folder]
    found = []
    for path in [path for each in folders if each.is_dir() for path in sorted(each.glob("*.json"))]:
        note = read_note(path)
        if note is None:
            continue
        run = LiveRun(path.with_suffix(".sock"), note)
        if run.here and (not alive(run.pid) or _refused(run.socket)):
            remove(path.with_suffix(""))
        else:
            found.append(run)
    return sorted(found, key=lambda run: (str(run.note["started"]), run.pid))


def read_note(path: Path) -> dict[str, Any] | None:
    """The note of a run; None for a file that is not a valid note."""
    try:
        with open(path, "rb") as file:
            return parse_note(file.read(_LONGEST_NOTE))
    except OSError:
        return None


def parse_note(text: str | bytes) -> dict[str, Any] | None:
    """The note of a run from its text; None for what is not a valid note."""
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):
        return None
    words = ("host", "scene", "run", "started")
    if not isinstance(note, dict) or type(note.get("pid")) is not int or note["pid"] <= 0:
        return None
    return note if all(isinstance(note.get(word), str) for word in words) else None


def alive(pid: int) -> bool:
    """Whether a process of this host exists and has not ended; one that nobody has waited for yet has."""
    with contextlib.suppress(OSError, IndexError):
        if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
            return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def free_stem(folder: Path, pid: int) -> Path:
    """The folder's path without suffix for one more hub of a process. Leftovers under the same number are removed."""
    stem, number = folder / str(pid), 1
    while (path := beside(stem, ".sock")).exists() and not _refused(path):
        number += 1
        stem = folder / f"{pid}-{number}"
    remove(stem)
    return stem


def _refused(path: Path) -> bool:
    """Whether nobody listens at a socket any more, so that its process has only the number of the one that did."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a run that is too busy to let anybody in is not gone
        with contextlib.suppress(OSError):
            return probe.connect_ex(os.fspath(path)) == errno.ECONNREFUSED
    return False


def write_private(path: Path, text: str) -> None:
    """A new file of mode 0600 that appears whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Write the note that `read_note` reads."""
    write_private(path, json.dumps(dict(note)))


def remove(stem: Path) -> None:
    """Remove the files of one hub, as far as that is allowed."""
    for suffix in (".json", ".sock", ".token"):
        with contextlib.suppress(OSError):
            beside(stem, suffix).unlink(missing_ok=True)


def beside(stem: Path, suffix: str) -> Path:
    """The file of a hub with that suffix."""
    return stem.with_name(stem.name + suffix)


def read_token(path: Path) -> bytes:
    """The secret in a token file; AttachError for anything else, and for a file that others may read."""
    try:
        mode = path.stat().st_mode
        with open(path, "rb") as file:
            text = file.read(200).strip()
        token = bytes.fromhex(text.decode("ascii"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds no hexadecimal digits"
        raise AttachError(f"The token file {path} cannot be read ({why}); copy the run's <pid>.token.") from None
    if mode & 0o077:
        raise AttachError(f"The token file {path} has mode {mode & 0o777:04o}, so others may read it; chmod 600 it.")
    if len(token) != 32:
        raise AttachError(f"The token file {path} holds {len(token)} bytes, not the 32 of a token.")
    return token
