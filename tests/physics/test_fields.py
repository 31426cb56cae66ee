"""Fields of the model that rows have of their own: what each does to the motion, by a law or by a robot that was built so."""

from collections.abc import Callable

import attrs
import mujoco
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from components.robot import Capsule
from engine.errors import SceneError
from systems.physics import make_backend
from systems.physics.contract import FIELDS
from systems.physics.mujoco_fields import felt, labels, nominal
from systems.robots.model import RobotModel, build_robot
from tests.physics.rows import Rows, make_rows, one_foot, pendulum
from tests.physics.test_contract import block, lump

G = 9.81
ALL = torch.tensor([True, True])


def test_gravity_of_its_own_is_the_acceleration_of_a_falling_row() -> None:
    rows = make_rows(2, pendulum(), dt=0.001)
    rows.backend.change(ALL, {"gravity": torch.tensor([[0.0, 0.0, -1.62], [0.5, 0.0, -G]])})
    rows.root.position[:, 2] = 10.0
    rows.restart(0, 1)
    for _ in range(25):
        rows.tick()  # 0.1 s in all
    assert_close(
        rows.root.linear_velocity, torch.tensor([[0.0, 0.0, -0.162], [0.05, 0.0, -0.981]]), atol=1e-4, rtol=0.0
    )


def test_the_floor_brakes_a_sliding_row_by_its_own_friction_times_the_load() -> None:
    rows = block(make_rows)
    rows.backend.change(ALL, {"friction": torch.tensor([[0.2], [0.5]])})
    rows.root.linear_velocity[:, 0] = 4.0
    rows.restart(0, 1)
    touched = [0, 0]
    for _ in range(35):
        rows.tick()
        along, _, load = rows.forces.force[:, 0].unbind(-1)
        for row, friction in enumerate((0.2, 0.5)):
            if load[row] > 1.0:  # what slides hops
                assert float(-along[row] / load[row]) == pytest.approx(friction, rel=1e-3)
                touched[row] += 1
    assert min(touched) >= 3


def ball(condim: int = 1) -> tuple[RobotModel, Rows]:
    """Two rows of a ball of 0.1 m whose contacts have so many directions, at rest on the floor."""
    rows = make_rows(2, lump(Capsule("base", 0.1, (0.0, 0.0, 0.0))))
    rows.model.model.geom_condim[list(rows.model.foot_geoms)] = condim
    rows = attrs.evolve(rows, backend=make_backend(rows.model, rows=2, nthread=1))
    rows.restart(0, 1)
    for _ in range(10):
        rows.tick()
    return rows.model, rows


@pytest.mark.parametrize(("field", "axis"), [("torsional_friction", 2), ("rolling_friction", 1)])
def test_a_turning_row_is_braked_by_its_own_friction(field: str, axis: int) -> None:
    rows = ball(6)[1]
    rows.backend.change(ALL, {field: torch.tensor([[0.01], [0.05]])})
    rows.root.angular_velocity[:, axis] = 5.0
    if axis == 1:
        rows.root.linear_velocity[:, 0] = 0.5  # it rolls, without slipping
    rows.restart(0, 1)
    for _ in range(5):
        rows.tick()
    speed = rows.root.angular_velocity[:, axis]
    assert 0.0 <= speed[1] < speed[0] - 0.5 and speed[0] < 5.0


def test_what_no_contact_feels_is_known() -> None:
    model = ball(4)[0]
    assert [bool(felt(model, f).all()) for f in ("friction", "torsional_friction", "rolling_friction")] == [
        True,
        True,
        False,
    ]
    model.model.geom_condim[:] = 1
    assert not felt(model, "friction").any() and felt(model, "restitution").all()


def rebound(rows: Rows) -> torch.Tensor:
    """Share of its speed that each row has after it fell on the floor."""
    rows.root.position[:, 2] = 0.6
    rows.restart(0, 1)
    fastest, back = torch.zeros(2), torch.zeros(2)
    for _ in range(100):
        rows.tick(decimation=1)
        fastest = torch.minimum(fastest, rows.root.linear_velocity[:, 2])
        back = torch.maximum(back, rows.root.linear_velocity[:, 2])
    return back / -fastest


