"""Teach a humanoid to follow motion clips."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from engine import Bundle, Scene, SceneError, Simulation, World, build, table
from engine.ecs.constants import addresses
from engine.errors import listing
from engine.snapshot.snapshot import identity, restore
from scenes import robots
from scenes.presets import PRESETS, choose
from systems import metrics as counts
from systems.actuation import actuation
from systems.evaluation import evaluation, summarise
from systems.film.film import LONGEST
from systems.footage import MOST_SHOTS, film_columns, film_of, footage
from systems.motion.clips import BUILT_IN
from systems.motion.digests import robot_and_clips
from systems.motion.files import read_clips
from systems.motion.library import build_library
from systems.physics import physics
from systems.ppo import play, ppo
from systems.robots.display import robot_view
from systems.robots.model import build_robot
from systems.tick import TICK

PROTOCOL = (
    "tracking.draw_motion.",
    "tracking.reset_to_reference.",
    "tracking.observe.noisy",
    "tracking.observe_final.noisy",
    "tracking.remember.noisy",
    "randomization.",
)


def scene(
    clip: Annotated[str, f"a built-in clip ({listing(BUILT_IN)}), a file, a folder, or a list a=2,b=1"] = "squat",
    robot: Annotated[str, "a robot by name, an MJCF file, or auto: the G1 with the clip's joints"] = "auto",
    preset: Annotated[
        Literal["modern", "humanoidverse"], "what is rewarded, seen and punished: the G1 task, or HumanoidVerse's"
    ] = "modern",
    recipe: Annotated[
        Literal["laptop", "published", "humanoidverse"] | None,
        "where numbers not given come from: measured on two cores, or published; by default what suits the preset",
    ] = None,
    num_envs: Annotated[int | None, "rows simulated in parallel"] = None,
    backend: Annotated[str, "physics backend: mujoco or kinematic"] = "mujoco",
    control: Annotated[Literal["servo", "P", "V", "T"] | None, "who turns targets into torque"] = None,
    around: Annotated[Literal["default", "reference"] | None, "the joint pose that an action of 0 asks for"] = None,
    clip_height: Annotated[
        Literal["keep", "auto"], "auto lowers or raises clips until the feet meet the floor"
    ] = "auto",
    self_collision: Annotated[bool | None, "let the robot's parts collide with each other"] = None,
    seconds: Annotated[float | None, "longest episode"] = None,
    substeps: Annotated[int | None, "physics steps in one control step of 0.02 s"] = None,
    horizon: Annotated[int, "control steps in one learning iteration"] = 24,
    hidden: Annotated[tuple[int, ...] | None, "hidden layers of actor and critic"] = None,
    robustness: Annotated[float | None, "share of the published sensor noise, reset noise and pushes"] = None,
    noise_curriculum: Annotated[bool, "let sensor noise grow with the length of episodes (humanoidverse)"] = False,
    exploration: Annotated[float | None, "standard deviation of actions when training starts"] = None,
    physics_threads: Annotated[int, "threads that step physics; 0: one per processor"] = 0,
    iterations: Annotated[int | None, "learning iterations"] = None,
    device: str = "cpu",
) -> Scene:
    """Teach a humanoid to follow motion clips."""
    what = PRESETS[preset]
    use = choose(
        preset,
        recipe,
        num_envs=num_envs,
        substeps=substeps,
        hidden=hidden,
        robustness=robustness,
        exploration=exploration,
        iterations=iterations,
        control=control,
        around=around,
        seconds=seconds,
        self_collision=self_collision,
    )
    if device != "cpu":
        raise SceneError(
            f"Backend '{backend}' simulates in host memory, so this scene runs with --device cpu, not '{device}'; "
            "--recipe published takes the numbers that are usual on a GPU."
        )
    dt = 0.02
    clips = read_clips(clip)
    if robot == "auto":
        joints = {c.dof_position.shape[1] for c in clips if hasattr(c, "dof_position")}
        robot = what.robot(joints)
    if not 0.0 <= use.robustness <= 10.0:
        raise SceneError(f"robustness={use.robustness} is a share of the published noise; give a number from 0 to 10.")
    if use.substeps < 1:
        raise SceneError(f"substeps={use.substeps} makes no sense; physics takes at least 1 step in a control step.")
    description = what.describe(robots.load(robot))
    model = build_robot(
        description,
        control="servo" if use.control == "servo" else "torque",
        dt=dt / use.substeps,
        self_collision=use.self_collision,
    )
    library = build_library(clips, model.robot, model, fps=1 / dt, height=clip_height)
    observations = what.observe(noise=use.robustness)

    def bundles(rows: int, playing: bool, learner: Bundle, *more: Bundle) -> list[Bundle]:
        task = what.task(
            library,
            model,
            observations,
            playing=playing,
            seconds=use.seconds,
            robustness=use.robustness,
            noise_curriculum=noise_curriculum,
            dt=dt,
        )
        return [
            physics(model, rows=rows, backend=backend, decimation=use.substeps, nthread=physics_threads),
            actuation(controller=use.control, around=use.around, limit=what.limit, dt=dt),
            *task,
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
        learner = play(hidden=use.hidden, normalise=use.normalise)
        trial = Scene([table("robot", rows=rows)], bundles(rows, True, learner, more), TICK)
        known = addresses(trial.bundles)
        wanted = {a: v for a, v in (overrides or {}).items() if a in known and not a.startswith(PROTOCOL)}
        simulation = build(trial, seed=seed, device=device, overrides=wanted)
        restore(simulation.world, data, only=("Policy",))
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
        simulation = playing(snapshot, min(len(library.names), MOST_SHOTS), seed, device, overrides, camera)
        simulation.run(frames + 1)  # the first tick only places the robot
        return film_of(simulation.world, path, description, library, fps=1 / dt, progress=progress)

    def film_episode(columns: Mapping[str, Any], path: Path) -> dict[str, str]:
        """Film one row's episode, the reference as its ghost."""
        return film_columns(columns, path, description, library, table="robot", fps=1 / dt)

    def report(world: World) -> dict[str, float]:
        return counts.report(world, dt)

    return Scene(
        tables=[table("robot", rows=use.num_envs)],
        bundles=bundles(
            use.num_envs,
            False,
            ppo(
                horizon=horizon,
                hidden=use.hidden,
                init_std=use.exploration,
                normalise=use.normalise,
                **use.learning,
            ),
            counts.metrics(horizon=horizon, tracking=True),
        ),
        tick=TICK,
        name="motion_tracking",
        identity={"robot": model.robot.name, "clips": list(library.names)},
        report=report,
        evaluate=evaluate,
        film=film,
        film_episode=film_episode,
        policy=Path(__file__).parent / "policies" / "motion_tracking.lockstep",
        titles=counts.titles(dt),
        panel=("reward/per_step", "episode/length", "episode/return", "error/body_position"),
        view=robot_view(model, table="robot", dt=dt, threshold=0.25),
        iterations=use.iterations,
        best="reward/per_step",  # of all rows, and still rising when episodes have long stopped getting longer
        made_of=robot_and_clips(model, library),
    )
