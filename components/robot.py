"""Robots: state of root, joints, bodies and feet, limits, and descriptions. z up; metres, radians, seconds; quaternions scalar first."""

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import attrs
import torch
from torch import Tensor

from engine.ecs.component import column, component, constant, derived, resource


@component
class RootState:
    """The free base: pose of its frame origin in world axes, from the row's own origin."""

    position: Tensor = column(3, unit="m")
    rotation: Tensor = column(4, doc="scalar-first unit quaternion, base to world")
    linear_velocity: Tensor = column(3, unit="m/s", doc="of the frame origin, world axes")
    angular_velocity: Tensor = column(3, unit="rad/s", doc="world axes")


@component
class DofState:
    """Joint state, in the joint order of axis `dof`."""

    position: Tensor = column("dof", unit="rad")
    velocity: Tensor = column("dof", unit="rad/s")


@derived
class BodyState:
    """Every body's frame origin in world axes, in the order of axis `body` (0 is the root)."""

    position: Tensor = column("body", 3, unit="m")
    rotation: Tensor = column("body", 4, doc="scalar-first unit quaternion, body to world")
    linear_velocity: Tensor = column("body", 3, unit="m/s")
    angular_velocity: Tensor = column("body", 3, unit="rad/s")


@derived
class ContactForce:
    """Net force that contacts put on each body of axis `sensed`, world axes, over the last physics substep.

    Measuring takes time, so only those bodies are sensed that somebody reads: the scene is built with a sensor for each body
    of each reader. A reader says of which bodies with one of the types below; one that asks for `ContactForce` itself reads
    those of all bodies that can touch anything. Which place of the axis is whose is in `ContactSensors`.
    """

    force: Tensor = column("sensed", 3, unit="N")
    self_contacts: Tensor = column(unit="1", doc="substeps of this tick with a self-contact above the threshold")


class Sensed(Enum):
    """Whose contact force a function reads."""

    FEET = "the robot's feet"
    NAMED = "the bodies that match its constant `bodies`"
    NOBODY = "no body's"


FootForce = Annotated[ContactForce, Sensed.FEET]
NamedForce = Annotated[ContactForce, Sensed.NAMED]  # by the patterns in the constant `bodies` of the function
SelfContacts = Annotated[ContactForce, Sensed.NOBODY]


@resource
class ContactSensors:
    """The bodies that are sensed, in the order of axis `sensed`."""

    bodies: tuple[str, ...] = constant(default=())


@derived
class BaseFrame:
    """Root motion as an on-board sensor reports it, in root axes."""

    linear_velocity: Tensor = column(3, unit="m/s")
    angular_velocity: Tensor = column(3, unit="rad/s")
    gravity: Tensor = column(3, doc="unit vector; (0, 0, -1) when upright")


@derived
class Contact:
    """Which feet bear load."""

    touching: Tensor = column("foot", dtype=torch.bool, doc="contact force above the threshold")
    force: Tensor = column("foot", unit="N", doc="magnitude of the net contact force")


@component
class Flight:
    """How each foot travels through the air. A foot is down while it touches, and in the tick after it did."""

    touched: Tensor = column("foot", dtype=torch.bool, doc="touched in the tick before")
    down: Tensor = column("foot", dtype=torch.bool, fill=1.0)
    landed: Tensor = column("foot", dtype=torch.bool, doc="came down in this tick")
    seconds: Tensor = column("foot", unit="s", doc="since it was last down")
    peak: Tensor = column("foot", unit="m", doc="highest frame origin above the ground since it was last down")


@derived
class FootState:
    """The sole of each foot in world axes: the middle of the points that it stands on."""

    position: Tensor = column("foot", 3, unit="m")
    height: Tensor = column("foot", unit="m", doc="above the ground under it")
    linear_velocity: Tensor = column("foot", 3, unit="m/s")


@component
class Swing:
    """How each foot swings, tick by tick: unlike `Flight`, a foot is down only while it touches."""

    seconds: Tensor = column("foot", unit="s", doc="since it last touched; 0 while it does")
    peak: Tensor = column(
        "foot", unit="m", doc="highest sole above the ground in the swing, the tick in which it ends included"
    )
    landed: Tensor = column("foot", dtype=torch.bool, doc="touches again in this tick")


