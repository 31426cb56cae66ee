"""Gradients through every system and term between physics and what the policy sees, as they stand in the built scenes.

Each is called as the schedule calls it, on components of its own whose float columns ask for gradients.
"""

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from components.episode import Done, Earned, Reward
from components.motion import DofFar, MotionCursor, MotionLibrary
from components.observation import Observation
from engine import Bundle, Simulation, World, build, term
from engine.ecs.access import read_signature
from engine.ecs.binding import bind, bind_term
from engine.ecs.component import Kind, info, kind_of
from engine.ecs.system import System, Term
from systems import observations, reference, rewards, terminations, tracking_terms
from systems.actuation import actuation
from systems.kinematics import flight
from systems.observation_groups import observe
from systems.reward_sum import reward
from systems.tick import ACTUATE, ADVANCE, COMMAND, OBSERVE, PERTURB, RECORD, REFRESH, REWARD, SENSE, TERMINATE, TORQUE
from tests.helpers import tracking_scene
from tests.systems.task_rows import generator, terms

ROWS = 6
PHASES = (ACTUATE, TORQUE, SENSE, TERMINATE, REWARD, ADVANCE, RECORD, PERTURB, REFRESH, COMMAND, OBSERVE)
SMALL: dict[str, Any] = {"robot": "humanoid", "clip": "squat", "num_envs": ROWS, "hidden": (8,), "physics_threads": 1}
SCENES: dict[str, Callable[[], Any]] = {
    "laptop": partial(tracking_scene, "laptop", **SMALL),
    "mjlab_tracking": partial(tracking_scene, "mjlab_tracking", **SMALL),
    "humanoidverse_tracking": partial(tracking_scene, "humanoidverse_tracking", **SMALL),
    "humanoidverse_tracking_laptop": partial(
        tracking_scene, "humanoidverse_tracking_laptop", **SMALL, noise_curriculum=True
    ),
    "explicit V": partial(tracking_scene, "laptop", **SMALL, control="V", around="default"),
    "explicit T": partial(tracking_scene, "laptop", **SMALL, control="T", around="default"),
}
CONSTANTS: dict[str, Any] = {  # that terms cannot do without
    **dict.fromkeys(("bodies", "names", "first", "second"), (".*",)),
    "height": 0.2,
    "widths": (0.1, 0.03),
    "width": 3,
    "steps": 2,
}
Columns = dict[tuple[type, str], Tensor]


def otherwise() -> Any:
    """What no configuration asks for: masses that differ, actions that lag, noisy torques, a reference between frames, flight, rewards cut off."""
    scene = tracking_scene("humanoidverse_tracking", randomise="humanoidverse.link_mass", **SMALL)
    lagging = actuation(controller="P", latency=(0, 2), around="reference", limit=1.0, torque_noise=0.1)
    lost = Bundle("lost", resources=[DofFar(threshold=torch.tensor(3.0))])
    scene.bundles = [*(lagging if bundle.name == "actuation" else bundle for bundle in scene.bundles), flight(), lost]
    for bundle in scene.bundles:
        for each in (s for some in bundle.systems.values() for s in some):
            changed = {"sample_reference": {"on_frames": False}, "reward": {"only_positive": True}}
            each.constants.update(changed.get(each.name, {}))
    return scene


SCENES["otherwise"] = otherwise


@cache
def simulation(name: str) -> Simulation:
    """The scene after some ticks, so that whole numbers and switches in its columns are possible ones."""
    made = build(SCENES[name]())
    library = made.world[MotionLibrary]
    library.contacts = torch.ones(int(library.frames.sum()), 2)  # as of a clip that says which feet bear load
    made.run(3)
    return made


@attrs.frozen
class Case:
    """A system or a term: what it reads and writes, and its call on one world, which returns float results by name."""

    name: str
    reads: tuple[type, ...]
    writes: tuple[type, ...]
    call: Callable[[World], Mapping[str, Tensor]]


def called_system(each: System, table: str, world: World) -> Mapping[str, Tensor]:
    """The float columns that a system wrote."""
    bind(each, table, world, "stream")()
    written = [(cls, world[cls]) for cls in each.writes if kind_of(cls) is Kind.COMPONENT]
    return {f"{cls.__name__}.{name}": getattr(of, name) for cls, of in written for name in info(cls).columns}


def called_term(each: Term, table: str, world: World) -> Mapping[str, Tensor]:
    """The value of a term."""
    return {"value": bind_term(each, table, world)()}


def cases(name: str) -> list[Case]:
    """Every system that writes columns, and every term, once; those of the simulator and the learner are left out."""
    found: dict[str, Case] = {}
    for entry in simulation(name).schedule.entries:
        each = entry.system
        components = [cls for cls in (*each.writes, *each.reads) if kind_of(cls) is Kind.COMPONENT]
        writes = tuple(cls for cls in components if cls in each.writes)
        if entry.phase not in PHASES or each.function.__module__.startswith(("systems.physics", "systems.ppo")):
            continue
        for key, one in each.terms.items():
            reads = tuple(c for c in one.signature.reads if kind_of(c) is Kind.COMPONENT)
            label = f"{each.name}.{key}"
            found[label] = Case(label, reads, (), partial(called_term, one, entry.table))
        if writes:
            reads = tuple(cls for cls in components if cls not in writes)
            found[each.name] = Case(each.name, reads, writes, partial(called_system, each, entry.table))
    if name == "otherwise":
        found |= {each.name: each for each in loose_terms()}
    return list(found.values())


