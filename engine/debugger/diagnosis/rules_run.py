"""Rules about the run as a whole: non-finite numbers, how episodes end, the learner, physics, time."""

import math
import re
from collections.abc import Sequence

import numpy as np

from engine.debugger.diagnosis.failure_alignment import FailureAlignment, align_failures
from engine.debugger.diagnosis.finding import RuleFinding, Severity, attention, cannot_judge, note
from engine.debugger.diagnosis.indicators import densest
from engine.debugger.model.evidence import Bad, End, Evidence
from engine.debugger.model.schema import ColumnInfo, Declared, short
from engine.debugger.widgets.format import format_figure, format_share, join_names

FEWEST_ENDS = 20
FEWEST_ITERATIONS = 5
BUFFERS = {"physics/contact_overflows": "contact", "physics/constraint_overflows": "constraint"}
PENETRATION = "physics/penetration"
DEEP = 0.02  # m of overlap, of which rigid shapes are far
RECENT = 5  # iterations that a judgement is about
SHORTLY = 2  # ticks between an edit and what comes of it


# -- non-finite numbers --------------------------------------------------------------------------------


def nonfinite(evidence: Evidence) -> list[RuleFinding]:
    """Which column was the first to hold a value that is not finite, and who wrote it."""
    if not evidence.bad:
        return []
    known = evidence.declared
    first_tick = evidence.bad[0].tick
    together = [b for b in evidence.bad if b.tick == first_tick]
    cause = min(together, key=lambda b: _place_in_tick(b, known))
    column = known.columns.get(cause.address)
    label = column.labels.index(cause.label) if column is not None and cause.label in column.labels else None
    what = f"{cause.address}{f'[{short(cause.label)}]' if cause.label else ''}"
    writers = cause.writers or _writers(cause.address, known)
    by = f", written by {'one of ' if len(writers) > 1 else ''}{join_names(writers)}" if writers else ""
    where = f" in row {cause.row}" if cause.row is not None else ""
    text = f"{what} is not finite{where} since tick {cause.tick}{by}{_edited(evidence, cause, column, writers)}"
    others = [b.address for b in evidence.bad if b.address != cause.address]
    if others:
        text += f"; then {join_names([o.partition('.')[2] for o in others], 2)}"
    return [RuleFinding("wrong", text, "World", 1.0, column.id if column else None, label)]


def _edited(evidence: Evidence, bad: Bad, column: ColumnInfo | None, writers: Sequence[str]) -> str:
    """Whether somebody changed the column by hand shortly before, or a constant of a system that writes it."""
    names = (bad.address, column.id if column else None)
    for event in reversed(evidence.events):
        fields, tick = event.get("fields") or {}, int(event.get("tick", 0))
        if event.get("kind") != "edit" or tick > bad.tick:
            continue
        address = str(fields.get("address", ""))
        if bad.tick - tick <= SHORTLY and (event.get("column") in names or address == bad.address):
            return f", after an edit of it at tick {tick}"
        if address in evidence.declared.constants and address.split(".")[1] in writers:
            return f", after {address} was set to {fields.get('new')} at tick {tick}"
    return ""


def _writers(address: str, known: Declared) -> tuple[str, ...]:
    owner = address.rpartition(".")[0]
    return tuple(dict.fromkeys(str(s["name"]) for s in known.systems if owner in s.get("writes", ())))


def _place_in_tick(bad: Bad, known: Declared) -> int:
    writers = bad.writers or _writers(bad.address, known)
    places = [i for i, s in enumerate(known.systems) if any(w.split(".")[-1] == s["name"] for w in writers)]
    return min(places, default=len(known.systems))


# -- how episodes end ----------------------------------------------------------------------------------


