"""Container file: parts of bytes in checksummed blocks, appended one after another, read as far as they are sound.

    file  := magic (8 bytes)  version (u32)  block*  end
    block := stored length (u32)  raw length (u32)  codec (u8)  last of its part (u8)  checksum (u32)  payload

Snapshots and recordings are such files. A part is a run of blocks of at most 1 MiB; the end is a block without payload,
which a file that was cut off lacks. A checksum is the CRC-32 of magic, version, and heads and payloads of all blocks so
far, so that blocks cannot be lost, doubled, swapped or mixed with those of another file either. Numbers are little-endian.
"""

import math
import struct
import zlib
from collections.abc import Iterator

import attrs

PIECE = 1 << 20  # bytes of a block before compression
PREFIX = struct.Struct("<8sI")
_HEAD = struct.Struct("<IIBB")
_CHECK = struct.Struct("<I")
_RAW, _ZLIB, _END = 0, 1, 2
_SAMPLE = 1 << 14  # bytes that are compressed to see whether it pays
_SMALL = 256  # bytes that are not worth the trouble
_WORTH = 0.5  # zlib is slower than a disk: only what shrinks to half is compressed


@attrs.frozen
class CorruptBlock(Exception):
    """Bytes that are not what was written: `text` says what is wrong with the block at `offset`, in part `part`."""

    offset: int
    part: int
    text: str


@attrs.frozen
class Part:
    """The content of one part, its bytes in the file from `offset` to `end`, and the checksum up to there."""

    offset: int
    end: int
    content: bytearray
    checksum: int


class Packer:
    """Turns parts into the bytes of a container; the heavy work (checksum, compression) lets other threads run."""

    def __init__(self, magic: bytes, version: int) -> None:
        self.start = PREFIX.pack(magic, version)
        self.checksum = zlib.crc32(self.start)

    def part(self, content: "bytes | memoryview") -> Iterator["bytes | memoryview"]:
        """The bytes of a part that follows those before it, in pieces."""
        view = memoryview(content).cast("B")
        for start in range(0, max(len(view), 1), PIECE):
            raw = view[start : start + PIECE]
            codec, payload = _squeezed(raw)
            yield self._head(len(payload), len(raw), codec, start + PIECE >= len(view), payload)
            yield payload

    def end(self) -> Iterator[bytes]:
        """The last bytes of the file."""
        yield self._head(0, 0, _END, True, b"")

    def _head(self, stored: int, raw: int, codec: int, last: bool, payload: "bytes | memoryview") -> bytes:
        head = _HEAD.pack(stored, raw, codec, last)
        self.checksum = zlib.crc32(payload, zlib.crc32(head, self.checksum))
        return head + _CHECK.pack(self.checksum)


def read_prefix(data: "bytes | memoryview") -> tuple[bytes, int] | None:
    """Magic and version of a file; None where it is too short for them."""
    return PREFIX.unpack_from(data) if len(data) >= PREFIX.size else None


def read_parts(data: "bytes | memoryview", most: float = math.inf) -> Iterator[Part]:
    """The whole parts of a file, in order, of at most `most` bytes each.

    Raises CorruptBlock where the file is damaged, and at the end of the file where the container's end is missing.
    """
    view, offset, count = memoryview(data), PREFIX.size, 0
    checksum, begin, content = zlib.crc32(view[:offset]), offset, bytearray()
    while True:
        start = offset
        offset += _HEAD.size + _CHECK.size
        cut_off = CorruptBlock(start, count, f"is cut off: the file ends at byte {len(view)}")
        if offset > len(view):
            raise cut_off
        head = view[start : start + _HEAD.size]
        stored, raw, codec, last = _HEAD.unpack(head)
        payload = view[offset : offset + stored]
        if codec <= _END and len(payload) < stored:
            raise cut_off
        checksum = zlib.crc32(payload, zlib.crc32(head, checksum))
        if _CHECK.pack(checksum) != view[start + _HEAD.size : offset]:
            raise CorruptBlock(start, count, "does not match its checksum")
        offset += stored
        block = _content(payload, raw, codec)
        if last > 1 or block is None or (codec == _END and (start != begin or stored or not last)):
            raise CorruptBlock(start, count, "is not one that is ever written")
        if codec == _END:
            break
        if len(content) + len(block) > most:
            raise CorruptBlock(start, count, f"makes its part longer than {most} bytes")
        content += block
        if last:
            yield Part(begin, offset, content, checksum)
            count, begin, content = count + 1, offset, bytearray()
    if offset != len(view):
        raise CorruptBlock(offset, count, f"is followed by {len(view) - offset} bytes that do not belong to it")


def _content(payload: memoryview, raw: int, codec: int) -> "bytes | memoryview | None":
    """What a payload stands for; None where it does not hold `raw` bytes, of which a block has at most PIECE."""
    if raw > PIECE or codec > _END or (codec != _ZLIB and raw != len(payload)):
        return None
    if codec != _ZLIB:
        return payload
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(payload, raw + 1)  # a limit of 0 would mean no limit
    except zlib.error:
        return None
    return content if len(content) == raw and unpacking.eof and not unpacking.unused_data else None


def _squeezed(raw: memoryview) -> tuple[int, "bytes | memoryview"]:
    """The codec that pays for this block, and its payload."""
    if len(raw) < _SMALL:
        return _RAW, raw
    middle = max(0, len(raw) - _SAMPLE) // 2
    sample = raw[middle : middle + _SAMPLE]
    packed = zlib.compress(sample, 1)
    if len(packed) > _WORTH * len(sample):
        return _RAW, raw
    if len(sample) < len(raw):
        packed = zlib.compress(raw, 1)
    return (_ZLIB, packed) if len(packed) < len(raw) else (_RAW, raw)
