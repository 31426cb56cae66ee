"""The flight recorder and the failure log, on rows that wander until they are too far from home."""

import errno
import hashlib
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import Bundle, Scene, SceneError, Simulation, Write, build, column, component, derived, system, table
from engine.ecs.schedule import Observer
from engine.recording.failures import FailureLog, logged_failures, path_from_here
from engine.recording.file import END, TERMINAL, TORN, Recording, RecordingWriter
from engine.recording.recorder import FiniteCheck, Recorder, parse_rows
from engine.recording.row_ring import LARGEST, row_digest, traced_addresses, traced_columns
from engine.runner.recording import RunObservers
from engine.runner.run import main
from engine.runner.run_folder import RunFolder
from engine.snapshot.history import Ring
from engine.snapshot.snapshot import save
from tests.engine.toy_scene import TICK, Ended, Point, Walk, make_scene

TOY = str(Path(__file__).parents[1].joinpath("toy_scene.py"))


@component
class Cause:
    """Goes wrong first."""

    value: Tensor = column()


@component
class Effect:
    """Goes wrong with it."""

    value: Tensor = column()


@derived
class Seen:
    """Made of the cause, and what the effect is made of."""

    value: Tensor = column()


@component
class Wide:
    """Has more values than columns that a glance is at."""

    value: Tensor = column(5)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, without the second that a picture costs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)


def recorded(ticks: int, rows: int = 8, **options: Any) -> tuple[Simulation, Recorder]:
    """A toy simulation that was watched from its first tick on."""
    simulation = build(make_scene(num_envs=rows))
    recorder = Recorder(simulation, folder=Path("records"), **options)
    recorder.attach()
    simulation.run(ticks)
    return simulation, recorder


def raise_in(simulation: Simulation, tick: int, column: str = "") -> None:
    """In that tick, after `wander`, put NaN into a column of row 2; without a column, raise."""

    def hook(entry: Any) -> None:
        if entry.name == "wander" and simulation.world.clock.tick == tick:
            if not column:
                raise ArithmeticError("planted")
            simulation.world[Point].position[2, 1] = float("nan")

    simulation.schedule.attach(Observer(after_entry=hook))


# -- which rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [("3,17", [3, 17]), ("0-3", [0, 1, 2, 3]), (" 5 , 1-2,5", [5, 1, 2]), ("7", [7]), (True, list(range(0, 64, 4)))],
)
def test_rows_are_named_one_by_one_or_in_ranges(text: "str | bool", rows: list[int]) -> None:
    assert parse_rows(text, 64) == rows


def test_all_rows_are_recorded_where_there_are_fewer_than_usual() -> None:
    assert parse_rows(True, 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("100", "--record names row 100, but there are 100 rows, counted from 0."),
        ("4-2", "--record is given the rows 4-2; write the smaller one first."),
        ("0-64", "--record names 65 rows; 64 are the most."),
        ("0-99999999999", "--record names row 99999999999, but there are 100 rows, counted from 0."),
        ("", "--record takes rows such as 0-15 or 3,17, but was given ''."),
        ("2,,3", "--record takes rows such as 0-15 or 3,17, but was given '2,,3'."),
        ("1-", "--record takes rows such as 0-15 or 3,17, but was given '1-'."),
        ("²", "--record takes rows such as 0-15 or 3,17, but was given '²'."),
    ],
)
def test_rows_that_do_not_exist_are_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SceneError) as caught:
        parse_rows(text, 100)
    assert str(caught.value) == sentence


def test_a_bad_row_on_the_command_line_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TOY, "--record", "8"]) == 2
    assert capsys.readouterr().err == "error: --record names row 8, but there are 8 rows, counted from 0.\n"
    assert os.listdir() == []


# -- the trace -----------------------------------------------------------------------------------------


