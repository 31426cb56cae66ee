"""Return of a policy over the first episode of every row, played without exploration."""

from pathlib import Path
from typing import Any

import torch

from components.episode import Done, Reward
from components.metrics import FirstEpisode
from engine import Bundle, World, Write, system
from systems.tick import REWARD


def count_first_episode(done: Done, reward: Reward, first: Write[FirstEpisode]) -> None:
    """Add this tick to rows whose first episode is running."""
    first.steps.add_(first.alive)
    first.earned.addcmul_(reward.total, first.alive.to(first.earned.dtype))
    first.failed.logical_or_(done.terminated & first.alive)
    first.alive.logical_and_(~done.ended)


def first_episodes() -> Bundle:
    """Counts the first episode of every row."""
    return Bundle("first_episode", [FirstEpisode], systems={REWARD: [system(count_first_episode, after="reward")]})


def all_episodes_ended(world: World) -> bool:
    """Whether the first episode of every row has ended: what comes later does not count."""
    return not bool(world[FirstEpisode].alive.any())


def summarise_episodes(world: World, path: Path | None = None) -> dict[str, Any]:
    """Mean, least and largest return, mean length in control steps, and the share that ended in failure.

    With `first_episodes()` this is what a Trial reads; no file is written.
    """
    first = world[FirstEpisode]
    earned = first.earned.double()
    row = {
        "episodes": len(earned),
        "return": float(earned.mean()),
        "least": float(earned.min()),
        "most": float(earned.max()),
        "length": float(first.steps.double().mean()),
        "failed %": 100.0 * float(first.failed.to(torch.float64).mean()),
    }
    return {"table": [row], "summary": row}
