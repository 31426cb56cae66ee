"""The diagnosis: every rule over what was received, most likely first.

A rule is a plain function from evidence to findings. It says nothing where nothing is wrong, and that data are too
few or missing where it cannot judge.
"""

from collections.abc import Callable, Sequence

from engine.debugger.diagnosis import rules_robot as why_robot
from engine.debugger.diagnosis import rules_run as why_run
from engine.debugger.diagnosis.finding import ORDER, RuleFinding
from engine.debugger.model.evidence import Evidence

Rule = Callable[[Evidence], list[RuleFinding]]
RULES: tuple[Rule, ...] = (
    why_run.nonfinite,
    why_run.ends,
    why_run.autopsy,
    why_robot.motors,
    why_robot.jitter,
    why_robot.reward,
    why_robot.observation,
    why_robot.action,
    why_robot.gait,
    why_run.learner,
    why_run.physics,
    why_run.time,
)


def diagnose(evidence: Evidence, rules: Sequence[Rule] = RULES) -> list[RuleFinding]:
    """What every rule says, the worst and among those the most likely first. A rule that fails says so."""
    found: list[RuleFinding] = []
    for rule in rules:
        try:
            found += rule(evidence)
        except (ValueError, IndexError, KeyError, TypeError, ArithmeticError) as error:
            text = f"{rule.__name__}: the rule failed on these data ({type(error).__name__}: {error})"
            found.append(RuleFinding("unknown", text, "Log", 0.0))
    return sorted(found, key=lambda f: (ORDER.index(f.severity), -f.likely))
