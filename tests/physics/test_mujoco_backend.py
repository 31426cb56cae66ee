"""MuJoCo as a backend: forces, restarts, quarantine, exactness, limits."""

import os
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from mujoco.batch import SimulationError
from torch import Tensor
from torch.testing import assert_close

from components.robot import Capsule, RobotDescription
from engine.errors import SceneError, SnapshotError
from engine.snapshot.snapshot import copied, encode
from systems.physics import make_backend
from systems.physics.mujoco_backend import MujocoBackend, check_memory, num_bytes
from systems.robots.model import build_robot
from tests.physics.rows import PENDULUM, Rows, make_rows, one_foot, pendulum

GRAVITY = 9.81


def simulations(rows: Rows) -> np.ndarray:
    """The integration state of every row."""
    assert isinstance(rows.backend, MujocoBackend)
    return np.array(rows.backend.state()["simulation"])


def settle(rows: Rows, ticks: int = 50) -> None:
    for _ in range(ticks):
        rows.tick()


def test_humanoid_stands_and_its_feet_carry_its_weight() -> None:
    rows = make_rows(2)
    settle(rows, 100)
    weight = rows.model.body_mass.sum() * GRAVITY
    assert abs(rows.root.position[0, 2] - rows.model.robot.default_height) < 0.02
    sensed = rows.backend.axes["sensed"]
    feet = [sensed.index(name) for name in rows.model.robot.foot_names]
    assert_close(
        rows.forces.force[:, feet, 2].sum(-1), torch.full((2,), weight), rtol=0.02, atol=0.0, check_dtype=False
    )
    others = [i for i in range(len(sensed)) if i not in feet]
    assert not rows.forces.force[:, others].any()


def test_contact_force_after_a_restart_is_that_of_the_new_state() -> None:
    rows = make_rows(2, one_foot(Capsule("arm", 0.1, (0.0, 0.0, -0.5))))
    rows.root.position[:, 2] = torch.tensor([0.59, 3.0])  # row 0 presses 1 cm into the floor, row 1 is in the air
    rows.restart(0, 1)
    assert rows.forces.force[0, 0, 2] > 10.0  # the arm, which alone can touch anything
    assert not rows.forces.force[1].any()


def test_free_fall_follows_the_law() -> None:
    rows = make_rows(1, pendulum(), control="torque", dt=0.001)
    rows.root.position[:, 2] = 10.0
    rows.restart(0)
    rows.tick(decimation=4)
    assert_close(rows.root.linear_velocity[0], torch.tensor([0.0, 0.0, -GRAVITY * 0.004]), atol=1e-6, rtol=0.0)


def test_restart_touches_only_its_rows_and_forgets_the_warm_start() -> None:
    rows = make_rows(3)
    settle(rows, 5)
    before, columns = simulations(rows), rows.bodies.position.clone()
    rows.root.position[1, 2] = 2.0
    rows.restart(1)
    after = simulations(rows)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert_close(rows.bodies.position[[0, 2]], columns[[0, 2]], rtol=0.0, atol=0.0)
    assert rows.bodies.position[1, 0, 2] == 2.0
    fresh = make_rows(3)
    for part, other in ((rows.root, fresh.root), (rows.dofs, fresh.dofs)):
        for name in vars(part):
            getattr(other, name)[1] = getattr(part, name)[1]
    fresh.restart(1)
    np.testing.assert_array_equal(after[1], simulations(fresh)[1])


def test_one_step_is_the_same_however_many_rows_and_threads_there_are() -> None:
    alone, many = make_rows(1, nthread=1), make_rows(7, nthread=2)
    for rows in (alone, many):
        settle(rows, 20)
    np.testing.assert_array_equal(simulations(many), np.repeat(simulations(alone), 7, 0))
    assert (many.forces.force == alone.forces.force).all()


