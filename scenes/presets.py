"""Presets of the motion tracking scene, which say what is learned, and recipes, which say by what numbers."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from components.motion import MotionLibrary
from components.robot import RobotDescription
from engine import Bundle, SceneError, Term
from systems.actuation import Controller
from systems.episode import episode
from systems.humanoidverse import LIMIT, humanoidverse, humanoidverse_observations, humanoidverse_robot
from systems.kinematics import kinematics
from systems.randomization import randomization
from systems.robots.model import RobotModel
from systems.tracking import modern_observations, modern_rewards, modern_terminations, reset_noise, tracking

GYRO = (0.04525, 0.0, -0.08339)  # m, gyro and velocimeter of the G1, in the pelvis frame
RECIPES: dict[str, dict[str, Any]] = {
    "laptop": {
        "num_envs": 512,
        "substeps": 3,
        "hidden": (256, 128),
        "robustness": 0.1,
        "exploration": 0.25,
        "iterations": 300,
        "learning": {"desired_kl": 0.02, "entropy_weight": 0.001, "value_clip": math.inf},
    },
    "published": {
        "num_envs": 4096,
        "substeps": 4,
        "hidden": (512, 256, 128),
        "robustness": 1.0,
        "exploration": 1.0,
        "iterations": 30_000,
        "learning": {},
    },
    "humanoidverse": {
        "num_envs": 4096,
        "substeps": 4,
        "hidden": (512, 256, 128),
        "robustness": 1.0,
        "exploration": 0.8,
        "iterations": 1_000_000,
        "normalise": False,
        "learning": {
            "gamma": 0.99,
            "lam": 0.95,
            "epochs": 5,
            "minibatches": 4,
            "clip": 0.2,
            "value_clip": 0.2,
            "value_weight": 1.0,
            "entropy_weight": 0.01,
            "desired_kl": 0.01,
            "learning_rate": 1e-3,
            "lowest_rate": 1e-5,
            "highest_rate": 1e-2,
            "max_grad_norm": 1.0,
        },
    },
}


@attrs.frozen
class Numbers:
    """What the scene needs to know, from flags, recipe and preset; flags win, then the recipe."""

    num_envs: int
    substeps: int
    hidden: tuple[int, ...]
    robustness: float
    exploration: float
    iterations: int
    control: Controller
    around: Literal["default", "reference"]
    seconds: float
    self_collision: bool
    learning: Mapping[str, Any]
    normalise: bool = True


@attrs.frozen
class Preset:
    """One task on any humanoid. `task` returns its bundles; `limit` bounds actions and observations."""

    recipe: str
    numbers: Mapping[str, Any]
    robot: Callable[[set[int]], str]  # the usual one for clips with so many joints; built-in ones do not say
    describe: Callable[[RobotDescription], RobotDescription]
    observe: Callable[..., dict[str, Term]]
    task: Callable[..., list[Bundle]]
    limit: float = math.inf


def pushes(share: float, dt: float) -> Bundle:
    """Encoders that are off, and a `share` of the published pushes."""
    if not share:
        return randomization(push_interval=None, dt=dt)
    x, y, z, roll, pitch, yaw = (share * most for most in (0.5, 0.5, 0.2, 0.52, 0.52, 0.78))
    return randomization(push_linear=(x, y, z), push_angular=(roll, pitch, yaw), dt=dt)


def modern_task(
    library: MotionLibrary,
    model: RobotModel,
    observations: Mapping[str, Term],
    *,
    playing: bool,
    seconds: float,
    robustness: float,
    noise_curriculum: bool,
    dt: float,
) -> list[Bundle]:
    """The G1 tracking task; `playing` a policy: from each clip's start, without noise, pushes or end."""
    if noise_curriculum:
        raise SceneError(
            "noise_curriculum=True asks for sensor noise that grows, which the preset 'modern' does not have; "
            "leave it out or choose --preset humanoidverse."
        )
    rewards = modern_rewards()
    if not model.self_collision:
        del rewards["self_collision"]  # nothing to count
    seconds = math.inf if playing else seconds
    return [
        kinematics(sensor=GYRO if model.robot.name.startswith("g1") else (0.0, 0.0, 0.0), feet=False),
        episode(seconds=seconds, dt=dt, spread=not playing),
        tracking(
            library,
            model.robot,
            rewards=rewards,
            terminations=modern_terminations(seconds=seconds, dt=dt),
            observations=observations,
            start="start" if playing else "uniform",
            order="cycle" if playing else "weight",
            reset_noise=reset_noise(0.0 if playing else robustness),
            noisy=not playing,
            dt=dt,
        ),
        pushes(0.0 if playing else robustness, dt),
    ]


def humanoidverse_task(
    library: MotionLibrary,
    model: RobotModel,
    observations: Mapping[str, Term],
    *,
    playing: bool,
    seconds: float,
    robustness: float,
    noise_curriculum: bool,
    dt: float,
) -> list[Bundle]:
    """HumanoidVerse's task: of what `robustness` scales it publishes sensor noise only, which is in `observations`."""
    return humanoidverse(
        library,
        model.robot,
        observations=observations,
        playing=playing,
        seconds=seconds,
        noise_curriculum=noise_curriculum,
        dt=dt,
    )


PRESETS = {
    "modern": Preset(
        recipe="laptop",
        numbers={"control": "servo", "around": "reference", "seconds": 10.0, "self_collision": False},
        robot=lambda joints: "g1_23dof" if joints == {23} else "g1",
        describe=lambda description: description,
        observe=modern_observations,
        task=modern_task,
    ),
    "humanoidverse": Preset(
        recipe="humanoidverse",
        numbers={"control": "P", "around": "default", "seconds": 20.0, "self_collision": True},
        robot=lambda joints: "g1_humanoidverse" if joints == {29} else "g1_23dof_humanoidverse",
        describe=humanoidverse_robot,
        observe=humanoidverse_observations,
        task=humanoidverse_task,
        limit=LIMIT,
    ),
}


def choose(preset: str, recipe: str | None, **given: Any) -> Numbers:
    """The numbers of a preset by a recipe (None: its own), with what is `given` and not None in their place."""
    own = PRESETS[preset]
    flags = {name: value for name, value in given.items() if value is not None}
    return Numbers(**{**own.numbers, **RECIPES[recipe or own.recipe], **flags})
