"""The server lets clients in, checks what they say, and tells them what the run does."""

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine.inspect.listener
import engine.inspect.server
import engine.inspect.sockets
from engine.debugger.net.connection import Connection
from engine.errors import AttachError
from engine.inspect.server import DebugServer, Joined, Left
from engine.protocol import messages
from engine.protocol.framing import pack_array
from tests.engine.server_clients import (
    RUN,
    SCHEMA,
    attached,
    drained,
    frame,
    heard,
    received,
    seen,
    subscribed,
    until,
    where,
)

# -- nobody there -------------------------------------------------------------------------------------


def test_a_server_without_clients_sleeps_and_costs_one_attribute_read(server: DebugServer):
    time.sleep(0.6)
    assert server.sockets.wakes == 0
    assert server.attached is False
    best = min(_seconds_per_look(server) for _ in range(5))
    assert best < 1e-6


def _seconds_per_look(server: DebugServer) -> float:
    start = time.perf_counter()
    for _ in range(10_000):
        if server.attached:
            raise AssertionError
    return (time.perf_counter() - start) / 10_000


def test_after_the_last_client_the_server_sleeps_again(server: DebugServer):
    with attached(server):
        drained(server)
        assert server.attached
    seen(server, Left)
    assert not server.attached
    time.sleep(0.2)
    wakes = server.sockets.wakes
    time.sleep(0.6)
    assert server.sockets.wakes == wakes


# -- coming and going ---------------------------------------------------------------------------------


def test_a_client_is_greeted_with_run_schema_and_state(server: DebugServer):
    with attached(server, role="observe", client="me") as first:
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
        (peer, joined), *_ = drained(server)
        assert isinstance(joined, Joined)
        assert (peer.name, peer.role, peer.session) == ("me", "observe", 1)
        server.publish({"mode": "running", "tick": 7})
        assert heard(first, "state")["tick"] == 7
        with attached(server, schema=first.schema["hash"]) as second:
            assert second.schema is None
            assert heard(second, "state")["tick"] == 7


def test_a_client_that_is_let_in_and_gone_before_anybody_looked_was_never_there(server: DebugServer):
    for _ in range(50):
        with attached(server):
            pass
    until(lambda: not server.sockets.clients)
    assert all(isinstance(message, Joined) for _, message in server.drain()) or server.drain() == []
    assert len(server._inbox) == 0


def test_a_killed_client_is_gone_and_its_data_forgotten(server: DebugServer):
    connection = Connection.attach(where(server), role="control")
    peer = subscribed(server, connection)
    for tick in range(10):
        server.offer(peer, 1, frame(tick))
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()
    assert seen(server, Left) == (peer, Left(controlled=True))
    assert peer.gone
    assert server.controller is None
    server.post(peer, {"t": "ok", "id": 1})
    assert not server.offer(peer, 1, frame(11))


def test_a_goodbye_says_why_and_when(server: DebugServer):
    with attached(server) as connection:
        drained(server)
        server.close(text="Interrupted.", tick=41)
        assert heard(connection, "bye") == {"t": "bye", "code": "ended", "text": "Interrupted.", "tick": 41}
        with pytest.raises(AttachError, match="closed the connection"):
            connection.receive(2.0)
    server.close()


def test_the_fifth_client_is_told_that_there_are_four(server: DebugServer):
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(attached(server))
        with pytest.raises(AttachError, match="4 debuggers are attached already"):
            Connection.attach(where(server))
    until(lambda: not server.sockets.attached())
    with attached(server):
        pass


def test_a_silent_client_is_let_go(server: DebugServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.inspect.server, "IDLE", 0.5)
    with attached(server) as connection:
        time.sleep(1.2)
        assert connection.bad == 0
        assert heard(connection, "bye")["code"] == "idle"


def test_a_schema_that_cannot_be_made_costs_the_client_its_connection_and_the_run_nothing(folder: Path):
    def broken() -> dict[str, Any]:
        raise RuntimeError("no schema today")

    server = DebugServer(RUN, broken, folder=folder)
    server.start()
    with pytest.raises(AttachError):
        Connection.attach(where(server))
    assert "no schema today" in server.sockets.last_error
    assert not server.attached
    server.close()


# -- messages -----------------------------------------------------------------------------------------


def test_checked_messages_arrive_in_order(server: DebugServer):
    with attached(server, role="control") as connection:
        connection.send({"t": "sub", "id": 1, "kind": "values", "columns": [[0, [2]]], "rows": [7], "hz": 5})
        connection.send({"t": "select", "rows": [3]})
        connection.send({"t": "step", "id": 2, "unit": "system", "count": 3})
        connection.send({"t": "unsub", "id": 1})
        found = [message for _, message in drained(server, 5)]
    assert found == [
        Joined(),
        messages.SubscribeRequest(id=1, kind="values", columns=((0, (2,)),), rows=(7,), hz=5.0),
        messages.SelectMessage(rows=(3,)),
        messages.StepRequest(id=2, unit="system", count=3),
        messages.UnsubscribeRequest(id=1),
    ]


def test_answers_and_events_arrive_in_order(server: DebugServer):
    with attached(server) as first, attached(server) as second:
        (one, _), (two, _) = drained(server, 2)
        server.post(one, {"t": "ok", "id": 1})
        server.broadcast({"t": "event", "kind": "warning", "tick": 1, "text": "hot"})
        server.post(one, {"t": "ok", "id": 2})
        assert [heard(first, kind).get("id") for kind in ("ok", "event", "ok")] == [1, None, 2]
        assert heard(second, "event")["text"] == "hot"
        assert two.session != one.session


