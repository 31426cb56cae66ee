"""What processes must agree on before anything runs, and mistakes that only one of them says."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from engine.ecs.world import World
from engine.errors import LockstepError, SceneError
from engine.ranks.ranks import RankError
from engine.ranks.sharing import OWN, combined
from engine.snapshot.encoding import encode
from engine.snapshot.snapshot import kept_resources, resource_state

T = TypeVar("T")


def agreed(ranks: Any, action: Callable[[], T]) -> T:
    """What `action` returns, if no process raises a LockstepError; else one of them raises it, and the others silently."""
    if ranks is None:
        return action()
    error: LockstepError | None = None
    try:
        result = action()
    except LockstepError as raised:
        error = raised
    texts = ranks.words(None if error is None else str(error))
    found = [rank for rank, text in enumerate(texts) if text is not None]
    if not found:
        return result
    if ranks.rank != found[0]:
        raise RankError(status=2)
    assert error is not None
    if len({*texts}) == 1:
        raise error
    raise SceneError(f"Rank {ranks.rank} of {ranks.size} (host {ranks.host}): {error}")


def refuse_differences(ranks: Any, facts: Mapping[str, Any]) -> None:
    """Raise SceneError, in the first process that differs, for the first of some facts that is not the same as in rank 0."""
    if ranks is None:
        return
    first, *others = ranks.words(dict(facts))
    for rank, theirs in enumerate(others, 1):
        for name, here, there in _differences(first, theirs):
            if ranks.rank != rank:
                raise RankError(status=2)
            raise SceneError(
                f"Rank {rank} (host {ranks.host}) does not agree with rank 0 on {name}: it has {here}, rank 0 {there}. Start all of them "
                "with the same files, packages and flags."
            )


def _differences(first: Any, other: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """(name, here, there) of everything that differs."""
    if isinstance(first, dict) and isinstance(other, dict):
        for name in [*first, *(each for each in other if each not in first)]:
            yield from _differences(first.get(name, "nothing"), other.get(name, "nothing"), f"{path} {name}".strip())
    elif first != other:
        yield path, _short(other), _short(first)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 48 else f"{text[:45]}…"


def digests(world: World) -> dict[str, str]:
    """A digest of each resource that all processes share."""
    found = {}
    for cls, item in kept_resources(world).items():
        if combined(cls) is OWN or cls.__name__ == "Blocks":
            continue
        for name, value in resource_state(item).items():
            found[f"{cls.__name__}.{name}"] = hashlib.blake2b(_bytes(value), digest_size=8).hexdigest()
    return found


def _bytes(value: Any) -> bytes:
    arrays: list[tuple[str, memoryview]] = []
    tree = encode(value, arrays)
    return b"".join((repr(tree).encode(), *(bytes(data) for _, data in arrays)))


def audit(ranks: Any, world: World) -> None:
    """Raise RankError where shared state differs between processes; it names the first of it."""
    if ranks is None or ranks.size == 1:
        return
    first, *others = ranks.words(digests(world))
    for rank, theirs in enumerate(others, 1):
        for name, digest in first.items():
            if theirs.get(name) != digest:
                if ranks.rank:
                    raise RankError()
                ranks.first_to_speak()
                raise RankError(
                    f"At tick {world.clock.tick} {name} of rank {rank} is not that of rank 0, though all processes share it. A system "
                    "writes it from the rows of one process, or it was edited there; go on from the last checkpoint with --resume."
                )
