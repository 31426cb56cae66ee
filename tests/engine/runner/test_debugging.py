"""A training of the command line with a debugger attached: its files, whatever is done to its time."""

import contextlib
import gc
import json
import os
import tempfile
import threading
import unittest.mock as mock
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Simulation
from engine.errors import AttachError
from engine.recording.file import Recording
from engine.runner.config import make_plan
from engine.runner.run import main
from engine.runner.run_folder import RunFolder
from engine.runner.training import Training
from engine.snapshot.snapshot import restore
from tests.engine.inspected import Client
from tests.engine.server_clients import until

TOY = str(Path(__file__).parents[1].joinpath("toy_scene.py"))
POSITION = "point.Point.position"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in an empty folder, where nobody else's runs are listed, without the second that a picture costs."""
    with tempfile.TemporaryDirectory(prefix="runs", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)
        yield


class Running:
    """The command line in a thread, and a client that was there before its first tick; it stands after the tick `stop`."""

    def __init__(self, *arguments: str, stop: int | None = None) -> None:
        self.status: int | None = None
        self.thread = threading.Thread(target=self._run, args=(list(arguments),), daemon=True)
        may_tick, run = threading.Event(), Simulation.run

        def wait_and_run(simulation: Simulation, ticks: int = 1) -> None:
            may_tick.wait(60.0)
            run(simulation, ticks)

        with mock.patch.object(Simulation, "run", wait_and_run):
            self.thread.start()
            path = Path(os.environ["XDG_RUNTIME_DIR"], "lockstep", f"{os.getpid()}.json")
            until(path.exists, 60.0)  # it comes last, when the socket takes connections
            self.client = Client(str(path.with_suffix(".sock")))
            if stop is not None:
                number = self.client.send("run_to", system=None, tick=stop)
            may_tick.set()
        if stop is not None:
            assert self.client.answer(number)["tick"] == stop

    def _run(self, arguments: list[str]) -> None:
        self.status = main(arguments)

    def end(self) -> int | None:
        """Read to the end; the exit status."""
        with contextlib.suppress(AttachError):
            self.client.until(lambda: not self.thread.is_alive(), 60.0)
        self.client.close()
        self.thread.join(60.0)
        assert not self.thread.is_alive()
        return self.status


def contents(folder: str) -> dict[str, bytes]:
    """The files of a run that its seed decides."""
    path = Path(folder)
    files = [path / "metrics.jsonl", path / "failures.rec", *sorted(path.glob("checkpoints/*.lockstep"))]
    return {file.name: file.read_bytes() for file in files if not file.is_symlink()}


def rows(folder: str, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, name).read_text().splitlines()]


