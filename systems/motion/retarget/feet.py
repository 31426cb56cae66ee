"""Feet of the robot over time: they stand where the human's stood on average, flat and still, and swing in between."""

import attrs
import numpy as np

from systems.maths.rotation import pitched, rotate, yawed
from systems.maths.smoothing import gaussian_average, moving_extreme
from systems.motion.retarget.balance import directions
from systems.motion.retarget.contact import FootContact, phases
from systems.motion.retarget.human import HumanMotion
from systems.motion.retarget.limbs import Limbs, RobotFoot

VERTICAL = 0.04  # s at either end of a swing in which a foot moves up or down only
CLEARANCE = 0.07  # of the leg's length that a swinging foot is lifted at least, when it goes far
STRIDE = 0.3  # of the way of a swing, the same for short ones
LEAST = 0.02  # of the leg's length
LEVEL = 0.6  # of a foot's length; where less of it is level it points down, not ahead
GAP = 0.05  # of the leg's length that feet are apart at least
PUSH, PUSHES = 0.1, 3  # s before and after, and how often, as each push is smooth and so too small
PITCH = (-0.5, 0.5)  # rad, toes up and toes down


@attrs.frozen(eq=False)
class FootTargets:
    """Where the feet of the robot shall be, left first."""

    position: np.ndarray  # (frames, 2, 3) m, of the bodies' origins
    rotation: np.ndarray  # (frames, 2, 4)
    ankle: np.ndarray  # (frames, 2, 3) m
    stands: np.ndarray  # (frames, 2) bool


@attrs.frozen(eq=False)
class _Plan:
    """What one foot shall do."""

    foot: RobotFoot
    way: np.ndarray  # (frames, 3): x and y of the ankle in m, heading in rad
    part: np.ndarray  # (frames,) of its way along the floor that a swinging foot has gone, 0 to 1; 0 in stances
    lift: np.ndarray  # (frames,) m, of the lowest point of the sole
    pitch: np.ndarray  # (frames,) rad, toes down


def place_feet(human: HumanMotion, contact: FootContact, limbs: Limbs, scale: float, aside: np.ndarray) -> FootTargets:
    """Targets of both feet; the human's ways are `scale` as long, and each foot is moved by `aside` (frames, 2, 2) m."""
    plans = [_plan(human, contact, limbs, side, scale, aside[:, side]) for side in range(2)]
    for _ in range(PUSHES):
        plans = _pushed_apart(plans, GAP * limbs.leg, human.fps)
    position, rotation, ankle = (np.stack(parts, 1) for parts in zip(*map(_pose, plans), strict=True))
    return FootTargets(position=position, rotation=rotation, ankle=ankle, stands=contact.stands)


def _plan(human: HumanMotion, contact: FootContact, limbs: Limbs, side: int, scale: float, aside: np.ndarray) -> _Plan:
    stands = contact.stands[:, side]
    ankle, toe = human.of("ankle")[:, side], human.of("toe")[:, side]
    forward = toe - ankle
    flat = np.linalg.norm(forward[:, :2], axis=1)
    slope = np.arctan2(forward[:, 2], flat)
    level = np.median(slope[stands]) if stands.any() else np.median(slope)
    way = np.concatenate((scale * ankle[:, :2] + aside, _heading(forward, flat)[:, None]), 1)
    lift = scale * np.maximum(0.0, np.minimum(ankle[:, 2] - contact.ankle[side], toe[:, 2] - contact.toe[side]))
    way, share, part = _stand_still(way, stands, human.fps)
    lift = np.where(stands, 0.0, np.maximum(lift * _window(share), _clearance(way, stands, share, limbs.leg)))
    pitch = np.clip(level - slope, *PITCH) * _window(part)
    return _Plan(limbs.feet[side], way, part, lift, pitch)


