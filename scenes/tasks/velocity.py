"""Locomotion by velocity commands: the tables of mjlab's velocity task, flat and rough, and every number of the scene."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import attrs
from torch import Tensor

from components.robot import Robot
from engine import Bundle, Term, term
from engine.ecs.scene import free_host_memory
from engine.errors import SceneError
from scenes.tasks.randomisation import (
    RandomiseNames,
    check_names,
    chosen,
    motors,
    of_robot,
    randomised,
    through_imu,
    with_privileged,
)
from systems import locomotion_terms as walk
from systems import observations as seen
from systems import rewards as earn
from systems import terminations as end
from systems.actuation import Controller
from systems.episode import episode, num_steps
from systems.ground.generators import GENERATORS
from systems.ground.grid import NAMED, Terrain, make_terrain
from systems.kinematics import feet, kinematics
from systems.learning.config import PpoConfig
from systems.metrics import measurements, metrics
from systems.motion.places import absolute_robot
from systems.observations import ACTOR, CRITIC
from systems.physics import refuse_device
from systems.ppo import ppo
from systems.robots.mjcf import Solver
from systems.robots.model import RobotModel
from systems.robots.soles import body_inertia, soles
from systems.task import task
from systems.terrain import Tiles, measured_levels, terrain
from systems.velocity import Stage, Velocity, commands, fixed_command, gait_clock, standing

STAGES: tuple[Stage, ...] = (  # control steps; m/s forward and to the left, rad/s
    (0, (-1.0, 1.0), (-1.0, 1.0), (-0.5, 0.5)),
    (120_000, (-1.5, 2.0), (-1.0, 1.0), (-0.7, 0.7)),
    (240_000, (-2.0, 3.0), (-1.0, 1.0), (-0.7, 0.7)),
)
GYRO = (0.04525, 0.0, -0.08339)  # m, gyro and velocimeter of the G1, in the pelvis frame
TILES = Tiles()
SCAN_REACH = 5.0  # m, that the height scan counts as 1
GAIT_WEIGHT = 0.18  # of feet that keep to the gait clock, as in unitree_rl_gym
JOINTS = (  # of a humanoid, and their tolerances in rad while walking and running; the first pattern that matches counts
    ("(?i).*hip_pitch.*", 0.3, 0.5),
    ("(?i).*hip_(roll|yaw).*", 0.15, 0.2),
    ("(?i).*knee.*", 0.35, 0.6),
    ("(?i).*ankle_roll.*", 0.1, 0.15),
    ("(?i).*ankle.*", 0.25, 0.35),
    ("(?i).*waist_roll.*", 0.08, 0.08),
    ("(?i).*waist_pitch.*", 0.1, 0.2),
    ("(?i).*(waist|torso).*", 0.2, 0.3),
    ("(?i).*shoulder_pitch.*", 0.15, 0.5),
    ("(?i).*shoulder_roll.*", 0.15, 0.2),
    ("(?i).*shoulder_yaw.*", 0.1, 0.15),
    ("(?i).*elbow.*", 0.15, 0.35),
    ("(?i).*(wrist|head).*", 0.3, 0.3),
)
HUMANOID = {
    "standing": ((".*", 0.05),),
    "walking": tuple((pattern, walking) for pattern, walking, _ in JOINTS),
    "running": tuple((pattern, running) for pattern, _, running in JOINTS),
}
MOVING = (("(?i).*(calf|knee).*", 0.6), (".*", 0.3))
QUADRUPED = {"standing": (("(?i).*(calf|knee).*", 0.1), (".*", 0.05)), "walking": MOVING, "running": MOVING}


@attrs.frozen
class Locomotion:
    """What differs between tasks of locomotion: tables of terms, ranges of commands, and how episodes begin.

    `observations(noise=share)`, `rewards(model)` and `terminations(model, seconds=, dt=)` make their terms anew; `stages` and `draws`
    are given to `commands`, `start` to `standing`. `bundles(config, model, *, playing, dt)` brings what else the task needs.
    Actions and observations are held within ±`limit`. `sees_terrain`: a height scan is observed where there is terrain.
    """

    name: str
    observations: Callable[..., dict[str, Term]]
    rewards: Callable[[RobotModel], dict[str, Term]]
    terminations: Callable[..., dict[str, Term]]
    bundles: Callable[..., list[Bundle]]
    stages: tuple[Stage, ...]
    draws: Mapping[str, Any] = attrs.field(factory=dict)
    start: Mapping[str, Any] = attrs.field(factory=dict)
    limit: float = math.inf
    sees_terrain: bool = False


@attrs.frozen(kw_only=True)
class LocomotionConfig:
    """Every number of locomotion by velocity commands."""

    task: Locomotion = attrs.field(metadata={"flag": False})
    robot: Annotated[
        str, "a robot by name, an MJCF or URDF file, or name:FILE, the file's with the robot's gains", absolute_robot
    ]
    terrain: Annotated[
        str,
        f"plane, or what to walk on: {', '.join(NAMED)}, or kinds of tiles with commas between: {', '.join(GENERATORS)}",
    ] = "plane"
    tiles: Tiles = TILES
    num_envs: int  # rows simulated in parallel
    backend: str = "mujoco"  # physics backend: mujoco, warp, isaacgym or kinematic
    isaacgym_python: Annotated[
        str,
        "the Python 3.8 that has Isaac Gym, for the backend isaacgym; by default the one that LOCKSTEP_ISAACGYM_PYTHON names",
    ] = ""
    control: Controller  # who turns targets into torque
    command: Velocity | None = None  # ask every row for this: m/s forward and to the left, rad/s; none: drawn
    curriculum: bool  # widen the range of commands while the run goes on
    gait_period: float | None = None  # s of a gait clock that is seen and rewarded; none: without
    gait_weight: float = GAIT_WEIGHT  # of each foot that keeps to the gait clock
    self_collision: bool  # let the robot's parts collide with each other
    elliptic: bool  # cones of friction: elliptic with an impedance ratio of 10, else pyramidal
    seconds: float = 20.0  # longest episode
    substeps: int  # physics steps in one control step of 0.02 s
    robustness: float  # share of the published sensor noise and pushes
    randomise: RandomiseNames = "none"
    randomise_played: Annotated[str, "what is drawn where a policy is evaluated, filmed or played; as --randomise"] = (
        "none"
    )
    privileged: bool = False  # show the critic what was drawn
    penalties: float = 1.0  # share of the published weights of terms that cost
    warm_start: bool = True  # start the contact solver from its last solution
    physics_threads: int = 0  # threads that step physics; 0: one per processor
    iterations: int  # learning iterations
    device: str = "cpu"  # cpu, or with backend warp or isaacgym cuda or cuda:N
    learning: PpoConfig

    def __attrs_post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        refuse_device(self.backend, self.device)
        if not 0.0 <= self.robustness <= 10.0:
            raise SceneError(
                f"robustness={self.robustness} is a share of the published noise; give a number from 0 to 10."
            )
        if not 0.0 < self.penalties <= 10.0:
            raise SceneError(
                f"penalties={self.penalties} is a share of the published weights; give a number above 0, up to 10."
            )
        if self.substeps < 1:
            raise SceneError(
                f"substeps={self.substeps} makes no sense; physics takes at least 1 step in a control step."
            )
        if self.curriculum and self.command is not None:
            raise SceneError(
                f"curriculum=True has no effect with command={self.command}, which every row gets; leave one out."
            )
        if self.curriculum and len(self.task.stages) == 1:
            raise SceneError(
                f"curriculum=True has no effect: the task '{self.task.name}' has one range only. Leave it out."
            )

        if self.gait_period is None and self.gait_weight != GAIT_WEIGHT:
            raise SceneError(
                f"gait_weight={self.gait_weight:g} has no effect without a gait clock; give --gait-period too, or leave it out."
            )
        if not 0.0 <= self.gait_weight < math.inf:
            raise SceneError(f"gait_weight={self.gait_weight:g} pays for keeping time; give 0 or more.")
        if self.terrain == "plane" and self.tiles != TILES:
            raise SceneError(
                "tiles: what is said of tiles has no effect with terrain='plane'. Choose another terrain, such as rough, or leave "
                "it out."
            )
        for text in (self.randomise, self.randomise_played):
            check_names(text)

    @property
    def simulator(self) -> dict[str, Any]:
        """What is asked so of `physics()`."""
        return {"backend": self.backend, "nthread": self.physics_threads, "isaacgym_python": self.isaacgym_python}

    def made_terrain(self) -> Terrain | None:
        """The terrain that is walked on; None: a plane."""
        return make_terrain(self.terrain, available=free_host_memory(), **self.tiles.layout())

    def drawn(self, playing: bool) -> str:
        """What is drawn for rows, by names, in training or where a policy is played."""
        return self.randomise_played if playing else self.randomise

    def motors(self, robot: Robot, playing: bool) -> dict[str, Any]:
        """What is drawn asks so of `actuation()`."""
        return motors(self.drawn(playing), robot)

    def randomised(self, model: RobotModel, playing: bool, dt: float) -> list[Bundle]:
        """The bundle that draws; none where nothing is drawn."""
        return randomised(self.drawn(playing), model, backend=self.backend, share=self.robustness, dt=dt)

    @property
    def actuators(self) -> Literal["servo", "torque"]:
        """What the simulator's joints are given: the angle that they pull to, or a torque."""
        return "servo" if self.control == "servo" else "torque"

    @property
    def solver(self) -> Solver:
        """How contacts are solved."""
        return Solver(
            warm_start=self.warm_start, elliptic=self.elliptic, impedance_ratio=10.0 if self.elliptic else 1.0
        )

    def replace(self, **numbers: Any) -> "LocomotionConfig":
        """The configuration with other numbers, those of the learner included."""
        own = {field.name for field in attrs.fields(LocomotionConfig)}
        learning = attrs.evolve(self.learning, **{k: v for k, v in numbers.items() if k not in own})
        return attrs.evolve(self, **{"learning": learning, **{k: v for k, v in numbers.items() if k in own}})


