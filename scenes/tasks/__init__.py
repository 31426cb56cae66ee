"""Tasks of a humanoid that follows motions: their numbers, and tables of what is observed, rewarded and ended.

One file for each task: `scenes/tasks/g1.py` is the G1 tracking task, `scenes/tasks/humanoidverse.py` that of HumanoidVerse;
`mjlab_velocity.py` and `humanoidverse_locomotion.py` are tasks of walking, which `locomotion.py` makes of `velocity.py`'s numbers.
A module here may import systems, components and engine. Public words: `Task` (what differs between tasks), `SharedConfig` (numbers
of all tasks) and `Config` (every number of motion tracking).
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

import attrs

from components.robot import Robot, RobotDescription
from engine import Bundle, Term
from engine.ecs.scene import free_host_memory
from engine.errors import SceneError
from scenes.tasks.randomisation import RandomiseNames, check_names, motors, randomised
from systems.actuation import Controller
from systems.ground.generators import GENERATORS
from systems.ground.grid import NAMED, make_terrain
from systems.learning.config import PpoConfig, WorldModelConfig
from systems.motion.files import ClipNames, SkipUnfit
from systems.motion.library import ClipHeight
from systems.motion.places import RobotName
from systems.physics import refuse_device
from systems.robots.mjcf import Solver
from systems.robots.model import RobotModel, build_robot
from systems.sampling import Sampling
from systems.terrain import Tiles


def unchanged(description: RobotDescription) -> RobotDescription:
    """The same robot."""
    return description


@attrs.frozen
class Task:
    """What differs between tasks besides their terms: the robot, and the bundles that make a task of terms.

    `robots` names the robot for clips with so many joints, the first where clips do not say; `describe` changes its
    description. `bundles(config, library, model, tables, *, playing, dt)` makes the bundles. Actions and observations are held
    within ±`limit`.
    """

    name: str
    robots: Mapping[int, str]
    bundles: Callable[..., list[Bundle]]
    describe: Callable[[RobotDescription], RobotDescription] = unchanged
    limit: float = math.inf


@attrs.frozen
class Tables:
    """The terms of a task: what is observed, what is rewarded, and what ends an episode."""

    observations: Mapping[str, Term]
    rewards: Mapping[str, Term]
    terminations: Mapping[str, Term]

    @property
    def read(self) -> set[type]:
        """Every component and resource that a term reads."""
        tables = (self.observations, self.rewards, self.terminations)
        return {p.type for table in tables for each in table.values() for p in each.signature.parameters}


def own_first(_: type, fields: list["attrs.Attribute[Any]"]) -> list["attrs.Attribute[Any]"]:
    """The fields of a class before those that it inherits."""
    return sorted(fields, key=lambda field: field.inherited)  # type: ignore[attr-defined]


CLIPS_EVERY = 100


@attrs.frozen(kw_only=True)
class SharedConfig:
    """Numbers that all tasks of legged robots have, and what they ask of bundles; `dt` is the control step, s."""

    num_envs: int  # rows simulated in parallel
    backend: str = "mujoco"  # physics backend: mujoco, warp, isaacgym or kinematic
    isaacgym_python: Annotated[
        str,
        "the Python 3.8 that has Isaac Gym, by default the one that LOCKSTEP_ISAACGYM_PYTHON names; refused where another backend "
        "than isaacgym trains",
    ] = ""
    terrain: Annotated[
        str,
        f"plane, or what rows are on: {', '.join(NAMED)}, or kinds of tiles with commas between: {', '.join(GENERATORS)}",
    ] = "plane"
    tiles: Tiles = attrs.field(factory=Tiles)  # how terrain is laid out, and where on it episodes begin
    control: Controller  # who turns targets into torque
    self_collision: bool  # let the robot's parts collide with each other
    substeps: int  # physics steps in one control step
    robustness: float  # share of the published sensor noise and pushes
    randomise: RandomiseNames = "none"
    randomise_played: Annotated[str, "what is drawn where a policy is evaluated, filmed or played; as --randomise"] = (
        "none"
    )
    privileged: bool = False  # show the critic what was drawn
    warm_start: bool = True  # start the contact solver from its last solution
    physics_threads: int = 0  # threads that step physics; 0: one per processor
    device: str = "cpu"  # cpu, or with backend warp or isaacgym cuda or cuda:N
    learning: PpoConfig

    def __attrs_post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        refuse_device(self.backend, self.device)
        if not 0.0 <= self.robustness <= 10.0:
            raise SceneError(
                f"robustness={self.robustness} is a share of the published noise; give a number from 0 to 10."
            )
        if self.substeps < 1:
            raise SceneError(
                f"substeps={self.substeps} makes no sense; physics takes at least 1 step in a control step."
            )
        for text in (self.randomise, self.randomise_played):
            check_names(text)

    @property
    def unused(self) -> str:
        """What has no effect where rows learn, in one sentence; "" where all has."""
        if self.isaacgym_python and self.backend != "isaacgym":
            return (
                f"--isaacgym-python {self.isaacgym_python} has no effect with --backend {self.backend}; leave it out, or say "
                "--backend isaacgym."
            )
        if self.terrain == "plane" and self.tiles != type(self.tiles)():
            return (
                "tiles: what is said of tiles has no effect with terrain='plane'. Choose another terrain, such as rough, or leave "
                "it out."
            )
        return ""

    def build(self, description: RobotDescription, *, dt: float) -> RobotModel:
        """The robot on its ground, as it is asked for."""
        return build_robot(
            description,
            control=self.actuators,
            dt=dt / self.substeps,
            self_collision=self.self_collision,
            solver=self.solver,
            terrain=make_terrain(self.terrain, available=free_host_memory(), **self.tiles.layout()),
        )

    @property
    def simulator(self) -> dict[str, Any]:
        """What is asked so of `physics()`; a run of isaacgym may be looked at in another simulator, which needs no other Python."""
        python = self.isaacgym_python if self.backend == "isaacgym" else ""
        return {"backend": self.backend, "nthread": self.physics_threads, "isaacgym_python": python}

    def drawn(self, playing: bool) -> str:
        """What is drawn for rows, by names, in training or where a policy is played."""
        return self.randomise_played if playing else self.randomise

    def motors(self, robot: Robot, playing: bool) -> dict[str, Any]:
        """What is drawn asks so of `actuation()`."""
        return motors(self.drawn(playing), robot)

    def randomised(self, model: RobotModel, playing: bool, dt: float) -> list[Bundle]:
        """The bundle that draws; none where nothing is drawn."""
        backend = "mujoco" if self.backend == "learned" and not playing else self.backend  # it only plays
        return randomised(self.drawn(playing), model, backend=backend, share=self.robustness, dt=dt)

    @property
    def actuators(self) -> Literal["servo", "torque"]:
        """What the simulator's joints are given: the angle that they pull to, or a torque."""
        return "servo" if self.control == "servo" else "torque"

    @property
    def solver(self) -> Solver:
        """How contacts are solved."""
        return Solver(warm_start=self.warm_start)

    def replace(self, **numbers: Any) -> Self:
        """The configuration with other numbers, those of the learner included."""
        own = {field.name for field in attrs.fields(type(self))}
        learning = attrs.evolve(self.learning, **{k: v for k, v in numbers.items() if k not in own})
        return attrs.evolve(self, **{"learning": learning, **{k: v for k, v in numbers.items() if k in own}})


