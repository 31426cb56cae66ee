"""Sets of terms by name, and the words that choose and join them; one grammar for all flags that do.

Words stand with commas between and are read from left to right: a set, one term of a set (set.term), a term that means one thing in
all sets, or -term, which takes one away again; none stands alone.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from engine import Term
from engine.errors import SceneError, did_you_mean, listing

T = TypeVar("T")


def same_term(a: Term, b: Term) -> bool:
    """Whether two terms are the same function with the same constants and settings."""
    return (a.function, a.constants, a.settings) == (b.function, b.constants, b.settings)


def chosen(
    text: str, known: Mapping[str, Mapping[str, T]], flag: str, *, same: Callable[[T, T], bool] = operator.eq
) -> dict[str, T]:
    """What `text`, the value of the field `flag`, asks for of the sets `known`, by name and in that order.

    SceneError for what there is not, for a word without effect, and for a name that two sets give to what is not the `same`.
    """
    found: dict[str, T] = {}
    origin: dict[str, str] = {}
    words = [word.strip() for word in text.split(",")]
    for word in words if words != ["none"] else []:
        if word.startswith("-"):
            if word[1:] not in found:
                raise SceneError(
                    f"{flag}={text}: '{word}' takes away what is not there; before it stand {listing(found, 40) or 'none'}."
                )
            del found[word[1:]]
            continue
        for name, owner, each in _asked(word, text, known, flag, same):
            if name in found and not same(found[name], each):
                raise SceneError(
                    f"{flag}={text}: {origin[name]} and {owner} both say `{name}`, and differently. Choose the second: "
                    f"--{flag.replace('_', '-')} {_with_second(words, word, name)}."
                )
            found[name], origin[name] = each, owner
    return found


def chosen_terms(
    config: Any, flag: str, known: Mapping[str, Callable[..., dict[str, Term]]], *arguments: Any, **numbers: Any
) -> dict[str, Term]:
    """The terms that the field `flag` of a configuration names, of the sets that `known` make of arguments and numbers.

    SceneError as of `chosen`, where no term is left, and of a set that is named but cannot be made.
    """
    text: str = getattr(config, flag)
    named, made = {word.strip().removeprefix("-").partition(".")[0] for word in text.split(",")}, {}
    for name, make in known.items():
        try:
            made[name] = make(*arguments, **numbers)
        except SceneError:
            if name in named:
                raise
    found = chosen(text, made, flag, same=same_term)
    if not found:
        raise SceneError(f"{flag}={text} leaves nothing; choose a set, such as --{flag} {next(iter(known))}.")
    return found


def _with_second(words: Sequence[str], word: str, name: str) -> str:
    at = words.index(word)
    return ",".join([*words[:at], f"-{name}", *words[at:]])


def _asked(
    word: str, text: str, known: Mapping[str, Mapping[str, T]], flag: str, same: Callable[[T, T], bool]
) -> list[tuple[str, str, T]]:
    """Name, set and meaning of everything that one word asks for."""
    group, _, name = word.rpartition(".")
    if word in known:
        return [(name, word, each) for name, each in known[word].items()]
    if group and group not in known:
        raise SceneError(
            f"{flag}={text}: there is no set '{group}'; there are {listing(known)}.{did_you_mean(group, known)}"
        )
    owners = [owner for owner, terms in known.items() if name in terms and group in ("", owner)]
    if not owners:
        names = {name for terms in known.values() for name in terms}
        raise SceneError(
            f"{flag}={text}: there is no set or term '{word}'; sets are {listing(known)}, or none, which stands alone."
            f"{did_you_mean(word, [*known, *names])}"
        )
    if not all(same(known[owner][name], known[owners[0]][name]) for owner in owners):
        raise SceneError(
            f"{flag}={text}: '{name}' differs from set to set; write {' or '.join(f'{o}.{name}' for o in owners)}."
        )
    return [(name, owners[0], known[owners[0]][name])]
