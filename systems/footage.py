"""Footage: the first episode of every row, kept frame by frame, and the film that is cut from it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from components.episode import Done
from components.footage import Footage
from components.motion import MotionCursor, MotionLibrary, MotionReference, TrackedState
from components.robot import DofState, RobotDescription, RootState
from components.side_by_side import SimulatedRoot
from components.terrain import TerrainTile
from engine import Bundle, EpisodeFile, World, Write, put_rows, system
from engine.ecs.world import Clock
from systems.film import SIZE, FilmShot, write_film
from systems.film.film import LONGEST
from systems.ground.grid import Terrain
from systems.motion.recorded import ENDINGS, SEVERAL, write_recorded
from systems.reference import sample_root_and_dofs
from systems.robots.model import RobotModel
from systems.tick import REWARD

if TYPE_CHECKING:
    from systems.film.scenery import RenderScene

MOST_SHOTS = 4
SEEN = 5.0  # m around a robot in which a film shows the terrain
ROOT = ("x", "y", "z", "qw", "qx", "qy", "qz")


def keep_frame(
    clock: Clock,
    done: Done,
    root: RootState,
    dofs: DofState,
    tracked: TrackedState,
    reference: MotionReference,
    cursor: MotionCursor,
    library: MotionLibrary,
    footage: Write[Footage],
) -> None:
    """Keep where robot and reference are, before anything is reset; the first tick with physics is tick 1."""
    frame = clock.tick - 1
    if frame >= footage.far.shape[1]:
        return
    offset = tracked.position - reference.body_position
    place, facing, _, _, joints, _ = sample_root_and_dofs(library, cursor.clip, cursor.time)
    footage.robot[:, frame] = torch.cat((root.position, root.rotation, dofs.position), -1)
    footage.ghost[:, frame] = torch.cat((place, facing, joints), -1)
    footage.far[:, frame] = offset.norm(dim=-1).mean(-1)
    footage.local[:, frame] = (offset - offset[:, :1]).norm(dim=-1).mean(-1)
    footage.time[:, frame] = cursor.time
    footage.frames.add_(footage.running)
    put_rows(footage.clip, footage.running, cursor.clip)
    put_rows(footage.reason, footage.running, done.reason)
    footage.fallen.logical_or_(done.terminated & footage.running)
    footage.running.logical_and_(~done.ended)


def put_ghost_on_tile(clock: Clock, tile: TerrainTile, footage: Write[Footage]) -> None:
    """The reference of this tick's frame stands where its clip has its origin."""
    frame = clock.tick - 1
    if frame < footage.ghost.shape[1]:
        footage.ghost[:, frame, :3] += tile.origin


def all_filmed(world: World) -> bool:
    """Whether the first episode of every row has ended: what comes later is not kept."""
    return not bool(world[Footage].running.any())


def film_size(library: MotionLibrary, dt: float) -> tuple[int, int]:
    """How many clips are filmed, one in each row, and for how many control steps of `dt` in s, so that LONGEST is full."""
    return min(len(library.names), MOST_SHOTS), min(int(library.frames.max()), round(LONGEST / dt))


def footage(*, frames: int, model: RobotModel) -> Bundle:
    """Keeps the first `frames` control steps of rows that follow clips, on terrain if the model has it."""
    placed = [system(put_ghost_on_tile, after="keep_frame")] if model.terrain is not None else []
    return Bundle(
        "footage",
        components=[Footage],
        systems={REWARD: [system(keep_frame), *placed]},
        axes={"frame": frames, "state": (*ROOT, *model.robot.dof_names)},
    )


def film_shots(world: World, clips: Sequence[str], seconds: Sequence[float], *, ghost: bool = True) -> list[FilmShot]:
    """What every row's footage shows, with its captions; `clips`, `seconds`: names and lengths of all clips."""
    kept = world[Footage]
    simulated = any(cls is SimulatedRoot for _, cls in world.components)
    reasons = next(t.axes["termination"] for t in world.tables.values() if "frame" in t.axes)
    made = []
    for row, count in enumerate(kept.frames.tolist()):
        clip = int(kept.clip[row])
        captions = []
        for time, far, local in zip(*(x[row, :count].tolist() for x in (kept.time, kept.far, kept.local)), strict=True):
            lines = [clips[clip], f"{time:.2f} / {seconds[clip]:.2f} s"]
            lines += [f"error {1e3 * far:.0f} mm global, {1e3 * local:.0f} mm local"] if ghost else []
            lines += ["in the learned simulator; ghost: MuJoCo"] if simulated else []
            captions.append(tuple(lines))
        why = [name.replace("_", " ") for name, true in zip(reasons, kept.reason[row].tolist(), strict=True) if true]
        made.append(
            FilmShot(
                name=clips[clip],
                robot=kept.robot[row, :count].double().numpy(),
                ghost=kept.ghost[row, :count].double().numpy() if ghost else None,
                captions=tuple(captions),
                ending=f"fallen: {', '.join(why)}" if bool(kept.fallen[row]) else "",
            )
        )
    return made


