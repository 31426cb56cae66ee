"""Worker that simulates in Isaac Gym, run by the Python 3.8 that has it: its files import numpy, msgpack and each other, no torch.

`main.py` is started by its path. Whoever imports it elsewhere finds the same files as `systems.physics.isaacgym.worker`.
"""
