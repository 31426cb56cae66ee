"""Isaac Gym as a backend, on its stand-in in this process: what is exported, compared, converted, varied and refused."""

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from components.robot import Motor, RobotDescription
from engine.errors import SceneError, SnapshotError
from engine.snapshot.snapshot import copied
from scenes import robots
from systems.physics import make_backend, physics, refuse_device, variable_fields
from systems.physics.isaacgym import assets
from systems.physics.isaacgym.selfcheck import probe_robot
from systems.physics.isaacgym.worker import frames, memory
from systems.robots.mjcf import Solver
from systems.robots.model import RobotModel, build_robot
from tests.physics import test_contract
from tests.physics.rows import HERE, PENDULUM, Rows, bytes_of, make_rows, pendulum
from tests.physics.test_fields import as_built

# a base whose centre of mass is 0.15 m off its origin, and legs that stand in the file against the order of their names
LEG = """<body name="{0}" pos="0 {1} 0"><joint name="{0}_hip" axis="0 1 0" range="-2 1" armature="0.02" damping="0.1"/>
<geom type="capsule" fromto="0 0 -0.1 0 0 -0.3" size="0.03" mass="1"/><body name="{0}_shin" pos="0 0 -0.3">
<joint name="{0}_knee" axis="1 0 0" range="0 2"/><geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02" mass="0.5"/></body></body>"""
LOPSIDED = f"""<mujoco><compiler angle="radian"/><worldbody><body name="base" pos="0 0 1"><freejoint/>
<geom type="box" size="0.1 0.2 0.05" pos="0.15 0 0" mass="3"/>{LEG.format("right", -0.2)}{LEG.format("left", 0.2)}</body>
</worldbody></mujoco>"""


def lopsided() -> RobotDescription:
    motors = {".*": Motor(stiffness=20.0, damping=1.0, torque=8.0, speed=10.0)}
    return RobotDescription(name="lopsided", model=lambda: LOPSIDED, motors=motors, default_height=1.0)


def flying(backend: str, control: str = "torque") -> Rows:
    """Rows of the lopsided robot that spin, without gravity, each joint at another angle."""
    rows = make_rows(2, lopsided(), backend=backend, control=control, gravity=(0.0, 0.0, 0.0), dt=0.002)
    rows.root.position[:, 2] = 3.0
    rows.root.rotation[1] = torch.tensor([0.5, -0.5, 0.1, 0.7]) / torch.tensor([0.5, -0.5, 0.1, 0.7]).norm()
    rows.root.angular_velocity[:] = torch.tensor([[0.0, 0.0, 2.3], [0.4, -1.0, 0.6]])
    rows.root.linear_velocity[:, 0] = 0.5
    rows.dofs.position[:] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    rows.restart(0, 1)
    return rows


def assert_moves_as_in_mujoco(backend: str = HERE) -> None:
    here, there = flying(backend), flying("mujoco")
    torque = torch.tensor([[0.3, 0.0, -0.2, 0.1]]).repeat(2, 1)
    for _ in range(10):
        here.tick(torque)
        there.tick(torque)
    for part in ("root", "dofs", "bodies"):
        for name, column in vars(getattr(here, part)).items():
            other = getattr(getattr(there, part), name)
            assert_close(column, other, atol=5e-3, rtol=0.0, msg=lambda m, n=name: f"{n}: {m}")


def test_a_lopsided_body_with_joints_out_of_order_moves_as_in_mujoco() -> None:
    assert_moves_as_in_mujoco()
    assert sys.modules["isaacgym.gymapi"]._THE_SIM[0].assets == []
    names = sys.modules["isaacgym.gymapi"]._THE_SIM[0].rows[0].asset.joints
    assert names == ["left_hip", "left_knee", "right_hip", "right_knee"]  # and not as the file has them


