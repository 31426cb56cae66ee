"""Lockstep's engine: tables of components, systems that declare what they touch, one visible tick.

The public words are imported when they are first used, so that a debugger window, which needs engine.wire only, runs
where torch is not installed.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.access import Rng, Terms, Write
    from engine.bundle import Bundle, Endings, System, Term, concatenated, deferred, fuse, system, term
    from engine.component import column, component, constant, derived, resource, signal
    from engine.condition import any_row, every, first_tick
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
    from engine.scene import Scene, Simulation, build
    from engine.schedule import Tick
    from engine.table import push_history, put_rows, table
    from engine.world import Clock, World

__all__ = [
    "AccessError", "BreakError", "BuildError", "Bundle", "Clock", "EditError", "Endings", "LockstepError", "ReplayError", "Rng", "Scene", "SceneError", "Simulation",
    "SnapshotError", "System", "Term", "Terms", "Tick", "WireError", "World", "Write", "any_row", "build", "column", "component",
    "concatenated", "constant", "deferred", "derived", "every", "first_tick", "fuse", "push_history", "put_rows",
    "resource", "signal", "system", "table", "term",
]  # fmt: skip

_HOMES = {
    "engine.access": ["Rng", "Terms", "Write"],
    "engine.bundle": ["Bundle", "Endings", "System", "Term", "concatenated", "deferred", "fuse", "system", "term"],
    "engine.component": ["column", "component", "constant", "derived", "resource", "signal"],
    "engine.condition": ["any_row", "every", "first_tick"],
    "engine.errors": [
        "AccessError",
        "BreakError",
        "BuildError",
        "EditError",
        "LockstepError",
        "ReplayError",
        "SceneError",
        "SnapshotError",
        "WireError",
    ],
    "engine.scene": ["Scene", "Simulation", "build"],
    "engine.schedule": ["Tick"],
    "engine.table": ["push_history", "put_rows", "table"],
    "engine.world": ["Clock", "World"],
}


class _Package(ModuleType):
    """A package two of whose words, `component` and `table`, are also names of its modules: the words win."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in __all__ and isinstance(value, ModuleType):
            return  # the import system wants to put a module here
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        for home, words in _HOMES.items():
            if name in words:
                found = getattr(import_module(home), name)
                super().__setattr__(name, found)
                return found
        raise AttributeError(f"module 'engine' has no attribute '{name}'")


sys.modules[__name__].__class__ = _Package