def test_a_row_bounces_off_with_the_restitution_asked_for() -> None:
    rows = ball()[1]
    rows.backend.change(ALL, {"restitution": torch.tensor([[0.4], [0.8]])})
    assert_close(rebound(rows), torch.tensor([0.4, 0.8]), atol=0.1, rtol=0.0)


def test_a_contact_that_is_damped_less_bounces_more() -> None:
    rows = ball()[1]
    rows.backend.change(ALL, {"contact_damping": torch.tensor([[1.0], [0.4]])})
    gave_back = rebound(rows)
    assert gave_back[0] < 0.15 and gave_back[1] > gave_back[0] + 0.1


def test_a_softer_contact_sinks_in_with_the_square_of_its_time() -> None:
    rows = ball()[1]
    rows.backend.change(ALL, {"contact_time": torch.tensor([[0.05], [0.1]])})
    for _ in range(150):
        rows.tick()
    depth = 0.1 - rows.root.position[:, 2]
    assert_close(depth[1] / depth[0], torch.tensor(4.0), rtol=0.15, atol=0.0)


def test_a_servo_holds_its_arm_where_its_own_stiffness_carries_the_weight() -> None:
    rows = make_rows(2, pendulum())
    rows.backend.change(ALL, {"gravity": torch.zeros(2, 3), "stiffness": torch.tensor([[20.0], [40.0]]),
                              "torque_offset": torch.tensor([[0.25], [0.25]])})  # fmt: skip
    for _ in range(400):
        rows.tick(torch.tensor([[0.1], [0.1]]))
    assert_close(rows.dofs.position[:, 0], torch.tensor([0.1 + 2.0 / 20.0, 0.1 + 2.0 / 40.0]), atol=2e-3, rtol=0.0)


def test_a_motor_gives_no_more_than_its_own_limit() -> None:
    rows = make_rows(2, pendulum(), control="torque")
    rows.backend.change(ALL, {"torque_limit": torch.tensor([[2.0], [8.0]])})
    rows.tick(torch.tensor([[5.0], [5.0]]), decimation=1)
    other = make_rows(2, pendulum(), control="torque")
    other.tick(torch.tensor([[2.0], [5.0]]), decimation=1)
    assert_close(rows.dofs.velocity, other.dofs.velocity, rtol=0.0, atol=0.0)


def apart(rows: Rows) -> float:
    """How far joint and root of the two rows are apart."""
    columns = torch.cat((rows.dofs.position, rows.root.position, rows.root.rotation), 1)
    return float((columns[0] - columns[1]).abs().max())


Edit = Callable[[mujoco.MjModel], None]


def heavier(model: mujoco.MjModel) -> None:
    model.body_mass[2], model.body_inertia[2] = 1.5 * model.body_mass[2], 1.5 * model.body_inertia[2]


def put(name: str, index: object, value: float) -> Edit:
    return lambda model: getattr(model, name).__setitem__(index, value)


LIKE_BUILT: dict[str, tuple[str, list[float], tuple[Edit, ...]]] = {
    "body_mass": ("servo", [2.0, 1.5], (heavier,)),
    "body_com": ("servo", [0.0, 0.0, 0.0, 0.0, 0.03, -0.2], (put("body_ipos", 2, np.array([0.0, 0.03, -0.2])),)),
    "armature": ("servo", [0.3], (put("dof_armature", 6, 0.3),)),
    "joint_damping": ("servo", [0.7], (put("dof_damping", 6, 0.7),)),
    "friction_loss": ("servo", [0.9], (put("dof_frictionloss", 6, 0.9),)),
    "stiffness": ("servo", [25.0], (put("actuator_gainprm", (0, 0), 25.0), put("actuator_biasprm", (0, 1), -25.0))),
    "damping": ("servo", [0.5], (put("actuator_biasprm", (0, 2), -0.5),)),
    "torque_limit": ("servo", [1.5], (put("actuator_forcerange", 0, np.array([-1.5, 1.5])),)),
    "torque_offset": ("torque", [0.1], (put("actuator_biastype", 0, 1), put("actuator_biasprm", (0, 0), 0.8))),
}  # fmt: skip


