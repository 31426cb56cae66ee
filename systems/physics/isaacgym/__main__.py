"""The command `python -m systems.physics.isaacgym selfcheck`: whether Isaac Gym is here as the backend assumes it to be."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.errors import LockstepError, SceneError
from engine.files import file_errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; 0 where all assumptions hold, 1 where one does not, 2 for bad input."""
    parser = argparse.ArgumentParser("python -m systems.physics.isaacgym", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("selfcheck", help="measure what the backend assumes of Isaac Gym, and write a report")
    check.add_argument(
        "--python", default="", help="the Python 3.8 that has Isaac Gym; by default LOCKSTEP_ISAACGYM_PYTHON"
    )
    check.add_argument("--device", default="cpu", help="cpu, or cuda for the pipeline on the GPU")
    check.add_argument("--envs", type=int, nargs="*", default=[256], help="numbers of rows whose speed is measured")
    check.add_argument("--report", type=Path, help="a file for the report, as JSON")
    given = parser.parse_args(arguments)
    try:
        return _selfcheck(given)
    except LockstepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _selfcheck(given: argparse.Namespace) -> int:
    from systems.physics.isaacgym.selfcheck import SelfCheck

    if given.device not in ("cpu", "cuda"):
        raise SceneError(f"--device {given.device} is none; give cpu, or cuda.")
    if any(rows < 1 for rows in given.envs):
        raise SceneError("--envs takes numbers of rows above 0.")
    check = SelfCheck(given.python, gpu=given.device == "cuda", say=print)
    if given.report is not None:
        with file_errors(f"{given.report} cannot be written", cure=" Name another --report."):
            given.report.parent.resolve(strict=True)
    check.run(given.envs)
    if check.about.get("runtime") == "standin":
        print("This was a stand-in for Isaac Gym, not Isaac Gym: nothing here is about the real one.")
    if given.report is not None:
        with file_errors(f"{given.report} cannot be written", cure=" Name another --report."):
            check.write(given.report)
        print(f"report: {given.report}")
    print("FAILED: an assumption does not hold" if check.failed else "all assumptions hold")
    return int(check.failed)


if __name__ == "__main__":
    sys.exit(main())
