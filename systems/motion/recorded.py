"""Recorded motion: what rows did, as clips in files that the readers of clips read back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.motion import Clip
from engine.errors import SceneError
from engine.files import file_errors, write_file
from systems.motion.writers import CONTAINERS, clip_bytes
from systems.robots.model import RobotModel

ENDINGS = tuple(f".{container}" for container in CONTAINERS)
SEVERAL = (".pkl",)  # of them, what holds more than one clip


def clip_from_columns(columns: Mapping[str, np.ndarray], *, name: str, table: str, fps: float) -> Clip:
    """The clip of a row's columns (T, ...) by address, in the joints' own order; positions are from the row's own origin.

    On terrain that is the one of its episode, so that what was lifted onto a tile stands on height 0 again.

    An action is that which led to its frame: 0 in the first one after a reset. Contacts are there where a scene derives
    them. Raises SceneError for fewer than two frames.
    """
    place = columns[f"{table}.RootState.position"]
    if len(place) < 2:
        raise SceneError(
            f"{name} lasts no whole control step, so that there is no motion in it. Choose another episode."
        )
    if f"{table}.TerrainTile.origin" in columns:
        place = place - columns[f"{table}.TerrainTile.origin"]
    homes = {"action": f"{table}.Action.value", "contact_mask": f"{table}.Contact.touching"}
    beside: dict[str, Any] = {n: columns[home].astype(np.float64) for n, home in homes.items() if home in columns}
    return Clip(
        name=name,
        fps=fps,
        root_position=place.astype(np.float64),
        root_rotation=columns[f"{table}.RootState.rotation"].astype(np.float64),
        dof_position=columns[f"{table}.DofState.position"].astype(np.float64),
        **beside,
        source="recorded",
    )


def write_recorded(
    episodes: Mapping[str, Mapping[str, np.ndarray]], path: Path, model: RobotModel, *, table: str, fps: float
) -> dict[str, str]:
    """Write the columns of rows, by the names of their clips, to `path`, by its ending; what was written, by name."""
    clips = [clip_from_columns(columns, name=name, table=table, fps=fps) for name, columns in episodes.items()]
    first, lengths = clips[0], sorted({clip.num_frames for clip in clips})
    beside = [word for word, kept in (("actions", first.action), ("contacts", first.contact_mask)) if kept is not None]
    with file_errors(f"{path} cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, clip_bytes(clips, model, path.suffix[1:].lower()))
    frames = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else str(lengths[0])
    contents = f"{frames} frames at {fps:g} per second, {len(model.robot.dof_names)} joints of {model.robot.name}"
    in_file = beside if path.suffix.lower() != ".csv" else []
    several = [f"{len(clips)} clips"] if len(clips) > 1 else []
    return {"clip": f"{path}: {', '.join([*several, contents, *in_file])}"}
