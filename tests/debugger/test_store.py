"""What was received can be read back, and nothing that is received makes the store fail."""

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.debugger.model.frames import SAMPLES, Band, TraceRing
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import Subscription
from engine.protocol.display import View
from engine.protocol.framing import pack_array
from tests.debugger.fake_scene import FakeColumn, FakeSystem, fake_component, fake_schema


def make_schema(rows: int = 4, dofs: int = 3, roles: dict[str, str] | None = None) -> dict[str, Any]:
    dof = {"position": FakeColumn(("dof",), unit="rad"), "step": FakeColumn(dtype="int64")}
    body = {"position": FakeColumn(("body", 3)), "rotation": FakeColumn(("body", 4)), "other": FakeColumn((2,))}
    return fake_schema(
        [fake_component("Dof", dof), fake_component("Body", body, "derived")],
        [FakeSystem("step", "STEP", ("Body",), ("Dof",)), FakeSystem("derive", "STEP", ("Dof",), ("Body",))],
        rows=rows,
        axes={"dof": [f"joint_{i}" for i in range(dofs)], "body": ("hip", "foot")},
        phases=("STEP",),
        view=View(roles=roles or {}),
    )


@pytest.fixture
def store() -> Store:
    made = Store(clock=lambda: 0.0)
    made.feed(make_schema())
    assert made.bad == 0
    return made


def trace(
    ticks: list[int], values: list[float], ended: list[bool] | None = None, sub: int = 1, **more: Any
) -> dict[str, Any]:
    count = len(ticks)
    return {
        "t": "data",
        "kind": "trace",
        "sub": sub,
        "seq": 0,
        "ticks": [ticks[0], ticks[-1]],
        "lost": 0,
        "rows": [2],
        "at": pack_array(np.array(ticks, np.int64)),
        "ended": pack_array(np.array(ended or [False] * count)[:, None]),
        "cols": [[0, *pack_array(np.array(values, np.float32).reshape(count, 1, 1))]],
    } | more  # fmt: skip


def values(tick: int, column: int, array: np.ndarray, rows: list[int], **more: Any) -> dict[str, Any]:
    return {"t": "data", "kind": "values", "sub": 9, "ticks": [tick, tick], "rows": rows, "cols": [[column, *pack_array(array)]]} | more  # fmt: skip


def test_columns_know_their_labels_writers_and_readers(store):
    assert store.columns[0].labels == ("joint_0", "joint_1", "joint_2")
    assert store.columns[1].labels == ("",)
    assert store.columns[2].labels == ("hip.x", "hip.y", "hip.z", "foot.x", "foot.y", "foot.z")
    assert store.columns[3].labels[:4] == ("hip.w", "hip.x", "hip.y", "hip.z")
    assert store.columns[4].labels == ("0", "1")
    assert store.columns[0].writers == ("step",) and store.columns[0].readers == ("derive",)
    assert store.by_address["robot.Body.rotation"] == 3 and store.columns[3].is_quaternion


def test_the_latest_value_of_a_row_is_read_in_the_shape_of_its_column(store):
    array = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    store.feed(values(7, 2, array, [3, 1], finish=pack_array(np.array([False, True]))))
    tick, value, finish = store.value(2, 1)
    assert (tick, finish) == (7, True) and value.tolist() == array[1].tolist()
    assert store.value(2, 0) is None and store.value(0, 1) is None


def test_an_episode_that_ends_breaks_the_line_behind_its_last_sample(store):
    store.subscribed(1, Subscription("trace", ((0, (1,)),)))
    store.feed(trace([5, 6, 6, 7], [0.1, 0.2, 0.3, 0.4], [False, True, False, False]))
    ticks, numbers, breaks = store.trace(0, 1, 2)
    assert ticks.tolist() == [5, 6, 6, 7] and breaks.tolist() == [False, False, True, False]
    assert np.allclose(numbers, [0.1, 0.2, 0.3, 0.4])


def test_a_row_whose_episode_goes_on_has_one_sample_a_tick(store):
    store.subscribed(1, Subscription("trace", ((0, (1,)),)))
    store.feed(trace([5, 6, 6, 7], [0.1, 0.2, 0.3, 0.4]))
    assert store.trace(0, 1, 2)[0].tolist() == [5, 6, 7]
    assert np.allclose(store.trace(0, 1, 2)[1], [0.1, 0.3, 0.4])


