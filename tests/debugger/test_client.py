"""The connection of the window: whatever a run does, the window goes on, and says why."""

import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.net import link
from engine.debugger.net.connection import CHUNK, Address
from engine.debugger.net.qt_client import Client
from engine.protocol.discovery import alive
from engine.protocol.framing import decode_body, encode_frame
from tests.debugger.scripted import PATIENCE, ScriptedServer
from tests.debugger.scripted_run import ScriptedRun

TORQUE = Subscription("values", ((0, None),), "selected", 10.0)


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(prefix="dbg") as folder:
        yield Path(folder) / "r.sock"


@pytest.fixture
def server(path):
    with ScriptedServer(path, ScriptedRun(rows=8)) as made:
        yield made


@pytest.fixture
def make(qtbot, path):
    """A client that has been started, and the statuses that it went through, with their sentences."""
    made = []

    def start(role="control", **address):
        client = Client(Store(), Address(**(address or {"path": str(path)})), role)
        client.statuses = []
        client.status.connect(lambda status, text: client.statuses.append((status, text)))
        made.append(client)
        client.start()
        return client

    yield start
    for client in made:
        client.close()


def test_a_client_gets_schema_and_what_it_subscribes_to(qtbot, server, make):
    client = make()
    qtbot.waitUntil(lambda: client.store.schema is not None)
    client.subscribe([TORQUE])
    server.wait("sub")
    server.advance(10)
    qtbot.waitUntil(lambda: client.store.value(0, 0) is not None)
    assert client.store.run["scene"] == "scripted" and client.store.state["mode"] == "running"


