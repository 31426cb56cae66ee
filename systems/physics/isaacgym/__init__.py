"""Isaac Gym as a simulator: a worker process under a Python 3.8 of the user's, and what speaks to it.

Public words: `IsaacGymBackend` in `backend`, and `python -m systems.physics.isaacgym selfcheck`. `worker/` is a program of its own, for
Python 3.8, that shares nothing with the rest but its own files. May import systems, components and engine.
"""
