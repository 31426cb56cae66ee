"""Training of wrapped scenes by other libraries: Stable-Baselines3 and rsl_rl, on the cart-pole and on motion tracking.

    python -m benchmarks.doorways [--scene cartpole motion_tracking] [--learner sb3 rsl_rl] [--minutes 4] [--out DIR]

Each learner trains for so many minutes on one thread. Its learning curve, a line for each of its iterations with the steps and
seconds until then, goes to DIR/<scene>_<learner>.jsonl, and all of them to DIR/curves.png; the table has its beginning and its end. Returns are sums of a whole
episode's rewards, means over the last 100 episodes.
"""

import argparse
import contextlib
import io
import json
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from engine.tools.figures import file_figure
from systems.doorways import make_rsl_rl_env, make_sb3_env

SCENES: dict[str, dict[str, Any]] = {
    "cartpole": {"num_envs": 64},
    "motion_tracking": {"num_envs": 64, "physics_threads": 1},  # few rows: more updates in as many steps
}
LAYERS = {"cartpole": (32, 32), "motion_tracking": (256, 128)}
RATES = {"cartpole": 1e-3, "motion_tracking": 2e-4}  # of Stable-Baselines3, which does not adapt its own
STD = {"cartpole": 1.0, "motion_tracking": 0.25}  # of actions when training starts


@attrs.define
class Curve:
    """A learning curve, kept in a file line by line."""

    path: Path
    minutes: float
    rows: list[dict[str, float]] = attrs.field(factory=list)
    began: float = attrs.field(factory=time.perf_counter)

    def __call__(self, steps: int, earned: float, length: float) -> bool:
        """Keep steps, mean return and mean length; whether there is time for more."""
        seconds = time.perf_counter() - self.began
        self.rows.append({"steps": steps, "seconds": seconds, "return": earned, "length": length})
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        return seconds < 60.0 * self.minutes


class TimeUp(Exception):
    """The minutes are over."""


def rsl_rl_settings(
    *, horizon: int = 24, hidden: Sequence[int] = (256, 128), std: float = 1.0, entropy: float = 0.005
) -> dict[str, Any]:
    """The configuration that rsl_rl's runner takes, with its published numbers."""
    network = {"class_name": "MLPModel", "hidden_dims": list(hidden), "activation": "elu", "obs_normalization": True}
    drawn = {"class_name": "GaussianDistribution", "init_std": std, "std_type": "scalar"}
    ppo = {
        "class_name": "PPO", "learning_rate": 1e-3, "entropy_coef": entropy, "num_learning_epochs": 5, "num_mini_batches": 4,
        "schedule": "adaptive", "desired_kl": 0.01, "rnd_cfg": None, "symmetry_cfg": None,
    }  # fmt: skip
    return {
        "num_steps_per_env": horizon,
        "save_interval": 10**9,
        "seed": 0,
        "obs_groups": {"actor": ["actor"], "critic": ["critic"]},
        "actor": {**network, "distribution_cfg": drawn},
        "critic": network,
        "algorithm": ppo,
    }