def test_frames_are_acknowledged_when_the_window_has_taken_them(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    client.subscribe([TORQUE])
    server.wait("sub")
    server.advance(10)
    qtbot.waitUntil(lambda: any(m["seq"] in (1, 2) for m in server.messages("ack")))
    assert client.store.value(0, 0) is not None


def test_only_what_changed_is_asked_for_anew(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    other = Subscription("timing", (), "selected", 5.0)
    client.subscribe([TORQUE])
    first = server.wait("sub")["id"]
    client.subscribe([TORQUE, other])
    server.wait("sub", kind="timing")
    client.subscribe([other])
    assert server.wait("unsub")["id"] == first
    assert len(server.messages("sub")) == 2


def test_a_command_is_answered_once_on_the_qt_thread(qtbot, server, make):
    client, answers = make(), []
    with qtbot.waitSignal(client.ready):
        pass
    client.send({"t": "pause"}, lambda answer: answers.append((answer["t"], threading.current_thread())))
    qtbot.waitUntil(lambda: bool(answers))
    assert answers == [("ok", threading.main_thread())]
    qtbot.waitUntil(lambda: client.store.state["mode"] == "paused")


def test_a_refusal_carries_the_sentence_of_the_run(qtbot, server, make):
    client, answers = make(), []
    with qtbot.waitSignal(client.ready):
        pass
    server.refuse["pause"] = ("not_controller", "Somebody else has control.")
    client.send({"t": "pause"}, answers.append)
    qtbot.waitUntil(lambda: bool(answers))
    assert (answers[0]["code"], answers[0]["text"]) == ("not_controller", "Somebody else has control.")


def test_a_command_without_connection_is_answered_too(qtbot, make):
    client, answers = make(), []
    client.send({"t": "pause"}, answers.append)
    assert not answers
    qtbot.waitUntil(lambda: bool(answers))
    assert answers[0]["code"] == "offline"


def test_a_dropped_connection_comes_back_with_its_subscriptions(qtbot, server, make):
    client, answers = make(), []
    client.ready.connect(lambda: client.subscribe([TORQUE]))
    qtbot.waitUntil(lambda: bool(server.messages("sub")))
    server.deaf.add("pause")
    client.send({"t": "pause"}, answers.append)
    server.wait("pause")
    server.drop()
    qtbot.waitUntil(lambda: bool(answers))
    (lost,) = (text for status, text in client.statuses if status == "lost")
    assert answers[0]["code"] == "lost" and "0.5 s" in lost
    qtbot.waitUntil(lambda: len(server.messages("sub")) == 2)
    assert server.wait("auth")["schema"] == server.run.schema()["hash"]
    assert client.connected and client.store.connection == ""


def test_pauses_between_attempts_grow_to_ten_seconds(monkeypatch, path):
    pauses, done = [], threading.Event()
    made = link.Link(Address(path=str(path)), lambda: None)

    def wait(seconds):
        pauses.append(seconds)
        if len(pauses) == 8:
            done.set()
            made._stop.set()

    monkeypatch.setattr(made._stop, "wait", wait)
    made.start()
    assert done.wait(PATIENCE)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_a_run_that_ends_is_not_called_again(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    server.end("4000 iterations done")
    qtbot.waitUntil(lambda: client.over)
    assert client.statuses[-1] == ("ended", "4000 iterations done")
    client.link._thread.join(PATIENCE)
    assert not client.link._thread.is_alive()


def test_a_run_whose_process_is_gone_has_ended(qtbot, server, make, monkeypatch):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    monkeypatch.setattr(link, "alive", lambda pid: False)
    server.drop()
    qtbot.waitUntil(lambda: client.over)
    assert client.statuses[-1][0] == "ended" and "gone without a word" in client.statuses[-1][1]


def test_a_process_that_nobody_has_asked_for_its_end_is_over():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    assert alive(os.getpid())
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays behind as a zombie
    assert not alive(ended.pid)
    ended.wait()
    assert not alive(ended.pid)


@pytest.mark.parametrize(("version", "older"), [((2, 0), "the debugger"), ((0, 9), "the run's engine")])
def test_another_version_says_which_side_to_upgrade(qtbot, server, make, version, older):
    server.protocol = version
    client = make()
    qtbot.waitUntil(lambda: client.over)
    status, text = client.statuses[-1]
    assert status == "over" and f"upgrade {older}" in text and f"{version[0]}.{version[1]}" in text


def test_a_token_is_proved_and_never_sent(qtbot, server, make, path):
    server.token = bytes(range(32))
    client = make(path=str(path), token=bytes(range(32)))
    qtbot.waitUntil(lambda: client.connected)
    proof = server.wait("auth")["proof"]
    assert len(proof) == 32 and proof != server.token
    without = make()
    qtbot.waitUntil(lambda: without.over)
    assert "--token-file" in without.statuses[-1][1]


def test_three_frames_that_cannot_be_read_make_the_connection_anew(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    bad = struct.pack(">I", 3) + b"\xff\xff\xff"
    server.raw(bad * 2)
    server.event("warning", "still here")
    qtbot.waitUntil(lambda: bool(client.store.events))
    assert client.connected
    server.raw(bad)
    with qtbot.waitSignal(client.ready):
        pass
    assert client.statuses[-2][0] == "lost" and "sent 3 frames that cannot be read" in client.statuses[-2][1]


def test_a_client_is_ready_only_once_its_connection_is_open(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    opened = []
    client.ready.connect(lambda: opened.append(client.connected))
    take = client.link.take
    client.link.take = lambda most: take(1)  # a window may come between any two messages
    server.drop()
    with qtbot.waitSignal(client.ready):
        pass
    assert opened == [True]


def test_a_frame_of_a_gigabyte_is_not_waited_for(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    server.raw(struct.pack(">I", 1 << 30))
    qtbot.waitUntil(lambda: any(status == "lost" for status, _ in client.statuses))
    assert "1073741824 bytes" in next(text for status, text in client.statuses if status == "lost")


def test_messages_that_make_no_sense_are_counted_and_change_nothing(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    for message in (
        {"t": "data", "kind": "values", "seq": "x", "sub": [], "cols": 3, "ticks": None},
        {"t": "ok", "id": [1]},
        {"t": "sub_no", "id": None},
        {"t": "schema", "tables": 1},
        {"t": "state", "tick": "now"},
        {"t": "event"},
        {"t": "from the future"},
        {"t": "pong", "n": "x"},
        {"t": "ping"},
    ):
        server.raw(encode_frame(message))
    server.event("warning", "still here")
    qtbot.waitUntil(lambda: bool(client.store.events))
    assert client.connected and client.store.schema is not None and client.store.bad >= 4


@pytest.fixture
def listen(path):
    """Starts a listener that does something other than what a run does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(4)
    held = [listener]

    def accept(talk):
        while True:
            try:
                held.append(listener.accept()[0])
                talk(held[-1])
            except OSError:
                return

    yield lambda talk: threading.Thread(target=accept, args=(talk,), daemon=True).start()
    listener.shutdown(socket.SHUT_RDWR)  # which wakes the thread that accepts
    for each in held:
        each.close()


def test_a_listener_that_says_nothing_holds_nobody(qtbot, make, listen, monkeypatch):
    monkeypatch.setattr(link, "_HANDSHAKE", 0.3)
    listen(lambda peer: None)
    client = make()
    qtbot.waitUntil(lambda: bool(client.statuses))
    assert client.statuses[0][0] == "lost" and "sent no 'hello'" in client.statuses[0][1]
    start = time.monotonic()
    client.close()
    assert time.monotonic() - start < 5.0


def test_a_web_server_is_no_run(qtbot, make, listen):
    listen(lambda peer: peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    client = make()
    qtbot.waitUntil(lambda: bool(client.statuses))
    assert client.statuses[0][0] == "lost"


def test_a_run_that_does_not_read_does_not_stop_the_window(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    blocked = server._lock
    with blocked:  # its thread cannot take another message
        start = time.monotonic()
        for _ in range(200):
            client.send({"t": "reset", "rows": list(range(3000))})
        qtbot.wait(300)
        assert time.monotonic() - start < 5.0


def test_a_flood_of_events_leaves_the_window_alive(qtbot, server, make):
    client = make()
    with qtbot.waitSignal(client.ready):
        pass
    flood = b"".join(encode_frame({"t": "event", "kind": "reset", "tick": n, "text": "x" * 50}) for n in range(20000))
    sending = threading.Thread(target=server.raw, args=(flood,))
    sending.start()
    longest, last = 0.0, time.thread_time()  # of the window's own work: others may want the processor as well
    while client.store.seen["event"] < 20000:
        qtbot.wait(1)
        longest, last = max(longest, time.thread_time() - last), time.thread_time()
    sending.join()
    assert longest < 0.5 and len(client.link._inbox) <= link._WAITING + 1 + CHUNK // 60


def test_the_wire_is_what_the_design_says(path, listen):
    """Golden bytes of the first thing that a client sends."""
    got, ready = [], threading.Event()

    def talk(peer):
        got.append(peer.recv(8))
        hello = {"t": "hello", "protocol": [1, 0], "nonce": bytes(16), "auth": "peer", "run": {}}
        peer.sendall(encode_frame(hello))
        (length,) = struct.unpack(">I", peer.recv(4))
        got.append(decode_body(peer.recv(length)))
        ready.set()

    listen(talk)
    made = link.Link(Address(path=str(path)), lambda: None, "observe")
    made.start()
    assert ready.wait(PATIENCE)
    made.close()
    assert got[0] == b"ENGDBG1\n"
    assert got[1] | {"client": ""} == {
        "t": "auth",
        "protocol": [1, 0],
        "client": "",
        "role": "observe",
        "proof": b"",
        "schema": "",
    }
