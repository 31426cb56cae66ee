"""The world: finding data by type, streams of random numbers, addresses of columns."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine import BuildError, Bundle, Clock, Scene, build, table
from engine.ecs.world import stream_seed
from tests.engine.toy import TICK, Age, Closeness, Place, Wind, run


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(BuildError) as caught:
        action()
    return str(caught.value)


def test_data_is_found_by_type():
    world = run().world
    assert world[Place] is world.component(Place) is world["points", Place]
    assert world[Wind] is world.resource(Wind)
    assert world[Clock] is world.clock


def test_component_that_is_not_there_names_near_misses():
    world = run().world
    assert refusal(lambda: world[Closeness]) == (
        "Closeness is not in any table. Components here: Age, Distance, Done, Place, Seen."
    )


def test_resource_that_is_not_there():
    world = build(Scene([table("t", rows=1)], [], TICK)).world
    assert refusal(lambda: world[Wind]) == (
        "No bundle brings the resource Wind. Resources here: Clock. "
        "Add the bundle that owns it, or pass an instance in Bundle(resources=[...])."
    )


def test_component_of_several_tables_must_say_which():
    bundles = [Bundle(n, [Place], table=n) for n in "ab"]
    world = build(Scene([table(n, rows=1) for n in "ab"], bundles, TICK)).world
    assert refusal(lambda: world[Place]) == "Place is in several tables (a, b); say which: world[table, Place]."
    assert world["a", Place] is not world["b", Place]


def test_columns_have_addresses():
    world = run().world
    columns = world.columns()
    assert list(columns) == [
        "points.Place.x",
        "points.Age.moves",
        "points.Distance.value",
        "points.Done.ended",
        "points.Seen.value",
    ]
    assert columns["points.Age.moves"] is world[Age].moves


def test_seed_of_a_stream_is_the_start_of_a_hash():
    expected = int.from_bytes(hashlib.sha256(b"3/toy.move").digest()[:8], "big") // 2
    assert stream_seed(3, "toy.move") == expected < 2**63


def test_streams_differ_by_name_and_seed_only():
    worlds = [run(seed=seed).world for seed in (1, 1, 2)]

    def draw(world: Any, name: str) -> list[float]:
        drawn: list[float] = torch.rand(3, generator=world.generator(name)).tolist()
        return drawn

    first = draw(worlds[0], "x")
    assert draw(worlds[1], "x") == first
    assert draw(worlds[2], "x") != first
    assert draw(worlds[0], "y") != first
    assert draw(worlds[0], "x") != first, "a stream goes on where it stopped"
