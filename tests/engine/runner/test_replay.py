"""Episodes of a run, re-created: the same numbers as in the run and in its log, from any checkpoint, or a sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from benchmarks.replay import compare
from components.motion import Clip
from engine.ecs.bundle import Bundle
from engine.ecs.scene import Scene, build
from engine.ecs.schedule import Observer, Tick
from engine.errors import ReplayError, SceneError
from engine.recording.failures import FRAMES
from engine.recording.file import Recording
from engine.runner.checkpoint import checkpoints
from engine.runner.experiment import EpisodeFile, Experiment
from engine.runner.replay import EpisodeReplay, RunReplay, last_carrying_tick
from engine.runner.replay_command import main, open_replay, refuse_clip, write_clips
from engine.runner.run import main as train
from scenes import cartpole
from systems.motion.files import read_clips
from tests.engine import toy_scene
from tests.helpers import REPOSITORY

TINY = ("--robot", "humanoid", "--clip", "squat", "--num-envs", "8", "--learning.hidden", "16", "--no-film")
TERMINATION = "tracking.terminate.end_effector_height.most=0.01"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty iterations of five ticks of the toy scene, with the trace of every row."""
    home = tmp_path_factory.mktemp("toy")
    shutil.copy(toy_scene.__file__, home / "toy.py")
    folder = home / "run"
    flags = ["--iterations", "50", "--checkpoint-every", "10", "--keep", "9", "--record", "0-7"]
    assert train([str(home / "toy.py"), "--out", str(folder), *flags]) == 0
    return folder


def past_of(run: Path) -> RunReplay:
    return open_replay(run, print)[0]


def every_tick(run: Path, ticks: int) -> list[dict[str, np.ndarray]]:
    """The columns of the run tick by tick: before anything starts over, and at the end."""
    simulation = past_of(run).build()
    seen: list[dict[str, np.ndarray]] = []

    def look() -> None:
        seen.append({name: column.numpy().copy() for name, column in simulation.world.columns().items()})

    simulation.schedule.attach(Observer(at_finish=look))
    simulation.schedule.attach(Observer(after_tick=look))
    simulation.run(ticks)
    return seen  # tick 0 has one sample, tick t the samples 2t - 1 and 2t


def test_every_logged_failure_is_recreated_bit_for_bit(run: Path) -> None:
    past = past_of(run)
    assert len(past.failures) > 30
    episodes = past.episodes([(failure.row, failure.tick) for failure in past.failures])
    recording = Recording.open(run / FRAMES)
    for failure, episode in zip(past.failures, episodes, strict=True):
        seen = compare(recording, episode, failure)
        assert seen.different == () and seen.ticks == len(episode.ticks) == failure.tick - (failure.first_tick or 0) + 1
        assert (episode.digest, episode.reasons, episode.ended) == (failure.digest, failure.reasons, True)


