"""The hub lets friends in, keeps strangers out, and never lets either hold the tick thread."""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine.hub
import engine.inbox
import engine.listen
import engine.sockets
from engine import messages
from engine.debugger.connection import Address, Connection
from engine.errors import AttachError, SceneError
from engine.hub import Hub
from engine.inbox import Joined, Left
from engine.listen import Debug, parse_debug
from engine.live_runs import live_runs, runs_folder, verified
from engine.peer import Peer
from engine.wire import LENGTH, decode_body, encode_frame, pack_array
from tests.engine.frames import mutated
from tests.helpers import REPOSITORY

RUN = {"name": "toy/1", "scene": "toy", "pid": os.getpid(), "host": socket.gethostname(), "started": "now",
       "device": "cpu", "seed": 1, "folder": "runs/toy/1"}  # fmt: skip
SCHEMA: dict[str, Any] = {
    "t": "schema",
    "tables": [
        {
            "name": "robot",
            "rows": 8,
            "axes": [],
            "components": [
                {"name": "Root", "columns": [{"id": 0, "name": "position", "shape": [3]}, {"id": 1, "name": "step", "shape": []}]}
            ],
        }
    ],
    "systems": [{"id": 0, "name": "move", "reads": [], "writes": ["robot.Root"]}],
}  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short private folder: a socket's path must fit into 103 bytes."""
    with tempfile.TemporaryDirectory(prefix="hub", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    made = Hub(RUN, lambda: SCHEMA, folder=folder)
    assert made.start() == []
    yield made
    made.close()
    assert made.trouble == ""


def where(hub: Hub) -> Address:
    assert hub.stem is not None
    return Address(path=f"{hub.stem}.sock")


@contextlib.contextmanager
def attached(hub: Hub, **more: Any) -> Iterator[Connection]:
    made = Connection.attach(where(hub), **more)
    try:
        yield made
    finally:
        made.close()


def drained(hub: Hub, count: int = 1, seconds: float = 3.0) -> list[tuple[Peer, Any]]:
    found: list[tuple[Peer, Any]] = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        hub.wait(0.05)
        found += hub.drain()
    assert len(found) >= count, found
    return found


def seen(hub: Hub, kind: type) -> tuple[Peer, Any]:
    """Drain until a message of that class has come; it."""
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        for peer, message in drained(hub):
            if isinstance(message, kind):
                return peer, message
    raise AssertionError(f"no {kind} came")


def heard(connection: Connection, kind: str, seconds: float = 3.0) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        message = connection.receive(left)
        if message is not None and message["t"] == kind:
            return message
    raise AssertionError(f"no '{kind}' came")


def until(holds: Callable[[], object], seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.01)


def raw(hub: Hub) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(5.0)
    made.connect(where(hub).path)
    return made


def closed(made: socket.socket, seconds: float = 3.0) -> bool:
    """Whether the other end hangs up, whatever it says before."""
    made.settimeout(seconds)
    try:
        while made.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def frame(tick: int, size: int = 3) -> dict[str, Any]:
    return {"kind": "values", "ticks": [tick, tick], "view": None, "cols": [[0, *pack_array(np.full((1, size), tick, np.float32))]]}  # fmt: skip


def subscribed(hub: Hub, connection: Connection, number: int = 1) -> Peer:
    connection.send({"t": "sub", "id": number, "kind": "values", "columns": [[0, None]], "rows": [0], "hz": 30})
    return seen(hub, messages.Sub)[0]


# -- nobody there ----------------------------------------------------------------------------------------


def test_a_hub_without_clients_sleeps_and_costs_one_attribute_read(hub: Hub):
    time.sleep(0.6)
    assert hub.wakes == 0
    assert hub.attached is False
    best = min(_seconds_per_look(hub) for _ in range(5))
    assert best < 1e-6


def _seconds_per_look(hub: Hub) -> float:
    start = time.perf_counter()
    for _ in range(10_000):
        if hub.attached:
            raise AssertionError
    return (time.perf_counter() - start) / 10_000


def test_after_the_last_client_the_hub_sleeps_again(hub: Hub):
    with attached(hub):
        drained(hub)
        assert hub.attached
    seen(hub, Left)
    assert not hub.attached
    time.sleep(0.2)
    wakes = hub.wakes
    time.sleep(0.6)
    assert hub.wakes == wakes


# -- files -----------------------------------------------------------------------------------------------


def test_socket_and_note_are_private_and_vanish(folder: Path):
    hub = Hub(RUN, SCHEMA, folder=folder, debug=Debug(port=_free_port()))
    assert "token" in hub.start()[0]
    try:
        stem = folder / str(os.getpid())
        assert hub.stem == stem
        for suffix in (".sock", ".json", ".token"):
            assert stat.S_IMODE(stem.with_suffix(suffix).stat().st_mode) == 0o600
        note = json.loads(stem.with_suffix(".json").read_text())
        assert note == {"protocol": [1, 0], "pid": os.getpid(), "run": "toy/1", "scene": "toy",
                        "host": socket.gethostname(), "started": "now"}  # fmt: skip
        assert [run.pid for run in live_runs(folder)] == [os.getpid()]
    finally:
        hub.close()
    assert list(folder.iterdir()) == []


def test_two_hubs_of_a_process_have_two_sockets(hub: Hub, folder: Path):
    second = Hub(RUN, SCHEMA, folder=folder)
    second.start()
    assert second.stem == folder / f"{os.getpid()}-2"
    with attached(second), attached(hub):
        assert len(live_runs(folder)) == 2
    second.close()
    assert len(live_runs(folder)) == 1


def test_files_of_a_killed_process_are_removed_by_whoever_looks(folder: Path):
    script = (
        f"import time\nfrom pathlib import Path\nfrom engine.hub import Hub\nhub = Hub({RUN!r}, {{}}, folder=Path({str(folder)!r}))\n"
        "hub.start()\nprint('up', flush=True)\ninput()\n"
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


def test_a_path_that_is_too_long_for_a_socket_is_refused(folder: Path):
    deep = folder / ("x" * 100)
    deep.mkdir()
    with pytest.raises(SceneError, match="is too long for a socket"):
        Hub(RUN, SCHEMA, folder=deep).start()
    assert list(deep.iterdir()) == []


# -- coming and going --------------------------------------------------------------------------------------


def test_a_client_is_greeted_with_run_schema_and_state(hub: Hub):
    with attached(hub, role="observe", client="me") as first:
        assert first.hello["run"] == RUN
        assert first.hello["protocol"] == [1, 0]
        assert first.hello["auth"] == "peer"
        assert len(first.hello["nonce"]) == 16
        assert first.hello["limits"]["clients"] == 4
        assert first.welcome["role"] == "observe"
        assert first.welcome["controller"] is None
        assert first.schema is not None
        assert first.schema["tables"] == SCHEMA["tables"]
        assert first.schema["hash"] == first.welcome["schema"]
        (peer, joined), *_ = drained(hub)
        assert isinstance(joined, Joined)
        assert (peer.name, peer.role, peer.session) == ("me", "observe", 1)
        hub.publish({"mode": "running", "tick": 7})
        assert heard(first, "state")["tick"] == 7
        with attached(hub, schema=first.schema["hash"]) as second:
            assert second.schema is None
            assert heard(second, "state")["tick"] == 7


def test_a_client_that_is_let_in_and_gone_before_anybody_looked_was_never_there(hub: Hub):
    for _ in range(50):
        with attached(hub):
            pass
    until(lambda: not hub._sockets.peers)
    assert all(isinstance(message, Joined) for _, message in hub.drain()) or hub.drain() == []
    assert len(hub._inbox) == 0


def test_a_killed_client_is_gone_and_its_data_forgotten(hub: Hub):
    connection = Connection.attach(where(hub), role="control")
    peer = subscribed(hub, connection)
    for tick in range(10):
        hub.offer(peer, 1, frame(tick))
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()
    assert seen(hub, Left) == (peer, Left(controlled=True))
    assert peer.gone
    assert hub.controller is None
    hub.post(peer, {"t": "ok", "id": 1})
    assert not hub.offer(peer, 1, frame(11))


def test_a_goodbye_says_why_and_when(hub: Hub):
    with attached(hub) as connection:
        drained(hub)
        hub.close(text="Interrupted.", tick=41)
        assert heard(connection, "bye") == {"t": "bye", "code": "ended", "text": "Interrupted.", "tick": 41}
        with pytest.raises(AttachError, match="closed the connection"):
            connection.receive(2.0)
    hub.close()


def test_the_fifth_client_is_told_that_there_are_four(hub: Hub):
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(attached(hub))
        with pytest.raises(AttachError, match="4 debuggers are attached already"):
            Connection.attach(where(hub))
    until(lambda: not hub._sockets.attached())
    with attached(hub):
        pass


def test_a_silent_client_is_let_go(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.hub, "IDLE", 0.5)
    with attached(hub) as connection:
        time.sleep(1.2)
        assert connection.bad == 0
        assert heard(connection, "bye")["code"] == "idle"


def test_a_schema_that_cannot_be_made_costs_the_client_its_connection_and_the_run_nothing(folder: Path):
    def broken() -> dict[str, Any]:
        raise RuntimeError("no schema today")

    hub = Hub(RUN, broken, folder=folder)
    hub.start()
    with pytest.raises(AttachError):
        Connection.attach(where(hub))
    assert "no schema today" in hub.trouble
    assert not hub.attached
    hub.close()


# -- strangers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"ENGDBG2\n", b"\x00" * 8, b"\n"], ids=["http", "magic", "zeros", "newline"]
)  # fmt: skip
def test_whoever_does_not_begin_as_a_debugger_does_is_hung_up_on(hub: Hub, said: bytes):
    with raw(hub) as stranger:
        stranger.sendall(said)
        assert stranger.recv(100) == b""
    with attached(hub):
        pass


@pytest.mark.parametrize("drip", [b"", b"ENGDBG1\n"], ids=["silence", "slow loris"])
def test_a_handshake_that_takes_too_long_is_ended(hub: Hub, monkeypatch: pytest.MonkeyPatch, drip: bytes):
    monkeypatch.setattr(engine.sockets, "HANDSHAKE", 0.4)
    with raw(hub) as stranger:
        start = time.monotonic()
        for letter in drip[:-1]:
            with contextlib.suppress(OSError):
                stranger.send(bytes([letter]))
            time.sleep(0.15)
        assert closed(stranger)
        assert time.monotonic() - start < 2.5


def test_a_client_that_drips_a_frame_is_let_go(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.hub, "IDLE", 0.5)
    with attached(hub) as connection:
        dripping = encode_frame({"t": "pause", "id": 1})
        for letter in dripping[:8]:
            with contextlib.suppress(AttachError):
                connection._send_all(bytes([letter]))
            time.sleep(0.15)
        assert closed(connection.socket)


def test_more_strangers_than_may_wait_are_hung_up_on(hub: Hub):
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(raw(hub)) for _ in range(12)]
        until(lambda: sum(closed(each, 0.01) for each in waiting) == 12 - engine.sockets.STRANGERS)
    with attached(hub):
        pass


