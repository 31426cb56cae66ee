"""run.log, which keeps what a run printed, and W&B beside TensorBoard, by a stand-in that takes nothing but what W&B takes."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest

from engine.errors import SceneError
from engine.runner.run import main as train
from engine.runner.run_log import RunLog
from engine.runner.wandb_log import WandbLog, refuse_unknown
from tests.engine import toy_scene


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy scene in a folder of its own, where it is run."""
    shutil.copy(toy_scene.__file__, tmp_path / "toy.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    return tmp_path / "toy.py"


class Wandb(ModuleType):
    """The module wandb, as far as its documentation says that it goes."""

    def __init__(self, key: str | None = None) -> None:
        super().__init__("wandb")
        self.api = SimpleNamespace(api_key=key)
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(
        self, *, project: str, name: str, id: str, resume: Literal["allow"], dir: str,
        mode: Literal["online", "offline", "disabled"], config: dict[str, Any],
    ) -> "Wandb":  # fmt: skip
        assert not set("/\\#?%:") & {*project} and len(id) <= 64
        self.begun.append({"name": name, "id": id, "mode": mode, "dir": dir, "config": config, "project": project})
        return self

    def log(self, data: Mapping[str, float], *, step: int) -> None:
        assert all(type(value) in (int, float) for value in data.values())
        assert step > (self.logged[-1][0] if self.logged else -1)  # earlier steps are dropped by W&B
        self.logged.append((step, dict(data)))

    def finish(self) -> None:
        self.finished += 1


def test_a_run_keeps_what_it_said_and_goes_on_with_it(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train([str(toy), "--out", "run", "--iterations", "2"]) == 0
    first = Path("run/run.log").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "seed 0  run" in first.splitlines()[0]
    assert "iteration 2/2" in first and "finished 2/2 iterations" in first
    assert [line for line in printed.splitlines() if line.rstrip() not in first] == []
    assert "\x1b" not in first
    assert train(["--resume", "run", "--iterations", "3"]) == 0
    whole = Path("run/run.log").read_text(encoding="utf-8")
    assert whole.startswith(first) and "finished 3/3 iterations" in whole[len(first) :]


def test_warnings_before_and_during_a_run_are_in_its_log(toy: Path) -> None:
    from engine.runner.console import Warnings, make_console

    warn = Warnings(make_console())
    warn("the first [of two]")
    log = RunLog.open(Path(), "title", warn)
    assert log is not None
    warn.begin_log(log)
    warn("the second")
    log.close()
    warn("too late")
    assert Path("run.log").read_text(encoding="utf-8").splitlines()[1:] == ["! the first [of two]", "! the second"]


def test_a_log_that_cannot_be_written_is_said_and_ends_nothing(toy: Path) -> None:
    messages: list[str] = []
    assert RunLog.open(Path("nowhere"), "title", messages.append) is None
    full = RunLog(open("/dev/full", "w", encoding="utf-8"), None, messages.append)  # noqa: SIM115 - it closes the file
    full.console = SimpleNamespace(print=lambda text: full.file.write(text))
    full.print("a")
    full.print("b")
    assert [text.split("(")[0] for text in messages] == ["run.log cannot be written "] * 2
    assert full.file.closed


def test_wandb_gets_every_iteration_offline(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    assert train([str(toy), "--out", "run", "--iterations", "3", "--wandb"]) == 0
    (begun,) = wandb.begun
    assert (begun["name"], begun["mode"], begun["dir"], begun["project"]) == ("run", "offline", "run", "lockstep-toy")
    assert begun["config"]["run"]["seed"] == 0
    assert [step for step, _ in wandb.logged] == [1, 2, 3] and wandb.finished == 1
    assert "time/steps_per_second" in wandb.logged[0][1] and "env_steps" in wandb.logged[0][1]
    assert train(["--resume", "run", "--iterations", "4", "--wandb"]) == 0
    assert wandb.begun[1]["id"] == begun["id"] and wandb.logged[-1][0] == 4


def test_a_logger_that_fails_is_said_once_and_ends_nothing() -> None:
    messages: list[str] = []

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room")

    log = WandbLog(messages.append, SimpleNamespace(log=fail, finish=fail))
    log.write(1, {"a": 1.0})
    log.write(2, {"a": 1.0})
    log.close()
    assert messages == ["W&B gets no more numbers (RuntimeError: no room)."]


def test_wandb_that_is_not_there_and_an_account_that_is_not_known_are_refused(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert train([str(toy), "--wandb", "--out", "run"]) == 2
    assert (
        "--wandb needs the package wandb, which is not installed: pip install 'lockstep-sim[wandb]'."
        in capsys.readouterr().err
    )
    assert not Path("run").exists()
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))  # a folder that W&B's runs leave
    with pytest.raises(SceneError, match="needs the package wandb"):
        refuse_unknown("offline")
    monkeypatch.setitem(sys.modules, "wandb", Wandb())
    with pytest.raises(SceneError, match="--wandb online sends numbers to an account, and this machine knows none"):
        refuse_unknown("online")
    monkeypatch.setitem(sys.modules, "wandb", Wandb(key="k"))
    refuse_unknown("online")
    refuse_unknown(None)
