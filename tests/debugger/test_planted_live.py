"""Faults planted into a real training of the tracking scene, as a debugger on its socket hears of them."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from components.episode import Done
from components.motion import MotionCursor, MotionLibrary, MotionReference
from components.robot import BaseFrame, Motor, RobotDescription
from engine import Scene, System, Write, put_rows, system, term
from engine.debugger.diagnosis.finding import RuleFinding
from scenes import robots
from scenes.robots.humanoid import humanoid
from systems.reference import sample_reference
from tests.debugger.live import Live, steady
from tests.helpers import tracking, tracking_scene

SMALL: Mapping[str, Any] = {"robot": "humanoid", "num_envs": 16, "hidden": (16,), "physics_threads": 1}
EXPLICIT = SMALL | {"control": "P", "substeps": 10}  # with fewer the gains are too high for torques that are held
LONGEST, LONG, SHORT = 360, 200, 40  # ticks
ROW, JOINT = 3, "left_ankle_pitch_joint"
FIVE = ("not finite", "torque limit", "no signal", "never change", "stale")

Watch = Callable[..., Live]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Watch]:
    """Begins a training and watches it; ends it with the test."""
    lives: list[Live] = []
    clock = steady(monkeypatch)

    def begin(trained: Scene, **how: Any) -> Live:
        lives.append(Live(trained, tracking(**SMALL), tmp_path, clock, **how))
        return lives[-1]

    yield begin
    for live in lives:
        live.close()


def systems_of(trained: Scene, name: str) -> list[System]:
    return [each for b in trained.bundles for phase in b.systems.values() for each in phase if each.name == name]


def wrong(found: list[RuleFinding]) -> list[str]:
    return [f.text for f in found if f.severity == "wrong"]


def alarms(found: list[RuleFinding]) -> list[str]:
    return [f.text for f in found if f.severity in ("wrong", "attention")]


# -- sound until a reward kernel is made too tight -----------------------------------------------------


def test_a_sound_training_alarms_nobody_until_a_kernel_is_made_too_tight(watch: Watch):
    live = watch(tracking_scene(**SMALL))
    live.train(LONGEST)
    found = live.findings()
    assert not wrong(found)
    assert not [text for text in alarms(found) if any(words in text for words in FIVE)]
    assert not [f.text for f in found if f.severity == "unknown"]

    answer = live.set_constant("tracking.reward.body_position.std", 0.005)
    assert (answer["old"], answer["new"]) == ("0.3", "0.005")
    live.train(LONGEST)
    found = live.findings()
    assert found[0].severity == "wrong" and len(wrong(found)) == 1
    assert found[0].text.startswith("body_position gives no signal: ")
    assert "of rows below 0.05 — σ = 0.005 is too small" in found[0].text

    live.set_constant("tracking.reward.body_position.std", 0.3)
    live.train(LONGEST)
    assert not wrong(live.findings())


# -- not finite ----------------------------------------------------------------------------------------


def test_nan_from_a_gain_is_named_by_the_diagnosis_and_by_a_break(watch: Watch):
    live = watch(tracking_scene(**EXPLICIT))
    live.train(SHORT)
    assert not wrong(live.findings())
    condition = "nonfinite(robot.DofTorque.value)"
    asked = {"t": "break", "at": "after compute_torque", "when": condition, "rows": None, "skip": 0, "action": "mark"}
    assert live.ask(asked)["t"] == "ok"
    gains = live.store.columns[live.store.by_address["robot.PdGains.stiffness"]]
    joint = gains.labels.index(JOINT)
    assert live.set_value("robot.PdGains.stiffness", ROW, joint, math.nan)["t"] == "ok"
    live.train(SHORT)

    first = live.findings()[0]
    assert first.severity == "wrong"
    assert "robot.PdGains.stiffness[left_ankle_pitch] is not finite in row 3 since tick " in first.text
    assert "written by fill_gains, after an edit of it at tick " in first.text
    assert (first.column, first.label) == (gains.id, joint)
    hit = next(event for event in live.store.events if event["kind"] == "break")
    assert (hit["column"], hit["row"], hit["system"]) == ("robot.DofTorque.value", ROW, "compute_torque")
    assert f"{condition} hit at row 3, left_ankle_pitch_joint" in hit["text"]
    assert "written by compute_torque; 1 of 16 rows" in hit["text"]


def test_a_setting_that_makes_velocities_infinite_is_named(watch: Watch):
    live = watch(tracking_scene(**SMALL))
    live.set_constant("tracking.reset_to_reference.joint_velocity", 1e39)  # more than float32 holds
    live.until(lambda: any(event["kind"] == "nonfinite" for event in live.store.events))
    first = live.findings()[0]
    assert first.severity == "wrong"
    assert first.text.startswith("robot.DofState.velocity[")
    assert "written by one of step_physics and reset_to_reference, after " in first.text
    assert "after tracking.reset_to_reference.joint_velocity was set to 1e+39 at tick " in first.text


# -- a motor that is too weak --------------------------------------------------------------------------


def weak_ankle() -> RobotDescription:
    """The humanoid, one of whose ankles cannot bear it: 3 N·m instead of 50."""
    sound = humanoid()
    return attrs.evolve(sound, motors={JOINT: Motor(120.0, 4.0, 3.0, 20.0), **sound.motors})


def test_an_ankle_whose_torque_limit_is_too_low_is_named(watch: Watch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(robots.ROBOTS, "weak", weak_ankle)
    live = watch(tracking_scene(**SMALL | {"robot": "weak"}))
    live.train(LONG)
    found = live.findings()
    assert len(wrong(found)) == 1
    assert found[0].text.startswith("left_ankle_pitch is at its torque limit in ")
    assert found[0].text.endswith(" % of ticks (median joint: 0 %)")


# -- what the policy sees ------------------------------------------------------------------------------


def blind(base: BaseFrame) -> Tensor:
    """What a gyroscope says that is not connected."""
    return torch.zeros_like(base.angular_velocity)


def test_a_constant_observation_is_named(watch: Watch):
    trained = tracking_scene(**SMALL)
    for observe in systems_of(trained, "observe"):
        observe.terms = {**observe.terms, "base_angular_velocity": term(blind, groups=("actor", "critic"))}
    live = watch(trained)
    live.train(LONG)
    found = live.findings()
    assert wrong(found) == ["base_angular_velocity never changes: all its 3 policy channels are constant"]
    assert found[0].severity == "wrong"


def sample_at_reset(
    cursor: MotionCursor, library: MotionLibrary, done: Done, reference: Write[MotionReference]
) -> None:
    """The reference where an episode begins, and then no more."""
    columns = [each.name for each in attrs.fields(MotionReference)]
    before = {name: getattr(reference, name).clone() for name in columns}
    sample_reference(cursor, library, reference, on_frames=True)
    for name in columns:
        column = getattr(reference, name)
        fresh = column.clone()
        column.copy_(before[name])
        put_rows(column, done.ended, fresh)


def test_a_command_that_keeps_its_value_is_named(watch: Watch):
    trained = tracking_scene(**SMALL)
    for bundle in trained.bundles:
        for phase, systems in bundle.systems.items():
            frozen = [system(sample_at_reset, when=s.when) if s.name == "sample_reference" else s for s in systems]
            bundle.systems[phase] = frozen
    live = watch(trained, check=False)  # the check of the schedule refuses it
    live.train(LONG)
    first = live.findings()[0]
    assert first.severity == "wrong"
    assert first.text.startswith("command is stale: its values never changed within an episode (")
    assert first.text.endswith(" samples), while the clip plays on")


def test_a_command_that_nobody_gives_is_named(watch: Watch):
    live = watch(tracking_scene(**SMALL), skip=("COMMAND",), check=False)
    live.train(LONG)
    first = live.findings()[0]
    assert first.severity == "wrong"
    assert first.text == "command never changes: all its 38 policy channels are constant, while the clip plays on"
