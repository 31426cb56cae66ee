"""Motion tracking in the simulator that a run learned: MuJoCo beside it, the error by steps, and what is refused."""

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from components.control import DofTarget
from components.episode import Rewritten
from components.footage import Footage
from components.robot import DofState, RootState
from components.side_by_side import ModelError, ModelErrorAfter, SimulatedDofs, SimulatedRoot
from engine import Experiment, SceneError, Simulation, SnapshotError, World, build
from engine.debugger.__main__ import main as debugger
from engine.runner.run import main as run
from engine.runner.run_folder import RunFolder
from engine.snapshot.snapshot import restore, save
from scenes import robots
from systems.footage import film_shots
from systems.physics import make_backend
from systems.robots.model import build_robot
from systems.side_by_side import STEPS, TITLE, error_by_steps
from tests.exactness.test_world_model import SMALL, TICKS
from tests.exactness.test_world_model import tracking as small
from tests.helpers import evaluated, tracking

NUMBERS: dict[str, Any] = {"robot": "humanoid", "clip": "squat,wave", "num_envs": 8, "hidden": (16,)}


def learned(**changed: Any) -> Experiment:
    """The experiment whose policies play in the simulator that was learned."""
    numbers = {"learner": "world_model", "world_model": SMALL, "backend": "learned", **NUMBERS, **changed}
    return tracking(**numbers)


@pytest.fixture(scope="module")
def trained() -> bytes:
    """A run that has fitted its model three times."""
    simulation = small()
    simulation.run(TICKS)
    return save(simulation.world)


def played(trained: bytes, trial: str = "evaluate") -> Simulation:
    """The scene of a trial, with the policy and the model in it."""
    chosen = getattr(learned(), trial)
    simulation = build(chosen.scene())
    restore(simulation.world, trained, only=chosen.restores)
    return simulation


def state(world: World, root: type, dofs: type) -> list[Tensor]:
    columns = [*vars(world[root]).values(), *vars(world[dofs]).values()]
    return [column.clone() for column in columns]


def test_beside_the_learned_rows_mujoco_follows_the_same_targets_to_the_bit(trained: bytes):
    world = (simulation := played(trained)).world
    simulation.run()
    model = build_robot(robots.load("humanoid"), dt=0.02 / 3, self_collision=False)
    alone, rows = make_backend(model, rows=64, nthread=1), torch.ones(64, dtype=torch.bool)
    root, dofs = RootState.make(64, model.axes), DofState.make(64, model.axes)
    for mine, theirs in ((root, RootState), (dofs, DofState)):
        for name, column in vars(mine).items():
            column.copy_(getattr(world[theirs], name))
    alone.restart(rows, root, dofs)
    for _ in range(12):
        simulation.run()
        alone.step(3, world[DofTarget].position, root, dofs, torch.zeros(64, dtype=torch.bool))
        assert not world[Rewritten].rows.any()
        for mine, theirs in zip(
            [*vars(root).values(), *vars(dofs).values()], state(world, SimulatedRoot, SimulatedDofs), strict=True
        ):
            assert torch.equal(mine, theirs)
    assert not torch.equal(world[SimulatedRoot].position, world[RootState].position)


def test_the_error_is_kept_by_steps_since_the_row_began_and_begins_again_with_the_row(trained: bytes):
    world = (simulation := played(trained)).world
    began = np.zeros(64, int)
    kept: dict[tuple[int, int], tuple[float, float, float] | None] = {}  # None: the row started over in the same tick
    for tick in range(140):
        simulation.run()
        here, there = state(world, RootState, DofState), state(world, SimulatedRoot, SimulatedDofs)
        again = world[Rewritten].rows.numpy().copy()
        kept = {**dict.fromkeys((tick - began[row], row) for row in np.flatnonzero(again)), **kept}
        began[again] = tick
        error = world[ModelError]
        assert np.array_equal(error.steps.numpy(), tick - began)
        assert not error.joints[again].any() and not error.position[again].any() and not error.rotation[again].any()
        assert all(torch.equal(a[again], b[again]) for a, b in zip(here, there, strict=True))
        for row in np.flatnonzero(~again):
            steps = tick - began[row]
            if steps in STEPS and (steps, row) not in kept:
                (p, q, _, _, j, _), (p2, q2, _, _, j2, _) = (
                    [x[row].double().numpy() for x in side] for side in (here, there)
                )
                turn = 2.0 * np.arccos(min(1.0, abs(q @ q2)))
                kept[steps, row] = np.abs(j - j2).mean(), np.linalg.norm(p - p2), turn
    assert (began > 0).any()
    after = world[ModelErrorAfter]
    for place, steps in enumerate(STEPS[: after.reached.shape[1]]):
        for row in range(64):
            assert bool(after.reached[row, place]) == ((steps, row) in kept)
            if expected := kept.get((steps, row)):
                found = [float(x[row, place]) for x in (after.joints, after.position, after.rotation)]
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    for line in error_by_steps(world):
        place = STEPS.index(int(line["steps"]))
        rows = after.reached[:, place]
        assert line["rows"] == int(rows.sum())
        assert line["joints rad"] == pytest.approx(float(after.joints[rows, place].mean()), rel=1e-5)


