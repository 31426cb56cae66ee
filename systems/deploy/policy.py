"""Policy files: an ONNX file with metadata, as Lockstep exports them, run by onnxruntime; needs no torch."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from engine.errors import SceneError, did_you_mean, listing
from systems.deploy.robot import RobotReading
from systems.maths.rotation import rotate, yaw, yawed

PACKAGE = "lockstep-sim"
FORMAT = "lockstep policy 1"
PER_JOINT = ("joint_stiffness", "joint_damping", "joint_torque_limit", "default_joint_pos")
MEASURED = (
    "base_angular_velocity", "base_orientation", "base_linear_velocity", "base_position", "joint_position", "joint_velocity",
)  # fmt: skip
TOLD = (*MEASURED, "command", "time_step", "clip")
AXES = ("lin_vel_x", "lin_vel_y", "ang_vel_yaw")


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
        takes = [each.name for each in session.get_inputs()]
        if about.get("takes") != "signals":
            raise SceneError(
                f"{path} takes an observation, and a robot tells signals. Export the policy again, without --export-takes."
            )
        if about.get("control") != "position" or "joint_names" not in about:
            raise SceneError(
                f"{path} gives '{about.get('control')}' in the scene '{about.get('scene')}'; lockstep play sends joint positions to "
                "a robot. Play it in its own scene: python -m engine.run SCENE --play RUN."
            )
        joints = tuple(about["joint_names"].split(","))
        numbers = {key: _per_joint(path, about, key, joints) for key in PER_JOINT}
        sizes = {each.name: each.shape[1] for each in session.get_inputs()}
        for name in ("joint_position", "joint_velocity"):
            if sizes.get(name, len(joints)) != len(joints):
                raise SceneError(
                    f"{path} takes {sizes[name]} numbers as {name}, but names {len(joints)} joints. The file does not fit itself; "
                    "export the policy again."
                )
        policy = cls(path, session, about, joints, numbers, tuple(json.loads(about.get("motion_clips", "[]"))))
        unknown = [name for name in takes if name not in (*TOLD, *policy.state_names)]
        if unknown:
            raise SceneError(f"{path} takes {listing(unknown)}, which no robot tells. Play it in its own scene.")
        return policy

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.path.stem

    @cached_property
    def _arm(self) -> np.ndarray:
        """(3, 3): what an angular velocity of the base adds to the velocity of its sensor, ω × place."""
        x, y, z = (float(text) for text in self.about["velocity_sensor_position"].split(","))
        return np.array(((0.0, z, -y), (-z, 0.0, x), (y, -x, 0.0)))

    @cached_property
    def _takes(self) -> list[str]:
        return [each.name for each in self.session.get_inputs()]

    @cached_property
    def _kept(self) -> list[str]:
        return [each.name.removeprefix("next_") for each in self.session.get_outputs()][1:]

    @property
    def state_names(self) -> list[str]:
        """What it remembers from one control step to the next."""
        return list(json.loads(self.about.get("states", "[]")))

    @property
    def dt(self) -> float:
        """Length of a control step in s."""
        return float(self.about["control_dt"])

    @property
    def length(self) -> int | None:
        """Control steps of its clip; None for one that follows commands."""
        return int(json.loads(self.about["motion_steps"])[self.clip]) if self.clips else None

    @property
    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Root pose and joints (7 + joints) where it begins, and velocities (6 + joints) in world axes."""
        pose = np.array(json.loads(self.about["start_pose"])[self.clip])
        speeds = json.loads(self.about.get("start_velocity", "[]"))
        return pose, np.array(speeds[self.clip]) if speeds else np.zeros(len(pose) - 1)

    @property
    def ranges(self) -> np.ndarray | None:
        """Least and greatest command, (3, 2); None for a policy that follows none."""
        found = json.loads(self.about.get("command_ranges", "null"))
        return None if found is None else np.array([found[axis] for axis in AXES])

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
            each.name: np.zeros(each.shape, np.float32)
            for each in self.session.get_inputs()
            if each.name in self.state_names
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

    def target(self, reading: RobotReading, command: np.ndarray) -> np.ndarray:
        """Joint targets (joints,) in rad for what the robot tells now, and one control step later."""
        told = {
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
        fed = {name: np.asarray(told[name], np.float32)[None] for name in self._takes if name in told} | self.states
        first, *rest = self.session.run(None, fed)
        self.states = dict(zip(self._kept, rest, strict=True))
        self.steps += 1
        return np.asarray(first[0], np.float64)


def open_session(path: Path) -> Any:
    """An onnxruntime session of a file, on one thread. SceneError where there is no ONNX file, or no onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        raise SceneError(
            f"To play a policy needs the package onnxruntime, which is not installed. pip install '{PACKAGE}[play]'"
        ) from None
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
        first = str(error).splitlines()[0].split(" : ")[-1].rstrip(".")
        raise SceneError(
            f"{path} is cut, or no ONNX file: {first}. Export the policy again, or copy it whole."
        ) from None


def _per_joint(path: Path, about: Mapping[str, str], key: str, joints: tuple[str, ...]) -> np.ndarray:
    if key not in about:
        raise SceneError(f"{path} does not say the {key} of its joints. Export the policy again.")
    try:
        values = np.array([float(text) for text in about[key].split(",")])
    except ValueError:
        raise SceneError(f"{path} says {key}='{about[key]}', which are not numbers. Export the policy again.") from None
    if len(values) != len(joints):
        raise SceneError(
            f"{path} has {len(joints)} joints, but {len(values)} numbers as {key}. Export the policy again."
        )
    return values


def _refuse_foreign(path: Path, about: Mapping[str, str], inputs: list[str]) -> None:
    known = f"its metadata says {listing(sorted(about), 6)}" if about else "it has no metadata"
    raise SceneError(
        f"{path} is a policy of another program: it takes {listing(inputs)}, and {known}. What it sees in `{inputs[0]}` is not "
        "written in the file: a table of its observation terms, in order and with scales, its gains and its default pose would be "
        "needed. lockstep play takes what python -m engine.run --export RUN --out policy.onnx writes; lockstep referee plays policies of other "
        "projects by such tables."
    )
