"""Scores: what an episode was like, as one row of numbers by name; means over frames, and over episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from systems.maths import motion_metrics as metrics

UNSETTLED = 2.0  # s at the beginning of a walk in which its errors do not count
END_HEIGHT = 0.25  # m by which an end effector may be above or below the reference around the anchor


@attrs.frozen(eq=False)
class Exertion:
    """What moving cost, T control steps; None for what nobody has measured."""

    targets: Tensor | None  # (T, joints) rad that were sent
    speeds: Tensor  # (T, joints) rad/s
    torque: Tensor | None  # (T, joints) N·m
    touch_velocity: Tensor | None  # (T, bodies, 3) m/s where each body touches the ground
    touching: Tensor | None  # (T, bodies) bool


@attrs.frozen(eq=False)
class TrackedEpisode:
    """One try at a motion, as far as it went: T frames, each the end of a control step."""

    position: Tensor  # (T, bodies, 3) m in the world, of the tracked bodies
    rotation: Tensor  # (T, bodies, 4)
    reference_position: Tensor
    reference_rotation: Tensor
    joints: Tensor  # (T, joints) rad
    reference_joints: Tensor
    reference_speeds: Tensor  # (T, joints) rad/s
    effort: Exertion
    length: int  # frames of the motion


@attrs.frozen(eq=False)
class WalkedEpisode:
    """One walk, as far as it went: T frames."""

    velocity: Tensor  # (T, 2) m/s in the axes of the heading
    turning: Tensor  # (T,) rad/s about z
    command: Tensor  # (T, 3)
    effort: Exertion
    length: int  # frames that it should last
    fell: bool


def fallen(episode: TrackedEpisode, anchor: int) -> Tensor:
    """In which frames the anchor leans quite otherwise than the reference's; (T,)."""
    return metrics.low_or_tilted(
        episode.position[:, anchor], episode.rotation[:, anchor], episode.reference_position[:, anchor],
        episode.reference_rotation[:, anchor], height=torch.inf,
    )  # fmt: skip


def tracking_scores(
    episodes: Sequence[TrackedEpisode], anchor: int, ends: Sequence[int], dt: float
) -> dict[str, float]:
    """One row for tries at one motion; shares in %, errors in the units of their names."""
    places = torch.tensor(list(ends), dtype=torch.int64)
    frames: dict[str, list[Tensor]] = {}
    wins: dict[str, list[float]] = {"success %": [], "success 0.5 m %": [], "success height, tilt %": []}
    for each in episodes:
        at = (each.position[:, anchor], each.rotation[:, anchor])
        lost = metrics.low_or_tilted(*at, each.reference_position[:, anchor], each.reference_rotation[:, anchor])
        pair = (each.position, each.rotation, each.reference_position, each.reference_rotation, anchor)
        off = (each.position - metrics.anchored(*pair)[0])[:, places, 2].abs() > END_HEIGHT
        whole = len(each.position) == each.length
        rules = (lost | off.any(-1), metrics.far(each.position, each.reference_position), lost)
        for name, broken in zip(wins, rules, strict=True):
            wins[name].append(100.0 * (whole and not bool(broken.any())))
        found = {
            "MPJPE global mm": 1e3 * metrics.global_error(each.position, each.reference_position),
            "MPJPE local mm": 1e3 * metrics.root_relative_error(each.position, each.reference_position),
            "R-MPKPE mm": 1e3 * metrics.anchor_relative_error(*pair),
            "MPJPE procrustes mm": 1e3 * metrics.procrustes_error(each.position, each.reference_position),
            "velocity mm/frame": 1e3 * metrics.velocity_error(each.position, each.reference_position),
            "acceleration mm/frame²": 1e3 * metrics.acceleration_error(each.position, each.reference_position),
            "joints rad": metrics.joint_error(each.joints, each.reference_joints),
            "joint velocity rad/s": metrics.joint_velocity_error(each.effort.speeds, each.reference_speeds),
        }
        if len(places):
            distance, angle = metrics.end_effector_error(*pair, places)
            found |= {"end effectors mm": 1e3 * distance, "end effectors rad": angle}
        for name, values in found.items():
            frames.setdefault(name, []).append(values)
    completion = [100.0 * len(each.position) / each.length for each in episodes]
    return {
        "episodes": len(episodes),
        "completion %": sum(completion) / len(episodes),
        **{name: sum(each) / len(each) for name, each in wins.items()},
        **{name: _mean(values) for name, values in frames.items()},
        **effort_scores([each.effort for each in episodes], dt),
    }


def walking_scores(episodes: Sequence[WalkedEpisode], mass: float, dt: float) -> dict[str, float]:
    """One row for walks with several commands; their first UNSETTLED s do not count as errors."""
    begun = round(UNSETTLED / dt)
    errors = [metrics.command_errors(e.velocity[begun:], e.turning[begun:], e.command[begun:]) for e in episodes]
    costs = [
        metrics.cost_of_transport(metrics.power(e.effort.torque, e.effort.speeds), e.velocity.norm(dim=-1), mass)
        for e in episodes
        if bool(e.command[:, :2].any()) and e.effort.torque is not None
    ]
    return {
        "walks": len(episodes),
        "survived %": 100.0 * sum(not each.fell for each in episodes) / len(episodes),
        "survived s": dt * sum(len(each.velocity) for each in episodes) / len(episodes),
        "linear velocity error m/s": _mean([each[0] for each in errors]),
        "yaw rate error rad/s": _mean([each[1] for each in errors]),
        "cost of transport": _mean([each[None] for each in costs]),
        **effort_scores([each.effort for each in episodes], dt),
    }


def mean_motion(episodes: Sequence[WalkedEpisode], dt: float) -> list[float | None]:
    """Forward and to the left in m/s and turning in rad/s, means once the walks have begun; None where none got that far."""
    begun = round(UNSETTLED / dt)
    moved = torch.cat([torch.cat((e.velocity, e.turning.unsqueeze(-1)), -1)[begun:] for e in episodes])
    return [round(x, 3) if x == x else None for x in moved.mean(0).tolist()]


def effort_scores(efforts: Sequence[Exertion], dt: float) -> dict[str, float]:
    """How smoothly, cheaply and firmly somebody moved; nan for what nobody has measured."""
    share = [metrics.jerky(each.speeds, dt).to(each.speeds.dtype) for each in efforts]
    return {
        "target rate rad/frame": _mean([metrics.action_rate(e.targets) for e in efforts if e.targets is not None]),
        "joint jerk rad/s³": _mean([metrics.joint_jerk(each.speeds, dt) for each in efforts]),
        "jerky frames %": 100.0 * _mean(share),
        "power W": _mean([metrics.power(e.torque, e.speeds) for e in efforts if e.torque is not None]),
        "foot slip m/s": _mean(
            [
                metrics.foot_slip(e.touch_velocity, e.touching)
                for e in efforts
                if e.touch_velocity is not None and e.touching is not None
            ]
        ),
    }


def _mean(values: Sequence[Tensor]) -> float:
    """Over all frames that have a number; nan where none has."""
    return float(torch.cat([each.double().flatten() for each in values]).nanmean()) if values else float("nan")


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same with four digits, and None for what is not a number, as JSON wants it."""
    return {
        name: None if isinstance(x, float) and x != x else float(f"{x:.4g}") if isinstance(x, float) else x
        for name, x in row.items()
    }
