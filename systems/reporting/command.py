"""The command `lockstep evaluate`: everything that is measured of trained policies, as JSON and as one HTML page."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import attrs

from components.observation import ObservationNoise
from engine import Bundle, Scene, Trial, World
from engine.ecs.bundle import Deferred
from engine.ecs.constants import apply_overrides
from engine.errors import SceneError, listing
from engine.files import file_errors, json_bytes, write_file
from engine.snapshot.snapshot import resources_in
from engine.trained import TrainedPolicy, draw, make_console, number, print_facts, refuse_unusable, results_table
from systems.episode_log import episode_log
from systems.reporting.figures import draw_contacts, draw_course, draw_joints, draw_training, run_colours
from systems.reporting.measures import (
    COMMANDS,
    FIXED,
    PLANTED_HEIGHT,
    PLANTED_SPEED,
    Episodes,
    leading_error,
    read_episodes,
)
from systems.reporting.page import ClipPictures, Report, ReportFilm, worst_clips
from systems.reporting.summary import (
    Example,
    Outcome,
    ReportColumn,
    Spread,
    about_run,
    column_of,
    families,
    short_names,
    together,
)

PROGRAM = "lockstep evaluate"
SEEDS = 3
MOST_SEEDS = 1000
MOST_EPISODES = 100_000
MOST_DRAWN = 4  # clips
NOISE = {"off": (False,), "on": (True,), "both": (False, True)}
PRINTED = (
    "episodes", "success %", "completion %", "length s", "MPJPE global mm", "R-MPKPE mm", "joints rad", "joint velocity rad/s",
    "end effectors mm", "linear velocity error m/s", "yaw rate error rad/s", "action rate", "power W", "cost of transport", "foot slip m/s", "return",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """argparse's parser, which raises a sentence for what it cannot parse."""

    def error(self, message: str) -> NoReturn:
        raise SceneError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """What may be typed."""
    made = _Parser(
        PROGRAM,
        usage=f"{PROGRAM} [SCENE.py] RUN [RUN ...] [--noise off|on|both] [--seeds N] [--episodes N] [--out FOLDER] [--no-film] [flags of the scene]",
        description="Measure trained policies of one scene (run folders, checkpoints or exported .lockstep files), side by side, and write "
        "evaluation.json and report.html. SCENE.py is for runs whose own scene file is not there any more.",
        epilog="Further flags are those of the scene, as python -m engine.run takes them with --eval, for all runs alike: "
        "--clip walk, --randomise-played mjlab_tracking, --set ADDRESS=VALUE. A run's own evaluation is left as it is.",
        allow_abbrev=False,
    )
    made.add_argument(
        "--noise", choices=[*NOISE], help="observation noise as in training (default: both, where there is any)"
    )
    made.add_argument("--seeds", type=int, default=SEEDS, help="how often everything is played (default: %(default)s)")
    made.add_argument(
        "--episodes",
        type=int,
        help="how many episodes are played with each seed (default: as many as the scene's evaluation has)",
    )
    made.add_argument("--out", type=Path, metavar="FOLDER", help="a new folder (default: evaluations/<time>)")
    made.add_argument("--no-film", action="store_true", help="make no films, which take longest")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure trained policies, side by side: JSON and one HTML page."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    options, of_scene = parser().parse_known_args(words[first:])
    if not [word for word in words[:first] if not word.endswith(".py")]:
        raise SceneError(f"Name the runs to measure before any flag, such as {PROGRAM} runs/motion_tracking/<time>.")
    scene_file = words[0] if words[0].endswith(".py") else None
    runs = [Path(word) for word in words[bool(scene_file) : first]]
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise SceneError(f"--seeds is {options.seeds}; give a number from 1 to {MOST_SEEDS}.")
    if options.episodes is not None and not 1 <= options.episodes <= MOST_EPISODES:
        raise SceneError(f"--episodes is {options.episodes}; give a number from 1 to {MOST_EPISODES}.")
    out = options.out or Path("evaluations") / datetime.now().strftime("%Y%m%d-%H%M%S")
    refuse_taken(out)
    console = make_console()
    policies = open_policies(runs, of_scene, console, scene_file)
    if options.episodes is not None:
        policies = {name: with_episodes(policy, options.episodes) for name, policy in policies.items()}
    evaluation = Evaluation(policies, conditions(policies, options.noise), range(options.seeds), console)
    with tempfile.TemporaryDirectory() as scratch:
        evaluation.measure()
        films = [] if options.no_film else evaluation.films(Path(scratch))
        report, found = evaluation.report(films, Path(scratch))
        page = report.write()
        with file_errors(f"{out} cannot be written", cure=" Choose another --out."):
            _write(out, {"evaluation.json": json_bytes(found), "report.html": page}, [film.path for film in films])
    console.print(results_table({"table": evaluation.printed()}))
    facts = {"numbers": str(out / "evaluation.json"), "page": f"{out / 'report.html'} ({len(page) / 1e6:.1f} MB)"}
    print_facts(console, facts)
    return 0


