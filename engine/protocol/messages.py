"""Messages of a debugger client, as typed structures: what may be sent, its limits, and how it is refused.

`decode` makes a message of the bytes of a frame; whatever is wrong with them is a RefusedMessage, with the code and the
sentence that the client is sent. Every list, text and binary has a longest length in its type, so that lengths that are
only claimed are refused before memory is taken. `SchemaBounds` says which columns, rows and systems a schema has.
"""

import math
import reprlib
import sys
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec
import numpy as np
from msgspec import Meta, Struct

from engine.errors import WireError, did_you_mean
from engine.protocol.framing import LENGTH, encode_frame, unpack_array

FRAME = 1 << 16  # bytes
LARGE_FRAME = 1 << 20  # bytes, of `set`
COLUMNS, ROWS, HZ, EXPRESSION, LABELS = 256, 64, 60.0, 256, 4096
"""Of a subscription: the most columns, rows and rate; characters of a break's expression; labels of a column."""
INT32, INT64 = 2**31 - 1, 2**63 - 1
Kind = Literal["values", "pose", "trace", "column", "timing", "learner", "vitals"]
KINDS: tuple[str, ...] = get_args(Kind)

Id = Annotated[int, Meta(ge=0, le=INT32, description=f"a whole number from 0 to {INT32}")]
Count = Annotated[int, Meta(ge=0, le=INT64, description=f"a whole number from 0 to {INT64}")]
_Index = Annotated[int, Meta(ge=0, le=INT32)]
EditedRows = Annotated[
    tuple[_Index, ...], Meta(min_length=1, max_length=1 << 16, description=f"a list of 1 to {1 << 16} numbers from 0")
]
WatchedRows = Annotated[tuple[_Index, ...], Meta(max_length=ROWS, description=f"a list of 0 to {ROWS} numbers from 0")]
Labels = Annotated[
    tuple[_Index, ...], Meta(min_length=1, max_length=LABELS, description=f"a list of 1 to {LABELS} numbers from 0")
]
Columns = Annotated[
    tuple[tuple[Id, Labels | None], ...],
    Meta(max_length=COLUMNS, description=f"a list of at most {COLUMNS} columns, each [column, labels or null]"),
]
Text = Annotated[str, Meta(max_length=256, description="text of at most 256 characters")]
Reason = Annotated[str, Meta(max_length=1024, description="text of at most 1024 characters")]
_PackedArray = Annotated[
    tuple[
        Annotated[str, Meta(max_length=8)],
        Annotated[tuple[int, ...], Meta(max_length=32)],
        Annotated[bytes, Meta(max_length=LARGE_FRAME)],
    ],
    Meta(description="[dtype, shape, bin]"),
]


class RefusedMessage(WireError):
    """A message that is not taken: one of the protocol's codes, and a sentence.

    id: of the command or subscription that it answers, if it has one; answer: the type of the message that says so.
    """

    def __init__(self, code: str, text: str, number: int | None = None, answer: str = "error") -> None:
        super().__init__(text)
        self.code = code
        self.id = number
        self.answer = answer


@attrs.frozen
class SchemaBounds:
    """What a schema has: (rows of the table, values of one row) by column id, rows of the largest table, systems."""

    columns: Mapping[int, tuple[int, int]]
    rows: int
    systems: int

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Self:
        """The bounds of a schema message."""
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
            raise RefusedMessage("unknown_column", f"There is no column {number}; the schema has {len(self.columns)}.")
        count, size = self.columns[number]
        if labels and max(labels) >= size:
            text = f"Column {number} has {size} values in a row; there is no {max(labels)}."
            raise RefusedMessage("unknown_column", text)
        if rows and max(rows) >= count:
            raise RefusedMessage("bad_message", f"Column {number} has {count} rows; there is no row {max(rows)}.")

    def check_rows(self, rows: tuple[int, ...]) -> None:
        """Refuse a row that no table has."""
        if rows and max(rows) >= self.rows:
            raise RefusedMessage("bad_message", f"There are {self.rows} rows; there is no row {max(rows)}.")


# -- messages ------------------------------------------------------------------------------------------


class ClientMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="t"):
    """Anything a client sends. `controls`: only the client that holds control may send it. `id` is that of an answer.

    refusal: the type of the answer that refuses it.
    """

    controls: ClassVar[bool] = False
    refusal: ClassVar[str] = "error"
    id: Id | None = None

    def check(self, bounds: SchemaBounds) -> None:
        """Refuse what names something that the simulation does not have: `rows` here, all else where it is named."""
        bounds.check_rows(getattr(self, "rows", None) or ())


