"""Quality of a retargeted clip: what its feet, joints and balance are like, measured on the clip alone."""

import attrs
import numpy as np

from components.motion import Clip
from systems.motion.clips.stance import mass_centre
from systems.motion.kinematics import body_poses
from systems.motion.retarget.balance import off_the_soles, pressure_point
from systems.motion.retarget.feet import gap
from systems.robots.model import RobotModel

TOUCH = 0.005  # m; a point of a sole this near to the floor touches it
SLIDE = 0.05  # m/s that feet may slide while they stand
FOOT_HEIGHT = 0.06  # m
SINK = 0.01  # m that feet may be in the floor


@attrs.frozen
class ClipQuality:
    """What was measured of a clip; speeds in m/s, lengths in m."""

    slide: float  # 95th percentile of how fast touching points of soles slide
    slide_most: float
    sink: float  # deepest point of a sole below the floor
    apart: float  # least gap between the feet where they are about as high; below 0 one is in the other
    hover: float  # median height of the lowest point of the soles
    limits: float  # rad by which a joint is beyond its limit, at most; 0 within
    speed: float  # share of its motor's speed that the fastest joint has
    balanced: float  # share of the time on the floor in which the centre of pressure is under the soles
    outside: float  # 95th percentile of how far it is outside them

    def faults(self) -> list[str]:
        """What is not as it should be, one phrase each; empty for a sound clip. Balance is given, not judged."""
        return [
            phrase
            for bad, phrase in (
                (self.slide_most > SLIDE, f"feet slide with up to {100.0 * self.slide_most:.1f} cm/s while they stand"),
                (self.sink > SINK, f"a foot is {100.0 * self.sink:.1f} cm in the floor"),
                (self.hover > SINK, f"the feet hang {100.0 * self.hover:.1f} cm above the floor"),
                (self.apart < 0.0, f"one foot is {-100.0 * self.apart:.1f} cm in the other"),
                (self.limits > 0.0, f"a joint is {self.limits:.3f} rad beyond its limit"),
                (self.speed > 1.0, f"a joint moves with {100.0 * self.speed:.0f} % of its motor's speed"),
            )
            if bad
        ]


def measure_quality(clip: Clip, model: RobotModel) -> ClipQuality:
    """The quality of a clip whose joints are in the order of the robot."""
    position, rotation = body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position)
    soles = model.foot_points(position, rotation)
    limit = model.robot.position_limit.double().cpu().numpy()
    beyond = np.maximum(limit[:, 0] - clip.dof_position, clip.dof_position - limit[:, 1])
    speed = np.abs(np.diff(clip.dof_position, axis=0)) * clip.fps / model.robot.velocity_limit.double().cpu().numpy()
    slides = sliding(soles, clip.fps)
    pressure = pressure_point(mass_centre(model, position, rotation, slice(None)), clip.fps)
    away = off_the_soles(pressure, soles, soles[..., 2] < SINK)
    lowest = soles[..., 2].min(1)
    return ClipQuality(
        slide=float(np.percentile(slides, 95.0)) if len(slides) else 0.0,
        slide_most=float(slides.max(initial=0.0)),
        sink=float(max(0.0, -lowest.min())),
        apart=_apart(soles, np.array(model.foot_point_body)),
        hover=float(max(0.0, np.median(lowest))),
        limits=float(max(0.0, beyond.max())),
        speed=float(speed.max()),
        balanced=float((away <= 0.0).mean()) if len(away) else 1.0,
        outside=float(np.percentile(away, 95.0)) if len(away) else 0.0,
    )


def _apart(soles: np.ndarray, body: np.ndarray) -> float:
    """Least gap between the feet in frames in which neither is above the other, m."""
    left, right = (soles[:, body == foot] for foot in np.unique(body))
    level = np.abs(left[..., 2].min(1) - right[..., 2].min(1)) < FOOT_HEIGHT
    return float(gap(left[..., :2], right[..., :2])[level].min(initial=np.inf))


def sliding(soles: np.ndarray, fps: float) -> np.ndarray:
    """How fast points of soles (frames, points, 3) slide that touch the floor from one frame to the next, m/s each."""
    near = soles[..., 2] < TOUCH
    step = np.linalg.norm(np.diff(soles[..., :2], axis=0), axis=-1) * fps
    return step[near[1:] & near[:-1]]
