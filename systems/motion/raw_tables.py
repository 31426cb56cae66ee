"""Clips whose numbers stand in one table: text with or without a header, and MuJoCo's qpos."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from components.motion import Clip
from engine.errors import SceneError, listing
from systems.motion.arrays import RATES, STEPS, NamedArrays
from systems.motion.conventions import from_euler, in_order, origins, rate_of
from systems.motion.headers import NamedColumn, TableLayout, understand
from systems.motion.joint_orders import DOCUMENTED_ORDER
from systems.motion.options import ClipOptions
from systems.motion.tables import NumberTable

TABLE_FPS = 30.0  # what public tables are recorded at; the files do not say
SEED_FPS = 120.0  # of the SEED data set, whose header says nothing of it either
UNIT = 0.05  # how far the length of a quaternion may be from 1
ALMOST = 1e-4  # what rounding leaves of it
ALIKE = 0.9  # correlation of columns with the changes of others, from which they are taken for their velocities
MOST_LEAN = 60.0  # degrees of lean in nearly all frames, beyond which Euler angles need a unit
TURN = 2.0 * np.pi  # rad; no joint turns further, so more is degrees


@attrs.frozen
class _Place:
    """Where a table without a header has the root, found by where a quaternion stands in every frame."""

    position: int
    rotation: int
    joints: slice
    count: int | None = None  # a column that counts frames or seconds
    notes: tuple[str, ...] = ()
    turned: bool = False  # whether each column is a frame


def from_table(table: NumberTable, name: str, options: ClipOptions) -> Clip:
    """The clip in a table of text: by its header, else root position, quaternion and joint angles, a frame a line."""
    if table.names is None:
        options.idle("source", f"{table.source} is a table, which holds joint angles once.")
        return _without_header(table, name, options)
    layout = understand(table.names, table.source)
    options.idle("source", f"{table.source} is a table, which holds joint angles once.")
    return _with_header(table, layout, name, options)


def _with_header(table: NumberTable, layout: TableLayout, name: str, options: ClipOptions) -> Clip:
    values = table.numbers()
    if not len(values):
        raise SceneError(f"{table.source} has 0 frames of {len(table.names or ())} columns: there is only the header.")
    place = np.stack([_scaled(values, layout.place[part], 0.01 if layout.seed else 1.0) for part in "xyz"], -1)
    by_hand = options.origin("angles", "file") == "option"
    turns = np.pi / 180.0 if _in_degrees(values, layout, [*layout.euler.values(), *layout.joints]) else 1.0
    degrees = np.pi / 180.0 if _in_degrees(values, layout, layout.joints) else 1.0
    dof = np.stack([_scaled(values, column, degrees) for column in layout.joints], -1)
    known = layout.seed or all(column.unit is not None for column in layout.joints)
    measured = layout.seed or all(column.unit is not None for column in layout.place.values())
    fps, rate = _rate(table, layout, values, options)
    clip = Clip(
        name=name,
        fps=fps,
        root_position=_raw(values, layout.place) if options.origin("lengths", "file") == "option" else place,
        root_rotation=np.zeros((0, 4)),
        dof_position=values[:, [c.at for c in layout.joints]] if by_hand else dof,
        dof_names=tuple(column.part for column in layout.joints) if layout.named else None,
        source=table.source,
        notes=_notes(table.source, layout, known, (turns, degrees), options),
        origins=origins(
            options,
            rotation="assumed" if "0" in layout.quaternion else "file",
            rate=rate,
            joints="file" if layout.named else "assumed",
            angles="file" if known else "assumed",
            lengths="file" if measured else "assumed",
        ),
    )
    if layout.euler:
        options.idle("rotation", f"{table.source} holds Euler angles, which have no such order.")
        turned = np.stack([_scaled(values, layout.euler[part], turns) for part in "xyz"], -1)
        if by_hand:
            turned = _raw(values, layout.euler) * (np.pi / 180.0 if options.get("angles") == "deg" else 1.0)
        elif turns == 1.0 and any(column.unit is None for column in layout.euler.values()):
            _check_lean(turned, table.source, options)
        return attrs.evolve(clip, root_rotation=from_euler(turned))
    return _turned(clip, values, layout.quaternion, options)


def _turned(clip: Clip, values: np.ndarray, parts: Mapping[str, NamedColumn], options: ClipOptions) -> Clip:
    """The header names the parts of the quaternion, unless the user says their order."""
    named = "0" not in parts and options.get("rotation") is None
    order = "wxyz" if named else list(parts) if "0" not in parts else "0123"
    rotation = np.stack([values[:, parts[part].at] for part in order], -1)
    return in_order(attrs.evolve(clip, root_rotation=rotation), "wxyz", options)


def _raw(values: np.ndarray, parts: Mapping[str, NamedColumn]) -> np.ndarray:
    return values[:, [parts[part].at for part in "xyz"]]


def _scaled(values: np.ndarray, column: NamedColumn, otherwise: float) -> np.ndarray:
    return np.asarray(values[:, column.at] * (otherwise if column.unit is None else column.unit))


def _check_lean(turns: np.ndarray, source: str, options: ClipOptions) -> None:
    """SceneError where Euler angles (T, 3) lean so far as radians that they are degrees as likely."""
    lean = float(np.degrees(np.arccos(np.quantile(np.cos(turns[:, 0]) * np.cos(turns[:, 1]), 0.05))))
    if lean > MOST_LEAN:
        raise SceneError(
            f"{source} does not say in which unit the root's Euler angles are: as radians it leans over by {lean:.0f} degrees. "
            f"Write the unit into their names, such as roll_deg or roll_rad, or name the clip as {options.item}:deg or "
            f"{options.item}:rad, if the joints are in the same."
        )


def _in_degrees(values: np.ndarray, layout: TableLayout, columns: Sequence[NamedColumn]) -> bool:
    """Whether angles without a unit are degrees: in SEED files, and beside Euler angles where they exceed a whole turn.

    Beside a quaternion, joints without a unit stay as they are, for verification to decide.
    """
    if layout.seed or not layout.euler:
        return layout.seed
    return float(np.nanmax(np.abs(values[:, [c.at for c in columns if c.unit is None]]), initial=0.0)) > TURN


def _rate(table: NumberTable, layout: TableLayout, values: np.ndarray, options: ClipOptions) -> tuple[float, Any]:
    by_hand = options.fps
    if by_hand is not None:
        return by_hand, "option"
    if layout.time is not None and len(values) > 1:
        return rate_of(_scaled(values, layout.time, 1.0), table.source, options.item), "file"
    if table.fps is not None:
        return table.fps, "file"
    if not layout.seed:
        return TABLE_FPS, "assumed"
    step = values[1, layout.count.at] - values[0, layout.count.at] if layout.count and len(values) > 1 else 1.0
    return SEED_FPS / step if step > 0.0 else SEED_FPS, "assumed"


def _notes(
    source: str, layout: TableLayout, known: bool, scales: tuple[float, float], options: ClipOptions
) -> tuple[str, ...]:
    """Sentences on a header; `scales` are those of the root's Euler angles and of the joints."""
    notes = []
    angles = options.origin("angles", "file") != "option"
    if layout.seed:
        units = ["the root in centimetres"] * (options.origin("lengths", "file") != "option") + ["degrees"] * angles
        read = f", read as {' and '.join(units)}" if units else ""
        notes.append(f"{source} has the header of SEED{read}; its root turns about fixed x, y and z.")
    elif layout.euler and angles and not known:
        root, joints = ("degrees, since some exceed a whole turn" if scale != 1.0 else "radians" for scale in scales)
        what = (
            f"all angles are read as {root}" if root == joints else f"they are read as {root}, and joints as {joints}"
        )
        notes.append(f"{source} turns its root by Euler angles; {what}.")
    if layout.left_out:
        notes.append(f"{source}: {listing(layout.left_out, 4)} are not needed and left out.")
    return tuple(notes)


