"""Rows on terrain: the tile that each row's episodes begin on, who goes up or down a level, and who leaves; terrain().

A level is a difficulty, a kind is a generator of `systems/ground/generators.py`. Kinds stay with rows. Levels of rows that walk
follow how far they get: a row farther than `promote` m from where it began goes up, one that walks less than a share of what it
was asked for goes down, and past the highest level a row goes on at any. Rows that follow clips are on any level of `begin`.
"""

import math
from functools import partial
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from components.command import Command
from components.episode import Done, Episode, Rewritten
from components.motion import MotionCursor, MotionLibrary
from components.robot import RootState
from components.terrain import Ground, TerrainTile
from engine import Bundle, Clock, Rng, System, Term, Write, any_row, put_rows, system, term
from engine.ecs.schedule import Schedule
from engine.errors import SceneError
from engine.ranks.distribution import on_rows_of_all
from systems.ground.grid import Terrain
from systems.ground.heights import ground_height, half_size, off_tiles, scan_points
from systems.maths.tensors import vector
from systems.reference import sample_root_and_dofs
from systems.tick import ADVANCE, BEGIN, RESET, SENSE, TERMINATE

MARGIN = 0.3  # m before the end of the ground at which a row leaves it
FOOTPRINT = (0.8, 0.6)  # m, length and width of what has to be free where a robot is set down


@attrs.frozen(kw_only=True)
class Tiles:
    """How terrain is laid out, and which of its tiles rows begin on."""

    levels: int = 10  # tiles of each kind, of difficulties from 0 to 1
    size: float = 8.0  # m, side of a tile
    cell: float = 0.1  # m, side of a square of the height field
    border: float = 20.0  # m of flat ground around all tiles
    seed: int = 0  # of the terrain, which is the same whatever the seed of the run
    edge: Literal["end", "wrap"] = "end"  # a row that leaves the ground ends its episode, or comes in at the other edge
    begin: tuple[int, int] = (
        0,
        5,
    )  # levels that episodes begin on, both ends included; with a curriculum the first ones

    def layout(self) -> dict[str, Any]:
        """What `make_terrain` asks."""
        return {name: getattr(self, name) for name in ("levels", "size", "cell", "border", "seed")}


@attrs.frozen(kw_only=True)
class ClimbedTiles(Tiles):
    """Tiles whose levels rows climb, and come down again."""

    curriculum: bool = True  # rows go up and down; else each episode begins on any of the levels of `begin`
    promote: float = 4.0  # m from where it began, beyond which a row goes one level up
    demote: float = 0.5  # share of the way it was asked to go, below which a row goes one level down


# -- tiles and levels ----------------------------------------------------------------------------------


@on_rows_of_all
def draw_first_tiles(ground: Ground, rng: Rng, tile: Write[TerrainTile], *, begin: tuple[int, int]) -> None:
    """Spread rows over kinds by their shares, in order, and over the levels of `begin` at random."""
    count = len(tile.level)
    place = (torch.arange(count, device=rng.device) + 0.5).div_(count)
    ends = vector(ground.shares, rng.device).cumsum(0)[:-1]
    tile.kind.copy_(torch.searchsorted(ends, place, right=True))
    tile.level.random_(begin[0], begin[1] + 1, generator=rng)


def count_asked(command: Command, tile: Write[TerrainTile], *, dt: float) -> None:
    """Add the way that this control step's command asks for; `dt` in s."""
    tile.asked.add_(command.velocity[:, :2].norm(dim=-1), alpha=dt)


def draw_level(done: Done, rng: Rng, tile: Write[TerrainTile], *, begin: tuple[int, int]) -> None:
    """Rows that end go on at any of the levels of `begin`."""
    drawn = torch.empty_like(tile.level).random_(begin[0], begin[1] + 1, generator=rng)
    put_rows(tile.level, done.ended, drawn)


