"""A scene is an environment of Gymnasium, Stable-Baselines3 and rsl_rl, and says truly how episodes end."""

import math
import sys
from typing import Any

import attrs
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from components.control import Action
from components.learning import Policy
from engine import Bundle, Experiment, SceneError
from scenes.cartpole import experiment as cartpole
from scenes.motion_tracking import CONFIGS
from scenes.motion_tracking import experiment as tracking
from systems.doorways import make_gymnasium_env, make_rsl_rl_env, make_sb3_env
from systems.doorways.gymnasium_env import GymnasiumEnv
from tests.helpers import REPOSITORY

CARTPOLE = REPOSITORY / "scenes" / "cartpole.py"


def small_tracking(**numbers: Any) -> Experiment:
    """Four rows without noise, so that two of them see the same."""
    plain: dict[str, Any] = {"robot": "humanoid", "num_envs": 4, "robustness": 0.0, "randomise": "none"}
    return tracking(CONFIGS["laptop"].replace(physics_threads=1, **{**plain, **numbers}))


def pushes(rng: np.random.Generator, env: GymnasiumEnv, size: float = 1.0) -> np.ndarray:
    return (size * rng.standard_normal(env.action_space.shape)).astype(np.float32)


def moved(cart: np.ndarray, action: np.ndarray) -> np.ndarray:
    """One Euler step of Barto, Sutton & Anderson's carts, (rows, 4): position, speed, angle, spin."""
    x, v, angle, spin = cart.T.astype(np.float64)
    force = 10.0 * np.clip(action[:, 0].astype(np.float64), -1.0, 1.0)
    sine, cosine = np.sin(angle), np.cos(angle)
    drive = (force + 0.05 * spin**2 * sine) / 1.1
    turn = (9.8 * sine - cosine * drive) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    speed = drive - 0.05 * turn * cosine / 1.1
    return np.stack((x + 0.02 * v, v + 0.02 * speed, angle + 0.02 * spin, spin + 0.02 * turn), 1)


# -- Gymnasium -----------------------------------------------------------------------------------------


def test_every_step_is_that_of_a_loop_in_numpy_and_rows_that_fall_begin_again_in_the_same_step():
    env, rng = make_gymnasium_env(CARTPOLE, num_envs=8), np.random.default_rng(0)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    seen, _ = env.reset(seed=1)
    falls = 0
    for _ in range(80):
        action = pushes(rng, env)
        wanted = moved(seen, action)
        fell = (np.abs(wanted[:, 0]) > 2.4) | (np.abs(wanted[:, 2]) > math.radians(12.0))
        seen, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(terminated, fell)
        np.testing.assert_allclose(seen[~fell], wanted[~fell], atol=1e-5)
        assert (reward == 1.0).all() and not truncated.any() and np.abs(seen[fell]).max(initial=0.0) <= 0.05
        for row in np.flatnonzero(fell):
            np.testing.assert_allclose(info["final_obs"][row], wanted[row], atol=1e-5)
        assert [each is None for each in info.get("final_obs", [None] * 8)] == (~fell).tolist()
        falls += int(fell.sum())
    assert falls > 8


def test_spaces_hold_what_is_seen_and_done():
    env = make_gymnasium_env(CARTPOLE, num_envs=3, groups=("actor", "critic"), bound=0.5)
    seen, _ = env.reset()
    assert env.observation_space.contains(seen) and set(seen) == {"actor", "critic"}
    assert env.single_action_space == gymnasium.spaces.Box(-0.5, 0.5, (1,), np.float32)
    seen, *_ = env.step(np.full((3, 1), 9.0, np.float32))
    assert env.observation_space.contains(seen)
    assert env.scene.of_row(Action).value.tolist() == [[0.5]] * 3  # what is beyond the space is not done


