"""Trials of a policy that follows velocity commands: how far off it is, who falls, and a film; command_scores(), command_footage()."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.command import Command
from components.episode import Done
from components.footage import CommandFootage
from components.metrics import CommandScore, FirstEpisode
from components.robot import BaseFrame, DofState, RobotDescription, RootState
from engine import Bundle, World, Write, put_rows, system
from engine.ecs.world import Clock
from systems.film import SIZE, FilmShot, write_film
from systems.first_episode import count_first_episode
from systems.footage import ROOT, drawn_on
from systems.ground.grid import Terrain
from systems.locomotion_terms import base_velocity, linear_error, turn_error
from systems.maths.quaternion import rotate_inverse
from systems.tick import REWARD, TERMINATE

# -- scores --------------------------------------------------------------------------------------------


def score_commands(
    first: FirstEpisode, root: RootState, base: BaseFrame, command: Command, score: Write[CommandScore]
) -> None:
    """Add this frame's errors to rows whose first episode is running."""
    score.linear.add_(torch.nan_to_num(linear_error(root, command)) * first.alive)
    score.turning.add_(torch.nan_to_num(turn_error(base, command)) * first.alive)


def command_scores() -> Bundle:
    """Scores the first episode of every row."""
    return Bundle(
        "command_scores",
        [FirstEpisode, CommandScore],
        systems={
            TERMINATE: [system(score_commands)],  # before the frame in which an episode ends is its last
            REWARD: [system(count_first_episode, after="reward")],
        },
    )


def summarise_commands(world: World, path: Path | None = None, *, dt: float) -> dict[str, Any]:
    """Share of episodes without a fall in %, mean errors over all frames, and mean length and return; no file is written.

    `dt` is the control step in s.
    """
    first, score = world[FirstEpisode], world[CommandScore]
    frames = first.steps.double().sum().clamp_min(1.0)
    row = {
        "episodes": len(first.steps),
        "success %": 100.0 * float((~first.failed).double().mean()),
        "linear velocity error m/s": float(score.linear.double().sum() / frames),
        "yaw rate error rad/s": float(score.turning.double().sum() / frames),
        "length s": dt * float(first.steps.double().mean()),
        "return": float(first.earned.double().mean()),
    }
    return {"table": [row], "summary": row}


# -- the film ------------------------------------------------------------------------------------------


def keep_commanded_frame(
    clock: Clock,
    done: Done,
    root: RootState,
    base: BaseFrame,
    dofs: DofState,
    command: Command,
    footage: Write[CommandFootage],
) -> None:
    """Keep where the robot is, what was asked of it, and how it moves; the first tick with physics is tick 1."""
    frame = clock.tick - 1
    if frame >= footage.robot.shape[1]:
        return
    footage.robot[:, frame] = torch.cat((root.position, root.rotation, dofs.position), -1)
    footage.asked[:, frame] = command.velocity
    footage.moved[:, frame] = torch.cat((base_velocity(root)[:, :2], base.angular_velocity[:, 2:]), -1)
    footage.frames.add_(footage.running)
    put_rows(footage.reason, footage.running, done.reason)
    footage.fallen.logical_or_(done.terminated & footage.running)
    footage.running.logical_and_(~done.ended)


def command_footage(*, frames: int, dofs: Sequence[str]) -> Bundle:
    """Keeps the first `frames` control steps; `dofs` are the robot's joints."""
    return Bundle(
        "command_footage",
        components=[CommandFootage],
        systems={REWARD: [system(keep_commanded_frame)]},
        axes={"frame": frames, "state": (*ROOT, *dofs)},
    )


def all_walked(world: World) -> bool:
    """Whether the first episode of every row has ended: what comes later is not kept."""
    return not bool(world[CommandFootage].running.any())


def captions(asked: Tensor, moved: Tensor) -> tuple[tuple[str, ...], ...]:
    """What is written on each frame: (T, 3) m/s, m/s, rad/s of the command, and of the base."""
    lines = []
    for wish, found in zip(asked.tolist(), moved.tolist(), strict=True):
        texts = [
            "{:+.2f} {:+.2f} m/s  {:+.2f} rad/s".format(*(value + 0.0 for value in each)) for each in (wish, found)
        ]
        lines.append((f"asked {texts[0]}", f"moves {texts[1]}"))
    return tuple(lines)


def film_of_commands(
    world: World, path: Path, *, description: RobotDescription, fps: float, terrain: Terrain | None = None
) -> dict[str, str]:
    """Write the film of a world's footage to `path`; what is seen, by name. Raises as `systems.film.film.write_film`."""
    kept = world[CommandFootage]
    reasons = next(t.axes["termination"] for t in world.tables.values() if "frame" in t.axes)
    shots = []
    for row, count in enumerate(kept.frames.tolist()):
        why = [name.replace("_", " ") for name, true in zip(reasons, kept.reason[row].tolist(), strict=True) if true]
        shots.append(
            FilmShot(
                name=f"episode {row + 1}",
                robot=kept.robot[row, :count].double().numpy(),
                ghost=None,
                captions=captions(kept.asked[row, :count], kept.moved[row, :count]),
                ending=f"fallen: {', '.join(why)}" if bool(kept.fallen[row]) else "",
            )
        )
    how = write_film(path, drawn_on(description, terrain, shots), shots, fps=fps, size=SIZE)
    shown = torch.arange(kept.robot.shape[1]) < kept.frames.unsqueeze(1)
    off = (kept.asked - kept.moved)[shown].abs()
    return {
        "shown": "; ".join(f"{shot.name}, {shot.ending or 'to its end'}" for shot in shots),
        "error": f"{float(off[:, :2].norm(dim=-1).mean()):.2f} m/s, {float(off[:, 2].mean()):.2f} rad/s, mean over the film",
        "pictures": how,
    }


def film_commanded_columns(
    columns: Mapping[str, Any],
    path: Path,
    description: RobotDescription,
    *,
    table: str,
    fps: float,
    terrain: Terrain | None = None,
) -> dict[str, str]:
    """Film one episode from its columns (T, ...) by address; what is seen, by name.

    A column holds what is at the end of a tick: the command of a frame is that of the sample before it. Raises as
    `systems.film.film.write_film`.
    """

    def kept(address: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(columns[f"{table}.{address}"]))

    rotation = kept("RootState.rotation")
    robot = torch.cat((kept("RootState.position"), rotation, kept("DofState.position")), -1)
    moved, turned = (rotate_inverse(rotation, kept(f"RootState.{name}_velocity")) for name in ("linear", "angular"))
    asked = kept("Command.velocity").roll(1, 0)
    asked[0] = asked[1] if len(asked) > 1 else asked[0]
    failed = bool(kept("Done.terminated")[-1]) and len(robot) > 1
    shot = FilmShot(
        name="episode",
        robot=robot.double().numpy(),
        ghost=None,
        captions=captions(asked, torch.cat((moved[:, :2], turned[:, 2:]), -1)),
        ending="failed" if failed else "",
    )
    how = write_film(path, drawn_on(description, terrain, [shot]), [shot], fps=fps, size=SIZE)
    return {"shown": f"{len(robot) / fps:.2f} s", "pictures": how}
