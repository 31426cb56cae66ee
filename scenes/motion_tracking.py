"""Teach a humanoid to follow motion clips."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from components.motion import MotionLibrary
from engine import Bundle, Experiment, Scene, Trial, table
from scenes import robots
from scenes.tasks import Config, g1, humanoidverse
from scenes.tasks.learners import alarms, learner, player, tables_of, trained
from scenes.tasks.simulators import beside_mujoco, simulators, trial_in
from scenes.tasks.tracking_sets import check_tables
from systems.actuation import actuation
from systems.deploy.export import write_onnx
from systems.evaluation import WORST, all_scored, evaluation, summarise
from systems.footage import all_filmed, episode_clips, film_columns, film_of, film_size, footage
from systems.metrics import report, titles
from systems.motion.digests import robot_and_clips
from systems.motion.files import read_clips
from systems.motion.library import build_library, clip_facts
from systems.ppo import go_on_learning
from systems.robots.display import robot_view
from systems.robots.model import RobotModel
from systems.robots.summary import naming_robot, robot_facts
from systems.tick import TICK

CONFIGS = g1.CONFIGS | humanoidverse.CONFIGS  # for --config; the first is the default


def tracking_scene(
    c: Config, model: RobotModel, library: MotionLibrary, *, rows: int, watch: Callable[[], Bundle] | None = None
) -> Scene:
    """The task, to learn in; with `watch`, a policy plays every clip from its start, without noise or pushes."""
    watching, playing = watch() if watch else None, bool(watch)
    tables = tables_of(c, model, playing=playing)
    bundles = [
        *simulators(c, model, rows=rows, watching=watching, longest=int(library.frames.max()), dt=c.dt),
        actuation(controller=c.control, around=c.around, limit=c.task.limit, dt=c.dt, **c.motors(model.robot, playing)),
        *c.task.bundles(c, library, model, tables, playing=playing, dt=c.dt),
        *([player(c), watching] if watching else learner(c, model, library, tables.observations, dt=c.dt)),
    ]
    identity = {"robot": model.robot.name, "clips": list(library.names)}
    return Scene([table("robot", rows=rows)], bundles, TICK, name="motion_tracking", identity=identity)


def experiment(c: Config) -> Experiment:
    """Teach a humanoid to follow motion clips."""
    check_tables(c)
    clips = read_clips(c.clip, skip_unfit=c.skip_unfit)
    description = c.task.describe(robots.load(robots.fitting(clips, c.task.robots) if c.robot == "auto" else c.robot))
    model = c.build(description, dt=c.dt)
    with naming_robot(model, c.robot):
        library = build_library(clips, model.robot, model, **c.loading)
    scene, same, longest = partial(tracking_scene, model=model, library=library), ("robot",), int(library.frames.max())
    (takes, frames), ground = film_size(library, c.dt), model.terrain
    show = partial(film_of, description=description, fps=c.rate, terrain=ground)
    columns = partial(film_columns, description=description, library=library, table="robot", fps=c.rate, terrain=ground)
    played = partial(scene, rows=max(64, len(library.names)), watch=evaluation)
    evaluate = Trial(partial(played, c), longest, summarise, identical=same, over=all_scored, worst=WORST)
    filmed = partial(scene, c, rows=takes, watch=partial(footage, frames=frames, model=model))
    return Experiment(
        train=partial(trained, c, scene),
        evaluate=beside_mujoco(c, trial_in(c, evaluate), played),
        film=trial_in(c, Trial(filmed, frames + 1, show, identical=same, over=all_filmed), filmed=True),
        film_episode=columns,
        clip_episode=episode_clips(model, table="robot", fps=c.rate),
        policy=Path(__file__).parent / "policies" / "motion_tracking.lockstep",
        export=write_onnx,
        go_on=go_on_learning,
        report=partial(report, dt=c.dt),
        alarms=alarms(c),
        titles=titles(c.dt),
        panel=("reward/per_step", "episode/length", "episode/return", "error/body_position"),
        display=robot_view(model, table="robot", dt=c.dt, threshold=0.25),
        iterations=c.enough_iterations,
        best="reward/per_step",  # of all rows, and still rising when episodes have long stopped getting longer
        sources=robot_and_clips(model, library),
        facts=robot_facts(model) | clip_facts(library, c.clips_at_once),
    )
