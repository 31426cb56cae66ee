"""The tutorial's scene: its physics against the textbook, its limits, and that it is solved."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import tensor

from components.control import Action
from components.episode import Done, Episode, Reward
from components.observation import Observation
from engine import Simulation, build
from engine.runner.run import main
from engine.snapshot.snapshot import restore, save
from engine.tools.audit import Audit
from scenes.cartpole import Cart, experiment, fallen, off_track, push, start_over, state
from tests.helpers import evaluated, filmed

FILE = str(Path(__file__).resolve().parents[2] / "scenes" / "cartpole.py")
SMALL: dict[str, Any] = {"num_envs": 8, "horizon": 8, "hidden": (8,)}


def small(seed: int = 0, **arguments: Any) -> Simulation:
    """The scene with few rows and a tiny network."""
    return build(experiment(**{**SMALL, **arguments}).train(), seed=seed)


def carts(rows: int = 1, **columns: Any) -> Cart:
    return Cart.make(rows, **columns)


def one_action(value: float | list[list[float]], rows: int = 1) -> Action:
    return Action.make(rows, {"dof": 1}, value=value)


# -- physics -------------------------------------------------------------------------------------------


def textbook_step(x: float, v: float, angle: float, spin: float, force: float, dt: float) -> tuple[float, ...]:
    """One Euler step of Barto, Sutton & Anderson (1983), appendix, without friction: θ̈ first, then ẍ."""
    g, cart, pole, half = 9.8, 1.0, 0.1, 0.5
    sine, cosine = math.sin(angle), math.cos(angle)
    bracket = (-force - pole * half * spin**2 * sine) / (cart + pole)
    spin_rate = (g * sine + cosine * bracket) / (half * (4 / 3 - pole * cosine**2 / (cart + pole)))
    rate = (force + pole * half * (spin**2 * sine - spin_rate * cosine)) / (cart + pole)
    return x + dt * v, v + dt * rate, angle + dt * spin, spin + dt * spin_rate


def test_fifty_steps_agree_with_the_textbook_loop():
    rng = np.random.default_rng(0)
    start = rng.uniform(-0.5, 0.5, (4, 5))
    forces = rng.uniform(-1.0, 1.0, (50, 5))
    cart = carts(5, position=start[0], speed=start[1], angle=start[2], spin=start[3])
    rows = [tuple(float(x) for x in start[:, row]) for row in range(5)]
    for chosen in forces:
        push(one_action(torch.tensor(chosen).unsqueeze(-1), 5), cart)
        rows = [textbook_step(*rows[row], 10.0 * chosen[row], 0.02) for row in range(5)]
    torch.testing.assert_close(state(cart), torch.tensor(rows, dtype=torch.float32), atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(("action", "force"), [(0.3, 3.0), (1.0, 10.0), (7.0, 10.0), (-7.0, -10.0)])
def test_the_force_is_ten_newtons_at_most(action: float, force: float):
    cart = carts()
    push(one_action(action), cart)
    _, speed, _, spin = textbook_step(0.0, 0.0, 0.0, 0.0, force, 0.02)
    assert (float(cart.speed), float(cart.spin)) == pytest.approx((speed, spin), rel=1e-5)


def test_by_hand_a_push_of_ten_newtons_from_rest():
    # F / M = 10 / 1.1 = 9.0909; θ̈ = −9.0909 / (0.5 (4/3 − 0.1/1.1)) = −14.6341; ẍ = 9.0909 + 0.05 · 14.6341 / 1.1 = 9.7561
    cart = carts()
    push(one_action(1.0), cart)
    assert float(cart.speed) == pytest.approx(0.02 * 9.7561, rel=1e-4)
    assert float(cart.spin) == pytest.approx(0.02 * -14.6341, rel=1e-4)
    assert (float(cart.position), float(cart.angle)) == (0.0, 0.0)  # Euler: they follow one step later


def energy(cart: Cart) -> float:
    """Kinetic and potential, J; the pole is a uniform rod of 0.1 kg and 1 m, its inertia about the hinge ml²·4/3."""
    v, angle, spin = float(cart.speed), float(cart.angle), float(cart.spin)
    moving = 0.5 * 1.1 * v**2 + 0.1 * 0.5 * v * spin * math.cos(angle) + 0.5 * (4 / 3) * 0.1 * 0.5**2 * spin**2
    return moving + 0.1 * 9.8 * 0.5 * math.cos(angle)


def double(**columns: float) -> Cart:
    """One row in double precision."""
    return Cart(**{name: tensor([columns.get(name, 0.0)], dtype=torch.float64) for name in Cart.__annotations__})


def in_the_limit(error: Callable[[float], float]) -> float:
    """An error at steps of no length, from two lengths of them: Euler's falls in proportion to the length."""
    coarse, fine = error(1e-3), error(5e-4)
    assert abs(coarse) > abs(fine) > 1e-4  # there is one to fall
    return 2.0 * fine - coarse


