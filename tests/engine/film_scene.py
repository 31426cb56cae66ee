"""The toy scene with a policy of one number, which can be filmed and exported."""

from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from engine import Bundle, Experiment, Scene, Trial, World, resource
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


def experiment(
    strength: float = 0.5, size: int = 1, name: str = "film", fail: str = "", shipped: str = ""
) -> Experiment:
    """The toy, and a will of `size` numbers; `fail` is what goes wrong in its film."""

    def scene() -> Scene:
        will = Will(strength=torch.full((size,), strength), moment=torch.zeros(3))
        bundles = [*toy_scene.make(8, 0.0), Bundle("will", resources=[will])]
        return attrs.evolve(toy_scene.make_scene(), bundles=bundles, name=name)

    def film(world: World, path: Path) -> dict[str, str]:
        if fail:
            raise RuntimeError(fail)
        path.write_text("a film")
        return {"strength": f"{float(world[Will].strength[0]):g} of {strength:g}"}

    def measure(world: World, path: Path) -> dict[str, Any]:
        return {"table": [{"clip": "walk", "success": 1.0}]}

    return attrs.evolve(
        toy_scene.experiment(),
        train=scene,
        evaluate=Trial(scene, 0, measure, restores=("Will",)),
        film=Trial(scene, 2, film, restores=("Will",)),
        policy=Path(shipped) if shipped else None,
    )
