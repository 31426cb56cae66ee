"""Signals of a robot: what its sensors tell, by name, and the components that follow from them."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from components.command import Command, GaitClock
from components.control import ActionDelay, EncoderBias
from components.episode import Episode
from components.motion import MotionCursor, MotionLibrary
from components.physics import Physics
from components.randomization import ImuMounting
from components.robot import BaseFrame, BodyState, DofState, RootState
from components.terrain import TerrainTile
from engine.ecs.component import assemble, info, make
from engine.ecs.schedule import Schedule
from engine.ecs.world import World
from engine.errors import SceneError
from systems.maths.quaternion import rotate, rotate_inverse
from systems.robots.forward_kinematics import ForwardKinematics

Values = Mapping[str, Tensor]


@attrs.frozen
class Signal:
    """One thing that a robot reports in every control step: `width` numbers, or as many as the axis of that name is long."""

    width: int | str
    about: str
    rest: tuple[float, ...] = (0.0,)  # what stands for it where nothing depends on it; one number for all, or each


SIGNALS: Mapping[str, Signal] = {
    "base_angular_velocity": Signal(3, "rad/s, of the base in its own axes (gyro)"),
    "base_orientation": Signal(
        4, "unit quaternion w, x, y, z, from the axes of the base to the world's; z up", (1.0, 0.0, 0.0, 0.0)
    ),
    "base_linear_velocity": Signal(3, "m/s, of the velocity sensor in the axes of the base; needs state estimation"),
    "base_position": Signal(3, "m, of the base's frame origin in the world; needs state estimation"),
    "joint_position": Signal("dof", "rad, as the encoders report them, in the order of joint_names"),
    "joint_velocity": Signal("dof", "rad/s"),
    "command": Signal(3, "velocity that is asked for: forward and to the left in m/s, yaw rate in rad/s"),
    "time_step": Signal(1, "control steps since the policy began; 0 in the first"),
    "clip": Signal(1, "which of the clips in motion_clips is followed, from 0"),
}


@attrs.frozen(eq=False)
class Sensors:
    """Components of one row, made of signals: those of SOURCES, and those that are given from the start (BEGINNINGS)."""

    world: World
    table: str
    dt: float  # s, of one control step
    sensor: Tensor  # (3,) m, of the velocity sensor in the frame of the base
    model: Any = None  # the RobotModel; None where the scene has no simulator
    bodies: tuple[str, ...] = ()  # whose poses are given in BodyState; the others are 0
    moving: bool = True  # whether their velocities are given too
    hidden: str = ""  # a body whose pose is 0 although it is computed
    kinematics: ForwardKinematics | None = attrs.field(init=False, default=None)

    @classmethod
    def of(cls, schedule: Schedule, table: str) -> "Sensors":
        """What the robot of a scene tells. SceneError for a scene whose systems do not say how long a control step is."""
        world, constants = schedule.world, {e.name: e.system.constants for e in schedule.entries}
        place = constants.get("derive_base_frame", {}).get("sensor", (0.0, 0.0, 0.0))
        backend = world.resources[Physics].backend if Physics in world.resources else None
        model = getattr(backend, "model", None)
        steps = {each["dt"] for each in constants.values() if "dt" in each}
        if len(steps) != 1:
            raise SceneError(
                f"The systems of the scene '{world.name}' say {len(steps)} lengths of a control step, so that no rate can be "
                "written to a policy. Give all of them the same dt."
            )
        bodies = model.robot.body_names if model else ()
        return cls(world, table, steps.pop(), torch.tensor(place, dtype=torch.float32), model, bodies)

    def __attrs_post_init__(self) -> None:
        """Kinematics of the bodies that are given."""
        if self.bodies:
            object.__setattr__(self, "kinematics", ForwardKinematics.of(self.model, self.bodies))

    def without(self, body: str) -> "Sensors":
        """The same, with the pose of one body hidden."""
        return attrs.evolve(self, hidden=body)

    def width(self, name: str) -> int:
        """How many numbers a signal has."""
        width = SIGNALS[name].width
        return width if isinstance(width, int) else len(self.world.tables[self.table].axes[width])

    def blank(self, component: type) -> Any:
        """A component of one row as it is first made."""
        return make(component, 1, self.world.tables[self.table].axes)

    def make(self, component: type, values: Values) -> Any:
        """A component as the signals tell it; columns that they do not tell are as they are first made."""
        columns = SOURCES[component](self, values)
        blank = self.blank(component)
        return assemble(component, {name: columns.get(name, getattr(blank, name)) for name in info(component).columns})

    def root_state(self, values: Values) -> dict[str, Tensor]:
        """Pose and motion of the base in the world."""
        turn, spin = values["base_orientation"], values["base_angular_velocity"]
        shift = torch.linalg.cross(spin, self.sensor.expand_as(spin))
        return {
            "position": values["base_position"],
            "rotation": turn,
            "linear_velocity": rotate(turn, values["base_linear_velocity"] - shift),
            "angular_velocity": rotate(turn, spin),
        }

    def base_frame(self, values: Values) -> dict[str, Tensor]:
        """What is fixed to the base and reports in its axes."""
        down = torch.tensor((0.0, 0.0, -1.0)).expand_as(values["base_position"])
        return {
            "linear_velocity": values["base_linear_velocity"],
            "angular_velocity": values["base_angular_velocity"],
            "gravity": rotate_inverse(values["base_orientation"], down),
        }

    def body_state(self, values: Values) -> dict[str, Tensor]:
        """Bodies, by forward kinematics."""
        if self.kinematics is None:
            raise SceneError(f"The scene '{self.world.name}' has no robot model that says where its bodies are.")
        root = self.root_state(values)
        pose, joints = (root["position"], root["rotation"]), values["joint_position"]
        if self.moving:
            speeds = root["linear_velocity"], root["angular_velocity"]
            found: tuple[Tensor, ...] = self.kinematics.moving(*pose, *speeds, joints, values["joint_velocity"])
        else:
            found = self.kinematics.poses(*pose, joints)
        names = self.model.robot.body_names
        if self.hidden:
            shown = torch.tensor([body != self.hidden for body in self.bodies]).view(1, -1, 1)
            found = tuple(part * shown for part in found)
        if self.bodies != names:
            places = torch.tensor([names.index(body) for body in self.bodies])
            found = tuple(part.new_zeros(1, len(names), part.shape[2]).index_copy(1, places, part) for part in found)
        return dict(zip(("position", "rotation", "linear_velocity", "angular_velocity"), found, strict=False))

    def motion_cursor(self, values: Values) -> dict[str, Tensor]:
        """Where in its clip the robot is: the pose to have when the control step ends, or the clip's last."""
        clip = values["clip"][:, 0].long()
        time = torch.minimum(
            (values["time_step"][:, 0] + 1.0) * self.dt, self.world.resource(MotionLibrary).seconds[clip]
        )
        return {"clip": clip, "time": time}


SOURCES: Mapping[type, Callable[[Sensors, Values], dict[str, Tensor]]] = {
    RootState: Sensors.root_state,
    DofState: lambda _, values: {"position": values["joint_position"], "velocity": values["joint_velocity"]},
    BaseFrame: Sensors.base_frame,
    BodyState: Sensors.body_state,
    MotionCursor: Sensors.motion_cursor,
    Episode: lambda _, values: {"step": values["time_step"][:, 0].long()},
    Command: lambda _, values: {"velocity": values["command"]},
}
BEGINNINGS: Mapping[type, str] = {
    EncoderBias: "what the encoders report is what a signal tells",
    ImuMounting: "what the gyro reports is what a signal tells",
    ActionDelay: "the robot has a latency of its own",
    GaitClock: "its phase follows from the time step",
    TerrainTile: "places are counted from where the clip begins",
}
"""Components that are as they are first made when a control step begins, each with the reason."""