def end_table(evidence: Evidence) -> list[tuple[str, float, float, float]]:
    """(reason, share of ended episodes, median length in steps or NaN, change of the share), most frequent first.

    The change is that of the later half of what was seen against the earlier one; NaN where either is small.
    """
    counts = evidence.end_counts
    total = sum(n for n, _ in counts)
    if not total:
        return []
    names = list(dict.fromkeys(name for _, by in counts for name in by))
    running = np.cumsum([n for n, _ in counts])
    half = int(np.searchsorted(running, total / 2, "left")) + 1
    early, late = counts[:half], counts[half:]
    table = []
    for name in names:
        share = sum(by.get(name, 0.0) for _, by in counts) / total
        steps = [end.step for end in evidence.ends if name in end.reasons and np.isfinite(end.step)]
        before, after = (_share(part, name) for part in (early, late))
        if share > 0:
            table.append((name, share, float(np.median(steps)) if steps else float("nan"), after - before))
    return sorted(table, key=lambda line: -line[1])


def _share(counts: list[tuple[int, dict[str, float]]], name: str) -> float:
    total = sum(n for n, _ in counts)
    return sum(by.get(name, 0.0) for _, by in counts) / total if total >= FEWEST_ENDS / 2 else float("nan")


def ends(evidence: Evidence) -> list[RuleFinding]:
    """Why, when and where in the clip episodes end."""
    total = sum(n for n, _ in evidence.end_counts)
    if not evidence.declared.reasons:
        return cannot_judge("ends: the run declares no endings", "Why")
    if total < FEWEST_ENDS:
        return cannot_judge(f"ends: too few data ({total} of {FEWEST_ENDS} episodes)", "Why")
    table = end_table(evidence)
    limits = evidence.declared.time_limits
    failures = [line for line in table if line[0] not in limits]
    failed = sum(share for _, share, _, _ in failures)
    if failed < 0.02:
        return [note(f"{format_share(1 - failed)} of {total} episodes reached their time limit", "Why", 0.2)]
    reason, share, step, change = failures[0]
    text = f"{format_share(share)} of {total} episodes end by {reason}"
    text += f", half of them within {step:.0f} steps" if np.isfinite(step) else ""
    if abs(change) > 0.1:
        text += f" ({'more' if change > 0 else 'fewer'} than before: {100 * change:+.0f} points)".replace("-", "−")
    found = [RuleFinding("attention" if failed > 0.3 else "note", text, "Why", 0.5 + 0.3 * min(1.0, share))]
    if np.isfinite(step) and step < 10 and share > 0.3:
        text = f"episodes end by {reason} within {step:.0f} steps of their start: look at the pose after a reset, "
        now: Severity = "wrong" if step < 5 and share > 0.8 else "attention"
        found.append(RuleFinding(now, text + "and at the first actions", "World", 0.9))
    return found + clip_place(evidence)


def busiest_clip(evidence: Evidence, ends: Sequence[End]) -> tuple[int, np.ndarray, float]:
    """The clip in which most of `ends` lie, the times in s of those in it, and the latest time that any row reached."""
    clips, counts = np.unique([e.clip for e in ends], return_counts=True)
    clip = int(clips[np.argmax(counts)])
    times = np.array([e.time for e in ends if e.clip == clip])
    passed = [s.values[s.values[:, 1] == clip, 2] for s in evidence.cursors.values() if s.values.shape[1] == 3]
    return clip, times, max([float(times.max()), *(float(np.nanmax(p)) for p in passed if np.isfinite(p).any())])


def clip_place(evidence: Evidence) -> list[RuleFinding]:
    """Whether failures gather at one place of a clip."""
    limits = evidence.declared.time_limits
    failed = [e for e in evidence.ends if e.reasons and not limits & set(e.reasons) and np.isfinite(e.time)]
    if len(failed) < FEWEST_ENDS:
        return []
    clip, times, reach = busiest_clip(evidence, failed)
    here = [e for e in failed if e.clip == clip]
    spans = [densest(times, share) for share in (0.95, 0.9, 0.8, 0.7, 0.6)]
    narrow = [(a, b) for a, b in spans if b - a <= 0.2 * reach]
    if len(here) < FEWEST_ENDS or not narrow:
        return []
    first, last = narrow[0]
    within = [e for e in here if first <= e.time <= last]
    reasons, number = np.unique([e.reasons[0] for e in within], return_counts=True)
    name = evidence.declared.clips[clip] if 0 <= clip < len(evidence.declared.clips) else f"clip {clip}"
    share = len(within) / len(failed)
    text = f"{format_share(share)} of failures happen at {first:.1f}–{last:.1f} s of {name}"
    return [attention(f"{text}: {reasons[np.argmax(number)]}", "Why", 0.85)]


