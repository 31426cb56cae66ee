"""Ground that is no plane: what tasks on terrain have besides, whatever they are asked to do there."""

from collections.abc import Sequence

import attrs

from components.motion import MotionLibrary
from engine import Bundle, Term, term
from scenes.tasks import Config, SharedConfig
from systems import observations as seen
from systems.reference import falls_on_frames
from systems.robots.model import RobotModel
from systems.terminations import off_terrain
from systems.terrain import terrain_of_clips

SCAN_REACH = 5.0  # m, that the height scan counts as 1


def height_scan(*, noise: float = 1.0) -> dict[str, Term]:
    """What is seen of the ground around the robot; `noise` is the share of the published sensor noise."""
    return {"height_scan": term(seen.height_scan, noise=0.1 * noise, scale=1.0 / SCAN_REACH)}


def ends_of(config: SharedConfig, model: RobotModel, *, kind: str = "time_limit") -> dict[str, Term]:
    """The end of an episode that leaves the ground, where there is terrain that ends; of this `kind`."""
    ends = model.terrain is not None and config.tiles.edge == "end"
    return {"off_terrain": term(off_terrain, kind=kind)} if ends else {}


def last_mark(bundles: Sequence[Bundle]) -> str:
    """The last of the systems in `bundles` that mark rows to be rewritten."""
    pushed = any(each.name == "mark_pushed" for b in bundles for group in b.systems.values() for each in group)
    return "mark_pushed" if pushed else "mark_rewritten"


def under_clips(
    config: Config, model: RobotModel, library: MotionLibrary, bundles: Sequence[Bundle], *, playing: bool
) -> list[Bundle]:
    """Rows that follow clips on the tiles of the terrain, in a scene with these `bundles`; none on a plane.

    Where a policy is played, every episode is on any of all levels.
    """
    if model.terrain is None:
        return []
    tiles = attrs.evolve(config.tiles, begin=(0, config.tiles.levels - 1)) if playing else config.tiles
    return [terrain_of_clips(tiles, after=last_mark(bundles), on_frames=falls_on_frames(library, config.dt))]
