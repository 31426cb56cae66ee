"""Which reading of each clip is taken: the one that scores clearly best, or none where two are alike.

Clips that came with one item of `--clip` and are written alike share their convention: those that leave it open by
themselves are read as the others are.
"""

from collections import defaultdict
from collections.abc import Sequence

import attrs
import numpy as np

from components.motion import Clip
from engine.errors import SceneError
from systems.motion.evidence import Reading

CLEAR = 0.7  # by how much the best reading must be better than the next
STRONG = 2.0  # by how much another reading must be better than what the file says, for the file to be doubted
MOSTLY = 0.5  # share of the moments in which a robot stands on its feet, for these to tell anything
FLOATING, RESTING = 0.3, 0.12  # m from the floor that an adult is off it, and that it lies or stands on it
FACTS = ("rotation", "joints", "angles")
SUBJECT = {"rotation": "quaternions", "joints": "joints", "angles": "angles"}
_Key = tuple[str, str, bool]


@attrs.frozen(eq=False)
class Weighed:
    """A clip and its readings, the best first."""

    clip: Clip
    readings: tuple[Reading, ...]

    @property
    def stated(self) -> list[Reading]:
        """The readings that agree with what the file and the user say."""
        return [reading for reading in self.readings if reading.stated]

    @property
    def clear(self) -> Reading | None:
        """The best reading, where no other comes near."""
        return None if self.rival else self.stated[0]

    @property
    def rival(self) -> Reading | None:
        """The reading that may be right as well as the best."""
        best, *others = self.stated
        doubtful = (each for each in others if each.score - best.score < CLEAR or not _on_its_feet(best, each))
        return next(doubtful, None)

    def like(self, key: _Key | None) -> Reading | None:
        """The reading that is called so."""
        return next((reading for reading in self.stated if reading.key == key), None)

    def next_in(self, fact: str, taken: Reading) -> Reading | None:
        """The best reading that differs from `taken` in a fact."""
        return next((reading for reading in self.stated if fact in reading.differs(taken)), None)


def _on_its_feet(best: Reading, other: Reading) -> bool:
    """Whether the better of two readings may be believed: feet tell nothing of a motion on the back or on the hands.

    So it must stand on them most of the time, and on the floor unless the other is not there either.
    """
    if best.rotation == other.rotation:
        return True
    floating = best.floor > FLOATING and other.key[1:] == best.key[1:] and other.floor < RESTING
    return best.carried > MOSTLY and not floating


def group_of(clip: Clip) -> tuple[object, ...]:
    """What clips have in common that share how they are written."""
    assumed = tuple(sorted(fact for fact, origin in clip.origins.items() if origin == "assumed"))
    named = clip.dof_names is not None
    return clip.typed or clip.source or clip.name, clip.dof_position.shape[1], named, clip.file_rotation, assumed


def choose(group: Sequence[Weighed]) -> list[Reading | SceneError]:
    """The reading of each clip of a group, or why there is none."""
    shared = _shared(group)
    return [_chosen(each, shared) for each in group]


def _shared(group: Sequence[Weighed]) -> _Key | None:
    """The reading of all clips of a group that are clear, or the one that is clear for all of them together."""
    clear = {reading.key for each in group if (reading := each.clear) is not None}
    if clear:
        return clear.pop() if len(clear) == 1 else None
    if not all(_on_its_feet(each.stated[0], other) for each in group for other in each.stated):
        return None
    scores: dict[_Key, list[float]] = defaultdict(list)
    for each in group:
        for reading in each.stated:
            scores[reading.key].append(reading.score)
    total = sorted((sum(found), key) for key, found in scores.items() if len(found) == len(group))
    apart = len(total) > 1 and total[1][0] - total[0][0] >= CLEAR * np.sqrt(len(group))
    return total[0][1] if apart else None


def _chosen(each: Weighed, shared: _Key | None) -> Reading | SceneError:
    taken = each.clear or each.like(shared)
    if taken is None:
        return _undecided(each)
    better = each.readings[0]
    if better.score < taken.score - STRONG and _on_its_feet(better, taken):
        return _doubted(each.clip, taken, better)
    return taken


def worded(reading: Reading, fact: str) -> str:
    """What a reading is in one fact, as it completes "quaternions are …", "joints are …" and "angles are …"."""
    order = f"in the order {reading.order.label}" if reading.order else "as named"
    return {
        "rotation": f"{reading.rotation}",
        "joints": order,
        "angles": "in degrees" if reading.degrees else "in radians",
    }[fact]


def _all_worded(reading: Reading, facts: set[str]) -> str:
    return " and ".join(f"{SUBJECT[fact]} {worded(reading, fact)}" for fact in FACTS if fact in facts)


def as_typed(clip: Clip, *options: str) -> str:
    """A clip as the user typed it, with options added."""
    return ":".join((clip.typed or clip.source or clip.name, *options))


def _options(reading: Reading, facts: set[str]) -> tuple[str, ...]:
    words = {
        "rotation": reading.rotation,
        "joints": reading.order.word if reading.order else "",
        "angles": "deg" if reading.degrees else "rad",
    }
    return tuple(words[fact] for fact in FACTS if fact in facts)


def _undecided(each: Weighed) -> SceneError:
    best, other, clip = each.stated[0], each.rival, each.clip
    assert other is not None
    facts = best.differs(other)
    near = other.score - best.score < CLEAR
    why = "two readings are about as likely" if near else "its feet do not tell, since it does not stand on them"
    return SceneError(
        f"{clip.title} does not say how it is written, and {why}: {_all_worded(best, facts)} (score {best.score:.1f}) or "
        f"{_all_worded(other, facts)} ({other.score:.1f}; lower is better). Write "
        f"{as_typed(clip, *_options(best, facts))} or {as_typed(clip, *_options(other, facts))}."
    )


def _doubted(clip: Clip, taken: Reading, better: Reading) -> SceneError:
    facts = taken.differs(better)
    return SceneError(
        f"{clip.title} cannot be what its file says, {_all_worded(taken, facts)}: it scores {taken.score:.1f} so, and "
        f"{better.score:.1f} with {_all_worded(better, facts)} (lower is better). Name it as "
        f"{as_typed(clip, *_options(better, facts))}, or as {as_typed(clip, *_options(taken, facts))} if it is right as it is."
    )
