"""What every backend promises, asked of each."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.snapshot.snapshot import copied
from tests.physics.rows import BACKENDS_HERE, SIMULATORS, Rows, bytes_of, make_rows, needs, pendulum

WITH_TORQUES = [  # of which the learned knows none, and says so
    pytest.param(name, marks=needs(name)) for name in SIMULATORS if name != "learned"
]


@pytest.fixture(params=BACKENDS_HERE)
def rows(request: pytest.FixtureRequest) -> Rows:
    return make_rows(3, backend=request.param)


def wander(rows: Rows, seed: int = 0) -> None:
    """Put every row somewhere else, moving."""
    draw = torch.Generator().manual_seed(seed)
    count = len(rows.diverged)
    rows.root.position.copy_(torch.randn(count, 3, generator=draw) + torch.tensor([0.0, 0.0, 3.0]))
    turned = torch.randn(count, 4, generator=draw)
    rows.root.rotation.copy_(turned / turned.norm(dim=-1, keepdim=True))
    rows.root.linear_velocity.copy_(torch.randn(count, 3, generator=draw))
    rows.root.angular_velocity.copy_(torch.randn(count, 3, generator=draw))
    rows.dofs.velocity.copy_(torch.randn(rows.dofs.velocity.shape, generator=draw))


def assert_bodies_agree(rows: Rows) -> None:
    """Bodies are those that belong to the root and joint columns."""
    root, dofs, bodies = rows.root, rows.dofs, rows.bodies
    sources = (root.position, root.rotation, dofs.position, root.linear_velocity, root.angular_velocity, dofs.velocity)
    expected = rows.model.kinematics(*(t.double().numpy() for t in sources))
    found = (bodies.position, bodies.rotation, bodies.linear_velocity, bodies.angular_velocity)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=2e-5)


def test_axes_name_joints_bodies_and_feet_in_the_models_order(rows: Rows) -> None:
    compiled = rows.model.model
    assert rows.backend.axes["dof"] == tuple(compiled.joint(i).name for i in range(1, compiled.njnt))
    assert rows.backend.axes["body"] == tuple(compiled.body(i).name for i in range(1, compiled.nbody))
    assert rows.backend.axes["foot"] == ("left_ankle_roll_link", "right_ankle_roll_link")


def test_bodies_are_current_after_a_restart(rows: Rows) -> None:
    wander(rows)
    rows.restart(0, 1, 2)
    assert_bodies_agree(rows)
    assert_close(rows.bodies.linear_velocity[:, 0], rows.root.linear_velocity)
    assert_close(rows.bodies.angular_velocity[:, 0], rows.root.angular_velocity)


def test_bodies_are_current_after_a_step(rows: Rows) -> None:
    for _ in range(3):
        rows.tick(rows.model.robot.default_position + 0.2 * torch.ones_like(rows.dofs.position))
    assert_bodies_agree(rows)


@pytest.mark.parametrize("backend", WITH_TORQUES)
def test_bodies_are_current_after_explicit_torques(backend: str) -> None:
    rows = make_rows(3, backend=backend, control="torque")
    for _ in range(3):
        rows.tick(torch.full_like(rows.dofs.position, 0.5))
    assert_bodies_agree(rows)


def test_new_control_step_clears_the_marks_of_the_last(rows: Rows) -> None:
    rows.diverged.fill_(True)
    rows.backend.begin(rows.diverged)
    assert not rows.diverged.any()


def test_row_with_a_target_that_is_no_number_is_marked_alone(rows: Rows) -> None:
    control = rows.model.robot.default_position.expand_as(rows.dofs.position).clone()
    control[1, 4] = float("nan")
    rows.tick(control)
    assert rows.diverged.tolist() == [False, True, False]
    for part in (rows.root, rows.dofs, rows.bodies, rows.forces):
        assert all(t.isfinite().all() for t in vars(part).values())


def assert_went_on(rows: Rows, columns: list[Tensor]) -> None:
    """The columns are those of `columns`: to the bit where a simulator promises that, else close by."""
    exact = rows.backend.exact_resume
    for column, expected in zip(rows.every_column(), columns, strict=True):
        if exact:
            assert torch.equal(column, expected)
        elif column.dim() < 3 or column.shape[1] != len(rows.backend.axes["sensed"]):  # of places, not of forces
            assert_close(column, expected, atol=0.02, rtol=0.0)


def test_snapshot_continues_with_the_same_bytes_where_that_is_promised(rows: Rows) -> None:
    for _ in range(10):
        rows.tick()
    hidden = copied(rows.backend.state())
    kept = [[t.clone() for t in vars(part).values()] for part in (rows.root, rows.dofs, rows.bodies, rows.forces)]
    for _ in range(50):
        rows.tick()
    first = [column.clone() for column in rows.every_column()]
    for part, tensors in zip((rows.root, rows.dofs, rows.bodies, rows.forces), kept, strict=True):
        for t, old in zip(vars(part).values(), tensors, strict=True):
            t.copy_(old)
    rows.backend.load(hidden)
    before = rows.columns()
    rows.refresh()
    assert rows.columns() == before  # nothing is stale after a restore
    for _ in range(50):
        rows.tick()
    assert_went_on(rows, first)


def test_all_but_isaac_gym_promise_to_go_on_with_the_same_bytes(rows: Rows) -> None:
    assert rows.backend.exact_resume is (not rows.made_by.startswith("isaacgym"))


def edit(rows: Rows, row: int) -> None:
    """Write root and joints of one row by hand, as a debugger does."""
    rows.root.position[row] += torch.tensor([0.5, -0.25, 1.0])
    rows.root.angular_velocity[row] = torch.tensor([0.1, 0.2, 0.3])
    rows.dofs.position[row] *= 0.5


@pytest.mark.parametrize(
    ("backend", "control"),
    [
        pytest.param(name, control, marks=needs(name))
        for name in SIMULATORS
        for control in ("servo", "torque")
        if (name, control) != ("learned", "torque")
    ],
)
def test_edited_columns_reach_the_next_step_as_a_restart_would_and_other_rows_never_notice(
    backend: str, control: str
) -> None:
    edited, restarted, untouched = (make_rows(3, backend=backend, control=control) for _ in range(3))
    for rows in (edited, restarted, untouched):
        for _ in range(5):
            rows.tick()
    edit(edited, 1)
    edit(restarted, 1)
    restarted.restart(1)
    height = float(edited.root.position[1, 2])
    for tick in range(6):
        for rows in (edited, restarted, untouched):
            rows.tick()
        assert edited.columns() == restarted.columns()
        assert bytes_of(edited, 0, 2) == bytes_of(untouched, 0, 2)
        if tick == 0:
            assert abs(float(edited.root.position[1, 2]) - height) < 0.05
    assert bytes_of(edited, 1) != bytes_of(untouched, 1)


def test_edited_columns_reach_the_bodies_without_a_step(rows: Rows) -> None:
    rows.tick()
    before = bytes_of(rows, 0, 1)
    edit(rows, 2)
    rows.refresh()
    assert_bodies_agree(rows)
    assert bytes_of(rows, 0, 1) == before


def test_restart_of_one_row_does_not_lose_the_edit_of_another(rows: Rows) -> None:
    rows.tick()
    edit(rows, 0)
    edit(rows, 2)
    rows.restart(2)
    assert_bodies_agree(rows)


def test_column_that_is_written_with_the_same_numbers_changes_nothing(rows: Rows) -> None:
    other = make_rows(3, backend=rows.made_by)
    for _ in range(5):
        rows.tick()
        other.tick()
        for part in (rows.root, rows.dofs):
            for column in vars(part).values():
                column.add_(0.0)  # a zero may change its sign
    assert rows.columns() == other.columns()


def test_snapshot_with_a_pending_edit_goes_on_as_the_original_does(rows: Rows) -> None:
    parts = (rows.root, rows.dofs, rows.bodies, rows.forces)
    rows.tick()
    edit(rows, 1)
    hidden = copied(rows.backend.state())
    kept = [[t.clone() for t in vars(part).values()] for part in parts]
    for _ in range(5):
        rows.tick()
    expected = [column.clone() for column in rows.every_column()]
    for columns_first in (True, False):
        if not columns_first:
            rows.backend.load(hidden)
        for part, tensors in zip(parts, kept, strict=True):
            for t, old in zip(vars(part).values(), tensors, strict=True):
                t.copy_(old)
        if columns_first:
            rows.backend.load(hidden)
        for _ in range(5):
            rows.tick()
        assert_went_on(rows, expected)


def test_kinematic_joints_go_to_their_targets_within_limits() -> None:
    rows = make_rows(2, pendulum(), backend="kinematic")
    rows.tick(torch.tensor([[0.5], [7.0]]))
    assert_close(rows.dofs.position, torch.tensor([[0.5], [1.0]]))  # the range ends at 1
    assert_close(rows.dofs.velocity, torch.tensor([[25.0], [50.0]]))  # over 4 × 0.005 s
    assert_close(rows.root.position, torch.tensor([[0.0, 0.0, 1.0]] * 2))


def test_kinematic_backend_plays_what_is_written_into_the_columns() -> None:
    rows = make_rows(1, pendulum(), backend="kinematic")
    rows.root.position[:, 0] = 4.0
    rows.refresh()
    assert_close(rows.bodies.position[0], torch.tensor([[4.0, 0.0, 1.0], [4.0, 0.0, 1.0]]))
    assert not rows.forces.force.any()


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_a_row_moves_to_the_same_bytes_when_only_it_is_simulated(backend: str) -> None:
    everyone, alone = (make_rows(3, backend=backend) for _ in range(2))
    alone.backend.focus([1])
    for tick in range(6):
        for rows in (everyone, alone):
            target = rows.model.robot.default_position + 0.1 * tick * torch.tensor([[1.0], [-1.0], [0.5]])
            rows.tick(target)
    for part, other in ((everyone.root, alone.root), (everyone.dofs, alone.dofs), (everyone.bodies, alone.bodies)):
        for name, column in vars(part).items():
            assert torch.equal(column[1], getattr(other, name)[1])
    if backend != "kinematic":
        assert not torch.equal(everyone.dofs.position[0], alone.dofs.position[0])
    alone.backend.focus(None)
    before = alone.dofs.position.clone()
    alone.tick(alone.model.robot.default_position.expand_as(before) + 0.3)
    assert (alone.dofs.position != before).any(-1).all()


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_rows_in_focus_are_a_set_in_any_order(backend: str) -> None:
    plain, doubled = (make_rows(3, backend=backend) for _ in range(2))
    plain.backend.focus([0, 2])
    doubled.backend.focus([2, 0, 2])
    for rows in (plain, doubled):
        rows.tick(rows.model.robot.default_position.expand_as(rows.dofs.position) + 0.3)
    assert torch.equal(plain.dofs.position, doubled.dofs.position)
