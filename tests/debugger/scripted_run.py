"""A made-up run of a robot with 29 joints, from which any number of any tick can be computed.

Row r is in its own episode of its own length; at the end of most of them the left ankle meets its torque limit, then
the robot tilts and falls. Nothing is simulated: every column is a formula of tick and row.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import attrs
import numpy as np

from engine import Endings, every
from engine.protocol.display import Figure, Limb, View
from engine.protocol.framing import pack_array, schema_hash
from tests.debugger.fake_scene import FakeColumn, FakeSystem, fake_component, fake_schema

DT = 0.02  # s per tick
LEG = ["hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll"]
ARM = ["shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw"]
WAIST = ["waist_yaw", "waist_roll", "waist_pitch"]
JOINTS = (
    [f"left_{j}" for j in LEG]
    + [f"right_{j}" for j in LEG]
    + WAIST
    + [f"left_{j}" for j in ARM]
    + [f"right_{j}" for j in ARM]
)
BODIES = ["pelvis", *JOINTS]
LEFT_ANKLE = JOINTS.index("left_ankle_pitch")
TRACKED = [
    BODIES.index(name)
    for name in (
        "pelvis", "left_hip_roll", "left_knee", "left_ankle_roll", "right_hip_roll", "right_knee", "right_ankle_roll",
        "waist_pitch", "left_shoulder_roll", "left_elbow", "left_wrist_yaw", "right_shoulder_roll", "right_elbow",
        "right_wrist_yaw",
    )
]  # fmt: skip
FEET = [BODIES.index("left_ankle_roll"), BODIES.index("right_ankle_roll")]
TERMS = ["anchor_position", "anchor_orientation", "body_position", "body_orientation", "body_linear_velocity",
         "body_angular_velocity", "action_rate", "joint_limits"]  # fmt: skip
WEIGHTS = np.array([0.5, 0.5, 1.0, 1.0, 1.0, 1.0, -0.1, -10.0])
REASONS = ["anchor_height", "anchor_tilt", "end_effector_height", "diverged", "time_limit", "motion_end"]
CHANNELS = (
    [f"command[{i}]" for i in range(58)]
    + [f"base_angular_velocity[{i}]" for i in range(3)]
    + [f"gravity[{i}]" for i in range(3)]
    + [f"{what}[{i}]" for what in ("joint_position", "joint_velocity", "last_action") for i in range(29)]
)
TORQUE_LIMIT = 50.0  # N·m, of every joint

VITALS = [f"torque_use[{j}]" for j in JOINTS] + ["root_height", "tilt", "worst_body_error", "action_rate"] \
    + [f"reward[{t}]" for t in TERMS] + [f"ended_by[{r}]" for r in REASONS]  # fmt: skip

# name: (lifetime, doc, {column: (axes, sizes, dtype, unit, doc)})
COMPONENTS: dict[str, tuple[str, str, dict[str, tuple[list[str], list[int], str, str, str]]]] = {
    "RootState": ("state", "The free base.", {
        "position": ([""], [3], "float32", "m", ""),
        "rotation": ([""], [4], "float32", "", "scalar-first unit quaternion, base to world"),
        "linear_velocity": ([""], [3], "float32", "m/s", "world axes"),
        "angular_velocity": ([""], [3], "float32", "rad/s", "world axes")}),
    "DofState": ("state", "Joint state.", {
        "position": (["dof"], [29], "float32", "rad", ""),
        "velocity": (["dof"], [29], "float32", "rad/s", "")}),
    "BodyState": ("derived", "Every body's frame origin in world axes.", {
        "position": (["body", ""], [30, 3], "float32", "m", ""),
        "rotation": (["body", ""], [30, 4], "float32", "", "scalar-first unit quaternion, body to world")}),
    "ContactForce": ("derived", "Net force of contacts on each body.", {
        "force": (["sensed", ""], [2, 3], "float32", "N", "")}),
    "Action": ("state", "What the policy asked for.", {
        "value": (["dof"], [29], "float32", "", ""),
        "previous": (["dof"], [29], "float32", "", "")}),
    "DofTarget": ("signal", "Where the servos pull.", {
        "position": (["dof"], [29], "float32", "rad", "")}),
    "DofTorque": ("signal", "What the motors do.", {
        "value": (["dof"], [29], "float32", "N·m", "")}),
    "PdGains": ("state", "Gains of every joint.", {
        "stiffness": (["dof"], [29], "float32", "N·m/rad", ""),
        "damping": (["dof"], [29], "float32", "N·m·s/rad", "")}),
    "BaseFrame": ("derived", "Root motion in root axes.", {
        "angular_velocity": ([""], [3], "float32", "rad/s", ""),
        "gravity": ([""], [3], "float32", "", "unit vector; (0, 0, -1) when upright")}),
    "Episode": ("state", "How long the episode has lasted.", {
        "step": ([], [], "int64", "control steps", "")}),
    "Earned": ("state", "What each reward term has paid so far.", {
        "sums": (["reward"], [len(TERMS)], "float32", "", "")}),
    "Done": ("signal", "Whose episode ended, and why.", {
        "ended": ([], [], "bool", "", ""),
        "terminated": ([], [], "bool", "", ""),
        "truncated": ([], [], "bool", "", ""),
        "reason": (["termination"], [len(REASONS)], "bool", "", "")}),
    "MotionCursor": ("state", "Where in its clip each row is.", {
        "clip": ([], [], "int64", "", ""),
        "time": ([], [], "float32", "s", "")}),
    "RelativeTarget": ("derived", "The reference at the robot's place.", {
        "position": (["tracked", ""], [len(TRACKED), 3], "float32", "m", "")}),
    "Reward": ("signal", "What the tick was worth.", {
        "total": ([], [], "float32", "1", ""),
        "terms": (["reward"], [len(TERMS)], "float32", "", "weighted")}),
    "Observation": ("derived", "What the policy sees.", {
        "actor": (["actor_observation"], [len(CHANNELS)], "float32", "", "")}),
    "Learning": ("state", "What the learner thinks.", {
        "value": ([], [], "float32", "", ""),
        "advantage": ([], [], "float32", "", ""),
        "log_prob": ([], [], "float32", "", "")}),
}  # fmt: skip

AXES = {
    "dof": JOINTS,
    "body": BODIES,
    "tracked": [BODIES[i] for i in TRACKED],
    "foot": [BODIES[i] for i in FEET],
    "sensed": [BODIES[i] for i in FEET],
    "reward": TERMS,
    "termination": REASONS,
    "actor_observation": CHANNELS,
}

# name, phase, doc, reads, writes, milliseconds
SYSTEMS: list[tuple[str, str, str, list[str], list[str], float]] = [
    ("fill_gains", "BEGIN", "Give every row the robot's own gains.", [], ["PdGains"], 0.0),
    ("act", "ACT", "Draw an action from the policy.", ["Observation"], ["Action", "Learning"], 2.1),
    ("aim", "ACTUATE", "Turn actions into targets.", ["Action"], ["DofTarget"], 0.2),
    ("pd_torque", "TORQUE", "Turn targets into torques.", ["DofTarget", "DofState", "PdGains"], ["DofTorque"], 0.3),
    ("step_physics", "STEP", "Move the robots by one substep.", ["DofTorque"], ["RootState", "DofState"], 1.8),
    ("refresh_kinematics", "SENSE", "Make body poses agree.", ["RootState", "DofState"], ["BodyState", "ContactForce"], 1.2),
    ("align_reference", "SENSE", "Re-place the reference.", ["BodyState"], ["RelativeTarget"], 0.4),
    ("derive_base_frame", "SENSE", "Root motion in its own axes.", ["RootState"], ["BaseFrame"], 0.1),
    ("terminate", "TERMINATE", "Say whose episode ended, and why.", ["RelativeTarget", "Episode"], ["Done"], 0.3),
    ("reward", "REWARD", "Add up weight × value × dt.", ["RelativeTarget", "Action"], ["Reward", "Earned"], 1.4),
    ("advance_motion", "ADVANCE", "Time moves on.", [], ["MotionCursor"], 0.1),
    ("record", "RECORD", "Keep what came of the action.", ["Reward", "Done"], [], 0.3),
    ("reset_to_reference", "RESET", "Put ended rows on their clip.", ["Done"], ["RootState", "DofState"], 0.8),
    ("observe", "OBSERVE", "Line up what the policy sees.", ["BaseFrame", "DofState", "Action"], ["Observation"], 1.3),
    ("improve_policy", "LEARN", "Follow the clipped objective.", ["Reward"], ["Learning"], 5.0),
]  # fmt: skip
PHASES = [*dict.fromkeys(phase for _, phase, *_ in SYSTEMS), "INSPECT"]
SUBSTEPS = 4

# parent, offset from it (m, parent axes), axis of its joint, radius, length
_SIDES = {"left": 1.0, "right": -1.0}
_LEG_PLACES = [((0.0, 0.08, -0.08), 1), ((0.0, 0.04, -0.03), 0), ((0.0, 0.0, -0.1), 2), ((0.0, 0.0, -0.18), 1),
               ((0.0, 0.0, -0.30), 1), ((0.0, 0.0, -0.02), 0)]  # fmt: skip
_ARM_PLACES = [((0.0, 0.10, 0.24), 1), ((0.0, 0.05, -0.02), 0), ((0.0, 0.0, -0.10), 2), ((0.0, 0.0, -0.10), 1),
               ((0.05, 0.0, -0.02), 0), ((0.05, 0.0, 0.0), 1), ((0.05, 0.0, 0.0), 2)]  # fmt: skip
_WAIST_PLACES = [((0.0, 0.0, 0.05), 2), ((0.0, 0.0, 0.04), 0), ((0.0, 0.0, 0.02), 1)]


def _skeleton() -> list[tuple[int, tuple[float, float, float], int]]:
    """(parent body, offset, axis of the joint) of every body but the pelvis."""
    made = []
    for number, name in enumerate(JOINTS):
        side, _, joint = name.partition("_")
        if name in WAIST:
            place = WAIST.index(name)
            (offset, axis), parent = _WAIST_PLACES[place], 0 if place == 0 else number
        else:
            group, places, root = (LEG, _LEG_PLACES, 0) if joint in LEG else (ARM, _ARM_PLACES, BODIES.index(WAIST[-1]))
            place = group.index(joint)
            (x, y, z), axis = places[place]
            offset, parent = (x, _SIDES[side] * y, z), root if place == 0 else number
        made.append((parent, offset, axis))
    return made


SKELETON = _skeleton()


@attrs.define(eq=False, slots=False)
class ScriptedRun:
    """Every column of every row at every tick, and the schema; `nan` is "none", "one" (the left ankle's torque of row
    `nan_row` from tick `nan_tick` on) or "all" (every float of every row)."""

    rows: int = 4096
    nan: str = "none"
    nan_row: int = 0
    nan_tick: int = 0
    seed: int = 7
    edits: list[tuple[int, int, np.ndarray, np.ndarray | None, np.ndarray]] = attrs.field(factory=list)
    ids: dict[str, int] = attrs.field(factory=dict, init=False)
    _formulas: dict[int, Callable[[dict[str, Any]], np.ndarray]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        count = max(self.rows, 1)
        self._length = rng.integers(80, 400, count)
        self._offset = rng.integers(0, 400, count)
        self._phase = rng.random(count)
        self._skill = rng.random(count)
        self._why = rng.choice(len(REASONS), count, p=[0.2, 0.2, 0.35, 0.0, 0.15, 0.1])
        for name, (_, _, columns) in COMPONENTS.items():
            for column in columns:
                address = f"{name}.{column}"
                self.ids[f"robot.{address}"] = len(self.ids)
                self._formulas[len(self.ids) - 1] = FORMULAS[address]

    # -- numbers ---------------------------------------------------------------------------------------

    def episode(self, tick: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(step of the episode at the end of a tick, whether an episode ended in it), (N,) each."""
        since = np.asarray(tick, np.int64) + self._offset[row]
        return since % self._length[row], (since % self._length[row] == 0) & (np.asarray(tick) > 0)

    def sample(self, column: int, tick: np.ndarray, row: np.ndarray, finish: np.ndarray | None = None) -> np.ndarray:
        """(N, *shape of the column): row `row[i]` at tick `tick[i]`; after RECORD where `finish[i]`."""
        tick, row = np.asarray(tick, np.int64), np.asarray(row, np.int64)
        step, _ = self.episode(tick, row)
        finish = np.zeros(len(row), bool) if finish is None else finish
        length = self._length[row]
        step = np.where(finish, length, step)
        fall = np.clip((step - length + 25) / 25.0, 0.0, 1.0) * (self._why[row] < 3)
        at = {
            "tick": tick, "row": row, "step": step, "fall": fall, "phase": self._phase[row], "skill": self._skill[row],
            "finish": finish, "why": self._why[row], "time": step * DT,
        }  # fmt: skip
        values = self._formulas[column](at)
        self._spoil(column, values, tick, row)
        for number, since, rows, labels, new in self.edits:
            if number == column:
                hit, place = np.nonzero((row[:, None] == rows) & (tick >= since)[:, None])
                flat = _flat(values)
                flat[hit[:, None], np.arange(flat.shape[1]) if labels is None else labels] = new[place]
        return values

    def _spoil(self, column: int, values: np.ndarray, tick: np.ndarray, row: np.ndarray) -> None:
        if values.dtype.kind != "f":
            return
        if self.nan == "all":
            values[:] = np.nan
        elif self.nan == "one" and column == self.ids["robot.DofTorque.value"]:
            values[(row == self.nan_row) & (tick >= self.nan_tick), LEFT_ANKLE] = np.nan

    # -- frames ----------------------------------------------------------------------------------------

    def schema(self) -> dict[str, Any]:
        """The message of type 'schema' with its hash."""
        made = copy.deepcopy(_schema(max(1, self.rows), self.seed))
        made["tables"][0]["rows"] = self.rows
        return {**made, "hash": schema_hash(made)}

    def data(self, sub: dict[str, Any], rows: list[int], first: int, last: int, seq: int = 0) -> dict[str, Any]:
        """The `data` message that answers a `sub` message (its `rows` given), for ticks first … last."""
        made = {"t": "data", "sub": sub["id"], "seq": seq, "kind": sub["kind"], "ticks": [first, last], "view": None,
                "lost": 0, "cols": []}  # fmt: skip
        return {**made, **getattr(self, f"_{sub['kind']}")(sub["columns"], np.array(rows, np.int64), first, last)}

    def _values(self, columns: list[Any], rows: np.ndarray, first: int, last: int) -> dict[str, Any]:
        tick = np.full(len(rows), last)
        finish = self.episode(tick, rows)[1]
        made = []
        for number, labels in columns:
            array = self.sample(number, tick, rows, finish)
            array = array if labels is None else _flat(array)[:, labels]
            made.append([number, *pack_array(array)])
        return {"cols": made, "rows": rows.tolist(), "finish": pack_array(finish)}

    _pose = _values

    def _trace(self, columns: list[Any], rows: np.ndarray, first: int, last: int) -> dict[str, Any]:
        at, after_record = [], []
        for tick in range(first, last + 1):
            if len(rows) and self.episode(np.full(len(rows), tick), rows)[1].any():
                at.append(tick)
                after_record.append(True)
            at.append(tick)
            after_record.append(False)
        ticks, row = np.repeat(at, len(rows)), np.tile(rows, len(at))
        finish = np.repeat(after_record, len(rows)) & self.episode(ticks, row)[1]
        made = []
        for number, labels in columns:
            array = _flat(self.sample(number, ticks, row, finish))
            array = array.reshape(len(at), len(rows), array.shape[1])
            made.append([number, *pack_array(array if labels is None else array[..., labels])])
        return {
            "cols": made,
            "rows": rows.tolist(),
            "at": pack_array(np.array(at, np.int64)),
            "ended": pack_array(finish.reshape(len(at), len(rows))),
        }

    def _column(self, columns: list[Any], rows: np.ndarray, first: int, last: int) -> dict[str, Any]:
        number, labels = columns[0]
        everyone = np.arange(self.rows)
        flat = _flat(self.sample(number, np.full(self.rows, last), everyone))
        values = np.linalg.norm(flat.astype(np.float64), axis=1) if labels is None else flat[:, labels[0]]
        return {"cols": [[number, *pack_array(values.astype(np.float32))]]}

    def _vitals(self, columns: list[Any], rows: np.ndarray, first: int, last: int) -> dict[str, Any]:
        at = np.arange(first, last + 1)
        ticks, row = np.repeat(at, len(rows)), np.tile(rows, len(at))
        values = self._vital(ticks, row).reshape(len(at), len(rows), len(VITALS))
        return {"at": pack_array(at), "values": pack_array(values.astype(np.float16)), "rows": rows.tolist()}

    def _vital(self, ticks: np.ndarray, row: np.ndarray) -> np.ndarray:
        ended = self.episode(ticks, row)[1]

        def column(address: str) -> np.ndarray:
            return _flat(self.sample(self.ids[f"robot.{address}"], ticks, row, ended))

        up = np.clip(-column("BaseFrame.gravity")[:, 2], -1, 1)
        change = np.abs(column("Action.value") - column("Action.previous")).mean(1)
        parts = [np.abs(column("DofTorque.value")) / TORQUE_LIMIT, column("RootState.position")[:, 2:],
                 np.arccos(up)[:, None], 0.05 + 0.3 * column("RootState.position")[:, 1:2] ** 2, change[:, None],
                 column("Reward.terms"), column("Done.reason")]  # fmt: skip
        return np.concatenate(parts, 1)

    def _timing(self, columns: list[Any], rows: np.ndarray, first: int, last: int) -> dict[str, Any]:
        wobble = 1.0 + 0.1 * np.sin(last * 0.37 + np.arange(len(SYSTEMS)))
        calls = np.array([SUBSTEPS if phase in ("TORQUE", "STEP") else 1 for _, phase, *_ in SYSTEMS], np.int32)
        seconds = (np.array([each[5] for each in SYSTEMS]) * 1e-3 * wobble * calls).astype(np.float32)
        return {"seconds": pack_array(seconds), "calls": pack_array(calls), "tick_seconds": float(seconds.sum())}

    def _learner(self, columns: list[Any], rows: np.ndarray, first: int, last: int) -> dict[str, Any]:
        iteration = last // 24
        progress = 1.0 - np.exp(-iteration / 200.0)
        values = {
            "reward/per_step": 0.02 + 0.06 * progress,
            "episode/length": 40.0 + 400.0 * progress,
            "loss/explained_variance": 0.9 * progress,
            "loss/kl": 0.01 + 0.002 * np.sin(iteration),
            "loss/clip_share": 0.1,
            "loss/entropy": 30.0 - 10.0 * progress,
            "loss/gradient_norm": 0.7,
            "learning_rate": 1e-3,
        }
        return {"values": {name: float(value) for name, value in values.items()}, "iteration": iteration}


