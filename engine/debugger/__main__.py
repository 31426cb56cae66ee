"""`python -m engine.debugger`: find a run and attach to it, with a window or without; or open a recording."""

import argparse
import contextlib
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.debugger.net.connection import Address
from engine.debugger.net.ssh import forwarded, remote_runs
from engine.errors import AttachError, LockstepError
from engine.protocol.discovery import LiveRun, live_runs, read_token
from engine.terminal import accept_any_text

if TYPE_CHECKING:
    from engine.debugger.net.recording_source import RecordingSession
    from engine.debugger.net.session import Session

DEMO = Path(__file__).parent / "demo.rec"
_NO_SCREEN = ("offscreen", "minimal", "vnc", "linuxfb", "eglfs")
_ELSEWHERE = "use `ssh -X` or --text here, or record and open the file elsewhere."
_TRY = "from PySide6.QtGui import QGuiApplication; QGuiApplication([])"  # Qt ends the process where it cannot begin
_LOADING = "qt.core.library.debug=true"  # has Qt print which library a plugin of its own lacks
_LACKING = re.compile(r"(lib[\w.+-]+\.so[\w.]*): (?:cannot open shared object file|file too short|invalid ELF header)")
_LIBRARIES = "libegl1 libgl1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1"
_EPILOG = """\
Without arguments it attaches to the run that is alive, or lists them when there are several.
  python -m engine.debugger                       a window on the only run
  python -m engine.debugger 4711                  ... on the run of process 4711 (or a part of a run's name)
  python -m engine.debugger runs/x/tick_1.rec     a recording
  python -m engine.debugger --demo                a recording that ships with Lockstep
  python -m engine.debugger --ssh me@server       a run on another machine
  python -m engine.debugger --text                commands at a prompt, no window
  python -m engine.debugger --text print RootState.position 0
  python -m engine.debugger --text x.rec log      a recording, without a window
  python -m engine.debugger --text "break --mark nonfinite(robot.DofState.velocity)"
"""


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options and words of the command line; ends the process, as argparse does, for an option that does not exist."""
    parser = argparse.ArgumentParser(
        "python -m engine.debugger",
        description="Look into a running simulation, or a recording of one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", help="a recording, a process or a run's name; with --text, a command")
    parser.add_argument("--run", metavar="RUN", help="process or name of the run, where WHAT is a command")
    parser.add_argument("--list", action="store_true", help="show the runs that are alive and end")
    parser.add_argument("--text", action="store_true", help="commands instead of a window; `--text help` lists them")
    parser.add_argument("--demo", action="store_true", help="open the recording that ships with Lockstep")
    parser.add_argument("--ssh", metavar="HOST", help="look for runs on another machine")
    parser.add_argument("--tcp", metavar="HOST:PORT", help="attach over TCP; needs --token-file")
    parser.add_argument("--token-file", type=Path, metavar="F", help="the run's <pid>.token")
    parser.add_argument("--control", action="store_true", help="ask for control at once; otherwise only observe")
    given, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown and given.text:
        parser.error(f"{unknown[0]} is no option here; quote a command that has options: --text 'break --mark …'")
    if unknown:
        parser.error(f"there is no option {unknown[0]}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Look into a running simulation, or a recording of one."""
    accept_any_text()
    given = _given(arguments)
    try:
        if given.list:
            return _show(remote_runs(given.ssh) if given.ssh else live_runs())
        if given.text and " ".join(given.what).split()[:1] == ["help"]:
            return _help(given)
        if given.demo or _is_file(given):
            return _open_recording(DEMO if given.demo else Path(given.what.pop(0)), given)
        if not given.text:
            _need_window()
        with _address(given) as address:
            return _text(address, given) if given.text else _window(address, None, given)
    except LockstepError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read what is printed has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _is_file(given: argparse.Namespace) -> bool:
    """Whether the first word is a file; a command may have the name of one, but none ends in .rec."""
    named = bool(given.what) and not given.run
    return named and (given.what[0].endswith(".rec") or (not given.text and Path(given.what[0]).is_file()))


# -- which run -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _address(given: argparse.Namespace) -> Iterator[Address]:
    wanted = given.run or ("" if given.text else " ".join(given.what))
    if given.tcp:
        yield _tcp(given)
    elif given.ssh:
        remote = _only(remote_runs(given.ssh), wanted, f"on {given.ssh}")
        with forwarded(given.ssh, str(remote.socket)) as address:
            yield address
    else:
        yield Address(path=str(_only(live_runs(), wanted, "on this machine").socket))


def _tcp(given: argparse.Namespace) -> Address:
    host, _, port = given.tcp.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise AttachError(f"--tcp {given.tcp} is not HOST:PORT, as in --tcp localhost:5555.")
    if given.token_file is None:
        raise AttachError("--tcp needs --token-file with the run's <pid>.token, which lies next to its socket.")
    return Address(host=host.strip("[]") or "127.0.0.1", port=int(port), token=read_token(given.token_file))


