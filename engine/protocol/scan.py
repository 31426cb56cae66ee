"""A look at msgpack bytes from a stranger before they are unpacked.

msgpack unpacks lists 1024 deep and makes room for as many members as each claims to have, so a few kilobytes can cost it
half a gigabyte. This walk over the heads needs no memory and stops at the first thing that is not wanted.
"""

from engine.errors import WireError

_WIDTHS = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes that say how long binary or text is
_COUNTS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}  # bytes that say how many, values per member
_PLAIN, _LONG, _MANY, _REFUSED = range(4)


def _table() -> list[tuple[int, int, int]]:
    """For each first byte: what it is and two numbers. _PLAIN: bytes that follow, 0. _LONG: bytes of the length, 0.
    _MANY: bytes of the count (0: it is the third number), values per member or in all."""
    made = [(_REFUSED, 0, 0)] * 256
    for first in range(256):
        if first <= 0x7F or first >= 0xE0 or first in (0xC0, 0xC2, 0xC3):
            made[first] = (_PLAIN, 0, 0)
        elif first <= 0x8F:
            made[first] = (_MANY, 0, 2 * (first & 0x0F))
        elif first <= 0x9F:
            made[first] = (_MANY, 0, first & 0x0F)
        elif first <= 0xBF:
            made[first] = (_PLAIN, first & 0x1F, 0)
        elif first in _WIDTHS:
            made[first] = (_PLAIN, _WIDTHS[first], 0)
        elif first in _LENGTHS:
            made[first] = (_LONG, _LENGTHS[first], 0)
        elif first in _COUNTS:
            made[first] = (_MANY, *_COUNTS[first])
    return made


_TABLE = _table()


def scan(body: bytes, *, values: int, depth: int) -> int:
    """How many values one msgpack value consists of, keys and containers included.

    WireError when the bytes are not exactly one value, hold an extension type, are nested deeper than `depth` or have
    more than `values` values.
    """
    position, end, found, left, outer = 0, len(body), 0, 1, list[int]()
    while True:
        while left == 0:
            if not outer:
                if position != end:
                    raise WireError(f"A frame has {end - position} bytes behind its map.")
                return found
            left = outer.pop()
        left -= 1
        found += 1
        if found > values:
            raise WireError(f"A frame has more than {values} values.")
        if position >= end:
            raise WireError("A frame ends in the middle of its map.")
        kind, first, second = _TABLE[body[position]]
        position += 1
        if kind == _PLAIN:
            position += first
        elif kind == _LONG:
            position += first + int.from_bytes(body[position : position + first], "big")
        elif kind == _MANY:
            count = second
            if first:
                count *= int.from_bytes(body[position : position + first], "big")
                position += first
            if count > end - position:
                raise WireError("A frame claims to have more values than bytes.")
            outer.append(left)
            left = count
            if len(outer) > depth:
                raise WireError(f"A frame is nested more than {depth} deep.")
        else:
            raise WireError(f"A frame holds the byte 0x{body[position - 1]:02x}: extension types are refused.")
        if position > end:
            raise WireError("A frame ends in the middle of its map.")
