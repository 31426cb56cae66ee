"""Diagnosis: every rule over what was received, most likely first.

A rule is a plain function from evidence to findings. It says nothing where nothing is wrong, and that data are too
few or missing where it cannot judge.
"""

from collections.abc import Callable, Sequence

from engine.debugger.diagnosis import rules_robot, rules_run
from engine.debugger.diagnosis.finding import ORDER, RuleFinding
from engine.debugger.model.evidence import Evidence

Rule = Callable[[Evidence], list[RuleFinding]]
RULES: tuple[Rule, ...] = (
    rules_run.nonfinite,
    rules_run.ends,
    rules_run.autopsy,
    rules_robot.motors,
    rules_robot.jitter,
    rules_robot.reward,
    rules_robot.observation,
    rules_robot.action,
    rules_robot.gait,
    rules_run.learner,
    rules_run.physics,
    rules_run.time,
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
