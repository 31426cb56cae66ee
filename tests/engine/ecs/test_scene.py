"""Building scenes: axes, memory, overrides by address."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine import (
    Bundle,
    Clock,
    Scene,
    SceneError,
    Write,
    build,
    column,
    component,
    concatenated,
    fuse,
    system,
    table,
    term,
)
from engine.ecs import scene as scene_module
from engine.ecs.constants import parse_value
from engine.ecs.scene import refuse_beyond_memory
from tests.engine.toy import TICK, Distance, Place, Seen, complaint, far, look, position, toy, toy_systems, toy_terms


def test_scene_is_built_and_runs():
    simulation = build(toy(rows=7))
    simulation.run(3)
    assert simulation.world[Place].x.shape == (7, 2)
    assert simulation.world[Clock].tick == 2
    assert repr(simulation) == f"Simulation(scene={simulation.scene.name}, world=tick 2)"


def test_iteration_is_that_of_the_learner_or_one():
    assert toy().iteration == 1
    assert toy(None, Bundle("learner", iteration=24)).iteration == 24


def test_names_of_bundles_and_tables_differ():
    assert complaint(toy(None, Bundle("toy"))) == "BuildError: Two bundles are called 'toy'; names must differ."
    twice = Scene([table("t", rows=1), table("t", rows=2)], [], TICK)
    assert complaint(twice) == "BuildError: Two tables are called 't'; names must differ."


def test_bundle_must_say_its_table_when_there_are_several():
    scene = Scene([table("a", rows=1), table("b", rows=1)], [Bundle("walk", [Place])], TICK)
    assert complaint(scene) == "BuildError: Bundle 'walk' does not say which table it is for; tables: a, b."


def test_bundle_for_an_unknown_table():
    scene = Scene([table("robot", rows=1)], [Bundle("walk", [Place], table="robt")], TICK)
    assert complaint(scene) == (
        "BuildError: Bundle 'walk' is for table 'robt', which the scene does not have: robot. Did you mean robot?"
    )


# Axes.


def test_concatenated_axis_is_as_wide_as_its_terms_and_labelled_by_them():
    world = build(toy()).world
    assert world.tables["points"].axes["seen"] == ("position[0]", "position[1]", "far")
    assert world[Seen].value.shape == (4, 3)


@component
class Second:
    """Runs along an axis that is measured with the help of another measured axis."""

    value: Tensor = column("second")


def echo(seen: Seen) -> Tensor:
    """What was seen."""
    return seen.value


def test_measured_axes_may_depend_on_each_other_in_any_order():
    first = Bundle("first", [Second], axes={"second": concatenated({"echo": term(echo)})})
    main = toy()
    world = build(Scene(main.tables, [first, *main.bundles], TICK)).world
    assert world[Second].value.shape == (4, 3)
    assert world.tables["points"].axes["second"] == ("echo[0]", "echo[1]", "echo[2]")


def test_measured_axis_that_needs_an_unknown_axis():
    lonely = Bundle("b", [Second], axes={"second": concatenated({"echo": term(echo)})})
    assert complaint(Scene([table("t", rows=1)], [lonely], TICK)) == (
        "BuildError: Seen.value runs along axis 'seen', which the table does not have. It has: no axes. "
        "Add it to the table's axes."
    )


def flat(distance: Distance) -> Tensor:
    """One number a row, without a width."""
    return distance.value


def test_concatenated_term_has_a_width():
    lonely = Bundle("b", [Seen, Distance], axes={"seen": concatenated({"level": term(flat)})})
    assert complaint(Scene([table("t", rows=1)], [lonely], TICK)) == (
        "BuildError: Term `level` (flat) returned shape (2,) for 2 rows; a concatenated term returns (rows, width)."
    )


def test_axis_of_a_bundle_must_agree_with_the_table():
    other = Bundle("other", axes={"dof": ("hip", "knee")})
    assert complaint(Scene([table("t", rows=1, axes={"dof": 3})], [other], TICK)) == (
        "BuildError: Bundle 'other' says axis 'dof' is hip, knee (2), but the table already has 0, 1, 2 (3)."
    )


def test_measured_axis_must_agree_with_the_table():
    scene = toy()
    scene.tables[0].axes["seen"] = ("a", "b")
    assert complaint(scene) == (
        "BuildError: Bundle 'toy' says axis 'seen' is position[0], position[1], far (3), but the table already has a, b (2)."
    )


def test_unknown_axis_is_found_at_build():
    assert complaint(Scene([table("t", rows=1, axes={"sen": 2})], [Bundle("b", [Seen])], TICK)) == (
        "BuildError: Seen.value runs along axis 'seen', which the table does not have. It has: sen. "
        "Add it to the table's axes. Did you mean sen?"
    )


def test_terms_measured_are_the_terms_run():
    terms = {"far": term(far), "position": term(position)}
    bundle = Bundle(
        "b", [Place, Distance, Seen], [], {"OBSERVE": [fuse(look, terms)]}, axes={"seen": concatenated(terms)}
    )
    world = build(Scene([table("t", rows=2)], [bundle], TICK), check=False).world
    assert world.tables["t"].axes["seen"] == ("far", "position[0]", "position[1]")


# Memory.


def test_absurd_number_of_rows_is_refused_before_allocating(monkeypatch: pytest.MonkeyPatch):
    """Per row: x 8 + moves 8 + distance 4 + ended 1 + seen 12 = 33 bytes; 33e12 / 2^30 = 30733.6 GiB; 2^30 / 33 = 32537631.03."""
    monkeypatch.setattr(scene_module, "free_host_memory", lambda: 2.0**30)
    monkeypatch.setattr(scene_module, "make", fail_for_many_rows)
    assert complaint(toy(rows=10**12)) == (
        "SceneError: The scene's columns need 30733.6 GiB for 1000000000000 rows, but cpu has 1.0 GiB free; at most 32537631 rows fit."
    )


def fail_for_many_rows(cls: type, rows: int, *arguments: Any, **options: Any) -> Any:
    assert rows == 2, "nothing but the two blank rows of a measured term may be made"
    return cls.make(rows, *arguments, **options)  # type: ignore[attr-defined]


def test_free_memory_of_this_machine_is_enough_for_little_and_not_for_everything():
    refuse_beyond_memory(1, torch.device("cpu"), 1)
    with pytest.raises(SceneError):
        refuse_beyond_memory(2**70, torch.device("cpu"), 1)


def test_unknown_free_memory_refuses_nothing(monkeypatch: pytest.MonkeyPatch):
    def no_such_file(*arguments: Any, **options: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_such_file)
    with pytest.raises(SceneError):  # what is installed still bounds it
        refuse_beyond_memory(2**70, torch.device("cpu"), 1)
    monkeypatch.setattr("os.sysconf", no_such_file)
    refuse_beyond_memory(2**70, torch.device("cpu"), 1)


# Overrides.


def limit_of(scene: Scene, name: str = "finish") -> Any:
    return next(s for s in scene.bundles[0].systems["SENSE"] if s.name == name).constants["limit"]


def test_override_reaches_a_constant_of_a_system():
    scene = toy()
    build(scene, overrides={"toy.finish.limit": "2"})
    assert limit_of(scene) == 2.0 and isinstance(limit_of(scene), float)


def test_override_reaches_a_constant_and_a_setting_of_a_term():
    scene = toy()
    simulation = build(scene, overrides={"toy.look.far.scale": "-1.5", "toy.look.far.weight": "0.5"})
    simulation.run(2)
    world = simulation.world
    assert_close(world[Seen].value[:, 2], -1.5 * world[Distance].value)
    assert scene.bundles[0].systems["OBSERVE"][0].terms["far"].settings == {"weight": 0.5}


def test_override_reaches_every_place_of_a_system():
    systems = {
        **toy_systems(),
        "OBSERVE": [system(shift), fuse(look, toy_terms(), settings={"weight": float})],
        "BEGIN": [*toy_systems()["BEGIN"], system(shift)],
    }
    scene = toy(systems)
    build(scene, overrides={"toy.shift.by": "3.5"}, check=False)
    assert [
        s.constants["by"]
        for phase in ("BEGIN", "OBSERVE")
        for s in scene.bundles[0].systems[phase]
        if s.name == "shift"
    ] == [3.5, 3.5]


def shift(place: Write[Place], *, by: float = 1.0) -> None:
    """Move."""
    place.x.add_(by)


def test_wrong_address_lists_near_misses():
    assert complaint(toy(), overrides={"toy.finish.limits": "2"}) == (
        "SceneError: There is no constant 'toy.finish.limits'. Did you mean toy.finish.limit?"
    )
    assert (
        complaint(toy(), overrides={"limit": "2"})
        == "SceneError: There is no constant 'limit'. Did you mean toy.finish.limit?"
    )


def test_address_with_no_near_miss_points_at_explain():
    assert (
        complaint(toy(), overrides={"zzzzzz": "2"})
        == "SceneError: There is no constant 'zzzzzz'. `explain` lists them."
    )


def test_nothing_is_changed_when_one_override_is_wrong():
    for wrong in ({"toy.move.steps": "1"}, {"toy.move.step": "fast"}):
        scene = toy()
        complaint(scene, overrides={"toy.finish.limit": "2", **wrong})
        assert limit_of(scene) == 1.0


def test_wrong_type_is_a_sentence():
    assert complaint(toy(), overrides={"toy.finish.limit": "far"}) == (
        "SceneError: toy.finish.limit takes float, but was given 'far'. It is 1.0 now."
    )


@pytest.mark.parametrize(
    ("text", "declared", "current", "expected"),
    [
        ("3", int, 1, 3),
        ("3", float, 1.0, 3.0),
        ("1e-3", float, 1.0, 0.001),
        ("inf", float, 1.0, math.inf),
        ("-INF", float, 1.0, -math.inf),
        ("true", bool, False, True),
        ("False", bool, True, False),
        ("3", str, "x", "3"),
        ("none", float | None, 1.0, None),
        ("2.5", float | None, None, 2.5),
        ("none", str | None, "x", None),
        ("3", int | float, 1.0, 3),
        ("0.5", int | float, 1, 0.5),
        ("(1, 2)", tuple[int, int], (0, 0), (1, 2)),
        ("[1, 2]", tuple[float, ...], (), (1.0, 2.0)),
        ("(1, 'a')", tuple[int, str], (0, ""), (1, "a")),
        ("[1, 2]", list[int], [], [1, 2]),
        ("(1, 2)", Sequence[int], [], (1, 2)),
        ("(1, None)", tuple[float | None, ...], (), (1.0, None)),
        ("adam", Literal["adam", "sgd"], "sgd", "adam"),
        ("2", Literal[1, 2], 1, 2),
        ("0.5", Any, 1.0, 0.5),
        ("{'a': 1}", dict[str, int], {}, {"a": 1}),
        ("anything", Any, None, "anything"),
    ],
)
def test_text_becomes_the_declared_type(text: str, declared: Any, current: Any, expected: Any):
    value = parse_value(text, declared, current, "here")
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "declared", "current", "wanted"),
    [
        ("2.5", int, 1, "int"),
        ("true", int, 1, "int"),
        ("1", bool, True, "bool"),
        ("nan", float, 1.0, "float"),
        ("true", float, 1.0, "float"),
        ("", float, 1.0, "float"),
        ("x", float | None, None, "float or None"),
        ("(1, 2, 3)", tuple[int, int], (0, 0), "tuple[int, int]"),
        ("(1, 'a')", tuple[float, ...], (), "tuple[float, ...]"),
        ("5", tuple[int, int], (0, 0), "tuple[int, int]"),
        ("rmsprop", Literal["adam", "sgd"], "sgd", "Literal['adam', 'sgd']"),
        ("{[]: 1}", dict, {}, "dict"),
        ("(" * 500, float, 1.0, "float"),
    ],
)
def test_text_that_does_not_fit_is_refused(text: str, declared: Any, current: Any, wanted: str):
    with pytest.raises(SceneError) as caught:
        parse_value(text, declared, current, "a.b.c")
    assert str(caught.value) == f"a.b.c takes {wanted}, but was given '{text}'. It is {current!r} now."


def test_scene_is_built_once_since_worlds_do_not_share_resources():
    scene = toy()
    with pytest.raises(SceneError):
        build(scene, overrides={"toy.finish.limits": "2.0"})
    build(scene, overrides={"toy.finish.limit": "2.0"})
    assert complaint(scene) == (
        "BuildError: The scene 'toy' was built before, and its resources and constants belong to that world. "
        "Call the function that makes the scene again."
    )


def test_a_scene_without_tables_and_bundles_is_built():
    simulation = build(Scene([], [], TICK))
    simulation.run(2)
    assert simulation.world.clock.tick == 1 and simulation.world.columns() == {}