def test_a_process_of_another_user_is_refused_and_three_of_them_close_the_door(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine.listen, "peer_uid", lambda made: os.getuid() + 1)
    monkeypatch.setattr(engine.listen, "PAUSE", 0.6)
    for _ in range(3):
        with raw(hub) as stranger:
            with contextlib.suppress(OSError):
                stranger.sendall(b"ENGDBG1\n")
            assert closed(stranger)
    monkeypatch.undo()
    with raw(hub) as friend:  # the system lets it connect, the hub does not look
        friend.sendall(b"ENGDBG1\n")
        assert select.select([friend], [], [], 0.2)[0] == []
        assert select.select([friend], [], [], 2.0)[0] == [friend]


def test_the_first_message_must_be_auth_and_small(hub: Hub):
    for said, code in (({"t": "pause", "id": 1}, "bad_message"), ({"t": "auth", "x": b"0" * 5000}, "too_large")):
        with raw(hub) as stranger:
            stranger.sendall(b"ENGDBG1\n" + encode_frame(said))
            assert _goodbye(stranger) == code


def test_another_major_version_is_told_which_side_to_upgrade(hub: Hub):
    with raw(hub) as client:
        client.sendall(b"ENGDBG1\n" + encode_frame({"t": "auth", "protocol": [2, 0], "client": "x", "role": "observe"}))
        assert _goodbye(client) == "version"
    assert not hub.attached


