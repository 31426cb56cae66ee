"""Learning in imagination: the policy follows the gradient of the task's own rewards through a learned model of the robot.

In the order of an iteration: collect, with noise on the actions; fit the model (`systems/learning/dynamics.py`) to what
happened; imagine some ticks from remembered states, in which the scene's own systems and terms see what the model
predicts; and improve the policy by the gradient of the imagined return (as in SHAC, Xu et al. 2022, without a critic).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from components.control import Action, ActionDelay, DofTarget, EncoderBias
from components.dynamics import Dynamics
from components.episode import Done, Episode, Reward, Rewritten
from components.learning import Policy
from components.motion import MotionCursor
from components.observation import Observation
from components.physics import Physics
from components.robot import ContactForce, DofState, RootState
from components.world_model import BestPolicy, JointErrors, MeanGradient, Memory, RunningRewards, WorldModelMetrics
from engine.ecs.access import Rng, Terms, Write
from engine.ecs.bundle import Bundle, deferred
from engine.ecs.condition import every
from engine.ecs.imagination import Imagination
from engine.ecs.system import Term, concatenated, fuse, system
from engine.ecs.world import Clock, World
from engine.ranks.blocks import Blocks
from engine.ranks.distribution import on_rows_of_all
from engine.tools.gradients import check_gradients
from systems import tick
from systems.learning import dynamics as model
from systems.learning.alarms import compare_rewards, make_joint_errors, make_rewards
from systems.learning.best import average_policies, keep_the_best, make_best
from systems.learning.config import AHEAD, PpoConfig, WorldModelConfig
from systems.learning.memory import (
    columns_of,
    draw_runs,
    draw_ticks,
    draw_transitions,
    refuse_beyond_budget,
    ticks_of_every_row,
    unpack,
)
from systems.learning.natural import make_mean_gradient, take_natural_step
from systems.learning.networks import make_policy
from systems.learning.threads import THREADS, thread_pool
from systems.physics.learned_backend import LearnedBackend
from systems.ppo_rollout import put_action
from systems.robots.model import RobotModel
from systems.tracking import sees_anchor_only

REMEMBERED = (RootState, DofState, Action, ActionDelay, EncoderBias, MotionCursor, Episode)
RUN = 8  # ticks of the runs that the model is fitted to
HORIZONS = (1, 4, 8, AHEAD)  # ticks after which its error is reported
GOLDEN = 40_503  # 2^16 by the golden ratio: its multiples spread evenly over 2^16
GATHERED = 20  # steps of the model's optimiser for which transitions are gathered at once
MEANS = ("imagined_reward", "imagined_ends", "gradient_norm", "kl")  # metrics, over the updates of an iteration
STREAMS = tuple(f"imagined {share}" for share in range(THREADS))


# -- collect -------------------------------------------------------------------------------------------


def remember_state(values: Terms, clock: Clock, memory: Write[Memory]) -> None:
    """Keep what imagined rows may begin with: the state before this tick's action."""
    memory.state[:, clock.tick % memory.state.shape[1]] = torch.cat([value for _, value in values], -1)


def explore(
    observation: Observation, episode: Episode, clock: Clock, rng: Rng, policy: Policy, blocks: Blocks, action: Write[Action],
    *, std: float, last_std: float, settle: int, explorers: float,
) -> None:  # fmt: skip
    """The policy's mean action, in a share `explorers` of the episodes with noise, which falls from `std` to `last_std` over `settle` ticks."""
    noisy = (episode.began * GOLDEN % 65_536 < explorers * 65_536).unsqueeze(1)
    put_around(
        blocks.mapped(policy.actor, observation.actor), rng, action, noisy * settling(std, last_std, settle, clock)
    )


def settling(first: float, last: float, ticks: int, clock: Clock) -> float:
    """A number that goes from `first` to `last` over so many `ticks`, and stays there."""
    return first + (last - first) * min(1.0, clock.tick / ticks)


def imagine_action(observation: Observation, policy: Policy, rng: Rng, action: Write[Action], *, imagined_std: float) -> None:  # fmt: skip
    """What the policy does in imagination."""
    put_around(policy.actor(observation.actor), rng, action, imagined_std)


def put_around(mean: Tensor, rng: Rng, action: Action, deviation: Tensor | float) -> None:
    """Make a mean action and noise of this deviation, (rows, 1) or that of all, the current action."""
    put_action(action, mean + deviation * torch.randn(mean.shape, generator=rng, device=mean.device), math.inf)


def remember_outcome(
    clock: Clock, target: DofTarget, rewritten: Rewritten, reward: Reward, memory: Write[Memory]
) -> None:
    """Keep what the servos pulled to, what the tick earned, and whether the next one goes on from here."""
    slot = clock.tick % memory.state.shape[1]
    memory.target[:, slot] = target.position
    memory.reward[:, slot] = reward.total
    memory.whole[:, slot] = ~rewritten.rows
    memory.count += 1