def _only(runs: Sequence[LiveRun], wanted: str, where: str) -> LiveRun:
    """The run that is meant; AttachError with the list when that is not one."""
    found = [run for run in runs if run.socket.stem == wanted]
    found = found or [run for run in runs if wanted in str(run.note.get("run"))]
    if len(found) == 1:
        return found[0]
    if not runs:
        raise AttachError(
            f"No run is alive {where}. Start one, as in `python -m engine.run scenes/cartpole.py`, or open a recording; "
            "--demo opens one that ships with Lockstep."
        )
    which = "No run" if not found else f"{len(found)} runs"
    lines = "\n".join(run.line() for run in (found or runs))
    about = f" called '{wanted}'" if wanted else ""
    raise AttachError(f"{which}{about} {where}; name one by its process or a part of its name:\n{lines}")


def _show(runs: Sequence[LiveRun]) -> int:
    for run in runs:
        print(run.line())
    if not runs:
        print("No run is alive.")
    return 0


# -- what to open it with ------------------------------------------------------------------------------


def _text(address: Address, given: argparse.Namespace) -> int:
    from engine.debugger.net.session import Session
    from engine.debugger.text import print_event

    speaks = not given.what or " ".join(given.what).split()[:1] == ["break"]
    role, talk = "control" if given.control else "observe", print_event if speaks else None
    return _commands(Session.attach(address, role=role, on_event=talk), given)


def _commands(session: "Session | RecordingSession", given: argparse.Namespace) -> int:
    """Those of the command line, or what is typed."""
    from engine.debugger.text import Text, prompt

    try:
        text = Text(session)
        if not given.what:
            return prompt(text, sys.stdin)
        done = text.run(given.what[0]) if len(given.what) == 1 else text.do(list(given.what))
        if text.breaks:
            text.wait_for_breaks()
        return 0 if done else 1
    finally:
        session.close()


def _help(given: argparse.Namespace) -> int:
    """Commands can be read up without a run."""
    from engine.debugger.net.recording_source import RecordingSession
    from engine.debugger.text import Text

    return 0 if Text(RecordingSession(DEMO)).do(" ".join(given.what).split()) else 1


def _need_window() -> None:
    """AttachError, before Qt is touched, where no window can be shown: Qt would end the process."""
    if importlib.util.find_spec("PySide6") is None or importlib.util.find_spec("pyqtgraph") is None:
        raise AttachError("The window needs Qt: pip install 'lockstep-sim[debugger]'. Without it there is --text.")
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM", "").split(":")[0] in _NO_SCREEN:
        return
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise AttachError(f"There is no display: {_ELSEWHERE}")
    problem = _try_qt()
    if problem is not None:
        raise AttachError(_no_window(problem))


def _try_qt() -> str | None:
    """What Qt prints before it ends a process in which it cannot open a window; None where it can."""
    rules = ";".join(filter(None, (os.environ.get("QT_LOGGING_RULES"), _LOADING)))
    tried = subprocess.run(
        [sys.executable, "-c", _TRY],
        env={**os.environ, "QT_LOGGING_RULES": rules},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return tried.stderr if tried.returncode else None


def _no_window(printed: str) -> str:
    """Sentence about why Qt cannot open a window, from what it printed or raised."""
    lines = [line for line in printed.splitlines() if line.strip() and not line.startswith("qt.core.library")]
    if unreachable := [line for line in lines if "could not connect to display" in line]:
        named = unreachable[0].split("display")[-1].strip() or os.environ.get("WAYLAND_DISPLAY", "")
        return f"There is no display {named} that can be reached: {_ELSEWHERE}"
    if lacking := _LACKING.search(printed):
        return (
            f"Qt cannot open a window here, for it lacks {lacking[1]}. On Debian and Ubuntu: apt install {_LIBRARIES}. "
            "Without it there is --text."
        )
    why = lines[-1 if "Traceback" in printed else 0] if lines else "it gave no reason"
    return f"Qt cannot open a window here ({why}). Without it there is --text."


def _open_recording(path: Path, given: argparse.Namespace) -> int:
    if not path.is_file():
        raise AttachError(f"There is no recording {path}.")
    if given.text:
        from engine.debugger.net.recording_source import RecordingSession

        return _commands(RecordingSession(path), given)
    _need_window()
    return _window(None, path, given)


def _window(address: Address | None, recording: Path | None, given: argparse.Namespace) -> int:
    try:
        show = importlib.import_module("engine.debugger.app.window").show
    except ImportError as error:
        if _LACKING.search(str(error)):
            raise AttachError(_no_window(str(error))) from None
        lacking = f"The window needs Qt, which cannot be loaded ({error})."
        raise AttachError(f"{lacking} Without it there is --text.") from None
    return int(show(address=address, recording=recording, role="control" if given.control else "observe"))


if __name__ == "__main__":
    sys.exit(main())
