"""The stand-in for Isaac Gym refuses what the real one is documented to refuse, so that the worker's calls are tried for real."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.standins.here import FOLDER, StandinHere, forget

BALL = """<mujoco><compiler angle="radian" inertiafromgeom="false" autolimits="false"/><worldbody><body name="base">
<inertial pos="0.1 0 0" mass="2" fullinertia="0.02 0.03 0.04 0 0 0"/><freejoint name="root"/><geom size="0.1"/>
<body name="right"><inertial pos="0 0 -0.1" mass="1" fullinertia="0.01 0.01 0.01 0 0 0"/>
<joint name="right_joint" axis="0 1 0" range="-1 1" limited="true" frictionloss="3"/></body>
<body name="left"><inertial pos="0 0 -0.1" mass="1" fullinertia="0.01 0.01 0.01 0 0 0"/>
<joint name="left_joint" axis="0 1 0" range="-1 2"/></body></body></worldbody></mujoco>"""


class Stand:
    """The stand-in's modules of a fresh process, and two rows in it."""

    def __init__(self, folder: Path, *, text: str = BALL, prepared: bool = True, **options: Any) -> None:
        StandinHere(1, 1, 1)
        self.api: Any = sys.modules["isaacgym.gymapi"]
        self.torch: Any = sys.modules["isaacgym.gymtorch"]
        self.gym = self.api.acquire_gym()
        params = self.api.SimParams()
        params.up_axis, params.gravity, params.substeps = self.api.UP_AXIS_Z, self.api.Vec3(0.0, 0.0, 0.0), 1
        self.sim = self.gym.create_sim(0, -1, self.api.SIM_PHYSX, params)
        (folder / "ball.xml").write_text(text)
        own = self.api.AssetOptions()
        own.angular_damping = 0.0
        for name, value in options.items():
            setattr(own, name, value)
        self.asset = self.gym.load_asset(self.sim, str(folder), "ball.xml", own)
        self.envs = []
        for row in range(2):
            env = self.gym.create_env(self.sim, self.api.Vec3(), self.api.Vec3(), 2)
            self.gym.create_actor(env, self.asset, self.api.Transform(), "ball", row, 1, 0)
            self.envs.append(env)
        if prepared:
            self.gym.prepare_sim(self.sim)
            self.refresh()
            self.root_at = self.gym.acquire_actor_root_state_tensor(self.sim)
            self.root = self.torch.wrap_tensor(self.root_at)

    def refresh(self) -> None:
        self.gym.refresh_actor_root_state_tensor(self.sim)

    def set_root(self, rows: np.ndarray, count: int | None = None) -> bool:
        """Call the setter for some rows."""
        self.kept = rows, self.torch.unwrap_tensor(rows)
        return bool(
            self.gym.set_actor_root_state_tensor_indexed(self.sim, self.root_at, self.kept[1], count or len(rows))
        )

    def simulate(self) -> None:
        self.gym.simulate(self.sim)
        self.gym.fetch_results(self.sim, True)
        self.refresh()


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def freed(stand: Stand) -> None:
    stand.gym.set_dof_position_target_tensor(stand.sim, stand.torch.unwrap_tensor(np.zeros(4, np.float32)))


def unfetched(stand: Stand) -> None:
    stand.gym.simulate(stand.sim)
    stand.refresh()