def test_a_root_comes_back_from_the_conventions_of_isaac_gym_as_it_went() -> None:
    draw = np.random.default_rng(0)
    root = draw.normal(size=(5, 13))
    root[:, 3:7] /= np.linalg.norm(root[:, 3:7], axis=1, keepdims=True)
    offset, center = frames.grid(5, 3.0), np.tile([0.1, -0.2, 0.3], (5, 1))
    theirs = frames.to_gym(root, offset, center)
    np.testing.assert_allclose(frames.from_gym(theirs, offset, center), root, atol=1e-6)
    w, x, y, z = root[0, 3:7]
    np.testing.assert_allclose(theirs[0, 3:7], [x, y, z, w], atol=1e-6)
    turned = np.zeros(3)
    mujoco.mju_rotVecQuat(turned, center[0], root[0, 3:7])
    np.testing.assert_allclose(theirs[0, 7:10], root[0, 7:10] + np.cross(root[0, 10:13], turned), atol=1e-6)


def test_rows_stand_apart_around_the_origin() -> None:
    place = frames.grid(10, 3.0)
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1) + 10.0 * np.eye(10)
    assert apart.min() == pytest.approx(3.0) and np.abs(place).max() <= 4.5 and not place[:, 2].any()


def test_arrays_of_the_shared_memory_do_not_overlap() -> None:
    own = bytearray(memory.num_bytes(3, 5, 2))
    found = memory.arrays(own, 3, 5, 2)
    for number, array in enumerate(found.values(), 1):
        array[:] = number
    for number, array in enumerate(found.values(), 1):
        assert (array == number).all() and array.ctypes.data % 4 == 0