@attrs.frozen(kw_only=True, field_transformer=own_first)
class Config(SharedConfig):
    """Every number of motion tracking."""

    task: Task = attrs.field(metadata={"flag": False})
    clip: ClipNames = "squat"
    robot: RobotName = "auto"
    backend: str = "mujoco"  # physics backend: mujoco, warp, isaacgym or kinematic; learned plays a run of world_model
    around: Literal["default", "reference"]  # the joint pose that an action of 0 asks for
    clip_height: ClipHeight = "auto"
    skip_unfit: SkipUnfit = False
    clips_at_once: int = 0  # clips held in memory while training, exchanged for others as it goes on; 0: all
    clips_every: int = CLIPS_EVERY  # iterations after which half of those held are exchanged
    sampling: Sampling | None = None  # where episodes begin; none: uniform by ppo, mixed by world_model and auto
    seconds: float  # longest episode
    rate: float = 50.0  # control steps in one second
    observations: Annotated[
        str,
        "what is seen: sets (mjlab_tracking, mjlab_tracking_no_state_estimation, humanoidverse, humanoidverse_deepmimic, "
        "humanoidverse_deepmimic_a2c, humanoidverse_motion_tracking, terrain, extra) and terms, as --randomise joins them",
    ]
    rewards: Annotated[
        str,
        "what is rewarded: sets (mjlab_tracking, beyondmimic, low_rate, humanoidverse, humanoidverse_basic, "
        "humanoidverse_simfinetuning, extra, pbhc) and terms, as --randomise joins them",
    ]
    terminations: Annotated[
        str, "what ends an episode: sets (mjlab_tracking, humanoidverse, extra) and terms, as --randomise joins them"
    ]
    robustness: float  # share of the published sensor noise, reset noise and pushes
    noise_curriculum: bool = False  # let sensor noise grow with the length of episodes (humanoidverse)
    iterations: int | None = None  # learning iterations; none: 300 by ppo and auto, until it settles by world_model
    learner: Annotated[
        Literal["ppo", "world_model", "auto"],
        "what improves the policy; world_model is experimental, auto begins with it and changes over to ppo when it fails or has settled",
    ] = "ppo"
    unimaginable: str = attrs.field(default="", metadata={"flag": False})  # why auto learns by ppo from the start
    learning: PpoConfig
    world_model: WorldModelConfig = attrs.field(factory=WorldModelConfig)  # numbers of the learner world_model

    def __attrs_post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        super().__attrs_post_init__()
        if self.backend == "learned" and self.learner != "world_model":
            raise SceneError(
                "--backend learned plays a policy in the simulator that its run learned, but a run of --learner "
                f"{self.learner} learns none. Name a run of --learner world_model, or leave --backend out."
            )
        if self.terrain != "plane" and self.learner == "world_model":
            raise SceneError(
                f"terrain='{self.terrain}' cannot be learned with --learner world_model, whose model of the robot knows nothing of "
                "the ground. Choose --learner ppo, or leave --terrain out."
            )
        if not 1.0 <= self.rate <= 1000.0:
            raise SceneError(f"rate={self.rate:g} makes no sense; give from 1 to 1000 control steps in one second.")
        self._refuse_parts()
        if self.learner == "world_model" and (
            self.learning.value_heads or self.learning.critic_learning_rate is not None
        ):
            raise SceneError(
                "value_heads and critic_learning_rate have no effect with --learner world_model, which has no critic; leave them out."
            )
        if self.learner == "world_model" and (self.learning.l2c2_actor or self.learning.l2c2_critic):
            raise SceneError(
                "l2c2_actor and l2c2_critic have no effect with --learner world_model, which smooths nothing; leave them out, "
                "or choose --learner ppo."
            )
        if self.learner == "ppo" and self.world_model != WorldModelConfig():
            number = next(
                n for n, value in attrs.asdict(WorldModelConfig()).items() if getattr(self.world_model, n) != value
            )
            raise SceneError(
                f"world_model.{number}={getattr(self.world_model, number)} has no effect with --learner {self.learner}; leave "
                "it out, or choose --learner world_model."
            )

    def _refuse_parts(self) -> None:
        """SceneError for numbers of clips that are held by turns."""
        if self.clips_at_once < 0 or self.clips_at_once == 1:
            raise SceneError(
                f"clips_at_once={self.clips_at_once} makes no sense: while one leaves there is none to play. Give at least 2, or 0 "
                "for all clips."
            )
        if self.clips_every < 1:
            raise SceneError(f"clips_every={self.clips_every} makes no sense; give at least 1 iteration.")
        if self.clips_at_once and self.learner != "ppo":
            raise SceneError(
                f"clips_at_once={self.clips_at_once} is not for --learner {self.learner}, which goes back to moments of clips that "
                "have left. Leave it out, or choose --learner ppo."
            )

    @property
    def unused(self) -> str:
        """What has no effect where rows learn, in one sentence; "" where all has."""
        if self.clips_every != CLIPS_EVERY and not self.clips_at_once:
            return (
                f"clips_every={self.clips_every} has no effect where all clips are held; leave it at {CLIPS_EVERY}, or say how many "
                "are: --clips-at-once 64."
            )
        return super().unused

    @property
    def loading(self) -> dict[str, Any]:
        """What is asked so of `build_library()`."""
        return {
            "fps": self.rate,
            "height": self.clip_height,
            "skip_unfit": self.skip_unfit,
            "in_file": self.clips_at_once > 0,
        }

    def parts(self, playing: bool) -> dict[str, Any]:
        """What is asked so of `tracking()`; a policy that is `playing` finds all clips."""
        if playing or not self.clips_at_once:
            return {}
        return {"at_once": self.clips_at_once, "part_ticks": self.clips_every * self.learning.horizon}

    @property
    def dt(self) -> float:
        """Length of a control step, s."""
        return 1.0 / self.rate

    @property
    def starts(self) -> str:
        """Where episodes begin; only long episodes show an imagination of half a second how errors add up."""
        return self.sampling or ("uniform" if self.learner == "ppo" or self.unimaginable else "mixed")

    @property
    def enough_iterations(self) -> int:
        """Learning iterations that were asked for, or those that the learner needs for a clip of a few seconds."""
        imagined = self.world_model.settle // self.world_model.collect
        return self.iterations or (imagined if self.learner == "world_model" else 300)
