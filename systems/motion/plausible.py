"""What no sound clip does: each check refuses with frame, value and cure, or finds what is merely suspicious."""

import attrs
import numpy as np
import torch

from components.motion import Clip
from components.robot import Robot
from engine.errors import SceneError
from systems.maths import quaternion
from systems.motion.findings import ClipFinding
from systems.motion.joints import LIMIT_SLACK, WRIST, turned_back
from systems.motion.readings import as_typed

FRAMES_COMPARED = 200  # at most, to find bodies by their places
BODY_WARNING, BODY_REFUSAL = 1e-3, 0.03  # m between a body in the file and where its joints put it
TURN_WARNING, TURN_REFUSAL = 0.02, 0.2  # rad, the same for rotations
ROOT_SPEED = 12.0  # m/s; a root that moves faster has jumped
ROOT_TURN = 40.0  # rad/s
LYING = 60.0  # degrees that the root may lean in the median frame before a warning
REPEATS = 0.3  # share of the frames that move; more repeats than that are no accident
UPRIGHT = 0.85  # z of the root's own z axis
MOST_REPEATS = 4  # of one frame, as from 30 to 150 frames per second; more are a rest
ROUNDED = 1e-9  # m or rad, by which frames at rest may differ: by their last digits
BELIEVED_RATES = (1.0, 1000.0)  # frames per second
UNITS = (("cm", "centimetres", 100.0), ("mm", "millimetres", 1000.0))
UNIT_SLACK = 1.7  # by how much the root's median height may differ from the robot's, to tell the unit by it


def check_frames(clip: Clip) -> None:
    """Refuse less than two frames and rates that nobody records at."""
    if clip.num_frames < 2:
        raise SceneError(
            f"{clip.title} has {clip.num_frames} frame{'' if clip.num_frames == 1 else 's'}; a motion needs at least 2. "
            "Is the file cut short?"
        )
    low, high = BELIEVED_RATES
    if not low <= clip.fps <= high:
        raise SceneError(
            f"{clip.title} says {clip.fps:g} frames per second; {low:g} to {high:g} are believable. Write {as_typed(clip, '30fps')}, "
            "say."
        )


def check_finite(clip: Clip) -> None:
    """Refuse numbers that are none."""
    arrays = {
        "root position": clip.root_position,
        "root rotation": clip.root_rotation,
        "joint position": clip.dof_position,
        "body position": clip.body_position,
        "body rotation": clip.body_rotation,
    }
    for name, array in arrays.items():
        if array is not None and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise SceneError(
                f"{clip.at(place[0])}: {name} {list(place[1:])} is {array[place]}. Every number must be finite; "
                "cut the frame out or convert the clip again."
            )


def unit_quaternions(clip: Clip) -> tuple[Clip, list[ClipFinding]]:
    """The clip with root quaternions of length 1."""
    norm = np.linalg.norm(clip.root_rotation, axis=-1)
    error = np.abs(norm - 1.0)
    frame = int(error.argmax())
    if error[frame] > 0.05:
        raise SceneError(
            f"{clip.at(frame)}: the root quaternion has length {norm[frame]:.3f} instead of 1. "
            "Are columns missing or shifted, or is it a rotation of another kind?"
        )
    clip = attrs.evolve(clip, root_rotation=clip.root_rotation / norm[:, None])
    if error[frame] > 1e-3:
        text = f"{clip.at(frame)}: the root quaternion has length {norm[frame]:.4f}; it is scaled to 1."
        return clip, [ClipFinding("quaternions that are not of length 1", text)]
    return clip, []


