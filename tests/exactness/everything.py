"""Everything that can be reached from a simulation and may change, found by walking its objects.

What a snapshot ought to hold is not asked of the snapshot: the walk finds every tensor, array, generator and plain
value, and what is neither changed by a snapshot's bytes nor restored has to stand in FIXED or SCRATCH with a reason.
"""

import re
import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from engine import Simulation
from engine.ecs.component import info

PLAIN = (bool, int, float, complex, str, bytes, type(None))
CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, Enum, torch.dtype)

FIXED = {
    r"Physics\.backend\._focus": "None, except while somebody replays a single row",
    r"Robot\..*": "the robot: names, limits, gains and poses that the scene says",
    r"(MotionLibrary|TrackedBodies|HistoryLayout|Variations)\..*": "the clips and index sets that the scene says",
    r"(Soles|BodyInertia|Ground)\..*|Measurements\.names.*": "what the robot's model and the scene say",
    r"Wind\.name": "declared constant",
    r"Blocks\.(rows|count|ranks)": "how rows are cut: by --row-blocks and torchrun, not by what happens",
    r"Physics\.backend\.(model|axes)(\..*)?": "the robot as it was compiled; per-row values are copies of its fields",
    r"Physics\.backend\.(_moving|_sensed.*|varies.*)": "how the backend was built",
    r"Physics\.backend\.(_batch|_places)\.(_b|model|_models|_nkey)": "the compiled model and the handle of the native object",
    r"Physics\.backend\.(_batch|_places)\._data": "an empty simulation that only says how long fields are",
    r"Policy\.(actor|critic)(\..*)?\.(training|_is_full_backward_hook|call_super_init|in_features|out_features)": "torch",
    r"Policy\.optimiser\.(betas|parts).*": "how Adam was built",
    r"Blocks\.(rows|count|ranks)(\..*)?": "how the run's rows are cut and shared among processes",
    r"ContactSensors\.bodies.*": "the bodies that the scene's systems, terms and vitals read",
}
SCRATCH = {
    r"Policy\.(gradient|parameters\.grad|optimiser\.(gradient|parameters\.grad))": "cleared by each minibatch",
    r"Policy\.(actor|critic)(\..*)?\.grad": "a view of the gradient",
    r"Physics\.backend\.(_batch|_places)\.(warning|status)": "counters, of which only what a step adds is looked at",
    r"Physics\.backend\._seen": "the counters at the last restart",
    r"Physics\.backend\._shadow\._(versions|of)(\W.*)?": "whether a column was written at all; values say what was",
    r"Physics\.backend\._sound": "the state after the last step or restart, which is the state itself",
    r"Physics\.backend\._batch\._bound\.sensordata": "outputs of MuJoCo",
    r"Physics\.backend\._(place|speed|position|rotation|twist|center|batch\._expanded\.body_subtreemass|places\._expanded\..*)": (
        "where bodies are, computed anew for every row, and what is derived with its masses"
    ),
    r"Physics\.backend\._places\.(_bound\.\w+|state|control|time)(\W.*)?": "bodies and what they are computed of, anew for every row",
    r"Clock\.(number|number_tick)": "the tick as the device has it, written when somebody asks and it is another",
    r"signal .*": "a signal is valid only in the tick that wrote it",
}


@attrs.frozen(eq=False)
class Leaf:
    """A value that may change: where it is, and how another one is put there."""

    path: str
    value: Any
    assign: Callable[[Any], None]

    @property
    def role(self) -> str:
        """'fixed', 'scratch' or 'state': the last is what is on neither list."""
        for role, table in (("fixed", FIXED), ("scratch", SCRATCH)):
            if any(re.fullmatch(pattern, self.path) for pattern in table):
                return role
        return "state"

    def undo(self) -> Callable[[], None]:
        """What puts the value back as it is now."""
        if isinstance(self.value, torch.Generator):
            return partial(self.value.set_state, self.value.get_state())
        if isinstance(self.value, (Tensor, np.ndarray)):
            return partial(self._write, _array(self.value).copy())
        return partial(self.assign, self.value)

    def bits(self) -> Any:
        """The value as something that compares bit for bit."""
        if isinstance(self.value, Tensor):
            return self.value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        if isinstance(self.value, np.ndarray):
            return self.value.tobytes()
        if isinstance(self.value, torch.Generator):
            return self.value.get_state().numpy().tobytes()
        return sorted(map(repr, self.value)) if isinstance(self.value, set) else repr(self.value)

    def change(self) -> None:
        """Make all of it something else."""
        if isinstance(self.value, (Tensor, np.ndarray)):
            self._write(_other(_array(self.value)))
        elif isinstance(self.value, torch.Generator):
            torch.rand(3, generator=self.value)
        else:
            self.assign(_other_plain(self.value))

    def change_one(self, index: int) -> None:
        """Change one number of an array only; all of anything else."""
        if not isinstance(self.value, (Tensor, np.ndarray)):
            self.change()
            return
        new = _array(self.value).copy()
        place = np.unravel_index(index % new.size, new.shape)
        new[place] = _other(new)[place]
        self._write(new)

    def scramble(self, rng: np.random.Generator) -> None:
        """Overwrite it with what would spoil everything that still used it."""
        if isinstance(self.value, (Tensor, np.ndarray)):
            old = _array(self.value)
            if np.issubdtype(old.dtype, np.floating):
                self._write(np.full_like(old, np.nan))
            else:
                self._write(rng.integers(0, 2, old.shape).astype(old.dtype))
        elif isinstance(self.value, torch.Generator):
            self.value.manual_seed(int(rng.integers(2**31)))
        else:
            self.assign(_other_plain(self.value))

    @property
    def writable(self) -> bool:
        """Whether it can be changed from here: outputs of the simulator cannot."""
        return bool(self.value.flags.writeable) if isinstance(self.value, np.ndarray) else True

    def _write(self, new: np.ndarray) -> None:
        if isinstance(self.value, Tensor):
            self.value.data.copy_(torch.from_numpy(new))
        else:
            self.value[...] = new