@pytest.mark.parametrize("group", ["actor", "critic"])
def test_a_row_that_is_cut_off_ends_with_what_it_would_have_seen_had_it_gone_on(group: str):
    """Against a twin with a later time limit, where the same rows go on."""
    address = "tracking.terminate.time_limit.steps"
    env, twin = (
        make_gymnasium_env(small_tracking(), groups=(group,), overrides={address: steps}, seed=3)
        for steps in ("60", "900")
    )
    rng, cut = np.random.default_rng(1), 0
    seen, other = env.reset()[0], twin.reset()[0]
    alike = np.ones(4, bool)  # rows in which nothing has ended yet
    for _ in range(30):
        action = pushes(rng, env, 0.1)
        seen, _, terminated, truncated, info = env.step(action)
        other, _, *ends, _ = twin.step(action)
        for row in np.flatnonzero(truncated & alike & ~(ends[0] | ends[1])):
            np.testing.assert_allclose(info["final_obs"][row], other[row], atol=1e-6)
            assert np.abs(seen[row] - other[row]).max() > 1e-2  # the next episode is another one
            cut += 1
        alike &= ~(terminated | truncated | ends[0] | ends[1])
        np.testing.assert_allclose(seen[alike], other[alike], atol=1e-6)
    assert cut


def test_a_seed_begins_a_scene_as_if_it_had_been_built_with_it():
    env, rng = make_gymnasium_env(small_tracking(robustness=1.0), seed=0), np.random.default_rng(2)
    actions = [pushes(rng, env, 0.5) for _ in range(20)]

    def played(env: GymnasiumEnv, seed: int | None) -> np.ndarray:
        first, _ = env.reset(seed=seed)
        return np.stack([first, *(env.step(each)[0] for each in actions)])

    once = played(env, 7)
    np.testing.assert_array_equal(played(env, 7), once)
    np.testing.assert_array_equal(played(make_gymnasium_env(small_tracking(robustness=1.0), seed=7), None), once)
    assert np.abs(played(env, None)[0] - once[0]).max() > 1e-3  # random streams go on
    assert np.abs(played(env, 8)[0] - once[0]).max() > 1e-3


def test_gymnasium_s_own_statistics_count_its_episodes():
    env = RecordEpisodeStatistics(make_gymnasium_env(CARTPOLE, num_envs=4))
    env.reset(seed=0)
    found = [env.step(np.ones((4, 1), np.float32))[-1] for _ in range(30)]
    ended = next(info for info in found if "episode" in info)
    row = int(np.flatnonzero(ended["_final_obs"])[0])
    assert ended["episode"]["l"][row] == ended["episode"]["r"][row] == found.index(ended) + 1


def test_the_scene_has_no_learner():
    scene = make_gymnasium_env(small_tracking()).scene
    assert Policy not in scene.simulation.world.resources
    assert not [e.name for e in scene.simulation.schedule.entries if e.phase == "LEARN"]


@pytest.mark.parametrize("name", [name for name in CONFIGS if "published" not in name])
def test_every_configuration_of_tracking_can_be_stepped_from_outside(name: str):
    config = CONFIGS[name].replace(num_envs=2, physics_threads=1)
    env = make_gymnasium_env(tracking(config), groups=("actor", "critic"))
    env.reset(seed=0)
    seen, reward, *_ = env.step(np.zeros(env.action_space.shape, np.float32))
    assert all(np.isfinite(part).all() for part in seen.values()) and np.isfinite(reward).all()


# -- Stable-Baselines3 and rsl_rl ----------------------------------------------------------------------


def test_stable_baselines_is_told_why_a_row_ended_and_what_it_earned():
    env, short = make_sb3_env(cartpole(num_envs=2)), "task.terminate.time_limit.steps"
    env.reset()
    steps = 0
    while True:
        seen, _, done, infos = env.step(np.ones((2, 1), np.float32))
        steps += 1
        if done[0]:
            break
    assert infos[0]["episode"]["l"] == steps and infos[0]["episode"]["r"] == steps
    assert not infos[0]["TimeLimit.truncated"] and abs(infos[0]["terminal_observation"][2]) > math.radians(12.0)
    assert np.abs(seen[0]).max() <= 0.05
    cut = make_sb3_env(cartpole(num_envs=2), overrides={short: "3"})
    cut.reset()
    *_, done, infos = [cut.step(np.zeros((2, 1), np.float32)) for _ in range(3)][-1]
    assert done.all() and all(info["TimeLimit.truncated"] for info in infos)


