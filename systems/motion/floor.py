"""Floor contact of clips: finds those that sink or hover, and puts their feet on the floor."""

import attrs
import numpy as np

from components.motion import Clip
from engine.errors import SceneError
from systems.maths.smoothing import gaussian_average, moving_extreme
from systems.motion.findings import ClipFinding

FLOOR_SINK, FLOOR_HOVER = 0.01, 0.02  # m that feet may be below the floor, or hang above it in the median frame
FLOOR_FAR = 1.0  # m; a clip as far off as this is not about this floor
FLIGHT = 1.0  # s; feet that are up for longer are not jumping but misplaced
MAX_DRIFT = 0.2  # m that `height="auto"` may move a clip by differently from frame to frame


def check_floor(clip: Clip, low: np.ndarray) -> list[ClipFinding]:
    """Warn of feet in or above the floor by the height of the lowest foot point, `low`: (T,) m.

    Raises SceneError when the clip belongs to no floor near this one.
    """
    cure = "Say --clip-height auto to put the feet on the floor"
    middle, frame = float(np.median(low)), int(low.argmin())
    if abs(middle) > FLOOR_FAR:
        raise SceneError(
            f"{clip.title}: the lowest foot is at {middle:.2f} m in the median frame; the floor is at 0. If lengths are in "
            "metres, say --clip-height auto to put the feet on the floor; feet or inches must be converted."
        )
    warnings = []
    if low[frame] < -FLOOR_SINK:
        text = f"{clip.at(frame)}: a foot is {-100.0 * low[frame]:.1f} cm under the floor. {cure}."
        warnings.append(ClipFinding("feet under the floor", text))
    if middle > FLOOR_HOVER:
        text = (
            f"{clip.title}: the lowest foot hangs {100.0 * middle:.1f} cm above the floor in the median frame. {cure}."
        )
        warnings.append(ClipFinding("feet above the floor", text))
    return warnings


def put_on_floor(clip: Clip, low: np.ndarray) -> tuple[Clip, list[ClipFinding]]:
    """Take away the slowly changing height of the lowest foot; jumps, which are short, stay as high as they are.

    The floor line is a morphological opening over FLIGHT seconds, the largest curve below `low` without
    peaks shorter than that, smoothed over a tenth of it and lowered where a deep crouch would sink for that
    by more than FLOOR_SINK. `low`: (T,) m.
    """
    floor = _floor_line(low, clip.fps)
    note = ""
    if np.ptp(floor) > MAX_DRIFT:
        note = f" The feet leave the floor for over {FLIGHT:g} s, so all frames are moved alike."
        floor = np.full_like(low, np.percentile(low, 10.0))
    if np.abs(floor).max() < 1e-3:
        return clip, []
    moved = clip.root_position - floor[:, None] * np.array((0.0, 0.0, 1.0))
    change = f"{-100.0 * floor.max():+.1f} to {-100.0 * floor.min():+.1f} cm"
    finding = f"{clip.title}: height changed by {change} to put feet on the floor.{note}"
    return attrs.evolve(clip, root_position=moved, body_position=None, body_rotation=None), [
        ClipFinding("heights that were changed", finding)
    ]


def _floor_line(low: np.ndarray, fps: float) -> np.ndarray:
    """The slowly changing height of the floor under `low`, at most FLOOR_SINK above it, (T,) -> (T,) m."""
    reach, std = max(1, round(0.5 * FLIGHT * fps)), 0.1 * FLIGHT * fps
    lowest = moving_extreme(low, reach, largest=False)
    floor = gaussian_average(moving_extreme(lowest, reach, largest=True), std)
    sunk = np.maximum(floor - low - FLOOR_SINK, 0.0)
    spread = moving_extreme(sunk, max(1, round(3.0 * std)), largest=True)  # as far as the average below reaches
    return floor - gaussian_average(spread, std)