class AuthMessage(ClientMessage, frozen=True, kw_only=True, tag="auth"):
    """Who the client is and what it wants to do; the second half of the handshake."""

    protocol: Annotated[tuple[Id, Id], Meta(description="[major, minor]")]
    client: Text
    role: Literal["observe", "control"]
    proof: Annotated[bytes, Meta(max_length=64, description="at most 64 bytes")] = b""
    schema: Annotated[str, Meta(max_length=64, description="text of at most 64 characters")] = ""


class AckMessage(ClientMessage, frozen=True, kw_only=True, tag="ack"):
    """Data frames up to this one have been dealt with."""

    seq: Count


class PingMessage(ClientMessage, frozen=True, kw_only=True, tag="ping"):
    """Answered with a pong of the same number."""

    n: Count = 0


class PongMessage(ClientMessage, frozen=True, kw_only=True, tag="pong"):
    """Answer to a ping."""

    n: Count = 0


class SelectMessage(ClientMessage, frozen=True, kw_only=True, tag="select"):
    """What "selected" means from now on."""

    rows: WatchedRows


class ClientRequest(ClientMessage, frozen=True, kw_only=True):
    """Gets exactly one answer with its id: `sub_ok` or `sub_no` to a subscription, `ok` or `error` to anything else."""

    id: Id


class SubscribeRequest(ClientRequest, frozen=True, kw_only=True, tag="sub"):
    """Ask for data at a rate, at most HZ. `columns`: (column id, flat labels of one row, or None for all of them)."""

    refusal: ClassVar[str] = "sub_no"
    kind: Kind
    columns: Columns = ()
    rows: WatchedRows | Literal["selected"] = "selected"
    hz: Annotated[float, Meta(gt=0, le=sys.float_info.max, description="a rate in Hz above 0")] = 10.0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "hz", min(self.hz, HZ))

    def check(self, bounds: SchemaBounds) -> None:
        """Columns, labels and rows exist; kind 'column' has one column and at most one label."""
        rows = () if isinstance(self.rows, str) else self.rows
        for number, labels in self.columns:
            bounds.check_column(number, rows, labels)
        if not self.columns:
            bounds.check_rows(rows)
        if self.kind == "column" and (len(self.columns) != 1 or len(self.columns[0][1] or ()) > 1):
            text = "A subscription of kind 'column' names one column and at most one label of it."
            raise RefusedMessage("bad_message", text)


class UnsubscribeRequest(ClientRequest, frozen=True, kw_only=True, tag="unsub"):
    """Stop a subscription; not answered."""


class ControlRequest(ClientRequest, frozen=True, kw_only=True, tag="control"):
    """Take control, or give it back."""

    do: Literal["take", "release"]


class ProvenanceRequest(ClientRequest, frozen=True, kw_only=True, tag="provenance"):
    """Who wrote a number."""

    column: Id
    label: Id | None = None
    row: Id = 0

    def check(self, bounds: SchemaBounds) -> None:
        """Column, label and row exist."""
        bounds.check_column(self.column, (self.row,), None if self.label is None else (self.label,))


class AssetRequest(ClientRequest, frozen=True, kw_only=True, tag="asset"):
    """A part of the model file."""

    hash: Annotated[str, Meta(pattern=r"\A[0-9a-f]{1,64}\Z", description="a hash in hexadecimal digits")]
    offset: Annotated[int, Meta(ge=0, le=2**40, description=f"a whole number from 0 to {2**40}")] = 0


class ControlledRequest(ClientRequest, frozen=True, kw_only=True):
    """A request that changes how the run goes on."""

    controls: ClassVar[bool] = True


class PauseRequest(ControlledRequest, frozen=True, kw_only=True, tag="pause"):
    """Stop at the next boundary."""


class RunRequest(ControlledRequest, frozen=True, kw_only=True, tag="run"):
    """Go on."""


class StepRequest(ControlledRequest, frozen=True, kw_only=True, tag="step"):
    """Go on for a few units while paused."""

    unit: Literal["system", "phase", "tick"] = "tick"
    count: Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")] = 1


class RunToRequest(ControlledRequest, frozen=True, kw_only=True, tag="run_to"):
    """Go on until just before a system, or to the end of a tick."""

    system: Id | None = None
    tick: Count | None = None

    def check(self, bounds: SchemaBounds) -> None:
        """Exactly one of the two, and the system exists."""
        if (self.system is None) == (self.tick is None):
            raise RefusedMessage("bad_message", "run_to names a system or a tick, one of the two.")
        if self.system is not None and self.system >= bounds.systems:
            text = f"There are {bounds.systems} systems; there is no system {self.system}."
            raise RefusedMessage("bad_message", text)