def loose_terms() -> Iterator[Case]:
    """Every public term there is, whether a configuration has it or not."""
    for module in (observations, reference, rewards, terminations, tracking_terms):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or function.__module__ != module.__name__ or function is observations.recalled:
                continue  # which picks columns of a history that its table was built with
            parameters = inspect.signature(function).parameters.values()
            kinds = [kind_of(p.annotation) for p in parameters if p.kind is not p.KEYWORD_ONLY]
            if not kinds or None in kinds or inspect.signature(function).return_annotation is not Tensor:
                continue
            needed = read_signature(function).required
            each = term(function, **{key: CONSTANTS[key] for key in needed})
            reads = tuple(c for c in each.signature.reads if kind_of(c) is Kind.COMPONENT)
            yield Case(f"{module.__name__}.{name}", reads, (), partial(called_term, each, "robot"))


def present(world: World, cls: type) -> Any:
    """A component of the world, or one that it could have."""
    found = world.components.get(("robot", cls))
    return found if found is not None else cls.make(ROWS, world.tables["robot"].axes)  # type: ignore[attr-defined]


def drawn(world: World, case: Case, dtype: torch.dtype, spread: float, seed: int = 0) -> Columns:
    """Columns that a case touches: floats around 0, rotations around none, times within the clip; others as they are."""
    rng, columns = generator(seed), {}
    for cls in (*case.reads, *case.writes):
        for name, column in info(cls).columns.items():
            now = getattr(present(world, cls), name).clone()
            if not now.is_floating_point():
                if now.dtype == torch.bool:
                    now = torch.rand(now.shape, generator=rng) < 0.5
                columns[cls, name] = now
                continue
            value = spread * torch.randn(now.shape, generator=rng, dtype=torch.float64)
            if column.axes[-1:] == (4,):
                value = torch.nn.functional.normalize(value + torch.tensor((1.0, 0.0, 0.0, 0.0)), dim=-1)
            if cls is MotionCursor:
                value = {"time": 1.013 + 0.1 * value, "start": 0.5 + 0.0 * value}[name]
            columns[cls, name] = value.to(dtype)
    return columns


def as_float64(resource: Any, dtype: torch.dtype) -> Any:
    """A resource whose float tensors are of that type."""
    made = copy.copy(resource)
    for name, value in vars(resource).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            made.__dict__[name] = value.to(dtype)
    return made


def evaluate(scene: str, case: Case, columns: Columns) -> dict[str, Tensor]:
    """Float results of a case on fresh components; what it writes are copies, which in-place operations may change."""
    world = simulation(scene).world
    dtype = next((value.dtype for value in columns.values() if value.is_floating_point()), torch.float32)
    imagined = copy.copy(world)
    imagined.generators = {}
    imagined.resources = {cls: as_float64(each, dtype) for cls, each in world.resources.items()}
    imagined.components = {}
    for cls in (*case.reads, *case.writes):
        own = {name: columns[cls, name] for name in info(cls).columns}
        if cls in case.writes:
            own = {name: value.clone() for name, value in own.items()}
        imagined.components["robot", cls] = cls(**own)  # type: ignore[call-arg]
    return {name: value for name, value in case.call(imagined).items() if value.is_floating_point()}


def asking(columns: Columns) -> Columns:
    """The same columns, of which the float ones ask for gradients."""
    return {key: value.clone().requires_grad_(value.is_floating_point()) for key, value in columns.items()}


def weighted(results: Mapping[str, Tensor]) -> Tensor:
    """A number that depends on every result differently."""
    weights = {name: torch.randn(value.shape, generator=generator(7)) for name, value in sorted(results.items())}
    return sum(((value * weights[name]).sum() for name, value in results.items()), torch.zeros(()))


def gradients(scene: str, case: Case, columns: Columns) -> dict[tuple[type, str], Tensor]:
    """What the weighted results' gradient is for every float column; zero where nothing depends on it."""
    inputs = asking(columns)
    total = weighted(evaluate(scene, case, inputs))
    if total.requires_grad:
        total.backward()  # type: ignore[no-untyped-call]
    floats = {key: value for key, value in inputs.items() if value.is_floating_point()}
    return {key: torch.zeros_like(v) if v.grad is None else v.grad for key, v in floats.items()}


HALF = 0.5**0.5
TURNS = {
    "upright": (1.0, 0.0, 0.0, 0.0),
    "nose down": (HALF, 0.0, HALF, 0.0),
    "on its head": (0.0, 1.0, 0.0, 0.0),
    "turned round": (0.0, 0.0, 0.0, 1.0),
    "other sign": (-1.0, 0.0, 0.0, 0.0),
    "none": (0.0, 0.0, 0.0, 0.0),
}


