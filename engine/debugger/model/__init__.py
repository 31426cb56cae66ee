"""Model of the debugger: what was received of a run and what it means. No Qt, no sockets.

`store.Store` holds everything received (`frames` is its memory); `schema` parses the schema into `ColumnInfo` and `Declared`,
and finds the column of a role, and the one that a person types. `evidence` is what the rules of diagnosis look at and the
subscriptions that bring it; `history` and `episode_track` make it of received data. `subscription` is what a panel asks for,
merged for the run. May import: protocol without its schema, errors.
"""
