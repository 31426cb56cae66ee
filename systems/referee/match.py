"""Matches: the protocol by which every policy is played, alone in plain MuJoCo on a flat floor, without noise."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from systems.deploy.player import Player
from systems.deploy.policy import OnnxPolicy
from systems.maths.rotation import rotate, rotate_inverse, yaw, yawed
from systems.referee.arena import Arena, Measured, measure
from systems.referee.poses import ReferencePoses
from systems.referee.scores import Exertion, TrackedEpisode, WalkedEpisode, fallen
from systems.robots.forward_kinematics import ForwardKinematics

FALLEN = 1.2  # rad of tilt of the base
COLLAPSED = 0.5  # of the height at which the base begins
COMMANDS = ((0.5, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.5), (0.0, 0.0, 0.0))  # m/s, m/s, rad/s
DIRECTIONS = 8  # of pushes, evenly around
PUSHED_AFTER, PUSHED_FOR = 2.0, 3.0  # s before a push, and after it
JOINTS, DRIFT = 0.05, 0.2  # rad and m/s: how far the start of all tries but the first may be off the reference


@attrs.frozen
class Protocol:
    """What is played, beyond what is written above."""

    episodes: int = 4  # tries at a motion; all but the first begin disturbed
    seconds: float = 20.0  # of a walk
    commands: tuple[tuple[float, float, float], ...] = COMMANDS
    push: float = 1.0  # m/s that is added to the base's velocity
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """As JSON has it, with the rules."""
        rules = {
            "fallen": f"base leans more than {FALLEN} rad, or is below {COLLAPSED} of its height; of a tracker, the anchor leans by more "
            "than 0.8 otherwise than the reference's",
            "start": f"on the reference; tries but the first within {JOINTS} rad of its joints and {DRIFT} m/s of its velocity",
            "pushes": f"{DIRECTIONS} directions, after {PUSHED_AFTER} s of the first command, survived when it stands "
            f"{PUSHED_FOR} s later",
        }
        return {**attrs.asdict(self), **rules}


Progress = Callable[[str], None]


@attrs.define(eq=False)
class _Log:
    """What was measured after each control step."""

    seen: list[Measured] = attrs.field(factory=list)

    def effort(self, targets: Sequence[np.ndarray], joints: slice = slice(6, None)) -> Exertion:
        """What moving cost."""
        count = len(self.seen)
        return Exertion(
            _tensor(targets[:count]), _tensor([each.speed[joints] for each in self.seen]),
            _tensor([each.torque for each in self.seen]), _tensor([each.touch_velocity for each in self.seen]),
            torch.tensor(np.array([each.touching for each in self.seen])),
        )  # fmt: skip


def _tensor(values: np.ndarray | Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.array(values))


# -- trackers ------------------------------------------------------------------------------------------


def play_motion(
    policy: OnnxPolicy, arena: Arena, reference: ReferencePoses, protocol: Protocol
) -> list[TrackedEpisode]:
    """Tries at the motion of a policy."""
    tracked = arena.tracked
    bodies = ForwardKinematics.of(arena.robot.model, tracked, dtype=torch.float64)
    rng, found = np.random.default_rng(protocol.seed), []
    for number in range(protocol.episodes):
        player = Player(arena.robot, [policy])
        if number:
            pose, speed = (each.copy() for each in policy.start)
            pose[7:] += rng.uniform(-JOINTS, JOINTS, len(pose) - 7)
            speed[:3] += rng.uniform(-DRIFT, DRIFT, 3)
            arena.robot.reset(pose, speed)
            policy.begin(arena.robot.read())
        found.append(_try(player, arena, reference, bodies))
    return found


def _try(player: Player, arena: Arena, reference: ReferencePoses, bodies: ForwardKinematics) -> TrackedEpisode:
    log, length = _Log(), len(reference.poses) - 1
    for _ in range(length):
        fine = player.step()
        log.seen.append(measure(arena.robot))
        if not fine or arena.robot.tilt > np.pi / 2:  # it lies
            break
    count = len(log.seen)
    aims = reference.poses[1 : count + 1]
    poses = np.array([each.pose for each in log.seen])
    position, rotation = _bodies(bodies, poses)
    wanted, facing = _bodies(bodies, aims)
    episode = TrackedEpisode(
        position, rotation, wanted, facing, _tensor(poses[:, 7:]), _tensor(aims[:, 7:]),
        _tensor(reference.speeds[1 : count + 1]), log.effort(player.targets), length,
    )  # fmt: skip
    down = fallen(episode, arena.tracked.index(arena.anchor)).nonzero()
    return episode if not len(down) else _cut(episode, max(1, int(down[0])))


def _bodies(kinematics: ForwardKinematics, poses: np.ndarray) -> tuple[Tensor, Tensor]:
    return kinematics.poses(_tensor(poses[:, :3]), _tensor(poses[:, 3:7]), _tensor(poses[:, 7:]))


def _cut(episode: TrackedEpisode, count: int) -> TrackedEpisode:
    """The first frames of an episode."""
    return attrs.evolve(_first(episode, count), effort=_first(episode.effort, count))


def _first(held: Any, count: int) -> Any:
    """The same with the first rows of its tensors."""
    values = {field.name: getattr(held, field.name) for field in attrs.fields(type(held))}
    return attrs.evolve(held, **{name: x[:count] for name, x in values.items() if isinstance(x, Tensor)})


# -- walkers -------------------------------------------------------------------------------------------


def walk(
    policy: OnnxPolicy,
    arena: Arena,
    command: Sequence[float],
    seconds: float,
    push: tuple[float, Sequence[float]] | None = None,
) -> WalkedEpisode:
    """A walk from rest; `push` is when in s, and what is added to the base's velocity in its axes in m/s."""
    player, log, length = Player(arena.robot, [policy]), _Log(), round(seconds / policy.dt)
    policy.refuse(np.array(command))
    player.command = np.array(command, float)
    low, fell = COLLAPSED * policy.start[0][2], False
    for number in range(length):
        if push is not None and number == round(push[0] / policy.dt):
            player.push(*push[1])
        fine = player.step()
        log.seen.append(measure(arena.robot))
        fell = not fine or arena.robot.tilt > FALLEN or arena.robot.data.qpos[2] < low
        if fell:
            break
    poses, speeds = (np.array([getattr(each, name) for each in log.seen]) for name in ("pose", "speed"))
    heading = yawed(yaw(poses[:, 3:7]))
    velocity = rotate_inverse(heading, speeds[:, :3])[:, :2]
    turning = rotate(poses[:, 3:7], speeds[:, 3:6])[:, 2]
    asked = np.tile(np.array(command, float), (len(poses), 1))
    return WalkedEpisode(_tensor(velocity), _tensor(turning), _tensor(asked), log.effort(player.targets), length, fell)


def within(policy: OnnxPolicy, command: Sequence[float]) -> bool:
    """Whether a policy was trained for a command."""
    bounds = policy.ranges
    return bounds is None or bool(((bounds[:, 0] <= command) & (command <= bounds[:, 1])).all())


def pushes(policy: OnnxPolicy, arena: Arena, protocol: Protocol, command: Sequence[float]) -> int:
    """How many of the pushes a walker survives."""
    angles = 2.0 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    walks = [
        walk(
            policy, arena, command, PUSHED_AFTER + PUSHED_FOR,
            (PUSHED_AFTER, (protocol.push * np.cos(angle), protocol.push * np.sin(angle))),
        )
        for angle in angles
    ]  # fmt: skip
    return sum(not each.fell for each in walks)
