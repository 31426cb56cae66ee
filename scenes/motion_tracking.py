"""Teach a humanoid to follow motion clips."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from engine import Bundle, Scene, SceneError, Simulation, World, build, table
from engine.schedule import addresses
from engine.snapshot import identity
from scenes import robots
from systems import metrics as counts
from systems.actuation import actuation
from systems.episode import episode
from systems.evaluation import evaluation, summarise
from systems.film import LONGEST
from systems.footage import MOST_TAKES, film_of, footage
from systems.kinematics import kinematics
from systems.motion import build_library
from systems.motion_files import read_clips
from systems.observations import group_terms
from systems.physics import physics
from systems.physics.model import build_robot
from systems.ppo import play, ppo
from systems.randomization import randomization
from systems.tick import TICK
from systems.tracking import modern_observations, modern_rewards, modern_terminations, reset_noise, tracking

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
}
PROTOCOL = ("tracking.draw_motion.", "tracking.reset_to_reference.", "tracking.observe.noisy", "randomization.")
GYRO = (0.04525, 0.0, -0.08339)  # m, gyro and velocimeter of the G1, in the pelvis frame


def pushes(share: float, dt: float) -> Bundle:
    """Encoders that are off, and a `share` of the published pushes."""
    if not share:
        return randomization(push_interval=None, dt=dt)
    x, y, z, roll, pitch, yaw = (share * most for most in (0.5, 0.5, 0.2, 0.52, 0.52, 0.78))
    return randomization(push_linear=(x, y, z), push_angular=(roll, pitch, yaw), dt=dt)


def scene(
    clip: Annotated[str, "a built-in clip (stand, squat, wave), a file, a folder, or a list a=2,b=1"] = "squat",
    robot: Annotated[str, "a robot by name, an MJCF file, or auto: the G1 with the clip's joints"] = "auto",
    recipe: Annotated[
        Literal["laptop", "published"], "where numbers not given come from: measured on two cores, or the literature"
    ] = "laptop",
    num_envs: Annotated[int | None, "rows simulated in parallel"] = None,
    backend: Annotated[str, "physics backend: mujoco or kinematic"] = "mujoco",
    control: Annotated[Literal["servo", "P", "V", "T"], "who turns targets into torque"] = "servo",
    around: Annotated[Literal["default", "reference"], "the joint pose that an action of 0 asks for"] = "reference",
    clip_height: Annotated[
        Literal["keep", "auto"], "auto lowers or raises clips until the feet meet the floor"
    ] = "auto",
    self_collision: Annotated[bool, "let the robot's parts collide with each other"] = False,
    seconds: Annotated[float, "longest episode"] = 10.0,
    substeps: Annotated[int | None, "physics steps in one control step of 0.02 s"] = None,
    horizon: Annotated[int, "control steps in one learning iteration"] = 24,
    hidden: Annotated[tuple[int, ...] | None, "hidden layers of actor and critic"] = None,
    robustness: Annotated[float | None, "share of the published sensor noise, reset noise and pushes"] = None,
    exploration: Annotated[float | None, "standard deviation of actions when training starts"] = None,
    physics_threads: Annotated[int, "threads that step physics; 0: one per processor"] = 0,
    iterations: Annotated[int | None, "learning iterations"] = None,
    device: str = "cpu",
) -> Scene:
    """Teach a humanoid to follow motion clips."""
    chosen = RECIPES[recipe]
    num_envs = chosen["num_envs"] if num_envs is None else num_envs
    substeps = chosen["substeps"] if substeps is None else substeps
    hidden = chosen["hidden"] if hidden is None else hidden
    robustness = chosen["robustness"] if robustness is None else robustness
    exploration = chosen["exploration"] if exploration is None else exploration
    iterations = chosen["iterations"] if iterations is None else iterations
    if device != "cpu":
        raise SceneError(
            f"Backend '{backend}' simulates in host memory, so this scene runs with --device cpu, not '{device}'; "
            "--recipe published takes the numbers that are usual on a GPU."
        )
    dt = 0.02
    clips = read_clips(clip)
    if robot == "auto":
        robot = robots.fitting(clips)
    if not 0.0 <= robustness <= 10.0:
        raise SceneError(f"robustness={robustness} is a share of the published noise; give a number from 0 to 10.")
    if substeps < 1:
        raise SceneError(f"substeps={substeps} makes no sense; physics takes at least 1 step in a control step.")
    driven = "servo" if control == "servo" else "torque"
    description = robots.load(robot)
    model = build_robot(description, control=driven, dt=dt / substeps, self_collision=self_collision)
    library = build_library(clips, model.robot, model, fps=1 / dt, height=clip_height)
    observations, rewards = modern_observations(noise=robustness), modern_rewards()
    if not self_collision:
        del rewards["self_collision"]  # nothing to count

    def bundles(rows: int, playing: bool, learner: Bundle, *more: Bundle) -> list[Bundle]:
        return [
            physics(model, rows=rows, backend=backend, decimation=substeps, nthread=physics_threads),
            actuation(controller=control, around=around, dt=dt),
            kinematics(sensor=GYRO if model.robot.name.startswith("g1") else (0.0, 0.0, 0.0), feet=False),
            episode(seconds=math.inf if playing else seconds, dt=dt, spread=not playing),
            tracking(
                library,
                model.robot,
                rewards=rewards,
                terminations=modern_terminations(seconds=math.inf if playing else seconds, dt=dt),
                observations=observations,
                start="start" if playing else "uniform",
                order="cycle" if playing else "weight",
                reset_noise=reset_noise(0.0 if playing else robustness),
                noisy=not playing,
                dt=dt,
            ),
            pushes(0.0 if playing else robustness, dt),
            learner,
            *more,
        ]

    def playing(
        data: bytes, rows: int, seed: int, device: str, overrides: Mapping[str, str] | None, more: Bundle
    ) -> Simulation:
        """Every clip from its start, noise and pushes off, by the policy of a snapshot.

        `overrides` are the --set values of the run; those that the protocol fixes are left out.
        """
        theirs = identity(data).get("robot", "")
        if theirs != model.robot.name:
            raise SceneError(
                f"The policy moves the robot '{theirs}', but this scene has '{model.robot.name}'. Name the robot "
                "with --robot; a robot whose data is not installed is replaced by the humanoid."
            )
        trial = Scene([table("robot", rows=rows)], bundles(rows, True, play(hidden=hidden), more), TICK)
        known = addresses(trial.bundles)
        wanted = {a: v for a, v in (overrides or {}).items() if a in known and not a.startswith(PROTOCOL)}
        simulation = build(trial, seed=seed, device=device, overrides=wanted)
        simulation.world.restore(data, only=("Policy",))
        return simulation

    def evaluate(
        snapshot: bytes,
        *,
        seed: int,
        device: str,
        overrides: Mapping[str, str] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> dict[str, Any]:
        """Score the first episode of every row; rows differ by their encoder bias, which is part of a robot."""
        rows = max(64, len(library.names))
        simulation = playing(snapshot, rows, seed, device, overrides, evaluation())
        frames = library.frames.tolist()
        for frame in range(max(frames)):
            simulation.run()
            if progress is not None:
                progress(frame / max(frames))
        return summarise(simulation.world, library.names, frames)

    def film(
        snapshot: bytes,
        path: Path,
        *,
        seed: int,
        device: str,
        overrides: Mapping[str, str] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> dict[str, str]:
        """Film one robot per clip, the reference as its ghost, until LONGEST is full."""
        frames = min(int(library.frames.max()), round(LONGEST / dt))
        camera = footage(frames=frames, dofs=model.robot.dof_names)
        simulation = playing(snapshot, min(len(library.names), MOST_TAKES), seed, device, overrides, camera)
        simulation.run(frames + 1)  # the first tick only places the robot
        return film_of(simulation.world, path, description, library, fps=1 / dt, progress=progress)

    def report(world: World) -> dict[str, float]:
        return counts.report(world, dt)

    return Scene(
        tables=[table("robot", rows=num_envs)],
        bundles=bundles(
            num_envs,
            False,
            ppo(
                critic_terms=group_terms(observations, "critic"),
                behind="derive_anchor_view",
                horizon=horizon,
                hidden=hidden,
                init_std=exploration,
                **chosen["learning"],
            ),
            counts.metrics(horizon=horizon),
        ),
        tick=TICK,
        name="motion_tracking",
        identity={"robot": model.robot.name, "clips": list(library.names)},
        report=report,
        evaluate=evaluate,
        film=film,
        policy=Path(__file__).parent / "policies" / "motion_tracking.lockstep",
        titles=counts.titles(dt),
        panel=("reward/per_step", "episode/length", "episode/return", "error/body_position"),
        iterations=iterations,
    )
