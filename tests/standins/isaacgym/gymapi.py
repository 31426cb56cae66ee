"""Calls of the stand-in, each as strict as the documentation says; names and arguments are those of the published stubs.

STANDIN_FAULT=NAME plants a fault: half_mass, no_ranges, renamed_joint or origin_velocity; or NAME:COUNT in the so-manieth
`simulate`: die, crash, raise, hang, garbage, other_answer, nan.
"""

import copy
import enum
import os
import signal
import sys
import time
import weakref
from typing import Any, Dict, List, Optional, Tuple
from xml.etree import ElementTree

import mujoco
import numpy as np

mujoco.set_mju_user_warning(lambda text: None)
FAULT, _, _COUNT = os.environ.get("STANDIN_FAULT", "").partition(":")
SOURCES: Dict[int, Any] = {}  # weak references to what descriptors point at
UNLIMITED = 3.4028235e38


class SimType(enum.IntEnum):
    SIM_PHYSX = 0
    SIM_FLEX = 1


class UpAxis(enum.IntEnum):
    UP_AXIS_Y = 0
    UP_AXIS_Z = 1


class ContactCollection(enum.IntEnum):
    CC_NEVER = 0
    CC_LAST_SUBSTEP = 1
    CC_ALL_SUBSTEPS = 2


class DofDriveMode(enum.IntEnum):
    DOF_MODE_NONE = 0
    DOF_MODE_POS = 1
    DOF_MODE_VEL = 2
    DOF_MODE_EFFORT = 3


class IndexDomain(enum.IntEnum):
    DOMAIN_ENV = 0
    DOMAIN_ACTOR = 1
    DOMAIN_SIM = 2


class TensorDataType(enum.IntEnum):
    DTYPE_FLOAT32 = 0
    DTYPE_UINT32 = 1
    DTYPE_UINT64 = 2


SIM_PHYSX, SIM_FLEX = SimType.SIM_PHYSX, SimType.SIM_FLEX
UP_AXIS_Y, UP_AXIS_Z = UpAxis.UP_AXIS_Y, UpAxis.UP_AXIS_Z
CC_NEVER, CC_LAST_SUBSTEP, CC_ALL_SUBSTEPS = ContactCollection
DOF_MODE_NONE, DOF_MODE_POS, DOF_MODE_VEL, DOF_MODE_EFFORT = DofDriveMode
DOMAIN_ENV, DOMAIN_ACTOR, DOMAIN_SIM = IndexDomain
DTYPE_FLOAT32, DTYPE_UINT32, DTYPE_UINT64 = TensorDataType

DOFS = np.dtype(
    [("hasLimits", "?"), ("lower", "f4"), ("upper", "f4"), ("driveMode", "i4"), ("velocity", "f4"), ("effort", "f4")]
    + [(name, "f4") for name in ("stiffness", "damping", "friction", "armature")]
)


class _Struct:
    """A record of known fields with values of the right kind, as compiled ones are."""

    FIELDS: Dict[str, Any] = {}

    def __init__(self) -> None:
        for name, value in self.FIELDS.items():
            object.__setattr__(self, name, value() if isinstance(value, type) else copy.copy(value))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.FIELDS:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        known = getattr(self, name)
        if isinstance(known, bool):
            fits = isinstance(value, bool)
        elif isinstance(known, enum.IntEnum):
            fits = isinstance(value, type(known))
        elif isinstance(known, int):
            fits = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, enum.IntEnum))
        elif isinstance(known, float):
            fits = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
        else:
            fits = isinstance(value, type(known))
        if not fits:
            raise TypeError(f"{type(self).__name__}.{name}: incompatible type {type(value).__name__}")
        object.__setattr__(self, name, value)


class Vec3(_Struct):
    FIELDS = {"x": 0.0, "y": 0.0, "z": 0.0}

    def __init__(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
        super().__init__()
        self.x, self.y, self.z = x, y, z


class Quat(_Struct):
    FIELDS = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}


class Transform(_Struct):
    FIELDS = {"p": Vec3, "r": Quat}


