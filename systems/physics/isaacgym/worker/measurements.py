"""Measurements of what Isaac Gym's documentation does not settle, each in a process of its own: see `selfcheck.py`.

A process has one simulation, so `floating` and `standing` each measure several things in one.
"""

import os
from typing import Any, Dict, List, Sequence

import numpy as np
from isaacgym import gymapi, gymtorch

from systems.physics.isaacgym.worker.tensors import Tensors

DT = 0.005  # s
G = 9.81  # m/s²
# a body whose centre of mass is 0.1 m off its origin, with two arms that stand in the file against the order of their names
FLOATING = """<mujoco model="probe"><compiler angle="radian" inertiafromgeom="false" autolimits="false"/><worldbody>
<body name="base" pos="0 0 1"><inertial pos="0.1 0 0" mass="2" fullinertia="0.02 0.03 0.04 0 0 0"/><freejoint name="root"/>
<geom type="sphere" size="0.02"/>
<body name="right" pos="0 -0.2 0"><inertial pos="0 0 -0.1" mass="0.001" fullinertia="0.0001 0.0001 0.0001 0 0 0"/>
<joint name="right_joint" type="hinge" axis="0 1 0" pos="0 0 0" range="-1 0.5" limited="true"/><geom type="sphere" size="0.01"/></body>
<body name="left" pos="0 0.2 0"><inertial pos="0 0 -0.1" mass="0.001" fullinertia="0.0001 0.0001 0.0001 0 0 0"/>
<joint name="left_joint" type="hinge" axis="0 1 0" pos="0 0 0" range="-0.25 2" limited="true"/><geom type="sphere" size="0.01"/></body>
</body></worldbody></mujoco>"""
# a box of 3 kg that slides and falls
STANDING = """<mujoco model="probe"><compiler angle="radian" inertiafromgeom="false" autolimits="false"/><worldbody>
<body name="base" pos="0 0 1"><inertial pos="0 0 0" mass="3" fullinertia="0.03 0.03 0.03 0 0 0"/><freejoint name="root"/>
<geom type="box" size="0.2 0.2 0.02"/>
<body name="arm" pos="0 0 0.03"><inertial pos="0 0 0.01" mass="0.001" fullinertia="0.001 0.001 0.001 0 0 0"/>
<joint name="arm_joint" type="hinge" axis="0 0 1" pos="0 0 0" range="-3 3" limited="true"/></body>
</body></worldbody></mujoco>"""


