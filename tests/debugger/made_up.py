"""A made-up run for tests of panels: its schema, frames that fill a store, and a control that notes what it is asked."""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.panel import Panel
from engine.protocol.display import Figure, Limb, View
from engine.protocol.framing import pack_array
from tests.debugger.fake_scene import FakeColumn, fake_component, fake_schema

TREE = (("pelvis", -1), ("left_knee", 0), ("left_ankle", 1), ("right_knee", 0), ("right_ankle", 3), ("head", 0))
STANDING = np.array(
    [(0, 0, 0.9), (0, 0.1, 0.5), (0, 0.1, 0.1), (0, -0.1, 0.5), (0, -0.1, 0.1), (0, 0, 1.4)], np.float32
)
TRACKED = (0, 2, 4)
AXES = {
    "dof": ("left_hip", "left_knee_joint", "left_ankle"),
    "sensed": ("pelvis", "left_ankle", "right_ankle", "head"),
}
COLUMNS = {  # component.column: axes, shape, dtype, unit
    "BodyState.position": ((6, 3), (6, 3), "float32", "m"),
    "BodyState.rotation": ((6, 4), (6, 4), "float32", ""),
    "ContactForce.force": (("sensed", 3), (4, 3), "float32", "N"),
    "MotionReference.body_position": ((3, 3), (3, 3), "float32", "m"),
    "DofState.position": (("dof",), (3,), "float32", "rad"),
    "Reward.total": ((), (), "float32", "1"),
    "Episode.step": ((), (), "int64", ""),
    "MotionCursor.clip": ((), (), "int64", ""),
    "MotionCursor.time": ((), (), "float32", "s"),
    "Done.terminated": ((), (), "bool", ""),
    "RootState.linear_velocity": ((3,), (3,), "float32", "m/s"),
    "NextClip.asked": ((), (), "bool", ""),
}
IDS = {name: number for number, name in enumerate(COLUMNS)}
FIGURE = Figure(
    table="robot",
    name="stick",
    bodies=[Limb(name, parent, 0.05) for name, parent in TREE],
    position="robot.BodyState.position",
    rotation="robot.BodyState.rotation",
    reference="robot.MotionReference.body_position",
    tracked=TRACKED,
    threshold=0.25,
    force="robot.ContactForce.force",
    root="robot.BodyState.position",
)


@cache
def whole_schema(rows: int, figure: bool) -> dict[str, Any]:
    """The schema with all columns."""
    described: dict[str, dict[str, FakeColumn]] = {}
    for name, (axes, _, dtype, unit) in COLUMNS.items():
        owner, _, column = name.partition(".")
        described.setdefault(owner, {})[column] = FakeColumn(axes, dtype, unit)
    limits = {"robot.DofState.position": [(-2.0, 2.0)] * 3}
    return fake_schema(
        [fake_component(name, columns) for name, columns in described.items()],
        [],
        rows=rows,
        axes=AXES,
        phases=("STEP",),
        name="made_up",
        identity={"clips": ["walk_07", "wave"]},
        view=View([FIGURE] if figure else [], limits=limits, dt=0.02),
    )


def make_schema(rows: int = 4, figure: bool = True, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The schema of a run with one table 'robot'; `without` leaves columns out, whose ids then stay free."""
    schema = copy.deepcopy(whole_schema(rows, figure))
    for component in schema["tables"][0]["components"]:
        component["columns"] = [c for c in component["columns"] if f"{component['name']}.{c['name']}" not in without]
    for body in (body for each in schema["figures"] for body in each["bodies"]):
        body["length"] = 0.2
    return schema


class Asked:
    """A control that only notes what a panel asks for."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.selected: list[int] = []

    def send(self, message: dict[str, Any], then: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Note it."""
        self.sent.append(message)

    def select(self, row: int) -> None:
        """Note it."""
        self.selected.append(row)

    def show(self, panel_title: str) -> None:
        """Nothing."""

    def plot(self, column_id: int, label: int) -> None:
        """Nothing."""


def make_store(rows: int = 4, **schema: Any) -> Store:
    """A store that knows the schema and nothing else."""
    store = Store()
    store.feed(make_schema(rows, **schema))
    assert store.bad == 0 and store.columns
    return store


def feed_values(store: Store, tick: int, values: Mapping[str, Any], row: int = 0, finish: bool = False) -> None:
    """A frame of poses: values of one row by 'Component.column'."""
    cols = []
    for name, value in values.items():
        _, shape, dtype, _ = COLUMNS[name]
        cols.append([IDS[name], *pack_array(np.asarray(value, np.dtype(dtype)).reshape(1, *shape))])
    store.feed(_data("pose", 1, tick, tick) | {"cols": cols, "rows": [row], "finish": pack_array(np.array([finish]))})
    assert store.bad == 0


def feed_trace(
    store: Store,
    name: str,
    label: int,
    ticks: list[int],
    values: list[float],
    row: int = 0,
    ended: tuple[int, ...] = (),
) -> None:
    """A trace of one number; `ended` are places of the samples that were taken as the episode ended."""
    sub = Subscription("trace", ((IDS[name], (label,)),), (row,), 20.0)
    store.subscribed(2, sub)
    done = np.zeros((len(ticks), 1), bool)
    done[list(ended)] = True
    array = np.asarray(values, np.float32).reshape(-1, 1, 1)
    store.feed(
        _data("trace", 2, ticks[0], ticks[-1])
        | {
            "cols": [[IDS[name], *pack_array(array)]],
            "rows": [row],
            "at": pack_array(np.array(ticks, np.int64)),
            "ended": pack_array(done),
        }
    )
    assert store.bad == 0


def feed_column(store: Store, name: str, label: int | None, tick: int, values: Any) -> None:
    """A frame of one number of all rows."""
    sub = Subscription("column", ((IDS[name], None if label is None else (label,)),), (), 5.0)
    store.subscribed(3, sub)
    array = np.asarray(values, np.float32)
    store.feed(_data("column", 3, tick, tick) | {"cols": [[IDS[name], *pack_array(array)]]})
    assert store.bad == 0


def _data(kind: str, sub: int, first: int, last: int) -> dict[str, Any]:
    return {"t": "data", "sub": sub, "seq": 1, "kind": kind, "ticks": [first, last], "view": None, "lost": 0}


def picture_of(panel: Panel) -> np.ndarray:
    """What a panel looks like, (height, width, 3) uint8."""
    image = panel.grab().toImage().convertToFormat(panel.grab().toImage().Format.Format_RGB888)
    raw = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return raw[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()
