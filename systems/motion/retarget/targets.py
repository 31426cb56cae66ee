"""Targets of the robot: the human's pose on the robot's proportions, with the robot's own feet under it."""

import attrs
import numpy as np
import torch

from systems.maths import quaternion
from systems.maths.rotation import rotate
from systems.maths.smoothing import gaussian_average, moving_extreme
from systems.motion.retarget.contact import find_contact
from systems.motion.retarget.feet import FootTargets, place_feet
from systems.motion.retarget.human import HumanMotion
from systems.motion.retarget.limbs import Limbs

BENT = 0.97  # of the human's height of the hips: knees that are a little bent can give way
REACH = 0.98  # of a leg's length that a foot is away from its hip at most
GIVE = 0.1  # s over which the hips sink for a foot that is far away
HIP_SHARE = 0.5  # of how the trunk leans that the root leans


@attrs.frozen(eq=False)
class RobotTargets:
    """Where the parts of a robot shall be, frame by frame, in metres; the first frame is at x = y = 0, facing x."""

    root_position: np.ndarray  # (frames, 3)
    root_rotation: np.ndarray  # (frames, 4)
    trunk_rotation: np.ndarray  # (frames, 4)
    feet: FootTargets
    elbows: np.ndarray  # (frames, arms, 3)
    wrists: np.ndarray  # (frames, arms, 3)

    def moved(self, aside: np.ndarray, limbs: Limbs, fps: float) -> "RobotTargets":
        """The targets with everything but the feet moved by `aside` (frames, 2) m, within reach of the feet."""
        middle = rotate(self.root_rotation, limbs.hips.mean(0))
        centre = self.root_position + middle
        centre = centre + np.concatenate((aside, np.zeros((len(aside), 1))), 1)
        position = _within_reach(centre, self.root_rotation, limbs, self.feet, fps) - middle
        change = (position - self.root_position)[:, None]
        return attrs.evolve(self, root_position=position, elbows=self.elbows + change, wrists=self.wrists + change)


def make_targets(human: HumanMotion, limbs: Limbs) -> RobotTargets:
    """What a robot with these limbs shall do to move like the human, whose floor is level."""
    human = _from_the_origin(human)
    contact = find_contact(human)
    scale = limbs.leg / human.leg
    hips, shoulders = human.of("hip"), human.of("shoulder")
    middle, chest = hips.mean(1), shoulders.mean(1)
    up = _unit(chest - middle)
    trunk = _axes(shoulders[:, 0] - shoulders[:, 1], up, keep="up")
    root = _axes(hips[:, 0] - hips[:, 1], _lean(up, HIP_SHARE), keep="left")
    aside = _aside(human, limbs, scale, root)
    feet = place_feet(human, contact, limbs, scale, aside)
    standing = limbs.feet[0].height + limbs.feet[0].ankle[2]
    centre = scale * middle
    centre[:, 2] = scale * BENT * (middle[:, 2] - contact.ankle.mean()) + standing
    root_rotation, trunk_rotation = _quaternions(root), _quaternions(trunk)
    centre = _within_reach(centre, root_rotation, limbs, feet, human.fps)
    position = centre - rotate(root_rotation, limbs.hips.mean(0))
    elbows, wrists = _arms(human, limbs, position, root_rotation, trunk_rotation)
    return RobotTargets(
        root_position=position,
        root_rotation=root_rotation,
        trunk_rotation=trunk_rotation,
        feet=feet,
        elbows=elbows,
        wrists=wrists,
    )


def _from_the_origin(human: HumanMotion) -> HumanMotion:
    """The motion begun at x = y = 0 with the hips facing x."""
    hips = human.of("hip")[0]
    left = hips[0] - hips[1]
    turn = -np.arctan2(-left[0], left[1])  # left is y when facing x
    cosine, sine = np.cos(turn), np.sin(turn)
    points = human.points - np.append(hips.mean(0)[:2], 0.0)
    matrix = np.array(((cosine, -sine, 0.0), (sine, cosine, 0.0), (0.0, 0.0, 1.0)))
    return attrs.evolve(human, points=points @ matrix.T)


def _unit(lines: np.ndarray) -> np.ndarray:
    return lines / np.maximum(np.linalg.norm(lines, axis=-1, keepdims=True), 1e-9)


