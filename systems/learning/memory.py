"""What is remembered: components of real rows as numbers and back, and ticks drawn from the ring."""

import math
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from components.world_model import Memory
from engine.ecs.component import info, num_bytes
from engine.ecs.system import Term, term
from engine.ecs.world import Clock
from engine.errors import SceneError
from systems.learning.config import AHEAD

BUDGET = 150e6  # bytes of all that is remembered


def columns_of(cls: type) -> Term:
    """A term whose value is every column of a component side by side, as float32: (rows, numbers)."""
    read = FunctionType(_side_by_side.__code__, _side_by_side.__globals__, cls.__name__)
    read.__annotations__ = {"component": cls, "return": Tensor}
    return term(read)


def _side_by_side(component: Any) -> Tensor:
    columns = [getattr(component, name) for name in info(type(component)).columns]
    return torch.cat([column.reshape(len(column), -1).to(torch.float32) for column in columns], -1)


def unpack(numbers: Tensor, kept: Sequence[type], axes: Mapping[str, Sequence[str]]) -> dict[type, dict[str, Tensor]]:
    """The columns of the components `kept` from (rows, numbers), where they stand side by side in that order."""
    shapes = {cls: {name: c.shape(axes, cls.__name__) for name, c in info(cls).columns.items()} for cls in kept}
    widths = [math.prod(shape) for columns in shapes.values() for shape in columns.values()]
    pieces = iter(numbers.split(widths, -1))
    return {
        cls: {
            name: next(pieces).reshape(len(numbers), *shape).to(info(cls).columns[name].dtype)
            for name, shape in columns.items()
        }
        for cls, columns in shapes.items()
    }


def refuse_beyond_budget(rows: int, axes: Mapping[str, Sequence[str]]) -> None:
    """SceneError when so many rows would remember more than BUDGET; it is asked before anything is allocated."""
    need, ticks = num_bytes(Memory, rows, axes), len(axes["memory"])
    if need <= BUDGET:
        return
    fewer = int(ticks * BUDGET / need)
    shorter = f"Remember less, --world-model.memory {fewer}, or train" if fewer >= AHEAD + 2 else "Train"
    raise SceneError(
        f"{rows} rows that remember {ticks} ticks take {need / 1e6:.0f} MB, and their budget is {BUDGET / 1e6:.0f} MB. "
        f"{shorter} fewer rows, --num-envs {int(rows * BUDGET / need)}."
    )


def draw_ticks(clock: Clock, memory: Memory, rng: torch.Generator, count: int, ahead: int) -> tuple[Tensor, Tensor]:
    """Rows and ticks, drawn evenly, of remembered ticks that `ahead` more follow."""
    drawn = torch.rand((2, count), generator=rng, device=rng.device)
    rows = (drawn[0] * len(memory.state)).long()
    ticks = memory.count[rows].clamp(max=memory.state.shape[1]) - ahead
    return rows, clock.tick - ahead + 1 - ticks + (drawn[1] * ticks).long()


def ticks_of_every_row(memory: Memory) -> int:
    """How many ticks were ever remembered of every row."""
    return int(memory.count.min())


def draw_runs(
    clock: Clock, memory: Memory, rng: torch.Generator, count: int, steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Up to `count` remembered runs of so many ticks, without those whose row was rewritten after the first of them.

    States (rows, 13 + 2 · joints) as `systems/learning/dynamics.py` has them; targets and following states, (steps, rows, ...);
    and (steps, rows) bool whether the tick after goes on from the following state.
    """
    rows, ticks = draw_ticks(clock, memory, rng, count, steps)
    places = (ticks + torch.arange(steps + 1, device=ticks.device).unsqueeze(1)) % memory.state.shape[1]
    whole = memory.whole[rows, places]
    rows, places, whole = rows[whole[0]], places[:, whole[0]], whole[:, whole[0]]
    count = memory.target.shape[-1]
    root, speeds, joints, velocities = memory.state[rows, places][..., : 13 + 2 * count].split((7, 6, count, count), -1)
    states = torch.cat((root, joints, speeds, velocities), -1)
    return states[0], memory.target[rows, places[:-1]], states[1:], whole[1:]


def draw_transitions(clock: Clock, memory: Memory, rng: torch.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Up to `count` remembered transitions: state, target and following state, each (rows, ...)."""
    state, targets, followings, _ = draw_runs(clock, memory, rng, count, 1)
    return state, targets[0], followings[0]
