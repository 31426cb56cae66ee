"""Connections of the debugger: to a run, to a run on another machine, and to a recording that stands in for a run.

`connection.Connection` is an attached client; `session.Session` asks and waits for the answer, `link.Link` runs in a thread of
its own for `qt_client.Client`. A recording is read by `recording_source` and shown by `playback.Playback`, which has the
signals of a Client. `ssh` forwards the socket of another machine, `model_file` fetches a robot's model. May import: model,
protocol without its schema, recording.file, files, errors.
"""
