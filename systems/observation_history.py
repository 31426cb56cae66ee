"""Histories of observation terms: what was seen in past ticks, and where each number of it stands."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from components.episode import Done
from components.observation import History, HistoryLayout, ObservationNoise, Seen
from engine import Rng, Term, Terms, Write, put_rows
from systems.observation_groups import BOTH, observe_row

Lengths = tuple[tuple[str, int], ...]  # names of terms, and ticks


def remember(values: Terms, rng: Rng, seen: Write[Seen], *, noisy: bool = True) -> None:
    """Keep what there is to see for the next tick's history, with noise of its own unless `noisy` is False."""
    observe_row(seen.value, values, "noise", rng if noisy else None)


def remember_under_curriculum(
    values: Terms, rng: Rng, noise: ObservationNoise, seen: Write[Seen], *, noisy: bool = True
) -> None:
    """`remember`, with the noise of all terms scaled by the curriculum."""
    observe_row(seen.value, values, "noise", rng if noisy else None, level=noise.level)


def extend_history(seen: Seen, layout: HistoryLayout, history: Write[History]) -> None:
    """Put what there was to see at the end of the tick before at the front of each term's history."""
    history.actor.copy_(torch.cat((seen.value, history.actor), -1).index_select(1, layout.actor))
    history.critic.copy_(torch.cat((seen.value, history.critic), -1).index_select(1, layout.critic))


def reset_history(done: Done, history: Write[History]) -> None:
    """Ended rows forget."""
    put_rows(history.actor, done.ended, 0.0)
    put_rows(history.critic, done.ended, 0.0)


# -- labels and places ---------------------------------------------------------------------------------


def past(name: str, age: int) -> str:
    """The label of what term `name` was `age` ticks ago."""
    return f"{name}@{age}"


def pasts(terms: Mapping[str, Term], ticks: Mapping[str, int]) -> dict[str, Term]:
    """The terms once for each of so many past ticks, by their labels there."""
    return {past(n, age): each for n, each in terms.items() for age in range(1, ticks.get(n, 0) + 1)}


def lay_out(remembered: Sequence[str], history: Sequence[str]) -> list[int]:
    """Where each label of a history comes from: what was just seen, or the place of the tick after it.

    Labels are 'term' or 'term[i]', and 'term@age' or 'term@age[i]' in the history.
    """
    places = {label: i for i, label in enumerate([*remembered, *history])}
    found = []
    for label in history:
        name, _, rest = label.rpartition("@")
        age, bracket, column = rest.partition("[")
        younger = name if age == "1" else past(name, int(age) - 1)
        found.append(places[younger + bracket + column])
    return found


def make_layout(
    axes: Mapping[str, tuple[str, ...]],
    seed: int,
    device: torch.device,
    *,
    compounds: Sequence[tuple[str, Lengths]] = (),
) -> HistoryLayout:
    """The layout for the axes of this table and the `compounds` of its groups; the seed is not used."""

    def index(places: Sequence[int]) -> Tensor:
        return torch.tensor(places, dtype=torch.int64, device=device)

    actor, critic = (lay_out(axes["remembered"], axes[f"{group}_history"]) for group in BOTH)
    found = {}
    for ring, of in compounds:
        labels = axes[f"{ring}_history"]
        wanted = [past(name, age) for name, ticks in of for age in range(1, ticks + 1)]
        found[ring, of] = index([i for each in wanted for i, at in enumerate(labels) if at.partition("[")[0] == each])
    return HistoryLayout(actor=index(actor), critic=index(critic), recalled=found)
