"""Break expressions: what they mean, against numpy, and what is wrong with them, in a sentence."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import Bundle, Scene, Tick, World, build, column, component, table
from engine.errors import BreakError
from engine.inspect.expression import compile_break


@component
class Body:
    """Where limbs are, and whether they touch."""

    place: Tensor = column("limb", 3, unit="m")
    turn: Tensor = column(4)
    load: Tensor = column("limb", unit="N")
    age: Tensor = column(dtype=torch.int64)
    touches: Tensor = column("limb", dtype=torch.bool)


def make_world() -> World:
    bundle = Bundle("b", [Body])
    scene = Scene([table("robot", rows=4, axes={"limb": ("hip", "knee", "foot")})], [bundle], Tick(("STEP",)))
    world = build(scene).world
    body = world[Body]
    body.place.copy_(torch.arange(36.0).reshape(4, 3, 3) / 10)
    body.turn[:, 0] = 1.0
    body.load.copy_(torch.tensor([[1.0, -2.0, 3.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0], [-1.0, 2.0, 0.5]]))
    body.age.copy_(torch.tensor([0, 5, 10, 15]))
    body.touches[1, 2] = True
    return world


WORLD = make_world()
LOAD, PLACE = WORLD[Body].load.double().numpy(), WORLD[Body].place.double().numpy()
TOUCHES, AGE = WORLD[Body].touches.numpy(), WORLD[Body].age.numpy()
YES, NO = [True] * 4, [False] * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("robot.Body.age > 5", AGE > 5),
        ("robot.Body.load > 4", (LOAD > 4).any(1)),
        ("robot.Body.load[knee] < 0", LOAD[:, 1] < 0),
        ("robot.Body.load[1] < 0", LOAD[:, 1] < 0),
        ("robot.Body.place[foot, z] >= 2.6", PLACE[:, 2, 2] >= 2.6),
        ("robot.Body.place[1:, x] > 3.2", (PLACE[:, 1:, 0] > 3.2).any(1)),
        ("robot.Body.place[:knee, x] > 2.6", (PLACE[:, :1, 0] > 2.6).any(1)),
        ("robot.Body.turn[w] == 1", YES),
        ("robot.Body.touches", TOUCHES.any(1)),
        ("not robot.Body.touches[foot]", ~TOUCHES[:, 2]),
        ("any(robot.Body.load < -1.5)", YES),
        ("all(robot.Body.load < 4)", NO),
        ("count(robot.Body.touches) == 1", YES),
        ("count(robot.Body.age >= 5) > 0.5 * rows", YES),
        ("rows < 4 or robot.Body.age == 10", AGE == 10),
        ("norm(robot.Body.load) > 5", np.linalg.norm(LOAD, axis=1) > 5),
        ("norm(robot.Body.place[knee]) > 3", np.linalg.norm(PLACE[:, 1], axis=1) > 3),
        ("min(robot.Body.load) < 0", LOAD.min(1) < 0),
        ("max(robot.Body.load) - min(robot.Body.load) > 4", LOAD.max(1) - LOAD.min(1) > 4),
        ("mean(robot.Body.load) >= 0.5", LOAD.mean(1) >= 0.5),
        ("robot.Body.age > mean(robot.Body.age)", AGE.mean() < AGE),
        ("max(robot.Body.age) == 15", YES),
        ("abs(robot.Body.load) > 1.5 and robot.Body.age > 0", (np.abs(LOAD) > 1.5).any(1) & (AGE > 0)),
        ("robot.Body.load * 2 - 1 > 6 / 2 + 5", (LOAD * 2 - 1 > 8).any(1)),
        ("-robot.Body.load[hip] > 0", -LOAD[:, 0] > 0),
        ("robot.Body.load > robot.Body.age / 4", (AGE[:, None] / 4 < LOAD).any(1)),
        ("1 < 2 and (robot.Body.age == 0 or robot.Body.age == 15)", (AGE == 0) | (AGE == 15)),
        ("not not robot.Body.touches", TOUCHES.any(1)),
        ("2 + 3 * 2 == 8 and robot.Body.age == 5", AGE == 5),
        ("robot.Body.touches[foot] + robot.Body.touches[hip] > 1", TOUCHES[:, 2] & TOUCHES[:, 0]),
        ("robot.Body.touches[foot] - robot.Body.touches[hip] < 0", ~TOUCHES[:, 2] & TOUCHES[:, 0]),
        ("robot.Body.touches[foot] * robot.Body.touches[hip] == 1", TOUCHES[:, 2] & TOUCHES[:, 0]),
        ("robot.Body.load[0:2] < 0", (LOAD[:, :2] < 0).any(1)),
        ("robot.Body.load[1:3] < 0", (LOAD[:, 1:3] < 0).any(1)),
        ("all(robot.Body.load[:3] < 4)", NO),
    ],
)
def test_an_expression_says_which_rows(text: str, expected: "np.ndarray | list[bool]") -> None:
    assert compile_break(text, WORLD).hits().tolist() == list(expected)


def test_non_finite_values_are_found() -> None:
    world = make_world()
    found = compile_break("nonfinite(robot.Body.load)", world)
    assert found.hits().tolist() == NO and found.columns == ("robot.Body.load",) and found.table == "robot"
    world[Body].load[2, 1] = float("nan")
    world[Body].load[3, 0] = float("-inf")
    assert found.hits().tolist() == [False, False, True, True]


def test_changed_and_rate_compare_with_the_last_time_they_were_asked() -> None:
    world = make_world()
    changed, rate = (compile_break(t, world) for t in ("changed(robot.Body.load)", "rate(robot.Body.age) >= 3"))
    assert changed.hits().tolist() == NO and rate.hits().tolist() == NO
    world[Body].load[0, 1] += 1.0
    world[Body].load[1, 1] = float("nan")
    world[Body].age.copy_(torch.tensor([2, 8, 10, 19]))
    assert changed.hits().tolist() == [True, True, False, False]
    assert rate.hits().tolist() == [False, True, False, True]
    assert changed.hits().tolist() == NO and rate.hits().tolist() == NO
    world[Body].age += 10
    rate.forget()
    assert rate.hits().tolist() == NO, "time has jumped"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "In '', at character 1: a value is missing at its end."),
        ("robot.Body.loat > 1", "at character 1: there is no column 'robot.Body.loat'. Did you mean robot.Body.load"),
        ("robot.Body.load[ankle]", "'ankle' is not a label of robot.Body.load, nor a number below 3. It has hip, knee, foot."),
        ("robot.Body.load[knees]", "'knees' is not a label of robot.Body.load, nor a number below 3. Did you mean knee?"),
        ("robot.Body.load[3]", "'3' is not a label of robot.Body.load, nor a number below 3."),
        ("robot.Body.load[0, 0]", "robot.Body.load has 1 axes besides the row."),
        ("robot.Body.load[0:4]", "'4' is not a label of robot.Body.load, nor a number up to 3."),
        ("robot.Body.load[foot:hip]", "'foot' does not lie before 'hip', so that there is nothing between them."),
        ("all(robot.Body.load[1:1])", "'1' does not lie before '1', so that there is nothing between them."),
        ("max(robot.Body.load[:0]) > 1", "'the first' does not lie before '0', so that there is nothing between them."),
        ("robot.Body.age >", "at character 17: a value is missing at its end."),
        ("robot.Body.age 3", "at character 16: '3' follows a whole expression."),
        ("(robot.Body.age > 3", "at character 20: ')' is missing."),
        ("sqrt(robot.Body.age)", "there is no function 'sqrt'; there are abs, all, any"),
        ("1 < 2", "it looks at no column."),
        ("robot.Body.age > * 3", "at character 18: a value is missing before '*'."),
        (" (robot.Body.age 3)", "at character 3: an operator is missing in 'robot.Body.age 3'."),
        ("0 < robot.Body.age < 9", "at character 1: two comparisons are joined by and, as in 1 < a and a < 2."),
        ("robot.Body.load[0:3:2]", "at character 21: a part of robot.Body.load has a first and a last label only."),
        ("any(robot.Body.age, 1)", "at character 1: any takes one value."),
        ("robot.Body.age if 1 else 2", "at character 1: 'robot.Body.age if 1 else 2' means nothing here."),
        ("robot.Body.age > True", "at character 18: 'True' means nothing here."),
        ("any(robot.Body).age", "at character 1: there is no column 'any(robot.Body).age'."),
        ("robot.Body.age ; 1", "at character 16: ';' means nothing here."),
        ("robot.Body.age > 'a'", "''' means nothing here."),
        ("robot.Body.load > robot.Body.turn", "its parts do not fit together"),
        ("__import__('os')", "means nothing here"),
        ("robot.__class__.mro", "there is no column 'robot.__class__.mro'"),
        ("(" * 17 + "robot.Body.age" + ")" * 17, "it is nested deeper than 16 levels."),
        ("not " * 20 + "robot.Body.touches", "it is nested deeper than 16 levels."),
        ("robot.Body.age > " + "1" * 250, "The expression has 267 characters; 256 are the most."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_sentence(text: str, message: str) -> None:
    with pytest.raises(BreakError) as caught:
        compile_break(text, WORLD)
    assert message in str(caught.value)


WORDS = (
    *(
        "robot.Body.age",
        "robot.Body.load",
        "robot.Body.place[knee]",
        "rows",
        "1",
        "2.5",
        "foo",
        ".",
        ",",
        ":",
        "[",
        "]",
    ),
    *("(", ")", "+", "-", "*", "/", "<", ">=", "==", "and", "or", "not"),
    *("any(", "norm(", "mean(", "changed(", "nonfinite("),
)


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
@settings(max_examples=400)
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = compile_break(text, WORLD)
    except BreakError:
        return
    hits = found.hits()
    assert hits.shape == (4,) and hits.dtype == torch.bool
