"""MuJoCo Warp as a backend, on the processor: what it shares with MuJoCo's own steps, its room for contacts, what it refuses."""

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from components.robot import Box, Capsule
from engine.errors import SceneError, SnapshotError
from engine.snapshot.snapshot import copied
from systems.physics import make_backend, physics, refuse_device
from systems.robots.model import build_robot
from tests.physics.rows import Rows, bytes_of, make_rows, needs, one_foot, pendulum
from tests.physics.test_fields import LIKE_BUILT, as_built

pytestmark = needs("warp")


def warp_on_cpu() -> Any:
    """Where Warp allocates although its device is named as another."""
    import warp

    return warp.ScopedDevice("cpu")


def close(rows: Rows, other: Rows, *, place: float, speed: float) -> None:
    """Columns of two simulators agree."""
    for part in ("root", "dofs", "bodies"):
        for name, column in vars(getattr(rows, part)).items():
            atol = speed if "velocity" in name else place
            assert_close(
                column, getattr(getattr(other, part), name), atol=atol, rtol=0.0, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("control", ["servo", "torque"])
def test_five_control_steps_are_those_of_mujoco(control: str) -> None:
    rows, other = (make_rows(4, backend=name, control=control) for name in ("warp", "mujoco"))
    draw = torch.Generator().manual_seed(1)
    start = 0.1 * torch.randn(rows.dofs.position.shape, generator=draw)
    command = 0.3 * torch.randn(start.shape, generator=draw)
    for each in (rows, other):
        each.dofs.position.copy_(each.model.robot.default_position + start)
        each.root.linear_velocity[:, 0] = 0.3
        each.restart(0, 1, 2, 3)
    assert_close(rows.forces.force, other.forces.force, atol=0.5, rtol=1e-3)
    for _ in range(5):
        for each in (rows, other):
            each.tick(each.model.robot.default_position + command if control == "servo" else 5.0 * command)
    close(rows, other, place=2e-5, speed=5e-4)
    assert_close(rows.forces.force, other.forces.force, atol=0.5, rtol=1e-3)
    depth, deep = rows.backend.penetration(), other.backend.penetration()
    assert depth is not None and deep is not None
    np.testing.assert_allclose(depth, deep, atol=1e-5)


def test_the_compiled_model_stays_as_it_was() -> None:
    model = build_robot(pendulum())
    flags, bits = int(model.model.opt.disableflags), model.model.body_mass.tobytes()
    backend = make_backend(model, rows=2, backend="warp")
    backend.change(torch.tensor([True, False]), {"body_mass": torch.ones(2, 2)})
    assert (int(model.model.opt.disableflags), model.model.body_mass.tobytes()) == (flags, bits)


@pytest.mark.parametrize("field", ["body_mass", "friction_loss", "stiffness", "torque_limit"])
def test_a_row_with_a_field_of_its_own_moves_as_a_robot_that_was_built_so(field: str) -> None:
    as_built(field, "warp")


def test_the_fields_tried_here_and_in_the_laws_need_all_kinds_of_arrays() -> None:
    assert {"body_mass", "friction_loss", "stiffness", "torque_limit"} < set(LIKE_BUILT)


def test_a_field_of_one_row_leaves_the_others_their_bytes_and_a_snapshot_has_it() -> None:
    rows, other = (make_rows(4, pendulum(), backend="warp") for _ in range(2))
    masses = torch.tensor([[2.0, 1.5]]).repeat(4, 1)
    rows.backend.change(torch.tensor([False, True, False, False]), {"body_mass": masses})
    command = torch.full((4, 1), 0.5)
    for _ in range(3):
        rows.tick(command)
        other.tick(command)
    assert bytes_of(rows, 0, 2, 3) == bytes_of(other, 0, 2, 3)
    assert (rows.dofs.position[1] - other.dofs.position[1]).abs() > 1e-4
    kept, columns = copied(rows.backend.state()), bytes_of(rows, 0, 1, 2, 3)
    bare = copied(other.backend.state())
    for part in ("root", "dofs", "bodies", "forces"):
        for name, column in vars(getattr(other, part)).items():
            column.copy_(getattr(getattr(rows, part), name))
    other.backend.load(kept)
    other.refresh()
    assert bytes_of(other, 0, 1, 2, 3) == columns
    for each in (rows, other):
        each.tick(command)
    assert rows.columns() == other.columns()
    other.backend.load(bare)  # which knows nothing of another mass
    assert not other.backend.state()["fields"]
    mass = other.backend._simulation.constants["body_mass"]  # type: ignore[attr-defined]
    assert torch.equal(mass, mass[:1].expand_as(mass))


def test_a_snapshot_of_other_rows_or_of_another_simulator_is_refused() -> None:
    backend = make_rows(2, pendulum(), backend="warp").backend
    theirs = dict(backend.state())
    theirs["place"] = torch.zeros(3, 8)
    with pytest.raises(SnapshotError, match=r"simulator's place as \(3, 8\); MuJoCo Warp has \(2, 8\)"):
        backend.load(theirs)
    with pytest.raises(SnapshotError, match="Use the robot, rows and backend that it was made with"):
        backend.load(make_rows(2, pendulum()).backend.state())


def test_self_contacts_count_the_substeps_in_which_the_robot_hits_itself() -> None:
    rows, other = (make_rows(2, backend=name, self_collision=True) for name in ("warp", "mujoco"))
    for each in (rows, other):
        names = each.model.robot.dof_names
        for joint, angle in (("left_shoulder_roll_joint", -1.0), ("left_elbow_joint", -1.5)):
            each.dofs.position[1, names.index(joint)] = angle
        each.restart(0, 1)
        each.tick(each.dofs.position.clone())
    assert torch.equal(rows.forces.self_contacts, other.forces.self_contacts)
    assert float(rows.forces.self_contacts[1]) >= 1.0


# -- room ----------------------------------------------------------------------------------------------


def test_room_is_what_every_shape_can_ask_of_a_flat_floor() -> None:
    from systems.physics.warp_simulation import Buffers

    two = one_foot(
        Capsule("arm", 0.1, (0.0, 0.0, -0.5), (0.1, 0.0, -0.5)), Box("arm", (0.0, 0.0, -0.5), (0.1, 0.1, 0.1))
    )
    model = build_robot(two).model
    kinds = sorted(
        int(model.geom_condim[geom])
        for geom in range(model.ngeom)
        if model.geom_bodyid[geom] and model.geom_contype[geom]
    )
    assert kinds == [3, 3]
    # contacts 2 + 4; four edges of a pyramid each, one limited joint, seven joints that may have dry friction
    assert Buffers.of(model) == Buffers(6, 6 * 4 + 1 + 7)
    assert Buffers.of(model, self_collision=True) == Buffers(8, 8 * 4 + 1 + 7)
    model.opt.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    assert Buffers.of(model) == Buffers(6, 6 * 3 + 1 + 7)


def test_rows_that_need_more_room_than_there_is_are_reported_until_the_end_and_not_on_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from systems.physics.warp_backend import WarpBackend
    from systems.physics.warp_simulation import Buffers

    balls = tuple(Capsule("arm", 0.05, (0.02 * i, 0.0, -0.5)) for i in range(8))

    def fallen(buffers: "Buffers | None") -> Rows:
        plain = make_rows(
            3, one_foot(*balls), backend="warp",
            around=lambda made: WarpBackend(made.model, 3, sensed=made.axes["sensed"], buffers=buffers),  # type: ignore[attr-defined]
        )  # fmt: skip
        plain.root.position[:, 2] = torch.tensor([2.0, 0.53, 3.0])  # one lies on the floor
        plain.restart(0, 1, 2)
        assert plain.backend.overflows() == {"contact": 0, "constraint": 0}  # only steps count
        plain.tick(decimation=1)
        return plain

    assert fallen(None).backend.overflows() == {"contact": 0, "constraint": 0}
    capfd.readouterr()  # what the first start on a machine may say
    rows = fallen(Buffers(24, 8))
    assert rows.backend.overflows() == {"contact": 0, "constraint": 1}  # its own room: the row is known
    other = fallen(Buffers(2, 100))
    assert other.backend.overflows() == {
        "contact": 3,
        "constraint": 0,
    }  # everybody's room: nobody knows whose were left out
    rows.root.position[1, 2] = 3.0
    rows.restart(1)
    rows.tick(decimation=1)
    assert rows.backend.overflows()["constraint"] == 1
    rows.backend.load(copied(other.backend.state()))
    assert rows.backend.overflows() == {"contact": 3, "constraint": 0}
    assert capfd.readouterr() == ("", "")


def test_rows_beyond_memory_are_refused_with_the_bytes() -> None:
    with pytest.raises(
        SceneError, match=r"rows of 'pendulum' need [\d,]+ bytes for their simulations, but only .* rows fit\."
    ):
        make_backend(build_robot(pendulum()), rows=10**9, backend="warp")


# -- what is refused -----------------------------------------------------------------------------------


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    missing: Callable[[str], Any] = lambda name: None if name == "mujoco_warp" else find(name)  # noqa: E731
    monkeypatch.setattr("systems.physics.find_spec", missing)
    with pytest.raises(SceneError) as error:
        physics(build_robot(pendulum()), rows=1, backend="warp")
    assert str(error.value) == (
        "The physics backend 'warp' needs MuJoCo Warp, which is not installed. pip install 'lockstep-sim[warp]', or choose "
        "--backend mujoco."
    )


def test_threads_have_no_effect_and_are_refused() -> None:
    with pytest.raises(SceneError, match=r"nthread=2\) has no effect with backend='warp'"):
        physics(build_robot(pendulum()), rows=1, backend="warp", nthread=2)


def test_only_warp_takes_a_gpu() -> None:
    refuse_device("warp", "cuda:0")
    with pytest.raises(SceneError) as error:
        refuse_device("mujoco", "cuda:0")
    assert str(error.value) == (
        "Backend 'mujoco' simulates in host memory, so its scenes run with --device cpu, not 'cuda:0'; --backend warp simulates on "
        "a GPU."
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_warp_cannot_use_is_refused() -> None:
    with pytest.raises(
        SceneError, match=r"finds no cuda:0: there is no driver\. Its wheels need a driver of version 580"
    ):
        make_backend(build_robot(pendulum()), rows=1, backend="warp", device="cuda:0")


def test_a_driver_that_is_too_old_is_refused_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    import warp

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # to torch it is new enough
    monkeypatch.setattr(warp, "is_cuda_available", lambda: False)
    monkeypatch.setattr(warp, "get_cuda_driver_version", lambda: (12, 4))
    with pytest.raises(SceneError) as error:
        make_backend(build_robot(pendulum()), rows=1, backend="warp", device="cuda:0")
    assert str(error.value) == (
        "MuJoCo Warp finds no cuda:0: the driver is for CUDA 12.4. Its wheels need a driver of version 580 or newer, which is for "
        "CUDA 13: update it, or choose --device cpu."
    )


def test_rows_beyond_a_gpu_s_memory_are_refused_with_how_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from systems.physics.warp_simulation import Buffers

    rows = make_rows(1, pendulum(), backend="warp")
    simulation: Any = rows.backend._simulation  # type: ignore[attr-defined]
    monkeypatch.setattr(simulation, "device", torch.device("cuda:0"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000_000, 80_000_000_000))
    asked = "pendulum", rows.model.model, 10_000, Buffers.of(rows.model.model)
    with warp_on_cpu(), pytest.raises(SceneError) as error:
        simulation._refuse_beyond_memory(*asked)
    match = re.fullmatch(
        r"10000 rows of 'pendulum' need ([\d,]+) bytes for their simulations, but only 10,000,000 bytes of memory are free on "
        r"cuda:0; at most (\d+) rows fit\.",
        str(error.value),
    )
    assert match is not None
    each, fit = int(match[1].replace(",", "")) / 10_000, int(match[2])
    assert fit == 10_000_000 // each and 0 < fit < 10_000
    with warp_on_cpu():
        simulation._refuse_beyond_memory(asked[0], asked[1], fit, asked[3])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_five_control_steps_are_those_of_the_processor() -> None:
    model = build_robot(pendulum())
    here, there = (make_backend(model, rows=4, backend="warp", device=name) for name in ("cpu", "cuda"))
    assert here.exact_resume and not there.exact_resume
    ends = []
    for backend, device in ((here, "cpu"), (there, "cuda")):
        from components.robot import DofState, RootState

        root = RootState.make(4, model.axes, position=[0.0, 0.0, 1.0], rotation=[1.0, 0.0, 0.0, 0.0], device=device)
        dofs, diverged = DofState.make(4, model.axes, device=device), torch.zeros(4, dtype=torch.bool, device=device)
        backend.restart(~diverged, root, dofs)
        for _ in range(5):
            backend.step(4, torch.full((4, 1), 0.5, device=device), root, dofs, diverged)
        ends.append(dofs.position.cpu())
    assert_close(*ends, atol=1e-5, rtol=0.0)