@resource
class Soles:
    """The sole of each foot, in the order of axis `foot`."""

    point: Tensor = constant()  # (foot, 3) m, in the frame of the foot's body
    radius: Tensor = constant()  # (foot,) m, by which the shape reaches below the point


@resource
class BodyInertia:
    """Masses of the robot as it was built, along axis `body`."""

    mass: Tensor = constant()  # (body,) kg
    com: Tensor = constant()  # (body, 3) m, centre of mass in the body's frame
    inertia: Tensor = constant()  # (body, 3, 3) kg·m² about the centre of mass, in the axes of the body


Point = tuple[float, float, float]


@attrs.frozen
class VirtualBody:
    """A frame that moves with a body as if it were welded to it: a hand, a head."""

    name: str
    parent: str  # body
    position: Point  # m, in the parent's frame
    rotation: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)  # scalar first, to the parent's frame


@resource
class Robot:
    """Names, limits and gains of the robot in the `robot` table; all tensors along axis `dof` unless noted."""

    name: str = constant()
    dof_names: tuple[str, ...] = constant()
    body_names: tuple[str, ...] = constant()
    foot_names: tuple[str, ...] = constant()
    tracked_bodies: tuple[str, ...] = constant()  # bodies, then all virtual ones
    virtual_bodies: tuple[VirtualBody, ...] = constant(default=())
    anchor_body: str = constant()
    end_effectors: tuple[str, ...] = constant()
    default_position: Tensor = constant()  # rad
    default_height: float = constant()  # m, of the root in the default pose
    position_limit: Tensor = constant()  # (dof, 2) rad
    soft_position_limit: Tensor = constant()  # (dof, 2) rad
    velocity_limit: Tensor = constant()  # rad/s
    torque_limit: Tensor = constant()  # N·m
    stiffness: Tensor = constant()  # N·m/rad
    damping: Tensor = constant()  # N·m·s/rad
    armature: Tensor = constant()  # kg·m²
    action_scale: Tensor = constant()  # rad per unit action


@attrs.frozen
class Motor:
    """One kind of joint drive: gains, reflected inertia and limits."""

    stiffness: float  # N·m/rad
    damping: float  # N·m·s/rad
    torque: float  # N·m
    speed: float  # rad/s
    armature: float | None = None  # kg·m²; None keeps the model file's
    action_scale: float | None = None  # rad per unit action; None: 0.25 torque / stiffness


@attrs.frozen
class Capsule:
    """A collision shape on every body whose name matches `body`; a sphere where `end` is None."""

    body: str  # pattern
    radius: float  # m
    start: Point  # m, in the body frame
    end: Point | None = None


@attrs.frozen
class Box:
    """A box along the axes of every body whose name matches `body`."""

    body: str  # pattern
    center: Point  # m, in the body frame
    half_size: Point  # m


@attrs.frozen
class RobotDescription:
    """A robot as a person writes it down: a model file and patterns over its names.

    Patterns are regular expressions that must match a whole name; in `default_pose` and `motors` the
    first match wins. `model` is an MJCF or URDF file, or a function that returns MJCF text. Bodies without a
    joint that nothing here names are part of the body they hang on.
    """

    name: str
    model: Path | Callable[[], str]
    motors: Mapping[str, Motor]
    default_pose: Mapping[str, float] = attrs.field(factory=dict)  # rad; 0 where nothing matches
    default_height: float | None = None  # m; None: the lowest foot point touches the floor
    feet: tuple[str, ...] = ()  # body names
    shapes: tuple[Capsule | Box, ...] = ()  # replace the model's collision geometry; () keeps it
    joint_damping: float | None = None  # N·m·s/rad, without the motor; None keeps the model file's
    foot_friction: float = 0.6  # sliding, wins over the floor's
    locked_joints: str = (
        ""  # pattern of joints that are welded as the file draws them; their bodies merge into the parents
    )
    tracked_bodies: tuple[str, ...] = ()  # all when empty
    virtual_bodies: tuple[VirtualBody, ...] = ()  # tracked as well, after the others
    anchor_body: str = ""  # the root when empty
    end_effectors: tuple[str, ...] = ()
    soft_limit: float = 0.9  # share of each joint range that is "inside"
    notes: tuple[str, ...] = ()  # what was decided when it was read from a file, one sentence each
