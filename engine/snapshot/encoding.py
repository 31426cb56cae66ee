"""Bytes in checksummed blocks, so that damage is found and said where it is.

    file  := magic (8 bytes)  version (u32)  block*  end
    block := stored length (u32)  raw length (u32)  codec (u8)  last of its part (u8)  digest (16 bytes)  payload

A part is a run of blocks of at most 1 MiB; the end is a block without payload. A digest is the beginning of the
SHA-256 of the digest before it (of the first block: of magic and version), the block's head and its payload, so that
blocks cannot be lost, doubled, swapped or mixed with those of another file either. Numbers are little-endian.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator

import attrs

PIECE = 1 << 20  # bytes of a block before compression
PREFIX = struct.Struct("<8sI")
_HEAD = struct.Struct("<IIBB")
_DIGEST = 16
_RAW, _ZLIB, _END = 0, 1, 2
_SAMPLE = 1 << 14  # bytes that are compressed to see whether it pays
_SMALL = 256  # bytes that are not worth the trouble
_WORTH = 0.5  # zlib is slower than a disk: only what shrinks to half is compressed


@attrs.frozen
class Damage(Exception):
    """Bytes that are not what was written: `text` says what is wrong at `offset`, in part `part`."""

    offset: int
    part: int
    text: str


def pack(magic: bytes, version: int, parts: Iterable["bytes | memoryview"]) -> Iterator["bytes | memoryview"]:
    """The file, piece by piece; the heavy work of each (hash, compress) lets other threads run."""
    digest = PREFIX.pack(magic, version)
    yield digest
    for part in parts:
        view = memoryview(part).cast("B")
        for start in range(0, max(len(view), 1), PIECE):
            raw = view[start : start + PIECE]
            codec, payload = _squeezed(raw)
            head = _HEAD.pack(len(payload), len(raw), codec, start + PIECE >= len(view))
            digest = _digest(digest, head, payload)
            yield head + digest
            yield payload
    head = _HEAD.pack(0, 0, _END, 1)
    yield head + _digest(digest, head, b"")


def unpack(data: bytes, found: list[bytearray]) -> None:
    """Append the parts behind the prefix of `data` to `found`; raises Damage, with `found` holding the whole ones."""
    view, offset, part, begun = memoryview(data), PREFIX.size, bytearray(), False
    digest = bytes(view[:offset])
    while True:
        start = offset
        offset += _HEAD.size + _DIGEST
        if offset > len(view):
            raise _cut(view, start, found)
        head = bytes(view[start : start + _HEAD.size])
        stored, raw, codec, last = _HEAD.unpack(head)
        payload = view[offset : offset + stored]
        if codec <= _END and len(payload) < stored:
            raise _cut(view, start, found)
        digest = _digest(digest, head, payload)
        if digest != view[start + _HEAD.size : offset]:
            raise Damage(start, len(found), "does not match its checksum")
        offset += stored
        if codec == _END:
            break
        content = _content(payload, raw, codec)
        if content is None or last > 1:
            raise Damage(start, len(found), "is not one that is ever written")
        part += content
        if last:
            found.append(part)
            part, begun = bytearray(), False
        else:
            begun = True
    if begun or stored or raw:
        raise Damage(start, len(found), "is not one that is ever written")
    if offset != len(view):
        raise Damage(offset, len(found), f"is followed by {len(view) - offset} bytes that do not belong to it")


def _cut(view: memoryview, start: int, found: list[bytearray]) -> Damage:
    return Damage(start, len(found), f"is cut off: the file ends at byte {len(view)}")


def _content(payload: memoryview, raw: int, codec: int) -> "bytes | memoryview | None":
    """What a payload stands for; None where it does not hold `raw` bytes, of which a block has at most PIECE."""
    if raw > PIECE or codec not in (_RAW, _ZLIB) or (codec == _RAW and raw != len(payload)):
        return None
    if codec == _RAW:
        return payload
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(payload, raw + 1)  # a limit of 0 would be none
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


def _digest(before: bytes, head: bytes, payload: "bytes | memoryview") -> bytes:
    digest = hashlib.sha256(before + head)
    digest.update(payload)
    return digest.digest()[:_DIGEST]