def everything(simulation: Simulation) -> list[Leaf]:
    """Every leaf of the world and of what its systems are bound to."""
    world = simulation.world
    seen = {id(item): item for item in world.resources.values()}  # one inside another is walked under its own name
    found: list[Leaf] = []
    for (table, cls), instance in world.components.items():
        kind = "signal " if info(cls).lifetime == "signal" else ""
        found += _walk(instance, f"{kind}{table}.{cls.__name__}", seen, _nowhere)
    for cls, item in world.resources.items():
        del seen[id(item)]
        found += _walk(item, cls.__name__, seen, _nowhere)
    for name, stream in world.generators.items():
        found += _walk(stream, f"stream {name}", seen, _nowhere)
    for entry in simulation.schedule.entries:
        if isinstance(entry.call, partial):
            bound = {k: v for k, v in entry.call.keywords.items() if v is not world and not isinstance(v, PLAIN)}
            found += [leaf for leaf in _walk(bound, f"system {entry.name}", seen, _nowhere) if not _plain(leaf.value)]
    return [leaf for leaf in found if not _empty(leaf.value)]


def _empty(value: Any) -> bool:
    if isinstance(value, (Tensor, np.ndarray)):
        return _array(value).size == 0
    return isinstance(value, set) and not value


def _walk(value: Any, path: str, seen: dict[int, Any], assign: Callable[[Any], None]) -> Iterator[Leaf]:
    if isinstance(value, CODE):
        return
    if _plain(value) or (isinstance(value, set) and all(_plain(part) for part in value)):
        yield Leaf(path, value, assign)
        return
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept, so that nothing new gets its number
    if isinstance(value, (Tensor, np.ndarray, torch.Generator)):
        yield Leaf(path, value, assign)
        if isinstance(value, Tensor) and value.grad is not None:
            yield from _walk(value.grad, f"{path}.grad", seen, _nowhere)
    elif isinstance(value, Mapping):
        for number, (key, part) in enumerate(value.items()):
            name = f"{path}.{key}" if isinstance(key, str) else f"{path}[{number}]"
            yield from _walk(part, name, seen, partial(_put_item, value, key))
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _walk(part, f"{path}[{number}]", seen, partial(_put_item, value, number))
    elif isinstance(value, partial):
        yield from _walk([value.args, value.keywords], path, seen, _nowhere)
    elif fields := _fields(value):
        for name, part in fields.items():
            yield from _walk(part, _inside(path, name), seen, partial(setattr, value, name))
    else:
        yield Leaf(path, value, assign)


def _fields(item: Any) -> dict[str, Any]:
    """The attributes of an object, with slots or without; none of one that shows none."""
    own = dict(getattr(item, "__dict__", {}))
    for cls in type(item).__mro__:
        for name in getattr(cls, "__slots__", ()):
            if name != "__weakref__" and hasattr(item, name):
                own[name] = getattr(item, name)
    return own


def _inside(path: str, name: str) -> str:
    """A path without the dictionaries in which torch keeps what looks like attributes."""
    return path if name in ("_parameters", "_buffers", "_modules") else f"{path}.{name}"


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return all(_plain(part) for part in value)
    return isinstance(value, (*PLAIN, np.generic))


def _put_item(holder: Any, key: Any, value: Any) -> None:
    holder[key] = value


def _nowhere(value: Any) -> None:
    raise AssertionError("this value cannot be replaced")


def _array(value: "Tensor | np.ndarray") -> np.ndarray:
    return value.detach().numpy() if isinstance(value, Tensor) else value


def _other(old: np.ndarray) -> np.ndarray:
    """Numbers that differ everywhere, in every bit pattern that counts."""
    if old.dtype == bool:
        return np.asarray(~old)
    if not np.issubdtype(old.dtype, np.floating):
        return np.asarray(old + 1, old.dtype)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(np.abs(old) < 1e6, old + 1, 0), old.dtype)


def _other_plain(old: Any) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, (int, float)):
        return old + 1
    if isinstance(old, (str, bytes)):
        return old * 2 + type(old)()
    if isinstance(old, set):
        return set()
    if isinstance(old, tuple):
        return tuple(_other_plain(part) for part in old)
    return 1
