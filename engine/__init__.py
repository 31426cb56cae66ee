"""Lockstep's engine: tables of components, systems that declare what they touch, one visible tick.

`engine.ecs` is the kernel, and its docstring the manual. Public words are imported when they are first used, so that a
debugger window, which needs `engine.protocol` only, runs where torch is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.ecs.access import Rng as Rng
    from engine.ecs.access import Terms as Terms
    from engine.ecs.access import Write as Write
    from engine.ecs.bundle import Bundle as Bundle
    from engine.ecs.bundle import Endings as Endings
    from engine.ecs.bundle import deferred as deferred
    from engine.ecs.component import column as column
    from engine.ecs.component import component as component
    from engine.ecs.component import constant as constant
    from engine.ecs.component import derived as derived
    from engine.ecs.component import resource as resource
    from engine.ecs.component import signal as signal
    from engine.ecs.condition import any_row as any_row
    from engine.ecs.condition import every as every
    from engine.ecs.condition import first_tick as first_tick
    from engine.ecs.scene import Scene as Scene
    from engine.ecs.scene import Simulation as Simulation
    from engine.ecs.scene import build as build
    from engine.ecs.schedule import Tick as Tick
    from engine.ecs.system import System as System
    from engine.ecs.system import Term as Term
    from engine.ecs.system import concatenated as concatenated
    from engine.ecs.system import fuse as fuse
    from engine.ecs.system import system as system
    from engine.ecs.system import term as term
    from engine.ecs.table import push_history as push_history
    from engine.ecs.table import put_rows as put_rows
    from engine.ecs.table import table as table
    from engine.ecs.world import Clock as Clock
    from engine.ecs.world import World as World
    from engine.errors import AccessError as AccessError
    from engine.errors import BreakError as BreakError
    from engine.errors import BuildError as BuildError
    from engine.errors import EditError as EditError
    from engine.errors import LockstepError as LockstepError
    from engine.errors import ReplayError as ReplayError
    from engine.errors import SceneError as SceneError
    from engine.errors import SnapshotError as SnapshotError
    from engine.errors import WireError as WireError

_HOMES = {
    "engine.ecs.access": "Rng Terms Write",
    "engine.ecs.bundle": "Bundle Endings deferred",
    "engine.ecs.component": "column component constant derived resource signal",
    "engine.ecs.condition": "any_row every first_tick",
    "engine.ecs.scene": "Scene Simulation build",
    "engine.ecs.schedule": "Tick",
    "engine.ecs.system": "System Term concatenated fuse system term",
    "engine.ecs.table": "push_history put_rows table",
    "engine.ecs.world": "Clock World",
    "engine.errors": "AccessError BreakError BuildError EditError LockstepError ReplayError SceneError SnapshotError WireError",
}
_HOME = {word: home for home, words in _HOMES.items() for word in words.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'engine' has no attribute '{name}'")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found
