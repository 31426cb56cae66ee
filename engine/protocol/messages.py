"""What a debugger client may say: every message as a class whose values have been checked.

`decode` turns the bytes of a frame into a message; whatever is wrong with them is Refused, a WireError with the code and
the sentence that the client gets. Nothing here knows a simulation, but `Known` says which columns, rows and systems a
schema has, so that a message that names others does not get further.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import attrs
import numpy as np

from engine.errors import WireError
from engine.protocol import fields
from engine.protocol.fields import INT32, Check, Refused, field
from engine.protocol.framing import Limits, decode_body
from engine.protocol.scan import scan

FRAME = 1 << 16  # bytes
LARGE_FRAME = 1 << 20  # bytes, of `set`
LIMITS = Limits(frame=LARGE_FRAME, array=1 << 16, map=256, text=4096, depth=16)
VALUES = (1 << 16) + 1024  # in one frame
KINDS = ("values", "pose", "trace", "column", "timing", "learner", "vitals")


@attrs.frozen
class Known:
    """What can be named: (rows of the table, values of one row) by column id, rows of the largest table, systems."""

    columns: Mapping[int, tuple[int, int]]
    rows: int
    systems: int

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Self:
        """What a schema names."""
        columns = {
            column["id"]: (table["rows"], math.prod(column["shape"]))
            for table in schema["tables"]
            for component in table["components"]
            for column in component["columns"]
        }
        return cls(columns, max((table["rows"] for table in schema["tables"]), default=0), len(schema["systems"]))

    def check_column(self, number: int, rows: tuple[int, ...], labels: tuple[int, ...] | None) -> None:
        """Refuse a column, a row of it or a value in a row of it that does not exist."""
        if number not in self.columns:
            raise Refused("unknown_column", f"There is no column {number}; the schema has {len(self.columns)}.")
        count, size = self.columns[number]
        if labels and max(labels) >= size:
            raise Refused("unknown_column", f"Column {number} has {size} values in a row; there is no {max(labels)}.")
        if rows and max(rows) >= count:
            raise Refused("bad_message", f"Column {number} has {count} rows; there is no row {max(rows)}.")

    def check_rows(self, rows: tuple[int, ...]) -> None:
        """Refuse a row that no table has."""
        if rows and max(rows) >= self.rows:
            raise Refused("bad_message", f"There are {self.rows} rows; there is no row {max(rows)}.")


# -- messages ------------------------------------------------------------------------------------------


@attrs.frozen
class Message:
    """Anything a client says. `controls`: only the client that holds control may say it."""

    controls: ClassVar[bool] = False

    def check(self, known: Known) -> None:
        """Refuse what names something that the simulation does not have."""


@attrs.frozen
class Auth(Message):
    """Who the client is and what it wants to do; the second half of the handshake."""

    protocol: tuple[int, int] = field(fields.version)
    client: str = field(fields.text(256))
    role: Literal["observe", "control"] = field(fields.one_of("observe", "control"))
    proof: bytes = field(fields.binary(64), default=b"")
    schema: str = field(fields.text(64), default="")


@attrs.frozen
class Sub(Message):
    """Ask for data at a rate. `columns`: (column id, flat labels of one row, or None for all of them)."""

    id: int = field(fields.ID)
    kind: str = field(fields.one_of(*KINDS))
    columns: tuple[tuple[int, tuple[int, ...] | None], ...] = field(fields.columns, default=())
    rows: tuple[int, ...] | Literal["selected"] = field(fields.rows_or_selected, default="selected")
    hz: float = field(fields.rate, default=10.0)

    def check(self, known: Known) -> None:
        """Columns, labels and rows exist; kind 'column' has one column and at most one label."""
        rows = () if self.rows == "selected" else self.rows
        for number, labels in self.columns:
            known.check_column(number, rows, labels)
        if not self.columns:
            known.check_rows(rows)
        if self.kind == "column" and (len(self.columns) != 1 or len(self.columns[0][1] or ()) > 1):
            raise Refused(
                "bad_message", "A subscription of kind 'column' names one column and at most one label of it."
            )


@attrs.frozen
class Unsub(Message):
    """Stop a subscription."""

    id: int = field(fields.ID)


@attrs.frozen
class Select(Message):
    """What "selected" means from now on."""

    rows: tuple[int, ...] = field(fields.numbers(fields.ROWS))

    def check(self, known: Known) -> None:
        """The rows exist."""
        known.check_rows(self.rows)


@attrs.frozen
class Ack(Message):
    """Data frames up to this one have been dealt with."""

    seq: int = field(fields.whole(0, fields.INT64))


@attrs.frozen
class Ping(Message):
    """Answered with a pong of the same number."""

    n: int = field(fields.whole(0, fields.INT64), default=0)


@attrs.frozen
class Pong(Message):
    """Answer to a ping."""

    n: int = field(fields.whole(0, fields.INT64), default=0)


@attrs.frozen
class Command(Message):
    """Gets exactly one answer, `ok` or `error`, with its id."""

    id: int = field(fields.ID)


@attrs.frozen
class Control(Command):
    """Take control, or give it back."""

    do: Literal["take", "release"] = field(fields.one_of("take", "release"))


@attrs.frozen
class Provenance(Command):
    """Who wrote a number."""

    column: int = field(fields.ID)
    label: int | None = field(fields.or_none(fields.ID), default=None)
    row: int = field(fields.ROW, default=0)

    def check(self, known: Known) -> None:
        """Column, label and row exist."""
        known.check_column(self.column, (self.row,), None if self.label is None else (self.label,))


@attrs.frozen
class Asset(Command):
    """A part of the model file."""

    hash: str = field(fields.hexadecimal)
    offset: int = field(fields.whole(0, 2**40), default=0)


@attrs.frozen
class Act(Command):
    """A command that changes how the run goes on."""

    controls: ClassVar[bool] = True


@attrs.frozen
class Pause(Act):
    """Stop at the next boundary."""


@attrs.frozen
class Run(Act):
    """Go on."""


@attrs.frozen
class Step(Act):
    """Go on for a few units while paused."""

    unit: Literal["system", "phase", "tick"] = field(fields.one_of("system", "phase", "tick"), default="tick")
    count: int = field(fields.whole(1, 1_000_000), default=1)


@attrs.frozen
class RunTo(Act):
    """Go on until just before a system, or to the end of a tick."""

    system: int | None = field(fields.or_none(fields.ID), default=None)
    tick: int | None = field(fields.or_none(fields.TICK), default=None)

    def check(self, known: Known) -> None:
        """Exactly one of the two, and the system exists."""
        if (self.system is None) == (self.tick is None):
            raise Refused("bad_message", "run_to names a system or a tick, one of the two.")
        if self.system is not None and self.system >= known.systems:
            raise Refused("bad_message", f"There are {known.systems} systems; there is no system {self.system}.")


@attrs.frozen(eq=False)
class SetColumn(Act):
    """Write values into rows of a column: one value for all, or one for each row and label, row by row."""

    column: int = field(fields.ID)
    rows: tuple[int, ...] = field(fields.numbers(1 << 16, 1))
    values: np.ndarray = field(fields.array)  # noqa: RUF009 - an attrs field like the others
    labels: tuple[int, ...] | None = field(fields.or_none(fields.numbers(fields.LABELS, 1)), default=None)
    force: bool = field(fields.flag, default=False)
    reason: str = field(fields.text(1024), default="")

    def check(self, known: Known) -> None:
        """Column, rows and labels exist, and there is a value for each."""
        known.check_column(self.column, self.rows, self.labels)
        each = known.columns[self.column][1] if self.labels is None else len(self.labels)
        fits = sorted({1, each, each * len(self.rows)})
        if self.values.size not in fits:
            rows = "1 row" if len(self.rows) == 1 else f"{len(self.rows)} rows"
            raise Refused(
                "bad_shape",
                f"set has {self.values.size} values for {rows} of {each}; give {' or '.join(map(str, fits))}.",
            )


@attrs.frozen
class SetConstant(Act):
    """Change a constant by its address, as --set does."""

    address: str = field(fields.text(256))
    value: str = field(fields.text(4096))
    reason: str = field(fields.text(1024), default="")


@attrs.frozen
class Break(Act):
    """Stop, mark or keep history where an expression holds."""

    when: str = field(fields.text(fields.EXPRESSION))
    at: str = field(fields.moment, default="tick")
    rows: tuple[int, ...] | None = field(fields.or_none(fields.numbers(1 << 16)), default=None)
    skip: int = field(fields.whole(0, INT32), default=0)
    action: Literal["pause", "mark", "keep"] = field(fields.one_of("pause", "mark", "keep"), default="pause")

    def check(self, known: Known) -> None:
        """The rows exist."""
        known.check_rows(self.rows or ())


@attrs.frozen
class Unbreak(Act):
    """Remove a break."""

    number: int = field(fields.ID, "break")


@attrs.frozen
class Seek(Act):
    """Look at an earlier tick."""

    tick: int = field(fields.TICK)


@attrs.frozen
class Live(Act):
    """Back to the latest tick."""


@attrs.frozen
class Branch(Act):
    """Go on from the tick in view."""


@attrs.frozen
class Snapshot(Act):
    """Write a snapshot into the run's folder."""