ROLES = {
    "reward_terms": "robot.Reward.terms",
    "reward_total": "robot.Reward.total",
    "observation": "robot.Observation.actor",
    "action": "robot.Action.value",
    "torque": "robot.DofTorque.value",
    "ended": "robot.Done.ended",
    "episode_step": "robot.Episode.step",
    "clip": "robot.MotionCursor.clip",
    "clip_time": "robot.MotionCursor.time",
    "value": "robot.Learning.value",
    "advantage": "robot.Learning.advantage",
    "log_prob": "robot.Learning.log_prob",
}
BUNDLES = {"STEP": "physics", "SENSE": "kinematics", "ACT": "ppo", "LEARN": "ppo", "RECORD": "ppo"}
CONSTANTS = {
    "improve_policy": {"learning_rate": 1e-3},
    "step_physics": {"substeps": SUBSTEPS},
}


def _systems() -> list[FakeSystem]:
    settings: dict[str, dict[str, float]] = {name: {"weight": float(w)} for name, w in zip(TERMS, WEIGHTS, strict=True)}
    settings["body_position"]["std"] = 0.3
    return [
        FakeSystem(
            name,
            phase,
            [each for each in reads if each not in writes],
            writes,
            doc,
            BUNDLES.get(phase, "tracking"),
            every(24) if phase == "LEARN" else None,
            CONSTANTS.get(name, {}),
            settings if name == "reward" else {},
        )
        for name, phase, doc, reads, writes, _ in SYSTEMS
    ]