ITERATIONS = 30
FLAGS = f"--iterations {ITERATIONS} --checkpoint-every 4 --keep 100 --pause 0.001 --record 0-3"
LONG = (TOY, *FLAGS.split())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a whole run that nobody looks at."""
    folder = str(tmp_path_factory.mktemp("plain") / "run")
    with mock.patch.object(RunFolder, "draw_curve"):
        assert main([*LONG, "--out", folder]) == 0
    return folder


def test_a_run_that_was_paused_sought_and_brought_back_leaves_the_same_files(plain: str) -> None:
    running = Running(*LONG, "--out", "watched", stop=20)
    client = running.client
    client.sub("values", POSITION)
    client.sub("trace", POSITION, rows=[0, 1])
    client.ask("break", when=f"{POSITION} > 99", at="before measure")
    client.ask("run_to", system=None, tick=33)
    tick = client.state["tick"]
    client.ask("seek", tick=tick - 7)
    client.ask("seek", tick=tick - 13)
    client.ask("live")
    client.ask("step", unit="system", count=4)
    client.ask("step", unit="tick", count=3)
    client.ask("seek", tick=tick - 2)
    client.send("run")
    assert running.end() == 0
    assert contents("watched") == contents(plain)
    assert not Path("watched/interventions.jsonl").exists()


@pytest.mark.parametrize("into_an_iteration", range(5))
def test_going_on_from_the_past_cuts_the_files_back_and_the_run_ends_as_if_it_had_never_gone_further(
    into_an_iteration: int, plain: str
) -> None:
    running = Running(*LONG, "--out", "branched", stop=60 + into_an_iteration)
    client = running.client
    back = client.state["tick"] - 33
    client.ask("seek", tick=back)
    client.ask("branch")
    path, iteration = Path("branched"), back // 5
    left = sorted(file.name for file in path.glob("checkpoints/iteration_*.lockstep"))
    assert all(int(name.split("_")[1].split(".")[0]) <= iteration for name in left)
    assert [*path.glob("checkpoints/*.abandoned")]
    assert [row["iteration"] for row in rows("branched", "metrics.jsonl")] == [*range(1, iteration + 1)]
    assert all(row["tick"] <= back for row in rows("branched", "failures.jsonl"))
    assert rows("branched", "interventions.jsonl")[0]["what"] == "branch"
    client.send("run")
    assert running.end() == 0
    branched = rows("branched", "metrics.jsonl")
    assert [row.pop("intervened", 0) for row in branched] == [0] * iteration + [1] * (ITERATIONS - iteration)
    assert branched == rows(plain, "metrics.jsonl")
    last = f"checkpoints/iteration_{ITERATIONS:06d}.lockstep"
    assert Path("branched", last).read_bytes() == Path(plain, last).read_bytes()
    seen = [[{**row, "replay": ""} for row in rows(name, "failures.jsonl")] for name in (plain, "branched")]
    assert seen[0] == seen[1]


def test_a_recording_of_a_run_that_went_back_is_as_if_it_had_never_gone_further(plain: str) -> None:
    running = Running(*LONG, "--out", "branched", stop=60)
    client = running.client
    tick = client.state["tick"]
    client.ask("seek", tick=max(client.state["history"][0], tick - 23))
    client.ask("branch")
    client.send("run")
    assert running.end() == 0
    name = f"records/tick_{5 * ITERATIONS:08d}_end.rec"
    whole, branched = (Recording.open(f"{folder}/{name}") for folder in (plain, "branched"))
    for row in range(4):
        one, other = whole.trace(row), branched.trace(row)
        assert one.tick.tolist() == other.tick.tolist() and one.moment.tolist() == other.moment.tolist()
        assert all(np.array_equal(values, other.columns[name]) for name, values in one.columns.items())
    (ticks, vitals), (same_ticks, same_vitals) = (each.black_box(2, "point") for each in (whole, branched))
    assert ticks.tolist() == same_ticks.tolist()
    assert all(np.array_equal(values, same_vitals[name]) for name, values in vitals.items())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exception_is_told_with_the_recording_of_what_led_there() -> None:
    running = Running(TOY, "--iterations", "4000", "--pause", "0.001", "--record", "0-3", "--out", "run")
    client = running.client
    client.until(lambda: client.state.get("tick", 0) >= 20)

    def boom() -> None:
        raise ValueError("boom")

    next(entry for entry in _training().simulation.schedule.entries if entry.name == "stray").call = boom
    event = client.event("exception")
    assert event["fields"]["recording"].endswith("_exception.rec") and Path(event["fields"]["recording"]).is_file()
    assert event["text"] == "ValueError: boom" and event["system"] == "stray"
    assert running.end() is None


def test_an_intervention_marks_the_metrics_also_of_a_run_that_is_resumed() -> None:
    running = Running(TOY, "--iterations", "4000", "--out", "run", "--pause", "0.001", stop=12)
    client = running.client
    client.ask("set", address="toy.wander.step", value="0.05", reason="calm down")
    assert client.ask("snapshot")["name"].startswith("iteration_")
    client.ask("run")
    client.until(lambda: client.state["tick"] > 22)
    _training().stop.requested = True
    assert running.end() == 130
    done = rows("run", "metrics.jsonl")
    assert done[-1]["intervened"] == 1
    assert main(["--resume", "run", "--iterations", str(done[-1]["iteration"] + 3), "--debug", "off"]) == 0
    assert rows("run", "metrics.jsonl")[-1]["intervened"] == 1
    simulation = make_plan([TOY]).build()
    newest = max(Path("run/checkpoints").glob("iteration_*.lockstep"))
    restore(simulation.world, newest.read_bytes())
    assert simulation.world.constants == {"toy.wander.step": "0.05"}


def test_failures_go_on_in_the_same_file_when_a_constant_was_edited_before_a_branch_or_a_resumption() -> None:
    running = Running(TOY, "--iterations", "4000", "--out", "run", "--pause", "0.001", stop=33)
    client = running.client
    assert Path("run/failures.rec").exists()
    client.ask("set", address="toy.wander.step", value="0.4", reason="livelier")
    client.ask("step", unit="tick", count=20)
    client.ask("seek", tick=client.state["tick"] - 3)
    client.ask("branch")
    client.ask("run")
    client.until(lambda: len(rows("run", "metrics.jsonl")) > 20)
    _training().stop.requested = True
    assert running.end() == 130
    iteration = rows("run", "metrics.jsonl")[-1]["iteration"]
    assert main(["--resume", "run", "--iterations", str(iteration + 3), "--debug", "off"]) == 0
    assert not [event["text"] for event in client.events if "set aside" in event["text"]]
    assert not Path("run/failures.rec.damaged").exists()


def _training() -> Training:
    """The one that runs."""
    found = [each for each in gc.get_objects() if isinstance(each, Training)]
    return next(each for each in found if each.inspector is not None and each.inspector.server.stem is not None)


def test_a_paused_run_that_is_interrupted_leaves_a_checkpoint() -> None:
    running = Running(TOY, "--iterations", "4000", "--out", "run", stop=12)
    client = running.client
    _training().stop.requested = True
    assert running.end() == 130
    assert rows("run", "metrics.jsonl")[-1]["tick"] == 10
    assert Path("run/checkpoints/iteration_000002_tick_0003.lockstep").is_file()
    assert any(event["kind"] == "ended" for event in client.events)


def test_iterations_checkpoints_and_warnings_are_told() -> None:
    running = Running(TOY, "--iterations", "30", "--out", "run", stop=42)
    client = running.client
    client.sub("learner", rows=[])
    client.ask("step", unit="tick", count=10)
    client.until(lambda: client.frames("learner"))
    frame = client.frames("learner")[-1]
    row = rows("run", "metrics.jsonl")[frame["iteration"] - 1]
    assert frame["values"]["reward/distance"] == row["reward/distance"]
    assert any(event["kind"] == "iteration" for event in client.events)
    client.ask("seek", tick=client.state["history"][0])
    client.ask("branch")
    assert any(e["kind"] == "warning" and "went on from tick" in e["text"] for e in client.events)
    client.send("run")
    assert running.end() == 0
