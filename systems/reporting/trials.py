"""Trials whose episodes are logged, with observation noise or without it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from components.observation import ObservationNoise
from engine import Bundle, Scene, Trial, World
from engine.ecs.bundle import Deferred
from engine.ecs.constants import apply_overrides
from engine.snapshot.snapshot import resources_in
from systems.episode_log import episode_log
from systems.reporting.measures import read_episodes


def present_in(scene: Scene) -> set[type]:
    """Components and resources of a scene."""
    resources = (r.type if isinstance(r, Deferred) else type(r) for bundle in scene.bundles for r in bundle.resources)
    return {cls for bundle in scene.bundles for cls in bundle.components} | {*resources}


def control_step(bundles: Sequence[Bundle]) -> float | None:
    """The control step in s, which whoever adds up rewards knows; None where nobody does."""
    systems = [each for bundle in bundles for phase in bundle.systems.values() for each in phase]
    return next((float(s.constants["dt"]) for s in systems if s.name == "reward" and "dt" in s.constants), None)


def watched(trial: Trial, *, noisy: bool, data: bytes) -> Trial:
    """The trial with logs of its episodes, which stand under "episodes" in what it reads, and with noise where it is `noisy`."""

    def scene() -> Scene:
        made = trial.scene()
        if noisy:
            apply_overrides(made.bundles, dict.fromkeys(noise_switches(made.bundles), "true"))
        log = episode_log(present_in(made), frames=trial.ticks) if control_step(made.bundles) else None
        made.bundles = [*made.bundles, *([log] if log else [])]
        return made

    def read(world: World, path: Path) -> Mapping[str, Any]:
        dt = control_step(trial.scene().bundles)
        return {**trial.read(world, path), "episodes": read_episodes(world, dt) if dt else None}

    level = ObservationNoise.__name__
    learned = noisy and ObservationNoise in present_in(trial.scene()) and level in resources_in(data)
    return attrs.evolve(
        trial, scene=scene, read=read, beside={}, restores=(*trial.restores, *([level] if learned else []))
    )


def noise_switches(bundles: Sequence[Bundle]) -> list[str]:
    """Addresses of the constants that switch observation noise on."""
    return [
        f"{bundle.name}.{each.name}.noisy"
        for bundle in bundles
        for phase in bundle.systems.values()
        for each in phase
        if "noisy" in each.constants and any(t.settings.get("noise") for t in each.terms.values())
    ]


def has_noise(bundles: Sequence[Bundle]) -> bool:
    """Whether some observation has noise, switched on or off."""
    systems = [each for bundle in bundles for phase in bundle.systems.values() for each in phase]
    return any("noisy" in s.constants and any(t.settings.get("noise") for t in s.terms.values()) for s in systems)
