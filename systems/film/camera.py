"""Perspective camera of a film: where it looks from, and where points of the world are in its picture."""

import attrs
import numpy as np


@attrs.frozen(eq=False)
class FilmCamera:
    """A perspective view, as MuJoCo's free camera: metres and degrees."""

    look_at: np.ndarray  # (3,) m
    distance: float
    azimuth: float
    elevation: float
    field_of_view: float  # from bottom to top
    size: tuple[int, int]  # pixels

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) -> x to the right and y down in pixels, and depth in m, (..., 3)."""
        (sin_a, sin_e), (cos_a, cos_e) = (f(np.radians((self.azimuth, self.elevation))) for f in (np.sin, np.cos))
        forward = np.array((cos_e * cos_a, cos_e * sin_a, sin_e))
        right, up = np.array((sin_a, -cos_a, 0.0)), np.array((-sin_e * cos_a, -sin_e * sin_a, cos_e))
        seen = (points - (self.look_at - self.distance * forward)) @ np.stack((right, up, forward), 1)
        width, height = self.size
        scale = 0.5 * height / np.tan(np.radians(0.5 * self.field_of_view)) / np.maximum(seen[..., 2], 1e-3)
        seen[..., 0] = 0.5 * width + scale * seen[..., 0]
        seen[..., 1] = 0.5 * height - scale * seen[..., 1]
        return np.asarray(seen)
