"""Simulators by name: what moves the rows of a scene, and how a policy is tried in a simulator that its run learned."""

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from components.footage import Footage
from engine import Bundle, Scene, Trial
from engine.ecs.schedule import Schedule
from engine.errors import SceneError
from scenes.tasks import Config, SharedConfig
from systems.physics import physics
from systems.physics.isaacgym.launch import standin_allowed
from systems.robots.model import RobotModel


def simulators(
    config: Config, model: RobotModel, *, rows: int, watching: Bundle | None, longest: int, dt: float
) -> list[Bundle]:
    """What moves the rows, for learning or for a bundle that is `watching` a policy for up to `longest` control steps.

    Behind the backend "learned", which only plays, stands MuJoCo beside it.
    """
    moved = partial(physics, model, rows=rows, decimation=config.substeps)
    if config.backend != "learned":
        return [moved(**config.simulator), *([] if watching else unused(config))]
    if watching is None:
        return [moved(), Bundle("learned_simulator", checks=[refuse_training])]
    from systems.learning.dynamics import make_dynamics
    from systems.side_by_side import side_by_side

    dynamics = make_dynamics(model.robot.dof_names, dt, hidden=config.world_model.model_hidden)
    return [
        moved(backend="learned", dynamics=dynamics),
        side_by_side(
            model,
            rows=rows,
            decimation=config.substeps,
            nthread=config.physics_threads,
            longest=longest,
            filmed=Footage in watching.components,
        ),
    ]


def unused(config: SharedConfig) -> list[Bundle]:
    """Refuses what has no effect on rows that learn; a policy may be played otherwise than its run learned, whose flags these are."""
    return [Bundle("unused", checks=[partial(refuse_unused, config.unused)])] if config.unused else []


def refuse_unused(sentence: str, schedule: Schedule) -> None:
    """SceneError that says what has no effect."""
    raise SceneError(sentence)


def refuse_training(schedule: Schedule) -> None:
    """SceneError where a policy would learn in a simulator that a run has learned."""
    raise SceneError(
        "--backend learned only plays a policy, in the simulator that its run learned: write --play RUN or --eval RUN beside "
        "it. To train, leave it out; --learner world_model learns a simulator, and in it."
    )


def trial_in(config: Config, trial: Trial, *, filmed: bool = False) -> Trial:
    """The trial in the simulator of that name: a learned one is taken from the trained world, and its error is read too."""
    if config.backend != "learned":
        return trial
    from systems.side_by_side import filmed_beside, measured_beside

    cure = "Only runs of --learner world_model learn one: name such a run, or leave --backend out."
    return attrs.evolve(
        trial,
        restores=(*trial.restores, "Dynamics"),
        cures={"Dynamics": f"It has no learned simulator. {cure}"},
        read=partial(filmed_beside if filmed else measured_beside, read=trial.read),
    )


def beside_mujoco(config: Any, trial: Trial, scene: Callable[[Any], Scene]) -> Trial:
    """The trial; in another simulator with the numbers of the same policy in MuJoCo, in the scene that `scene` makes of that configuration."""
    if config.backend not in ("warp", "isaacgym"):
        return trial
    there = attrs.evolve(config, backend="mujoco", device="cpu", isaacgym_python="")
    called = "isaacgym stand-in" if config.backend == "isaacgym" and standin_allowed() else config.backend
    return attrs.evolve(trial, called=called, beside={"mujoco": partial(scene, there)})
