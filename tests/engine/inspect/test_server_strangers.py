"""Who may find a run and talk to it, and what happens to everybody else."""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import engine.inspect.listener
import engine.inspect.server
import engine.inspect.sockets
from engine.debugger.net.connection import Address, Connection
from engine.errors import AttachError, SceneError
from engine.inspect.listener import ListenOptions, parse_debug
from engine.inspect.server import DebugServer
from engine.protocol.discovery import live_runs, runs_folder, verified, write_note
from engine.protocol.framing import LENGTH, encode_frame
from tests.engine.frames import mutated
from tests.engine.server_clients import (
    RUN,
    SCHEMA,
    attached,
    closed,
    free_port,
    goodbye,
    heard,
    raw,
    until,
)
from tests.helpers import REPOSITORY

# -- files --------------------------------------------------------------------------------------------


def test_socket_and_note_are_private_and_vanish(folder: Path):
    server = DebugServer(RUN, SCHEMA, folder=folder, debug=ListenOptions(port=free_port()))
    assert "token" in server.start()[0]
    try:
        stem = folder / str(os.getpid())
        assert server.stem == stem
        for suffix in (".sock", ".json", ".token"):
            assert stat.S_IMODE(stem.with_suffix(suffix).stat().st_mode) == 0o600
        note = json.loads(stem.with_suffix(".json").read_text())
        assert note == {"protocol": [1, 0], "pid": os.getpid(), "run": "toy/1", "scene": "toy",
                        "host": socket.gethostname(), "started": "now"}  # fmt: skip
        assert [run.pid for run in live_runs(folder)] == [os.getpid()]
    finally:
        server.close()
    assert list(folder.iterdir()) == []


def test_two_servers_of_a_process_have_two_sockets(server: DebugServer, folder: Path):
    second = DebugServer(RUN, SCHEMA, folder=folder)
    second.start()
    assert second.stem == folder / f"{os.getpid()}-2"
    with attached(second), attached(server):
        assert len(live_runs(folder)) == 2
    second.close()
    assert len(live_runs(folder)) == 1


def test_files_of_a_killed_process_are_removed_by_whoever_looks(folder: Path):
    script = (
        f"import time\nfrom pathlib import Path\nfrom engine.inspect.server import DebugServer\nserver = DebugServer({RUN!r}, {{}}, folder=Path({str(folder)!r}))\n"
        "server.start()\nprint('up', flush=True)\ninput()\n"
    )
    for kill in (True, False):
        process = subprocess.Popen(
            [sys.executable, "-c", script], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "up\n"
        assert [run.pid for run in live_runs(folder)] == [process.pid]
        if kill:
            process.send_signal(signal.SIGKILL)
        else:
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()
        assert len(list(folder.iterdir())) == (2 if kill else 0)
        assert live_runs(folder) == []
        assert list(folder.iterdir()) == []


def test_files_of_a_killed_process_whose_number_another_one_has_now_are_removed(folder: Path):
    """Where few processes run, as in a container, the next one may well have the number of the one that was killed."""
    note = {
        "protocol": [1, 0],
        "pid": os.getppid(),
        "run": "old",
        "scene": "s",
        "host": socket.gethostname(),
        "started": "a",
    }
    stem = folder / str(os.getppid())
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(stem.with_suffix(".sock")))
        gone.listen()
        write_note(stem.with_suffix(".json"), note)
        assert [run.pid for run in live_runs(folder)] == [os.getppid()]
    assert live_runs(folder) == []
    assert list(folder.iterdir()) == []


def test_a_stopped_run_is_alive(folder: Path):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as stopped:  # it takes no connection from its queue
        stem = folder / str(os.getpid())
        stopped.bind(str(stem.with_suffix(".sock")))
        stopped.listen(0)
        note = {
            "protocol": [1, 0],
            "pid": os.getpid(),
            "run": "old",
            "scene": "s",
            "host": socket.gethostname(),
            "started": "a",
        }
        write_note(stem.with_suffix(".json"), note)
        for _ in range(3):
            assert [run.pid for run in live_runs(folder)] == [os.getpid()]


