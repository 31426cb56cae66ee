"""Summary of a robot: what a person checks before training on it."""

from collections.abc import Iterator
from contextlib import contextmanager

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
def naming_robot(model: RobotModel) -> Iterator[None]:
    """Add what the robot is to the SceneError of whatever does not fit it; only for a robot that was read from a file."""
    try:
        yield
    except SceneError as error:
        if model.file is None:
            raise
        facts = robot_facts(model)
        shown = "; ".join(f"{name} {facts[name]}" for name in ("robot", "feet", "joints"))
        raise SceneError(f"{error}\nRead from {model.file.name}: {shown}.") from None


def _span(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
