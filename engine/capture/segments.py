"""Segments: which systems of a tick are recorded together, and which run one by one."""

from collections.abc import Collection, Sequence

from engine.ecs.condition import AnyRow, Every, FirstTick
from engine.ecs.schedule import Entry, Schedule
from engine.ecs.world import World

Segment = tuple[Entry, ...]
_OF_THE_TICK = (Every, FirstTick)  # conditions that its number decides; those made of them may ask for more


def due(plan: Sequence[Entry], world: World) -> list[Entry]:
    """The systems of a plan that run in this tick, as far as its number says; those with other conditions ask for themselves.

    Masks do not decide: on a GPU a system that looks at the rows of a mask always runs, and does nothing where there are none.
    """
    return [entry for entry in plan if type(entry.when) not in _OF_THE_TICK or entry.when.holds(world)]


def segments(entries: Sequence[Entry], eager: Collection[int], cut: int | None = None) -> list[Entry | Segment]:
    """Consecutive entries as one segment, those in `eager` (by id) by themselves; none reaches over the place `cut`."""
    found: list[Entry | Segment] = []
    for place, entry in enumerate(entries):
        if id(entry) in eager:
            found.append(entry)
        elif found and isinstance(found[-1], tuple) and place != cut:
            found[-1] += (entry,)
        else:
            found.append((entry,))
    return found


def never_recorded(entry: Entry) -> str:
    """Why an entry runs by itself, as its declaration says; "" where it does not."""
    if entry.system.may_sync:
        return entry.system.may_sync
    if entry.system.signature.world:
        return "it takes the world, which is on the host"
    if entry.when is not None and type(entry.when) not in (AnyRow, *_OF_THE_TICK):
        return f"its condition {entry.when.label} is asked on the host, in its place"
    return ""


def always(schedule: Schedule) -> None:
    """Let no mask decide whether a system runs, as on a GPU, so that random streams advance alike in every tick."""
    for entry in schedule.entries:
        if isinstance(entry.when, AnyRow):
            entry.when = None
