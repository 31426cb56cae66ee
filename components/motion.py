"""Reference motion: clips as they come from files, the library they are sampled from, and targets."""

import numpy as np
import attrs
import torch
from torch import Tensor

from engine.component import column, component, constant, derived, resource


@attrs.frozen(eq=False)
class Clip:
    """One motion as read from a file, before any robot is involved. Arrays are float64.

    `dof_names` is None where the file has no names; the order is then the documented one for its width.
    `bodies` holds what the file says about body poses, for verification only.
    """

    name: str
    fps: float
    root_position: np.ndarray  # (frames, 3) m, world
    root_rotation: np.ndarray  # (frames, 4) scalar first
    dof_position: np.ndarray  # (frames, dofs) rad
    dof_names: tuple[str, ...] | None = None
    body_names: tuple[str, ...] | None = None
    body_position: np.ndarray | None = None  # (frames, bodies, 3) m, world
    source: str = ""  # where it came from, for messages
    weight: float = 1.0

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return int(self.dof_position.shape[0])

    @property
    def seconds(self) -> float:
        """From the first frame to the last, (frames − 1) / fps."""
        return (self.num_frames - 1) / self.fps


@resource
class MotionLibrary:
    """Unique clips, resampled to one rate, concatenated over frames; see `systems/motion.py` for sampling."""

    names: tuple[str, ...] = constant()
    fps: float = constant()
    start: Tensor = constant()  # (clips,) int64 first frame
    frames: Tensor = constant()  # (clips,) int64 number of frames
    seconds: Tensor = constant()  # (clips,) float32 (frames − 1) / fps
    weight: Tensor = constant()  # (clips,) float32, sums to 1
    root_position: Tensor = constant()  # (all frames, 3) m
    root_rotation: Tensor = constant()  # (all frames, 4)
    root_linear_velocity: Tensor = constant()  # (all frames, 3) m/s, world
    root_angular_velocity: Tensor = constant()  # (all frames, 3) rad/s, world
    dof_position: Tensor = constant()  # (all frames, dof) rad
    dof_velocity: Tensor = constant()  # (all frames, dof) rad/s
    body_position: Tensor = constant()  # (all frames, tracked, 3) m, world
    body_rotation: Tensor = constant()  # (all frames, tracked, 4)
    body_linear_velocity: Tensor = constant()  # (all frames, tracked, 3) m/s, frame origin, world
    body_angular_velocity: Tensor = constant()  # (all frames, tracked, 3) rad/s, world


@component
class MotionCursor:
    """Where in which clip each row is: the time of the pose that the robot should have at the end of the tick."""

    clip: Tensor = column(dtype=torch.int64)
    time: Tensor = column(unit="s")
    start: Tensor = column(unit="s", doc="clip time at which the episode began")


@derived
class MotionReference:
    """The reference at `MotionCursor.time`, in world axes from the row's own origin."""

    dof_position: Tensor = column("dof", unit="rad")
    dof_velocity: Tensor = column("dof", unit="rad/s")
    body_position: Tensor = column("tracked", 3, unit="m")
    body_rotation: Tensor = column("tracked", 4)
    body_linear_velocity: Tensor = column("tracked", 3, unit="m/s")
    body_angular_velocity: Tensor = column("tracked", 3, unit="rad/s")


@derived
class TrackedState:
    """The robot's tracked bodies, picked out of BodyState once, in the order of axis `tracked`."""

    position: Tensor = column("tracked", 3, unit="m")
    rotation: Tensor = column("tracked", 4)
    linear_velocity: Tensor = column("tracked", 3, unit="m/s")
    angular_velocity: Tensor = column("tracked", 3, unit="rad/s")


@derived
class RelativeTarget:
    """The reference re-placed at the robot's own heading and horizontal position, keeping its height."""

    position: Tensor = column("tracked", 3, unit="m")
    rotation: Tensor = column("tracked", 4)


@resource
class TrackedBodies:
    """Index sets over axes `body` and `tracked`."""

    names: tuple[str, ...] = constant()
    body_index: Tensor = constant()  # (tracked,) int64, into axis body
    anchor: int = constant()  # into axis tracked
    end_effectors: Tensor = constant()  # (effectors,) int64, into axis tracked


@resource
class MotionFar:
    """Radius in m beyond which a tracked body counts as lost, and the mean episode length that moves it."""

    threshold: Tensor
    mean_length: Tensor
