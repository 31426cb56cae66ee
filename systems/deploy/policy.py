"""Policy files: an ONNX file with metadata, as Lockstep exports them, run by onnxruntime; needs no torch."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from engine.errors import SceneError, did_you_mean, listing
from systems.deploy.metadata import AGAIN, FORMAT, joint_names, numbers, per_joint, ranges, seconds, words
from systems.deploy.robot import RobotReading
from systems.maths.rotation import rotate, yaw, yawed

PACKAGE = "lockstep-sim"
PER_JOINT = ("joint_stiffness", "joint_damping", "joint_torque_limit", "default_joint_pos")
MEASURED = (
    "base_angular_velocity", "base_orientation", "base_linear_velocity", "base_position", "joint_position", "joint_velocity",
)  # fmt: skip
_CUT = ("is cut, or no ONNX file", "Copy it whole, or export the policy again.")
_NEWER = ("is newer than onnxruntime can read", "pip install -U onnxruntime, or export the policy with an older opset.")
UNREADABLE = {  # by a word of onnxruntime's: what is wrong with a file, and the cure
    "Protobuf": _CUT,
    "protobuf": _CUT,
    "External data": ("keeps its weights in another file", "Copy that one too, or save the policy as one file."),
    "IR version": _NEWER,
    "opset": _NEWER,
}
KNOWN_INPUTS = (*MEASURED, "command", "time_step", "clip")


@attrs.define(eq=False)
class OnnxPolicy:
    """A policy that makes joint targets of what a robot tells; `begin` it, then ask for one target after another."""

    path: Path
    session: Any
    about: Mapping[str, str]  # metadata, by key
    joints: tuple[str, ...]
    numbers: Mapping[str, np.ndarray]  # (joints,) by key of PER_JOINT
    clips: tuple[str, ...]  # that it was trained on; () for one that follows commands
    clip: int = 0
    steps: int = attrs.field(init=False, default=0)  # control steps since it began
    states: dict[str, np.ndarray] = attrs.field(init=False, factory=dict)
    _turn: np.ndarray = attrs.field(init=False, factory=lambda: np.eye(3))  # of vectors, world to clip
    _lead: np.ndarray = attrs.field(init=False, factory=lambda: np.eye(4))  # of quaternions
    _from: np.ndarray = attrs.field(init=False, factory=lambda: np.zeros(3))
    _to: np.ndarray = attrs.field(init=False, factory=lambda: np.zeros(3))

    @classmethod
    def load(cls, path: Path) -> "OnnxPolicy":
        """The policy in a file. SceneError for what is none, and for one that lacks what a player must know."""
        session = open_session(path)
        about = dict(session.get_modelmeta().custom_metadata_map)
        if about.get("format") != FORMAT:
            _refuse_foreign(path, about, [each.name for each in session.get_inputs()])
        if about.get("takes") != "signals":
            raise SceneError(
                f"{path} takes an observation, and a robot tells signals. Export the policy again, without --export-takes."
            )
        if about.get("control") != "position":
            raise SceneError(
                f"{path} gives '{about.get('control')}' in the scene '{about.get('scene')}'; lockstep play sends joint positions to "
                "a robot. Play it in its own scene: python -m engine.run SCENE --play RUN."
            )
        joints = joint_names(path, about, "joint_names")
        lows = dict.fromkeys(PER_JOINT, 0.0) | {"default_joint_pos": -np.inf}
        found = {key: per_joint(path, about, key, len(joints), key, low) for key, low in lows.items()}
        clips = tuple(words(path, about, "motion_clips")) if "motion_clips" in about else ()
        policy = cls(path, session, about, joints, found, clips)
        policy._rehearse()
        return policy

    def _rehearse(self) -> None:
        """SceneError for a file that does not fit itself: everything it says is read, and two control steps are made."""
        unknown = [name for name in self._takes if name not in (*KNOWN_INPUTS, *self.state_names)]
        if unknown:
            raise SceneError(f"{self.path} takes {listing(unknown)}, which no robot tells. Play it in its own scene.")
        (pose, _), _, _, none = self.start, self.ranges, self.length, np.zeros(3)
        rest = RobotReading(pose[:3], pose[3:7], none, none, pose[7:], np.zeros(len(self.joints)))
        self.begin(rest)
        for name, value in self._fed(rest, none).items():
            if self._shapes[name] not in (value.shape, (1, 0)):
                raise SceneError(
                    f"{self.path} takes {self._shapes[name][-1]} numbers as {name}, but {value.size} are given for {len(self.joints)} "
                    f"joints. The file does not fit itself. {AGAIN}"
                )
        for _ in range(2):
            given = self.target(rest, none)
            if given.shape != (len(self.joints),):
                raise SceneError(
                    f"{self.path} gives {given.size} joint targets, but names {len(self.joints)} joints. The file does not fit itself. "
                    f"{AGAIN}"
                )

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.path.stem

    @cached_property
    def _arm(self) -> np.ndarray:
        """(3, 3): what an angular velocity of the base adds to the velocity of its sensor, ω × place."""
        x, y, z = numbers(self.path, self.about, "velocity_sensor_position", (3,))
        return np.array(((0.0, z, -y), (-z, 0.0, x), (y, -x, 0.0)))

    @cached_property
    def _takes(self) -> list[str]:
        return [each.name for each in self.session.get_inputs()]

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs, with one row; 0 for a size that the file leaves open."""
        return {
            each.name: (1, *(x if isinstance(x, int) else 0 for x in each.shape[1:]))
            for each in self.session.get_inputs()
        }

    @cached_property
    def _kept(self) -> list[str]:
        return [each.name.removeprefix("next_") for each in self.session.get_outputs()][1:]

    @property
    def state_names(self) -> list[str]:
        """What it remembers from one control step to the next."""
        return words(self.path, self.about, "states") if "states" in self.about else []

    @property
    def dt(self) -> float:
        """Length of a control step in s."""
        return seconds(self.path, self.about, "control_dt")

    @property
    def length(self) -> int | None:
        """Control steps of its clip; None for one that follows commands."""
        if not self.clips:
            return None
        return int(numbers(self.path, self.about, "motion_steps", (len(self.clips),), low=1.0)[self.clip])

    @property
    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Root pose and joints (7 + joints) where it begins, and velocities (6 + joints) in world axes."""
        count, joints = max(1, len(self.clips)), len(self.joints)
        poses = numbers(self.path, self.about, "start_pose", (count, 7 + joints))
        if "start_velocity" not in self.about:
            return poses[self.clip], np.zeros(6 + joints)
        return poses[self.clip], numbers(self.path, self.about, "start_velocity", (count, 6 + joints))[self.clip]

    @property
    def ranges(self) -> np.ndarray | None:
        """Least and greatest command, (3, 2); None for a policy that follows none."""
        return ranges(self.path, self.about, "command_ranges") if "command" in self._takes else None

    def choose(self, clip: str) -> None:
        """Follow that clip. SceneError for one that it was not trained on."""
        if clip not in self.clips:
            known = f"it knows {listing(self.clips)}" if self.clips else "it follows commands and no clip"
            raise SceneError(
                f"{self.path} was not trained on the clip '{clip}'; {known}.{did_you_mean(clip, self.clips)} Train one on it: "
                f"python -m engine.run scenes/motion_tracking.py --clip {clip}."
            )
        self.clip = self.clips.index(clip)

    def refuse(self, command: np.ndarray) -> None:
        """SceneError for a command that it was not trained for."""
        if self.ranges is None:
            raise SceneError(
                f"{self.path} follows {'a clip' if self.clips else 'nothing'} and no command. Leave the command out."
            )
        for axis, value, (low, high) in zip(("forward", "sideways", "turn"), command, self.ranges, strict=True):
            if not low <= value <= high:
                raise SceneError(
                    f"The command {', '.join(f'{x:g}' for x in command)} asks for {value:g} {axis}, but {self.path} was trained for "
                    f"{low:g} to {high:g}. Give a number within."
                )

    def begin(self, reading: RobotReading) -> None:
        """Start from the first control step, with the clip placed where the robot stands and facing where it faces."""
        self.steps = 0
        self.states = {
            name: np.zeros(shape, np.float32) for name, shape in self._shapes.items() if name in self.state_names
        }
        if not self.clips:
            return
        pose = self.start[0]
        turn = yawed(yaw(pose[3:7]) - yaw(reading.base_orientation))
        w, _, _, z = turn
        self._turn = rotate(turn[None], np.eye(3)).T
        self._lead = np.array(((w, 0.0, 0.0, -z), (0.0, w, -z, 0.0), (0.0, z, w, 0.0), (z, 0.0, 0.0, w)))  # turn ⊗ q
        self._from = np.append(reading.base_position[:2], 0.0)
        self._to = np.append(pose[:2], 0.0)

    def _fed(self, reading: RobotReading, command: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of the file, by name."""
        values = {
            "base_angular_velocity": reading.base_angular_velocity,
            "base_orientation": self._lead @ reading.base_orientation,
            "base_linear_velocity": reading.base_linear_velocity + self._arm @ reading.base_angular_velocity,
            "base_position": self._turn @ (reading.base_position - self._from) + self._to,
            "joint_position": reading.joint_position,
            "joint_velocity": reading.joint_velocity,
            "command": command,
            "time_step": np.array([self.steps]),
            "clip": np.array([self.clip]),
        }
        return {
            name: np.asarray(values[name], np.float32)[None] for name in self._takes if name in values
        } | self.states

    def target(self, reading: RobotReading, command: np.ndarray) -> np.ndarray:
        """Joint targets (joints,) in rad for what the robot tells now, and one control step later.

        SceneError where the network cannot be run, or gives what is no number.
        """
        first, *rest = self._run(None, self._fed(reading, command))
        self.states = dict(zip(self._kept, rest, strict=True))
        self.steps += 1
        return np.asarray(first[0], np.float64)

    def _run(self, names: list[str] | None, fed: Mapping[str, np.ndarray]) -> list[Any]:
        """The outputs `names`, or all."""
        try:
            found = self.session.run(names, fed)
        except Exception as error:  # onnxruntime has a class of its own for each way to fail
            raise SceneError(f"{self.path} cannot be run: {_reason(error)}. {AGAIN}") from None
        if not np.isfinite(found[0]).all():
            raise SceneError(
                f"{self.path} gives an action that is not finite in control step {self.steps}. Export a checkpoint that plays in its own scene."
            )
        return list(found)


