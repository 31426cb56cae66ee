"""Subscriptions: what is sent equals the columns, rows that ended show how, nothing is lost unsaid, and it costs little."""

from pathlib import Path

import numpy as np
import torch

from engine.inspect.subscription import LARGEST, TRACE_BYTES, RateLimiter, make_plan
from engine.protocol.framing import pack_data, unpack_array
from engine.protocol.messages import SubscribeRequest
from scenes import cartpole
from tests.engine.inspected import History, Live, paused_toy, toy, unpacked

POSITION, DISTANCE, ENDED, BEGAN = (
    "point.Point.position", "point.Distance.value", "point.Ended.rows", "point.Walk.began",
)  # fmt: skip


# -- frames --------------------------------------------------------------------------------------------


def test_frames_of_a_run_that_stands_equal_the_columns(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        client.sub("values", POSITION, BEGAN, ENDED, rows=[6, 0, 3])
        client.sub("pose", POSITION, rows=[1])
        client.sub("column", (POSITION, [1]), rows=[])
        client.sub("column", POSITION, rows=[])
        client.sub("column", ENDED, rows=[])
        client.ask("step", unit="tick", count=3)
        client.drain()
        tick = live.world.clock.tick
        values = client.frames("values")[-1]
        assert values["ticks"] == [tick, tick] and values["rows"] == [6, 0, 3] and values["view"] is None
        for address in (POSITION, BEGAN, ENDED):
            found = unpacked(values, address, client)
            np.testing.assert_array_equal(found, live.column(address)[[6, 0, 3]])
            assert found.dtype == live.column(address).dtype
        np.testing.assert_array_equal(unpacked(client.frames("pose")[-1], POSITION, client), live.column(POSITION)[[1]])
        label, norm, truth = (unpack_array(frame["cols"][0][1:]) for frame in client.frames("column")[-3:])
        np.testing.assert_array_equal(label, live.column(POSITION)[:, 1])
        np.testing.assert_allclose(norm, np.hypot(*live.column(POSITION).T), rtol=1e-6)
        assert truth.dtype == np.float32 and truth.tolist() == live.column(ENDED).tolist()


def test_rows_that_ended_are_sent_as_they_ended(folder: Path) -> None:
    simulation = toy()
    history = History(simulation)
    with Live(simulation, folder, pace=0.02) as live:
        client = live.client()
        client.sub("values", POSITION, DISTANCE, rows=list(range(8)))
        client.until(lambda: sum(unpack_array(f["finish"]).any() for f in client.frames("values")) >= 3)
        for frame in client.frames("values"):
            tick, finish = frame["ticks"][1], unpack_array(frame["finish"])
            np.testing.assert_array_equal(finish, history.finish[tick][ENDED] if tick in history.finish else False)
            for address in (POSITION, DISTANCE):
                shown = unpacked(frame, address, client)
                np.testing.assert_array_equal(shown[finish], history.finish[tick][address][finish])
                np.testing.assert_array_equal(shown[~finish], history.end[tick][address][~finish])
        ended = next(f for f in client.frames("values") if unpack_array(f["finish"]).any())
        assert (unpacked(ended, DISTANCE, client)[unpack_array(ended["finish"])] > 1).all()


def test_a_trace_has_every_tick_and_rows_that_ended_twice(folder: Path) -> None:
    simulation = toy()
    history = History(simulation)
    with Live(simulation, folder) as live:
        client = live.client()
        client.sub("trace", (POSITION, [1]), DISTANCE, rows=[2, 5])
        client.until(lambda: len(client.frames("trace")) > 10)
        client.ask("pause")
        client.drain()
        frames = client.frames("trace")
        assert all(frame["lost"] == 0 and frame["rows"] == [2, 5] for frame in frames)
        at = np.concatenate([unpack_array(frame["at"]) for frame in frames])
        ended = np.concatenate([unpack_array(frame["ended"]) for frame in frames])
        y, distance = (np.concatenate([unpacked(f, a, client) for f in frames]) for a in (POSITION, DISTANCE))
        assert y.shape == distance.shape == (len(at), 2, 1) and ended.shape == (len(at), 2)
        assert sorted(set(at.tolist())) == list(range(at[0], live.world.clock.tick + 1))
        assert ended.any()
        for place, tick in enumerate(at.tolist()):
            first = place + 1 < len(at) and at[place + 1] == tick
            source = (history.finish if first else history.end)[tick]
            assert ended[place].any() == first
            if first:
                np.testing.assert_array_equal(ended[place], source[ENDED][[2, 5]])
            np.testing.assert_array_equal(y[place, :, 0], source[POSITION][[2, 5], 1])
            np.testing.assert_array_equal(distance[place, :, 0], source[DISTANCE][[2, 5]])


def test_timing_is_of_whole_ticks_also_where_a_run_stands_inside_one(folder: Path) -> None:
    with paused_toy(folder) as (_live, client):
        client.sub("timing", rows=[])
        client.ask("step", unit="tick", count=4)
        for _ in range(3):
            client.ask("step", unit="system", count=3)
        client.ask("run")
        client.until(lambda: len(client.frames("timing")) > 2)
        for frame in client.frames("timing"):
            first, last = frame["ticks"]
            calls = dict(zip(client.systems, unpack_array(frame["calls"]).tolist(), strict=True))
            assert calls["wander"] == 2 * calls["stray"] == 2 * (last - first + 1)


def test_timing_learner_and_vitals_say_what_the_run_says(folder: Path) -> None:
    simulation = toy()
    history = History(simulation)
    with Live(simulation, folder) as live:
        client = live.client()
        client.sub("timing", rows=[])
        client.sub("learner", rows=[])
        client.sub("vitals", rows=[1, 4])
        live.inspector.iteration(7, {"iteration": 7, "loss": 0.5, "kl": float("nan")})
        client.until(lambda: client.frames("learner") and len(client.frames("timing")) > 2 and client.frames("vitals"))
        learner = client.frames("learner")
        assert len(learner) == 1 and learner[0]["iteration"] == 7 and learner[0]["values"]["loss"] == 0.5
        timing = client.frames("timing")[-1]
        first, last = timing["ticks"]
        calls = dict(zip(client.systems, unpack_array(timing["calls"]).tolist(), strict=False))
        assert calls["wander"] == 2 * (last - first + 1) and calls["mark"] == 0
        seconds = unpack_array(timing["seconds"])
        assert seconds.dtype == np.float32 and 0 < seconds.sum() < timing["tick_seconds"] * 3
        vitals = client.frames("vitals")[-1]
        at, values = unpack_array(vitals["at"]), unpack_array(vitals["values"])
        assert values.dtype == np.float16 and values.shape == (len(at), 2, 2)
        expected = np.stack([history.finish[tick][POSITION][[1, 4]] for tick in at.tolist()])
        np.testing.assert_array_equal(values, expected.astype(np.float16))
        client.send("unsub")
        assert live.inspector.publisher._black_box is not None
        client.connection.send({"t": "unsub", "id": 3})
        client.until(lambda: live.inspector.publisher._black_box is None)


def test_selecting_rows_moves_what_follows_the_selection(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        client.sub("values", POSITION)
        client.sub("values", POSITION, rows=[2])
        client.connection.send({"t": "select", "rows": [7, 1]})
        client.ask("step", unit="tick", count=1)
        client.drain()
        rows = {tuple(frame["rows"]) for frame in client.frames("values")[-2:]}
        assert rows == {(7, 1), (2,)}
        moved = next(frame for frame in reversed(client.frames("values")) if frame["rows"] == [7, 1])
        np.testing.assert_array_equal(unpacked(moved, POSITION, client), live.column(POSITION)[[7, 1]])


def test_large_frames_are_sent_only_while_the_run_stands(folder: Path) -> None:
    with Live(toy(rows=LARGEST // 4 + 1), folder) as live:
        client = live.client()
        no = client.sub("column", DISTANCE, rows=[])
        assert no["t"] == "sub_no" and no["code"] == "over_budget"
        assert no["text"] == f"{LARGEST + 4} bytes in a frame are more than {LARGEST}; pause the run, or ask for less."
        client.ask("pause")
        assert client.sub("column", DISTANCE, rows=[])["bytes"] == LARGEST + 4
        client.ask("step", unit="tick", count=1)
        client.until(lambda: client.frames("column"))
        tick = client.ask("run")["tick"]
        client.until(lambda: live.world.clock.tick > tick + 20)
        client.drain()
        assert all(frame["ticks"][1] <= tick for frame in client.frames("column"))
        client.data.clear()
        client.ask("pause")
        client.until(lambda: client.frames("column"))


# -- what cannot be kept -------------------------------------------------------------------------------


def test_a_trace_that_nobody_fetches_keeps_the_newest_and_counts_the_others() -> None:
    simulation = toy(rows=64)
    plan = make_plan(
        simulation, "point", SubscribeRequest(id=1, kind="trace", columns=((0, None),), hz=20.0), range(64)
    )
    assert plan.num_bytes == 64 * 2 * 4
    most = TRACE_BYTES // (plan.num_bytes + 16)
    for tick in range(most + 100):
        plan.after_tick(tick)
    first = plan.message(0)
    assert first is not None and first["lost"] == 100 and first["ticks"][0] == 100
    assert sum(len(array[-1]) for array in pack_data(first)["cols"]) <= LARGEST
    ticks = [first["ticks"]]
    while (frame := plan.message(0)) is not None:
        assert frame["lost"] == 0
        ticks.append(frame["ticks"])
    assert [b[0] for b in ticks[1:]] == [a[1] + 1 for a in ticks[:-1]] and ticks[-1][1] == most + 99


def test_rows_that_a_table_does_not_have_and_columns_without_values_do_no_harm(folder: Path) -> None:
    simulation = toy()
    plan = make_plan(simulation, "point", SubscribeRequest(id=1, kind="vitals", columns=(), hz=20.0), [0, 7, 4096])
    assert plan.rows.tolist() == [0, 7]
    with Live(toy(), folder) as live:
        client = live.client()
        client.sub("values", POSITION, rows=[])
        client.sub("trace", rows=[0])
        client.sub("values", rows=[0])
        client.until(lambda: len(client.frames("values")) > 2 and client.frames("trace"))


def test_a_subscription_that_fails_ends_alone(folder: Path) -> None:
    with Live(toy(), folder) as live:
        client = live.client()
        client.sub("values", POSITION, rows=[0])
        client.until(lambda: client.frames("values"))
        client.rates.clear()
        next(iter(live.inspector.publisher.clients.values()))[1].columns[0].alias = np.zeros((0, 2), np.float32)
        client.until(lambda: client.rates)
        assert client.rates[0]["t"] == "sub_no" and "IndexError" in client.rates[0]["text"]
        client.sub("values", POSITION, rows=[0])
        client.data.clear()
        client.until(lambda: client.frames("values"))


def test_the_columns_of_a_real_task_arrive_at_its_rate(folder: Path) -> None:
    from engine import build

    with Live(build(cartpole.experiment(num_envs=16).train()), folder) as live:
        client = live.client()
        angle, reward = "cart.Cart.angle", "cart.Reward.terms"
        client.sub("values", angle, reward, rows=[3])
        client.ask("pause")
        client.ask("step", unit="tick", count=5)
        client.drain()
        frame = client.frames("values")[-1]
        for address in (angle, reward):
            np.testing.assert_array_equal(unpacked(frame, address, client), live.column(address)[[3]])


# -- the governor --------------------------------------------------------------------------------------


def test_the_governor_slows_down_what_costs_most_and_gives_it_back() -> None:
    simulation = toy()
    cheap, dear = (
        make_plan(simulation, "point", SubscribeRequest(id=n, kind="values", columns=((0, None),), hz=hz), [0])
        for n, hz in ((1, 60.0), (2, 40.0))
    )
    governor, now = RateLimiter(budget=0.005), 100.0
    cheap.framed(1e-5)
    dear.framed(1e-3)
    # Of a tick of 10 ms 50 µs may be used: 0.6 · 10 µs + 0.05 · 1 ms are 56 µs, and 0.025 · 1 ms are 25 µs.
    assert governor.adjust([cheap, dear], 0.01, now) == [dear]
    assert (cheap.hz, dear.hz) == (60.0, 2.5)
    assert governor.adjust([cheap, dear], 0.01, now + 0.5) == []
    assert governor.adjust([cheap, dear], 0.01, now + 1.0) == []  # 56 µs would be too much again
    assert governor.adjust([cheap, dear], 0.01, now + 2.0, others=0.002) == [dear]  # 30 µs are left, 31 are used
    assert dear.hz == 1.25
    for _ in range(200):
        dear.framed(1e-6)
    for later in range(3, 20):
        governor.adjust([cheap, dear], 0.01, now + later)
    assert (cheap.hz, dear.hz) == (60.0, 40.0)
    assert governor.adjust([cheap, dear], 0.01, now + 20.0) == []


def test_rates_above_that_of_ticks_are_halved_from_there() -> None:
    plan = make_plan(toy(), "point", SubscribeRequest(id=1, kind="values", columns=((0, None),), hz=30.0), [0])
    plan.framed(1e-3)
    RateLimiter(budget=0.006).adjust([plan], 0.1, 100.0)  # 10 ticks a second, 0.6 ms of each
    assert plan.hz == 5.0


def test_clients_are_told_the_rate_that_they_get(folder: Path) -> None:
    with Live(toy(), folder) as live:
        live.inspector.publisher.limiter = RateLimiter(budget=1e-9, settle=0.05)
        client = live.client()
        client.sub("values", POSITION, rows=list(range(8)))
        client.until(lambda: client.rates[-1]["hz"] == 0.5)
        assert [rate["hz"] for rate in client.rates] == [60.0, 0.5]
        live.inspector.publisher.limiter.budget = 100.0
        client.until(lambda: client.rates[-1]["hz"] == 60.0)


def test_the_norm_of_a_column_is_that_of_its_rows() -> None:
    simulation = toy(rows=3)
    simulation.world.columns()[POSITION].copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-5.0, 12.0]]))
    plan = make_plan(simulation, "point", SubscribeRequest(id=1, kind="column", columns=((0, None),), hz=5.0), [])
    frame = plan.message(0)
    assert frame is not None and plan.num_bytes == 12
    assert unpack_array(pack_data(frame)["cols"][0][1:]).tolist() == [5.0, 0.0, 13.0]
