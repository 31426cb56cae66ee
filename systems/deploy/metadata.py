"""Metadata of policy files: the value of a key, as JSON or with commas, and a SceneError for what is missing or unfit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SceneError, listing

FORMAT = "lockstep policy 1"
AXES = ("lin_vel_x", "lin_vel_y", "ang_vel_yaw")
AGAIN = "Export the policy again."
LONGEST = 10.0  # s, of a control step
SHOWN = 60  # characters of a value in a sentence

About = Mapping[str, str]


def listed(path: Path, about: About, key: str) -> Any:
    """Value of a key: out of JSON, or the words between commas. SceneError where nothing is, or JSON that is cut."""
    if key not in about:
        cure = AGAIN if about.get("format") == FORMAT else "Export it with that, or give a --table that says it."
        raise SceneError(f"{path} does not say '{key}' in its metadata. {cure}")
    text = about[key].strip()
    if text[:1] not in ("[", "{") and text != "null":
        return [each.strip() for each in text.split(",")] if text else []
    try:
        return json.loads(text)
    except ValueError:
        raise SceneError(f"{path} says {key}='{text[:SHOWN]}', which is no JSON. {AGAIN}") from None


def words(path: Path, about: About, key: str) -> list[str]:
    """Words. SceneError where they are missing or are none."""
    found = listed(path, about, key)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise SceneError(f"{path} says {key}='{about[key][:SHOWN]}', which are no names. {AGAIN}")
    return found


def joint_names(path: Path, about: About, key: str) -> tuple[str, ...]:
    """Names of joints. SceneError where there are none, or one twice."""
    found = words(path, about, key)
    twice = [name for name in dict.fromkeys(found) if found.count(name) > 1]
    if twice or not any(found):
        what = f"names {listing(twice, 3)} twice" if twice else "names no joint"
        raise SceneError(f"{path} {what} in {key}. {AGAIN}")
    return tuple(found)


def numbers(
    path: Path, about: About, key: str, shape: tuple[int, ...] | None = None, *, low: float = -np.inf
) -> np.ndarray:
    """Numbers from `low` up. SceneError where they are missing, are none, are not finite, or of another shape."""
    try:
        found = np.atleast_1d(np.array(listed(path, about, key), float))
    except (ValueError, TypeError):
        raise SceneError(f"{path} says {key}='{about[key][:SHOWN]}', which are not numbers. {AGAIN}") from None
    if not np.isfinite(found).all():
        raise SceneError(f"{path} says a {key} that is not finite. {AGAIN}")
    if shape is not None and found.shape != shape:
        sizes = (" × ".join(map(str, each)) for each in (found.shape, shape))
        raise SceneError(f"{path} says {next(sizes)} numbers as {key}, where {next(sizes)} belong. {AGAIN}")
    if (found < low).any():
        raise SceneError(f"{path} says a {key} of {found.min():g}, where nothing below {low:g} belongs. {AGAIN}")
    return found


def per_joint(path: Path, about: About, source: Any, joints: int, what: str, low: float = -np.inf) -> np.ndarray:
    """One number for each joint of a file, in its order, under a key or as a table has them; one for all where it says one scale.

    SceneError for another count, or a number below `low`.
    """
    found = numbers(path, about, source, low=low) if isinstance(source, str) else np.atleast_1d(np.array(source, float))
    if found.shape == (1,) and what == "action_scale":
        found = np.full(joints, found[0])
    if found.shape != (joints,):
        raise SceneError(f"{path} has {joints} joints, but {found.size} numbers as {what}. {AGAIN}")
    return found


def seconds(path: Path, about: About, source: float | str) -> float:
    """Length of a step in s, from a table or under a key. SceneError for one that is none."""
    found = float(numbers(path, about, source, (1,))[0]) if isinstance(source, str) else float(source)
    if not 0.0 < found <= LONGEST:
        raise SceneError(f"{path} says {source}={found:g} s, which is no time step. {AGAIN}")
    return found


def ranges(path: Path, about: About, source: Any) -> np.ndarray:
    """Least and greatest command, (3, 2), of a table or under a key; without bounds where nobody says them."""
    found = (listed(path, about, source) if source in about else None) if isinstance(source, str) else source
    if found is None:
        return np.array([(-np.inf, np.inf)] * 3)
    try:
        spans = np.array([found[axis] for axis in AXES], float).reshape(3, 2)
    except (KeyError, ValueError, TypeError):
        raise SceneError(f"{path} says command ranges that lack {listing(AXES)}. {AGAIN}") from None
    if not (spans[:, 0] <= spans[:, 1]).all():
        raise SceneError(f"{path} says command ranges without a least and a greatest number: {spans.tolist()}. {AGAIN}")
    return spans
