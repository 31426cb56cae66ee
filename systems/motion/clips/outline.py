"""Outline of a clip: where pelvis, feet and arms shall be, before anything is solved."""

import attrs
import numpy as np
import torch

from systems.maths import quaternion
from systems.maths.rotation import pitched, yawed
from systems.motion.clips.stance import Stance

FPS = 50.0


@attrs.frozen(eq=False)
class Outline:
    """A clip before its legs are solved, at FPS. What `dofs` says of legs counts for nothing."""

    height: np.ndarray  # (T,) m, of the root
    lean: np.ndarray  # (T,) rad, of the root, forward
    heading: np.ndarray  # (T,) rad, of the root, to the left
    dofs: np.ndarray  # (T, dof) rad
    foot_position: np.ndarray  # (T, feet, 3) m
    foot_rotation: np.ndarray  # (T, feet, 4)
    pressure: np.ndarray | None = None  # (T, 2) m, where the floor shall push; None: the mass stays above the soles

    @property
    def rotation(self) -> np.ndarray:
        """Of the root, (T, 4)."""
        return quaternion.multiply(torch.from_numpy(yawed(self.heading)), torch.from_numpy(pitched(self.lean))).numpy()


def times(seconds: float) -> np.ndarray:
    """Moments of the frames of a clip, both ends included, s."""
    return np.arange(round(seconds * FPS) + 1) / FPS


def planted(
    stance: Stance,
    dofs: np.ndarray,
    *,
    height: np.ndarray | None = None,
    lean: np.ndarray | None = None,
    heading: np.ndarray | None = None,
    pressure: np.ndarray | None = None,
) -> Outline:
    """An outline whose feet stay where they are; by default the root keeps its height and pose."""
    frames = len(dofs)
    return Outline(
        height=np.full(frames, stance.height) if height is None else height,
        lean=np.zeros(frames) if lean is None else lean,
        heading=np.zeros(frames) if heading is None else heading,
        dofs=dofs,
        foot_position=np.tile(stance.foot_position, (frames, 1, 1)),
        foot_rotation=np.tile(stance.foot_rotation, (frames, 1, 1)),
        pressure=pressure,
    )


def rise(time: np.ndarray, begin: float, end: float) -> np.ndarray:
    """From 0 at `begin` to 1 at `end` along 10x³ − 15x⁴ + 6x⁵: at rest, and free of force, at both ends."""
    x = np.clip((time - begin) / (end - begin), 0.0, 1.0)
    return np.asarray(x**3 * (10.0 + x * (6.0 * x - 15.0)))


def bump(time: np.ndarray, begin: float, end: float) -> np.ndarray:
    """From 0 at `begin` up to 1 in the middle and down to 0 at `end` along 64 x³ (1 − x)³, free of force at both ends."""
    x = np.clip((time - begin) / (end - begin), 0.0, 1.0)
    return np.asarray(64.0 * (x * (1.0 - x)) ** 3)
