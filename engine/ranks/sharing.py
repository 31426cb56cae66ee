"""How a resource is the same in all processes: what its class says as `COMBINED`.

A resource that says nothing is the same because every process computes it from what is the same; no system may then write it
from its own rows.
"""

from enum import Enum
from typing import Any

import attrs


class Combination(Enum):
    """OWN: each process has its own part, with a number for each of its rows. REDUCED: the systems that write it sum over
    processes themselves, by `Blocks`. GATHERED: systems that write it run on the rows of all processes."""

    OWN = "own"
    REDUCED = "reduced"
    GATHERED = "gathered"


OWN, REDUCED, GATHERED = Combination.OWN, Combination.REDUCED, Combination.GATHERED


@attrs.frozen
class Summed:
    """Systems with rows only add to these fields, tensors; sums of the blocks are added up before anybody else looks."""

    fields: tuple[str, ...]


def summed(*fields: str) -> Summed:
    """The combination of a resource to whose `fields` systems with rows add; they leave its other fields alone."""
    return Summed(fields)


def combined(cls: type) -> "Combination | Summed | None":
    """What a resource's class says, None where it says nothing."""
    found: Any = getattr(cls, "COMBINED", None)
    return found if isinstance(found, (Combination, Summed)) else None
