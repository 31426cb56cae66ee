"""Measures of episodes: every metric that the field reports of a policy, from the logs of a scene that it was played in."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from components.episode_log import CommandLog, FootLog, ReferenceLog, RobotLog, TorqueLog
from components.motion import MotionLibrary, TrackedBodies
from components.physics import Physics
from components.robot import Robot
from engine import World
from systems.maths import motion_metrics as metrics

PLANTED_HEIGHT = 0.02  # m above the lowest place of a foot in its clip, up to which the reference's foot counts as down
PLANTED_SPEED = 0.2  # m/s, up to which it does
LOST = 0.7  # m of mean distance of the bodies, up to which an episode survives
COMMANDS = "commands"  # what is played where there are no clips


@attrs.frozen
class Metric:
    """What a number is: in words, and whether more or less of it is better ("" where neither is)."""

    about: str
    better: str = ""


METRICS: Mapping[str, Metric] = {
    "episodes": Metric("first episodes of the rows that were played"),
    "clip length s": Metric("from the first frame of the clip to its last"),
    "success %": Metric("episodes that reach the end of their clip, or their time limit, without a failure", "more"),
    "success 0.5 m %": Metric("those of them in which the mean distance of the bodies never exceeds 0.5 m", "more"),
    "success height, tilt %": Metric(
        "those in which the anchor is never 0.25 m too high or low, nor leans by 0.8 in the vertical part of gravity",
        "more",
    ),
    "completion %": Metric("mean length of the episodes as a share of their clip", "more"),
    "survival 0.7 m %": Metric("share of the clip until the mean distance of the bodies first exceeds 0.7 m", "more"),
    "MPJPE global mm": Metric("mean distance of the tracked bodies from the reference, in the world", "less"),
    "MPJPE local mm": Metric("the same after the place of the root is taken away from both", "less"),
    "R-MPKPE mm": Metric("the same with the reference put where the robot's anchor stands and faces", "less"),
    "MPJPE procrustes mm": Metric("the same after the best rotation, translation and scale of each frame", "less"),
    "velocity mm/frame": Metric("mean distance of the bodies' displacements from one control step to the next", "less"),
    "acceleration mm/frame²": Metric("mean distance of their second differences", "less"),
    "root velocity mm/frame": Metric("distance of the root's displacements", "less"),
    "root acceleration mm/frame²": Metric("distance of their second differences", "less"),
    "joints rad": Metric("mean over joints of the size of the error", "less"),
    "joints L2 rad": Metric("square root of the sum over joints of squared errors", "less"),
    "joint velocity rad/s": Metric("root mean square over joints of the error of speed", "less"),
    "joint velocity L2 mrad/frame": Metric("L2 norm over joints of the error's change in a control step", "less"),
    "joint acceleration L2 mrad/frame²": Metric("L2 norm over joints of its second difference", "less"),
    "end effectors mm": Metric("mean distance of the robot's end effectors from the reference, as in R-MPKPE", "less"),
    "end effectors rad": Metric("mean angle between them and the reference, as in R-MPKPE", "less"),
    "contact error %": Metric(
        "share of feet and frames in which a foot touches and the reference's is not down, or the other way round",
        "less",
    ),
    "linear velocity error m/s": Metric("mean distance of the horizontal velocity from the command", "less"),
    "yaw rate error rad/s": Metric("mean difference of the yaw rate from the command", "less"),
    "length s": Metric("mean length of the episodes", "more"),
    "return": Metric("mean undiscounted sum of rewards", "more"),
    "action rate": Metric("smoothness: mean over joints of how far an action moves in a control step", "less"),
    "joint speed L2 rad/s": Metric("smoothness: L2 norm over joints of their speeds", "less"),
    "joint acceleration L2 rad/s²": Metric("smoothness: L2 norm over joints of their accelerations", "less"),
    "joint jerk rad/s³": Metric("smoothness: mean over joints of the size of the jerk", "less"),
    "joint jerk L2 rad/s³": Metric("smoothness: L2 norm over joints of their jerks", "less"),
    "jerky frames %": Metric(f"frames in which a joint's jerk exceeds {metrics.ROUGH:,.0f} rad/s³", "less"),
    "power W": Metric("energy: mean of what the motors put in, the sum over joints of max(torque × speed, 0)", "less"),
    "cost of transport": Metric("power / (weight × mean speed), of episodes that move faster than 0.1 m/s", "less"),
    "foot slip m/s": Metric("mean horizontal speed of feet that touch", "less"),
}
FOR_SUCCEEDED = (
    "MPJPE global mm", "MPJPE local mm", "R-MPKPE mm", "MPJPE procrustes mm", "velocity mm/frame", "acceleration mm/frame²",
)  # fmt: skip
FIXED = ("episodes", "clip length s")  # what no seed changes
SLOWEST = 0.1  # m/s, below which transport has no cost


@attrs.frozen(eq=False)
class Episodes:
    """The logs of one trial: a row for each episode, and frames as the second dimension."""

    dt: float  # s
    robot: RobotLog
    joints: tuple[str, ...]
    feet: tuple[str, ...]
    reasons: tuple[str, ...]
    clips: tuple[str, ...]  # or COMMANDS
    clip: Tensor  # (rows,) int64
    clip_frames: Tensor  # (clips,) int64, 0 where there is no clip
    reference: ReferenceLog | None = None
    command: CommandLog | None = None
    torque: TorqueLog | None = None
    foot: FootLog | None = None
    anchor: int = 0
    ends: Tensor | None = None  # (end effectors,) int64, places among the tracked bodies
    tracked_feet: Tensor | None = None  # (feet,) int64, alike; None where feet are not tracked
    mass: float | None = None  # kg, of the robot as it was built

    @property
    def alive(self) -> Tensor:
        """(rows, frames) whether a frame belongs to the row's first episode."""
        return torch.arange(self.robot.root.shape[1]) < self.robot.frames.unsqueeze(1)

    @property
    def reference_down(self) -> Tensor | None:
        """(rows, frames, feet) whether the reference's foot is down: slow, and close to its lowest place in the episode."""
        if self.reference is None or self.tracked_feet is None:
            return None
        place = self.reference.reference_position[:, :, self.tracked_feet]
        height = place[..., 2].masked_fill(~self.alive.unsqueeze(-1), torch.inf)
        low = height <= height.amin(1, keepdim=True) + PLANTED_HEIGHT
        speed = late(place[..., :2].diff(dim=1).norm(dim=-1) / self.dt, 1)
        return low & (speed.nan_to_num(0.0) <= PLANTED_SPEED)


