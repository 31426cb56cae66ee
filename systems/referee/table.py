"""Tables of other projects: what their policies see, in which order and scale, and how the robot is driven; TOML files."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from engine.errors import SceneError, did_you_mean, listing
from systems.deploy.metadata import listed, words
from systems.deploy.policy import PACKAGE
from systems.referee.terms import TERMS

TABLES = Path(__file__).parent / "tables"
REFERENCE = (
    "joint_position", "joint_velocity", "anchor_position", "anchor_rotation_xyzw", "body_position", "body_rotation",
)  # fmt: skip
Source = str | float | list[float] | dict[str, list[float]] | None
"""A number, or the key of the file's metadata that says it."""


@attrs.frozen
class TermTable:
    """How policies of one kind are played. Where a `Source` is a text, the policy's metadata says it under that key."""

    name: str
    about: str
    kind: str  # "tracker" or "walker"
    action: str  # output of the file
    control_dt: float | str  # s, or a key of the metadata
    physics_dt: float | str  # s, alike
    inputs: Mapping[str, Any] = attrs.field(factory=dict)
    """By input of the file: terms in order, each a name or [name, scale], or a key of the metadata."""
    inputs_key: str = ""  # or the key of the metadata that says, as JSON, what each input holds
    targets: bool = False  # whether actions are joint targets themselves
    follows_clips: bool = False  # whether it follows any clip, which the file does not hold
    future_steps: str = ""  # key of the metadata that lists which of the next frames of the motion are seen
    target_acceleration: str = ""  # key of the most that a target's change may change in a control step, rad
    target_filter: str = ""  # key of the share of a target in what is sent; the rest is what was sent before
    robots: tuple[str, ...] = ()  # of Lockstep, by name; the first whose joints the file has
    friction: float | None = None  # of the feet; None: the robot's own
    wheel: str = ""  # or a data package, and in it …
    scene: str = ""  # … an MJCF scene with the robot, a floor and servos,
    meshes: str = ""  # … a folder of meshes,
    keyframe: str = ""  # and the keyframe of the scene that holds the default pose
    velocity_sensor: str = ""  # site of the scene
    action_scale: Source = 1.0
    action_limit: float = np.inf
    joint_names: str = ""
    joint_stiffness: Source = None
    joint_damping: Source = None
    default_joint_pos: Source = None
    command_ranges: Source = None
    gait_period: float = 0.0  # s; 0: no gait clock
    gait_stands: bool = False  # the clock stands while the command is 0
    anchor: str = ""  # body, or the key of the metadata that names it
    names: Mapping[str, str] = attrs.field(factory=dict)  # terms by the names that the metadata has
    reference: Mapping[str, str] = attrs.field(
        factory=dict
    )  # outputs of the file that hold the motion, by what they hold

    def terms(self, path: Path, about: Mapping[str, str], given: str) -> list[tuple[str, float]]:
        """Terms and scales of an input, in order. SceneError for a name in the metadata that nobody knows."""
        if self.inputs_key:
            inputs = listed(path, about, self.inputs_key)
            seen: Any = [inputs.get(given, given) if isinstance(inputs, dict) else given]
        else:
            seen = self.inputs[given]
        if isinstance(seen, str):
            seen = words(path, about, seen)
        pairs = [(each, 1.0) if isinstance(each, str) else (each[0], float(each[1])) for each in seen]
        pairs = [(self.names.get(name, name), scale) for name, scale in pairs]
        for name, _ in pairs:
            if name not in TERMS:
                raise SceneError(
                    f"The policy sees '{name}', which is no term that a table can name.{did_you_mean(name, TERMS)} There are "
                    f"{listing(sorted(TERMS), 30)}."
                )
        return pairs

    def fits(self, inputs: Sequence[str], outputs: Sequence[str], about: Mapping[str, str]) -> bool:
        """Whether a file takes and gives what this table names; how wide its inputs are does not count."""
        keys = [each for each in self.inputs.values() if isinstance(each, str)]
        needed = {self.action, *self.reference.values()}
        if self.inputs_key:
            return self.inputs_key in about and needed <= {*outputs}
        return {*inputs} - {"time_step"} == {*self.inputs} and needed <= {*outputs} and {*keys} <= {*about}


