"""Motion tracking on terrain: what a tile changes and what it does not, worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from components.episode import Done, Reward
from components.footage import Footage
from components.metrics import Score
from components.motion import MotionCursor, MotionLibrary, MotionReference, TrackedState
from components.observation import Observation
from components.robot import DofState, RootState
from components.terrain import Ground, TerrainTile
from engine import Experiment, SceneError, Simulation, build
from engine.runner.run import main
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from systems import footage
from systems.deploy.control_step import ControlStep
from systems.evaluation import summarise
from systems.film import FilmShot
from systems.ground.heights import ground_height
from systems.motion.recorded import clip_from_columns
from systems.reference import sample_root_and_dofs
from systems.terrain import Tiles
from tests.helpers import filmed, needs_g1, tracking

SMALL: dict[str, Any] = {"robot": "humanoid", "clip": "walk", "hidden": (16,), "physics_threads": 1, "horizon": 6}
ROUGH: dict[str, Any] = {**SMALL, "num_envs": 8, "terrain": "rough", "tiles": Tiles(levels=3, border=2.0, begin=(0, 2))}


def started(ticks: int = 1, **numbers: Any) -> Simulation:
    """A scene of motion tracking after so many ticks."""
    made = build(tracking(**{**SMALL, "num_envs": 4, **numbers}).train())
    made.run(ticks)
    return made


def test_on_a_level_tile_a_metre_down_everything_is_as_on_the_plane() -> None:
    """The pit of difficulty 1 is 4 m wide and 1 m deep; places are 1 m lower, and nothing that is seen or earned differs."""
    flat = started(6, terrain="plane", robustness=0.0, randomise="none").world
    pit = started(6, terrain="pit", tiles=Tiles(levels=1, begin=(0, 0)), robustness=0.0, randomise="none").world
    origin = pit[TerrainTile].origin
    assert_close(origin[:, 2], torch.full((4,), -1.0))
    for component, column in ((RootState, "position"), (MotionReference, "body_position"), (TrackedState, "position")):
        there, here = (getattr(world[component], column) for world in (pit, flat))
        shift = origin if there.dim() == 2 else origin.unsqueeze(1)
        assert_close(there, here + shift, atol=2e-4, rtol=0.0)
    for group in ("actor", "critic"):
        assert_close(getattr(pit[Observation], group), getattr(flat[Observation], group), atol=5e-3, rtol=1e-3)
    assert_close(pit[Reward].total, flat[Reward].total, atol=1e-4, rtol=1e-3)
    assert float(flat[Reward].total.abs().min()) > 1e-3 and not bool(flat[Done].ended.any())


def test_episodes_begin_over_the_middle_of_their_tile_as_high_above_the_ground_as_the_clip_is_above_0() -> None:
    """On slopes of 0, 0.5 and 1 m per m the platform, 2 m wide, is 3 m inside the edge: 0, 1.5 and 3 m high, or deep."""
    tiles = Tiles(levels=3, begin=(0, 2), border=2.0)
    world = started(1, num_envs=24, terrain="slopes", tiles=tiles, robustness=0.0, randomise="none").world
    cursor, tile, library = world[MotionCursor], world[TerrainTile], world[MotionLibrary]
    begun, *_ = sample_root_and_dofs(library, cursor.clip, cursor.start)
    assert set(tile.level.tolist()) == {0, 1, 2} and float(begun[:, 0].abs().max()) > 0.1  # the clip walks away from 0
    up = 1.0 - 2.0 * tile.kind  # slope_up, slope_down
    middle = torch.stack((8.0 * (tile.level - 1.0), 8.0 * (tile.kind - 0.5), 1.5 * tile.level * up), -1)
    assert_close(tile.origin, middle - begun * torch.tensor([1.0, 1.0, 0.0]), atol=1e-5, rtol=0.0)
    place, *_ = sample_root_and_dofs(library, cursor.clip, cursor.time)
    anchors = world[MotionReference].body_position[:, 0]  # the pelvis, which is the root
    assert_close(anchors, place + tile.origin, atol=1e-5, rtol=0.0)


def test_the_height_of_a_clip_is_that_of_the_highest_ground_where_it_begins_and_stays_so() -> None:
    """Waves have no platform: the highest of 5 × 4 points ± 0.4 and ± 0.3 m around the middle, which is 0.2 m lower at most."""
    world = started(3, num_envs=6, terrain="waves", tiles=Tiles(levels=2, begin=(1, 1)), robustness=0.0).world
    tile, ground = world[TerrainTile], world[Ground]
    middle = ground.origins[1, 0]  # type: ignore[index]
    around = [middle[:2] + torch.tensor([x, y]) for x in (-0.4, -0.2, 0.0, 0.2, 0.4) for y in (-0.3, -0.1, 0.1, 0.3)]
    heights = ground_height(ground, torch.stack(around))
    assert float(heights.max()) > float(middle[2]) + 0.02
    assert_close(tile.origin[:, 2], heights.max().expand(6), atol=1e-5, rtol=0.0)


@pytest.fixture(scope="module")
def rough() -> Experiment:
    """Eight rows with short episodes, that are pushed."""
    return tracking(**{**ROUGH, "seconds": 0.2, "robustness": 1.0})


def test_learning_on_terrain_has_no_findings_and_resumes_to_the_same_bytes(rough: Experiment) -> None:
    whole = build(rough.train())
    audit = Audit(whole.schedule)
    whole.run(20)
    assert [finding.text for finding in audit.findings] == []
    assert "off_terrain" in whole.world.tables["robot"].axes["termination"]
    before, after = build(rough.train()), build(rough.train())
    before.run(1)
    began = before.world[TerrainTile].origin.clone()
    before.run(10)
    after.run(3)
    restore(after.world, save(before.world))
    after.run(9)
    assert save(after.world) == save(whole.world)
    assert not torch.equal(after.world[TerrainTile].origin, began)  # origins are among those bytes


def test_a_height_scan_is_seen_where_it_is_asked_for() -> None:
    without, with_scan = started(**ROUGH).world, started(**ROUGH, observations="mjlab_tracking,height_scan").world
    for group in ("actor", "critic"):
        widths = [getattr(world[Observation], group).shape[1] for world in (without, with_scan)]
        assert widths[1] - widths[0] == 187


def test_a_row_that_wraps_takes_its_reference_along() -> None:
    made = started(2, **{**ROUGH, "tiles": Tiles(levels=3, edge="wrap", border=2.0, begin=(0, 2))})
    world = made.world
    assert "off_terrain" not in world.tables["robot"].axes["termination"]
    place = world[RootState].position
    apart = torch.tensor([13.9, 0.0, 1.0]) - place[0]  # tiles reach to 12 m, the border to 14 m
    place[0] += apart
    world[TerrainTile].origin[0] += apart
    world[MotionReference].body_position[0] += apart
    made.run(1)
    assert not bool(world[Done].ended[0])
    assert float(place[0, 0]) == pytest.approx(13.9 - 2 * 13.7, abs=0.1)
    assert_close(world[MotionReference].body_position[0, 0], place[0], atol=0.1, rtol=0.0)


def test_a_policy_is_evaluated_on_all_levels_and_filmed_with_its_reference_on_the_ground(
    rough: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rough.evaluate is not None and rough.film is not None
    playing = build(rough.evaluate.scene())
    playing.run(1)
    assert set(playing.world[TerrainTile].level.tolist()) == {0, 1, 2}
    shown = build(rough.film.scene())
    shown.run(4)
    world = shown.world
    kept, origin = world[Footage], world[TerrainTile].origin
    begun, *_ = sample_root_and_dofs(world[MotionLibrary], kept.clip, kept.time[:, 0])
    assert_close(kept.ghost[:, 0, :3], begun + origin, atol=1e-5, rtol=0.0)
    assert float((kept.ghost[:, 0, :3] - kept.robot[:, 0, :3]).norm()) < 0.1
    monkeypatch.setenv("MUJOCO_GL", "disable")  # painted
    snapshot = save(build(rough.train()).world)
    summary = filmed(rough, snapshot, tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").stat().st_size > 1000 and summary["shown"].startswith("walk, ")


def test_a_film_of_columns_has_the_reference_on_the_ground(rough: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation, samples = build(rough.train()), list[dict[str, np.ndarray]]()
    for _ in range(3):
        simulation.run(1)
        samples.append({})
        for component in (MotionCursor, RootState, DofState, TerrainTile, Done):
            columns = vars(simulation.world[component])
            samples[-1] |= {
                f"robot.{component.__name__}.{n}": column[0].numpy().copy() for n, column in columns.items()
            }
    columns = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    made: list[FilmShot] = []
    monkeypatch.setattr(footage, "write_film", lambda path, scene, shots, **_: made.extend(shots) or "not at all")
    assert rough.film_episode is not None
    summary = rough.film_episode(columns, Path("film.mp4"))
    assert summary["pictures"] == "not at all"
    apart = np.linalg.norm(made[0].robot[:, :3] - made[0].ghost[:, :3], axis=-1)  # type: ignore[index]
    assert apart.max() < 0.2 and np.abs(made[0].robot[:, :2]).max() > 3.0


def test_what_a_row_did_is_kept_as_a_clip_from_its_own_origin() -> None:
    columns = {
        "robot.RootState.position": np.array([[36.5, -3.0, 1.8], [36.6, -3.0, 1.8]]),
        "robot.RootState.rotation": np.tile([1.0, 0.0, 0.0, 0.0], (2, 1)),
        "robot.DofState.position": np.zeros((2, 1)),
        "robot.TerrainTile.origin": np.tile([36.0, -4.0, 1.0], (2, 1)),
    }
    clip = clip_from_columns(columns, name="kept", table="robot", fps=50.0)
    np.testing.assert_allclose(clip.root_position, [[0.5, 1.0, 0.8], [0.6, 1.0, 0.8]])


@pytest.mark.parametrize("name", ["mjlab_tracking", "beyondmimic_tracking"])
def test_configurations_are_checked_on_terrain(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--robot", "humanoid", "--clip", "stand", "--num-envs", "4", "--tiles.levels", "2", "--tiles.begin", "0,1"]
    assert main(["scenes/motion_tracking.py", "--config", name, "--terrain", "slope_up,waves", *flags, "--check"]) == 0
    assert "ok" in capsys.readouterr().out


@needs_g1
def test_the_task_of_humanoidverse_is_checked_on_terrain(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--config", "humanoidverse_tracking", "--clip", "stand", "--num-envs", "2", "--tiles.levels", "6"]
    assert main(["scenes/motion_tracking.py", *flags, "--terrain", "rough_slope", "--check"]) == 0
    assert "ok" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ({"tiles": Tiles(levels=3)}, "no effect with terrain='plane'"),
        ({"terrain": "hills"}, "no terrain 'hills'"),
        ({"terrain": "rough", "backend": "kinematic"}, "'kinematic' knows nothing of the ground"),
        ({"terrain": "rough", "learner": "world_model"}, "Choose --learner ppo"),
        (
            {"terrain": "rough", "tiles": Tiles(levels=3)},
            r"begin=\(0, 5\) are not levels from 0 to 2.* --tiles.begin 0,2",
        ),
    ],
)
def test_terrain_that_cannot_be_is_refused(numbers: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence):
        build(tracking(**{**SMALL, **numbers}).train())


@pytest.mark.parametrize("edge", ["end", "wrap"])
def test_some_of_the_clips_are_held_on_terrain(edge: str) -> None:
    numbers = {
        "clip": "squat,walk,turn",
        "clips_at_once": 2,
        "clips_every": 1,
        "tiles": Tiles(edge=edge),
        "terrain": "flat",
    }
    world = started(30, **numbers, num_envs=4, seconds=0.3).world
    held = world[MotionLibrary].held
    assert held is not None and int(held.turns.min()) > 0 and bool(held.here[world[MotionCursor].clip].all())


def test_a_policy_that_learned_on_tiles_is_played_on_a_plane() -> None:
    played = tracking(**{**ROUGH, "terrain": "plane"}).evaluate
    assert played is not None and build(played.scene()).world.clock.tick == 0


def test_a_learner_that_imagines_first_learns_by_ppo_on_terrain() -> None:
    scene = tracking(**{**ROUGH, "learner": "auto"}).train()
    systems = {each.name for bundle in scene.bundles for group in bundle.systems.values() for each in group}
    assert "improve_policy" in systems and "improve_in_imagination" not in systems


def test_a_clip_that_leaves_the_ground_before_its_end_is_no_success() -> None:
    made = tracking(**{**SMALL, "num_envs": 4, "terrain": "flat", "tiles": Tiles(levels=1, begin=(0, 0))}).evaluate
    assert made is not None
    played = build(made.scene())
    played.run(4)
    world = played.world
    world[RootState].position[:, 0] += 30.0  # beyond the only tile and its border, with the clip
    world[TerrainTile].origin[:, 0] += 30.0
    played.run()
    found = summarise(world)["summary"]
    assert not world[Score].alive.any() and found["success %"] == 0.0 and found["completion %"] < 10.0


def test_an_exported_policy_counts_places_from_where_its_clip_begins() -> None:
    made = (tracking(**ROUGH), tracking(**{**ROUGH, "terrain": "plane", "tiles": Tiles()}))
    terrain, plane = (ControlStep(build(each.evaluate.scene())) for each in made if each.evaluate is not None)
    given = plane.example()
    assert plane.inputs == terrain.inputs
    for there, here in zip(terrain(*given), plane(*given), strict=True):
        assert torch.equal(there, here)