def _without_header(table: NumberTable, name: str, options: ClipOptions) -> Clip:
    values, source = table.numbers(), table.source
    place = _locate(source, values)
    values = values.T if place.turned else values
    by_hand, rate = options.fps, "assumed"
    fps = TABLE_FPS if by_hand is None else by_hand
    if by_hand is None and place.count is not None and not np.all(np.diff(values[:, place.count]) == 1.0):
        fps, rate = rate_of(values[:, place.count], source, options.item), "file"
    elif by_hand is None and table.fps is not None:
        fps, rate = table.fps, "file"
    return _placed(source, values, place, name, options, fps=fps, rate=rate)


def _placed(
    source: str, values: np.ndarray, place: _Place, name: str, options: ClipOptions, *, fps: float, rate: Any
) -> Clip:
    clip = Clip(
        name=name,
        fps=fps,
        root_position=values[:, place.position : place.position + 3],
        root_rotation=values[:, place.rotation : place.rotation + 4],
        dof_position=values[:, place.joints],
        source=source,
        notes=tuple(f"{source}: {note}." for note in place.notes),
        origins=origins(options, rotation="assumed", rate=rate, joints="assumed", angles="assumed", lengths="assumed"),
    )
    return in_order(clip, "wxyz", options)


def _locate(source: str, values: np.ndarray) -> _Place:
    """Where the root stands: usually first, after a column that counts, or with its quaternion first.

    Raises SceneError where there are too few columns, or as many as joints and no root.
    """
    frames, width = values.shape if values.size else (len(values), 0)
    if width <= 7:
        raise SceneError(
            f"{source} has {frames} frames of {width} columns; a clip needs 7 for the root and one per joint."
        )
    place = _Place(0, 3, slice(7, None))
    counts = width > 8 and _unit(values, 4) and _steady(values[:, 0])
    if counts and _off_unit(values, 4) <= _off_unit(values, 3) + ALMOST:
        place = _Place(1, 4, slice(8, None), 0, ("the first column counts frames or seconds",))
    elif not _unit(values, 3):
        if _unit(values, 0):
            place = _Place(4, 0, slice(7, None), None, ("the quaternion stands before the position",))
        elif frames > 7 and _unit(values.T, 3):
            return attrs.evolve(place, turned=True, notes=("each column is a frame, not each line",))
        elif width in DOCUMENTED_ORDER:
            raise SceneError(
                f"{source} has {width} columns, as many as the G1 has joints: the root's position and rotation are "
                "missing. Put 7 columns before the joints: x, y, z in metres and the quaternion w, x, y, z."
            )
    joints = width - place.joints.start
    if joints not in DOCUMENTED_ORDER and joints - 7 in DOCUMENTED_ORDER:
        if _unit(values, width - 4) or _unit(values, width - 7):
            remarks = (*place.notes, "the last 7 columns are the pose of an object and left out")
            return attrs.evolve(place, joints=slice(place.joints.start, -7), notes=remarks)
    for speeds in (0, 6):  # of the root
        count = (joints - speeds) // 2
        if _are_speeds(values[:, -count:], values[:, place.joints.start :][:, :count]):
            remarks = (*place.notes, f"the last {speeds + count} columns are velocities and left out")
            return attrs.evolve(place, joints=slice(place.joints.start, place.joints.start + count), notes=remarks)
    return place