def late(values: Tensor, missing: int) -> Tensor:
    """(rows, frames - missing, ...) with nan for the first frames, in which there is no difference yet."""
    blank = torch.full_like(values[:, :1], torch.nan).expand(-1, missing, *values.shape[2:])
    return torch.cat((blank, values), 1)


def read_episodes(world: World, dt: float) -> Episodes | None:
    """What the logs of a world hold, on the host; None where it has none. `dt` is the control step in s."""
    present = {cls for _, cls in world.components}
    if RobotLog not in present:
        return None

    def log(cls: type[Any]) -> Any:
        if cls not in present:
            return None
        found = world.component(cls)
        return attrs.evolve(found, **{name: column.cpu() for name, column in vars(found).items()})

    robot, table = world[Robot], next(t for t in world.tables.values() if "frame" in t.axes)
    kept, reference = log(RobotLog), log(ReferenceLog)
    rows = len(kept.frames)
    clips: tuple[str, ...] = (COMMANDS,)
    clip, frames = torch.zeros(rows, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    anchor, ends, feet = 0, None, None
    model = getattr(world[Physics].backend, "model", None) if Physics in world.resources else None
    if reference is not None:
        library, names = world[MotionLibrary], robot.tracked_bodies
        clips, clip, frames, anchor = library.names, reference.clip, library.frames.cpu(), world[TrackedBodies].anchor
        ends = world[TrackedBodies].end_effectors.cpu()
        if {*robot.foot_names} <= {*names}:
            feet = torch.tensor([names.index(name) for name in robot.foot_names])
    return Episodes(
        dt=dt, robot=kept, joints=robot.dof_names, feet=robot.foot_names, reasons=tuple(table.axes["termination"]),
        clips=clips, clip=clip, clip_frames=frames, reference=reference, command=log(CommandLog), torque=log(TorqueLog),
        foot=log(FootLog), anchor=anchor, ends=ends, tracked_feet=feet,
        mass=float(np.sum(model.body_mass)) if model is not None else None,
    )  # fmt: skip


def frame_measures(episodes: Episodes) -> dict[str, Tensor]:
    """Every measure frame by frame, (rows, frames) by name; nan where there is none."""
    found = _of_the_robot(episodes)
    if episodes.reference is not None:
        found |= _beside_the_reference(episodes, episodes.reference)
    if episodes.command is not None:
        moved, asked = episodes.command.moved, episodes.command.asked
        linear, turning = metrics.command_errors(moved, moved[..., 2], asked)
        found |= {"linear velocity error m/s": linear, "yaw rate error rad/s": turning}
    return {name: values.masked_fill(~episodes.alive, torch.nan) for name, values in found.items()}


def _of_the_robot(e: Episodes) -> dict[str, Tensor]:
    speeds, dt = e.robot.dof_velocity, e.dt
    found = {
        "action rate": late(metrics.action_rate(e.robot.action), 1),
        "joint speed L2 rad/s": speeds.norm(dim=-1),
        "joint acceleration L2 rad/s²": late(speeds.diff(dim=1).norm(dim=-1) / dt, 1),
        "joint jerk rad/s³": late(metrics.joint_jerk(speeds, dt), 2),
        "joint jerk L2 rad/s³": late(speeds.diff(n=2, dim=1).norm(dim=-1) / dt**2, 2),
        "jerky frames %": late(100.0 * metrics.jerky(speeds, dt).to(speeds.dtype), 2),
    }
    if e.torque is not None:
        found["power W"] = metrics.power(e.torque.value, speeds)
    if e.foot is not None:
        found["foot slip m/s"] = metrics.foot_slip(e.foot.velocity, e.foot.touching)
    return found


def _beside_the_reference(e: Episodes, log: ReferenceLog) -> dict[str, Tensor]:
    place, aim = log.position.nan_to_num(), log.reference_position
    turns = (log.rotation.nan_to_num(), log.reference_rotation)
    apart, joints = place - aim, e.robot.dof_position - log.dof_position
    found = {
        "MPJPE global mm": 1e3 * metrics.global_error(place, aim),
        "MPJPE local mm": 1e3 * metrics.root_relative_error(place, aim),
        "R-MPKPE mm": 1e3 * metrics.anchor_relative_error(place, turns[0], aim, turns[1], e.anchor),
        "MPJPE procrustes mm": 1e3 * metrics.procrustes_error(place, aim),
        "velocity mm/frame": late(1e3 * metrics.velocity_error(place, aim), 1),
        "acceleration mm/frame²": late(1e3 * metrics.acceleration_error(place, aim), 2),
        "root velocity mm/frame": late(1e3 * apart[:, :, 0].diff(dim=1).norm(dim=-1), 1),
        "root acceleration mm/frame²": late(1e3 * apart[:, :, 0].diff(n=2, dim=1).norm(dim=-1), 2),
        "joints rad": metrics.joint_error(e.robot.dof_position, log.dof_position),
        "joints L2 rad": joints.norm(dim=-1),
        "joint velocity rad/s": metrics.joint_velocity_error(e.robot.dof_velocity, log.dof_velocity),
        "joint velocity L2 mrad/frame": late(1e3 * joints.diff(dim=1).norm(dim=-1), 1),
        "joint acceleration L2 mrad/frame²": late(1e3 * joints.diff(n=2, dim=1).norm(dim=-1), 2),
    }
    if e.ends is not None and len(e.ends):
        distance, angle = metrics.end_effector_error(place, turns[0], aim, turns[1], e.anchor, e.ends)
        found |= {"end effectors mm": 1e3 * distance, "end effectors rad": angle}
    down = e.reference_down
    if down is not None and e.foot is not None:
        found["contact error %"] = 100.0 * (down ^ e.foot.touching).to(place.dtype).mean(-1)
    return found


def measure_episodes(episodes: Episodes) -> list[dict[str, Any]]:
    """A row of numbers for each clip that was played, and one of all where there are several.

    Frames weigh alike, so long episodes count more; those of the episodes that succeeded stand beside some errors.
    """
    frames, alone = frame_measures(episodes), _episode_measures(episodes)
    every = torch.ones_like(episodes.robot.failed)
    played = [(name, episodes.clip == number) for number, name in enumerate(episodes.clips)]
    played = [(name, chosen) for name, chosen in played if bool(chosen.any())]
    if len(played) > 1:
        played.append(("all", every))
    ended_well = ~episodes.robot.failed & ~episodes.robot.running
    return [
        {
            "clip": name,
            **{key: _mean(values[chosen]) for key, values in alone.items()},
            **{key: _mean(values[chosen]) for key, values in frames.items()},
            **{
                f"{key} (succeeded)": _mean(frames[key][chosen & ended_well])
                for key in FOR_SUCCEEDED
                if key in frames and bool((chosen & ended_well).any())
            },
        }
        for name, chosen in played
    ]


def _mean(values: Tensor) -> float | None:
    known = values[~values.isnan()]
    return float(known.double().mean()) if len(known) else None


def _episode_measures(e: Episodes) -> dict[str, Tensor]:
    """Measures of whole episodes, (rows,) by name; nan where an episode has none."""
    succeeded = ~e.robot.failed & ~e.robot.running
    found = {"success %": 100.0 * succeeded.double()}
    log, alive = e.reference, e.alive
    if log is not None:
        anchor = e.anchor
        lost = metrics.low_or_tilted(
            log.position[:, :, anchor], log.rotation[:, :, anchor],
            log.reference_position[:, :, anchor], log.reference_rotation[:, :, anchor],
        )  # fmt: skip
        near = metrics.far(log.position, log.reference_position) & alive
        beyond = metrics.far(log.position, log.reference_position, LOST) | ~alive
        steps = (e.clip_frames[e.clip] - 1).double()
        found |= {
            "clip length s": steps * e.dt,
            "success 0.5 m %": 100.0 * (succeeded & ~near.any(1)).double(),
            "success height, tilt %": 100.0 * (succeeded & ~(lost & alive).any(1)).double(),
            "completion %": 100.0 * e.robot.frames / steps,
            "survival 0.7 m %": 100.0 * (~beyond).cumprod(1).sum(1) / steps,
        }
    else:
        found["length s"] = e.dt * e.robot.frames.double()
    if e.command is not None and e.torque is not None and e.mass is not None:
        counted = alive.double()
        watts = (metrics.power(e.torque.value, e.robot.dof_velocity) * counted).sum(1) / counted.sum(1)
        speed = (e.robot.root_velocity[..., :2].norm(dim=-1) * counted).sum(1) / counted.sum(1)
        cost = metrics.cost_of_transport(watts.unsqueeze(1), speed.unsqueeze(1), e.mass)
        found["cost of transport"] = torch.where(speed > SLOWEST, cost, torch.nan)
    return found


def find_failures(episodes: Episodes) -> list[dict[str, Any]]:
    """Where episodes failed: clip, row, time in s of the clip (or of the episode), and which terms ended it."""
    found = []
    for row in episodes.robot.failed.nonzero().flatten().tolist():
        last = max(int(episodes.robot.frames[row]) - 1, 0)
        log = episodes.reference
        time = float(log.time[row, last]) if log is not None else episodes.dt * (last + 1)
        fired = episodes.robot.reason[row].tolist()
        found.append(
            {
                "clip": episodes.clips[int(episodes.clip[row])],
                "row": row,
                "time s": time,
                "why": [name for name, true in zip(episodes.reasons, fired, strict=True) if true],
            }
        )
    return found


def bands(values: Tensor, shares: Sequence[float] = (0.1, 0.5, 0.9)) -> Tensor:
    """Quantiles over rows of (rows, frames), (shares, frames); nan where no row has a number."""
    return torch.nanquantile(values.double(), torch.tensor(shares, dtype=torch.float64), dim=0)


def leading_error(episodes: Episodes) -> str:
    """The error that is drawn over time; "" where there is none."""
    return "R-MPKPE mm" if episodes.reference is not None else "linear velocity error m/s" if episodes.command else ""