class SetColumnRequest(ControlledRequest, frozen=True, kw_only=True, tag="set"):
    """Write values into rows of a column: one value for all, or one for each row and label, row by row."""

    column: Id
    rows: EditedRows
    values: _PackedArray
    labels: Labels | None = None
    force: bool = False
    reason: Reason = ""

    @property
    def array(self) -> np.ndarray:
        """The values; RefusedMessage where dtype, shape and bytes do not fit together."""
        dtype, shape, data = self.values
        try:
            return unpack_array([dtype, list(shape), data])
        except WireError as error:
            raise RefusedMessage("bad_shape", f"values of 'set' cannot be read. {error}") from None

    def check(self, bounds: SchemaBounds) -> None:
        """Column, rows and labels exist, and there is a value for each."""
        bounds.check_column(self.column, self.rows, self.labels)
        each = bounds.columns[self.column][1] if self.labels is None else len(self.labels)
        fits, size = sorted({1, each, each * len(self.rows)}), self.array.size
        if size not in fits:
            rows = "1 row" if len(self.rows) == 1 else f"{len(self.rows)} rows"
            text = f"set has {size} values for {rows} of {each}; give {' or '.join(map(str, fits))}."
            raise RefusedMessage("bad_shape", text)


class SetConstantRequest(ControlledRequest, frozen=True, kw_only=True, tag="set"):
    """Change a constant by its address, as --set does."""

    address: Text
    value: Annotated[str, Meta(max_length=4096, description="text of at most 4096 characters")]
    reason: Reason = ""


class BreakRequest(ControlledRequest, frozen=True, kw_only=True, tag="break"):
    """Stop, mark or keep history where an expression holds."""

    when: Annotated[str, Meta(max_length=EXPRESSION, description=f"text of at most {EXPRESSION} characters")]
    at: Annotated[
        str,
        Meta(
            pattern=r"(?s)\A(tick|(before|after) .*\S.*)\Z",
            max_length=256,
            description="'tick', 'before <system>' or 'after <system>'",
        ),
    ] = "tick"
    rows: EditedRows | None = None
    skip: Id = 0
    action: Literal["pause", "mark", "keep"] = "pause"


class UnbreakRequest(ControlledRequest, frozen=True, kw_only=True, tag="unbreak"):
    """Remove a breakpoint."""

    number: Id = msgspec.field(name="break")


class SeekRequest(ControlledRequest, frozen=True, kw_only=True, tag="seek"):
    """Look at an earlier tick."""

    tick: Count


class LiveRequest(ControlledRequest, frozen=True, kw_only=True, tag="live"):
    """Back to the latest tick."""


class BranchRequest(ControlledRequest, frozen=True, kw_only=True, tag="branch"):
    """Go on from the tick in view."""


class SnapshotRequest(ControlledRequest, frozen=True, kw_only=True, tag="snapshot"):
    """Write a snapshot into the run's folder."""


class RecordRequest(ControlledRequest, frozen=True, kw_only=True, tag="record"):
    """Begin or end a recording in the run's folder."""

    on: bool
    content: Literal["", "trace"] = ""


class ResetRequest(ControlledRequest, frozen=True, kw_only=True, tag="reset"):
    """Send rows through RESET."""

    rows: EditedRows


_KINDS: tuple[type[ClientMessage], ...] = (
    AuthMessage, AckMessage, PingMessage, PongMessage, SelectMessage, SubscribeRequest, UnsubscribeRequest, ControlRequest,
    ProvenanceRequest, AssetRequest, PauseRequest, RunRequest, StepRequest, RunToRequest, SetConstantRequest,
    SetColumnRequest, BreakRequest, UnbreakRequest, SeekRequest, LiveRequest, BranchRequest, SnapshotRequest,
    RecordRequest, ResetRequest,
)  # fmt: skip
TYPES = {str(kind.__struct_config__.tag): kind for kind in _KINDS}
"""Every type of message once; a `set` with an address is a SetConstantRequest."""
_DECODERS: dict[type[ClientMessage], "msgspec.msgpack.Decoder[Any]"] = {k: msgspec.msgpack.Decoder(k) for k in _KINDS}
_FIELDS = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_PROBLEMS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


# -- decoding ------------------------------------------------------------------------------------------


def decode(body: bytes, bounds: SchemaBounds | None = None) -> ClientMessage:
    """The message in the bytes of a frame after its length; RefusedMessage for any others."""
    if len(body) > LARGE_FRAME:
        text = f"A frame of a client takes {len(body)} bytes; {LARGE_FRAME} are the most."
        raise RefusedMessage("too_large", text)
    fields = _fields(body)
    word, number = _plain(fields["t"]), _plain(fields.get("id"))
    number = number if type(number) is int and 0 <= number <= INT32 else None
    if len(body) > FRAME and word != "set":
        text = f"A frame takes {len(body)} bytes; {FRAME} are the most, except for 'set'."
        raise RefusedMessage("too_large", text, number)
    kind = TYPES.get(word)
    if kind is None:
        raise RefusedMessage("unsupported", f"'{word:.40}' is not a message of this protocol.", number)
    if kind is SetColumnRequest and "address" in fields:
        kind = SetConstantRequest
    try:
        message: ClientMessage = _made(kind, body, fields)
        if bounds is not None:
            message.check(bounds)
    except RefusedMessage as refused:
        answer = "error" if number is None else kind.refusal
        raise RefusedMessage(refused.code, str(refused), number, answer) from None
    return message


