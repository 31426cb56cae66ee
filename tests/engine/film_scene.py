"""The toy scene with a policy of one number, which can be filmed and exported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from engine import Bundle, Scene, build, resource
from engine.snapshot.snapshot import restore
from tests.engine import toy_scene


@resource
class Will:
    """What the toy wants, and how it came to want it."""

    strength: Tensor
    moment: Tensor

    def exported(self) -> dict[str, Any]:
        """Without the moment."""
        return {"strength": self.strength.clone()}

    def load(self, state: dict[str, Any]) -> None:
        """With or without the moment."""
        if state["strength"].shape != self.strength.shape:
            raise ValueError("it is of another size")
        self.strength.copy_(state["strength"])
        self.moment.copy_(state.get("moment", torch.zeros(3)))


def scene(strength: float = 0.5, size: int = 1, name: str = "film", fail: str = "", shipped: str = "") -> Scene:
    """The toy, and a will of `size` numbers; `fail` is what goes wrong in its film."""

    def bundles() -> list[Bundle]:
        will = Will(strength=torch.full((size,), strength), moment=torch.zeros(3))
        return [*toy_scene.make(8, 0.0), Bundle("will", resources=[will])]

    def film(
        snapshot: bytes, path: Path, *, seed: int, device: str, progress: Callable[[float], None]
    ) -> dict[str, str]:
        other = build(attrs.evolve(made, bundles=bundles()), seed=seed, device=device)
        if fail:
            raise RuntimeError(fail)
        restore(other.world, snapshot, only=("Will",))
        progress(0.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a film")
        return {"strength": f"{float(other.world[Will].strength[0]):g} of {strength:g}"}

    def evaluate(snapshot: bytes, *, seed: int, device: str, progress: Callable[[float], None]) -> dict[str, Any]:
        return {"table": [{"clip": "walk", "success": 1.0}]}

    made = attrs.evolve(
        toy_scene.scene(),
        evaluate=evaluate,
        bundles=bundles(),
        name=name,
        film=film,
        policy=Path(shipped) if shipped else None,
    )
    return made
