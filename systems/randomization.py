"""Randomisation of anything: rows that differ in fields of their model and in columns; randomization().

A term says what is drawn (`Draw`) or that rows are pushed (`Push`). What a term draws stands in `Drawn`, where a critic can
see it and a debugger shows it; `vary_…` systems then make columns and the simulator agree. Several terms may change one field:
they apply in their order, each to what the ones before made of the nominal value.
"""

import re
import types
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from components.episode import Done, PushTimer, Rewritten
from components.physics import Physics
from components.randomization import Drawn, DrawTimer, Variations
from engine import Bundle, Rng, System, Write, any_row, first_tick, put_rows, system
from engine.ecs.schedule import Schedule
from engine.errors import SceneError, listing
from systems.draws.checks import check_targets, examined, refuse_rivals
from systems.draws.draw import CUT_OFF, Distribution, Draw, Span, Spans, bounds, refuse_no_range
from systems.draws.layout import COLUMNS, Layout, places_of, varied
from systems.maths.tensors import vector
from systems.physics import variable_fields
from systems.physics.contract import FIELDS
from systems.pushes import Push, control_steps, push_systems
from systems.robots.model import RobotModel
from systems.tick import RESET, TERMINATE

_SIMULATOR = "the simulator reads and writes host memory"

# -- drawing -------------------------------------------------------------------------------------------


def _put_draws(drawn: Drawn, rows: Tensor, rng: Rng, spans: Spans, distribution: str, places: tuple[int, int]) -> None:
    """New numbers in these places of some rows; one place after another goes by the next span, and again from the first."""
    own, repeats = drawn.value[:, places[0] : places[1]], (places[1] - places[0]) // len(spans)
    first, second = (vector(tuple(span[end] for span in spans) * repeats, own.device) for end in (0, 1))
    if distribution == "normal":
        deviation = torch.randn(own.shape, generator=rng, device=own.device).clamp_(-CUT_OFF, CUT_OFF)
        value = deviation.mul_(second).add_(first)
    else:
        value = torch.rand(own.shape, generator=rng, device=own.device)
        if distribution == "log_uniform":
            value = value.mul_(second.log() - first.log()).add_(first.log()).exp_()
        else:
            value = value.mul_(second - first).add_(first)
    put_rows(own, rows, value)


def draw_at_start(
    rewritten: Rewritten,
    rng: Rng,
    drawn: Write[Drawn],
    *,
    spans: Spans,
    distribution: Distribution = "uniform",
    places: tuple[int, int],
) -> None:
    """Draw a term for every row, once for the whole run."""
    _put_draws(drawn, rewritten.rows, rng, spans, distribution, places)


def draw_at_reset(
    done: Done,
    rng: Rng,
    drawn: Write[Drawn],
    *,
    spans: Spans,
    distribution: Distribution = "uniform",
    places: tuple[int, int],
) -> None:
    """Draw a term for the rows that start over."""
    _put_draws(drawn, done.ended, rng, spans, distribution, places)


def draw_at_interval(
    rng: Rng,
    timer: Write[DrawTimer],
    drawn: Write[Drawn],
    *,
    spans: Spans,
    distribution: Distribution = "uniform",
    places: tuple[int, int],
    timed: int,
    interval: Span,
    dt: float,
) -> None:
    """Draw a term for the rows whose wait is over, and a new wait, uniform over `interval` in s."""
    wait = timer.wait[:, timed]
    due = wait <= 0
    _put_draws(drawn, due, rng, spans, distribution, places)
    put_rows(wait, due, torch.empty_like(wait).random_(*control_steps(interval, dt), generator=rng))


def mark_due(timer: Write[DrawTimer], rewritten: Write[Rewritten]) -> None:
    """Count down; rows for which something is drawn in mid-episode go on from where they are, with warm starts forgotten."""
    timer.wait.sub_(1)
    rewritten.rows.logical_or_((timer.wait <= 0).any(-1))


# -- making the world agree ----------------------------------------------------------------------------


def vary_model(
    rewritten: Rewritten, drawn: Drawn, variations: Variations, physics: Write[Physics], *, fields: tuple[str, ...]
) -> None:
    """Give the simulator each row's own fields."""
    values = {name: varied(variations.targets[name], drawn.value) for name in fields}
    physics.backend.change(rewritten.rows, values)


def vary_columns(
    rewritten: Rewritten, drawn: Drawn, variations: Variations, target: Write[Any], *, columns: tuple[str, ...]
) -> None:
    """Write each row's own values into columns of a component."""
    for name in columns:
        column = getattr(target, name)
        value = varied(variations.targets[f"{type(target).__name__}.{name}"], drawn.value)
        put_rows(column, rewritten.rows, value.to(column.dtype).view(column.shape))


@cache
def _writing(component: type) -> types.FunctionType:
    """`vary_columns` for one component: the same code, with its type in the signature."""
    name = "vary_" + re.sub(r"(?<!^)(?=[A-Z])", "_", component.__name__).lower()
    made = types.FunctionType(vary_columns.__code__, vary_columns.__globals__, name)
    made.__kwdefaults__, made.__doc__, made.__module__ = None, vary_columns.__doc__, vary_columns.__module__
    made.__annotations__ = {**vary_columns.__annotations__, "target": Write[component]}  # type: ignore[valid-type, misc]
    return made


# -- bundle --------------------------------------------------------------------------------------------


