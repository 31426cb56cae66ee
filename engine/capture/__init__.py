"""Capture: runs of systems are recorded once, as CUDA graphs, and replayed, so that a tick is a few launches and no Python.

Reading order: `launches` (work of other libraries in the middle of a system), `trace` (what would make a replay wrong),
`segments` (which systems are recorded together), `cpu_recorder` (records on the processor, for tests), `cuda_graphs` (on a GPU),
`capture` (warms up, records, replays, and says what it leaves alone). It imports `engine.ecs`, `engine.tools` and
`engine.errors`; systems that launch work of another library import `launches`. Nothing is imported here.
"""
