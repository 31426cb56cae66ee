"""Messages over a socket: four bytes of length, most significant first, and a msgpack map."""

import socket
import struct
from typing import Any, Dict

import msgpack  # type: ignore[import-untyped]

PROTOCOL = 1
LONGEST = 1 << 26  # bytes, beyond which what comes is no message
_LENGTH = struct.Struct(">I")


class NoMessage(Exception):
    """Bytes that are no message; the text says what they are."""


def send(channel: socket.socket, message: Dict[str, Any]) -> None:
    """Send one message whole."""
    body = msgpack.packb(message)
    channel.sendall(_LENGTH.pack(len(body)) + body)


def receive(channel: socket.socket) -> Dict[str, Any]:
    """The next message; EOFError when the other side is gone, NoMessage for anything else."""
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if length > LONGEST:
        raise NoMessage(f"a message of {length:,} bytes was announced; {LONGEST:,} are the most")
    body = _exactly(channel, length)
    try:
        message = msgpack.unpackb(body)
    except Exception as error:
        raise NoMessage(f"{length} bytes that are no msgpack ({error or type(error).__name__})") from None
    if not isinstance(message, dict):
        raise NoMessage("a message that is no map")
    return message


def _exactly(channel: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = channel.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
