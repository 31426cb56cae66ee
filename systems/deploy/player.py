"""Player: runs policies on a robot, one control step after the other; needs no torch."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from engine.errors import SceneError
from engine.files import file_errors, write_file
from systems.deploy.metadata import AGAIN
from systems.deploy.policy import OnnxPolicy
from systems.deploy.robot import MujocoRobot, RobotInterface, RobotReading, refuse_other

ACTIONS = {  # of a script, with how many numbers each takes
    "command": (3, "forward and to the left in m/s, yaw rate in rad/s"),
    "policy": (1, "number of the policy to change over to, from 1"),
    "push": (2, "forward and to the left in m/s, added to the base's velocity"),
    "clip": (0, "the next clip of the policy, from its start"),
    "reset": (0, "back to where the policy starts"),
}


@attrs.frozen
class Event:
    """Something that happens at a moment of a script."""

    time: float  # s
    action: str
    numbers: tuple[float, ...] = ()


def read_script(path: Path) -> list[Event]:
    """The events of a script, in order: lines of a time in s, an action and its numbers; # begins a comment.

    Raises SceneError with the line that is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SceneError(f"The script {path} cannot be read ({reason}). A line of it is TIME ACTION NUMBERS.") from None
    found = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        known = ", ".join(f"{name} ({count} numbers)" for name, (count, _) in ACTIONS.items())
        try:
            time, action, *rest = words
            event = Event(float(time), action, tuple(float(each) for each in rest))
        except ValueError:
            raise SceneError(
                f"{path}, line {number}: '{line.strip()}' is not a time in s, an action and its numbers. Actions: {known}."
            ) from None
        known_action = action in ACTIONS and len(rest) == ACTIONS[action][0]
        if not known_action or event.time < 0.0 or not np.isfinite((event.time, *event.numbers)).all():
            raise SceneError(
                f"{path}, line {number}: '{line.strip()}' is not an action at a time from 0 s on. Actions: {known}."
            )
        found.append(event)
    return sorted(found, key=lambda event: event.time)


@attrs.define(eq=False)
class Player:
    """Policies on one robot. After a change over to another policy, targets and gains pass over to its own within `blend` s."""

    robot: RobotInterface
    policies: Sequence[OnnxPolicy]
    blend: float = 0.3  # s
    command: np.ndarray = attrs.field(init=False, factory=lambda: np.zeros(3))
    current: int = attrs.field(init=False, default=0)
    readings: list[RobotReading] = attrs.field(init=False, factory=list)
    targets: list[np.ndarray] = attrs.field(init=False, factory=list)
    commands: list[np.ndarray] = attrs.field(init=False, factory=list)
    begins: list[bool] = attrs.field(init=False, factory=list)  # whether a policy began in that control step
    clips: list[str] = attrs.field(init=False, factory=list)  # that were followed
    _since: float = attrs.field(init=False, default=np.inf)  # s since the last change over
    _left: OnnxPolicy | None = attrs.field(init=False, default=None)  # the policy before it

    def __attrs_post_init__(self) -> None:
        """Refuse policies that the robot cannot play; begin the first."""
        for number, policy in enumerate(self.policies):
            refuse_other(self.robot, policy.path, policy.joints, "Play it by itself." if number else AGAIN)
            if policy.dt != self.policies[0].dt:
                raise SceneError(
                    f"{policy.path} takes a control step of {policy.dt:g} s, and {self.policies[0].path} one of "
                    f"{self.policies[0].dt:g} s. Play it by itself."
                )
        self.reset()

    @property
    def policy(self) -> OnnxPolicy:
        """Who plays now."""
        return self.policies[self.current]

    def reset(self) -> None:
        """Put the robot where the policy starts, where it can be put, and begin the policy."""
        if isinstance(self.robot, MujocoRobot):
            self.robot.reset(*self.policy.start)
        self._since = np.inf
        self.robot.gains(self.policy.numbers["joint_stiffness"], self.policy.numbers["joint_damping"])
        self.policy.begin(self.robot.read())

    def change_over(self, number: int) -> None:
        """Play policy `number`, from 0, from here on. SceneError where there is none."""
        if not 0 <= number < len(self.policies):
            raise SceneError(f"There is no policy {number + 1}; {len(self.policies)} were given.")
        self._left, self._since, self.current = self.policy, 0.0, number
        if self.policy.ranges is not None:
            self.command = np.clip(self.command, *self.policy.ranges.T)
        self.policy.begin(self.robot.read())

    def next_clip(self) -> None:
        """Play the policy's next clip from its start, the first one after the last. SceneError where it has no other."""
        if len(self.policy.clips) < 2:
            raise SceneError(f"{self.policy.path} has no other clip to play than it does. Leave the action 'clip' out.")
        self.policy.clip = (self.policy.clip + 1) % len(self.policy.clips)
        self.reset()

    def push(self, forward: float, sideways: float) -> None:
        """Push the robot, where it can be pushed."""
        if isinstance(self.robot, MujocoRobot):
            self.robot.push(np.array((forward, sideways, 0.0)))

    def take(self, event: Event) -> None:
        """Do what a script says."""
        if event.action == "command":
            asked = np.array(event.numbers)
            self.policy.refuse(asked)
            self.command = asked
        elif event.action == "policy":
            self.change_over(int(event.numbers[0]) - 1)
        elif event.action == "push":
            self.push(*event.numbers)
        elif event.action == "clip":
            self.next_clip()
        else:
            self.reset()

    def step(self) -> bool:
        """One control step; False when the robot tells nothing more."""
        reading, policy = self.robot.read(), self.policy
        self.commands.append(self.command.copy())
        self.begins.append(policy.steps == 0)
        self.clips.append(policy.clips[policy.clip] if policy.clips else "")
        target = policy.target(reading, self.command)
        if self._since < self.blend and self._left is not None:
            share = self._since / self.blend
            old = self._left.target(reading, self.command)
            target = share * target + (1.0 - share) * old
            self._set_gains(share)
            self._since += policy.dt
        elif self._left is not None:
            self._set_gains(1.0)
            self._left = None
        self.readings.append(reading)
        self.targets.append(target)
        return self.robot.send(target)

    def _set_gains(self, share: float) -> None:
        assert self._left is not None
        new, old = self.policy.numbers, self._left.numbers
        self.robot.gains(*(share * new[k] + (1.0 - share) * old[k] for k in ("joint_stiffness", "joint_damping")))


def save_log(path: Path, player: Player) -> None:
    """Write what was read of the robot, asked of it and sent to it in each control step, as npz."""
    columns: dict[str, Any] = {
        f.name: np.array([getattr(each, f.name) for each in player.readings]) for f in attrs.fields(RobotReading)
    }
    columns |= {name: np.array(getattr(player, name)) for name in ("targets", "commands", "begins", "clips")}
    about = np.array(json.dumps({"joints": list(player.robot.joints)}))
    data = io.BytesIO()
    np.savez(data, **{"about": about, **columns})  # type: ignore[arg-type]
    with file_errors(f"The log {path} cannot be written", cure=" Choose another --record."):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data.getvalue())
