"""Trained policies that are measured side by side: how they are opened, and in what they differ."""

from collections.abc import Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import attrs

from engine import Trial
from engine.errors import SceneError, listing
from engine.trained import TrainedPolicy
from systems.reporting.summary import short_names


def open_policies(
    paths: Sequence[Path], words: Sequence[str], console: Any, scene_file: str | None = None
) -> dict[str, TrainedPolicy]:
    """Policies by a short name; SceneError for what is no policy, and for those that cannot stand side by side.

    `scene_file` is one in place of that which each was made with.
    """
    real = [path.resolve() for path in paths]
    twice = next((path for path, whole in zip(paths, real, strict=True) if real.count(whole) > 1), None)
    if twice is not None:
        raise SceneError(f"{twice} was given twice; name each run once.")
    found: dict[str, TrainedPolicy] = {}
    for name, path in zip(short_names(paths), paths, strict=True):
        policy = TrainedPolicy.open(path, words, console, scene_file=scene_file)
        if policy.experiment.evaluate is None:
            raise SceneError(
                f"The scene '{policy.scene.name}' of {path} has no evaluation, so there is nothing to measure. Give its Experiment "
                "evaluate=Trial(…), as docs/adding_a_task.md shows."
            )
        found[name] = policy
    refuse_unlike(found)
    return found


def with_episodes(policy: TrainedPolicy, count: int) -> TrainedPolicy:
    """The policy with so many rows in its evaluation. SceneError for a scene whose evaluation has a fixed number."""
    trial, clips = trial_of(policy), len(policy.scene.identity.get("clips", ()))
    scene: Any = trial.scene
    if "rows" not in signature(scene).parameters:
        raise SceneError(
            f"--episodes has no effect: the evaluation of the scene '{policy.scene.name}' has a fixed number. Leave it out, or give the "
            "function that is its Trial's scene a parameter rows with that number as default."
        )
    if count < clips:
        raise SceneError(
            f"--episodes is {count}, but there are {clips} clips, and each is played. Give at least {clips}."
        )
    more = attrs.evolve(trial, scene=partial(scene, rows=count))
    return attrs.evolve(policy, experiment=attrs.evolve(policy.experiment, evaluate=more))


def refuse_unlike(policies: Mapping[str, TrainedPolicy]) -> None:
    """SceneError for policies of different scenes, robots or clips."""
    (first, one), *others = policies.items()
    for name, other in others:
        if one.scene.name != other.scene.name:
            raise SceneError(
                f"{first} is of the scene '{one.scene.name}' and {name} of '{other.scene.name}'; evaluate those of one scene together."
            )
        for part in {**one.scene.identity, **other.scene.identity}:
            values = [in_words(policy.scene.identity.get(part)) for policy in (one, other)]
            if values[0] != values[1]:
                again = (
                    f"say --clip for all of them, such as --clip {values[0].split(', ')[0]}" if part == "clips" else ""
                )
                raise SceneError(
                    f"{first} has the {part} {values[0]}, and {name} has {values[1]}: numbers of different {part} cannot stand side by "
                    f"side. {again[:1].upper()}{again[1:]}{', or e' if again else 'E'}valuate each of them alone."
                )


def trial_of(policy: TrainedPolicy) -> Trial:
    """The evaluation of the policy's scene."""
    assert policy.experiment.evaluate is not None
    return policy.experiment.evaluate


def in_words(value: Any) -> str:
    """A part of a scene's identity, such as its clips."""
    return listing(map(str, value), 5) if isinstance(value, (list, tuple)) else str(value)


def differences(policies: Mapping[str, TrainedPolicy]) -> str:
    """In what the configurations of runs differ, in words; "" where they do not, but for their seed."""
    plain = {name: policy.plan.plain() for name, policy in policies.items()}
    found = []
    for group in ("config", "flags", "overrides"):
        values = {
            name: p.get(group) if isinstance(p.get(group), Mapping) else {"config": p.get(group)}
            for name, p in plain.items()
        }
        for key in dict.fromkeys(key for each in values.values() for key in each or {}):
            texts = [str((each or {}).get(key)) for each in values.values()]
            if len(set(texts)) > 1:
                found.append(f"{key} ({', '.join(texts)})")
    return "; ".join(found)
