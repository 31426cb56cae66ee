"""Reader of BVH files: a skeleton of offsets and channels, then a line of numbers per frame.

Joints turn by their channels from left to right, each about the axis that the turns before have moved (intrinsic), which
is how every program writes them; end sites have no channels. Lengths are in whatever unit the file's program uses.
"""

from pathlib import Path

import attrs
import numpy as np

from engine.errors import SceneError, listing

CHANNELS = tuple(f"{axis}{kind}" for kind in ("position", "rotation") for axis in "XYZ")
END = "End Site"


@attrs.frozen
class BvhJoint:
    """A joint or end site of a skeleton."""

    name: str  # that of an end site is its parent's and " End Site"
    parent: int  # index of the joint it hangs on; -1 of the root
    offset: tuple[float, float, float]  # from the parent's origin, in its axes
    channels: tuple[str, ...]


@attrs.frozen(eq=False)
class BvhFile:
    """A skeleton and its motion."""

    joints: tuple[BvhJoint, ...]
    fps: float
    values: np.ndarray  # (frames, channels of all joints in order), degrees and the file's unit of length

    @property
    def names(self) -> tuple[str, ...]:
        """Names of joints and end sites."""
        return tuple(joint.name for joint in self.joints)

    def positions(self) -> np.ndarray:
        """Where every joint and end site is, (frames, joints, 3), in the file's axes and unit."""
        frames, column = len(self.values), 0
        place, turn = np.zeros((frames, len(self.joints), 3)), np.zeros((frames, len(self.joints), 3, 3))
        for index, joint in enumerate(self.joints):
            shift = np.tile(np.array(joint.offset), (frames, 1))
            rotation = np.tile(np.eye(3), (frames, 1, 1))
            if any("position" in channel for channel in joint.channels):
                shift[:] = 0.0  # positions of a joint take the place of its offset
            for channel in joint.channels:
                numbers, axis = self.values[:, column], "XYZ".index(channel[0])
                if channel.endswith("position"):
                    shift[:, axis] = numbers
                else:
                    rotation = rotation @ _turn(axis, np.radians(numbers))
                column += 1
            if joint.parent < 0:
                place[:, index], turn[:, index] = shift, rotation
            else:
                above = turn[:, joint.parent]
                place[:, index] = place[:, joint.parent] + np.einsum("tij,tj->ti", above, shift)
                turn[:, index] = above @ rotation
        return place


def _turn(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (frames, 3, 3) about x, y or z."""
    matrix = np.tile(np.eye(3), (len(angle), 1, 1))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, j, i] = np.sin(angle)
    matrix[:, i, j] = -matrix[:, j, i]
    return matrix


class _Words:
    """The words of the skeleton, with the lines they stand in."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path = path
        self.words = [(word, number) for number, line in enumerate(lines, 1) for word in line.split()]
        self.place = 0

    def next(self, wanted: str = "") -> str:
        if self.place >= len(self.words):
            raise SceneError(f"{self.path} ends within its skeleton. Is it cut short? Export it again.")
        word, number = self.words[self.place]
        if wanted and word.upper() != wanted:
            raise SceneError(f"Line {number} of {self.path} has '{word}' where '{wanted}' belongs. Export it again.")
        self.place += 1
        return word

    def rest_of_line(self) -> str:
        line, taken = self.words[self.place][1] if self.place < len(self.words) else 0, []
        while self.place < len(self.words) and self.words[self.place][1] == line:
            taken.append(self.next())
        return " ".join(taken)

    def number(self) -> float:
        word = self.next()
        value = _number(word)
        if value is None:
            raise SceneError(
                f"Line {self.words[self.place - 1][1]} of {self.path} has '{word}' where a number belongs. "
                "Export it again."
            )
        return value


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def read_bvh(path: Path) -> BvhFile:
    """The skeleton and motion in a BVH file; SceneError naming the line where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise SceneError(f"{path} cannot be read as text ({error}), so it is no BVH file.") from None
    at = next((i for i, line in enumerate(lines) if line.strip().upper() == "MOTION"), None)
    if not lines or lines[0].strip().upper() != "HIERARCHY" or at is None:
        raise SceneError(f"{path} is no BVH file: one begins with a line HIERARCHY and has a line MOTION.")
    joints = _skeleton(_Words(path, lines[:at]))
    return _motion(path, joints, [(i, line) for i, line in enumerate(lines[at + 1 :], at + 2) if line.strip()])


def _skeleton(words: _Words) -> tuple[BvhJoint, ...]:
    joints: list[BvhJoint] = []
    above: list[int] = []
    words.next("HIERARCHY")
    words.next("ROOT")
    while True:
        name = words.rest_of_line()
        if joints and name.upper() == "SITE":
            name = f"{joints[above[-1]].name} {END}"
        words.next("{")
        words.next("OFFSET")
        offset = (words.number(), words.number(), words.number())
        channels: tuple[str, ...] = ()
        parent = above[-1] if above else -1
        word = words.next().upper()
        if word == "CHANNELS":
            channels = _channels(words)
            word = words.next().upper()
        joints.append(BvhJoint(name, parent, offset, channels))
        above.append(len(joints) - 1)
        while word == "}":
            above.pop()
            if not above:
                return tuple(joints)
            word = words.next().upper()
        if word not in ("JOINT", "END"):
            raise SceneError(
                f"Line {words.words[words.place - 1][1]} of {words.path} has '{word}' where JOINT, End Site or }} "
                "belongs. Export it again."
            )


def _channels(words: _Words) -> tuple[str, ...]:
    count = words.number()
    named = [words.next() for _ in range(int(count))]
    known = {channel.upper(): channel for channel in CHANNELS}
    strange = [name for name in named if name.upper() not in known]
    if strange:
        raise SceneError(
            f"Line {words.words[words.place - 1][1]} of {words.path} has a channel '{strange[0]}'; "
            f"channels are {listing(CHANNELS)}."
        )
    return tuple(known[name.upper()] for name in named)


def _motion(path: Path, joints: tuple[BvhJoint, ...], lines: list[tuple[int, str]]) -> BvhFile:
    names = [line.partition(":")[0].strip().upper() for _, line in lines[:2]]
    if names != ["FRAMES", "FRAME TIME"]:
        raise SceneError(f"{path} has no lines 'Frames:' and 'Frame Time:' after MOTION. Is it cut short?")
    count, step = (_number(line.partition(":")[2].strip()) for _, line in lines[:2])
    if count is None or step is None or step <= 0.0:
        raise SceneError(
            f"{path} says '{lines[0][1].strip()}' and '{lines[1][1].strip()}'; both need a positive number."
        )
    width = sum(len(joint.channels) for joint in joints)
    rows = []
    for number, line in lines[2:]:
        row = [_number(word) for word in line.split()]
        if len(row) != width or None in row:
            what = "words that are no numbers" if None in row else f"{len(row)} numbers"
            raise SceneError(f"Line {number} of {path} has {what}; the skeleton has {width} channels. Export it again.")
        rows.append(row)
    if len(rows) != int(count):
        raise SceneError(f"{path} says it has {int(count)} frames and has {len(rows)}. Is it cut short?")
    values = np.array(rows, dtype=np.float64).reshape(-1, width)
    return BvhFile(joints=joints, fps=1.0 / step, values=values)
