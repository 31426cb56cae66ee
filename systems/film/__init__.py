"""Films of robots: shots of recorded states, drawn by MuJoCo or by a painter of our own, and written as H.264.

Public: `FilmShot` is what is filmed, `write_film` writes the file, at most `LONGEST` seconds of pictures of `SIZE`. What is
drawn comes from `systems.film.render_scene.build_render_scene`, which needs MuJoCo; av and PIL are imported when a film is
written. Imports `systems.maths`, `systems.robots`, components and the engine.
"""

from systems.film.film import LONGEST, SIZE, FilmShot, write_film

__all__ = ["LONGEST", "SIZE", "FilmShot", "write_film"]
