"""A run under a debugger: what nobody pays, stopping, stepping, breaks, time travel, and that nothing gets into a tick."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.ecs.schedule import Observer
from engine.inspect import server
from engine.inspect.publisher import EVENT_EVERY
from engine.protocol.framing import unpack_array
from engine.recording.recorder import FiniteCheck
from engine.snapshot.snapshot import save
from tests.debugger.fuzz import MOST_GROWTH, fuzz
from tests.engine.inspected import Client, History, Live, paused_toy, toy
from tests.engine.server_clients import until

POSITION, DISTANCE, ENDED = "point.Point.position", "point.Distance.value", "point.Ended.rows"
TICK = ["wander", "dawdle", "wander", "dawdle", "measure", "stray"]
"""The systems of a tick in which no row ends."""


# -- nobody there --------------------------------------------------------------------------------------


def test_nobody_attached_costs_one_if_and_wakes_no_thread(folder: Path) -> None:
    live = Live(toy(), folder)
    hook, began = live.simulation.schedule.observers[0].before_tick, time.thread_time()
    assert hook is not None
    for _ in range(20_000):
        hook()
    assert (time.thread_time() - began) / 20_000 < 2e-6  # 0.1 µs on an idle machine
    live.simulation.run(50)
    assert live.server.sockets.wakes == 0
    assert [each.before_tick for each in live.simulation.schedule.observers] == [hook]
    assert all(each.at_finish is each.after_tick is None for each in live.simulation.schedule.observers)
    live.inspector.close()
    assert live.simulation.schedule.observers == []


def test_attaching_and_detaching_leaves_the_observers_as_they_were(folder: Path) -> None:
    with Live(toy(), folder) as live:
        before = live.observers()
        client = live.client()
        client.ask("break", when=f"{DISTANCE} > 99", at="before measure")
        client.ask("pause")
        client.ask("step", unit="system", count=3)
        assert live.observers() != before
        client.ask("run")
        client.close()
        until(lambda: live.inspector.ring is None)
        assert live.observers() == before and not live.inspector.breakpoints.known


# -- stopping ------------------------------------------------------------------------------------------


def test_a_pause_is_answered_once_the_run_stands_and_the_state_says_so(folder: Path) -> None:
    with Live(toy(), folder) as live:
        client = live.client()
        answer = client.ask("pause")
        tick = live.world.clock.tick
        time.sleep(0.1)
        assert live.world.clock.tick == tick == answer["tick"]
        assert client.state.get("mode") == "paused" and client.state["why"] == "asked for" and client.next is None
        assert client.state["history"][1] == tick and client.state["exact"] is True
        assert client.ask("pause")["tick"] == tick
        client.ask("run")
        client.until(lambda: client.state.get("mode") == "running" and client.state.get("tick") > tick)
        assert client.refused("step", unit="tick", count=1)[0] == "not_paused"


def test_where_the_run_stands_is_said_before_the_answer_to_what_led_there(folder: Path) -> None:
    with paused_toy(folder) as (_, client):
        commands = [("step", {"unit": "system", "count": 1}), ("step", {"unit": "phase", "count": 1}), ("step", {"unit": "tick"}),
                    ("seek", None), ("live", {}), ("seek", None), ("branch", {})]  # fmt: skip
        for kind, fields in commands * 5:
            goal = client.state["tick"] - 1
            answer = client.answer(client.send(kind, **({"tick": goal} if fields is None else fields)))
            assert answer["t"] == "ok", answer
            state = {name: client.state[name] for name in ("mode", "tick", "next", "substep", "view")}
            client.drain()
            assert state == {name: client.state[name] for name in state}, kind
            assert state["tick"] == answer["tick"] and state["mode"] == ("viewing" if kind == "seek" else "paused")


def test_ticks_are_stepped_one_by_one_and_many_at_once(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        tick = live.world.clock.tick
        assert client.ask("step", unit="tick", count=1)["tick"] == tick + 1
        assert client.ask("step", unit="tick", count=7)["tick"] == tick + 8 == live.world.clock.tick
        assert client.next is None and client.state.get("mode") == "paused"


def due(live: Live) -> list[str]:
    """The systems of the next tick, if no row ends in it and it does not learn."""
    return TICK + (["flush"] if (live.world.clock.tick + 1) % 5 == 0 else [])


def at_home(live: Live, client: Client) -> None:
    """Have every row stay where it starts, whatever it did before the run was stopped."""
    still(live, client)
    rows = len(live.column(POSITION))
    client.ask("set", **client.set(POSITION, list(range(rows)), np.zeros((rows, 2), np.float32)))


def still(live: Live, client: Client) -> None:
    """Have no row end for a while."""
    client.ask("set", address="toy.wander.step", value="0.0", reason="")
    while live.world.clock.tick % 5 != 0:
        client.ask("step", unit="tick", count=1)


def test_systems_are_stepped_exactly_across_repetitions_and_the_ends_of_ticks(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        still(live, client)
        ran: list[str] = []
        live.simulation.schedule.attach(Observer(after_entry=lambda entry: ran.append(entry.name)))
        seen = []
        for count in range(1, 7):
            client.ask("step", unit="system", count=1)
            seen.append((client.next, client.state["substep"]))
            assert len(ran) == count
        assert ran == TICK
        assert seen == [("dawdle", 0), ("wander", 1), ("dawdle", 1), ("measure", 0), ("stray", 0), (None, 0)]
        client.ask("step", unit="system", count=8)  # a whole tick, and two of the next
        assert ran == TICK * 2 + TICK[:2] and client.next == "wander" and client.state["substep"] == 1
        client.ask("step", unit="tick", count=1)  # what is left of this one
        assert ran == TICK * 3 and client.next is None
        client.ask("step", unit="system", count=2)
        client.ask("step", unit="tick", count=2)
        assert ran == TICK * 5 + ["flush"][: len(ran) - len(TICK) * 5]


def test_phases_are_stepped_one_repetition_at_a_time(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        still(live, client)
        client.ask("step", unit="phase", count=1)
        assert (client.next, client.state["substep"]) == ("wander", 1)
        client.ask("step", unit="phase", count=1)
        assert client.next == "measure"
        client.ask("step", unit="system", count=1)
        client.ask("step", unit="phase", count=1)  # the rest of SENSE
        assert client.next is None
        tick = live.world.clock.tick
        client.ask("step", unit="phase", count=4)  # a tick has three
        assert (client.next, client.state["substep"], live.world.clock.tick) == ("wander", 1, tick + 2)


def test_run_to_a_system_goes_round_and_run_to_a_tick_ends_behind_it(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        still(live, client)
        tick = live.world.clock.tick
        wander = client.systems.index("wander")
        places = []
        for _ in range(3):
            client.ask("run_to", system=wander, tick=None)
            places.append((live.world.clock.tick, client.state["substep"]))
        assert places == [(tick + 1, 0), (tick + 1, 1), (tick + 2, 0)]
        assert client.ask("run_to", system=None, tick=tick + 9)["tick"] == tick + 9
        assert client.next is None and client.state["why"] == "run_to"
        code, text = client.refused("run_to", system=None, tick=tick)
        assert code == "bad_message" and text == f"The run is at tick {tick + 9}; tick {tick} has passed, seek it."


def test_run_to_the_tick_that_runs_ends_behind_it(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        still(live, client)
        client.ask("step", unit="system", count=3)
        tick = live.world.clock.tick
        assert client.next == "dawdle"
        assert client.ask("run_to", tick=tick)["tick"] == tick
        assert client.next is None and live.world.clock.tick == tick
        assert client.refused("run_to", tick=tick)[0] == "bad_message"


def test_a_step_that_is_overtaken_by_run_is_answered_too(folder: Path) -> None:
    with paused_toy(folder) as (_live, client):
        number = client.send("run_to", system=client.systems.index("mark"), tick=None)  # never runs again
        time.sleep(0.1)
        client.ask("run")
        assert client.answer(number)["code"] == "busy"


def test_a_run_goes_on_when_its_debugger_has_gone_and_waits_if_told_to_stay(folder: Path) -> None:
    with paused_toy(folder, patience=0.3) as (live, client):
        tick = live.world.clock.tick
        before = len(live.observers())
        client.close()
        until(lambda: live.world.clock.tick > tick)
        until(lambda: len(live.observers()) < before)
    with paused_toy(folder, patience=0.1, stay=True) as (live, client):
        tick = live.world.clock.tick
        client.close()
        time.sleep(0.6)
        assert live.world.clock.tick == tick
        again = live.client(name="again")
        again.ask("run")
        again.until(lambda: live.world.clock.tick > tick)


def test_a_run_that_nobody_waits_for_any_more_is_let_go_before_it_gets_there(folder: Path) -> None:
    with Live(toy(), folder, patience=0.5) as live:
        before = live.observers()
        client = live.client()
        client.ask("pause")
        client.send("run_to", system=0)  # of the first tick, which does not come again
        client.until(lambda: client.state["mode"] == "running")
        client.close()
        until(lambda: not live.server.attached)
        time.sleep(0.2)
        assert live.inspector.steps.wanted, "it may come back, as after a dropped connection"
        until(lambda: live.inspector.ring is None)
        assert live.observers() == before and not live.inspector.steps.wanted


def test_a_debugger_that_comes_to_a_run_that_was_left_paused_sees_that_it_stands(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        client.close()
        until(lambda: not live.server.attached)
        time.sleep(1.0)  # two states go by
        other = live.client("observe", "other")
        other.until(lambda: other.state)
        assert other.state["mode"] == "paused"


def test_a_run_that_is_asked_to_end_does_not_wait_for_its_debugger(folder: Path) -> None:
    live = Live(toy(), folder)
    live.thread.start()
    client = live.client()
    client.ask("pause")
    live.run.over.set()
    live.over.set()
    live.thread.join(2.0)
    assert not live.thread.is_alive() and live.error is None
    live.inspector.close()


# -- breaks --------------------------------------------------------------------------------------------


def test_a_break_between_systems_stops_there_and_names_row_label_column_and_writer(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        at_home(live, client)
        client.ask("set", **client.set(POSITION, [5], [0.7], [1]))
        client.ask("break", when=f"{POSITION} > 0.5", at="before stray")
        client.ask("run")
        event = client.event("break")
        client.until(lambda: client.state.get("mode") == "paused")
        assert client.next == "stray"
        assert (event["row"], event["column"], event["system"]) == (5, POSITION, "wander")
        assert event["fields"]["label"] == "1" and event["fields"]["rows"] == [5] and event["fields"]["count"] == 1
        assert event["text"] == (f"break: {POSITION} > 0.5 hit at row 5, 1, written by wander; 1 of 8 rows")
        assert client.state["why"] == event["text"]


def test_a_break_without_a_condition_stops_whenever_the_run_comes_by(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        still(live, client)
        client.ask("break", when="", at="before stray")
        for _ in range(2):
            tick = live.world.clock.tick
            client.ask("run")
            event = client.event("break")
            client.until(lambda: client.state.get("mode") == "paused")
            assert client.next == "stray" and live.world.clock.tick == tick + 1
            assert event["text"] == client.state["why"] == "break: before stray"
            assert (event["row"], event["column"], event["system"]) == (None, None, None)
        number = client.ask("break", when=" ", at="tick")["break"]
        client.ask("run")
        client.until(lambda: client.state["why"] == "break: tick")
        client.ask("unbreak", **{"break": number})


def test_a_break_behind_a_system_stops_before_the_next_one(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        still(live, client)
        number = client.ask("break", when=f"any({DISTANCE} >= 0)", at="after measure")["break"]
        client.ask("run")
        client.until(lambda: client.state.get("mode") == "paused")
        assert client.next == "stray"
        client.ask("unbreak", **{"break": number})
        tick = live.world.clock.tick
        client.ask("run")
        client.until(lambda: live.world.clock.tick > tick + 3)


def test_a_break_at_a_tick_sees_rows_that_ended_before_they_start_over(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        client.ask("break", when=f"{DISTANCE} > 1")
        client.ask("run")
        event = client.event("break")
        client.until(lambda: client.state.get("mode") == "paused")
        assert client.next == "return_home"
        row = event["row"]
        assert live.column(DISTANCE)[row] > 1 and live.column(ENDED)[row]
        client.ask("step", unit="tick", count=1)
        assert live.column(DISTANCE)[row] == 0


def test_breaks_look_at_chosen_rows_skip_hits_and_hit_once_a_tick(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        at_home(live, client)
        tick = live.world.clock.tick
        client.ask("set", **client.set(POSITION, [5], [0.7], [1]))
        client.ask("break", when=f"{POSITION}[1] > 0.5", rows=[0, 1, 2])
        client.ask("break", when=f"{POSITION}[1] > 0.5", rows=[4, 5], skip=3)
        client.ask("run")
        client.until(lambda: client.state.get("mode") == "paused")
        assert live.world.clock.tick == tick + 4


@pytest.mark.parametrize(
    ("when", "rows", "label"),
    [
        (f"any({POSITION} > 0.5)", [2, 5], "1"),
        (f"count({POSITION}[1] > 0.5) > 0.2 * rows", [2, 5], ""),
        (f"any({POSITION} > 0.6) and max({DISTANCE}) > 0", [5], "1"),
        (f"any(changed({POSITION}))", [2, 5], "1"),
        (f"changed({POSITION})", [2, 5], "1"),
        (f"rate({POSITION}) > 0.1 and {DISTANCE} > 0.6", [5], "1"),
    ],
)
def test_a_break_about_the_whole_table_or_about_changes_names_the_rows_and_the_label_to_blame(
    when: str, rows: list[int], label: str, folder: Path
) -> None:
    with paused_toy(folder) as (live, client):
        at_home(live, client)
        client.ask("break", when=when, at="after measure")
        client.ask("step", unit="tick", count=1)
        client.ask("set", **client.set(POSITION, [2, 5], [0.55, 0.7], [1]))
        client.ask("run")
        event = client.event("break")
        assert event["fields"]["rows"] == rows and event["row"] == rows[0], event["text"]
        assert event["fields"]["count"] == len(rows) and event["fields"]["label"] == label
        assert event["text"].endswith(f"; {len(rows)} of 8 rows") and event["system"] == "wander"


def test_a_break_that_no_row_is_to_blame_for_names_none(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        at_home(live, client)
        client.ask("break", when=f"mean({DISTANCE}) < 0.5", at="after measure")
        client.ask("run")
        event = client.event("break")
        assert event["row"] is None and event["fields"]["rows"] == [] and event["fields"]["label"] == ""
        assert event["text"] == f"break: mean({DISTANCE}) < 0.5 hit, written by measure"


def test_a_mark_is_told_but_does_not_stop(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        client.ask("break", when=f"rate({POSITION}[0]) != 0", action="mark")
        client.ask("run")
        tick = live.world.clock.tick
        assert client.event("break")["column"] == POSITION
        began = time.monotonic()
        client.until(lambda: live.world.clock.tick > tick + 50)
        assert client.state.get("mode") == "running"
        events = len([e for e in client.events if e["kind"] == "break"])
        assert events <= (time.monotonic() - began) / EVENT_EVERY + 2  # not one for each tick


def test_what_is_kept_is_a_recording_in_the_run_folder(folder: Path, tmp_path: Path) -> None:
    with paused_toy(folder, folder=None) as (_live, client):
        assert client.refused("break", when=f"{DISTANCE} > 1", action="keep")[0] == "unsupported"
    with Live(toy(), folder) as live:
        live.run.folder = tmp_path
        client = live.client()
        client.ask("break", when=f"{DISTANCE} > 1", action="keep")
        until(lambda: [*tmp_path.glob("records/*_break.rec")])


@pytest.mark.parametrize(
    ("when", "more", "code"),
    [
        ("point.Point.positon > 1", {}, "bad_expression"),
        ("point.Point.position >", {}, "bad_expression"),
        (f"{POSITION} > 1", {"at": "before meassure"}, "bad_message"),
        (f"{POSITION} > 1", {"at": "after 99"}, "bad_message"),
    ],
)
def test_a_break_that_cannot_be_asked_is_refused(folder: Path, when: str, more: dict[str, str], code: str) -> None:
    with paused_toy(folder) as (_live, client):
        found, text = client.refused("break", when=when, **more)
        assert found == code and text


def test_a_value_that_is_not_finite_is_told_with_its_system_and_stops_where_a_break_asks_for_it(folder: Path) -> None:
    simulation = toy()
    wander = next(entry for entry in simulation.schedule.entries if entry.name == "wander")
    call = wander.call

    poison = -1

    def poisoned() -> None:
        call()
        if simulation.world.clock.tick == poison:
            simulation.world.columns()[POSITION][4, 1] = float("nan")

    wander.call = poisoned
    with paused_toy(folder, simulation=simulation) as (live, client):
        client.ask("break", when=f"nonfinite({POSITION})")
        poison = live.world.clock.tick + 20
        client.ask("run")
        client.until(lambda: client.state.get("mode") == "paused")
        assert client.state["tick"] == poison
        event = next(e for e in client.events if e["kind"] == "break")
        assert (event["row"], event["system"], event["fields"]["label"]) == (4, "wander", "1")
        client.ask("step", unit="tick", count=1)
        bad = client.event("nonfinite")
        assert (bad["row"], bad["column"], bad["fields"]["labels"]) == (4, POSITION, ["1"])
        assert "wander" in bad["text"]


def test_who_wrote_a_number_is_declared_and_once_seen_observed(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        number = client.ids[DISTANCE]
        answer = client.ask("provenance", column=number, label=None, row=0)
        assert answer["kind"] == "declared" and answer["writer"] == "measure" and answer["sources"] == ["Point"]
        assert answer["readers"] == ["stray"]
        client.ask("step", unit="system", count=5)
        answer = client.ask("provenance", column=number, label=None, row=0)
        assert (answer["kind"], answer["writer"], answer["tick"]) == ("observed", "measure", live.world.clock.tick)


def test_what_was_seen_of_writers_does_not_go_along_to_another_tick(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        number = client.ids[DISTANCE]
        client.ask("break", when=f"{DISTANCE} > 99", at="before measure")  # has every system looked at
        client.ask("step", unit="tick", count=3)
        tick = live.world.clock.tick
        assert client.ask("provenance", column=number, label=None, row=0)["kind"] == "observed"
        client.ask("seek", tick=tick - 2)
        answer = client.ask("provenance", column=number, label=None, row=0)
        assert (answer["kind"], answer["writer"], answer["tick"]) == ("declared", "measure", tick - 2)


# -- time ----------------------------------------------------------------------------------------------


def test_seeking_shows_the_same_bytes_and_a_run_that_comes_back_goes_on_undisturbed(folder: Path) -> None:
    plain, watched = toy(), toy()
    history = History(watched)
    with Live(watched, folder, history=(7, 1 << 26)) as live:
        client = live.client()
        client.until(lambda: client.state.get("history") and np.ptp(client.state["history"]) > 30)
        client.ask("break", when=f"{DISTANCE} > 99", at="before measure")
        client.ask("pause")
        present = live.world.clock.tick
        client.sub("values", POSITION, rows=[0, 3])
        for tick in (present - 5, present - 20, present - 11):
            client.data.clear()
            answer = client.ask("seek", tick=tick)
            assert answer == {"t": "ok", "id": answer["id"], "tick": tick, "exact": True}
            assert client.state.get("mode") == "viewing" and client.state["view"] == tick
            assert client.state["history"][1] == present
            for address, column in history.end[tick].items():
                np.testing.assert_array_equal(live.column(address), column)
            assert client.frames("values")[-1]["view"] == tick
        assert client.refused("step", unit="tick", count=1)[0] == "not_paused"
        first = client.state["history"][0]
        code, text = client.refused("seek", tick=present + 1)
        assert code == "out_of_history"
        assert text.startswith(f"Tick {present + 1} cannot be put in view, only {first} to {present}: the past is kept")
        assert client.ask("live")["tick"] == present and client.state.get("mode") == "paused"
        client.ask("step", unit="system", count=3)
        assert client.refused("seek", tick=present - 5)[0] == "not_paused"
        client.ask("step", unit="tick", count=1)
        client.ask("seek", tick=present - 3)
        client.ask("run")  # from the present
        client.until(lambda: live.world.clock.tick > present + 20)
        client.ask("pause")
        plain.run(live.world.clock.tick + 1)
        assert save(plain.world) == save(live.world)
        assert client.state["intervened"] == 0


def test_history_begins_with_the_first_tick_also_where_a_debugger_came_before_it(folder: Path) -> None:
    live = Live(toy(), folder)
    client = live.client()
    until(lambda: live.server.attached)
    with live:
        client.ask("pause")
        client.ask("step", unit="tick", count=3)
        assert client.state["history"] == [0, client.state["tick"]]
        assert client.refused("seek", tick=client.state["tick"] + 1)[1].startswith(
            f"Tick {client.state['tick'] + 1} cannot be put in view, only 0 to {client.state['tick']}: "
        )
        assert client.ask("seek", tick=0)["tick"] == 0


def test_rows_that_were_to_be_reset_are_not_in_the_past_that_a_run_goes_on_from(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        still(live, client)
        client.ask("step", unit="tick", count=10)
        tick = live.world.clock.tick
        client.ask("reset", rows=[3])
        client.ask("seek", tick=tick - 5)
        client.ask("branch")
        client.ask("step", unit="tick", count=2)
        assert (live.column("point.Walk.began") < tick - 5).all()


def test_a_seek_during_a_step_stops_the_step(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        start = live.world.clock.tick
        number = client.send("step", unit="tick", count=100_000)
        client.until(lambda: live.world.clock.tick > start + 5)
        client.ask("seek", tick=start)
        assert live.world.clock.tick == start and client.answer(number)["t"] == "ok"
        client.ask("live")


def test_a_branch_goes_on_from_the_tick_in_view_and_traces_begin_again(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        client.sub("trace", DISTANCE, rows=[0])
        client.sub("vitals", rows=[0])
        client.ask("step", unit="tick", count=30)
        tick = live.world.clock.tick
        client.ask("seek", tick=tick - 9)
        client.ask("branch")
        assert (
            live.run.continued == [tick - 9]
            and client.state.get("mode") == "paused"
            and client.state["intervened"] == 1
        )
        client.data.clear()
        client.ask("step", unit="tick", count=4)
        client.drain()
        at = [frame["ticks"] for frame in client.frames("trace")]
        assert at[0][0] == tick - 8 and at[-1][1] == tick - 5
        assert client.frames("vitals")[-1]["ticks"][1] <= tick - 5
        assert client.refused("branch")[0] == "out_of_history"


def test_a_mid_tick_edit_and_a_reset_are_seen_again_when_the_past_is_sought(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        still(live, client)
        client.ask("step", unit="system", count=2)
        client.ask("set", **client.set(POSITION, [2], [[0.25, 0.5]]))
        client.ask("step", unit="tick", count=1)
        edited, end = live.world.clock.tick, live.column(POSITION)
        assert end[2].tolist() == [0.25, 0.5]
        client.ask("reset", rows=[2])
        client.ask("step", unit="tick", count=1)
        assert live.column(POSITION)[2].tolist() == [0, 0]
        client.ask("step", unit="tick", count=3)
        client.ask("seek", tick=edited)
        np.testing.assert_array_equal(live.column(POSITION), end)
        client.ask("seek", tick=edited + 2)
        assert live.column(POSITION)[2].tolist() == [0, 0]
        client.ask("live")


# -- clients -------------------------------------------------------------------------------------------


def test_control_is_handed_over_and_an_observer_may_only_look(folder: Path) -> None:
    with Live(toy(), folder) as live:
        one = live.client(name="one")
        two = live.client(name="two")
        assert two.refused("pause")[0] == "not_controller"
        two.sub("values", POSITION)
        one.ask("pause")
        one.ask("control", do="release")
        two.ask("control", do="take")
        assert one.refused("run")[0] == "not_controller"
        two.ask("run")
        two.until(lambda: two.state["controller"] == "two" and two.state["mode"] == "running")
        assert one.refused("pause")[1].endswith("and two does; ask there to release it.")


def test_a_mistake_inside_a_command_is_an_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Live(toy(), folder) as live:
        client = live.client()

        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError("nobody thought of this")

        monkeypatch.setattr(type(live.inspector.editor), "set_constant", broken)
        code, text = client.refused("set", address="toy.wander.step", value="1", reason="")
        assert (code, text) == ("unsupported", "That failed: ZeroDivisionError: nobody thought of this")
        monkeypatch.setattr(FiniteCheck, "find", broken)
        assert "ZeroDivisionError" in client.event("warning")["text"]
        tick = live.world.clock.tick
        client.until(lambda: live.world.clock.tick > tick + 5)


def test_an_exception_in_a_system_is_told_before_the_run_ends(folder: Path) -> None:
    simulation = toy()
    entry = next(entry for entry in simulation.schedule.entries if entry.name == "measure")
    live = Live(simulation, folder)
    live.thread.start()
    client = live.client()
    client.ask("pause")

    def fail() -> None:
        raise ValueError("the floor is lava")

    entry.call = fail
    client.send("run")
    event = client.event("exception")
    assert event["text"] == "ValueError: the floor is lava" and event["system"] == "measure"
    assert "floor is lava" in event["fields"]["traceback"]
    live.thread.join(2.0)
    assert isinstance(live.error, ValueError)
    live.inspector.close()
    assert client.event("ended")["text"] == "The run has ended."


def test_a_reset_event_counts_reasons_and_tells_of_rows(folder: Path) -> None:
    simulation = toy(rows=3)
    history = History(simulation)
    with Live(simulation, folder, pace=0.06) as live:
        client = live.client()
        event = client.until(lambda: next((e for e in client.events if e["kind"] == "reset"), None))
        events = client.until(lambda: [e for e in client.events if e["kind"] == "reset"][1:])
        first = event["tick"]
        for event in events:
            fields, ticks = event["fields"], range(first + 1, event["tick"] + 1)
            ended = [(tick, row) for tick in ticks for row in np.flatnonzero(history.finish[tick][ENDED]).tolist()]
            assert fields["rows"] == len(ended) == sum(fields["reasons"].values())
            tick, row, reason, step = (
                unpack_array(fields[name]).tolist() for name in ("tick", "row", "reason", "step")
            )
            assert list(zip(tick, row, strict=True)) == ended
            assert reason == [history.finish[t]["point.Ended.side"][r].argmax() for t, r in ended]
            assert step == [t - history.end[t - 1]["point.Walk.began"][r] for t, r in ended]
            first = event["tick"]


def test_recording_is_switched_on_and_off_and_ends_when_nobody_is_left(folder: Path, tmp_path: Path) -> None:
    with Live(toy(), folder, folder=tmp_path) as live:
        before = live.observers()
        client = live.client()
        client.connection.send({"t": "select", "rows": [1, 5]})
        client.ask("record", on=True, content="trace")
        assert client.refused("record", on=True, content="trace")[0] == "busy"
        time.sleep(0.1)
        path = Path(client.ask("record", on=False, content="trace")["path"])
        assert path.parent == tmp_path / "records" and path.is_file()
        assert client.refused("record", on=False, content="trace")[0] == "bad_message"
        client.ask("record", on=True, content="trace")
        client.close()
        until(lambda: live.observers() == before)
        assert [*tmp_path.glob("records/*_end.rec")]


def test_random_commands_do_not_reach_the_tick(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with Live(toy(), folder, pace=0.0, patience=0.2) as live:
        client = live.client()
        kinds = [
            ("pause", {}), ("run", {}), ("live", {}), ("branch", {}), ("snapshot", {}), ("reset", {"rows": [1, 7]}),
            ("step", {"unit": "system", "count": 2}), ("step", {"unit": "phase", "count": 3}),
            ("step", {"unit": "tick", "count": 2}), ("run_to", {"system": 4, "tick": None}),
            ("break", {"when": f"{DISTANCE} > 0.9", "at": "before stray"}), ("unbreak", {"break": 1}),
            ("break", {"when": f"changed({ENDED})", "action": "pause"}),
            ("set", {"address": "toy.stray.limit", "value": "0.8", "reason": ""}),
            ("set", client.set(POSITION, [0, 3], [0.1])), ("set", client.set(ENDED, [0], [True])),
            ("record", {"on": True, "content": ""}), ("provenance", {"column": 0, "label": None, "row": 1}),
        ]  # fmt: skip
        for _ in range(400):
            kind, fields = kinds[rng.integers(len(kinds))]
            if rng.random() < 0.15:
                kind, fields = "seek", {"tick": max(0, live.world.clock.tick - int(rng.integers(0, 30)))}
            number = client.send(kind, **fields)
            if rng.random() < 0.3 and kind not in ("step", "run_to", "pause"):
                client.answer(number)
        for number in list(live.inspector.breakpoints.known):
            client.send("unbreak", **{"break": number})
        client.answer(client.send("run"))
        client.until(lambda: client.state.get("mode") == "running")
        assert torch.isfinite(live.world.columns()[POSITION]).all()


def test_frames_of_all_kinds_do_not_harm_a_run_that_trains() -> None:
    """A tenth of what tests/debugger/fuzz.py does."""
    outcome = fuzz(3_000, seed=1)
    assert outcome.growth < MOST_GROWTH and outcome.ticks > 0


def test_the_system_that_another_thread_is_in_is_named() -> None:
    simulation, inside, go_on = toy(), threading.Event(), threading.Event()

    def slow_system() -> None:
        inside.set()
        go_on.wait(5.0)

    simulation.run()  # the first tick leaves most systems out
    simulation.schedule.entries[1].call = slow_system
    thread = threading.Thread(target=simulation.run)
    thread.start()
    inside.wait(5.0)
    name, stack = server.stack_summary(thread.ident or 0)
    go_on.set()
    thread.join()
    assert name == "slow_system" and any("slow_system (inspect/test_inspector.py:" in line for line in stack)
    assert server.stack_summary(-1) == ("a thread that has ended", [])
