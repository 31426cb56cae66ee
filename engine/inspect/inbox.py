"""Queue of client messages for the tick thread."""

import threading
from collections import deque
from typing import Any

import attrs

from engine.inspect.client import DebugClient
from engine.protocol.messages import ClientMessage

MESSAGES, BYTES = 1024, 2 << 20


@attrs.frozen
class Joined:
    """A client has been let in."""


@attrs.frozen
class Left:
    """A client has gone. `controlled`: it held control, which nobody has now."""

    controlled: bool


Item = tuple[DebugClient, ClientMessage | Joined | Left]


@attrs.define(eq=False)
class Inbox:
    """Filled by the thread of the sockets, emptied by the tick thread; bounded, whatever clients do meanwhile."""

    lock: Any
    arrived: threading.Event = attrs.field(factory=threading.Event)
    _items: deque[tuple[DebugClient, ClientMessage | Joined | Left, int]] = attrs.field(factory=deque, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, client: DebugClient, message: ClientMessage, size: int) -> bool:
        """Add a message that came in `size` bytes; False when there is no room for it."""
        with self.lock:
            if len(self._items) >= MESSAGES or self._bytes + size > BYTES:
                return False
            self._append(client, message, size)
        self.arrived.set()
        return True

    def joined(self, client: DebugClient) -> None:
        """Say that a client has come; there is always room for that. Under the lock."""
        self._append(client, Joined(), 0)
        self.arrived.set()

    def left(self, client: DebugClient, controlled: bool) -> None:
        """Say that a client has gone; one of which the tick thread has not heard yet was never there."""
        with self.lock:
            if any(each is client and isinstance(message, Joined) for each, message, _ in self._items):
                kept = [item for item in self._items if item[0] is not client]
                self._items = deque(kept)
                self._bytes = sum(size for _, _, size in kept)
            else:
                self._append(client, Left(controlled), 0)
        self.arrived.set()

    def _append(self, client: DebugClient, message: ClientMessage | Joined | Left, size: int) -> None:
        self._items.append((client, message, size))
        self._bytes += size

    def take(self) -> list[Item]:
        """Everything, in order. Under the lock."""
        found = [(client, message) for client, message, _ in self._items]
        self._items.clear()
        self._bytes = 0
        self.arrived.clear()
        return found