def _goodbye(client: socket.socket) -> str:
    """The code of the `bye` that ends a connection."""
    data = b""
    with contextlib.suppress(OSError):
        while more := client.recv(65536):
            data += more
    while data:
        (length,) = LENGTH.unpack_from(data)
        message, data = decode_body(data[4 : 4 + length]), data[4 + length :]
        if message["t"] == "bye":
            return str(message["code"])
    raise AssertionError("no goodbye")


# -- TCP -------------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_over_tcp_a_client_proves_that_it_has_the_token(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.listen, "PAUSE", 0.6)
    port = _free_port()
    hub = Hub(RUN, SCHEMA, folder=folder, debug=Debug(port=port))
    hub.start()
    assert hub.stem is not None
    token = bytes.fromhex(hub.stem.with_suffix(".token").read_text())
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
    with attached(hub):
        pass  # not that of the Unix socket
    time.sleep(0.8)
    Connection.attach(good).close()
    with socket.create_connection(("127.0.0.1", port)) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert closed(browser)
    hub.close()


def test_proofs_of_another_role_or_connection_do_not_count(folder: Path):
    port = _free_port()
    hub = Hub(RUN, SCHEMA, folder=folder, debug=Debug(port=port))
    hub.start()
    listener = hub._sockets.listeners[1]
    from engine.debugger.connection import proof

    nonce = bytes(16)
    assert listener.proven(proof(listener.token, nonce, "observe"), nonce, "observe")
    assert not listener.proven(proof(listener.token, nonce, "observe"), nonce, "control")
    assert not listener.proven(proof(listener.token, b"1" * 16, "observe"), nonce, "observe")
    assert "token=" not in repr(listener)
    hub.close()