def train_sb3(scene: str, note: Curve) -> None:
    """PPO of Stable-Baselines3, with the observations normalised by its own wrapper."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import VecNormalize

    class Watch(BaseCallback):
        """Notes each rollout."""

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            ended = self.model.ep_info_buffer or [{"r": np.nan, "l": np.nan}]
            if not note(self.num_timesteps, *(float(np.mean([e[key] for e in ended])) for key in ("r", "l"))):
                raise TimeUp

    env = VecNormalize(
        make_sb3_env(f"scenes/{scene}.py", bound=1.0 if scene == "cartpole" else 10.0, **SCENES[scene]),
        norm_reward=False,
    )
    settings = {
        "net_arch": list(LAYERS[scene]),
        "activation_fn": torch.nn.ELU,
        "log_std_init": float(np.log(STD[scene])),
    }
    learner = PPO(
        "MlpPolicy", env, n_steps=24, batch_size=24 * env.num_envs // 4, n_epochs=5, learning_rate=RATES[scene],
        target_kl=0.03 if scene == "cartpole" else None,
        policy_kwargs=settings, seed=0, device="cpu",
    )  # fmt: skip
    with contextlib.suppress(TimeUp):
        learner.learn(10**9, callback=Watch())


def train_rsl_rl(scene: str, note: Curve) -> None:
    """rsl_rl's runner, which sees actor and critic."""
    from rsl_rl.runners import OnPolicyRunner

    env = make_rsl_rl_env(f"scenes/{scene}.py", **SCENES[scene])
    returns, lengths, steps = deque[float](maxlen=100), deque[float](maxlen=100), 0
    earned, lasted, step = torch.zeros(env.num_envs), torch.zeros(env.num_envs), env.step

    def watched(actions: torch.Tensor) -> Any:
        nonlocal steps
        found = step(actions)
        _, reward, dones, _ = found
        earned.add_(reward)
        lasted.add_(1)
        steps += env.num_envs
        returns.extend(earned[dones > 0].tolist())
        lengths.extend(lasted[dones > 0].tolist())
        for column in (earned, lasted):
            column.masked_fill_(dones > 0, 0.0)
        if steps % (24 * env.num_envs) == 0:
            if not note(steps, *(float(np.mean(each)) if each else float("nan") for each in (returns, lengths))):
                raise TimeUp
        return found

    env.step = watched  # type: ignore[method-assign]
    settings = rsl_rl_settings(hidden=LAYERS[scene], std=STD[scene], entropy=0.0 if scene == "cartpole" else 0.001)
    torch.manual_seed(settings["seed"])  # which the runner leaves to who calls it
    with contextlib.suppress(TimeUp), contextlib.redirect_stdout(io.StringIO()):
        OnPolicyRunner(env, settings, log_dir=None, device="cpu").learn(10**6)


def draw(folder: Path) -> None:
    """curves.png: length of episodes and return over steps, of every curve in a folder."""
    figure = file_figure(9.0, 5.6)
    for column, scene in enumerate(SCENES):
        for row, name in enumerate(("length", "return")):
            axes = figure.add_subplot(2, len(SCENES), 1 + column + row * len(SCENES))
            for learner in ("sb3", "rsl_rl"):
                path = folder / f"{scene}_{learner}.jsonl"
                rows = (
                    [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
                    if path.exists()
                    else []
                )
                axes.plot([each["steps"] for each in rows], [each[name] for each in rows], label=learner, linewidth=1.2)
            axes.set_title(f"{scene}: {name} of episodes", fontsize=9)
            axes.set_xlabel("steps of the environment", fontsize=7)
            axes.tick_params(labelsize=7)
            axes.grid(alpha=0.3)
            axes.legend(fontsize=7, frameon=False)
    figure.savefig(folder / "curves.png", dpi=100)


def main() -> None:
    """Train what is asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--learner", nargs="+", choices=["sb3", "rsl_rl"], default=["sb3", "rsl_rl"])
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--out", type=Path, default=Path("runs/doorways"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    print(
        "| scene | learner | steps | steps/s | return, first → last | length, first → last |\n|---|---|---|---|---|---|"
    )
    for scene in given.scene:
        for learner in given.learner:
            curve = Curve(given.out / f"{scene}_{learner}.jsonl", given.minutes)
            (train_sb3 if learner == "sb3" else train_rsl_rl)(scene, curve)
            rows = curve.rows
            first, last = next((r for r in rows if r["return"] == r["return"]), rows[-1]), rows[-1]
            rate = last["steps"] / last["seconds"]
            print(
                f"| {scene} | {learner} | {last['steps']:,} | {rate:,.0f} | {first['return']:.2f} → {last['return']:.2f} | "
                f"{first['length']:.0f} → {last['length']:.0f} |",
                flush=True,
            )
    draw(given.out)


if __name__ == "__main__":
    main()
