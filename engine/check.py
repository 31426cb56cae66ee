"""Build-time proofs over two unrolled ticks and the first one; every finding names its cure."""

import attrs

from engine.component import Kind, info, kind_of
from engine.errors import BuildError
from engine.schedule import Entry, Schedule


@attrs.frozen
class Stale:
    """Why a derived component no longer agrees with its sources."""

    writer: Entry
    wrote: type


def check_schedule(schedule: Schedule) -> None:
    """Raise BuildError with the first finding of every kind, in this order: owners, races, freshness and signals."""
    findings = find_owners(schedule) + find_races(schedule) + find_stale_and_dead(schedule)
    if findings:
        raise BuildError("\n".join(findings))


def _key(entry: Entry, cls: type, parameter: str | None = None) -> tuple[str, type]:
    if kind_of(cls) is Kind.RESOURCE:
        return ("", cls)
    redirected = {p.type: entry.system.tables[p.name] for p in entry.system.signature.parameters if p.name in entry.system.tables}
    return (redirected.get(cls, entry.table), cls)


def _reads(entry: Entry) -> list[tuple[str, type]]:
    return [_key(entry, cls) for cls in (*entry.system.reads, *entry.system.writes)]


def _writes(entry: Entry) -> list[tuple[str, type]]:
    return [_key(entry, cls) for cls in entry.system.writes]


def _lifetime(cls: type) -> str:
    return info(cls).lifetime if kind_of(cls) is Kind.COMPONENT else "state"


def find_owners(schedule: Schedule) -> list[str]:
    """A derived component has one writing system, scheduled as often as needed."""
    writers: dict[tuple[str, type], dict[str, None]] = {}
    for entry in schedule.entries:
        for key in _writes(entry):
            if _lifetime(key[1]) == "derived":
                writers.setdefault(key, {})[entry.name] = None
    return [
        f"{cls.__name__} is written by {' and '.join(f'`{n}`' for n in names)}; a derived component has one writer. "
        "Make one system write it, or make it an ordinary component."
        for (_, cls), names in writers.items()
        if len(names) > 1
    ]


def find_races(schedule: Schedule) -> list[str]:
    """Two bundles that touch the same data in one phase, one of them writing, must say `after=`."""
    findings = []
    for phase in (schedule.tick.begin, *schedule.tick.phases):
        entries = [e for e in schedule.entries if e.phase == phase]
        for i, first in enumerate(entries):
            for second in entries[i + 1 :]:
                if first.bundle == second.bundle or _ordered(entries, first, second):
                    continue
                shared = set(_writes(first)) & set(_reads(second)) | set(_reads(first)) & set(_writes(second))
                if shared:
                    names = sorted(cls.__name__ for _, cls in shared)
                    findings.append(
                        f"`{first.name}` ({first.bundle}) and `{second.name}` ({second.bundle}) both touch "
                        f"{' and '.join(names)} in {phase}; only the order of bundles decides. Say `after=`."
                    )
    return findings


def _ordered(entries: list[Entry], first: Entry, second: Entry) -> bool:
    """Whether a chain of `after` fixes the order of two entries of one phase."""
    by_name = {e.name: e for e in entries}

    def leads_to(start: Entry, goal: Entry) -> bool:
        seen: set[str] = set()
        at: Entry | None = start
        while at is not None and at.system.after and at.name not in seen:
            seen.add(at.name)
            anchor = by_name.get(at.system.after)
            if anchor is None:
                return False
            if anchor.bundle == goal.bundle and entries.index(goal) <= entries.index(anchor):
                return True  # behind `anchor`, and so behind what its bundle does before it
            at = anchor
        return False

    return leads_to(second, first) or leads_to(first, second)