# -- what is exported and compared --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["g1", "h1", "t1", "humanoid"])
def test_an_exported_robot_is_the_robot(tmp_path: Path, name: str) -> None:
    model = build_robot(robots.load(name))
    read = mujoco.MjModel.from_xml_path(str(assets.write_asset(model, tmp_path)))
    own = model.model
    assert [read.body(i).name for i in range(1, read.nbody)] == list(model.robot.body_names)
    assert [read.joint(i).name for i in range(1, read.njnt)] == list(model.robot.dof_names)
    for field in (
        "body_mass",
        "body_ipos",
        "body_pos",
        "body_quat",
        "jnt_axis",
        "jnt_range",
        "jnt_limited",
        "jnt_type",
    ):
        np.testing.assert_allclose(getattr(read, field)[1:], getattr(own, field)[1:], atol=1e-6, err_msg=field)
    for body in range(1, read.nbody):
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, read.body_iquat[body])
        axes = turn.reshape(3, 3)
        found = axes @ np.diag(read.body_inertia[body]) @ axes.T
        np.testing.assert_allclose(found, model.body_inertia[body - 1], atol=1e-6)
    shapes = list(model.shape_geoms)
    data, mine = mujoco.MjData(read), mujoco.MjData(own)
    for each, compiled in ((data, read), (mine, own)):
        each.qpos[:] = 0.0
        each.qpos[2], each.qpos[3], each.qpos[7:] = 1.0, 1.0, model.robot.default_position.numpy()
        mujoco.mj_kinematics(compiled, each)
    np.testing.assert_allclose(data.geom_xpos, mine.geom_xpos[shapes], atol=1e-5)
    np.testing.assert_allclose(read.geom_size, own.geom_size[shapes], atol=1e-5)
    text = (tmp_path / assets.FILE).read_text()
    assert "actuator" not in text and "plane" not in text and "<default" not in text


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("half_mass", "mass of body 'base' is 1 kg there and 2 kg here"),
        ("no_ranges", "joint 'swing' has no limits there"),
        ("renamed_joint", "misreads the joints of robot 'pendulum': it lacks swing and it adds swing_0"),
    ],
)
def test_a_robot_that_the_importer_misreads_is_refused_with_the_difference(
    fault: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FAULT", fault)
    with pytest.raises(SceneError) as error:
        make_rows(2, pendulum(), backend=HERE)
    assert text in str(error.value) and "Choose --backend mujoco" in str(error.value)


def test_every_number_that_is_read_back_is_compared() -> None:
    model = build_robot(lopsided())
    found: dict[str, Any] = {"joints": {}, "bodies": {}}
    for at, name in enumerate(model.robot.dof_names):
        low, high = model.model.jnt_range[1 + at].tolist()
        found["joints"][name] = {
            "limited": True, "lower": low, "upper": high, "effort": 8.0, "stiffness": 20.0,
            "damping": 1.0 + (0.1 if name.endswith("hip") else 0.0), "armature": 0.02 if name.endswith("hip") else 0.0,
        }  # fmt: skip
    for at, name in enumerate(model.robot.body_names):
        found["bodies"][name] = {
            "mass": float(model.body_mass[at]), "center": model.body_com[at].tolist(),
            "inertia": model.body_inertia[at].tolist(), "shapes": 1,
        }  # fmt: skip
    assets.refuse_misread(model, found)
    wrong = [
        ("joints", "left_knee", name, 0.5) for name in ("lower", "upper", "effort", "stiffness", "damping", "armature")
    ]
    wrong += [
        ("bodies", "left", "mass", 1.1),
        ("bodies", "left", "shapes", 2),
        ("bodies", "left", "center", [0.0, 0.1, 0.0]),
    ]
    wrong += [("bodies", "left", "inertia", np.eye(3).tolist())]
    words = {"shapes": "collision shapes", "center": "centre of mass"}
    for kind, name, field, value in wrong:
        changed = {k: {n: dict(v) for n, v in found[k].items()} for k in found}
        changed[kind][name][field] = value
        with pytest.raises(
            SceneError, match=f"{words.get(field, field)}.*'{name}'|'{name}'.*{words.get(field, field)}"
        ):
            assets.refuse_misread(model, changed)


def springy(text: str) -> str:
    return text.replace('axis="0 1 0"', 'axis="0 1 0" stiffness="3"')


def dry(text: str) -> str:
    return text.replace('axis="0 1 0"', 'axis="0 1 0" frictionloss="0.3"')


@pytest.mark.parametrize(
    ("options", "edit", "text"),
    [
        ({"self_collision": True}, str, "cannot let the parts of robot 'pendulum' collide with each other"),
        ({}, springy, "has springs in its joints, which Isaac Gym would lose"),
        ({"solver": Solver(joint_friction=True)}, dry, "has dry friction in its joints"),
        ({}, lambda t: t.replace('size="0.1" mass="2"', 'type="ellipsoid" size="0.1 0.1 0.2" mass="2"'), "ellipsoids"),
        ({}, lambda t: t.replace('axis="0 1 0"', 'axis="0 1 0" ref="0.2"'), "not at 0 where the file draws them"),
    ],
)
def test_what_isaac_gym_would_lose_is_refused_before_a_worker_starts(
    options: dict[str, Any], edit: Callable[[str], str], text: str
) -> None:
    model = build_robot(pendulum(model=lambda: edit(PENDULUM)), **options)
    with pytest.raises(SceneError, match=text):
        physics(model, rows=1, backend="isaacgym")


# -- rows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["stiffness", "damping", "armature", "torque_limit"])
def test_a_row_with_a_field_of_its_own_moves_as_a_robot_that_was_built_so(field: str) -> None:
    as_built(field, HERE)


def test_a_servo_has_the_damping_of_its_joint_too() -> None:
    here, there = (make_rows(2, pendulum(), backend=name, gravity=(0.0, 0.0, 0.0)) for name in (HERE, "mujoco"))
    for each in (here, there):
        each.backend.change(torch.tensor([False, True]), {"joint_damping": torch.full((2, 1), 0.7)})
        for _ in range(4):
            each.tick(torch.full((2, 1), 0.15))  # at most 6 of 8 N·m
    assert_close(here.dofs.position, there.dofs.position, atol=1e-4, rtol=0.0)
    assert float((here.dofs.position[0] - here.dofs.position[1]).abs()) > 1e-3


def test_in_torque_control_joints_have_their_damping_and_their_limit() -> None:
    def spun(backend: str, fields: dict[str, float]) -> Rows:
        rows = make_rows(2, pendulum(), backend=backend, control="torque", gravity=(0.0, 0.0, 0.0), dt=0.001)
        rows.backend.change(torch.tensor([False, True]), {n: torch.full((2, 1), v) for n, v in fields.items()})
        for _ in range(10):
            rows.tick(torch.full((2, 1), 5.0))
        return rows

    for fields in ({"joint_damping": 0.5}, {"torque_limit": 2.0}):
        here, there = spun(HERE, fields), spun("mujoco", fields)
        assert_close(here.dofs.velocity, there.dofs.velocity, rtol=0.02, atol=0.0)
        assert float((here.dofs.velocity[0] - here.dofs.velocity[1]).abs()) > 0.05


def test_what_isaac_gym_cannot_change_while_it_runs_is_refused() -> None:
    rows = make_rows(2, pendulum(), backend=HERE)
    with pytest.raises(SceneError) as error:
        rows.backend.change(torch.tensor([True, False]), {"body_mass": torch.ones(2, 2)})
    assert str(error.value) == (
        "Isaac Gym cannot vary body_mass of rows that run; it varies armature, damping, friction, joint_damping, stiffness, "
        "torque_limit. Choose --backend mujoco."
    )
    assert set(variable_fields(rows.model, "isaacgym")) == rows.backend.varies
    torques = make_rows(1, pendulum(), backend=HERE, control="torque")
    assert not {"stiffness", "damping"} & torques.backend.varies


def test_rows_that_start_over_one_after_the_other_all_do() -> None:
    rows = make_rows(4, pendulum(), backend=HERE)
    for row in (1, 3, 2):
        rows.root.position[row, 2] = 2.0 + row
        rows.restart(row)
    rows.tick()
    height = rows.root.position[:, 2] - torch.tensor([1.0, 3.0, 4.0, 5.0])
    assert height.abs().max() < 0.01


def test_a_row_that_started_over_feels_no_contact_until_it_is_stepped() -> None:
    rows = test_contract.block(lambda *a, **o: make_rows(*a, backend=HERE, **o))
    assert float(rows.forces.force[1, 0, 2]) > 10.0
    rows.restart(1)
    assert float(rows.forces.force[0, 0, 2]) > 10.0 and not rows.forces.force[1].any()
    rows.tick()
    assert float(rows.forces.force[1, 0, 2]) > 1.0


def test_a_row_that_isaac_gym_spoils_is_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_FAULT", "nan:8")
    rows = make_rows(2, pendulum(), backend=HERE)
    rows.tick()
    before = rows.dofs.position.clone()
    rows.tick()
    assert rows.diverged.tolist() == [True, False]
    assert torch.equal(rows.dofs.position[0], before[0]) and rows.root.position.isfinite().all()
    rows.tick()
    assert not rows.diverged.any()


def test_a_field_of_one_row_leaves_the_others_their_bytes_and_a_snapshot_has_it() -> None:
    rows, other = (make_rows(3, pendulum(), backend=HERE) for _ in range(2))
    rows.backend.change(torch.tensor([False, True, False]), {"stiffness": torch.full((3, 1), 90.0)})
    command = torch.full((3, 1), 0.5)
    for _ in range(3):
        rows.tick(command)
        other.tick(command)
    assert bytes_of(rows, 0, 2) == bytes_of(other, 0, 2) and bytes_of(rows, 1) != bytes_of(other, 1)
    kept, bare = copied(rows.backend.state()), copied(other.backend.state())
    for part in ("root", "dofs", "bodies", "forces"):
        for name, column in vars(getattr(other, part)).items():
            column.copy_(getattr(getattr(rows, part), name))
    other.backend.load(kept)
    other.refresh()
    assert other.columns() == rows.columns()
    for each in (rows, other):
        each.tick(command)
    assert_close(other.dofs.position, rows.dofs.position, atol=1e-5, rtol=0.0)
    other.backend.load(bare)
    assert other.backend.state()["fields"] == {}


def test_a_snapshot_of_other_rows_is_refused() -> None:
    backend = make_rows(2, pendulum(), backend=HERE).backend
    theirs = dict(backend.state())
    theirs["state"] = torch.zeros(3, 15)
    with pytest.raises(SnapshotError, match=r"simulator's state as \(3, 15\); Isaac Gym has \(2, 15\)"):
        backend.load(theirs)


def test_torch_tensors_and_the_pipeline_of_a_gpu_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_rows(2, backend=HERE)
    monkeypatch.setenv("STANDIN_TENSORS", "torch")
    original = assets.settings
    monkeypatch.setattr(assets, "settings", lambda *given, gpu: original(*given, gpu=True))
    wrapped = make_rows(2, backend=HERE)
    assert sys.modules["isaacgym.gymtorch"].torch is torch
    for each in (plain, wrapped):
        for _ in range(3):
            each.tick(each.model.robot.default_position.expand_as(each.dofs.position) + 0.2)
        each.restart(1)
        each.tick()
    assert plain.columns() == wrapped.columns()


# -- mistakes that would be made, and what notices them --------------------------------------------------


def slides() -> None:
    test_contract.what_lies_on_a_slope_slides_where_friction_does_not_hold_it(partial(make_rows, backend=HERE))


@pytest.mark.parametrize(
    ("module", "name", "value", "law"),
    [
        ("frames", "VELOCITY_POINT", "origin", assert_moves_as_in_mujoco),
        ("frames", "SPIN_AXES", "body", assert_moves_as_in_mujoco),
        ("assumptions", "FRICTION", "maximum", slides),
    ],
)
def test_a_wrong_assumption_is_noticed(
    module: str, name: str, value: str, law: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    law()
    monkeypatch.setattr(f"systems.physics.isaacgym.worker.{module}.{name}", value)
    with pytest.raises(AssertionError):
        law()


# -- what is refused ----------------------------------------------------------------------------------


def test_no_python_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCKSTEP_ISAACGYM_PYTHON", raising=False)
    with pytest.raises(SceneError) as error:
        make_backend(build_robot(pendulum()), rows=1, backend="isaacgym")
    assert str(error.value) == (
        "The backend 'isaacgym' runs in a Python 3.8 of yours that has Isaac Gym Preview 4. Say which with --isaacgym-python PATH or "
        "LOCKSTEP_ISAACGYM_PYTHON=PATH, or choose --backend mujoco."
    )


def test_a_python_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    model = build_robot(pendulum())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    text = tmp_path / "notes.txt"
    text.touch()
    for path, says in (
        (tmp_path / "gone", "is not there"),
        (text, "is no program"),
        (tmp_path, "is a folder. Did you mean"),
    ):
        with pytest.raises(SceneError, match=says):
            make_backend(model, rows=1, backend="isaacgym", isaacgym_python=str(path))


def test_a_python_for_another_backend_and_threads_have_no_effect_and_are_refused() -> None:
    model = build_robot(pendulum())
    with pytest.raises(SceneError, match=r"isaacgym_python=py has no effect with backend='mujoco'"):
        physics(model, rows=1, isaacgym_python="py")
    with pytest.raises(SceneError, match=r"nthread=2\) has no effect with backend='isaacgym'"):
        physics(model, rows=1, backend="isaacgym", nthread=2)


def test_isaac_gym_may_be_asked_for_a_gpu() -> None:
    refuse_device("isaacgym", "cuda:0")
    if not torch.cuda.is_available():
        with pytest.raises(SceneError, match="There is no cuda:0 here"):
            make_backend(
                build_robot(pendulum()), rows=1, backend="isaacgym", isaacgym_python=sys.executable, device="cuda:0"
            )


def test_friction_with_the_floor_is_that_of_the_feet() -> None:
    model: RobotModel = probe_robot()
    found = dict(
        zip(variable_fields(model, "isaacgym")["friction"].labels, assets.friction(model).tolist(), strict=True)
    )
    assert found["left_foot"] > 0.0 and found["base"] == 0.0 and math.isfinite(sum(found.values()))
