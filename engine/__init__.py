"""Lockstep's engine: tables of components, systems that declare what they touch, one visible tick."""

from engine.access import Rng, Terms, Write
from engine.bundle import Bundle, Endings, System, Term, concatenated, deferred, fuse, system, term
from engine.component import column, component, constant, derived, resource, signal
from engine.condition import any_row, every, first_tick
from engine.errors import AccessError, BuildError, LockstepError, SceneError, SnapshotError, WireError
from engine.scene import Scene, Simulation, build
from engine.schedule import Tick
from engine.table import push_history, put_rows, table
from engine.world import Clock, World

__all__ = [
    "AccessError", "BuildError", "Bundle", "Clock", "Endings", "LockstepError", "Rng", "Scene", "SceneError", "Simulation",
    "SnapshotError", "System", "Term", "Terms", "Tick", "WireError", "World", "Write", "any_row", "build", "column", "component",
    "concatenated", "constant", "deferred", "derived", "every", "first_tick", "fuse", "push_history", "put_rows",
    "resource", "signal", "system", "table", "term",
]  # fmt: skip
