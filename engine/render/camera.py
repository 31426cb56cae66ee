"""Orbit camera: where a picture looks from, and where points of the world are in it."""

import attrs
import numpy as np

FIELD_OF_VIEW = 40.0  # degrees, from bottom to top
NEAR = 0.05  # m in front of the eye; lines that are nearer are not drawn


@attrs.frozen(eq=False)
class OrbitCamera:
    """A perspective view, as MuJoCo's free camera: it stands `distance` (m) before `look_at`, angles in degrees."""

    look_at: np.ndarray  # (3,) m
    distance: float
    azimuth: float
    elevation: float
    size: tuple[int, int]  # pixels
    field_of_view: float = FIELD_OF_VIEW

    def axes(self) -> np.ndarray:
        """Right, up and forward in world axes, as the rows of (3, 3)."""
        (sin_a, sin_e), (cos_a, cos_e) = (f(np.radians((self.azimuth, self.elevation))) for f in (np.sin, np.cos))
        right, up = (sin_a, -cos_a, 0.0), (-sin_e * cos_a, -sin_e * sin_a, cos_e)
        return np.array((right, up, (cos_e * cos_a, cos_e * sin_a, sin_e)))

    def scale(self) -> float:
        """Pixels of a length of 1 m at a depth of 1 m."""
        return float(0.5 * self.size[1] / np.tan(np.radians(0.5 * self.field_of_view)))

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) -> x to the right and y down in pixels, and depth in m, (..., 3)."""
        axes = self.axes()
        seen = (points - (self.look_at - self.distance * axes[2])) @ axes.T.copy()
        scale = self.scale() / np.maximum(seen[..., 2], 1e-3)
        seen[..., 0] = 0.5 * self.size[0] + scale * seen[..., 0]
        seen[..., 1] = 0.5 * self.size[1] - scale * seen[..., 1]
        return np.asarray(seen)

    def project_lines(self, lines: np.ndarray) -> np.ndarray:
        """World segments (N, 2, 3) -> pixels (M, 2, 2): cut at the near plane, and without those behind it."""
        depth = (lines - self.look_at) @ self.axes()[2] + self.distance
        lines, depth = lines[(depth > NEAR).any(1)], depth[(depth > NEAR).any(1)]
        share = np.clip((NEAR - depth) / np.where(depth[:, ::-1] == depth, 1.0, depth[:, ::-1] - depth), 0.0, 1.0)
        cut = lines + np.where(depth > NEAR, 0.0, share)[..., None] * (lines[:, ::-1] - lines)
        return self.project(cut)[..., :2]
