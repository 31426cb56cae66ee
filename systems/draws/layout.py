"""What draws change in a robot: targets, which are fields of its model and columns, and how their values follow from what was drawn."""

import re
from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from components.control import EncoderBias, PdGains, TorqueNoise
from components.randomization import ImuMounting
from engine.ecs.component import info
from engine.errors import SceneError, did_you_mean, listing
from systems.draws.draw import Draw
from systems.physics.contract import FIELDS, Nominal
from systems.robots.model import RobotModel

COLUMNS: Mapping[str, tuple[type, str]] = {  # names of columns that are drawn; any other goes by (Component, "column")
    "encoder_bias": (EncoderBias, "value"),
    "joint_offset": (EncoderBias, "value"),
    "torque_noise": (TorqueNoise, "amplitude"),
    "imu_mounting": (ImuMounting, "angles"),
    "stiffness": (PdGains, "stiffness"),
    "damping": (PdGains, "damping"),
}


@attrs.frozen(eq=False)
class Change:
    """What a term does to a target: the places of `Drawn` that it reads, and the elements that it changes."""

    term: str
    operation: str
    places: tuple[int, int]
    elements: Tensor  # (n,) int64
    sign: float = 1.0


@attrs.define(eq=False)
class Target:
    """A field or column: its nominal values (elements, parts) float64, and what terms do to them, in order."""

    nominal: Tensor
    parts: tuple[str, ...]
    changes: list[Change] = attrs.field(factory=list)
    _copies: "dict[torch.device, Target]" = attrs.field(factory=dict, init=False, repr=False)

    def on(self, device: torch.device) -> "Target":
        """The target with its tensors on a device, copied there once."""
        if self.nominal.device == device:
            return self
        if device not in self._copies:
            changes = [attrs.evolve(change, elements=change.elements.to(device)) for change in self.changes]
            self._copies[device] = Target(self.nominal.to(device), self.parts, changes)
        return self._copies[device]


def varied(target: Target, drawn: Tensor) -> Tensor:
    """(rows, elements, parts) float64: the values of every row."""
    target = target.on(drawn.device)
    values = target.nominal.repeat(len(drawn), 1, 1)
    for change in target.changes:
        own = drawn[:, change.places[0] : change.places[1]].double().view(len(drawn), -1, len(target.parts))
        own = own.expand(-1, len(change.elements), -1)
        values[:, change.elements] = changed(change, values[:, change.elements], own)
    return values


def changed(change: Change, before: Tensor, drawn: Tensor) -> Tensor:
    """What a change makes of values, by what was drawn."""
    if change.operation == "scale":
        return before * drawn
    return drawn * change.sign if change.operation == "set" else before + drawn * change.sign


def places_of(
    name: str, draw: Draw, model: RobotModel, fields: Mapping[str, Nominal], backend: str
) -> list[tuple[str, Nominal]]:
    """The targets of a term by key: a field of the model, "Component.column", or both for the gains of a servo."""
    if isinstance(draw.what, tuple):
        return [_column(name, *draw.what, model)]
    found = [(draw.what, fields[draw.what])] if draw.what in fields else []
    if draw.what in COLUMNS:
        found.append(_column(name, *COLUMNS[draw.what], model))
    if not found and draw.what in FIELDS:
        cure = "Choose --backend mujoco" if backend != "mujoco" else "Leave it out"
        raise SceneError(f"randomization.{name}: the backend '{backend}' cannot vary {draw.what}. {cure}.")
    if not found:
        known = [*FIELDS, *COLUMNS]
        raise SceneError(
            f"randomization.{name}: there is no field or column '{draw.what}'; there are {listing(known, 40)}, and any "
            f'(Component, "column").{did_you_mean(draw.what, known)}'
        )
    return found