def worst_reason(evidence: Evidence) -> str | None:
    """The most frequent reason that is a failure."""
    limits = evidence.declared.time_limits
    return next((line[0] for line in end_table(evidence) if line[0] not in limits), None)


def autopsy_words(found: FailureAlignment, dt: float | None) -> str:
    """What departed first, in words; empty when nothing did."""
    names = found.names
    order = [i for i in found.first() if not names[i].startswith("reward[")] or found.first()
    if not order:
        return ""
    first = order[0]
    text = f"before {found.reason} ({found.failures} failures), first to depart: {_departed(found, first)}, "
    text += f"{_before(found.departure[first], dt)} before the end"
    later = [i for i in order[1:] if found.departure[i] < found.departure[first]]
    if later:
        after = _before(found.departure[first] - found.departure[later[0]], dt)
        text += f"; {_departed(found, later[0])} {after} later"
    return text


def vital_words(name: str) -> str:
    """'torque_use[left_knee_joint]' as 'left_knee torque use'."""
    match = re.fullmatch(r"(\w+)\[(.+)\]", name)
    what, of = (match[1], short(match[2])) if match else (name, "")
    return f"{of} {what.replace('_', ' ')}".strip()


def _departed(found: FailureAlignment, vital: int) -> str:
    name = found.names[vital]
    if name.startswith("torque_use") and found.level[vital] >= 0.95:
        return f"{vital_words(name).replace('torque use', 'torque')} at its limit"
    return f"{vital_words(name)} too {'high' if found.above[vital] >= 0.5 else 'low'}"


def _before(ticks: float, dt: float | None) -> str:
    return f"{ticks * dt:.2f} s" if dt else f"{ticks:.0f} ticks"


def autopsy(evidence: Evidence) -> list[RuleFinding]:
    """What left the survivors' band first, for the most frequent failure."""
    reason = worst_reason(evidence)
    if reason is None:
        return []
    found = align_failures(evidence, reason)
    if isinstance(found, str):
        return cannot_judge(found, "Why")
    text = autopsy_words(found, evidence.declared.dt)
    return [attention(text, "Why", 0.8)] if text else []


# -- the learner ---------------------------------------------------------------------------------------


def learner(evidence: Evidence) -> list[RuleFinding]:
    """Whether the numbers of the last updates are in their usual bands."""
    numbers, known = evidence.learner, evidence.declared
    updates = int(np.isfinite(numbers.get("learn/kl", np.zeros(0))).sum())
    if updates < FEWEST_ITERATIONS:
        return cannot_judge(f"learner: too few data ({updates} of {FEWEST_ITERATIONS} iterations)", "Learner")
    found = _skipped(numbers.get("learn/skipped_steps"))
    found += _explained(numbers, known) if updates >= 2 * RECENT else []
    kl, target = recent(numbers, "learn/kl"), known.number("improve_policy.desired_kl")
    rate = recent(numbers, "learn/learning_rate")
    lowest, highest = known.number("improve_policy.lowest_rate"), known.number("improve_policy.highest_rate")
    if kl is not None and target and kl > 2 * target:
        end = ", though the learning rate is at its lowest" if rate and lowest and rate <= 1.01 * lowest else ""
        text = f"the policy changes too fast: KL {format_figure(kl)} is {kl / target:.1f} times its target of {format_figure(target)}"
        found.append(attention(text + end, "Learner", 0.55))
    if kl is not None and target and kl < target / 4 and rate and highest and rate >= 0.99 * highest:
        text = f"the policy hardly changes: KL {format_figure(kl)} with the learning rate at its highest ({format_figure(rate)})"
        found.append(attention(text, "Learner", 0.55))
    clipped = recent(numbers, "learn/clip_fraction")
    if clipped is not None and clipped > 0.4 and updates >= 2 * RECENT:
        text = f"{format_share(clipped)} of samples leave the clip range in an update: take smaller or fewer steps"
        found.append(attention(text, "Learner", 0.5))
    norm = recent(numbers, "learn/gradient_norm")
    if norm is not None and not norm < 100:
        found.append(attention(f"the gradient norm is {format_figure(norm)}: check reward scale", "Learner", 0.5))
    return found + _deviation(numbers)


