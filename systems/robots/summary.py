"""Summary of a robot: what a person checks before training on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engine.errors import SceneError, listing
from systems.robots.model import RobotModel


def robot_facts(model: RobotModel) -> dict[str, str]:
    """What a robot is, stands on and is moved by, in words, by the name of the fact."""
    robot = model.robot
    default = robot.default_position.numpy()
    bent = [f"{n} {angle:.3g}" for n, angle in zip(robot.dof_names, default, strict=True) if angle]
    merged: dict[str, list[str]] = {}
    for name, into in model.merged.items():
        merged.setdefault(into, []).append(name)
    parts = [f"{listing(names, 3)} in {into}" for into, names in merged.items()]
    return {
        "robot": f"{robot.name}: {model.body_mass.sum():.1f} kg, {len(robot.body_names)} bodies, its root "
        f"({robot.body_names[0]}) stands at {robot.default_height:.3f} m",
        "feet": listing(robot.foot_names) or "none",
        "joints": f"{len(robot.dof_names)}: {listing(robot.dof_names, 40)}",
        "motors": f"{_span(robot.torque_limit.numpy())} N·m, stiffness {_span(robot.stiffness.numpy())} N·m/rad",
        "pose": listing(bent, 40) or "all joints at 0",
        "merged": listing(parts, 6),
    }


@contextmanager
def naming_robot(model: RobotModel, robot: str) -> Iterator[None]:
    """Add what the robot is to the SceneError of whatever does not fit it, where `robot` is the file that it was read from."""
    try:
        yield
    except SceneError as error:
        if model.file is None or Path(robot).name != model.file.name:
            raise
        facts = robot_facts(model)
        raise SceneError(
            f"{error}\nRead from {model.file.name}: robot {facts['robot']}; feet {facts['feet']}; "
            f"{len(model.robot.dof_names)} joints, {listing(model.robot.dof_names, 6)}."
        ) from None


def _span(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
