"""docs/parity.md: every row is complete, and every file, name and test that it refers to exists."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from tests.docs.pages import DOCS
from tests.helpers import REPOSITORY

TEXT = (DOCS / "parity.md").read_text(encoding="utf-8")
WANTED = [*(f"F{i}" for i in range(1, 42)), *(f"P{i}" for i in range(1, 47))]
STATE = re.compile(r"(done|partly|out)(?:: (.+))?")
REFERENCE = re.compile(r"`([\w/]+\.py)::([\w.]+)`")


@cache
def names_in(file: str) -> frozenset[str] | None:
    """What stands at the top of a file, and methods as Class.method; None without the file."""
    path = REPOSITORY / file
    if not path.is_file():
        return None
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id for each in targets if isinstance(each, ast.Name)}
    return frozenset(found)


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of the tables that begin with `row`."""
    inside = False
    for line in text.splitlines():
        inside = line.startswith("| row |") or (inside and line.startswith("|"))
        if inside and not line.startswith(("| row |", "| ---")):
            yield [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def missing(cell: str, *, tests: bool) -> Iterator[str]:
    """What a cell refers to that does not exist, or is no reference."""
    for part in cell.split(", "):
        found = REFERENCE.fullmatch(part)
        if found is None:
            yield f"'{part}' is no `file.py::name`"
        elif (names := names_in(found[1])) is None:
            yield f"there is no file {found[1]}"
        elif found[2] not in names:
            yield f"{found[1]} has no {found[2]}"
        elif tests != (found[1].startswith("tests/") and found[2].startswith("test_")):
            yield f"{part} is {'no' if tests else 'a'} test"


def findings(text: str) -> list[str]:
    """What is wrong with the tables of a page."""
    found, seen = [], Counter[str]()
    for cells in rows(text):
        name = cells[0]
        seen[name] += 1
        if len(cells) != 5:
            found.append(f"{name}: {len(cells)} cells")
            continue
        _, what, state, code, test = cells
        known = STATE.fullmatch(state)
        if not what or known is None or (known[1] == "done") == bool(known[2]):
            found.append(f"{name}: the state '{state}' is neither done, nor says what is missing or where it belongs")
        for cell, tests in ((code, False), (test, True)):
            if cell != "–":
                found += [f"{name}: {text}" for text in missing(cell, tests=tests)]
            elif not state.startswith("out"):
                found.append(f"{name}: no {'test' if tests else 'code'}")
    found += [f"{name}: in {seen[name]} rows" for name in sorted({*WANTED, *seen}) if seen[name] != 1]
    return found


def test_every_row_is_complete_and_what_it_refers_to_exists():
    assert findings(TEXT) == []
    assert {cells[0][0] for cells in rows(TEXT)} >= {"S", "F", "P", "1", "2", "3", "4"}


def row_of(name: str) -> str:
    """The line of a row."""
    (line,) = (line for line in TEXT.splitlines() if line.startswith(f"| {name} |"))
    return line


@pytest.mark.parametrize(
    ("name", "cell", "fault", "sentence"),
    [
        ("F3", 3, "`systems/tock.py::TICK`", "F3: there is no file systems/tock.py"),
        ("F3", 3, "`systems/tick.py::TOCK`", "F3: systems/tick.py has no TOCK"),
        (
            "F36",
            3,
            "`systems/physics/contract.py::Backend.stop`",
            "F36: systems/physics/contract.py has no Backend.stop",
        ),
        ("F3", 3, "the tick", "F3: 'the tick' is no `file.py::name`"),
        ("F3", 4, "`tests/helpers.py::tracking`", "F3: `tests/helpers.py::tracking` is no test"),
        ("F3", 4, "`tests/docs/test_parity.py::test_x`", "F3: tests/docs/test_parity.py has no test_x"),
        ("F3", 4, "–", "F3: no test"),
        ("F1", 3, "–", "F1: no code"),
        ("F3", 2, "nearly", "F3: the state 'nearly' is neither"),
        ("F3", 2, "partly", "F3: the state 'partly' is neither"),
        ("F3", 2, "done: but", "F3: the state 'done: but' is neither"),
        ("F3", 0, "F4", "F3: in 0 rows"),
        ("F3", 0, "F4", "F4: in 2 rows"),
    ],
)
def test_a_planted_fault_is_found(name: str, cell: int, fault: str, sentence: str):
    line = row_of(name)
    cells = line.strip("| ").split(" | ")
    cells[cell] = fault
    found = findings(TEXT.replace(line, f"| {' | '.join(cells)} |"))
    assert any(each.startswith(sentence) for each in found), found
