"""Synthetic runs for tests of the diagnosis: sound but for what a test plants in them, and received as real frames."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from engine import Endings
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.protocol.display import View
from engine.protocol.framing import pack_array
from tests.debugger.fake_scene import FakeColumn, FakeSystem, fake_component, fake_schema

DT = 0.02
JOINTS = ("left_knee_joint", "left_ankle_joint", "right_knee_joint", "right_ankle_joint")
FEET = ("left_foot", "right_foot")
CHANNELS = (
    *(f"command[{i}]" for i in range(4)),
    *(f"gravity[{i}]" for i in range(3)),
    *(f"joint_position[{i}]" for i in range(4)),
    *(f"last_action[{i}]" for i in range(4)),
)
TERMS = ("body_position", "body_velocity", "action_rate", "joint_limits")
REASONS = ("fallen", "diverged", "time_limit")
VITALS = (
    *(f"torque_use[{joint}]" for joint in JOINTS),
    "action_rate",
    "root_height",
    "tilt",
    *(f"reward[{term}]" for term in TERMS),
    *(f"ended_by[{reason}]" for reason in REASONS),
)
WEIGHT = {"body_position": 1.0, "body_velocity": 1.0, "action_rate": -0.1, "joint_limits": -10.0}
LONGEST = 150  # control steps
COLUMNS: tuple[tuple[str, str, tuple[str | int, ...], str], ...] = (
    ("Action", "value", ("dof",), "float32"),
    ("DofState", "velocity", ("dof",), "float32"),
    ("PdGains", "stiffness", ("dof",), "float32"),
    ("DofTorque", "value", ("dof",), "float32"),
    ("Episode", "step", (), "int64"),
    ("Done", "ended", (), "bool"),
    ("Done", "reason", ("termination",), "bool"),
    ("MotionCursor", "clip", (), "int64"),
    ("MotionCursor", "time", (), "float32"),
    ("Reward", "total", (), "float32"),
    ("Reward", "terms", ("reward",), "float32"),
    ("Observation", "actor", ("actor_observation",), "float32"),
    ("Contact", "touching", ("foot",), "bool"),
    ("BodyState", "linear_velocity", ("body", 3), "float32"),
    ("MotionReference", "body_position", ("tracked", 3), "float32"),
    ("Rollout", "action", ("step", "dof"), "float32"),
    ("Rollout", "mean", ("step", "dof"), "float32"),
    ("TerrainTile", "origin", (3,), "float32"),
)
AXES = {
    "dof": JOINTS,
    "foot": FEET,
    "body": FEET,
    "tracked": FEET,
    "termination": REASONS,
    "reward": TERMS,
    "actor_observation": CHANNELS,
    "step": tuple(map(str, range(24))),
}
SETTINGS: dict[str, dict[str, Any]] = {name: {"weight": weight} for name, weight in WEIGHT.items()}
SETTINGS["body_position"]["std"], SETTINGS["body_velocity"]["std"] = 0.3, 1.0
ENDING = {"time_limit": {"kind": "time_limit"}, "diverged": {"kind": "fault"}}
LEARNING = {"desired_kl": 0.01, "lowest_rate": 1e-5, "highest_rate": 1e-2, "gamma": 0.99}
SYSTEMS = (
    FakeSystem("fill_gains", "BEGIN", (), ("PdGains",), bundle="tracking"),
    FakeSystem("act", "ACT", (), ("Action",), bundle="ppo", constants={"limit": 5.0}),
    FakeSystem("compute_torque", "TORQUE", (), ("DofTorque",), bundle="tracking"),
    FakeSystem("step_physics", "STEP", (), ("DofState",), bundle="tracking"),
    FakeSystem("terminate", "TERMINATE", (), ("Done",), bundle="tracking", terms=ENDING),
    FakeSystem("reward", "REWARD", (), ("Reward",), bundle="tracking", constants={"dt": DT}, terms=SETTINGS),
    FakeSystem("observe", "OBSERVE", (), ("Observation",), bundle="tracking"),
    FakeSystem("improve_policy", "LEARN", (), ("Rollout",), bundle="ppo", constants=LEARNING),
)


def schema(
    rows: int,
    settings: Mapping[str, Mapping[str, Any]] = SETTINGS,
    names: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The schema of a small tracking scene. `names` gives components other names, `roles` are declared by the scene."""
    names = names or {}
    described: dict[str, dict[str, FakeColumn]] = {}
    for component, name, axes, dtype in COLUMNS:
        described.setdefault(names.get(component, component), {})[name] = FakeColumn(axes, dtype)
    systems = [
        attrs.evolve(
            each,
            writes=[names.get(name, name) for name in each.writes],
            terms=settings if each.name == "reward" else each.terms,
        )
        for each in SYSTEMS
    ]
    components = {name: fake_component(name, columns) for name, columns in described.items()}
    return fake_schema(
        list(components.values()),
        systems,
        rows=rows,
        axes=AXES,
        phases=("ACT", "TORQUE", "STEP", "TERMINATE", "REWARD", "OBSERVE", "LEARN"),
        name="planted",
        identity={"clips": ["walk_07"]},
        view=View(roles=roles or {}),
        endings=Endings(components[names.get("Done", "Done")], "ended", reason="reason"),
        vitals={
            "torque_use": "dof",
            "action_rate": "",
            "root_height": "",
            "tilt": "",
            "reward": "reward",
            "ended_by": "termination",
        },
    )


