"""Retargeting: how many motions of the data package become sound clips of a robot, and how fast.

    python -m benchmarks.retarget [--robot g1] [--json] [MOTION ...]

A MOTION is named as in `lockstep clips retarget`; all of the data package when left out.

slide     95th percentile and largest speed of points of the soles while they touch the floor, cm/s
sink      deepest point of a sole below the floor, cm
speed     of the fastest joint, as a share of its motor's
balance   share of the time on the floor in which it pushes within the soles, and by how much it is outside, 95th
          percentile, cm
rate      frames of 50 per second that are made in a second, on one core
"""

import argparse
import json
import sys
from time import perf_counter
from typing import Any

from scenes.robots import load
from systems.motion.retarget.command import read_motions
from systems.motion.retarget.human import HumanMotion
from systems.motion.retarget.limbs import Limbs, find_limbs
from systems.motion.retarget.make import retarget
from systems.robots.model import RobotModel, build_robot

COLUMNS = ("clip", "seconds", "slide", "slide_most", "sink", "speed", "balance", "outside", "rate", "findings")


def measure(human: HumanMotion, model: RobotModel, limbs: Limbs) -> dict[str, Any]:
    """The figures of one motion."""
    start = perf_counter()
    made = retarget(human, model, limbs=limbs)
    spent, quality = perf_counter() - start, made.quality
    return {
        "clip": human.name,
        "seconds": round(made.clip.seconds, 1),
        "slide": round(100.0 * quality.slide, 2),
        "slide_most": round(100.0 * quality.slide_most, 2),
        "sink": round(100.0 * quality.sink, 2),
        "speed": round(quality.speed, 2),
        "balance": round(quality.balanced, 2),
        "outside": round(100.0 * max(0.0, quality.outside), 1),
        "rate": round(made.clip.num_frames / spent),
        "findings": list(made.findings),
    }


def _cell(value: Any) -> str:
    return "; ".join(value) or "none" if isinstance(value, list) else str(value)


def main(arguments: list[str]) -> None:
    """Print a line for each motion, and how many are sound."""
    parser = argparse.ArgumentParser("python -m benchmarks.retarget")
    parser.add_argument("motions", nargs="*", default=["cmu"], metavar="MOTION")
    parser.add_argument("--robot", default="g1")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    model = build_robot(load(options.robot))
    limbs, rows = find_limbs(model), []
    if not options.json:
        print("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|")
    for human in read_motions(options.motions):
        rows.append(measure(human, model, limbs))
        if not options.json:
            print("| " + " | ".join(_cell(rows[-1][name]) for name in COLUMNS) + " |", flush=True)
    sound = sum(not row["findings"] for row in rows)
    if options.json:
        print(json.dumps({"robot": model.robot.name, "sound": sound, "motions": rows}))
    else:
        print(f"\n{sound} of {len(rows)} are sound clips of {model.robot.name}.")


if __name__ == "__main__":
    main(sys.argv[1:])
