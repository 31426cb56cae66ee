"""How the values of a client's messages are checked: each check takes a value and gives it back, or Refuses it."""

import math
import reprlib
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from engine.errors import WireError
from engine.protocol.framing import unpack_array

COLUMNS, ROWS, HZ, EXPRESSION, LABELS = 256, 64, 60.0, 256, 4096
"""Of a subscription: the most columns, rows and rate; characters of a break's expression; labels of a column."""
INT32, INT64 = 2**31 - 1, 2**63 - 1
Check = Callable[[Any], Any]


class Refused(WireError):
    """A message that is not taken: one of the protocol's codes, and a sentence.

    id: of the command or subscription that it answers, if it said one; answer: the type of the message that says so.
    """

    def __init__(self, code: str, text: str, number: int | None = None, answer: str = "error") -> None:
        super().__init__(text)
        self.code = code
        self.id = number
        self.answer = answer


def field(check: Check, name: str = "", **more: Any) -> Any:
    """An attrs field that `check` looks at; `name` where the message calls it by a word that Python keeps."""
    return attrs.field(metadata={"check": check, "name": name}, **more)


def _wrong(value: Any, wanted: str) -> Refused:
    return Refused("bad_message", f"is {reprlib.repr(value)}, not {wanted}")


def whole(low: int, high: int) -> Check:
    """An integer; true and false are none."""

    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(value, f"a whole number from {low} to {high}")
        return value

    return check


def text(longest: int) -> Check:
    """Text of at most so many characters."""

    def check(value: Any) -> str:
        if type(value) is not str or len(value) > longest:
            raise _wrong(value, f"text of at most {longest} characters")
        return value

    return check


def one_of(*words: str) -> Check:
    """One of a few words."""

    def check(value: Any) -> str:
        if type(value) is not str or value not in words:
            raise _wrong(value, " or ".join(words))
        return value

    return check


def or_none(inner: Check) -> Check:
    """The inner check, or None."""
    return lambda value: None if value is None else inner(value)


def flag(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise _wrong(value, "true or false")
    return value


def rate(value: Any) -> float:
    """Hz above 0; what is above HZ becomes HZ."""
    if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:
        raise _wrong(value, "a rate in Hz above 0")
    return min(float(value), HZ)


def numbers(most: int, least: int = 0) -> Check:
    """A list of integers that count from 0, as a tuple."""

    def check(value: Any) -> tuple[int, ...]:
        if type(value) is not list or not least <= len(value) <= most:
            raise _wrong(value, f"a list of {least} to {most} numbers")
        if not all(type(number) is int and 0 <= number <= INT32 for number in value):
            raise _wrong(value, "a list of numbers that count from 0")
        return tuple(value)

    return check


def rows_or_selected(value: Any) -> Any:
    """Row numbers, or "selected"."""
    return value if value == "selected" else numbers(ROWS)(value)


def columns(value: Any) -> tuple[tuple[int, tuple[int, ...] | None], ...]:
    """[[column id, labels or None], ...] as tuples."""
    if type(value) is not list or len(value) > COLUMNS:
        raise _wrong(value, f"a list of at most {COLUMNS} columns")
    number, labels = whole(0, INT32), or_none(numbers(LABELS, 1))
    if not all(type(pair) is list and len(pair) == 2 for pair in value):
        raise _wrong(value, "a list of [column, labels or null]")
    return tuple((number(pair[0]), labels(pair[1])) for pair in value)


def binary(longest: int) -> Check:
    """Bytes."""

    def check(value: Any) -> bytes:
        if type(value) is not bytes or len(value) > longest:
            raise _wrong(value, f"at most {longest} bytes")
        return value

    return check


def array(value: Any) -> np.ndarray:
    """An array behind [dtype, shape, bin]."""
    try:
        return unpack_array(value)
    except WireError as error:
        raise Refused("bad_shape", f"cannot be read. {error}") from None


def version(value: Any) -> tuple[int, int]:
    """[major, minor]."""
    pair = numbers(2, 2)(value)
    return pair[0], pair[1]


def moment(value: Any) -> str:
    """'tick', 'before <system>' or 'after <system>'."""
    said: str = text(EXPRESSION)(value)
    when, _, system = said.partition(" ")
    if said != "tick" and not (when in ("before", "after") and system.strip()):
        raise _wrong(value, "'tick', 'before <system>' or 'after <system>'")
    return said


def hexadecimal(value: Any) -> str:
    """A hash."""
    digits: str = text(64)(value)
    if not digits or set(digits) - set("0123456789abcdef"):
        raise _wrong(value, "a hash in hexadecimal digits")
    return digits


ID = whole(0, INT32)
TICK = whole(0, INT64)
ROW = whole(0, INT32)
