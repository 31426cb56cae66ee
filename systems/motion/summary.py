"""Summary of a motion clip in one line, for people."""

import numpy as np

from components.motion import MotionLibrary
from components.robot import Robot
from systems.motion.kinematics import Kinematics, body_poses


def clip_summary(library: MotionLibrary, clip: int, robot: Robot, model: Kinematics) -> str:
    """A clip in one line: its length, its fastest joint, and how low the soles get."""
    frames = slice(int(library.start[clip]), int(library.last[clip]) + 1)
    speed = library.dof_velocity[frames].abs().double().numpy()
    share = speed / robot.velocity_limit.double().numpy()
    frame, joint = np.unravel_index(share.argmax(), share.shape)
    states = (library.root_position, library.root_rotation, library.dof_position)
    soles = model.foot_points(*body_poses(model, *(part[frames].double().numpy() for part in states)))[..., 2]
    lines = [f"{float(library.seconds[clip]):.2f} s, {len(speed)} frames at {library.fps:g} per second"]
    lines.append(
        f"fastest joint {robot.dof_names[joint]} with {speed[frame, joint]:.1f} rad/s at {frame / library.fps:.2f} s, "
        f"{100.0 * share[frame, joint]:.0f} % of its limit"
    )
    if soles.size:
        lowest = soles.min(-1)
        lines.append(f"lowest point of a sole {100.0 * lowest.min():+.1f} cm at {lowest.argmin() / library.fps:.2f} s")
    return "; ".join(lines)