def test_an_answer_that_cannot_be_packed_becomes_an_error(server: DebugServer):
    with attached(server) as connection:
        ((peer, _),) = drained(server)
        server.post(peer, {"t": "ok", "id": 3, "value": object()})
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
def test_what_cannot_be_done_is_answered_with_a_code(
    server: DebugServer, message: dict[str, Any], answer: str, code: str
):
    with attached(server) as connection:
        connection.send(message)
        found = heard(connection, answer)
        assert (found["id"], found["code"]) == (3, code)
        assert found["text"]


def test_three_bad_messages_in_a_row_end_the_connection(server: DebugServer):
    with attached(server) as connection:
        drained(server)
        for count in (2, 3):
            for _ in range(count):
                connection.send({"t": "seek"})
            if count == 2:
                connection.send({"t": "select", "rows": []})
        assert heard(connection, "bye")["code"] == "bad_message"
    assert [type(message) for _, message in drained(server, 2)] == [messages.SelectMessage, Left]


def test_an_observer_may_not_send_large_frames_and_a_controller_may(server: DebugServer):
    values = pack_array(np.zeros((6000, 3), np.float32))
    edit = {"t": "set", "id": 1, "column": 0, "rows": [0] * 6000, "values": values}
    with attached(server) as connection:
        connection.send(edit)
        assert heard(connection, "bye")["code"] == "too_large"
    with attached(server, role="control") as connection:
        connection.send(edit)
        until(lambda: any(isinstance(m, messages.SetColumnRequest) for _, m in server.drain()))


def test_a_client_has_at_most_64_subscriptions(server: DebugServer):
    with attached(server) as connection:
        for number in range(65):
            connection.send({"t": "sub", "id": number, "kind": "timing", "hz": 1})
        assert heard(connection, "sub_no") == {"t": "sub_no", "id": 64, "code": "over_budget", "text": "64 subscriptions are the most; stop one of them."}  # fmt: skip
        connection.send({"t": "unsub", "id": 5})
        connection.send({"t": "sub", "id": 64, "kind": "timing", "hz": 1})
        assert sum(isinstance(m, messages.SubscribeRequest) for _, m in drained(server, 67)) == 65


def test_commands_are_taken_at_200_a_second(server: DebugServer):
    with attached(server) as connection:
        start = time.monotonic()
        for _ in range(500):
            connection.send({"t": "select", "rows": []})
        assert len(drained(server, 501, 10.0)) == 501
        assert time.monotonic() - start > 1.2  # 200 at once, 300 more in 1.5 s


def test_when_the_run_takes_nothing_the_client_is_told_what_it_does(
    server: DebugServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine.inspect.server, "MESSAGES", 16)
    with attached(server) as connection:
        for number in range(20):
            connection.send({"t": "provenance", "id": number, "column": 0, "label": None, "row": 0})
        found = heard(connection, "error")
        assert found["code"] == "busy"
        assert "messages wait for the run: it is in " in found["text"]
        connection.send({"t": "sub", "id": 99, "kind": "values", "columns": [], "rows": [0], "hz": 1.0})
        refusal = heard(connection, "sub_no")
        assert (refusal["id"], refusal["code"]) == (99, "busy")


# -- control ------------------------------------------------------------------------------------------


def test_one_client_holds_control_and_everybody_is_told(server: DebugServer):
    with attached(server, role="control", client="ann") as ann, attached(server, role="control", client="bob") as bob:
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
        peer, message = seen(server, messages.PauseRequest)
        assert (peer.name, peer.role, message) == ("bob", "control", messages.PauseRequest(id=4))
        assert server.controller is peer


def test_a_controller_that_goes_is_reported(server: DebugServer):
    with attached(server, client="watcher") as watcher:
        with attached(server, role="control", client="boss"):
            drained(server, 2)
        assert seen(server, Left)[1] == Left(controlled=True)
        texts = [heard(watcher, "event")["text"] for _ in range(2)]
        assert texts == ["boss holds control.", "boss has gone, nobody holds control."]
        watcher.send({"t": "control", "id": 1, "do": "take"})
        assert heard(watcher, "ok")["role"] == "control"


# -- a tick that does not come back -------------------------------------------------------------------


def test_while_a_system_does_not_come_back_the_server_says_where_it_is(
    server: DebugServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine.inspect.server, "STUCK", 0.3)
    monkeypatch.setattr(engine.inspect.server, "STATE_EVERY", 0.1)
    messages: list[dict[str, Any]] = []

    def window() -> None:
        with attached(server) as connection:
            server_is_ready.wait()
            end = time.monotonic() + 1.0
            connection.send({"t": "ping", "n": 5})
            while time.monotonic() < end:
                message = connection.receive(0.1)
                if message is not None:
                    messages.append(message)

    server_is_ready = threading.Event()
    client = threading.Thread(target=window)
    client.start()
    drained(server)
    server.publish({"mode": "running", "tick": 12, "why": ""})

    def step_physics() -> None:
        server_is_ready.set()
        client.join()

    step_physics()
    assert {"t": "pong", "n": 5} in messages
    last = [message for message in messages if message["t"] == "state"][-1]
    assert last["mode"] == "running" and last["tick"] == 12
    assert last["stuck"] > 0.5
    assert last["why"].endswith(" s")
    assert any("step_physics (inspect/test_server.py:" in line for line in last["stack"])


def test_a_paused_run_that_waits_is_not_stuck(server: DebugServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.inspect.server, "STUCK", 0.3)
    with attached(server) as connection:
        drained(server)
        assert not server.wait(1.0)
        assert [m for m in received(connection.socket, 0.05) if m["t"] == "state"] == []
        connection.send({"t": "select", "rows": []})
        assert server.wait(1.0)