def _figure() -> Figure:
    lengths = [0.1] + [float(np.linalg.norm(offset)) for _, offset, _ in SKELETON]
    parents = [-1] + [parent for parent, _, _ in SKELETON]
    limbs = zip(BODIES, parents, lengths, strict=True)
    return Figure(
        table="robot",
        name="made-up",
        bodies=[Limb(n, p, 0.05, None if i in parents else (0.0, 0.0, -long)) for i, (n, p, long) in enumerate(limbs)],
        position="robot.BodyState.position",
        rotation="robot.BodyState.rotation",
        reference="robot.RelativeTarget.position",
        tracked=TRACKED,
        threshold=0.25,
        force="robot.ContactForce.force",
        root="robot.RootState.position",
    )


@cache
def _schema(rows: int, seed: int) -> dict[str, Any]:
    components = []
    for name, (lifetime, about, columns) in COMPONENTS.items():
        made = {
            key: FakeColumn(tuple(axis or size for axis, size in zip(axes, sizes, strict=True)), dtype, unit, doc)
            for key, (axes, sizes, dtype, unit, doc) in columns.items()
        }
        components.append(fake_component(name, made, lifetime, about))
    return fake_schema(
        components,
        _systems(),
        rows=rows,
        axes=AXES,
        phases=PHASES[1:],
        repeat=("TORQUE", "STEP"),
        repeats=SUBSTEPS,
        name="scripted",
        seed=seed,
        identity={"robot": "made-up"},
        view=View([_figure()], ROLES),
        endings=Endings(next(each for each in components if each.__name__ == "Done"), "ended", reason="reason"),
        vitals={
            "torque_use": "dof",
            "root_height": "",
            "tilt": "",
            "worst_body_error": "",
            "action_rate": "",
            "reward": "reward",
            "ended_by": "termination",
        },
    )