@attrs.frozen
class Record(Act):
    """Begin or end a recording in the run's folder."""

    on: bool = field(fields.flag)
    content: str = field(fields.text(64), default="")


@attrs.frozen
class Reset(Act):
    """Send rows through RESET."""

    rows: tuple[int, ...] = field(fields.numbers(1 << 16, 1))

    def check(self, known: Known) -> None:
        """The rows exist."""
        known.check_rows(self.rows)


TYPES: dict[str, type[Message]] = {
    "auth": Auth, "sub": Sub, "unsub": Unsub, "select": Select, "ack": Ack, "ping": Ping, "pong": Pong, "pause": Pause,
    "run": Run, "step": Step, "run_to": RunTo, "set": SetColumn, "break": Break, "unbreak": Unbreak, "seek": Seek,
    "live": Live, "branch": Branch, "snapshot": Snapshot, "record": Record, "reset": Reset, "control": Control,
    "provenance": Provenance, "asset": Asset,
}  # fmt: skip
_FIELDS: dict[type[Message], list[tuple[str, str, Check, bool]]] = {
    kind: [
        (f.metadata["name"] or f.name, f.name, f.metadata["check"], f.default is attrs.NOTHING)
        for f in attrs.fields(kind)
    ]
    for kind in (*TYPES.values(), SetConstant)
}


