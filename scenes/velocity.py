"""Teach a legged robot to walk with the velocity that it is asked for, on a plane or on terrain."""

from collections.abc import Callable
from functools import partial

from engine import Bundle, Experiment, Scene, Trial, table
from scenes import robots
from scenes.tasks import humanoidverse_locomotion, mjlab_velocity
from scenes.tasks.locomotion import learner, locomotion
from scenes.tasks.simulators import beside_mujoco
from scenes.tasks.velocity import LocomotionConfig
from systems import velocity_trial as trial
from systems.actuation import actuation
from systems.deploy.export import write_onnx
from systems.film.film import LONGEST
from systems.first_episode import all_episodes_ended
from systems.footage import episode_clips
from systems.metrics import locomotion_titles, report
from systems.motion.digests import robot_alone
from systems.physics import physics
from systems.ppo import go_on_learning, play
from systems.robots.display import robot_view
from systems.robots.model import RobotModel
from systems.robots.summary import robot_facts
from systems.tick import TICK

DT = 0.02  # s, control step
SHOTS = 2  # episodes in a film
CONFIGS = mjlab_velocity.CONFIGS | humanoidverse_locomotion.CONFIGS  # for --config; the first is the default


def velocity_scene(
    c: LocomotionConfig, model: RobotModel, *, rows: int, watch: Callable[[], Bundle] | None = None
) -> Scene:
    """The task, to learn in; with `watch`, a policy plays it without noise or pushes."""
    bundles = [
        physics(model, rows=rows, decimation=c.substeps, **c.simulator),
        actuation(controller=c.control, limit=c.task.limit, dt=DT, **c.motors(model.robot, bool(watch))),
        *locomotion(c, model, playing=watch is not None, dt=DT),
        *(learner(c, model) if watch is None else [play(c.learning), watch()]),
    ]
    return Scene([table("robot", rows=rows)], bundles, TICK, name="velocity", identity={"robot": model.robot.name})


def experiment(c: LocomotionConfig) -> Experiment:
    """Teach a legged robot to walk with the velocity that it is asked for, on a plane or on terrain."""
    description = robots.load(c.robot)
    model = c.build(description, dt=DT)
    scene, frames = partial(velocity_scene, c, model), round(min(c.seconds, LONGEST / SHOTS) / DT)
    footage = partial(trial.command_footage, frames=frames, dofs=model.robot.dof_names)
    played = partial(velocity_scene, model=model, rows=128, watch=trial.command_scores)
    filmed = partial(scene, rows=SHOTS, watch=footage)
    scored, longest = partial(trial.summarise_commands, dt=DT), round(min(c.seconds, 60.0) / DT) + 2
    evaluate = Trial(partial(played, c), longest, scored, identical=("robot",), over=all_episodes_ended)
    shown = partial(trial.film_of_commands, description=description, fps=1 / DT, terrain=model.terrain)
    return Experiment(
        train=partial(scene, rows=c.num_envs),
        evaluate=beside_mujoco(c, evaluate, played),
        film=Trial(filmed, frames + 1, shown, identical=("robot",), over=trial.all_walked),
        film_episode=partial(
            trial.film_commanded_columns, description=description, table="robot", fps=1 / DT, terrain=model.terrain
        ),
        clip_episode=episode_clips(model, table="robot", fps=1 / DT),
        export=write_onnx,
        go_on=go_on_learning,
        report=partial(report, dt=DT),
        titles=locomotion_titles(DT),
        panel=("reward/per_step", "episode/length", "error/linear_velocity", "error/yaw_rate"),
        display=robot_view(model, table="robot", dt=DT, threshold=None),
        iterations=c.iterations,
        best="reward/per_step",
        sources=robot_alone(model),
        facts=robot_facts(model),
    )
