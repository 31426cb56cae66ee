"""Break conditions: small expressions over columns, with a parser of their own; nothing is evaluated as Python.

    or := and ("or" and)*            and := not ("and" not)*          not := "not" not | comparison
    comparison := sum (< <= > >= == != sum)?                          sum := product (("+" | "-") product)*
    product := sign (("*" | "/") sign)*                               sign := "-" sign | atom
    atom := number | "rows" | function "(" or ")" | column | "(" or ")"
    column := table.Component.column ("[" pick ("," pick)* "]")?      pick := label | number | from ":" to (without `to`)

| function | of a value | gives |
| --- | --- | --- |
| abs nonfinite changed rate | anything | the same shape; changed and rate compare with when they were asked last |
| norm | several numbers per row | one per row |
| min max mean | several numbers per row: over each row; one per row: over all rows | one per row, or one |
| any all count | anything | one: over everything; count counts rows |

What is true of any value of a row is true of the row.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import attrs
import torch
from torch import Tensor

from engine.ecs.world import World, column_labels
from engine.errors import BreakError, did_you_mean, listing

LONGEST, DEEPEST = 256, 16
FUNCTIONS = ("abs", "all", "any", "changed", "count", "max", "mean", "min", "nonfinite", "norm", "rate")
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(<=|>=|==|!=|[-+*/<>()\[\],:.]))")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_SUM: dict[str, Callable[[Any, Any], Any]] = {"+": lambda a, b: a + b, "-": lambda a, b: a - b}
_PRODUCT: dict[str, Callable[[Any, Any], Any]] = {"*": lambda a, b: a * b, "/": lambda a, b: a / b}

Value = Callable[[], Tensor]
"""A bound part of an expression: (rows, ...) or a scalar."""


@attrs.define(eq=False)
class Expression:
    """A bound condition. `hits()` is (rows,) bool: the rows for which it holds now.

    `columns` are the addresses it looks at. Expressions with memory (changed, rate) compare with the `hits` before, which is
    the tick before where they are asked once per tick.
    """

    text: str
    table: str
    rows: int
    columns: tuple[str, ...]
    value: Value
    memory: "list[_Memory]"
    inside: "list[_Inside]"
    _found: Tensor | None = None

    def hits(self) -> Tensor:
        """Rows for which the condition holds; all of them where it says something of the whole table."""
        with torch.no_grad():
            found = self.value()
            for part in self.memory:
                part.step()
        self._found = found = _truth(found)
        if found.dim() == 0:
            return found.expand(self.rows)
        return found.reshape(self.rows, -1).any(-1)

    @property
    def by_row(self) -> bool:
        """Whether it said something of each row when `hits` was called last, not one thing of the whole table."""
        return self._found is not None and self._found.dim() > 0

    def blamed(self) -> Tensor | None:
        """Of which values the condition held when `hits` was called last: (rows, ...) bool.

        Of one that says something of the whole table, those that it counts; None where it counts none.
        """
        if self.by_row:
            return self._found
        counted = (part.truth for part in self.inside if part.truth is not None and part.truth.dim())
        return next((truth for truth in counted if bool(truth.any())), None)

    def forget(self) -> None:
        """Time has jumped: nothing has changed since the tick before, whatever that was."""
        for part in self.memory:
            part.forget()


@attrs.define(eq=False)
class _Memory:
    """What a value was in the tick before."""

    value: Value
    before: Tensor | None = None
    now: Tensor | None = None

    def pair(self) -> tuple[Tensor, Tensor]:
        self.now = self.value().clone()
        return self.now, self.now if self.before is None else self.before

    def step(self) -> None:
        if self.now is not None:
            self.before = self.now

    def forget(self) -> None:
        self.before = self.now = None


@attrs.define(eq=False)
class _Inside:
    """What `any` or `count` looked at."""

    truth: Tensor | None = None

    def look(self, name: str, value: Tensor) -> Tensor:
        self.truth = _truth(value)
        return _apply(name, value)


def compile_break(text: str, world: World) -> Expression:
    """Bind an expression to a world's columns; BreakError, before anything runs, for whatever is wrong with it."""
    if len(text) > LONGEST:
        raise BreakError(f"The expression has {len(text)} characters; {LONGEST} are the most.")
    return _Parser(text, world).whole()


