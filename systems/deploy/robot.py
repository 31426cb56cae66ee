"""Robots that a policy plays on: one small interface, with plain MuJoCo or a recorded log as implementation; needs no torch.

For a real robot, write a class with these methods around its maker's SDK and give it to `Player`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import attrs
import mujoco
import numpy as np

from engine.errors import SceneError, listing
from systems.maths.rotation import rotate, rotate_inverse


@attrs.frozen(eq=False)
class RobotReading:
    """What a robot tells at one moment. World: z up; quaternions scalar first; joints in the robot's order."""

    base_position: np.ndarray  # (3,) m, of the base's frame origin in the world; 0 where nobody estimates it
    base_orientation: np.ndarray  # (4,) from the base's axes to the world's
    base_linear_velocity: np.ndarray  # (3,) m/s, of the frame origin in the base's axes; 0 where nobody estimates it
    base_angular_velocity: np.ndarray  # (3,) rad/s, in the base's axes
    joint_position: np.ndarray  # (joints,) rad
    joint_velocity: np.ndarray  # (joints,) rad/s


class RobotInterface(Protocol):
    """A robot: read what it tells, set the gains of its joint servos, send joint targets for one control step."""

    joints: tuple[str, ...]

    def read(self) -> RobotReading:
        """What the robot tells now."""
        ...

    def gains(self, stiffness: np.ndarray, damping: np.ndarray) -> None:
        """Set Kp in N·m/rad and Kd in N·m·s/rad of the joint servos, (joints,) each."""
        ...

    def send(self, targets: np.ndarray) -> bool:
        """Hold joint targets (joints,) in rad for one control step; False when there is no further one."""
        ...


_FAILURES = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


class MujocoRobot:
    """A robot in plain MuJoCo, from MJCF text or compiled. Its servos are those of the model, or torques computed in each step."""

    def __init__(self, mjcf: str | mujoco.MjModel, dt: float, torque_limit: np.ndarray) -> None:
        try:
            self.model = mujoco.MjModel.from_xml_string(mjcf) if isinstance(mjcf, str) else mjcf
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise SceneError(
                f"MuJoCo cannot read the robot of this policy: {reason}. Export the policy again."
            ) from None
        self.data = mujoco.MjData(self.model)
        self.joints = tuple(self.model.joint(i).name for i in range(1, self.model.njnt))
        if self.model.nq != 7 + len(self.joints) or self.model.nu != len(self.joints):
            raise SceneError(
                f"The robot of this policy has {self.model.njnt} joints and {self.model.nu} servos, where a free base, hinges and a servo "
                "for each belong. Export the policy again."
            )
        self.substeps = max(1, round(dt / self.model.opt.timestep))
        self.torque_limit = torque_limit
        self.servo = bool((self.model.actuator_biastype == mujoco.mjtBias.mjBIAS_AFFINE).all())
        self._stiffness = self._damping = np.zeros(len(self.joints))

    def read(self) -> RobotReading:
        """Exactly what the simulator knows."""
        place, speed = self.data.qpos.copy(), self.data.qvel.copy()
        shift, back = np.zeros(3), place[3:7] * (1.0, -1.0, -1.0, -1.0)
        mujoco.mju_rotVecQuat(shift, speed[:3], back)
        return RobotReading(place[:3], place[3:7], shift, speed[3:6], place[7:], speed[6:])

    def gains(self, stiffness: np.ndarray, damping: np.ndarray) -> None:
        """Into the servos of the model, or for the torques of the next steps."""
        self._stiffness, self._damping = stiffness, damping
        if self.servo:
            self.model.actuator_gainprm[:, 0] = stiffness
            self.model.actuator_biasprm[:, 1], self.model.actuator_biasprm[:, 2] = -stiffness, -damping

    def send(self, targets: np.ndarray) -> bool:
        """Simulate one control step; False when the simulation fails."""
        if self.servo:
            self.data.ctrl[:] = targets
            mujoco.mj_step(self.model, self.data, self.substeps)
        else:
            for _ in range(self.substeps):
                pull = self._stiffness * (targets - self.data.qpos[7:]) - self._damping * self.data.qvel[6:]
                self.data.ctrl[:] = np.clip(pull, -self.torque_limit, self.torque_limit)
                mujoco.mj_step(self.model, self.data)
        return not any(self.data.warning[kind].number for kind in _FAILURES)

    def reset(self, pose: np.ndarray, velocity: np.ndarray) -> None:
        """Put it somewhere: root pose and joints (7 + joints), root's linear and angular velocity in world axes and joints' (6 + joints)."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = pose
        self.data.qvel[:] = velocity
        self.data.qvel[3:6] = rotate_inverse(pose[3:7], velocity[3:6])
        mujoco.mj_forward(self.model, self.data)

    def push(self, velocity: np.ndarray) -> None:
        """Add to the base's velocity, (3,) m/s in its own axes."""
        self.data.qvel[:3] += rotate(self.data.qpos[3:7], velocity)

    @property
    def tilt(self) -> float:
        """Angle in rad by which the base leans."""
        return float(np.arccos(np.clip(rotate(self.data.qpos[3:7], np.array((0.0, 0.0, 1.0)))[2], -1.0, 1.0)))