def in_metres(clip: Clip, robot: Robot) -> tuple[Clip, str]:
    """The clip in metres, and the unit that it is in where nobody states it and its height shows it."""
    if clip.origin("lengths") == "option":
        return clip, ""
    height = float(np.median(clip.root_position[:, 2]))
    for word, unit, count in UNITS:
        if robot.default_height / UNIT_SLACK < height / count < robot.default_height * UNIT_SLACK:
            if clip.origin("lengths") == "assumed":
                bodies = None if clip.body_position is None else clip.body_position / np.float64(count)
                return attrs.evolve(clip, root_position=clip.root_position / count, body_position=bodies), unit
            raise SceneError(
                f"{clip.title}: the root is {height:.1f} m above the floor in the median frame, which would fit as "
                f"{unit}. Name the clip as {as_typed(clip, word)}, or as {as_typed(clip, 'm')} if it is right as it is."
            )
    if height > max(5.0, 10.0 * robot.default_height):
        raise SceneError(
            f"{clip.title}: the root is {height:.1f} m above the floor in the median frame, where {robot.name} stands "
            f"at {robot.default_height:.2f} m. Is the clip in another unit? Write {as_typed(clip, 'cm')} or "
            f"{as_typed(clip, 'mm')}, or {as_typed(clip, 'm')} if it is right as it is."
        )
    return clip, ""


def unwrapped(clip: Clip, robot: Robot) -> tuple[Clip, list[ClipFinding]]:
    """The clip with angles that are one whole turn off, as some programs write them, back in their joints' ranges."""
    angles = turned_back(clip.dof_position, robot)
    off = angles != clip.dof_position
    if not off.any():
        return clip, []
    frame, joint = (int(i) for i in np.argwhere(off)[0])
    text = (
        f"{clip.at(frame)}: {robot.dof_names[joint]} is {clip.dof_position[frame, joint]:.3f} rad, a whole turn off its "
        f"range; {int(off.sum())} such angles are turned back."
    )
    return attrs.evolve(clip, dof_position=angles), [ClipFinding("angles that are a whole turn off", text)]


def check_axes(clip: Clip, robot: Robot) -> None:
    """Refuse a motion that is upright, and as high as the robot stands, if y is up."""
    w, x, y, z = clip.root_rotation.T
    height = float(np.median(clip.root_position[:, 1])) / robot.default_height
    if np.median(2.0 * (y * z - w * x)) > UPRIGHT and 1.0 / UNIT_SLACK < height < UNIT_SLACK:
        raise SceneError(
            f"{clip.title}: the root leans over by {_lean(clip):.0f} degrees in the median frame, and would be upright if y "
            "were up. The z axis must point up: turn root positions and rotations by 90 degrees about x."
        )


def _lean(clip: Clip) -> float:
    """Degrees of the root's z axis from the vertical, median of all frames."""
    _, x, y, _ = clip.root_rotation.T
    return float(np.degrees(np.arccos(np.clip(np.median(1.0 - 2.0 * (x * x + y * y)), -1.0, 1.0))))


def check_upright(clip: Clip) -> list[ClipFinding]:
    """Find a motion that lies."""
    lean = _lean(clip)
    if lean < LYING:
        return []
    text = f"{clip.title}: the root leans over by {lean:.0f} degrees in the median frame. Does the robot lie?"
    return [ClipFinding("roots that lean over", text)]


def check_limits(clip: Clip, robot: Robot) -> list[ClipFinding]:
    """Joints must be within their ranges, or nearly."""
    lower, upper = robot.position_limit.detach().cpu().double().numpy().T
    excess = np.maximum(lower - clip.dof_position, clip.dof_position - upper)
    frame, joint = _largest(excess)
    where = (
        f"{clip.at(frame)}: {robot.dof_names[joint]} is {clip.dof_position[frame, joint]:.3f} rad, outside its range "
        f"{lower[joint]:.3f} to {upper[joint]:.3f}"
    )
    if excess[frame, joint] > LIMIT_SLACK:
        raise SceneError(
            f"{where} by more than {LIMIT_SLACK} rad. Is the clip for another robot, or are its joints in another order?"
        )
    text = f"{where}; the robot will not reach it."
    return [ClipFinding("joints outside their range", text)] if excess[frame, joint] > 1e-3 else []


