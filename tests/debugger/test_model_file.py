"""Fetching the model of a run that runs elsewhere: what may go wrong on the way, and the picture at its end."""

import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtWidgets import QApplication

from engine.debugger.body import render_client as mesh_module
from engine.debugger.net import model_file
from engine.debugger.net.model_file import Fetch, cache_folder, kept
from engine.debugger.panels.body import BodyPanel
from tests.debugger.made_up import STANDING, feed_values, make_schema, make_store
from tests.debugger.test_render import MODEL
from tests.debugger.windows import attached

CONTENT = bytes(range(250))
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PART = 100


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of its own, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lockstep" / "models"


class Run:
    """A control that answers `asset` on request; `change` spoils an answer."""

    def __init__(self, content: bytes = CONTENT, change: Callable[[dict[str, Any]], Any] = lambda answer: None) -> None:
        self.content, self.change = content, change
        self.asked: list[tuple[dict[str, Any], Callable[[dict[str, Any]], None]]] = []

    def send(self, message: dict[str, Any], then: Callable[[dict[str, Any]], None] | None = None) -> None:
        assert then is not None and message["t"] == "asset"
        self.asked.append((message, then))

    def answer(self) -> None:
        """Answer the oldest one."""
        message, then = self.asked.pop(0)
        offset = message["offset"]
        answer = {"t": "ok", "id": 1, "hash": message["hash"], "offset": offset, "size": len(self.content)}
        answer["data"] = self.content[offset : offset + PART]
        self.change(answer)
        then(answer)

    def answer_all(self) -> None:
        while self.asked:
            self.answer()

    def select(self, row: int) -> None:
        """Nothing."""

    def show(self, panel_title: str) -> None:
        """Nothing."""

    def plot(self, column_id: int, label: int) -> None:
        """Nothing."""


def test_a_model_comes_in_parts_and_is_kept_for_its_owner(cache):
    run = Run()
    fetch = Fetch(run, DIGEST)
    seen = []
    while run.asked:
        assert len(run.asked) == 1  # one part at a time
        seen.append(run.asked[0][0]["offset"])
        run.answer()
    assert seen == [0, 100, 200]
    assert fetch.path == cache / f"{DIGEST}.xml" and fetch.path.read_bytes() == CONTENT and not fetch.problem
    assert stat.S_IMODE(fetch.path.stat().st_mode) == 0o600
    assert [p.name for p in cache.iterdir()] == [f"{DIGEST}.xml"]
    assert kept(DIGEST) == fetch.path


def test_progress_is_said_in_words():
    run = Run(bytes(300_000))
    fetch = Fetch(run, hashlib.sha256(run.content).hexdigest())
    assert fetch.text == "Fetching the model from the run."
    for _ in range(1500):  # of 3000
        run.answer()
    assert fetch.text == "Fetching the model from the run: 147 of 293 KB."
    run.answer_all()
    assert fetch.path is not None


def fail(answer: dict[str, Any]) -> None:
    answer.pop("data")
    answer |= {"t": "error", "code": "lost", "text": "The connection was lost before the run answered."}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(data=bytes(len(a["data"]))), "not fetched: what came has the hash"),
        (lambda a: a["offset"] and a.update(data=b""), "100 bytes came of 250 that the run had announced."),
        (lambda a: a["offset"] and a.update(size=251), "its size changed on the way, from 250 to 251 bytes."),
        (lambda a: a.update(data=a["data"] + bytes(200)), "300 bytes came of 250 that the run had announced."),
        (lambda a: a.update(size=1 << 40), "1,099,511,627,776 bytes, and 67,108,864 are the most that are taken."),
        (lambda a: a.update(data="text"), "something else than the next part of it."),
        (lambda a: a.update(size=None), "something else than the next part of it."),
        (lambda a: a.update(size=True), "something else than the next part of it."),
        (lambda a: a.update(offset=7), "something else than the next part of it."),
        (lambda a: a.update(size=-1), "100 bytes came of -1"),
        (lambda a: a["offset"] and fail(a), "not fetched: The connection was lost before the run answered."),
    ],
)
def test_what_goes_wrong_is_a_sentence_and_keeps_nothing(cache, change, message: str):
    run = Run(change=change)
    fetch = Fetch(run, DIGEST)
    run.answer_all()
    assert message in fetch.problem and fetch.problem.startswith("No mesh view: ")
    assert fetch.path is None and not cache.exists()


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    run = Run()
    fetch = Fetch(run, DIGEST)
    run.answer_all()
    assert "it cannot be kept in" in fetch.problem and "Not a directory" in fetch.problem


def test_answers_to_a_fetch_that_was_given_up_change_nothing(cache):
    run = Run()
    fetch = Fetch(run, DIGEST)
    run.answer()
    fetch.close()
    run.answer_all()
    assert fetch.path is None and not fetch.problem and not cache.exists()


def test_a_kept_model_that_was_changed_is_removed(cache):
    cache.mkdir(parents=True)
    path = cache / f"{DIGEST}.xml"
    assert kept(DIGEST) is None and kept("") is None
    path.write_bytes(CONTENT[:-1])
    assert kept(DIGEST) is None and not path.exists()


