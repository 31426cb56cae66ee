"""Forward kinematics in torch: as MuJoCo computes them, on any tree of hinges and slides, with gradients."""

from collections.abc import Callable, Sequence

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from components.robot import VirtualBody
from engine.errors import SceneError
from scenes.robots import load
from scenes.robots.g1 import g1
from scenes.robots.humanoid import humanoid
from scenes.robots.menagerie import menagerie
from systems.maths.bodies import carry, virtual_frames
from systems.robots.forward_kinematics import MOST, ForwardKinematics
from systems.robots.model import RobotModel, build_robot
from tests.helpers import data_path, needs_g1
from tests.physics.rows import pendulum

ROBOTS: dict[str, Callable[[], mujoco.MjModel]] = {
    "humanoid": lambda: build_robot(humanoid()).model,
    "g1_29": lambda: build_robot(g1(29)).model,
    "g1_23": lambda: build_robot(g1(23)).model,
    "h1": lambda: build_robot(load(str(menagerie("unitree_h1/h1.xml")))).model,
    "t1": lambda: build_robot(load(str(menagerie("booster_t1/t1.xml")))).model,
    "op3": lambda: build_robot(load(str(menagerie("robotis_op3/op3.xml")))).model,
    "go1": lambda: mujoco.MjModel.from_xml_path(str(data_path("robots", "unitree_go1", "go1_nomesh.xml"))),
}
every_robot = pytest.mark.parametrize(
    "name", [name if name in ("humanoid", "go1") else pytest.param(name, marks=needs_g1) for name in ROBOTS]
)

TREE = """<mujoco><compiler angle="radian"/><worldbody><body name="root" pos="0.3 0.2 0.9" quat="1 2 3 4"><freejoint/>
<geom size="0.1"/>{}</body></worldbody></mujoco>"""
FORK = TREE.format(
    '<body name="rail" pos="0.1 0 0.2" quat="1 0 2 0"><joint name="out" type="slide" axis="1 1 0" ref="0.2"/><geom size="0.1"/>'
    '<body name="mast" pos="0 0.3 0" quat="3 1 0 0"/></body>'
    '<body name="arm" pos="0 0 0.5" quat="2 0 1 0"><joint name="yaw" axis="0 0 1" pos="0 0.1 0" ref="0.4"/>'
    '<joint name="pitch" axis="0 3 4" pos="0.1 0 0.2"/><geom size="0.1"/>'
    '<body name="hand" pos="0.4 0 0" quat="1 1 0 1"/></body>'
)


def drawn(model: mujoco.MjModel, count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Arguments of `moving`; the root's rotation has another norm than 1."""
    draw, joints = torch.Generator().manual_seed(seed), model.njnt - 1
    widths = (3, 4, 3, 3, joints, joints)
    return [torch.randn(count, width, generator=draw, dtype=torch.float64).to(dtype) for width in widths]


def simulated(model: mujoco.MjModel, states: Sequence[Tensor], bodies: Sequence[str]) -> list[np.ndarray]:
    """What MuJoCo says of each body in each state, by its own function for the velocity of an object."""
    data, found = mujoco.MjData(model), []
    for state in zip(*(part.double().numpy() for part in states), strict=True):
        place, turn, linear, angular, joints, speeds = state
        turn, matrix = turn / np.linalg.norm(turn), np.zeros(9)
        mujoco.mju_quat2Mat(matrix, turn)
        data.qpos[:] = np.concatenate((place, turn, joints))
        data.qvel[:] = np.concatenate((linear, matrix.reshape(3, 3).T @ angular, speeds))
        mujoco.mj_forward(model, data)
        for name in bodies:
            body, velocity = model.body(name).id, np.zeros(6)
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
            found.append((data.xpos[body].copy(), data.xquat[body].copy(), velocity[3:], velocity[:3]))
    shape = (len(states[0]), len(bodies), -1)
    return [np.array(part).reshape(shape) for part in zip(*found, strict=True)]


def assert_like_mujoco(model: mujoco.MjModel, seed: int = 0, count: int = 3) -> None:
    kinematics = ForwardKinematics.of(model, dtype=torch.float64)
    states = drawn(model, count, seed)
    found = kinematics.moving(*states)
    for ours, theirs in zip(found, simulated(model, states, kinematics.bodies), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-11)
    for posed, moving in zip(kinematics.poses(states[0], states[1], states[4]), found, strict=False):
        assert torch.equal(posed, moving)


@every_robot
def test_bodies_are_where_mujoco_has_them_and_move_alike(name: str) -> None:
    assert_like_mujoco(ROBOTS[name]())


@every_robot
def test_single_precision_is_as_good_as_its_digits(name: str) -> None:
    model = ROBOTS[name]()
    states = drawn(model, 20, dtype=torch.float32)
    exact = ForwardKinematics.of(model, dtype=torch.float64).moving(*(part.double() for part in states))
    for rough, fine in zip(ForwardKinematics.of(model).moving(*states), exact, strict=True):
        assert rough.dtype == torch.float32
        assert_close(rough.double(), fine, atol=2e-6, rtol=2e-6)


numbers = st.floats(-1.0, 1.0, width=32)
vectors = st.tuples(numbers, numbers, numbers)
directions = vectors.filter(lambda v: np.linalg.norm(v) > 0.1)
rotations = st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: np.linalg.norm(q) > 0.1)
joints = st.tuples(st.sampled_from(("hinge", "hinge", "slide")), directions, vectors, numbers)
bodies = st.tuples(st.integers(0, 100), vectors, rotations, st.lists(joints, max_size=3))