def check_jumps(clip: Clip, robot: Robot) -> list[ClipFinding]:
    """Refuse clips that jump from one frame to the next, and find joints that are too fast."""
    rotation = torch.from_numpy(clip.root_rotation)
    speed = np.linalg.norm(np.diff(clip.root_position, axis=0), axis=-1) * clip.fps
    turn = quaternion.angle_between(rotation[1:], rotation[:-1]).numpy() * clip.fps
    for value, most, unit, what in ((speed, ROOT_SPEED, "m/s", "moves"), (turn, ROOT_TURN, "rad/s", "turns")):
        frame = int(value.argmax())
        if value[frame] > most:
            raise SceneError(
                f"{clip.at(frame)}: the root {what} at {value[frame]:.1f} {unit} to the next frame, over {most:g}. "
                f"Two clips seem to be joined here, or the frame rate is wrong; {_cut(clip, frame)}."
            )
    step = np.abs(np.diff(clip.dof_position, axis=0))
    limit = robot.velocity_limit.detach().cpu().double().numpy()
    ratio = step * clip.fps / np.where(limit > 0.0, limit, np.inf)
    frame, joint = _largest(ratio)
    where = f"{clip.at(frame)}: {robot.dof_names[joint]} moves {step[frame, joint]:.2f} rad to the next frame"
    if ratio[frame, joint] > 2.0 and step[frame, joint] > 0.8:
        wrapped = abs(step[frame, joint] - 2.0 * np.pi) < 0.5
        cure = "unwrap the angle" if wrapped else f"{_cut(clip, frame)}, or smooth it"
        raise SceneError(f"{where}, {ratio[frame, joint]:.1f} times its speed limit. The clip jumps here; {cure}.")
    if ratio[frame, joint] > 1.0:
        text = f"{where}, {ratio[frame, joint]:.1f} times its speed limit; the robot will not follow."
        return [ClipFinding("joints that are too fast", text)]
    return []


def check_velocities(clip: Clip) -> list[ClipFinding]:
    """Joint velocities in the file, where it has some, show the frame rate that they were computed for."""
    if clip.dof_velocity is None or not np.isfinite(clip.dof_velocity).all():
        return []
    ours = np.gradient(clip.dof_position, axis=0).ravel()
    theirs = clip.dof_velocity.ravel()
    if not ours @ ours:
        return []
    fps = float(ours @ theirs / (ours @ ours))
    alike = float(np.corrcoef(ours, theirs)[0, 1])
    if alike > 0.98 and abs(fps / clip.fps - 1.0) > 0.1 and clip.origin("rate") != "option":
        raise SceneError(
            f"{clip.title} says {clip.fps:g} frames per second, but its joint velocities fit {fps:.1f}. "
            f"Name it as {as_typed(clip, f'{fps:.0f}fps')}, or as {as_typed(clip, f'{clip.fps:g}fps')} if it is right as it is."
        )
    if alike < 0.9:
        text = f"{clip.title} has joint velocities that do not fit its joint angles; they are computed anew."
        return [ClipFinding("joint velocities that do not fit", text)]
    return []


