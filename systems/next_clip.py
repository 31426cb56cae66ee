"""Next clip: rows that are asked to, by a key of a debugger, start over with the first frame of the clip after theirs.

What is asked for is a column, so that it is an edit like any other: it is noted, rewound and undone.
"""

from torch import Tensor

from components.episode import Done
from components.motion import MotionCursor, MotionLibrary, NextClip
from engine import Bundle, Write, any_row, put_rows, system
from systems.tick import RESET, TERMINATE


def clip_after(library: MotionLibrary, clip: Tensor) -> Tensor:
    """The clip that follows each `clip` in the order of the list, the first one after the last: (rows,) -> (rows,).

    Of a library that holds a part of its clips, the next one that is there to be drawn.
    """
    if library.held is not None:
        return library.held.following[clip]
    return (clip + 1).remainder_(len(library.names))


def end_for_next_clip(
    cursor: MotionCursor, library: MotionLibrary, following: Write[NextClip], done: Write[Done]
) -> None:
    """Cut off the episodes of rows that are asked to go on with the next clip; nobody is to blame."""
    following.clip.copy_(clip_after(library, cursor.clip).masked_fill_(~following.asked, -1))
    done.truncated.logical_or_(following.asked & ~done.terminated)
    done.ended.logical_or_(following.asked)


def start_next_clip(following: Write[NextClip], cursor: Write[MotionCursor], *, dt: float) -> None:
    """Rows whose episode was cut off for it begin with the first frame of their next clip, and aim for the pose one `dt` later.

    A row that is asked when this tick's ends are known already waits for the next tick.
    """
    rows = following.asked & (following.clip >= 0)
    put_rows(cursor.clip, rows, following.clip)
    put_rows(cursor.start, rows, 0.0)
    put_rows(cursor.time, rows, dt)
    following.asked.logical_and_(~rows)
    following.clip.fill_(-1)


def next_clip(*, dt: float) -> Bundle:
    """Rows of NextClip.asked start over with their next clip; `dt` is the control step in s."""
    asked = any_row(NextClip, "asked")
    return Bundle(
        "next_clip",
        components=[NextClip],
        systems={
            TERMINATE: [system(end_for_next_clip, when=asked, after="terminate")],
            RESET: [system(start_next_clip, when=asked, after="draw_motion", dt=dt)],
        },
    )