# -- mjlab's tables ------------------------------------------------------------------------------------


def mjlab_observations(*, noise: float = 1.0) -> dict[str, Term]:
    """What is seen: 12 + 3 D numbers for the actor with D joints, and 6 more per foot for the critic, which has no noise."""
    return {
        "base_linear_velocity": term(seen.base_linear_velocity, noise=0.5 * noise),
        "base_angular_velocity": term(seen.base_angular_velocity, noise=0.2 * noise),
        "projected_gravity": term(seen.projected_gravity, noise=0.05 * noise),
        "measured_joint_position": term(seen.measured_joint_position, noise=0.01 * noise, groups=ACTOR),
        "joint_position": term(seen.joint_position, groups=CRITIC),
        "joint_velocity": term(seen.joint_velocity, noise=1.5 * noise),
        "last_action": term(seen.last_action),
        "command": term(walk.velocity_command),
        "feet_height": term(walk.feet_height, groups=CRITIC),
        "feet_air_time": term(walk.feet_air_time, groups=CRITIC),
        "feet_touching": term(seen.feet_touching, groups=CRITIC),
        "feet_force": term(walk.log_feet_force, groups=CRITIC),
    }


def mjlab_rewards(model: RobotModel) -> dict[str, Term]:
    """What is rewarded, a robot on two feet by the G1's numbers and any other by the Go1's; following perfectly earns 6 per second.

    On terrain a quadruped is upright where it is parallel to the ground, and its trunk should touch nothing.
    """
    biped = len(model.robot.foot_names) == 2
    terms = {
        "linear_velocity": term(walk.linear_velocity, weight=2.0, width=0.25),
        "angular_velocity": term(walk.angular_velocity, weight=2.0, width=0.5),
        "upright": term(walk.anchor_tilt, weight=1.0, width=0.2),
        "posture": term(walk.posture, weight=1.0, width=1.0, **(HUMANOID if biped else QUADRUPED)),
        "joint_limits": term(earn.joint_limits, weight=-1.0),
        "action_rate": term(earn.action_rate, weight=-0.1),
        "foot_clearance": term(walk.foot_clearance, weight=-2.0),
        "swing_height": term(walk.swing_height, weight=-0.25),
        "foot_slip": term(walk.foot_slip, weight=-0.1),
        "soft_landing": term(walk.landing_force, weight=-1e-5),
    }
    if biped:
        terms["body_angular_velocity"] = term(walk.anchor_tilt_rate, weight=-0.05)
        terms["angular_momentum"] = term(walk.angular_momentum, weight=-0.02)
    if biped and model.self_collision:
        terms["self_collision"] = term(earn.self_collision, weight=-1.0)
    if rough_quadruped(model):
        terms["upright"] = term(walk.ground_tilt, weight=1.0, width=0.2)
        if model.self_collision:
            terms["self_collision"] = term(earn.self_collision, weight=-0.1)
        if trunk := touching(model, re.escape(model.robot.anchor_body)):
            terms["trunk_contact"] = term(earn.collision, weight=-0.1, bodies=trunk, force=10.0)
    return terms


