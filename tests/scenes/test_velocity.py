"""The velocity scene: it builds for every robot and configuration, learns without findings, and refuses what has no effect."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from components.command import Command, CommandRange
from components.episode import Done, Rewritten
from components.learning import Policy
from components.metrics import CommandScore, FirstEpisode
from components.observation import Observation
from components.robot import Robot, RootState
from components.terrain import TerrainTile
from engine import Experiment, Scene, SceneError, Simulation, build
from engine.ecs.component import num_bytes
from engine.ecs.constants import addresses
from engine.runner.flags import flat
from engine.runner.run import main
from engine.runner.run_folder import RunFolder
from engine.runner.trial import run_trial
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from scenes.velocity import CONFIGS, experiment
from systems import velocity_trial
from systems.terrain import ClimbedTiles
from tests.helpers import REPOSITORY, data_path, filmed, go1, needs_g1
from tests.systems.robots.foreign import foreign, write
from tests.systems.task_rows import matrix

SMALL: dict[str, Any] = {"num_envs": 4, "hidden": (8,), "physics_threads": 1, "horizon": 12}
TICKS = 26  # two learning iterations and a bit


def walking(config: str = "laptop", **numbers: Any) -> Experiment:
    """The experiment with few rows and a tiny network, of the little humanoid unless another robot is named."""
    return experiment(CONFIGS[config].replace(**{"robot": "humanoid", **SMALL, **numbers}))


def simulated(config: str = "laptop", *, seed: int = 0, **numbers: Any) -> Simulation:
    """Its scene, built."""
    return build(walking(config, **numbers).train(), seed=seed)


def test_the_scene_is_read_in_two_minutes() -> None:
    text = (REPOSITORY / "scenes" / "velocity.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert not [n.name for f in functions for n in ast.walk(f) if isinstance(n, ast.FunctionDef) and n is not f]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_named_configuration_trains_plays_and_has_a_help_for_every_number(name: str) -> None:
    robot = CONFIGS[name].robot if name == "humanoidverse_locomotion" else "humanoid"
    made = walking(name, robot=robot, num_envs=2)
    simulation = build(made.train())
    audit = Audit(simulation.schedule)
    simulation.run(TICKS)
    assert [finding.text for finding in audit.findings] == []
    assert made.evaluate is not None and made.film is not None and made.report is not None
    reported = made.report(simulation.world)
    assert {"error/linear_velocity", "error/yaw_rate", "command/forward", "episode/ended"} <= reported.keys()
    for trial in (made.evaluate, made.film):
        playing = build(trial.scene())
        restore(playing.world, save(simulation.world), only=trial.restores)
        playing.run(2)
    flags = flat(CONFIGS[name])
    assert not [flag.text for flag in flags.values() if not (flag.help() if callable(flag.help) else flag.help)]


@needs_g1
@pytest.mark.parametrize(
    ("robot", "actor", "critic"),
    [
        ("g1", 99, 111),
        ("g1_12dof", 48, 60),
        ("g1_12dof_humanoidverse", 48, 60),
        ("h1", 69, 81),
        ("h1_10dof", 42, 54),
        ("t1", 81, 93),
        ("go1", 48, 72),
    ],
)
def test_every_robot_has_the_published_widths_and_stands_when_it_does_nothing(
    robot: str, actor: int, critic: int
) -> None:
    """12 + 3 D numbers, and 6 more per foot; held at its default pose it is on its feet half a second later."""
    numbers: dict[str, Any] = {
        "robot": go1() if robot == "go1" else robot,
        "num_envs": 2,
        "init_std": 1e-6,
        "robustness": 0.0,
        "randomise": "none",
    }
    simulation = simulated("mjlab_velocity", **numbers)
    world = simulation.world
    assert (world[Observation].actor.shape[1], world[Observation].critic.shape[1]) == (actor, critic)
    with torch.no_grad():
        for parameter in world[Policy].actor.body.parameters():
            parameter.zero_()
    simulation.run(25)
    assert not bool(world[Done].ended.any())
    assert bool((world[RootState].position[:, 2] > 0.8 * world[Robot].default_height).all())


@needs_g1
def test_on_a_laptop_a_velocity_pays_from_further_off_and_all_other_terms_are_mjlabs() -> None:
    published = walking("mjlab_velocity", penalties=0.1, self_collision=False).train()
    small = walking().train()

    def numbers(scene: Scene) -> dict[str, object]:
        known = addresses(scene.bundles)
        return {
            address: found[0].holder[found[0].key]
            for address, found in known.items()
            if address.startswith("task.reward.")
        }

    ours, theirs = numbers(small), numbers(published)
    assert {at: (theirs.get(at), value) for at, value in ours.items() if theirs.get(at) != value} == {
        "task.reward.linear_velocity.weight": (2.0, 4.0),
        "task.reward.linear_velocity.width": (0.25, 1.0),
        "task.reward.posture.weight": (1.0, 0.3),
        "task.reward.gait_contact.weight": (None, 0.4),
        "task.reward.gait_contact.stance": (None, 0.55),
    }


def test_a_quadruped_has_no_terms_of_a_humanoid_and_a_file_brings_the_robot() -> None:
    simulation = simulated(robot=go1(), num_envs=2)
    terms = simulation.world.tables["robot"].axes["reward"]
    assert "angular_momentum" not in terms and "posture" in terms
    robot = simulation.world[Robot]
    assert [name.split("_")[0] for name in robot.dof_names[::3]] == ["FR", "FL", "RR", "RL"]
    assert robot.stiffness[:3].tolist() == pytest.approx([15.8952, 15.8952, 35.7643], rel=1e-5)
    assert robot.damping[:3].tolist() == pytest.approx([1.011923, 1.011923, 2.276826], rel=1e-5)
    assert robot.action_scale[:3].tolist() == pytest.approx([0.372753, 0.372753, 0.248502], rel=1e-5)
    assert robot.default_position[:6].tolist() == pytest.approx([0.1, 0.9, -1.8, -0.1, 0.9, -1.8])


def test_the_go2_comes_from_a_file_with_its_published_gains() -> None:
    file = data_path("robots", "unitree_go2", "go2.urdf")
    world = simulated("humanoidverse_locomotion", robot=f"go2:{file}", num_envs=2).world
    assert world[Robot].stiffness.tolist() == [20.0] * 12 and world[Robot].action_scale.tolist() == [0.25] * 12
    assert world[Robot].foot_names == ("FR_foot", "FL_foot", "RR_foot", "RL_foot")
    with pytest.raises(SceneError, match=r"--robot go2:FILE"):
        walking(robot="go2")


def test_commands_are_followed_in_the_axes_of_the_base() -> None:
    """The evaluation's errors are those of the horizontal velocity and yaw rate in base axes, of the frames that count."""
    made = walking()
    assert made.evaluate is not None
    playing = build(made.evaluate.scene())
    linear = torch.zeros(128)
    alive = torch.ones(128, dtype=torch.bool)
    world, frames = playing.world, torch.zeros(128)
    playing.run(1)  # the first tick only resets
    for _ in range(5):
        asked = world[Command].velocity.clone()
        playing.run(1)
        assert not bool(world[Rewritten].rows.any())
        root = world[RootState]
        for i in range(128):
            v = matrix(root.rotation[i]).T @ root.linear_velocity[i].double().numpy()
            linear[i] += float(((v[:2] - asked[i, :2].double().numpy()) ** 2).sum() ** 0.5)
        frames += alive
    torch.testing.assert_close(world[CommandScore].linear, linear, atol=1e-4, rtol=1e-4)
    assert torch.equal(world[FirstEpisode].steps.float(), frames)


