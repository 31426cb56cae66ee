"""Tools for motion clips: the command `lockstep clips` and its sub-commands, one module each.

Public: `main` of `command.py`, which takes the robots that it may name from whoever registers it. A sub-command is a module
with `add_arguments(parser)` and `run(options)`. Imports `systems.motion`, `systems.robots`, `systems.maths`, components and
the engine's `errors` and `files`.
"""
