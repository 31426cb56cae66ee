"""Headers of tables: which columns are the root's position and rotation, the time and the joints, and in which unit."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from engine.errors import SceneError, listing
from systems.motion.arrays import short_names
from systems.motion.unfit import NoMotion

ROOT = {"root", "base", "pelvis", "body", "torso", "trunk", "floating", "freejoint", "free", "joint", "world", "global"}
ROOT |= {"field", "transform", "robot", "link", "w", "com", "hips", "anchor", "qpos", "pose"}
PLACE = {"pos", "position", "p", "t", "trans", "translation", "translate", "transl", "xyz", "offset", "loc"}
TURN = {"q", "quat", "quaternion", "orientation", "ori", "orient", "rot", "rotation", "rotate", "r", "euler", "rpy"}
ORDERS = {"wxyz", "xyzw"}  # of the parts of a quaternion, which are then counted
EULER = {"roll": "x", "pitch": "y", "yaw": "z"}
TIME = {"time", "t", "timestamp", "timestamps", "sec", "secs", "seconds", "stamp"}
COUNT = {"frame", "frames", "index", "idx", "id", "no", "step", "number", "num", "row", "unnamed", "i", "n"}
RATES = {
    "vel",
    "velocity",
    "velocities",
    "qvel",
    "dq",
    "qd",
    "speed",
    "acc",
    "accel",
    "torque",
    "tau",
    "effort",
    "force",
}
RATES |= {"contact", "contacts", "phase", "label", "reward", "done"}
UNITS = {
    "deg": 0.017453292519943295,
    "degree": 0.017453292519943295,
    "degrees": 0.017453292519943295,
    "°": 0.017453292519943295,
}
UNITS |= {"rad": 1.0, "radian": 1.0, "radians": 1.0, "m": 1.0, "meter": 1.0, "meters": 1.0, "metre": 1.0, "metres": 1.0}
UNITS |= {
    "cm": 0.01,
    "centimeter": 0.01,
    "centimeters": 0.01,
    "mm": 0.001,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "ns": 1e-9,
}
_UNIT = re.compile(
    r"[\[(]\s*([A-Za-z°]+)\s*[\])]|_(deg|degrees|rad|radians|cm|mm|ms|us|ns|(?<=[xyz]_)m)$", re.IGNORECASE
)
_NUMBERED = re.compile(
    r"(?:joint|dof|q|j|jnt|motor|angle|qpos|m|joint_pos|dof_pos|joint_angle)?[_ .\[]*\d+\]?", re.IGNORECASE
)
_SUFFIX = re.compile(r"_(?:dof|pos|position|angle|q|qpos)$", re.IGNORECASE)
_PREFIX = re.compile(r"^(?:dof_pos|joint_pos|joint_position|dof|qpos|q|joint_angle)[_./](?=\D)", re.IGNORECASE)
_INSIDE = re.compile(
    r"^(?:dof_pos|joint_pos|joint_position|dof|qpos|q|joint_angle)s?[\[(](.*\D.*)[\])]$", re.IGNORECASE
)

LONG = {word for word in PLACE | TURN if len(word) > 2}
SURELY_ROOT = {"root", "base", "pelvis", "floating", "freejoint", "world", "global", "euler", "rpy"}
FREE = {"floating", "free", "root", "base"}  # what makes a joint that of the root
SWIFT = {"v", "lin", "ang", "omega"}

Role = Literal["count", "time", "place", "quaternion", "euler", "joint", "other"]


@attrs.frozen
class NamedColumn:
    """What a column of a table holds, by its name."""

    at: int
    role: Role
    part: str = ""  # x, y, z or w; of a joint, its name
    unit: float | None = None  # in m, rad or s; None: the name does not say


@attrs.frozen
class TableLayout:
    """Where a header puts the parts of a clip."""

    place: Mapping[str, NamedColumn]  # x, y, z
    quaternion: Mapping[str, NamedColumn]  # w, x, y, z, or 0 to 3 where the names count, in the order of the file
    euler: Mapping[str, NamedColumn]  # angles about x, y, z; empty where there is a quaternion
    joints: Sequence[NamedColumn]
    named: bool  # whether the joints have names and not only numbers
    time: NamedColumn | None
    count: NamedColumn | None
    seed: bool  # the words of the SEED data set: centimetres and degrees at 120 frames per second
    left_out: Sequence[str]  # columns of velocities and torques


def understand(names: Sequence[str], source: str) -> TableLayout:
    """What each column of a header means. Raises SceneError for a header that names no root or no joints."""
    columns = _counted_parts([_column(i, name) for i, name in enumerate(names)])
    columns = _joints_of_the_trunk(_split_bare(columns), names)
    by_role = {role: [c for c in columns if c.role == role] for role in ("place", "quaternion", "euler", "joint")}
    place, quaternion, euler = (_parts(by_role[role], source, names) for role in ("place", "quaternion", "euler"))
    if len(quaternion) == 3 and not euler and "w" not in quaternion:
        quaternion, euler = {}, quaternion
    short = short_names([column.part for column in by_role["joint"]])
    joints = [attrs.evolve(column, part=name) for column, name in zip(by_role["joint"], short, strict=True)]
    missing = "".join(part for part in "xyz" if part not in place)
    if len(missing) == 3 and not (quaternion or euler):
        raise NoMotion(
            f"{source} is no table of a motion: its columns are {listing(names, 8)}, and none is a root position or "
            "rotation. A header of a clip names e.g. root_x, root_y, root_z, root_qw, root_qx, root_qy, root_qz and "
            "the joints."
        )
    if missing or not (set(quaternion) in (set("wxyz"), set("0123")) or set(euler) == set("xyz")):
        what = f"the root's {missing}" if missing else "a whole rotation of the root (qw, qx, qy, qz)"
        raise SceneError(
            f"The header of {source} does not name {what}; it begins {listing(names, 10)}. Name the columns e.g. root_x, "
            "root_y, root_z, root_qw, root_qx, root_qy, root_qz."
        )
    if not joints:
        raise SceneError(f"The header of {source} names no joints; it has {listing(names)}.")
    return TableLayout(
        place=place,
        quaternion=quaternion,
        euler={} if quaternion else euler,
        joints=joints,
        named=not all(_NUMBERED.fullmatch(names[c.at].strip()) for c in joints),
        time=next((c for c in columns if c.role == "time"), None),
        count=next((c for c in columns if c.role == "count"), None),
        seed=all("translate" in _words(names[c.at]) for c in place.values()) and bool(euler),
        left_out=[names[c.at] for c in columns if c.role == "other"],
    )


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return [word for word in re.split(r"[^a-z0-9°]+", parted.lower()) if word]


def _column(at: int, name: str) -> NamedColumn:
    unit = _UNIT.search(name)
    scale = UNITS[(unit[1] or unit[2]).lower()] if unit and (unit[1] or unit[2]).lower() in UNITS else None
    bare = _UNIT.sub("", name).strip() if scale is not None else name.strip()
    words = _words(bare)
    role, part = _role(words, bare)
    return NamedColumn(at, role, part, scale)


def _role(words: list[str], name: str) -> tuple[Role, str]:
    if not words or (set(words) <= COUNT | {"0"} and not words[0].isdigit()):
        return "count", ""
    if words == ["t"] or (set(words) <= TIME | COUNT | {"s"} and set(words) & TIME):
        return "time", ""
    if set(words) & RATES:
        return "other", ""
    if words[-1] in EULER and set(words[:-1]) <= ROOT | TURN:
        return "euler", EULER[words[-1]]
    match = re.fullmatch(r"(.*?)([xyzw0-4])", words[-1])
    if match is None:
        return "joint", _joint(name)
    kinds = [part for word in (*words[:-1], match[1]) for part in _parted(word)]
    if not set(kinds) <= ROOT | PLACE | TURN | SWIFT | ORDERS or ("joint" in kinds and not set(kinds) & FREE):
        return ("other" if set(kinds) & LONG and "joint" not in kinds else "joint"), _joint(name)
    if set(kinds) & SWIFT or match[1] == "w":
        return "other", ""
    turned = set(kinds) & TURN or match[2] == "w"
    if match[2].isdigit():
        order = next((word for word in kinds if word in ORDERS), "")
        if order:
            return "quaternion", order + match[2]
        if not set(kinds) & LONG or match[2] == "4":
            return "joint", _joint(name)
        return ("quaternion", match[2]) if turned else ("place", "xyz_"[int(match[2])])
    return ("quaternion" if turned else "place"), match[2]


def _parted(word: str) -> list[str]:
    """Words written together, such as rootpos or basequat."""
    match = re.fullmatch(r"(root|base|pelvis|body)(.+)", word)
    return [match[1], match[2]] if match else [word] if word else []


def _joint(name: str) -> str:
    inside = _INSIDE.match(name.strip())
    return _SUFFIX.sub("", _PREFIX.sub("", inside[1].strip(" '\"") if inside else name.strip()))


def _counted_parts(columns: list[NamedColumn]) -> list[NamedColumn]:
    """Parts of a quaternion by their letters where they are counted, from 0 or from 1, after a word such as wxyz."""
    counted = [c for c in columns if c.role == "quaternion" and c.part[:-1] in ORDERS]
    numbers = sorted(int(c.part[-1]) for c in counted)
    if numbers not in ([0, 1, 2, 3], [1, 2, 3, 4]):
        return columns  # whose parts are then none of a whole rotation
    letters = {c.at: c.part[int(c.part[-1]) - numbers[0]] for c in counted}
    return [attrs.evolve(c, part=letters.get(c.at, c.part)) for c in columns]


def _split_bare(columns: list[NamedColumn]) -> list[NamedColumn]:
    """A second run of x, y, z beside a bare w, as in x, y, z, w, x, y, z, belongs to the quaternion."""
    places = [c for c in columns if c.role == "place"]
    if [c.part for c in places] != [*"xyzxyz"] or [c.part for c in columns if c.role == "quaternion"] != ["w"]:
        return columns
    turned = {c.at for c in places[3:]}
    return [attrs.evolve(c, role="quaternion") if c.at in turned else c for c in columns]


def _joints_of_the_trunk(columns: list[NamedColumn], names: Sequence[str]) -> list[NamedColumn]:
    """Beside a quaternion, torso_yaw and the like are joints; angles of what can only be the root are not needed."""
    if len([c for c in columns if c.role == "quaternion"]) < 4:
        return columns
    return [
        attrs.evolve(c, role="joint", part=_joint(_UNIT.sub("", names[c.at])))
        if c.role == "euler" and not set(_words(names[c.at])) & SURELY_ROOT
        else c
        for c in columns
    ]


def _parts(columns: Sequence[NamedColumn], source: str, names: Sequence[str]) -> dict[str, NamedColumn]:
    found: dict[str, NamedColumn] = {}
    for column in columns:
        if column.part in found:
            other = names[found[column.part].at]
            raise SceneError(
                f"The header of {source} names the root's {column.part} twice, '{other}' and '{names[column.at]}'. "
                "Take one of the columns out."
            )
        found[column.part] = column
    return found
