"""Bundles are plain data; deferred resources wait for the axes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine import Bundle, SceneError, build, constant, deferred, resource
from engine.ecs.schedule import Schedule
from engine.ecs.world import stream_seed
from tests.engine.toy import Place, Wind, complaint, toy


@resource
class Network:
    """Something whose size the terms decide."""

    weight: Tensor
    seed: int = constant()
    device: Any = constant()


def make_network(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Network:
    return Network(weight=torch.zeros(len(axes["seen"])), seed=seed, device=device)


def test_bundle_needs_only_a_name():
    bundle = Bundle("empty")
    assert (bundle.components, bundle.resources, dict(bundle.systems), dict(bundle.axes)) == ((), (), {}, {})
    assert (bundle.repeat, bundle.iteration, bundle.table, bundle.storage) == (None, None, None, None)


def test_deferred_resource_is_made_with_measured_axes_a_seed_of_its_own_and_the_device():
    """The terms of the toy scene are two and one numbers wide."""
    world = build(toy(None, Bundle("net", resources=[deferred(Network, make_network)])), seed=5).world
    network = world[Network]
    assert network.weight.shape == (3,)
    assert network.seed == stream_seed(5, "Network")
    assert network.device == torch.device("cpu")


def test_deferred_resource_of_another_class_is_refused():
    wrong = deferred(Network, make_wind)
    assert complaint(toy(None, Bundle("net", resources=[wrong]))) == (
        "BuildError: Bundle 'net' defers Network, but its factory made a Wind."
    )


def make_wind(axes: Mapping[str, tuple[str, ...]], seed: int, device: torch.device) -> Wind:
    return Wind(push=torch.zeros(2))


def test_resource_is_brought_once():
    text = "BuildError: Two bundles bring the resource {} ('two' is the second); keep one."
    assert complaint(toy(None, Bundle("two", resources=[Wind(push=torch.zeros(2))]))) == text.format("Wind")
    again = [Bundle(name, resources=[deferred(Network, make_network)]) for name in ("one", "two")]
    assert complaint(toy(None, *again)) == text.format("Network")


def test_two_bundles_may_share_one_instance():
    network = Network(weight=torch.zeros(1), seed=0, device=None)
    build(toy(None, Bundle("one", resources=[network]), Bundle("two", resources=[network])))


def test_resource_must_be_declared():
    assert complaint(toy(None, Bundle("two", resources=[3]))) == (
        "BuildError: Bundle 'two' brings 3, whose class is not a @resource."
    )


def test_component_must_be_declared():
    assert complaint(toy(None, Bundle("two", components=[int]))) == (
        "BuildError: <class 'int'> is not a component. Decorate it with @component, @derived or @signal."
    )


def test_bundle_adopts_the_storage_that_it_is_offered():
    memory = torch.zeros(4, 2, 2)

    def storage(cls: type, column: str) -> Tensor | None:
        return memory[:, 1] if cls is Place and column == "x" else None

    offering = Bundle("physics", components=[Place], storage=storage)
    simulation = build(toy(None, offering))
    simulation.run(2)
    assert simulation.world[Place].x.abs().sum() > 0
    assert torch.equal(memory[:, 1], simulation.world[Place].x)
    assert torch.equal(memory[:, 0], torch.zeros(4, 2))


def test_storage_of_another_shape_is_refused():
    offering = Bundle("physics", components=[Place], storage=lambda cls, column: torch.zeros(4, 3))
    assert complaint(toy(None, offering)) == (
        "BuildError: Place.x is declared (2,) = (4, 2) torch.float32 but was given storage of (4, 3) torch.float32."
    )


def test_storage_of_another_type_is_refused():
    offering = Bundle("physics", components=[Place], storage=lambda cls, column: torch.zeros(4, 2, dtype=torch.float64))
    assert complaint(toy(None, offering)).endswith("but was given storage of (4, 2) torch.float64.")


def test_checks_see_the_bound_schedule_and_may_refuse_the_scene():
    seen: list[Any] = []
    build(toy(None, Bundle("curious", checks=[seen.append])))
    assert "measure" in [entry.name for schedule in seen for entry in schedule.entries]

    def refuse(schedule: Schedule) -> None:
        raise SceneError("This has no effect.")

    assert complaint(toy(None, Bundle("strict", checks=[refuse]))) == "SceneError: This has no effect."
