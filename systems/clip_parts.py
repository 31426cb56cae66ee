"""A part of a library: so many clips at a time stand in its tables, and are exchanged for others while rows play.

No episode is broken for it. A clip that is to leave is not drawn any more, and its slot is taken as soon as no row plays it; since
half of the slots are given away at most, there are always others to draw. Clips come in turns: before one comes again, all
others have come as often.
"""

from functools import partial

import attrs
import torch

from components.motion import ClipPart, MotionCursor, MotionLibrary
from engine import Bundle, Rng, World, Write, every, system
from engine.ecs.schedule import Schedule
from engine.errors import SceneError
from systems.tick import BEGIN, RESET


@attrs.frozen
class ClipsWait:
    """True while a clip waits for a slot."""

    label: str = "clips_wait()"

    def holds(self, world: World) -> bool:
        """Whether one does; the host knows."""
        part = world.resource(MotionLibrary).held
        return part is not None and part.pending


def part_of(whole: MotionLibrary, slots: int) -> MotionLibrary:
    """A library that holds the first `slots` clips of another, until `draw_first_part` draws which."""
    count, room = len(whole.names), int(whole.frames.max())
    blank = torch.zeros(count, dtype=torch.int64)
    part = ClipPart(
        whole=whole,
        clips=torch.arange(slots),
        coming=torch.full((slots,), -1),
        turns=blank.clone(),
        first=torch.zeros((), dtype=torch.int64),
        drawable=blank.bool(),
        here=blank.bool(),
        following=blank,
    )
    tables = {
        name: torch.zeros((slots * room if len(table) else 0, *table.shape[1:]))
        for name, table in (("vectors", whole.vectors), ("rotations", whole.rotations), ("contacts", whole.contacts))
    }
    copied = {name: getattr(whole, name).clone() for name in ("start", "frames", "seconds", "weight")}
    library = attrs.evolve(whole, **tables, **copied, held=part)  # type: ignore[misc]
    part.fill(library, range(slots))
    return library


def draw_first_part(rng: Rng, library: Write[MotionLibrary]) -> None:
    """Draw the clips that are held at first, all equally likely. A run that goes on with other rows holds what it held.

    The draw is one number, which is the same in all processes.
    """
    part = library.held
    assert part is not None
    if bool(part.turns.any()):
        return
    drawn = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=rng, device=rng.device)))
    part.clips.copy_(torch.randperm(len(library.names), generator=drawn)[: len(part.clips)])
    part.turns[part.clips] = 1
    part.fill(library, range(len(part.clips)))


def choose_part(cursor: MotionCursor, rng: Rng, library: Write[MotionLibrary]) -> None:
    """Give half of the slots away to clips that have come least often, equally likely among those of as many turns.

    While clips of the last time still wait nothing is given away. What no row plays is taken at once.
    """
    part = library.held
    assert part is not None
    count, slots = len(library.names), len(part.clips)
    order = torch.rand(count, dtype=torch.float64, generator=rng, device=rng.device).cpu().add_(part.turns)
    if part.pending:
        return
    order[part.clips] = torch.inf
    given = min(slots // 2, count - slots)
    leaving = (int(part.first) + torch.arange(given)) % slots
    part.coming[leaving] = order.argsort()[:given]
    part.first.copy_((part.first + given) % slots)
    exchange_clips(cursor, library)


def exchange_clips(cursor: MotionCursor, library: Write[MotionLibrary]) -> None:
    """Clips that wait take the slots whose clips no row plays any more."""
    part = library.held
    assert part is not None
    played = torch.zeros(len(library.names), dtype=torch.bool, device=cursor.clip.device)
    played = played.index_fill_(0, cursor.clip, True).cpu()
    slots = ((part.coming >= 0) & ~played[part.clips]).nonzero().flatten()
    part.clips[slots] = part.coming[slots]
    part.turns[part.clips[slots]] += 1
    part.coming[slots] = -1
    part.fill(library, slots.tolist())


def clip_parts(whole: MotionLibrary, *, at_once: int, ticks: int, after: str) -> Bundle:
    """Brings the library: `at_once` clips of it, at least 2, of which half are given away every `ticks`.

    `after` is the last system in RESET that looks up where rows begin. Where that is no part of it the bundle brings the whole, and
    raises SceneError when it is built.
    """
    if at_once >= len(whole.names):
        return Bundle("clip_parts", resources=[whole], checks=[partial(refuse_all, len(whole.names), at_once)])
    once, moves = "is drawn once", "the host knows which clips are where"
    waits = "counts what rows play, only while clips wait"
    return Bundle(
        "clip_parts",
        resources=[part_of(whole, at_once)],
        systems={
            BEGIN: [system(draw_first_part, may_sync=once)],
            RESET: [  # when rows have begun on their clips, and before anybody looks into the tables again
                system(choose_part, when=every(ticks), after=after, may_sync=moves),
                system(exchange_clips, when=ClipsWait(), after="choose_part", may_sync=waits),
            ],
        },
    )


def refuse_all(clips: int, at_once: int, schedule: Schedule) -> None:
    """SceneError for a part of a library of so many clips that has room for all."""
    held = "1 clip, which is held anyway" if clips == 1 else f"{clips} clips, which are held all at once"
    raise SceneError(
        f"clips_at_once={at_once} has no effect on a library of {held}. Hold all, --clips-at-once 0, or name more clips."
    )
