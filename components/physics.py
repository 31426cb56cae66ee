"""Physics: the simulator of the robot table, and rows whose simulation failed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.ecs.component import column, constant, resource, signal


@resource
class Physics:
    """The backend that moves the rows; see `systems/physics/contract.py`."""

    backend: Any = constant()

    @property
    def exact_resume(self) -> bool:
        """Whether a restored snapshot continues with the same bytes."""
        return bool(self.backend.exact_resume)

    @property
    def perishable(self) -> bool:
        """Whether it may be lost while the run goes on, as a simulator in another process may."""
        return bool(getattr(self.backend, "perishable", False))

    def state(self) -> dict[str, Any]:
        """Hidden state that the root and joint columns do not show."""
        state: dict[str, Any] = self.backend.state()
        return state

    def overflows(self) -> dict[str, int]:
        """In how many rows each of the simulator's buffers was too small since the run began; {} where it does not report any."""
        return dict(self.backend.overflows())

    def penetration(self) -> np.ndarray | None:
        """(rows,) m, the deepest overlap of two shapes as of the last step; None where it does not report it."""
        found: np.ndarray | None = self.backend.penetration()
        return found

    def focus(self, rows: Sequence[int] | None) -> None:
        """Simulate these rows only, for whoever looks at nothing else; the others stand still. None: all."""
        self.backend.focus(rows)

    def load(self, state: dict[str, Any]) -> None:
        """Put hidden state back."""
        self.backend.load(state)


@signal
class Diverged:
    """Rows whose simulation failed in this tick; they keep their last sound state until they are reset."""

    rows: Tensor = column(dtype=torch.bool)
