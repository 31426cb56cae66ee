"""Digests of the robot and of the clips of a scene, for provenance."""

import hashlib
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from torch import Tensor

from components.motion import MotionLibrary
from systems.robots.model import RobotModel


def robot_alone(model: RobotModel) -> dict[str, str]:
    """A digest of the compiled robot, by name."""
    compiled = {name: getattr(model.model, name) for name in dir(model.model) if not name.startswith("_")}
    arrays = {name: value for name, value in compiled.items() if isinstance(value, (np.ndarray, bytes))}
    return {f"robot {model.robot.name}": digest(arrays, model.robot)}


def robot_and_clips(model: RobotModel, library: MotionLibrary) -> dict[str, str]:
    """A digest of the compiled robot and of every clip as it is played, by name."""
    found = robot_alone(model)
    for name, first, count in zip(library.names, library.start.tolist(), library.frames.tolist(), strict=True):
        frames = slice(first, first + count)
        found[f"clip {name}"] = digest(library.fps, library.vectors[frames], library.rotations[frames])
        wanted = library.contacts[frames]
        if len(wanted) and bool((wanted >= 0.0).all()):
            found[f"contacts of clip {name}"] = digest(wanted)
    return {**found, "weights of the clips": digest(library.weight)}


def digest(*values: Any) -> str:
    """SHA-256 of nested plain values, arrays and tensors.

    Numbers count with the precision of float32: the last bits of float64 differ between processors.
    """
    whole = hashlib.sha256()
    _add(whole, values)
    return whole.hexdigest()


def _add(whole: Any, value: Any) -> None:
    if isinstance(value, (Tensor, np.ndarray)):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        whole.update(f"array {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    elif isinstance(value, Mapping):
        _add(whole, [(str(key), value[key]) for key in sorted(value, key=str)])
    elif isinstance(value, (list, tuple)):
        whole.update(f"list {len(value)}".encode())
        for part in value:
            _add(whole, part)
    elif attrs.has(type(value)):
        _add(whole, attrs.asdict(value, recurse=False))
    else:
        whole.update(
            f"{type(value).__name__} {float(np.float32(value)) if isinstance(value, float) else value!r};".encode()
        )
