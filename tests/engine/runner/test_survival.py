"""A run outlives what goes wrong in its debugger: mistakes of a scene that only observers meet, full memories, odd files."""

from pathlib import Path
from typing import Any

import attrs
import pytest

from engine.ecs.scene import Simulation
from engine.protocol.vitals import find_vitals
from engine.recording.file import Recording
from engine.recording.recorder import Recorder
from engine.snapshot.history import Ring
from tests.engine.inspected import Live, paused_toy, toy

POSITION = "point.Point.position"


def with_a_bad_vital() -> Simulation:
    """A toy one of whose vital numbers, which only debuggers and recordings ask for, cannot be computed."""

    def fails() -> Any:
        raise ValueError("the joints are not those of the robot")

    simulation = toy()
    good = find_vitals(simulation)["point"][0]
    find_vitals(simulation)["point"][0] = attrs.evolve(good, value=fails)
    return simulation


def goes_on(live: Live) -> bool:
    """Whether ticks still come."""
    tick = live.world.clock.tick
    live.over.wait(0.3)
    return live.error is None and live.world.clock.tick > tick


def test_vital_numbers_that_fail_end_their_subscription_and_not_the_run(folder: Path) -> None:
    with Live(with_a_bad_vital(), folder) as live:
        client = live.client()
        number = client.sub("vitals", rows=[0])["id"]
        client.sub("values", POSITION, rows=[0])
        refusal = client.until(lambda: next((r for r in client.rates if r["t"] == "sub_no"), None))
        assert refusal["id"] == number and "the joints are not those of the robot" in refusal["text"]
        assert goes_on(live)
        client.data.clear()
        client.until(lambda: client.frames("values"))


def test_a_recording_that_fails_is_given_up_and_the_run_goes_on(folder: Path, tmp_path: Path) -> None:
    with Live(with_a_bad_vital(), folder, folder=tmp_path) as live:
        client = live.client()
        client.ask("record", on=True)
        text = client.until(lambda: next((e["text"] for e in client.events if "joints" in e["text"]), None))
        assert text == (
            "The recording failed (ValueError: the joints are not those of the robot); nothing more is recorded."
        )
        assert goes_on(live)
        assert client.refused("record", on=False)[0] == "unsupported"
        client.ask("record", on=True)


def test_a_place_where_nothing_can_be_written_or_removed_stops_the_recording_only(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("a file where the folder should be")
    simulation, messages = toy(), list[str]()
    recorder = Recorder(simulation, folder=tmp_path / "records", warn=messages.append)
    recorder.attach()
    simulation.run(3)
    recorder.ask()
    simulation.run(3)
    assert recorder.stopped and messages == [
        "The recording tick_00000003_request.rec cannot be written (File exists); nothing more is recorded."
    ]


def test_a_run_of_which_no_snapshot_can_be_taken_has_debuggers_without_a_past(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Ring) -> None:
        raise RuntimeError("not enough memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(Ring, "_take", full)
    with Live(toy(), folder) as live:
        client = live.client()
        client.ask("pause")
        warning = client.event("warning")["text"]
        assert warning == "There is no rewinding: RuntimeError: not enough memory: you tried to allocate 99 bytes"
        assert client.refused("seek", tick=0)[0] == "out_of_history"
        client.ask("run")
        assert goes_on(live)


def test_memory_that_runs_out_later_ends_the_past_and_not_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Ring) -> None:
        raise MemoryError

    with Live(toy(), folder, history=(5, 1 << 30)) as live:
        client = live.client()
        client.until(lambda: client.state.get("history"))
        monkeypatch.setattr(Ring, "_capture", full)
        client.events.clear()
        assert client.event("warning")["text"] == "There is no rewinding any more: MemoryError"
        assert goes_on(live)
        client.ask("pause")
        assert client.refused("seek", tick=0)[0] == "out_of_history"
        assert client.state["history"] is None


@pytest.mark.parametrize("paused", [True, False])
def test_a_past_that_fails_when_it_runs_again_is_not_put_in_view(
    paused: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with paused_toy(folder) as (live, client):
        client.ask("step", unit="tick", count=20)
        before, tick = live.column(POSITION), live.world.clock.tick
        again = Ring._run_again

        def fails(self: Ring, tick: int) -> None:
            again(self, tick - 1)
            raise RuntimeError("no")

        if not paused:
            client.ask("run")
        with monkeypatch.context() as broken:
            broken.setattr(Ring, "_run_again", fails)
            assert "RuntimeError: no" in client.refused("seek", tick=tick - 5)[1]
        if not paused:
            assert goes_on(live)
            client.ask("pause")
            return
        client.drain()
        assert client.state["mode"] == "paused" and client.state["tick"] == tick
        assert (live.column(POSITION) == before).all()
        client.ask("seek", tick=tick - 5)
        client.ask("live")
        assert (live.column(POSITION) == before).all()


def test_a_recording_begun_in_a_window_shows_the_tick_that_failed(folder: Path, tmp_path: Path) -> None:
    live = Live(toy(), folder, folder=tmp_path)
    live.thread.start()
    client = live.client()
    client.ask("record", on=True)
    client.drain()

    def boom() -> None:
        raise ValueError("boom")

    next(entry for entry in live.simulation.schedule.entries if entry.name == "stray").call = boom
    event = client.event("exception")
    live.thread.join(10.0)
    live.inspector.close()
    (path,) = (tmp_path / "records").iterdir()
    assert path.name.endswith("_exception.rec") and event["fields"]["recording"] == str(path)
    assert event["system"] == "stray"
    recording = Recording.open(path)
    assert recording.complete and recording.trace(0).moment[-1] == 2


def test_a_recording_forgets_the_future_that_a_branch_gives_up(folder: Path, tmp_path: Path) -> None:
    with paused_toy(folder, folder=tmp_path) as (_, client):
        start = client.state["tick"]  # a busy machine may pause it later than after its first tick
        client.ask("record", on=True)
        client.ask("step", unit="tick", count=30)
        tick = client.state["tick"]
        client.ask("seek", tick=tick - 20)
        client.ask("live")
        client.ask("step", unit="tick", count=1)
        client.ask("seek", tick=tick - 10)
        client.ask("branch")
        client.ask("step", unit="tick", count=5)
        path = client.ask("record", on=False)["path"]
        trace = Recording.open(path).trace(0)
        assert trace.tick.tolist() == sorted(trace.tick.tolist()) and trace.tick[-1] == tick - 5
        assert set(trace.tick.tolist()) == set(range(start + 1, tick - 4)), "what lies before the branch is kept"


def test_a_recording_never_replaces_another_one(folder: Path, tmp_path: Path) -> None:
    with paused_toy(folder, folder=tmp_path) as (_, client):
        paths = []
        for _ in range(3):
            client.ask("record", on=True)
            paths.append(Path(client.ask("record", on=False)["path"]))
        assert len(set(paths)) == 3 and all(path.is_file() for path in paths)
        tick = client.state["tick"]
        assert [path.name for path in paths] == [
            f"tick_{tick:08d}_request.rec", f"tick_{tick:08d}_request-2.rec", f"tick_{tick:08d}_request-3.rec"
        ]  # fmt: skip