def refuse_taken(out: Path) -> None:
    """SceneError for a folder that holds something, or that cannot be made."""
    if out.is_dir() and any(out.iterdir()):
        raise SceneError(f"The folder {out} already holds files, and nothing is overwritten. Choose another --out.")
    if out.exists() and not out.is_dir():
        raise SceneError(f"--out is {out}, which is a file; the numbers, the page and the films need a new folder.")
    refuse_unusable(out)


def _write(out: Path, files: Mapping[str, bytes], films: Sequence[Path]) -> None:
    """Make the folder, whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, data in files.items():
            write_file(part / name, data)
        for film in films:
            shutil.copyfile(film, part / film.name)
        part.chmod(0o777 & ~_umask())
        os.rename(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# -- what is compared ----------------------------------------------------------------------------------


def open_policies(
    paths: Sequence[Path], words: Sequence[str], console: Any, scene_file: str | None = None
) -> dict[str, TrainedPolicy]:
    """Policies by a short name; SceneError for what is no policy, and for those that cannot stand side by side.

    `scene_file` is one in place of that which each was made with.
    """
    real = [path.resolve() for path in paths]
    twice = next((path for path, whole in zip(paths, real, strict=True) if real.count(whole) > 1), None)
    if twice is not None:
        raise SceneError(f"{twice} was given twice; name each run once.")
    found: dict[str, TrainedPolicy] = {}
    for name, path in zip(short_names(paths), paths, strict=True):
        policy = TrainedPolicy.open(path, words, console, scene_file=scene_file)
        if policy.experiment.evaluate is None:
            raise SceneError(
                f"The scene '{policy.scene.name}' of {path} has no evaluation, so there is nothing to measure. Give its Experiment "
                "evaluate=Trial(…), as docs/adding_a_task.md shows."
            )
        found[name] = policy
    refuse_unlike(found)
    return found


def with_episodes(policy: TrainedPolicy, count: int) -> TrainedPolicy:
    """The policy with so many rows in its evaluation. SceneError for a scene whose evaluation has a fixed number."""
    trial, clips = _trial(policy), len(policy.scene.identity.get("clips", ()))
    scene: Any = trial.scene
    if "rows" not in signature(scene).parameters:
        raise SceneError(
            f"--episodes has no effect: the evaluation of the scene '{policy.scene.name}' has a fixed number. Leave it out, or give the "
            "function that is its Trial's scene a parameter rows with that number as default."
        )
    if count < clips:
        raise SceneError(
            f"--episodes is {count}, but there are {clips} clips, and each is played. Give at least {clips}."
        )
    more = attrs.evolve(trial, scene=partial(scene, rows=count))
    return attrs.evolve(policy, experiment=attrs.evolve(policy.experiment, evaluate=more))


def refuse_unlike(policies: Mapping[str, TrainedPolicy]) -> None:
    """SceneError for policies of different scenes, robots or clips."""
    (first, one), *others = policies.items()
    for name, other in others:
        if one.scene.name != other.scene.name:
            raise SceneError(
                f"{first} is of the scene '{one.scene.name}' and {name} of '{other.scene.name}'; evaluate those of one scene together."
            )
        for part in {**one.scene.identity, **other.scene.identity}:
            values = [_words(policy.scene.identity.get(part)) for policy in (one, other)]
            if values[0] != values[1]:
                again = (
                    f"say --clip for all of them, such as --clip {values[0].split(', ')[0]}" if part == "clips" else ""
                )
                raise SceneError(
                    f"{first} has the {part} {values[0]}, and {name} has {values[1]}: numbers of different {part} cannot stand side by "
                    f"side. {again[:1].upper()}{again[1:]}{', or e' if again else 'E'}valuate each of them alone."
                )


def _words(value: Any) -> str:
    return listing(map(str, value), 5) if isinstance(value, (list, tuple)) else str(value)


def conditions(policies: Mapping[str, TrainedPolicy], noise: str | None) -> tuple[bool, ...]:
    """Whether there is noise, once for each time that everything is played; SceneError for noise that nothing has."""
    some = any(has_noise(_trial(policy).scene().bundles) for policy in policies.values())
    if noise == "on" and not some:
        raise SceneError(
            "--noise on has no effect: no observation of these policies has noise in training. Leave it out."
        )
    return NOISE[noise or "both"] if some else (False,)


def _trial(policy: TrainedPolicy) -> Trial:
    assert policy.experiment.evaluate is not None
    return policy.experiment.evaluate


def has_noise(bundles: Sequence[Bundle]) -> bool:
    """Whether some observation has noise, switched on or off."""
    systems = [each for bundle in bundles for phase in bundle.systems.values() for each in phase]
    return any("noisy" in s.constants and any(t.settings.get("noise") for t in s.terms.values()) for s in systems)


# -- measuring -----------------------------------------------------------------------------------------


def present_in(scene: Scene) -> set[type]:
    """Components and resources of a scene."""
    resources = (r.type if isinstance(r, Deferred) else type(r) for bundle in scene.bundles for r in bundle.resources)
    return {cls for bundle in scene.bundles for cls in bundle.components} | {*resources}


def control_step(bundles: Sequence[Bundle]) -> float | None:
    """The control step in s, which whoever adds up rewards knows; None where nobody does."""
    systems = [each for bundle in bundles for phase in bundle.systems.values() for each in phase]
    return next((float(s.constants["dt"]) for s in systems if s.name == "reward" and "dt" in s.constants), None)


def watched(trial: Trial, *, noisy: bool, data: bytes) -> Trial:
    """The trial with logs of its episodes, which stand under "episodes" in what it reads, and with noise where it is `noisy`."""

    def scene() -> Scene:
        made = trial.scene()
        if noisy:
            apply_overrides(made.bundles, dict.fromkeys(noise_switches(made.bundles), "true"))
        log = episode_log(present_in(made), frames=trial.ticks) if control_step(made.bundles) else None
        made.bundles = [*made.bundles, *([log] if log else [])]
        return made

    def read(world: World, path: Path) -> Mapping[str, Any]:
        dt = control_step(trial.scene().bundles)
        return {**trial.read(world, path), "episodes": read_episodes(world, dt) if dt else None}

    level = ObservationNoise.__name__
    learned = noisy and ObservationNoise in present_in(trial.scene()) and level in resources_in(data)
    return attrs.evolve(
        trial, scene=scene, read=read, beside={}, restores=(*trial.restores, *([level] if learned else []))
    )


def noise_switches(bundles: Sequence[Bundle]) -> list[str]:
    """Addresses of the constants that switch observation noise on."""
    return [
        f"{bundle.name}.{each.name}.noisy"
        for bundle in bundles
        for phase in bundle.systems.values()
        for each in phase
        if "noisy" in each.constants and any(t.settings.get("noise") for t in each.terms.values())
    ]


@attrs.define
class Evaluation:
    """Everything that is measured of policies, under conditions and with seeds."""

    policies: Mapping[str, TrainedPolicy]
    noise: Sequence[bool]
    seeds: Sequence[int]
    console: Any
    outcomes: list[Outcome] = attrs.field(factory=list)
    episodes: Episodes | None = None  # of one trial, for the names in it

    def measure(self) -> None:
        """Play every policy under every condition, once with each seed."""
        for name, policy in self.policies.items():
            for noisy in self.noise:
                outcome, trial = Outcome(name, noisy), watched(_trial(policy), noisy=noisy, data=policy.trials.data)
                for seed in self.seeds:
                    doing = f"{name}, {'with' if noisy else 'without'} noise, seed {seed}"
                    found = policy.play(trial, Path("evaluation"), doing, seed=seed)
                    outcome.add(seed, found.get("table") or [found.get("summary") or {}], found["episodes"])
                    self.episodes = self.episodes or found["episodes"]
                self.outcomes.append(outcome)

    def films(self, folder: Path) -> list[ReportFilm]:
        """A film of every policy: that of its run where it is newer than the checkpoint, else a new one."""
        made = []
        for number_, (name, policy) in enumerate(self.policies.items(), 1):
            if policy.experiment.film is None:
                continue
            path = folder / f"film_{number_}.mp4"
            own = own_film(policy)
            if own is not None:
                shutil.copyfile(own, path)
                shown = "the film that its training ended with"
            else:
                shown = str(
                    policy.play(policy.experiment.film, path, f"{name}, film", seed=0).get("shown", "one episode")
                )
            made.append(ReportFilm(name, path, shown))
        return made

    def columns(self) -> list[ReportColumn]:
        """A column for each policy and condition, and for runs that differ only in their seed."""
        found = [column_of(outcome) for outcome in self.outcomes]
        return [*found, *together(found, families(self.policies))]

    def printed(self) -> list[dict[str, Any]]:
        """What a terminal shows: a row for each column, of all clips together."""
        rows = []
        for column in self.columns():
            numbers = column.spreads.get("all") or next(iter(column.spreads.values()))
            texts = {name: _with_spread(name, numbers[name]) for name in PRINTED if name in numbers}
            rows.append({"": column.title, **texts})
        return rows

    def report(self, films: Sequence[ReportFilm], scratch: Path) -> tuple[Report, dict[str, Any]]:
        """The page, and the same as JSON has it."""
        policy = next(iter(self.policies.values()))
        runs = [about_run(name, each) for name, each in self.policies.items()]
        columns, facts = self.columns(), {"scene": policy.scene.name, **self._identity(policy)}
        differences = _differences(self.policies)
        protocol = self._protocol(policy)
        report = Report(
            title=f"Evaluation of {listing(self.policies, 4)}",
            facts=facts,
            protocol=protocol,
            runs=runs,
            differences=differences,
            colours=run_colours([*self.policies]),
            columns=columns,
            films=films,
            curve=self._curve(policy, scratch),
        )
        report.clips, report.notes = self._pictures(policy, report.colours)
        found = {
            "format": "lockstep evaluation 1",
            **facts,
            "protocol": protocol,
            "seeds": list(self.seeds),
            "runs": runs,
            "differences": differences,
            "results": [
                {"run": o.run, "noise": o.noisy, "seed": seed, "table": table}
                for o in self.outcomes
                for seed, table in zip(o.seeds, o.tables, strict=True)
            ],
            "spreads": [
                {
                    "of": column.name,
                    "noise": column.noisy,
                    "over": "runs" if column.runs > 1 else "seeds",
                    "clips": {
                        clip: {n: s.plain() for n, s in numbers.items()} for clip, numbers in column.spreads.items()
                    },
                }
                for column in columns
            ],
            "failures": [{"run": o.run, "noise": o.noisy, **failure} for o in self.outcomes for failure in o.failures],
        }
        return report, found

    def _identity(self, policy: TrainedPolicy) -> dict[str, Any]:
        found = {name: _words(value) for name, value in policy.scene.identity.items()}
        e = self.episodes
        if e is not None and e.reference is not None:
            seconds = ((e.clip_frames - 1) * e.dt).tolist()
            found["clips"] = listing((f"{n} ({s:.2f} s)" for n, s in zip(e.clips, seconds, strict=True)), 8)
        return found

    def _protocol(self, policy: TrainedPolicy) -> list[str]:
        e, flags = self.episodes, policy.plan.scene_flags
        rows = sum(table.rows for table in _trial(policy).scene().tables)
        words = [
            f"Every one of {rows} rows plays one episode by the mean of the policy, without exploration"
            + (" and pushes" if e is not None else "")
            + (", from the start of its clip." if e is not None and e.reference is not None else "."),
            "Frames count, and weigh alike, while their episode lasts: where episodes fail early, errors are small. Success stands beside them.",
            f"Seeds of the evaluation: {listing(map(str, self.seeds))}.",
        ]
        if True in self.noise:
            words.append(
                "With noise: what the policy sees is as noisy as in training. Without: it sees everything as it is."
            )
        elif e is not None:
            words.append("What the policy sees is without noise.")
        if "randomise_played" in flags:
            words.append(f"Drawn for every row (--randomise-played): {flags['randomise_played'].value}.")
        if policy.plan.departures:
            changes = (f"{flag} {value}" for flag, value in policy.plan.departures.items())
            words.append(f"Played otherwise than trained: {listing(changes)}.")
        return words

    def _curve(self, policy: TrainedPolicy, scratch: Path) -> bytes | None:
        records = {name: each.record() for name, each in self.policies.items()}
        known = {name: record for name, record in records.items() if record is not None and record.rows}
        if not known:
            return None
        if len(known) > 1 and [*known] not in families(self.policies).values():
            titles, panel = policy.experiment.titles, policy.experiment.panel
            return draw_training(known, panel, titles, run_colours([*self.policies]))
        draw(scratch / "curve.png", [*known.values()])
        return (scratch / "curve.png").read_bytes()

    def _pictures(self, policy: TrainedPolicy, colours: Mapping[str, str]) -> tuple[list[ClipPictures], dict[str, str]]:
        e = self.episodes
        if e is None:
            return [], {
                "hidden": "This scene has no robot whose joints and feet could be drawn; its film and curves are above."
            }
        played = dict.fromkeys(clip for outcome in self.outcomes for clip in outcome.alive)
        clips = worst_clips([column_of(outcome).spreads for outcome in self.outcomes], [*played])
        title, found = leading_error(e), []
        for clip in clips[:MOST_DRAWN]:
            calm: dict[str, Example] = {}
            for outcome in self.outcomes:  # without noise first
                if clip in outcome.examples:
                    calm.setdefault(outcome.run, outcome.examples[clip])
            found.append(
                ClipPictures(
                    clip,
                    draw_course(self.outcomes, clip, title, e.dt, colours),
                    draw_contacts(calm, e.feet, colours),
                    draw_joints(calm, e.joints, colours),
                    self._failed(clip),
                )
            )
        tracked = e.reference is not None
        notes = {
            "course": "Above: the share of episodes that go on, and how many failed in each fortieth of the time. Below: the "
            f"median of the error over episodes, {title}, and a band that holds eight of ten. "
            + ("Solid lines are without noise, dashed ones with it." if len(self.noise) > 1 else ""),
            "contacts": "One episode of each run"
            + (
                f", below the reference (grey), whose feet count as down while slower than {PLANTED_SPEED:g} m/s and within "
                f"{100 * PLANTED_HEIGHT:.0f} cm of their lowest place."
                if tracked and e.tracked_feet is not None
                else "."
            ),
            "joints": f"One episode of each run{', and the reference as a dashed line' if tracked else ''}; rad over s.",
        }
        if len(clips) > MOST_DRAWN:
            notes["hidden"] = (
                f"Drawn are the worst {MOST_DRAWN} of {len(clips)} clips; --clip NAME evaluates and draws another."
            )
        return found, notes

    def _failed(self, clip: str) -> str:
        """Who failed in a clip, and why, in words."""
        words = []
        for outcome in self.outcomes:
            own = [failure for failure in outcome.failures if failure["clip"] == clip]
            if own:
                reasons = [name for failure in own for name in failure["why"]]
                counts = {name: reasons.count(name) for name in dict.fromkeys(reasons)}
                why = listing(f"{name.replace('_', ' ')} {count}×" for name, count in counts.items())
                noise = "with" if outcome.noisy else "without"
                words.append(
                    f"{outcome.run} {noise} noise: {len(own)} {'failure' if len(own) == 1 else 'failures'} ({why})"
                )
        kind = "episodes" if clip == COMMANDS else "clip"
        return (
            "; ".join(words) + "."
            if words
            else f"Nobody failed in this {kind}."
            if kind == "clip"
            else "Nobody failed."
        )


def _with_spread(name: str, spread: Spread) -> str:
    deviation = "" if name in FIXED else spread.deviation()
    return f"{number(spread.mean)} ± {deviation}" if deviation else number(spread.mean)


def own_film(policy: TrainedPolicy) -> Path | None:
    """The film that a run ended with, where it shows this very policy."""
    if policy.folder is None or policy.plan.departures or not policy.given.is_dir():
        return None
    film = policy.folder / "film.mp4"
    newer = film.is_file() and film.stat().st_mtime >= policy.checkpoint.stat().st_mtime
    return film if newer else None


def _differences(policies: Mapping[str, TrainedPolicy]) -> str:
    """In what the configurations of runs differ, in words; "" where they do not, but for their seed."""
    plain = {name: policy.plan.plain() for name, policy in policies.items()}
    found = []
    for group in ("config", "flags", "overrides"):
        values = {
            name: p.get(group) if isinstance(p.get(group), Mapping) else {"config": p.get(group)}
            for name, p in plain.items()
        }
        for key in dict.fromkeys(key for each in values.values() for key in each or {}):
            texts = [str((each or {}).get(key)) for each in values.values()]
            if len(set(texts)) > 1:
                found.append(f"{key} ({', '.join(texts)})")
    return "; ".join(found)
