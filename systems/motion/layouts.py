"""Layouts of motion files: named arrays, as each program names and orders them, to one clip."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from components.motion import Clip
from engine.errors import SceneError, did_you_mean, listing
from systems.motion.array_pickle import ObjectArray
from systems.motion.arrays import NamedArrays
from systems.motion.containers import persons_motion
from systems.motion.conventions import from_rotation_vectors, in_joint_order, in_order, in_units, origins
from systems.motion.options import ClipOptions
from systems.motion.pose_angles import joint_angles
from systems.motion.raw_tables import from_qpos, from_table
from systems.motion.tables import NumberTable

PERSON = {"poses", "pose_body", "body_pose", "root_orient", "global_orient", "betas", "smpl_params_global", "thetas"}
PERSON |= {
    "posed_joints",
    "global_rot_mats",
    "local_rot_mats",
    "keypoints",
    "keypoints3d",
    "joints3d",
    "beta",
    "gender",
}
PERSON |= {"smpl_params_incam", "fullpose", "smpl_pose", "transl", "pred_pose", "pose_body_6d", "smpl_params"}


@attrs.frozen
class _Layout:
    """Under which names a program keeps the parts of a clip, and how it orders quaternions."""

    program: str
    position: str
    rotation: str
    angles: str
    order: str  # of quaternions: wxyz or xyzw
    velocity: str = ""
    bodies: bool = False  # whether position and rotation are those of all bodies, root first
    known: bool = True  # whether the names fix the order of quaternions

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.position, self.rotation, self.angles)


_LAYOUTS = (
    _Layout("ASAP and PHC", "root_trans_offset", "root_rot", "dof", "xyzw"),
    _Layout("GMR and TWIST", "root_pos", "root_rot", "dof_pos", "xyzw", "dof_vel"),
    _Layout("BeyondMimic and mjlab", "body_pos_w", "body_quat_w", "joint_pos", "wxyz", "joint_vel", bodies=True),
    _Layout("Isaac Lab", "body_positions", "body_rotations", "dof_positions", "wxyz", "dof_velocities", bodies=True),
    _Layout("ProtoMotions", "rigid_body_pos", "rigid_body_rot", "dof_pos", "xyzw", "dof_vel", bodies=True),
    _Layout(
        "HoloMotion", "ref_global_translation", "ref_global_rotation_quat", "ref_dof_pos", "xyzw", "ref_dof_vel",
        bodies=True,
    ),
    _Layout("HoloMotion", "global_translation", "global_rotation_quat", "dof_pos", "xyzw", "dof_vel", bodies=True),
    _Layout("ergoCub", "root_position", "root_quaternion", "joint_positions", "xyzw"),
    _Layout("GR00T", "body_pos.csv", "body_quat.csv", "joint_pos.csv", "wxyz"),
)  # fmt: skip
_OWN = {  # names in files of people's own programs; the order of quaternions may stand at the end of a name
    "position": r"(root|base|pelvis|body)_?(pos|position|trans|translation|xyz)(_w)?|trans|pos|position",
    "rotation": r"(root|base|pelvis|body)_?(quat|quaternion|rot|rotation|orientation|ori)(_w)?(_wxyz|_xyzw)?|"
    r"(quat|quaternion)(_wxyz|_xyzw)?",
    "angles": r"(joint|dof)s?_?(pos|positions?|angles?|q)|dof|q|joints|angles",
}
_ROOT_POSE = r"(root|base|pelvis)_?(pose|states?|transform)(_w)?"
_ROOTS = ("pelvis", "base_link", "base", "trunk", "root", "Trunk", "Pelvis")
_ROTATIONS = {
    (3,): "3 numbers, as of rotation vectors or Euler angles",
    (6,): "6 numbers of a matrix",
    (9,): "9 numbers of a matrix",
    (3, 3): "3 by 3 numbers of a matrix",
}
_LIBRARY = {"gts": "rigid_body_pos", "grs": "rigid_body_rot", "dps": "dof_pos", "dvs": "dof_vel"}


def clips_within(path: Path, content: Any, key: str | None) -> Iterator[tuple[str, str, Any]]:
    """(name, source, arrays) of each clip of a file, or of that which `key` names."""
    many = _parts(path, content)
    keys = [str(each) for each in many]
    if key is not None and key not in keys:
        raise SceneError(f"{path} has no clip '{key}'; it has {listing(keys)}.{did_you_mean(key, keys)}")
    for each, value in many.items():
        if key in (None, str(each)):
            alone = len(many) == 1
            name = path.stem if alone and key is None else str(each)
            yield name, str(path) if alone else f"{path}#{each}", value


def _parts(path: Path, content: Any) -> dict[Any, Any]:
    if isinstance(content, (list, tuple)) and content and all(isinstance(each, dict) for each in content):
        content = _stacked(content) or dict(enumerate(content))
    if isinstance(content, NumberTable):
        return {path.stem: content}
    if isinstance(content, np.ndarray):
        return {path.stem: _bare(path, content)}
    if not isinstance(content, dict) or not content:
        what = "nothing" if isinstance(content, (dict, list, tuple)) and not content else type(content).__name__
        raise SceneError(f"{path} holds {what}, not a dictionary of clips as ASAP and PHC write it.")
    if {"gts", "grs", "dps", "length_starts", "motion_num_frames"} <= content.keys():
        return _library(content)
    if "qpos" in content and np.size(content.get("split_points", ())) > 2:
        return _cut_up(path, content, np.asarray(content["split_points"]).astype(int))
    if any(isinstance(value, (np.ndarray, list, ObjectArray)) for value in content.values()) or PERSON & content.keys():
        return {path.stem: content}
    while len(content) == 1 and all(_holds_clips(value) for value in content.values()):
        (content,) = content.values()
    clips = {key: value for key, value in content.items() if isinstance(value, dict)}
    shared = {key: value for key, value in content.items() if key not in clips}
    if clips and all(map(_is_plain, shared.values())):
        return {key: {**shared, **clip} for key, clip in clips.items()}
    return content


def _is_plain(value: Any) -> bool:
    """Whether a value beside clips, such as a frame rate, is one number or text that holds for all of them."""
    return isinstance(value, (str, int, float, np.generic))


def _stacked(frames: Sequence[dict[Any, Any]]) -> dict[Any, Any]:
    """One clip out of a dictionary for each frame; nothing where each is a clip of its own."""
    keys = set(frames[0])
    vectors = [key for key in keys if np.ndim(frames[0][key]) == 1]
    if len(frames) < 2 or not vectors or any(set(frame) != keys for frame in frames):
        return {}
    if any(isinstance(value, ObjectArray) or np.ndim(value) > 1 for frame in frames for value in frame.values()):
        return {}
    alike = {key: {np.shape(frame[key]) for frame in frames} for key in keys}
    return (
        {key: np.stack([frame[key] for frame in frames]) for key in keys} if max(map(len, alike.values())) == 1 else {}
    )


def _holds_clips(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(each, dict) for each in value.values())


def _bare(path: Path, array: np.ndarray) -> np.ndarray:
    """An array without names, with a row per frame."""
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if (array.ndim == 3 and array.shape[2] in (3, 4, 6, 9)) or (array.ndim == 2 and array.shape[1] in (263, 251)):
        raise persons_motion(str(path), f"an array of shape {array.shape}, as of points or features of a person")
    if array.ndim != 2:
        raise SceneError(
            f"{path} holds an array of shape {array.shape}; a clip in a plain array has a row per frame: the root's "
            "position, its quaternion w, x, y, z, and the joints."
        )
    return array


def _library(content: dict[str, Any]) -> dict[str, Any]:
    """ProtoMotions' packed library: all frames of all clips in one array each."""
    files = content.get("motion_files") or range(len(content["length_starts"]))
    clips = {}
    for i, (start, count) in enumerate(zip(content["length_starts"], content["motion_num_frames"], strict=True)):
        frames = slice(int(start), int(start) + int(count))
        name = Path(str(files[i])).stem
        clip = {new: content[old][frames] for old, new in _LIBRARY.items() if content.get(old) is not None}
        clips[name if name not in clips else f"{name} ({i})"] = {**clip, "dt": content["motion_dt"][i]}
    return clips


