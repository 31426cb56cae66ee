"""Our own policies as runs have them: many rows at once, in the batch backend of the scene that they were trained in."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from components.command import Command
from components.control import DofTarget
from components.episode import Rewritten
from components.episode_log import TargetLog
from components.motion import MotionReference
from components.robot import RootState
from engine import Bundle, Scene, Trial, World, Write, any_row, system
from engine.ecs.world import Clock
from engine.errors import SceneError, did_you_mean, listing
from engine.trained import TrainedPolicy, make_console
from systems.episode_log import episode_log
from systems.maths.quaternion import rotate
from systems.referee.match import DIRECTIONS, PUSHED_AFTER, PUSHED_FOR, Protocol
from systems.referee.scores import (
    Exertion,
    TrackedEpisode,
    WalkedEpisode,
    mean_motion,
    rounded,
    tracking_scores,
    walking_scores,
)
from systems.reporting.measures import Episodes, read_episodes
from systems.reporting.trials import control_step, present_in
from systems.tick import COMMAND, PERTURB, REWARD, TERMINATE


def ask(command: Write[Command], *, velocities: tuple[tuple[float, float, float], ...]) -> None:
    """Ask the rows for `velocities` in turn, in m/s, m/s and rad/s, whatever was drawn for them."""
    wanted = torch.tensor(velocities, device=command.velocity.device)
    rows = torch.arange(len(command.velocity), device=wanted.device)
    command.velocity.copy_(wanted[rows % len(velocities)])


def log_targets(clock: Clock, target: DofTarget, log: Write[TargetLog]) -> None:
    """Keep what the joints were asked for."""
    frame = clock.tick - 1  # the first tick with physics is tick 1
    if 0 <= frame < log.position.shape[1]:
        log.position[:, frame] = target.position


def mark_shoved(clock: Clock, rewritten: Write[Rewritten], *, tick: int) -> None:
    """All rows are pushed in one tick."""
    if clock.tick == tick:
        rewritten.rows.fill_(True)


def shove(clock: Clock, root: Write[RootState], *, tick: int, push: float) -> None:
    """Add `push` in m/s to the velocity of the base, in its own axes: rows in turn in all directions."""
    if clock.tick == tick:
        angle = (
            torch.arange(len(root.position), device=root.position.device) % DIRECTIONS * (2.0 * torch.pi / DIRECTIONS)
        )
        away = torch.stack((angle.cos(), angle.sin(), torch.zeros_like(angle)), -1)
        root.linear_velocity.add_(push * rotate(root.rotation, away))


@attrs.frozen(eq=False)
class RunContender:
    """A run folder, a checkpoint or an exported .lockstep file, and the clip that it follows."""

    path: Path
    policy: TrainedPolicy
    trial: Trial
    clip: str | None = None  # None: its first

    @classmethod
    def load(cls, path: Path) -> "RunContender":
        """What is at a path. SceneError for a scene without a robot to be judged."""
        policy = TrainedPolicy.open(path, [], make_console())
        trial = policy.experiment.evaluate
        if trial is None or not _kinds(trial) or control_step(trial.scene().bundles) is None:
            raise SceneError(
                f"The scene '{policy.scene.name}' of {path} has no robot that follows clips or commands, which is what the referee "
                "compares. Name another run."
            )
        return cls(path, policy, trial)

    @property
    def kind(self) -> str:
        """What it does."""
        return _kinds(self.trial)[0]

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.path.stem if self.path.suffix else self.path.name

    def choose(self, clip: str) -> "RunContender":
        """The same, following that clip. SceneError for one that it was not trained on."""
        known = self.policy.scene.identity.get("clips", [])
        if clip not in known:
            raise SceneError(
                f"{self.path} was not trained on the clip '{clip}'; it knows {listing(known)}.{did_you_mean(clip, known)}"
            )
        return attrs.evolve(self, clip=clip)

    def refuse(self, command: Sequence[float]) -> None:
        """SceneError for a command that it was not trained for."""
        for axis, value, (low, high) in zip(("forward", "sideways", "turn"), command, self._ranges(), strict=True):
            if not low <= value <= high:
                raise SceneError(
                    f"The command {', '.join(f'{x:g}' for x in command)} asks for {value:g} {axis}, but {self.path} was trained for "
                    f"{low:g} to {high:g}. Give a number within."
                )

    def _ranges(self) -> Sequence[tuple[float, float]]:
        """Of the commands in the last stage that it was trained in."""
        systems = (s for bundle in self.policy.scene.bundles for phase in bundle.systems.values() for s in phase)
        stages = next((s.constants["stages"] for s in systems if "stages" in s.constants), None)
        return stages[-1][1:] if stages else [(-math.inf, math.inf)] * 3

    def play(self, protocol: Protocol, typed: bool) -> dict[str, Any]:
        """What came of it. Commands that were not typed are left out where the policy was not trained for them."""
        if not typed and self.kind == "walker":
            spans = self._ranges()
            fit = [
                c for c in protocol.commands if all(low <= x <= high for x, (low, high) in zip(c, spans, strict=True))
            ]
            protocol = attrs.evolve(protocol, commands=tuple(fit))
        if not protocol.commands:
            raise SceneError(f"{self.path} was trained for none of the usual commands. Give one: --command X Y TURN.")
        rows = self._rows(protocol)
        about = {"policy": self.name, "kind": self.kind, "table": "", "robot": str(self.policy.scene.identity["robot"])}
        dt, e = rows.episodes.dt, rows.episodes
        if self.kind == "tracker":
            clip, tries = rows.tracked(self.clip)
            ends = [] if e.ends is None else e.ends.tolist()
            return {**about, "clip": clip, "scores": rounded(tracking_scores(tries, e.anchor, ends, dt))}
        walks, mass = rows.walked(protocol.seconds), math.nan if e.mass is None else e.mass
        scores, count = walking_scores(walks, mass, dt), len(protocol.commands)
        if (
            protocol.push and self.trial.ticks * dt > PUSHED_AFTER + PUSHED_FOR
        ):  # else nobody would see what comes of it
            shoved = self._rows(
                attrs.evolve(protocol, seconds=PUSHED_AFTER + PUSHED_FOR, commands=protocol.commands[:1]), PUSHED_AFTER
            )
            fell = [each.fell for each in shoved.walked(PUSHED_AFTER + PUSHED_FOR)]
            scores["pushes survived %"] = 100.0 * (1.0 - sum(fell) / len(fell))
        apart = [
            {
                "command": command,
                "moved": mean_motion(walks[at::count], dt),
                **rounded(walking_scores(walks[at::count], mass, dt)),
            }
            for at, command in enumerate(protocol.commands)
        ]
        return {**about, "scores": rounded(scores), "walks": apart}

    def _rows(self, protocol: Protocol, pushed: float | None = None) -> "PlayedRows":
        """The rows as they played; all are pushed at `pushed` in s."""
        trial = _logged(self.trial, protocol, pushed)
        return PlayedRows(**self.policy.play(trial, Path("referee"), f"playing {self.path}", seed=protocol.seed))


@attrs.frozen(eq=False)
class PlayedRows:
    """The logs of rows as episodes that the referee scores."""

    episodes: Episodes
    targets: torch.Tensor | None  # (rows, frames, joints) rad; None where nothing is asked of joints

    def tracked(self, clip: str | None) -> tuple[str, list[TrackedEpisode]]:
        """The rows that played a clip, the first where none is named, and its name."""
        e, log = self.episodes, self.episodes.reference
        assert log is not None
        number = e.clips.index(clip) if clip else int(e.clip.min())
        found = []
        for row in (e.clip == number).nonzero().flatten().tolist():
            frames = slice(0, int(e.robot.frames[row]))
            found.append(
                TrackedEpisode(
                    position=log.position[row, frames].double(),
                    rotation=log.rotation[row, frames].double(),
                    reference_position=log.reference_position[row, frames].double(),
                    reference_rotation=log.reference_rotation[row, frames].double(),
                    joints=e.robot.dof_position[row, frames].double(),
                    reference_joints=log.dof_position[row, frames].double(),
                    reference_speeds=log.dof_velocity[row, frames].double(),
                    effort=self._exertion(row, frames),
                    length=int(e.clip_frames[number]) - 1,
                )
            )
        return e.clips[number], found

    def walked(self, seconds: float) -> list[WalkedEpisode]:
        """All rows, in turn by command."""
        e, log = self.episodes, self.episodes.command
        assert log is not None
        length = min(round(seconds / e.dt), log.asked.shape[1])
        found = []
        for row, count in enumerate(e.robot.frames.tolist()):
            frames = slice(0, min(count, length))
            moved, asked = log.moved[row, frames].double(), log.asked[row, frames].double()
            fell = bool(e.robot.failed[row]) and count < length
            found.append(WalkedEpisode(moved[:, :2], moved[:, 2], asked, self._exertion(row, frames), length, fell))
        return found

    def _exertion(self, row: int, frames: slice) -> Exertion:
        """What moving cost; a foot's slip is that of its sole."""
        e = self.episodes
        torque = None if e.torque is None else e.torque.value[row, frames].double()
        targets = None if self.targets is None else self.targets[row, frames].double()
        feet = (None, None) if e.foot is None else (e.foot.velocity[row, frames].double(), e.foot.touching[row, frames])
        return Exertion(targets, e.robot.dof_velocity[row, frames].double(), torque, *feet)


