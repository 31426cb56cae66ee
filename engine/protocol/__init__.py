"""Protocol between runs, debuggers and recordings: what is sent, how it is packed, and where runs are found.

`framing` packs messages and arrays into frames, `messages` are the commands of a client, `discovery` the folder of live runs,
`roles` the names of the roles of columns. They load without torch. `schema` describes a simulation, `display` is what a scene
adds to it for debuggers. May import: ecs, errors.
"""
