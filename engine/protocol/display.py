"""What a scene tells those who look at it: which columns are a body, which play a usual part, and what is too much.

Plain data, by column address. Addresses that the world does not have are left out, so that a scene may name what only
some of its variants bring.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs

from engine.ecs.world import World
from engine.protocol.asset import Asset

ROLES = (
    "reward_terms", "reward_total", "observation", "action", "action_target", "action_mean", "torque", "done", "reason",
    "episode_step", "clip", "clip_time", "value", "advantage", "log_prob", "command", "dof_position", "velocity",
    "contact_force", "reference", "body_velocity",
)  # fmt: skip
"""The parts that a debugger's panels look for."""


@attrs.frozen
class Limb:
    """One body of a figure: its parent (-1: none), thickness (m) and, where nothing is attached, where it ends (m, own axes)."""

    name: str
    parent: int
    radius: float
    tip: tuple[float, float, float] | None = None

    @property
    def length(self) -> float:
        """From the body's origin to its tip, in m."""
        return sum(x * x for x in self.tip) ** 0.5 if self.tip else 0.0


@attrs.frozen
class Figure:
    """A row drawn as capsules: columns of body positions and rotations, of the reference that it follows, and of forces.

    `tracked` are the bodies that the reference has, in its order; further than `threshold` (m) from it a body is lost.
    `model` is the file that the robot was read from, for a renderer on the same machine; `asset` is what the others get.
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
    asset: Asset | None = None


@attrs.frozen
class View:
    """What a scene says about itself to debuggers. `limits` are (low, high) for each value of a row, by column; `dt` in s."""

    figures: Sequence[Figure] = ()
    roles: Mapping[str, str] = attrs.field(factory=dict)
    limits: Mapping[str, Sequence[tuple[float, float]]] = attrs.field(factory=dict)
    dt: float | None = None

    def models(self) -> dict[str, dict[str, str]]:
        """By name of the figure, where there is anything to draw it from: `file` on this machine, `hash` of the asset."""
        found: dict[str, dict[str, str]] = {}
        for each in self.figures:
            said = {"file": each.model or "", "hash": ""}
            if each.asset is not None:
                with suppress(Exception):  # a picture less, but a debugger that attaches; whoever asks for it is told
                    said["hash"] = each.asset.hash
            if any(said.values()):
                found[each.name] = said
        return found

    def described(self, world: World) -> dict[str, Any]:
        """As the schema says it: column ids instead of addresses, except in roles."""
        ids = {address: number for number, address in enumerate(world.columns())}
        figures = [
            {
                "table": each.table,
                "name": each.name,
                "bodies": [
                    {
                        "name": b.name,
                        "parent": b.parent,
                        "radius": b.radius,
                        "length": b.length,
                        "tip": b.tip and list(b.tip),
                    }
                    for b in each.bodies
                ],
                **{
                    part: ids.get(getattr(each, part) or "")
                    for part in ("position", "rotation", "reference", "force", "root")
                },
                "tracked": list(each.tracked),
                "threshold": each.threshold,
            }
            for each in self.figures
            if each.position in ids and each.root in ids
        ]
        told = {"figures": figures, "roles": {role: a for role, a in self.roles.items() if a in ids}}
        return told | ({"dt": self.dt} if self.dt else {})


NO_DISPLAY = View()
"""The view of a scene that says nothing about what to draw."""