def rewards_from_afar(model: RobotModel) -> dict[str, Term]:
    """mjlab's, made to teach with a hundredth of the experience: a velocity pays from further off, and the pose counts less.

    At an error of 1 m/s mjlab's term for the velocity has 2 % of its value, and hardly a slope. This one has 37 %.
    """
    terms = mjlab_rewards(model)
    others = {"linear_velocity": {"weight": 4.0, "width": 1.0}, "posture": {"weight": 0.3}}
    return terms | {
        name: attrs.evolve(terms[name], settings={**terms[name].settings, **settings})
        for name, settings in others.items()
    }


def mjlab_terminations(model: RobotModel, *, seconds: float = 20.0, dt: float = 0.02) -> dict[str, Term]:
    """What ends an episode; `seconds` may be infinite. On terrain a quadruped may lean, but not kneel on its thighs."""
    fallen = {"tipped": term(end.tipped, degrees=70.0)}
    if rough_quadruped(model) and (thighs := touching(model, ".*thigh.*")):
        fallen = {"thigh_contact": term(end.contact, bodies=thighs, force=10.0)}
    return {
        **fallen,
        "diverged": term(end.diverged, kind="fault"),
        "time_limit": term(end.time_limit, kind="time_limit", steps=num_steps(seconds, dt)),
    }


