"""Runs on another machine: a program in the place of ssh that runs commands here, and really forwards sockets."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.debugger.__main__ import main
from engine.debugger.net.connection import Connection
from engine.debugger.net.link import Link
from engine.debugger.net.ssh import Tunnel, forwarded, remote_runs
from engine.errors import AttachError
from engine.inspect.server import DebugServer
from tests.debugger.scripted import PATIENCE
from tests.debugger.scripted_run import ScriptedRun
from tests.helpers import REPOSITORY

SSH = f"""#!{sys.executable} -S
import os, socket, subprocess, sys, threading, time
folder = os.path.dirname(os.path.abspath(__file__))
words, options, spec, plain = sys.argv[1:], [], None, False
assert sys.stdin.read() == "", "ssh was given what is meant for the debugger"
while words and words[0] != "--":
    word = words.pop(0)
    if word == "-N": plain = True
    elif word == "-o": options.append(words.pop(0))
    elif word == "-L": spec = words.pop(0)
    else: sys.exit("unknown option " + word)
_, host, *command = words
with open(folder + "/started", "a") as log:
    log.write(str(os.getpid()) + " " + ",".join(options) + "\\n")
if os.path.exists(folder + "/down"):
    sys.exit("banner of the house\\nssh: connect to host " + host + " port 22: Connection refused")
if command:
    sys.exit(subprocess.run(["sh", "-c", command[0]]).returncode)