class Probe:
    """Rows of a small asset, driven call by call; `values` are written into tensors as Isaac Gym has them."""

    def __init__(self, message: Dict[str, Any], *, text: str, rows: int, gravity: float) -> None:
        self.gym, self.gpu = gymapi.acquire_gym(), bool(message["gpu"])
        params = gymapi.SimParams()
        params.dt, params.substeps, params.up_axis = DT, 1, gymapi.UP_AXIS_Z
        params.gravity, params.use_gpu_pipeline = gymapi.Vec3(0.0, 0.0, -gravity), self.gpu
        params.physx.use_gpu, params.physx.solver_type = self.gpu, 1
        params.physx.rest_offset, params.physx.contact_offset = 0.0, 0.01
        params.physx.num_velocity_iterations, params.physx.always_use_articulations = 0, True
        params.physx.contact_collection = gymapi.CC_LAST_SUBSTEP
        self.sim = self.gym.create_sim(0, -1, gymapi.SIM_PHYSX, params)
        if self.sim is None:
            raise RuntimeError("create_sim returned None")
        plane = gymapi.PlaneParams()
        plane.normal = gymapi.Vec3(0.0, 0.0, 1.0)
        plane.static_friction = plane.dynamic_friction = plane.restitution = 0.0
        self.gym.add_ground(self.sim, plane)
        path = os.path.join(message["folder"], "probe.xml")
        with open(path, "w") as file:
            file.write(text)
        options = gymapi.AssetOptions()
        options.angular_damping = options.linear_damping = 0.0
        options.max_angular_velocity = 1000.0
        options.default_dof_drive_mode = int(gymapi.DOF_MODE_EFFORT)
        self.asset = self.gym.load_asset(self.sim, message["folder"], "probe.xml", options)
        self.envs: List[gymapi.Env] = []
        pose, zero = gymapi.Transform(), gymapi.Vec3(0.0, 0.0, 0.0)
        for row in range(rows):
            env = self.gym.create_env(self.sim, zero, zero, rows)
            pose.p = gymapi.Vec3(3.0 * row, 0.0, 1.0)
            actor = self.gym.create_actor(env, self.asset, pose, "probe", row, 1, 0)
            shapes = self.gym.get_actor_rigid_shape_properties(env, actor)
            for shape in shapes:
                shape.friction = 1.0
            self.gym.set_actor_rigid_shape_properties(env, actor, shapes)
            self.envs.append(env)
        self.joints = self.gym.get_actor_dof_properties(self.envs[0], 0)
        joints = self.joints.copy()
        joints["stiffness"][:] = joints["damping"][:] = 0.0
        joints["effort"][:] = 1.0
        for env in self.envs:
            self.gym.set_actor_dof_properties(env, 0, joints)
        self.gym.prepare_sim(self.sim)
        self.refresh()
        self.root_at = self.gym.acquire_actor_root_state_tensor(self.sim)
        self.root = gymtorch.wrap_tensor(self.root_at)
        self.dof = gymtorch.wrap_tensor(self.gym.acquire_dof_state_tensor(self.sim))
        self.contact = gymtorch.wrap_tensor(self.gym.acquire_net_contact_force_tensor(self.sim))
        self.body = gymtorch.wrap_tensor(self.gym.acquire_rigid_body_state_tensor(self.sim))
        self.tensors = Tensors(self.root)
        self.effort = self.tensors.make((rows * len(self.joints),), "f4")
        self._kept: List[Any] = []

    def refresh(self) -> None:
        """Bring every tensor up to date."""
        gym, sim = self.gym, self.sim
        gym.refresh_actor_root_state_tensor(sim)
        gym.refresh_dof_state_tensor(sim)
        gym.refresh_rigid_body_state_tensor(sim)
        gym.refresh_net_contact_force_tensor(sim)

    def place(self, rows: Sequence[int], values: np.ndarray) -> None:
        """Call the setter of root states for some rows, with `values` (rows, 13) in its own convention."""
        root = self.tensors.host(self.root).copy()
        root[list(rows)] = values
        self.tensors.put(self.root, root)
        ids = self.tensors.make((len(rows),), "i4")
        self.tensors.put(ids, np.array(rows, np.int32))
        self._kept.append((ids, self.tensors.descriptor(ids)))
        self.gym.set_actor_root_state_tensor_indexed(self.sim, self.root_at, self._kept[-1][1], len(rows))

    def step(self, count: int = 1, effort: float = 0.0) -> np.ndarray:
        """Simulate; the root states (rows, 13) afterwards."""
        for _ in range(count):
            if effort:
                self.tensors.put(self.effort, np.full(len(self.envs) * len(self.joints), effort, np.float32))
                self._kept.append(self.tensors.descriptor(self.effort))
                self.gym.set_dof_actuation_force_tensor(self.sim, self._kept[-1])
            self.gym.simulate(self.sim)
            if not self.gpu:
                self.gym.fetch_results(self.sim, True)
            self.refresh()
        return np.array(self.tensors.host(self.root), np.float64)


def _root(
    x: float = 0.0, z: float = 1.0, quat: Any = (0, 0, 0, 1), linear: Any = (0, 0, 0), spin: Any = (0, 0, 0)
) -> np.ndarray:
    return np.array([x, 0.0, z, *quat, *linear, *spin], np.float32)


def defaults(message: Dict[str, Any]) -> Dict[str, Any]:
    """What options are where nobody sets them."""
    params, options = gymapi.SimParams(), gymapi.AssetOptions()
    names = ["angular_damping", "linear_damping", "max_angular_velocity", "max_linear_velocity", "armature", "density"]
    physx = ["rest_offset", "contact_offset", "num_velocity_iterations", "contact_collection"]
    found = {f"AssetOptions.{name}": float(getattr(options, name)) for name in names}
    found.update(
        {
            f"PhysXParams.{name}": float(int(v) if name == "contact_collection" else v)
            for name in physx
            for v in [getattr(params.physx, name)]
        }
    )
    found.update({"SimParams.dt": float(params.dt), "SimParams.substeps": float(params.substeps)})
    return {"found": found}


