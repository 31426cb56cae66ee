"""Control step of a scene as one function: from what a robot tells, and what is remembered, to what its joints are asked for.

It is cut out of the scene's own tick: from the caches that follow from the robot's state to the joint target, only the systems
that the target depends on, and of the terms only those that the actor sees. What stands between two control steps (the last
action, histories) becomes arguments and results.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn

from components.control import Action, DofTarget
from components.learning import Policy
from components.motion import MotionLibrary, MotionReference
from components.observation import Observation
from components.robot import BodyState
from components.terrain import Ground
from engine import Simulation, Term, Terms
from engine.ecs.access import Signature
from engine.ecs.binding import Key
from engine.ecs.component import Kind, assemble, info, kind_of
from engine.ecs.schedule import Entry
from engine.errors import SceneError
from systems.deploy.signals import BEGINNINGS, SIGNALS, SOURCES, Sensors
from systems.observation_groups import group_terms
from systems.observations import only_actor
from systems.tick import ACT, ACTUATE, BEGIN, COMMAND, OBSERVE, SENSE, STEP

Takes = Literal["signals", "observation"]
PHASES = (SENSE, COMMAND, OBSERVE, ACT, ACTUATE)  # of a control step, from measuring to asking
REFERENCE = {  # of the time step, by the names that mjlab's files have
    "joint_pos": "dof_position",
    "joint_vel": "dof_velocity",
    "body_pos_w": "body_position",
    "body_quat_w": "body_rotation",
    "body_lin_vel_w": "body_linear_velocity",
    "body_ang_vel_w": "body_angular_velocity",
}
DRAWS = 4  # random states in which dependence is looked for


class FixedTerms(Terms):
    """Terms whose values are always guarded against what is not finite: nobody looks at them."""

    def finite(self, made: Tensor) -> bool:
        """Never known."""
        return False


@attrs.frozen
class Port:
    """An argument or a result: a signal, or a column that is remembered from one control step to the next."""

    name: str
    width: int
    column: tuple[type, str] | None = None  # None: a signal


class ControlStep(nn.Module):
    """The control step; takes the tensors of `inputs`, (1, width), and returns those of `outputs`.

    Of signals it makes the joint target, and what is to be remembered, named as its argument with `next_` in front. Of an
    observation `obs` it makes the `actions`, and where there is a motion the reference of the time step, as mjlab's files do.
    Raises SceneError, one line for each of the actor's terms that cannot leave the scene.
    """

    def __init__(self, simulation: Simulation, takes: Takes = "signals") -> None:
        super().__init__()
        self.world, self.schedule, self.takes = simulation.world, simulation.schedule, takes
        self.observe = _only([e for e in self.schedule.entries if e.phase == OBSERVE and _writes(e, Observation)])
        self.table = self.observe.table
        self.sensors = Sensors.of(self.schedule, self.table)
        self.results = self._results()
        self._slice = [e for p in PHASES for e in self.schedule.entries if e.phase == p and e.table == self.table]
        self.terms = {e.name: self._actor_terms(e) for e in self._slice if e.system.terms}
        self._refuse()
        self.entries = self._needed()
        self.remembered = self._ports(self._states())
        self.inputs = [*self._signals(), *self.remembered, *self._ports(self._measured())]
        self._narrow()
        self._prune()

    # -- what belongs to it ------------------------------------------------------------------------------

    @property
    def controller(self) -> str:
        """What the target is: "position" in rad, "velocity" in rad/s, "torque" in N·m, or the "action" itself."""
        if (self.table, DofTarget) not in self.world.components:
            return "action"
        found = [e.system.constants.get("controller") for e in self.schedule.entries if e.name == "compute_torque"]
        return {"V": "velocity", "T": "torque"}.get(str(found[0]) if found else "", "position")

    def _results(self) -> dict[str, tuple[type, str]]:
        """What is asked for, by name."""
        if self.takes == "signals":
            if self.controller == "action":
                return {"action": (Action, "value")}
            return {"joint_target": (DofTarget, "position" if self.controller == "position" else "command")}
        motion = REFERENCE if (self.table, MotionReference) in self.world.components else {}
        return {"actions": (Action, "value")} | {name: (MotionReference, column) for name, column in motion.items()}

    def _ports(self, classes: Sequence[type]) -> list[Port]:
        """A port for each column."""
        return [
            Port(f"{_snake(cls)}_{name}", tensor.numel(), (cls, name))
            for cls in classes
            for name, tensor in vars(self.sensors.blank(cls)).items()
        ]

    def _signals(self) -> list[Port]:
        ports = [Port(name, self.sensors.width(name)) for name in SIGNALS if self._tells(name)]
        if self.takes == "signals":
            return ports
        width = len(self.world.tables[self.table].axes["actor_observation"])
        return [Port("obs", width), *(port for port in ports if port.name in ("time_step", "clip"))]

    def _actor_terms(self, entry: Entry) -> Mapping[str, Term]:
        terms = entry.system.terms
        return only_actor(terms) if entry is self.observe else group_terms(terms, "actor")

    def _needed(self) -> list[Entry]:
        """Entries on which the target depends, in order."""
        wanted: set[Key] = {(self.table, cls) for cls, _ in self.results.values()}
        kept: set[int] = set()
        able = [e for e in self._slice if not self._given(e)]
        while more := [e for e in able if id(e) not in kept and wanted.intersection(e.writes)]:
            kept.update(id(e) for e in more)
            wanted.update(key for e in more for key in (*self._reads(e), *e.writes) if not self._in_signals(key[1]))
        return [e for e in able if id(e) in kept]

    def _reads(self, entry: Entry) -> list[Key]:
        """What a system and those of its terms that count touch."""
        signatures = [entry.system.signature, *(t.signature for t in self.terms.get(entry.name, {}).values())]
        return [("" if _is_resource(p.type) else self.table, p.type) for s in signatures for p in s.parameters]

    def _in_signals(self, cls: type) -> bool:
        if cls is Observation and self.takes == "observation":
            return True
        return cls in SOURCES or _is_resource(cls) or (cls not in BEGINNINGS and self._is_measured(cls))

    def _given(self, entry: Entry) -> bool:
        """Whether signals give all that a system writes."""
        return all(self._in_signals(cls) for _, cls in entry.writes)

    def _is_measured(self, cls: type) -> bool:
        """Whether a component is no component of robots, but state that the scene's own physics moves."""
        moved = any(e.phase == STEP and (self.table, cls) in e.writes for e in self.schedule.entries)
        return moved and cls not in SOURCES and info(cls).lifetime == "state"

    def _states(self) -> list[type]:
        """State that systems of the control step write, and that a later one may read."""
        found = dict.fromkeys(cls for e in self.entries for _, cls in e.writes if not _is_resource(cls))
        return [cls for cls in found if info(cls).lifetime == "state" and cls not in BEGINNINGS and cls not in SOURCES]

    def _measured(self) -> list[type]:
        touched = dict.fromkeys(cls for e in self.entries for _, cls in self._reads(e) if not _is_resource(cls))
        return [cls for cls in touched if self._is_measured(cls)]

    def _tells(self, name: str) -> bool:
        return SIGNALS[name].width != "dof" or (self.table, DofTarget) in self.world.components

    # -- what cannot leave the scene --------------------------------------------------------------------

    def _refuse(self) -> None:
        """SceneError, one line for each of the actor's terms that reads what no signal tells, and for a system that does."""
        actor = self.terms[self.observe.name] if self.takes == "signals" else {}
        found = []
        for name, each in actor.items():
            lacking = self._first_lacking(each.signature, ())
            if lacking:
                found.append(
                    f"Observation `{name}` cannot leave the scene '{self.world.name}': it reads {lacking}. Train the policy "
                    "without it (--observations), or export what takes the whole observation: --export-takes observation."
                )
        for e in () if found else self._needed():
            lacking = None if e is self.observe else self._first_lacking(e.system.signature, ())
            if (
                e.when is not None
                or (e.system.signature.rng and e is not self.observe and not e.system.terms)
                or lacking
            ):
                why = f"it reads {lacking}" if lacking else "it runs in some ticks only" if e.when else "it draws"
                found.append(
                    f"{e.place} cannot leave the scene '{self.world.name}': {why}. Train the policy without it."
                )
        if found:
            raise SceneError("\n".join(found))

    def _first_lacking(self, signature: Signature, seen: tuple[type, ...]) -> str | None:
        for parameter in signature.parameters:
            text = None if parameter.writes and not seen else self._lacking(parameter.type, seen)
            if text:
                return text
        return None

    def _lacking(self, cls: type, seen: tuple[type, ...]) -> str | None:
        """Why a component or resource is unknown on a robot; None where it is known."""
        if cls in SOURCES or cls in BEGINNINGS or cls in seen or cls is Policy:
            return None
        if cls is Ground:
            return "Ground, the terrain of the scene, which no sensor of a robot tells"
        if _is_resource(cls):
            writers = [e.place for e in self.schedule.entries if ("", cls) in e.writes and e.phase != BEGIN]
            return f"{cls.__name__}, which {writers[0]} changes while the scene runs" if writers else None
        if self._is_measured(cls):
            return None
        makers = [e for e in self._slice if (self.table, cls) in e.writes]
        if not makers:
            return f"{cls.__name__}, which no sensor of a robot tells"
        for e in makers:
            own = [p.type for p in e.system.signature.parameters if p.type is not cls]
            lacking = next((text for each in own if (text := self._lacking(each, (*seen, cls)))), None)
            if lacking:
                return f"{cls.__name__}, which {e.place} makes of {lacking}"
        return None

    # -- running -----------------------------------------------------------------------------------------

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """`given` in the order of `inputs`, (1, width) each; the results in the order of `outputs`."""
        values = {port.name: value for port, value in zip(self.inputs, given, strict=True)}
        for name, signal in SIGNALS.items():
            if name not in values and self._tells(name):
                width = self.sensors.width(name)
                values[name] = torch.tensor(signal.rest if len(signal.rest) > 1 else signal.rest * width).view(1, width)
        present: dict[type, Any] = {}
        for cls in (*self._states(), *self._measured()):
            columns = vars(self.sensors.blank(cls))
            measured = {n: values.get(f"{_snake(cls)}_{n}", tensor).view(tensor.shape) for n, tensor in columns.items()}
            present[cls] = assemble(cls, measured)
        if self.takes == "observation":
            critic = self.sensors.blank(Observation).critic
            present[Observation] = assemble(Observation, {"actor": values["obs"], "critic": critic})
        for e in self.entries:
            self._call(e, present, values)
        kept = [port.column for port in self.remembered if port.column]
        results = [getattr(present[cls], column) for cls, column in self.results.values()]
        return (*results, *(getattr(present[cls], column).reshape(1, -1) for cls, column in kept))

    def _call(self, entry: Entry, present: dict[type, Any], values: Mapping[str, Tensor]) -> None:
        each = entry.system
        known: dict[type, Any] = {}

        def find(cls: type) -> Any:
            if cls in present:
                return present[cls]
            if cls not in known:
                if _is_resource(cls):
                    known[cls] = self.world.resource(cls)
                elif cls in SOURCES:
                    present[cls] = known[cls] = self.sensors.make(cls, values)
                else:
                    known[cls] = self.sensors.blank(cls)
            return known[cls]

        def arguments(signature: Signature) -> dict[str, Any]:
            return {p.name: find(p.type) for p in signature.parameters}

        given = arguments(each.signature)
        for parameter in each.signature.parameters:
            if parameter.writes and not _is_resource(parameter.type):
                given[parameter.name] = self._fresh(parameter.type, present)
        if each.signature.rng:
            given[each.signature.rng] = None
        if each.signature.terms:
            chosen = self.terms[entry.name]
            bound: list[tuple[str, Callable[[], Tensor], Mapping[str, Any]]] = []
            for name, one in (each.terms if entry is not self.observe else chosen).items():
                if name in chosen:
                    bound.append(
                        (
                            name,
                            partial(one.function, **arguments(one.signature), **one.constants),
                            chosen[name].settings,
                        )
                    )
                else:
                    bound.append((name, partial(torch.zeros, 1, self._width(entry, name)), one.settings))
            given[each.signature.terms] = FixedTerms(bound)
        each.function(**given, **(each.constants | ({"noisy": False} if "noisy" in each.constants else {})))
        present.update(
            {p.type: given[p.name] for p in each.signature.parameters if p.writes and not _is_resource(p.type)}
        )

    def _fresh(self, cls: type, present: Mapping[type, Any]) -> Any:
        """Columns to write into: copies of what was there, or as they are first made."""
        if cls in present:
            return assemble(cls, {name: tensor.clone() for name, tensor in vars(present[cls]).items()})
        return self.sensors.blank(cls)

    def _width(self, entry: Entry, name: str) -> int:
        """How many numbers a term that the actor does not see puts into a history."""
        labels = self.world.tables[self.table].axes["remembered"]
        return sum(label == name or label.startswith(f"{name}[") for label in labels)

    # -- what it depends on -------------------------------------------------------------------------------

    @property
    def outputs(self) -> list[str]:
        """Names of the results."""
        return [*self.results, *(f"next_{port.name}" for port in self.remembered)]

    def example(self, seed: int = 0) -> list[Tensor]:
        """Arguments drawn at random, within what robots do."""
        generator = torch.Generator().manual_seed(seed)
        return [self._drawn(port, generator) for port in self.inputs]

    def _drawn(self, port: Port, generator: torch.Generator) -> Tensor:
        drawn = 0.3 * torch.randn((1, port.width), generator=generator)
        if port.name == "base_orientation":
            drawn[:, 0] += 1.0
            return drawn / drawn.norm()
        if port.name in ("time_step", "clip"):
            return torch.randint(
                0, 20 if port.name == "time_step" else self._clips(), (1, 1), generator=generator
            ).float()
        return drawn

    def _clips(self) -> int:
        return len(self.world.resources[MotionLibrary].names) if MotionLibrary in self.world.resources else 1

    @torch.no_grad()
    def _narrow(self) -> None:
        """Leave out the bodies, and the velocities of bodies, that no result depends on."""
        if not any(cls is BodyState for e in self.entries for _, cls in self._reads(e)):
            return
        draws = [self.example(seed) for seed in range(DRAWS)]
        base = [self(*draw) for draw in draws]

        def same(sensors: Sensors) -> bool:
            self.sensors, before = sensors, self.sensors
            found = [self(*draw) for draw in draws]
            self.sensors = before
            return all(
                torch.equal(a, b)
                for one, other in zip(base, found, strict=True)
                for a, b in zip(one, other, strict=True)
            )

        if same(still := attrs.evolve(self.sensors, moving=False)):
            self.sensors = still
        names = self.sensors.bodies
        needed = [name for name in names if not same(self.sensors.without(name))]
        self.sensors = attrs.evolve(self.sensors, bodies=tuple(needed))

    @torch.no_grad()
    def _prune(self) -> None:
        """Keep the arguments that the target depends on, at once or by what is remembered, and what these remember."""
        moves: dict[str, set[int]] = {port.name: set() for port in self.inputs}
        for seed in range(DRAWS):
            before, other = self.example(seed), self.example(seed + DRAWS)
            base = self(*before)
            for place, port in enumerate(self.inputs):
                changed = self(*before[:place], other[place], *before[place + 1 :])
                moves[port.name] |= {
                    i for i, (a, b) in enumerate(zip(base, changed, strict=True)) if not torch.equal(a, b)
                }
        first = len(self.results)
        live = set(range(first))
        names = [port.name for port in self.remembered]
        while more := {first + names.index(n) for n in names if moves[n] & live} - live:
            live |= more
        self.inputs = [port for port in self.inputs if moves[port.name] & live]
        self.remembered = [port for i, port in enumerate(self.remembered, first) if i in live]


def _only(observing: Sequence[Entry]) -> Entry:
    if len(observing) != 1:
        raise SceneError(
            f"A policy is exported from a scene in which one system observes; in this one {len(observing)} do."
        )
    return observing[0]


def _writes(entry: Entry, cls: type) -> bool:
    return any(each is cls for _, each in entry.writes)


def _is_resource(cls: type) -> bool:
    return kind_of(cls) is Kind.RESOURCE


def _snake(cls: type) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(cls.__name__))
