"""Speed of learning in the tracking scene: settings changed one at a time, several seeds, measured by evaluation.

    python -m benchmarks.learning [--variants laptop rows_1024 …] [--seeds 0 1 2] [--minutes 4] [--clip squat] [--out DIR]
    python -m benchmarks.learning --checkpoints RUN_FOLDER [...] [--every 50]
    python -m benchmarks.learning --read DIR

The first form trains each variant (all by default) for so many minutes, stops the clock every few iterations to evaluate
64 noise-free episodes from the clip's start, and appends every evaluation to DIR/<variant>_<seed>.jsonl. The second evaluates the
checkpoints of runs of `engine.run --checkpoint-every 25 --keep 1000`. The third prints the table of the first again.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from engine import Experiment, build
from engine.runner.checkpoint import checkpoints
from engine.runner.config import make_plan
from engine.runner.trial import run_trial
from engine.snapshot.snapshot import save
from scenes.motion_tracking import CONFIGS, experiment

VARIANTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {  # numbers of the configuration, constants by address
    "laptop": ({}, {}),
    "world_model": ({"learner": "world_model"}, {}),
    "rows_256": ({"num_envs": 256}, {}),
    "rows_1024": ({"num_envs": 1024}, {}),
    "rows_2048": ({"num_envs": 2048}, {}),
    "horizon_12": ({"horizon": 12}, {}),
    "horizon_48": ({"horizon": 48}, {}),
    "layers_128_64": ({"hidden": (128, 64)}, {}),
    "layers_512_256_128": ({"hidden": (512, 256, 128)}, {}),
    "substeps_2": ({"substeps": 2}, {}),
    "substeps_4": ({"substeps": 4}, {}),
    "torque": ({"control": "P", "substeps": 4}, {}),
    "gains_humanoidverse": ({"robot": "g1_humanoidverse", "control": "P", "substeps": 4}, {}),
    "around_default": ({"around": "default"}, {}),
    "exploration_0.5": ({"init_std": 0.5}, {}),
    "exploration_1.0": ({"init_std": 1.0}, {}),
    "robustness_0": ({"robustness": 0.0}, {}),
    "robustness_1": ({"robustness": 1.0}, {}),
    "epochs_3": ({}, {"ppo.improve_policy.epochs": "3"}),
    "epochs_8": ({}, {"ppo.improve_policy.epochs": "8"}),
    "minibatches_2": ({}, {"ppo.improve_policy.minibatches": "2"}),
    "minibatches_8": ({}, {"ppo.improve_policy.minibatches": "8"}),
    "desired_kl_0.01": ({}, {"ppo.improve_policy.desired_kl": "0.01"}),
    "desired_kl_0.04": ({}, {"ppo.improve_policy.desired_kl": "0.04"}),
    "entropy_0.005": ({}, {"ppo.improve_policy.entropy_weight": "0.005"}),
    "value_clip_0.2": ({}, {"ppo.improve_policy.value_clip": "0.2"}),
    "gamma_0.97": ({}, {"ppo.estimate_advantage.gamma": "0.97"}),
    "narrow_rewards": (
        {},
        {"tracking.reward.body_position.std": "0.15", "tracking.reward.body_orientation.std": "0.2"},
    ),
    "strict_endings": ({}, {f"tracking.terminate.{t}.most": "0.15" for t in ("anchor_height", "end_effector_height")}),
    "self_collision": ({"self_collision": True}, {}),
}
SHOWN = {
    "success %": "success %",
    "success 0.5 m %": "0.5 m %",
    "completion %": "of clip %",
    "MPJPE global mm": "global mm",
    "MPJPE local mm": "local mm",
    "MPJPE procrustes mm": "procrustes mm",
}


def study(name: str, seed: int, minutes: float, every: int, clip: str, out: Path) -> None:
    """Train one variant with one seed; the clock runs only while it learns."""
    numbers, constants = VARIANTS[name]
    made = experiment(CONFIGS["laptop"].replace(clip=clip, **numbers))
    simulation = build(made.train(), seed=seed, overrides=constants)
    rows, length, iterations, elapsed = simulation.scene.tables[0].rows, simulation.scene.iteration, 0, 0.0
    with (out / f"{name}_{seed}.jsonl").open("w", encoding="utf-8") as file:
        while elapsed < 60 * minutes:
            start = time.perf_counter()
            simulation.run(every * length)
            elapsed += time.perf_counter() - start
            iterations += every
            found = evaluate(made, save(simulation.world), seed, constants)
            steps = iterations * length * rows
            row = {"variant": name, "seed": seed, "clip": clip, "minutes": elapsed / 60, "iterations": iterations}
            file.write(json.dumps({**row, "million steps": steps / 1e6, **found}) + "\n")
            file.flush()
            print(line({**row, "million steps": steps / 1e6, **found}), flush=True)


def evaluate(made: Experiment, snapshot: bytes, seed: int, constants: Mapping[str, str]) -> Mapping[str, Any]:
    """The summary of the evaluation of a snapshot."""
    assert made.evaluate is not None
    found = run_trial(made.evaluate, snapshot, Path("nothing"), training=made.train(), seed=seed, overrides=constants)
    summary: Mapping[str, Any] = found["summary"]
    return summary


def evaluate_checkpoints(run: Path, every: int) -> Iterable[dict[str, Any]]:
    """Evaluate every so many iterations of a run; minutes are those that its panel counted."""
    plan = make_plan(["--eval", str(run)])
    made = plan.experiment()
    scene = made.train()
    times = {row["iteration"]: row["elapsed"] / 60 for row in map(json.loads, (run / "timing.jsonl").open())}
    rows, seed = scene.tables[0].rows, plan.settings.seed
    for path in reversed(checkpoints(run)):
        iterations = int(path.stem.split("_")[1])
        if iterations % every:
            continue
        found = evaluate(made, path.read_bytes(), seed, plan.overrides)
        yield {
            "variant": run.name,
            "seed": seed,
            "minutes": times.get(iterations, math.nan),
            "iterations": iterations,
            "million steps": iterations * scene.iteration * rows / 1e6,
            **found,
        }


def line(row: Mapping[str, Any]) -> str:
    """One evaluation as a row of a Markdown table."""
    found = " | ".join(f"{row.get(key, math.nan):.1f}" for key in SHOWN)
    return f"| {row['variant']} | {row['seed']} | {row['minutes']:.1f} | {row['iterations']} | {row['million steps']:.2f} | {found} |"


HEADING = f"| variant | seed | minutes | iterations | M steps | {' | '.join(SHOWN.values())} |\n|{' --- |' * (5 + len(SHOWN))}"


def summary(folder: Path) -> str:
    """The last evaluation of every study, the minute in which success first reached 95 %, and training speed."""
    lines = ["| variant | seed | steps/s | minutes to 95 % | success % | local mm | global mm |", f"|{' --- |' * 7}"]
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
        if not rows:
            continue
        last = rows[-1]
        reached = next((f"{row['minutes']:.1f}" for row in rows if row["success %"] >= 95.0), "–")
        speed = last["million steps"] * 1e6 / (60 * last["minutes"])
        lines.append(
            f"| {last['variant']} | {last['seed']} | {speed:,.0f} | {reached} | {last['success %']:.0f} "
            f"| {last['MPJPE local mm']:.1f} | {last['MPJPE global mm']:.1f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the study, or print what runs and studies have measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--every", type=int, default=25, help="iterations between evaluations")
    parser.add_argument("--clip", default="squat")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--checkpoints", type=Path, nargs="+", metavar="RUN_FOLDER")
    parser.add_argument("--read", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.read:
        print(summary(given.read))
        return 0
    print(HEADING)
    if given.checkpoints:
        for run in given.checkpoints:
            for row in evaluate_checkpoints(run, given.every):
                print(line(row), flush=True)
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        for name in given.variants:
            study(name, seed, given.minutes, given.every, given.clip, given.out)
    print(summary(given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
