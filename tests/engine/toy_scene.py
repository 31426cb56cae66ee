"""A point that wanders until it is too far from home: enough of a scene to exercise the runner."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from engine import (
    Bundle,
    Clock,
    Endings,
    Experiment,
    Rng,
    Scene,
    Tick,
    Trial,
    World,
    Write,
    any_row,
    column,
    component,
    derived,
    every,
    put_rows,
    resource,
    signal,
    system,
    table,
    term,
)

TICK = Tick(
    phases=("STEP", "SENSE", "RESET", "REFRESH", "LEARN"),
    repeat=("STEP",),
    entry="RESET",
    finished="SENSE",
    shares={"physics": ("STEP",), "learning": ("LEARN",)},
)


@component
class Point:
    """Where each row is."""

    position: Tensor = column(2, unit="m")


@derived
class Distance:
    """How far each row is from home."""

    value: Tensor = column(unit="m")


@signal
class Ended:
    """Rows that went too far."""

    rows: Tensor = column(dtype=torch.bool)
    side: Tensor = column("side", dtype=torch.bool, doc="on which side of home")


@component
class Walk:
    """When each row set out."""

    began: Tensor = column(dtype=torch.int64, unit="tick")


@resource
class Count:
    """Episodes that ended in the running iteration and in the last finished one."""

    running: int = 0
    latest: int = 0


def mark(ended: Write[Ended]) -> None:
    """Begin with every row ended."""
    ended.rows.fill_(True)
    ended.side.fill_(False)


def wander(rng: Rng, point: Write[Point], *, step: float = 0.3) -> None:
    """Move every row a little, anywhere."""
    point.position += step * torch.randn(point.position.shape, generator=rng)


def measure(point: Point, distance: Write[Distance]) -> None:
    """Distance from home."""
    distance.value.copy_(point.position.norm(dim=-1))


def stray(point: Point, distance: Distance, ended: Write[Ended], count: Write[Count], *, limit: float = 1.0) -> None:
    """End rows that are further than `limit` metres from home."""
    ended.rows.copy_(distance.value > limit)
    ended.side[:, 0] = ended.rows & (point.position[:, 0] < 0)
    ended.side[:, 1] = ended.rows & (point.position[:, 0] >= 0)
    count.running += int(ended.rows.sum())


def return_home(ended: Ended, clock: Clock, point: Write[Point], walk: Write[Walk]) -> None:
    """Put ended rows back."""
    put_rows(point.position, ended.rows, 0.0)
    put_rows(walk.began, ended.rows, clock.tick)


def place(point: Point) -> Tensor:
    """Where the row is."""
    return point.position


def flush(count: Write[Count]) -> None:
    """Close an iteration."""
    count.latest, count.running = count.running, 0


def dawdle(*, pause: float) -> None:
    """Take time."""
    time.sleep(pause)


def report(world: World) -> dict[str, float]:
    """The finished iteration."""
    return {
        "reward/distance": float(world[Distance].value.double().mean()),
        "end/strayed": world[Count].latest,
        "loss/spread": float(world[Point].position.double().std()),
    }


def make(num_envs: int, pause: float) -> list[Bundle]:
    """The whole scene in one bundle."""
    far = any_row(Ended, "rows")
    systems = {
        "BEGIN": [system(mark)],
        "STEP": [system(wander), system(dawdle, pause=pause)],
        "SENSE": [system(measure), system(stray, may_sync="counts on the host")],
        "RESET": [system(return_home, when=far)],
        "REFRESH": [system(measure, when=far)],
        "LEARN": [system(flush, when=every(5))],
    }
    return [
        Bundle(
            "toy",
            [Point, Walk, Distance, Ended],
            [Count()],
            systems,
            axes={"side": ("left", "right")},
            repeat=2,
            iteration=5,
            endings=Endings(Ended, ended="rows", reason="side", began=(Walk, "began")),
            vitals={"place": term(place)},
        )
    ]


def spread(world: World, path: Path) -> dict[str, Any]:
    """What an evaluation measures."""
    mean = float(world[Distance].value.mean())
    return {"table": [{"clip": "walk", "success": 0.5, "distance": mean}], "summary": {"distance": mean}}


def experiment(
    num_envs: Annotated[int, "rows that wander"] = 8,
    pause: Annotated[float, "seconds that a step takes"] = 0.0,
    mode: Annotated[Literal["plain", "fancy"], "how it looks"] = "plain",
    span: tuple[float, float] = (0.0, 1.0),
    clip: Path | None = None,
    loud: bool = False,
    limit: int | Literal["auto"] = "auto",
) -> Experiment:
    """Rows wander and are put back.

    100 % of them.
    """
    return Experiment(
        train=lambda: make_scene(num_envs, pause),
        evaluate=Trial(lambda: make_scene(num_envs, pause), 5, spread, restores=("Count",)),
        report=report,
        panel=["reward/distance", "end/strayed"],
        iterations=4,
    )


def make_scene(num_envs: int = 8, pause: float = 0.0) -> Scene:
    """The scene alone."""
    return Scene([table("point", rows=num_envs)], make(num_envs, pause), TICK, name="toy")
