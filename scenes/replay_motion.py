"""Show a motion clip as the robot would have to move: no physics, no learning."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from engine import Bundle, Scene, build, table
from engine.errors import listing
from scenes import robots
from systems.film.film import LONGEST
from systems.footage import MOST_SHOTS, film_of, footage
from systems.motion.clips import BUILT_IN
from systems.motion.digests import robot_and_clips
from systems.motion.files import read_clips
from systems.motion.library import build_library
from systems.motion.summary import clip_summary
from systems.physics import physics
from systems.replay import replay
from systems.robots.model import build_robot
from systems.tick import TICK


def scene(
    clip: Annotated[str, f"a built-in clip ({listing(BUILT_IN)}), a file, a folder, or a list a=2,b=1"] = "squat",
    robot: Annotated[str, "a robot by name, an MJCF file, or auto: the G1 with the clip's joints"] = "auto",
    clip_height: Annotated[
        Literal["keep", "auto"], "auto lowers or raises clips until the feet meet the floor"
    ] = "auto",
) -> Scene:
    """Show a motion clip before training on it: a film, and what verification finds."""
    dt = 0.02
    clips = read_clips(clip)
    description = robots.load(robots.fitting(clips) if robot == "auto" else robot)
    model = build_robot(description, dt=dt)
    library = build_library(clips, model.robot, model, fps=1 / dt, height=clip_height)
    rows = min(len(library.names), MOST_SHOTS)

    def bundles() -> list[Bundle]:
        return [
            physics(model, rows=rows, backend="kinematic", control="none"),
            replay(library, model.robot, dt=dt),
        ]

    def film(
        snapshot: bytes, path: Path, *, seed: int, device: str, progress: Callable[[float], None] | None = None
    ) -> dict[str, str]:
        """Film the clips, one after another; there is nothing in a snapshot that they depend on."""
        frames = min(int(library.frames.max()), round(LONGEST / dt))
        camera = footage(frames=frames, dofs=model.robot.dof_names)
        simulation = build(Scene([table("robot", rows=rows)], [*bundles(), camera], TICK), seed=seed, device=device)
        simulation.run(frames + 1)  # the first tick only places the robot
        seen = film_of(simulation.world, path, description, library, fps=1 / dt, ghost=False, progress=progress)
        found = {f"finding {i}": text for i, text in enumerate(library.warnings, 1)} or {"findings": "none"}
        shown = {name: clip_summary(library, i, model.robot, model) for i, name in enumerate(library.names[:rows])}
        return {"robot": model.robot.name, **shown, **found, **seen}

    return Scene(
        tables=[table("robot", rows=rows)],
        bundles=bundles(),
        tick=TICK,
        name="replay_motion",
        identity={"robot": model.robot.name, "clips": list(library.names)},
        film=film,
        iterations=1,
        made_of=robot_and_clips(model, library),
    )
