"""The scenes captured: which systems are replayed together, in how many launches, to the same bytes as when each is called."""

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from components.command import Command
from components.episode import Done, Rewritten
from components.learning import Policy
from engine import Simulation, build
from engine.capture.capture import Capture, capture_for
from engine.capture.cpu_recorder import CpuRecorder
from engine.capture.segments import always
from engine.ecs.component import info
from engine.ecs.condition import AnyRow
from engine.snapshot.snapshot import restore, save
from scenes import velocity
from tests.helpers import tracking

SMALL: dict[str, Any] = {"robot": "humanoid", "num_envs": 6, "hidden": (8,), "horizon": 8}
TICKS = 48
WARP = pytest.mark.skipif(find_spec("mujoco_warp") is None, reason="MuJoCo Warp is not installed")


def made(scene: str, backend: str = "mujoco", device: str = "cpu", **more: Any) -> Simulation:
    """A scene with few rows, in which episodes are short and pushes frequent; masks decide nothing, as on a GPU."""
    given = {"backend": backend, **SMALL, **more}
    if scene == "velocity":
        experiment = velocity.experiment(velocity.CONFIGS["laptop"].replace(**given))
    else:
        drawn = {"randomise": "extra,gains,mjlab_tracking"} if scene == "randomised" else {}
        experiment = tracking(clip="squat", **drawn, **given)
    often = {"randomization.push.interval": "(0.1, 0.2)", "randomization.draw_first_push.interval": "(0.02, 0.2)"}
    if scene == "velocity":
        often |= {"commands.draw_commands.interval": "(0.1, 0.3)", "task.terminate.time_limit.steps": "12"}
        often["episode.spread_episodes.steps"] = "12"
    simulation = build(experiment.train(), seed=3, device=device, overrides=often)
    always(simulation.schedule)
    return simulation


def captured(simulation: Simulation, ticks: int) -> Capture:
    """Run so many ticks with a recorder."""
    capture = Capture(simulation, CpuRecorder(), say=lambda sentence: None)
    with capture.attached():
        simulation.run(ticks)
    return capture


def ends(capture: Capture) -> list[tuple[str, str, int]]:
    """First and last system of each recording, and its launches."""
    return [(r.entries[0].name, r.entries[-1].name, len(r.launches or ())) for r in capture.captured.values()]


@pytest.mark.parametrize(
    ("scene", "segments"),
    [
        ("tracking", [
            ("act", "act"), ("remember_velocity", "aim_around_reference"), ("derive_tracked_state", "reset_earned"), ("derive_tracked_state", "observe"),
        ]),
        ("velocity", [
            ("act", "act"), ("remember_velocity", "aim_around_default"), ("derive_contacts", "reset_earned"), ("derive_contacts", "observe"),
        ]),
    ],
)  # fmt: skip
def test_around_a_simulator_on_the_host_a_tick_is_four_segments_with_the_same_bytes(
    scene: str, segments: list[tuple[str, str]]
) -> None:
    plain, other = made(scene), made(scene)
    ended = pushed = asked = -6  # the first tick counts for none
    for _ in range(TICKS):
        plain.run()
        ended += int(plain.world[Done].ended.sum())
        pushed += int((plain.world[Rewritten].rows & ~plain.world[Done].ended).sum())
        asked += int(plain.world[Command].due.sum()) if scene == "velocity" else 6
    assert ended > 0 and pushed > 0 and asked > 0
    capture = captured(other, TICKS)
    assert save(plain.world) == save(other.world)
    every_tick = [(first, last, 1) for first, last in segments]
    assert ends(capture)[:4] == every_tick
    assert ("improve_policy", "flush_metrics" if scene == "tracking" else "flush_measurements", 1) in ends(capture)
    names = {sentence.split("`")[1] for sentence in capture.sentences}
    assert names == {"begin_physics", "step_physics", "refresh_kinematics", "restart_physics", "estimate_advantage"}
    assert (
        "`step_physics` (STEP) is called, not replayed: the simulator reads and writes host memory. Once"
        in capture.sentences[1]
    )


@WARP
@pytest.mark.slow
@pytest.mark.parametrize(("scene", "last"), [("tracking", "observe"), ("velocity", "observe")])
def test_around_a_simulator_on_the_device_a_tick_is_three_launches_with_the_same_bytes(scene: str, last: str) -> None:
    plain, other = made(scene, "warp"), made(scene, "warp")
    plain.run(TICKS)
    capture = captured(other, TICKS)
    assert save(plain.world) == save(other.world)
    assert ends(capture)[0] == ("act", last, 3)
    assert [sentence.split("`")[1] for sentence in capture.sentences] == ["estimate_advantage"]
    found = capture.report()
    assert 3.0 <= found["capture/launches"] <= 3.3 and found["capture/eager_systems"] < 0.2