def parse(message: Mapping[str, Any], bounds: SchemaBounds | None = None) -> ClientMessage:
    """The message in a map, as `decode` would read it from a frame; RefusedMessage where that is refused."""
    try:
        body = encode_frame(message)[LENGTH.size :]
    except WireError as error:
        raise RefusedMessage("bad_message", str(error)) from None
    return decode(body, bounds)


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The undecoded values of a frame's map, each key once and the type among them."""
    try:
        fields = _FIELDS.decode(body)
    except _PROBLEMS as error:
        why = str(error).partition(" - at ")[0].rstrip(".")
        raise RefusedMessage("bad_message", f"A frame is not one msgpack map with text as keys ({why}).") from None
    width = {0xDE: 2, 0xDF: 4}.get(body[0], 0)
    count = int.from_bytes(body[1 : 1 + width], "big") if width else body[0] & 0x0F
    if count != len(fields):
        raise RefusedMessage("bad_message", "A map of a frame has a key twice.")
    if type(_plain(fields.get("t"))) is not str:
        raise RefusedMessage("bad_message", "A frame is not a map with its type as the text 't'.")
    return fields


def _made(kind: type[ClientMessage], body: bytes, fields: Mapping[str, msgspec.Raw]) -> ClientMessage:
    word = kind.__struct_config__.tag
    try:
        made: ClientMessage = _DECODERS[kind].decode(body)
    except _PROBLEMS as error:
        problem, _, path = str(error).partition(" - at `$.")
        if "missing required field" in problem:
            raise RefusedMessage("bad_message", f"'{word}' lacks {problem.split('`')[1]}.") from None
        if "unknown field" in problem:
            name = problem.split("`")[1]
            near = did_you_mean(name, kind.__struct_encode_fields__)
            raise RefusedMessage("bad_message", f"'{word}' has no field '{name:.40}'.{near}") from None
        if not path:
            raise RefusedMessage("bad_message", f"'{word}' cannot be read ({problem}).") from None
        name, _, inside = path.rstrip("`").partition("[")
        indices = [int(each) for each in inside.rstrip("]").split("][") if each.isdigit()]
        value, expected = _explain(kind, name, fields[name], indices)
        code = "bad_shape" if name == "values" else "bad_message"
        raise RefusedMessage(code, f"{name} of '{word}' is {value}, not {expected}.") from None
    return made


def _explain(kind: type[ClientMessage], name: str, raw: msgspec.Raw, indices: list[int]) -> tuple[str, str]:
    """(value, what is expected) of a field that does not fit its type, as far inside it as the type has words for."""
    attribute = kind.__struct_fields__[kind.__struct_encode_fields__.index(name)]
    hint = get_type_hints(kind, include_extras=True)[attribute]
    value, expected = _plain(raw, 1024), _words(hint)
    for index in indices:
        hint = _item(hint, index)
        value = value[index] if isinstance(value, list) else value
        expected = _words(hint) or expected
    return value if isinstance(value, _Long) else reprlib.repr(value), expected


def _words(hint: Any) -> str:
    """What a type accepts, in words; '' for one that has none."""
    if get_origin(hint) is Annotated:
        return " or ".join(meta.description for meta in hint.__metadata__ if meta.description)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(filter(None, map(_words, get_args(hint))))
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    return {bool: "true or false", type(None): "null"}.get(hint, "")


def _item(hint: Any, index: int) -> Any:
    """The type of an item of a list."""
    if get_origin(hint) is Annotated:
        return _item(hint.__origin__, index)
    if get_origin(hint) in (Union, UnionType):
        return next((found for each in get_args(hint) if (found := _item(each, index)) is not None), None)
    items = get_args(hint) if get_origin(hint) is tuple else (None,)
    return items[0] if items[-1] is ... else items[min(index, len(items) - 1)]


class _Long(str):
    """Words for a value that is not decoded, as it may be large or is no plain value."""

    __slots__ = ()


def _plain(raw: "msgspec.Raw | None", longest: int = 256) -> Any:
    """The value, where it takes few bytes; else words for it."""
    data = bytes(raw or b"\xc0")
    if data[0] in (0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)):
        return _Long("an extension type of msgpack")
    if len(data) > longest:
        return _Long(f"a value of {len(data)} bytes")
    try:
        return msgspec.msgpack.decode(data)
    except _PROBLEMS as error:
        return _Long(f"not readable ({error})")
