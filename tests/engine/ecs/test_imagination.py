"""Imagined rows go through the tick's own systems, with gradients, and leave the real rows alone; worked out by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine import (
    BuildError,
    Bundle,
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
    derived,
    fuse,
    put_rows,
    resource,
    signal,
    system,
    table,
    term,
)
from engine.ecs.imagination import Imagination
from engine.tools.gradients import check_gradients

TICK = Tick(
    phases=("ACT", "MOVE", "SENSE", "PAY", "RESET", "REFRESH", "OBSERVE", "LEARN"), entry="RESET", begin="BEGIN"
)


@component
class Ball:
    """A ball on a line."""

    place: Tensor = column(unit="m")
    speed: Tensor = column(unit="m/s")


@component
class Push:
    """What is done to it."""

    force: Tensor = column(unit="N", fill=1.0)


@derived
class Energy:
    """Half the square of its speed."""

    value: Tensor = column(unit="J/kg")


@signal
class Cost:
    """What the tick cost."""

    value: Tensor = column("cost")
    total: Tensor = column()


@component
class Paid:
    """All that was paid."""

    total: Tensor = column()


@signal
class Over:
    """Balls that have gone too far."""

    rows: Tensor = column(dtype=torch.bool)


@resource
class Wind:
    """What slows a ball down."""

    drag: float = 0.5


@resource
class Log:
    """Counts ticks."""

    ticks: int = 0


def everything_over(over: Write[Over]) -> None:
    over.rows.fill_(True)


def move(push: Push, wind: Wind, ball: Write[Ball], *, dt: float = 0.1) -> None:
    ball.speed.copy_(ball.speed + dt * (push.force - wind.drag * ball.speed))
    ball.place.copy_(ball.place + dt * ball.speed)


def weigh(ball: Ball, energy: Write[Energy]) -> None:
    energy.value.copy_(0.5 * ball.speed.square())


def far(ball: Ball) -> Tensor:
    return ball.place.square()


def fast(energy: Energy) -> Tensor:
    return energy.value


def many(ball: Ball) -> Tensor:
    return (ball.place > 0).float()


def pay(values: Terms, over: Write[Over], cost: Write[Cost], paid: Write[Paid]) -> None:
    values.stack(cost.value)
    cost.total.copy_(cost.value.sum(-1))
    paid.total.add_(cost.total.detach())
    over.rows.copy_(cost.total > 1e6)


def count(log: Write[Log]) -> None:
    log.ticks += 1


def restart(over: Over, rng: Rng, ball: Write[Ball]) -> None:
    put_rows(ball.place, over.rows, torch.rand(ball.place.shape, generator=rng))
    put_rows(ball.speed, over.rows, 0.0)


def push_on(energy: Energy, push: Write[Push], *, gain: float = 2.0) -> None:
    push.force.copy_(1.0 - gain * energy.value)


def scene(imagined: Imagination | None = None, **changed: Any) -> Scene:
    """Balls that are pushed less the faster they are."""
    systems = {
        "BEGIN": [system(everything_over)],
        "ACT": [system(changed.get("push", push_on))],
        "MOVE": [system(changed.get("move", move))],
        "SENSE": [system(changed.get("weigh", weigh)), system(count)],
        "PAY": [fuse(pay, changed.get("terms", {"far": term(far), "fast": term(fast)}))],
        "RESET": [system(restart, when=any_row(Over, "rows"))],
        "REFRESH": [system(changed.get("weigh", weigh), when=any_row(Over, "rows"))],
        "OBSERVE": changed.get("observe", []),
    }
    balls = Bundle(
        "balls",
        [Ball, Push, Energy, Cost, Paid, Over, *changed.get("components", [])],
        [Wind(), Log()],
        systems,
        axes={"cost": tuple(changed.get("terms", ("far", "fast")))},
    )
    learner = Bundle("learner", resources=[imagined] if imagined else [], table="balls")
    return Scene([table("balls", rows=4)], [balls, learner], TICK)


def declared(**changed: Any) -> Imagination:
    values: dict[str, Any] = {
        "wanted": (Cost,),
        "given": (Ball, Push),
        "phases": ("ACT", "MOVE", "SENSE", "PAY", "OBSERVE"),
        "enter": ("REFRESH",),
        "cure": "Leave it out.",
    }
    return Imagination(**{**values, **changed})


def begun(simulation: Simulation) -> dict[type, dict[str, Tensor]]:
    world = simulation.world
    return {
        Ball: {"place": world[Ball].place.clone(), "speed": world[Ball].speed.clone()},
        Push: {"force": world[Push].force.clone()},
    }


def test_the_systems_that_lead_to_what_is_wanted_are_imagined_and_no_others():
    imagined = declared()
    build(scene(imagined))
    assert [e.name for e in imagined.schedule.entries] == ["push_on", "move", "weigh", "pay", "weigh"]
    assert [e.name for e in imagined.schedule.entries if id(e) in imagined.judges] == ["pay"]


def test_imagined_rows_are_moved_and_judged_as_real_ones_are_bit_for_bit():
    imagined = declared()
    simulation = build(scene(imagined), seed=3)
    simulation.run(2)
    rows = imagined.begin(begun(simulation))
    costs = []
    for _ in range(5):
        rows.step()
        simulation.run()
        assert torch.equal(rows[Ball].place, simulation.world[Ball].place)
        assert torch.equal(rows[Ball].speed, simulation.world[Ball].speed)
        assert torch.equal(rows[Energy].value, simulation.world[Energy].value)
        costs.append(simulation.world[Cost].value.clone())
    assert torch.equal(rows.judge()[Cost].value.view(5, 4, 2), torch.stack(costs))


def test_no_column_resource_or_random_stream_of_the_real_rows_changes():
    imagined = declared()
    simulation = build(scene(imagined))
    simulation.run(3)
    world = simulation.world
    before = {name: tensor.clone() for name, tensor in world.columns().items()}
    streams = {name: stream.get_state() for name, stream in world.generators.items()}
    rows = imagined.begin(
        {cls: {n: t.repeat(5) for n, t in columns.items()} for cls, columns in begun(simulation).items()}
    )
    for _ in range(4):
        rows.step()
    assert rows.judge()[Cost].total.shape == (4 * 20,)
    assert all(torch.equal(before[name], tensor) for name, tensor in world.columns().items())
    assert all(torch.equal(streams[name], stream.get_state()) for name, stream in world.generators.items())
    assert world[Log].ticks == 2


def test_the_gradient_of_what_is_judged_is_that_of_the_written_out_sum():
    imagined = declared()
    build(scene(imagined))
    speed = torch.tensor([0.3, -0.2], requires_grad=True)
    with torch.enable_grad():
        state = {Ball: {"place": torch.tensor([0.1, 0.4]), "speed": speed}, Push: {"force": torch.ones(2)}}
        rows = imagined.begin(state)
        for _ in range(3):
            rows.step()
        (found,) = torch.autograd.grad(rows.judge()[Cost].total.sum(), speed)
    start = speed.detach().double().requires_grad_()
    place, now, total = torch.tensor([0.1, 0.4], dtype=torch.float64), start, torch.zeros((), dtype=torch.float64)
    for _ in range(3):
        now = now + 0.1 * ((1.0 - now.square()) - 0.5 * now)
        place = place + 0.1 * now
        total = total + (place.square() + 0.5 * now.square()).sum()
    (expected,) = torch.autograd.grad(total, start)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_what_a_judge_adds_up_for_itself_begins_anew_in_every_step():
    imagined = declared()
    simulation = build(scene(imagined))
    simulation.run(2)
    rows = imagined.begin(begun(simulation))
    rows.step()
    rows.step()
    found = rows.judge()
    assert torch.equal(found[Paid].total, found[Cost].total)


def test_an_edited_constant_and_a_replaced_resource_are_what_imagined_rows_see():
    imagined = declared(replaces={Wind: lambda world: Wind(drag=0.0)})
    simulation = build(scene(imagined))
    simulation.constants.edit("balls.push_on.gain", "0.0")
    rows = imagined.begin({Ball: {"place": torch.zeros(1), "speed": torch.ones(1)}, Push: {"force": torch.zeros(1)}})
    rows.step()
    assert float(rows[Ball].speed) == pytest.approx(1.1) and simulation.world[Wind].drag == 0.5


def observe_twice(energy: Energy, ball: Write[Ball]) -> None:
    ball.place.add_(0.0 * energy.value)


def partly(ball: Ball, energy: Write[Energy]) -> None:
    energy.value.copy_(0.5 * ball.speed.square())


REFUSED = {
    "state that rows do not begin with": (
        {"given": (Ball,)},
        {},
        "`push_on` (ACT) uses Push, which imagined rows do not begin with. Leave it out.",
    ),
    "what nothing imagined tells": (
        {"unknown": {Energy: "nobody weighs an imagined ball"}},
        {},
        "Term `fast` of `pay` (PAY) reads Energy: nobody weighs an imagined ball. Leave it out.",
    ),
    "a cache that is stale": (
        {},
        {"observe": [system(observe_twice)]},
        "Energy",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_scene_that_cannot_be_imagined_is_refused_in_a_sentence(name: str):
    how, changed, sentence = REFUSED[name]
    with pytest.raises(BuildError) as error:
        build(scene(declared(**how), **changed))
    assert "In imagination: " in str(error.value) and sentence in str(error.value)


def count_and_move(push: Push, wind: Wind, log: Write[Log], ball: Write[Ball], *, dt: float = 0.1) -> None:
    log.ticks += 1
    move(push, wind, ball, dt=dt)


def test_a_system_that_writes_a_resource_of_the_real_rows_is_refused():
    with pytest.raises(
        BuildError, match="`count_and_move` \\(MOVE\\) writes the resource Log, which belongs to the real rows"
    ):
        build(scene(declared(), move=count_and_move))


def weigh_in_place(ball: Ball, energy: Write[Energy]) -> None:
    torch.mul(ball.speed, ball.speed, out=energy.value)


def weigh_elsewhere(ball: Ball, energy: Write[Energy]) -> None:
    energy.value.copy_(torch.from_numpy(0.5 * ball.speed.detach().numpy() ** 2))


def overwrite(push: Push, wind: Wind, ball: Write[Ball], *, dt: float = 0.1) -> None:
    square = ball.speed * ball.speed + push.force
    ball.speed.mul_(0.5)
    ball.place.copy_(ball.place + square)


BROKEN = {
    "out= onto a column": (
        {"weigh": weigh_in_place},
        "`weigh_in_place` (SENSE) lets no gradient through Ball.speed",
    ),
    "a detour through numpy": (
        {"weigh": weigh_elsewhere},
        "`weigh_elsewhere` (SENSE) reads Ball.place, but no gradient reaches Energy.value",
    ),
    "a number that is overwritten and still needed": (
        {"move": overwrite},
        "`overwrite` (MOVE) lets no gradient through Ball.speed",
    ),
    "a term that counts": (
        {"terms": {"far": term(far), "many": term(many)}},
        "Term `many` of `pay` (PAY) lets no gradient through Ball: it counts, compares, or leaves torch. Leave it out.",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_where_a_gradient_ends_is_named(name: str):
    changed, sentence = BROKEN[name]
    imagined = declared(systems={})
    simulation = build(scene(imagined, **changed))
    with pytest.raises(BuildError) as error:
        check_gradients(imagined, simulation.schedule, begins=(Push,))
    assert sentence in str(error.value)


def test_a_scene_through_which_gradients_pass_is_left_as_it_was():
    imagined = declared()
    simulation = build(scene(imagined))
    simulation.run(2)
    before = {name: tensor.clone() for name, tensor in simulation.world.columns().items()}
    check_gradients(imagined, simulation.schedule, begins=(Push,))
    assert all(torch.equal(before[name], tensor) for name, tensor in simulation.world.columns().items())
