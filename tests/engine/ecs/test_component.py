"""Declaring components and making rows of them."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine import AccessError, BuildError, column, component, constant, derived, resource, signal
from engine.ecs.component import Kind, axis_size, info, kind_of, num_bytes, real_types


@component
class Joint:
    """Joint state."""

    position: Tensor = column("dof", unit="rad", doc="of the motor")
    index: Tensor = column(dtype=torch.int64, fill=7)
    pose: Tensor = column("dof", 3)


@derived
class Cache:
    """A cache."""

    value: Tensor = column()


@signal
class Event:
    """An event."""

    happened: Tensor = column(dtype=torch.bool)


@resource
class Store:
    """A resource."""

    size: int = constant()


def refusal(action: Callable[[], Any], kind: type[Exception] = BuildError) -> str:
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def test_declaration_is_kept_with_the_class():
    declared = info(Joint)
    assert (declared.name, declared.lifetime, declared.doc) == ("Joint", "state", "Joint state.")
    position = declared.columns["position"]
    assert (position.axes, position.unit, position.doc, position.dtype) == (
        ("dof",),
        "rad",
        "of the motor",
        torch.float32,
    )


def test_decorators_give_lifetimes():
    assert [info(c).lifetime for c in (Joint, Cache, Event)] == ["state", "derived", "signal"]


def test_kinds():
    assert kind_of(Joint) is Kind.COMPONENT
    assert kind_of(Store) is Kind.RESOURCE
    assert kind_of(int) is None
    assert kind_of(3) is None


def test_class_below_a_component_is_not_one_until_it_is_declared():
    class Wrist(Joint):
        pass

    assert kind_of(Wrist) is None


def test_made_rows_have_row_first_and_fill():
    joint = Joint.make(2, {"dof": ("a", "b", "c")})
    assert joint.position.shape == (2, 3) and joint.pose.shape == (2, 3, 3)
    assert_close(joint.index, torch.tensor([7, 7]))


def test_values_are_broadcast_into_columns():
    joint = Joint.make(2, {"dof": 2}, position=[0.5, -0.5], index=[1, 2])
    assert_close(joint.position, torch.tensor([[0.5, -0.5], [0.5, -0.5]]))
    assert_close(joint.index, torch.tensor([1, 2]))


def test_rows_do_not_share_memory_with_the_given_value():
    given = torch.zeros(2, 2)
    joint = Joint.make(2, {"dof": 2}, position=given)
    joint.position.add_(1.0)
    assert_close(given, torch.zeros(2, 2))


def test_value_of_another_shape_is_refused():
    assert refusal(lambda: Joint.make(2, {"dof": 3}, position=[[1.0, 2.0]])) == (
        "Joint.position is declared ('dof',) = (2, 3) but was given (1, 2)."
    )


def test_unknown_column_names_near_misses():
    assert refusal(lambda: Joint.make(1, {"dof": 1}, positon=0.0)) == (
        "Joint has no column 'positon'; it has position, index, pose. Did you mean position or pose?"
    )


def test_unknown_axis_is_refused():
    assert refusal(lambda: Joint.make(1, {"dofs": 1})) == (
        "Joint.position runs along axis 'dof', which the table does not have. It has: dofs. "
        "Add it to the table's axes. Did you mean dofs?"
    )
    assert "It has: no axes." in refusal(lambda: Joint.make(1))


def test_assignment_is_refused_and_in_place_writes_are_not():
    joint = Joint.make(1, {"dof": 1})
    storage = joint.position
    assert refusal(lambda: setattr(joint, "position", torch.ones(1, 1)), AccessError) == (
        "Joint.position was assigned, which would replace its storage. "
        "Write into it: Joint.position.copy_(value), Joint.position[:] = value, or an in-place operation."
    )
    joint.position += 1.0
    joint.position[:] = joint.position * 3.0
    assert joint.position is storage
    assert_close(storage, torch.tensor([[3.0]]))


def test_unknown_attribute_is_refused():
    joint = Joint.make(1, {"dof": 1})
    assert refusal(lambda: setattr(joint, "positions", 1), AccessError) == (
        "Joint has no column 'positions'; it has position, index, pose. Did you mean position?"
    )


def test_field_without_column_is_refused():
    def declare() -> None:
        @component
        class Broken:
            value: int = 0

    assert refusal(declare) == "Broken.value is not declared with column(...); a component holds tensors only."


def test_only_components_have_a_declaration():
    assert refusal(lambda: info(Store)) == (
        f"{Store!r} is not a component. Decorate it with @component, @derived or @signal."
    )
    assert refusal(lambda: info(3)) == "3 is not a component. Decorate it with @component, @derived or @signal."


def test_memory_is_known_before_allocating():
    """Per row: 2 float32 (8) + 1 int64 (8) + 2 × 3 float32 (24) = 40 bytes."""
    assert num_bytes(Joint, 10**12, {"dof": 2}) == 40 * 10**12


def test_axis_sizes():
    assert axis_size(3) == 3 and axis_size(("a", "b")) == 2


def test_types_that_cannot_be_read_are_refused():
    def postponed(x: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        """Use a name that does not exist."""

    assert refusal(lambda: real_types(postponed)) == (
        "The types in the signature of 'postponed' cannot be read (name 'Nowhere' is not defined). "
        "Import what they name at run time and do not use `from __future__ import annotations` there."
    )


def test_nan_can_be_a_fill():
    @component
    class Unknown:
        value: Tensor = column(fill=math.nan)

    assert Unknown.make(1).value.isnan().all()