# -- formulas: column -> what it is at N moments of rows ---------------------------------------------------


def _flat(array: np.ndarray) -> np.ndarray:
    """(N, values of a row), also where N is 0."""
    return array.reshape(len(array), int(np.prod(array.shape[1:])))


def _wave(at: dict[str, Any], count: int, amplitude: float, shift: float = 0.0) -> np.ndarray:
    """(N, count) smooth numbers that differ by row and place."""
    turn = 0.8 * at["time"][:, None] + at["phase"][:, None] + 0.13 * np.arange(count) + shift
    return (amplitude * np.sin(2 * np.pi * turn)).astype(np.float32)


def _joints(at: dict[str, Any], shift: float = 0.0) -> np.ndarray:
    angles = _wave(at, 29, 0.12, shift)
    stride = np.sin(2 * np.pi * (0.8 * at["time"] + at["phase"] + shift))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        angles[:, JOINTS.index(f"{side}_hip_pitch")] = -0.35 * sign * stride
        angles[:, JOINTS.index(f"{side}_knee")] = 0.35 - 0.3 * sign * stride
        angles[:, JOINTS.index(f"{side}_shoulder_pitch")] = 0.4 * sign * stride
        angles[:, JOINTS.index(f"{side}_elbow")] = 0.5
    return angles


