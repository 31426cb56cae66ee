"""The command `lockstep evaluate`: everything that is measured of trained policies, as JSON and as one HTML page."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from engine.errors import SceneError
from engine.files import file_errors, json_bytes, write_file
from engine.trained import TrainedPolicy, make_console, print_facts, refuse_unusable, results_table
from systems.reporting.evaluation import Evaluation
from systems.reporting.policies import open_policies, trial_of, with_episodes
from systems.reporting.trials import has_noise

PROGRAM = "lockstep evaluate"
SEEDS = 3
MOST_SEEDS = 1000
MOST_EPISODES = 100_000
NOISE = {"off": (False,), "on": (True,), "both": (False, True)}


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


def conditions(policies: Mapping[str, TrainedPolicy], noise: str | None) -> tuple[bool, ...]:
    """Whether there is noise, once for each time that everything is played; SceneError for noise that nothing has."""
    some = any(has_noise(trial_of(policy).scene().bundles) for policy in policies.values())
    if noise == "on" and not some:
        raise SceneError(
            "--noise on has no effect: no observation of these policies has noise in training. Leave it out."
        )
    return NOISE[noise or "both"] if some else (False,)


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