def test_diverged_row_is_marked_and_the_others_never_notice() -> None:
    def run(plant: bool) -> tuple[Rows, list[list[bool]]]:
        rows, marks = make_rows(4, nthread=2), []
        rows.dofs.velocity[:] = 0.3 * torch.arange(4)[:, None]
        rows.restart(0, 1, 2, 3)
        for tick in range(12):
            if plant and tick == 5:
                rows.backend._qvel[2, 7] = np.nan  # type: ignore[attr-defined]
            rows.tick()
            marks.append(rows.diverged.tolist())
            assert all(
                t.isfinite().all()
                for part in (rows.root, rows.dofs, rows.bodies, rows.forces)
                for t in vars(part).values()
            )
        return rows, marks

    (sick, marks), (sound, none) = run(plant=True), run(plant=False)
    assert marks == [[False, False, tick == 5, False] for tick in range(12)]
    assert not any(map(any, none))
    np.testing.assert_array_equal(simulations(sick)[[0, 1, 3]], simulations(sound)[[0, 1, 3]])
    for name in vars(sick.bodies):
        assert (getattr(sick.bodies, name)[[0, 1, 3]] == getattr(sound.bodies, name)[[0, 1, 3]]).all()


def test_diverged_row_keeps_its_last_sound_columns() -> None:
    rows = make_rows(2)
    settle(rows, 5)
    position, joints = rows.root.position[1].clone(), rows.dofs.position[1].clone()
    rows.backend._qpos[1, 9] = np.inf  # type: ignore[attr-defined]
    rows.tick()
    assert rows.diverged.tolist() == [False, True]
    assert_close(rows.root.position[1], position, rtol=0.0, atol=0.0)
    assert_close(rows.dofs.position[1], joints, rtol=0.0, atol=0.0)
    assert_close(rows.bodies.position[1, 0], position, rtol=0.0, atol=0.0)


def test_row_that_moves_faster_than_anything_does_has_diverged() -> None:
    rows = make_rows(2, pendulum())
    rows.backend._qvel[0, 6] = 1e7  # type: ignore[attr-defined]
    rows.tick()
    assert rows.diverged.tolist() == [True, False]


def test_row_that_is_restarted_from_no_number_is_marked_in_the_next_step() -> None:
    rows = make_rows(3)
    rows.dofs.position[1, 0] = float("nan")
    rows.root.rotation[2] = 0.0
    rows.restart(1, 2)
    assert rows.bodies.position.isfinite().all() and rows.forces.force.isfinite().all()
    rows.tick()
    assert rows.diverged.tolist() == [False, True, True]
    assert rows.dofs.position.isfinite().all() and rows.root.rotation.isfinite().all()
    rows.restart(1, 2)
    rows.tick()
    assert not rows.diverged.any()


def test_row_whose_simulation_raises_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(3)
    batch = rows.backend._batch  # type: ignore[attr-defined]
    step = batch.step

    def raising(*args: object, **options: object) -> None:
        step(*args, **options)
        raise SimulationError(np.array([1]), "out of stack")

    monkeypatch.setattr(batch, "step", raising)
    rows.tick()
    assert rows.diverged.tolist() == [False, True, False]


def test_divergence_within_explicit_substeps_is_remembered_to_the_end_of_the_tick() -> None:
    rows = make_rows(2, pendulum(), control="torque")
    rows.backend.begin(rows.diverged)
    torque = torch.zeros(2, 1)
    for substep in range(4):
        torque[1] = float("nan") if substep == 1 else 0.0
        rows.backend.step(1, torque, rows.root, rows.dofs, rows.diverged)
    assert rows.diverged.tolist() == [False, True]


