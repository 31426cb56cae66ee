"""Which subscriptions bring the evidence that panels and rules of diagnosis look at."""

from collections.abc import Sequence

from engine.debugger.model.declared import Column, Declared
from engine.debugger.model.evidence import CLOSE, FEW, MOST_TERMS, WATCHED, foot_places, rows_watched, spread
from engine.debugger.panels.panel import Sub


def cursor_subs(known: Declared) -> list[Sub]:
    """Where in the clip watched rows are, now and then; ends of episodes are told as events."""
    wanted = [known.roles[role] for role in ("episode_step", "clip", "clip_time") if role in known.roles]
    if "episode_step" not in known.roles:  # without it nothing is known between two looks
        return [_trace(wanted, WATCHED)] if wanted else []
    rows, columns = spread(wanted[0].rows, WATCHED), tuple((c.id, None) for c in wanted)
    return [Sub("values", columns, rows[i : i + CLOSE], 1.0) for i in range(0, len(rows), CLOSE)]


def vitals_subs(known: Declared) -> list[Sub]:
    """The black box of watched rows."""
    rows = rows_watched(known)
    return [Sub("vitals", (), spread(rows, WATCHED), 1.0)] if known.vitals and rows else []


def observation_subs(known: Declared) -> list[Sub]:
    """All channels of a few rows, and how far their episodes are."""
    wanted = [known.roles[role] for role in ("observation", "episode_step") if role in known.roles]
    if "observation" not in known.roles:
        return []
    return [Sub("values", tuple((c.id, None) for c in wanted), spread(wanted[0].rows, CLOSE), 10.0)]


def action_subs(known: Declared) -> list[Sub]:
    """Actions and joint velocities tick by tick, and what exploration added, of a few rows."""
    subs = [_trace([known.roles[role]], FEW) for role in ("action", "velocity") if role in known.roles]
    drawn = [known.roles[role] for role in ("action_drawn", "action_mean") if role in known.roles]
    if len(drawn) == 2:
        subs.append(Sub("values", tuple((c.id, None) for c in drawn), spread(drawn[0].rows, CLOSE), 0.5))
    if not known.vitals and "torque" in known.roles:
        subs.append(_trace([known.roles["torque"]], FEW))
    return subs


def reward_subs(known: Declared) -> list[Sub]:
    """Each term of all rows."""
    column = known.roles.get("reward_terms")
    count = min(MOST_TERMS, column.width) if column else 0
    return [Sub("column", ((column.id, (i,)),), (), 1.0) for i in range(count)] if column else []


def foot_subs(known: Declared) -> list[Sub]:
    """Contact, speed and the reference's height of the feet of a few rows."""
    wanted: dict[Column, list[int]] = {}
    for name in known.feet:
        for column, labels in foot_places(known, name).values():
            wanted.setdefault(column, []).extend(labels)
    if not wanted:
        return []
    first = next(iter(wanted))
    columns = tuple((column.id, tuple(labels)) for column, labels in wanted.items())
    return [Sub("trace", columns, spread(first.rows, FEW), 2.0)]


def learner_subs() -> list[Sub]:
    """What the learner reports."""
    return [Sub("learner", (), (), 1.0)]


def timing_subs() -> list[Sub]:
    """Where the time goes."""
    return [Sub("timing", (), (), 1.0)]


def _trace(columns: Sequence[Column], count: int) -> Sub:
    return Sub("trace", tuple((c.id, None) for c in columns), spread(columns[0].rows, count), 2.0)
