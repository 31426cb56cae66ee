"""Referee: policies of this and of other projects, played under one protocol and compared in one table.

`table.py` reads what a policy of another project sees and how its robot is driven (a TOML file in `tables/`, or one's own),
`terms.py` holds the observation terms that such tables name, `foreign.py` plays such a policy as `systems.deploy` plays ours,
`arena.py` builds the robots and measures them, `poses.py` is the motion that a tracker follows, `match.py` the protocol, `rows.py`
plays runs of ours in the batch backend, `scores.py` makes numbers of what was measured, and `command.py` is `lockstep referee`.
Imports `systems.deploy`, `systems.maths`, `systems.robots` and `systems.reporting`, components and the engine.
"""