def test_a_pole_that_swings_freely_keeps_its_energy():
    def gained(dt: float) -> float:
        cart = double(angle=2.0)
        before = energy(cart)
        for _ in range(round(2.0 / dt)):  # more than one swing
            push(one_action(0.0), cart, dt=dt)
        return energy(cart) - before

    assert in_the_limit(gained) == pytest.approx(0.0, abs=2e-3)


def test_a_push_adds_the_work_that_it_does():
    def surplus(dt: float) -> float:
        cart = double(angle=0.3)
        before, work = energy(cart), 0.0
        for _ in range(round(0.5 / dt)):
            work += 5.0 * float(cart.speed) * dt
            push(one_action(0.5), cart, dt=dt)
        assert work > 1.0
        return energy(cart) - before - work

    assert in_the_limit(surplus) == pytest.approx(0.0, abs=2e-3)


# -- episodes ------------------------------------------------------------------------------------------


def test_episodes_start_near_the_middle_and_others_go_on():
    cart = carts(1000, position=9.0, speed=9.0, angle=9.0, spin=9.0)
    done = Done.make(1000, {"termination": 1}, ended=torch.arange(1000) < 990)
    start_over(done, torch.Generator().manual_seed(0), cart)
    fresh = state(cart)[:990]
    assert bool((state(cart)[990:] == 9.0).all())
    assert 0.049 < float(fresh.abs().max()) <= 0.05
    assert bool((fresh.mean(0).abs() < 0.004).all())  # four standard errors: 4 · 0.05 / √3 / √990


def test_the_track_ends_at_two_metres_forty_and_the_pole_is_lost_at_twelve_degrees():
    cart = carts(4, position=[2.39, -2.41, 2.41, 0.0], angle=[math.radians(a) for a in (11.9, 0.0, -12.1, 12.1)])
    assert off_track(cart).tolist() == [False, True, True, False]
    assert fallen(cart).tolist() == [False, False, True, True]


def test_every_step_earns_one_and_five_hundred_are_cut_off_not_failed():
    simulation = small()
    simulation.run(3)
    world = simulation.world
    for column in (world[Cart].position, world[Cart].speed, world[Cart].angle, world[Cart].spin):
        column.zero_()
    world[Episode].step.fill_(499)
    world[Cart].angle[0] = 0.3  # falls in the same tick
    simulation.run()
    assert world[Reward].total.tolist() == pytest.approx([1.0] * 8)
    assert world[Done].terminated.tolist() == [True] + [False] * 7
    assert world[Done].truncated.tolist() == [False] + [True] * 7


def test_the_policy_sees_the_cart_as_it_is():
    simulation = small()
    simulation.run(5)
    world = simulation.world
    assert torch.equal(world[Observation].actor, state(world[Cart]))


# -- the scene as a whole ------------------------------------------------------------------------------