def test_the_evaluation_says_who_fell_and_how_far_off_they_were(tmp_path: Path) -> None:
    made = walking(seconds=0.3)
    simulation = build(made.train())
    simulation.run(13)
    assert made.evaluate is not None
    found = run_trial(made.evaluate, save(simulation.world), tmp_path, training=made.train())
    row = found["summary"]
    assert row["episodes"] == 128 and 0 <= row["success %"] <= 100 and 0 < row["length s"] <= 0.3 + 1e-6
    assert row["linear velocity error m/s"] > 0 and row["yaw rate error rad/s"] > 0


def test_a_policy_is_played_in_the_first_range_without_noise_or_pushes() -> None:
    made = walking("mjlab_velocity")
    trained = build(made.train())
    assert made.evaluate is not None
    playing = build(made.evaluate.scene())
    names = {entry.name for entry in playing.schedule.entries}
    assert "push" not in names and "push" in {entry.name for entry in trained.schedule.entries}
    for simulation in (playing, trained):
        simulation.run(1)
        simulation.world.clock.tick = 130_000  # the curriculum's second stage
        simulation.run(1)
    assert playing.world[CommandRange].high.tolist() == pytest.approx([1.0, 1.0, 0.5])
    assert trained.world[CommandRange].high.tolist() == pytest.approx([2.0, 1.0, 0.7])