@st.composite
def trees(draw: st.DrawFn) -> mujoco.MjModel:
    """Robots of up to six bodies under a free root, in which each has up to three joints, or none."""

    def text(values: Sequence[float]) -> str:
        return " ".join(map(repr, values))

    spec = mujoco.MjSpec.from_string(TREE.format(""))
    there = [spec.body("root")]
    for number, (parent, place, turn, moved) in enumerate(draw(st.lists(bodies, min_size=1, max_size=6))):
        body = there[parent % len(there)].add_body(
            name=f"body {number}", pos=place, quat=turn, mass=1.0, inertia=(1, 1, 1)
        )
        for joint, (kind, axis, anchor, rest) in enumerate(moved):
            type_ = mujoco.mjtJoint.mjJNT_SLIDE if kind == "slide" else mujoco.mjtJoint.mjJNT_HINGE
            body.add_joint(name=f"joint {number} {joint}", type=type_, axis=axis, pos=anchor, ref=rest, armature=1.0)
        there.append(body)
    return spec.compile()


@settings(max_examples=60, deadline=None)
@given(model=trees(), seed=st.integers(0, 1000))
def test_any_tree_moves_as_in_mujoco(model: mujoco.MjModel, seed: int) -> None:
    assert_like_mujoco(model, seed)


@settings(max_examples=15, deadline=None)
@given(model=trees(), seed=st.integers(0, 1000), data=st.data())
def test_gradients_of_any_tree_are_central_differences(model: mujoco.MjModel, seed: int, data: st.DataObject) -> None:
    names = [model.body(i).name for i in range(1, model.nbody)]
    some = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))
    kinematics = ForwardKinematics.of(model, some, dtype=torch.float64)
    states = [part.requires_grad_() for part in drawn(model, 2, seed)]
    assert torch.autograd.gradcheck(kinematics.moving, states)
    assert torch.autograd.gradcheck(kinematics.poses, [states[0], states[1], states[4]])


@pytest.mark.parametrize("output", range(4))
def test_gradient_of_each_result_alone_is_right(output: int) -> None:
    kinematics = ForwardKinematics.of(mujoco.MjModel.from_xml_string(FORK), ["mast", "hand"], dtype=torch.float64)
    states = [part.requires_grad_() for part in drawn(mujoco.MjModel.from_xml_string(FORK), 2)]
    assert torch.autograd.gradcheck(lambda *arguments: kinematics.moving(*arguments)[output], states)


@every_robot
def test_gradient_of_a_robot_is_the_slope_along_any_direction(name: str) -> None:
    model = ROBOTS[name]()
    kinematics = ForwardKinematics.of(model, dtype=torch.float64)
    states, way = drawn(model, 2, 1), drawn(model, 2, 2)
    weights = [torch.randn(part.shape, dtype=torch.float64) for part in kinematics.moving(*states)]

    def total(step: Tensor) -> Tensor:
        moved = kinematics.moving(*(part + step * along for part, along in zip(states, way, strict=True)))
        return torch.stack([(part * weight).sum() for part, weight in zip(moved, weights, strict=True)]).sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    small = torch.tensor(1e-6, dtype=torch.float64)
    (slope,) = torch.autograd.grad(total(step), step)
    assert_close(slope, (total(small) - total(-small)) / (2.0 * small), rtol=1e-6, atol=1e-6)