assert plain and "ExitOnForwardFailure=yes" in options
here, there = spec.split(":")
server = socket.socket(socket.AF_UNIX)
server.bind(here)
if os.path.exists(folder + "/slow"): time.sleep(0.5)
server.listen()
def pump(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    for each in (a, b):
        try: each.shutdown(socket.SHUT_RDWR)
        except OSError: pass
while True:
    a, b = server.accept()[0], socket.socket(socket.AF_UNIX)
    b.connect(there)
    for pair in ((a, b), (b, a)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH with an `ssh`, and one of this test's own for what is temporary."""
    folder = tmp_path / "tools"
    (tmp_path / "tmp").mkdir()
    folder.mkdir()
    for name, program in {"ssh": SSH, "id": "#!/bin/sh\necho 4242\n"}.items():  # a user of whom there are no other runs
        (folder / name).write_text(program)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return folder


@pytest.fixture
def hub(tools: Path) -> Iterator[DebugServer]:
    """A run on the "other" machine: of another host, with a process that there is not here."""
    made = DebugServer(
        {"name": "walk/1", "scene": "toy", "pid": os.getpid(), "host": os.uname().nodename}, ScriptedRun().schema
    )
    made.start()
    yield made
    made.close()


def socket_of(hub: DebugServer) -> str:
    return f"{hub.stem}.sock"


def started(tools: Path) -> list[tuple[int, str]]:
    """Process and options of every ssh there was."""
    lines = (tools / "started").read_text().splitlines() if (tools / "started").exists() else []
    return [(int(process), options) for process, _, options in (line.partition(" ") for line in lines)]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{process}/status").read_text() if Path("/proc").exists() else True


def until(holds: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)
    return found


def hear_all(connection: Connection) -> None:
    while True:
        connection.receive(PATIENCE)


def nothing_is_left(tools: Path, tmp_path: Path) -> bool:
    return not list((tmp_path / "tmp").iterdir()) and not any(alive(process) for process, _ in started(tools))


def test_runs_are_listed_and_one_is_asked_through_the_tunnel(
    hub: DebugServer, tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (run,) = remote_runs("me@server")
    assert str(run.socket) == socket_of(hub) and "walk/1  (toy on " in run.line()
    assert main(["--ssh", "me@server", "--list"]) == 0
    assert main(["--ssh", "me@server", "--text", "--run", "walk/1", "list", "torque"]) == 0
    assert "1 of 32 columns." in capsys.readouterr().out
    assert nothing_is_left(tools, tmp_path)


def test_what_is_piped_in_is_read_by_the_debugger_not_by_ssh(hub: DebugServer, tools: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "engine.debugger", "--ssh", "me@server", "--text"],
        input="list torque\nquit\n",
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 32 columns." in done.stdout
    assert nothing_is_left(tools, tmp_path)


def test_without_ssh_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--ssh", "me@server", "--list"]) == 1
    assert capsys.readouterr().err == "--ssh needs the program `ssh`, which is not installed.\n"
    with pytest.raises(AttachError, match="not installed"), forwarded("me@server", "/run/1.sock"):
        pass


def test_what_ssh_says_last_is_in_the_sentence(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tools / "down").touch()
    assert main(["--ssh", "server", "--list"]) == 1
    refused = "ssh: connect to host server port 22: Connection refused"
    assert capsys.readouterr().err == f"ssh to server failed: {refused}.\n"
    with pytest.raises(AttachError) as raised, forwarded("server", "/run/1.sock"):
        pass
    assert str(raised.value) == f"ssh to server could not forward /run/1.sock: {refused}."
    assert nothing_is_left(tools, tmp_path)


def test_an_ssh_that_listens_a_moment_after_it_has_made_its_socket_is_waited_for(hub: DebugServer, tools: Path):
    (tools / "slow").touch()
    with forwarded("server", socket_of(hub)) as address:
        connection = Connection.attach(address)
        assert connection.hello["run"]["name"] == "walk/1"
        connection.close()


def test_a_session_says_that_ssh_ended(hub: DebugServer, tools: Path, tmp_path: Path):
    with forwarded("server", socket_of(hub)) as address:
        connection = Connection.attach(address)
        os.kill(started(tools)[-1][0], signal.SIGKILL)
        with pytest.raises(AttachError, match=r"^ssh to server ended: it ended with status -9\.$"):
            hear_all(connection)
        connection.close()
    assert nothing_is_left(tools, tmp_path)


def test_a_tunnel_that_is_closed_while_somebody_asks_why_it_broke_says_nothing(
    hub: DebugServer, tools: Path, tmp_path: Path
):
    messages: list[str] = []
    with forwarded("me@server", socket_of(hub)) as address:
        tunnel = address.tunnel
        assert isinstance(tunnel, Tunnel)
        asking = threading.Thread(target=lambda: messages.append(tunnel.broken()))
        asking.start()
        time.sleep(0.1)
    asking.join(PATIENCE)
    assert messages == [""] and nothing_is_left(tools, tmp_path)


def test_what_a_tunnel_said_may_be_gone(hub: DebugServer, tools: Path):
    with forwarded("me@server", socket_of(hub)) as address:
        (process, _) = started(tools)[0]
        os.kill(process, signal.SIGTERM)
        Path(address.path).with_name("ssh.log").unlink()
        assert address.tunnel.broken() == "ssh to me@server ended: it ended with status -15."


def test_a_window_says_that_ssh_ended_and_gets_through_again(hub: DebugServer, tools: Path, tmp_path: Path):
    statuses: list[tuple[str, str]] = []

    def heard() -> list[tuple[str, str]]:
        statuses.extend((m["status"], m["text"]) for m in link.take() if m["t"] == "link")
        return statuses

    with forwarded("server", socket_of(hub)) as address:
        link = Link(address, lambda: None)
        link.start()
        until(lambda: heard() and statuses[-1][0] == "open")
        (tools / "down").touch()
        os.kill(started(tools)[-1][0], signal.SIGKILL)
        until(lambda: len(heard()) >= 3)
        assert statuses[1] == ("lost", "ssh to server ended: it ended with status -9. Trying again in 0.5 s.")
        assert statuses[2][0] == "lost" and "Connection refused. Trying again in 1.0 s." in statuses[2][1]
        (tools / "down").unlink()
        until(lambda: heard() and statuses[-1][0] == "open")
        assert "BatchMode=yes" not in started(tools)[0][1] and "BatchMode=yes" in started(tools)[-1][1]
        link.close()
    assert nothing_is_left(tools, tmp_path)


def test_a_process_here_says_nothing_of_a_run_on_another_machine_of_the_same_name(tools: Path, tmp_path: Path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    hub = DebugServer(
        {"name": "walk/1", "scene": "toy", "pid": gone.pid, "host": os.uname().nodename}, ScriptedRun().schema
    )
    hub.start()
    try:
        with forwarded("server", socket_of(hub)) as address:
            link = Link(address, lambda: None)
            link.start()
            messages: list[dict[str, Any]] = []
            until(lambda: messages.extend(link.take()) or any(m.get("status") == "open" for m in messages))
            os.kill(started(tools)[-1][0], signal.SIGKILL)
            until(lambda: messages.extend(link.take()) or any(m.get("status") == "lost" for m in messages))
            assert not any(m.get("status") == "ended" for m in messages)
            link.close()
    finally:
        hub.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_debugger_that_is_told_to_end_leaves_nothing_behind(
    hub: DebugServer, tools: Path, tmp_path: Path, number: int
):
    command = [sys.executable, "-m", "engine.debugger", "--ssh", "me@server", "--text"]
    surroundings = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(
        command, env=surroundings, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and "Attached to walk/1" in process.stdout.readline()
        assert not nothing_is_left(tools, tmp_path)
        process.send_signal(number)
        process.wait(PATIENCE)
        assert process.returncode in (-number, 0, 130)
    assert nothing_is_left(tools, tmp_path)