class Mat33(_Struct):
    FIELDS = {"x": Vec3, "y": Vec3, "z": Vec3}


class PlaneParams(_Struct):
    FIELDS = {"normal": Vec3, "distance": 0.0, "static_friction": 1.0, "dynamic_friction": 1.0, "restitution": 0.0}

    def __init__(self) -> None:
        super().__init__()
        self.normal = Vec3(0.0, 1.0, 0.0)


class PhysXParams(_Struct):
    FIELDS = {
        "use_gpu": False,
        "solver_type": 1,
        "num_position_iterations": 4,
        "num_velocity_iterations": 1,
        "contact_offset": 0.02,
        "rest_offset": 0.01,
        "bounce_threshold_velocity": 0.2,
        "max_depenetration_velocity": 5.0,
        "default_buffer_size_multiplier": 2.0,
        "max_gpu_contact_pairs": 1048576,
        "contact_collection": CC_ALL_SUBSTEPS,
        "num_threads": 0,
        "num_subscenes": 0,
        "always_use_articulations": False,
    }


class SimParams(_Struct):
    FIELDS = {
        "dt": 1.0 / 60.0,
        "substeps": 2,
        "up_axis": UP_AXIS_Y,
        "gravity": Vec3,
        "use_gpu_pipeline": False,
        "physx": PhysXParams,
    }

    def __init__(self) -> None:
        super().__init__()
        self.gravity = Vec3(0.0, -9.8, 0.0)


class AssetOptions(_Struct):
    FIELDS = {
        "fix_base_link": False,
        "collapse_fixed_joints": False,
        "default_dof_drive_mode": 0,
        "angular_damping": 0.5,
        "linear_damping": 0.0,
        "max_angular_velocity": 64.0,
        "max_linear_velocity": 1000.0,
        "armature": 0.0,
        "use_physx_armature": True,
        "density": 1000.0,
        "override_com": False,
        "override_inertia": False,
        "disable_gravity": False,
        "enable_gyroscopic_forces": True,
        "replace_cylinder_with_capsule": False,
        "vhacd_enabled": False,
    }


class RigidBodyProperties(_Struct):
    FIELDS = {"mass": 0.0, "com": Vec3, "inertia": Mat33}


class RigidShapeProperties(_Struct):
    FIELDS = {"friction": 1.0, "restitution": 0.0}


class IndexRange(_Struct):
    FIELDS = {"start": 0, "count": 0}


class Tensor(_Struct):
    FIELDS = {"data_address": 0, "device": -1, "dtype": DTYPE_FLOAT32, "shape": (), "own_data": False}