def test_a_relative_cache_folder_is_not_taken(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert cache_folder() == Path.home() / ".cache" / "lockstep" / "models"


# -- the panel -----------------------------------------------------------------------------------------


def body_of(run: Run, digest: Any, file: str = "", host: str | None = None) -> BodyPanel:
    store = make_store()
    if host is not None:
        store.feed({"t": "hello", "run": {"name": "far", "host": host}, "protocol": [1, 0]})
    store.feed(make_schema() | {"models": {"stick": {"file": file, "hash": digest}}})
    return BodyPanel(store, run)


@pytest.mark.parametrize("digest", ["../../x", "A" * 64, "0" * 63, 5, None, ["0"]])
def test_a_hash_that_is_none_never_becomes_a_path(qtbot, digest: Any):
    body = body_of(Run(), digest)
    qtbot.addWidget(body)
    assert body.view.figure is not None and body.view.figure.model_hash == ""
    assert "names no model file" in body.mesh.refusal(body.view.figure)


def test_a_file_of_the_same_name_on_another_machine_is_not_the_runs(qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(mesh_module.importlib.util, "find_spec", lambda name: True)
    model = tmp_path / "model.xml"
    model.write_text(MODEL, encoding="utf-8")
    for host, fetched in (("elsewhere", True), (os.uname().nodename, False)):
        run = Run()
        body = body_of(run, DIGEST, str(model), host)
        qtbot.addWidget(body)
        monkeypatch.setattr(body.mesh, "_start", lambda path: None)
        body.mesh.open(body.view.figure)
        assert bool(run.asked) is fetched


def test_progress_and_failure_are_under_the_picture(qtbot, monkeypatch):
    monkeypatch.setattr(mesh_module.importlib.util, "find_spec", lambda name: True)
    run = Run(change=lambda a: a["offset"] and fail(a))
    body = body_of(run, DIGEST)
    qtbot.addWidget(body)
    feed_values(body.store, 1, {"BodyState.position": STANDING})
    body._toggle_mesh()
    assert body.mesh.running and body._actions[-1].isChecked()
    run.answer()
    body.refresh()
    assert body.view.note == "Fetching the model from the run: 1 of 1 KB."
    run.answer()
    body.refresh()
    assert "connection was lost" in body.view.note
    assert not body.mesh.running and not body._actions[-1].isChecked()
    body._toggle_mesh()  # again
    assert body.mesh.running and len(run.asked) == 1
    body._toggle_mesh()
    assert not body.mesh.running and body.view.note == ""


# -- the whole way -------------------------------------------------------------------------------------


def wait_in(body: BodyPanel, found: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not found() and time.monotonic() < until:
        QApplication.processEvents()
        body._drawn = None
        body.refresh()
        time.sleep(0.01)
    assert found(), body.view.note


def test_a_window_fetches_a_model_over_its_socket(qtbot, cache, monkeypatch):
    monkeypatch.setattr(mesh_module.importlib.util, "find_spec", lambda name: True)
    with attached(qtbot) as run:
        run.server.models[DIGEST] = CONTENT
        fetch = Fetch(run.window.control, DIGEST)
        run.wait(lambda: fetch.over)
        assert fetch.path is not None and fetch.path.read_bytes() == CONTENT
        other = Fetch(run.window.control, hashlib.sha256(b"").hexdigest())
        run.wait(lambda: other.over)
        assert "the model was not fetched: 'asset' is wrong" in other.problem
        run.server.deaf.add("asset")
        asked = len(run.server.messages("asset", hash=DIGEST))
        lost = Fetch(run.window.control, DIGEST)
        run.wait(lambda: len(run.server.messages("asset", hash=DIGEST)) == asked + 1)
        run.server.drop()
        run.wait(lambda: lost.over)
        assert "connection was lost" in lost.problem


def test_a_fetched_model_is_drawn_and_found_again(qtbot, cache):
    pytest.importorskip("mujoco")
    content = MODEL.encode()
    digest = hashlib.sha256(content).hexdigest()
    run = Run(content)
    body = body_of(run, digest, "/nowhere/model.xml", "elsewhere")
    qtbot.addWidget(body)
    body.resize(320, 240)
    feed_values(body.store, 1, {"BodyState.position": STANDING, "BodyState.rotation": np.tile((1.0, 0, 0, 0), (6, 1))})
    feed_values(body.store, 1, {"DofState.position": (0.0, 0.0, 0.0)})
    assert body.mesh.refusal(body.view.figure) == ""
    body._toggle_mesh()
    run.answer_all()
    wait_in(body, lambda: body.view.mesh is not None or body.mesh.problem)
    if body.mesh.problem:
        pytest.skip(body.mesh.problem)
    assert body.view.note == "" and (cache / f"{digest}.xml").is_file()
    assert body.view.mesh is not None
    image = body.view.mesh
    assert any(image.pixelColor(x, image.height() // 2).alpha() for x in range(image.width()))
    body._toggle_mesh()
    body._toggle_mesh()
    assert body.mesh.running and not run.asked  # it is here already
    body.mesh.close()


def test_no_model_is_larger_than_what_is_kept_of_it(monkeypatch, cache):
    monkeypatch.setattr(model_file, "LARGEST", 249)
    run = Run()
    fetch = Fetch(run, DIGEST)
    run.answer_all()
    assert "it has 250 bytes, and 249 are the most" in fetch.problem
