"""docs/your_own.md: what a reader types on the page, one after the other, prints what the page shows."""

import re
import shlex
from pathlib import Path

import pytest

from engine.runner.cli import reporting_errors
from scenes.robots import clip_tools
from systems.motion.containers import ENDINGS
from systems.motion.options import WORDS
from tests.docs.pages import DOCS, command, fences, namespace
from tests.docs.test_pages import shows
from tests.helpers import REPOSITORY, needs_g1

PAGE = "your_own.md"


def typed(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and output of a command line of the page."""
    words = shlex.split(line)
    if words[:2] == ["lockstep", "clips"]:
        status = reporting_errors(clip_tools.main, words[2:])
        printed = capsys.readouterr()
        return status, printed.out + printed.err
    assert words[:3] == ["python", "-m", "engine.run"], line
    status, out, err = command(*words[3:])
    return status, err + out


@needs_g1
def test_what_a_reader_types_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    (tmp_path / "scenes").symlink_to(REPOSITORY / "scenes")
    monkeypatch.chdir(tmp_path)
    output = ""
    for fence in fences(PAGE):
        if fence.language == "python":
            fence.run(namespace())
        elif fence.language == "bash":
            output = ""
            for line in fence.text.splitlines():
                status, printed = typed(line, capsys)
                assert (status == 0) == (fence.title != "fails"), f"{fence.place}: {printed}"
                output += printed
        elif fence.language == "text":
            assert shows(fence.text, output), f"{fence.place} shows\n{fence.text}\nbut it prints\n{output}"


def test_the_page_names_every_option_and_every_ending():
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    orders = {word.removesuffix("-breadth-first") for word in WORDS if WORDS[word] == "joints"}
    options = {word for word in WORDS if WORDS[word] != "joints"} | orders
    assert [word for word in sorted(options) if f"`:{word}`" not in text] == []
    endings = {ending.removeprefix(".") for ending in ENDINGS}
    assert [ending for ending in sorted(endings) if not re.search(rf"\b{ending}\b", text)] == []
