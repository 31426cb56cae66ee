"""What a run and its debuggers send each other, and what recordings are written in.

`framing` is frames of msgpack maps with arrays, and the handshake's constants; `messages` what a client may send; `schema`
the description of a simulation, with `roles`, `display`, `asset` and `vitals` in it; `discovery` how running runs are found.
May import: ecs, errors. `framing`, `messages` and `discovery` import errors only, and load quickly and without torch.
"""
