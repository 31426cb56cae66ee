"""Terminations: general terms that end an episode, and the system that combines them.

A term returns (rows,) bool. Its setting `kind` says what it means: "failure" (the default), "fault" (a
failure of the simulation: the tick earns nothing), or "time_limit" (cut off; nobody is to blame).
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from components.control import DofTorque
from components.episode import Chance, Done, Episode
from components.physics import Diverged
from components.robot import BaseFrame, BodyState, ContactSensors, DofState, NamedForce, Robot, RootState
from components.terrain import Ground
from engine import Rng, System, Term, Terms, Write, fuse
from engine.errors import SceneError
from systems.ground.heights import height_above_ground, off_tiles
from systems.maths.tensors import indices

KINDS = ("failure", "fault", "time_limit")
SETTINGS = {"kind": Literal["failure", "fault", "time_limit"]}


# -- terms ---------------------------------------------------------------------------------------------


def time_limit(episode: Episode, *, steps: float = math.inf) -> Tensor:
    """The episode has lasted `steps` control steps."""
    return episode.step >= steps


def diverged(diverged: Diverged) -> Tensor:
    """The simulation of the row failed."""
    return diverged.rows


def contact(forces: NamedForce, sensors: ContactSensors, *, bodies: tuple[str, ...], force: float = 1.0) -> Tensor:
    """Any body whose name matches one of the patterns `bodies` carries more than `force` in N."""
    index = indices(sensors.bodies, tuple(bodies), forces.force.device)
    touched = torch.linalg.vector_norm(forces.force.index_select(1, index), dim=-1)
    return touched.amax(-1) > force


def tilt(base: BaseFrame, *, x: float = 0.8, y: float = 0.8) -> Tensor:
    """Gravity in the base frame leans beyond `x` forwards or `y` sideways (sine of the angle)."""
    return (base.gravity[:, 0].abs() > x) | (base.gravity[:, 1].abs() > y)


def leaning(base: BaseFrame, *, most: float = 0.75) -> Tensor:
    """Gravity in the base frame leans beyond `most` in any direction (sine of the angle)."""
    return torch.linalg.vector_norm(base.gravity[:, :2], dim=-1) > most


def tipped(base: BaseFrame, *, degrees: float = 70.0) -> Tensor:
    """Gravity in the base frame is more than `degrees` away from straight down."""
    return base.gravity[:, 2] > -math.cos(math.radians(degrees))


def low(root: RootState, ground: Ground, *, height: float = 0.3) -> Tensor:
    """The base is lower than `height` in m above the ground."""
    return height_above_ground(ground, root.position) < height


def body_low(bodies: BodyState, robot: Robot, ground: Ground, *, names: tuple[str, ...], height: float) -> Tensor:
    """Any body whose name matches one of the patterns is lower than `height` in m above the ground."""
    index = indices(robot.body_names, tuple(names), bodies.position.device)
    return height_above_ground(ground, bodies.position.index_select(1, index)).amin(-1) < height


def off_terrain(root: RootState, ground: Ground, *, margin: float = 0.3) -> Tensor:
    """The base is less than `margin` m from the end of the ground, seen from above."""
    return off_tiles(ground, root.position, margin)


def outside(value: Tensor, limit: Tensor, share: "float | Tensor") -> Tensor:
    """How far each `value` (rows, dof) lies outside `limit` (dof, 2) shrunk to `share` about its middle."""
    middle, half = limit.mean(-1), (limit[:, 1] - limit[:, 0]) * (0.5 * share)
    return ((value - middle).abs() - half).clamp_min_(0.0)


def position_limit(
    dofs: DofState, robot: Robot, chance: Chance, *, share: float = 0.98, probability: float = 0.25
) -> Tensor:
    """A joint lies outside `share` of its hard range; fires with `probability`, drawn for each row by itself."""
    return (outside(dofs.position, robot.position_limit, share).amax(-1) > 0) & (chance.value < probability)


def velocity_limit(
    dofs: DofState, robot: Robot, chance: Chance, *, share: float = 0.98, probability: float = 0.25
) -> Tensor:
    """A joint is faster than `share` of its limit; fires with `probability`, drawn for each row by itself."""
    return (dofs.velocity.abs() > share * robot.velocity_limit).any(-1) & (chance.value < probability)


def torque_limit(
    torque: DofTorque, robot: Robot, chance: Chance, *, share: float = 0.98, probability: float = 0.25
) -> Tensor:
    """A motor gives more than `share` of its limit; fires with `probability`, drawn for each row by itself."""
    return (torque.value.abs() > share * robot.torque_limit).any(-1) & (chance.value < probability)


# -- systems -------------------------------------------------------------------------------------------


def draw_chance(rng: Rng, chance: Write[Chance]) -> None:
    """Draw the number that decides whether a limit termination applies in this tick."""
    chance.value.uniform_(generator=rng)


def terminate(values: Terms, done: Write[Done]) -> None:
    """Say whose episode ended, and why; a failure wins over a time limit in the same tick."""
    kinds = values.setting("kind", "failure")
    values.stack(done.reason)
    _any(done.reason, [i for i, kind in enumerate(kinds) if kind == "fault"], done.lost)
    _any(done.reason, [i for i, kind in enumerate(kinds) if kind != "time_limit"], done.terminated)
    _any(done.reason, [i for i, kind in enumerate(kinds) if kind == "time_limit"], done.truncated)
    torch.gt(done.truncated, done.terminated, out=done.truncated)
    torch.logical_or(done.terminated, done.truncated, out=done.ended)


def _any(reason: Tensor, places: list[int], out: Tensor) -> None:
    """Whether any of some columns is set; one operation where they are neighbours."""
    if not places:
        out.zero_()
    elif len(places) == places[-1] - places[0] + 1:
        torch.any(reason[:, places[0] : places[-1] + 1], -1, out=out)
    else:
        torch.any(torch.stack([reason[:, i] for i in places]), 0, out=out)


def terminations(terms: Mapping[str, Term]) -> System:
    """The system `terminate` over these terms.

    Raises SceneError for a `kind` that does not exist, and BuildError for a setting that does not.
    """
    for name, each in terms.items():
        if each.settings.get("kind", "failure") not in KINDS:
            raise SceneError(
                f"Termination `{name}` says kind={each.settings['kind']!r}; it is one of {', '.join(KINDS)}."
            )
    return fuse(terminate, terms, settings=SETTINGS)