def _kinds(trial: Trial) -> list[str]:
    """What its policies follow, () where they follow nothing."""
    present = present_in(trial.scene())
    return [kind for kind, cls in (("tracker", MotionReference), ("walker", Command)) if cls in present]


def _logged(trial: Trial, protocol: Protocol, pushed: float | None) -> Trial:
    """The trial with logs of its episodes, and with the commands of the protocol where it has any, and its push at `pushed` in s."""
    dt = control_step(trial.scene().bundles) or 1.0
    walk = trial.ticks if "tracker" in _kinds(trial) else round(protocol.seconds / dt) + 1  # the first tick places rows
    ticks = min(trial.ticks, walk)

    def scene() -> Scene:
        made = trial.scene()
        present = present_in(made)
        log = episode_log(present, frames=ticks)
        asked = system(ask, after="turn_to_heading", velocities=protocol.commands)
        fixed = [Bundle("referee", systems={COMMAND: [asked]})] if Command in present else []
        if DofTarget in present:
            fixed.append(Bundle("targets", [TargetLog], systems={REWARD: [system(log_targets)]}))
        if pushed is not None:
            tick = round(pushed / dt)
            marked, shoved = (
                system(mark_shoved, after="mark_rewritten", tick=tick),
                system(shove, when=any_row(Rewritten, "rows"), push=protocol.push, tick=tick),
            )
            fixed.append(Bundle("shove", systems={TERMINATE: [marked], PERTURB: [shoved]}))
        made.bundles = [*made.bundles, *([log] if log else []), *fixed]
        return made

    def read(world: World, path: Path) -> Mapping[str, Any]:
        targets = world[TargetLog].position.cpu() if (TargetLog in {cls for _, cls in world.components}) else None
        return {"episodes": read_episodes(world, dt), "targets": targets}

    return attrs.evolve(trial, scene=scene, read=read, ticks=ticks, beside={})