def test_the_trace_is_what_every_tick_left_and_what_endings_looked_like() -> None:
    simulation = build(make_scene())
    recorder = Recorder(simulation, rows=[1, 6], folder=Path())
    recorder.attach()
    columns = traced_columns(simulation.world, "point")
    seen: dict[int, list[tuple[int, int, dict[str, Any]]]] = {1: [], 6: []}

    def look(moment: int) -> None:
        for row, samples in seen.items():
            if moment == END or simulation.world[Ended].rows[row]:
                values = {address: column[row].tolist() for address, column in columns.items()}
                samples.append((simulation.world.clock.tick, moment, values))

    simulation.schedule.attach(Observer(at_finish=lambda: look(TERMINAL)))
    simulation.schedule.attach(Observer(after_tick=lambda: look(END)))
    simulation.run(40)
    recording = Recording.open(recorder.write(Path("file.rec")))
    for row, samples in seen.items():
        trace = recording.trace(row)
        assert trace.tick.tolist() == [tick for tick, _, _ in samples]
        assert trace.moment.tolist() == [moment for _, moment, _ in samples]
        assert TERMINAL in trace.moment and trace.tick[0] == 0
        assert list(trace.columns) == list(columns) == traced_addresses(simulation.world, "point")
        for address, values in trace.columns.items():
            assert values.tolist() == [kept[address] for _, _, kept in samples]


def test_the_terminal_sample_shows_where_the_row_was_and_the_next_one_where_it_starts() -> None:
    _, recorder = recorded(40, rows=4)
    trace = Recording.open(recorder.write(Path("file.rec"))).trace(0)
    terminal = np.flatnonzero(trace.moment == TERMINAL)
    assert len(terminal) > 2
    for place in terminal:
        assert np.linalg.norm(trace.columns["point.Point.position"][place]) > 1.0
        assert trace.tick[place + 1] == trace.tick[place] and trace.moment[place + 1] == END
        assert not trace.columns["point.Point.position"][place + 1].any()
        assert trace.columns["point.Walk.began"][place + 1] == trace.tick[place]


def test_the_ring_keeps_the_latest_samples_within_its_budget() -> None:
    _, recorder = recorded(500, rows=4, budget=10_000)
    assert recorder.trace.num_bytes <= 10_000 and recorder.trace.taken > 2 * recorder.trace.capacity
    trace = Recording.open(recorder.write(Path("file.rec"))).trace(0)
    assert trace.tick[-1] == 499 and list(trace.tick) == sorted(trace.tick)
    assert recorder.trace.capacity >= len(trace.tick) > 20


