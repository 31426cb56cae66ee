"""Episodes as MCAP files, for Foxglove, Lichtblick, Rerun and everybody who reads MCAP.

Each component is a channel /table/Component of JSON messages, one per tick, whose JSON schema says what each column is. Bodies
of the figures that a scene displays are frames in /tf, and the model of each is an attachment.
"""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SceneError
from engine.files import file_errors, write_file
from engine.protocol.display import Figure, View
from engine.runner.replay import EpisodeReplay

ENDING = ".mcap"
MISSING = "MCAP files need the library mcap, which is not installed. pip install 'lockstep-sim[mcap]' brings it."
WORLD = "world"  # the frame that all others are in
_NUMBER: Any = {"type": "number"}
_STAMP = {"sec": {"type": "integer", "minimum": 0}, "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999}}


def _object(description: str, properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "required": list(properties),
        **more,
    }


FRAME_TRANSFORMS = {
    "title": "foxglove.FrameTransforms",
    **_object("Poses of frames", {"transforms": {"type": "array", "items": _object("Pose of one frame in another", {
        "timestamp": _object("simulated time", _STAMP),
        "parent_frame_id": {"type": "string"},
        "child_frame_id": {"type": "string"},
        "translation": _object("m", dict.fromkeys("xyz", _NUMBER)),
        "rotation": _object("unit quaternion", dict.fromkeys("xyzw", _NUMBER)),
    })}}),
}  # fmt: skip


def refuse_mcap(path: Path) -> None:
    """SceneError where no MCAP file can be written to `path`, before anything is simulated."""
    if path.suffix.lower() != ENDING:
        raise SceneError(f"--mcap {path} ends in '{path.suffix}'; say --mcap {path.with_suffix(ENDING)}.")
    if path.exists():
        raise SceneError(f"{path} would be replaced. Name another file after --mcap.")
    try:
        import mcap.writer  # noqa: F401
    except ImportError:
        raise SceneError(MISSING) from None


def write_mcap(path: Path, episode: EpisodeReplay, view: View) -> Mapping[str, str]:
    """Write an episode; what was written, by name. Time is tick × `view.dt`, or a second per tick where a scene says none."""
    refuse_mcap(path)
    from mcap.writer import Writer

    times = [round(int(tick) * (view.dt or 1.0) * 1e9) for tick in episode.ticks]  # ns
    made = io.BytesIO()
    writer = Writer(made)
    writer.start("", "lockstep")
    kept = {"row": str(episode.row), "ended by": ", ".join(episode.reasons), "digest": episode.digest}
    writer.add_metadata("episode", {**kept, "first tick": str(episode.ticks[0]), "last tick": str(episode.ticks[-1])})
    components: dict[str, list[str]] = {}
    for address in episode.columns:
        components.setdefault(address.rpartition(".")[0], []).append(address)
    channels = {}
    for component, addresses in components.items():
        text = json.dumps(_schema(episode, component, addresses), ensure_ascii=False)
        channels[component] = _channel(writer, f"/{component.replace('.', '/')}", f"lockstep.{component}", text)
    figures = [figure for figure in view.figures if figure.position in episode.columns]
    frames = _channel(writer, "/tf", "foxglove.FrameTransforms", json.dumps(FRAME_TRANSFORMS)) if figures else 0
    for sample, (tick, time) in enumerate(zip(episode.ticks.tolist(), times, strict=True)):
        for component, addresses in components.items():
            values = {a.rpartition(".")[2]: _plain(episode.columns[a][sample]) for a in addresses}
            writer.add_message(channels[component], time, _bytes({"tick": tick, **values}), time, sample)
        if figures:
            stamp = dict(zip(("sec", "nsec"), divmod(time, 10**9), strict=True))
            poses = [pose for f in figures for pose in _poses(f, episode.columns, sample, stamp, len(figures) > 1)]
            writer.add_message(frames, time, _bytes({"transforms": poses}), time, sample)
    for figure in (each for each in figures if each.asset is not None):
        assert figure.asset is not None
        writer.add_attachment(0, times[0], f"{figure.name}.xml", "application/xml", figure.asset.content)
    writer.finish()
    with file_errors(f"{path} cannot be written to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, made.getvalue())
    return {"mcap": f"{path}, {len(components)} components over {len(times)} ticks"}


def _channel(writer: Any, topic: str, name: str, schema: str) -> int:
    number: int = writer.register_channel(topic, "json", writer.register_schema(name, "jsonschema", schema.encode()))
    return number


def _schema(episode: EpisodeReplay, component: str, addresses: list[str]) -> dict[str, Any]:
    """The JSON schema of a component's messages, of what its columns are documented as."""
    properties: dict[str, Any] = {"tick": {"type": "integer"}}
    for address in addresses:
        values = episode.columns[address]
        kind: dict[str, Any] = {
            "type": {"b": "boolean", "i": "integer", "u": "integer"}.get(values.dtype.kind, "number")
        }
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            kind = {"type": ["number", "string"]}  # "NaN", "Infinity", "-Infinity"
        for size in reversed(values.shape[1:]):
            kind = {"type": "array", "items": kind, "minItems": size, "maxItems": size}
        parts = [episode.docs.get(address, ""), f"({episode.units[address]})" if episode.units.get(address) else ""]
        kind["description"] = " ".join(part for part in parts if part)
        if values[0].size > 1:
            kind["labels"] = list(episode.labels[address])  # of the values, the last axis first
        properties[address.rpartition(".")[2]] = kind
    return _object(episode.docs.get(component, ""), properties, title=f"lockstep.{component}")


def _plain(values: np.ndarray) -> Any:
    """Values as JSON can carry them, exactly."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return values.tolist()
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    plain = np.array([words.get(str(each), each) for each in values.ravel().tolist()], dtype=object)
    return plain.reshape(values.shape).tolist()


def _bytes(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode()


def _poses(
    figure: Figure, columns: Mapping[str, np.ndarray], sample: int, stamp: Mapping[str, int], several: bool
) -> Iterator[dict[str, Any]]:
    """Where the bodies of a figure are, and those of the reference that it follows, as far as they are finite."""
    start = f"{figure.name}/" if several else ""
    places = columns[figure.position][sample]
    turns = (
        columns[figure.rotation][sample]
        if figure.rotation and figure.rotation in columns
        else np.array([[1.0, 0.0, 0.0, 0.0]] * len(places))
    )
    found = [(f"{start}{body.name}", *pose) for body, *pose in zip(figure.bodies, places, turns, strict=True)]
    if figure.reference and figure.reference in columns:
        names = (f"{start}reference/{figure.bodies[body].name}" for body in figure.tracked)
        found += [
            (name, place, (1.0, 0.0, 0.0, 0.0))
            for name, place in zip(names, columns[figure.reference][sample], strict=True)
        ]
    for name, place, turn in found:
        if np.isfinite([*place, *turn]).all():
            yield {
                "timestamp": stamp,
                "parent_frame_id": WORLD,
                "child_frame_id": name,
                "translation": dict(zip("xyz", map(float, place), strict=True)),
                "rotation": dict(zip("wxyz", map(float, turn), strict=True)),
            }
