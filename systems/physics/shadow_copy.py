"""Shadow copy of root and joint columns as a simulator last wrote or took them, to see what was written since."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from components.robot import DofState, RootState
from engine.ecs.table import put_rows


def columns_of(root: RootState, dofs: DofState) -> dict[str, Tensor]:
    """The columns that are a simulator's state."""
    return {
        "root_position": root.position,
        "root_rotation": root.rotation,
        "linear_velocity": root.linear_velocity,
        "angular_velocity": root.angular_velocity,
        "dof_position": dofs.position,
        "dof_velocity": dofs.velocity,
    }


class ShadowCopy:
    """Copies of the columns of `rows` rows by name; zeros, as columns begin, until the first are taken."""

    def __init__(self, rows: int, dofs: int) -> None:
        widths = {
            "root_position": 3,
            "root_rotation": 4,
            "linear_velocity": 3,
            "angular_velocity": 3,
            "dof_position": dofs,
            "dof_velocity": dofs,
        }
        self.values = {name: np.zeros((rows, width), np.float32) for name, width in widths.items()}
        self._of: tuple[RootState, DofState] | None = None
        self._versions: tuple[int, ...] = ()

    def edited(self, root: RootState, dofs: DofState) -> np.ndarray | None:
        """Rows (rows,) bool that hold another number than was remembered; None when nothing was written at all.

        A NaN is another number unless it has the same bits; a zero of the other sign is not.
        """
        columns = columns_of(root, dofs)
        if not self.values:
            self.values = {name: column.numpy().copy() for name, column in columns.items()}
        same = self._of is not None and self._of[0] is root and self._of[1] is dofs
        if same and self._versions == _versions(root, dofs):
            return None
        found = np.zeros(len(root.position), bool)
        for name, column in columns.items():
            new, old = column.numpy(), self.values[name]
            differs = new.view(np.int32) != old.view(np.int32)
            if differs.any():
                found |= (differs & (new != old)).any(-1)
        self._look(root, dofs)
        return found

    def take(self, root: RootState, dofs: DofState, rows: "np.ndarray | slice" = slice(None)) -> None:
        """Remember what `rows` hold now; only some rows where `edited` was asked since others were written."""
        for name, column in columns_of(root, dofs).items():
            self.values[name][rows] = column.numpy()[rows]
        self._look(root, dofs)

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        """Put remembered values back, and look at every column again; without any, what they hold then is no edit."""
        self._of = None
        self.values = {name: self.values.get(name, np.empty_like(new)) for name, new in values.items()}
        for name, new in values.items():
            self.values[name][:] = new

    def _look(self, root: RootState, dofs: DofState) -> None:
        self._of, self._versions = (root, dofs), _versions(root, dofs)


class ShadowOnDevice:
    """The same for columns on any device, without waiting for it: `edited` is a mask there, which may be of no row."""

    def __init__(self, rows: int, dofs: int, device: torch.device) -> None:
        self.values = torch.zeros(rows, 13 + 2 * dofs, device=device)  # the columns one beside the other
        self._of: tuple[RootState, DofState] | None = None
        self._versions: tuple[int, ...] = ()

    def edited(self, root: RootState, dofs: DofState) -> Tensor | None:
        """As `ShadowCopy.edited`."""
        same = self._of is not None and self._of[0] is root and self._of[1] is dofs
        if same and self._versions == _versions(root, dofs):
            return None
        new = torch.cat([*columns_of(root, dofs).values()], 1)
        self._look(root, dofs)
        return ((new.view(torch.int32) != self.values.view(torch.int32)) & (new != self.values)).any(1)

    def take(self, root: RootState, dofs: DofState, rows: Tensor | None = None) -> None:
        """As `ShadowCopy.take`; `rows` is a mask, None: all."""
        new = torch.cat([*columns_of(root, dofs).values()], 1)
        if rows is None:
            self.values.copy_(new)
        else:
            put_rows(self.values, rows, new)
        self._look(root, dofs)

    def load(self, values: Tensor) -> None:
        """Put remembered values back, and look at every column again."""
        self._of = None
        self.values.copy_(values)

    def _look(self, root: RootState, dofs: DofState) -> None:
        self._of, self._versions = (root, dofs), _versions(root, dofs)


def _versions(root: RootState, dofs: DofState) -> tuple[int, ...]:
    return tuple(column._version for column in columns_of(root, dofs).values())