def _lean(up: np.ndarray, share: float) -> np.ndarray:
    return _unit(share * up + (1.0 - share) * np.array((0.0, 0.0, 1.0)))


def _axes(left: np.ndarray, up: np.ndarray, keep: str) -> np.ndarray:
    """Rotation matrices (frames, 3, 3) with y along `left` and z along `up`; the one not kept gives way."""
    forward = _unit(np.cross(left, up))
    if keep == "up":
        left = np.cross(up, forward)
    else:
        left = _unit(left)
        up = np.cross(forward, left)
    return np.stack((forward, left, up), -1)


def _quaternions(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices (frames, 3, 3) as quaternions without jumps in sign, (frames, 4)."""
    m = matrix
    trace = np.stack((
        1.0 + m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2],
        1.0 + m[:, 0, 0] - m[:, 1, 1] - m[:, 2, 2],
        1.0 - m[:, 0, 0] + m[:, 1, 1] - m[:, 2, 2],
        1.0 - m[:, 0, 0] - m[:, 1, 1] + m[:, 2, 2],
    ), 1)  # four times the squares of w, x, y, z  # fmt: skip
    rows = np.arange(len(m))
    a, b, c = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    d, e, f = m[:, 1, 0] + m[:, 0, 1], m[:, 0, 2] + m[:, 2, 0], m[:, 2, 1] + m[:, 1, 2]
    t = trace
    table = np.stack((
        np.stack((t[:, 0], a, b, c), 1),
        np.stack((a, t[:, 1], d, e), 1),
        np.stack((b, d, t[:, 2], f), 1),
        np.stack((c, e, f, t[:, 3]), 1),
    ), 1)  # fmt: skip
    best = table[rows, trace.argmax(1)]
    return quaternion.normalize(torch.from_numpy(best)).numpy()


def _aside(human: HumanMotion, limbs: Limbs, scale: float, root: np.ndarray) -> np.ndarray:
    """How far each foot is moved sideways, (frames, 2, 2) m: as much as the robot's hips are wider than the human's."""
    hips = human.of("hip")
    wide = scale * float(np.median(np.linalg.norm(hips[:, 0] - hips[:, 1], axis=-1)))
    more = 0.5 * (float(np.linalg.norm(limbs.hips[0] - limbs.hips[1])) - wide)
    left = _unit(root[:, :2, 1])
    return more * np.stack((left, -left), 1)


def _within_reach(centre: np.ndarray, rotation: np.ndarray, limbs: Limbs, feet: FootTargets, fps: float) -> np.ndarray:
    """`centre` of the hips (frames, 3) sunk where a foot is farther away than a leg reaches; smoothly."""
    apart = limbs.hips - limbs.hips.mean(0)
    hips = centre[:, None] + rotate(rotation[:, None], apart[None])
    flat = np.linalg.norm(hips[..., :2] - feet.ankle[..., :2], axis=-1)
    reach = REACH * np.array([leg.length for leg in limbs.legs])
    high = np.sqrt(np.maximum(reach**2 - flat**2, (0.4 * reach) ** 2))
    sink = np.maximum(0.0, hips[..., 2] - feet.ankle[..., 2] - high).max(1)
    frames = max(1, round(GIVE * fps))
    sink = gaussian_average(moving_extreme(sink, frames, largest=True), 0.5 * frames)
    return centre - sink[:, None] * np.array((0.0, 0.0, 1.0))


def _arms(
    human: HumanMotion, limbs: Limbs, position: np.ndarray, root: np.ndarray, trunk: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Elbows and wrists (frames, arms, 3): the human's directions from the robot's shoulders on."""
    if not limbs.arms:
        return (np.zeros((len(position), 0, 3)),) * 2
    shoulder, elbow, wrist = human.of("shoulder"), human.of("elbow"), human.of("wrist")
    upper, lower = _unit(elbow - shoulder), _unit(wrist - elbow)
    pivot = position + rotate(root, limbs.waist)
    elbows, wrists = [], []
    for side, arm in enumerate(limbs.arms):
        hung = pivot + rotate(trunk, limbs.trunk_at + arm.top.local - limbs.waist)
        elbows.append(hung + arm.upper * upper[:, side])
        wrists.append(elbows[-1] + arm.lower * lower[:, side])
    return np.stack(elbows, 1), np.stack(wrists, 1)