def find_stale_and_dead(schedule: Schedule) -> list[str]:
    """Fresh caches and live signals, over the first tick and two more."""
    if not schedule.entries:
        return []
    sources: dict[tuple[str, type], set[tuple[str, type]]] = {}
    for entry in schedule.entries:
        own = set(_writes(entry))
        for key in own:
            if _lifetime(key[1]) == "derived":
                sources.setdefault(key, set()).update(k for k in _reads(entry) if k not in own)
    writer_of = {key: e.name for e in schedule.entries for key in _writes(e) if _lifetime(key[1]) == "derived"}
    findings: dict[tuple[str, str, type], str] = {}
    ever: set[tuple[str, type]] = set()
    stale: dict[tuple[str, type], list[Stale]] = {}
    for number in range(3):
        plan = schedule.plan(begun=number > 0)
        alive: dict[tuple[str, type], list[object]] = {}
        for entry in plan:
            when = entry.system.when
            if number > 0 and getattr(when, "label", "") == "first_tick()":
                continue
            for key in _reads(entry):
                if _lifetime(key[1]) == "signal":
                    _check_alive(entry, key, alive, schedule, findings)
                elif _lifetime(key[1]) == "derived" and key not in _writes(entry):
                    _check_fresh(entry, key, stale, ever, writer_of, findings)
            _note_writes(entry, sources, stale, ever, alive)
    return list(findings.values())


def _note_writes(
    entry: Entry,
    sources: dict[tuple[str, type], set[tuple[str, type]]],
    stale: dict[tuple[str, type], list[Stale]],
    ever: set[tuple[str, type]],
    alive: dict[tuple[str, type], list[object]],
) -> None:
    when = entry.system.when
    written = set(_writes(entry))
    for key in written:
        if _lifetime(key[1]) == "signal":
            alive.setdefault(key, []).append(when)
        if _lifetime(key[1]) == "derived":
            ever.add(key)
            stale[key] = [s for s in stale.get(key, []) if when is not None and s.writer.system.when != when]
    changed = list(written)
    while changed:
        key = changed.pop()
        for target, needs in sources.items():
            if key in needs and target not in written:
                if not any(s.writer is entry for s in stale.get(target, [])):
                    stale.setdefault(target, []).append(Stale(entry, key[1]))
                    changed.append(target)


def _check_fresh(
    entry: Entry,
    key: tuple[str, type],
    stale: dict[tuple[str, type], list[Stale]],
    ever: set[tuple[str, type]],
    writer_of: dict[tuple[str, type], str],
    findings: dict[tuple[str, str, type], str],
) -> None:
    name = key[1].__name__
    where = (entry.name, entry.phase, key[1])
    if key not in writer_of:
        findings.setdefault(where, f"{entry.place} reads {name}, which no system writes. Schedule the system that derives it.")
    elif key not in ever:
        findings.setdefault(
            where, f"{entry.place} reads {name} before `{writer_of[key]}` has ever written it. Schedule `{writer_of[key]}` earlier."
        )
    elif stale.get(key):
        cause = stale[key][0]
        findings.setdefault(
            where,
            f"{entry.place} reads {name}, which {cause.writer.place} made stale by writing {cause.wrote.__name__}. "
            f"Schedule `{writer_of[key]}` between them"
            + (f", under {cause.writer.system.when.label} or always." if cause.writer.system.when is not None else "."),
        )


def _check_alive(
    entry: Entry,
    key: tuple[str, type],
    alive: dict[tuple[str, type], list[object]],
    schedule: Schedule,
    findings: dict[tuple[str, str, type], str],
) -> None:
    if key in _writes(entry) and key not in alive:
        return  # the first writer of a tick
    name = key[1].__name__
    where = (entry.name, entry.phase, key[1])
    when = entry.system.when
    writers = alive.get(key, [])
    if None in writers or (when is not None and when in writers) or (writers and _asks_about(when, key[1])):
        return
    if writers:
        labels = " or ".join(getattr(w, "label", str(w)) for w in writers)
        findings.setdefault(where, f"{entry.place} reads {name}, which is written only under {labels}. Run it under the same condition.")
        return
    later = [e for e in schedule.entries if key in _writes(e)]
    cure = f" Move it behind {later[0].place}." if later else f" Schedule a system that writes {name}."
    findings.setdefault(where, f"{entry.place} reads {name} before any system writes it.{cure}")


def _asks_about(when: object, cls: type) -> bool:
    """A condition on a signal's own column can only hold where the signal was written."""
    return getattr(when, "component", None) is cls