def test_rsl_rl_sees_each_group_and_which_rows_ran_out_of_time():
    env = make_rsl_rl_env(CARTPOLE, num_envs=4)
    assert env.num_actions == 1 and env.max_episode_length == 500
    seen = env.get_observations()
    assert set(seen.keys()) == {"actor", "critic"} and seen["actor"].shape == (4, 4)
    env.episode_length_buf = torch.tensor([0, 499, 0, 0])
    with torch.inference_mode():  # as its runner has it
        before = seen["actor"].clone()
        seen, reward, dones, extras = env.step(torch.zeros(4, 1))
    assert dones.tolist() == [0, 1, 0, 0] and extras["time_outs"].tolist() == [False, True, False, False]
    assert reward.tolist() == [1.0] * 4 and env.episode_length_buf.tolist() == [1, 0, 1, 1]
    assert not torch.equal(before, seen["actor"])


def test_what_rsl_rl_was_told_does_not_change_when_the_scene_goes_on():
    env = make_rsl_rl_env(CARTPOLE, num_envs=2)
    seen, reward, dones, extras = env.step(torch.ones(2, 1))
    kept = [each.clone() for each in (seen["actor"], reward, dones, extras["time_outs"])]
    for _ in range(30):
        env.step(torch.ones(2, 1))
    for given, was in zip((seen["actor"], reward, dones, extras["time_outs"]), kept, strict=True):
        assert torch.equal(given, was)


@pytest.mark.slow
def test_stable_baselines_learns_to_balance_the_pole():
    from stable_baselines3 import PPO

    env = make_sb3_env(CARTPOLE, num_envs=16, bound=1.0)
    learner = PPO("MlpPolicy", env, n_steps=64, batch_size=256, n_epochs=8, learning_rate=1e-3, seed=0, device="cpu")
    learner.learn(50_000)
    assert learner.ep_info_buffer is not None
    assert np.mean([each["r"] for each in learner.ep_info_buffer]) > 150.0  # 21 without learning


@pytest.mark.slow
def test_rsl_rl_learns_to_balance_the_pole():
    from rsl_rl.runners import OnPolicyRunner

    from benchmarks.doorways import rsl_rl_settings

    env = make_rsl_rl_env(CARTPOLE, num_envs=64)
    torch.manual_seed(0)
    runner = OnPolicyRunner(env, rsl_rl_settings(horizon=32, hidden=(32, 32), entropy=0.0), log_dir=None, device="cpu")
    earned: list[float] = []
    step = env.step

    def counted(actions: torch.Tensor) -> Any:
        seen, reward, dones, extras = step(actions)
        earned.append(float(dones.sum()))
        return seen, reward, dones, extras

    env.step = counted  # type: ignore[method-assign]
    runner.learn(40)
    ends = np.array(earned).reshape(40, 32).sum(1)
    assert 64 * 32 / ends[:2].mean() < 40 and 64 * 32 / ends[-5:].mean() > 100.0  # steps in one episode


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (np.zeros((3, 1), np.float32), r"Actions have the shape \(3, 1\); this scene takes \(2, 1\)"),
        (np.zeros(2, np.float32), r"Actions have the shape \(2,\); this scene takes \(2, 1\)"),
        (np.array([[0.0], [np.nan]]), "The action of row 1 is nan at place 0; give finite numbers only"),
        (np.array([[1e60], [0.0]]), "The action of row 0 is inf at place 0"),
        (np.zeros((2, 1), bool), "Actions are of type bool; give an array of float32"),
        ([["a"], ["b"]], "Actions are of type <U1; give an array"),
        ([[1.0], [1.0, 2.0]], "Actions are of type object; give an array"),
        (None, "Actions are of type object; give an array"),
    ],
)
def test_an_action_that_cannot_be_done_is_refused_and_nothing_moves(action: Any, sentence: str):
    env = make_gymnasium_env(CARTPOLE, num_envs=2)
    env.reset(seed=0)
    tick = env.scene.simulation.world.clock.tick
    with pytest.raises(SceneError, match=sentence):
        env.step(action)
    assert env.scene.simulation.world.clock.tick == tick


def unseen() -> Experiment:
    """A cart-pole with nothing to see."""
    made = cartpole(num_envs=2)

    def scene() -> Any:
        whole = made.train()
        return attrs.evolve(whole, bundles=[b for b in whole.bundles if b.name not in ("task", "metrics", "cart")])

    return attrs.evolve(made, train=scene)