_REQUIRED = ("about", "kind", "action", "control_dt", "physics_dt")


def read_table(path: Path) -> TermTable:
    """A table. SceneError for a file that is none, with what is wrong and where."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SceneError(
            f"There is no table at {path}. Give a TOML file, or the name of one that comes along: {listing(known_tables(), 20)}."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SceneError(f"The table {path} cannot be read ({error}).") from None
    known = {field.name: field for field in attrs.fields(TermTable)}
    for key in found:
        if key not in known or key == "name":
            raise SceneError(f"{path}: there is no entry '{key}' in a table.{did_you_mean(key, known)}")
    missing = [key for key in _REQUIRED if key not in found]
    if missing:
        raise SceneError(f"{path}: the table lacks {listing(missing)}. {TABLES} holds tables to begin with.")
    _check(path, found)
    if "robots" in found:
        found["robots"] = tuple(found["robots"])
    return TermTable(name=path.stem, **found)


def _check(path: Path, found: Mapping[str, Any]) -> None:
    texts = (
        "about",
        "kind",
        "action",
        "wheel",
        "scene",
        "meshes",
        "keyframe",
        "velocity_sensor",
        "joint_names",
        "anchor",
    )
    wrong = [key for key in texts if not isinstance(found.get(key, ""), str)]
    wrong += [key for key in ("friction", "action_limit") if key in found and not _number(found[key])]
    wrong += [
        key for key in ("control_dt", "physics_dt") if not isinstance(found[key], str) and not _number(found[key])
    ]
    wrong += [key for key in ("inputs", "names", "reference") if not isinstance(found.get(key, {}), dict)]
    if wrong:
        raise SceneError(f"{path}: {wrong[0]}={found[wrong[0]]!r} does not fit; see the tables in {TABLES}.")
    if found["kind"] not in ("tracker", "walker"):
        raise SceneError(f"{path}: kind='{found['kind']}' is unknown; a policy is a 'tracker' or a 'walker'.")
    if not found.get("robots") and not (found.get("wheel") and found.get("scene") and found.get("keyframe")):
        raise SceneError(f'{path}: no robot is named. Say robots = ["g1"], or wheel, scene and keyframe.')
    for key in found.get("reference", {}):
        if key not in REFERENCE:
            raise SceneError(f"{path}: a reference has no '{key}'.{did_you_mean(key, REFERENCE)}")
    if found["kind"] == "tracker" and not (found.get("reference") or found.get("follows_clips")):
        raise SceneError(f"{path}: a tracker's table says under [reference] which outputs hold the motion.")
    if bool(found.get("inputs")) == bool(found.get("inputs_key")):
        raise SceneError(
            f"{path}: a table says under [inputs] what is seen, or with inputs_key where the metadata says it."
        )
    for entry in found.get("inputs", {}).values():
        for each in [] if isinstance(entry, str) else entry:
            name = each if isinstance(each, str) else each[0]
            if name not in TERMS:
                raise SceneError(f"{path}: there is no term '{name}'.{did_you_mean(name, TERMS)}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0.0


def metadata(path: Path, session: Any) -> dict[str, str]:
    """What a file says of itself; of one that says nothing what the YAML file of the same name says, flat, lists as JSON."""
    found = dict(session.get_modelmeta().custom_metadata_map)
    beside = path.with_suffix(".yaml")
    if found or not beside.is_file():
        return found
    try:
        import yaml
    except ImportError:
        raise SceneError(
            f"To read {beside} needs the package PyYAML, which is not installed. pip install '{PACKAGE}[play]'"
        ) from None
    try:
        description = yaml.safe_load(beside.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SceneError(
            f"{beside} cannot be read ({' '.join(str(error).split())}). Export the policy again."
        ) from None
    if not isinstance(description, dict):
        raise SceneError(f"{beside} holds no table of what the policy is. Export the policy again.")
    parts = [description, *(part for part in description.values() if isinstance(part, dict))]
    flat = {str(key): value for part in parts for key, value in part.items()}
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in flat.items() if value is not None
    }


def known_tables() -> list[str]:
    """Names of the tables that come along."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


def table_called(text: str) -> TermTable:
    """A table by the name of one that comes along, or by its file."""
    return read_table(TABLES / f"{text}.toml" if text in known_tables() else Path(text))
