"""Tracking metrics of a policy: success and the family of body position errors, as the field defines them.

A frame pairs the robot after a control step with the reference of the same instant. Errors are means over
the tracked bodies; frames count while their first episode is alive.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.episode import Done
from components.metrics import Score
from components.motion import MotionCursor, MotionLibrary, MotionReference, TrackedState
from components.robot import DofState
from engine import Bundle, World, Write, put_rows, system
from systems.maths.motion_metrics import procrustes_error
from systems.tick import REWARD

WORST = ("success %", "completion %", "-MPJPE global mm")  # by which clips are compared, one after the other
SCORES = ("global", "local", "procrustes", "velocity", "acceleration", "dof")


def score(
    done: Done,
    tracked: TrackedState,
    reference: MotionReference,
    dofs: DofState,
    cursor: MotionCursor,
    result: Write[Score],
    *,
    far: float = 0.5,
) -> None:
    """Add this frame's errors to rows whose first episode is running; `far` in m is the mean-error rule."""
    alive = result.alive.clone()
    offset = tracked.position - reference.body_position
    distance = offset.norm(dim=-1).mean(-1)
    local = (offset - offset[:, :1]).norm(dim=-1).mean(-1)
    shape = procrustes_error(tracked.position, reference.body_position)
    velocity = (offset - result.offset).norm(dim=-1).mean(-1) * (result.frames > 0)
    bend = (offset - 2.0 * result.offset + result.offset_before).norm(dim=-1).mean(-1) * (result.frames > 1)
    joints = (dofs.position - reference.dof_position).abs().mean(-1)
    frame = torch.stack((distance, local, shape, velocity, bend, joints), -1)
    result.sums.add_(torch.nan_to_num(frame) * alive.unsqueeze(-1))
    result.offset_before.copy_(result.offset)
    result.offset.copy_(offset)
    result.frames.add_(alive)
    put_rows(result.clip, alive, cursor.clip)
    result.far.logical_or_((distance > far) & alive)
    result.failed.logical_or_(done.terminated & alive)
    result.alive.logical_and_(~done.ended)


def evaluation(*, far: float = 0.5) -> Bundle:
    """Scores the first episode of every row."""
    return Bundle(
        "evaluation",
        components=[Score],
        systems={REWARD: [system(score, far=far)]},
        axes={"score": SCORES},
    )


def all_scored(world: World) -> bool:
    """Whether the first episode of every row has ended: what comes later does not count."""
    return not bool(world[Score].alive.any())


def summarise(world: World, path: Path | None = None) -> dict[str, Any]:
    """Success rates in %, errors in mm (per frame, per frame²) and rad, for each clip and for all; no file is written.

    Errors weigh every frame equally, so long episodes count more; those of the episodes that succeeded stand beside them.
    """
    result, library = world[Score], world[MotionLibrary]
    clips, frames = library.names, library.frames.tolist()
    rows: list[dict[str, Any]] = []
    groups = [(name, result.clip == i, frames[i]) for i, name in enumerate(clips)]
    if len(clips) > 1:
        groups.append(("all", torch.ones_like(result.alive), 0))
    for name, chosen, length in groups:
        count = int(chosen.sum())
        if not count:
            continue
        fine = chosen & ~result.failed & ~result.alive
        near = fine & ~result.far
        row: dict[str, Any] = {
            "clip": name,
            "episodes": count,
            "success %": 100.0 * int(fine.sum()) / count,
            "success 0.5 m %": 100.0 * int(near.sum()) / count,
            **_errors(result, chosen),
        }
        if length:
            row["completion %"] = 100.0 * float(result.frames[chosen].double().mean()) / (length - 1)
        row.update(
            {f"{key} (succeeded)": value for key, value in _errors(result, fine).items()} if bool(fine.any()) else {}
        )
        rows.append(row)
    return {"table": rows, "summary": {k: v for k, v in rows[-1].items() if isinstance(v, (int, float))}}


def _errors(result: Score, chosen: Tensor) -> dict[str, float]:
    total = result.sums[chosen].double().sum(0)
    counted = result.frames[chosen].double()
    frames = [
        counted.sum(),
        counted.sum(),
        counted.sum(),
        (counted - 1).clamp_min(0).sum(),
        (counted - 2).clamp_min(0).sum(),
        counted.sum(),
    ]
    mean = [float(t / f.clamp_min(1.0)) for t, f in zip(total, frames, strict=True)]
    return {
        "MPJPE global mm": 1e3 * mean[0],
        "MPJPE local mm": 1e3 * mean[1],
        "MPJPE procrustes mm": 1e3 * mean[2],
        "velocity mm/frame": 1e3 * mean[3],
        "acceleration mm/frame²": 1e3 * mean[4],
        "joints rad": mean[5],
    }
