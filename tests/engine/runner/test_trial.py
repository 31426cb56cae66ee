"""Trials: which constants of the training reach the scene that plays, and whose policies it refuses."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from engine import Bundle, Scene, SceneError, Simulation, SnapshotError, Trial, World, build, system
from engine.runner.trial import reaching, run_trial
from engine.snapshot.snapshot import save
from tests.engine import toy_scene
from tests.engine.toy_scene import Count, Point, dawdle


def trained(**identity: str) -> Scene:
    return attrs.evolve(toy_scene.make_scene(), identity=identity)


def calm(**identity: str) -> Scene:
    """The toy with a pause of its own, and a system that the training lacks."""
    scene = toy_scene.make_scene(pause=0.001)
    watcher = Bundle("watcher", systems={"LEARN": [system(dawdle, pause=0.0)]})
    return attrs.evolve(scene, bundles=[*scene.bundles, watcher], identity=identity)


def test_an_override_reaches_the_playing_scene_unless_that_binds_another_value_or_lacks_the_constant() -> None:
    overrides = {"toy.wander.step": "0.5", "toy.dawdle.pause": "0.2", "watcher.dawdle.pause": "0.1"}
    assert reaching(overrides, trained(), calm()) == {"toy.wander.step": "0.5", "watcher.dawdle.pause": "0.1"}
    assert reaching({"watcher.dawdle.pause": "0.1"}, calm(), trained()) == {}


def test_an_override_that_neither_scene_has_is_an_error_with_the_near_misses() -> None:
    with pytest.raises(SceneError, match=r"There is no constant 'toy.wander.stepp'. Did you mean toy.wander.step"):
        reaching({"toy.wander.stepp": "1"}, trained(), calm())


def test_a_trial_plays_its_ticks_with_what_it_restores_and_reads_the_world(tmp_path: Path) -> None:
    simulation = build(trained(), seed=1)
    simulation.run(7)
    seen, shares = [], []

    def read(world: World, path: Path) -> Mapping[str, Any]:
        seen.append((world.clock.tick, world[Count].running >= simulation.world[Count].running, path.parent.is_dir()))
        return {"rows": len(world[Point].position)}

    trial = Trial(trained, 4, read, restores=("Count",))
    found = run_trial(
        trial, save(simulation.world), tmp_path / "new" / "film", training=trained(), progress=shares.append
    )
    assert found == {"rows": 8} and seen == [(3, True, True)]  # the first tick only places the rows
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_trial_beside_others_reads_each_of_them_and_puts_their_summaries_into_one_table(tmp_path: Path) -> None:
    data, shares = save(build(trained()).world), list[float]()

    def read(world: World, path: Path) -> Mapping[str, Any]:
        return {
            "summary": {"rows": len(world[Point].position), "ticks": world.clock.tick},
            "tables": {"more": [{"a": 1}]},
        }

    trial = Trial(
        trained, 2, read, restores=(), called="eight", beside={"three": lambda: toy_scene.make_scene(num_envs=3)}
    )
    found = run_trial(trial, data, tmp_path / "x", training=trained(), progress=shares.append)
    assert found["summary"] == {"rows": 8, "ticks": 1}  # the first tick only places the rows
    assert found["tables"] == {
        "more": [{"a": 1}],
        "eight beside three": [
            {"played in": "eight", "rows": 8, "ticks": 1},
            {"played in": "three", "rows": 3, "ticks": 1},
        ],
    }
    assert shares == [0.0, 0.25, 0.5, 0.5, 0.75, 1.0]


def test_a_trial_that_restores_nothing_plays_any_snapshot(tmp_path: Path) -> None:
    data = save(build(trained()).world)
    assert run_trial(Trial(calm, 1, lambda w, p: {}, restores=()), data, tmp_path / "x", training=trained()) == {}
    with pytest.raises(SnapshotError, match="The snapshot has no resource 'Policy'"):
        run_trial(Trial(calm, 1, lambda w, p: {}), data, tmp_path / "x", training=trained())


def test_a_snapshot_without_what_a_trial_plays_with_is_refused_with_the_cure(tmp_path: Path) -> None:
    data = save(build(trained()).world)
    lacking = Trial(trained, 1, lambda w, p: {}, restores=("Count", "Sail"), cures={"Sail": "Set one."})
    with pytest.raises(SceneError, match=r"The snapshot of the policy holds no Sail\. Set one\."):
        run_trial(lacking, data, tmp_path / "x", training=trained())
    there = attrs.evolve(lacking, restores=("Count",), cures={"Count": "Count."})
    assert run_trial(there, data, tmp_path / "x", training=trained()) == {}


def test_a_trial_is_observed_while_its_ticks_last(tmp_path: Path) -> None:
    seen: list[int] = []

    @contextmanager
    def observed(simulation: Simulation) -> Iterator[None]:
        seen.append(simulation.world.clock.tick)
        yield
        seen.append(simulation.world.clock.tick)

    trial = Trial(trained, 5, lambda w, p: {"then": seen.copy()}, restores=())
    data = save(build(trained()).world)
    found = run_trial(trial, data, tmp_path / "x", training=trained(), observe=observed)
    assert found == {"then": [0, 4]}


def test_a_policy_of_another_robot_is_refused_where_the_trial_says_so_and_other_clips_are_not(tmp_path: Path) -> None:
    data = save(build(trained(robot="ant", clips="walk")).world)
    trial = Trial(lambda: calm(robot="bee", clips="run"), 1, lambda w, p: {}, restores=())
    assert run_trial(trial, data, tmp_path / "x", training=trained()) == {}
    sentence = "The policy was trained with the robot 'ant', but this scene has 'bee'. Choose the same robot with"
    with pytest.raises(SceneError, match=sentence):
        run_trial(attrs.evolve(trial, identical=("robot",)), data, tmp_path / "x", training=trained())
    same = attrs.evolve(trial, scene=lambda: calm(robot="ant", clips="run"), identical=("robot",))
    assert run_trial(same, data, tmp_path / "x", training=trained()) == {}


def test_a_trial_ends_when_nothing_that_comes_later_counts(tmp_path: Path) -> None:
    data = save(build(trained()).world)
    ticks: list[int] = []

    def over(world: World) -> bool:
        ticks.append(world.clock.tick)
        return world.clock.tick >= 3

    shares: list[float] = []
    trial = Trial(trained, 100, lambda w, p: {"tick": w.clock.tick}, restores=(), over=over)
    assert run_trial(trial, data, tmp_path / "x", training=trained(), progress=shares.append) == {"tick": 3}
    assert ticks == [1, 2, 3]  # not after the first tick, which only places the rows
    assert shares == [0.0, 0.01, 0.02, 0.03, 1.0]
