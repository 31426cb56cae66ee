"""Readers of motion clips: ASAP/PHC pickles, CSV tables, BeyondMimic/mjlab npz, folders and weighted lists of them.

A clip is named by a word (`squat`, made on the spot) or by a path with options after colons, and a list
joins them with commas and gives weights, which multiply how often each frame of a clip is drawn:

    walk.csv:xyzw:60fps:10-250=2,kicks.pkl#kick_3=1,folder

`xyzw` or `wxyz` says how the file orders quaternions, `60fps` its frame rate, `10-250` which frames to
take (from 1, both included), `#kick_3` which clip of a pickle of many.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import attrs
import numpy as np

from components.motion import BuiltInClip, Clip
from engine.errors import SceneError, did_you_mean, listing
from systems.motion.array_pickle import read_array_pickle
from systems.motion.clips import BUILT_IN
from systems.motion.joint_orders import DOCUMENTED_ORDER

CSV_FPS = 30.0  # what public CSV clips are recorded at; the files do not say
ClipNames = Annotated[str, f"a built-in clip ({listing(BUILT_IN)}), a file, a folder, or a list a=2,b=1"]
_OPTION = r":(?:xyzw|wxyz|\d+(?:\.\d+)?fps|\d+-\d*|\d*-\d+)"
_ITEM = re.compile(rf"(?P<path>.+?)(?:#(?P<key>[^#:=]+))?(?P<options>(?:{_OPTION})*)$")


@attrs.frozen
class _Request:
    path: str
    key: str | None
    options: tuple[str, ...]
    weight: float


def read_clips(spec: str) -> list[Clip | BuiltInClip]:
    """The clips that `spec` names (see the top of this file); a folder stands for all clips in it.

    A weight applies to every clip of its item. Raises SceneError for a clip that does not exist or a
    file that cannot be read.
    """
    clips: list[Clip | BuiltInClip] = []
    for request in _requests(spec):
        built_in = request.path.replace("_", "-")
        if built_in in BUILT_IN and not request.options and not request.key:
            clips.append(BuiltInClip(built_in, request.weight))
            continue
        for file in _files(request.path):
            clips += [attrs.evolve(clip, weight=request.weight) for clip in _read(file, request)]
    return clips


def _requests(spec: str) -> Iterator[_Request]:
    items = [spec] if Path(spec).exists() else [item.strip() for item in spec.split(",")]
    for item in items:
        if not item:
            raise SceneError(
                f"The clip list '{spec}' has an empty entry. Name a built-in clip ({listing(BUILT_IN)}) or a file."
            )
        path, weight = item, 1.0
        if "=" in item and not Path(item).exists():
            path, text = item.rsplit("=", 1)
            weight = _weight(item, text)
        match = _ITEM.match(path)
        if Path(path).exists() or match is None:
            yield _Request(path, None, (), weight)
        else:
            options = tuple(match["options"].split(":")[1:])
            yield _Request(match["path"], match["key"], options, weight)


def _weight(item: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0.0 < weight < float("inf"):
        raise SceneError(f"The weight '{text}' in '{item}' is not a positive number. Write it like a.pkl=2.")
    return weight


def _files(path: str) -> list[Path]:
    place = Path(path).expanduser()
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.suffix in _READERS and file.is_file())
        if not files:
            raise SceneError(f"Folder {path} holds no motion clips; a clip ends in {listing(_READERS)}.")
        return files
    if place.is_file():
        return [place]
    if place.suffix in _READERS or "/" in path:
        near = [file.name for file in place.parent.iterdir()] if place.parent.is_dir() else []
        raise SceneError(f"The clip file {path} does not exist. Check the path.{did_you_mean(place.name, near)}")
    raise SceneError(
        f"There is no clip '{path}': it is neither a file or folder nor one of the built-in clips "
        f"{listing(BUILT_IN)}.{did_you_mean(path, BUILT_IN)}"
    )


def _read(path: Path, request: _Request) -> list[Clip]:
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise SceneError(f"{path} ends in '{path.suffix}', which no reader knows. A clip ends in {listing(_READERS)}.")
    clips = reader(path, request)
    if request.key is not None and (len(clips) != 1 or clips[0].name != request.key):
        names = [clip.name for clip in clips]
        raise SceneError(
            f"{path} has no clip '{request.key}'; it has {listing(names)}.{did_you_mean(request.key, names)}"
        )
    return [_apply(clip, request.options) for clip in clips]


def _apply(clip: Clip, options: tuple[str, ...]) -> Clip:
    for option in options:
        if option.endswith("fps"):
            clip = attrs.evolve(clip, fps=float(option[:-3]))
        elif option in ("xyzw", "wxyz"):
            turn = {("wxyz", "xyzw"): 1, ("xyzw", "wxyz"): -1}.get((clip.file_rotation, option), 0)
            bodies = None if clip.body_rotation is None else np.roll(clip.body_rotation, turn, -1)
            root = np.roll(clip.root_rotation, turn, -1)
            clip = attrs.evolve(clip, root_rotation=root, body_rotation=bodies, file_rotation="")
        else:
            first, last = (int(text) if text else None for text in option.split("-"))
            clip = _cut(clip, 1 if first is None else first, clip.num_frames if last is None else last)
    return clip


def _cut(clip: Clip, first: int, last: int) -> Clip:
    if not 1 <= first < last <= clip.num_frames:
        raise SceneError(
            f"Frames {first}-{last} of {clip.source} cannot be cut out: it has frames 1 to {clip.num_frames}, "
            "and a clip needs two frames or more."
        )
    arrays = {
        field.name: getattr(clip, field.name)[first - 1 : last]
        for field in attrs.fields(Clip)
        if isinstance(getattr(clip, field.name), np.ndarray)
    }
    return attrs.evolve(clip, name=f"{clip.name}:{first}-{last}", **arrays)


def _array(source: str, name: str, value: Any, *shape: int | None) -> np.ndarray:
    """`value` as float64 of the given shape, None where any size will do."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise SceneError(f"'{name}' in {source} is not an array of numbers.") from None
    if array.ndim != len(shape) or any(
        want is not None and have != want for have, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise SceneError(f"'{name}' in {source} has shape {array.shape}; it should be ({wanted}).")
    return array


def _need(source: str, content: Any, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in content]
    if missing:
        raise SceneError(
            f"{source} lacks '{missing[0]}'; it has {listing(str(key) for key in content) or 'nothing'}. "
            f"A motion clip of this kind needs {listing(names)}."
        )


def _frame_rate(source: str, value: Any) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu" or not 0.0 < float(array.reshape(())) < float("inf"):
        raise SceneError(f"'fps' in {source} is {value!r}; it should be one positive number of frames per second.")
    return float(array.reshape(()))


def _read_pickle(path: Path, request: _Request) -> list[Clip]:
    """The ASAP/PHC layout: {clip: {root_trans_offset, root_rot xyzw, dof, fps, pose_aa}}."""
    content = read_array_pickle(path)
    if not isinstance(content, dict) or not content:
        raise SceneError(f"{path} holds {type(content).__name__}, not a dictionary of clips as ASAP and PHC write it.")
    if "root_rot" in content:
        content = {path.stem: content}
    wanted = {key: value for key, value in content.items() if request.key in (None, str(key))} or content
    clips = []
    for key, value in wanted.items():
        name = path.stem if len(content) == 1 and request.key is None else str(key)
        source = str(path) if len(content) == 1 else f"{path}#{key}"
        if not isinstance(value, dict):
            raise SceneError(f"Clip '{key}' in {path} holds {type(value).__name__}, not a dictionary of arrays.")
        clips.append(_from_pickle(name, source, value))
    return clips


def _from_pickle(name: str, source: str, value: dict[str, Any]) -> Clip:
    _need(source, value, ("root_trans_offset", "root_rot", "dof", "fps"))
    dof = _array(source, "dof", value["dof"], None, None)
    rotation = _array(source, "root_rot", value["root_rot"], len(dof), 4)
    if "pose_aa" in value:
        _check_axis_angles(source, dof, _array(source, "pose_aa", value["pose_aa"], len(dof), None, 3))
    return Clip(
        name=name,
        fps=_frame_rate(source, value["fps"]),
        root_position=_array(source, "root_trans_offset", value["root_trans_offset"], len(dof), 3),
        root_rotation=np.roll(rotation, 1, -1),
        dof_position=dof,
        file_rotation="xyzw",
        source=source,
    )


def _check_axis_angles(source: str, dof: np.ndarray, pose: np.ndarray) -> None:
    """Each joint's axis-angle must sum to its angle and turn about the axis that the joint's name implies."""
    count = dof.shape[1]
    if pose.shape[1] < count + 1:
        raise SceneError(
            f"'pose_aa' in {source} has {pose.shape[1]} rows for {count} joints; it needs the root and every joint."
        )
    joints = pose[:, 1 : count + 1]
    error = np.abs(joints.sum(-1) - dof)
    if np.nanmax(error, initial=0.0) > 1e-2:
        frame, joint = (int(i) for i in np.unravel_index(np.nanargmax(error), error.shape))
        raise SceneError(
            f"{source}, frame {frame}: joint {joint} is {dof[frame, joint]:.3f} rad in 'dof' and "
            f"{joints[frame, joint].sum():.3f} "
            "rad in 'pose_aa'. The two were written in different joint orders; convert the clip again."
        )
    axes = {"pitch": 1, "knee": 1, "elbow": 1, "roll": 0, "yaw": 2}
    for joint, label in enumerate(DOCUMENTED_ORDER.get(count, ())):
        expected = next(axis for word, axis in axes.items() if word in label)
        size = np.abs(joints[:, joint])
        frame = int(np.nanargmax(size.max(-1))) if len(size) else 0
        if len(size) and size[frame].max() > 0.05 and size[frame].argmax() != expected:
            raise SceneError(
                f"{source}, frame {frame}: joint {joint} should be {label}, which turns about {'xyz'[expected]}, but "
                "the file "
                f"turns it about {'xyz'[size[frame].argmax()]}. Its joints are in another order than the documented "
                "one; reorder them."
            )


def _read_csv(path: Path, request: _Request) -> list[Clip]:
    """Root position, quaternion wxyz and joint angles, one frame per line; a first line may name the columns."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise SceneError(f"{path} is not a text file, so it cannot be a CSV clip.") from None
    split = [[cell.strip() for cell in line.replace(";", ",").split(",")] for line in lines]
    names: tuple[str, ...] | None = None
    if split and not any(_is_number(cell) for cell in split[0]):
        names = tuple(split.pop(0)[7:])
    first = len(lines) - len(split) + 1
    width = len(split[0]) if split else 0
    if width <= 7:
        raise SceneError(
            f"{path} has {len(split)} frames of {width} columns; a clip needs 7 for the root and one per joint."
        )
    for number, cells in enumerate(split, first):
        bad = next((i for i, cell in enumerate(cells) if not _is_number(cell)), None)
        if len(cells) != width:
            raise SceneError(
                f"Line {number} of {path} has {len(cells)} columns and the lines before {width}. Is it truncated?"
            )
        if bad is not None:
            raise SceneError(f"Line {number}, column {bad + 1} of {path} is '{cells[bad]}', which is not a number.")
    table = np.array(split, dtype=np.float64)
    return [
        Clip(
            name=path.stem,
            fps=CSV_FPS,
            root_position=table[:, :3],
            root_rotation=table[:, 3:7],
            dof_position=table[:, 7:],
            dof_names=names,
            file_rotation="wxyz",
            source=str(path),
        )
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_npz(path: Path, request: _Request) -> list[Clip]:
    """The BeyondMimic/mjlab layout; joints and bodies by name where `joint_names` and `body_names` are there."""
    source = str(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged archive fails in a dozen ways
        raise SceneError(
            f"{path} is truncated or not an npz of plain arrays: {error}. Fetch or convert it again."
        ) from None
    _need(source, content, ("fps", "joint_pos", "body_pos_w", "body_quat_w"))
    dof = _array(source, "joint_pos", content["joint_pos"], None, None)
    position = _array(source, "body_pos_w", content["body_pos_w"], len(dof), None, 3)
    rotation = _array(source, "body_quat_w", content["body_quat_w"], len(dof), position.shape[1], 4)
    names = {
        key: tuple(str(n) for n in content[key].ravel()) for key in ("joint_names", "body_names") if key in content
    }
    for key, size in (("joint_names", dof.shape[1]), ("body_names", position.shape[1])):
        if key in names and len(names[key]) != size:
            raise SceneError(f"'{key}' in {path} has {len(names[key])} names for {size} columns.")
    if not position.shape[1]:
        raise SceneError(f"'body_pos_w' in {path} has no bodies; the first one gives the root.")
    velocity = content.get("joint_vel")
    return [
        Clip(
            name=path.stem,
            fps=_frame_rate(source, content["fps"]),
            root_position=position[:, 0],
            root_rotation=rotation[:, 0],
            dof_position=dof,
            dof_names=names.get("joint_names"),
            dof_velocity=None if velocity is None else _array(source, "joint_vel", velocity, *dof.shape),
            body_names=names.get("body_names"),
            body_position=position,
            body_rotation=rotation,
            file_rotation="wxyz",
            source=source,
        )
    ]


_READERS = {".pkl": _read_pickle, ".csv": _read_csv, ".npz": _read_npz}