def test_an_evaluation_measures_the_learned_rows_and_tells_the_error_by_steps(trained: bytes):
    found = evaluated(learned(), trained)
    lines = found["tables"][TITLE]
    assert [line["steps"] for line in lines[:5]] == [1, 2, 4, 8, 16] and lines[0]["rows"] == 64
    assert 0 < lines[0]["joints rad"] < lines[4]["joints rad"] < 0.3
    assert found["summary"]["episodes"] == 64


def test_in_the_film_of_a_learned_simulator_the_ghost_is_the_simulated_robot(trained: bytes):
    world = (simulation := played(trained, "film")).world
    simulation.run(6)
    footage, frame = world[Footage], world.clock.tick - 1
    root, dofs = world[SimulatedRoot], world[SimulatedDofs]
    expected = torch.cat((root.position, root.rotation, dofs.position), -1)
    assert torch.equal(footage.ghost[:, frame], expected) and not torch.equal(footage.robot[:, frame], expected)
    (first, *_) = film_shots(world, ("squat", "wave"), (4.8, 4.0))
    assert first.captions[frame][-1] == "in the learned simulator; ghost: MuJoCo"


def test_what_plays_goes_on_from_a_snapshot_to_the_same_bytes(trained: bytes):
    first, second = played(trained), build(learned().evaluate.scene(), seed=5)  # type: ignore[union-attr]
    first.run(9)
    restore(second.world, save(first.world))
    for simulation in (first, second):
        simulation.run(20)
    assert save(first.world) == save(second.world)


# -- refusals ------------------------------------------------------------------------------------------


def test_a_run_that_learned_no_simulator_cannot_be_played_in_one():
    with pytest.raises(SceneError) as error:
        tracking(**NUMBERS, backend="learned")
    assert str(error.value) == (
        "--backend learned plays a policy in the simulator that its run learned, but a run of --learner ppo learns none. "
        "Name a run of --learner world_model, or leave --backend out."
    )


def test_a_snapshot_without_a_learned_simulator_is_refused():
    simulation = build(tracking(**NUMBERS).train())
    with pytest.raises(SceneError) as error:
        evaluated(learned(), save(simulation.world))
    assert str(error.value) == (
        "The snapshot of the policy holds no Dynamics. It has no learned simulator. Only runs of --learner world_model learn "
        "one: name such a run, or leave --backend out."
    )


def test_no_policy_is_trained_in_a_learned_simulator():
    with pytest.raises(
        SceneError, match="only plays a policy, in the simulator that its run learned: write --play RUN"
    ):
        build(learned().train())


def test_dynamics_that_were_never_fitted_are_refused_before_anything_moves():
    simulation = small()
    simulation.run(4)
    with pytest.raises(SceneError, match=r"saved before they were fitted for the first time.*Name a later checkpoint"):
        evaluated(learned(), save(simulation.world))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"control": "P", "around": "default"}, "Choose --control servo."),
        ({"self_collision": True}, "'tracking.reward.self_collision' reads contact forces, and the learned simulator tells none."),
        ({"robot": "g1_23dof"}, "trained with the robot 'humanoid', but this scene has"),
    ],
)  # fmt: skip
def test_what_the_model_was_not_made_for_is_refused(trained: bytes, changed: dict[str, Any], sentence: str):
    with pytest.raises(SceneError) as error:
        evaluated(learned(**changed), trained)
    assert sentence in str(error.value)


def test_a_model_of_other_layers_is_refused(trained: bytes):
    with pytest.raises(SnapshotError, match="Use the joints, extra inputs and hidden sizes that it was trained with"):
        evaluated(learned(world_model=attrs.evolve(SMALL, model_hidden=(4,))), trained)


# -- by command ----------------------------------------------------------------------------------------


def test_a_run_is_evaluated_exported_and_looked_into_in_its_learned_simulator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)
    own = ["warm-up=18", "memory=24", "first-fits=2", "fits=1", "fit-batch=16", "batch=4", "horizon=3", "updates=1"]
    words = [word for each in own for word in (f"--world-model.{each.split('=')[0]}", each.split("=")[1])]
    policy = ["--learner", "world_model", "--robot", "humanoid", "--clip", "wave", "--learning.hidden", "8"]
    scene, folder, file = "scenes/motion_tracking.py", str(tmp_path / "run"), str(tmp_path / "policy.lockstep")
    flags = [*policy, *words, "--num-envs", "4", "--iterations", "6", "--no-film", "--debug", "off"]
    assert run([scene, *flags, "--out", folder]) == 0
    capsys.readouterr()
    assert run(["--eval", folder, "--backend", "learned", "--record", "0,5"]) == 0
    assert TITLE in capsys.readouterr().out
    written = json.loads((tmp_path / "run" / "evaluation_backend_learned.json").read_text(encoding="utf-8"))
    assert written["tables"][TITLE][0]["rows"] == 64
    (recording,) = (tmp_path / "run" / "records" / "evaluation_backend_learned").glob("*_end.rec")
    assert debugger(["--text", str(recording), "print", "ModelError.position", "5"]) == 0
    shown = capsys.readouterr().out
    assert "ModelError.position" in shown
    assert run(["--export", folder, "--out", file]) == 0
    assert run([scene, *policy, "--eval", file, "--backend", "learned"]) == 0
    assert TITLE in capsys.readouterr().out
