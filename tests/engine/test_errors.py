"""Near misses and listings that errors end with."""

import pytest

from engine.errors import (
    AccessError,
    BuildError,
    LockstepError,
    SceneError,
    SnapshotError,
    WireError,
    did_you_mean,
    listing,
)


def test_near_misses_are_named_closest_first():
    assert did_you_mean("positon", ["position", "rotation", "x"]) == " Did you mean position or rotation?"


def test_nothing_near_says_nothing():
    assert did_you_mean("zzz", ["position"]) == ""


def test_last_part_of_an_address_counts_as_near():
    assert (
        did_you_mean("std", ["tracking.reward.body_position.std"]) == " Did you mean tracking.reward.body_position.std?"
    )


def test_at_most_three_near_misses():
    assert did_you_mean("a.b", [f"{i}.b" for i in range(9)]).count(" or ") == 2


def test_long_listings_are_cut():
    assert listing("abc", limit=2) == "a, b, …"
    assert listing("ab", limit=2) == "a, b"
    assert listing([]) == ""


@pytest.mark.parametrize("kind", [AccessError, BuildError, SceneError, SnapshotError, WireError])
def test_every_error_is_a_lockstep_error(kind: type[Exception]):
    assert issubclass(kind, LockstepError)
