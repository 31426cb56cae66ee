"""Debugger: a window, or commands at a prompt, that look into a running simulation or a recording of one.

`python -m engine.debugger` is `__main__`; `text` is the client without a window. The rooms, each of which may import those
before it: `widgets` (drawing, knows nothing of runs), `model` (received data and what they mean), `net` (connections and
recordings), `diagnosis` (rules), `body` (the robot drawn), `panels`, `app` (the window). May import: protocol without its
schema, recording.file, render, files, errors, so that a window needs no torch. It knows no scene: all that it shows is in the schema.
"""