def test_warnings_stay_off_the_terminal_and_out_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = make_rows(2)
    rows.backend._qpos[0, 9] = np.nan  # type: ignore[attr-defined]
    rows.tick()
    assert rows.diverged[0] and not os.listdir(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_torque_beyond_the_limit_does_what_the_limit_does() -> None:
    rows = make_rows(2, pendulum(), control="torque")
    rows.tick(torch.tensor([[8.0], [800.0]]))
    assert_close(rows.dofs.velocity[1], rows.dofs.velocity[0], rtol=0.0, atol=0.0)
    assert rows.dofs.velocity[0].abs() > 0.1


def test_servo_and_explicit_torque_agree_when_the_step_is_small() -> None:
    servo = make_rows(1, pendulum(), dt=0.0005)
    explicit = make_rows(1, pendulum(), dt=0.0005, control="torque")
    for _ in range(100):
        servo.tick(torch.tensor([[0.1]]), decimation=1)
        torque = 40.0 * (0.1 - explicit.dofs.position) - 2.0 * explicit.dofs.velocity
        explicit.tick(torque, decimation=1)
    assert_close(servo.dofs.position, explicit.dofs.position, atol=2e-3, rtol=0.0)
    assert servo.dofs.position.item() > 0.02


def hands_in_the_chest() -> Rows:
    """One row standing as it should, one with a forearm inside its torso; neither falls far in one tick."""
    rows = make_rows(2, self_collision=True)
    names = rows.model.robot.dof_names
    for joint, angle in (("left_shoulder_roll_joint", -1.0), ("left_elbow_joint", -1.5)):
        rows.dofs.position[1, names.index(joint)] = angle
    rows.restart(0, 1)
    return rows


def test_self_contacts_count_the_substeps_in_which_the_robot_hits_itself() -> None:
    rows = hands_in_the_chest()
    held = rows.dofs.position.clone()
    rows.tick(held)
    assert rows.forces.self_contacts[0] == 0.0
    assert 1.0 <= rows.forces.self_contacts[1] <= 4.0
    assert rows.forces.force[1].abs().sum() > rows.forces.force[0].abs().sum()


def test_net_self_contact_force_cancels_over_the_robot() -> None:
    rows = hands_in_the_chest()
    rows.root.position[:, 2] = 5.0
    rows.restart(0, 1)
    assert rows.forces.force[1].abs().max() > 10.0
    assert_close(rows.forces.force[1].sum(0), torch.zeros(3), atol=1e-3, rtol=0.0)


def test_heavier_row_presses_harder() -> None:
    rows = make_rows(2)
    masses = torch.from_numpy(rows.model.body_mass).float().expand(2, -1).clone()
    masses[1, 0] += 2.0
    rows.backend.change(torch.tensor([False, True]), {"body_mass": masses})
    settle(rows, 100)
    total = rows.forces.force[..., 2].sum(-1)
    assert_close(total[1] - total[0], torch.tensor(2.0 * GRAVITY), atol=1.0, rtol=0.0)


def test_per_row_constants_reach_the_simulator_and_survive_a_snapshot() -> None:
    rows = make_rows(2, one_foot(Capsule("arm", 0.1, (0.0, 0.0, -0.5))))
    both = torch.tensor([True, True])
    center = torch.from_numpy(rows.model.body_com).float().expand(2, -1, 3) + 0.01
    gains = {"stiffness": torch.tensor([[10.0], [20.0]]), "damping": torch.tensor([[1.0], [3.0]])}
    rows.backend.change(both, {"friction": torch.tensor([[0.3], [1.2]]), "body_com": center, **gains})
    other = make_rows(2, one_foot(Capsule("arm", 0.1, (0.0, 0.0, -0.5))))
    other.backend.load(rows.backend.state())
    for one in (rows, other):
        model = one.backend._batch.get_model(1)  # type: ignore[attr-defined]
        assert model.geom_friction[one.model.foot_geoms[0], 0] == pytest.approx(1.2)
        assert model.actuator_gainprm[0, 0] == 20.0
        np.testing.assert_array_equal(model.actuator_biasprm[0, :3], [0.0, -20.0, -3.0])
        np.testing.assert_allclose(model.body_ipos[1:], rows.model.body_com + 0.01, atol=1e-7)


def test_row_that_is_edited_to_no_number_is_marked_and_put_back() -> None:
    rows, other = make_rows(3), make_rows(3)
    for each in (rows, other):
        settle(each, 5)
    sound = rows.dofs.position[1].clone()
    rows.dofs.position[1, 3] = float("nan")
    rows.tick()
    other.tick()
    assert rows.diverged.tolist() == [False, True, False]
    assert_close(rows.dofs.position[1], sound, rtol=0.0, atol=0.0)
    np.testing.assert_array_equal(simulations(rows)[[0, 2]], simulations(other)[[0, 2]])
    rows.tick()
    assert not rows.diverged.any()  # it went on from there


def test_edited_rotation_is_normalised_and_its_column_keeps_what_was_written() -> None:
    rows = make_rows(2)
    rows.tick()
    rows.root.rotation[1] = torch.tensor([0.0, 0.0, 0.0, 3.0])
    rows.refresh()
    assert rows.root.rotation[1].tolist() == [0.0, 0.0, 0.0, 3.0]
    assert_close(rows.bodies.rotation[1, 0], torch.tensor([0.0, 0.0, 0.0, 1.0]))
    before = simulations(rows)
    rows.refresh()
    np.testing.assert_array_equal(simulations(rows), before)
    rows.tick()
    assert rows.root.rotation[1].norm() == pytest.approx(1.0, abs=1e-6) and rows.root.rotation[1, 3].abs() > 0.99


def test_edit_between_substeps_is_taken_once_and_warm_starts_of_others_stay() -> None:
    rows, other = make_rows(2, control="torque"), make_rows(2, control="torque")
    for each in (rows, other):
        settle(each, 10)
        each.backend.begin(each.diverged)
        for substep in range(4):
            if each is rows and substep == 2:
                each.root.linear_velocity[1] += 0.5
            each.backend.step(1, torch.zeros_like(each.dofs.position), each.root, each.dofs, each.diverged)
        each.refresh()
    np.testing.assert_array_equal(simulations(rows)[0], simulations(other)[0])
    assert rows.backend._warm_start[1].any()  # type: ignore[attr-defined]
    assert_close(
        rows.root.linear_velocity[1, :2] - other.root.linear_velocity[1, :2], torch.full((2,), 0.5), atol=0.2, rtol=0.0
    )


def snapshot(rows: Rows) -> tuple[dict[str, Any], list[Tensor]]:
    """Everything, as a world's snapshot keeps it."""
    return copied(rows.backend.state()), [t.clone() for t in columns_in(rows)]


def columns_in(rows: Rows) -> list[Tensor]:
    return [t for part in (rows.root, rows.dofs, rows.bodies, rows.forces) for t in vars(part).values()]


def go_back(rows: Rows, kept: tuple[dict[str, Any], list[Tensor]]) -> None:
    """The hidden state first, then the columns, as a world does it."""
    rows.backend.load(kept[0])
    for column, old in zip(columns_in(rows), kept[1], strict=True):
        column.copy_(old)


def same(one: Any, other: Any) -> bool:
    return encode(copied(one)) == encode(copied(other))


@pytest.mark.parametrize("happened", ["nothing", "restarted", "edited", "quarantined", "unsound", "rotated"])
@pytest.mark.parametrize("fresh", [True, False])
def test_going_on_right_after_something_happened_gives_the_same_bytes(happened: str, fresh: bool) -> None:
    rows = make_rows(3)
    settle(rows, 5)
    if happened == "quarantined":
        rows.backend._qvel[1, 8] = np.inf  # type: ignore[attr-defined]
    rows.tick()
    if happened in ("restarted", "unsound"):
        rows.dofs.position[1, 0] = 0.1 if happened == "restarted" else float("nan")
        rows.restart(1)
    elif happened == "edited":
        rows.root.linear_velocity[1, 0] += 1.0
    elif happened == "rotated":
        rows.root.rotation[1] *= 2.0
        rows.refresh()
    kept = snapshot(rows)
    other = make_rows(3) if fresh else rows
    marks = []
    ends = []
    for each in (rows, other):
        if each is other and ends:
            go_back(other, kept)
            assert same(other.backend.state(), kept[0])
        for _ in range(12):
            each.tick()
            marks.append(each.diverged.tolist())
        ends.append((copied(each.backend.state()), each.columns()))
    assert same(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]
    assert marks[:12] == marks[12:] and any(marks[0]) == (happened == "unsound")


def test_snapshot_without_remembered_columns_goes_on_as_it_did() -> None:
    rows = make_rows(3)
    settle(rows, 5)
    rows.dofs.position[1, 0] = 0.1
    rows.restart(1)
    kept = snapshot(rows)
    settle(rows, 5)
    expected = rows.columns()
    del kept[0]["columns"]
    go_back(rows, kept)
    go_back(rows, snapshot(rows))
    settle(rows, 5)
    assert rows.columns() == expected


def test_going_back_undoes_model_constants_that_were_changed_since() -> None:
    rows = make_rows(3)
    masses = torch.from_numpy(rows.model.body_mass).float().expand(3, -1)
    settle(rows, 5)
    bare = snapshot(rows)
    settle(rows, 10)
    first = rows.columns()
    go_back(rows, bare)
    rows.backend.change(torch.tensor([True, True, False]), {"body_mass": masses * 1.5})
    settle(rows, 5)
    heavy = snapshot(rows)
    settle(rows, 10)
    second = rows.columns()
    go_back(rows, heavy)
    rows.backend.change(torch.tensor([False, True, True]), {"body_mass": masses * 0.75})
    rows.backend.change(
        torch.tensor([False, True, True]), {"stiffness": 2.0 * rows.model.robot.stiffness.expand(3, -1)}
    )
    settle(rows, 5)
    go_back(rows, heavy)
    assert same(rows.backend.state(), heavy[0])
    settle(rows, 10)
    assert rows.columns() == second != first
    go_back(rows, bare)
    assert same(rows.backend.state(), bare[0])
    settle(rows, 10)
    assert rows.columns() == first
    fresh = make_rows(3)
    go_back(fresh, heavy)
    settle(fresh, 10)
    assert fresh.columns() == second


def test_constants_are_derived_again_only_for_rows_whose_mass_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, asked = make_rows(3), []
    masses = torch.from_numpy(rows.model.body_mass).float().expand(3, -1)
    rows.backend.change(torch.tensor([True, True, True]), {"body_mass": masses * 1.5})
    kept = snapshot(rows)
    rows.backend.change(torch.tensor([False, True, False]), {"body_mass": masses * 1.25})
    batch = rows.backend._batch  # type: ignore[attr-defined]
    derive = batch.set_const
    monkeypatch.setattr(batch, "set_const", lambda ids: (asked.append(ids.tolist()), derive(ids)))
    go_back(rows, kept)
    go_back(rows, kept)
    assert asked == [[1]]


def test_snapshot_of_another_size_is_refused() -> None:
    with pytest.raises(SnapshotError, match=r"state as \(3, \d+\) \(rows, numbers\); here it is \(2, \d+\)"):
        make_rows(2).backend.load(make_rows(3).backend.state())


def test_rows_beyond_memory_are_refused_with_the_bytes() -> None:
    model = make_rows(1).model
    each = num_bytes(model, 1)
    with pytest.raises(SceneError) as error:
        check_memory(model, 1000, 10 * each)
    assert str(error.value) == (
        f"1000 rows of 'humanoid' need {1000 * each:,} bytes for their simulations, but only {10 * each:,} bytes "
        "of memory are free; at most 10 rows fit."
    )
    assert each < 40_000


def test_penetration_is_how_deep_the_deepest_contact_of_each_row_is() -> None:
    rows = make_rows(3, one_foot(Capsule("arm", 0.1, (0.0, 0.0, -0.5)), Capsule("arm", 0.1, (0.0, 0.0, -0.48))))
    rows.root.position[:, 2] = torch.tensor([0.59, 3.0, 0.57])  # 1 cm in the floor, in the air, 3 cm in the floor
    rows.restart(0, 1, 2)
    depth = rows.backend.penetration()
    assert depth is not None
    np.testing.assert_allclose(depth, [0.01, 0.0, 0.03], atol=1e-6)


def crowded() -> RobotDescription:
    """A pendulum whose contacts do not all fit into its memory once it lies on the floor."""
    balls = tuple(Capsule(body="arm", radius=0.05, start=(0.02 * i, 0.0, -0.5)) for i in range(24))
    text = PENDULUM.replace("<worldbody>", '<size memory="8K"/><worldbody>')
    return attrs.evolve(one_foot(*balls), model=lambda: text)


def test_rows_whose_contacts_do_not_fit_are_counted_and_a_snapshot_knows() -> None:
    rows = make_rows(3, crowded())
    rows.root.position[:, 2] = torch.tensor([2.0, 0.45, 3.0])
    rows.restart(0, 1, 2)
    assert rows.backend.overflows() == {"contact": 0, "constraint": 0}  # only steps count
    rows.tick()
    found = dict(rows.backend.overflows())
    assert max(found.values()) == 1 and set(found.values()) <= {0, 1}
    for _ in range(3):
        rows.tick()
    assert rows.backend.overflows() == found
    other = make_rows(3, crowded())
    other.backend.load(copied(rows.backend.state()))
    assert other.backend.overflows() == found
    plain = make_rows(2)
    settle(plain, 5)
    assert plain.backend.overflows() == {"contact": 0, "constraint": 0}


@pytest.mark.parametrize("backend", ["mujoco", "kinematic", "warp"])
def test_without_mujoco_a_sentence_says_what_to_install(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_robot(pendulum())
    monkeypatch.setattr("systems.physics.find_spec", lambda name: None)
    with pytest.raises(SceneError) as error:
        make_backend(model, rows=1, backend=backend)
    assert str(error.value) == (
        f"The physics backend '{backend}' needs MuJoCo, which is not installed. pip install 'mujoco>=4.0'"
    )