def rough_quadruped(model: RobotModel) -> bool:
    """Whether the Go1's numbers for terrain hold."""
    return model.terrain is not None and len(model.robot.foot_names) != 2


def touching(model: RobotModel, pattern: str) -> tuple[str, ...]:
    """The pattern, where a body that can touch something matches it; else none."""
    return (pattern,) if any(re.fullmatch(pattern, name) for name in model.axes["sensed"]) else ()


def mjlab_bundles(config: LocomotionConfig, model: RobotModel, *, playing: bool, dt: float) -> list[Bundle]:
    """Readings of base and feet, masses, and what is drawn for rows."""
    masses = [Bundle("masses", resources=[body_inertia(model)])] if len(model.robot.foot_names) == 2 else []
    return [
        kinematics(sensor=GYRO if model.robot.name.startswith("g1") else (0.0, 0.0, 0.0)),
        feet(soles(model), dt=dt),
        *masses,
        *config.randomised(model, playing, dt),
    ]


MJLAB = Locomotion(
    name="mjlab_velocity",
    observations=mjlab_observations,
    rewards=mjlab_rewards,
    terminations=mjlab_terminations,
    bundles=mjlab_bundles,
    stages=STAGES,
    sees_terrain=True,
)


# -- the task ------------------------------------------------------------------------------------------


def measured(rewards: Mapping[str, Term]) -> dict[str, Term]:
    """What is measured while learning, by the name that it is reported under; `rewards` say what is there to be measured."""
    known: dict[str, tuple[str, Callable[..., Tensor]]] = {
        "foot_slip": ("gait/slip", walk.slip_speed),
        "soft_landing": ("gait/landing_force", walk.mean_landing_force),
        "swing_height": ("gait/swing_peak", walk.mean_swing_peak),
        "angular_momentum": ("gait/momentum", walk.momentum_size),
    }
    return {
        **{name: term(function) for reward, (name, function) in known.items() if reward in rewards},
        "error/linear_velocity": term(walk.linear_error),
        "error/yaw_rate": term(walk.turn_error),
        "command/forward": term(walk.asked, place=0),
        "command/sideways": term(walk.asked, place=1),
        "command/yaw_rate": term(walk.asked, place=2),
    }


def cheaper(each: Term, share: float) -> Term:
    """A term that costs, with a `share` of its weight; one that pays as it is."""
    weight = each.settings["weight"]
    return attrs.evolve(each, settings={**each.settings, "weight": share * weight}) if weight < 0.0 else each


def learner(config: LocomotionConfig, model: RobotModel) -> list[Bundle]:
    """Who acts and improves the policy, and the numbers of each of its iterations."""
    horizon, levels = config.learning.horizon, {} if model.terrain is None else measured_levels(model.terrain)
    counted = measurements({**measured(config.task.rewards(model)), **levels}, horizon=horizon)
    return [ppo(config.learning), metrics(horizon=horizon), counted]


