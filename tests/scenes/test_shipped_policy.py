"""The policy that comes with the motion tracking scene does what it is there for."""

from engine.snapshot import snapshot
from scenes.motion_tracking import scene
from tests.helpers import needs_g1

SUCCESS, LOCAL = 95.0, 40.0  # % of episodes, mm


def test_the_shipped_policy_is_small_and_says_how_it_was_made() -> None:
    policy = scene(robot="humanoid", num_envs=1).policy
    assert policy is not None and policy.stat().st_size <= 3_000_000
    made = snapshot.about(policy.read_bytes())
    assert {"command", "seed", "iterations", "steps", "versions", "config"} <= made.keys()
    assert made["command"].startswith("python -m engine.run scenes/motion_tracking.py")


@needs_g1
def test_the_shipped_policy_tracks_the_default_clip() -> None:
    made = scene(num_envs=1)
    assert made.policy is not None and made.evaluate is not None
    result = made.evaluate(made.policy.read_bytes(), seed=0, device="cpu")["summary"]
    assert result["episodes"] == 64
    assert result["success %"] >= SUCCESS
    assert result["MPJPE local mm"] <= LOCAL