class _Parser:
    def __init__(self, text: str, world: World) -> None:
        self.text, self.world = text, world
        self.tokens: list[tuple[str, str, int]] = []
        self.place = self.depth = 0
        self.tables: dict[str, None] = {}
        self.columns: dict[str, None] = {}
        self.memory: list[_Memory] = []
        self.inside: list[_Inside] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                at = len(text) - len(text[at:].lstrip())
                self._stop(f"'{text[at]}' means nothing here", at)
            kind = "number" if found[1] else "name" if found[2] else "sign"
            self.tokens.append((kind, found[found.lastindex or 0], found.start(found.lastindex or 0)))
            at = found.end()

    def whole(self) -> Expression:
        value = self.either()
        if self.place < len(self.tokens):
            self._stop(f"'{self.tokens[self.place][1]}' follows a whole expression", self.tokens[self.place][2])
        if not self.columns:
            self._stop("it looks at no column", 0)
        table = next(iter(self.tables))
        rows, columns = self.world.tables[table].rows, tuple(self.columns)
        made = Expression(self.text, table, rows, columns, value, self.memory, self.inside)
        try:
            made.hits()
        except (RuntimeError, TypeError, IndexError) as error:
            self._stop(f"its parts do not fit together ({str(error).splitlines()[0]})", 0)
        made.forget()
        return made

    def either(self) -> Value:
        self.depth += 1
        if self.depth > DEEPEST:
            self._stop(f"it is nested deeper than {DEEPEST} levels", 0)
        value = self.both()
        while self._take("or"):
            value = _combine(lambda a, b: _truth(a) | _truth(b), value, self.both())
        self.depth -= 1
        return value

    def both(self) -> Value:
        value = self.negation()
        while self._take("and"):
            value = _combine(lambda a, b: _truth(a) & _truth(b), value, self.negation())
        return value

    def negation(self) -> Value:
        if not self._take("not"):
            return self.comparison()
        self._deeper()
        inner = self.negation()
        self.depth -= 1
        return lambda: ~_truth(inner())

    def comparison(self) -> Value:
        value = self.sum()
        for sign, function in _COMPARE.items():
            if self._take(sign):
                return _combine(function, value, self.sum())
        return value

    def sum(self) -> Value:
        return self._chain(_SUM, self.product)

    def product(self) -> Value:
        return self._chain(_PRODUCT, self.sign)

    def _chain(self, signs: dict[str, Callable[[Any, Any], Any]], part: Callable[[], Value]) -> Value:
        value = part()
        while self.place < len(self.tokens) and self.tokens[self.place][1] in signs:
            sign = self.tokens[self.place][1]
            self.place += 1
            value = _combine(signs[sign], value, part(), of_numbers=True)
        return value

    def sign(self) -> Value:
        if not self._take("-"):
            return self.atom()
        self._deeper()
        inner = self.sign()
        self.depth -= 1
        return lambda: -_number(inner())

    def atom(self) -> Value:
        kind, word, at = self._next("a value")
        if kind == "number":
            constant = torch.tensor(float(word), dtype=torch.float64)
            return lambda: constant
        if word == "(":
            value = self.either()
            self._expect(")")
            return value
        if kind != "name":
            self._stop(f"a value is missing before '{word}'", at)
        if self._take("("):
            if word not in FUNCTIONS:
                self._stop(
                    f"there is no function '{word}'; there are {listing(FUNCTIONS)}.{did_you_mean(word, FUNCTIONS)}", at
                )
            value = self.either()
            self._expect(")")
            return self._call(word, value)
        if word == "rows":
            return self._rows
        return self.column(word, at)

    def _rows(self) -> Tensor:
        return torch.tensor(float(self.world.tables[next(iter(self.tables))].rows), dtype=torch.float64)

    def column(self, word: str, at: int) -> Value:
        parts = [word]
        while self._take("."):
            parts.append(self._next("a name")[1])
        address = ".".join(parts)
        known = self.world.columns()
        if address not in known:
            self._stop(f"there is no column '{address}'.{did_you_mean(address, known)}", at)
        self.tables[parts[0]] = self.columns[address] = None
        if len({self.world.tables[name].rows for name in self.tables}) > 1:
            self._stop(f"the tables {listing(self.tables)} have different numbers of rows", at)
        index: list[Any] = [slice(None)]
        if self._take("["):
            axes = column_labels(self.world, address)
            while True:
                if len(index) > len(axes):
                    self._stop(f"{address} has {len(axes)} axes besides the row", at)
                index.append(self._pick(address, axes[len(index) - 1]))
                if not self._take(","):
                    break
            self._expect("]")
        column, picked = known[address], tuple(index)
        return lambda: column[picked]

    def _pick(self, address: str, labels: Sequence[str]) -> Any:
        at, begin = self.place, 0
        if not self._take(":"):
            begin = self._index(address, labels)
            if not self._take(":"):
                return begin
        closing = self.place < len(self.tokens) and self.tokens[self.place][1] in ("]", ",")
        end = len(labels) if closing else self._index(address, labels, end=True)
        if begin >= end:
            first = self.tokens[at][1] if self.tokens[at][1] != ":" else "the first"
            last, where = self.tokens[self.place - 1][1], self.tokens[at][2]
            self._stop(f"'{first}' lies not before '{last}', so that there is nothing between them", where)
        return slice(begin, end)

    def _index(self, address: str, labels: Sequence[str], *, end: bool = False) -> int:
        """Where a label or number lies; the end of a slice, which is not part of it, may lie behind the last one."""
        kind, word, at = self._next("a label or number")
        if kind == "number" and word.isdigit() and int(word) < len(labels) + end:
            return int(word)
        if kind == "name" and word in labels:
            return list(labels).index(word)
        near = did_you_mean(word, labels) or f" It has {listing(labels, 8)}."
        most = f"up to {len(labels)}" if end else f"below {len(labels)}"
        return self._stop(f"'{word}' is no label of {address}, nor a number {most}.{near}", at)

    def _call(self, name: str, value: Value) -> Value:
        if name in ("changed", "rate"):
            memory = _Memory(value)
            self.memory.append(memory)
            return (lambda: _differs(*memory.pair())) if name == "changed" else (lambda: _difference(*memory.pair()))
        if name in ("any", "count"):
            inside = _Inside()
            self.inside.append(inside)
            return lambda: inside.look(name, value())
        return lambda: _apply(name, value())

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            self._stop(f"it is nested deeper than {DEEPEST} levels", 0)

    def _take(self, word: str) -> bool:
        if self.place < len(self.tokens) and self.tokens[self.place][1] == word:
            self.place += 1
            return True
        return False

    def _next(self, wanted: str) -> tuple[str, str, int]:
        if self.place == len(self.tokens):
            self._stop(f"{wanted} is missing at its end", len(self.text))
        self.place += 1
        return self.tokens[self.place - 1]

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            at = self.tokens[self.place][2] if self.place < len(self.tokens) else len(self.text)
            self._stop(f"'{sign}' is missing", at)

    def _stop(self, what: str, at: int) -> NoReturn:
        raise BreakError(f"In '{self.text}', at character {at + 1}: {what}{'' if what.endswith(('.', '?')) else '.'}")