def test_a_taken_port_is_said_and_nothing_stays(folder: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        hub = Hub(RUN, SCHEMA, folder=folder, debug=Debug(port=other.getsockname()[1]))
        with pytest.raises(SceneError, match="choose another port"):
            hub.start()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("off", None), ("on", Debug()), ("tcp:5555", Debug("127.0.0.1", 5555)), ("tcp:localhost:1", Debug("localhost", 1)), ("tcp:[::1]:80", Debug("::1", 80))],
)  # fmt: skip
def test_the_debug_flag_says_where_to_listen(text: str, found: Debug | None):
    assert parse_debug(text) == found


@pytest.mark.parametrize("text", ["", "tcp", "tcp:", "tcp:0", "tcp:99999", "tcp:x", "udp:5", "5555", "tcp:²"])
def test_a_debug_flag_that_says_nothing_is_refused(text: str):
    with pytest.raises(SceneError, match="is not understood"):
        parse_debug(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "example.org", "[::]"])
def test_other_machines_are_kept_out_unless_that_is_said(host: str, folder: Path):
    with pytest.raises(SceneError, match="--debug-expose"):
        parse_debug(f"tcp:{host}:5555")
    assert parse_debug(f"tcp:{host}:5555", expose=True) == Debug(host.strip("[]"), 5555)
    with pytest.raises(SceneError, match="--debug-expose"):
        Hub(RUN, SCHEMA, folder=folder, debug=Debug(host.strip("[]"), 5555)).start()


def test_an_exposed_port_warns(folder: Path):
    hub = Hub(RUN, SCHEMA, folder=folder, debug=Debug("0.0.0.0", _free_port()), expose=True)
    assert "not encrypted" in hub.start()[1]
    hub.close()


# -- messages --------------------------------------------------------------------------------------------


def test_checked_messages_arrive_in_order(hub: Hub):
    with attached(hub, role="control") as connection:
        connection.send({"t": "sub", "id": 1, "kind": "values", "columns": [[0, [2]]], "rows": [7], "hz": 5})
        connection.send({"t": "select", "rows": [3]})
        connection.send({"t": "step", "id": 2, "unit": "system", "count": 3})
        connection.send({"t": "unsub", "id": 1})
        found = [message for _, message in drained(hub, 5)]
    assert found == [
        Joined(),
        messages.Sub(1, "values", ((0, (2,)),), (7,), 5.0),
        messages.Select((3,)),
        messages.Step(2, "system", 3),
        messages.Unsub(1),
    ]


def test_answers_and_events_arrive_in_order(hub: Hub):
    with attached(hub) as first, attached(hub) as second:
        (one, _), (two, _) = drained(hub, 2)
        hub.post(one, {"t": "ok", "id": 1})
        hub.broadcast({"t": "event", "kind": "warning", "tick": 1, "text": "hot"})
        hub.post(one, {"t": "ok", "id": 2})
        assert [heard(first, kind).get("id") for kind in ("ok", "event", "ok")] == [1, None, 2]
        assert heard(second, "event")["text"] == "hot"
        assert two.session != one.session


