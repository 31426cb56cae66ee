"""Show a motion clip as the robot would have to move: no physics, no learning."""

from functools import partial

from components.motion import MotionLibrary
from engine import Experiment, Scene, Trial, table
from scenes import robots
from systems.footage import film_size, footage
from systems.motion.digests import robot_and_clips
from systems.motion.files import ClipNames, SkipUnfit, read_clips
from systems.motion.library import ClipHeight, build_library
from systems.motion.places import RobotName
from systems.physics import physics
from systems.replay import film_clips, replay
from systems.robots.model import RobotModel, build_robot
from systems.robots.summary import naming_robot, robot_facts
from systems.tick import TICK

DT = 0.02  # s, control step


def replay_scene(model: RobotModel, library: MotionLibrary, rows: int, frames: int) -> Scene:
    """Row i plays clip i, and keeps so many frames for a film."""
    bundles = [
        physics(model, rows=rows, backend="kinematic", control="none"),
        replay(library, model.robot, dt=DT),
        *([footage(frames=frames, model=model)] if frames else []),
    ]
    identity = {"robot": model.robot.name, "clips": list(library.names)}
    return Scene([table("robot", rows=rows)], bundles, TICK, name="replay_motion", identity=identity)


def experiment(
    clip: ClipNames = "squat",
    robot: RobotName = "auto",
    clip_height: ClipHeight = "auto",
    skip_unfit: SkipUnfit = False,
) -> Experiment:
    """Show a motion clip before training on it: a film, and what verification finds."""
    clips = read_clips(clip, skip_unfit=skip_unfit)
    description = robots.load(robots.fitting(clips) if robot == "auto" else robot)
    model = build_robot(description, dt=DT)
    with naming_robot(model, robot):
        library = build_library(clips, model.robot, model, fps=1 / DT, height=clip_height, skip_unfit=skip_unfit)
    rows, frames = film_size(library, DT)
    scene = partial(replay_scene, model, library, rows)
    shown = partial(film_clips, description=description, model=model, fps=1 / DT)
    film = Trial(partial(scene, frames), frames + 1, shown, restores=())  # the first tick only places the robot
    sources = robot_and_clips(model, library)
    return Experiment(train=partial(scene, 0), film=film, iterations=1, sources=sources, facts=robot_facts(model))
