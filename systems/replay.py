"""Play motions without physics: the robot is put where its clip says, tick by tick."""

from pathlib import Path

import numpy as np

from components.episode import Done, Rewritten
from components.motion import MotionCursor, MotionLibrary, MotionReference, TrackedState
from components.robot import DofState, Robot, RobotDescription, RootState
from engine import Bundle, World, Write, any_row, system, term
from systems import terminations as end
from systems.episode import mark_all_done, mark_rewritten
from systems.footage import film_of
from systems.kinematics import derive_tracked_state
from systems.motion.kinematics import Kinematics, body_poses
from systems.reference import advance_motion, draw_motion, motion_ended, sample_reference, sample_root_and_dofs
from systems.robots.model import RobotModel
from systems.tick import ADVANCE, BEGIN, COMMAND, REFRESH, RESET, SENSE, STEP, TERMINATE
from systems.tracking import start_on_reference, tracked_bodies


def follow_motion(cursor: MotionCursor, library: MotionLibrary, root: Write[RootState], dofs: Write[DofState]) -> None:
    """Put root and joints where the clip has them at the end of this control step."""
    place, facing, velocity, spin, joints, speeds = sample_root_and_dofs(library, cursor.clip, cursor.time)
    root.position.copy_(place)
    root.rotation.copy_(facing)
    root.linear_velocity.copy_(velocity)
    root.angular_velocity.copy_(spin)
    dofs.position.copy_(joints)
    dofs.velocity.copy_(speeds)


def replay(library: MotionLibrary, robot: Robot, *, dt: float = 0.02) -> Bundle:
    """Row i plays clip i modulo their number from its start to its end, and again; needs physics with control="none".

    One iteration is the longest clip.
    """
    again = any_row(Rewritten, "rows")
    return Bundle(
        "replay",
        components=[Done, Rewritten, MotionCursor, MotionReference, TrackedState],
        resources=[library, tracked_bodies(robot)],
        systems={
            BEGIN: [system(mark_all_done)],
            STEP: [system(follow_motion)],
            SENSE: [system(derive_tracked_state, after="refresh_kinematics")],
            TERMINATE: [
                end.terminations({"motion_end": term(motion_ended, kind="time_limit")}),
                system(mark_rewritten),
            ],
            ADVANCE: [system(advance_motion, dt=dt)],
            RESET: [
                system(draw_motion, when=again, start="start", order="cycle", dt=dt),
                system(start_on_reference, name="reset_to_reference", when=again),
            ],
            REFRESH: [system(derive_tracked_state, when=again, after="refresh_kinematics")],
            COMMAND: [system(sample_reference)],
        },
        axes={"tracked": robot.tracked_bodies, "termination": ("motion_end",)},
        iteration=int(library.frames.max()) - 1,
    )


def portrait(library: MotionLibrary, clip: int, robot: Robot, model: Kinematics) -> str:
    """A clip in one line: its length, its fastest joint, and how low the soles get."""
    frames = slice(int(library.start[clip]), int(library.last[clip]) + 1)
    speed = library.dof_velocity[frames].abs().double().numpy()
    share = speed / robot.velocity_limit.double().numpy()
    frame, joint = np.unravel_index(share.argmax(), share.shape)
    states = (library.root_position, library.root_rotation, library.dof_position)
    soles = model.foot_points(*body_poses(model, *(part[frames].double().numpy() for part in states)))[..., 2]
    told = [f"{float(library.seconds[clip]):.2f} s, {len(speed)} frames at {library.fps:g} per second"]
    told.append(
        f"fastest joint {robot.dof_names[joint]} with {speed[frame, joint]:.1f} rad/s at {frame / library.fps:.2f} s, "
        f"{100.0 * share[frame, joint]:.0f} % of its limit"
    )
    if soles.size:
        lowest = soles.min(-1)
        told.append(f"lowest point of a sole {100.0 * lowest.min():+.1f} cm at {lowest.argmin() / library.fps:.2f} s")
    return "; ".join(told)


def film_clips(
    world: World, path: Path, *, description: RobotDescription, model: RobotModel, fps: float
) -> dict[str, str]:
    """Film the clips of a world's library, one after another; what each is like, and what verification found."""
    library = world[MotionLibrary]
    seen = film_of(world, path, description=description, fps=fps, ghost=False)
    found = {f"finding {i}": text for i, text in enumerate(library.warnings, 1)} or {"findings": "none"}
    rows = len(world[Done].ended)
    shown = {name: portrait(library, i, model.robot, model) for i, name in enumerate(library.names[:rows])}
    return {"robot": model.robot.name, **shown, **found, **seen}
