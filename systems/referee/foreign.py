"""Policies of other projects, played by a table of their observation terms as `systems.deploy` plays our own."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import mujoco
import numpy as np

from engine.errors import SceneError, listing
from systems.deploy.metadata import FORMAT, joint_names, numbers, per_joint, ranges, seconds, words
from systems.deploy.policy import OnnxPolicy, open_session
from systems.deploy.robot import RobotReading
from systems.maths.rotation import rotate
from systems.referee.arena import Arena, LoadRobot, arena_of_table
from systems.referee.poses import ReferencePoses, clip_poses, moving
from systems.referee.table import TABLES, Source, TermTable, known_tables, metadata, table_called
from systems.referee.terms import TERMS, Moment

FAR_AHEAD = 10**6  # control steps; no motion is as long
XYZW = [3, 0, 1, 2]  # which of x, y, z, w are w, x, y, z
NOWHERE = np.array((1.0, 0.0, 0.0, 0.0))


@attrs.define(eq=False)
class ForeignPolicy(OnnxPolicy):
    """A policy of another project. Joints are in the robot's order outside, and in the file's within."""

    table: TermTable = attrs.field(kw_only=True)
    arena: Arena = attrs.field(kw_only=True)
    order: np.ndarray = attrs.field(kw_only=True)  # (joints,) places of the file's joints in the robot
    terms: Mapping[str, list[tuple[str, float]]] = attrs.field(kw_only=True)  # by input
    scale: np.ndarray = attrs.field(kw_only=True)  # (joints,) rad for an action of 1, in the file's order
    bounds: np.ndarray = attrs.field(kw_only=True)  # (3, 2) of commands
    motion: Mapping[str, np.ndarray] = attrs.field(
        kw_only=True
    )  # (T, …) of the reference by what it is; {} for a walker
    reference: ReferencePoses | None = attrs.field(kw_only=True, default=None)  # None: as `motion` has it
    _action: np.ndarray = attrs.field(init=False, factory=lambda: np.zeros(0))
    _sent: list[np.ndarray] = attrs.field(init=False, factory=list)  # the last two targets, in the file's order
    _filtered: np.ndarray = attrs.field(init=False, factory=lambda: np.zeros(0))
    _phase: np.ndarray = attrs.field(init=False, factory=lambda: np.zeros(2))
    _scratch: Any = attrs.field(init=False, default=None)  # MjData for kinematics

    def __attrs_post_init__(self) -> None:
        """Where the reference is, in the world."""
        self._scratch = mujoco.MjData(self.arena.robot.model)
        if self.motion and self.reference is None:
            self.reference = self._reference()

    @property
    def dt(self) -> float:
        """Length of a control step in s."""
        return seconds(self.path, self.about, self.table.control_dt)

    @cached_property
    def _future(self) -> np.ndarray:
        """Which of the next frames are seen, in control steps from now."""
        key = self.table.future_steps
        return numbers(self.path, self.about, key).astype(int) if key else np.zeros(0, int)

    @property
    def first(self) -> int:
        """The time step of the first control step. A robot that stands in frame 0 is asked for frame 1; our own files count from 0."""
        return 0 if self.about.get("format") == FORMAT else 1

    @property
    def length(self) -> int | None:
        """Control steps of its motion; None for one that follows commands."""
        return None if self.reference is None else len(self.reference.poses) - 1

    @property
    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Root pose and joints (7 + joints) where it begins, and velocities (6 + joints) in world axes."""
        if self.reference is None:
            return self.arena.start, np.zeros(len(self.arena.start) - 1)
        now, then = self.reference.poses[:2]
        spin = np.zeros(3)
        mujoco.mju_subQuat(spin, then[3:7].copy(), now[3:7].copy())
        turn = rotate(now[3:7], spin / self.dt)
        return now, np.concatenate(((then[:3] - now[:3]) / self.dt, turn, self.reference.speeds[0]))

    @property
    def ranges(self) -> np.ndarray | None:
        """Least and greatest command, (3, 2); None for a policy that follows none."""
        return None if self.clips else self.bounds

    def begin(self, reading: RobotReading) -> None:
        """Start from the first control step; a motion stays where the file has it."""
        self.steps = 0
        self._action = np.zeros(len(self.joints))
        self._sent = []
        self._phase = np.array((0.0, np.pi))

    def target(self, reading: RobotReading, command: np.ndarray) -> np.ndarray:
        """Joint targets (joints,) in rad for what the robot tells now, and one control step later."""
        walking = bool(np.abs(command).max() > 0.01)
        if self.table.gait_stands and not walking:
            self._phase = np.full(2, np.pi)
        elif self.table.gait_stands and self._phase[0] == self._phase[1]:
            self._phase = np.array((0.0, np.pi))
        moment = self._moment(reading, command)
        fed = {name: self._seen(name, moment) for name in self.terms}
        if "time_step" in self._takes:
            fed["time_step"] = np.array([[self.first + self.steps]], np.float32)
        (action,) = self._run([self.table.action], fed)
        limit = self.table.action_limit
        self._action = np.clip(np.asarray(action[0], np.float64), -limit, limit)
        center = moment.joints if self.about.get("action_center", "").startswith("joint_pos") else moment.default
        asked = self._action if self.table.targets else center + self.scale * self._action
        if self.table.gait_period > 0.0:
            self._phase = self._phase + 2.0 * np.pi * self.dt / self.table.gait_period
        self.steps += 1
        target = np.empty(len(self.joints))
        target[self.order] = self._smooth(asked)
        return target

    def _smooth(self, target: np.ndarray) -> np.ndarray:
        """The target as it is sent: its second difference bounded, then filtered, where the file says so."""
        most, share = (
            float(numbers(self.path, self.about, key)[0]) if key and key in self.about else None
            for key in (self.table.target_acceleration, self.table.target_filter)
        )
        last, before = (self._sent[-1:], self._sent[-2:-1])
        if most is not None and before:
            change = last[0] - before[0]
            target = last[0] + change + np.clip(target - last[0] - change, -most, most)
        sent = target if share is None or not last else share * target + (1.0 - share) * self._filtered
        self._sent = [*last, target]
        self._filtered = sent
        return sent

    def _seen(self, name: str, moment: Moment) -> np.ndarray:
        parts = [scale * np.ravel(TERMS[term](moment)) for term, scale in self.terms[name]]
        return np.concatenate(parts).astype(np.float32).reshape([x or -1 for x in self._shapes[name]])

    def _moment(self, reading: RobotReading, command: np.ndarray) -> Moment:
        """What may be seen now; of the reference, the pose to have at the end of the control step."""
        joints = attrs.evolve(
            reading,
            joint_position=reading.joint_position[self.order],
            joint_velocity=reading.joint_velocity[self.order],
        )
        zero, none = np.zeros(len(self.joints)), np.zeros(3)
        place, turn, aim = none, NOWHERE, (zero, zero, none, NOWHERE)
        if self.motion:
            pose = np.concatenate((reading.base_position, reading.base_orientation, reading.joint_position))
            place, turn = self._anchor(pose)
            frame = min(self.first + self.steps, len(self.motion["joint_position"]) - 1)
            aim = tuple(self.motion[k][frame] for k in ("joint_position", "joint_velocity", "place", "turn"))  # type: ignore[assignment]
        default = self.numbers["default_joint_pos"][self.order]
        last = self._filtered if self._sent else zero
        return Moment(
            joints,
            command,
            default,
            self.arena.sensor,
            self._action,
            self._phase,
            place,
            turn,
            *aim,
            last,
            self._ahead(),
        )

    def _ahead(self) -> dict[str, np.ndarray]:
        """The motion in the next frames, counted from the one in which the robot should be now."""
        if not len(self._future):
            return {}
        frames = np.clip(self.steps + self._future, 0, len(self.motion["place"]) - 1)
        now = min(self.steps, len(self.motion["place"]) - 1)
        names = {
            "joints": "joint_position", "speeds": "joint_velocity", "anchor_place": "place", "anchor_turn": "turn",
            "body_place": "body_place", "body_turn": "body_turn",
        }  # fmt: skip
        found = {name: self.motion[key][frames] for name, key in names.items() if key in self.motion}
        return {**found, "anchor_place_now": self.motion["place"][now]}

    def _anchor(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Place and rotation of the anchor of a robot in a pose."""
        model, data = self.arena.robot.model, self._scratch
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        body = model.body(self.arena.anchor).id
        return data.xpos[body].copy(), data.xquat[body].copy()

    def _reference(self) -> ReferencePoses:
        """Root poses that put the anchor where the motion has it."""
        joints, places, turns = (self.motion[key] for key in ("joint_position", "place", "turn"))
        poses = np.zeros((len(joints), 7 + joints.shape[1]))
        poses[:, 7 + self.order] = joints
        speeds = np.zeros_like(joints)
        speeds[:, self.order] = self.motion["joint_velocity"]
        for pose, place, turn in zip(poses, places, turns, strict=True):
            pose[3] = 1.0
            shift, lean = self._anchor(pose)
            back, root = np.zeros(4), np.zeros(4)
            mujoco.mju_negQuat(back, lean)
            mujoco.mju_mulQuat(root, turn, back)
            pose[:3], pose[3:7] = place - rotate(root, shift), root
        if self.first == 0:  # the motion begins after the first control step
            poses = np.concatenate((self._start_pose(poses[0])[None], poses))
            speeds = np.concatenate((speeds[:1], speeds))
        return ReferencePoses(poses, speeds)

    def _start_pose(self, otherwise: np.ndarray) -> np.ndarray:
        if "start_pose" not in self.about:
            return otherwise
        count = len(self.clips)
        return numbers(self.path, self.about, "start_pose", (count, len(otherwise)))[0]


# -- reading -------------------------------------------------------------------------------------------


def table_fits(path: Path, table: str) -> bool:
    """Whether a file takes and gives what a table names. SceneError for what is no table, or no ONNX file."""
    session = open_session(path)
    takes, gives = ([each.name for each in side] for side in (session.get_inputs(), session.get_outputs()))
    return table_called(table).fits(takes, gives, metadata(path, session))


def load_foreign(path: Path, table: str | None, load: LoadRobot, clip: str | None = None) -> ForeignPolicy:
    """A policy of another project, by the table that fits it or the one named; `clip` is for one that follows any.

    SceneError with what does not fit.
    """
    session = open_session(path)
    about = metadata(path, session)
    takes, gives = ([each.name for each in side] for side in (session.get_inputs(), session.get_outputs()))
    if table is not None:
        chosen = table_called(table)
        if not chosen.fits(takes, gives, about):
            raise SceneError(
                f"{path} takes {listing(takes)} and gives {listing(gives)}, but the table {chosen.name} is for files that take "
                f"{listing(chosen.inputs)} and give {listing([chosen.action, *chosen.reference.values()])}. Give another --table."
            )
        return _by_table(path, session, about, chosen, load, clip)
    fitting = [each for each in map(table_called, known_tables()) if each.fits(takes, gives, about)]
    if not fitting:
        known = f"its metadata says {listing(sorted(about), 6)}" if about else "it has no metadata"
        raise SceneError(
            f"{path} takes {listing(takes)} and gives {listing(gives)}, and {known}: no table that comes along fits. What the policy "
            f"sees in `{takes[0]}` must be said by a table of its observation terms, in order and with scales, its robot, gains and "
            f"default pose: --table FILE.toml, written like those in {TABLES}."
        )
    most = max(len(each.reference) for each in fitting)  # a tracker's table asks for more outputs than a walker's
    refusals: list[SceneError] = []
    for chosen in fitting:
        try:
            if len(chosen.reference) == most:
                return _by_table(path, session, about, chosen, load, clip)
        except SceneError as error:
            refusals.append(error)
    raise refusals[0] if len(refusals) == 1 else SceneError("\n".join(map(str, refusals)))


def _by_table(
    path: Path, session: Any, about: Mapping[str, str], table: TermTable, load: LoadRobot, clip: str | None
) -> ForeignPolicy:
    named = joint_names(path, about, table.joint_names) if table.joint_names else None
    steps = {name: seconds(path, about, getattr(table, name)) for name in ("control_dt", "physics_dt")}
    arena = arena_of_table(table, named, path, load, **steps)
    joints = tuple(named or arena.robot.joints)
    order = np.array([arena.robot.joints.index(each) for each in joints])
    if table.anchor:
        arena = attrs.evolve(arena, anchor=about.get(table.anchor, table.anchor))
    scale = per_joint(path, about, table.action_scale, len(joints), "action_scale")
    reference, motion, clips = None, _motion(path, session, about, table), _clips(path, about, table)
    if table.follows_clips:
        if clip is None:
            raise SceneError(f"{path} follows any clip, and none was named. Give one: --clip NAME or FILE.")
        reference, clips = clip_poses(clip, arena, steps["control_dt"]), (clip,)
        motion = moving(reference, arena, order, words(path, about, "body_names") if "body_names" in about else [])
    takes = [each.name for each in session.get_inputs() if each.name != "time_step"]
    policy = ForeignPolicy(
        path, session, about, arena.robot.joints, _numbers(path, about, table, arena, order), clips,
        table=table, arena=arena, order=order, terms={name: table.terms(path, about, name) for name in takes}, scale=scale,
        bounds=ranges(path, about, table.command_ranges), motion=motion, reference=reference,
    )  # fmt: skip
    _check_widths(policy)
    return policy


def _numbers(
    path: Path, about: Mapping[str, str], table: TermTable, arena: Arena, order: np.ndarray
) -> dict[str, np.ndarray]:
    """Gains and default pose in the robot's order: the file's, or else the robot's own."""
    found = {}
    for key, own, low in (
        ("joint_stiffness", arena.stiffness, 0.0), ("joint_damping", arena.damping, 0.0),
        ("default_joint_pos", arena.default, -np.inf),
    ):  # fmt: skip
        source: Source = getattr(table, key)
        found[key] = own.copy()
        if source is not None:
            found[key][order] = per_joint(path, about, source, len(order), key, low)
    return found


def _clips(path: Path, about: Mapping[str, str], table: TermTable) -> tuple[str, ...]:
    if table.kind == "walker":
        return ()
    return tuple(words(path, about, "motion_clips")) if "motion_clips" in about else (path.stem,)


def _check_widths(policy: ForeignPolicy) -> None:
    """SceneError for an input that is not as wide as the terms of the table."""
    zero = np.zeros(len(policy.joints))
    none = np.zeros(3)
    rest = RobotReading(none, NOWHERE, none, none, zero, zero)
    policy.begin(rest)
    moment = policy._moment(rest, none)
    for each in policy.session.get_inputs():
        if each.name == "time_step":
            continue
        try:
            widths = [(term, np.size(TERMS[term](moment))) for term, _ in policy.terms[each.name]]
        except KeyError:
            raise SceneError(
                f"{policy.path} sees {listing([term for term, _ in policy.terms[each.name]])} as {each.name}, which its motion or its robot "
                f"does not have: bodies of {policy.arena.name} are {listing(policy.arena.tracked, 20)} and those between. Give a --table of "
                "another robot."
            ) from None
        wide = int(np.prod([x for x in each.shape[1:] if isinstance(x, int)]))
        if sum(width for _, width in widths) != wide:
            raise SceneError(
                f"{policy.path} takes {wide} numbers as {each.name}, but the table {policy.table.name} makes "
                f"{sum(width for _, width in widths)}: {', '.join(f'{name} {width}' for name, width in widths)}. Give a --table of what the "
                "policy sees."
            )
    for each in policy.session.get_outputs():
        if each.name == policy.table.action and each.shape[-1] != len(policy.joints):
            raise SceneError(
                f"{policy.path} gives {each.shape[-1]} numbers as {each.name}, but its robot has {len(policy.joints)} joints. The "
                "file does not fit itself; export the policy again."
            )


def _motion(path: Path, session: Any, about: Mapping[str, str], table: TermTable) -> dict[str, np.ndarray]:
    """The motion in a file, frame by frame; its anchor as `place` and `turn`. {} for a walker."""
    if not table.reference:
        return {}
    names = list(table.reference.values())
    blank = {
        each.name: np.zeros([1, *each.shape[1:]], np.float32)
        for each in session.get_inputs()
        if each.name != "time_step"
    }

    def frame(step: int) -> list[np.ndarray] | None:
        try:
            found = session.run(names, {**blank, "time_step": np.array([[step]], np.float32)})
        except Exception:  # onnxruntime's own classes: the motion is shorter
            return None
        return [np.asarray(each[0], np.float64) for each in found]

    frames = []
    for step in range(_frames(path, frame)):
        found = frame(step)
        assert found is not None
        frames.append(found)
    motion = {key: np.array(each) for key, each in zip(table.reference, zip(*frames, strict=True), strict=True)}
    if "body_position" in motion:
        bodies = words(path, about, "body_names")
        anchor = about.get(table.anchor, table.anchor)
        if anchor not in bodies or len(bodies) != motion["body_position"].shape[1]:
            raise SceneError(
                f"{path} gives {motion['body_position'].shape[1]} bodies and names {len(bodies)}, with the anchor '{anchor}'. The file "
                "does not fit itself; export the policy again."
            )
        at = bodies.index(anchor)
        return {**motion, "place": motion["body_position"][:, at], "turn": motion["body_rotation"][:, at]}
    return {**motion, "place": motion["anchor_position"], "turn": motion["anchor_rotation_xyzw"][:, XYZW]}


def _frames(path: Path, frame: Callable[[int], list[np.ndarray] | None]) -> int:
    """How many frames a motion has: up to where it ends or stays as it is."""
    last = frame(FAR_AHEAD)

    def over(step: int) -> bool:
        found = frame(step)
        if found is None or last is None:
            return found is None
        return all(np.array_equal(one, other) for one, other in zip(found, last, strict=True))

    low, high = 0, FAR_AHEAD
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if over(middle) else (middle + 1, high)
    count = low + (last is not None)
    if count < 2:
        raise SceneError(f"{path} holds a motion of {count} frames. Export the policy again, with its motion.")
    return count
