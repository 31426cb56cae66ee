"""The policy that comes with the motion tracking scene does what it is there for."""

from engine.snapshot import snapshot
from tests.helpers import evaluated, needs_g1, tracking

SUCCESS, LOCAL = 95.0, 40.0  # % of episodes, mm


def test_the_shipped_policy_is_small_and_says_how_it_was_made() -> None:
    policy = tracking(robot="humanoid", num_envs=1).policy
    assert policy is not None and policy.stat().st_size <= 3_000_000
    made = snapshot.about(policy.read_bytes())
    assert {"command", "seed", "iterations", "steps", "versions", "config"} <= made.keys()
    assert made["command"].startswith("python -m engine.run scenes/motion_tracking.py")


@needs_g1
def test_the_shipped_policy_tracks_the_default_clip() -> None:
    made = tracking(num_envs=1)
    assert made.policy is not None
    result = evaluated(made, made.policy.read_bytes())["summary"]
    assert result["episodes"] == 64
    assert result["success %"] >= SUCCESS
    assert result["MPJPE local mm"] <= LOCAL
