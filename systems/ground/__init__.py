"""Ground: terrain from generators, how it becomes part of a simulator's model, and how high it is under a point.

Modules here hold no systems; those are in `systems/terrain.py`. They may import components and the engine. Public words:
`GENERATORS` and `Patch` (`generators.py`), `Terrain` and `make_terrain` (`grid.py`), `ground_height` (`heights.py`).
"""
