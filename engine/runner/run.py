"""The command `python -m engine.run SCENE [flags]`: train a scene, or inspect, evaluate, play or export one."""

from collections.abc import Sequence
from typing import Any

from engine.ranks.agreement import agreed
from engine.ranks.ranks import asked_for
from engine.runner import commands
from engine.runner.cli import reporting_errors
from engine.runner.config import MODES, RunPlan, make_plan
from engine.runner.console import make_console, print_facts
from engine.runner.together import run_together, shards_asked_for, start_shards
from engine.runner.training import train
from engine.snapshot.snapshot import restore


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate, film, export or inspect a scene; the exit status.

    0 done, 1 audit findings, or one of several processes lost, 2 bad input, 75 several processes stopped by a scheduler, 130 interrupted.
    """
    return reporting_errors(_run, arguments)


def _run(arguments: list[str]) -> int:
    if asked_for():
        return run_together(arguments, _dispatch)
    if count := shards_asked_for(arguments):
        return start_shards(arguments, count)
    return _dispatch(arguments)


def _dispatch(arguments: list[str], ranks: Any = None) -> int:
    def planned() -> RunPlan:
        plan = make_plan(arguments)
        if ranks is not None:
            plan.share(ranks)
        return plan

    plan, console = agreed(ranks, planned), make_console()
    uses = {"eval": commands.evaluate, "play": commands.play, "export": commands.export}
    for name, command in uses.items():
        if getattr(plan.options, name) is not None:
            return command(plan, console)
    mode = next((name for name in MODES if getattr(plan.options, name) not in (None, False)), None)
    return _inspect(plan, mode, console) if mode else train(plan, console)


def _inspect(plan: RunPlan, mode: str, console: Any) -> int:
    from engine.tools import explain, profile
    from engine.tools.audit import Audit

    experiment = plan.experiment()
    simulation = plan.build(experiment)
    if plan.resumed and mode in ("audit", "profile"):
        restore(simulation.world, plan.resumed.load(lambda text: print(f"! {text}"))[1])
    if mode == "check":
        print_facts(console, experiment.facts)
        print("ok")
    elif mode == "explain":
        print(explain.explain(simulation))
    elif mode == "graph":
        print(explain.graph(simulation), end="")
    elif mode == "profile":
        print(profile.profile_table(simulation.schedule, plan.options.profile or 0))
    else:
        ticks, audit = plan.options.audit or 0, Audit(simulation.schedule)
        simulation.run(ticks)
        audit.detach()
        for finding in audit.findings:
            print(f"tick {finding.tick}: {finding.text}")
        found = len(audit.findings)
        print(f"found {found} in {ticks} ticks" if found else f"ok: nothing found in {ticks} ticks")
        return 1 if found else 0
    return 0