def _root(at: dict[str, Any]) -> np.ndarray:
    x = 0.4 * at["time"]
    y = 0.3 * at["fall"] + 0.02 * np.sin(5 * at["time"])
    z = 0.78 - 0.35 * at["fall"] ** 2 + 0.02 * np.sin(10 * at["time"])
    return np.stack([x, y, z], 1).astype(np.float32)


def _root_turn(at: dict[str, Any]) -> np.ndarray:
    angle = 0.5 * (0.9 * at["fall"] + 0.03 * np.sin(3 * at["time"]))
    zero = np.zeros_like(angle)
    return np.stack([np.cos(angle), np.sin(angle), zero, zero], 1).astype(np.float32)


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    parts = [aw * bw - ax * bx - ay * by - az * bz, aw * bx + ax * bw + ay * bz - az * by,
             aw * by - ax * bz + ay * bw + az * bx, aw * bz + ax * by - ay * bx + az * bw]  # fmt: skip
    return np.stack(parts, -1)


def _turned(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    twice = 2.0 * np.cross(q[..., 1:], v)
    return v + q[..., :1] * twice + np.cross(q[..., 1:], twice)


def _bodies(at: dict[str, Any], shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """World positions (N, 30, 3) and rotations (N, 30, 4) of every body."""
    angles = _joints(at, shift)
    places, turns = [_root(at)], [_root_turn(at)]
    for number, (parent, offset, axis) in enumerate(SKELETON):
        half = angles[:, number] / 2
        joint = np.zeros((len(half), 4), np.float32)
        joint[:, 0], joint[:, 1 + axis] = np.cos(half), np.sin(half)
        places.append(places[parent] + _turned(turns[parent], np.array(offset, np.float32)))
        turns.append(_times(turns[parent], joint))
    return np.stack(places, 1).astype(np.float32), np.stack(turns, 1).astype(np.float32)


def _force(at: dict[str, Any]) -> np.ndarray:
    force = np.zeros((len(at["row"]), 2, 3), np.float32)
    stride = np.sin(2 * np.pi * (0.8 * at["time"] + at["phase"]))
    force[:, 0, 2], force[:, 1, 2] = 300 * np.clip(stride, 0, 1), 300 * np.clip(-stride, 0, 1)
    return force


def _target(at: dict[str, Any]) -> np.ndarray:
    calm = {**at, "fall": np.zeros_like(at["fall"])}
    return _bodies(calm, 0.02)[0][:, TRACKED]


def _torque(at: dict[str, Any]) -> np.ndarray:
    torque = _wave(at, 29, 18.0)
    early = np.clip(at["fall"] * 2.0, 0, 1)  # the ankle is at its limit before the robot tilts
    torque[:, LEFT_ANKLE] += (early * TORQUE_LIMIT).astype(np.float32)
    return np.clip(torque, -TORQUE_LIMIT, TORQUE_LIMIT)


def _terms(at: dict[str, Any]) -> np.ndarray:
    quality = (0.4 + 0.6 * at["skill"]) * (1 - at["fall"])
    values = 0.5 * quality[:, None] * (1 + 0.3 * np.sin(at["time"][:, None] + np.arange(8)))
    values[:, 6:] = 0.1
    return (values * WEIGHTS * DT).astype(np.float32)


def _reason(at: dict[str, Any]) -> np.ndarray:
    return (np.arange(len(REASONS)) == at["why"][:, None]) & at["finish"][:, None]


def _gravity(at: dict[str, Any]) -> np.ndarray:
    back = _root_turn(at) * np.array([1, -1, -1, -1], np.float32)
    return _turned(back, np.array([0, 0, -1], np.float32)).astype(np.float32)


def _seen(at: dict[str, Any]) -> np.ndarray:
    joints, speed = _joints(at), _wave(at, 29, 1.5, 0.25)
    parts = [_joints(at, 0.02), speed, _wave(at, 3, 0.4), _gravity(at), joints, speed, _wave(at, 29, 0.6)]
    return np.concatenate(parts, 1)


def _filled(value: float, count: int) -> Callable[[dict[str, Any]], np.ndarray]:
    return lambda at: np.full((len(at["row"]), count), value, np.float32)


FORMULAS: dict[str, Callable[[dict[str, Any]], np.ndarray]] = {
    "RootState.position": _root,
    "RootState.rotation": _root_turn,
    "RootState.linear_velocity": lambda at: _wave(at, 3, 0.3),
    "RootState.angular_velocity": lambda at: _wave(at, 3, 0.4),
    "DofState.position": _joints,
    "DofState.velocity": lambda at: _wave(at, 29, 1.5, 0.25),
    "BodyState.position": lambda at: _bodies(at)[0],
    "BodyState.rotation": lambda at: _bodies(at)[1],
    "ContactForce.force": _force,
    "Action.value": lambda at: _wave(at, 29, 0.6),
    "Action.previous": lambda at: _wave(at, 29, 0.6, -0.016),
    "DofTarget.position": lambda at: _joints(at, 0.01),
    "DofTorque.value": _torque,
    "PdGains.stiffness": _filled(99.0, 29),
    "PdGains.damping": _filled(6.3, 29),
    "BaseFrame.angular_velocity": lambda at: _wave(at, 3, 0.4),
    "BaseFrame.gravity": _gravity,
    "Episode.step": lambda at: at["step"].astype(np.int64),
    "Earned.sums": lambda at: (_terms(at) * at["step"][:, None]).astype(np.float32),
    "Done.ended": lambda at: at["finish"].copy(),
    "Done.terminated": lambda at: at["finish"] & (at["why"] < 4),
    "Done.truncated": lambda at: at["finish"] & (at["why"] >= 4),
    "Done.reason": _reason,
    "MotionCursor.clip": lambda at: at["row"] % 3,
    "MotionCursor.time": lambda at: at["time"].astype(np.float32),
    "RelativeTarget.position": _target,
    "Reward.total": lambda at: _terms(at).sum(1),
    "Reward.terms": _terms,
    "Observation.actor": _seen,
    "Learning.value": lambda at: (1.5 - at["fall"] + 0.2 * np.sin(at["time"])).astype(np.float32),
    "Learning.advantage": lambda at: np.sin(at["time"] * 3 + at["row"]).astype(np.float32),
    "Learning.log_prob": lambda at: (-25 + np.cos(at["time"])).astype(np.float32),
}