def drawn_on(description: RobotDescription, terrain: Terrain | None, shots: Sequence[FilmShot]) -> "RenderScene":
    """The robot and what is near it of the terrain: software renderers draw all that there is."""
    from systems.film.render_scene import build_render_scene

    near = None if terrain is None else terrain.near(np.concatenate([shot.robot[:, :2] for shot in shots]), SEEN)
    return build_render_scene(description, size=SIZE, terrain=near)


def film_of(
    world: World,
    path: Path,
    *,
    description: RobotDescription,
    fps: float,
    ghost: bool = True,
    terrain: Terrain | None = None,
) -> dict[str, str]:
    """Write the film of a world's footage to `path`; what is seen, by name. Raises as `systems.film.film.write_film`."""
    library = world[MotionLibrary]
    shots = film_shots(world, library.names, library.seconds.tolist(), ghost=ghost)
    how = write_film(path, drawn_on(description, terrain, shots), shots, fps=fps, size=SIZE)
    seen = {"shown": "; ".join(f"{shot.name}, {shot.ending or 'to its end'}" for shot in shots)}
    if ghost:
        kept = world[Footage]
        shown = torch.arange(kept.far.shape[1]) < kept.frames.unsqueeze(1)
        far, local = (1e3 * float(errors[shown].mean()) for errors in (kept.far, kept.local))
        seen["error"] = f"{far:.0f} mm global, {local:.0f} mm local, mean over the film"
    return {**seen, "pictures": how}


def episode_clips(model: RobotModel, *, table: str, fps: float) -> EpisodeFile:
    """Files that keep what rows did as motion clips; `fps` is the rate of control steps per second."""
    return EpisodeFile(ENDINGS, partial(write_recorded, model=model, table=table, fps=fps), several=SEVERAL)


def film_columns(
    columns: Mapping[str, Any],
    path: Path,
    description: RobotDescription,
    library: MotionLibrary,
    *,
    table: str,
    fps: float,
    terrain: Terrain | None = None,
) -> dict[str, str]:
    """Film one episode from its columns (T, ...) by address; what is seen, by name.

    The clip's cursor is always one step ahead, so the reference of the robot's instant lies `1 / fps` before it.
    Raises as `systems.film.film.write_film`.
    """

    def kept(address: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(columns[f"{table}.{address}"]))

    clips, times = kept("MotionCursor.clip"), kept("MotionCursor.time") - 1.0 / fps
    place, facing, _, _, joints, _ = sample_root_and_dofs(library, clips, times)
    if terrain is not None:
        place = place + kept("TerrainTile.origin")
    robot = torch.cat((kept("RootState.position"), kept("RootState.rotation"), kept("DofState.position")), -1)
    clip = int(clips[0])
    lines = [
        (library.names[clip], f"{time:.2f} / {float(library.seconds[clip]):.2f} s", f"root {1e3 * far:.0f} mm off")
        for time, far in zip(times.tolist(), (robot[:, :3] - place).norm(dim=-1).tolist(), strict=True)
    ]
    failed = bool(kept("Done.terminated")[-1]) and len(robot) > 1
    shot = FilmShot(
        name=library.names[clip],
        robot=robot.double().numpy(),
        ghost=torch.cat((place, facing, joints), -1).double().numpy(),
        captions=tuple(lines),
        ending="failed" if failed else "",
    )
    how = write_film(path, drawn_on(description, terrain, [shot]), [shot], fps=fps, size=SIZE)
    return {"shown": f"{shot.name} from {float(times[0]):.2f} s to {float(times[-1]):.2f} s", "pictures": how}