@attrs.define(eq=False)
class RecordedRobot:
    """A recorded log as a robot: it replays its readings, whatever is sent to it, and keeps what was sent in `sent`."""

    joints: tuple[str, ...]
    readings: dict[str, np.ndarray]  # (steps, …) by field of RobotReading
    targets: np.ndarray  # (steps, joints) rad, that were sent when it was recorded
    commands: np.ndarray  # (steps, 3) m/s, m/s, rad/s that were asked for then
    begins: np.ndarray  # (steps,) bool, whether a policy began
    clips: np.ndarray  # (steps,) str, the clip that was followed; "" for a policy that follows commands
    about: dict[str, Any]
    at: int = 0
    sent: list[np.ndarray] = attrs.field(factory=list)

    @classmethod
    def load(cls, path: Path) -> "RecordedRobot":
        """A log that `save_log` wrote. SceneError for another file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                readings = {field.name: file[field.name] for field in attrs.fields(RobotReading)}
                about = json.loads(str(file["about"]))
                rest = {name: file[name] for name in ("targets", "commands", "begins")}
                usual = np.full(len(rest["begins"]), about.get("clip", ""))
                rest["clips"] = file.get("clips", usual)
                steps = {len(each) for each in (*readings.values(), *rest.values())}
                if len(steps) != 1 or steps == {0}:
                    raise ValueError("its columns are not equally long")
                if not all(np.isfinite(each).all() for each in readings.values()):
                    raise ValueError("what it tells is not finite")
                return cls(tuple(about["joints"]), readings, **rest, about=about)
        except FileNotFoundError:
            raise SceneError(f"There is no log at {path}. lockstep play POLICY --record {path} writes one.") from None
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
            reason = "it holds no arrays" if "pickle" in str(error) else str(error)
            raise SceneError(
                f"{path} is no log of a robot ({reason}). lockstep play POLICY --record FILE.npz writes one."
            ) from None

    def read(self) -> RobotReading:
        """What was read in this step."""
        return RobotReading(**{name: values[self.at] for name, values in self.readings.items()})

    def gains(self, stiffness: np.ndarray, damping: np.ndarray) -> None:
        """A log has no servos."""

    def send(self, targets: np.ndarray) -> bool:
        """Keep what was sent, and go to the next step."""
        self.sent.append(targets)
        self.at += 1
        return self.at < len(self.targets)


def refuse_other(robot: RobotInterface, path: Path, joints: Sequence[str], cure: str) -> None:
    """SceneError, with the cure, for a policy whose joints are not those of the robot, in its order."""
    if tuple(joints) == tuple(robot.joints):
        return
    missing = [name for name in joints if name not in robot.joints] or [
        name for name in robot.joints if name not in joints
    ]
    what = (
        f"{listing(missing)} {'is' if len(missing) == 1 else 'are'} not in both" if missing else "their order differs"
    )
    raise SceneError(
        f"{path} is a policy of another robot: it moves {len(joints)} joints, the robot has {len(robot.joints)}, and {what}. "
        f"{cure}"
    )
