"""Gradient of the whole imagined return against central differences: policy, tick, terms and model together, in float64."""

import math
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from components.dynamics import Dynamics
from components.episode import Done, Reward
from components.learning import Policy
from components.physics import Physics
from components.world_model import Memory
from engine import World
from engine.ecs.component import info
from engine.ecs.imagination import Imagination
from systems.learning.memory import unpack
from systems.world_model import REMEMBERED, STREAMS, imagined_return
from tests.exactness.test_world_model import SMALL, tracking

HORIZON, GAMMA, ROWS, STEP = 6, 0.9, 6, 1e-6


def doubled(value: Any, seen: set[int]) -> Any:
    """The same in float64: modules, data of ours and what they hold are changed in place."""
    if isinstance(value, Tensor):
        return value.detach().double() if value.dtype == torch.float32 else value
    if isinstance(value, torch.nn.Module):
        return value.double()
    if type(value) is tuple:
        return tuple(doubled(each, seen) for each in value)
    if isinstance(value, dict):
        return {name: doubled(each, seen) for name, each in value.items()}
    ours = type(value).__module__.startswith(("components", "systems"))
    if not ours or isinstance(value, (type, FunctionType)) or id(value) in seen:
        return value
    seen.add(id(value))
    fields = attrs.fields(type(value)) if attrs.has(type(value)) else ()
    for name in [field.name for field in fields] or list(vars(value)):
        object.__setattr__(value, name, doubled(getattr(value, name), seen))
    return value


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A little humanoid whose model was fitted, and whose imagined rows then count in float64."""
    config = attrs.evolve(SMALL, pull=math.inf, first_fits=60, imagined_std=0.05)
    simulation = tracking(world_model=config, robustness=0.1)
    simulation.run(24)
    world = simulation.world
    imagination, seen = world[Imagination], set[int]()
    real = [r for r in world.resources.values() if not isinstance(r, (Imagination, Physics))]
    for resource in (*real, *imagination.resources.values(), *imagination.judging.values()):
        doubled(resource, seen)
    for each in (e.system for e in imagination.schedule.entries):
        for holder in (each, *each.terms.values()):
            holder.constants.update(doubled(holder.constants, seen))
    columns = [c for _, cls in world.components for c in info(cls).columns.values() if c.dtype == torch.float32]
    for column in columns:
        object.__setattr__(column, "dtype", torch.float64)
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(0)
    last = world[Policy].actor.body.layers[-1].weight  # which is next to nothing in an untrained policy
    last.data.copy_(0.2 * torch.randn(last.shape, generator=generator))
    yield world
    torch.set_default_dtype(torch.float32)
    for column in columns:
        object.__setattr__(column, "dtype", torch.float32)


def beginnings(world: World) -> Tensor:
    """Remembered states of some rows, half of which fall at 4 m/s."""
    numbers = world[Memory].state[:ROWS, 20].double()
    world[Dynamics].speed_limit[:6].fill_(10.0)  # nothing in the data is so fast
    numbers[: ROWS // 2, 9] = -4.0
    return numbers


def rewards_and_ends(world: World, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """What imagined rows earn, (ticks, rows), and whether they have ended."""
    rows = world[Imagination].begin(unpack(numbers, REMEMBERED, world.tables["robot"].axes), STREAMS[0])
    for _ in range(HORIZON):
        rows.step()
    found = rows.judge()
    return found[Reward].total.view(HORIZON, ROWS), found[Done].ended.view(HORIZON, ROWS)


@torch.no_grad()
def test_the_gradient_of_the_imagined_return_is_that_of_central_differences(world: World):
    imagination, policy, numbers = world[Imagination], world[Policy], beginnings(world)
    imagination.resources[Physics].backend.refold()
    streams = {name: stream.get_state() for name, stream in world.generators.items()}

    def imagined() -> tuple[Tensor, Tensor]:
        for name, state in streams.items():
            world.generators[name].set_state(state)
        return rewards_and_ends(world, numbers)

    _, ended = imagined()
    assert ended[-1, : ROWS // 2].any() and not ended[0].any()  # inside the horizon, and not at once
    for name, state in streams.items():
        world.generators[name].set_state(state)
    gradient, _, _ = imagined_return(
        0, numbers, imagination=imagination, policy=policy, horizon=HORIZON, gamma=GAMMA, batch=ROWS
    )
    parameters = dict(policy.actor.named_parameters())
    pieces = gradient.split([parameter.numel() for parameter in parameters.values()])
    checked = []
    for (name, parameter), piece in zip(parameters.items(), pieces, strict=True):
        length = float(piece.norm())
        if length == 0.0:
            continue
        before, direction, ends = parameter.clone(), piece.view_as(parameter) / length, []
        for step in (STEP, -STEP):
            parameter.copy_(before + step * direction)
            reward, after = imagined()
            total = 0.0
            for row in range(ROWS):
                for tick in range(HORIZON):
                    total += GAMMA**tick * float(reward[tick, row])
                    if after[tick, row]:  # what comes then does not count
                        break
            ends.append(total / ROWS)
        parameter.copy_(before)
        assert (ends[1] - ends[0]) / (2 * STEP) == pytest.approx(length, rel=1e-4), name
        checked.append(name)
    assert checked == [name for name in parameters if name != "log_std"]  # by which nothing explores in imagination
