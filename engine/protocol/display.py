"""Display hints of a scene for debuggers: bodies to draw, roles of columns, limits of their values.

Plain data, by column address. Addresses that the world does not have are left out, so that a scene may name what only
some of its variants bring.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import attrs

from engine.ecs.world import World
from engine.errors import BuildError, EditError, did_you_mean, listing
from engine.protocol.roles import USUAL_COLUMNS

CHUNK = 1 << 18
"""Bytes of a model in one answer, at most."""


@attrs.define(eq=False, slots=False)
class ModelFile:
    """A file that a run hands out to debuggers that do not have it: made once, when first asked for, and named by its hash.

    `make` gets no argument, so that a client cannot choose what is handed out.
    """

    make: Callable[[], bytes]

    @cached_property
    def content(self) -> bytes:
        """All of it. Two threads that ask for it first at once both make it, and get the same."""
        return self.make()

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    def part(self, offset: int) -> dict[str, Any]:
        """The fields of an answer: `size` of all, and `data` from `offset` on; EditError beyond the end."""
        size = len(self.content)
        if offset >= size:
            raise EditError("bad_message", f"The file has {size} bytes; there is none at offset {offset}.")
        return {"hash": self.hash, "offset": offset, "size": size, "data": self.content[offset : offset + CHUNK]}


@attrs.frozen
class Limb:
    """One body of a figure: its parent (-1: none), thickness (m) and, where nothing is attached, where it ends (m, own axes)."""

    name: str
    parent: int
    radius: float
    tip: tuple[float, float, float] | None = None

    @property
    def length(self) -> float:
        """Distance from the body's origin to its tip, in m."""
        return sum(x * x for x in self.tip) ** 0.5 if self.tip else 0.0


@attrs.frozen
class Figure:
    """A row drawn as capsules: columns of body positions and rotations, of the reference that it follows, and of forces.

    `tracked` are the bodies that the reference has, in its order; further than `threshold` (m) from it a body is lost.
    `model` is the file that the robot was read from, for a renderer on the same machine; `asset` is what the others get, with
    the `terrain` that the robot walks on, if any.
    """

    table: str
    name: str
    bodies: Sequence[Limb]
    position: str
    root: str
    rotation: str | None = None
    reference: str | None = None
    tracked: Sequence[int] = ()
    threshold: float | None = None
    force: str | None = None
    model: str | None = None
    asset: ModelFile | None = None
    terrain: bool = False


def _check_roles(view: "View", attribute: Any, roles: Mapping[str, str]) -> None:
    for role in roles:
        if role not in USUAL_COLUMNS:
            raise BuildError(
                f"The view of the scene names a column for the role '{role}', which no debugger looks for. Roles are: "
                f"{listing(USUAL_COLUMNS)}.{did_you_mean(role, USUAL_COLUMNS)}"
            )


@attrs.frozen
class View:
    """What debuggers show of a scene. `roles` are addresses by role (engine/protocol/roles.py); `limits` are (low, high) for
    each value of a row, by column; `dt` in s. BuildError for a role that does not exist.
    """

    figures: Sequence[Figure] = ()
    roles: Mapping[str, str] = attrs.field(factory=dict, validator=_check_roles)
    limits: Mapping[str, Sequence[tuple[float, float]]] = attrs.field(factory=dict)
    dt: float | None = None

    def models(self) -> dict[str, dict[str, str]]:
        """By figure that can be drawn from a model: `file` on this machine and `hash` of the asset, '' for what is missing."""
        found: dict[str, dict[str, str]] = {}
        for each in self.figures:
            model = {"file": each.model or "", "hash": ""}
            if each.asset is not None:
                with suppress(Exception):  # one picture less in a debugger that attaches; asking for it gets the error
                    model["hash"] = each.asset.hash
            if any(model.values()):
                found[each.name] = model
        return found

    def described(self, world: World) -> dict[str, Any]:
        """Fields of the schema: column ids instead of addresses, except in roles."""
        ids = {address: number for number, address in enumerate(world.columns())}
        figures = [_figure(each, ids) for each in self.figures if each.position in ids and each.root in ids]
        fields = {"figures": figures, "roles": {role: a for role, a in self.roles.items() if a in ids}}
        return fields | ({"dt": self.dt} if self.dt else {})


def _figure(figure: Figure, ids: Mapping[str, int]) -> dict[str, Any]:
    bodies = [
        {"name": b.name, "parent": b.parent, "radius": b.radius, "length": b.length, "tip": b.tip and list(b.tip)}
        for b in figure.bodies
    ]
    columns = ("position", "rotation", "reference", "force", "root")
    return {
        "table": figure.table,
        "name": figure.name,
        "bodies": bodies,
        **{part: ids.get(getattr(figure, part) or "") for part in columns},
        "tracked": list(figure.tracked),
        "threshold": figure.threshold,
        "terrain": figure.terrain,
    }


NO_DISPLAY = View()
"""The view of a scene that says nothing about what to draw."""