def test_an_answer_that_cannot_be_packed_becomes_an_error(hub: Hub):
    with attached(hub) as connection:
        ((peer, _),) = drained(hub)
        hub.post(peer, {"t": "ok", "id": 3, "value": object()})
        assert heard(connection, "error")["id"] == 3


@pytest.mark.parametrize(
    ("message", "answer", "code"),
    [
        ({"t": "dance", "id": 3}, "error", "unsupported"),
        ({"t": "seek", "id": 3}, "error", "bad_message"),
        ({"t": "pause", "id": 3}, "error", "not_controller"),
        ({"t": "sub", "id": 3, "kind": "values", "columns": [[77, None]]}, "sub_no", "unknown_column"),
        ({"t": "set", "id": 3, "column": 0, "rows": [0], "values": ["<f4", [2], b"x"]}, "error", "bad_shape"),
    ],
)
def test_what_cannot_be_done_is_answered_with_a_code(hub: Hub, message: dict[str, Any], answer: str, code: str):
    with attached(hub) as connection:
        connection.send(message)
        found = heard(connection, answer)
        assert (found["id"], found["code"]) == (3, code)
        assert found["text"]


def test_three_bad_messages_in_a_row_end_the_connection(hub: Hub):
    with attached(hub) as connection:
        drained(hub)
        for count in (2, 3):
            for _ in range(count):
                connection.send({"t": "seek"})
            if count == 2:
                connection.send({"t": "select", "rows": []})
        assert heard(connection, "bye")["code"] == "bad_message"
    assert [type(message) for _, message in drained(hub, 2)] == [messages.Select, Left]


def test_an_observer_may_not_send_large_frames_and_a_controller_may(hub: Hub):
    values = pack_array(np.zeros((8, 3), np.float32))
    edit = {"t": "set", "id": 1, "column": 0, "rows": list(range(8)), "values": values, "padding": b"0" * 70_000}
    with attached(hub) as connection:
        connection.send(edit)
        assert heard(connection, "bye")["code"] == "too_large"
    with attached(hub, role="control") as connection:
        connection.send(edit)
        until(lambda: any(isinstance(m, messages.SetColumn) for _, m in hub.drain()))


def test_a_client_has_at_most_64_subscriptions(hub: Hub):
    with attached(hub) as connection:
        for number in range(65):
            connection.send({"t": "sub", "id": number, "kind": "timing", "hz": 1})
        assert heard(connection, "sub_no") == {"t": "sub_no", "id": 64, "code": "over_budget", "text": "64 subscriptions are the most; stop one of them."}  # fmt: skip
        connection.send({"t": "unsub", "id": 5})
        connection.send({"t": "sub", "id": 64, "kind": "timing", "hz": 1})
        assert sum(isinstance(m, messages.Sub) for _, m in drained(hub, 67)) == 65


def test_commands_are_taken_at_200_a_second(hub: Hub):
    with attached(hub) as connection:
        start = time.monotonic()
        for _ in range(500):
            connection.send({"t": "select", "rows": []})
        assert len(drained(hub, 501, 10.0)) == 501
        assert time.monotonic() - start > 1.2  # 200 at once, 300 more in 1.5 s


def test_when_the_run_takes_nothing_the_client_is_told_what_it_does(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.inbox, "MESSAGES", 16)
    with attached(hub) as connection:
        for number in range(20):
            connection.send({"t": "provenance", "id": number, "column": 0, "label": None, "row": 0})
        found = heard(connection, "error")
        assert found["code"] == "busy"
        assert "messages wait for the run: it is in " in found["text"]


# -- control ---------------------------------------------------------------------------------------------


def test_one_client_holds_control_and_everybody_is_told(hub: Hub):
    with attached(hub, role="control", client="ann") as ann, attached(hub, role="control", client="bob") as bob:
        assert (ann.welcome["role"], ann.welcome["controller"]) == ("control", "ann")
        assert (bob.welcome["role"], bob.welcome["controller"]) == ("observe", "ann")
        bob.send({"t": "pause", "id": 1})
        assert "ann does; ask there" in heard(bob, "error")["text"]
        bob.send({"t": "control", "id": 2, "do": "take"})
        assert heard(bob, "error")["code"] == "busy"
        ann.send({"t": "control", "id": 1, "do": "release"})
        assert heard(ann, "ok")["controller"] is None
        assert heard(bob, "event")["text"] == "ann has given control back."
        bob.send({"t": "control", "id": 3, "do": "take"})
        assert heard(bob, "ok")["controller"] == "bob"
        assert heard(ann, "event")["text"].startswith(("ann", "bob"))
        bob.send({"t": "pause", "id": 4})
        peer, message = seen(hub, messages.Pause)
        assert (peer.name, peer.role, message) == ("bob", "control", messages.Pause(4))
        assert hub.controller is peer