def test_lost_frames_break_the_line(store):
    store.subscribed(1, Subscription("trace", ((0, (1,)),)))
    store.feed(trace([5, 6], [0.1, 0.2]))
    store.feed(trace([9, 10], [0.3, 0.4]))
    store.feed(trace([11], [0.5], lost=2))
    assert store.trace(0, 1, 2)[2].tolist() == [False, False, True, False, True]


def test_two_subscriptions_of_one_number_do_not_mix(store):
    for number in (1, 2):
        store.subscribed(number, Subscription("trace", ((0, (1,)),)))
    store.feed(trace([5, 6], [0.1, 0.2], sub=1))
    store.feed(trace([5, 6, 7], [0.1, 0.2, 0.3], sub=2))
    store.feed(trace([7, 8], [0.3, 0.4], sub=1))
    assert store.trace(0, 1, 2)[0].tolist() == [5, 6, 7, 8]


def test_a_run_that_goes_back_overwrites_its_future(store):
    store.subscribed(1, Subscription("trace", ((0, (1,)),)))
    store.feed(trace([5, 6, 7, 8], [1, 2, 3, 4]))
    store.feed(trace([7, 8], [30, 40]))
    ticks, numbers, breaks = store.trace(0, 1, 2)
    assert ticks.tolist() == [5, 6, 7, 8] and numbers.tolist() == [1, 2, 30, 40]
    assert breaks.tolist() == [False, False, True, False]


def test_looking_back_reads_what_the_run_sent_else_traces_else_nothing(store):
    store.subscribed(1, Subscription("trace", ((1, None),)))
    frame = trace(
        [5, 6, 6], [1, 2, 3], [False, True, False], cols=[[1, *pack_array(np.array([1, 2, 3]).reshape(3, 1, 1))]]
    )
    store.feed(frame)
    store.feed(values(8, 1, np.array([80]), [2]))
    store.cursor = 6
    assert store.value(1, 2)[0] == 6 and int(store.value(1, 2)[1]) == 2 and store.value(1, 2)[2]
    store.cursor = 4
    assert store.value(1, 2) is None
    store.feed(values(8, 1, np.array([40]), [2], view=4))
    assert int(store.value(1, 2)[1]) == 40
    store.cursor = None
    assert int(store.value(1, 2)[1]) == 80


def test_a_run_that_stands_at_an_earlier_tick_does_not_erase_later_ones(store):
    for tick in (10, 20):
        store.feed(values(tick, 1, np.array([tick]), [0]))
    store.feed({"t": "state", "mode": "viewing", "tick": 15, "view": 15})
    store.feed(values(15, 1, np.array([15]), [0]))
    store.cursor = 15
    assert int(store.value(1, 0)[1]) == 15
    store.cursor = None
    assert int(store.value(1, 0)[1]) == 20 and [held[0] for held in store.values.history(0)[1]] == [10, 20]


def test_until_the_run_answers_what_came_shortly_before_is_shown_with_its_tick(store):
    for tick in (10, 20):
        store.feed(values(tick, 1, np.array([tick]), [0]))
    store.cursor = 15
    assert store.value(1, 0)[0] == 10
    store.feed(values(20, 1, np.array([15]), [0], view=15))
    assert store.value(1, 0)[0] == 15
    store.cursor = 60
    assert store.value(1, 0) is None


def test_frames_of_all_rows_make_a_band_of_what_is_finite(store):
    store.subscribed(1, Subscription("column", ((0, (1,)),)))
    frame = {"t": "data", "kind": "column", "sub": 1, "ticks": [3, 3]}
    store.feed(frame | {"cols": [[0, *pack_array(np.array([1, 2, 3, np.nan], np.float32))]]})
    tick, numbers = store.frame(0, 1)
    assert tick == 3 and np.isnan(numbers[3])
    assert [float(part[0]) for part in store.band(0, 1)] == pytest.approx([3, 2, 1.1, 2.9])
    store.feed(frame | {"ticks": [4, 4], "cols": [[0, *pack_array(np.full(4, np.nan, np.float32))]]})
    assert np.isnan(store.band(0, 1)[1][1])
    store.feed(frame | {"cols": [[0, *pack_array(np.zeros(3, np.float32))]]})
    assert store.bad == 1


def test_a_scalar_is_found_whichever_way_it_is_asked_for(store):
    store.subscribed(1, Subscription("column", ((1, (0,)),)))
    store.feed(
        {"t": "data", "kind": "column", "sub": 1, "ticks": [3, 3], "cols": [[1, *pack_array(np.ones(4, np.float32))]]}
    )
    assert store.frame(1, None) is not None and store.frame(1, 0) is not None


