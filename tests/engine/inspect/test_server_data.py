"""Data frames: the latest wins, and a client that does not take them costs the tick nothing."""

import resource
import socket
import time

import pytest

from engine.debugger.net.connection import Connection
from engine.inspect.server import DebugServer, Left
from engine.protocol.framing import encode_frame
from tests.engine.server_clients import attached, drained, frame, heard, received, seen, subscribed, until, where

# -- data ---------------------------------------------------------------------------------------------


def test_two_frames_are_on_their_way_and_then_the_latest_wins(server: DebugServer):
    with attached(server) as connection:
        peer = subscribed(server, connection)
        for tick in range(2):
            assert server.offer(peer, 1, frame(tick))
            until(lambda: server.empty(peer, 1))
        assert [server.offer(peer, 1, frame(tick)) for tick in (2, 3, 4)] == [True, False, False]
        assert peer.dropped == 2
        client = connection.socket
        data = [m for m in received(client) if m["t"] == "data"]
        assert [(m["seq"], m["ticks"], m["lost"], m["sub"]) for m in data] == [(1, [0, 0], 0, 1), (2, [1, 1], 0, 1)]
        client.sendall(encode_frame({"t": "ack", "seq": 1}))
        data = [m for m in received(client) if m["t"] == "data"]
        assert [(m["seq"], m["ticks"], m["lost"]) for m in data] == [(3, [4, 4], 2)]


def test_no_wake_up_is_lost_that_comes_while_another_is_read(server: DebugServer):
    class Racing:
        """The reading end of the wake-up, during each of whose reads the tick thread wakes the other one again."""

        def __init__(self, real: socket.socket) -> None:
            self.real = real

        def recv(self, count: int) -> bytes:
            server.sockets.wake()
            return self.real.recv(count)

        def close(self) -> None:
            self.real.close()

    server.sockets._wake_out = Racing(server.sockets._wake_out)  # type: ignore[assignment]
    with attached(server) as connection:
        peer = subscribed(server, connection)
        server.post(peer, {"t": "ok", "id": 1})
        heard(connection, "ok")
        until(lambda: not server.sockets._woken)


def test_subscriptions_take_turns(server: DebugServer):
    with attached(server) as connection:
        peer = subscribed(server, connection, 1)
        subscribed(server, connection, 2)
        for tick in range(2):  # as many as may be on their way
            server.offer(peer, 1, frame(tick))
            until(lambda: server.empty(peer, 1))
        for tick in range(2, 5):  # subscription 1 has more to say, but 2 has waited longer
            server.offer(peer, 2, frame(tick))
            server.offer(peer, 1, frame(tick))
        came = [heard(connection, "data") for _ in range(4)]
        assert [(m["sub"], m["ticks"][0]) for m in came] == [(1, 0), (1, 1), (2, 4), (1, 4)]


def test_what_was_unsubscribed_is_not_sent(server: DebugServer):
    with attached(server) as connection:
        peer = subscribed(server, connection)
        for tick in range(3):
            server.offer(peer, 1, frame(tick))
        connection.send({"t": "unsub", "id": 1})
        drained(server)
        assert not server.offer(peer, 1, frame(9))
        received(connection.socket, 0.1)
        connection.send({"t": "ack", "seq": 99})
        assert [m for m in received(connection.socket, 0.2) if m["t"] == "data"] == []


def test_a_frame_that_is_too_large_is_dropped_and_counted(server: DebugServer):
    with attached(server) as connection:
        peer = subscribed(server, connection)
        assert not server.offer(peer, 1, frame(0, 1 << 20))
        assert peer.dropped == 1
        assert server.offer(peer, 1, frame(1, 1 << 18))
        assert heard(connection, "data")["lost"] == 1


def test_a_client_that_never_reads_neither_holds_the_tick_nor_grows(server: DebugServer):
    connection = Connection.attach(where(server))
    peer = subscribed(server, connection)
    before, slowest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    for tick in range(300):
        start = time.thread_time()
        server.offer(peer, 1, frame(tick, 1 << 16))
        slowest = max(slowest, time.thread_time() - start)
        time.sleep(0.001)
    assert peer.dropped > 200
    assert slowest < 0.02
    for tick in range(1200):
        server.broadcast({"t": "event", "kind": "warning", "tick": tick, "text": "x" * 500})
    assert seen(server, Left) == (peer, Left(controlled=False))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
    connection.close()


def test_a_client_that_reads_too_slowly_is_told_so(server: DebugServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.inspect.client.REPLIES", 8)
    with attached(server) as connection:
        ((peer, _),) = drained(server)
        with server._lock:  # nothing is sent meanwhile
            for tick in range(9):
                if not peer.reply(encode_frame({"t": "event", "tick": tick})):
                    peer.too_slow = True
        server.sockets.wake()
        assert heard(connection, "bye")["code"] == "too slow"