# -- fit -----------------------------------------------------------------------------------------------


@on_rows_of_all
def fit_dynamics(
    clock: Clock, memory: Memory, rng: Rng, dynamics: Write[Dynamics], metrics: Write[WorldModelMetrics],
    joints: Write[JointErrors], *, warm_up: int, first_fits: int, fits: int, open_loop_fits: int, fit_batch: int,
) -> None:  # fmt: skip
    """Fit the model to what is remembered; its linear part once, when there are `warm_up` ticks."""
    if ticks_of_every_row(memory) < warm_up:
        return
    if not bool(dynamics.scale.any()):
        model.fit_linear(dynamics, *draw_transitions(clock, memory, rng, model.MOST_ROWS))
        fits = first_fits
    for done in range(0, fits, GATHERED):
        some = draw_transitions(clock, memory, rng, fit_batch * min(GATHERED, fits - done))
        metrics.one_step_loss.copy_(model.fit_one_step(dynamics, *some, batch=fit_batch))
    for _ in range(open_loop_fits):
        model.fit_open_loop(dynamics, *draw_runs(clock, memory, rng, fit_batch, RUN))
    seen = draw_runs(clock, memory, rng, fit_batch, HORIZONS[-1])
    for steps, error in model.open_loop_error(dynamics, *seen, horizons=HORIZONS).items():
        getattr(metrics, f"error_{steps}").copy_(error.joints.mean())
        joints.error.copy_(error.joints)  # the last are those of the furthest step


# -- imagine, improve ----------------------------------------------------------------------------------


