"""A part of a library: so many clips at a time stand in its tables, and are exchanged for others while rows play.

No episode is broken for it. A clip that is to leave is not drawn any more, and its slot is taken as soon as no row plays it; since
half of the slots are given away at most, there are always others to draw. Clips come in turns: before one comes again, all
others have come as often.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import attrs
import torch

from components.motion import ClipPart, MotionCursor, MotionLibrary
from engine import Bundle, Rng, World, Write, deferred, every, system
from engine.errors import SceneError
from systems.tick import RESET


@attrs.frozen
class ClipsWait:
    """True while a clip waits for a slot."""

    label: str = "clips_wait()"

    def holds(self, world: World) -> bool:
        """Whether one does; the host knows."""
        part = world.resource(MotionLibrary).held
        return part is not None and part.pending


def part_of(
    whole: MotionLibrary, slots: int, axes: Mapping[str, Sequence[str]], seed: int, device: torch.device
) -> MotionLibrary:
    """A library that holds `slots` of the clips of another; the first are drawn by `seed`, all equally likely."""
    count, room = len(whole.names), int(whole.frames.max())
    clips = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:slots]
    turns = torch.zeros(count, dtype=torch.int64)
    turns[clips] = 1
    blank = torch.zeros(count, dtype=torch.int64, device=device)
    part = ClipPart(
        whole=whole,
        clips=clips,
        coming=torch.full_like(clips, -1),
        turns=turns,
        first=torch.zeros((), dtype=torch.int64),
        drawable=blank.bool(),
        here=blank.bool(),
        following=blank.clone(),
    )
    tables = {
        name: torch.zeros((slots * room if len(table) else 0, *table.shape[1:]), device=device)
        for name, table in (("vectors", whole.vectors), ("rotations", whole.rotations), ("contacts", whole.contacts))
    }
    moved = {name: getattr(whole, name).to(device).clone() for name in ("start", "frames", "seconds", "weight")}
    library = attrs.evolve(whole, **tables, **moved, held=part)  # type: ignore[misc]
    part.fill(library, range(slots))
    return library


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


def clip_parts(whole: MotionLibrary, *, at_once: int, ticks: int) -> Bundle:
    """Brings the library: `at_once` clips of it, at least 2, of which half are given away every `ticks`.

    Raises SceneError where that is no part of it.
    """
    if at_once >= len(whole.names):
        raise SceneError(
            f"clips_at_once={at_once} has no effect on a library of {len(whole.names)} clips, which are held all at once. Leave it "
            "out, or name more clips."
        )
    waits = "counts what rows play, only while clips wait"
    return Bundle(
        "clip_parts",
        resources=[deferred(MotionLibrary, partial(part_of, whole, at_once))],
        systems={
            RESET: [  # when rows have begun on their clips, and before anybody looks into the tables again
                system(
                    choose_part,
                    when=every(ticks),
                    after="reset_to_reference",
                    may_sync="the host knows which clips are where",
                ),
                system(exchange_clips, when=ClipsWait(), after="choose_part", may_sync=waits),
            ]
        },
    )
