"""The tracking scene under a debugger: what is shown is what was, edits reach the simulator, and looking changes nothing."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.protocol.framing import unpack_array
from engine.snapshot.snapshot import save
from tests.engine.inspected import History, Live, unpacked
from tests.exactness.test_motion_tracking import tracking
from tests.helpers import tracking as tracking_experiment

ROOT, SPEED, TORQUE, TERMS, DONE, REASON = (
    "robot.RootState.position", "robot.RootState.linear_velocity", "robot.DofTorque.value", "robot.Reward.terms",
    "robot.Done.ended", "robot.Done.reason",
)  # fmt: skip
ROW = 3


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="server", dir="/tmp") as name:
        yield Path(name)


def test_a_fall_is_shown_with_its_pose_torques_and_rewards_and_told_with_clip_and_time(folder: Path) -> None:
    view = tracking_experiment(robot="humanoid", clip="squat,wave").display
    simulation = tracking(control="P")
    history = History(simulation)
    with Live(simulation, folder, pace=0.03, view=view) as live:
        client = live.client()
        shown = [ROOT, TORQUE, TERMS, DONE]
        client.sub("values", *shown, rows=[ROW, 0])
        client.sub("trace", *shown, rows=[ROW])
        client.ask("pause")
        client.ask("set", **client.set(ROOT, [ROW], [3.0], [2]))  # higher than any clip
        client.data.clear()
        client.ask("step", unit="tick", count=1)
        client.drain()
        tick = live.world.clock.tick
        was, now = history.finish[tick], history.end[tick]
        assert was[DONE][ROW] and was[ROOT][ROW, 2] > 2.0 > now[ROOT][ROW, 2]
        trace = client.frames("trace")[-1]
        assert unpack_array(trace["at"]).tolist() == [tick, tick]
        assert unpack_array(trace["ended"]).tolist() == [[True], [False]]
        for address in shown:
            found = unpacked(trace, address, client)
            np.testing.assert_array_equal(found[0].reshape(-1), was[address][ROW].reshape(-1))
            np.testing.assert_array_equal(found[1].reshape(-1), now[address][ROW].reshape(-1))
        live_frame = next(f for f in client.frames("values") if unpack_array(f["finish"]).any())
        assert unpack_array(live_frame["finish"]).tolist() == [True, bool(was[DONE][0])]
        for address in shown:
            np.testing.assert_array_equal(unpacked(live_frame, address, client)[0], was[address][ROW])
        event = next(e for e in client.events if e["kind"] == "reset" and e["tick"] == tick)
        arrays = {name: unpack_array(event["fields"][name]) for name in ("row", "reason", "step", "clip", "time")}
        place = arrays["row"].tolist().index(ROW)
        assert was[REASON][ROW, arrays["reason"][place]]
        roles = view.roles
        for name, role in (("step", "episode_step"), ("clip", "clip"), ("time", "clip_time")):
            assert arrays[name][place] == np.float32(was[roles[role]][ROW].item())


def test_mujoco_goes_on_from_an_edit(folder: Path) -> None:
    with Live(tracking(), folder) as live:
        client = live.client()
        client.ask("pause")
        client.ask("step", unit="tick", count=2)
        while live.column(DONE)[[ROW, 0]].any():
            client.ask("step", unit="tick", count=1)
        before = live.column(ROOT)
        client.ask("set", **client.set(SPEED, [ROW], [1.5], [0]))
        client.ask("step", unit="tick", count=1)
        moved = live.column(ROOT)[:, 0] - before[:, 0]
        assert not live.column(DONE)[ROW]
        assert moved[ROW] == pytest.approx(1.5 * 0.02, rel=0.5) and abs(moved[0]) < 0.02


def test_a_training_that_was_looked_at_in_every_way_reaches_the_same_bytes(folder: Path) -> None:
    plain, watched = tracking(control="P"), tracking(control="P")
    with Live(watched, folder, history=(5, 1 << 28)) as live:
        client = live.client()
        client.sub("values", ROOT, TORQUE)
        client.sub("vitals", rows=[0, 1])
        client.sub("trace", (ROOT, [2]), rows=[0, 1, 2])
        client.ask("pause")
        client.ask("step", unit="tick", count=14)
        tick = live.world.clock.tick
        client.ask("break", when=f"{ROOT}[z] > 50", at="after observe")
        client.ask("seek", tick=tick - 12)  # after a learning iteration
        client.ask("seek", tick=tick - 3)
        client.ask("live")
        client.ask("step", unit="phase", count=3)
        client.ask("step", unit="system", count=5)
        client.ask("step", unit="tick", count=2)
        client.ask("seek", tick=tick)
        client.ask("live")
        client.ask("step", unit="tick", count=12)
        plain.run(live.world.clock.tick + 1)
        assert save(plain.world) == save(live.world)
