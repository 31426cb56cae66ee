"""Simulation of many copies of one robot in Isaac Gym, driven by the arrays of `worker/memory.py`.

Every call keeps the order that Isaac Gym asks for: setters once between two `simulate`, a refresh after it and before any setter,
buffers that live as long as the simulation. Joints and bodies are matched by name.
"""

import os
from typing import Any, Dict, List

import numpy as np
from isaacgym import gymapi, gymtorch

from systems.physics.isaacgym.worker.assumptions import FRICTION
from systems.physics.isaacgym.worker.frames import from_gym, grid, to_gym
from systems.physics.isaacgym.worker.tensors import Tensors

FASTEST = 1000.0  # rad/s and m/s; MuJoCo has no such clamp on joints and links
GAINS = ("stiffness", "damping", "joint_damping", "torque_limit", "armature")
FRICTION_STEP = 0.01  # to whose multiples friction is rounded: PhysX has room for 64 K materials
_ROW = "robot"


class GymSimulation:
    """One simulation; a process has one for life.

    `settings` is plain data: see `systems/physics/isaacgym/assets.py`, which makes it.
    """

    def __init__(self, settings: Dict[str, Any], memory: Dict[str, np.ndarray]) -> None:
        self._own, self.memory = settings, memory
        self._gym = gymapi.acquire_gym()
        self._rows: int = settings["rows"]
        self._on_gpu: bool = settings["gpu"]
        self._sim = self._create_sim()
        self._add_ground()
        self._asset = self._load()
        self._joints: List[str] = list(self._gym.get_asset_dof_names(self._asset))
        self._bodies: List[str] = list(self._gym.get_asset_rigid_body_names(self._asset))
        self._envs: List[gymapi.Env] = []
        self._actors: List[int] = []

    def _create_sim(self) -> gymapi.Sim:
        own, params = self._own, gymapi.SimParams()
        params.dt, params.substeps = own["dt"], 1
        params.up_axis, params.gravity = gymapi.UP_AXIS_Z, gymapi.Vec3(*own["gravity"])
        params.use_gpu_pipeline = self._on_gpu
        physx = params.physx
        physx.use_gpu = self._on_gpu
        physx.solver_type, physx.num_position_iterations, physx.num_velocity_iterations = 1, 4, 0
        physx.contact_offset, physx.rest_offset = 0.01, 0.0
        physx.bounce_threshold_velocity, physx.max_depenetration_velocity = 0.5, 1.0
        physx.default_buffer_size_multiplier, physx.max_gpu_contact_pairs = 5.0, 2**23
        physx.contact_collection = gymapi.CC_LAST_SUBSTEP
        physx.num_threads, physx.num_subscenes = own["threads"], 0
        physx.always_use_articulations = True
        sim = self._gym.create_sim(0, -1, gymapi.SIM_PHYSX, params)
        if sim is None:
            raise RuntimeError("create_sim returned None")
        return sim

    def _add_ground(self) -> None:
        plane = gymapi.PlaneParams()
        plane.normal, plane.distance = gymapi.Vec3(0.0, 0.0, 1.0), 0.0
        plane.static_friction = plane.dynamic_friction = plane.restitution = 0.0  # the robot's shapes decide
        self._gym.add_ground(self._sim, plane)

    def _load(self) -> gymapi.Asset:
        options = gymapi.AssetOptions()
        options.fix_base_link = options.collapse_fixed_joints = options.disable_gravity = False
        options.default_dof_drive_mode = int(self._drive_mode())
        options.angular_damping = options.linear_damping = 0.0
        options.max_angular_velocity = options.max_linear_velocity = FASTEST
        options.armature, options.use_physx_armature, options.density = 0.0, True, 0.001
        options.override_com = options.override_inertia = False
        options.enable_gyroscopic_forces = True
        options.replace_cylinder_with_capsule = options.vhacd_enabled = False
        folder, name = os.path.split(self._own["file"])
        asset = self._gym.load_asset(self._sim, folder, name, options)
        if asset is None:
            raise RuntimeError("load_asset returned None for {}".format(self._own["file"]))
        return asset

    def _drive_mode(self) -> gymapi.DofDriveMode:
        return gymapi.DOF_MODE_POS if self._own["control"] == "servo" else gymapi.DOF_MODE_EFFORT

    def names(self) -> Dict[str, List[str]]:
        """Joints and bodies of the asset, in Isaac Gym's order."""
        return {"joints": self._joints, "bodies": self._bodies}

    def build(self) -> Dict[str, Any]:
        """Make the rows, once the names were found to be the robot's, and say what Isaac Gym took from the asset."""
        gym, own = self._gym, self._own
        self._joint_at = [self._joints.index(name) for name in own["joints"]]
        self._body_at = [self._bodies.index(name) for name in own["bodies"]]
        self._offset = grid(self._rows, own["spacing"])
        self._values = {name: np.tile(np.asarray(own[name], np.float32), (self._rows, 1)) for name in GAINS}
        ranges = gym.get_asset_rigid_body_shape_indices(self._asset)
        counts = {name: int(ranges[at].count) for name, at in zip(own["bodies"], self._body_at)}
        self._shape_at = self._shapes(ranges) if counts == own["shapes"] else []
        zero, pose = gymapi.Vec3(0.0, 0.0, 0.0), gymapi.Transform()
        per_row = int(np.ceil(np.sqrt(self._rows)))
        for row in range(self._rows):
            env = gym.create_env(self._sim, zero, zero, per_row)
            pose.p = gymapi.Vec3(*[float(x) for x in self._offset[row] + [0.0, 0.0, own["height"]]])
            actor = gym.create_actor(env, self._asset, pose, _ROW, row, 1, 0)  # filter 1: it does not touch itself
            self._envs.append(env)
            self._actors.append(actor)
            self._drive(row)
            self._rub(row, own["friction"])
        found = self._described(counts)
        gym.prepare_sim(self._sim)
        self._acquire()
        return found

    def _shapes(self, ranges: List[gymapi.IndexRange]) -> List[int]:
        found = []
        for name in self._own["bodies"]:
            first = ranges[self._bodies.index(name)]
            found += [int(first.start) + number for number in range(int(first.count))]
        return found

    def _described(self, shapes: Dict[str, int]) -> Dict[str, Any]:
        gym, env, actor = self._gym, self._envs[0], self._actors[0]
        dofs = gym.get_actor_dof_properties(env, actor)
        asset = gym.get_asset_dof_properties(self._asset)
        bodies = gym.get_actor_rigid_body_properties(env, actor)
        centers = [[float(b.com.x), float(b.com.y), float(b.com.z)] for b in bodies]
        root = centers[self._body_at[0]]
        self._center = np.tile(np.array(root, np.float64), (self._rows, 1))
        joints = {}
        for name, at in zip(self._own["joints"], self._joint_at):
            joints[name] = {field: float(dofs[field][at]) for field in ("stiffness", "damping", "effort", "armature")}
            joints[name].update({field: float(asset[field][at]) for field in ("lower", "upper")})
            joints[name]["limited"] = bool(asset["hasLimits"][at])
        found = {}
        for name, at in zip(self._own["bodies"], self._body_at):
            inertia = bodies[at].inertia
            rows = [[float(axis.x), float(axis.y), float(axis.z)] for axis in (inertia.x, inertia.y, inertia.z)]
            found[name] = {"mass": float(bodies[at].mass), "center": centers[at], "inertia": rows}
            found[name]["shapes"] = shapes[name]
        return {"joints": joints, "bodies": found}

    def _drive(self, row: int) -> None:
        """Give the joints of a row their gains, limits and armature."""
        own = {name: values[row] for name, values in self._values.items()}
        properties = self._gym.get_actor_dof_properties(self._envs[row], self._actors[row])
        servo = self._own["control"] == "servo"
        nothing = np.zeros(len(self._joint_at), np.float32)
        properties["driveMode"][:] = int(self._drive_mode())
        properties["velocity"][:] = FASTEST
        properties["friction"][:] = 0.0
        properties["effort"][self._joint_at] = own["torque_limit"]
        properties["armature"][self._joint_at] = own["armature"]
        properties["stiffness"][self._joint_at] = own["stiffness"] if servo else nothing
        properties["damping"][self._joint_at] = own["damping"] + own["joint_damping"] if servo else nothing
        if not self._gym.set_actor_dof_properties(self._envs[row], self._actors[row], properties):
            raise RuntimeError(f"set_actor_dof_properties failed in row {row}")

    def _rub(self, row: int, friction: List[float]) -> None:
        """Give the shapes of a row their friction with the ground, which has none of its own."""
        if not self._shape_at:
            return
        properties = self._gym.get_actor_rigid_shape_properties(self._envs[row], self._actors[row])
        share = 2.0 if FRICTION == "average" else 1.0
        for at, value in zip(self._shape_at, friction):
            rounded = FRICTION_STEP * round(float(value) / FRICTION_STEP)
            properties[at].friction = share * rounded
            properties[at].restitution = 0.0
        if not self._gym.set_actor_rigid_shape_properties(self._envs[row], self._actors[row], properties):
            raise RuntimeError(f"set_actor_rigid_shape_properties failed in row {row}")

    def _acquire(self) -> None:
        gym, sim = self._gym, self._sim
        gym.refresh_actor_root_state_tensor(sim)
        gym.refresh_dof_state_tensor(sim)
        gym.refresh_net_contact_force_tensor(sim)
        self._root_state = gym.acquire_actor_root_state_tensor(sim)
        self._dof_state = gym.acquire_dof_state_tensor(sim)
        wrap = gymtorch.wrap_tensor
        self._root, self._dof = wrap(self._root_state), wrap(self._dof_state)
        self._contact = wrap(gym.acquire_net_contact_force_tensor(sim))
        self._tensors = Tensors(self._root)
        self._command = self._tensors.make((self._rows * len(self._joints),), "f4")
        self._command_at = self._tensors.descriptor(self._command)
        self._rows_set = self._tensors.make((self._rows,), "i4")
        pairs = zip(self._envs, self._actors)
        indices = [gym.get_actor_index(env, actor, gymapi.DOMAIN_SIM) for env, actor in pairs]
        self._actor_index = np.array(indices, np.int32)
        self._held: Any = None  # what descriptors point at until the next step

    def change(self, rows: np.ndarray, values: Dict[str, np.ndarray]) -> None:
        """Give some rows constants of their own: `values` by the name of the field, (rows, labels)."""
        for name in sorted(set(values) & set(GAINS)):
            self._values[name][rows] = values[name]
        driven = bool(set(values) & set(GAINS))
        for number, row in enumerate(rows.tolist()):
            if driven:
                self._drive(row)
            if "friction" in values:
                self._rub(row, values["friction"][number].tolist())

    def step(self, substeps: int) -> None:
        """Put the pushed rows where they are to start, advance all, and write down where they are."""
        gym, sim = self._gym, self._sim
        self._start_pushed()
        shape = (self._rows, len(self._joints))
        velocity = self._tensors.host(self._dof).reshape(self._rows, -1, 2)[..., 1]
        if self._own["control"] == "servo":
            self._ask(np.asarray(self.memory["command"]), shape)
            gym.set_dof_position_target_tensor(sim, self._command_at)
        for _ in range(substeps):
            if self._own["control"] == "torque":
                limit = self._values["torque_limit"]
                motor = np.clip(self.memory["command"], -limit, limit)
                self._ask(motor - self._values["joint_damping"] * velocity[:, self._joint_at], shape)
                gym.set_dof_actuation_force_tensor(sim, self._command_at)
            gym.simulate(sim)
            if not self._on_gpu:
                gym.fetch_results(sim, True)
            gym.refresh_dof_state_tensor(sim)
            gym.refresh_net_contact_force_tensor(sim)
            velocity = self._tensors.host(self._dof).reshape(self._rows, -1, 2)[..., 1]
        gym.refresh_actor_root_state_tensor(sim)
        self._write_down()

    def _ask(self, values: np.ndarray, shape: Any) -> None:
        asked = np.zeros(shape, np.float32)
        asked[:, self._joint_at] = values
        self._tensors.put(self._command, asked.reshape(-1))

    def _start_pushed(self) -> None:
        memory, tensors = self.memory, self._tensors
        rows = np.flatnonzero(memory["pushed"])
        if not rows.size:
            return
        root, dof = tensors.host(self._root), tensors.host(self._dof)
        root[rows] = to_gym(memory["pushed_root"][rows], self._offset[rows], self._center[rows])
        joints = dof.reshape(self._rows, -1, 2)
        joints[rows[:, None], self._joint_at, 0] = memory["pushed_position"][rows]
        joints[rows[:, None], self._joint_at, 1] = memory["pushed_velocity"][rows]
        tensors.put(self._root, root)
        tensors.put(self._dof, dof)
        ids = tensors.host(self._rows_set).copy()
        ids[: rows.size] = self._actor_index[rows]
        tensors.put(self._rows_set, ids)
        chosen = self._rows_set[: rows.size]
        self._held = chosen, tensors.descriptor(chosen)
        gym, sim, count = self._gym, self._sim, int(rows.size)
        gym.set_actor_root_state_tensor_indexed(sim, self._root_state, self._held[1], count)
        gym.set_dof_state_tensor_indexed(sim, self._dof_state, self._held[1], count)

    def _write_down(self) -> None:
        memory, host = self.memory, self._tensors.host
        memory["root"][:] = from_gym(host(self._root), self._offset, self._center)
        joints = host(self._dof).reshape(self._rows, -1, 2)[:, self._joint_at]
        memory["position"][:], memory["velocity"][:] = joints[..., 0], joints[..., 1]
        memory["force"][:] = host(self._contact).reshape(self._rows, -1, 3)[:, self._body_at]