def _cut_up(path: Path, content: dict[str, Any], points: np.ndarray) -> dict[str, Any]:
    """LocoMuJoCo's trajectories, one after another in the same arrays."""
    frames = len(content["qpos"])
    per_frame = [key for key, value in content.items() if np.ndim(value) and len(value) == frames]
    return {
        f"{path.stem}_{i + 1}": {**content, **{key: content[key][first:last] for key in per_frame}}
        for i, (first, last) in enumerate(pairwise(points))
    }


def clip_of(content: Any, *, name: str, source: str, options: ClipOptions) -> Clip:
    """One clip from what a file holds of it, with the options that apply to every clip.

    Raises SceneError naming what is missing or of a wrong kind, and a person's motion as such.
    """
    if isinstance(content, NumberTable):
        clip = from_table(content, name, options)
    elif isinstance(content, np.ndarray):
        clip = from_qpos(NamedArrays(source, {"qpos": content}), name, options, bare=True)
    elif isinstance(content, dict):
        clip = _from_arrays(NamedArrays(source, content), name, options)
    else:
        raise SceneError(f"Clip {source} holds {type(content).__name__}, not a dictionary of arrays.")
    return _cut(in_joint_order(in_units(clip, options), options), options)


def _from_arrays(arrays: NamedArrays, name: str, options: ClipOptions) -> Clip:
    arrays = _with_root_parted(arrays)
    layout = next((each for each in _LAYOUTS if all(key in arrays for key in each.needs)), None) or _own(arrays)
    if layout is not None:
        return _from_layout(layout, arrays, name, options)
    if "qpos" in arrays:
        return from_qpos(arrays, name, options)
    if "frames" in arrays and "loop_mode" in arrays:
        return _from_frames(arrays, name, options)
    found = max(_LAYOUTS, key=lambda each: sum(key in arrays for key in each.needs))
    if PERSON & set(arrays.keys) and not any(key in arrays for key in (found.angles, found.position)):
        raise persons_motion(arrays.source, f"SMPL or AMASS data ({listing(arrays.keys, 6)})")
    packed = next((key for key in arrays.keys if isinstance(arrays.entry(key), ObjectArray)), None)
    if packed is not None:
        arrays.array(packed)  # which says how to save it
    has = listing(arrays.keys) or "nothing"
    if any(key in arrays for key in found.needs):
        missing = next(key for key in found.needs if key not in arrays)
        raise SceneError(
            f"{arrays.source} lacks '{missing}'; it has {has}. A motion clip of this kind ({found.program}) needs "
            f"{listing(found.needs)} and fps."
        )
    known = "; ".join(f"{listing(each.needs)} ({each.program})" for each in _LAYOUTS if each.program != "GR00T")
    raise SceneError(
        f"{arrays.source} has {has}: under these names no program keeps a clip. Known are {known}; qpos (MuJoCo); each "
        "with fps."
    )


