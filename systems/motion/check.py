"""Verification of clips against the robot that shall follow them, before anything is learned from them.

What a clip's numbers mean is decided by evidence where nobody states it (`evidence.py`, `readings.py`), and reported once. A
clip that cannot be right is refused with frame, value and cure; what is merely suspicious becomes a warning.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import numpy as np

from components.motion import Clip
from components.robot import Robot
from engine.errors import SceneError, listing
from systems.motion import plausible
from systems.motion.account import account, group_title, shared_rate
from systems.motion.evidence import MISNAMED, Reading, better_than_named, joint_orders, read_as, weigh
from systems.motion.findings import ClipFinding
from systems.motion.floor import check_floor, put_on_floor
from systems.motion.frame_rate import jump_rate, published_near
from systems.motion.joint_orders import OWN_BREADTH_FIRST, OWN_ORDER, PUBLISHED
from systems.motion.joint_tree import JointTree, joint_tree
from systems.motion.joints import STILL, Match, bare, fit_joints, match_joints, unmatched
from systems.motion.kinematics import Kinematics, body_poses, mass_center
from systems.motion.memory import EVERY, give_back
from systems.motion.readings import Weighed, as_typed, choose, group_of
from systems.motion.unfit import Unfit

Poses = Callable[[int, Clip], tuple[np.ndarray, np.ndarray]]
LOWEST = 10.0  # per cent of the frames in which feet are lowest
OFF_FLOOR = 0.16  # share of the standing height that feet may be off the floor where joints are another robot's
ODD_RATE = 1.25  # how far a stated frame rate may be from the one at which jumps fall


@attrs.frozen(eq=False)
class _Open:
    """A clip before its numbers are read."""

    index: int
    unit: str  # of lengths, where that was decided; "" for metres
    weighed: Weighed
    findings: list[ClipFinding]

    def without_arrays(self) -> "_Open":
        """The same, without the clip's numbers, which are not needed twice."""
        clip = self.weighed.clip
        kept = {field.name: getattr(clip, field.name) for field in attrs.fields(Clip)}
        none: dict[str, Any] = {name: np.empty(0) for name, value in kept.items() if isinstance(value, np.ndarray)}
        return attrs.evolve(self, weighed=attrs.evolve(self.weighed, clip=attrs.evolve(clip, **none)))


@attrs.frozen(eq=False)
class _Fitted:
    """A clip in the robot's joints."""

    clip: Clip
    source: _Open
    reading: Reading
    match: Match
    findings: list[ClipFinding]
    low: np.ndarray  # (T,) m, height of the lowest foot point
    rate: float | None  # frames per second that its jumps show