def open_session(path: Path) -> Any:
    """An onnxruntime session of a file, on one thread. SceneError where there is no ONNX file, or no onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        raise SceneError(
            f"To play a policy needs the package onnxruntime, which is not installed. pip install '{PACKAGE}[play]'"
        ) from None
    if path.is_dir():
        raise SceneError(
            f"{path} is a folder, and a policy is an .onnx file. Export a run: python -m engine.run --export {path} --out policy.onnx."
        )
    if not path.is_file():
        raise SceneError(
            f"There is no policy at {path}. Export one: python -m engine.run --export RUN --out {path.name}."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each way to fail
        reason = _reason(error)
        what, cure = next((advice for word, advice in UNREADABLE.items() if word in reason), ("cannot be run", AGAIN))
        raise SceneError(f"{path} {what}: {reason}. {cure}") from None


def _reason(error: Exception) -> str:
    """Why onnxruntime failed, without where in its own source."""
    text = re.sub(r"Load model from .* failed:|/\S+:\d+ .*\) ", "", str(error).splitlines()[0].split(" : ")[-1])
    return text.split(". ")[0].rstrip(". ")


def _refuse_foreign(path: Path, about: Mapping[str, str], inputs: list[str]) -> None:
    known = f"its metadata says {listing(sorted(about), 6)}" if about else "it has no metadata"
    raise SceneError(
        f"{path} is a policy of another program: it takes {listing(inputs)}, and {known}. What it sees in `{inputs[0]}` is not "
        "written in the file: a table of its observation terms, in order and with scales, its gains and its default pose would be "
        "needed. lockstep play takes what python -m engine.run --export RUN --out policy.onnx writes; lockstep referee plays policies of other "
        "projects by such tables."
    )
