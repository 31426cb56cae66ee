"""Robot model: a description compiled for MuJoCo, and everything the rest of the project asks of it.

Conversions live in the backends, nowhere else: MuJoCo's `cvel` is about the centre of mass of the
whole tree and its free joint turns in body axes, while we use frame origins and world axes throughout.
"""

import logging
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import attrs
import mujoco
import numpy as np
import torch
from torch import Tensor

from components.robot import Motor, Robot, RobotDescription
from engine.errors import SceneError, did_you_mean, listing
from systems.ground.grid import Terrain
from systems.maths.rotation import rotate
from systems.robots import mjcf
from systems.robots.collision_tree import rebuild_tree
from systems.robots.forward_kinematics import ForwardKinematics
from systems.robots.mjcf import Solver
from systems.robots.silence import quiet
from systems.robots.sources import reason

_log = logging.getLogger(__name__)
T = TypeVar("T")
UNIT_ACTION_TORQUE = 0.25  # share of the torque limit that a unit action asks of a joint at rest
LEVEL = 1e-3  # m; a root this little below the soles is on the floor


@attrs.frozen(eq=False)
class RobotModel:
    """A robot that can be simulated: the compiled model, its names, limits and geometry.

    Bodies are those of axis `body`: the model's without the world, root first.
    """

    model: mujoco.MjModel
    robot: Robot
    control: str  # "servo": controls are joint targets in rad; "torque": they are N·m
    dt: float  # s, of one substep
    self_collision: bool
    contact_bodies: tuple[int, ...]  # bodies whose net contact force can be measured, in the order of their sensors
    foot_geoms: tuple[int, ...]  # ids in `model`
    foot_point_body: tuple[int, ...]
    foot_point_local: np.ndarray  # (P, 3) m in the frame of its body
    foot_point_radius: np.ndarray  # (P,) m
    body_mass: np.ndarray  # (B,) kg
    body_com: np.ndarray  # (B, 3) m, in the body frame
    file: Path | None = None  # that the robot was read from; None where it is generated
    notes: tuple[str, ...] = ()  # what of its file was decided, replaced or left out, one sentence each
    merged: Mapping[str, str] = attrs.field(factory=dict)  # bodies without a joint, and the body each is part of
    terrain: Terrain | None = None  # that it stands on; None: a plane
    spec: mujoco.MjSpec | None = None  # that `model` was compiled from

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Labels of the axes `dof`, `body`, `foot` and `sensed`, the last those of all `contact_bodies`."""
        names = self.robot.body_names
        sensed = tuple(names[body] for body in self.contact_bodies)
        return {"dof": self.robot.dof_names, "body": names, "foot": self.robot.foot_names, "sensed": sensed}

    @cached_property
    def shape_geoms(self) -> tuple[int, ...]:
        """Ids in `model` of the robot's collision shapes, in the order of the model."""
        model = self.model
        touching = (model.geom_contype | model.geom_conaffinity).astype(bool) & (model.geom_bodyid > 0)
        return tuple(np.flatnonzero(touching).tolist())

    @property
    def body_inertia(self) -> np.ndarray:
        """(B, 3, 3) kg·m² about each body's centre of mass, in the axes of its frame."""
        axes = rotate(self.model.body_iquat[1:, None], np.eye(3)[None])
        return np.einsum("bki,bk,bkj->bij", axes, self.model.body_inertia[1:], axes)

    @cached_property
    def _kinematics(self) -> ForwardKinematics:
        return ForwardKinematics.of(self.model, dtype=torch.float64)

    def kinematics(
        self,
        root_position: np.ndarray,
        root_rotation: np.ndarray,
        dof_position: np.ndarray,
        root_linear_velocity: np.ndarray,
        root_angular_velocity: np.ndarray,
        dof_velocity: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Where every body is and how it moves, for T states; float64 throughout.

        Takes (T, 3) m, (T, 4) scalar first, (T, D) rad, (T, 3) m/s, (T, 3) rad/s world, (T, D) rad/s.
        Returns position (T, B, 3), rotation (T, B, 4), and linear (of the frame origin) and angular
        velocity (T, B, 3), in world axes.
        """
        place, turn, dofs = (_tensor(part) for part in (root_position, root_rotation, dof_position))
        linear, angular, rates = (_tensor(part) for part in (root_linear_velocity, root_angular_velocity, dof_velocity))
        if linear.any() or angular.any() or rates.any():
            found = self._kinematics.moving(place, turn, linear, angular, dofs, rates)
            position, rotation, shift, spin = (part.contiguous().numpy() for part in found)
            return position, rotation, shift, spin
        position, rotation = (part.contiguous().numpy() for part in self._kinematics.poses(place, turn, dofs))
        return position, rotation, np.zeros_like(position), np.zeros_like(position)

    def foot_points(self, body_position: np.ndarray, body_rotation: np.ndarray) -> np.ndarray:
        """The lowest points of the feet's collision shapes in world axes, (T, B, 3), (T, B, 4) -> (T, P, 3) m.

        A sphere gives its bottom, a capsule the bottoms of its ends, anything else the corners of its box.
        """
        body = list(self.foot_point_body)
        points = body_position[:, body] + rotate(body_rotation[:, body], self.foot_point_local[None])
        points[..., 2] -= self.foot_point_radius
        return points


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float64))


def build_robot(
    description: RobotDescription,
    *,
    control: str = "servo",
    dt: float = 0.005,
    floor: bool = True,
    terrain: Terrain | None = None,
    self_collision: bool = False,
    visual: bool = False,
    solver: Solver | None = None,
    contact_bodies: tuple[str, ...] | None = None,
) -> RobotModel:
    """Compile a description into a model with our actuators, collision shapes and contact sensors.

    `control`: "servo" lets the simulator's own implicit servo hold joint targets, "torque" takes torques.
    `contact_bodies` are those whose net contact force can be measured; by default all that can touch something. `visual`
    keeps meshes for rendering; `terrain` takes the place of the flat floor. Raises SceneError for anything the model lacks or a pattern that fits nothing.
    """
    if control not in ("servo", "torque"):
        raise SceneError(f"control={control!r} is unknown; a robot is driven by 'servo' or 'torque'.")
    if not dt > 0.0:
        raise SceneError(f"The physics step dt={dt} s must be above 0.")
    solver = solver or Solver()
    spec, left_out = mjcf.read_spec(description)
    missing = mjcf.lacks(spec)
    if missing:
        raise SceneError(f"The model of robot '{description.name}' lacks: {'; '.join(missing)}.")
    every_joint = [joint.name for joint in mjcf.hinges(spec)]
    mjcf.strip(spec, visual=visual)
    mjcf.clear_shapes(spec, description, visual=visual)
    shaped = mjcf.add_shapes(spec, description)
    mjcf.lock_joints(spec, description.locked_joints)
    merged = mjcf.merge_still_bodies(spec, [*_named_bodies(description), *shaped])
    joints = [joint.name for joint in mjcf.hinges(spec)]
    motors = _motors(description, joints, every_joint)
    foot_geoms = mjcf.make_touch(spec, description, self_collision=self_collision)
    mjcf.drive(
        spec,
        motors,
        control=control,
        joint_friction=solver.joint_friction,
        joint_damping=description.joint_damping,
    )
    # every shape of the robot is compared with every block, unless a tree of boxes says which are near
    mjcf.set_options(spec, attrs.evolve(solver, mid_phase=True) if terrain is not None else solver, dt)
    if terrain is not None:
        mjcf.add_terrain(spec, terrain)
    elif floor:
        mjcf.add_floor(spec)
    touching = list(dict.fromkeys(g.parent.name for g in spec.geoms if g.contype))
    sensed = touching if contact_bodies is None else _known("contact body", contact_bodies, touching, description.name)
    sensed = [body.name for body in spec.bodies if body.name in sensed]
    mjcf.add_contact_sensors(spec, sensed, self_collision=self_collision)
    pose = _by_pattern("default pose", description.default_pose, joints, every_joint, description.name)
    default = np.array([pose.get(name, 0.0) for name in joints])
    model = _compile(spec, description.name)
    if self_collision:
        model = _without_built_in_contacts(spec, model, default, description.name)
    if terrain is not None:
        rebuild_tree(model, terrain.half_size)
    built = _finish(description, model, motors, default, tuple(sensed), foot_geoms, control, self_collision)
    notes = tuple(dict.fromkeys((*left_out, *description.notes)))
    for note in notes:
        _log.warning(f"Robot '{description.name}': {note}")
    return attrs.evolve(built, notes=notes, merged=merged, terrain=terrain, spec=spec)


def _named_bodies(description: RobotDescription) -> tuple[str, ...]:
    """Bodies that a description names."""
    virtual = (body.parent for body in description.virtual_bodies)
    named = (*description.feet, *description.tracked_bodies, *description.end_effectors, *virtual)
    return (*named, description.anchor_body)


def _finish(
    description: RobotDescription,
    model: mujoco.MjModel,
    motors: Mapping[str, Motor],
    default: np.ndarray,
    sensed: tuple[str, ...],
    foot_geoms: list[str],
    control: str,
    self_collision: bool,
) -> RobotModel:
    name = description.name
    bodies = tuple(model.body(i).name for i in range(1, model.nbody))
    feet = _known("foot", description.feet, bodies, name)
    geoms = tuple(model.geom(geom).id for geom in foot_geoms)
    foot_body, local, radius = _foot_points(model, geoms)
    robot = _robot(description, model, motors, default, bodies, feet)
    built = RobotModel(
        model=model,
        robot=robot,
        control=control,
        dt=float(model.opt.timestep),
        self_collision=self_collision,
        contact_bodies=tuple(bodies.index(body) for body in sensed),
        foot_geoms=geoms,
        foot_point_body=foot_body,
        foot_point_local=local,
        foot_point_radius=radius,
        body_mass=model.body_mass[1:].copy(),
        body_com=model.body_ipos[1:].copy(),
        file=None if callable(description.model) else description.model.absolute(),
    )
    if description.default_height is None:
        robot.default_height = _standing_height(built, default)
    if robot.default_height < -LEVEL:
        raise SceneError(
            f"Robot '{name}' stands with its root at {robot.default_height:.2f} m, which is below its feet "
            f"({listing(feet) or 'none'}). Name the bodies that it stands on, or give it a default pose in which it stands."
        )
    return built


def _robot(
    description: RobotDescription,
    model: mujoco.MjModel,
    motors: Mapping[str, Motor],
    default: np.ndarray,
    bodies: tuple[str, ...],
    feet: tuple[str, ...],
) -> Robot:
    joints, name = tuple(motors), description.name
    limits = model.jnt_range[1:].copy()
    outside = [j for j, q, (low, high) in zip(joints, default, limits, strict=True) if not low <= q <= high]
    if outside:
        at = joints.index(outside[0])
        raise SceneError(
            f"Robot '{name}': the default pose puts {outside[0]} at {default[at]:g} rad, "
            f"outside its range {limits[at, 0]:g} … {limits[at, 1]:g}. Give it an angle within in `default_pose`."
        )
    middle, half = limits.mean(1), 0.5 * description.soft_limit * (limits[:, 1] - limits[:, 0])

    virtual = description.virtual_bodies
    _known("parent of a virtual body", tuple(body.parent for body in virtual), bodies, name)
    tracked = _known("tracked body", description.tracked_bodies or bodies, bodies, name)
    twice = [body.name for body in virtual if body.name in bodies]
    if twice:
        raise SceneError(f"Robot '{name}' has a body '{twice[0]}' already; give the virtual body another name.")

    def along_dofs(values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32)

    return Robot(
        name=name,
        dof_names=joints,
        body_names=bodies,
        foot_names=feet,
        tracked_bodies=(*tracked, *(body.name for body in virtual)),
        virtual_bodies=virtual,
        anchor_body=_known("anchor body", (description.anchor_body or bodies[0],), bodies, name)[0],
        end_effectors=_known("end effector", description.end_effectors, bodies, name),
        default_position=along_dofs(default),
        default_height=float(description.default_height or 0.0),
        position_limit=along_dofs(limits),
        soft_position_limit=along_dofs(np.stack((middle - half, middle + half), 1)),
        velocity_limit=along_dofs([m.speed for m in motors.values()]),
        torque_limit=along_dofs([m.torque for m in motors.values()]),
        stiffness=along_dofs([m.stiffness for m in motors.values()]),
        damping=along_dofs([m.damping for m in motors.values()]),
        armature=along_dofs(model.dof_armature[6:]),
        action_scale=along_dofs([action_scale(m) for m in motors.values()]),
    )


def action_scale(motor: Motor) -> float:
    """Radians by which a unit action moves the target: by default where a quarter of the torque limit acts."""
    return UNIT_ACTION_TORQUE * motor.torque / motor.stiffness if motor.action_scale is None else motor.action_scale


def _motors(description: RobotDescription, joints: list[str], every_joint: list[str]) -> dict[str, Motor]:
    found = _by_pattern("motors", description.motors, joints, every_joint, description.name)
    bare = [name for name in joints if name not in found]
    if bare:
        raise SceneError(
            f"Robot '{description.name}' has no motor (gains and torque limit) for {listing(bare)}; "
            f"its motor patterns are {listing(description.motors) or 'none'}."
        )
    return {name: found[name] for name in joints}


def _by_pattern(
    what: str, patterns: Mapping[str, T], joints: list[str], every_joint: list[str], robot: str
) -> dict[str, T]:
    """The value of the first pattern that matches each joint; SceneError for a pattern that matches none."""
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in every_joint):
            raise SceneError(
                f"Robot '{robot}': the pattern '{pattern}' of its {what} matches none of its joints: "
                f"{listing(every_joint, 40)}.{did_you_mean(pattern, every_joint)}"
            )
    found: dict[str, T] = {}
    for name in joints:
        for pattern, value in patterns.items():
            if re.fullmatch(pattern, name):
                found[name] = value
                break
    return found


def _known(what: str, names: tuple[str, ...], known: "tuple[str, ...] | list[str]", robot: str) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise SceneError(
                f"Robot '{robot}' names the {what} '{name}', which it does not have. "
                f"It has: {listing(known, 40)}.{did_you_mean(name, known)}"
            )
    return tuple(names)


def _compile(spec: mujoco.MjSpec, robot: str) -> mujoco.MjModel:
    try:
        with quiet():
            return spec.compile()
    except ValueError as error:
        raise SceneError(f"The model of robot '{robot}' does not compile: {reason(error)}") from None


def _without_built_in_contacts(
    spec: mujoco.MjSpec, model: mujoco.MjModel, default: np.ndarray, robot: str
) -> mujoco.MjModel:
    """Exclude pairs of bodies that touch in the default pose: that is how the shapes are cut, not a collision."""
    data = mujoco.MjData(model)
    data.qpos[2], data.qpos[7:] = 10.0, default
    mujoco.mj_forward(model, data)
    pairs = {tuple(sorted(int(model.geom_bodyid[g]) for g in contact.geom)) for contact in data.contact[: data.ncon]}
    for first, second in sorted(pairs):
        spec.add_exclude(bodyname1=model.body(first).name, bodyname2=model.body(second).name)
    return _compile(spec, robot) if pairs else model


def _foot_points(model: mujoco.MjModel, geoms: tuple[int, ...]) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Points that a foot may stand on: index into axis `body`, place in its frame, radius below it."""
    bodies: list[int] = []
    points: list[np.ndarray] = []
    radii: list[float] = []
    for geom in geoms:
        kind, size = model.geom_type[geom], model.geom_size[geom]
        if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
            local, radius = np.zeros((1, 3)), size[0]
        elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            local, radius = np.array([[0, 0, -size[1]], [0, 0, size[1]]]), size[0]
        else:
            center, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
            local, radius = center + half * np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, 8).T, 0.0
        points.append(model.geom_pos[geom] + rotate(model.geom_quat[geom][None], local))
        bodies += [int(model.geom_bodyid[geom]) - 1] * len(local)
        radii += [float(radius)] * len(local)
    place = np.concatenate(points) if points else np.zeros((0, 3))
    return tuple(bodies), place, np.array(radii)


def _standing_height(built: RobotModel, default: np.ndarray) -> float:
    """Height of the root at which the default pose touches the floor, m; without feet, the model file's."""
    if not built.foot_point_body:
        return float(built.model.qpos0[2])
    zero, spin = np.zeros((1, 3)), np.zeros((1, 3))
    upright = np.array([[1.0, 0.0, 0.0, 0.0]])
    position, rotation, _, _ = built.kinematics(zero, upright, default[None], zero, spin, np.zeros((1, default.size)))
    return float(-built.foot_points(position, rotation)[..., 2].min())
