"""What goes wrong in learning in imagination: noticed by a system, and worded as warnings."""

from collections.abc import Mapping, Sequence

import torch

from components.dynamics import Dynamics
from components.world_model import BestPolicy, Fallback, JointErrors, Memory, RunningRewards, WorldModelMetrics
from engine.ecs.access import Write
from engine.ecs.world import World
from engine.errors import listing
from engine.ranks.distribution import on_rows_of_all
from systems.learning.best import PATIENCE
from systems.learning.dynamics import finite, unmoved
from systems.learning.memory import ticks_of_every_row


@on_rows_of_all
def compare_rewards(
    memory: Memory,
    dynamics: Dynamics,
    rewards: Write[RunningRewards],
    metrics: Write[WorldModelMetrics],
    *,
    warm_up: int,
    most_gap: float,
) -> None:
    """Average what real and imagined steps earn over PATIENCE iterations, and see whether that parts by more than `most_gap`."""
    if ticks_of_every_row(memory) < warm_up or metrics.settled:
        return  # nothing is imagined
    rewards.iterations += 1
    rewards.real += (metrics.real_reward - rewards.real) / PATIENCE
    rewards.imagined += (metrics.imagined_reward - rewards.imagined) / PATIENCE
    larger = torch.maximum(rewards.real.abs(), rewards.imagined.abs()).clamp_min(1e-12)
    metrics.gap.copy_((rewards.imagined - rewards.real) / larger)
    rewards.parted.copy_((rewards.iterations >= PATIENCE) & (metrics.gap.abs() > most_gap))
    metrics.parted += rewards.parted
    metrics.unmoved_joints.fill_(len(unmoved(dynamics)))


def make_rewards(axes: Mapping[str, Sequence[str]], seed: int, device: torch.device) -> RunningRewards:
    """Nothing is earned yet."""
    zero = torch.zeros((), device=device)
    count = torch.zeros((), dtype=torch.int64, device=device)
    return RunningRewards(real=zero, imagined=zero.clone(), iterations=count, parted=zero.bool())


def make_joint_errors(axes: Mapping[str, Sequence[str]], seed: int, device: torch.device) -> JointErrors:
    """Nothing is predicted yet."""
    return JointErrors(labels=tuple(axes["dof"]), error=torch.zeros(len(axes["dof"]), device=device))


def alarms(world: World) -> dict[str, str]:
    """What is wrong after an iteration, by name: a sentence with its numbers and what to do."""
    found: dict[str, str] = {}
    fallback = world.resources.get(Fallback)
    if fallback is not None and fallback.reason:
        return {"fallback": f"PPO learns from the start, since this scene cannot be imagined. {fallback.reason}"}
    rewards, dynamics = world.resource(RunningRewards), world.resource(Dynamics)
    metrics, best = world.resource(WorldModelMetrics), world.resource(BestPolicy)
    if rewards.parted:
        known = 1 - (1 - 1 / PATIENCE) ** int(rewards.iterations)  # what means from 0 have come to
        found["parted"] = (
            f"Imagined and real rewards part: a control step earns {rewards.imagined / known:.3g} in imagination and "
            f"{rewards.real / known:.3g} in the simulator, means of the last {PATIENCE} iterations, which differ by "
            f"{metrics.gap.abs():.0%}. The policy learns what holds in the model only. "
            + (
                "PPO takes over."
                if fallback
                else "Imagine fewer ticks, --world-model.horizon, or let PPO take over, --learner auto."
            )
        )
    skipped = int(metrics.skipped_steps)
    if not finite(dynamics):
        found["model"] = (
            f"The learned model has numbers that are not finite, so the policy does not learn any more: {skipped} updates were "
            "left out. Go on from an earlier checkpoint with a smaller --world-model.model-rate."
        )
    elif skipped:
        found["skipped"] = (
            f"{skipped} updates of the policy were left out, as their gradient was not finite. imagine/skipped_steps in the "
            "metrics counts them; if it goes on rising, imagine fewer ticks, --world-model.horizon."
        )
    if metrics.taken_back:
        times = int(metrics.taken_back)
        found[f"taken back {times}"] = (
            f"The policy came to please the model: imagined steps earn {metrics.imagined_reward:.3g}, real ones "
            f"{metrics.real_reward:.3g}, and those of the best policy {best.reward:.3g}. The best policy was put back, {times} "
            "times so far, and learns on by updates of half the divergence."
        )
    if metrics.settled and (fallback is None or not fallback.ppo):
        found["settled"] = (
            "The policy has made all of its updates and stays as it is; further iterations leave it so. To let it learn "
            "longer, give a later --world-model.settle, eight ticks for each iteration unless --world-model.collect says otherwise."
        )
    still = unmoved(dynamics)
    if still and bool(dynamics.scale.any()):
        found["unmoved joints"] = (
            f"The learned model has never seen these joints move: {listing(still, 6)}. What moving them does is unknown to it. "
            "Explore more, --world-model.std, or learn by PPO, --learner ppo."
        )
    if fallback is not None and fallback.ppo:
        found["fallback"] = f"PPO goes on from tick {int(fallback.tick)} in the place of imagination, " + (
            f"from the policy that earned most: {best.reward:.3g} in a control step."
            if rewards.parted or not finite(dynamics)
            else "which has made all of its updates."
        )
    return found