def test_some_bodies_are_those_of_all_and_other_joints_have_no_gradient() -> None:
    model = mujoco.MjModel.from_xml_string(FORK)
    states = [part.requires_grad_() for part in drawn(model, 4)]
    everything = ForwardKinematics.of(model, dtype=torch.float64)
    some = ForwardKinematics.of(model, ("hand", "root", "hand"), dtype=torch.float64)
    assert everything.bodies == ("root", "rail", "mast", "arm", "hand") and everything.joints == ("out", "yaw", "pitch")
    found = some.moving(*states)
    for part, whole in zip(found, everything.moving(*states), strict=True):
        assert_close(part, whole[:, [4, 0, 4]], rtol=1e-12, atol=1e-12)
    of_joints, of_speeds = torch.autograd.grad(torch.stack([part.sum() for part in found]).sum(), states[4:])
    assert not of_joints[:, 0].any() and not of_speeds[:, 0].any()
    assert of_joints[:, 1:].all() and of_speeds[:, 1:].all()


def test_root_alone_comes_back_as_it_went_in() -> None:
    states = drawn(mujoco.MjModel.from_xml_string(FORK), 3)
    kinematics = ForwardKinematics.of(mujoco.MjModel.from_xml_string(FORK), ["root"], dtype=torch.float64)
    position, rotation, linear, angular = (part[:, 0] for part in kinematics.moving(*states))
    assert_close(position, states[0])
    assert_close(rotation, states[1] / states[1].norm(dim=-1, keepdim=True))
    assert_close(linear, states[2])
    assert_close(angular, states[3])


def test_any_number_of_threads_gives_the_same_bits() -> None:
    model = build_robot(humanoid())
    kinematics = ForwardKinematics.of(model)
    states = [part.requires_grad_() for part in drawn(model.model, 5000, dtype=torch.float32)]
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found = kinematics.moving(*states)
            slopes = torch.autograd.grad(found, states, [part.detach().cos() for part in found])
            results.append((*found, *slopes))
    finally:
        torch.set_num_threads(threads)
    for one, two, three in zip(*results, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)


def test_many_states_are_each_as_alone() -> None:
    model, count = mujoco.MjModel.from_xml_string(FORK), 3 * MOST + 5
    kinematics = ForwardKinematics.of(model, dtype=torch.float64)
    states = [part.requires_grad_() for part in drawn(model, count)]
    found = kinematics.moving(*states)
    slopes = torch.autograd.grad(found, states, [part.detach().cos() for part in found])
    some = torch.tensor([0, MOST - 1, MOST, count - 1])
    few = [part.detach()[some].requires_grad_() for part in states]
    alone = kinematics.moving(*few)
    expected = torch.autograd.grad(alone, few, [part.detach().cos() for part in alone])
    for whole, part in zip((*found, *slopes), (*alone, *expected), strict=True):
        assert len(whole) == count
        assert_close(whole[some], part, rtol=1e-12, atol=1e-12)


def test_no_states_give_no_rows() -> None:
    model = build_robot(humanoid())
    found = ForwardKinematics.of(model).moving(*drawn(model.model, 0, dtype=torch.float32))
    assert [tuple(part.shape) for part in found] == [(0, 20, 3), (0, 20, 4), (0, 20, 3), (0, 20, 3)]


def test_a_turn_about_z_by_a_quarter_by_hand() -> None:
    text = TREE.format(
        '<body name="arm" pos="1 0 0"><joint axis="0 0 1"/><geom size="0.1"/><body name="tip" pos="2 0 0"/></body>'
    )
    kinematics = ForwardKinematics.of(mujoco.MjModel.from_xml_string(text), ["tip"])
    none, half = torch.zeros(1, 3), 0.5**0.5
    quarter = torch.tensor([[torch.pi / 2]])
    found = kinematics.moving(none, torch.tensor([[1.0, 0.0, 0.0, 0.0]]), none, none, quarter, torch.tensor([[3.0]]))
    expected = ([1.0, 2.0, 0.0], [half, 0.0, 0.0, half], [-6.0, 0.0, 0.0], [0.0, 0.0, 3.0])
    for part, value in zip(found, expected, strict=True):
        assert_close(part[0, 0], torch.tensor(value), atol=1e-6, rtol=0.0)