def imagined_return(
    share: int, numbers: Tensor, *, imagination: Imagination, policy: Policy, horizon: int, gamma: float, batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the loss, −Σ γᵗ r until an episode's end, over `batch` rows, of which `numbers` are a share.

    Also what the first actions saw, and sums until the end: reward, ticks and rows that have not ended.
    """
    axes = imagination.schedule.world.tables[imagination.table].axes
    with torch.enable_grad():
        rows = imagination.begin(unpack(numbers, REMEMBERED, axes), STREAMS[share])
        seen = rows[Observation].actor.detach()
        for _ in range(horizon):
            rows.step()
        found = rows.judge()
        reward, ended = (x.view(horizon, -1) for x in (found[Reward].total, found[Done].ended))
        alive = torch.cat((torch.ones_like(reward[:1]), (~ended[:-1]).to(reward.dtype).cumprod(0)))
        discount = torch.pow(gamma, torch.arange(horizon, dtype=reward.dtype)).unsqueeze(1)
        loss = (discount * alive * reward).sum() / -batch
        parameters = list(policy.actor.parameters())
        pieces = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    going = alive[-1] * ~ended[-1]
    sums = torch.stack(((alive * reward).sum(), alive.sum(), going.sum())).detach()
    return torch.cat([piece.flatten() for piece in pieces]), seen, sums


@on_rows_of_all
def improve_in_imagination(
    clock: Clock, memory: Memory, imagination: Imagination, dynamics: Dynamics, rng: Rng,
    policy: Write[Policy], mean: Write[MeanGradient], best: Write[BestPolicy], metrics: Write[WorldModelMetrics], *, collect: int, warm_up: int, updates: int, batch: int, horizon: int, gamma: float,
    imagined_std: float, momentum: float, kl: float, last_kl: float, hold: int, settle: int, damping: float, solves: int, relapse: float,
) -> None:  # fmt: skip
    """Follow the gradient of the imagined return for some updates, each from other remembered states.

    The policy does not change after tick `settle`, when it becomes the running mean of all, or by an update whose gradient, or a model whose numbers are not finite. When the real reward has
    fallen by the share `relapse` of the best, the policy has learned to please the model: the best one is put back, and
    learns on by updates of half the divergence.
    """
    if ticks_of_every_row(memory) < warm_up:
        return
    slots = (clock.tick - torch.arange(collect)) % memory.reward.shape[1]
    metrics.real_reward.copy_(memory.reward[:, slots].mean())
    metrics.settled.copy_((metrics.settled + 1) * (clock.tick > settle))
    if metrics.settled:
        return
    if not model.finite(dynamics):
        metrics.skipped_steps += updates
        return
    imagination.resources[Physics].backend.refold()
    spent = min(1.0, max(0.0, (clock.tick - hold) / (settle - hold)))
    most = kl * (last_kl / kl) ** spent * 0.5 ** float(metrics.taken_back)
    work = partial(imagined_return, imagination=imagination, policy=policy, horizon=horizon, gamma=gamma, batch=batch)
    totals = torch.zeros(5, device=memory.reward.device)
    with thread_pool() as run:
        for _ in range(updates):
            rows, ticks = draw_ticks(clock, memory, rng, batch, 0)
            numbers = memory.state[rows, ticks % memory.state.shape[1]]
            gradients, seen, sums = zip(*run(work, range(THREADS), numbers.chunk(THREADS)), strict=True)
            gradient = torch.stack(gradients).sum(0)
            moved, sound = take_natural_step(
                policy, mean, gradient, torch.cat(seen),
                momentum=momentum, deviation=imagined_std, kl=most, damping=damping, solves=solves,
            )  # fmt: skip
            earned, lived, going = torch.stack(sums).sum(0)
            totals += torch.stack(
                (earned / lived, 1 - going / batch, gradient.norm().nan_to_num(0.0), moved, 1 - sound)
            )
    for name, value in zip(MEANS, totals[:4] / updates, strict=True):
        getattr(metrics, name).copy_(value)
    metrics.skipped_steps += totals[4]
    if clock.tick <= hold:  # later this would change actions more than updates do
        policy.actor.normaliser.update(torch.cat(seen))
    keep_the_best(policy, mean, best, metrics, relapse)
    average_policies(policy, best, last=clock.tick + collect > settle)


# -- the bundle ----------------------------------------------------------------------------------------


def imagined_physics(robot: RobotModel, pull: float, bodies: Sequence[str] | None, world: World) -> Physics:
    """The learned simulator that imagined rows are moved by, or judged with; `bodies` that it tells, by default all."""
    return Physics(backend=LearnedBackend(robot, world.resource(Dynamics), pull=pull, bodies=bodies))


def imagination(robot: RobotModel, config: WorldModelConfig, bodies: Sequence[str] | None) -> Imagination:
    """Which part of the tick is imagined: all between an action and the next, and nothing that starts rows over.

    `bodies` are those that the policy sees anything of; None: all.
    """
    return Imagination(
        wanted=(Observation, Reward, Done),
        given=REMEMBERED,
        phases=(
            tick.ACTUATE,
            tick.TORQUE,
            tick.STEP,
            tick.SENSE,
            tick.TERMINATE,
            tick.REWARD,
            tick.ADVANCE,
            tick.COMMAND,
            tick.OBSERVE,
        ),
        enter=(tick.REFRESH, tick.COMMAND, tick.OBSERVE),
        systems={tick.ACT: [system(imagine_action, imagined_std=config.imagined_std)]},
        replaces={
            Physics: partial(imagined_physics, robot, config.pull, bodies),
        },
        again=("refresh_kinematics", "derive_tracked_state"),
        judged_by={Physics: partial(imagined_physics, robot, config.pull, None)},
        unknown={ContactForce: "the learned simulator tells no contacts"},
        streams=STREAMS,
        cure="Leave it out, or learn by PPO: --learner ppo.",
    )


def world_model(
    learning: PpoConfig, config: WorldModelConfig, robot: RobotModel, observations: Mapping[str, Term], *, rows: int, dt: float,
) -> Bundle:  # fmt: skip
    """Learn in imagination, one iteration every `config.collect` ticks; the policy has the form of `learning`."""
    imagined = imagination(robot, config, (robot.robot.anchor_body,) if sees_anchor_only(observations) else None)
    remembered = {cls.__name__: columns_of(cls) for cls in REMEMBERED}
    policy = partial(make_policy, learning, critic=False)
    learn = partial(system, when=every(config.collect))
    return Bundle(
        "world_model",
        components=[Action, Memory],
        resources=[
            deferred(Policy, policy),
            deferred(Dynamics, partial(_make_dynamics, config, rows, dt)),
            deferred(MeanGradient, partial(make_mean_gradient, learning)),
            deferred(BestPolicy, partial(make_best, learning)),
            deferred(RunningRewards, make_rewards),
            deferred(JointErrors, make_joint_errors),
            deferred(WorldModelMetrics, lambda axes, seed, device: WorldModelMetrics.zeros(device)),
            imagined,
            Blocks(),
        ],
        systems={
            tick.ACT: [fuse(remember_state, remembered), system(explore, **config.of(explore))],
            tick.RECORD: [system(remember_outcome)],
            tick.LEARN: [
                learn(fit_dynamics, may_sync="gathers whole transitions", **config.of(fit_dynamics)),
                learn(
                    improve_in_imagination,
                    wide=True,
                    may_sync="draws remembered states",
                    **config.of(improve_in_imagination),
                ),
                learn(compare_rewards, may_sync="counts what is remembered", **config.of(compare_rewards)),
            ],
        },
        axes={"memory": config.memory, "remembered_state": concatenated(remembered)},
        iteration=config.collect,
        checks=[partial(check_gradients, imagined)],
    )


def _make_dynamics(
    config: WorldModelConfig, rows: int, dt: float, axes: Mapping[str, Sequence[str]], seed: int, device: torch.device
) -> Dynamics:
    refuse_beyond_budget(rows, axes)  # here the widths are known, and no column is allocated yet
    return model.make_dynamics(
        axes["dof"], dt, hidden=config.model_hidden, learning_rate=config.model_rate, seed=seed, device=device
    )