def floating(message: Dict[str, Any]) -> Dict[str, Any]:
    """Without gravity: whose velocity, whose axes, which order, what the importer keeps, what a second setter does."""
    probe = Probe(message, text=FLOATING, rows=4, gravity=0.0)
    gym = probe.gym
    found: Dict[str, Any] = {}
    found["joints"] = list(gym.get_asset_dof_names(probe.asset))
    at = {name: number for number, name in enumerate(found["joints"])}
    asset = gym.get_asset_dof_properties(probe.asset)
    found["limits"] = [float(asset[side][at[j]]) for j in ("right_joint", "left_joint") for side in ("lower", "upper")]
    base = gym.get_actor_rigid_body_properties(probe.envs[0], 0)[0]
    found["mass"], found["center"] = float(base.mass), [float(base.com.x), float(base.com.y), float(base.com.z)]
    found["inertia"] = [float(base.inertia.x.x), float(base.inertia.y.y), float(base.inertia.z.z)]
    half = float(np.sqrt(0.5))
    starts = [_root(0.0, spin=(0, 0, 2)), _root(3.0, quat=(0, half, 0, half), spin=(0, 0, 1)), _root(6.0), _root(9.0)]
    probe.place([0, 1, 2, 3], np.stack(starts))
    before = np.stack(starts).astype(np.float64)
    found["stale"] = _stale(probe, before)
    after = probe.step()
    found["moved"] = ((after[0, :3] - before[0, :3]) / DT).tolist()  # m/s of the origin
    found["turned"] = _turn(before[1, 3:7], after[1, 3:7]).tolist()  # rad/s in world axes
    probe.place([2], after[2:3] + _root(0.0, 0.5, quat=(0, 0, 0, 0)))
    probe.place([3], after[3:4] + _root(0.0, 0.5, quat=(0, 0, 0, 0)))
    raised = probe.step()
    found["first_setter_kept"] = bool(raised[2, 2] > after[2, 2] + 0.25)
    found["second_setter_kept"] = bool(raised[3, 2] > after[3, 2] + 0.25)
    return found


def _stale(probe: Probe, wanted: np.ndarray) -> bool:
    """Whether bodies are, right after a setter and a refresh, still where they were."""
    probe.gym.refresh_rigid_body_state_tensor(probe.sim)
    bodies = probe.tensors.host(probe.body).reshape(len(probe.envs), -1, 13)
    return bool(np.abs(bodies[1, 0, 3:7] - wanted[1, 3:7]).max() > 0.1)


def _turn(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Angular velocity in world axes, rad/s, between two rotations (x, y, z, w) one step apart."""
    u, w = -before[:3], before[3]
    a, b = after[:3], after[3]
    vector = b * u + w * a + np.cross(a, u)
    return np.asarray(2.0 * vector * np.sign(b * w - a @ u) / DT)


def standing(message: Dict[str, Any]) -> Dict[str, Any]:
    """With gravity: free fall, weight, effective friction, whether forces end with contacts, and whether efforts are clamped."""
    probe = Probe(message, text=STANDING, rows=3, gravity=G)
    found: Dict[str, Any] = {}
    probe.place([0, 1, 2], np.stack([_root(0.0, 5.0), _root(3.0, 0.02), _root(6.0, 0.02)]))
    fallen = probe.step(20)
    found["fallen"] = float(fallen[0, 2] - 5.0)
    found["expected_fall"] = -G * DT * DT * 20 * 21 / 2
    probe.step(80)
    found["weight"] = float(probe.tensors.host(probe.contact).reshape(3, -1, 3)[1, :, 2].sum())
    found["flying"] = float(np.abs(probe.tensors.host(probe.contact).reshape(3, -1, 3)[0]).sum())
    root = np.array(probe.tensors.host(probe.root))
    probe.place([2], np.stack([_root(6.0, float(root[2, 2]), linear=(2, 0, 0))]))
    first = probe.step(5)
    last = probe.step(20)
    found["friction"] = float((first[2, 7] - last[2, 7]) / (20 * DT * G))
    lifted = last[1:2].copy()
    lifted[0, 2] += 1.0
    probe.place([1], lifted.astype(np.float32))
    probe.step()
    found["after_lift"] = float(np.abs(probe.tensors.host(probe.contact).reshape(3, -1, 3)[1]).sum())
    before = np.array(probe.tensors.host(probe.dof)).reshape(3, -1, 2)[0, 0, 1]
    probe.step(1, effort=10.0)
    gained = np.array(probe.tensors.host(probe.dof)).reshape(3, -1, 2)[0, 0, 1] - before
    found["effort_applied"] = float(gained / DT * 0.001)  # N·m, of 10 asked with an effort limit of 1
    return found