def _with_root_parted(arrays: NamedArrays) -> NamedArrays:
    """Where one array is the root's pose, or its state with velocities, its position and rotation as two."""
    poses = [key for key in arrays.keys if re.fullmatch(_ROOT_POSE, key) and np.ndim(arrays.entry(key)) >= 2]
    if len(poses) != 1 or np.shape(arrays.entry(poses[0]))[-1] not in (7, 13):
        return arrays
    pose = np.asarray(arrays.entry(poses[0]))
    parts = {"root_position": pose[..., :3], "root_orientation": pose[..., 3:7]}
    return NamedArrays(arrays.source, {**{key: arrays.entry(key) for key in arrays.keys if key != poses[0]}, **parts})


def _own(arrays: NamedArrays) -> _Layout | None:
    """The layout of a program that nobody published, where the names of its arrays leave one choice."""
    found = {part: [key for key in arrays.keys if re.fullmatch(names, key)] for part, names in _OWN.items()}
    if any(len(keys) != 1 for keys in found.values()):
        return None
    (position,), (rotation,), (angles,) = found.values()
    stated = rotation[-4:] in ("wxyz", "xyzw")
    return _Layout("your own", position, rotation, angles, rotation[-4:] if stated else "wxyz", known=stated)


def _from_layout(layout: _Layout, arrays: NamedArrays, name: str, options: ClipOptions) -> Clip:
    _check_rotations(layout, arrays)
    arrays, turned = _frames_first(layout, arrays)
    dof = arrays.array(layout.angles, "frames", "joints")
    frames = len(dof)
    bodies, place, turn = _bodies(layout, arrays, frames)
    width, inside = dof.shape[1], arrays.root_inside(dof, np.concatenate((place, turn), 1))
    if inside:
        place, turn, dof = dof[:, :3], dof[:, 3:7], dof[:, 7:]
    beside, left_out = _beside(arrays, layout, frames, width - 1 if inside else width)
    velocity = beside.pop("dof_velocity", None)
    velocity = velocity[:, 6:] if inside and velocity is not None else velocity
    joints = arrays.names("joints", dof.shape[1])
    dof, notes = joint_angles(arrays, dof, options)
    clip = Clip(
        name=name,
        fps=arrays.frame_rate(options, frames),
        root_position=place,
        root_rotation=turn,
        dof_position=dof,
        dof_names=joints,
        dof_velocity=velocity,
        **bodies,
        **beside,
        source=arrays.source,
        notes=(*turned, *notes, *left_out),
        origins=origins(
            options, joints="file" if joints else "assumed", rotation="file" if layout.known else "assumed"
        ),
    )
    return in_order(clip, layout.order, options)