def _are_speeds(speeds: np.ndarray, angles: np.ndarray) -> bool:
    """Whether columns are the velocities of as many angles, whatever the frame rate."""
    if speeds.shape != angles.shape or not speeds.size or len(angles) < 3:
        return False
    made = np.gradient(angles, axis=0).ravel()
    sizes = float(made @ made) * float(speeds.ravel() @ speeds.ravel())
    return sizes > 0.0 and float(made @ speeds.ravel()) / np.sqrt(sizes) > ALIKE


def _unit(values: np.ndarray, at: int) -> bool:
    return _off_unit(values, at) < UNIT


def _off_unit(values: np.ndarray, at: int) -> float:
    """How far four columns are from having length 1, in the worst frame; inf where a number is none."""
    off = np.abs(np.linalg.norm(values[:, at : at + 4], axis=-1) - 1.0).max(initial=0.0)
    return float(off) if np.isfinite(off) else float("inf")


def _steady(column: np.ndarray) -> bool:
    steps = np.diff(column)
    return bool(len(steps)) and bool(np.all(steps > 0.0)) and float(np.ptp(steps)) <= 0.5 * float(np.median(steps))


def from_qpos(arrays: NamedArrays, name: str, options: ClipOptions, *, bare: bool = False) -> Clip:
    """The clip in MuJoCo's qpos of a robot on a free joint: position, quaternion wxyz and joint angles.

    A `bare` array has no name that says so, and its conventions count as assumed.
    """
    options.idle("source", f"{arrays.source} holds joint angles once.")
    qpos = arrays.array("qpos", "frames", "7 + joints")
    place = _locate(arrays.source, qpos)
    qpos = qpos.T if place.turned else qpos
    manifest = _manifest(Path(arrays.source.partition("#")[0]))
    described = NamedArrays(arrays.source, {**manifest, **{key: arrays.entry(key) for key in arrays.keys}})
    fps = described.frame_rate(options, len(qpos))
    clip = _placed(arrays.source, qpos, place, name, options, fps=fps, rate="file")
    names = described.names("joints")
    if names is not None:
        clip = _with_names(clip, qpos, names)
    known = {} if bare else {"rotation": "file", "angles": "file", "lengths": "file"}
    facts = {"joints": "file" if names else "assumed", **({} if known else _ASSUMED), **known}
    return attrs.evolve(clip, origins=origins(options, **facts))


_ASSUMED: Any = {"rotation": "assumed", "angles": "assumed", "lengths": "assumed"}


def _with_names(clip: Clip, qpos: np.ndarray, names: tuple[str, ...]) -> Clip:
    """The clip with names of its joints; the free joint has one name, seven or none."""
    for dof in (clip.dof_position, qpos[:, 7:]):
        surplus = len(names) - dof.shape[1]
        if surplus in (0, 1, 7):
            return attrs.evolve(clip, dof_position=dof, dof_names=names[surplus:])
    raise SceneError(
        f"{clip.source} names {len(names)} joints, and 'qpos' has {qpos.shape[1]} columns: 7 of a free joint and one per "
        "joint."
    )


def _manifest(path: Path) -> dict[str, Any]:
    """Rate and names of a data set in any4hdmi's form, which stand in a file above its clips."""
    for folder in list(path.parents)[:4]:
        try:
            content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            return {key: value for key, value in content.items() if key in (*RATES, *STEPS, "qpos_names")}
    return {}