def decode(body: bytes, known: Known | None = None) -> tuple[Message, int]:
    """The message in the bytes of a frame behind its length, and of how many values it consists; Refused for others."""
    if len(body) > LARGE_FRAME:
        raise Refused("too_large", f"A frame of a client takes {len(body)} bytes; {LARGE_FRAME} are the most.")
    try:
        count = scan(body, values=VALUES, depth=LIMITS.depth)
        found = decode_body(body, LIMITS)
    except WireError as error:
        raise Refused("bad_message", str(error)) from None
    if len(body) > FRAME and found["t"] != "set":
        raise Refused("too_large", f"A frame takes {len(body)} bytes; {FRAME} are the most, except for 'set'.")
    return parse(found, known), count


def parse(found: Mapping[str, Any], known: Known | None = None) -> Message:
    """The message in a map. Keys that are not known are ignored; Refused when a value or type is not."""
    number = found.get("id")
    number = number if type(number) is int and 0 <= number <= INT32 else None
    kind = TYPES.get(found["t"])
    if kind is None:
        raise Refused("unsupported", f"'{found['t']:.40}' is no message of this protocol.", number)
    if kind is SetColumn and "address" in found:
        kind = SetConstant
    try:
        made = _made(kind, found)
        if known is not None:
            made.check(known)
    except Refused as refused:
        answer = "sub_no" if kind is Sub and number is not None else "error"
        raise Refused(refused.code, str(refused), number, answer) from None
    return made


def _made(kind: type[Message], found: Mapping[str, Any]) -> Message:
    values: dict[str, Any] = {}
    for wire_name, name, check, required in _FIELDS[kind]:
        if wire_name in found:
            try:
                values[name] = check(found[wire_name])
            except Refused as refused:
                raise Refused(refused.code, f"{wire_name} of '{found['t']}' {refused}.") from None
        elif required:
            raise Refused("bad_message", f"'{found['t']}' lacks {wire_name}.")
    return kind(**values)
