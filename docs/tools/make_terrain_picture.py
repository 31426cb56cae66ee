"""The picture of docs/terrain.md: every kind of tile at difficulty 0.8 with the little humanoid in its middle.

python -m docs.tools.make_terrain_picture docs/pictures/terrain.webp
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scenes import robots
from systems.film.render import render
from systems.film.render_scene import build_render_scene
from systems.film.scenery import LAMP
from systems.ground.generators import GENERATORS
from systems.ground.grid import make_terrain

SIZE, ACROSS, LEVEL = (320, 240), 4, 4
VIEW = (10.5, 125.0, -33.0)  # m, degrees, degrees


def main() -> None:
    """Write the picture to the path that is given."""
    description, pictures = robots.load("humanoid"), []
    font = ImageFont.load_default(15)
    for kind in GENERATORS:
        terrain = make_terrain(kind, levels=LEVEL + 2, border=0.0)
        assert terrain is not None
        place = terrain.origins[LEVEL, 0]
        scene = build_render_scene(description, size=SIZE, terrain=terrain.near(place[None, :2], 3.7))
        look = scene.model.vis
        look.map.fogstart, look.map.fogend, look.map.zfar = 12.0, 60.0, 100.0
        state = scene.model.qpos0.copy()
        state[:3] += place
        camera = np.array([[place[0], place[1], place[2] + 0.2, *VIEW]])
        frame = next(iter(render(scene.model, state[None], None, camera, SIZE, LAMP, climbs=True)))
        picture = Image.fromarray(frame)
        ImageDraw.Draw(picture).text((8, 6), kind, fill=(30, 40, 52), font=font)
        pictures.append(np.asarray(picture))
    rows = [np.concatenate(pictures[first : first + ACROSS], 1) for first in range(0, len(pictures), ACROSS)]
    Image.fromarray(np.concatenate(rows)).save(Path(sys.argv[1]), quality=80)


if __name__ == "__main__":
    main()