def _explained(numbers: dict[str, np.ndarray], known: Declared) -> list[RuleFinding]:
    """A value function that explains nothing; harmless where returns hardly differ, so that there is little to explain."""
    explained, loss = recent(numbers, "learn/explained_variance"), recent(numbers, "learn/value_loss")
    if explained is None or explained >= 0.1:
        return []
    text = f"value function explains nothing ({format_figure(explained)})"
    earned, gamma = recent(numbers, "reward/per_step"), known.number("estimate_advantage.gamma", "gamma")
    if loss is None or earned is None or gamma is None or not 0 <= gamma < 1:
        return [note(f"{text}; how much returns vary is not known", "Learner", 0.4)]
    horizon = min(1 / (1 - gamma), recent(numbers, "episode/length") or math.inf)
    varies, size = math.sqrt(max(0.0, loss) / (1 - explained)), abs(earned) * horizon
    if varies < 0.15 * size:
        text += f": returns hardly vary (by {format_share(varies / size)}), there is little to explain"
        return [note(text, "Learner", 0.3)]
    return [attention(f"{text}: check return scale and the critic's observations", "Learner", 0.6)]


def _skipped(skipped: np.ndarray | None) -> list[RuleFinding]:
    finite = skipped[np.isfinite(skipped)] if skipped is not None else np.zeros(0)
    if not len(finite) or finite[-1] <= 0:
        return []
    fresh = finite[-1] - finite[max(0, len(finite) - 1 - RECENT)]
    text = f"{finite[-1]:.0f} optimiser steps were left out for a loss or gradient that was not finite"
    if fresh > 0:
        return [RuleFinding("wrong", f"{text}, {fresh:.0f} of them in the last {RECENT} iterations", "Learner", 0.95)]
    return [note(f"{text}, none of them lately", "Learner", 0.5)]


def _deviation(numbers: dict[str, np.ndarray]) -> list[RuleFinding]:
    all_std = numbers.get("learn/action_std", np.zeros(0))
    std = recent(numbers, "learn/action_std")
    if std is None:
        return []
    first = float(all_std[np.isfinite(all_std)][0])
    if std < 0.05:
        text = f"exploration has collapsed: the standard deviation of actions is {format_figure(std)} (it was {format_figure(first)})"
        return [attention(text, "Learner", 0.65)]
    if std > 1.5 and std > 1.5 * first:
        text = f"exploration grows: the standard deviation of actions went from {format_figure(first)} to {format_figure(std)}"
        return [attention(text + "; reward hardly depends on actions, or entropy pays too well", "Learner", 0.5)]
    return []


def recent(numbers: dict[str, np.ndarray], name: str) -> float | None:
    """Median of the last finite values; None without any."""
    values = numbers.get(name, np.zeros(0))
    finite = values[np.isfinite(values)]
    return float(np.median(finite[-RECENT:])) if len(finite) else None


# -- physics and time ----------------------------------------------------------------------------------


def physics(evidence: Evidence) -> list[RuleFinding]:
    """Warnings, counters that should be 0, and rows whose simulation failed."""
    texts: dict[str, int] = {}
    for event in evidence.events:
        if event.get("kind") == "warning" and event.get("text"):
            text = str(event["text"])
            texts[text] = texts.get(text, 0) + 1
    found = [
        attention(text + (f" ({count} times)" if count > 1 else ""), "Log", 0.7)
        for text, count in sorted(texts.items(), key=lambda one: -one[1])[:3]
    ]
    found += _overflows(evidence) + _penetration(evidence) if evidence.learner else []
    for name in evidence.learner:
        counts = name.startswith("physics/") and name not in (*BUFFERS, PENETRATION)
        latest = recent(evidence.learner, name) if counts else None
        if latest:
            text = f"{name.removeprefix('physics/').replace('_', ' ')}: {format_figure(latest)} in the last iterations"
            found.append(attention(text, "Log", 0.6))
    known = evidence.declared
    faults = [r for r in known.reasons if known.constant(f"{r}.kind") == "fault"]
    for reason, share, _, _ in end_table(evidence):
        if reason in faults and share > 0.002:
            text = f"the simulation of {format_share(share)} of episodes failed ({reason}){_in_one_row(evidence, reason)}: "
            text += "check gains, masses and the time step"
            found.append(RuleFinding("wrong" if share > 0.05 else "attention", text, "Log", 0.85))
    return found


