"""docs/clip_tools.md: every command on the page, typed one after the other, prints what the page shows."""

import shlex
from pathlib import Path

import pytest

from engine.runner.cli import reporting_errors
from scenes.robots import clip_tools
from systems.motion.tools.command import SUB_COMMANDS
from tests.docs.pages import DOCS, fences
from tests.docs.test_pages import runs
from tests.helpers import needs_g1

PAGE = "clip_tools.md"


@needs_g1
def test_the_commands_print_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sum(1 for _ in runs(PAGE)) >= 9
    for block, expected in runs(PAGE):
        for line in block.text.splitlines():
            program, command, *words = shlex.split(line)
            assert (program, command) == ("lockstep", "clips"), block.place
            status = reporting_errors(clip_tools.main, words)
            assert status == (2 if block.title == "fails" else 0), f"{block.place}: {capsys.readouterr()}"
        printed = capsys.readouterr()
        assert printed.out + printed.err == expected, f"{block.place} prints\n{printed.out}{printed.err}"


def test_the_page_lists_every_sub_command():
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in SUB_COMMANDS)
    assert all(fence.language in ("bash", "text") for fence in fences(PAGE))
