"""Contact of human feet with the floor: when a foot stands, by how high and how fast ankle and toes are."""

import attrs
import numpy as np

from systems.maths.smoothing import gaussian_average, moving_extreme
from systems.motion.retarget.human import HumanMotion

STILL = 0.4  # m/s, of toes and of the middle of a foot that stands
TOE_LIFT, ANKLE_LIFT = 0.05, 0.08  # m above where they are when standing
LOWEST = 5.0  # percentile of heights that is taken for standing
FLIGHT = 1.0  # s; feet that are up for longer do not jump
UNEVEN = 0.03  # m, of a floor worth a word
SHORTEST = 0.1  # s that a foot stands or swings


@attrs.frozen(eq=False)
class FootContact:
    """How the feet meet the floor, left first."""

    stands: np.ndarray  # (frames, 2) bool
    ankle: np.ndarray  # (2,) m, height of the ankles when standing
    toe: np.ndarray  # (2,) m


def on_level_floor(human: HumanMotion) -> HumanMotion:
    """The motion on a floor that is level: what the lowest toe is above or below it for longer than a jump is taken away."""
    reach = max(1, round(0.5 * FLIGHT * human.fps))
    low = moving_extreme(human.of("toe")[..., 2].min(1), reach, largest=False)
    floor = gaussian_average(moving_extreme(low, reach, largest=True), 0.2 * FLIGHT * human.fps)
    notes = human.notes
    if np.ptp(floor) > UNEVEN:
        notes = (*notes, f"the floor under the feet varies by {100.0 * np.ptp(floor):.0f} cm; it is made level")
    points = human.points - floor[:, None, None] * np.array((0.0, 0.0, 1.0))
    return attrs.evolve(human, points=points, notes=notes)


def find_contact(human: HumanMotion) -> FootContact:
    """When each foot stands; shorter stops and hops than SHORTEST are none."""
    ankle, toe = human.of("ankle"), human.of("toe")
    standing = [np.percentile(points[..., 2], LOWEST, axis=0) for points in (ankle, toe)]
    toes = (toe[..., 2] < standing[1] + TOE_LIFT) & (_speed(toe, human.fps) < STILL)
    heels = (ankle[..., 2] < standing[0] + ANKLE_LIFT) & (_speed(0.5 * (ankle + toe), human.fps) < STILL)
    stands = toes & heels
    stands |= toes & ~stands.any(1, keepdims=True)  # on the ball of a foot, where no other foot stands
    shortest = max(1, round(SHORTEST * human.fps))
    for foot in range(2):
        for value in (False, True):  # first gaps in standing are filled, then short stops are taken out
            for start, stop in phases(stands[:, foot] == value):
                if stop - start < shortest and start > 0 and stop < len(stands):
                    stands[start:stop, foot] = not value
    return FootContact(stands=stands, ankle=standing[0], toe=standing[1])


def _speed(points: np.ndarray, fps: float) -> np.ndarray:
    """Along the floor, (frames, 2, 3) m -> (frames, 2) m/s."""
    return np.linalg.norm(np.gradient(points, axis=0)[..., :2], axis=-1) * fps


def phases(holds: np.ndarray) -> list[tuple[int, int]]:
    """First frame and the one after the last of every stretch in which `holds` (frames,) is true."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], holds.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
