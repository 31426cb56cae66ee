"""The frame rate that a clip's jumps show: what is in the air falls at 9.81 m/s²."""

import numpy as np

from components.robot import Robot

GRAVITY = 9.81  # m/s²
PUBLISHED_RATES = (24.0, 25.0, 30.0, 50.0, 60.0, 100.0, 120.0)
CLEARANCE, RISE = 0.06, 0.15  # m that feet are up in a flight, and that the centre of mass moves up or down in it
FIT = 0.05  # share of the rise by which the path may differ from a parabola
SHORTEST = 6  # frames
UPRIGHT, HIGH = 0.5, 0.8  # z of the root's own z axis, and share of the standing height that the root keeps
NEAR = 1.1  # how far a jump's rate may be from a published one


def jump_rate(low: np.ndarray, mass: np.ndarray, root: np.ndarray, up: np.ndarray, robot: Robot) -> float | None:
    """Frames per second at which the highest jump of a clip falls as everything does; None without a sound jump.

    All (T,): height of the lowest foot point, of the centre of mass and of the root, and the root's uprightness.
    """
    floor = float(np.percentile(low, 20.0))
    flying = (low > floor + CLEARANCE) & (up > UPRIGHT) & (root - floor > HIGH * robot.default_height)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flying, [False])).astype(int)))
    found: list[tuple[float, float]] = []
    for begin, end in edges.reshape(-1, 2):
        if begin == 0 or end == len(low) or end - begin < SHORTEST + 2:
            continue
        path = mass[begin + 1 : end - 1]
        frames = np.arange(len(path)) - 0.5 * (len(path) - 1)
        curve = np.polyfit(frames, path, 2)
        rise = float(np.ptp(path))
        if curve[0] < 0.0 and rise > RISE and np.abs(np.polyval(curve, frames) - path).max() < FIT * rise:
            found.append((rise, float(np.sqrt(-0.5 * GRAVITY / curve[0]))))
    return max(found)[1] if found else None


def published_near(rate: float) -> float | None:
    """The published rate that a jump's rate means; None where it is near none."""
    nearest = min(PUBLISHED_RATES, key=lambda each: abs(np.log(each / rate)))
    return nearest if max(nearest / rate, rate / nearest) < NEAR else None