@pytest.mark.parametrize("field", LIKE_BUILT)
def test_a_row_with_a_field_of_its_own_moves_as_a_robot_that_was_built_so(field: str) -> None:
    as_built(field, "mujoco")


def as_built(field: str, backend: str) -> None:
    """A row with the field moves as MuJoCo moves a robot that was built so."""
    control, values, edits = LIKE_BUILT[field]
    rows = make_rows(2, pendulum(), backend=backend, control=control)
    command = torch.tensor([[0.5], [0.5]])
    rows.backend.change(torch.tensor([False, True]), {field: torch.tensor([values, values]).reshape(2, -1)})
    rows.restart(0, 1)
    built = build_robot(pendulum(), control=control).model
    for edit in edits:
        edit(built)
    data = mujoco.MjData(built)
    mujoco.mj_setConst(built, data)
    data.qpos[2] = 1.0
    for _ in range(10):
        rows.tick(command)
        data.ctrl[:] = 0.5
        mujoco.mj_step(built, data, 4)
    np.testing.assert_allclose(rows.dofs.position[1].numpy(), data.qpos[7:], atol=2e-5)
    np.testing.assert_allclose(rows.root.position[1].numpy(), data.qpos[:3], atol=2e-5)
    assert apart(rows) > 1e-3  # and it shows


def test_a_body_that_is_deformed_moves_as_one_of_that_inertia() -> None:
    rows, change = make_rows(2, pendulum()), torch.zeros(2, 2, 10)
    change[1, 1] = torch.tensor([0.1, 0.2, -0.1, 0.1, 0.05, -0.02, 0.03, 0.01, 0.0, -0.02])
    rows.backend.change(ALL, {"pseudo_inertia": change})
    rows.restart(0, 1)
    built = rows.backend._batch.get_model(1)  # type: ignore[attr-defined]
    assert built.body_mass[2] == pytest.approx(rows.model.body_mass[1] * np.exp(0.2))
    np.testing.assert_allclose(built.body_inertia[1], rows.model.model.body_inertia[1])  # the base is left alone
    moments = built.body_inertia[2]
    assert (moments > 0).all() and moments.sum() > 2.0 * moments.max()  # a body that can exist
    for _ in range(10):
        rows.tick(torch.tensor([[0.5], [0.5]]))
    assert apart(rows) > 1e-3


@pytest.mark.parametrize("control", ["servo", "torque"])
def test_every_field_at_its_nominal_value_changes_nothing(control: str) -> None:
    rows, other = (make_rows(2, one_foot(Capsule("arm", 0.1, (0.0, 0.0, -0.5))), control=control) for _ in range(2))
    for field in sorted(rows.backend.varies - {"restitution"}):
        rows.backend.change(ALL, {field: torch.from_numpy(nominal(rows.model, field)).expand(2, -1, -1)})
    rows.restart(0, 1)
    other.restart(0, 1)
    for each in (rows, other):
        for _ in range(30):
            each.tick()
    assert_close(rows.dofs.position, other.dofs.position, atol=1e-5, rtol=0.0)
    assert_close(rows.root.position, other.root.position, atol=1e-5, rtol=0.0)


def test_every_field_has_a_label_for_each_of_its_values() -> None:
    rows = make_rows(2)
    for field, declared in FIELDS.items():
        if field in rows.backend.varies:
            assert nominal(rows.model, field).shape == (len(labels(rows.model, field)), len(declared.parts))
    names = labels(rows.model, "friction")
    assert len(set(names)) == len(names) and "left_ankle_roll_link:0" in names


@pytest.mark.parametrize(
    ("backend", "field", "text"),
    [
        ("kinematic", "gravity", "The kinematic backend cannot vary gravity: it has no dynamics. Choose --backend mujoco."),
        ("mujoco", "charm", "MuJoCo cannot vary charm of this robot; it varies armature, body_com, body_mass, "),
    ],
)  # fmt: skip
def test_a_field_that_a_backend_cannot_vary_is_refused(backend: str, field: str, text: str) -> None:
    rows = make_rows(2, pendulum(), backend=backend)
    with pytest.raises(SceneError) as error:
        rows.backend.change(ALL, {field: torch.zeros(2, 3)})
    assert str(error.value).startswith(text)