def check_bodies(clip: Clip, robot: Robot, position: np.ndarray, rotation: np.ndarray) -> list[ClipFinding]:
    """Compare body poses in the file with those of its joints."""
    if clip.body_position is None:
        return []
    if clip.body_names is None and _in_another_order(clip.body_position, position):
        text = f"{clip.title} has bodies without names in another order than {robot.name}'s; each is where the joints put one."
        return [ClipFinding("bodies in another order", text)]
    names = clip.body_names or robot.body_names
    if len(names) != clip.body_position.shape[1]:
        raise SceneError(
            f"{clip.title} has {clip.body_position.shape[1]} bodies without names and {robot.name} has {len(names)}. "
            "It is for another robot, or needs body_names."
        )
    known = [name for name in names if name in robot.body_names and not any(word in name for word in WRIST)]
    theirs, ours = [names.index(name) for name in known], [robot.body_names.index(name) for name in known]
    if not known:
        return []
    apart = clip.body_position[:, theirs] - position[:, ours]
    frame, body = _largest(np.einsum("tbi,tbi->tb", apart, apart))
    errors = [(frame, body, float(np.linalg.norm(apart[frame, body])), BODY_WARNING, BODY_REFUSAL, "m")]
    if clip.body_rotation is not None:
        given, made = clip.body_rotation[:, theirs].astype(np.float64), rotation[:, ours]
        given /= np.maximum(np.sqrt(np.einsum("tbi,tbi->tb", given, given)), 1e-12)[..., None]
        frame, body = _largest(-np.abs(np.einsum("tbi,tbi->tb", given, made)))  # whose half angle has the least cosine
        angle = quaternion.angle_between(*(torch.from_numpy(each[frame, body]) for each in (given, made)))
        errors.append((frame, body, float(angle), TURN_WARNING, TURN_REFUSAL, "rad"))
    for frame, body, error, warn, refuse, unit in errors:
        far = f"{error:.4f} {unit}"
        where = f"{clip.at(frame)}: {known[body]} is {far} away from where the clip's joints put it"
        if error > refuse:
            raise SceneError(f"{where}. {_why_bodies_differ(clip)}")
        if error > warn:
            text = f"{where}: it was made with a slightly different model. Bodies are computed from the joints."
            return [ClipFinding("bodies that are not where the joints put them", text)]
    return []


def check_repeats(clip: Clip) -> list[ClipFinding]:
    """Say where a lower frame rate was filled up by writing frames twice; frames at rest are no repeats."""
    frames = np.concatenate((clip.root_position, clip.root_rotation, clip.dof_position), 1)
    still = (np.abs(frames[1:] - frames[:-1]) <= ROUNDED).all(1)
    edges = np.flatnonzero(np.diff(still.astype(int)))  # between which frames move or rest
    runs = np.diff(edges)[0 if still[1:][edges[:1]].any() else 1 :: 2]
    short = runs[runs <= MOST_REPEATS]
    if len(short) <= REPEATS * max(1, (~still).sum()):
        return []
    text = (
        f"{clip.title}: {short.sum()} of {clip.num_frames} frames repeat the one before, so it moves in jerks. It seems to have been "
        "brought to a higher frame rate by writing frames several times; take the repeats out."
    )
    return [ClipFinding("frames that repeat the one before", text)]


def _in_another_order(theirs: np.ndarray, ours: np.ndarray) -> bool:
    """Whether bodies (T, B, 3) are those of the joints, counted in another way."""
    if theirs.shape != ours.shape:
        return False
    frames = np.linspace(0, len(ours) - 1, min(len(ours), FRAMES_COMPARED)).astype(int)
    apart = np.linalg.norm(theirs[frames, :, None] - ours[frames, None], axis=-1).max(0)
    matched = max(apart.min(0).max(), apart.min(1).max()) <= BODY_REFUSAL
    return bool(matched and np.diagonal(apart).max() > BODY_REFUSAL)


def _why_bodies_differ(clip: Clip) -> str:
    if "option" in (clip.origin(fact) for fact in ("rotation", "joints", "angles", "lengths")):
        return f"Read as '{clip.typed}' says, the clip's joints do not fit its bodies. Leave out what does not fit it."
    return (
        "The joints or bodies are in another order (other simulators count breadth first), or the clip is for another robot; "
        "write joint_names and body_names into the file, or convert it again."
    )


def _cut(clip: Clip, frame: int) -> str:
    """How to leave out what comes after a frame, where the frames of the file can be counted."""
    cut_before = any(part.replace("-", "").isdigit() for part in as_typed(clip).split(":")[1:])
    return "cut it there" if cut_before else f"cut it, e.g. {as_typed(clip, f'1-{frame + 1}')}"


def _largest(table: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(table.argmax(), table.shape)
    return int(row), int(column)
