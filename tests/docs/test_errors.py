"""A page for every error: its sentence is what the engine says, its first snippet fails with it, its second builds."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import LockstepError
from tests.docs.pages import DOCS, Fence, assembled, command, fences, namespace
from tests.helpers import REPOSITORY

PAGES = sorted(f"errors/{path.name}" for path in (DOCS / "errors").glob("*.md"))
BY_COMMAND = ("errors/scene_files.md", "errors/audit.md")
IN_PYTHON = [page for page in PAGES if page not in BY_COMMAND]


def one_line(text: str) -> str:
    return " ".join(text.split())


def start() -> dict[str, Any]:
    """What every snippet starts with."""
    names = namespace()
    for fence in fences("errors/index.md", "python", "start"):
        fence.run(names)
    return names


def snippets(page: str) -> Iterator[tuple[str, Fence]]:
    """(the sentence that a snippet must fail with, '' for one that must not; the snippet), in the order of the page."""
    sentence = ""
    for fence in fences(page):
        if fence.language == "text":
            assert not sentence, f"{fence.place}: the sentence before has no snippet"
            sentence = fence.text.rstrip("\n")
        elif fence.title == "fails":
            assert sentence, f"{fence.place}: no sentence says how it fails"
            yield sentence, fence
            sentence = ""
        else:
            assert not sentence, f"{fence.place}: the sentence before has no snippet"
            yield "", fence


@pytest.mark.parametrize("page", IN_PYTHON)
def test_each_snippet_fails_with_the_sentence_on_the_page_and_the_mended_one_does_not(page: str):
    names = start()
    for sentence, fence in snippets(page):
        if not sentence:
            fence.run(names)
            continue
        with pytest.raises(LockstepError) as caught:
            fence.run(names)
        assert str(caught.value) == sentence, f"{fence.place} prints another sentence"


@pytest.mark.parametrize("page", BY_COMMAND)
def test_each_command_prints_what_the_page_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for title in {fence.title for fence in fences(page, "python")}:
        (tmp_path / title).write_text(assembled(page, title), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    sentence = ""
    for fence in fences(page):
        if fence.language == "text":
            sentence = fence.text.rstrip("\n").replace("/path/to", str(tmp_path))
        elif fence.language == "bash":
            status, out, err = command(*shlex.split(fence.text)[3:])
            assert status == {"runs": 0, "finds": 1, "fails": 2}[fence.title], f"{fence.place}: {out}{err}"
            if fence.title != "runs":
                assert (out + err).rstrip("\n") == sentence, f"{fence.place} prints another sentence"


def literals(node: ast.AST) -> list[str]:
    """The fixed parts of the texts in an expression that are long enough to be recognised, without what is filled in."""
    if isinstance(node, ast.FormattedValue):
        return []
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) and len(node.value) > 11 else []
    return [text for child in ast.iter_child_nodes(node) for text in literals(child)]


def sentences_of_the_engine() -> Iterator[tuple[str, str]]:
    """(place, longest fixed part) of every text that the engine raises as a BuildError or AccessError."""
    files = [
        *(path for path in (REPOSITORY / "engine").rglob("*.py") if "debugger" not in path.parts),
        REPOSITORY / "systems/ppo.py",
        REPOSITORY / "systems/learning/networks.py",
    ]
    for path in sorted(files):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            raised = isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func)
            if raised in ("BuildError", "AccessError"):
                fixed = literals(node)
                if fixed:
                    yield f"{path.name}:{node.lineno}", max(fixed, key=len)
    check = ast.parse((REPOSITORY / "engine/ecs/check.py").read_text(encoding="utf-8"))
    for node in ast.walk(check):
        if isinstance(node, ast.JoinedStr):
            fixed = literals(node)
            if fixed:
                yield f"check.py:{node.lineno}", max(fixed, key=len)


def test_every_sentence_of_a_build_is_on_a_page():
    printed = one_line(" ".join(f.text for page in PAGES for f in fences(page, "text")))
    missing = [f"{place}: {text}" for place, text in sentences_of_the_engine() if one_line(text) not in printed]
    assert not missing


def test_the_index_names_every_page_and_words_that_are_on_it():
    text = (DOCS / "errors/index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| \[[^\]]+\]\((\w+\.md)\) \|$", text, re.MULTILINE)
    assert {f"errors/{page}" for _, page in rows} == set(PAGES) - {"errors/index.md"}
    for words, page in rows:
        printed = one_line(" ".join(f.text for f in fences(f"errors/{page}", "text")))
        for part in re.split(r"\s*[·…]\s*", words.replace("(…)", "(…")):
            assert part in printed, f"{page} prints nothing with '{part}'"
