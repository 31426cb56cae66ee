"""Lockstep's engine: tables of components, systems that declare what they touch, one visible tick.

`engine.ecs` is the kernel, and its docstring the manual. Public words are imported when they are first used, so that a
debugger window, which needs `engine.protocol` only, runs where torch is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.ecs.access import Rng, Terms, Write
    from engine.ecs.bundle import Bundle, Endings, deferred
    from engine.ecs.component import column, component, constant, derived, resource, signal
    from engine.ecs.condition import any_row, every, first_tick
    from engine.ecs.scene import Scene, Simulation, build
    from engine.ecs.schedule import Tick
    from engine.ecs.system import System, Term, concatenated, fuse, system, term
    from engine.ecs.table import push_history, put_rows, table
    from engine.ecs.world import Clock, World
    from engine.errors import (
        AccessError,
        BreakError,
        BuildError,
        EditError,
        LockstepError,
        ReplayError,
        SceneError,
        SnapshotError,
        WireError,
    )
    from engine.runner.experiment import EpisodeFile, Experiment, Trial
    from engine.runner.notebook import learn, load_experiment

__all__ = [
    "AccessError", "BreakError", "BuildError", "Bundle", "Clock", "EditError", "Endings", "EpisodeFile", "Experiment",
    "LockstepError", "ReplayError", "Rng", "Scene", "SceneError", "Simulation", "SnapshotError", "System", "Term", "Terms", "Tick", "Trial",
    "WireError", "World", "Write", "any_row", "build", "column", "component", "concatenated", "constant", "deferred",
    "derived", "every", "first_tick", "fuse", "learn", "load_experiment", "push_history", "put_rows", "resource", "signal", "system", "table", "term",
]  # fmt: skip

_HOMES = (
    "errors", "ecs.access", "ecs.component", "ecs.table", "ecs.system", "ecs.bundle", "ecs.condition", "ecs.world",
    "ecs.schedule", "ecs.scene", "runner.experiment", "runner.notebook",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    for home in _HOMES if name in __all__ else ():
        module = import_module(f"engine.{home}")
        if hasattr(module, name):
            found = globals()[name] = getattr(module, name)
            return found
    raise AttributeError(f"module 'engine' has no attribute '{name}'")
