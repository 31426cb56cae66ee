"""Two published conventions at a time leave a motion as it is, or are refused with a cure that gives it back when typed."""

import re
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from components.motion import Clip
from engine.errors import SceneError
from scenes import robots
from systems.maths import quaternion
from systems.maths.rotation import rotate, yawed
from systems.motion.check import verify_clip
from systems.motion.files import read_clips
from systems.motion.joint_orders import BREADTH_FIRST_ORDER
from systems.motion.kinematics import resample
from systems.robots.model import RobotModel, build_robot
from tests.helpers import needs_g1
from tests.made_clips import clip_made_once

TYPED = r"(?:as|Write|or|write) (\S*takes\.\w+(?::[\w-]+)+)"  # what a sentence tells a person to type


@attrs.frozen(eq=False)
class Table:
    """A clip as it is about to be written; quaternions scalar first, metres and radians until the end."""

    position: np.ndarray
    rotation: np.ndarray
    angles: np.ndarray
    names: tuple[str, ...]
    scalar_last: bool = False
    header: bool = False
    degrees: bool = False
    unit: float = 1.0
    mark: str = ","

    def text(self) -> str:
        """The lines of the file."""
        turns = np.roll(self.rotation, -1, -1) if self.scalar_last else self.rotation
        angles = np.degrees(self.angles) if self.degrees else self.angles
        rows = np.concatenate((self.unit * self.position, turns, angles), 1)
        parts = ("qx", "qy", "qz", "qw") if self.scalar_last else ("qw", "qx", "qy", "qz")
        names = ["root_x", "root_y", "root_z", *(f"root_{part}" for part in parts), *self.names]
        lines = [self.mark.join(names)] if self.header else []
        return "\n".join([*lines, *(self.mark.join(f"{value:.9f}" for value in row) for row in rows)])


def breadth_first(table: Table) -> Table:
    """Joints as PhysX counts them."""
    names = BREADTH_FIRST_ORDER[len(table.names)]
    return attrs.evolve(table, angles=table.angles[:, [table.names.index(name) for name in names]], names=names)


def turned(table: Table) -> Table:
    """The motion begins with a heading of 135°."""
    turn = yawed(np.array([np.radians(135.0)]))
    return attrs.evolve(
        table,
        position=rotate(turn, table.position),
        rotation=quaternion.multiply(torch.from_numpy(turn), torch.from_numpy(table.rotation)).numpy(),
    )


def windowed(table: Table) -> Table:
    """Two seconds out of the middle."""
    rows = slice(50, 110)
    arrays = {name: getattr(table, name)[rows] for name in ("position", "rotation", "angles")}
    return attrs.evolve(table, **arrays)


def flipped(table: Table) -> Table:
    """Every seventh quaternion has the other sign."""
    signs = np.where(np.arange(len(table.rotation)) % 7 == 0, -1.0, 1.0)
    return attrs.evolve(table, rotation=table.rotation * signs[:, None])


CONVENTIONS: dict[str, Callable[[Table], Table]] = {
    "scalar last": lambda table: attrs.evolve(table, scalar_last=True),
    "degrees": lambda table: attrs.evolve(table, degrees=True),
    "centimetres": lambda table: attrs.evolve(table, unit=100.0),
    "breadth first": breadth_first,
    "header": lambda table: attrs.evolve(table, header=True),
    "semicolons": lambda table: attrs.evolve(table, mark=";"),
    "signs": flipped,
    "far away": lambda table: attrs.evolve(table, position=table.position + np.array((60.0, -60.0, 0.0))),
    "turned": turned,
    "window": windowed,
    "hovering": lambda table: attrs.evolve(table, position=table.position + np.array((0.0, 0.0, 0.1))),
}


@cache
def g1() -> RobotModel:
    """The G1 with 29 joints."""
    return build_robot(robots.load("g1"))


@cache
def motion(name: str) -> Table:
    """A clip of ours at the rate that a table without a word is taken to have."""
    model = g1()
    clip = resample(clip_made_once(name, model.robot, model), 30.0)
    return Table(clip.root_position, clip.root_rotation, clip.dof_position, model.robot.dof_names)


def verified(spec: str) -> Clip:
    """The clip, as the G1 would follow it."""
    (clip,) = read_clips(spec)
    assert isinstance(clip, Clip)
    return verify_clip(clip, g1().robot, g1())[0]


def same(clip: Clip, table: Table) -> bool:
    """Whether a clip is the motion of a table, whose joints may be in another order."""
    order = [table.names.index(name) for name in g1().robot.dof_names]
    turns = np.abs((clip.root_rotation * table.rotation).sum(-1))
    return (
        clip.fps == 30.0
        and clip.num_frames == len(table.angles)
        and bool(np.abs(clip.root_position - table.position).max() < 1e-6)
        and bool((turns > 1.0 - 1e-9).all())
        and bool(np.abs(clip.dof_position - table.angles[:, order]).max() < 1e-6)
    )


@needs_g1
@pytest.mark.parametrize("name", ["walk", pytest.param("squat", marks=pytest.mark.slow)])
@pytest.mark.parametrize("pair", list(combinations(CONVENTIONS, 2)), ids=" and ".join)
def test_two_conventions_at_a_time_are_read_rightly_or_refused_with_a_cure_that_works(
    tmp_path: Path, name: str, pair: tuple[str, str]
) -> None:
    table = motion(name)
    for convention in pair:
        table = CONVENTIONS[convention](table)
    path = tmp_path / "takes.csv"
    path.write_text(table.text(), encoding="utf-8")
    waiting, refused = [str(path)], []
    while waiting:
        spec = waiting.pop(0)
        try:
            clip = verified(spec)
        except SceneError as error:
            refused.append(spec)
            waiting += [cure for cure in re.findall(TYPED, str(error)) if cure not in (*waiting, *refused)]
            waiting = waiting[: 6 - len(refused)]
        else:
            if spec == str(path) or same(clip, table):
                assert same(clip, table)
                return
    pytest.fail(f"no cure gives the motion back; tried {refused}")
