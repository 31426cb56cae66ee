"""Every system of the scenes computes where the columns are: ticks on torch's meta device, which has no numbers but knows its place.

An operation on tensors of two devices fails there as it does on a GPU, which these tests do without. What asks for numbers, or
is not known there, does not run: the simulator, and the two systems that improve a policy.
"""

import traceback
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from components.robot import BodyState, ContactForce, DofState, RootState
from engine import Experiment, build
from engine.ecs.world import World
from scenes import velocity
from systems import physics
from systems.physics.contract import FIELDS
from systems.robots.model import RobotModel
from tests.helpers import tracking

SMALL: dict[str, Any] = {"robot": "humanoid", "num_envs": 4, "hidden": (8,)}
NUMBERS_NEEDED = {"estimate_advantage", "improve_policy"}


class Elsewhere(torch.Generator):
    """A random stream that says it is on the meta device, where there are no numbers to draw."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("meta")


class Nowhere:
    """A simulator without numbers: every column is written, on the device that it is on."""

    exact_resume = False
    varies = frozenset(FIELDS)

    def __init__(self, model: RobotModel) -> None:
        self.model, self.axes = model, dict(model.axes)

    def begin(self, diverged: Tensor) -> None:
        diverged.zero_()

    def step(self, substeps: int, control: Tensor, root: RootState, dofs: DofState, diverged: Tensor) -> None:
        dofs.position.copy_(control)
        dofs.velocity.zero_()
        for column in vars(root).values():
            column.mul_(1.0)

    def restart(self, rows: Tensor, root: RootState, dofs: DofState) -> None:
        assert rows.device.type == root.position.device.type == dofs.position.device.type

    def kinematics(self, root: RootState, dofs: DofState, bodies: BodyState, forces: ContactForce) -> None:
        bodies.position.copy_(root.position.unsqueeze(1).expand_as(bodies.position))
        forces.force.zero_()

    def change(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        assert {rows.device.type, *(value.device.type for value in values.values())} == {"meta"}

    def penetration(self) -> None:
        return None

    def overflows(self) -> dict[str, int]:
        return {}


def not_on(device: str, experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Systems that fail in three ticks on that device, with the place in the repository where they do."""
    monkeypatch.setattr(physics, "make_backend", lambda model, **given: Nowhere(model))
    monkeypatch.setattr(World, "generator", lambda world, name: Elsewhere() if device == "meta" else torch.Generator())
    simulation, found = build(experiment.train(), device=device), dict[str, str]()
    entries = [entry for entry in simulation.schedule.entries if entry.name not in NUMBERS_NEEDED]
    assert len(entries) > 30
    for entry in 3 * entries:
        try:
            with torch.no_grad():
                entry.call()
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            found.setdefault(entry.name, f"{entry.place}: {error} at {place.filename}:{place.lineno}")
    return list(found.values())


SCENES = {
    "tracking": lambda: tracking(clip="squat", backend="warp", **SMALL),
    "tracking, torques": lambda: tracking(clip="squat", backend="warp", control="P", **SMALL),
    "tracking of HumanoidVerse": lambda: tracking("humanoidverse_tracking", clip="squat", backend="warp", **SMALL),
    "randomised": lambda: tracking(clip="squat", backend="warp", randomise="extra,gains,mjlab_tracking", **SMALL),
    "velocity": lambda: velocity.experiment(velocity.CONFIGS["laptop"].replace(backend="warp", **SMALL)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_every_system_computes_where_the_columns_are(scene: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if physics.find_spec("mujoco_warp") is None:
        monkeypatch.setattr(physics, "find_spec", lambda name: True)  # it is not started here
    assert not_on("meta", SCENES[scene](), monkeypatch) == []


def test_a_constant_on_another_device_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physics, "find_spec", lambda name: True)
    made = SCENES["tracking"]()

    def left_behind(instance: Any, **changes: Any) -> Any:
        return instance

    monkeypatch.setattr("engine.ecs.scene.attrs.evolve", left_behind)
    with pytest.raises(RuntimeError, match="device"):
        not_on("meta", made, monkeypatch)
    assert attrs.evolve is left_behind
