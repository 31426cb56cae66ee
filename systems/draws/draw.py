"""One term of randomisation: `Draw`, and the ranges from which nothing can be drawn."""

import math
from collections.abc import Iterator
from typing import Literal

import attrs

from engine.errors import SceneError

Span = tuple[float, float]
Spans = tuple[Span, ...]
Distribution = Literal["uniform", "log_uniform", "normal"]
Operation = Literal["set", "scale", "add"]
Moment = Literal["start", "reset", "interval"]
CUT_OFF = 3.0  # standard deviations, at which normal draws end


def pairs(given: "Span | Spans") -> Spans:
    """One pair or several as pairs."""
    return given if given and isinstance(given[0], tuple) else (given,)  # type: ignore[return-value]


@attrs.frozen
class Draw:
    """What is drawn for each row: of which field or column, where, from what, and when.

    `what` is a field of `systems.physics.contract.FIELDS`, a column by a name of `layout.COLUMNS`, or (Component, "column"). `spans` is (low, high), or
    (mean, standard deviation) of a normal distribution, which is cut off at 3 of them; several pairs are one for each part, as x, y,
    z. `of` are patterns of labels; a shape goes by the name of its body too. `shared` gives all those places one draw.
    `interval` in s is for draws of that moment: the range of the waits between them.
    """

    what: str | tuple[type, str]
    spans: Spans = attrs.field(converter=pairs)
    of: tuple[str, ...] = (".*",)
    distribution: Distribution = "uniform"
    operation: Operation = "set"
    shared: bool = False
    when: Moment = "start"
    interval: Span | None = None

    @property
    def written(self) -> str:
        """The spans as a sentence has them."""
        return f"spans={self.spans if len(self.spans) > 1 else self.spans[0]}"


def bounds(distribution: str, spans: Spans) -> Iterator[Span]:
    """The lowest and the highest number that each span gives."""
    for low, high in spans:
        yield (low - CUT_OFF * high, low + CUT_OFF * high) if distribution == "normal" else (low, high)


def refuse_no_range(name: str, draw: Draw) -> None:
    """SceneError for spans from which nothing can be drawn, and for a moment without its interval."""
    where = f"randomization.{name}: {draw.written}"
    flat = [number for span in draw.spans for number in span]
    if not all(math.isfinite(number) for number in flat):
        raise SceneError(f"{where} must be finite numbers.")
    for low, high in draw.spans:
        if draw.distribution == "normal" and high < 0.0:
            raise SceneError(f"{where} is a mean and a standard deviation; the latter must not be negative.")
        if draw.distribution != "normal" and low > high:
            raise SceneError(f"{where} is upside down; write the lower number first: ({high:g}, {low:g}).")
        if draw.distribution == "log_uniform" and low <= 0.0:
            raise SceneError(
                f"{where} has no logarithm; a log-uniform range lies above 0, such as ({1e-4:g}, {high:g})."
            )
    timed = draw.interval is not None
    if timed != (draw.when == "interval"):
        cure = "Leave it out" if timed else "Give the range of the waits in s, such as interval=(1.0, 3.0)"
        raise SceneError(
            f"randomization.{name}: when='{draw.when}' with interval={draw.interval} does not fit. {cure}."
        )
    if draw.interval is not None and not 0.0 < draw.interval[0] <= draw.interval[1] < math.inf:
        raise SceneError(
            f"randomization.{name}: interval={draw.interval} is not a range of positive numbers, such as (1.0, 3.0)."
        )
