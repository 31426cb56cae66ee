"""Motion tracking with the learner world_model: what it is built of, what it refuses, and that a run of it ends well."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from components.control import Action
from components.episode import Episode, Rewritten
from components.learning import Policy
from components.observation import Observation
from components.world_model import BestPolicy, MeanGradient, Memory, WorldModelMetrics
from engine import BuildError, SceneError
from engine.ecs.component import num_bytes
from engine.ecs.world import Clock
from engine.ranks.blocks import Blocks
from engine.runner.run import main
from engine.runner.run_folder import RunFolder
from engine.snapshot.snapshot import Snapshot, save, start_over
from scenes.tasks import g1
from systems.learning.alarms import alarms
from systems.learning.best import average_policies, keep_the_best
from systems.learning.config import WorldModelConfig
from systems.learning.memory import draw_runs, draw_ticks, draw_transitions, refuse_beyond_budget
from systems.world_model import explore
from tests.exactness.test_world_model import SMALL, TICKS
from tests.exactness.test_world_model import tracking as small
from tests.helpers import REPOSITORY, evaluated, shorter, tracking


def test_a_scene_that_learns_by_ppo_imports_nothing_of_it():
    code = (
        "import sys\nfrom tests.helpers import tracking_scene\nfrom engine import build\n"
        "build(tracking_scene(robot='humanoid', clip='stand', num_envs=2))\n"
        "print([name for name in sys.modules if 'world_model' in name or 'learned_backend' in name or 'dynamics' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("learner", "asked", "iterations"), [("ppo", None, 300), ("world_model", None, 130), ("world_model", 7, 7)]
)
def test_each_learner_stops_after_its_own_number_of_iterations_unless_another_is_asked_for(
    learner: str, asked: int | None, iterations: int
):
    assert g1.LAPTOP.replace(learner=learner, iterations=asked).enough_iterations == iterations


@pytest.mark.parametrize(
    ("learner", "asked", "share"),
    [("ppo", None, None), ("world_model", None, 0.5), ("auto", None, 0.5), ("world_model", "uniform", None)],
)
def test_in_imagination_half_of_the_episodes_begin_with_the_first_frame_unless_something_else_is_asked_for(
    learner: str, asked: str | None, share: float | None
):
    numbers = {"ppo": {"world_model": WorldModelConfig()}, "world_model": {}, "auto": {"horizon": 8}}[learner]
    simulation = small(learner=learner, sampling=asked, **numbers)
    (draws,) = (e.system for e in simulation.schedule.entries if e.name == "draw_motion")
    assert draws.constants.get("start_share", 0.0) == (share or 0.0)


def test_the_memory_takes_less_than_150_megabytes_at_the_default():
    simulation = small()
    axes = simulation.world.tables["robot"].axes
    wide = {**axes, "memory": WorldModelConfig().memory, "dof": 29, "remembered_state": 13 + 58 + 58 + 30 + 29 + 3 + 2}
    assert num_bytes(Memory, g1.LAPTOP.num_envs, wide) < 150e6


def test_imagined_are_the_systems_between_an_action_and_the_next_and_rewards_are_judged_at_the_end():
    simulation = small()
    imagined = next(r for r in simulation.world.resources.values() if type(r).__name__ == "Imagination")
    names = [e.name for e in imagined.schedule.plan()]
    assert names[:4] == ["imagine_action", "begin_physics", "delay_action", "aim_around_reference"]
    assert {"step_physics", "refresh_kinematics", "align_reference", "terminate", "reward", "observe"} <= set(names)
    assert not {"reset_to_reference", "push", "count_rewards", "remember_state", "explore"} & set(names)
    judged = [e.name for e in imagined.schedule.entries if id(e) in imagined.judges]
    assert judged == ["align_reference", "terminate", "reward"]
    real = {e.name: e.system.function for e in simulation.schedule.entries}
    for entry in imagined.schedule.entries:  # no second implementation of anything but the action
        assert entry.name == "imagine_action" or entry.system.function is real[entry.name]
        for name, each in entry.system.terms.items():
            (same,) = [s for s in simulation.schedule.entries if s.name == entry.name and name in s.system.terms][:1]
            assert each.function is same.system.terms[name].function


def test_a_share_of_the_episodes_explores_to_their_end_and_the_others_do_as_the_policy_says():
    world = small(num_envs=1000).world
    observation, action, episode, policy = world[Observation], world[Action], world[Episode], world[Policy]
    episode.began.copy_(torch.arange(1000))
    wanted = policy.actor(observation.actor)
    found = []
    for tick in range(2):
        world.resource(Clock).tick = tick
        explore(
            observation, episode, world.resource(Clock), torch.Generator().manual_seed(tick), policy, Blocks(), action,
            std=0.2, last_std=0.1, settle=100, explorers=0.25,
        )  # fmt: skip
        found.append((action.value != wanted).any(1))
    assert torch.equal(*found)
    assert found[0].tolist() == [began * 40_503 % 65_536 < 16_384 for began in range(1000)]
    assert 245 <= int(found[0].sum()) <= 255 and bool(found[0][0])


REFUSED = {
    "contacts": (
        {"self_collision": True},
        "Term `self_collision` of `reward` (REWARD) reads ContactForce: the learned simulator",
    ),
    "torques": ({"control": "P", "around": "default"}, "Choose --control servo."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_imagined_is_refused_when_the_scene_is_built(name: str):
    changed, sentence = REFUSED[name]
    with pytest.raises((BuildError, SceneError)) as error:
        small(**changed)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ({"updates": 0}, "world_model.updates=0 makes no sense; give at least 1."),
        ({"horizon": 0}, "world_model.horizon=0 makes no sense; give at least 1."),
        ({"batch": 1}, "world_model.batch=1 makes no sense; give at least 2."),
        ({"warm_up": 4}, "world_model.warm_up=4 makes no sense; give at least 17."),
        ({"memory": 10}, "world_model.memory=10 makes no sense; give at least 18."),
        ({"pull": -1.0}, "world_model.pull=-1.0 makes no sense; give a number above 0."),
        ({"settle": -500}, "world_model.settle=-500 makes no sense; give at least 1."),
        ({"relapse": math.nan}, "world_model.relapse=nan makes no sense; give a number above 0."),
        ({"last_std": -0.1}, "world_model.last_std=-0.1 makes no sense; give 0 or more."),
        ({"explorers": 1.5}, "world_model.explorers=1.5 makes no sense; a share is 0 to 1."),
        ({"momentum": 1.0}, "world_model.momentum=1.0 makes no sense; give 0, or a number between it and 1."),
        ({"kl": math.inf}, "world_model.kl=inf makes no sense; give a finite number."),
        (
            {"hold": 1040},
            "world_model.hold=1040 does not end before settle=1040; give a hold below it, or let it settle later.",
        ),
        (
            {"hold": 10, "settle": 20},
            "world_model.settle=20 comes before the first update; let it settle later than warm_up=32",
        ),
        ({"gamma": 1.1}, "world_model.gamma=1.1 makes no sense; a discount is at most 1."),
        ({"model_hidden": (8, 0)}, "world_model.model_hidden=(8, 0) makes no sense; give at least one layer"),
        ({"memory": 10**9}, "world_model.memory=1000000000 makes no sense; give at most 100,000."),
        ({"std": -0.1}, "world_model.std=-0.1 makes no sense; give a number above 0."),
        ({"collect": 128}, "world_model.collect=128 ticks do not fit into a memory=128"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(numbers: dict[str, float], sentence: str):
    with pytest.raises(SceneError) as error:
        WorldModelConfig(**numbers)  # type: ignore[arg-type]
    assert sentence in str(error.value)


def test_numbers_of_a_learner_that_is_not_asked_for_are_refused():
    with pytest.raises(SceneError, match=r"world_model\.horizon=3 has no effect with --learner ppo; leave it out, or"):
        g1.LAPTOP.replace(world_model=WorldModelConfig(horizon=3))
    for numbers in ({"value_heads": True}, {"critic_learning_rate": 1e-4}):
        with pytest.raises(SceneError, match="have no effect with --learner world_model, which has no critic"):
            g1.LAPTOP.replace(learner="world_model", **numbers)
    with pytest.raises(
        SceneError, match="l2c2_critic have no effect with --learner world_model, which smooths nothing"
    ):
        g1.LAPTOP.replace(learner="world_model", l2c2_critic=0.1)


def test_a_clip_that_is_shorter_than_what_is_imagined_is_refused_by_name():
    numbers = {"robot": "humanoid", "clip": "squat,wave,walk", "num_envs": 2, "learner": "world_model"}
    sentence = (
        "world_model.horizon=241 imagined ticks are more than these clips have: squat (240 ticks), wave (200 ticks). Leave "
        "them out, imagine fewer ticks, --world-model.horizon 200, or learn by PPO, --learner ppo."
    )
    with pytest.raises(SceneError, match=re.escape(sentence)):
        tracking(**numbers, world_model=WorldModelConfig(horizon=241)).train()
    tracking(**numbers, world_model=WorldModelConfig(horizon=200)).train()


def test_a_memory_beyond_its_budget_is_refused_before_it_is_allocated_and_what_is_proposed_fits():
    with pytest.raises(SceneError, match=r"^8 rows that remember 100000 ticks take \d+ MB, and their budget is 150 MB"):
        small(world_model=attrs.evolve(SMALL, memory=100_000))
    axes = {"memory": range(2048), "dof": range(29), "remembered_state": range(193)}
    with pytest.raises(SceneError) as error:
        refuse_beyond_budget(512, axes)
    numbers = re.fullmatch(
        r"512 rows that remember 2048 ticks take 936 MB, and their budget is 150 MB\. Remember less, "
        r"--world-model\.memory (\d+), or train fewer rows, --num-envs (\d+)\.",
        str(error.value),
    )
    assert numbers is not None and num_bytes(Memory, 512, axes) // 10**6 == 936
    ticks, rows = map(int, numbers.groups())
    assert (ticks, rows) == (328, 82)
    refuse_beyond_budget(512, {**axes, "memory": range(ticks)})
    refuse_beyond_budget(rows, axes)


def test_the_memory_is_a_ring_of_what_the_rows_were_did_and_earned():
    simulation = small(seed=3)
    world, length = simulation.world, SMALL.memory
    kept: list[dict[str, np.ndarray]] = [{}]
    simulation.run()
    for _ in range(2 * length + 3):
        columns = world.columns()
        before = {"position": columns["robot.RootState.position"].numpy().copy()}
        simulation.run()
        kept.append({**before, "rewritten": world[Rewritten].rows.numpy().copy()})
        kept[-1]["target"] = columns["robot.DofTarget.position"].numpy().copy()
    memory, now = world[Memory], world.clock.tick
    assert any(tick["rewritten"].any() for tick in kept[1:])
    for tick in range(now - length + 1, now + 1):
        slot = tick % length
        assert np.array_equal(memory.state[:, slot, :3].numpy(), kept[tick]["position"])
        assert np.array_equal(memory.target[:, slot].numpy(), kept[tick]["target"])
        assert np.array_equal(memory.whole[:, slot].numpy(), ~kept[tick]["rewritten"])
    rows, ticks = draw_ticks(world.clock, memory, torch.Generator(), 5000, 3)
    assert (int(ticks.min()), int(ticks.max())) == (now - length + 1, now - 3)
    assert set(rows.tolist()) == set(range(8))


def test_no_tick_is_drawn_before_the_first_action_and_no_run_goes_over_a_rewritten_row():
    simulation = small()
    simulation.run(20)
    world = simulation.world
    _, ticks = draw_ticks(world.clock, world[Memory], torch.Generator(), 500, 0)
    assert (int(ticks.min()), int(ticks.max())) == (1, 19)
    world[Memory].whole[:] = True
    world[Memory].whole[:, 10] = False
    state, targets, followings, goes_on = draw_runs(world.clock, world[Memory], torch.Generator(), 500, 4)
    assert targets.shape[:2] == followings.shape[:2] == goes_on.shape == (4, len(state)) and 300 < len(state) < 500
    assert goes_on.all(0).any() and not goes_on.all()


def test_rows_that_are_new_in_a_resumed_run_are_drawn_from_only_where_they_were_remembered():
    before = small()
    before.run(TICKS + 1)
    taken = Snapshot.decode(save(before.world))
    after = small(num_envs=5)
    start_over(after.world, taken, TICKS)
    world = after.world
    memory, policy = world[Memory], world[Policy].parameters.clone()
    after.run(4)  # the first of them is no tick with an action
    rows, ticks = draw_ticks(world.clock, memory, torch.Generator(), 300, 1)
    assert set(rows.tolist()) == set(range(5)) and set(ticks.tolist()) == {TICKS + 1, TICKS + 2}
    state, _, followings = draw_transitions(world.clock, memory, torch.Generator(), 300)
    assert len(state) and all(
        (turns.norm(dim=-1) - 1).abs().max() < 1e-5 for turns in (state[:, 3:7], followings[:, 3:7])
    )
    after.run(SMALL.warm_up - 4)
    assert torch.equal(policy, world[Policy].parameters)  # too little is remembered to learn from
    after.run(4)
    assert not torch.equal(policy, world[Policy].parameters) and not world[WorldModelMetrics].skipped_steps


def test_a_model_that_is_not_finite_changes_no_policy_and_is_counted():
    simulation = small()
    simulation.run(22)  # fitted once, in tick 20
    world = simulation.world
    dynamics = next(r for r in world.resources.values() if type(r).__name__ == "Dynamics")
    dynamics.weights.fill_(math.nan)
    before = world[Policy].parameters.clone()
    simulation.run(4)
    assert torch.equal(before, world[Policy].parameters)
    assert float(world[WorldModelMetrics].skipped_steps) == SMALL.updates


def test_after_it_settled_the_policy_and_what_normalises_its_observations_stay_as_they_are_and_the_run_says_so():
    simulation = small(world_model=attrs.evolve(SMALL, hold=20, settle=24))
    world, kept = simulation.world, {}
    for wanted in (20, 24, 36):  # the first ticks of learning are 20 and 24
        simulation.run(wanted + 1 - (world.clock.tick + 1 if kept else 0))
        assert world.clock.tick == wanted
        kept[wanted] = {n: tensor for n, tensor in world[Policy].state().items() if n.startswith("actor")}
    moments = [name for name in kept[20] if "normaliser" in name]
    assert moments and all(kept[20][name].any() and torch.equal(kept[20][name], kept[24][name]) for name in moments)
    assert not all(torch.equal(kept[20][name], kept[24][name]) for name in kept[20])
    assert all(torch.equal(kept[24][name], kept[36][name]) for name in kept[24])
    assert float(world[WorldModelMetrics].settled) == 3 and "stays as it is" in alarms(world)["settled"]
    earned = world[Memory].reward[:, [tick % SMALL.memory for tick in (33, 34, 35, 36)]]
    assert float(world[WorldModelMetrics].real_reward) == pytest.approx(float(earned.mean()))


def test_with_its_last_update_the_policy_becomes_the_running_mean_of_all_and_then_stays_so():
    simulation = small(
        world_model=attrs.evolve(SMALL, hold=20, settle=30, relapse=10.0)
    )  # updates in ticks 20, 24 and 28
    policy, seen = simulation.world[Policy], []
    actor = sum(parameter.numel() for parameter in policy.actor.parameters())
    simulation.run(21)
    for _ in range(2):
        seen.append(policy.parameters[:actor].clone())
        simulation.run(4)
    mean = simulation.world[BestPolicy].average
    assert all(torch.equal(tensor, mean[name]) for name, tensor in policy.actor.state_dict().items())
    last = 3 * policy.parameters[:actor] - seen[0] - seen[1]  # the third of which it is the mean
    kl_of_others, kl = (seen[1] - seen[0]).norm(), (last - seen[1]).norm()
    assert 0.01 * kl_of_others < kl < 10 * kl_of_others
    kept = policy.parameters.clone()
    simulation.run(8)
    assert torch.equal(kept, policy.parameters)


def test_the_running_mean_forgets_the_first_policies():
    simulation = small()
    policy, best = simulation.world[Policy], simulation.world[BestPolicy]
    policy.parameters.data.fill_(1.0)
    for count in range(1, 31):
        average_policies(policy, best, last=False)
        policy.parameters.data.fill_(1.0 + count)
    weights = [max(0.1, 1 / n) for n in range(1, 31)]
    wanted = 0.0
    for n, share in enumerate(weights, start=1):
        wanted += share * (n - wanted)
    assert float(best.average["body.layers.0.weight"][0, 0]) == pytest.approx(wanted, rel=1e-5)
    average_policies(policy, best, last=True)
    assert float(policy.parameters[0]) == pytest.approx(wanted + 0.1 * (31.0 - wanted), rel=1e-5)


def test_a_policy_that_earns_less_and_less_is_taken_back_and_learns_on_more_slowly():
    simulation = small()
    simulation.run(TICKS)
    world = simulation.world
    policy, mean = world[Policy], world[MeanGradient]
    best, metrics = world[BestPolicy], world[WorldModelMetrics]
    metrics.real_reward.fill_(1.0)
    for _ in range(100):
        keep_the_best(policy, mean, best, metrics, relapse=0.15)
    kept = {name: tensor.clone() for name, tensor in policy.actor.state_dict().items()}
    assert float(best.reward) == pytest.approx(1.0, abs=0.01) and float(metrics.taken_back) == 0
    policy.parameters.data.add_(1.0)
    metrics.real_reward.fill_(0.5)
    for _ in range(6):  # the running mean falls by a twentieth of what is left
        keep_the_best(policy, mean, best, metrics, relapse=0.15)
    assert float(metrics.taken_back) == 0
    for _ in range(2):
        keep_the_best(policy, mean, best, metrics, relapse=0.15)
    assert float(metrics.taken_back) == 1
    assert all(torch.equal(kept[name], tensor) for name, tensor in policy.actor.state_dict().items())


def test_a_trained_policy_is_evaluated_by_the_same_trial():
    simulation = small()
    simulation.run(TICKS)
    numbers = {"robot": "humanoid", "clip": "squat,wave", "num_envs": 8, "hidden": (16,)}
    made = shorter(tracking(**numbers, learner="world_model", world_model=SMALL), ticks=60)
    first, second = (evaluated(made, save(simulation.world))["summary"] for _ in range(2))
    assert first == second and math.isfinite(first["MPJPE global mm"])


def test_a_run_ends_with_metrics_of_model_and_imagination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)
    flags = ["--robot", "humanoid", "--num-envs", "4", "--iterations", "6", "--learning.hidden", "8", "--no-film"]
    own = ["warm-up=18", "memory=24", "first-fits=2", "fits=1", "fit-batch=16", "batch=4", "horizon=3", "updates=1"]
    words = [word for each in own for word in (f"--world-model.{each.split('=')[0]}", each.split("=")[1])]
    scene = str(REPOSITORY / "scenes" / "motion_tracking.py")
    assert main([scene, "--learner", "world_model", *flags, *words, "--out", str(tmp_path / "run")]) == 0
    (file,) = tmp_path.rglob("metrics.jsonl")
    last = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])
    text = json.dumps(last)
    for name in ("imagine/imagined_reward", "imagine/real_reward", "imagine/error_8", "imagine/taken_back"):
        assert name in text
