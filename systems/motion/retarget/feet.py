"""Feet of the robot over time: they stand where the human's stood on average, flat and still, and swing in between."""

import attrs
import numpy as np

from systems.maths.rotation import pitched, rotate, yawed
from systems.maths.smoothing import gaussian_average
from systems.motion.retarget.contact import FootContact, phases
from systems.motion.retarget.human import HumanMotion
from systems.motion.retarget.limbs import Limbs, RobotFoot

VERTICAL = 0.06  # s at either end of a swing in which a foot moves up or down only
CLEARANCE = 0.07  # of the leg's length that a swinging foot is lifted at least, when it goes far
STRIDE = 0.3  # of the way of a swing, the same for short ones
LEAST = 0.02  # of the leg's length
LEVEL = 0.6  # of a foot's length; where less of it is level it points down, not ahead
PITCH = (-0.5, 0.5)  # rad, toes up and toes down


@attrs.frozen(eq=False)
class FootTargets:
    """Where the feet of the robot shall be, left first."""

    position: np.ndarray  # (frames, 2, 3) m, of the bodies' origins
    rotation: np.ndarray  # (frames, 2, 4)
    ankle: np.ndarray  # (frames, 2, 3) m
    stands: np.ndarray  # (frames, 2) bool


def place_feet(human: HumanMotion, contact: FootContact, limbs: Limbs, scale: float, aside: np.ndarray) -> FootTargets:
    """Targets of both feet; the human's ways are `scale` as long, and each foot is moved by `aside` (frames, 2, 2) m."""
    ways = [_way(human, contact, limbs.feet[side], side, scale, aside[:, side], limbs.leg) for side in range(2)]
    position, rotation, ankle = (np.stack(parts, 1) for parts in zip(*ways, strict=True))
    return FootTargets(position=position, rotation=rotation, ankle=ankle, stands=contact.stands)


def _way(
    human: HumanMotion, contact: FootContact, foot: RobotFoot, side: int, scale: float, aside: np.ndarray, leg: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stands = contact.stands[:, side]
    ankle, toe = human.of("ankle")[:, side], human.of("toe")[:, side]
    forward = toe - ankle
    flat = np.linalg.norm(forward[:, :2], axis=1)
    heading = _heading(forward, flat)
    slope = np.arctan2(forward[:, 2], flat)
    level = np.median(slope[stands]) if stands.any() else np.percentile(slope, 50.0)
    way = np.concatenate((scale * ankle[:, :2] + aside, heading[:, None]), 1)
    lift = scale * np.maximum(0.0, np.minimum(ankle[:, 2] - contact.ankle[side], toe[:, 2] - contact.toe[side]))
    way, part = _stand_still(way, stands, human.fps)
    lift = np.where(stands, 0.0, np.maximum(lift * _window(part), _clearance(way, part, stands, leg)))
    pitch = np.clip(level - slope, *PITCH) * _window(part)
    pitch = np.where(stands, 0.0, gaussian_average(np.where(stands, 0.0, pitch), 0.02 * human.fps))
    turn = yawed(way[:, 2])
    local = rotate(pitched(pitch)[:, None], foot.soles[None])
    bottom = (local[..., 2] - foot.radius).min(1)
    position = np.zeros((len(way), 3))
    arm = rotate(turn, rotate(pitched(pitch), foot.ankle[None]))
    position[:, :2], position[:, 2] = way[:, :2] - arm[:, :2], lift - bottom
    rotation = _product(_product(turn, pitched(pitch)), np.broadcast_to(foot.rotation, turn.shape))
    return position, rotation, position + arm


def _heading(forward: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Where a foot points, (frames,) rad without jumps; where it points down, as between the frames around."""
    level = np.flatnonzero(flat > LEVEL * np.linalg.norm(forward, axis=1).max())
    angle = np.unwrap(np.arctan2(forward[level, 1], forward[level, 0]))
    return np.interp(np.arange(len(forward)), level, angle) if len(level) else np.zeros(len(forward))


def _stand_still(way: np.ndarray, stands: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """`way` (frames, 3) with every stance at its mean, and how far each swing has come, 0 to 1; 0 in stances.

    Within a swing the way is bent to begin and end where the foot stands, and hurried so that the foot goes up before
    it goes away and comes down after it has arrived.
    """
    made, part, frames = way.copy(), np.zeros(len(way)), len(way)
    for start, stop in phases(stands):
        made[start:stop] = way[start:stop].mean(0)
    for start, stop in phases(~stands):
        before, after = start - 1, stop  # frames in which the foot stands, where there are such
        first = made[before] - way[before] if before >= 0 else None
        last = made[after] - way[after] if after < frames else None
        if first is None and last is None:
            part[start:stop] = 0.5
            continue
        begin = first if first is not None else last
        end = last if last is not None else first
        assert begin is not None and end is not None
        span = max(after - before, 2)
        share = (np.arange(start, stop) - before) / span
        edge = min(VERTICAL * fps / span, 0.25)
        hurried = np.clip((share - edge) / (1.0 - 2.0 * edge), 0.0, 1.0)
        if first is None:
            share, hurried = np.maximum(share, 0.5), np.minimum(share / (1.0 - edge), 1.0)
        elif last is None:
            share, hurried = np.minimum(share, 0.5), np.maximum((share - edge) / (1.0 - edge), 0.0)
        ease = hurried * hurried * (3.0 - 2.0 * hurried)
        bent = way[max(before, 0) : min(after, frames - 1) + 1]
        at = hurried * span + (before - max(before, 0))
        moved = np.stack([np.interp(at, np.arange(len(bent)), column) for column in bent.T], 1)
        made[start:stop] = moved + begin + ease[:, None] * (end - begin)
        part[start:stop] = share
    return made, part


def _window(part: np.ndarray) -> np.ndarray:
    """0 at either end of a swing and 1 in most of it."""
    return np.clip(1.5 * np.sin(np.pi * part) ** 2, 0.0, 1.0)


def _clearance(way: np.ndarray, part: np.ndarray, stands: np.ndarray, leg: float) -> np.ndarray:
    """How high a swinging foot is lifted at least, (frames,) m: more for a long step than for a short one."""
    height = np.zeros(len(way))
    for start, stop in phases(~stands):
        ends = way[max(start - 1, 0)], way[min(stop, len(way) - 1)]
        far = float(np.linalg.norm(ends[1][:2] - ends[0][:2]))
        height[start:stop] = np.clip(STRIDE * far, LEAST * leg, CLEARANCE * leg)
    return height * np.sin(np.pi * part) ** 0.7


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of quaternions (frames, 4)."""
    real = a[:, :1] * b[:, :1] - (a[:, 1:] * b[:, 1:]).sum(1, keepdims=True)
    rest = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])
    return np.concatenate((real, rest), 1)
