"""Protocol of runs, debuggers and recordings: what is sent, how it is packed, and where runs are found.

`framing` packs messages and arrays into frames, `messages` are what a client may send, `discovery` finds running runs, and
`roles` names the roles of columns; these import errors only, and load quickly and without torch. `schema` describes a
simulation, with `vitals`, and `display` is what a scene adds for debuggers. May import: ecs, errors.
"""