def test_components_with_a_column_above_the_limit_are_left_out() -> None:
    simulation = build(make_scene())
    world = simulation.world
    assert "point.Point.position" in traced_addresses(world, "point")
    column = world[Point].position
    world[Point].__dict__["position"] = torch.zeros(8, LARGEST // 4 + 1)
    assert not any(a.startswith("point.Point.") for a in traced_addresses(world, "point"))
    world[Point].__dict__["position"] = column


def test_watching_changes_nothing() -> None:
    watched, _ = recorded(30)
    alone = build(make_scene())
    alone.run(30)
    assert save(watched.world) == save(alone.world)


def test_the_black_box_has_every_second_tick_of_every_row() -> None:
    simulation, recorder = recorded(11, rows=3, samples=4)
    simulation.schedule.attach(Observer(at_finish=lambda: finished.append(simulation.world[Point].position.clone())))
    finished: list[torch.Tensor] = []
    simulation.run(10)
    ticks, numbers = Recording.open(recorder.write(Path("file.rec"))).black_box(2, "point")
    assert ticks.tolist() == [14, 16, 18, 20]
    expected = torch.stack([finished[tick - 11][2] for tick in (14, 16, 18, 20)]).half().numpy()
    assert np.array_equal(np.stack([numbers["place[0]"], numbers["place[1]"]], 1), expected)


# -- when it is written --------------------------------------------------------------------------------


def test_a_value_that_is_not_finite_is_named_with_row_column_and_writers() -> None:
    messages: list[str] = []
    simulation, _ = recorded(3, warn=messages.append)
    raise_in(simulation, 5, "position")
    simulation.run(10)
    assert messages == [
        "point.Point.position[1] is nan in row 2 at tick 5, written by one of `wander` (STEP), `return_home` (RESET)."
    ]
    assert [p.name for p in Path("records").iterdir()] == ["tick_00000005_nonfinite.rec"]
    recording = Recording.open("records/tick_00000005_nonfinite.rec")
    (event,) = recording.of("event", kind="nonfinite")
    assert (event["row"], event["column"], event["tick"]) == (2, "point.Point.position", 5)
    assert event["fields"]["labels"] == ["1"]
    trace = recording.trace(2)
    assert np.isnan(trace.columns["point.Point.position"][-1][1]) and trace.moment[-1] == TORN


def keep(cause: Write[Cause]) -> None:
    cause.value.mul_(1.0)


def named_after_a_bad_cause(parts: Bundle) -> tuple[str, int]:
    """Column and row that are named one tick after the cause of row 3 is not a number."""
    simulation = build(Scene([table("point", rows=4)], [parts], TICK))
    simulation.world.component(Cause, "point").value[3] = float("nan")
    simulation.run(1)
    found = FiniteCheck(simulation, "point").find()
    assert found is not None
    return found["column"], found["row"]


def test_of_several_columns_the_one_that_reads_none_of_the_others_is_named() -> None:
    def spoil(cause: Cause, effect: Write[Effect]) -> None:
        effect.value.copy_(cause.value)

    parts = Bundle("parts", components=[Effect, Cause], systems={"STEP": [system(spoil), system(keep)]})
    assert named_after_a_bad_cause(parts) == ("point.Cause.value", 3)


def test_a_cause_is_named_before_what_reads_it_through_something_derived() -> None:
    def look(cause: Cause, seen: Write[Seen]) -> None:
        seen.value.copy_(cause.value)

    def act(seen: Seen, effect: Write[Effect]) -> None:
        effect.value.copy_(seen.value)

    steps = {"STEP": [system(keep), system(look), system(act)]}
    parts = Bundle("parts", components=[Effect, Cause, Seen], systems=steps)
    assert named_after_a_bad_cause(parts) == ("point.Cause.value", 3)


def test_a_glance_is_at_narrow_columns_where_there_are_any() -> None:
    def keep(effect: Write[Effect], wide: Write[Wide]) -> None:
        effect.value.mul_(1.0)
        wide.value.mul_(1.0)

    parts = Bundle("parts", components=[Effect, Wide], systems={"STEP": [system(keep)]})
    simulation = build(Scene([table("point", rows=4)], [parts], TICK))
    both, world = FiniteCheck(simulation, "point"), simulation.world
    world.component(Wide, "point").value[2, 4] = float("inf")
    assert both.glance() is None
    assert (found := both.find()) is not None and found["column"] == "point.Wide.value"
    world.component(Effect, "point").value[1] = float("nan")
    assert both.glance() is not None


def test_infinite_sums_of_finite_values_are_no_finding() -> None:
    messages: list[str] = []
    simulation, recorder = recorded(1, warn=messages.append)
    simulation.world[Point].position[:, 0] = 3e38
    recorder.see_finished()
    assert messages == []


def test_an_exception_goes_on_and_leaves_a_recording_of_the_tick_that_failed() -> None:
    simulation = build(make_scene())
    raise_in(simulation, 7)
    watch = RunObservers.begin(simulation, Path(), print, rows=[0, 2])
    with pytest.raises(ArithmeticError, match="planted"), watch.attached():
        simulation.run(20)
    (path,) = Path("records").iterdir()
    assert path.name == "tick_00000007_exception.rec"
    recording = Recording.open(path)
    assert recording.complete
    assert [m["text"] for m in recording.of("event")] == ["ArithmeticError: planted"]
    trace = recording.trace(2)
    assert (trace.tick[-1], trace.moment[-1]) == (7, TORN) and trace.tick[-2] == 6
    assert len(simulation.schedule.observers) == 1  # what raised


def test_a_signal_asks_a_training_for_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = Simulation.run, []

    def run(self: Simulation, ticks: int = 1) -> None:
        seen.append(ticks)
        if len(seen) == 9:
            signal.raise_signal(signal.SIGUSR1)
        original(self, ticks)

    monkeypatch.setattr(Simulation, "run", run)
    before = signal.getsignal(signal.SIGUSR1)
    assert main([TOY, "--out", "run", "--record", "1,3"]) == 0
    assert signal.getsignal(signal.SIGUSR1) == before
    assert sorted(p.name for p in Path("run/records").iterdir()) == [
        "tick_00000008_request.rec",
        "tick_00000020_end.rec",
    ]
    recording = Recording.open("run/records/tick_00000008_request.rec")
    assert recording.complete and recording.trace(3).tick[-1] == 8
    assert [m["kind"] for m in Recording.open("run/records/tick_00000020_end.rec").of("event")] == ["request", "end"]


def test_without_record_no_trace_is_kept() -> None:
    assert main([TOY, "--out", "run"]) == 0
    assert not Path("run/records").exists() and Path("run/failures.jsonl").exists()


def test_a_full_disk_stops_the_recording_with_a_sentence_and_not_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    simulation, recorder = recorded(3, warn=messages.append)

    def refuse(self: RecordingWriter, message: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordingWriter, "append", refuse)
    recorder.ask()
    simulation.run(3)
    assert messages == [
        "The recording tick_00000003_request.rec cannot be written (No space left on device); nothing more is recorded."
    ]
    assert list(Path("records").iterdir()) == []
    assert recorder.keep("end", "") is None and len(messages) == 1


def test_a_recording_may_be_asked_for_from_python_at_any_time() -> None:
    _, recorder = recorded(5)
    assert Recording.open(recorder.write(Path("mine/file.rec"))).complete
    recorder.detach()
    recorder.detach()


# -- the failure log -----------------------------------------------------------------------------------


def log(ticks: int, rows: int = 32) -> tuple[Simulation, list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of failures and of iterations of a run of the toy scene."""
    simulation = build(make_scene(num_envs=rows))
    with RunObservers.begin(simulation, Path(), print).attached():
        simulation.run(ticks + 1)
    lines = [json.loads(line) for line in Path("failures.jsonl").read_text().splitlines()]
    return simulation, [r for r in lines if "row" in r], [r for r in lines if "row" not in r]


def test_a_digest_is_the_documented_one() -> None:
    simulation = build(make_scene())
    simulation.run(3)
    point, walk = simulation.world[Point], simulation.world[Walk]
    distance = point.position[5].norm()
    data = b"point.Point.position\0" + point.position[5].numpy().astype("<f4").tobytes()
    data += b"point.Walk.began\0" + walk.began[5].numpy().astype("<i8").tobytes()
    data += b"point.Distance.value\0" + distance.numpy().astype("<f4").tobytes()
    assert row_digest(simulation.world, "point", 5) == hashlib.sha256(data).hexdigest()[:32]
    addresses = ["point.Point.position", "point.Walk.began", "point.Distance.value"]
    assert traced_addresses(simulation.world, "point", signals=False) == addresses


def test_failures_are_logged_with_where_they_began_why_and_how_they_ended() -> None:
    expected: dict[tuple[int, int], tuple[int, list[str], str]] = {}
    began = [0] * 6
    simulation = build(make_scene(num_envs=6))

    def look() -> None:
        tick, ended = simulation.world.clock.tick, simulation.world[Ended]
        for row in ended.rows.nonzero().flatten().tolist():
            side = "left" if simulation.world[Point].position[row, 0] < 0 else "right"
            expected[tick, row] = (began[row], [side], row_digest(simulation.world, "point", row))
            began[row] = tick

    simulation.schedule.attach(Observer(at_finish=look))
    with RunObservers.begin(simulation, Path("."), print).attached():
        simulation.run(31)
    rows = logged_failures(Path("."))
    assert len(rows) > 10
    for row in rows:
        assert expected[row["tick"], row["row"]] == (row["first_tick"], row["reasons"], row["digest"])
        assert row["iteration"] == (row["tick"] + 4) // 5
        assert row["replay"] == f"python -m engine.replay . --row {row['row']} --tick {row['tick']}"


def test_at_most_four_of_a_reason_are_logged_in_an_iteration_and_all_are_counted() -> None:
    simulation, rows, iterations = log(60)
    assert simulation.world.clock.tick == 60 and [r["iteration"] for r in iterations] == list(range(1, 13))
    counts = Counter((r["iteration"], r["reasons"][0]) for r in rows)
    assert max(counts.values()) == 4
    for line in iterations:
        number = line["iteration"]
        assert sum(line["reasons"].values()) == line["failed"] > line["logged"]
        for side in ("left", "right"):
            assert counts[number, side] == min(4, line["reasons"].get(side, 0))
        assert line["logged"] == counts[number, "left"] + counts[number, "right"]


def test_the_terminal_sample_of_each_logged_failure_is_kept() -> None:
    _, rows, _ = log(20)
    recording = Recording.open("failures.rec")
    samples = list(recording.of("data", sub="failure"))
    assert [(m["rows"], m["ticks"][0], m["reasons"]) for m in samples] == [
        ([r["row"]], r["tick"], r["reasons"]) for r in rows
    ]
    row = rows[0]["row"]
    trace = recording.trace(row, sub="failure")
    assert (np.linalg.norm(trace.columns["point.Point.position"], axis=1) > 1.0).all()
    assert trace.columns["point.Ended.rows"].all() and (trace.moment == TERMINAL).all()


def test_of_recorded_rows_the_whole_episode_is_kept() -> None:
    simulation = build(make_scene())
    with RunObservers.begin(simulation, Path(), print, rows=[2]).attached():
        simulation.run(31)
    recording = Recording.open("failures.rec")
    episodes = list(recording.of("data", sub="episode"))
    logged = [r for r in logged_failures(Path()) if r["row"] == 2]
    assert len(episodes) == len(logged) > 1
    for message, row in zip(episodes, logged, strict=True):
        assert message["ticks"] == [row["first_tick"], row["tick"]]
    trace = recording.trace(2, sub="episode")
    starts = np.flatnonzero(np.r_[True, trace.moment[:-1] == TERMINAL])
    assert not trace.columns["point.Point.position"][starts].any()  # every one begins at home


def interrupt_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    original, seen = Simulation.run, []

    def run(self: Simulation, ticks: int = 1) -> None:
        original(self, ticks)
        seen.append(ticks)
        if len(seen) == calls:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Simulation, "run", run)


@pytest.mark.parametrize("moment", [1, 3, 8, 11, 13])
def test_a_resumed_run_logs_the_same_bytes(moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 rows reach the limit within an iteration, so what was counted before the interruption matters."""
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert main([TOY, "--num-envs", "32", "--out", "run"]) == 0
    monkeypatch.chdir(tmp_path / "parts")
    with monkeypatch.context() as patched:
        interrupt_after(patched, moment)
        assert main([TOY, "--num-envs", "32", "--out", "run"]) == 130
    assert main(["--resume", str(Path("run").absolute())]) == 0
    for name in ("failures.jsonl", "metrics.jsonl"):
        assert (tmp_path / "parts/run" / name).read_bytes() == (tmp_path / "whole/run" / name).read_bytes()
    ours, theirs = (list(Recording.open(tmp_path / n / "run/failures.rec").of("data")) for n in ("whole", "parts"))
    assert ours == theirs


def logged_with(name: str, back: tuple[int, ...]) -> tuple[list[str], list[Any]]:
    """The log of 30 ticks of 32 rows, gone back to each of some ticks from tick 23 on; its lines and frames."""
    folder = Path(name)
    folder.mkdir()
    simulation = build(make_scene(num_envs=32))
    failures = FailureLog(simulation, folder, print)
    ring = Ring(simulation, every=4)
    failures.attach()
    for tick in back:
        simulation.run(23 - simulation.world.clock.tick + (not simulation.world.clock.begun))
        ring.seek(tick)
        ring.branch()
        failures.rewind()
    simulation.run(30 - simulation.world.clock.tick + (not simulation.world.clock.begun))
    failures.close()
    lines = [line.replace(f"replay {name}", "replay") for line in (folder / "failures.jsonl").read_text().splitlines()]
    return lines, list(Recording.open(folder / "failures.rec").of("data"))


def test_a_run_that_goes_back_into_the_middle_of_an_iteration_logs_and_counts_as_if_it_had_not() -> None:
    """At every tick of an iteration some failures are counted only, since four of their reason have been logged."""
    plain = logged_with("plain", ())
    assert any(json.loads(line).get("failed", 0) > json.loads(line).get("logged", 0) for line in plain[0])
    for back in (*((tick,) for tick in range(14, 23)), (22, 21, 22), (18, 16, 17), (20, 18)):
        assert logged_with(f"to_{'_'.join(map(str, back))}", back) == plain, back


def test_after_a_crash_behind_the_checkpoint_the_log_is_cut_and_comes_out_the_same() -> None:
    assert main([TOY, "--num-envs", "32", "--out", "run", "--checkpoint-every", "1"]) == 0
    whole = Path("run/failures.jsonl").read_bytes()
    for newest in ("iteration_000004", "iteration_000003"):
        Path(f"run/checkpoints/{newest}.lockstep").unlink()
    Path("run/failures.jsonl").write_bytes(whole[:-30])  # the last line is torn
    rec = Path("run/failures.rec")
    rec.write_bytes(rec.read_bytes()[:-5])
    assert main(["--resume", "run"]) == 0
    assert Path("run/failures.jsonl").read_bytes() == whole
    assert Recording.open(rec).complete


def test_a_run_that_branches_off_a_checkpoint_takes_the_log_along(tmp_path: Path) -> None:
    assert main([TOY, "--out", "first", "--checkpoint-every", "1", "--keep", "9"]) == 0
    assert main(["--resume", "first/checkpoints/iteration_000002.lockstep", "--out", "second"]) == 0
    first, second = (Path(name, "failures.jsonl").read_text() for name in ("first", "second"))
    assert second.replace("replay second", "replay first") == first
    assert next(line for line in second.splitlines() if "replay second" in line).startswith('{"iteration": 3')


def test_a_lost_recording_of_failures_costs_a_warning_and_the_counts_of_one_iteration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        interrupt_after(patched, 8)
        assert main([TOY, "--num-envs", "32", "--out", "run"]) == 130
    Path("run/failures.rec").write_bytes(b"rubbish")
    assert main(["--resume", "run"]) == 0
    assert "failures.rec is not a recording: it starts with b'rubbish'" in capsys.readouterr().out
    assert Path("run/failures.rec.damaged").read_bytes() == b"rubbish" and Recording.open("run/failures.rec").complete


def test_a_full_disk_costs_the_recording_of_failures_and_not_the_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: RecordingWriter, message: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordingWriter, "append", refuse)
    assert main([TOY, "--out", "run", "--record"]) == 0
    output = capsys.readouterr().out
    assert "failures.rec cannot be written (No space left on device); failures are logged without it." in output
    assert "tick_00000020_end.rec cannot be written (No space left on device); nothing more is recorded." in output
    assert len(logged_failures(Path("run"))) > 3


def test_failures_rec_stays_within_its_budget() -> None:
    simulation = build(make_scene())
    failures = FailureLog(simulation, Path(), print, budget=20_000)
    failures.attach()
    simulation.run(200)
    failures.close()
    assert 20_000 < Path("failures.rec").stat().st_size < 22_000 and len(logged_failures(Path())) > 50


def test_a_scene_without_endings_logs_nothing() -> None:
    made = make_scene()
    made.bundles[0].endings = None
    simulation = build(made)
    with RunObservers.begin(simulation, Path(), print, rows=[0]).attached():
        simulation.run(20)
    assert sorted(os.listdir()) == ["records"]
    assert set(Recording.open("records/tick_00000019_end.rec").trace(0).moment) == {END}


def test_a_folder_is_spoken_of_as_seen_from_here(tmp_path: Path) -> None:
    assert [path_from_here(p) for p in (Path("run"), tmp_path / "run", Path("./run"), Path("/else"))] == ["run"] * 3 + [
        "/else"
    ]