class Asset:
    """A robot as the importer took it: bodies depth first, siblings by name."""

    def __init__(self, folder: str, name: str, options: AssetOptions) -> None:
        self.options = options
        tree = ElementTree.parse(os.path.join(folder, name)).getroot()
        world = tree.find("worldbody")
        if world is None or len(world.findall("body")) != 1 or world.findall("geom"):
            raise RuntimeError("an MJCF file must have one body in its world and no geoms beside it")
        if tree.find("actuator") is not None:
            raise RuntimeError("the importer would not come back from <actuator>")
        if options.collapse_fixed_joints or options.override_com or options.override_inertia or options.fix_base_link:
            raise NotImplementedError("the stand-in does not collapse, override or fix")
        _sort(world)
        self.limited = []
        for body in world.iter("body"):
            _import(body, options)
        for joint in world.iter("joint"):
            if FAULT == "no_ranges" or joint.get("limited") != "true":
                joint.attrib.pop("range", None)
                joint.set("limited", "false")
            self.limited.append(joint.get("limited") == "true")
        self.tree = tree
        self.meshes = {}
        for mesh in tree.iter("mesh"):
            with open(os.path.join(folder, mesh.attrib["file"]), "rb") as file:
                self.meshes[mesh.attrib["file"]] = file.read()
        self.model = self.compiled(SimParams(), 0.0)
        model = self.model
        self.bodies = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, i) for i in range(1, model.nbody)]
        self.joints = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, i) for i in range(1, model.njnt)]
        if FAULT == "renamed_joint":
            self.joints[0] += "_0"
        self.shapes = [RigidShapeProperties() for geom in range(model.ngeom) if model.geom_bodyid[geom]]

    def compiled(self, params: SimParams, ground: Optional[float]) -> "mujoco.MjModel":
        """The model of one row, with a drive for each joint; `ground` is the height of the floor, None without one."""
        tree = copy.deepcopy(self.tree)
        option = ElementTree.SubElement(
            tree, "option", integrator="implicitfast", timestep=str(params.dt / params.substeps)
        )
        gravity = params.gravity
        pull = (0.0, 0.0, 0.0) if self.options.disable_gravity else (gravity.x, gravity.y, gravity.z)
        option.set("gravity", "{} {} {}".format(*pull))
        world = tree.find("worldbody")
        assert world is not None
        for geom in world.iter("geom"):
            geom.attrib.update(contype="1", conaffinity="0", condim="3", priority="1")
        if ground is not None:
            floor = {
                "type": "plane",
                "size": "0 0 1",
                "contype": "0",
                "conaffinity": "1",
                "pos": f"0 0 {ground}",
            }
            ElementTree.SubElement(world, "geom", floor)
        drives = ElementTree.SubElement(tree, "actuator")
        for joint in world.iter("joint"):
            given = {"biastype": "affine", "gainprm": "0", "biasprm": "0 0 0", "joint": joint.attrib["name"]}
            ElementTree.SubElement(drives, "general", dict(given, forcelimited="true", forcerange="-1 1"))
        return mujoco.MjModel.from_xml_string(ElementTree.tostring(tree, "unicode"), self.meshes)

    def dofs(self) -> np.ndarray:
        """The properties of its joints as the file and the options have them."""
        found = np.zeros(len(self.joints), DOFS)
        model = self.model
        for at in range(len(found)):
            limited = self.limited[at]
            low, high = model.jnt_range[1 + at] if limited else (-UNLIMITED, UNLIMITED)
            armature = model.dof_armature[6 + at] + self.options.armature
            mode = self.options.default_dof_drive_mode
            found[at] = (limited, low, high, mode, UNLIMITED, UNLIMITED, 0.0, model.dof_damping[6 + at], 0.0, armature)
        return found


def _sort(place: Any) -> None:
    children = sorted(place.findall("body"), key=lambda body: body.attrib["name"])
    for child in children:
        place.remove(child)
        _sort(child)
    place.extend(children)


def _import(body: Any, options: AssetOptions) -> None:
    inertial = body.find("inertial")
    if inertial is None:
        ElementTree.SubElement(body, "inertial", pos="0 0 0", mass=str(options.density), diaginertia="1e-6 1e-6 1e-6")
    elif FAULT == "half_mass" and "root" not in body.attrib:
        inertial.set("mass", str(0.5 * float(inertial.attrib["mass"])))
    for joint in body.findall("joint"):
        joint.attrib.pop("frictionloss", None)
    for geom in body.findall("geom"):
        if geom.get("type") == "ellipsoid" or geom.get("type") == "plane":
            raise RuntimeError("the importer knows no {}".format(geom.get("type")))


