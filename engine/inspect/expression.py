"""Break conditions: small expressions over columns, in Python's syntax; nothing is evaluated as Python.

    numbers, `rows`, table.Component.column, table.Component.column[label, 2, from:to], f(...), (...)
    - + - * /        < <= > >= == !=        not and or

| function | of a value | gives |
| --- | --- | --- |
| abs nonfinite changed rate | anything | the same shape; changed and rate compare with when they were asked last |
| norm | several numbers per row | one per row |
| min max mean | several numbers per row: over each row; one per row: over all rows | one per row, or one |
| any all count | anything | one: over everything; count counts rows |

What is true of any value of a row is true of the row.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import accumulate
from typing import Any, NoReturn

import attrs
import torch
from torch import Tensor

from engine.ecs.world import World, column_labels
from engine.errors import BreakError, did_you_mean, listing

LONGEST, DEEPEST = 256, 16
_STRANGE = re.compile(r"[^\w\s.,:()\[\]<>=!+\-*/]", re.ASCII)
_WORD = re.compile(r"\s*(\w+|[<>=!]=|\S)")
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq, ast.NotEq: operator.ne
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv
}  # fmt: skip

Value = Callable[[], Tensor]
"""A bound part of an expression: (rows, ...) or a scalar."""


def _number(value: Tensor) -> Tensor:
    return value.to(torch.float64)


def _truth(value: Tensor) -> Tensor:
    return value if value.dtype == torch.bool else value != 0


def _flat(value: Tensor) -> Tensor:
    """Numbers, all those of a row along the last axis."""
    return _number(value.flatten(1) if value.dim() > 1 else value)


def _by_row(truth: Tensor) -> Tensor:
    return truth.flatten(1).any(-1) if truth.dim() > 1 else truth


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": lambda value: _number(value).abs(),
    "all": lambda value: _truth(value).all(),
    "any": lambda value: _truth(value).any(),
    "count": lambda value: _number(_by_row(_truth(value)).sum()),
    "max": lambda value: _flat(value).amax(-1),
    "mean": lambda value: _flat(value).mean(-1),
    "min": lambda value: _flat(value).amin(-1),
    "nonfinite": lambda value: ~value.isfinite(),
    "norm": lambda value: _flat(value).norm(dim=-1) if value.dim() > 1 else _number(value).abs(),
}
_IN_TIME: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "changed": lambda now, before: (now != before) & ~((now != now) & (before != before)),  # two nan are the same
    "rate": lambda now, before: _number(now) - _number(before),
}
FUNCTIONS = tuple(sorted([*_FUNCTIONS, *_IN_TIME]))


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
    memory: "list[_Seen]"
    inside: "list[_Seen]"
    _found: Tensor | None = None

    def hits(self) -> Tensor:
        """Rows for which the condition holds; all of them where it says something of the whole table."""
        with torch.no_grad():
            found = self.value()
            for part in self.memory:
                part.before = part.before if part.now is None else part.now
        self._found = found = _truth(found)
        return found.expand(self.rows) if found.dim() == 0 else _by_row(found)

    @property
    def by_row(self) -> bool:
        """Whether it was about each row, not about the whole table, when `hits` was called last."""
        return self._found is not None and self._found.dim() > 0

    def blamed(self) -> Tensor | None:
        """Of which values the condition held when `hits` was called last: (rows, ...) bool.

        Of one that says something of the whole table, those that it counts; None where it counts none.
        """
        if self.by_row:
            return self._found
        counted = (_truth(part.now) for part in self.inside if part.now is not None and part.now.dim())
        return next((truth for truth in counted if bool(truth.any())), None)

    def forget(self) -> None:
        """Time has jumped: nothing has changed since the tick before, whatever that was."""
        for part in self.memory:
            part.before = part.now = None


@attrs.define(eq=False)
class _Seen:
    """What a value was when it was looked at last, and in the tick before."""

    value: Value
    before: Tensor | None = None
    now: Tensor | None = None

    def look(self) -> Tensor:
        self.now = self.value()
        return self.now

    def pair(self) -> tuple[Tensor, Tensor]:
        self.now = self.value().clone()
        return self.now, self.now if self.before is None else self.before


def compile_break(text: str, world: World) -> Expression:
    """Bind an expression to a world's columns; BreakError, before anything runs, for whatever is wrong with it."""
    if len(text) > LONGEST:
        raise BreakError(f"The expression has {len(text)} characters; {LONGEST} are the most.")
    return _Binder(text, world).whole()


