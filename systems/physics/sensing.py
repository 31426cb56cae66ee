"""Contact sensors of a scene: for the bodies that its systems, terms and vitals read, and no others."""

import re
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Annotated, Any, get_args, get_origin

import attrs

from components.robot import ContactForce, ContactSensors, Sensed
from engine.ecs.access import Signature
from engine.ecs.bundle import Bundle
from engine.ecs.component import real_types
from engine.ecs.schedule import Schedule
from engine.errors import BuildError, SceneError, did_you_mean, listing
from systems.robots.model import RobotModel

CONSTANT = "bodies"  # that holds the patterns of a function that reads a NamedForce


@attrs.frozen
class Reader:
    """A function that reads contact forces: its address, whose forces, and its constants."""

    address: str
    whose: Sensed | None  # None: all that can touch something
    constants: Mapping[str, Any]

    def bodies(self, model: RobotModel) -> set[str]:
        """The bodies that it reads. Raises SceneError for one that can touch nothing."""
        known = model.axes["sensed"]
        if self.whose is None:
            return set(known)
        if self.whose is Sensed.NOBODY:
            return set()
        feet = self.whose is Sensed.FEET
        patterns = map(re.escape, model.robot.foot_names) if feet else self._patterns()
        return {name for pattern in patterns for name in self._matching(pattern, known, model, feet)}

    def _patterns(self) -> tuple[str, ...]:
        if CONSTANT not in self.constants:
            raise BuildError(
                f"'{self.address}' reads the contact force of the bodies that its constant `{CONSTANT}` names, but has no such "
                f"constant. Write `{CONSTANT}: tuple[str, ...]` after `*`."
            )
        return tuple(self.constants[CONSTANT])

    def _matching(self, pattern: str, known: Sequence[str], model: RobotModel, feet: bool) -> list[str]:
        found = [name for name in known if re.fullmatch(pattern, name)]
        if not found:
            cure = "Give the foot a collision shape" if feet else f"Write a pattern of one of those in `{CONSTANT}`"
            name = re.sub(r"\\(.)", r"\1", pattern) if feet else pattern
            raise SceneError(
                f"'{self.address}' reads the contact force of '{name}', but no body of robot '{model.robot.name}' by that name "
                f"can touch anything; these can: {listing(known, 40)}. {cure}.{did_you_mean(name, known)}"
            )
        return found


def readers(bundles: Sequence[Bundle]) -> Iterator[Reader]:
    """Every system, term and vital that reads contact forces."""
    for bundle in bundles:
        for each in (system for phase in bundle.systems.values() for system in phase):
            address = f"{bundle.name}.{each.name}"
            yield from _reader(address, each.signature, each.constants)
            for name, term in each.terms.items():
                yield from _reader(f"{address}.{name}", term.signature, term.constants)
        for name, vital in bundle.vitals.items():
            yield from _reader(f"{bundle.name}.{name}", vital.signature, vital.constants)


def readers_in(schedule: Schedule) -> Iterator[Reader]:
    """Every system and term of a bound tick that reads contact forces."""
    for entry in schedule.entries:
        yield from readers([Bundle(entry.bundle, systems={entry.phase: [entry.system]})])


def _reader(address: str, signature: Signature, constants: Mapping[str, Any]) -> Iterator[Reader]:
    read = [p.name for p in signature.parameters if p.type is ContactForce and not p.writes]
    types = real_types(signature.function) if read else {}
    for name in read:
        marks = get_args(types[name])[1:] if get_origin(types[name]) is Annotated else ()
        yield Reader(address, next((mark for mark in marks if isinstance(mark, Sensed)), None), constants)


def place_sensors(sensors: ContactSensors, model: RobotModel, bundles: Sequence[Bundle]) -> tuple[str, ...]:
    """Sense what the bundles read: the labels of axis `sensed`, in the order of the robot's bodies."""
    read = {name for reader in readers(bundles) for name in reader.bodies(model)}
    sensors.bodies = tuple(name for name in model.axes["sensed"] if name in read)
    return sensors.bodies


def refuse_unsensed(sensors: ContactSensors, model: RobotModel, schedule: Schedule) -> None:
    """SceneError for a constant that was changed to a body without a sensor."""
    for reader in readers_in(schedule):
        lacking = sorted(reader.bodies(model) - set(sensors.bodies))
        if lacking:
            raise SceneError(
                f"'{reader.address}' reads the contact force of {listing(lacking)}, and sensors are placed when a scene is "
                f"built: this one has {listing(sensors.bodies) or 'none'}. Start it with --set {_typed(reader)}."
            )


def _typed(reader: Reader) -> str:
    """The setting as a shell takes it."""
    return quote(f"{reader.address}.{CONSTANT}={tuple(reader.constants[CONSTANT])!r}")
