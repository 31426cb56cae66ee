"""The command `python -m engine.replay RUN [--row R --tick T]`: see episodes of a run's environments again."""

import argparse
import re
from collections.abc import Mapping, Sequence
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ReplayError, SceneError, listing
from engine.files import file_errors, json_bytes, write_file
from engine.recording.recorder import parse_rows
from engine.runner.cli import ArgumentParser, reporting_errors
from engine.runner.config import make_plan
from engine.runner.console import make_console, print_facts, progress_bar
from engine.runner.experiment import EpisodeFile, Experiment
from engine.runner.mcap_file import refuse_mcap, write_mcap
from engine.runner.replay import EpisodeReplay, LoggedFailure, RunReplay
from engine.runner.resume import changes_since
from engine.tools.figures import file_figure

PROGRAM = "python -m engine.replay"
_LISTED = 20
_PANELS = 3  # side by side
_MOST_LINES = 40
_COLOURS = tuple(f"C{number}" for number in range(10))


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 an episode is not what was logged, 2 bad input, 130 interrupted."""
    return reporting_errors(lambda words: _replay(_parser().parse_args(words)), arguments)


def _parser() -> ArgumentParser:
    about = "Re-create episodes of a run, bit for bit. Alone, RUN lists what failed last."
    parser = ArgumentParser(PROGRAM, description=about)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--row", metavar="R", help="which environment; 0-15, 3,17 or all for the episodes of several")
    parser.add_argument("--tick", type=int, metavar="T", help="a tick of the episode, such as the one it failed in")
    parser.add_argument("--failures", type=int, metavar="N", help="the last N failures that were logged, instead")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write, instead of RUN/replays")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="write what rows did as motion clips, too")
    parser.add_argument("--mcap", type=Path, metavar="FILE", help="write the episode as an MCAP file for Foxglove, too")
    parser.add_argument("--no-film", action="store_true", help="columns and plots only")
    parser.add_argument("--no-plots", action="store_true", help="no plots")
    parser.add_argument("--allow-changes", action="store_true", help="although the scene or a package changed since")
    return parser


def _replay(given: argparse.Namespace) -> int:
    if (given.row is None) != (given.tick is None):
        raise ReplayError(f"--row and --tick belong together: {PROGRAM} {given.run} --row R --tick T.")
    if given.row is not None and given.failures is not None:
        raise ReplayError("--failures chooses rows and ticks itself; leave out --row and --tick.")
    if given.failures is not None and given.failures < 1:
        raise ReplayError(f"--failures is {given.failures}; it is at least 1.")
    if given.clip is not None and given.row is None and given.failures is None:
        raise ReplayError(
            f"--clip writes episodes; say which: {PROGRAM} {given.run} --row all --tick T --clip {given.clip}, or --failures N."
        )
    if given.mcap is not None:
        if given.row is None or not given.row.isdecimal():
            raise ReplayError(
                f"--mcap writes one episode; say which: {PROGRAM} {given.run} --row R --tick T --mcap {given.mcap}."
            )
        refuse_mcap(given.mcap)
    console = make_console()
    past, experiment = open_replay(
        given.run, lambda text: console.print(f"! {text}", markup=False), given.allow_changes
    )
    if given.clip is not None:
        refuse_clip(given.clip, experiment)
    if given.row is None and given.failures is None:
        return _list(past, console)
    if given.row is not None:
        asked = f"0-{past.rows - 1}" if given.row == "all" else given.row
        wanted = [(row, given.tick) for row in parse_rows(asked, past.rows, flag="--row", most=past.rows)]
    else:
        wanted = [(failure.row, failure.tick) for failure in past.failures[-given.failures :]]
        if not wanted:
            raise ReplayError(f"{given.run} has logged no failures.")
    with progress_bar(console, "") as move:
        episodes = past.episodes(wanted, lambda done, of, text: move(done, of, f"{text}, {done} of {of} ticks"))
    status = 0
    clips = write_clips(experiment.clip_episode, episodes, given.clip) if given.clip and experiment.clip_episode else {}
    for (row, tick), episode in zip(wanted, episodes, strict=True):
        home = (given.out or given.run / "replays") / episode.name
        logged = past.logged(row, tick)
        if logged and logged.digest != episode.digest:
            status = 1
        print_facts(console, {**_write(home, episode, logged, given, experiment, clips.get(episode.name, {}))})
    return status


def refuse_clip(path: Path, experiment: Experiment) -> None:
    """SceneError where no clip can be written to `path`, before anything is simulated."""
    if experiment.clip_episode is None:
        raise SceneError(
            "This scene's episodes are no motion clips, so that --clip has nothing to write; leave it out."
        )
    if path.suffix.lower() not in experiment.clip_episode.endings:
        raise SceneError(
            f"--clip {path} ends in '{path.suffix}'; a clip ends in {listing(experiment.clip_episode.endings)}."
        )
    for taken in (path, *sorted(path.parent.glob(f"{escape(path.stem)}_row_*{escape(path.suffix)}"))):
        if taken.exists():
            raise SceneError(f"{taken} would be replaced. Name another file after --clip.")


def write_clips(kind: EpisodeFile, episodes: Sequence[EpisodeReplay], path: Path) -> Mapping[str, Mapping[str, str]]:
    """Keep what rows did in one file, or in one beside the other with names such as FILE_row_3_tick_290; what was written, by episode.

    Of several episodes those that have no motion in them, since nothing but their reset is there, are left out.
    """
    if len(episodes) == 1:
        return {episodes[0].name: kind.write({path.stem: episodes[0].columns}, path)}
    lasting = {each.name: each.columns for each in episodes if len(each.ticks) > 1}
    left_out = {"clip": "none, as no whole control step of it is over"}
    facts: dict[str, Mapping[str, str]] = {each.name: left_out for each in episodes}
    if lasting and path.suffix.lower() in kind.several:
        return facts | dict.fromkeys(lasting, kind.write(lasting, path))
    for name, columns in lasting.items():
        own = f"{path.stem}_{name}"
        facts[name] = kind.write({own: columns}, path.with_stem(own))
    return facts


def open_replay(folder: Path, warn: Any, allow_changes: bool = False) -> tuple[RunReplay, Experiment]:
    """Replay of a run folder, and the experiment of its scene, which films and keeps episodes.

    Raises SceneError where it is no run folder, and where its provenance has changed since.
    """
    if not folder.is_dir():
        raise SceneError(f"{folder} is not a run folder.")
    plan = make_plan(["--resume", str(folder), *(["--allow-changes"] if allow_changes else [])])
    experiment = plan.experiment()
    past = RunReplay(folder, partial(plan.build, experiment), warn, any_identity=allow_changes)
    changes_since(plan, experiment, warn)
    return past, experiment


def _list(past: RunReplay, console: Any) -> int:
    from rich.table import Table

    if not past.failures:
        console.print(f"{past.folder} has logged no failures; any episode can be seen: {_line(past, 'R', 'T')}")
        return 0
    table = Table(box=None, pad_edge=False)
    for head in ("tick", "row", "ticks long", "why", "see it again"):
        table.add_column(head, justify="right" if head in ("tick", "row", "ticks long") else "left")
    for failure in past.failures[-_LISTED:]:
        long = "?" if failure.first_tick is None else str(failure.tick - failure.first_tick)
        why = ", ".join(failure.reasons)
        table.add_row(str(failure.tick), str(failure.row), long, why, _line(past, failure.row, failure.tick))
    console.print(table)
    console.print(f"{len(past.failures)} failures are logged, the last {min(_LISTED, len(past.failures))} are shown")
    return 0


def _line(past: RunReplay, row: int | str, tick: int | str) -> str:
    return f"{PROGRAM} {past.folder} --row {row} --tick {tick}"


def _write(
    home: Path, episode: EpisodeReplay, logged: LoggedFailure | None, given: argparse.Namespace, experiment: Experiment,
    clip: Mapping[str, str],
) -> Mapping[str, str]:  # fmt: skip
    """Columns, plots, film and a summary in one folder; what they show, and what is known of a clip."""
    show = experiment.film_episode
    first, last = int(episode.ticks[0]), int(episode.ticks[-1])
    if logged is None:
        proof = "this episode was not logged"
    elif logged.digest == episode.digest:
        proof = "its last state is the logged one, bit for bit"
    else:
        proof = f"NOT what was logged: the digest is {episode.digest}, in the log {logged.digest}"
    seen = {
        "episode": f"row {episode.row}, ticks {first} to {last}" + ("" if episode.ended else ", still going on"),
        "ended by": ", ".join(episode.reasons),
        "proof": proof,
        "simulated": f"{episode.alone} ticks without the other rows" if episode.alone else "",
    }
    with file_errors(f"{home} cannot be written to"):
        home.mkdir(parents=True, exist_ok=True)
        with open(home / "columns.npz", "wb") as file:
            labels = {f"labels {address}": np.array(own) for address, own in episode.labels.items() if own[1:]}
            arrays: dict[str, Any] = {"tick": episode.ticks, **episode.columns, **labels}
            np.savez_compressed(file, **arrays)
        seen["columns"] = str(home / "columns.npz")
        if not given.no_plots:
            seen["plots"] = f"{draw(home / 'plots', episode)} pictures in {home / 'plots'}"
        seen |= clip
        if given.mcap is not None:
            seen |= write_mcap(given.mcap, episode, experiment.display)
        if show is not None and not given.no_film:
            seen |= {**show(episode.columns, home / "film.mp4"), "film": str(home / "film.mp4")}
        write_file(home / "episode.json", json_bytes({**seen, "digest": episode.digest}))
    return seen


def draw(folder: Path, episode: EpisodeReplay) -> int:
    """One picture per component, one panel per column, over ticks; how many there are."""
    folder.mkdir(exist_ok=True)
    groups: dict[str, list[str]] = {}
    for address in episode.columns:
        groups.setdefault(address.rpartition(".")[0], []).append(address)
    for component, addresses in groups.items():
        wide = min(len(addresses), _PANELS)
        tall = -(-len(addresses) // wide)
        figure = file_figure(6.4 * wide, 3.0 * tall)
        for place, address in enumerate(addresses, 1):
            axes = figure.add_subplot(tall, wide, place)
            _draw_column(axes, episode, address)
        figure.suptitle(f"{component}, row {episode.row}", fontsize=10)
        figure.savefig(folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', component)}.png", dpi=90)
    return len(groups)


def _draw_column(axes: Any, episode: EpisodeReplay, address: str) -> None:
    values = episode.columns[address].reshape(len(episode.ticks), -1)
    labels, unit = episode.labels[address], episode.units[address]
    first = int(address in episode.signals)
    shown = values[first:, :_MOST_LINES].astype(np.float64)
    style = "steps-post" if values.dtype.kind in "biu" else "default"
    lines = axes.plot(episode.ticks[first:], shown, linewidth=0.8, drawstyle=style)
    for number, line in enumerate(lines):
        line.set_color(_COLOURS[number % len(_COLOURS)])
        line.set_linestyle(("-", "--", ":", "-.")[number // len(_COLOURS) % 4])
    more = f", the first {shown.shape[1]} of {values.shape[1]}" if values.shape[1] > _MOST_LINES else ""
    axes.set_title(address.rpartition(".")[2] + (f" ({unit})" if unit else "") + more, fontsize=9)
    axes.set_xlabel("tick", fontsize=7)
    if len(lines) > 1:
        axes.legend(
            lines, labels[: len(lines)], fontsize=5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5),
            ncols=-(-len(lines) // 20), handlelength=1.2, columnspacing=0.8, labelspacing=0.25,
        )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