def test_timing_has_median_and_p95_of_what_came_lately(store):
    for part in range(1, 101):
        seconds = pack_array(np.array([part, 1.0], np.float32))
        store.feed(
            {"t": "data", "kind": "timing", "sub": 1, "ticks": [part, part], "seconds": seconds, "tick_seconds": 0.1}
        )
    assert store.timing["median"].tolist() == pytest.approx([50.5, 1.0])
    assert store.timing["p95"][0] == pytest.approx(95.05) and len(store.timing["history"]) == 100
    store.feed(
        {
            "t": "data",
            "kind": "timing",
            "sub": 1,
            "ticks": [1, 1],
            "seconds": pack_array(np.zeros(5, np.float32)),
            "tick_seconds": 0.1,
        }
    )
    assert store.bad == 1


def test_learner_values_are_kept_once_per_iteration(store):
    for iteration, value in ((1, 0.1), (2, 0.2), (2, 0.3)):
        store.feed({"t": "data", "kind": "learner", "sub": 1, "iteration": iteration, "values": {"kl": value}})
    assert store.learner == [(1, {"kl": 0.1}), (2, {"kl": 0.3})]


def test_black_boxes_are_joined_without_overlap(store):
    for first in (0, 2):
        at = np.arange(first, first + 4)
        box = np.stack([at, at * 10], 1)[:, None].astype(np.float16)
        store.feed(
            {
                "t": "data",
                "kind": "vitals",
                "sub": 1,
                "ticks": [0, 9],
                "rows": [3],
                "at": pack_array(at),
                "values": pack_array(box),
            }
        )
    ticks, numbers = store.boxes.rows[3]
    assert ticks.tolist() == [0, 1, 2, 3, 4, 5] and numbers[:, 1].tolist() == [0, 10, 20, 30, 40, 50]


def test_another_schema_keeps_what_still_exists(store):
    store.subscribed(1, Subscription("trace", ((0, (1,)),)))
    store.feed(trace([5, 6], [1, 2]))
    store.feed(values(5, 2, np.zeros((1, 2, 3), np.float32), [0]))
    changed = make_schema()
    changed["tables"][0]["components"][1]["columns"][0]["name"] = "place"
    store.feed(changed)
    assert len(store.trace(0, 1, 2)[0]) == 2 and store.value(2, 0) is None


def test_what_is_kept_is_found_under_the_numbers_of_the_new_schema(store):
    store.subscribed(1, Subscription("trace", ((0, (1,)),)))
    store.feed(trace([5, 6], [1, 2]))
    store.picked, address = (0, 1), store.columns[0].address
    changed = make_schema()
    column = {**changed["tables"][0]["components"][0]["columns"][0], "name": "newcomer", "id": 0}
    for component in changed["tables"][0]["components"]:
        for each in component["columns"]:
            each["id"] += 1
    changed["tables"][0]["components"][0]["columns"].insert(0, column)
    store.feed(changed)
    assert store.by_address[address] == 1 and store.picked == (1, 1)
    assert len(store.trace(1, 1, 2)[0]) == 2 and not len(store.trace(0, 1, 2)[0])


def branch(tick: int) -> dict:
    return {"t": "event", "kind": "edit", "tick": tick, "text": "me: branch", "fields": {"what": "branch"}}


def test_what_came_after_the_tick_of_a_branch_has_not_happened(store):
    store.subscribed(1, Subscription("trace", ((0, (1,)),)))
    store.subscribed(2, Subscription("trace", ((0, (1,)),)))
    store.feed(trace([5, 6, 7, 8, 9], [1, 2, 3, 4, 5]))
    store.feed({"t": "event", "kind": "nonfinite", "tick": 5, "row": 0, "text": "early"})
    store.feed({"t": "event", "kind": "nonfinite", "tick": 8, "row": 0, "text": "given up"})
    store.feed(branch(6))
    assert store.trace(0, 1, 2)[0].tolist() == [5, 6]
    store.feed({**trace([6, 7], [2, 30]), "sub": 2})  # asked for anew meanwhile
    ticks, values, _ = store.trace(0, 1, 2)
    assert ticks.tolist() == [5, 6, 7] and values.tolist() == [1, 2, 30]
    store.feed({"t": "event", "kind": "nonfinite", "tick": 8, "row": 0, "text": "again"})
    assert [event["text"] for event in store.happened()] == ["again", "me: branch", "early"]
    assert len(store.events) == 4