@attrs.define(eq=False)
class Planted:
    """`ticks` of `rows` rows, whose columns a test may change before `feed`.

    Every column is (ticks, rows, *shape) as seen after RECORD; `fall(row, step)` says the step at which an episode
    of a row ends by the reason 'fallen', or None. Fallen robots tilt in the last 20 steps.
    """

    rows: int = 16
    ticks: int = 600
    fall: Callable[[int, int], int | None] = lambda row, episode: None
    columns: dict[str, np.ndarray] = attrs.field(factory=dict)
    vitals: np.ndarray = attrs.field(init=False)
    episode: np.ndarray = attrs.field(init=False)  # (ticks, rows) count of the row's episode
    steps_left: np.ndarray = attrs.field(init=False)  # to a fall; large where none comes
    learner: list[dict[str, float]] = attrs.field(factory=list)
    events: list[dict[str, Any]] = attrs.field(factory=list)
    tick_seconds: float = 0.01
    seconds: Sequence[float] = (0.0, 1e-3, 1e-3, 4e-3, 1e-3, 1e-3, 1e-3, 1e-3)
    sent: list[np.ndarray] = attrs.field(init=False)  # the columns as they are sent, in the order of COLUMNS

    def __attrs_post_init__(self) -> None:
        rng = np.random.default_rng(5)
        step, ended, fallen = self._episodes()
        phase = step[..., None] * DT + np.arange(4) / 4
        shift = np.arange(self.rows)[None, :, None]
        swing = np.sin(2 * np.pi * phase)
        draw = rng.standard_normal
        shape = (self.ticks, self.rows)
        action = 0.4 * swing + 0.3 * draw((*shape, 4))
        error = np.abs(0.15 + 0.05 * draw(shape))
        terms = np.stack(
            [
                DT * np.exp(-((error / 0.3) ** 2)),
                DT * np.exp(-((np.abs(0.5 + 0.2 * draw(shape))) ** 2)),
                -DT * 0.1 * np.abs(0.5 + 0.1 * draw(shape)),
                np.zeros(shape),
            ],
            -1,
        )
        tilt = np.abs(5 + 2 * draw(shape)) + np.clip(20 - self.steps_left, 0, 20) * 3
        gravity = np.stack([0.05 * draw(shape), 0.05 * draw(shape), -1 + 0.01 * np.abs(draw(shape))], -1)
        lifted = np.stack([swing[..., 0] > 0, swing[..., 0] <= 0], -1)
        reasons = np.stack([fallen, np.zeros(shape, bool), ended & ~fallen], -1)
        reference = np.zeros((*shape, 2, 3))
        reference[..., 2] = 0.02 + 0.1 * np.maximum(0, np.stack([swing[..., 0], -swing[..., 0]], -1))
        mean = np.repeat(swing[:, :, None], 24, 2)
        self.columns |= {
            "Action.value": action,
            "DofState.velocity": 2 * swing + 0.05 * draw((*shape, 4)),
            "PdGains.stiffness": np.full((*shape, 4), 100.0),
            "DofTorque.value": 20 * swing,
            "Episode.step": step,
            "Done.ended": ended,
            "Done.reason": reasons,
            "MotionCursor.clip": np.zeros(shape),
            "MotionCursor.time": step * DT,
            "Reward.total": terms.sum(-1),
            "Reward.terms": terms,
            "Observation.actor": np.concatenate([swing, gravity, swing + 0.02 * draw((*shape, 4)), action], -1),
            "Contact.touching": ~lifted,
            "BodyState.linear_velocity": np.where(lifted[..., None], 1.0, 0.02) * np.ones(3),
            "MotionReference.body_position": reference,
            "Rollout.action": mean + 0.3 * draw((*shape, 24, 4)),
            "Rollout.mean": mean,
            "TerrainTile.origin": np.zeros((*shape, 3)),
        }
        use = np.clip(np.abs(0.4 * swing + 0.1 * draw((*shape, 4)) + 0 * shift), 0, 1)
        self.vitals = np.concatenate(
            [use, error[..., None], 0.8 - tilt[..., None] / 200, tilt[..., None], terms, reasons], -1
        )
        self.learner = self.learner or [
            {
                "learn/kl": 0.01,
                "learn/explained_variance": 0.8,
                "learn/value_loss": 0.1,
                "learn/clip_fraction": 0.1,
                "learn/learning_rate": 1e-3,
                "learn/entropy": 4.0,
                "learn/action_std": 0.5,
                "learn/gradient_norm": 0.8,
                "learn/skipped_steps": 0.0,
                "physics/contact_overflows": 0.0,
                "physics/constraint_overflows": 0.0,
                "physics/penetration": 0.008,
                "reward/per_step": 0.03 + 1e-4 * i,
            }
            for i in range(20)
        ]

    def _episodes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        step, ended = np.zeros((self.ticks, self.rows), int), np.zeros((self.ticks, self.rows), bool)
        fallen, self.episode = ended.copy(), step.copy()
        self.steps_left = np.full((self.ticks, self.rows), 10**6)
        for row in range(self.rows):
            at, number = (row * 37) % LONGEST, 0
            for tick in range(self.ticks):
                at += 1
                falls = self.fall(row, number)
                step[tick, row], self.episode[tick, row] = at, number
                if falls is not None:
                    self.steps_left[tick, row] = max(0, falls - at)
                fallen[tick, row] = falls is not None and at >= falls
                ended[tick, row] = fallen[tick, row] or at >= LONGEST
                if ended[tick, row]:
                    at, number = 0, number + 1
        return step, ended, fallen

    def store(self) -> Store:
        """A store that has received all of it, in pieces of 50 ticks."""
        store = Store()
        store.feed(schema(self.rows))
        self.feed(store)
        return store

    def feed(self, store: Store, collect: Callable[[Store], None] | None = None) -> None:
        """Send what the subscriptions of all panels would bring; `collect` is called as often as a panel refreshes."""
        ids = {f"{c}.{n}": i for i, (c, n, *_) in enumerate(COLUMNS)}
        self.sent = [self.columns[f"{c}.{n}"].astype(dtype) for c, n, _, dtype in COLUMNS]
        subs = dict(enumerate(self._subs(ids)))
        for number, sub in subs.items():
            store.subscribed(number, sub)
        for event in (self._ends(), *self.events):
            store.feed({"t": "event", **event})
        for start in range(0, self.ticks, 5):
            for number, sub in subs.items():
                if sub.kind == "trace" and start % 50 == 0:
                    store.feed(self._trace(number, sub, range(start, min(start + 50, self.ticks))))
                elif sub.kind == "values":
                    store.feed(self._values(number, sub, start))
                elif sub.kind == "column" and start % 50 == 0:
                    store.feed(self._column(number, sub, start))
                elif sub.kind == "vitals" and start % 50 == 0:
                    store.feed(self._vitals(number, sub, range(start, min(start + 50, self.ticks), 2)))
                elif sub.kind == "timing" and start % 50 == 0:
                    store.feed(self._timing(number, start))
            if collect is not None:
                collect(store)
        for iteration, values in enumerate(self.learner):
            store.feed({"t": "data", "kind": "learner", "sub": 99, "values": values, "iteration": iteration})

    def _subs(self, ids: Mapping[str, int]) -> list[Subscription]:
        rows = tuple(range(min(self.rows, 32)))
        cursors = ("Episode.step", "MotionCursor.clip", "MotionCursor.time")
        feet = ("Contact.touching", "BodyState.linear_velocity", "MotionReference.body_position", "TerrainTile.origin")
        traced = [("Action.value",), ("DofState.velocity",), feet]
        shown = ("Observation.actor", "Episode.step", "Rollout.action", "Rollout.mean", "Reward.terms", "Reward.total")
        return [
            *(Subscription("trace", tuple((ids[n], None) for n in names), rows, 2.0) for names in traced),
            Subscription("values", tuple((ids[n], None) for n in shown), rows[:16], 10.0),
            Subscription("values", tuple((ids[n], None) for n in cursors), rows, 1.0),
            *(Subscription("column", ((ids["Reward.terms"], (i,)),), (), 1.0) for i in range(len(TERMS))),
            Subscription("vitals", (), rows, 1.0),
            Subscription("timing", (), (), 1.0),
        ]

    def _ends(self) -> dict[str, Any]:
        """Event that lists the ends of episodes, as a run sends them."""
        tick, row = self.columns["Done.ended"].nonzero()
        cursor = {"step": "Episode.step", "clip": "MotionCursor.clip", "time": "MotionCursor.time"}
        found = {"tick": tick, "row": row, "reason": self.columns["Done.reason"][tick, row].argmax(-1)}
        found |= {name: self.columns[column][tick, row].astype(np.float32) for name, column in cursor.items()}
        fields = {name: pack_array(array) for name, array in found.items()}
        return {"kind": "reset", "tick": 0, "row": None, "text": "", "fields": fields}

    def _trace(self, number: int, sub: Subscription, ticks: range) -> dict[str, Any]:
        rows = list(sub.rows)
        ends = self.columns["Done.ended"][:, rows]
        moments = [(tick, second) for tick in ticks for second in ((False, True) if ends[tick].any() else (False,))]
        at, second = np.array([tick for tick, _ in moments]), np.array([later for _, later in moments])[:, None]
        cols = []
        for column, _ in sub.columns:
            samples = self.sent[column][at][:, rows]
            if COLUMNS[column][:2] in (("Episode", "step"), ("MotionCursor", "time")):
                samples = np.where(second & ends[at], 0, samples)
            cols.append([column, *pack_array(samples.reshape(len(at), len(rows), -1).astype(np.float32))])
        packed = {"at": pack_array(at), "ended": pack_array(ends[at] & ~second)}
        return {"t": "data", "sub": number, "kind": "trace", "ticks": [ticks[0], ticks[-1]], "cols": cols, **packed}

    def _values(self, number: int, sub: Subscription, tick: int) -> dict[str, Any]:
        rows = list(sub.rows)
        cols = [[c, *pack_array(np.ascontiguousarray(self.sent[c][tick, rows]))] for c, _ in sub.columns]
        return {"t": "data", "sub": number, "kind": "values", "ticks": [tick, tick], "cols": cols, "rows": rows}

    def _column(self, number: int, sub: Subscription, tick: int) -> dict[str, Any]:
        ((column, labels),) = sub.columns
        assert labels is not None
        cols = [[column, *pack_array(np.ascontiguousarray(self.sent[column][tick, :, labels[0]]))]]
        return {"t": "data", "sub": number, "kind": "column", "ticks": [tick, tick], "cols": cols}

    def _vitals(self, number: int, sub: Subscription, ticks: range) -> dict[str, Any]:
        values = self.vitals[list(ticks)][:, list(sub.rows)].astype(np.float16)
        packed = {"at": pack_array(np.array(list(ticks))), "values": pack_array(values)}
        return {"t": "data", "sub": number, "kind": "vitals", "ticks": [ticks[0], ticks[-1]], "cols": [], **packed}

    def _timing(self, number: int, tick: int) -> dict[str, Any]:
        seconds = np.array(self.seconds, np.float32)
        more = {"seconds": pack_array(seconds), "calls": pack_array(np.ones(len(seconds), np.int32))}
        return {
            "t": "data",
            "sub": number,
            "kind": "timing",
            "ticks": [tick, tick],
            "tick_seconds": self.tick_seconds,
            **more,
        }