class Verification:
    """Verification of many clips for one robot, which share what is decided.

    What does not fit is left to `unfit`; `decided` has a line for each group of clips that are written alike. `poses`
    computes all bodies of a clip, whose place among all is its first argument; by default `body_poses` does.
    """

    def __init__(
        self, robot: Robot, model: Kinematics, unfit: Unfit, *, height: str = "keep", poses: Poses | None = None
    ) -> None:
        if height not in ("keep", "auto"):
            raise SceneError(
                f"Clip height '{height}' is unknown. Say 'keep' to play clips as they are or 'auto' to put feet on the "
                "floor."
            )
        self.robot, self.model, self.unfit, self.height = robot, model, unfit, height
        self.tree: JointTree = joint_tree(model, robot)
        self.decided: list[ClipFinding] = []
        self._poses: Poses = poses or self._own_poses

    def verify(self, clips: Iterable[Clip]) -> dict[int, tuple[Clip, list[ClipFinding]]]:
        """Sound clips and what is suspicious about each, by their place among `clips`.

        What files say of bodies is let go clip by clip, where nobody else keeps it.
        """
        groups: dict[tuple[object, ...], list[_Open]] = defaultdict(list)
        for index, clip in enumerate(clips):
            with self.unfit.caught():
                opened = self._opened(index, clip)
                groups[group_of(clip)].append(opened)
        return {index: found for group in groups.values() for index, found in self._verify(group)}

    def _own_poses(self, _: int, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        return body_poses(self.model, clip.root_position, clip.root_rotation, clip.dof_position)

    def _opened(self, index: int, clip: Clip) -> _Open:
        plausible.check_frames(clip)
        plausible.check_finite(clip)
        clip, findings = plausible.unit_quaternions(clip)
        clip, unit = plausible.in_metres(clip, self.robot)
        readings = weigh(clip, self.robot, self.model, self.tree)
        if not readings:
            raise self._no_order(clip)
        return _Open(index, unit, Weighed(clip, readings), findings)

    def _no_order(self, clip: Clip) -> SceneError:
        width, own = clip.dof_position.shape[1], len(self.robot.dof_names)
        if clip.joint_order and (orders := joint_orders(attrs.evolve(clip, joint_order=""), self.robot, self.tree)):
            return SceneError(
                f"{clip.title} has {width} joints without names, which cannot be in the order '{clip.joint_order}' for "
                f"{self.robot.name}. It may be {listing((*(each.word for each in orders), *self._own(width)))}."
            )
        known = next(
            (f", as {order.label.removeprefix('of ')}" for order in PUBLISHED if len(order.names) == width), ""
        )
        return SceneError(
            f"{clip.title} is for another robot: it has {width} joints without names{known}, and {self.robot.name} has "
            f"{own}. Write their names into a first line or as joint_names, or use a clip made for this robot."
        )

    def _own(self, width: int) -> tuple[str, ...]:
        return (OWN_ORDER, OWN_BREADTH_FIRST) if width == len(self.robot.dof_names) else ()

    def _verify(self, group: list[_Open]) -> list[tuple[int, tuple[Clip, list[ClipFinding]]]]:
        fitted: list[_Fitted] = []
        readings = choose([each.weighed for each in group])
        while group:
            if len(group) % EVERY == 0:
                give_back()
            each, reading = group.pop(0), readings.pop(0)
            with self.unfit.caught():
                if isinstance(reading, SceneError):
                    for other in each.weighed.stated:
                        plausible.check_axes(read_as(each.weighed.clip, other), self.robot)
                    raise reading
                fitted.append(self._fit(each, reading))
        if not fitted:
            return []
        fps, rate = shared_rate([each.clip for each in fitted], [each.rate for each in fitted])
        self._account(fitted, rate)
        done = []
        for one in fitted:
            clip = attrs.evolve(one.clip, fps=fps) if rate else one.clip
            with self.unfit.caught():
                done.append((one.source.index, self._finish(clip, one)))
        return done

    def _account(self, fitted: list[_Fitted], rate: str) -> None:
        alike: dict[tuple[object, ...], list[_Fitted]] = defaultdict(list)
        for each in fitted:
            alike[*each.reading.key, each.source.unit].append(each)
        for some in alike.values():
            text = account([(each.source.weighed, each.reading) for each in some], some[0].source.unit, rate)
            if text:
                self.decided.append(ClipFinding("how clips are written", text))
        matches: dict[Match, list[Clip]] = defaultdict(list)
        for each in fitted:
            matches[each.match].append(each.clip)
        for match, clips in matches.items():
            self.decided += unmatched(group_title(clips), match, self.robot)
        notes = dict.fromkeys(note for each in fitted for note in each.clip.notes)
        self.decided += [ClipFinding("how files are laid out", note) for note in notes]

    def _fit(self, each: _Open, reading: Reading) -> _Fitted:
        clip = read_as(each.weighed.clip, reading)
        names = clip.dof_names or (reading.order.names if reading.order else self.robot.dof_names)
        clip, match = fit_joints(clip, names, self.robot, self.tree)
        order = reading.order.word if reading.order else clip.joint_order
        clip = attrs.evolve(clip, file_rotation=reading.rotation, joint_order=order)
        plausible.check_axes(clip, self.robot)
        clip, turned = plausible.unwrapped(clip, self.robot)
        findings = [
            *each.findings,
            *self._misnamed(each.weighed.clip, reading),
            *turned,
            *plausible.check_limits(clip, self.robot),
            *plausible.check_upright(clip),
        ]
        full, clip = clip, _without_bodies(clip)
        position, rotation = self._poses(each.index, clip)
        findings += plausible.check_bodies(full, self.robot, position, rotation)
        low = self.model.foot_points(position, rotation)[..., 2].min(-1)
        self._check_borrowed(each.weighed.clip, reading, float(np.percentile(low, LOWEST)))
        up = 1.0 - 2.0 * (clip.root_rotation[:, 1:3] ** 2).sum(-1)
        rate = jump_rate(
            low, mass_center(self.model, position, rotation)[:, 2], clip.root_position[:, 2], up, self.robot
        )
        return _Fitted(clip, each.without_arrays(), reading, match, findings, low, rate)

    def _check_borrowed(self, clip: Clip, reading: Reading, low: float) -> None:
        """SceneError where nothing says that a joint order other than the robot's own is right, and feet are off the floor.

        `low` is the height of the lowest foot point where it is low, m; jumps are high in most frames.
        """
        order = reading.order
        if order is None or clip.joint_order or set(order.names) == set(self.robot.dof_names):
            return
        if abs(low) > OFF_FLOOR * self.robot.default_height:
            raise SceneError(
                f"{clip.title} seems to be of another robot than {self.robot.name}: it does not name its {len(order.names)} "
                f"joints, and in the order {order.label} its feet come down to {low:.2f} m. Name its robot "
                f"with --robot, or write {as_typed(clip, order.word)} if it is right as it is."
            )

    def _misnamed(self, clip: Clip, reading: Reading) -> list[ClipFinding]:
        named = clip.dof_names is not None and reading.score > MISNAMED
        better = better_than_named(clip, self.robot, self.tree) if named else None
        if better is None:
            return []
        order, cost, as_named = better
        text = (
            f"{clip.title}: the names of its joints seem to stand at other columns than theirs: it scores {as_named:.1f} as named, "
            f"and {cost:.1f} in the order {order.label} (lower is better). Write joint_names in the order of the columns."
        )
        return [ClipFinding("names that do not fit their joints", text)]

    def _finish(self, clip: Clip, one: _Fitted) -> tuple[Clip, list[ClipFinding]]:
        findings = [
            *one.findings,
            *plausible.check_repeats(clip),
            *plausible.check_jumps(clip, self.robot),
            *plausible.check_velocities(clip),
        ]
        clip = attrs.evolve(clip, dof_velocity=None)
        if clip.origin("rate") == "file" and one.rate and not 1 / ODD_RATE < one.rate / clip.fps < ODD_RATE:
            near = published_near(one.rate) or round(one.rate)
            text = (
                f"{clip.title} says {clip.fps:g} frames per second, but its jumps fall as at {one.rate:.0f}; write "
                f"{as_typed(clip, f'{near:g}fps')} if it plays at the wrong speed."
            )
            findings.append(ClipFinding("jumps that fall too fast or slow", text))
        if self.height == "auto":
            clip, found = put_on_floor(clip, one.low)
            return clip, findings + found
        return clip, findings + check_floor(clip, one.low)


def _without_bodies(clip: Clip) -> Clip:
    return attrs.evolve(clip, body_names=None, body_position=None, body_rotation=None)


def surplus_joints(clip: Clip, robot: Robot, model: Kinematics) -> list[str]:
    """The joints that a clip moves, as far as its numbers can be read, and that the robot lacks."""
    if clip.num_frames < 2 or not all(
        np.isfinite(part).all() for part in (clip.root_position, clip.root_rotation, clip.dof_position)
    ):
        return []
    readings = weigh(clip, robot, model, joint_tree(model, robot))
    if not readings:
        return []
    angles = read_as(clip, readings[0]).dof_position
    names = clip.dof_names or (readings[0].order.names if readings[0].order else ())
    surplus = match_joints(names, robot).surplus
    return [
        bare(name)
        for name, most in zip(names, np.abs(angles).max(0), strict=True)
        if bare(name) in surplus and most > STILL
    ]


def verify_clip(clip: Clip, robot: Robot, model: Kinematics, *, height: str = "keep") -> tuple[Clip, list[str]]:
    """`clip` with its joints in the robot's order, unit quaternions and, for `height="auto"`, feet on the floor.

    Also returns what was decided and what is suspicious about it, one sentence each. Raises SceneError where it
    cannot be right, or can be read in two ways.
    """
    unfit = Unfit(skip=False)
    verification = Verification(robot, model, unfit, height=height)
    sound = verification.verify([clip])
    unfit.settle(len(sound))
    done, findings = sound[0]
    return done, [finding.text for finding in (*verification.decided, *findings)]
