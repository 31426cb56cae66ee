"""Bundles: components + resources + systems of one feature, as plain data returned by a function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch

from engine.ecs.system import System, Term


@attrs.frozen(eq=False)
class Deferred:
    """A resource that is made once the axes are known; see `deferred`."""

    type: type
    factory: Callable[[Mapping[str, tuple[str, ...]], int, torch.device], Any]


def deferred(cls: type, factory: Callable[[Mapping[str, tuple[str, ...]], int, torch.device], Any]) -> Deferred:
    """A resource made at build by factory(axis labels, seed, device), for sizes that terms decide."""
    return Deferred(cls, factory)


@attrs.frozen
class Endings:
    """Which columns say that an episode ended, and why: names of (rows,) bool columns of `component`.

    `ended` marks every end, `failed` those that are failures (None: all), `reason` is (rows, axis) bool with one
    label for each reason (None: nobody says). `began` is (component, column) of an integer per row: the tick
    after which the episode began (None: nobody counts). `follow` are (component, column) of masks that are set with
    `ended` when somebody ends an episode by hand.
    """

    component: type
    ended: str = "ended"
    failed: str | None = None
    reason: str | None = None
    began: tuple[type, str] | None = None
    follow: tuple[tuple[type, str], ...] = ()


@attrs.define(eq=False)
class Bundle:
    """Components, resources and systems of one feature.

    `axes` adds axes to its table: labels, a length, `concatenated(terms)`, or a function that makes labels of all the scene's
    bundles, whose constants have their values by then; `repeat` is how often the tick's repeat group runs; `iteration` is how many ticks make one
    round of work, for whoever runs it. `storage(component, column name)` may offer a tensor to adopt as a column of one of the
    bundle's components, or None to let the world allocate: with it, a simulator's own arrays become columns without copies.
    `checks` get the bound Schedule when the scene is built, and again when somebody edits a constant; they raise SceneError
    for a setting that has no effect in it. `endings` says how episodes end, for logs; `vitals` are terms, (rows,) or
    (rows, k), of the few numbers that tell how a row is doing, for recorders. They are read after the phase
    `Tick.finished`; the setting `axis` names the axis whose labels they have.
    """

    name: str
    components: Sequence[type] = ()
    resources: Sequence[Any] = ()
    systems: Mapping[str, Sequence[System]] = attrs.field(factory=dict)
    axes: Mapping[str, Any] = attrs.field(factory=dict)
    repeat: int | None = None
    iteration: int | None = None
    table: str | None = None
    storage: Callable[[type, str], torch.Tensor | None] | None = None
    checks: Sequence[Callable[[Any], None]] = ()
    endings: Endings | None = None
    vitals: Mapping[str, Term] = attrs.field(factory=dict)