def singular(scene: str, case: Case) -> Iterator[tuple[str, Columns]]:
    """Columns at which formulas have no derivative or bend: all 0, equal and opposite rotations, none."""
    world = simulation(scene).world
    plain = {k: v * 0.0 if v.is_floating_point() else v for k, v in drawn(world, case, torch.float32, 1.0).items()}
    rotations = [key for key, value in plain.items() if value.is_floating_point() and value.shape[-1:] == (4,)]
    for first, turn in TURNS.items():
        for second, other in TURNS.items():
            each = dict(plain)
            for i, key in enumerate(rotations):
                each[key] = torch.tensor(other if i % 2 else turn).expand_as(plain[key]).clone()
            yield f"{first}, {second}", each
    for value in (1.0, -1.0):
        each = {k: torch.full_like(v, value) if v.is_floating_point() else v for k, v in plain.items()}
        yield f"all {value}", each


def failures(scene: str, check: Callable[[Case], list[str]]) -> list[str]:
    """What a check says of all systems and terms of a scene."""
    return [f"{case.name}: {finding}" for case in cases(scene) for finding in check(case)]


@pytest.mark.parametrize("scene", SCENES)
def test_every_float_column_has_a_finite_gradient(scene: str) -> None:
    world = simulation(scene).world

    def check(case: Case) -> list[str]:
        states = [(f"random, {s:g}", drawn(world, case, torch.float32, s)) for s in (0.01, 0.3, 3.0)]
        found = []
        for state, columns in (*states, *singular(scene, case)):
            try:
                made = gradients(scene, case, columns)
            except RuntimeError as error:
                return [*found, str(error).splitlines()[0]]
            found += [f"{c.__name__}.{n} at {state}" for (c, n), v in made.items() if not v.isfinite().all()]
        return found

    assert not (found := failures(scene, check)), "\n".join(found)


@pytest.mark.parametrize("scene", SCENES)
def test_gradients_are_central_differences(scene: str) -> None:
    world, step = simulation(scene).world, 1e-6

    def check(case: Case) -> list[str]:
        found = []
        for seed, spread in enumerate((0.1, 0.5)):
            columns = drawn(world, case, torch.float64, spread, seed)
            for key, gradient in gradients(scene, case, columns).items():
                for draw in range(2):
                    along = torch.randn(gradient.shape, generator=generator(draw), dtype=torch.float64)
                    with torch.no_grad():
                        after, before = (
                            float(weighted(evaluate(scene, case, {**columns, key: columns[key] + sign * step * along})))
                            for sign in (1.0, -1.0)
                        )
                    expected, slope = (after - before) / (2.0 * step), float((gradient * along).sum())
                    if abs(slope - expected) > 1e-3 * abs(expected) + 1e-6:
                        found.append(f"{key[0].__name__}.{key[1]} has {slope:g} instead of {expected:g}")
        return found

    assert not (found := failures(scene, check)), "\n".join(found)


@pytest.mark.parametrize("scene", SCENES)
def test_results_are_the_same_bytes_with_and_without_gradients(scene: str) -> None:
    world = simulation(scene).world

    def check(case: Case) -> list[str]:
        columns = drawn(world, case, torch.float32, 0.5)
        with torch.no_grad():
            plain = evaluate(scene, case, columns)
        recorded = evaluate(scene, case, asking(columns))
        return [name for name, value in plain.items() if not torch.equal(value, recorded[name])]

    assert not (found := failures(scene, check)), "\n".join(found)


def test_a_term_that_breaks_leaves_the_gradients_of_other_rows_and_terms_alone() -> None:
    axes = {"reward": 2, "termination": 1, "actor_observation": 2, "critic_observation": 2}
    broken = torch.tensor([2.0, math.nan, 4.0], requires_grad=True)
    sound = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    so_far, earned = Earned.make(3, axes), Reward.make(3, axes)
    values = terms(broken=(broken.mul(1.0), {"weight": -1.0}), sound=(sound.mul(1.0), {"weight": 2.0}))
    reward(values, Done.make(3, axes), so_far, earned, dt=0.5)
    assert earned.terms[:, 0].tolist() == [-1.0, -2.0, -2.0]  # the least, which is what the third row is paid
    (slope,) = torch.autograd.grad(earned.total.sum() + so_far.least.sum(), sound)
    assert slope.tolist() == [1.0, 1.0, 1.0]

    observation = Observation.make(3, axes)
    seen = terms(broken=(broken.mul(1.0)[:, None], {}), sound=(sound.mul(1.0)[:, None], {"scale": 2.0, "clip": 2.5}))
    observe(seen, generator(), observation)
    (of_broken, of_sound) = torch.autograd.grad(observation.actor.sum(), (broken, sound))
    assert of_broken.tolist() == [1.0, 0.0, 1.0] and of_sound.tolist() == [2.0, 2.0, 0.0]