def _column(name: str, component: type, column: str, model: RobotModel) -> tuple[str, Nominal]:
    declared = info(component).columns
    if column not in declared:
        raise SceneError(
            f"randomization.{name}: {component.__name__} has no column '{column}'; it has {listing(declared)}."
            f"{did_you_mean(column, declared)}"
        )
    where = f"randomization.{name}: {component.__name__}.{column}"
    if not declared[column].dtype.is_floating_point:
        raise SceneError(f"{where} holds {declared[column].dtype}; only floating point numbers are drawn.")
    axes = declared[column].axes
    named = axes[0] if axes and isinstance(axes[0], str) else None
    rest = axes[1:] if named else axes
    if named not in (None, *model.axes) or len(rest) > 1 or not all(isinstance(size, int) for size in rest):
        raise SceneError(
            f"{where} runs along {axes}; what is drawn runs along at most one of {listing(model.axes)}, and then a number."
        )
    labels = model.axes[named] if named else ("",)
    parts = int(rest[0]) if rest else 1
    values = torch.full((len(labels), parts), declared[column].fill, dtype=torch.float64)
    if component is PdGains:
        values = getattr(model.robot, column).double().unsqueeze(1)
    return f"{component.__name__}.{column}", Nominal(labels, values, (True,) * len(labels))


def _parts(key: str, nominal: Nominal) -> tuple[str, ...]:
    count = nominal.values.shape[1]
    if key in FIELDS:
        return FIELDS[key].parts
    return {1: ("",), 3: ("x", "y", "z")}.get(count, tuple(map(str, range(count))))


def _elements(name: str, draw: Draw, key: str, nominal: Nominal) -> Tensor:
    """The elements that a term's patterns pick; SceneError for a pattern that picks none, or only such as feel nothing."""
    found: set[int] = set()
    feeling = [label for label, felt in zip(nominal.labels, nominal.felt, strict=True) if felt]
    for pattern in draw.of:
        picked = {
            i
            for i, label in enumerate(nominal.labels)
            if re.fullmatch(pattern, label) or re.fullmatch(pattern, label.rpartition(":")[0] or label)
        }
        if not picked:
            raise SceneError(
                f"randomization.{name}: '{pattern}' matches none of {listing(nominal.labels, 40)}. Write a regular expression "
                f"that matches a whole name.{did_you_mean(pattern, nominal.labels)}"
            )
        if not any(nominal.felt[i] for i in picked):
            raise SceneError(
                f"randomization.{name}: {key} has no effect on {listing(nominal.labels[i] for i in sorted(picked))}, whose contacts "
                f"feel none. These do: {listing(feeling) or 'none'}."
            )
        found |= {i for i in picked if nominal.felt[i]}
    return torch.tensor(sorted(found))


@attrs.define(eq=False)
class Layout:
    """Terms laid out for one robot: labels of axis `draw`, targets by key, and the places of each term."""

    labels: list[str] = attrs.field(factory=list)
    targets: dict[str, Target] = attrs.field(factory=dict)
    names: dict[str, tuple[str, ...]] = attrs.field(factory=dict)  # of the elements of a target
    places: dict[str, tuple[int, int]] = attrs.field(factory=dict)

    def add(self, name: str, draw: Draw, found: Sequence[tuple[str, Nominal]]) -> None:
        """Take one term in."""
        key, nominal = found[0]
        elements, parts = _elements(name, draw, key, nominal), _parts(key, nominal)
        first = len(self.labels)
        owners = [""] if draw.shared else [nominal.labels[int(i)] for i in elements]
        self.labels += [_label(name, owner, part) for owner in owners for part in parts]
        self.places[name] = (first, len(self.labels))
        for key, nominal in found:
            sign = -1.0 if draw.what == "joint_offset" else 1.0
            change = Change(name, draw.operation, self.places[name], elements, sign)
            self.targets.setdefault(key, Target(nominal.values, parts)).changes.append(change)
            self.names[key] = nominal.labels
        self.refuse_misfit(name, draw)

    def refuse_misfit(self, name: str, draw: Draw) -> None:
        """SceneError where there are neither one range nor as many as the target of a term has parts."""
        key, target = next((k, t) for k, t in self.targets.items() if any(c.term == name for c in t.changes))
        if len(draw.spans) not in (1, len(target.parts)):
            some = f", or one for each of {listing(target.parts)}" if len(target.parts) > 1 else ""
            raise SceneError(
                f"randomization.{name}: {draw.written} are {len(draw.spans)} ranges; {key} takes one{some}."
            )


def _label(name: str, owner: str, part: str) -> str:
    inside = ".".join(word for word in (owner, part) if word)
    return f"{name}[{inside}]" if inside else name
