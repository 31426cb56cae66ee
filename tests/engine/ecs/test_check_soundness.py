"""What the proofs let pass is sound: random ticks that build are run, and every reader checks what it reads."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import (
    BuildError,
    Bundle,
    Clock,
    Rng,
    Scene,
    Tick,
    Write,
    any_row,
    build,
    column,
    component,
    derived,
    every,
    first_tick,
    resource,
    signal,
    system,
    table,
)


@component
class Count:
    """A source: every write changes it."""

    value: Tensor = column(dtype=torch.int64, fill=1)


@resource
class Shared:
    """A source outside the tables."""

    value: Tensor


@derived
class Copy:
    """Derived from Count."""

    value: Tensor = column(dtype=torch.int64)


@derived
class Sum:
    """Derived from Copy and Shared."""

    value: Tensor = column(dtype=torch.int64)


@signal
class Mask:
    """A condition's data, and a signal to read."""

    rows: Tensor = column(dtype=torch.bool)
    tick: Tensor = column(dtype=torch.int64, fill=-1)


@signal
class Message:
    """Carries the tick in which it was written."""

    tick: Tensor = column(dtype=torch.int64, fill=-1)


class Unsound(Exception):
    """A reader saw what the build should have refused."""


def mark(clock: Clock, mask: Write[Mask]) -> None:
    """Set every row, as BEGIN must."""
    mask.rows.fill_(True)
    mask.tick.fill_(clock.tick)


def toss(clock: Clock, rng: Rng, mask: Write[Mask]) -> None:
    """Set every row or none."""
    mask.rows.fill_(bool(torch.rand(1, generator=rng) < 0.5))
    mask.tick.fill_(clock.tick)


def change_count(count: Write[Count]) -> None:
    """Change a source."""
    count.value.add_(1)


def change_shared(shared: Write[Shared]) -> None:
    """Change a source outside the tables."""
    shared.value.add_(1)


def copy(count: Count, copied: Write[Copy]) -> None:
    """Derive."""
    copied.value.copy_(count.value)


def add(copied: Copy, shared: Shared, total: Write[Sum]) -> None:
    """Derive from a derived one."""
    total.value.copy_(copied.value + shared.value)


def send(clock: Clock, message: Write[Message]) -> None:
    """Write a signal."""
    message.tick.fill_(clock.tick)


def read_copy(copied: Copy, count: Count, clock: Clock) -> None:
    """Refuse a stale copy. The sources are read only to compare; reading them is harmless."""
    if not torch.equal(copied.value, count.value):
        raise Unsound(f"Copy is stale in tick {clock.tick}")


def read_sum(total: Sum, count: Count, shared: Shared, clock: Clock) -> None:
    """Refuse a stale sum."""
    if not torch.equal(total.value, count.value + shared.value):
        raise Unsound(f"Sum is stale in tick {clock.tick}")


def read_message(message: Message, clock: Clock) -> None:
    """Refuse a message of another tick."""
    if not bool((message.tick == clock.tick).all()):
        raise Unsound(f"Message is dead in tick {clock.tick}")


def read_mask(mask: Mask, clock: Clock) -> None:
    """Refuse a mask of another tick."""
    if not bool((mask.tick == clock.tick).all()):
        raise Unsound(f"Mask is dead in tick {clock.tick}")


PHASES = ("STEP", "SENSE", "RESET", "OBSERVE")
CONDITIONS = (None, every(2), every(3), first_tick(), any_row(Mask, "rows"))
THEMES = (
    ((change_count, copy, toss), (read_copy,)),
    ((change_count, change_shared, copy, add), (read_sum, read_copy)),
    ((send, toss), (read_message, read_mask)),
    ((change_count, change_shared, copy, add, send, toss), (read_copy, read_sum, read_message, read_mask)),
)


@st.composite
def ticks(draw: st.DrawFn) -> tuple[dict[str, list[object]], str | None, int]:
    """A tick that starts from fresh caches, its entry phase and its repetitions; few kinds at a time, so that they meet."""
    changes, readers = draw(st.sampled_from(THEMES))
    conditions = st.sampled_from((None, draw(st.sampled_from(CONDITIONS)), draw(st.sampled_from(CONDITIONS))))
    systems: dict[str, list[object]] = {"BEGIN": [system(copy), system(add), system(mark)]}
    for phase in PHASES:
        made = draw(st.lists(st.tuples(st.sampled_from(changes), conditions), max_size=2))
        systems[phase] = [system(function, when=when) for function, when in made]
    phase = draw(st.sampled_from(PHASES))
    place = draw(st.integers(0, len(systems[phase])))
    systems[phase].insert(place, system(draw(st.sampled_from(readers)), when=draw(conditions)))
    return systems, draw(st.sampled_from((None, "RESET"))), draw(st.integers(1, 2))


def built_and_run(systems: dict[str, list[object]], entry: str | None, repeat: int, seed: int = 0) -> bool:
    """Whether the tick was let pass; raises Unsound when a reader of a tick that passed is not content."""
    bundle = Bundle("b", [Count, Copy, Sum, Mask, Message], [Shared(value=torch.tensor(5))], systems, repeat=repeat)  # type: ignore[arg-type]
    tick = Tick(phases=PHASES, repeat=("STEP",), entry=entry)
    try:
        simulation = build(Scene([table("t", rows=2)], [bundle], tick), seed=seed)
    except BuildError:
        return False
    simulation.run(9)
    return True


@given(ticks(), st.integers(0, 3))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_tick_that_builds_reads_anything_stale_or_dead(
    case: tuple[dict[str, list[object]], str | None, int], seed: int
):
    built_and_run(*case, seed=seed)


def test_readers_of_this_file_do_notice():
    """Without the proofs, a tick that changes a source after its cache is caught when it runs."""
    systems = {"BEGIN": [system(copy)], "STEP": [system(change_count)], "OBSERVE": [system(read_copy)]}
    assert not built_and_run(systems, None, 1)  # type: ignore[arg-type]
    assert built_and_run({**systems, "SENSE": [system(copy)]}, None, 1)  # type: ignore[dict-item]