class _Binder:
    """Turns the syntax tree of an expression into functions of a world's columns."""

    def __init__(self, text: str, world: World) -> None:
        self.text, self.world = text, world
        self.start = len(text) - len(text.lstrip())  # characters before the expression, of which the tree knows nothing
        self.tables: dict[str, None] = {}
        self.columns: dict[str, None] = {}
        self.memory: list[_Seen] = []  # what `changed` and `rate` compare
        self.inside: list[_Seen] = []  # what `any` and `count` looked at

    def whole(self) -> Expression:
        value = self.value(self._tree(), 0)
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

    def _tree(self) -> ast.expr:
        """The syntax tree of characters that the language has, not too deep; positions in it are those in bytes."""
        strange = _STRANGE.search(self.text)
        if strange is not None:
            self._stop(f"'{strange[0]}' means nothing here", strange.start())
        if max(accumulate({"(": 1, ")": -1}.get(letter, 0) for letter in f" {self.text}")) > DEEPEST:
            self._stop(f"it is nested deeper than {DEEPEST} levels", 0)
        try:
            return _parsed(self.text)
        except SyntaxError as error:
            self._stop(*self._mistake(error))

    def _mistake(self, error: SyntaxError) -> tuple[str, int]:
        """(what is wrong, where) of text that Python cannot read either."""
        at = self.start + error.offset - 1 if error.offset else len(self.text)
        if "never closed" in error.msg:
            return f"'{')' if self.text[at] == '(' else ']'}' is missing", len(self.text)
        if "forgot a comma" in error.msg:
            part = self.text[at : self.start + (error.end_offset or 1) - 1]
            return f"an operator is missing in '{part}'", at
        word = _WORD.match(self.text, at)
        if word is None:
            return "a value is missing at its end", len(self.text)
        try:
            _parsed(self.text[: word.start(1)])
        except SyntaxError:
            return f"a value is missing before '{word[1]}'", word.start(1)
        return f"'{word[1]}' follows a whole expression", word.start(1)

    def value(self, node: ast.expr, depth: int) -> Value:
        """What a part of the expression is, bound; `depth`: in how many signs it lies."""
        if depth > DEEPEST:
            self._stop(f"it is nested deeper than {DEEPEST} levels", 0)
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                constant = torch.tensor(float(number), dtype=torch.float64)
                return lambda: constant
            case ast.Name(id="rows"):
                return self._rows
            case ast.Name() | ast.Attribute():
                return self.column(node, [])
            case ast.Subscript():
                picks = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return self.column(node.value, picks)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
                return self._call(name, self.value(argument, depth))
            case ast.Call(func=ast.Name(id=name)):
                known = f"there is no function '{name}'; there are {listing(FUNCTIONS)}.{did_you_mean(name, FUNCTIONS)}"
                self._stop_at(node, f"{name} takes one value" if name in FUNCTIONS else known)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                truth = self.value(inner, depth + 1)
                return lambda: ~_truth(truth())
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                positive = self.value(inner, depth + 1)
                return lambda: -_number(positive())
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _ARITHMETIC:
                parts = self.value(left, depth), self.value(right, depth)
                return _combine(_ARITHMETIC[type(sign)], *parts, of_numbers=True)
            case ast.Compare(left=left, ops=[comparison], comparators=[right]) if type(comparison) in _COMPARE:
                return _combine(_COMPARE[type(comparison)], self.value(left, depth), self.value(right, depth))
            case ast.Compare(ops=[_, _, *_]):
                self._stop_at(node, "two comparisons are joined by and, as in 1 < a and a < 2")
            case ast.BoolOp(op=both, values=values):
                join = operator.and_ if isinstance(both, ast.And) else operator.or_
                return reduce(
                    partial(_combine, lambda a, b: join(_truth(a), _truth(b))), [self.value(e, depth) for e in values]
                )
        return self._stop_at(node, f"'{self._words(node)}' means nothing here")

    def _rows(self) -> Tensor:
        return torch.tensor(float(self.world.tables[next(iter(self.tables))].rows), dtype=torch.float64)

    def column(self, node: ast.expr, picks: Sequence[ast.expr]) -> Value:
        """A column of the world, or what is picked of each row of it."""
        address, known = self._words(node).replace(" ", ""), self.world.columns()
        if address not in known:
            self._stop_at(node, f"there is no column '{address}'.{did_you_mean(address, known)}")
        self.tables[address.split(".")[0]] = self.columns[address] = None
        if len({self.world.tables[name].rows for name in self.tables}) > 1:
            self._stop_at(node, f"the tables {listing(self.tables)} have different numbers of rows")
        axes = column_labels(self.world, address)
        if len(picks) > len(axes):
            self._stop_at(node, f"{address} has {len(axes)} axes besides the row")
        chosen = (self._pick(address, axis, pick) for axis, pick in zip(axes, picks, strict=False))
        column, index = known[address], (slice(None), *chosen)
        return lambda: column[index]

    def _pick(self, address: str, labels: Sequence[str], node: ast.expr) -> Any:
        """The index that a label, number or slice of them stands for."""
        if not isinstance(node, ast.Slice):
            return self._index(address, labels, node)
        if node.step is not None:
            self._stop_at(node.step, f"a part of {address} has a first and a last label only")
        begin = 0 if node.lower is None else self._index(address, labels, node.lower)
        end = len(labels) if node.upper is None else self._index(address, labels, node.upper, end=True)
        if begin >= end:
            first, last = (each and self._words(each) for each in (node.lower, node.upper))
            text = f"'{first or 'the first'}' does not lie before '{last or 'the last'}', so that there is nothing between them"
            self._stop_at(node, text)
        return slice(begin, end)

    def _index(self, address: str, labels: Sequence[str], node: ast.expr, *, end: bool = False) -> int:
        """Where a label or number lies; the end of a slice, which is not part of it, may lie after the last one."""
        word = self._words(node)
        if word.isdigit() and int(word) < len(labels) + end:
            return int(word)
        if word in labels:
            return list(labels).index(word)
        near = did_you_mean(word, labels) or f" It has {listing(labels, 8)}."
        most = f"up to {len(labels)}" if end else f"below {len(labels)}"
        return self._stop_at(node, f"'{word}' is not a label of {address}, nor a number {most}.{near}")

    def _call(self, name: str, value: Value) -> Value:
        if name in _IN_TIME:
            memory, compare = _Seen(value), _IN_TIME[name]
            self.memory.append(memory)
            return lambda: compare(*memory.pair())
        function = _FUNCTIONS[name]
        if name not in ("any", "count"):
            return lambda: function(value())
        counted = _Seen(value)
        self.inside.append(counted)
        return lambda: function(counted.look())

    def _words(self, node: ast.expr) -> str:
        """The text of a part."""
        return self.text[self.start + node.col_offset : self.start + (node.end_col_offset or 0)]

    def _stop_at(self, node: ast.expr, what: str) -> NoReturn:
        self._stop(what, self.start + node.col_offset)

    def _stop(self, what: str, at: int) -> NoReturn:
        raise BreakError(f"In '{self.text}', at character {at + 1}: {what}{'' if what.endswith(('.', '?')) else '.'}")


def _parsed(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that a word follows at once
        return ast.parse(" ".join(re.split(r"[\n\r\f\t\v]", text.strip())), mode="eval").body


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
