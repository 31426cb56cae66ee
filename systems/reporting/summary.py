"""Summary of an evaluation: what every policy did with and without noise, over seeds, side by side."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from engine.trained import TrainedPolicy
from systems.reporting.measures import Episodes, find_failures, frame_measures, leading_error, measure_episodes

TEXTS = ("clip", "why")
_NO_MATTER = ("seed", "iterations", "threads", "film", "keep", "checkpoint_every")  # of a run's settings


@attrs.frozen(eq=False)
class Example:
    """One episode of a clip, to be drawn: joints, feet, and the same of the reference; (frames, ...) tensors."""

    time: Tensor  # s
    joints: Tensor
    reference: Tensor | None
    touching: Tensor | None
    reference_down: Tensor | None


@attrs.define
class Outcome:
    """What one policy did under one condition, seed after seed."""

    run: str
    noisy: bool
    seeds: list[int] = attrs.field(factory=list)
    tables: list[list[dict[str, Any]]] = attrs.field(factory=list)  # of each seed, a row for each clip
    failures: list[dict[str, Any]] = attrs.field(factory=list)
    errors: dict[str, list[Tensor]] = attrs.field(factory=dict)  # by clip, of each seed (episodes, frames)
    alive: dict[str, list[Tensor]] = attrs.field(factory=dict)  # alike, whether the episode goes on
    examples: dict[str, Example] = attrs.field(factory=dict)  # by clip, of the first seed

    def add(self, seed: int, table: Sequence[Mapping[str, Any]], episodes: Episodes | None) -> None:
        """Take in what a trial with a seed has shown: the rows of its own evaluation, and its logs."""
        rows = [{"clip": "episodes", **row} for row in table]
        if episodes is not None:
            measured = {row["clip"]: row for row in measure_episodes(episodes)}
            whole = next(iter(measured.values()))
            rows = [{**measured.get(row["clip"], whole if len(rows) == 1 else {}), **row} for row in rows]
            if episodes.reference is None:
                rows = [{**row, "clip": episodes.clips[0]} for row in rows]
            self.failures += [{"seed": seed, **failure} for failure in find_failures(episodes)]
            self._keep(episodes)
        self.seeds.append(seed)
        self.tables.append(rows)

    def _keep(self, episodes: Episodes) -> None:
        error = frame_measures(episodes).get(leading_error(episodes))
        for number, clip in enumerate(episodes.clips):
            chosen = episodes.clip == number
            if not bool(chosen.any()):
                continue
            longest = int(episodes.robot.frames[chosen].max())
            if error is not None:
                self.errors.setdefault(clip, []).append(error[chosen, :longest])
            self.alive.setdefault(clip, []).append(episodes.alive[chosen, :longest])
            self.examples.setdefault(clip, example_of(episodes, int(chosen.nonzero()[0])))


def example_of(episodes: Episodes, row: int) -> Example:
    """What is drawn of a row."""
    count = int(episodes.robot.frames[row])
    log, foot, down = episodes.reference, episodes.foot, episodes.reference_down
    return Example(
        time=log.time[row, :count] if log is not None else episodes.dt * torch.arange(1, count + 1),
        joints=episodes.robot.dof_position[row, :count],
        reference=log.dof_position[row, :count] if log is not None else None,
        touching=foot.touching[row, :count] if foot is not None else None,
        reference_down=down[row, :count] if down is not None else None,
    )


@attrs.frozen
class Spread:
    """Mean and standard deviation of a number over `count` of what it was measured on; no deviation of a single one."""

    mean: float
    std: float | None
    count: int

    @classmethod
    def over(cls, values: Iterable[Any]) -> "Spread | None":
        """That of the numbers among the values; None where there is none."""
        known = [float(v) for v in values if isinstance(v, (int, float)) and math.isfinite(v)]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))

    def deviation(self) -> str:
        """The deviation with two digits that say something; "" where there is none."""
        if self.std is None:
            return ""
        return f"{self.std:,.0f}" if self.std >= 100.0 else f"{self.std:.2g}"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"mean": self.mean, "std": self.std, "n": self.count}


@attrs.frozen
class ReportColumn:
    """One column of the tables: a policy under one condition over seeds, or runs that differ only in their seed."""

    name: str
    noisy: bool
    spreads: Mapping[str, Mapping[str, Spread]]  # by clip and name
    runs: int = 1

    @property
    def title(self) -> str:
        """The column's heading."""
        return f"{self.name}, {'with' if self.noisy else 'without'} noise"