def _number(value: Tensor) -> Tensor:
    return value.to(torch.float64)


def _truth(value: Tensor) -> Tensor:
    return value if value.dtype == torch.bool else value != 0


def _combine(function: Callable[[Any, Any], Any], left: Value, right: Value, *, of_numbers: bool = False) -> Value:
    """Apply to both, to truths as 0 and 1 if `of_numbers`; one number per row meets several numbers per row."""

    def both() -> Tensor:
        a, b = left(), right()
        a, b = (x if x.dtype == torch.bool else _number(x) for x in (a, b))
        if of_numbers or a.dtype != b.dtype:
            a, b = _number(a), _number(b)
        while 0 < a.dim() < b.dim():
            a = a.unsqueeze(-1)
        while 0 < b.dim() < a.dim():
            b = b.unsqueeze(-1)
        result: Tensor = function(a, b)
        return result

    return both


def _differs(now: Tensor, before: Tensor) -> Tensor:
    """Not the same; two nan are."""
    return (now != before) & ~((now != now) & (before != before))


def _difference(now: Tensor, before: Tensor) -> Tensor:
    return _number(now) - _number(before)


def _apply(name: str, value: Tensor) -> Tensor:
    if name == "nonfinite":
        return ~value.isfinite()
    if name == "abs":
        return _number(value).abs()
    if name in ("any", "all"):
        return _truth(value).any() if name == "any" else _truth(value).all()
    if name == "count":
        rows = _truth(value)
        return (rows if rows.dim() < 2 else rows.flatten(1).any(-1)).sum().to(torch.float64)
    numbers = _number(value)
    over = numbers.flatten(1) if numbers.dim() > 1 else numbers
    if name == "norm":
        return over.norm(dim=-1) if numbers.dim() > 1 else numbers.abs()
    if name == "mean":
        return over.mean(-1)
    return over.amin(-1) if name == "min" else over.amax(-1)
