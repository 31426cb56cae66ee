"""Arenas: a robot in plain MuJoCo on a flat floor, as a policy's project simulates it, and what is measured of it."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import attrs
import mujoco
import numpy as np

from components.robot import RobotDescription
from engine.errors import SceneError, listing
from systems.deploy.metadata import AGAIN
from systems.deploy.policy import OnnxPolicy
from systems.deploy.robot import MujocoRobot, refuse_other
from systems.referee.table import TermTable
from systems.robots.model import RobotModel, build_robot

LoadRobot = Callable[[str], RobotDescription]  # by name
ASSETS = "mujoco/playground/assets"  # in a data package


@attrs.frozen(eq=False)
class Arena:
    """A robot, how it stands when it begins, and which bodies count."""

    robot: MujocoRobot
    name: str
    stiffness: np.ndarray  # (joints,) N·m/rad; with the others the robot's own, where a policy says nothing else
    damping: np.ndarray  # (joints,) N·m·s/rad
    default: np.ndarray  # (joints,) rad
    start: np.ndarray  # (7 + joints,) root pose and joints
    sensor: np.ndarray  # (3,) m, of the velocity sensor in the base
    anchor: str = ""
    tracked: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()  # end effectors, of the tracked bodies
    model: RobotModel | None = None  # of a robot of ours

    @property
    def mass(self) -> float:
        """kg."""
        return float(self.robot.model.body_mass.sum())


def arena_of_export(policy: OnnxPolicy) -> Arena:
    """The arena that an exported policy brings along. SceneError where it was exported without."""
    about, numbers = policy.about, policy.numbers
    if "mjcf" not in about:
        raise SceneError(f"{policy.path} does not hold its robot's model. Export the policy again.")
    robot = MujocoRobot(about["mjcf"], policy.dt, numbers["joint_torque_limit"])
    refuse_other(robot, policy.path, policy.joints, AGAIN)
    tracked = tuple(about.get("body_names", "").split(","))
    ends = tuple(each for each in about.get("end_effector_names", "").split(",") if each)
    return Arena(
        robot, about.get("robot", "robot"), numbers["joint_stiffness"], numbers["joint_damping"],
        numbers["default_joint_pos"], policy.start[0], np.zeros(3), about.get("anchor_body_name", ""), tracked, ends,
    )  # fmt: skip


def refuse_unknown_bodies(path: Path, arena: Arena) -> None:
    """SceneError for a tracker of whose robot nobody says which bodies count."""
    model = arena.robot.model
    known = [model.body(at).name for at in range(1, model.nbody)]
    wrong = [body for body in arena.tracked if body not in known]
    if wrong or arena.anchor not in arena.tracked:
        what = f"{listing(wrong, 3)} of its tracked bodies" if wrong else f"its anchor '{arena.anchor}'"
        raise SceneError(
            f"{path} follows a motion, but {what} is not among the {'bodies' if wrong else 'tracked bodies'} of {arena.name}. Export the "
            "policy again, or give a --table of another robot."
        )


def arena_of_table(
    table: TermTable, joints: Sequence[str] | None, path: Path, load: LoadRobot, *, control_dt: float, physics_dt: float
) -> Arena:
    """The arena of a table, for a file that moves `joints`, in any order; None where the file does not say which. Steps in s.

    SceneError where no robot of the table has these joints.
    """
    if table.scene:
        arena = _arena_of_scene(table, control_dt, physics_dt)
        known = {table.name: arena.robot.joints}
        if joints is None or {*joints} == {*arena.robot.joints}:
            return arena
    else:
        known = {}
        for name in table.robots:
            try:
                described = load(name)
            except SceneError:  # its data package is not installed
                if name == table.robots[-1] and not known:
                    raise
                continue
            foot = described.foot_friction if table.friction is None else table.friction
            model = build_robot(attrs.evolve(described, foot_friction=foot), dt=physics_dt)
            if joints is None or {*joints} == {*model.robot.dof_names}:
                return _arena_of_robot(model, control_dt)
            known[name] = model.robot.dof_names
    raise _another_robot(path, joints or (), known, table)


def _another_robot(
    path: Path, joints: Sequence[str], known: dict[str, tuple[str, ...]], table: TermTable
) -> SceneError:
    name, nearest = max(known.items(), key=lambda each: len({*each[1]} & {*joints}))
    lacking, surplus = ([j for j in nearest if j not in joints], [j for j in joints if j not in nearest])
    what = [f"lacks {listing(lacking, 3)}" if lacking else "", f"has {listing(surplus, 3)} besides" if surplus else ""]
    return SceneError(
        f"{path} moves {len(joints)} joints and is a policy of another robot than the table {table.name} knows. Next to it comes "
        f"{name} with {len(nearest)} joints: the file {' and '.join(each for each in what if each)}. Give a --table that names its "
        "robot."
    )


def _arena_of_robot(model: RobotModel, control_dt: float) -> Arena:
    robot = model.robot
    default = robot.default_position.double().numpy()
    start = np.concatenate(((0.0, 0.0, robot.default_height, 1.0, 0.0, 0.0, 0.0), default))
    played = MujocoRobot(model.model, control_dt, robot.torque_limit.double().numpy())
    gains = robot.stiffness.double().numpy(), robot.damping.double().numpy()
    return Arena(
        played, robot.name, *gains, default, start, np.zeros(3), robot.anchor_body, robot.tracked_bodies,
        robot.end_effectors, model,
    )  # fmt: skip


def _arena_of_scene(table: TermTable, control_dt: float, physics_dt: float) -> Arena:
    found = find_spec(table.wheel.replace("-", "_"))
    if found is None or found.origin is None:
        raise SceneError(
            f"The robot of the table {table.name} comes with the package {table.wheel}, which is not installed. pip install "
            f"{table.wheel}==0.4.0"
        )
    root = Path(found.origin).parent / ASSETS
    scene = root / table.scene
    folders = (root / table.meshes, scene.parent, scene.parent / "assets")
    assets = {
        file.name: file.read_bytes() for each in folders if each.is_dir() for file in each.iterdir() if file.is_file()
    }
    try:
        model = mujoco.MjModel.from_xml_string(scene.read_text(encoding="utf-8"), assets=assets)
        start = model.key(table.keyframe).qpos.copy()
        sensor = model.site(table.velocity_sensor).pos.copy() if table.velocity_sensor else np.zeros(3)
    except (OSError, ValueError, KeyError) as error:
        raise SceneError(f"The scene {table.scene} of the table {table.name} cannot be used ({error}).") from None
    if model.actuator_trnid[:, 0].tolist() != list(range(1, model.njnt)):
        raise SceneError(f"The scene of the table {table.name} has not one servo for each joint, in order.")
    model.opt.timestep = physics_dt
    gains = model.actuator_gainprm[:, 0].copy(), -model.actuator_biasprm[:, 2]
    robot = MujocoRobot(model, control_dt, np.full(model.nu, np.inf))
    return Arena(robot, table.name, *gains, start[7:], start, sensor)


# -- what is measured ----------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Measured:
    """A robot at the end of one control step."""

    pose: np.ndarray  # (7 + joints,) root pose in the world and joints
    speed: np.ndarray  # (6 + joints,) root's linear velocity in world axes, its angular velocity in its own, joints'
    torque: np.ndarray  # (joints,) N·m
    touch_velocity: (
        np.ndarray
    )  # (bodies, 3) m/s in world axes, of the points in which each body touches the ground, mean
    touching: np.ndarray  # (bodies,) bool


def measure(robot: MujocoRobot) -> Measured:
    """Measure the robot as it is."""
    model, data = robot.model, robot.data
    velocity, count = np.zeros((model.nbody, 3)), np.zeros(model.nbody)
    motion = np.zeros(6)
    for contact in data.contact[: data.ncon]:
        first, second = model.geom_bodyid[contact.geom]
        if (first == 0) == (second == 0):
            continue
        body = int(first + second)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, motion, 0)
        velocity[body] += motion[3:] + np.cross(motion[:3], contact.pos - data.xpos[body])
        count[body] += 1.0
    touched = velocity / np.maximum(count, 1.0)[:, None]
    return Measured(data.qpos.copy(), data.qvel.copy(), data.qfrc_actuator[6:].copy(), touched, count > 0)