@pytest.mark.parametrize(
    ("config", "numbers", "sentence"),
    [
        ("laptop", {"command": (2.0, 0.0, 0.0)}, "asks for 2 forward, outside the range -1 … 1"),
        ("mjlab_velocity", {"command": (0.5, 0.0, 0.0)}, "curriculum=True has no effect with command="),
        ("humanoidverse_locomotion", {"curriculum": True}, "has one range only"),
        ("laptop", {"device": "cuda"}, "--device cpu"),
        ("laptop", {"robustness": -1.0}, "robustness=-1.0 is a share"),
        ("laptop", {"penalties": 0.0}, "penalties=0.0 is a share"),
        ("laptop", {"substeps": 0}, "substeps=0 makes no sense"),
        ("laptop", {"gait_period": 0.01}, "gait_period=0.01 s is not possible"),
        ("mjlab_velocity", {"gait_weight": 0.5}, "no effect without a gait clock; give --gait-period too"),
        ("laptop", {"gait_weight": -1.0}, "give 0 or more"),
        ("laptop", {"robot": "go9"}, "There is no robot 'go9'.*Did you mean"),
        ("humanoidverse_locomotion", {"robot": "humanoid"}, "none for 'humanoid'. Choose --config mjlab_velocity"),
        ("humanoidverse_locomotion", {"robustness": 0.5, "robot": "h1"}, "robustness=0.5 has no effect"),
    ],
)
def test_what_has_no_effect_or_makes_no_sense_is_refused(config: str, numbers: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence):
        walking(config, **numbers).train()


def test_a_robot_with_a_joint_that_no_tolerance_is_for_is_refused_by_its_name() -> None:
    made = walking().train()
    simulation = build(made, overrides={"task.reward.posture.walking": "(('(?i).*hip.*', 0.3),)"})
    with pytest.raises(SceneError, match=r"matches left_knee_joint.*Add \(pattern, number\)"):
        simulation.run(3)


def test_penalties_scale_what_costs_and_nothing_else() -> None:
    cheap, dear = (walking(penalties=share).train() for share in (0.1, 1.0))
    weights = [
        {name: each.settings["weight"] for name, each in system.terms.items()}
        for made in (cheap, dear)
        for bundle in made.bundles
        for group in bundle.systems.values()
        for system in group
        if system.name == "reward"
    ]
    assert weights[1]["action_rate"] == -0.1 and weights[1]["posture"] == 0.3
    assert weights[0] == pytest.approx({name: (0.1 if w < 0 else 1.0) * w for name, w in weights[1].items()})


def test_memory_of_4096_rows_is_below_four_gigabytes() -> None:
    world = build(walking(hidden=(512, 256, 128), horizon=24).train()).world
    axes = world.tables["robot"].axes
    assert sum(num_bytes(cls, 4096, axes) for _, cls in world.components) < 2 * 2**30


# -- exactness -----------------------------------------------------------------------------------------


def exact(**numbers: Any) -> Simulation:
    """Eight rows with all noise, a gait clock, and commands that change within the ticks of a test."""
    made = walking(num_envs=8, robustness=1.0, gait_period=0.6, seconds=0.5, **numbers).train()
    return build(made, overrides={"commands.draw_commands.interval": "(0.1, 0.3)"}, seed=numbers.get("seed", 0))


def test_resuming_and_rewinding_reach_the_same_bytes_on_one_thread_and_two() -> None:
    whole, saved, moments = exact(), {}, (0, 1, 13, 25)
    for tick in range(TICKS):
        if tick in moments:
            saved[tick] = save(whole.world)
        whole.run()
    reference = save(whole.world)
    threads = exact(physics_threads=2)
    threads.run(TICKS)
    assert save(threads.world) == reference
    after = exact()
    after.run(3)
    for moment in moments:
        restore(after.world, saved[moment])
        after.run(TICKS - moment)
        assert save(after.world) == reference
    whole.run(5)
    restore(whole.world, reference)
    assert save(whole.world) == reference


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)
    flags = ["--robot", "humanoid", "--num-envs", "4", "--learning.hidden", "8", "--learning.horizon", "6",
             "--physics-threads", "1", "--threads", "1", "--debug", "off", "--no-film", "--checkpoint-every", "2"]  # fmt: skip
    scene = str(REPOSITORY / "scenes" / "velocity.py")
    for folder, first in (("whole", "4"), ("halves", "2")):
        assert main([scene, *flags, "--iterations", first, "--seconds", "0.2", "--out", str(tmp_path / folder)]) == 0
    assert main(["--resume", str(tmp_path / "halves"), "--iterations", "4"]) == 0
    last = [next((tmp_path / f / "checkpoints").glob("*4.lockstep")).read_bytes() for f in ("whole", "halves")]
    assert last[0] == last[1]
    rows = [(tmp_path / f / "metrics.jsonl").read_text().splitlines() for f in ("whole", "halves")]
    assert [json.loads(r) for r in rows[0]] == [json.loads(r) for r in rows[1]]


