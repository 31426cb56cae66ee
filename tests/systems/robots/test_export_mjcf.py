"""What a run hands out of its robot: the same joints and shapes in the same places, and nothing else."""

import itertools

import mujoco
import numpy as np
import pytest

from engine.errors import SceneError
from scenes.robots.g1 import g1
from scenes.robots.humanoid import humanoid
from systems.robots.export_mjcf import export_mjcf
from systems.robots.model import build_robot

CORNERS = np.array(list(itertools.product((0.0, 0.1), (0.0, 0.2), (0.0, 0.4))))
FREE = "<freejoint/><inertial pos='0 0 0' mass='1' diaginertia='1 1 1'/>"
VERTICES = " ".join(map(str, (*CORNERS.reshape(-1), 0.05, 0.1, 0.2)))  # the last one is inside


def drawn(model: mujoco.MjModel) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(export_mjcf(model).decode())


def posed(model: mujoco.MjModel, qpos: np.ndarray) -> mujoco.MjData:
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return data


@pytest.mark.parametrize("describe", [humanoid, g1])
def test_the_same_pose_puts_joints_and_shapes_in_the_same_places(describe) -> None:
    try:
        model = build_robot(describe()).model
    except SceneError as missing:
        pytest.skip(str(missing))
    small = drawn(model)
    assert [small.joint(i).name for i in range(small.njnt)] == [model.joint(i).name for i in range(model.njnt)]
    qpos = np.random.default_rng(1).uniform(-1.0, 1.0, model.nq)
    first, second = posed(model, qpos), posed(small, qpos)
    np.testing.assert_allclose(second.xpos, first.xpos, atol=2e-5)
    shown = np.flatnonzero((model.geom_bodyid > 0) & (model.geom_contype > 0))
    assert len(shown) == small.ngeom > 0
    for body in range(1, model.nbody):
        ours, theirs = (
            np.array(sorted(d.geom_xpos[g].tolist() for g in geoms if m.geom_bodyid[g] == body))
            for m, d, geoms in ((small, second, range(small.ngeom)), (model, first, shown))
        )
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_a_robot_of_capsules_fits_one_answer_and_is_the_same_every_time() -> None:
    model = build_robot(humanoid()).model
    assert len(export_mjcf(model)) < 20_000
    assert export_mjcf(model) == export_mjcf(model) == export_mjcf(build_robot(humanoid()).model)


def world_vertices(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> np.ndarray:
    mesh = int(model.geom_dataid[geom])
    first = int(model.mesh_vertadr[mesh])
    points = model.mesh_vert[first : first + int(model.mesh_vertnum[mesh])]
    return np.asarray(points @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])


def test_a_mesh_becomes_its_convex_hull_where_the_mesh_was() -> None:
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><asset><mesh name='block' vertex='{VERTICES}'/></asset><worldbody><geom type='plane' size='1 1 1'/>"
        f"<body name='a' pos='1 2 3'>{FREE}<geom type='mesh' mesh='block' pos='0.5 0 0' euler='20 30 40'/>"
        f"<geom type='mesh' mesh='block' contype='0' conaffinity='0'/></body></worldbody></mujoco>"
    )
    small = drawn(model)
    assert small.ngeom == 1 and small.mesh_vertnum.tolist() == [8] and small.mesh_facenum.tolist() == [12]
    qpos = np.array((0.3, -0.2, 1.0, 0.5, 0.5, 0.5, 0.5))
    first, second = posed(model, qpos), posed(small, qpos)
    ours, theirs = world_vertices(small, second, 0), world_vertices(model, first, 1)
    apart = np.linalg.norm(theirs[:, None] - ours[None], axis=-1).min(1)
    assert (apart < 2e-5).sum() == 8 and apart.max() > 0.1  # all corners; the one inside is gone


def test_where_nothing_collides_everything_is_shown() -> None:
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><asset><mesh name='block' vertex='{VERTICES}'/></asset><worldbody><body name='a'>{FREE}"
        "<geom type='mesh' mesh='block' contype='0' conaffinity='0'/>"
        "<geom type='box' size='1 2 3' contype='0' conaffinity='0'/></body></worldbody></mujoco>"
    )
    small = drawn(model)
    assert sorted(small.geom_type.tolist()) == [int(mujoco.mjtGeom.mjGEOM_BOX), int(mujoco.mjtGeom.mjGEOM_MESH)]
    assert small.geom_size[small.geom_type == int(mujoco.mjtGeom.mjGEOM_BOX)].tolist() == [[1.0, 2.0, 3.0]]