def column_of(outcome: Outcome) -> ReportColumn:
    """A policy under one condition: mean and deviation over the seeds of the evaluation."""
    found: dict[str, dict[str, Spread]] = {}
    for clip in dict.fromkeys(row["clip"] for table in outcome.tables for row in table):
        rows = [row for table in outcome.tables for row in table if row["clip"] == clip]
        spreads = {name: Spread.over(row.get(name) for row in rows) for name in names_of(rows)}
        found[clip] = {name: spread for name, spread in spreads.items() if spread is not None}
    return ReportColumn(outcome.run, outcome.noisy, found)


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the numbers in rows, in their order."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name not in TEXTS]


def together(columns: Sequence[ReportColumn], families: Mapping[str, Sequence[str]]) -> list[ReportColumn]:
    """Columns of runs that differ only in their seed: mean and deviation over the means of the runs; `families` are their names."""
    found = []
    for name, runs in families.items():
        for noisy in dict.fromkeys(column.noisy for column in columns):
            own = [column for column in columns if column.name in runs and column.noisy is noisy]
            spreads: dict[str, dict[str, Spread]] = {}
            for clip, numbers in own[0].spreads.items():
                over = {
                    n: Spread.over(c.spreads[clip][n].mean for c in own if n in c.spreads.get(clip, {}))
                    for n in numbers
                }
                spreads[clip] = {n: spread for n, spread in over.items() if spread is not None}
            found.append(ReportColumn(name, noisy, spreads, runs=len(own)))
    return found


def families(policies: Mapping[str, TrainedPolicy]) -> dict[str, list[str]]:
    """Names of runs that differ only in their seed, and were trained as long, by a name for them together."""
    groups: dict[str, dict[Any, str]] = {}
    for name, policy in policies.items():
        made = policy.provenance()
        run = {key: value for key, value in made.get("run", {}).items() if key not in _NO_MATTER}
        same = {key: made.get(key) for key in ("source", "config", "flags", "overrides")}
        alike = json.dumps({**same, "run": run, "iteration": policy.iteration}, sort_keys=True, default=str)
        groups.setdefault(alike, {}).setdefault(made.get("run", {}).get("seed"), name)
    several = [[*names.values()] for names in groups.values() if len(names) > 1]
    return {f"mean of {len(names)} seeds: {', '.join(names)}": names for names in several}


def about_run(name: str, policy: TrainedPolicy) -> dict[str, Any]:
    """What is known of a run, by name: enough to see what is compared."""
    made, record = policy.provenance(), policy.record()
    iteration = policy.iteration
    rows, times = (record.rows, record.times) if record else ((), ())
    row = next((r for r in reversed(rows) if r["iteration"] == iteration), dict[str, Any]())
    time = next((t for t in reversed(times) if t["iteration"] == iteration), dict[str, Any]())
    found = {
        "run": name,
        "path": str(policy.given),
        "checkpoint": policy.checkpoint.name,
        "seed": made.get("run", {}).get("seed", made.get("seed")),
        "iterations": iteration if iteration is not None else made.get("iterations"),
        "environment steps": row.get("env_steps", made.get("steps")),
        "minutes of training": round(time["elapsed"] / 60.0, 1) if "elapsed" in time else None,
        "rows": made.get("rows"),
        "device": made.get("run", {}).get("device"),
        "lockstep": made.get("versions", {}).get("lockstep-sim"),
        "torch": made.get("versions", {}).get("torch"),
        "mujoco": made.get("versions", {}).get("mujoco"),
    }
    return {key: value for key, value in found.items() if value is not None}


def short_names(paths: Sequence[Path]) -> list[str]:
    """As much of the end of each path as tells it from the others, a checkpoint with the name of its run."""
    parts = [[part for part in path.absolute().with_suffix("").parts if part != "checkpoints"] for path in paths]
    least = [2 if path.parent.name == "checkpoints" else 1 for path in paths]
    for length in range(max(map(len, parts))):
        names = ["/".join(each[-(few + length) :]) for each, few in zip(parts, least, strict=True)]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