def observed(config: LocomotionConfig, model: RobotModel, *, playing: bool) -> dict[str, Term]:
    """The task's observations, as what is drawn changes them."""
    terms = config.task.observations(noise=config.robustness)
    if model.terrain is not None and config.task.sees_terrain:
        terms["height_scan"] = term(seen.height_scan, noise=0.1 * config.robustness, scale=1.0 / SCAN_REACH)
    if "imu_mounting" in chosen(config.drawn(playing), of_robot(model.robot)):
        terms = through_imu(terms)
    if config.privileged:
        terms = with_privileged(terms, config.randomise, model, backend=config.backend, playing=playing)
    return terms


def on_terrain(
    config: LocomotionConfig, bundles: Sequence[Bundle], stages: Sequence[Stage], *, playing: bool, dt: float
) -> Bundle:
    """Rows on the tiles of the terrain; where a policy is played, every episode is on any of all levels."""
    tiles = config.tiles
    if playing:
        tiles = attrs.evolve(tiles, curriculum=False, begin=(0, tiles.levels - 1))
    pushed = any(each.name == "mark_pushed" for b in bundles for group in b.systems.values() for each in group)
    fastest = max(math.hypot(*(max(map(abs, span)) for span in stage[1:3])) for stage in stages)
    if config.command is not None:
        fastest = math.hypot(*config.command[:2])
    after = "mark_pushed" if pushed else "mark_rewritten"
    return terrain(tiles, seconds=config.seconds, fastest=fastest, after=after, dt=dt)


def locomotion(config: LocomotionConfig, model: RobotModel, *, playing: bool, dt: float) -> list[Bundle]:
    """The task's bundles. `playing` a policy: without noise, pushes or a curriculum, in the first range of commands."""
    task_of, clock = config.task, config.gait_period is not None
    stages = task_of.stages if config.curriculum and not playing else task_of.stages[:1]
    fixed = {"stages": stages} if config.command is None else fixed_command(stages, config.command)
    observations, rewards = observed(config, model, playing=playing), task_of.rewards(model)
    if clock:
        observations |= {"gait_sine": term(walk.gait_sine), "gait_cosine": term(walk.gait_cosine)}
        rewards |= {"gait_contact": term(walk.gait_contact, weight=config.gait_weight)}
    limits, terminations = num_steps(config.seconds, dt), task_of.terminations(model, seconds=config.seconds, dt=dt)
    of_task, walked = task_of.bundles(config, model, playing=playing, dt=dt), list[Bundle]()
    if model.terrain is not None:
        walked = [on_terrain(config, of_task, stages, playing=playing, dt=dt)]
        if config.tiles.edge == "end":
            terminations["off_terrain"] = term(end.off_terrain, kind="time_limit")
    rewards = {name: cheaper(each, config.penalties) for name, each in rewards.items()}
    return [
        episode(spread=1 if playing else limits),
        *of_task,
        *([gait_clock(model.robot, period=config.gait_period, dt=dt)] if config.gait_period is not None else []),
        standing(**task_of.start),
        *walked,
        commands(**{**task_of.draws, **fixed}, dt=dt),
        task(
            observations=observations,
            rewards=rewards,
            terminations=terminations,
            noisy=not playing,
            observation_limit=task_of.limit,
            dt=dt,
        ),
    ]


LAPTOP = LocomotionConfig(  # for two cores
    task=attrs.evolve(MJLAB, name="laptop", rewards=rewards_from_afar),
    robot="g1",
    num_envs=256,
    control="servo",
    curriculum=False,
    self_collision=False,
    elliptic=False,
    substeps=3,
    robustness=0.2,
    randomise="mjlab_velocity.push,mjlab_velocity.encoder_bias",
    randomise_played="mjlab_velocity.encoder_bias",
    gait_period=0.8,
    gait_weight=0.4,
    penalties=0.1,  # the best of four short trainings of the Go1
    iterations=3000,
    learning=PpoConfig(hidden=(128, 128), init_std=0.8, desired_kl=0.02, entropy_weight=0.005, value_clip=math.inf),
)
GO1_LAPTOP = LAPTOP.replace(robot="go1", gait_period=0.5, iterations=800)
PUBLISHED = LAPTOP.replace(
    task=MJLAB,
    num_envs=4096,
    gait_period=None,
    gait_weight=GAIT_WEIGHT,
    curriculum=True,
    self_collision=True,
    substeps=4,
    robustness=1.0,
    randomise="mjlab_velocity",
    randomise_played="mjlab_velocity,-push",
    penalties=1.0,
    iterations=30_000,
    learning=PpoConfig(entropy_weight=0.01),
)
ROUGH = PUBLISHED.replace(terrain="rough")
