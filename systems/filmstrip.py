"""Film of any task: keeps what terms say of the first episode, and lets a function draw each frame."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from components.episode import Done
from components.footage import Filmstrip
from engine import Bundle, Clock, Term, Terms, World, Write, concatenated, fuse
from systems.film.film import SIZE, drawn_frames, encode, need_packages
from systems.tick import REWARD


def keep_values(values: Terms, clock: Clock, done: Done, strip: Write[Filmstrip]) -> None:
    """Keep what the terms say, before anything is reset; the first tick with an action is tick 1."""
    frame = clock.tick - 1
    if frame >= strip.shown.shape[1]:
        return
    torch.cat([value for _, value in values], -1, out=strip.shown[:, frame])
    strip.frames.add_(strip.running)
    strip.running.logical_and_(~done.ended)


def filmstrip(shown: Mapping[str, Term], *, frames: int) -> Bundle:
    """Keeps the values of `shown`, terms that return (rows, k), in the first `frames` control steps."""
    return Bundle(
        "filmstrip",
        components=[Filmstrip],
        systems={REWARD: [fuse(keep_values, shown)]},
        axes={"frame": frames, "shown": concatenated(shown)},
    )


def drawn_film(world: World, path: Path, *, draw: Callable[..., None], fps: float = 50.0) -> dict[str, str]:
    """Write the film of the first row's first episode to `path`; what is seen, by name.

    `draw(canvas, *values)` draws a frame with the values of the terms, in their order; `canvas` is a PIL
    ImageDraw of 640 × 480 white pixels, y down. Raises SceneError without the packages for films, and where the file cannot be written.
    """
    need_packages()
    strip = world[Filmstrip]
    values = strip.shown[0, : int(strip.frames[0])].tolist()
    encode(path, drawn_frames(values, draw, SIZE), fps, SIZE)
    return {"shown": f"{len(values)} control steps, {len(values) / fps:.2f} s"}