def test_resets_of_other_rows_do_not_fill_the_log(store):
    for row in (None, 3, 0):
        store.feed({"t": "event", "kind": "reset", "tick": 1, "row": row, "text": f"of {row}"})
    store.feed({"t": "event", "kind": "break", "tick": 2, "row": 3, "text": "hit"})
    assert [note[3] for note in store.notes] == ["of 0", "hit"] and len(store.events) == 4


def test_what_happens_before_the_first_tick_is_of_no_tick(store):
    store.feed({"t": "event", "kind": "control", "tick": None, "text": "me holds control."})
    assert [note[2] for note in store.notes] == [None]


def test_iterations_do_not_bury_what_was_done_in_the_log(store):
    store.feed({"t": "event", "kind": "edit", "tick": 1, "text": "me: set a.b"})
    for number in range(3000):
        store.feed({"t": "event", "kind": "iteration", "tick": number, "text": f"iteration {number}"})
    assert [note[3] for note in store.notes] == ["me: set a.b"]


def test_a_run_that_is_stuck_keeps_its_tick_and_says_in_what(store):
    store.feed({"t": "state", "mode": "running", "tick": 7, "history": [0, 7]})
    store.feed(
        {"t": "state", "mode": "running", "tick": None, "why": "in act for 41 s", "stuck": 41.0, "stack": ["act"]}
    )
    store.feed({"t": "event", "kind": "control", "tick": None, "text": "taken"})
    assert (store.state["tick"], store.state["why"], store.state["history"]) == (7, "in act for 41 s", [0, 7])
    assert store.events[-1]["tick"] == 7
    store.feed({"t": "state", "mode": "running", "tick": 8})
    assert "stuck" not in store.state and store.bad == 0


def test_roles_lead_to_columns(store):
    named = {"reward_total": "robot.Dof.step", "reward_terms": "robot.Gone.x"}
    store.feed(make_schema(roles=named))
    assert store.role("reward_total").id == 1 and store.role("reward_terms") is None and store.role("clip") is None


# -- whatever comes -------------------------------------------------------------------------------------

GOOD = [
    make_schema(),
    trace([5, 6, 6, 7], [0.1, 0.2, 0.3, 0.4], [False, True, False, False]),
    values(7, 2, np.zeros((1, 2, 3), np.float32), [1], finish=pack_array(np.array([True])), view=None),
    {"t": "data", "kind": "timing", "sub": 1, "ticks": [1, 1], "seconds": pack_array(np.ones(2, np.float32)), "tick_seconds": 0.1},
    {"t": "data", "kind": "column", "sub": 1, "ticks": [1, 1], "labels": [0], "cols": [[0, *pack_array(np.ones(4, np.float32))]]},
    {"t": "data", "kind": "learner", "sub": 1, "iteration": 3, "values": {"kl": 0.1}},
    {"t": "event", "kind": "reset", "tick": 3, "row": None, "text": "", "fields": {}},
    {"t": "state", "mode": "running", "tick": 3, "history": [0, 3], "view": None},
    {"t": "hello", "run": {"scene": "x"}},
]  # fmt: skip
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.just([]),
    st.just({}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, part in inside for found in places(part, (*path, key))]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_frame_with_anything_in_any_place_never_raises(data):
    store = Store()
    store.feed(make_schema())
    store.subscribed(1, Subscription("trace", ((0, (1,)),)))
    for message in data.draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=4)):
        broken = copy.deepcopy(message)
        path = data.draw(st.sampled_from(places(broken)))
        holder = broken
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = data.draw(PLAIN)
        store.feed(broken)
        for column in store.columns.values():
            for row in (0, 1, 2):
                store.value(column.id, row)
                store.trace(column.id, 0, row)
    for good in GOOD:
        before = store.bad
        store.feed(good)
        assert store.bad == before


# -- rings ----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=30))
def test_a_ring_holds_the_last_samples_in_order(sizes):
    ring, kept, tick = TraceRing(), [], 0
    for size in sizes:
        ticks = np.arange(tick, tick + size)
        ring.append(ticks, ticks * 0.5, np.zeros(size, bool), "a")
        kept += ticks.tolist()
        tick += size
    ticks, numbers, breaks = ring.read()
    assert ticks.tolist() == kept[-SAMPLES:] and np.array_equal(numbers, ticks * 0.5) and not breaks.any()


def test_a_band_forgets_its_oldest_frames_when_it_is_full():
    band = Band()
    for tick in range(SAMPLES + 10):
        band.append(tick, np.array([float(tick)]))
    ticks, median, _, _ = band.read()
    assert ticks[-1] == SAMPLES + 9 and len(ticks) == SAMPLES and np.array_equal(ticks, median)