class Env:
    """One row: its model and data, its actor's properties and what it was asked."""

    def __init__(self, number: int, lower: Vec3, upper: Vec3, per_row: int) -> None:
        self.number = number
        self.origin = np.array(
            [(number % per_row) * (upper.x - lower.x), (number // per_row) * (upper.y - lower.y), 0.0]
        )
        self.actor: Optional[Asset] = None


class _Row:
    """The actor of a row, simulated."""

    def __init__(self, asset: Asset, pose: Transform, sim: "Sim") -> None:
        self.asset, self.dofs, self.sim = asset, asset.dofs(), sim
        self.model = copy.copy(sim.model_of(asset))
        self.shapes = [copy.copy(shape) for shape in asset.shapes]
        self.data = mujoco.MjData(self.model)
        self.data.qpos[:3] = pose.p.x, pose.p.y, pose.p.z
        self.data.qpos[3:7] = pose.r.w, pose.r.x, pose.r.y, pose.r.z
        self.target = np.zeros(len(self.dofs))
        self.drive()
        self.rub()

    def drive(self) -> None:
        """Take up the properties of the joints."""
        dofs, model = self.dofs, self.model
        pos = (dofs["driveMode"] == DOF_MODE_POS) & (dofs["stiffness"] > 0)
        idle = dofs["driveMode"] == DOF_MODE_NONE
        model.actuator_gainprm[:, 0] = np.where(pos, dofs["stiffness"], 0.0)
        model.actuator_biasprm[:, 1] = np.where(idle, 0.0, -dofs["stiffness"])
        model.actuator_biasprm[:, 2] = np.where(idle, 0.0, -dofs["damping"])
        model.actuator_forcerange[:, 0] = -dofs["effort"]
        model.actuator_forcerange[:, 1] = dofs["effort"]
        model.dof_armature[6:] = dofs["armature"]
        model.dof_damping[:] = 0.0

    def rub(self) -> None:
        """Take up the properties of the shapes: friction of two is the average."""
        for at, shape in zip((g for g in range(self.model.ngeom) if self.model.geom_bodyid[g]), self.shapes):
            self.model.geom_friction[at, 0] = max(0.5 * (shape.friction + self.sim.ground_friction), 1e-5)

    def center(self) -> np.ndarray:
        """From the root's origin to its centre of mass, in world axes."""
        turned = np.zeros(3)
        mujoco.mju_rotVecQuat(turned, self.model.body_ipos[1], self.data.qpos[3:7])
        return turned

    def root(self) -> np.ndarray:
        """13 numbers as the tensor has them."""
        data, spin = self.data, np.zeros(3)
        mujoco.mju_rotVecQuat(spin, data.qvel[3:6], data.qpos[3:7])
        arm = 0.0 * spin if FAULT == "origin_velocity" else np.cross(spin, self.center())
        return np.concatenate((data.qpos[:3], data.qpos[[4, 5, 6, 3]], data.qvel[:3] + arm, spin))

    def put_root(self, root: np.ndarray) -> None:
        """The inverse of `root`."""
        data, back = self.data, np.zeros(4)
        data.qpos[:3], data.qpos[3:7] = root[:3], root[[6, 3, 4, 5]]
        mujoco.mju_normalize4(data.qpos[3:7])
        mujoco.mju_negQuat(back, data.qpos[3:7])
        spin = np.zeros(3)
        mujoco.mju_rotVecQuat(spin, root[10:13], back)
        arm = 0.0 * spin if FAULT == "origin_velocity" else np.cross(root[10:13], self.center())
        data.qvel[:3], data.qvel[3:6] = root[7:10] - arm, spin
        data.qacc_warmstart[:] = 0.0

    def simulate(self, effort: np.ndarray, substeps: int, dt: float) -> None:
        """Advance by one `simulate`."""
        dofs, data, options = self.dofs, self.data, self.asset.options
        data.ctrl[:] = self.target
        data.qfrc_applied[6:] = np.where(dofs["driveMode"] == DOF_MODE_EFFORT, effort, 0.0)
        for _ in range(substeps):
            mujoco.mj_step(self.model, data)
            if options.angular_damping or options.linear_damping:
                data.qvel[:3] /= 1.0 + options.linear_damping * dt
                data.qvel[3:] /= 1.0 + options.angular_damping * dt
            data.qvel[:3] = _at_most(data.qvel[:3], options.max_linear_velocity)
            data.qvel[3:6] = _at_most(data.qvel[3:6], options.max_angular_velocity)
            np.clip(data.qvel[6:], -dofs["velocity"], dofs["velocity"], out=data.qvel[6:])

    def contact(self) -> np.ndarray:
        """(bodies, 3) N in world axes."""
        mujoco.mj_rnePostConstraint(self.model, self.data)
        return np.array(self.data.cfrc_ext[1:, 3:])


def _at_most(speed: np.ndarray, most: float) -> np.ndarray:
    return speed * min(1.0, most / max(float(np.linalg.norm(speed)), 1e-12))


class Sim:
    """The simulation of a process, and in which state of building it is."""

    def __init__(self, params: SimParams) -> None:
        self.params = params
        self.ground: Optional[float] = None
        self.ground_friction = 0.0
        self.assets: List[Asset] = []
        self.models: Dict[int, Any] = {}
        self.envs: List[Env] = []
        self.rows: List[_Row] = []
        self.prepared = False
        self.fetched = True
        self.pending: Dict[str, Any] = {}
        self.effort: Optional[np.ndarray] = None
        self.tensors: Dict[str, np.ndarray] = {}
        self.steps = 0

    def model_of(self, asset: Asset) -> Any:
        """The model of a row, compiled once for each asset."""
        if id(asset) not in self.models:
            self.models[id(asset)] = asset.compiled(self.params, self.ground)
        return self.models[id(asset)]


_THE_SIM: List[Sim] = []


class Gym:
    """What `acquire_gym` gives; every call checks what it is given, and when."""

    def create_sim(
        self, compute_device: int = 0, graphics_device: int = 0, type: Any = SIM_FLEX, params: Any = None
    ) -> Sim:
        if not isinstance(params, SimParams) or type != SIM_PHYSX:
            raise TypeError("create_sim(): incompatible function arguments")
        if _THE_SIM:
            raise RuntimeError("Foundation object exists already. Only one instance per process can be created.")
        os.write(1, b"Not connected to PVD (stand-in)\n")
        _THE_SIM.append(Sim(params))
        return _THE_SIM[0]

    def add_ground(self, sim: Sim, params: PlaneParams) -> None:
        _typed(sim, Sim, "add_ground")
        _typed(params, PlaneParams, "add_ground")
        if sim.envs:
            raise RuntimeError("the ground comes before the first env")
        if params.normal.z != 1.0:
            raise NotImplementedError("the stand-in's floor is level")
        sim.ground = params.distance + sim.params.physx.rest_offset
        sim.ground_friction = params.static_friction

    def load_asset(self, sim: Sim, rootpath: str, filename: str, options: Any = None) -> Asset:
        _typed(sim, Sim, "load_asset")
        if options is not None:
            _typed(options, AssetOptions, "load_asset")
        if sim.prepared:
            raise RuntimeError("load_asset after prepare_sim")
        return Asset(rootpath, filename, options or AssetOptions())

    def get_asset_dof_names(self, arg0: Asset) -> List[str]:
        _typed(arg0, Asset, "get_asset_dof_names")
        return list(arg0.joints)

    def get_asset_rigid_body_names(self, arg0: Asset) -> List[str]:
        _typed(arg0, Asset, "get_asset_rigid_body_names")
        return list(arg0.bodies)

    def get_asset_dof_properties(self, arg0: Asset) -> np.ndarray:
        _typed(arg0, Asset, "get_asset_dof_properties")
        return arg0.dofs()

    def get_asset_rigid_body_shape_indices(self, arg0: Asset) -> List[IndexRange]:
        _typed(arg0, Asset, "get_asset_rigid_body_shape_indices")
        found, start, model = [], 0, arg0.model
        for body in range(1, model.nbody):
            one = IndexRange()
            one.start, one.count = start, int(np.sum(model.geom_bodyid == body))
            start += one.count
            found.append(one)
        return found

    def create_env(self, arg0: Sim, arg1: Vec3, arg2: Vec3, arg3: int) -> Env:
        _typed(arg0, Sim, "create_env")
        _typed(arg1, Vec3, "create_env")
        _typed(arg3, int, "create_env")
        if arg0.prepared:
            raise RuntimeError("create_env after prepare_sim")
        if arg0.envs and arg0.envs[-1].actor is None:
            raise RuntimeError("envs are filled one after the other")
        arg0.envs.append(Env(len(arg0.envs), arg1, arg2, arg3))
        return arg0.envs[-1]

    def create_actor(
        self,
        env: Env,
        asset: Asset,
        pose: Transform,
        name: Optional[str] = None,
        group: int = -1,
        filter: int = -1,
        segmentationId: int = 0,
    ) -> int:
        _typed(env, Env, "create_actor")
        _typed(asset, Asset, "create_actor")
        _typed(pose, Transform, "create_actor")
        sim = _THE_SIM[0]
        if sim.envs[-1] is not env or env.actor is not None or sim.prepared:
            raise RuntimeError("actors are added to the newest env alone, one in the stand-in")
        if group != env.number or filter < 1:
            raise NotImplementedError("the stand-in knows rows that touch neither each other nor themselves")
        env.actor = asset
        sim.rows.append(_Row(asset, pose, sim))
        return 0

    def get_actor_dof_properties(self, arg0: Env, arg1: int) -> np.ndarray:
        return _row(arg0, arg1, "get_actor_dof_properties").dofs.copy()

    def set_actor_dof_properties(self, arg0: Env, arg1: int, arg2: Any) -> bool:
        row = _row(arg0, arg1, "set_actor_dof_properties")
        if not isinstance(arg2, np.ndarray) or arg2.dtype != DOFS or len(arg2) != len(row.dofs):
            raise TypeError("set_actor_dof_properties(): incompatible function arguments")
        row.dofs = arg2.copy()
        row.drive()
        return True

    def get_actor_rigid_shape_properties(self, arg0: Env, arg1: int) -> List[RigidShapeProperties]:
        return [copy.copy(shape) for shape in _row(arg0, arg1, "get_actor_rigid_shape_properties").shapes]

    def set_actor_rigid_shape_properties(self, arg0: Env, arg1: int, arg2: List[RigidShapeProperties]) -> bool:
        row = _row(arg0, arg1, "set_actor_rigid_shape_properties")
        if len(arg2) != len(row.shapes):
            return False
        row.shapes = [copy.copy(shape) for shape in arg2]
        row.rub()
        return True

    def get_actor_rigid_body_properties(self, arg0: Env, arg1: int) -> List[RigidBodyProperties]:
        model, found = _row(arg0, arg1, "get_actor_rigid_body_properties").model, []
        for body in range(1, model.nbody):
            one, turn = RigidBodyProperties(), np.zeros(9)
            mujoco.mju_quat2Mat(turn, model.body_iquat[body])
            axes = turn.reshape(3, 3)
            inertia = axes @ np.diag(model.body_inertia[body]) @ axes.T
            one.mass, one.com = float(model.body_mass[body]), Vec3(*map(float, model.body_ipos[body]))
            for name, values in zip("xyz", inertia):
                setattr(one.inertia, name, Vec3(*map(float, values)))
            found.append(one)
        return found

    def get_actor_index(self, arg0: Env, arg1: int, arg2: IndexDomain) -> int:
        _row(arg0, arg1, "get_actor_index")
        _typed(arg2, IndexDomain, "get_actor_index")
        return arg0.number if arg2 == DOMAIN_SIM else 0

    def prepare_sim(self, arg0: Sim) -> bool:
        _typed(arg0, Sim, "prepare_sim")
        if arg0.prepared or not arg0.rows:
            raise RuntimeError("prepare_sim once, after the last actor")
        arg0.prepared = True
        joints, bodies = (sum(len(getattr(row.asset, what)) for row in arg0.rows) for what in ("joints", "bodies"))
        shapes = {"root": (len(arg0.rows), 13), "dof": (joints, 2), "body": (bodies, 13), "contact": (bodies, 3)}
        arg0.tensors = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
        self._advance(arg0)  # the real one is reported to move things
        return True

    def _advance(self, sim: Sim) -> None:
        for name in ("root", "dof"):
            if name in sim.pending:
                chosen, values = sim.pending.pop(name)
                for at in chosen:
                    row = sim.rows[at]
                    if name == "root":
                        row.put_root(
                            values[at].astype(np.float64) - np.concatenate((sim.envs[at].origin, np.zeros(10)))
                        )
                    else:
                        count = len(row.dofs)
                        row.data.qpos[7:], row.data.qvel[6:] = values[at * count : (at + 1) * count].T
                        row.data.qacc_warmstart[:] = 0.0
        sim.pending.clear()
        count = len(sim.rows[0].dofs)
        effort = np.zeros(len(sim.rows) * count) if sim.effort is None else sim.effort
        for at, row in enumerate(sim.rows):
            row.simulate(
                effort[at * count : (at + 1) * count], sim.params.substeps, sim.params.dt / sim.params.substeps
            )
        sim.effort = None

    def simulate(self, arg0: Sim) -> None:
        _prepared(arg0, "simulate")
        arg0.steps += 1
        if _COUNT and arg0.steps == int(_COUNT):
            _fail(FAULT)
        self._advance(arg0)
        if _COUNT and FAULT == "nan" and arg0.steps == int(_COUNT):
            arg0.rows[0].data.qvel[0] = np.nan
        arg0.fetched = arg0.params.use_gpu_pipeline

    def fetch_results(self, arg0: Sim, arg1: bool) -> None:
        _prepared(arg0, "fetch_results")
        arg0.fetched = True

    def _acquire(self, sim: Sim, name: str) -> Tensor:
        _prepared(sim, "acquire")
        array, made = sim.tensors[name], Tensor()
        made.data_address, made.shape = array.ctypes.data, array.shape
        SOURCES[id(made)] = weakref.ref(array)
        weakref.finalize(made, SOURCES.pop, id(made), None)
        return made

    def acquire_actor_root_state_tensor(self, arg0: Sim) -> Tensor:
        return self._acquire(arg0, "root")

    def acquire_dof_state_tensor(self, arg0: Sim) -> Tensor:
        return self._acquire(arg0, "dof")

    def acquire_rigid_body_state_tensor(self, arg0: Sim) -> Tensor:
        return self._acquire(arg0, "body")

    def acquire_net_contact_force_tensor(self, arg0: Sim) -> Tensor:
        return self._acquire(arg0, "contact")

    def refresh_actor_root_state_tensor(self, arg0: Sim) -> bool:
        _fresh(arg0, "refresh_actor_root_state_tensor")
        for at, row in enumerate(arg0.rows):
            arg0.tensors["root"][at] = row.root() + np.concatenate((arg0.envs[at].origin * 0.0, np.zeros(10)))
        return True

    def refresh_dof_state_tensor(self, arg0: Sim) -> bool:
        _fresh(arg0, "refresh_dof_state_tensor")
        places = np.concatenate([row.data.qpos[7:] for row in arg0.rows])
        speeds = np.concatenate([row.data.qvel[6:] for row in arg0.rows])
        arg0.tensors["dof"][:] = np.stack((places, speeds), 1)
        return True

    def refresh_rigid_body_state_tensor(self, arg0: Sim) -> bool:
        _fresh(arg0, "refresh_rigid_body_state_tensor")
        found = []
        for row in arg0.rows:
            model, data, speed = row.model, copy.copy(row.data), np.zeros(6)
            mujoco.mj_fwdPosition(model, data)
            mujoco.mj_fwdVelocity(model, data)
            for body in range(1, model.nbody):
                mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, speed, 0)
                quat = data.xquat[body][[1, 2, 3, 0]]
                found.append(np.concatenate((data.xpos[body], quat, speed[3:], speed[:3])))
        arg0.tensors["body"][:] = found
        return True

    def refresh_net_contact_force_tensor(self, arg0: Sim) -> bool:
        _fresh(arg0, "refresh_net_contact_force_tensor")
        if arg0.params.physx.contact_collection == CC_NEVER:
            arg0.tensors["contact"][:] = 0.0
        else:
            arg0.tensors["contact"][:] = np.concatenate([row.contact() for row in arg0.rows])
        return True

    def set_actor_root_state_tensor_indexed(self, arg0: Sim, arg1: Tensor, arg2: Tensor, arg3: int) -> bool:
        return self._set_indexed(arg0, "root", arg1, arg2, arg3)

    def set_dof_state_tensor_indexed(self, arg0: Sim, arg1: Tensor, arg2: Tensor, arg3: int) -> bool:
        return self._set_indexed(arg0, "dof", arg1, arg2, arg3)

    def _set_indexed(self, sim: Sim, name: str, data: Tensor, index: Tensor, count: int) -> bool:
        _prepared(sim, f"set_{name}_state_tensor_indexed")
        if not sim.fetched:
            raise RuntimeError("a setter before fetch_results")
        values, chosen = _values(data, "float32"), _values(index, "int32")
        if chosen.size != count or not count or chosen.min() < 0 or chosen.max() >= len(sim.rows):
            raise RuntimeError(f"actor indices {chosen.tolist()} do not fit")
        sim.pending[name] = chosen.copy(), values.reshape(sim.tensors[name].shape).copy()  # what was set before is lost
        return True

    def set_dof_position_target_tensor(self, arg0: Sim, arg1: Tensor) -> bool:
        for row, target in zip(arg0.rows, self._of_dofs(arg0, arg1)):
            row.target = target.astype(np.float64)
        return True

    def set_dof_actuation_force_tensor(self, arg0: Sim, arg1: Tensor) -> bool:
        arg0.effort = self._of_dofs(arg0, arg1).reshape(-1).astype(np.float64)
        return True

    def _of_dofs(self, sim: Sim, data: Tensor) -> np.ndarray:
        _prepared(sim, "set_dof")
        values = _values(data, "float32")
        if values.size != len(sim.tensors["dof"]):
            raise RuntimeError("a control tensor has one number for each DOF of the simulation")
        return values.reshape(len(sim.rows), -1).copy()

    def destroy_sim(self, arg0: Sim) -> None:
        _typed(arg0, Sim, "destroy_sim")


_GYM = Gym()


def acquire_gym() -> Gym:
    return _GYM


def _typed(value: Any, kind: type, call: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{call}(): incompatible function arguments: {type(value).__name__}")


def _row(env: Env, actor: int, call: str) -> _Row:
    _typed(env, Env, call)
    _typed(actor, int, call)
    if env.actor is None or actor != 0:
        raise RuntimeError(f"{call}: the env has no actor {actor}")
    return _THE_SIM[0].rows[env.number]


def _prepared(sim: Sim, call: str) -> None:
    _typed(sim, Sim, call)
    if not sim.prepared:
        raise RuntimeError(f"{call} before prepare_sim: the tensor API is not ready")


def _fresh(sim: Sim, call: str) -> None:
    _prepared(sim, call)
    if not sim.fetched:
        raise RuntimeError(f"{call} before fetch_results")


def _values(tensor: Tensor, kind: str) -> np.ndarray:
    """The numbers that a descriptor tells of, read where they lie."""
    import ctypes

    _typed(tensor, Tensor, "setter")
    source = SOURCES.get(id(tensor))
    if source is None or source() is None:
        raise RuntimeError("the tensor behind the descriptor was freed")
    kinds: Dict[Any, Tuple[str, Any]] = {
        DTYPE_FLOAT32: ("float32", ctypes.c_float),
        DTYPE_UINT32: ("int32", ctypes.c_int32),
    }
    name, element = kinds.get(tensor.dtype, ("", None))
    if name != kind:
        raise RuntimeError(f"a tensor of {kind} is needed")
    count = int(np.prod(tensor.shape))
    return np.ctypeslib.as_array((element * count).from_address(tensor.data_address)).reshape(tensor.shape)


def _fail(how: str) -> None:
    if how == "die":
        sys.stderr.write("PhysX: out of luck\n")
        sys.stderr.flush()
        os._exit(3)
    if how == "raise":
        raise RuntimeError("PhysX error")
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        while True:
            time.sleep(1.0)
    if how in ("garbage", "other_answer"):
        import socket

        channel = socket.socket(fileno=os.dup(int(sys.argv[sys.argv.index("--channel") + 1])))
        channel.sendall(b"\x00\x00\x00\x05junk!" if how == "garbage" else b"\x00\x00\x00\x01\x80")
