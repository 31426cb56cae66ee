"""Balance: the path of the centre of mass for which the floor pushes where a plan wants it.

The forces of the floor act as if at one point, the centre of pressure (or zero-moment point). For a mass at
height z above a point p they say c − z / (g + z̈) c̈ = p: the cart on a table of Kajita et al., "Biped walking
pattern generation by using preview control of zero-moment point", ICRA 2003. There a preview controller
follows p from the present on; a clip is known from end to end, so here all its frames are solved at once.
What the cart leaves out, the change of angular momentum, is then measured on the whole robot and added to
the plan until nothing changes: the dynamics filter of the same paper.
"""

import attrs
import numpy as np
import torch

from systems.maths import quaternion
from systems.motion.clips.legs import Motion, put_feet_down
from systems.motion.clips.outline import FPS, Outline, planted
from systems.motion.clips.stance import Stance
from systems.motion.kinematics import Kinematics, body_poses, continuous

GRAVITY = 9.81  # m/s²
SMOOTH = 1e-5  # m per m/s³: what jerk costs against a displaced centre of pressure
SETTLED = 2e-3  # m; a change of the plan smaller than this is the last
ROUNDS = 6
SHARED = 4  # frames that share a Jacobian


@attrs.frozen(eq=False)
class Effort:
    """What a motion asks of the floor, frame by frame."""

    centre: np.ndarray  # (T, 3) m, of mass
    acceleration: np.ndarray  # (T, 3) m/s², of the centre of mass
    spin: np.ndarray  # (T, 3) m²/s², change of angular momentum about it, per kg

    @property
    def arm(self) -> np.ndarray:
        """Height of the mass against the acceleration that the floor provides, z / (g + z̈), (T,) s²."""
        return np.asarray(self.centre[:, 2] / (GRAVITY + self.acceleration[:, 2]))

    @property
    def lever(self) -> np.ndarray:
        """How far the change of angular momentum moves the centre of pressure away from the cart's, (T, 2) m."""
        turning = np.stack((-self.spin[:, 1], self.spin[:, 0]), 1)
        return np.asarray(turning / (GRAVITY + self.acceleration[:, 2:]))

    @property
    def pressure(self) -> np.ndarray:
        """Centre of pressure on the floor, (T, 2) m."""
        return np.asarray(self.centre[:, :2] - self.arm[:, None] * self.acceleration[:, :2] + self.lever)

    @property
    def friction(self) -> np.ndarray:
        """Horizontal against vertical force of the floor, (T,)."""
        sideways = np.linalg.norm(self.acceleration[:, :2], axis=1)
        return np.asarray(sideways / (GRAVITY + self.acceleration[:, 2]))


def measure(model: Kinematics, motion: Motion) -> Effort:
    """The effort of a motion at FPS, by differences of frames; it rests before and after.

    Momenta are taken between frames, so that their change is one of neighbours like the acceleration.
    """
    position, rotation = body_poses(model, *motion)
    turn = torch.from_numpy(continuous(rotation))
    share = (model.body_mass / model.body_mass.sum())[:, None]
    centres = position + quaternion.rotate(turn, torch.from_numpy(model.body_com).expand(len(turn), -1, -1)).numpy()
    centre = (share * centres).sum(1)
    apart = centres - centre[:, None]
    orbital = (share * np.cross(0.5 * (apart[1:] + apart[:-1]), FPS * np.diff(apart, axis=0))).sum(1)
    rate = FPS * quaternion.to_rotation_vector(quaternion.difference(turn[1:], turn[:-1]))
    between = quaternion.normalize(turn[1:] + turn[:-1])
    own = np.einsum("bij,tbj->tbi", model.body_inertia, quaternion.rotate_inverse(between, rate).numpy())
    spin = orbital + quaternion.rotate(between, torch.from_numpy(own)).numpy().sum(1) / model.body_mass.sum()
    still = np.zeros((1, 3))
    return Effort(
        centre=centre,
        acceleration=_second_difference(centre),
        spin=np.concatenate((still, FPS * np.diff(spin, axis=0), still)),
    )


def _second_difference(value: np.ndarray) -> np.ndarray:
    """Acceleration of frames (T, ...), 0 at both ends."""
    inside = (value[2:] - 2.0 * value[1:-1] + value[:-2]) * FPS**2
    return np.concatenate((np.zeros_like(value[:1]), inside, np.zeros_like(value[:1])))


def follow_pressure(pressure: np.ndarray, arm: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How the centre of mass moves for the floor to push at `pressure`: (T, 2) m.

    `pressure`: (T, 2) m, `arm`: (T,) s², z / (g + z̈) of the mass. It rests at `begin` (2,) in the first three
    frames and at `end` in the last three; the pressure is left by as little, in the least-squares sense, as that needs.
    """
    frames = len(pressure)
    cart, jerk = np.eye(frames), np.zeros((frames - 3, frames))
    inner = np.arange(1, frames - 1)
    for offset, weight in ((-1, -1.0), (0, 2.0), (1, -1.0)):
        cart[inner, inner + offset] += weight * arm[inner] * FPS**2
    for offset, weight in enumerate((-1.0, 3.0, -3.0, 1.0)):
        jerk[np.arange(frames - 3), np.arange(frames - 3) + offset] = SMOOTH * weight * FPS**3
    matrix = np.concatenate((cart, jerk))
    wanted = np.concatenate((pressure, np.zeros((frames - 3, 2))))
    centre = np.zeros((frames, 2))
    centre[:3], centre[-3:] = begin, end
    free = slice(3, frames - 3)
    moving = matrix[:, free]
    centre[free] = np.linalg.solve(moving.T @ moving, moving.T @ (wanted - matrix @ centre))
    return centre


def _stay_above_the_soles(stance: Stance, outline: Outline) -> Motion:
    """The motion with feet and centre of mass at rest; frames that ask for the same are solved once."""
    asked = np.concatenate((np.stack((outline.height, outline.lean, outline.heading), 1), outline.dofs), 1)
    once, back = np.unique(np.round(asked, 12), axis=0, return_inverse=True)
    height, lean, heading = once[:, :3].T
    distinct = planted(stance, once[:, 3:], height=height, lean=lean, heading=heading)
    motion, _ = put_feet_down(stance, distinct, np.tile(stance.centre, (len(once), 1)))
    position, rotation, dofs = (part[back.reshape(-1)] for part in motion)
    return position, rotation, dofs


def cart_path(stance: Stance, pressure: np.ndarray) -> np.ndarray:
    """The way (T, 2) m of a mass without angular momentum, at the height at which the robot's is when it stands."""
    still = np.zeros((2, 3)), np.tile((1.0, 0.0, 0.0, 0.0), (2, 1)), np.tile(stance.default, (2, 1))
    arm = (stance.height + measure(stance.model, still).centre[0, 2]) / GRAVITY
    return follow_pressure(pressure, np.full(len(pressure), arm), pressure[0], pressure[-1])


def balance(stance: Stance, outline: Outline) -> Motion:
    """The motion of `outline` whose centre of pressure is where it asks."""
    if outline.pressure is None:
        return _stay_above_the_soles(stance, outline)
    pressure, lever = outline.pressure, np.zeros_like(outline.pressure)
    centre, solved = cart_path(stance, pressure), None
    for _ in range(ROUNDS):
        motion, solved = put_feet_down(stance, outline, centre, solved, SHARED)
        effort = measure(stance.model, motion)
        change, lever = np.abs(effort.lever - lever).max(), effort.lever
        if change < SETTLED:
            break
        centre = follow_pressure(pressure - lever, effort.arm, pressure[0], pressure[-1])
    return motion