def test_a_controller_that_goes_is_reported(hub: Hub):
    with attached(hub, client="watcher") as watcher:
        with attached(hub, role="control", client="boss"):
            drained(hub, 2)
        assert seen(hub, Left)[1] == Left(controlled=True)
        texts = [heard(watcher, "event")["text"] for _ in range(2)]
        assert texts == ["boss holds control.", "boss has gone, nobody holds control."]
        watcher.send({"t": "control", "id": 1, "do": "take"})
        assert heard(watcher, "ok")["role"] == "control"


# -- data ------------------------------------------------------------------------------------------------


def received(client: socket.socket, seconds: float = 0.3) -> list[dict[str, Any]]:
    """Whatever comes within some seconds, unanswered."""
    data, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and select.select([client], [], [], left)[0]:
        data += client.recv(1 << 20)
    found = []
    while data:
        (length,) = LENGTH.unpack_from(data)
        found.append(decode_body(data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def test_two_frames_are_on_their_way_and_then_the_latest_wins(hub: Hub):
    with attached(hub) as connection:
        peer = subscribed(hub, connection)
        for tick in range(2):
            assert hub.offer(peer, 1, frame(tick))
            until(lambda: hub.empty(peer, 1))
        assert [hub.offer(peer, 1, frame(tick)) for tick in (2, 3, 4)] == [True, False, False]
        assert peer.dropped == 2
        client = connection.socket
        data = [m for m in received(client) if m["t"] == "data"]
        assert [(m["seq"], m["ticks"], m["lost"], m["sub"]) for m in data] == [(1, [0, 0], 0, 1), (2, [1, 1], 0, 1)]
        client.sendall(encode_frame({"t": "ack", "seq": 1}))
        data = [m for m in received(client) if m["t"] == "data"]
        assert [(m["seq"], m["ticks"], m["lost"]) for m in data] == [(3, [4, 4], 2)]


def test_no_wake_up_is_lost_that_comes_while_another_is_read(hub: Hub):
    class Racing:
        """The reading end of the wake-up, during each of whose reads the tick thread wakes the other one again."""

        def __init__(self, real: socket.socket) -> None:
            self.real = real

        def recv(self, count: int) -> bytes:
            hub._sockets.wake()
            return self.real.recv(count)

        def close(self) -> None:
            self.real.close()

    hub._sockets._wake_out = Racing(hub._sockets._wake_out)  # type: ignore[assignment]
    with attached(hub) as connection:
        peer = subscribed(hub, connection)
        hub.post(peer, {"t": "ok", "id": 1})
        heard(connection, "ok")
        until(lambda: not hub._sockets._woken)


def test_subscriptions_take_turns(hub: Hub):
    with attached(hub) as connection:
        peer = subscribed(hub, connection, 1)
        subscribed(hub, connection, 2)
        for tick in range(2):  # as many as may be on their way
            hub.offer(peer, 1, frame(tick))
            until(lambda: hub.empty(peer, 1))
        for tick in range(2, 5):  # subscription 1 has more to say, but 2 has waited longer
            hub.offer(peer, 2, frame(tick))
            hub.offer(peer, 1, frame(tick))
        came = [heard(connection, "data") for _ in range(4)]
        assert [(m["sub"], m["ticks"][0]) for m in came] == [(1, 0), (1, 1), (2, 4), (1, 4)]


def test_what_was_unsubscribed_is_not_sent(hub: Hub):
    with attached(hub) as connection:
        peer = subscribed(hub, connection)
        for tick in range(3):
            hub.offer(peer, 1, frame(tick))
        connection.send({"t": "unsub", "id": 1})
        drained(hub)
        assert not hub.offer(peer, 1, frame(9))
        received(connection.socket, 0.1)
        connection.send({"t": "ack", "seq": 99})
        assert [m for m in received(connection.socket, 0.2) if m["t"] == "data"] == []


def test_a_frame_that_is_too_large_is_dropped_and_counted(hub: Hub):
    with attached(hub) as connection:
        peer = subscribed(hub, connection)
        assert not hub.offer(peer, 1, frame(0, 1 << 20))
        assert peer.dropped == 1
        assert hub.offer(peer, 1, frame(1, 1 << 18))
        assert heard(connection, "data")["lost"] == 1


def test_a_client_that_never_reads_neither_holds_the_tick_nor_grows(hub: Hub):
    connection = Connection.attach(where(hub))
    peer = subscribed(hub, connection)
    before, slowest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    for tick in range(300):
        start = time.thread_time()
        hub.offer(peer, 1, frame(tick, 1 << 16))
        slowest = max(slowest, time.thread_time() - start)
        time.sleep(0.001)
    assert peer.dropped > 200
    assert slowest < 0.02
    for tick in range(1200):
        hub.broadcast({"t": "event", "kind": "warning", "tick": tick, "text": "x" * 500})
    assert seen(hub, Left) == (peer, Left(controlled=False))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
    connection.close()


def test_a_client_that_reads_too_slowly_is_told_so(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.peer.REPLIES", 8)
    with attached(hub) as connection:
        ((peer, _),) = drained(hub)
        with hub._lock:  # nothing is sent meanwhile
            for tick in range(9):
                if not peer.reply(encode_frame({"t": "event", "tick": tick})):
                    peer.too_slow = True
        hub._sockets.wake()
        assert heard(connection, "bye")["code"] == "too slow"


# -- a tick that does not come back ----------------------------------------------------------------------


def test_while_a_system_does_not_come_back_the_hub_says_where_it_is(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.hub, "STUCK", 0.3)
    monkeypatch.setattr(engine.hub, "STATE_EVERY", 0.1)
    said: list[dict[str, Any]] = []

    def window() -> None:
        with attached(hub) as connection:
            hub_is_ready.wait()
            end = time.monotonic() + 1.0
            connection.send({"t": "ping", "n": 5})
            while time.monotonic() < end:
                message = connection.receive(0.1)
                if message is not None:
                    said.append(message)

    hub_is_ready = threading.Event()
    client = threading.Thread(target=window)
    client.start()
    drained(hub)
    hub.publish({"mode": "running", "tick": 12, "why": ""})

    def step_physics() -> None:
        hub_is_ready.set()
        client.join()

    step_physics()
    assert {"t": "pong", "n": 5} in said
    last = [message for message in said if message["t"] == "state"][-1]
    assert last["mode"] == "running" and last["tick"] == 12
    assert last["stuck"] > 0.5
    assert last["why"].endswith(" s")
    assert any("step_physics (engine/test_hub.py:" in line for line in last["stack"])


def test_a_paused_run_that_waits_is_not_stuck(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.hub, "STUCK", 0.3)
    with attached(hub) as connection:
        drained(hub)
        assert not hub.wait(1.0)
        assert [m for m in received(connection.socket, 0.05) if m["t"] == "state"] == []
        connection.send({"t": "select", "rows": []})
        assert hub.wait(1.0)


# -- fuzz ------------------------------------------------------------------------------------------------


def test_thousands_of_broken_frames_leave_the_hub_as_it_was(hub: Hub):
    rng = np.random.default_rng(11)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cases = [case for case in mutated(rng, 4000) if len(case) < 60_000]
    connections = 0
    while cases:
        with attached(hub, role="control" if connections % 2 else "observe") as connection:
            connections += 1
            with contextlib.suppress(AttachError):
                for _ in range(min(len(cases), 40)):
                    connection._send_all(LENGTH.pack(len(cases[-1])) + cases[-1])
                    cases.pop()
                while connection.receive(0.0) is not None:
                    pass
        hub.drain()
    with raw(hub) as liar:
        liar.sendall(b"ENGDBG1\n" + b"\xff" * 100)
        assert closed(liar)
    for noise in (rng.bytes(5000), b"ENGDBG1\n" + rng.bytes(5000)):
        with raw(hub) as liar:
            with contextlib.suppress(OSError):
                liar.sendall(noise)
            assert closed(liar)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
    with attached(hub, role="control") as connection:
        connection.send({"t": "ping", "n": 3})
        assert heard(connection, "pong")["n"] == 3
    assert hub.trouble == ""
    assert connections > 50
