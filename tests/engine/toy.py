"""A world of walking points, small enough to reason about: what most engine tests build and then break."""

from typing import Any

import torch
from torch import Tensor

from engine import (
    Bundle,
    LockstepError,
    Rng,
    Scene,
    Simulation,
    Terms,
    Tick,
    Write,
    any_row,
    build,
    column,
    component,
    concatenated,
    constant,
    derived,
    fuse,
    put_rows,
    resource,
    signal,
    system,
    table,
    term,
)

TICK = Tick(phases=("MOVE", "SENSE", "RESET", "REFRESH", "OBSERVE"), repeat=("MOVE",), entry="RESET")


@component
class Place:
    """Where a point is."""

    x: Tensor = column(2, unit="m", doc="from the row's own origin")


@component
class Age:
    """How many moves a point has made."""

    moves: Tensor = column(dtype=torch.int64)


@derived
class Distance:
    """How far a point is from its origin."""

    value: Tensor = column(unit="m")


@derived
class Closeness:
    """One over one plus the distance."""

    value: Tensor = column(unit="1/m")


@signal
class Done:
    """Which points start over."""

    ended: Tensor = column(dtype=torch.bool)


@component
class Seen:
    """What an onlooker wrote down."""

    value: Tensor = column("seen")


@resource
class Wind:
    """Blows every point the same way."""

    push: Tensor  # (2,) m
    gusts: int = 0
    name: str = constant(default="north")


def mark_all(done: Write[Done]) -> None:
    """Say that every point starts over."""
    done.ended.fill_(True)


def move(rng: Rng, wind: Wind, place: Write[Place], age: Write[Age], *, step: float = 0.3) -> None:
    """Take a random step with the wind."""
    drawn = torch.randn(place.x.shape, generator=rng, device=rng.device)
    place.x.add_(step * drawn + wind.push)
    age.moves.add_(1)


def measure(place: Place, distance: Write[Distance]) -> None:
    """Recompute the distance."""
    distance.value.copy_(place.x.norm(dim=-1))


def invert(distance: Distance, closeness: Write[Closeness]) -> None:
    """Recompute the closeness."""
    closeness.value.copy_(1.0 / (1.0 + distance.value))


def finish(distance: Distance, done: Write[Done], *, limit: float = 1.0) -> None:
    """End the walk of points that are too far away."""
    done.ended.copy_(distance.value > limit)


def restart(done: Done, place: Write[Place]) -> None:
    """Put ended points back on their origin."""
    put_rows(place.x, done.ended, 0.0)


def position(place: Place) -> Tensor:
    """Where the point is."""
    return place.x


def far(distance: Distance, *, scale: float = 1.0) -> Tensor:
    """The distance, scaled."""
    return scale * distance.value.unsqueeze(-1)


def look(values: Terms, seen: Write[Seen]) -> None:
    """Write the terms down side by side."""
    seen.value.copy_(torch.cat([value for _, value in values], -1))


ANY_DONE = any_row(Done, "ended")


def toy_systems() -> dict[str, list[Any]]:
    """The sound tick; tests take from it or add to it."""
    return {
        "BEGIN": [system(mark_all)],
        "MOVE": [system(move)],
        "SENSE": [system(measure), system(finish)],
        "RESET": [system(restart, when=ANY_DONE)],
        "REFRESH": [system(measure, when=ANY_DONE)],
        "OBSERVE": [fuse(look, toy_terms(), settings={"weight": float})],
    }


def toy_terms() -> dict[str, Any]:
    """Two terms, three numbers."""
    return {"position": term(position), "far": term(far, weight=2)}


def toy(
    systems: dict[str, list[Any]] | None = None, *more: Bundle, rows: int = 4, repeat: int = 3, tick: Tick = TICK
) -> Scene:
    """The scene around those systems; `more` bundles come after it."""
    main = Bundle(
        "toy",
        components=[Place, Age, Distance, Done, Seen],
        resources=[Wind(push=torch.tensor([0.01, 0.0]))],
        systems=toy_systems() if systems is None else systems,
        axes={"seen": concatenated(toy_terms())},
        repeat=repeat,
    )
    return Scene([table("points", rows=rows)], [main, *more], tick, name="toy")


def complaint(scene: Scene, **options: Any) -> str:
    """What building the scene complains about; fails the test when it does not."""
    try:
        build(scene, **options)
    except LockstepError as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("the scene was built without complaint")


def run(ticks: int = 1, **options: Any) -> Simulation:
    """The sound scene, built and run."""
    simulation = build(toy(), **options)
    simulation.run(ticks)
    return simulation
