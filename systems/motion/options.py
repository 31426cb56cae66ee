"""Options of a clip by hand: what follows a path after colons, and which of them a file has a use for."""

import re
from collections.abc import Iterable

from components.motion import Fact, Origin
from engine.errors import SceneError, did_you_mean, listing
from systems.motion.joint_orders import OWN_BREADTH_FIRST, OWN_ORDER, PUBLISHED

WORDS = {
    "xyzw": "rotation",
    "wxyz": "rotation",
    "deg": "angles",
    "rad": "angles",
    "m": "lengths",
    "cm": "lengths",
    "mm": "lengths",
    "dof": "source",
    "pose_aa": "source",
    **dict.fromkeys((OWN_ORDER, OWN_BREADTH_FIRST, *(order.word for order in PUBLISHED)), "joints"),
}
PATTERN = rf"(?:{'|'.join(sorted(WORDS, key=len, reverse=True))}|\d+(?:\.\d+)?fps|\d+-\d*|-\d+)"
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
KINDS = (
    "xyzw, wxyz, 60fps, deg, rad, m, cm, mm, 10-250 (frames), dof, pose_aa, #clip and the joint orders "
    f"{listing(word for word, kind in WORDS.items() if kind == 'joints')}"
)


class ClipOptions:
    """What the user states of a file: which orders, rate, units, frames and source of angles it has.

    A reader asks with `get`, which marks an option as used, or says with `idle` why it has no use for one; an option
    that no clip of an item used is refused by `check`.
    """

    def __init__(self, words: Iterable[str], item: str) -> None:
        self.item = item
        self._words: dict[str, str] = {}
        self._used: set[str] = set()
        self._reasons: dict[str, str] = {}
        for word in words:
            kind = WORDS.get(word) or ("rate" if word.endswith("fps") else "frames")
            if kind in self._words:
                raise SceneError(f"'{item}' says both {self._words[kind]} and {word}. Say one of them.")
            self._words[kind] = word
        if "rate" in self._words and not 1.0 <= float(self._words["rate"][:-3]) <= 1000.0:
            raise SceneError(f"'{item}' says {self._words['rate']}; 1 to 1000 frames per second are believable.")

    def get(self, kind: str) -> str | None:
        """The option of a kind (rotation, rate, joints, angles, lengths, source, frames), which now counts as used."""
        self._used.add(kind)
        return self._words.get(kind)

    def idle(self, kind: str, reason: str) -> None:
        """Keep why a clip has no use for an option of this kind."""
        self._reasons.setdefault(kind, reason)

    def origin(self, kind: Fact, otherwise: Origin) -> Origin:
        """Who fixed a fact, where the file or nobody did so otherwise."""
        return "option" if kind in self._words else otherwise

    def check(self) -> None:
        """Raise SceneError for an option that had no effect on any clip of the item."""
        for kind, word in self._words.items():
            if kind not in self._used and kind in self._reasons:
                raise SceneError(f"'{self.item}' says {word}, which has no effect: {self._reasons[kind]}")

    @property
    def fps(self) -> float | None:
        """The frame rate by hand."""
        word = self.get("rate")
        return None if word is None else float(word[:-3])

    @property
    def frames(self) -> tuple[int | None, int | None] | None:
        """First and last frame to take, counted from 1, both included."""
        word = self.get("frames")
        if word is None:
            return None
        first, last = (int(text) if text else None for text in word.split("-"))
        return first, last


def unknown_option(item: str, tail: str) -> SceneError:
    """What to say of colons and marks after a path that are no options."""
    words = [word for word in re.split(r"[:#]", tail) if word]
    strange = next((word for word in words if not re.fullmatch(PATTERN, word)), tail)
    rate = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:fps|hz)?", strange, re.IGNORECASE)
    meant = f" Did you mean {rate[1]}fps?" if rate else did_you_mean(strange.lower(), WORDS)
    return SceneError(f"'{strange}' in '{item}' is no option of a clip. The options are {KINDS}.{meant}")