def test_leftovers_that_cannot_be_removed_are_left(folder: Path):
    note = {
        "protocol": [1, 0],
        "pid": 2**22 + 1,
        "run": "old",
        "scene": "s",
        "host": socket.gethostname(),
        "started": "a",
    }
    (folder / f"{2**22 + 1}.sock").mkdir()
    write_note(folder / f"{2**22 + 1}.json", note)
    assert live_runs(folder) == []


def test_a_folder_that_others_may_enter_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    assert runs_folder(create=True) == folder / "lockstep"
    assert stat.S_IMODE((folder / "lockstep").stat().st_mode) == 0o700
    (folder / "lockstep").chmod(0o755)
    with pytest.raises(SceneError, match="has mode 0755"):
        runs_folder()
    (folder / "link").symlink_to(folder)
    with pytest.raises(SceneError, match="is not a folder"):
        verified(folder / "link")
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    (folder / "lockstep").chmod(0o700)
    with pytest.raises(SceneError, match="belongs to user"):
        runs_folder()


def test_without_a_runtime_folder_the_temporary_one_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(folder))
    assert runs_folder(create=True) == folder / f"lockstep-{os.getuid()}"


def test_runs_are_found_whose_environment_named_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A run of cron or of a container has no XDG_RUNTIME_DIR; the desk that looks for it has one, or the other way round."""
    desk, temporary = folder / "desk", folder / "tmp"
    desk.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    without = DebugServer({**RUN, "name": "without", "started": "1"}, SCHEMA)
    without.start()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(desk))
    within = DebugServer({**RUN, "name": "within", "started": "2"}, SCHEMA)
    within.start()
    assert [run.note["run"] for run in live_runs()] == ["without", "within"]
    (temporary / f"lockstep-{os.getuid()}").chmod(0o755)
    assert [run.note["run"] for run in live_runs()] == ["within"], "what others may write to is not looked at"
    (temporary / f"lockstep-{os.getuid()}").chmod(0o700)
    for server in (without, within):
        server.close()
    assert live_runs() == []


def test_a_path_that_is_too_long_for_a_socket_is_refused(folder: Path):
    deep = folder / ("x" * 100)
    deep.mkdir()
    with pytest.raises(SceneError, match="is too long for a socket"):
        DebugServer(RUN, SCHEMA, folder=deep).start()
    assert list(deep.iterdir()) == []


# -- strangers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first_bytes", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"ENGDBG2\n", b"\x00" * 8, b"\n"], ids=["http", "magic", "zeros", "newline"]
)  # fmt: skip
def test_whoever_does_not_begin_as_a_debugger_does_is_hung_up_on(server: DebugServer, first_bytes: bytes):
    with raw(server) as stranger:
        stranger.sendall(first_bytes)
        assert stranger.recv(100) == b""
    with attached(server):
        pass


@pytest.mark.parametrize("drip", [b"", b"ENGDBG1\n"], ids=["silence", "slow loris"])
def test_a_handshake_that_takes_too_long_is_ended(server: DebugServer, monkeypatch: pytest.MonkeyPatch, drip: bytes):
    monkeypatch.setattr(engine.inspect.sockets, "HANDSHAKE_SECONDS", 0.4)
    with raw(server) as stranger:
        start = time.monotonic()
        for letter in drip[:-1]:
            with contextlib.suppress(OSError):
                stranger.send(bytes([letter]))
            time.sleep(0.15)
        assert closed(stranger)
        assert time.monotonic() - start < 2.5


def test_a_client_that_drips_a_frame_is_let_go(server: DebugServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.inspect.server, "IDLE", 0.5)
    with attached(server) as connection:
        dripping = encode_frame({"t": "pause", "id": 1})
        for letter in dripping[:8]:
            with contextlib.suppress(AttachError):
                connection._send_all(bytes([letter]))
            time.sleep(0.15)
        assert closed(connection.socket)


def test_more_strangers_than_may_wait_are_hung_up_on(server: DebugServer):
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(raw(server)) for _ in range(12)]
        until(lambda: sum(closed(each, 0.01) for each in waiting) == 12 - engine.inspect.sockets.MAX_UNAUTHENTICATED)
    with attached(server):
        pass


def test_a_process_of_another_user_is_refused_and_three_of_them_close_the_door(
    server: DebugServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine.inspect.listener, "peer_uid", lambda made: os.getuid() + 1)
    monkeypatch.setattr(engine.inspect.listener, "PAUSE", 60.0)
    for _ in range(3):
        with raw(server) as stranger:
            with contextlib.suppress(OSError):
                stranger.sendall(b"ENGDBG1\n")
            assert closed(stranger)
    monkeypatch.undo()
    with raw(server) as friend:  # the system lets it connect, the server does not look
        friend.sendall(b"ENGDBG1\n")
        assert select.select([friend], [], [], 0.2)[0] == []
        end_the_pause(server)
        assert select.select([friend], [], [], 5.0)[0] == [friend]


def end_the_pause(server: DebugServer) -> None:
    """Have the minute be over for which the server does not look at one of its doors."""
    until(lambda: any(each.paused_until for each in server.sockets.listeners))
    (closed_one,) = (each for each in server.sockets.listeners if each.paused_until)
    assert 0 < closed_one.paused_until - time.monotonic() <= 60.0
    closed_one.paused_until = time.monotonic()


def test_the_first_message_must_be_auth_and_small(server: DebugServer):
    for message, code in (({"t": "pause", "id": 1}, "bad_message"), ({"t": "auth", "x": b"0" * 5000}, "too_large")):
        with raw(server) as stranger:
            stranger.sendall(b"ENGDBG1\n" + encode_frame(message))
            assert goodbye(stranger) == code


def test_another_major_version_is_told_which_side_to_upgrade(server: DebugServer):
    with raw(server) as client:
        client.sendall(b"ENGDBG1\n" + encode_frame({"t": "auth", "protocol": [2, 0], "client": "x", "role": "observe"}))
        assert goodbye(client) == "version"
    assert not server.attached


# -- TCP ----------------------------------------------------------------------------------------------


def test_over_tcp_a_client_proves_that_it_has_the_token(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.inspect.listener, "PAUSE", 60.0)
    port = free_port()
    server = DebugServer(RUN, SCHEMA, folder=folder, debug=ListenOptions(port=port))
    server.start()
    assert server.stem is not None
    token = bytes.fromhex(server.stem.with_suffix(".token").read_text())
    assert len(token) == 32
    good = Address(host="127.0.0.1", port=port, token=token)
    connection = Connection.attach(good, role="control")
    assert connection.hello["auth"] == "token"
    assert connection.welcome["role"] == "control"
    connection.close()
    with pytest.raises(AttachError, match="asks for its token"):
        Connection.attach(Address(host="127.0.0.1", port=port))
    for wrong in (bytes(32), token[::-1], b"x"):
        with pytest.raises(AttachError, match="The token is not this run's"):
            Connection.attach(Address(host="127.0.0.1", port=port, token=wrong))
    with pytest.raises(AttachError):
        Connection.attach(good, timeout=0.2)  # three wrong ones: the door is closed for a while
    with attached(server):
        pass  # not that of the Unix socket
    end_the_pause(server)
    Connection.attach(good).close()
    with socket.create_connection(("127.0.0.1", port)) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert closed(browser)
    server.close()


def test_strangers_that_came_in_before_the_door_was_closed_are_told_why_they_must_go(folder: Path):
    port = free_port()
    server = DebugServer(RUN, SCHEMA, folder=folder, debug=ListenOptions(port=port))
    server.start()
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(7)]
        for each in strangers:
            each.sendall(b"ENGDBG1\n")
        until(lambda: len(select.select(strangers, [], [], 0.1)[0]) == 7)  # all are greeted
        auth = {"t": "auth", "protocol": [1, 0], "client": "x", "role": "control", "proof": bytes(32)}
        for each in strangers:
            each.sendall(encode_frame(auth))
        assert [goodbye(each) for each in strangers] == ["auth"] * 7
    assert server.sockets.last_error == ""
    server.close()


def test_proofs_of_another_role_or_connection_do_not_count(folder: Path):
    port = free_port()
    server = DebugServer(RUN, SCHEMA, folder=folder, debug=ListenOptions(port=port))
    server.start()
    listener = server.sockets.listeners[1]
    from engine.protocol.discovery import proof

    nonce = bytes(16)
    assert listener.proven(proof(listener.token, nonce, "observe"), nonce, "observe")
    assert not listener.proven(proof(listener.token, nonce, "observe"), nonce, "control")
    assert not listener.proven(proof(listener.token, b"1" * 16, "observe"), nonce, "observe")
    assert "token=" not in repr(listener)
    server.close()


def test_a_taken_port_is_said_and_nothing_stays(folder: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = DebugServer(RUN, SCHEMA, folder=folder, debug=ListenOptions(port=other.getsockname()[1]))
        with pytest.raises(SceneError, match="choose another port"):
            server.start()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("off", None), ("on", ListenOptions()), ("tcp:5555", ListenOptions("127.0.0.1", 5555)), ("tcp:localhost:1", ListenOptions("localhost", 1)), ("tcp:[::1]:80", ListenOptions("::1", 80))],
)  # fmt: skip
def test_the_debug_flag_says_where_to_listen(text: str, found: ListenOptions | None):
    assert parse_debug(text) == found


@pytest.mark.parametrize("text", ["", "tcp", "tcp:", "tcp:0", "tcp:99999", "tcp:x", "udp:5", "5555", "tcp:²"])
def test_a_debug_flag_that_says_nothing_is_refused(text: str):
    with pytest.raises(SceneError, match="is not understood"):
        parse_debug(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "example.org", "[::]"])
def test_other_machines_are_kept_out_unless_that_is_said(host: str, folder: Path):
    with pytest.raises(SceneError, match="--debug-expose"):
        parse_debug(f"tcp:{host}:5555")
    assert parse_debug(f"tcp:{host}:5555", expose=True) == ListenOptions(host.strip("[]"), 5555)
    with pytest.raises(SceneError, match="--debug-expose"):
        DebugServer(RUN, SCHEMA, folder=folder, debug=ListenOptions(host.strip("[]"), 5555)).start()


def test_an_exposed_port_warns(folder: Path):
    server = DebugServer(RUN, SCHEMA, folder=folder, debug=ListenOptions("0.0.0.0", free_port()), expose=True)
    assert "not encrypted" in server.start()[1]
    server.close()


# -- fuzz ---------------------------------------------------------------------------------------------


def test_thousands_of_broken_frames_leave_the_server_as_it_was(server: DebugServer):
    rng = np.random.default_rng(11)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cases = [case for case in mutated(rng, 4000) if len(case) < 60_000]
    connections = 0
    while cases:
        with attached(server, role="control" if connections % 2 else "observe") as connection:
            connections += 1
            with contextlib.suppress(AttachError):
                for _ in range(min(len(cases), 40)):
                    connection._send_all(LENGTH.pack(len(cases[-1])) + cases[-1])
                    cases.pop()
                while connection.receive(0.0) is not None:
                    pass
        server.drain()
    with raw(server) as liar:
        liar.sendall(b"ENGDBG1\n" + b"\xff" * 100)
        assert closed(liar)
    for noise in (rng.bytes(5000), b"ENGDBG1\n" + rng.bytes(5000)):
        with raw(server) as liar:
            with contextlib.suppress(OSError):
                liar.sendall(noise)
            assert closed(liar)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
    with attached(server, role="control") as connection:
        connection.send({"t": "ping", "n": 3})
        assert heard(connection, "pong")["n"] == 3
    assert server.sockets.last_error == ""
    assert connections > 50
