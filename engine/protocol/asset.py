"""A file that a run hands out to debuggers that do not have it: made when first asked for, named by its hash."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import attrs

from engine.errors import EditError

CHUNK = 1 << 18
"""Bytes of one answer, at most."""


@attrs.define(eq=False, slots=False)
class Asset:
    """What `make` returns, made once. `make` gets no argument: whoever asks cannot choose what is handed out."""

    make: Callable[[], bytes]

    @cached_property
    def content(self) -> bytes:
        """All of it. Two threads that ask for it first at once both make it, and get the same."""
        return self.make()

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    def part(self, offset: int) -> dict[str, Any]:
        """The fields of an answer: `size` of all, and `data` from `offset` on; EditError beyond the end."""
        size = len(self.content)
        if offset >= size:
            raise EditError("bad_message", f"The file has {size} bytes; there is none at offset {offset}.")
        return {"hash": self.hash, "offset": offset, "size": size, "data": self.content[offset : offset + CHUNK]}