REFUSED: dict[str, tuple[Callable[[Stand], Any], type[Exception], str]] = {
    "a second simulation": (
        lambda s: s.gym.create_sim(0, -1, s.api.SIM_PHYSX, s.api.SimParams()), RuntimeError, "Only one instance per process"),
    "a row number for an env": (lambda s: s.gym.get_actor_dof_properties(0, 0), TypeError, "incompatible function arguments"),
    "an unknown option": (lambda s: setattr(s.api.AssetOptions(), "angular_dampening", 0.0), AttributeError, "no attribute"),
    "an option of another kind": (lambda s: setattr(s.api.SimParams(), "use_gpu_pipeline", 1), TypeError, "incompatible"),
    "int64 indices": (lambda s: s.set_root(np.array([0])), RuntimeError, "int32 is needed"),
    "an index beyond": (lambda s: s.set_root(np.array([2], np.int32)), RuntimeError, "do not fit"),
    "another count": (lambda s: s.set_root(np.array([0], np.int32), 2), RuntimeError, "do not fit"),
    "memory with gaps": (lambda s: s.torch.unwrap_tensor(np.zeros((4, 4), np.float32)[:, :2]), RuntimeError, "contiguous"),
    "memory that is freed": (freed, RuntimeError, "freed"),
    "a refresh before fetch_results": (unfetched, RuntimeError, "fetch_results"),
    "prepare_sim twice": (lambda s: s.gym.prepare_sim(s.sim), RuntimeError, "prepare_sim once"),
    "another env afterwards": (
        lambda s: s.gym.create_env(s.sim, s.api.Vec3(), s.api.Vec3(), 2), RuntimeError, "after prepare_sim"),
    "a command for too few joints": (
        lambda s: s.gym.set_dof_actuation_force_tensor(s.sim, s.root_at), RuntimeError, "one number for each DOF"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_isaac_gym_refuses_is_refused(stand: Stand, what: str) -> None:
    call, error, text = REFUSED[what]
    with pytest.raises(error, match=text):
        call(stand)


def test_tensors_before_prepare_sim_are_refused(tmp_path: Path) -> None:
    stand = Stand(tmp_path, prepared=False)
    with pytest.raises(RuntimeError, match="before prepare_sim"):
        stand.gym.acquire_actor_root_state_tensor(stand.sim)


def test_torch_may_not_be_imported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.syspath_prepend(str(FOLDER))
    assert "torch" in sys.modules
    with pytest.raises(ImportError, match="PyTorch was imported before isaacgym"):
        __import__("isaacgym")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BALL.replace("</worldbody>", '<geom type="plane" size="1 1 1"/></worldbody>'), "no geoms beside it"),
        (BALL.replace("</mujoco>", "<actuator/></mujoco>"), "would not come back"),
        (BALL.replace('<geom size="0.1"', '<geom type="ellipsoid" size="0.1 0.1 0.1"'), "knows no ellipsoid"),
    ],
)
def test_files_that_the_importer_does_not_read_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(RuntimeError, match=why):
        Stand(tmp_path, text=text)


def test_siblings_come_by_name_and_ranges_only_where_they_are_said_to_limit(stand: Stand) -> None:
    assert stand.gym.get_asset_dof_names(stand.asset) == ["left_joint", "right_joint"]
    dofs = stand.gym.get_asset_dof_properties(stand.asset)
    assert dofs["hasLimits"].tolist() == [False, True] and dofs["lower"][1] == -1.0


def test_roots_have_their_scalar_last_and_the_velocity_of_their_centre_of_mass(stand: Stand) -> None:
    stand.root[0] = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]  # its centre of mass rests
    assert stand.set_root(np.array([0], np.int32))
    stand.simulate()
    dt = 1.0 / 60.0
    np.testing.assert_allclose(stand.root[0, :3], [1.0, 2.0 - 0.2 * dt, 3.0], atol=2e-4)  # -ω × R c
    np.testing.assert_allclose(stand.root[0, 10:13], [0.0, 0.0, 2.0], atol=0.05)


def test_a_second_call_of_a_setter_replaces_the_first(stand: Stand) -> None:
    before = stand.root.copy()
    stand.root[:, 2] += 1.0
    stand.set_root(np.array([0], np.int32))
    first = stand.kept
    stand.set_root(np.array([1], np.int32))
    assert first[0][0] == 0  # still alive
    stand.simulate()
    raised = stand.root[:, 2] > before[:, 2] + 0.5
    assert raised.tolist() == [False, True]


def test_what_is_set_is_not_where_links_are_until_the_next_step(stand: Stand) -> None:
    stand.gym.refresh_rigid_body_state_tensor(stand.sim)
    body = stand.torch.wrap_tensor(stand.gym.acquire_rigid_body_state_tensor(stand.sim))
    stand.root[0, 0] += 5.0
    stand.set_root(np.array([0], np.int32))
    stand.gym.refresh_rigid_body_state_tensor(stand.sim)
    assert abs(body[0, 0]) < 0.01
    stand.simulate()
    stand.gym.refresh_rigid_body_state_tensor(stand.sim)
    assert body[0, 0] == pytest.approx(5.0, abs=0.01)


def test_tensors_are_no_numbers_until_they_are_refreshed(tmp_path: Path) -> None:
    stand = Stand(tmp_path, prepared=False)
    stand.gym.prepare_sim(stand.sim)
    root = stand.torch.wrap_tensor(stand.gym.acquire_actor_root_state_tensor(stand.sim))
    assert np.isnan(root).all()


def test_links_are_damped_unless_the_options_say_otherwise(tmp_path: Path) -> None:
    speeds = {}
    for damping in (0.0, 0.5):
        stand = Stand(tmp_path, angular_damping=damping)
        stand.root[0, 10:13] = 0.0, 0.0, 2.0
        stand.set_root(np.array([0], np.int32))
        for _ in range(20):
            stand.simulate()
        speeds[damping] = float(stand.root[0, 12])
    assert speeds[0.0] == pytest.approx(2.0, rel=0.02) and speeds[0.5] < 1.8


def test_its_banner_goes_to_the_terminal_past_python(capfd: pytest.CaptureFixture[str]) -> None:
    StandinHere(1, 1, 1)
    os.write(1, b"")
    assert "stand-in" in capfd.readouterr().out
