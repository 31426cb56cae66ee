"""Built-in clips take a second to make; the tests of the clip tools make each one once for a robot."""

from functools import cache

import pytest

from components.motion import Clip
from systems.motion.clips import make_clip
from systems.motion.tools import fitted
from tests.systems.motion.tools.robots import model


@cache
def _made(name: str, robot: str) -> Clip:
    return make_clip(name, model(robot).robot, model(robot))


@pytest.fixture(autouse=True)
def _made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name, robot, kinematics):
        return _made(name, "g1" if robot.name == "g1_29dof" else robot.name)

    monkeypatch.setattr(fitted, "make_clip", make)