def test_an_episode_is_what_the_run_went_through(run: Path) -> None:
    past = past_of(run)
    failure = past.failures[len(past.failures) // 2]
    (episode,) = past.episodes([(failure.row, failure.tick)])
    samples = every_tick(run, failure.tick + 1)
    first = failure.first_tick or 0
    expected = [samples[2 * tick] for tick in range(first, failure.tick)] + [samples[2 * failure.tick - 1]]
    assert episode.ticks.tolist() == list(range(first, failure.tick + 1))
    for address, values in episode.columns.items():
        assert np.array_equal(values, np.stack([sample[address][failure.row] for sample in expected])), address


def test_any_tick_of_an_episode_names_it(run: Path) -> None:
    past = past_of(run)
    failure = next(f for f in past.failures if f.first_tick is not None and f.tick - f.first_tick > 4)
    (logged,) = past.episodes([(failure.row, failure.tick)])
    (asked,) = past.episodes([(failure.row, failure.tick - 2)])
    assert past.logged(failure.row, failure.tick - 2) is None
    assert asked.ticks.tolist() == logged.ticks.tolist() and asked.digest == logged.digest
    assert all(np.array_equal(asked.columns[a], logged.columns[a]) for a in logged.columns)


def test_an_episode_that_began_before_the_nearest_checkpoint_is_still_whole(run: Path) -> None:
    past = past_of(run)
    points = sorted(past.points)
    inside = [f for f in past.failures if f.first_tick is not None for p in points if f.first_tick < p < f.tick]
    for failure in inside[:3]:
        (episode,) = past.episodes([(failure.row, failure.tick - 1)])
        assert episode.ticks[0] == failure.first_tick


def test_the_last_episode_of_a_run_goes_on(run: Path) -> None:
    past = past_of(run)
    samples = every_tick(run, past.last_tick + 1)
    row = int(np.flatnonzero(~samples[-2]["point.Ended.rows"])[0])
    (episode,) = past.episodes([(row, past.last_tick)])
    assert not episode.ended and episode.ticks[-1] == past.last_tick == 250 and episode.reasons == ()


def test_rows_and_ticks_that_the_run_does_not_have_are_refused_before_anything_runs(run: Path) -> None:
    past = past_of(run)
    for pair, message in (
        ((8, 3), "--row 8 is not one of the run's rows 0 to 7."),
        ((-1, 3), "--row -1 is not one of the run's rows 0 to 7."),
        ((0, 251), "--tick 251 is not one of the run's ticks 0 to 250."),
    ):
        with pytest.raises(ReplayError) as caught:
            past.episodes([pair])
        assert str(caught.value) == message
    assert not past.simulation.world.clock.begun


def test_a_damaged_checkpoint_is_passed_over(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    newest = checkpoints(copy)[1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    past = past_of(copy)
    failure = next(f for f in reversed(past.failures) if f.first_tick is not None and f.first_tick > 200)
    (episode,) = past.episodes([(failure.row, failure.tick)])
    assert episode.digest == failure.digest
    assert "iteration_000040.lockstep: The snapshot is damaged at byte" in capsys.readouterr().out


def test_a_resource_that_finds_a_way_into_columns_carries_from_row_to_row(run: Path) -> None:
    """In cart-pole that is the policy, which learns every 32 ticks; the metrics go nowhere. In the toy scene, `stray`
    may read what it counted in all rows, and ends rows."""
    assert last_carrying_tick(build(cartpole.experiment(num_envs=4, horizon=32).train()).schedule, 3, 90) == 64
    assert last_carrying_tick(build(cartpole.experiment(num_envs=4, horizon=32).train()).schedule, 64, 90) == 64
    assert last_carrying_tick(past_of(run).simulation.schedule, 3, 90) == 90


def test_what_is_logged_differently_makes_the_other_rows_run_as_well(run: Path, tmp_path: Path) -> None:
    """A wrong digest in the log: alone does not prove anything, so everybody runs; and the command says NO."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    lines = [json.loads(line) for line in (copy / "failures.jsonl").read_text().splitlines()]
    victim = next(line for line in lines if "row" in line)
    victim["digest"] = "0" * 32
    (copy / "failures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (episode,) = past_of(copy).episodes([(victim["row"], victim["tick"])])
    assert episode.alone == 0 and episode.digest != victim["digest"]
    assert main([str(copy), "--row", str(victim["row"]), "--tick", str(victim["tick"]), "--no-plots"]) == 1


# The command.


def test_without_a_row_the_last_failures_are_listed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run)]) == 0
    output = capsys.readouterr().out
    last = past_of(run).failures[-1]
    assert f"--row {last.row} --tick {last.tick}" in output and "see it again" in output


def test_a_replay_writes_columns_plots_and_what_it_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failure = past_of(run).failures[-1]
    assert main([str(run), "--row", str(failure.row), "--tick", str(failure.tick)]) == 0
    home = run / "replays" / f"row_{failure.row}_tick_{failure.tick}"
    with np.load(home / "columns.npz") as kept:
        assert kept["tick"][-1] == failure.tick
        assert kept["point.Point.position"].shape == (len(kept["tick"]), 2)
        assert kept["labels point.Ended.side"].tolist() == ["left", "right"]
    assert sorted(path.name for path in (home / "plots").iterdir())[:2] == ["point.Distance.png", "point.Ended.png"]
    assert json.loads((home / "episode.json").read_text())["digest"] == failure.digest
    assert "its last state is the logged one, bit for bit" in capsys.readouterr().out


def test_several_failures_at_once(run: Path, tmp_path: Path) -> None:
    assert main([str(run), "--failures", "4", "--no-plots", "--out", str(tmp_path)]) == 0
    wanted = {f"row_{failure.row}_tick_{failure.tick}" for failure in past_of(run).failures[-4:]}
    assert {path.name for path in tmp_path.iterdir()} == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--row", "1"], "--row and --tick belong together"),
        (["--row", "1", "--tick", "2", "--failures", "3"], "--failures chooses rows and ticks itself"),
        (["--failures", "0"], "--failures is 0; it is at least 1."),
        (["--row", "99", "--tick", "2"], "--row names row 99, but there are 8 rows, counted from 0."),
        (["--row", "0-x", "--tick", "2"], "--row takes rows such as 0-15 or 3,17, but was given '0-x'."),
        (["--row", "0", "--tick", "999"], "--tick 999 is not one of the run's ticks 0 to 250."),
        (["--row", "all", "--tick", "2", "--mcap", "a.mcap"], "--mcap writes one episode; say which:"),
        (["--rwo", "1"], "Unrecognized arguments: --rwo 1."),
    ],
)
def test_bad_input_is_one_sentence(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1


def test_a_folder_that_is_no_run_and_a_scene_that_changed_are_sentences(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a run folder." in capsys.readouterr().err
    scene = run.parent / "toy.py"
    text = scene.read_text()
    try:
        scene.write_text(text + "\n# changed\n")
        assert main([str(run)]) == 2
        assert "changed since." in capsys.readouterr().err
        assert main([str(run), "--allow-changes"]) == 0
    finally:
        scene.write_text(text)


def test_a_scene_that_does_not_say_when_episodes_end_is_refused(tmp_path: Path) -> None:
    bundle = Bundle("b", [toy_scene.Point])
    made = build(Scene([toy_scene.table("point", rows=1)], [bundle], Tick(("STEP",)), name="still"))
    with pytest.raises(ReplayError, match="The scene 'still' does not say when its episodes end"):
        RunReplay(tmp_path, lambda: made)


# The tracking scene: physics, a policy that learns, and rows that run alone.


def test_failures_of_the_tracking_scene_are_recreated_with_the_rows_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    folder, scene = tmp_path / "run", REPOSITORY / "scenes" / "motion_tracking.py"
    flags = ["--iterations", "2", "--checkpoint-every", "1", "--learning.horizon", "24", "--record", "0-7"]
    assert train([str(scene), *TINY, *flags, "--set", TERMINATION, "--out", str(folder)]) == 0
    past = past_of(folder)
    assert len(past.failures) >= 6
    late = [failure.row for failure in past.failures if failure.tick > 24]
    assert len(late) > len({*late})  # a row failed twice after the last learning: both are replayed alone, together
    episodes = past.episodes([(failure.row, failure.tick) for failure in past.failures])
    recording = Recording.open(folder / FRAMES)
    for failure, episode in zip(past.failures, episodes, strict=True):
        seen = compare(recording, episode, failure)
        assert seen.different == () and seen.numbers > 1000 and episode.digest == failure.digest
    alone = [past.episodes([(failure.row, failure.tick)])[0].alone for failure in past.failures]
    learned = [24 if failure.tick > 24 else -1 for failure in past.failures]
    since_learning = [int((each.ticks > tick).sum()) for each, tick in zip(episodes, learned, strict=True)]
    assert all(ticks in (0, most) for ticks, most in zip(alone, since_learning, strict=True)) and any(alone)
    file, last = folder / "fall.npz", episodes[-1]
    which = ["--row", str(last.row), "--tick", str(last.ticks[-1]), "--no-film", "--no-plots"]
    capsys.readouterr()
    assert main([str(folder), *which, "--clip", str(file)]) == 0
    assert f"{file}: {len(last.ticks)} frames at 50 per second" in capsys.readouterr().out
    (clip,) = read_clips(str(file))
    assert isinstance(clip, Clip) and clip.action is not None
    np.testing.assert_allclose(clip.root_position, last.columns["robot.RootState.position"], atol=1e-6)
    np.testing.assert_array_equal(clip.action[0], 0.0)  # nothing had been done when the episode began
    np.testing.assert_array_equal(clip.action, last.columns["robot.Action.value"])


def test_a_clip_that_cannot_be_written_is_refused_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    made = Experiment(train=lambda: Scene([], [], Tick(("STEP",))))
    with pytest.raises(SceneError, match=r"episodes are no motion clips, so that --clip has nothing to write"):
        refuse_clip(tmp_path / "a.npz", made)
    made = attrs.evolve(made, clip_episode=EpisodeFile((".npz", ".pkl"), lambda columns, path: {}))
    refuse_clip(tmp_path / "a.npz", made)
    with pytest.raises(SceneError, match=r"ends in '.bvh'; a clip ends in .npz, .pkl"):
        refuse_clip(tmp_path / "a.bvh", made)
    (tmp_path / "a.npz").touch()
    with pytest.raises(SceneError, match=r"a.npz would be replaced. Name another file after --clip"):
        refuse_clip(tmp_path / "a.npz", made)
    assert main([str(tmp_path), "--clip", "a.npz"]) == 2
    assert "--clip writes episodes; say which:" in capsys.readouterr().err
    (tmp_path / "b_row_3_tick_290.npz").touch()
    with pytest.raises(SceneError, match=r"b_row_3_tick_290.npz would be replaced"):
        refuse_clip(tmp_path / "b.npz", made)
    refuse_clip(tmp_path / "b.pkl", made)


def test_episodes_of_every_row_are_kept_as_clips_by_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    """At tick 20 rows are in episodes of different lengths; a pkl holds all of them, of npz there is one for each."""
    folder, scene = tmp_path / "run", REPOSITORY / "scenes" / "motion_tracking.py"
    flags = ["--iterations", "1", "--learning.horizon", "24", "--set", TERMINATION]
    assert train([str(scene), *TINY, *flags, "--out", str(folder)]) == 0
    past = past_of(folder)
    episodes = {each.name: each for each in past.episodes([(row, 20) for row in range(8)])}
    assert len(episodes) == 8
    capsys.readouterr()
    which = ["--row", "all", "--tick", "20", "--no-film", "--no-plots"]
    assert main([str(folder), *which, "--clip", str(tmp_path / "all.pkl")]) == 0
    assert f"{tmp_path / 'all.pkl'}: 8 clips, " in capsys.readouterr().out.replace("\n", "")
    assert main([str(folder), *which[:1], "0-2,5", *which[2:], "--clip", str(tmp_path / "some.npz")]) == 0
    clips = {clip.name: clip for clip in read_clips(str(tmp_path / "all.pkl"))}
    assert sorted(clips) == sorted(episodes)
    files = {path.stem.removeprefix("some_"): path for path in tmp_path.glob("some_*.npz")}
    assert sorted(files) == sorted(name for name, each in episodes.items() if each.row in (0, 1, 2, 5))
    for name, episode in episodes.items():
        (alone,) = read_clips(str(files[name])) if name in files else (clips[name],)
        for clip in (clips[name], alone):
            assert isinstance(clip, Clip)
            for part, address in (("root_position", "RootState.position"), ("dof_position", "DofState.position")):
                np.testing.assert_allclose(getattr(clip, part), episode.columns[f"robot.{address}"], atol=1e-6)
            np.testing.assert_array_equal(clip.action, episode.columns["robot.Action.value"])


def test_of_several_episodes_those_without_motion_are_left_out_and_said(tmp_path: Path) -> None:
    def of(row: int, ticks: int) -> EpisodeReplay:
        return EpisodeReplay(row, np.arange(ticks), {"a": np.zeros(ticks)}, True, (), "")

    wrote: dict[str, list[str]] = {}

    def write(episodes: Any, path: Path) -> dict[str, str]:
        wrote[path.name] = [*episodes]
        return {"clip": str(path)}

    kind = EpisodeFile((".npz", ".pkl"), write, several=(".pkl",))
    episodes = [of(0, 5), of(1, 1), of(2, 4)]
    written = write_clips(kind, episodes, tmp_path / "a.pkl")
    assert wrote == {"a.pkl": ["row_0_tick_4", "row_2_tick_3"]}
    assert written["row_1_tick_0"]["clip"].startswith("none") and written["row_2_tick_3"]["clip"].endswith("a.pkl")
    assert write_clips(kind, episodes[:2], tmp_path / "b.npz")["row_0_tick_4"]["clip"].endswith("b_row_0_tick_4.npz")
    assert wrote["b_row_0_tick_4.npz"] == ["b_row_0_tick_4"]
    write_clips(kind, episodes[:1], tmp_path / "c.npz")
    assert wrote["c.npz"] == ["c"]