def unmoved() -> Experiment:
    """A cart-pole that nobody pushes."""
    made = cartpole(num_envs=2)

    def without(bundle: Bundle) -> Bundle:
        systems = {p: [s for s in each if s.name != "push"] for p, each in bundle.systems.items()}
        return attrs.evolve(bundle, systems=systems)

    def scene() -> Any:
        whole = made.train()
        return attrs.evolve(whole, bundles=[without(bundle) for bundle in whole.bundles])

    return attrs.evolve(made, train=scene)


@pytest.mark.parametrize(
    ("scene", "options", "sentence"),
    [
        ("scenes/replay_motion.py", {}, "Nobody acts in the scene 'replay_motion': it has no learner"),
        (unseen, {}, "Nothing is seen in the scene 'cartpole'"),
        (unmoved, {}, "The scene 'cartpole' has no actions: no system reads Action"),
        (cartpole, {"num_envs": 3}, "An Experiment is made already, so that num_envs=… has no effect"),
        (CARTPOLE, {"num_env": 3}, r"has no flag 'num_env'. Did you mean num_envs\?"),
        (CARTPOLE, {"num_envs": "many"}, "The flag 'num_envs' of .* takes a whole number, but was given 'many'"),
        (CARTPOLE, {"groups": ("teacher",)}, "give a tuple of 'actor' and 'critic'"),
        (CARTPOLE, {"groups": ()}, "give a tuple of 'actor' and 'critic'"),
        (CARTPOLE, {"bound": 0.0}, "bound=0.0 leaves no actions"),
        ("scenes/cartpool.py", {}, r"There is no scene file scenes/cartpool.py. Did you mean scenes/cartpole.py"),
    ],
)
def test_a_scene_that_cannot_be_wrapped_is_refused_in_one_sentence(
    scene: Any, options: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(SceneError, match=sentence):
        make_gymnasium_env(scene() if callable(scene) else scene, **options)


def test_a_step_before_the_first_reset_and_a_seed_that_is_none_are_refused():
    env = make_gymnasium_env(CARTPOLE, num_envs=2)
    with pytest.raises(SceneError, match=r"Call reset\(\) before step\(\)"):
        env.step(np.zeros((2, 1), np.float32))
    with pytest.raises(SceneError, match="seed=-2 is no seed"):
        make_gymnasium_env(CARTPOLE, num_envs=2, seed=-2)
    with pytest.raises(SceneError, match="seed=-1 is no seed"):
        env.reset(seed=-1)
    with pytest.raises(SceneError, match="has no option 'low'"):
        env.reset(options={"low": 0})


@pytest.mark.parametrize(
    ("make", "module", "sentence"),
    [
        (make_gymnasium_env, "gymnasium", r"Gymnasium is not installed. pip install 'lockstep-sim\[gymnasium\]'"),
        (make_sb3_env, "stable_baselines3", r"Stable-Baselines3 is not installed. pip install 'lockstep-sim\[sb3\]'"),
        (make_rsl_rl_env, "rsl_rl", r"rsl_rl is not installed. pip install 'lockstep-sim\[rsl-rl\]'"),
    ],
)
def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it(
    make: Any, module: str, sentence: str, monkeypatch: pytest.MonkeyPatch
):
    for name in [n for n in sys.modules if n.startswith(("systems.doorways.", f"{module}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SceneError, match=sentence):
        make(CARTPOLE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("make", [make_gymnasium_env, make_sb3_env, make_rsl_rl_env])
def test_a_device_that_is_not_there_is_refused_in_python_s_words(make: Any) -> None:
    with pytest.raises(SceneError) as error:
        make(CARTPOLE, device="cuda")
    assert str(error.value) == "device is 'cuda', but torch finds no CUDA device here. Use device='cpu'."


def test_a_device_on_which_the_simulator_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        SceneError, match="Backend 'mujoco' simulates in host memory, so its scenes run with --device cpu"
    ):
        make_gymnasium_env(REPOSITORY / "scenes" / "motion_tracking.py", robot="humanoid", num_envs=2, device="cuda")