def change_level(
    done: Done, root: RootState, episode: Episode, clock: Clock, rng: Rng, ground: Ground, tile: Write[TerrainTile],
    *, promote: float, demote: float, steps: float,
) -> None:  # fmt: skip
    """Rows that end go up a level where they are more than `promote` m from where they began, and else perhaps down.

    Down go those whose distance is less than `demote` × what commands asked for, in an episode of `steps` control steps where
    the row failed, else in the one that it had. Rows past the highest level go on at any; lost ones stay where they are.
    """
    assert ground.origins is not None
    levels = ground.origins.shape[0]
    walked = (root.position[:, :2] - tile.origin[:, :2]).norm(dim=-1)
    lasted = (clock.device_tick - episode.began).clamp_min(1)
    asked = torch.where(done.terminated, tile.asked * (steps / lasted), tile.asked)
    up = walked > promote
    down = ~up & (walked < demote * asked)
    level = tile.level + up.long() - down.long()
    anywhere = torch.empty_like(level).random_(0, levels, generator=rng)
    level = torch.where(level >= levels, anywhere, level).clamp_min_(0)
    put_rows(tile.level, done.ended & ~done.lost, level)


def stand_on_tile(done: Done, ground: Ground, tile: Write[TerrainTile], root: Write[RootState]) -> None:
    """Carry rows that begin to the middle of their tile, as high above the highest ground near them as they were above 0."""
    assert ground.origins is not None
    origin = ground.origins[tile.level, tile.kind]  # a copy
    origin[:, 2] = highest_near(ground, root.position + origin)
    put_rows(root.position, done.ended, root.position + origin)
    put_rows(tile.origin, done.ended, origin)
    put_rows(tile.asked, done.ended, 0.0)


def start_on_tile(
    done: Done, ground: Ground, library: MotionLibrary, cursor: MotionCursor, tile: Write[TerrainTile],
    root: Write[RootState], *, on_frames: bool = False,
) -> None:  # fmt: skip
    """Carry rows that begin, and their clips, to where the clip has the root over the middle of the row's tile.

    There the clip is as high above the highest ground near it as it was above 0, and keeps this height wherever it goes.
    `on_frames` as in `systems.tracking.reset_to_reference`.
    """
    assert ground.origins is not None
    begun, *_ = sample_root_and_dofs(library, cursor.clip, cursor.start, on_frames=on_frames)
    middle = ground.origins[tile.level, tile.kind]
    origin = middle - begun
    origin[:, 2] = highest_near(ground, middle)
    put_rows(root.position, done.ended, root.position + origin)
    put_rows(tile.origin, done.ended, origin)


def highest_near(ground: Ground, places: Tensor) -> Tensor:
    """Height of the highest ground where a robot at `places` (rows, 3) is set down, (rows,) m."""
    around = places[:, None, :2] + scan_points(FOOTPRINT, 0.2, places.device)
    return ground_height(ground, around).amax(-1)


# -- the edge ------------------------------------------------------------------------------------------


def mark_wrapped(root: RootState, ground: Ground, rewritten: Write[Rewritten], *, margin: float = MARGIN) -> None:
    """Rows that leave the ground are about to be rewritten."""
    rewritten.rows.logical_or_(off_tiles(ground, root.position, margin))


def wrap(
    done: Done, ground: Ground, tile: Write[TerrainTile], root: Write[RootState], *, margin: float = MARGIN
) -> None:
    """Rows that leave the ground, and whose episode goes on, come in at the other edge, which is as flat."""
    shift = torch.zeros_like(root.position)
    for axis, half in enumerate(half_size(ground)):
        most = half + ground.border - margin
        shift[:, axis] = (
            -2.0 * most * torch.where(root.position[:, axis].abs() > most, root.position[:, axis].sign(), 0.0)
        )
    put_rows(root.position, ~done.ended, root.position + shift)
    put_rows(tile.origin, ~done.ended, tile.origin + shift)


# -- terms ---------------------------------------------------------------------------------------------


def terrain_level(tile: TerrainTile) -> Tensor:
    """The level of the row's tile."""
    return tile.level.to(torch.float32)


def level_of_kind(tile: TerrainTile, *, place: int) -> Tensor:
    """The level of rows on the kind at `place` in `Ground.kinds`; nan for others."""
    return torch.where(tile.kind == place, tile.level.to(torch.float32), math.nan)


def measured_levels(made: Terrain) -> dict[str, Term]:
    """Mean level of all rows and of those on each kind, for `systems.metrics.measurements`."""
    each = {f"terrain/{kind}": term(level_of_kind, place=place) for place, kind in enumerate(made.kinds)}
    return {"terrain/level": term(terrain_level), **(each if len(each) > 1 else {})}


# -- the bundle ----------------------------------------------------------------------------------------