FRESH = """
from tests.scenes.test_captured import captured, ends, made
simulation = made("tracking", "warp")
capture = captured(simulation, 8)
print(ends(capture), [sentence.split("`")[1] for sentence in capture.sentences], capture.report())
"""


@WARP
@pytest.mark.slow
def test_in_a_process_that_has_run_nothing_yet_a_tick_is_three_launches_too() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    report = "{'capture/eager_ticks': 4, 'capture/launches': 3.0, 'capture/eager_systems': 0.0}"
    assert done.stdout.splitlines()[-1] == f"[('act', 'observe', 3)] ['estimate_advantage'] {report}"


@WARP
@pytest.mark.slow
def test_fields_that_are_drawn_anew_for_rows_that_start_over_are_called() -> None:
    plain, other = made("randomised", "warp"), made("randomised", "warp")
    plain.run(20)
    capture = captured(other, 20)
    assert save(plain.world) == save(other.world)
    assert ends(capture)[0][2] == 3 and "vary_model" in {sentence.split("`")[1] for sentence in capture.sentences}


def test_a_captured_training_goes_on_from_a_snapshot_to_the_same_bytes() -> None:
    whole = made("tracking")
    captured(whole, 12)
    kept = save(whole.world)
    captured(whole, 20)
    other = made("tracking")
    restore(other.world, kept)
    capture = captured(other, 20)
    assert save(other.world) == save(whole.world) and capture.report()["capture/launches"] > 2.9


def test_the_update_that_is_replayed_learns() -> None:
    simulation = made("tracking")
    capture = captured(simulation, 25)  # updates at 8 and 16 are compared, that at 24 is recorded
    (update,) = (r for r in capture.captured.values() if r.entries[0].name == "improve_policy")
    before = simulation.world[Policy].parameters.clone()
    assert update.launches is not None
    for launch in update.launches:
        launch()
    assert not torch.equal(before, simulation.world[Policy].parameters)


@pytest.mark.parametrize("scene", ["tracking", "velocity", "randomised"])
def test_a_system_that_looks_at_a_mask_leaves_state_alone_where_no_row_is_set(scene: str) -> None:
    drawn = {"randomise": "extra,gains,mjlab_tracking"} if scene == "randomised" else {}
    experiment = (
        velocity.experiment(velocity.CONFIGS["laptop"].replace(**SMALL))
        if scene == "velocity"
        else tracking(clip="squat", **drawn, **SMALL)
    )
    simulation = build(experiment.train(), seed=3)
    simulation.run(12)
    world, schedule = simulation.world, simulation.schedule
    masks = [entry for entry in schedule.plan() if isinstance(entry.when, AnyRow)]
    assert len(masks) > 10
    for (_, cls), item in world.components.items():
        if cls in (Done, Rewritten, Command):
            for name in info(cls).columns:
                if getattr(item, name).dtype == torch.bool:
                    getattr(item, name).zero_()
    state = [
        (f"{cls.__name__}.{name}", getattr(item, name))
        for (_, cls), item in world.components.items()
        if info(cls).lifetime == "state"
        for name in info(cls).columns
    ]
    for entry in masks:
        before = [column.clone() for _, column in state]
        with torch.no_grad():
            entry.call()
        changed = [name for (name, column), old in zip(state, before, strict=True) if not torch.equal(column, old)]
        assert changed == [], entry.place


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("asked", "launches"), [("on", 3.0), ("whole", 1.0)])
def test_on_a_gpu_a_tick_is_three_launches_or_one_and_waits_for_nothing(asked: str, launches: float) -> None:
    simulation = made("tracking", "warp", "cuda")
    capture = capture_for(simulation, asked, print)
    assert capture is not None
    with capture.attached():
        simulation.run(25)  # updates are at 8, 16 and 24
        capture.report()
        torch.cuda.set_sync_debug_mode("error")
        try:
            simulation.run(7)  # up to the next update, whose advantages gather rows
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert capture.report() == {"capture/eager_ticks": 0, "capture/launches": launches, "capture/eager_systems": 0.0}
    assert [sentence.split("`")[1] for sentence in capture.sentences] == ["estimate_advantage"]
    assert all(column.isfinite().all() for column in simulation.world.columns().values() if column.is_floating_point())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_a_replayed_tick_is_close_to_one_of_calls() -> None:
    ends = []
    for asked in ("off", "on"):
        simulation = made("tracking", "warp", "cuda")
        capture = capture_for(simulation, asked, print)
        if capture is None:
            simulation.run(10)
        else:
            with capture.attached():
                simulation.run(10)
        ends.append({name: column.cpu() for name, column in simulation.world.columns().items()})
    for name in ("robot.Done.ended", "robot.Episode.step", "robot.Action.value"):
        torch.testing.assert_close(ends[1][name], ends[0][name], atol=1e-3, rtol=0.0)
