"""Tables, masked row writes and histories."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.testing import assert_close

from engine import BuildError, push_history, put_rows, table

FLOATS = st.floats(-1e6, 1e6, width=32)
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


@st.composite
def masked_columns(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A column, a mask over its rows, and a value that broadcasts to it."""
    shape = draw(SHAPES)
    shown = tuple(draw(st.sampled_from((n, 1))) for n in shape)
    value = draw(arrays.arrays(np.float32, shown[draw(st.integers(0, len(shape))) :], elements=FLOATS))
    column = draw(arrays.arrays(np.float32, shape, elements=FLOATS))
    return column, draw(arrays.arrays(np.bool_, shape[:1])), value


@given(masked_columns())
def test_put_rows_writes_masked_rows_and_no_other(case: tuple[np.ndarray, np.ndarray, np.ndarray]):
    before, mask, value = case
    column = torch.from_numpy(before.copy())
    storage = column.data_ptr()
    put_rows(column, torch.from_numpy(mask), torch.from_numpy(value))
    full = np.broadcast_to(value, before.shape)
    for row in range(len(before)):
        np.testing.assert_array_equal(column.numpy()[row], full[row] if mask[row] else before[row])
    assert column.data_ptr() == storage and column.shape == before.shape


@given(masked_columns(), FLOATS)
def test_put_rows_takes_a_number(case: tuple[np.ndarray, np.ndarray, np.ndarray], number: float):
    before, mask, _ = case
    column = torch.from_numpy(before.copy())
    put_rows(column, torch.from_numpy(mask), number)
    for row in range(len(before)):
        np.testing.assert_array_equal(
            column.numpy()[row], np.full_like(before[row], number) if mask[row] else before[row]
        )


def test_put_rows_converts_to_the_type_of_the_column():
    column = torch.zeros(2, dtype=torch.int64)
    put_rows(column, torch.tensor([True, False]), torch.tensor([3.0, 3.0]))
    assert_close(column, torch.tensor([3, 0]))


def test_put_rows_writes_through_a_strided_column():
    memory = torch.zeros(3, 4)
    put_rows(memory[:, ::2], torch.tensor([True, False, True]), torch.tensor([1.0, 2.0]))
    assert_close(memory, torch.tensor([[1.0, 0, 2, 0], [0, 0, 0, 0], [1, 0, 2, 0]]))


def test_put_rows_writes_under_a_strided_mask():
    column = torch.zeros(2)
    put_rows(column, torch.tensor([[True, False], [False, True]])[:, 0], 1.0)
    assert_close(column, torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("shape", [(3, 1), (3, 3), (2,), (1, 3)])
def test_put_rows_never_grows_a_column(shape: tuple[int, ...]):
    """(3,) and (3, 1) broadcast to (3, 3); the column must keep its shape and values."""
    column = torch.zeros(3)
    with pytest.raises(RuntimeError):
        put_rows(column, torch.ones(3, dtype=torch.bool), torch.ones(shape))
    assert_close(column, torch.zeros(3))


@given(SHAPES.filter(lambda shape: len(shape) > 1), st.data())
@settings(max_examples=50)
def test_push_history_shifts_by_one(shape: tuple[int, ...], data: st.DataObject):
    """`shape`: (rows, length, ...)."""
    before = data.draw(arrays.arrays(np.float32, shape, elements=FLOATS))
    value = data.draw(arrays.arrays(np.float32, (shape[0], *shape[2:]), elements=FLOATS))
    history = torch.from_numpy(before.copy())
    push_history(history, torch.from_numpy(value))
    for age in range(shape[1]):
        np.testing.assert_array_equal(history.numpy()[:, age], value if age == 0 else before[:, age - 1])


def test_push_history_may_push_its_own_entry():
    history = torch.tensor([[1.0, 2.0, 3.0]])
    push_history(history, history[:, 2])
    assert_close(history, torch.tensor([[3.0, 1.0, 2.0]]))


def test_axis_given_as_a_size_is_labelled_by_number():
    assert table("t", rows=2, axes={"dof": 3, "foot": ["left", "right"]}).axes == {
        "dof": ("0", "1", "2"),
        "foot": ("left", "right"),
    }


@pytest.mark.parametrize("rows", [0, -1, 2.0, True])
def test_table_without_rows_is_refused(rows: int):
    with pytest.raises(BuildError) as caught:
        table("t", rows=rows)
    assert str(caught.value) == f"Table 't' was given rows={rows!r}; it needs at least 1 row."


def test_repeated_label_is_refused():
    with pytest.raises(BuildError) as caught:
        table("t", rows=1, axes={"dof": ("hip", "knee", "hip")})
    assert str(caught.value) == "Axis 'dof' of table 't' has the label 'hip' twice; labels must differ."
