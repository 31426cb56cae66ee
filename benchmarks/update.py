"""Time of PPO on this machine against the bare matrix products of the same shapes and number.

    python -m benchmarks.update --rows 512 --hidden 256 128

The ratio says how much of the time is arithmetic that no implementation can leave out. Both sides take turns
and the fastest of several rounds counts. On a machine with other work, use `--threads 1`: the thread's own
processor time is taken then, which waiting for others does not lengthen.

Compared for `improve_policy` at 512 rows, 24 ticks and layers 256, 128 on two cores, fastest of seven rounds in turns:

    gradients written out over buffers that are used again     0.481 s, 0.874 s of processor time
    autograd, halves of a minibatch in two threads             0.469 to 0.492 s, 0.882 to 0.913 s
    autograd, pieces of 768 samples in two threads             0.499 s, 0.907 s
    autograd, all threads in every operation                   0.478 s, 0.950 s; depends on their number

`torch.distributions` takes about 0.01 s more than the same formulas written out. An iteration takes about 1.7 s, so autograd
with halves costs less than 5 % of it.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from time import perf_counter, thread_time
from typing import Any

import torch

from components.control import Action
from components.learning import LearningMetrics, Policy, Rollout
from components.observation import Observation
from engine.ecs.component import make
from engine.ecs.world import Clock
from engine.ranks.blocks import Blocks
from systems.learning.config import PpoConfig
from systems.learning.networks import Mlp, make_policy
from systems.ppo import estimate_advantage, improve_policy
from systems.ppo_rollout import act


def matrix_products(mlp: Mlp, samples: int, *, backward: bool) -> Callable[[], None]:
    """The products of one pass over an MLP, as a call that only multiplies, into memory that exists."""
    linears: list[Any] = list(mlp.layers)
    first = torch.randn(samples, linears[0].in_features)
    outputs = [torch.randn(samples, layer.out_features) for layer in linears]
    inputs = [first, *outputs[:-1]]
    slopes = [torch.randn_like(output) for output in outputs]
    weights = [torch.empty_like(layer.weight) for layer in linears]

    def multiply() -> None:
        for layer, given, output in zip(linears, inputs, outputs, strict=True):
            torch.mm(given, layer.weight.t(), out=output)
        if not backward:
            return
        for index in reversed(range(len(linears))):
            torch.mm(slopes[index].t(), inputs[index], out=weights[index])
            if index:
                torch.mm(slopes[index], linears[index].weight, out=slopes[index - 1])

    return multiply


class Case:
    """One setting: the systems to time, and the products to time them against."""

    def __init__(self, rows: int, horizon: int, widths: tuple[int, int, int], hidden: Sequence[int]) -> None:
        actor, critic, dofs = widths
        axes = {"step": horizon, "actor_observation": actor, "critic_observation": critic, "dof": dofs}
        self.horizon = horizon
        self.config = PpoConfig(horizon=horizon, hidden=tuple(hidden))
        labels = {name: [str(i) for i in range(size)] for name, size in axes.items()}
        self.policy: Policy = make_policy(self.config, labels, seed=1)
        self.rng = torch.Generator().manual_seed(2)
        self.observation = make(
            Observation, rows, axes, actor=torch.randn(rows, actor), critic=torch.randn(rows, critic)
        )
        self.action = make(Action, rows, axes)
        self.rollout = make(Rollout, rows, axes, reward=torch.randn(rows, horizon))
        self.metrics = LearningMetrics.zeros()
        samples = rows * horizon
        self.bare_act = matrix_products(self.policy.actor.body, rows, backward=False)
        self.bare_value = matrix_products(self.policy.critic.body, samples + rows, backward=False)
        size = math.ceil(samples / self.config.minibatches)
        self.bare_actor = matrix_products(self.policy.actor.body, size, backward=True)
        self.bare_critic = matrix_products(self.policy.critic.body, size, backward=True)

    def collect(self) -> None:
        """All inference of one iteration."""
        for tick in range(1, self.horizon + 1):
            act(self.observation, Clock(tick=tick), self.rng, self.policy, Blocks(), self.action, self.rollout)

    def bare_collect(self) -> None:
        """Its products."""
        for _ in range(self.horizon):
            self.bare_act()

    def update(self) -> None:
        """Everything that LEARN does in one iteration."""
        estimate_advantage(self.observation, self.policy, Blocks(), self.rollout, **self.config.of(estimate_advantage))
        improve_policy(
            self.observation,
            self.rng,
            self.rollout,
            Blocks(),
            self.policy,
            self.metrics,
            **self.config.of(improve_policy),
        )

    def bare_update(self) -> None:
        """Its products."""
        self.bare_value()
        for _ in range(self.config.epochs * self.config.minibatches):
            self.bare_actor()
            self.bare_critic()


def fastest(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of each call: the least of `rounds`, taking turns."""
    clock = thread_time if torch.get_num_threads() == 1 else perf_counter
    best = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            best[name] = min(best[name], clock() - start)
    return best


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--widths", type=int, nargs=3, default=(160, 286, 29), metavar=("ACTOR", "CRITIC", "DOF"))
    parser.add_argument("--hidden", type=int, nargs="+", default=(512, 256, 128))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    case = Case(given.rows, given.horizon, tuple(given.widths), given.hidden)
    with torch.no_grad():
        seconds = fastest(
            {
                "act": case.collect,
                "bare_act": case.bare_collect,
                "update": case.update,
                "bare_update": case.bare_update,
            },
            given.rounds,
        )
    bare = seconds["bare_act"] + seconds["bare_update"]
    print(
        json.dumps(
            {
                "rows": given.rows,
                "hidden": list(given.hidden),
                "threads": torch.get_num_threads(),
                **{f"{name}_seconds": round(value, 4) for name, value in seconds.items()},
                "update_ratio": round(seconds["bare_update"] / seconds["update"], 3),
                "ratio": round(bare / (seconds["act"] + seconds["update"]), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
