"""Reads the code out of documentation pages, so that tests can run what readers copy."""

import contextlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from engine.runner import run
from tests.helpers import REPOSITORY

DOCS = REPOSITORY / "docs"
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Fence:
    """One block of code: where it stands, its language, its title ('' without one) and what is in it."""

    page: str
    line: int
    language: str
    title: str
    text: str

    @property
    def place(self) -> str:
        """page:line, as failures name it."""
        return f"{self.page}:{self.line}"

    def run(self, names: dict[str, Any]) -> None:
        """Execute the block in a namespace, with its page and lines in tracebacks."""
        code = compile("\n" * self.line + self.text, str(DOCS / self.page), "exec", dont_inherit=True)
        exec(code, names)


def fences(page: str, language: str = "", title: str | None = None) -> list[Fence]:
    """The blocks of a page of docs/, in order; only those of a language and title, if given."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = [Fence(page, text[: m.start()].count("\n") + 1, m[1], m[2] or "", m[3]) for m in FENCE.finditer(text)]
    return [
        f for f in found if f.language == (language or f.language) and f.title == (f.title if title is None else title)
    ]


def assembled(page: str, title: str) -> str:
    """The file of that name, which a page shows block by block."""
    return "\n\n".join(fence.text for fence in fences(page, "python", title))


def namespace(**names: Any) -> dict[str, Any]:
    """Where blocks of a page run: an empty module."""
    return {"__name__": "page", **names}


def code_lines(text: str) -> int:
    """Lines of a file that are not blank."""
    return sum(bool(line.strip()) for line in text.splitlines())


def command(*arguments: "str | Path") -> tuple[int, str, str]:
    """Run `python -m engine.run` in this process: exit status, output and error output."""
    threads = torch.get_num_threads()
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run.main([str(argument) for argument in arguments])
    finally:
        torch.set_num_threads(threads)
    return status, out.getvalue(), err.getvalue()


@contextmanager
def restored(registry: dict[str, Any]) -> Iterator[None]:
    """Forget what a page's code adds to a registry."""
    before = dict(registry)
    try:
        yield
    finally:
        registry.clear()
        registry.update(before)
