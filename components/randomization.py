"""Randomisation: what was drawn for each row, when it is drawn anew, and how its sensors sit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.ecs.component import column, component, constant, resource


@component
class Drawn:
    """What was drawn for each row, term by term: values, factors or differences, as each term says."""

    value: Tensor = column("draw")


@component
class DrawTimer:
    """When the terms that are drawn again in mid-episode are drawn next; resets do not matter to them."""

    wait: Tensor = column("timed", dtype=torch.int64, unit="control steps")


@component
class ImuMounting:
    """How the gyro is turned against the root that it is fixed to."""

    angles: Tensor = column(3, unit="rad", doc="rotation vector, from the sensor's axes to the root's")


@resource
class Variations:
    """How what was drawn becomes columns and fields of the model; see `systems/randomization.py`."""

    targets: Mapping[str, Any] = constant()
    middle: Tensor = constant()  # (draw,) of each range
    half: Tensor = constant()  # (draw,) width of each range; 1 where there is none