def test_virtual_bodies_are_carried_by_their_parents() -> None:
    palm = VirtualBody("palm", "arm", (0.1, 0.2, -0.5), (0.6, 0.0, 0.8, 0.0))
    model = build_robot(pendulum(virtual_bodies=(palm,)))
    states = drawn(model.model, 5)
    kinematics = ForwardKinematics.of(model, model.robot.tracked_bodies, dtype=torch.float64)
    assert kinematics.bodies == ("base", "arm", "palm")
    found = kinematics.moving(*states)
    carried = [part.index_select(1, torch.tensor([0, 1, 1])) for part in found]
    carry(*carried, *(part.double() for part in virtual_frames(model.robot)))
    for part, expected in zip(found, carried, strict=True):
        assert_close(part, expected, rtol=1e-6, atol=1e-6)  # places of virtual bodies are single there
    assert ForwardKinematics.of(model).bodies == ("base", "arm")


def test_bodies_without_a_name_are_left_out_and_carry_the_others() -> None:
    text = FORK.replace('<body name="arm"', "<body").replace('<body name="mast"', "<body")
    model = mujoco.MjModel.from_xml_string(text)
    assert ForwardKinematics.of(model).bodies == ("root", "rail", "hand")
    assert_like_mujoco(model)


def refused(text: str, *bodies: str) -> str:
    with pytest.raises(SceneError) as error:
        ForwardKinematics.of(mujoco.MjModel.from_xml_string(text), bodies or None)
    return str(error.value)


def test_a_ball_joint_is_refused_with_what_takes_its_place() -> None:
    ball = '<body name="arm"><joint name="shoulder" type="ball"/><geom size="0.1"/></body>'
    assert refused(TREE.format(ball)) == (
        "Forward kinematics know hinges and slides, but shoulder of the body 'arm' is a ball joint. "
        'Write three joints of type="hinge" with the axes 1 0 0, 0 1 0 and 0 0 1 in its place.'
    )
    hinges = "".join(f'<joint name="shoulder {a}" axis="{a}"/>' for a in ("1 0 0", "0 1 0", "0 0 1"))
    cured = ball.replace('<joint name="shoulder" type="ball"/>', hinges)
    assert_like_mujoco(mujoco.MjModel.from_xml_string(TREE.format(cured)))


def test_a_root_that_cannot_move_freely_is_refused() -> None:
    fixed = TREE.format('<body name="arm"><joint/><geom size="0.1"/></body>').replace("<freejoint/>", "")
    assert refused(fixed) == (
        "Forward kinematics need a robot on a free root; the first body of this model has none. Write <freejoint/> into it."
    )


def test_a_second_thing_that_moves_is_refused() -> None:
    two = TREE.format("").replace(
        "</worldbody>", '<body name="door"><joint name="pin"/><geom size="1"/></body></worldbody>'
    )
    assert "pin moves the body 'door', which is no part of 'root'" in refused(two)


def test_a_body_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert refused(FORK, "hnad") == (
        "Forward kinematics were asked for the body 'hnad', which the robot does not have. "
        "It has: root, rail, mast, arm, hand. Did you mean hand?"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda joints: joints[:, :2],
            "got joints of the shape (3, 2); it must be (3, 3): one row per state, and a column for ",
        ),
        (lambda joints: joints[:2], "got joints of the shape (2, 3); it must be (3, 3): "),
        (
            lambda joints: joints.float(),
            "of torch.float64 on cpu got joints of torch.float32 on cpu. Write joints.to(torch.float64)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: Callable[[Tensor], Tensor], message: str) -> None:
    model = mujoco.MjModel.from_xml_string(FORK)
    place, turn, _, _, joints, _ = drawn(model, 3)
    with pytest.raises(SceneError) as error:
        ForwardKinematics.of(model, dtype=torch.float64).poses(place, turn, change(joints))
    assert message in str(error.value)


def test_a_robot_model_and_its_compiled_model_give_the_same() -> None:
    model: RobotModel = build_robot(humanoid())
    states = drawn(model.model, 2, dtype=torch.float32)
    assert ForwardKinematics.of(model).bodies == model.robot.body_names
    assert ForwardKinematics.of(model).joints == model.robot.dof_names
    for ours, theirs in zip(
        ForwardKinematics.of(model).moving(*states), ForwardKinematics.of(model.model).moving(*states), strict=True
    ):
        assert torch.equal(ours, theirs)