def _check_rotations(layout: _Layout, arrays: NamedArrays) -> None:
    """SceneError where rotations are of another kind than quaternions."""
    shape = arrays.shape(layout.rotation)
    kind = _ROTATIONS.get(shape[2 if layout.bodies else 1 :])
    if kind and shape[0] > 4:
        raise SceneError(
            f"'{layout.rotation}' in {arrays.source} has rotations of {kind}; a clip needs quaternions. SciPy's Rotation "
            "makes them, e.g. Rotation.from_matrix(matrices).as_quat(), which are x, y, z, w."
        )


def _frames_first(layout: _Layout, arrays: NamedArrays) -> tuple[NamedArrays, tuple[str, ...]]:
    """The arrays with a row per frame, also where the file has a column per frame; and what to say of it."""
    frames = (arrays.shape(layout.angles) or (0,))[-1]
    shapes = [arrays.shape(layout.position), arrays.shape(layout.rotation)]
    if layout.bodies or frames <= 4 or shapes != [(3, frames), (4, frames)]:
        return arrays, ()
    turned = {key for key in (*layout.needs, layout.velocity) if key in arrays and len(arrays.shape(key)) == 2}
    entries = {key: np.transpose(arrays.entry(key)) if key in turned else arrays.entry(key) for key in arrays.keys}
    return NamedArrays(arrays.source, entries), (f"{arrays.source}: each column is a frame, not each row.",)


def _bodies(layout: _Layout, arrays: NamedArrays, frames: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """What a clip keeps of bodies, and the root's position and rotation."""
    if not layout.bodies:
        return {}, arrays.array(layout.position, frames, 3), arrays.array(layout.rotation, frames, 4)
    position = arrays.array(layout.position, frames, "bodies", 3, single=True)
    rotation = arrays.array(layout.rotation, frames, position.shape[1], 4, single=True)
    if not position.shape[1]:
        raise SceneError(f"'{layout.position}' in {arrays.source} has no bodies; the first one gives the root.")
    names = arrays.names("bodies", position.shape[1])
    root = _root(names)
    bodies = {"body_names": names, "body_position": position, "body_rotation": rotation}
    return bodies, position[:, root].astype(np.float64), rotation[:, root].astype(np.float64)


def _beside(arrays: NamedArrays, layout: _Layout, frames: int, width: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What some files have for every frame beside the motion, and what to say of that which is of another shape.

    Velocities of joints, what a policy did, and which feet bear load.
    """
    found: dict[str, Any] = {}
    left_out: list[str] = []
    shapes: dict[str, tuple[str, int | str]] = {
        "dof_velocity": (layout.velocity, width),
        "action": ("action", "actions"),
        "contact_mask": ("contact_mask", "feet"),
    }
    for field, (name, columns) in shapes.items():
        if name in arrays:
            try:
                found[field] = arrays.array(name, frames, columns, single=field == "dof_velocity")
            except SceneError as error:
                left_out.append(f"{error} It is left out.")
    return found, tuple(left_out)


def _root(bodies: tuple[str, ...] | None) -> int:
    """Which body is the root: the first, or one whose name says so."""
    return next((bodies.index(name) for name in _ROOTS if name in bodies), 0) if bodies else 0


def _from_frames(arrays: NamedArrays, name: str, options: ClipOptions) -> Clip:
    """MimicKit: one row per frame of root position, root rotation vector and joint angles."""
    table = arrays.array("frames", "frames", "6 + joints")
    if table.shape[1] <= 6:
        raise SceneError(f"'frames' in {arrays.source} has {table.shape[1]} columns; it needs 6 and one per joint.")
    frames = len(table)
    options.idle("rotation", f"{arrays.source} holds rotation vectors, which have no such order.")
    options.idle("source", f"{arrays.source} has no 'pose_aa'.")
    return Clip(
        name=name,
        fps=arrays.frame_rate(options, frames),
        root_position=table[:, :3],
        root_rotation=from_rotation_vectors(table[:, 3:6]),
        dof_position=table[:, 6:],
        source=arrays.source,
        origins=origins(options, joints="assumed"),
    )


def _cut(clip: Clip, options: ClipOptions) -> Clip:
    if options.frames is None:
        return clip
    first, last = options.frames
    first, last = 1 if first is None else first, clip.num_frames if last is None else last
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
