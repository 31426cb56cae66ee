"""Kinematic replay of motion clips: the robot is put where its clip says, tick by tick, without physics."""

from pathlib import Path

from components.episode import Done, Rewritten
from components.motion import MotionCursor, MotionLibrary, MotionReference, TrackedState
from components.robot import DofState, Robot, RobotDescription, RootState
from engine import Bundle, World, Write, any_row, system, term
from systems.episode import mark_all_done, mark_rewritten
from systems.footage import film_of
from systems.kinematics import derive_tracked_state
from systems.maths.bodies import tracked_bodies
from systems.motion.summary import clip_summary
from systems.reference import advance_motion, draw_motion, motion_ended, sample_reference, sample_root_and_dofs
from systems.robots.model import RobotModel
from systems.terminations import terminations
from systems.tick import ADVANCE, BEGIN, COMMAND, REFRESH, RESET, SENSE, STEP, TERMINATE
from systems.tracking import start_on_reference


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
                terminations({"motion_end": term(motion_ended, kind="time_limit")}),
                system(mark_rewritten),
            ],
            ADVANCE: [system(advance_motion, dt=dt)],
            RESET: [
                system(draw_motion, when=again, start_share=1.0, order="cycle", dt=dt),
                system(start_on_reference, name="reset_to_reference", when=again),
            ],
            REFRESH: [system(derive_tracked_state, when=again, after="refresh_kinematics")],
            COMMAND: [system(sample_reference)],
        },
        axes={"tracked": robot.tracked_bodies, "termination": ("motion_end",)},
        iteration=int(library.frames.max()) - 1,
    )


def film_clips(
    world: World, path: Path, *, description: RobotDescription, model: RobotModel, fps: float
) -> dict[str, str]:
    """Film the clips of a world's library, one after another; what each is like, and what verification found."""
    library = world[MotionLibrary]
    seen = film_of(world, path, description=description, fps=fps, ghost=False)
    found = {f"finding {i}": text for i, text in enumerate(library.warnings, 1)} or {"findings": "none"}
    rows = len(world[Done].ended)
    shown = {name: clip_summary(library, i, model.robot, model) for i, name in enumerate(library.names[:rows])}
    return {"robot": model.robot.name, **shown, **found, **seen}