def test_audited_ticks_of_learning_have_no_findings():
    simulation = small()
    audit = Audit(simulation.schedule)
    simulation.run(18)  # it learns twice
    assert [finding.text for finding in audit.findings] == []


def test_same_seed_same_bytes_and_another_seed_others():
    snapshots = []
    for seed in (3, 3, 4):
        simulation = small(seed)
        simulation.run(18)
        snapshots.append(save(simulation.world))
    assert snapshots[0] == snapshots[1] != snapshots[2]


def test_resuming_reaches_the_same_bytes():
    whole, other = small(), small(seed=99)
    saved, moments = {}, (0, 1, 8, 13, 25)
    for tick in range(26):
        if tick in moments:
            saved[tick] = save(whole.world)
        whole.run()
    for moment in moments:
        restore(other.world, saved[moment])
        other.run(26 - moment)
        assert save(other.world) == save(whole.world), moment


def test_it_is_solved_with_one_seed():
    made = experiment()
    simulation = build(made.train(), seed=0)
    simulation.run(1 + simulation.scene.iteration * made.iterations)
    score = evaluated(made, save(simulation.world))["summary"]
    assert score["episodes"] == 100
    assert score["return"] >= 475.0


def test_constants_given_with_set_count_in_the_evaluation_too():
    simulation = small()
    simulation.run()
    made = experiment(**SMALL)
    data = save(simulation.world)
    heavy = {"cart.push.gravity": "98.0", "ppo.improve_policy.epochs": "3"}  # the second has no place in a trial
    usual, heavier = (evaluated(made, data, overrides=o)["summary"] for o in ({}, heavy))
    assert heavier["length"] < 0.6 * usual["length"]  # an untrained pole falls √10 times as fast
    assert heavier["failed %"] == 100.0


def test_a_film_draws_the_first_episode_frame_by_frame(tmp_path: Path):
    av = pytest.importorskip("av")
    simulation = small()
    simulation.run()
    film = filmed(experiment(**SMALL), save(simulation.world), tmp_path / "cart.mp4")
    with av.open(str(tmp_path / "cart.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert film["shown"] == f"{len(pictures)} control steps, {len(pictures) / 50:.2f} s"
    assert 5 < len(pictures) < 200 and pictures[0].shape == (480, 640, 3)  # an untrained pole falls soon
    assert not np.array_equal(pictures[0], pictures[-1])


# -- the command line ----------------------------------------------------------------------------------


def test_check_says_ok(capsys: pytest.CaptureFixture[str]):
    assert main([FILE, "--check"]) == 0
    assert capsys.readouterr().out == "ok\n"


def test_two_iterations_from_the_command_line_leave_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main([FILE, "--iterations", "2", "--num-envs", "16", "--out", "run"]) == 0
    shown = capsys.readouterr().out
    assert "Evaluation" in shown and "finished 2/2 iterations" in shown
    folder = tmp_path / "run"
    for name in ("config.json", "curve.png", "checkpoints/iteration_000002.lockstep"):
        assert (folder / name).is_file(), name
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["env_steps"] for row in rows] == [512, 1024]
    assert rows[-1]["reward/per_step"] == pytest.approx(1.0)
    assert not any(name.startswith("error/") for name in rows[-1])  # there is no reference to be far from
    result = json.loads((folder / "evaluation.json").read_text())["summary"]
    assert result["episodes"] == 100 and 5.0 < result["return"] < 500.0
    assert result["return"] == pytest.approx(result["length"])  # 1 for each step


@pytest.mark.parametrize(("hidden", "wide"), [((32, 32), set()), ((128,), {"estimate_advantage", "improve_policy"})])
def test_only_learning_with_large_layers_wakes_other_threads(hidden: tuple[int, ...], wide: set[str]):
    entries = small(hidden=hidden).schedule.entries
    assert {entry.name for entry in entries if entry.system.wide} == wide
