"""The films of the scenes: a policy beside its reference, a clip by itself."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.footage import Footage
from components.learning import Policy
from components.metrics import Score
from components.motion import MotionLibrary
from components.physics import Physics
from engine import Scene, SceneError, build, table
from engine.runner.run import main
from engine.snapshot.snapshot import Snapshot, extract, restore, save
from scenes import replay_motion
from systems import footage
from systems.evaluation import evaluation
from systems.film import film
from systems.tick import TICK
from tests.helpers import data_path, evaluated, filmed, needs_g1, tracking, tracking_scene

TINY: dict[str, Any] = {"robot": "humanoid", "num_envs": 4, "hidden": (16,), "physics_threads": 1}


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures, few of them, painted, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(footage, "SIZE", (96, 72))
    monkeypatch.setenv("MUJOCO_GL", "disable")
    for place in (film, footage):
        monkeypatch.setattr(place, "LONGEST", 0.2)


def frames(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_film_shows_the_policy_of_a_snapshot_and_its_error() -> None:
    made = tracking(clip="squat,wave", **TINY)
    world = build(made.train()).world
    seen = filmed(made, save(world), Path("a.mp4"), overrides={"ppo.act.limit": "5"})
    assert seen["shown"].startswith("squat, ") and "mm global" in seen["error"] and "painted" in seen["pictures"]
    assert frames(Path("a.mp4")) == 10  # 0.2 s at 50 per second


def test_footage_has_the_errors_of_the_evaluation_and_stops_where_an_episode_ends() -> None:
    made = tracking(clip="squat", **TINY).train()
    bundles = [b for b in made.bundles if b.name not in ("metrics",)]
    model = build(made).world[Physics].backend.model
    trial = Scene(
        [table("robot", rows=4)], [*bundles, evaluation(), footage.footage(frames=60, model=model)], TICK, name="trial"
    )
    simulation = build(trial)
    simulation.run(61)
    score, kept = simulation.world[Score], simulation.world[Footage]
    np.testing.assert_array_equal(kept.frames, score.frames)
    np.testing.assert_array_equal(kept.running, score.alive)
    for row in range(4):
        count = int(kept.frames[row])
        assert 0 < count <= 60
        for column, at in ((kept.far, 0), (kept.local, 1)):
            assert float(column[row, :count].sum()) == pytest.approx(float(score.sums[row, at]), rel=1e-5)
    shots = footage.film_shots(simulation.world, ["squat"], [4.8])
    assert [len(shot.robot) for shot in shots] == kept.frames.tolist()
    assert [bool(shot.ending) for shot in shots] == kept.fallen.tolist()
    far = 1e3 * float(kept.far[0, 0])
    assert shots[0].captions[0][2].startswith(f"error {far:.0f} mm global")


def test_a_replay_passes_the_audit_and_follows_the_clip_exactly() -> None:
    made = replay_motion.experiment(clip="squat,wave", robot="humanoid").train()
    library = next(r for b in made.bundles for r in b.resources if isinstance(r, MotionLibrary))
    model = build(made).world[Physics].backend.model
    simulation = build(
        Scene([table("robot", rows=2)], [*made.bundles, footage.footage(frames=20, model=model)], TICK, name="trial")
    )
    simulation.run(21)
    kept = simulation.world[Footage]
    for row, first in enumerate(library.start.tolist()):
        expected = np.concatenate((library.root_position, library.root_rotation, library.dof_position), 1)
        np.testing.assert_allclose(kept.robot[row], expected[first + 1 : first + 21], atol=1e-5)
        np.testing.assert_allclose(kept.ghost[row], expected[first + 1 : first + 21], atol=1e-5)
    assert float(kept.far.max()) < 1e-5


def test_replaying_a_clip_is_a_run_with_a_film_and_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    source = str(replay_motion.__file__)
    assert main([source, "--clip", "squat", "--robot", "humanoid", "--audit", "5"]) == 0
    assert main([source, "--clip", "squat", "--robot", "humanoid", "--check"]) == 0
    assert not Path("runs").exists()
    made = replay_motion.experiment(clip="squat", robot="humanoid")
    seen = filmed(made, save(build(made.train()).world), Path("clip.mp4"))
    assert seen["findings"] == "none" and "frames at 50 per second; fastest joint" in seen["squat"]
    assert "% of its limit; lowest point of a sole" in seen["squat"] and "error" not in seen
    assert frames(Path("clip.mp4")) == 10
    capsys.readouterr()
    assert main([source, "--clip", "nowhere.csv"]) == 2
    assert "nowhere.csv" in capsys.readouterr().err and not Path("runs").exists()


@needs_g1
def test_a_replay_repeats_what_verification_finds() -> None:
    clip = str(data_path("motions", "asap_g1_23dof", "asap_kick_level1.pkl"))
    made = replay_motion.experiment(clip=clip)
    simulation = build(made.train())
    assert simulation.scene.identity["robot"] == "g1_23dof"
    seen = filmed(made, save(simulation.world), Path("clip.mp4"))
    findings = [text for name, text in seen.items() if name.startswith("finding ")]
    assert any("height changed by" in text for text in findings)


def test_the_policy_of_another_robot_is_refused_by_name() -> None:
    made = tracking(clip="stand", **TINY)
    taken = Snapshot.decode(save(build(made.train()).world))
    taken.fingerprint["identity"]["robot"] = "humanoix"
    data = taken.encode()
    for use in (evaluated, partial(filmed, path=Path("a.mp4"))):
        with pytest.raises(SceneError, match="trained with the robot 'humanoix', but this scene has 'humanoid'"):
            use(made, data)


def test_an_exported_policy_is_the_trained_one_with_fresh_moments() -> None:
    simulation = build(tracking_scene(clip="stand", horizon=4, **TINY))
    simulation.run(6)
    trained = simulation.world[Policy].state()
    small = extract(simulation.world, {})
    assert len(small) < 0.5 * len(save(simulation.world)) and bool(trained["optimiser.exp_avg"].any())
    other = build(tracking_scene(clip="stand", horizon=4, **TINY), seed=1).world
    restore(other, small, only=("Policy",))
    for name, tensor in other[Policy].state().items():
        assert torch.equal(tensor, torch.zeros_like(tensor) if name.startswith("optimiser.") else trained[name]), name