def refuse_tiles(tiles: Tiles, first: System, schedule: Schedule | None = None) -> None:
    """SceneError for levels that do not exist, and for edges that cannot be wrapped."""
    low, high = first.constants["begin"]
    if not 0 <= low <= high < tiles.levels:
        raise SceneError(
            f"terrain: begin=({low}, {high}) are not levels from 0 to {tiles.levels - 1}, the lower one first. "
            f"Give --tiles.begin {min(max(low, 0), tiles.levels - 1)},{tiles.levels - 1}, or other levels."
        )
    if tiles.edge == "wrap" and tiles.border < 1.0:
        raise SceneError(
            f"terrain: edge='wrap' with border={tiles.border:g} m would put rows onto tiles in the middle of a step; give a border "
            "of at least 1 m, or edge='end'."
        )


def refuse_levels(change: System, seconds: float, fastest: float, schedule: Schedule | None = None) -> None:
    """SceneError for thresholds that cross or that nobody reaches."""
    up, down = (change.constants[name] for name in ("promote", "demote"))
    if not 0.0 <= down <= 1.0:
        raise SceneError(
            f"terrain: demote={down:g} is a share of the way that a row was asked to go, from 0 to 1; beyond, the thresholds "
            "cross: a row that walks all of it would go down."
        )
    if not up > 0.0:
        raise SceneError(f"terrain: promote={up:g} m makes no sense; give a distance above 0.")
    if not math.isfinite(seconds):
        raise SceneError(
            "terrain: curriculum=True has no effect on episodes without an end. Give `seconds`, or curriculum=False."
        )
    if not up < fastest * seconds:
        raise SceneError(
            f"terrain: promote={up:g} m is beyond what the fastest command, {fastest:g} m/s, reaches in {seconds:g} s, so that "
            f"nobody would go up. Give less than {fastest * seconds:g}, or curriculum=False."
        )


def terrain(
    tiles: ClimbedTiles, *, seconds: float, fastest: float, after: str = "mark_rewritten", dt: float = 0.02
) -> Bundle:
    """Where on the terrain rows that walk begin, and what becomes of those that leave it with `tiles.edge` "wrap".

    `seconds` is the longest episode, `fastest` the largest command in m/s, `dt` the control step in s; marks of rows are made
    after the system `after`. The ground comes with `physics`, an end of the episode for rows that leave it is the term
    `off_terrain`. Raises SceneError for what cannot be.
    """
    stand = system(stand_on_tile, when=any_row(Rewritten, "rows"), after="reset_to_default")
    if not tiles.curriculum:
        return _terrain(tiles, stand, after=after)
    change = system(
        change_level, when=any_row(Done, "ended"), promote=tiles.promote, demote=tiles.demote, steps=seconds / dt
    )
    check = partial(refuse_levels, change, seconds, fastest)
    check()
    made = _terrain(tiles, stand, change, after=after)
    return attrs.evolve(
        made, systems={**made.systems, SENSE: [system(count_asked, dt=dt)]}, checks=[*made.checks, check]
    )


def terrain_of_clips(tiles: Tiles, *, after: str = "mark_rewritten", on_frames: bool = False) -> Bundle:
    """Where on the terrain rows begin that follow clips; `tracking(on_tiles=True)` goes with it.

    `on_frames` says that episodes begin on frames of their clip; the rest as for `terrain`.
    """
    start = system(start_on_tile, when=any_row(Rewritten, "rows"), after="reset_to_reference", on_frames=on_frames)
    return _terrain(tiles, start, after=after)


def _terrain(tiles: Tiles, begin: System, change: System | None = None, *, after: str) -> Bundle:
    """Rows on tiles: `begin` sets them down, `change` gives those that end a level, by default any of `tiles.begin`."""
    first = system(draw_first_tiles, begin=tiles.begin)
    check = partial(refuse_tiles, tiles, first)
    check()
    drawn = system(draw_level, when=any_row(Done, "ended"), begin=tiles.begin)
    systems: dict[str, list[System]] = {BEGIN: [first], ADVANCE: [change or drawn], RESET: [begin]}
    if tiles.edge == "wrap":
        systems[TERMINATE] = [system(mark_wrapped, after=after)]
        systems[RESET].append(system(wrap, when=any_row(Rewritten, "rows"), after=begin.name))
    return Bundle("terrain", components=[TerrainTile], systems=systems, checks=[check])
