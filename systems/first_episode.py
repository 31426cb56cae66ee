"""Return of a policy over the first episode of every row, played without exploration."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch

from components.episode import Done, Reward
from components.metrics import FirstEpisode
from engine import Bundle, Scene, World, Write, build, system
from engine.ecs.constants import addresses
from engine.snapshot.snapshot import restore
from systems.tick import REWARD


def count_first_episode(done: Done, reward: Reward, first: Write[FirstEpisode]) -> None:
    """Add this tick to rows whose first episode is running."""
    first.steps.add_(first.alive)
    first.earned.addcmul_(reward.total, first.alive.to(first.earned.dtype))
    first.failed.logical_or_(done.terminated & first.alive)
    first.alive.logical_and_(~done.ended)


def first_episodes() -> Bundle:
    """Counts the first episode of every row."""
    return Bundle("trial", [FirstEpisode], systems={REWARD: [system(count_first_episode, after="reward")]})


def play_episodes(
    make_scene: Callable[[], Scene],
    snapshot: bytes,
    *,
    ticks: int,
    seed: int,
    device: str,
    overrides: Mapping[str, str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Play the policy of `snapshot` for `ticks` control steps, and say how the first episodes went.

    `make_scene` returns the scene to play in, with `play()` as its learner; the trial's own row counter is
    added. Of the --set values in `overrides`, those count that the scene has an address for. With the first
    three arguments bound this is what `Scene.evaluate` asks for.
    """
    scene = make_scene()
    scene = attrs.evolve(scene, bundles=[*scene.bundles, first_episodes()])
    known = addresses(scene.bundles)
    wanted = {address: text for address, text in (overrides or {}).items() if address in known}
    simulation = build(scene, seed=seed, device=device, overrides=wanted)
    restore(simulation.world, snapshot, only=("Policy",))
    for tick in range(ticks + 1):  # the first tick only resets
        simulation.run()
        if progress is not None:
            progress(tick / ticks)
    return summarise_episodes(simulation.world)


def summarise_episodes(world: World) -> dict[str, Any]:
    """Mean, least and largest return, mean length in control steps, and the share that ended in failure."""
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
