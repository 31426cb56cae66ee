"""What root and joint columns held when a simulator last wrote or took them, to see what was written since."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from components.robot import DofState, RootState


def columns_of(root: RootState, dofs: DofState) -> tuple[Tensor, ...]:
    """The columns that are a simulator's state, in the order in which they are remembered."""
    return (
        root.position, root.rotation, root.linear_velocity, root.angular_velocity, dofs.position, dofs.velocity,
    )  # fmt: skip


class Remembered:
    """Copies of the columns of `rows` rows; zeros, as columns begin, until the first are taken."""

    def __init__(self, rows: int, dofs: int) -> None:
        self.values = [np.zeros((rows, width), np.float32) for width in (3, 4, 3, 3, dofs, dofs)]
        self._of: tuple[RootState, DofState] | None = None
        self._versions: tuple[int, ...] = ()

    def edited(self, root: RootState, dofs: DofState) -> np.ndarray | None:
        """Rows (rows,) bool that hold another number than was remembered; None when nothing was written at all.

        A NaN is another number unless it has the same bits; a zero of the other sign is not.
        """
        columns = columns_of(root, dofs)
        seen = self._of is not None and self._of[0] is root and self._of[1] is dofs
        if seen and self._versions == tuple(column._version for column in columns):
            return None
        found = np.zeros(len(self.values[0]), bool)
        for column, old in zip(columns, self.values, strict=True):
            new = column.numpy()
            differs = new.view(np.int32) != old.view(np.int32)
            if differs.any():
                found |= (differs & (new != old)).any(-1)
        self._seen(root, dofs)
        return found

    def take(self, root: RootState, dofs: DofState, rows: "np.ndarray | slice" = slice(None)) -> None:
        """Remember what `rows` hold now; only for columns that `edited` has looked at, or with all rows."""
        for column, old in zip(columns_of(root, dofs), self.values, strict=True):
            old[rows] = column.numpy()[rows]
        self._seen(root, dofs)

    def load(self, values: Sequence[np.ndarray]) -> None:
        """Put remembered values back; every column is looked at again."""
        for old, new in zip(self.values, values, strict=True):
            old[:] = new
        self._of = None

    def _seen(self, root: RootState, dofs: DofState) -> None:
        self._of = (root, dofs)
        self._versions = tuple(column._version for column in columns_of(root, dofs))