# -- the film ------------------------------------------------------------------------------------------


def test_a_film_shows_what_is_asked_and_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(velocity_trial, "SIZE", (96, 72))
    monkeypatch.setenv("MUJOCO_GL", "disable")  # painted
    made = walking(seconds=0.3)
    simulation = build(made.train())
    simulation.run(2)
    summary = filmed(made, save(simulation.world), tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").stat().st_size > 1000
    assert "episode 1" in summary["shown"] and "m/s" in summary["error"]


# -- terrain -------------------------------------------------------------------------------------------

ROUGH: dict[str, Any] = {
    "robot": "humanoid", "terrain": "rough", "tiles": ClimbedTiles(levels=3, border=2.0, begin=(0, 2), promote=0.05),
}  # fmt: skip


@pytest.fixture(scope="module")
def rough() -> Experiment:
    """Eight rows on terrain, whose episodes are short enough for levels to change."""
    return walking(num_envs=8, robustness=1.0, seconds=0.3, **ROUGH)


def test_on_terrain_rows_see_the_ground_and_resume_to_the_same_bytes(rough: Experiment) -> None:
    whole = build(rough.train())
    audit = Audit(whole.schedule)
    whole.run(TICKS)
    assert [finding.text for finding in audit.findings] == []
    reference, world = save(whole.world), whole.world
    assert world[Observation].actor.shape[1] == 12 + 3 * len(world[Robot].dof_names) + 187 + 2  # of the gait clock
    after = build(rough.train())
    after.run(3)
    before = build(rough.train())
    first = before.world[TerrainTile]
    before.run(13)
    began = first.level.clone()
    restore(after.world, save(before.world))
    after.run(TICKS - 13)
    assert save(after.world) == reference
    assert not torch.equal(world[TerrainTile].level, began)  # levels are among those bytes
    assert rough.report is not None
    assert {"terrain/level", "terrain/stairs_up"} <= rough.report(world).keys()
    assert "off_terrain" in world.tables["robot"].axes["termination"]


def test_a_policy_is_played_on_all_levels_and_a_row_that_wraps_goes_on(rough: Experiment) -> None:
    assert rough.evaluate is not None
    playing = build(rough.evaluate.scene())
    playing.run(1)
    assert set(playing.world[TerrainTile].level.tolist()) == {0, 1, 2}
    made = walking(
        num_envs=2, seconds=5.0, **{**ROUGH, "tiles": ClimbedTiles(levels=3, begin=(0, 2), edge="wrap", border=2.0)}
    )
    simulation = build(made.train())
    simulation.run(2)
    world = simulation.world
    assert "off_terrain" not in world.tables["robot"].axes["termination"]
    root = world[RootState]
    root.position[0] = torch.tensor([13.9, 0.0, float(root.position[0, 2])])  # tiles reach to 12 m, the border to 14 m
    simulation.run(1)
    assert float(root.position[0, 0]) == pytest.approx(13.9 - 2 * 13.7, abs=0.1) and not bool(world[Done].ended.any())


def test_a_quadruped_on_terrain_has_the_published_widths_and_ends() -> None:
    made = walking(
        "mjlab_velocity_rough",
        **{**ROUGH, "robot": go1(), "num_envs": 2, "tiles": ClimbedTiles(levels=1, begin=(0, 0))},
    )
    world = build(made.train()).world
    assert (world[Observation].actor.shape[1], world[Observation].critic.shape[1]) == (235, 259)
    assert world.tables["robot"].axes["termination"] == ("thigh_contact", "diverged", "time_limit", "off_terrain")
    assert {"trunk_contact", "self_collision", "upright"} <= set(world.tables["robot"].axes["reward"])


def test_a_robot_whose_joints_have_other_names_learns_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    robot = write(tmp_path, foreign().replace("_hip_pitch", "_HFE").replace("_elbow", "_EFE"))
    simulated(robot=str(robot), num_envs=4).run(3)
    simulated(robot=str(robot), num_envs=4)
    warned = [text for text in caplog.messages if "do not say what these joints are" in text]
    assert len(warned) == 1 and "left_HFE_joint" in warned[0] and "left_knee" not in warned[0]
