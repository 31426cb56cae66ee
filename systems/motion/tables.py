"""Tables of text: lines with any delimiter to column names and one array of numbers."""

import re
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from engine.errors import SceneError
from systems.motion.headers import UNITS

COMMENTS = ("#", "%", "//")
_RATE = re.compile(r"\b(?:fps|frame[ _-]?rate|frequency|rate)\b\W{0,3}(\d+(?:\.\d+)?)", re.I)
_HERTZ = re.compile(r"(?<![\w.:/-])(\d+(?:\.\d+)?) ?(?:fps|hz)\b", re.I)
_STEP = re.compile(r"\b(?:dt|time[ _-]?step|frame[ _-]?time)\b\W*(\d*\.\d+)", re.I)
_COUNTED = re.compile(r"(?P<word>[A-Za-z_ .:]*)\[?(?P<number>\d{1,5})\]?")
SAME_RATE = 1.02  # times another one; farther apart they are two
SOME_WORDS = 3  # so many words in the first line make it a header; fewer are numbers gone wrong


@attrs.frozen
class _Line:
    number: int  # in the file, from 1
    text: str


@attrs.frozen(eq=False)
class NumberTable:
    """Lines of a text file that hold numbers, and the names that a header gives their columns."""

    source: str
    names: tuple[str, ...] | None  # None: there is no header
    lines: Sequence[_Line]
    mark: str | None  # what parts the columns; None: blanks
    fps: float | None = None  # where a comment says it

    def numbers(self) -> np.ndarray:
        """(lines, columns) of float64. Raises SceneError naming line and column of what is no number."""
        texts = [line.text for line in self.lines]
        if not texts:
            return np.zeros((0, 0))
        if self.mark and all(text.endswith(self.mark) for text in texts):
            texts = [text[: -len(self.mark)] for text in texts]
        if self.mark != "," and any("," in text for text in texts):
            texts = [text.replace(",", ".") for text in texts]
        try:
            values = np.loadtxt(texts, delimiter=self.mark, comments=None, ndmin=2, quotechar='"')
        except ValueError as error:
            raise self._bad_cell(texts, error) from None
        if self.names is not None and len(self.names) != values.shape[1]:
            raise SceneError(
                f"The header of {self.source} names {len(self.names)} columns and its lines have {values.shape[1]}. "
                "Is the file truncated?"
            )
        return values

    def _bad_cell(self, texts: Sequence[str], error: ValueError) -> SceneError:
        width = len(_cells(texts[0], self.mark))
        for line, text in zip(self.lines, texts, strict=True):
            cells = _cells(text, self.mark)
            if len(cells) != width:
                return SceneError(
                    f"Line {line.number} of {self.source} has {len(cells)} columns and the lines before {width}. Is it "
                    "truncated?"
                )
            bad = next((i for i, cell in enumerate(cells) if not _is_number(cell)), None)
            if bad is not None:
                shown = f"'{cells[bad]}', which is not a number" if cells[bad] else "empty"
                return SceneError(f"Line {line.number}, column {bad + 1} of {self.source} is {shown}.")
        return SceneError(f"{self.source} is no table of numbers: {error}.")


def read_table(path: Path) -> NumberTable:
    """The lines of a table and the names of its columns.

    Commas, semicolons, tabs, bars or blanks part the columns, a comma may be the decimal mark where something else
    parts them, and blank lines and comments are passed over; a comment above the numbers may hold the names.
    """
    lines = [_Line(i, line.strip(" \r\n\f\v")) for i, line in enumerate(_text(path).splitlines(), 1) if line.strip()]
    comments = [line for line in lines if line.text.startswith(COMMENTS)]
    lines = [line for line in lines if not line.text.startswith(COMMENTS)]
    if not lines:
        return NumberTable(str(path), None, (), None)
    mark, fps = _delimiter(lines[len(lines) // 2].text), _said_rate(comments)
    first = _whole(lines[0].text, mark)
    if _counts(first):
        return NumberTable(str(path), None, lines[1:], mark, fps)
    if _is_header(first):
        units = _units(_whole(lines[1].text, mark), len(first)) if len(lines) > 1 else None
        names = [name + unit for name, unit in zip(first, units or [""] * len(first), strict=True)]
        return NumberTable(str(path), tuple(names), lines[1 if units is None else 2 :], mark, fps)
    above = [_whole(line.text.lstrip("#%/ "), mark) for line in comments if line.number < lines[0].number]
    fitting = [cells for cells in above if len(cells) == len(first) and _is_header(cells)]
    return NumberTable(str(path), tuple(fitting[-1]) if fitting else None, lines, mark, fps)


def _said_rate(comments: Sequence[_Line]) -> float | None:
    """Frames per second that comments say, where they say one; a time step that is rounded says the same."""
    text = "\n".join(line.text for line in comments)
    rates = [float(found) for found in (*_RATE.findall(text), *_HERTZ.findall(text))]
    rates += [1.0 / float(step) for step in _STEP.findall(text) if float(step)]
    return rates[0] if rates and 0.0 < max(rates) <= SAME_RATE * min(rates) else None


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    elif b"\x00" in content:
        raise _no_text(path)
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")
    if content and not re.search(r"[0-9A-Za-z]", text, re.ASCII):
        raise _no_text(path)
    return text


def _no_text(path: Path) -> SceneError:
    return SceneError(f"{path} is not a text file, so it cannot be a CSV clip.")


def _delimiter(text: str) -> str | None:
    found = next((mark for mark in ";\t|," if mark in text), None)
    blanks = found == "," and len(text.split()) > 1 and all(_is_number(cell) for cell in text.split())
    return None if blanks else found  # a comma within each of several numbers is their decimal mark


def _cells(text: str, mark: str | None) -> list[str]:
    return [cell.strip().strip("\"'").strip() for cell in text.split(mark)]


def _whole(text: str, mark: str | None) -> list[str]:
    """The cells without an empty one after the last mark."""
    cells = _cells(text, mark)
    return cells[:-1] if len(cells) > 1 and not cells[-1] else cells


def _is_header(cells: Sequence[str]) -> bool:
    words = [cell for cell in cells if cell and not _is_number(cell)]
    return len(words) >= SOME_WORDS or len(words) == len([cell for cell in cells if cell])


def _units(cells: Sequence[str], width: int) -> list[str] | None:
    """What a line of units below a header adds to its names, such as " (deg)"; None for any other line."""
    words = [re.sub(r"[^A-Za-z°]", "", cell) for cell in cells]
    known = [word for word in words if word.lower() in UNITS]
    if len(cells) != width or not known or any(_is_number(cell) for cell in cells):
        return None
    return [f" ({word})" if word in known else "" for word in words]


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells count the columns and name none: 0, 1, 2, … as pandas does, qpos_0, qpos_1, … or x1, x2, ….

    The first may be of a column that counts the lines.
    """
    counted = [_COUNTED.fullmatch(cell) for cell in cells[0 if _COUNTED.fullmatch(cells[0]) else 1 :]]
    numbers = [int(match["number"]) for match in counted if match]
    one = len({match["word"] for match in counted if match}) == 1 and len(numbers) == len(counted) > SOME_WORDS
    return one and numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
