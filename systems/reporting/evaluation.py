"""Evaluation of trained policies: every one played under every condition with every seed, and the report of it."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from engine.errors import listing
from engine.trained import TrainedPolicy, draw, number
from systems.reporting.figures import draw_contacts, draw_course, draw_joints, draw_training, run_colours
from systems.reporting.measures import COMMANDS, FIXED, PLANTED_HEIGHT, PLANTED_SPEED, Episodes, leading_error
from systems.reporting.page import ClipPictures, Report, ReportFilm, worst_clips
from systems.reporting.policies import differences, in_words, trial_of
from systems.reporting.summary import (
    Example,
    Outcome,
    ReportColumn,
    Spread,
    about_run,
    column_of,
    families,
    together,
)
from systems.reporting.trials import watched

MOST_DRAWN = 4  # clips
PRINTED = (
    "episodes", "success %", "completion %", "length s", "MPJPE global mm", "R-MPKPE mm", "joints rad", "joint velocity rad/s",
    "end effectors mm", "linear velocity error m/s", "yaw rate error rad/s", "action rate", "power W", "cost of transport", "foot slip m/s", "return",
)  # fmt: skip


@attrs.define
class Evaluation:
    """Everything that is measured of policies, under conditions and with seeds."""

    policies: Mapping[str, TrainedPolicy]
    noise: Sequence[bool]
    seeds: Sequence[int]
    console: Any
    outcomes: list[Outcome] = attrs.field(factory=list)
    episodes: Episodes | None = None  # of one trial, for the names in it

    def measure(self) -> None:
        """Play every policy under every condition, once with each seed."""
        for name, policy in self.policies.items():
            for noisy in self.noise:
                outcome, trial = Outcome(name, noisy), watched(trial_of(policy), noisy=noisy, data=policy.trials.data)
                for seed in self.seeds:
                    doing = f"{name}, {'with' if noisy else 'without'} noise, seed {seed}"
                    found = policy.play(trial, Path("evaluation"), doing, seed=seed)
                    outcome.add(seed, found.get("table") or [found.get("summary") or {}], found["episodes"])
                    self.episodes = self.episodes or found["episodes"]
                self.outcomes.append(outcome)

    def films(self, folder: Path) -> list[ReportFilm]:
        """A film of every policy: that of its run where it is newer than the checkpoint, else a new one."""
        made = []
        for number_, (name, policy) in enumerate(self.policies.items(), 1):
            if policy.experiment.film is None:
                continue
            path = folder / f"film_{number_}.mp4"
            own = own_film(policy)
            if own is not None:
                shutil.copyfile(own, path)
                shown = "the film that its training ended with"
            else:
                shown = str(
                    policy.play(policy.experiment.film, path, f"{name}, film", seed=0).get("shown", "one episode")
                )
            made.append(ReportFilm(name, path, shown))
        return made

    def columns(self) -> list[ReportColumn]:
        """A column for each policy and condition, and for runs that differ only in their seed."""
        found = [column_of(outcome) for outcome in self.outcomes]
        return [*found, *together(found, families(self.policies))]

    def printed(self) -> list[dict[str, Any]]:
        """What a terminal shows: a row for each column, of all clips together."""
        rows = []
        for column in self.columns():
            numbers = column.spreads.get("all") or next(iter(column.spreads.values()))
            texts = {name: _with_spread(name, numbers[name]) for name in PRINTED if name in numbers}
            rows.append({"": column.title, **texts})
        return rows

    def report(self, films: Sequence[ReportFilm], scratch: Path) -> tuple[Report, dict[str, Any]]:
        """The page, and the same as JSON has it."""
        policy = next(iter(self.policies.values()))
        runs = [about_run(name, each) for name, each in self.policies.items()]
        columns, facts = self.columns(), {"scene": policy.scene.name, **self._identity(policy)}
        different = differences(self.policies)
        protocol = self._protocol(policy)
        report = Report(
            title=f"Evaluation of {listing(self.policies, 4)}",
            facts=facts,
            protocol=protocol,
            runs=runs,
            differences=different,
            colours=run_colours([*self.policies]),
            columns=columns,
            films=films,
            curve=self._curve(policy, scratch),
        )
        report.clips, report.notes = self._pictures(policy, report.colours)
        found = {
            "format": "lockstep evaluation 1",
            **facts,
            "protocol": protocol,
            "seeds": list(self.seeds),
            "runs": runs,
            "differences": different,
            "results": [
                {"run": o.run, "noise": o.noisy, "seed": seed, "table": table}
                for o in self.outcomes
                for seed, table in zip(o.seeds, o.tables, strict=True)
            ],
            "spreads": [
                {
                    "of": column.name,
                    "noise": column.noisy,
                    "over": "runs" if column.runs > 1 else "seeds",
                    "clips": {
                        clip: {n: s.plain() for n, s in numbers.items()} for clip, numbers in column.spreads.items()
                    },
                }
                for column in columns
            ],
            "failures": [{"run": o.run, "noise": o.noisy, **failure} for o in self.outcomes for failure in o.failures],
        }
        return report, found

    def _identity(self, policy: TrainedPolicy) -> dict[str, Any]:
        found = {name: in_words(value) for name, value in policy.scene.identity.items()}
        e = self.episodes
        if e is not None and e.reference is not None:
            seconds = ((e.clip_frames - 1) * e.dt).tolist()
            found["clips"] = listing((f"{n} ({s:.2f} s)" for n, s in zip(e.clips, seconds, strict=True)), 8)
        return found

    def _protocol(self, policy: TrainedPolicy) -> list[str]:
        e, flags = self.episodes, policy.plan.scene_flags
        rows = sum(table.rows for table in trial_of(policy).scene().tables)
        words = [
            f"Every one of {rows} rows plays one episode by the mean of the policy, without exploration"
            + (" and pushes" if e is not None else "")
            + (", from the start of its clip." if e is not None and e.reference is not None else "."),
            "Frames count, and weigh alike, while their episode lasts: where episodes fail early, errors are small. Success stands beside them.",
            f"Seeds of the evaluation: {listing(map(str, self.seeds))}.",
        ]
        if True in self.noise:
            words.append(
                "With noise: what the policy sees is as noisy as in training. Without: it sees everything as it is."
            )
        elif e is not None:
            words.append("What the policy sees is without noise.")
        if "randomise_played" in flags:
            words.append(f"Drawn for every row (--randomise-played): {flags['randomise_played'].value}.")
        if policy.plan.departures:
            changes = (f"{flag} {value}" for flag, value in policy.plan.departures.items())
            words.append(f"Played otherwise than trained: {listing(changes)}.")
        return words

    def _curve(self, policy: TrainedPolicy, scratch: Path) -> bytes | None:
        records = {name: each.record() for name, each in self.policies.items()}
        known = {name: record for name, record in records.items() if record is not None and record.rows}
        if not known:
            return None
        if len(known) > 1 and [*known] not in families(self.policies).values():
            titles, panel = policy.experiment.titles, policy.experiment.panel
            return draw_training(known, panel, titles, run_colours([*self.policies]))
        draw(scratch / "curve.png", [*known.values()])
        return (scratch / "curve.png").read_bytes()

    def _pictures(self, policy: TrainedPolicy, colours: Mapping[str, str]) -> tuple[list[ClipPictures], dict[str, str]]:
        e = self.episodes
        if e is None:
            return [], {
                "hidden": "This scene has no robot whose joints and feet could be drawn; its film and curves are above."
            }
        played = dict.fromkeys(clip for outcome in self.outcomes for clip in outcome.alive)
        clips = worst_clips([column_of(outcome).spreads for outcome in self.outcomes], [*played])
        title, found = leading_error(e), []
        for clip in clips[:MOST_DRAWN]:
            calm: dict[str, Example] = {}
            for outcome in self.outcomes:  # without noise first
                if clip in outcome.examples:
                    calm.setdefault(outcome.run, outcome.examples[clip])
            found.append(
                ClipPictures(
                    clip,
                    draw_course(self.outcomes, clip, title, e.dt, colours),
                    draw_contacts(calm, e.feet, colours),
                    draw_joints(calm, e.joints, colours),
                    self._failed(clip),
                )
            )
        tracked = e.reference is not None
        notes = {
            "course": "Above: the share of episodes that go on, and how many failed in each fortieth of the time. Below: the "
            f"median of the error over episodes, {title}, and a band that holds eight of ten. "
            + ("Solid lines are without noise, dashed ones with it." if len(self.noise) > 1 else ""),
            "contacts": "One episode of each run"
            + (
                f", below the reference (grey), whose feet count as down while slower than {PLANTED_SPEED:g} m/s and within "
                f"{100 * PLANTED_HEIGHT:.0f} cm of their lowest place."
                if tracked and e.tracked_feet is not None
                else "."
            ),
            "joints": f"One episode of each run{', and the reference as a dashed line' if tracked else ''}; rad over s.",
        }
        if len(clips) > MOST_DRAWN:
            notes["hidden"] = (
                f"Drawn are the worst {MOST_DRAWN} of {len(clips)} clips; --clip NAME evaluates and draws another."
            )
        return found, notes

    def _failed(self, clip: str) -> str:
        """Who failed in a clip, and why, in words."""
        words = []
        for outcome in self.outcomes:
            own = [failure for failure in outcome.failures if failure["clip"] == clip]
            if own:
                reasons = [name for failure in own for name in failure["why"]]
                counts = {name: reasons.count(name) for name in dict.fromkeys(reasons)}
                why = listing(f"{name.replace('_', ' ')} {count}×" for name, count in counts.items())
                noise = "with" if outcome.noisy else "without"
                words.append(
                    f"{outcome.run} {noise} noise: {len(own)} {'failure' if len(own) == 1 else 'failures'} ({why})"
                )
        kind = "episodes" if clip == COMMANDS else "clip"
        return (
            "; ".join(words) + "."
            if words
            else f"Nobody failed in this {kind}."
            if kind == "clip"
            else "Nobody failed."
        )


def _with_spread(name: str, spread: Spread) -> str:
    deviation = "" if name in FIXED else spread.deviation()
    return f"{number(spread.mean)} ± {deviation}" if deviation else number(spread.mean)


def own_film(policy: TrainedPolicy) -> Path | None:
    """The film that a run ended with, where it shows this very policy."""
    if policy.folder is None or policy.plan.departures or not policy.given.is_dir():
        return None
    film = policy.folder / "film.mp4"
    newer = film.is_file() and film.stat().st_mtime >= policy.checkpoint.stat().st_mtime
    return film if newer else None
