"""Draws: what is drawn for rows, what it changes in a robot, and what of that cannot be.

Modules here hold no systems; those are in `systems/randomization.py`. They may import components, engine, `systems.physics` and
`systems.robots`. Public words: `Draw` (`draw.py`), `Layout` and `varied` (`layout.py`), `check_targets` (`checks.py`).
"""
