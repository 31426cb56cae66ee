"""Numbers of locomotion by velocity commands: what differs between its tasks, and the configuration of a scene."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import attrs

from components.robot import Point
from engine.errors import SceneError
from scenes.tasks import SharedConfig, own_first
from systems.motion.places import absolute_robot
from systems.robots.mjcf import Solver
from systems.terrain import ClimbedTiles
from systems.velocity import Stage, Velocity

GAIT_WEIGHT = 0.18  # of feet that keep to the gait clock, as in unitree_rl_gym


@attrs.frozen
class Locomotion:
    """What differs between tasks of locomotion besides their terms: ranges of commands, and how episodes begin.

    `stages` and `draws` are given to `commands`, `start` to `standing`. `sensor` is the place of gyro and velocimeter of a G1, in m
    in the pelvis frame. Actions and observations are held within ±`limit`.
    """

    name: str
    stages: tuple[Stage, ...]
    draws: Mapping[str, Any] = attrs.field(factory=dict)
    start: Mapping[str, Any] = attrs.field(factory=dict)
    sensor: Point = (0.0, 0.0, 0.0)
    limit: float = math.inf


@attrs.frozen(kw_only=True, field_transformer=own_first)
class LocomotionConfig(SharedConfig):
    """Every number of locomotion by velocity commands."""

    task: Locomotion = attrs.field(metadata={"flag": False})
    robot: Annotated[
        str, "a robot by name, an MJCF or URDF file, or name:FILE, the file's with the robot's gains", absolute_robot
    ]
    tiles: ClimbedTiles = attrs.field(factory=ClimbedTiles)  # as for all tasks, and how rows go from level to level
    command: Velocity | None = None  # ask every row for this: m/s forward and to the left, rad/s; none: drawn
    curriculum: bool  # widen the range of commands while the run goes on
    gait_period: float | None = None  # s of a gait clock that is seen and rewarded; none: without
    gait_weight: float = GAIT_WEIGHT  # of each foot that keeps to the gait clock
    elliptic: bool  # cones of friction: elliptic with an impedance ratio of 10, else pyramidal
    seconds: float = 20.0  # longest episode
    substeps: int  # physics steps in one control step of 0.02 s
    observations: Annotated[
        str, "what is seen: sets (mjlab_velocity, humanoidverse_locomotion) and terms, as --randomise joins them"
    ]
    rewards: Annotated[
        str,
        "what is rewarded: sets (mjlab_velocity, from_afar, humanoidverse_locomotion) and terms, as --randomise joins them",
    ]
    terminations: Annotated[
        str,
        "what ends an episode: sets (mjlab_velocity, humanoidverse_locomotion, extra) and terms, as --randomise joins them",
    ]
    penalties: float = 1.0  # share of the published weights of terms that cost
    iterations: int  # learning iterations

    def __attrs_post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        super().__attrs_post_init__()
        if not 0.0 < self.penalties <= 10.0:
            raise SceneError(
                f"penalties={self.penalties} is a share of the published weights; give a number above 0, up to 10."
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

    @property
    def solver(self) -> Solver:
        """How contacts are solved."""
        return Solver(
            warm_start=self.warm_start, elliptic=self.elliptic, impedance_ratio=10.0 if self.elliptic else 1.0
        )