def _pose(plan: _Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the body of a foot is, how it is turned, and where the ankle is."""
    turn, tilt = yawed(plan.way[:, 2]), pitched(plan.pitch)
    local = rotate(tilt[:, None], plan.foot.soles[None])
    arm = rotate(turn, rotate(tilt, plan.foot.ankle[None]))
    height = plan.lift - (local[..., 2] - plan.foot.radius).min(1)
    position = np.concatenate((plan.way[:, :2] - arm[:, :2], height[:, None]), 1)
    rotation = _product(_product(turn, tilt), np.broadcast_to(plan.foot.rotation, turn.shape))
    return position, rotation, position + arm


def _pushed_apart(plans: list[_Plan], least: float, fps: float) -> list[_Plan]:
    """The plans, a swinging foot moved aside where it would come nearer than `least` to the other."""
    flat = [_pose(attrs.evolve(plan, pitch=0.0 * plan.pitch, lift=0.0 * plan.lift)) for plan in plans]
    soles = [
        position[:, None, :2] + rotate(yawed(plan.way[:, 2])[:, None], plan.foot.soles[None])[..., :2]
        for plan, (position, _, _) in zip(plans, flat, strict=True)
    ]
    reach = max(1, round(PUSH * fps))
    lack = moving_extreme(np.maximum(0.0, least - gap(*soles)), reach, largest=True)
    away = soles[0].mean(1) - soles[1].mean(1)
    away = gaussian_average(away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6), 0.5 * reach)
    push = gaussian_average(lack, 0.5 * reach)[:, None] * away
    return [
        attrs.evolve(plan, way=plan.way + np.pad(sign * push * _window(plan.part)[:, None], ((0, 0), (0, 1))))
        for sign, plan in zip((1.0, -1.0), plans, strict=True)
    ]


def gap(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How far two soles (frames, points, 2) are apart, (frames,) m; below 0 where one is over the other."""
    along = directions()
    return np.asarray(((left @ along).min(1) - (right @ along).max(1)).max(1))


def _heading(forward: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Where a foot points, (frames,) rad without jumps; where it points down, as between the frames around."""
    level = np.flatnonzero(flat > LEVEL * np.linalg.norm(forward, axis=1).max())
    angle = np.unwrap(np.arctan2(forward[level, 1], forward[level, 0]))
    return np.interp(np.arange(len(forward)), level, angle) if len(level) else np.zeros(len(forward))


def _stand_still(way: np.ndarray, stands: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`way` (frames, 3) with every stance at its mean, and how much of each swing's time and way is over, 0 to 1.

    Within a swing the way is bent to begin and end where the foot stands, and hurried so that the foot goes up before
    it goes away and comes down after it has arrived. A swing that is cut off by an end of the clip is half of one.
    """
    made, time, part = way.copy(), np.zeros(len(way)), np.zeros(len(way))
    for start, stop in phases(stands):
        made[start:stop] = way[start:stop].mean(0)
    for start, stop in phases(~stands):
        before, after = max(start - 1, 0), min(stop, len(way) - 1)
        begins, ends = start > 0, stop < len(way)
        least, most = (0.0 if begins else 0.5), (1.0 if ends else 0.5)
        share = (np.arange(start, stop) - start + 1) / (stop - start + 1)
        edge = min(VERTICAL * fps / (stop - start + 1), 0.25)
        hurried = np.clip((share - edge * begins) / (1.0 - edge * begins - edge * ends), 0.0, 1.0)
        frame = before + hurried * (after - before)
        moved = np.stack([np.interp(frame, np.arange(len(way)), column) for column in way.T], 1)
        first, last = made[before] - way[before], made[after] - way[after]  # 0 where the clip begins or ends
        first, last = (first if begins else last), (last if ends else first)
        ease = (hurried * hurried * (3.0 - 2.0 * hurried))[:, None]
        made[start:stop] = moved + first + ease * (last - first)
        time[start:stop], part[start:stop] = np.clip(share, least, most), np.clip(hurried, least, most)
    return made, time, part


def _window(part: np.ndarray) -> np.ndarray:
    """0 at either end of a swing and 1 in most of it."""
    return np.clip(1.5 * np.sin(np.pi * part) ** 2, 0.0, 1.0)


def _clearance(way: np.ndarray, stands: np.ndarray, part: np.ndarray, leg: float) -> np.ndarray:
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
