"""One client of a run's server: what it may send, how fast, and what waits to be sent to it."""

import contextlib
import secrets
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import attrs
import numpy as np

from engine.errors import WireError
from engine.inspect.listener import Listener
from engine.protocol.framing import FrameBuffer, encode_frame, pack_data

HANDSHAKE_FRAME = 1 << 12  # bytes
REPLIES, REPLY_BYTES = 1024, 1 << 20
"""Answers and events that may wait for a client; one more, and it is too slow."""
DATA_BYTES = 3 << 19
"""Bytes of data frames that may wait for a client or be on their way to it."""
IN_FLIGHT = 2  # data frames that a client has not acknowledged
COMMANDS_PER_SECOND = 200.0
_SMALL = 0.05  # of a command: an acknowledgement, a ping
_BYTES_PER_COMMAND = 2048  # a longer frame counts as more commands
_CHUNK = 1 << 16

Socket = socket.socket
Stage = Literal["magic", "auth", "attached", "leaving"]


@attrs.define(eq=False, repr=False)
class DebugClient:
    """A client. What the tick thread may look at: session, name, role, dropped, gone; the rest is the server's.

    name: how the client calls itself. dropped: data frames that were replaced before they could be sent. gone: it has
    left, and what is posted to it goes nowhere.
    """

    socket: Socket = attrs.field()
    listener: Listener = attrs.field()
    session: int = 0
    name: str = ""
    role: str = "observe"
    dropped: int = 0
    gone: bool = False
    stage: Stage = "magic"
    nonce: bytes = attrs.field(factory=lambda: secrets.token_bytes(16))
    opened: float = attrs.field(factory=time.monotonic)
    last_frame: float = attrs.field(factory=time.monotonic)
    bad: int = 0
    too_slow: bool = False
    leave_by: float = 0.0
    subscriptions: set[int] = attrs.field(factory=set)
    selected: int = 0  # what the selector of the sockets waits for
    incoming: FrameBuffer = attrs.field(factory=FrameBuffer, repr=False, init=False)
    _credit: float = attrs.field(default=COMMANDS_PER_SECOND, init=False)
    _counted: float = attrs.field(factory=time.monotonic, init=False)
    _greeting: deque[bytes] = attrs.field(factory=deque, repr=False, init=False)
    _replies: deque[bytes] = attrs.field(factory=deque, repr=False, init=False)
    _reply_bytes: int = attrs.field(default=0, init=False)
    _state: bytes | None = attrs.field(default=None, repr=False, init=False)  # the last that was queued
    _slots: dict[int, tuple[dict[str, Any], int]] = attrs.field(factory=dict, repr=False, init=False)
    _slot_bytes: int = attrs.field(default=0, init=False)
    _lost: dict[int, int] = attrs.field(factory=dict, init=False)
    _sequence: int = attrs.field(default=0, init=False)
    _in_flight: deque[int] = attrs.field(factory=deque, init=False)
    _moving: memoryview | None = attrs.field(default=None, repr=False, init=False)
    _moving_bytes: int = attrs.field(default=0, init=False)

    def __repr__(self) -> str:
        return f"DebugClient({self.session}, {self.name!r}, {self.role})"

    # -- what comes in ---------------------------------------------------------------------------------

    def read(self) -> bool:
        """Take what has arrived; False when the client has hung up."""
        try:
            data = self.socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        if self.stage != "leaving":
            self.incoming.feed(data)
        return bool(data)

    def next_frame(self, now: float, most: int) -> bytes | None:
        """The body of the next whole frame, if the client has credit; FrameTooLarge where it is longer than `most` bytes."""
        if self.seconds_to_credit(now) and (self.incoming.announced or 0) <= most:
            return None
        body = self.incoming.take(most)
        if body is not None:
            self.last_frame = now
        return body

    def charge(self, now: float, size: int, small: bool) -> None:
        """Count a frame against the client's credit, which grows with time."""
        self._credit = min(COMMANDS_PER_SECOND, self._credit + (now - self._counted) * COMMANDS_PER_SECOND)
        self._counted = now
        self._credit -= _SMALL if small else 1.0 + size / _BYTES_PER_COMMAND

    def seconds_to_credit(self, now: float) -> float:
        """Seconds until the client has credit again; 0 when it has."""
        credit = self._credit + (now - self._counted) * COMMANDS_PER_SECOND
        return 0.0 if credit > 0 else 0.001 - credit / COMMANDS_PER_SECOND

    def acknowledge(self, sequence: int) -> None:
        """Data frames up to this one are no longer on their way."""
        while self._in_flight and self._in_flight[0] <= sequence:
            self._in_flight.popleft()

    # -- what goes out; all of this under the server's lock -----------------------------------------------

    def reply(self, frame: bytes) -> bool:
        """Queue an answer or event; False when too many wait, and the client has to go."""
        if len(self._replies) >= REPLIES or self._reply_bytes + len(frame) > REPLY_BYTES:
            return False
        self._replies.append(frame)
        self._reply_bytes += len(frame)
        return True

    def queue_handshake(self, frame: bytes) -> None:
        """Queue a part of the handshake: sent before anything else, larger than any answer, shared by all clients."""
        self._greeting.append(frame)

    def queue_state(self, frame: bytes) -> None:
        """Queue a state: after the events that led there, before the answers that follow. It replaces one right before it."""
        if self._replies and self._replies[-1] is self._state:
            self._reply_bytes -= len(self._replies.pop())
        self._state = frame if self.reply(frame) else None

    def offer(self, subscription: int, message: dict[str, Any]) -> bool:
        """Put a data message into its slot; False when one that waited there, or this one, is lost."""
        size = weight(message)
        old, waiting = self._slots.get(subscription, (None, 0))
        if self._slot_bytes - waiting + self._moving_bytes + size > DATA_BYTES:
            self._drop(subscription, message)
            return False
        if old is not None:
            self._drop(subscription, old)
        self._slots[subscription] = (message, size)
        self._slot_bytes += size - waiting
        return old is None

    def _drop(self, subscription: int, message: Mapping[str, Any]) -> None:
        first, last = message["ticks"]
        self.dropped += 1
        self._lost[subscription] = self._lost.get(subscription, 0) + last - first + 1

    def empty(self, subscription: int) -> bool:
        """Whether the slot of a subscription is free."""
        return subscription not in self._slots

    def forget(self, subscription: int) -> None:
        """Nothing more of a subscription is sent."""
        self._slot_bytes -= self._slots.pop(subscription, (None, 0))[1]
        self._lost.pop(subscription, None)
        self.subscriptions.discard(subscription)

    @property
    def ready(self) -> bool:
        """Whether a data frame could be sent now."""
        return self._moving is None and len(self._in_flight) < IN_FLIGHT

    @property
    def pending(self) -> bool:
        """Whether there is something that may be sent now."""
        return self.has_replies or (bool(self._slots) and self.ready)

    def take(self) -> bytes | dict[str, Any] | None:
        """What is to be sent next: a frame, or a data message that is still to be packed."""
        if self._greeting:
            return self._greeting.popleft()
        if self._replies:
            frame = self._replies.popleft()
            self._reply_bytes -= len(frame)
            return frame
        if self._slots and len(self._in_flight) < IN_FLIGHT:
            subscription = next(iter(self._slots))
            message, size = self._slots.pop(subscription)
            self._slot_bytes -= size
            self._moving_bytes = size
            self._sequence += 1
            self._in_flight.append(self._sequence)
            lost = message.get("lost", 0) + self._lost.pop(subscription, 0)
            return {**message, "t": "data", "sub": subscription, "seq": self._sequence, "lost": lost}
        return None

    # -- the socket ------------------------------------------------------------------------------------

    def begin_send(self, frame: "bytes | dict[str, Any]") -> None:
        """Begin to send. A data message is packed here, outside the lock; one that cannot be packed is dropped."""
        if isinstance(frame, bytes):
            self._moving = memoryview(frame)
            return
        try:
            self._moving = memoryview(encode_frame(pack_data(frame)))
        except WireError:
            self._in_flight.remove(frame["seq"])
            self._moving_bytes = 0
            self.dropped += 1

    @property
    def sending(self) -> bool:
        """Whether a frame is only partly sent."""
        return self._moving is not None

    def write(self) -> bool:
        """Send what the system takes of the frame on its way; False when the client has hung up."""
        while self._moving is not None:
            try:
                sent = self.socket.send(self._moving)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                return False
            left = self._moving[sent:]
            self._moving = left if len(left) else None
        self._moving_bytes = 0
        return True

    @property
    def has_replies(self) -> bool:
        """Whether answers or events are still to be sent."""
        return self._moving is not None or bool(self._greeting or self._replies)

    def begin_close(self, closing_message: bytes, by: float) -> None:
        """Send what was answered, then `closing_message`, and be gone at the latest at `by`. Under the server's lock."""
        self._release()
        if not self.reply(closing_message):
            self._replies.clear()
            self._reply_bytes = 0
            self.reply(closing_message)
        self.stage, self.leave_by, self.gone = "leaving", by, True

    def shut_down_writing(self) -> None:
        """Nothing more will be sent; the client may still read what was."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close, and let go of everything that waited. Under the server's lock."""
        self._release()
        self.gone, self.stage = True, "leaving"
        self.socket.close()
        self._greeting.clear()
        self._replies.clear()
        self._moving = None
        self._reply_bytes = self._moving_bytes = 0

    def _release(self) -> None:
        self._slots.clear()
        self.incoming.clear()
        self._slot_bytes = 0
        self._state = None


def weight(message: Mapping[str, Any]) -> int:
    """About how many bytes a data message takes: those of its arrays, packed or not."""
    total = 256
    for value in (*message.get("cols", ()), *message.values()):
        array = value[-1] if type(value) is list and value else value
        if isinstance(array, (np.ndarray, bytes, bytearray, memoryview)):
            total += array.nbytes if isinstance(array, np.ndarray) else len(array)
    return total
