"""Teach a humanoid to follow motion clips."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from components.motion import MotionLibrary
from engine import Bundle, Experiment, Scene, Trial, table
from scenes import robots
from scenes.tasks import Config, g1, humanoidverse
from scenes.tasks.learners import alarms, learner, observed, player, trained
from scenes.tasks.simulators import simulators, trial_in
from systems.actuation import actuation
from systems.deploy.export import write_onnx
from systems.evaluation import WORST, all_scored, evaluation, summarise
from systems.footage import all_filmed, film_columns, film_of, film_size, footage
from systems.metrics import report, titles
from systems.motion.digests import robot_and_clips
from systems.motion.files import read_clips
from systems.motion.library import build_library
from systems.ppo import go_on_learning
from systems.robots.display import robot_view
from systems.robots.model import RobotModel, build_robot
from systems.robots.summary import naming_robot, robot_facts
from systems.tick import TICK

DT = 0.02  # s, control step
CONFIGS = {  # for --config; the first is the default
    "laptop": g1.LAPTOP,
    "published": g1.PUBLISHED,
    "humanoidverse": humanoidverse.PUBLISHED,
    "humanoidverse_laptop": humanoidverse.LAPTOP,
}


def tracking_scene(
    c: Config, model: RobotModel, library: MotionLibrary, *, rows: int, watch: Callable[[], Bundle] | None = None
) -> Scene:
    """The task, to learn in; with `watch`, a policy plays every clip from its start, without noise or pushes."""
    watching, playing, seen = watch() if watch else None, bool(watch), observed(c, model, playing=bool(watch))
    bundles = [
        *simulators(c, model, rows=rows, watching=watching, longest=int(library.frames.max()), dt=DT),
        actuation(controller=c.control, around=c.around, limit=c.task.limit, dt=DT, **c.motors(model.robot, playing)),
        *c.task.bundles(c, library, model, seen, playing=playing, dt=DT),
        *([player(c), watching] if watching else learner(c, model, library, seen, dt=DT)),
    ]
    identity = {"robot": model.robot.name, "clips": list(library.names)}
    return Scene([table("robot", rows=rows)], bundles, TICK, name="motion_tracking", identity=identity)


def experiment(c: Config) -> Experiment:
    """Teach a humanoid to follow motion clips."""
    clips = read_clips(c.clip, skip_unfit=c.skip_unfit)
    description = c.task.describe(robots.load(robots.fitting(clips, c.task.robots) if c.robot == "auto" else c.robot))
    model = build_robot(
        description, control=c.actuators, dt=DT / c.substeps, self_collision=c.self_collision, solver=c.solver
    )
    with naming_robot(model, c.robot):
        library = build_library(clips, model.robot, model, fps=1 / DT, height=c.clip_height, skip_unfit=c.skip_unfit)
    scene, same, longest = partial(tracking_scene, c, model, library), ("robot",), int(library.frames.max())
    takes, frames = film_size(library, DT)
    played_scene = partial(scene, rows=max(64, len(library.names)), watch=evaluation)
    filmed = partial(scene, rows=takes, watch=partial(footage, frames=frames, dofs=model.robot.dof_names))
    show = partial(film_of, description=description, fps=1 / DT)
    return Experiment(
        train=partial(trained, c, partial(tracking_scene, model=model, library=library)),
        evaluate=trial_in(c, Trial(played_scene, longest, summarise, identical=same, over=all_scored, worst=WORST)),
        film=trial_in(c, Trial(filmed, frames + 1, show, identical=same, over=all_filmed), filmed=True),
        film_episode=partial(film_columns, description=description, library=library, table="robot", fps=1 / DT),
        policy=Path(__file__).parent / "policies" / "motion_tracking.lockstep",
        export=write_onnx,
        go_on=go_on_learning,
        report=partial(report, dt=DT),
        alarms=alarms(c),
        titles=titles(DT),
        panel=("reward/per_step", "episode/length", "episode/return", "error/body_position"),
        display=robot_view(model, table="robot", dt=DT, threshold=0.25),
        iterations=c.iterations,
        best="reward/per_step",  # of all rows, and still rising when episodes have long stopped getting longer
        sources=robot_and_clips(model, library),
        facts=robot_facts(model),
    )
