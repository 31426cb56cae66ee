"""What was decided about clips that do not say how they are written, in one line for all of one item."""

from collections.abc import Sequence

import numpy as np

from components.motion import Clip
from systems.motion.evidence import Reading
from systems.motion.frame_rate import NEAR, published_near
from systems.motion.readings import FACTS, SUBJECT, Weighed, as_typed, worded

Choice = tuple[Weighed, Reading]


def shared_rate(clips: Sequence[Clip], jumps: Sequence[float | None]) -> tuple[float, str]:
    """The frame rate of clips that are written alike, by what their jumps show, and what to say of it."""
    clip, shown = clips[0], [rate for rate in jumps if rate is not None]
    if clip.origin("rate") != "assumed":
        return clip.fps, ""
    other = f"write {as_typed(clip, '60fps')}, say, for another rate"
    if not shown:
        return clip.fps, f"{clip.fps:g} frames per second are assumed ({other})"
    middle = float(np.median(shown))
    near = published_near(middle)
    if near is None or max(shown) / min(shown) > NEAR**2:
        odd = as_typed(clip, f"{middle:.0f}fps")
        return (
            clip.fps,
            f"{clip.fps:g} frames per second are assumed, but jumps fall as at {middle:.0f} (write {odd} if so)",
        )
    if near == clip.fps:
        return near, f"{near:g} frames per second are assumed, at which jumps fall as they should ({other})"
    mine = as_typed(clip, f"{clip.fps:g}fps")
    return near, f"{near:g} frames per second are taken, since jumps fall as at {middle:.0f} (write {mine} if not)"


def account(choices: Sequence[Choice], unit: str, rate: str) -> str:
    """One line on what was open in these clips of one group, and how it was decided; "" where nothing was."""
    facts = [fact for fact in FACTS if _open(fact, *choices[0])]
    phrases = [_decided(fact, choices) for fact in facts]
    if unit:
        phrases.append(f"lengths are in {unit}")
    if rate:
        phrases.append(rate)
    if not phrases:
        return ""
    how = "does not say how it is" if len(choices) == 1 else "do not say how they are"
    return f"{group_title([weighed.clip for weighed, _ in choices])} {how} written: {'; '.join(phrases)}."


def group_title(clips: Sequence[Clip]) -> str:
    """Which clips of one item, as messages begin."""
    return clips[0].title if len(clips) == 1 else f"{len(clips)} clips of {as_typed(clips[0])}"


def _open(fact: str, weighed: Weighed, taken: Reading) -> bool:
    clip = weighed.clip
    if fact == "rotation":
        return bool(clip.file_rotation) and clip.origin("rotation") == "assumed"
    if fact == "joints":
        return taken.order is not None and not clip.joint_order
    return taken.degrees


def _decided(fact: str, choices: Sequence[Choice]) -> str:
    taken = choices[0][1]
    what = f"{SUBJECT[fact]} are taken {'as ' if fact == 'rotation' else ''}{worded(taken, fact)}"
    next_best = [rival for each, mine in choices if (rival := each.next_in(fact, mine)) is not None]
    if not next_best:
        return what
    score = float(np.mean([mine.score for _, mine in choices]))
    other = float(np.mean([reading.score for reading in next_best]))
    return f"{what} (score {score:.1f}; {worded(next_best[0], fact)} {other:.1f}, lower is better)"