def _overflows(evidence: Evidence) -> list[RuleFinding]:
    """Buffers of the simulator that were too small for what touches at once."""
    numbers = {name: evidence.learner.get(name, np.zeros(0)) for name in BUFFERS}
    finite = {name: values[np.isfinite(values)] for name, values in numbers.items()}
    latest = {name: float(values[-1]) for name, values in finite.items() if len(values)}
    if not latest:
        text = "physics: this simulator does not tell whether its contact and constraint buffers suffice"
        return cannot_judge(text, "Log")
    found = []
    for name, rows in latest.items():
        if rows > 0:
            text = f"{BUFFERS[name]} buffer overflowed in {rows:.0f} row{'s' if rows > 1 else ''}: what did not fit is not "
            text += "simulated; give the model more memory (<size memory> of its MJCF), or fewer shapes that touch"
            found.append(RuleFinding("wrong", text, "Log", 0.8))
    return found


def _penetration(evidence: Evidence) -> list[RuleFinding]:
    """Shapes that sink into each other."""
    depth = recent(evidence.learner, PENETRATION)
    if depth is None:
        return cannot_judge("physics: this simulator does not tell how deep shapes overlap", "Log")
    if depth <= DEEP:
        return []
    text = f"shapes that touch sink {100 * depth:.1f} cm into each other in one of a hundred rows: "
    text += "make the time step shorter, or contacts stiffer (solref of the model)"
    return [attention(text, "Log", 0.7)]


def _in_one_row(evidence: Evidence, reason: str) -> str:
    """Where nearly all of many ends by a reason are those of one row."""
    rows, counts = np.unique([e.row for e in evidence.ends if reason in e.reasons], return_counts=True)
    if not len(rows) or counts.max() < FEWEST_ENDS or counts.max() < 0.9 * counts.sum():
        return ""
    return f", nearly all in row {rows[np.argmax(counts)]}"


def time(evidence: Evidence) -> list[RuleFinding]:
    """The slowest system, and whether ticks have become slower."""
    seconds, known = evidence.seconds, evidence.declared
    if seconds is None or not np.nansum(seconds) > 0:
        return cannot_judge("time: no timing was received", "Tick")
    shares = np.nan_to_num(seconds) / np.nansum(seconds)
    slowest = int(np.argmax(shares))
    text = f"{known.systems[slowest]['name']} takes {format_share(float(shares[slowest]))} of the tick"
    found = [note(text, "Tick", 0.1)]
    return found + _slower(evidence)


def _slower(evidence: Evidence) -> list[RuleFinding]:
    """Ticks that take longer than they did; where all systems do, the machine is to blame and not the run."""
    if evidence.pace is None or evidence.first_pace is None:
        return []
    (now, parts), (before, first) = evidence.pace, evidence.first_pace
    if not now > 1.5 * before > 0:
        return []
    text = f"a tick takes {1000 * now:.1f} ms, {now / before:.1f} times what it took when watching began"
    more = np.nan_to_num(parts - first)
    most = int(np.argmax(more))
    usual = float(np.median((parts / np.maximum(first, 1e-9))[first > 0.02 * before])) if before else 1.0
    if usual > 1.25 or more[most] < 0.5 * (now - before):
        return [note(f"{text}, and all systems do: the machine is busy", "Tick", 0.15)]
    share = more[most] / (now - before)
    text += f": {format_share(min(1.0, float(share)))} of the rest is {evidence.declared.systems[most]['name']}"
    return [attention(text, "Tick", 0.3)]