def _drawing(name: str, draw: Draw, places: tuple[int, int], timed: Sequence[str], dt: float) -> System:
    given: dict[str, Any] = {"spans": draw.spans, "distribution": draw.distribution, "places": places}
    if draw.when == "start":
        return system(draw_at_start, name=name, when=first_tick(), **given)
    again = any_row(Rewritten, "rows")
    if draw.when == "reset":
        return system(draw_at_reset, name=name, when=again, **given)
    return system(
        draw_at_interval, name=name, when=again, timed=timed.index(name), interval=draw.interval, dt=dt, **given
    )


def _varying(layout: Layout, draws: Mapping[str, Draw]) -> list[System]:
    """The systems that make the model and columns agree: at the start only, where nothing is drawn again."""
    once = {key: all(draws[c.term].when == "start" for c in t.changes) for key, t in layout.targets.items()}
    again, found = any_row(Rewritten, "rows"), []
    for name, only, when in (("vary_model", True, first_tick()), ("vary_model_again", False, again)):
        fields = tuple(key for key, start in once.items() if key in FIELDS and start is only)
        if fields:
            found.append(system(vary_model, name=name, when=when, fields=fields, may_sync=_SIMULATOR))
    for component in _components(draws):
        keys = [key for key in once if key.startswith(f"{component.__name__}.")]
        when = first_tick() if all(once[key] for key in keys) else again
        found.append(system(_writing(component), when=when, columns=tuple(key.partition(".")[2] for key in keys)))
    return found


def _components(draws: Mapping[str, Draw]) -> list[type]:
    """The components whose columns are drawn."""
    whats = [draw.what if isinstance(draw.what, tuple) else COLUMNS.get(draw.what) for draw in draws.values()]
    return list(dict.fromkeys(what[0] for what in whats if what))


def _labels(
    layout: Layout,
    draws: Mapping[str, Draw],
    systems: Mapping[str, System],
    variations: Variations,
    bundles: Sequence[Bundle],
) -> tuple[str, ...]:
    """The labels of axis `draw`, asked for once constants have their values; SceneError for ranges that make no robot."""
    examined(layout, draws, systems)
    for name, each in systems.items():
        first, last = layout.places[name]
        ends = [*bounds(each.constants["distribution"], each.constants["spans"])]
        for place in range(first, last):
            low, high = ends[(place - first) % len(ends)]
            variations.middle[place], variations.half[place] = 0.5 * (low + high), 0.5 * (high - low) or 1.0
    return tuple(layout.labels)


def _refuse_rearranged(built: Sequence[tuple[System, Mapping[str, Any]]], schedule: Schedule) -> None:
    """SceneError for a constant that says where things stand, which the terms decide."""
    for each, constants in built:
        for name, value in constants.items():
            if each.constants[name] != value:
                raise SceneError(
                    f"randomization.{each.name}.{name}={each.constants[name]!r} is not for you to set: the terms decide it. "
                    "Leave it out."
                )


def num_drawn(terms: Mapping[str, "Draw | Push"], model: RobotModel, *, backend: str = "mujoco") -> int:
    """How many numbers these terms draw for a row."""
    fields, layout = variable_fields(model, backend), Layout()
    for name, draw in terms.items():
        if isinstance(draw, Draw):
            layout.add(name, draw, places_of(name, draw, model, fields, backend))
    return len(layout.labels)


def randomization(
    terms: Mapping[str, "Draw | Push"], model: RobotModel, *, backend: str = "mujoco", dt: float = 0.02
) -> Bundle:
    """What is drawn for rows, and pushes, by name: each is a system of that name, whose `spans` are constants of the scene.

    `backend` is the one that simulates the `model`, `dt` the control step in s. Raises SceneError, before anything is allocated,
    for a range that is none, a field that the backend cannot vary, a pattern that matches nothing, and values that no body has.
    """
    pushes = {name: each for name, each in terms.items() if isinstance(each, Push)}
    draws = {name: each for name, each in terms.items() if isinstance(each, Draw)}
    if len(pushes) > 1:
        raise SceneError(
            f"randomization: {listing(pushes)} are two kinds of pushes; rows are pushed in one way. Leave one out."
        )
    systems: dict[str, list[System]] = {}
    for name, each in pushes.items():
        systems = push_systems(name, each, dt)
    components: list[type] = [PushTimer] if pushes else []
    if not draws:
        return Bundle("randomization", components=components, systems=systems)
    fields, layout = variable_fields(model, backend), Layout()
    for name, draw in draws.items():
        refuse_no_range(name, draw)
        layout.add(name, draw, places_of(name, draw, model, fields, backend))
    refuse_rivals(layout)
    timed = tuple(name for name, draw in draws.items() if draw.when == "interval")
    drawing = {name: _drawing(name, draw, layout.places[name], timed, dt) for name, draw in draws.items()}
    systems[RESET] = [*drawing.values(), *_varying(layout, draws)]
    if timed:
        systems[TERMINATE] = [*systems.get(TERMINATE, []), system(mark_due, after="mark_rewritten")]
    count = len(layout.labels)
    variations = Variations(targets=layout.targets, middle=torch.zeros(count), half=torch.ones(count))
    fixed: list[tuple[System, Mapping[str, Any]]] = [
        (
            each,
            {name: each.constants[name] for name in ("places", "timed", "fields", "columns") if name in each.constants},
        )
        for each in systems[RESET]
    ]
    return Bundle(
        "randomization",
        components=[*components, Drawn, *([DrawTimer] if timed else []), *_components(draws)],
        resources=[variations],
        systems=systems,
        axes={"draw": partial(_labels, layout, draws, drawing, variations), **({"timed": timed} if timed else {})},
        checks=[partial(_refuse_rearranged, fixed), partial(check_targets, layout, draws, drawing, model)],
    )
