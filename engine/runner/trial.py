"""Trials: a trained policy plays a scene for some ticks, and what came of it is read."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from engine.ecs.constants import addresses
from engine.ecs.scene import Scene, Simulation, build
from engine.ecs.world import NonFinite
from engine.errors import SceneError, did_you_mean
from engine.runner.experiment import Trial
from engine.snapshot.snapshot import identity, resources_in, restore


def about_nonfinite(found: NonFinite) -> str:
    """A sentence about a term that was not finite for the first time."""
    return (
        f"The term `{found.term}` of {found.system} was {found.value} in row {found.row} of tick {found.tick}. Guard what it "
        "divides by, or takes the root or logarithm of."
    )


def run_trial(
    trial: Trial,
    snapshot: bytes,
    path: Path,
    *,
    training: Scene,
    seed: int = 0,
    device: str = "cpu",
    overrides: Mapping[str, str] | None = None,
    observe: Callable[[Simulation], AbstractContextManager[object]] = nullcontext,
    progress: Callable[[float], None] = lambda share: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Mapping[str, Any]:
    """Play a snapshot in the scene of a trial and return what the trial reads; it may write the file at `path`.

    `training` is the scene that was trained, as its file made it. Of `overrides` (text by address) those apply that `reaching`
    finds. `observe` makes what lasts as long as the ticks do. `progress` is called before each tick, and once before reading, with the share that is done; what it raises ends
    the trial. `warn` gets a sentence about each term that was not finite. SceneError for a snapshot of another robot or the like, as `Trial.identical` says; SnapshotError for one that
    does not fit.
    """
    scenes = {trial.called: trial.scene, **trial.beside}
    found = {}

    def report(number: int, share: float) -> None:
        progress((number + share) / len(scenes))

    for number, (name, make) in enumerate(scenes.items()):
        found[name] = _played(
            attrs.evolve(trial, scene=make), snapshot, path, training=training, seed=seed, device="cpu" if number else device, overrides=overrides,
            observe=nullcontext if number else observe, warn=warn,
            progress=partial(report, number),
        )  # fmt: skip
    own = found[trial.called]
    if not trial.beside:
        return own
    table = [{"played in": name, **result["summary"]} for name, result in found.items()]
    return {**own, "tables": {**own.get("tables", {}), " beside ".join(scenes): table}}


def _played(
    trial: Trial,
    snapshot: bytes,
    path: Path,
    *,
    training: Scene,
    seed: int,
    device: str,
    overrides: Mapping[str, str] | None,
    observe: Callable[[Simulation], AbstractContextManager[object]],
    progress: Callable[[float], None],
    warn: Callable[[str], None],
) -> Mapping[str, Any]:
    """What the trial reads after the policy has played in the scene of the trial."""
    simulation = playing(trial, snapshot, training=training, seed=seed, device=device, overrides=overrides)
    with observe(simulation):
        for tick in range(trial.ticks):
            progress(tick / trial.ticks)
            simulation.run()
            if trial.over is not None and tick and trial.over(simulation.world):  # the first tick only places the rows
                break
    for found in simulation.world.nonfinite.values():
        warn(f"While the policy was played: {about_nonfinite(found)}")
    progress(1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    return trial.read(simulation.world, path)


def playing(
    trial: Trial,
    snapshot: bytes,
    *,
    training: Scene,
    seed: int = 0,
    device: str = "cpu",
    overrides: Mapping[str, str] | None = None,
) -> Simulation:
    """The simulation of a trial's scene with the trained policy in it; arguments and errors are those of `run_trial`."""
    scene = trial.scene()
    theirs = identity(snapshot)
    for name in trial.identical:
        if theirs.get(name) != scene.identity.get(name):
            raise SceneError(
                f"The policy was trained with the {name} '{theirs.get(name, '')}', but this scene has "
                f"'{scene.identity.get(name, '')}'. Choose the same {name} with the scene's flags."
            )
    for name in set(trial.cures).difference(resources_in(snapshot) if trial.cures else ()):
        raise SceneError(f"The snapshot of the policy holds no {name}. {trial.cures[name]}")
    simulation = build(scene, seed=seed, device=device, overrides=reaching(overrides or {}, training, scene))
    if trial.restores:
        restore(simulation.world, snapshot, only=trial.restores)
    return simulation


def reaching(overrides: Mapping[str, str], training: Scene, played: Scene) -> dict[str, str]:
    """Those overrides that a trial's scene takes over from the training.

    An override stops where the playing scene has no such constant, or binds it to another value than the training scene
    does: that value belongs to the trial. SceneError for an address that neither has.
    """
    known, trained = addresses(played.bundles), addresses(training.bundles)
    for address in overrides:
        if address not in known and address not in trained:
            raise SceneError(
                f"There is no constant '{address}'.{did_you_mean(address, {**known, **trained}) or ' --explain lists them.'}"
            )

    def own(address: str) -> bool:
        values = [[place.holder[place.key] for place in places[address]] for places in (known, trained)]
        return len(values[0]) != len(values[1]) or not all(map(_same, *values))

    return {a: text for a, text in overrides.items() if a in known and (a not in trained or not own(a))}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (torch.Tensor, np.ndarray)) or isinstance(other, (torch.Tensor, np.ndarray)):
        return type(one) is type(other) and one.shape == other.shape and bool((one == other).all())
    return bool(one == other)
