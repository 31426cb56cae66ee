"""Every proof of a build: sound scenes pass, planted faults give exactly one sentence, word for word."""

from typing import Any

import pytest
from torch import Tensor

from engine import (
    BuildError,
    Bundle,
    Clock,
    Scene,
    Tick,
    World,
    Write,
    build,
    column,
    every,
    first_tick,
    fuse,
    signal,
    system,
    table,
    term,
)
from tests.engine.toy import (
    ANY_DONE,
    TICK,
    Age,
    Closeness,
    Distance,
    Done,
    Place,
    Wind,
    complaint,
    finish,
    invert,
    look,
    mark_all,
    measure,
    move,
    restart,
    toy,
    toy_systems,
    toy_terms,
)


def gust(wind: Write[Wind]) -> None:
    """Change the wind."""
    wind.push.add_(1.0)


def drift(wind: Wind, distance: Write[Distance]) -> None:
    """Derive a distance from the wind."""
    distance.value.copy_(wind.push[0].expand_as(distance.value))


def nudge(place: Write[Place]) -> None:
    """Move every point a little."""
    place.x.add_(0.1)


def note(distance: Distance, age: Write[Age]) -> None:
    """Read a distance."""
    age.moves.add_((distance.value > 0).long())


def clear(done: Write[Done]) -> None:
    """Nobody is done any more."""
    done.ended.fill_(False)


def count(done: Done, age: Write[Age]) -> None:
    """Count endings."""
    age.moves.add_(done.ended.long())


def without(phase: str, **also: Any) -> dict[str, list[Any]]:
    """The sound tick with phases replaced; `phase` is left empty."""
    return {**toy_systems(), phase: [], **also}


def with_(**phases: Any) -> dict[str, list[Any]]:
    """The sound tick with phases replaced."""
    return {**toy_systems(), **phases}


def test_sound_scene_passes():
    build(toy())


# The five planted faults.


def test_stale_read_is_one_sentence_that_names_reader_writer_and_cure():
    assert complaint(toy(without("REFRESH"))) == (
        "BuildError: `look` (OBSERVE) reads Distance, which `restart` (RESET) made stale by writing Place. "
        "Schedule `measure` between them, under any_row(Done.ended) or always."
    )


def test_dead_signal_is_one_sentence():
    systems = {"BEGIN": [system(mark_all)], "MOVE": [system(move), system(count)]}
    assert complaint(toy(systems)) == (
        "BuildError: `count` (MOVE) reads Done before any system writes it. Schedule a system that writes Done."
    )


def test_race_is_one_sentence():
    wild = Bundle("wild", systems={"RESET": [system(nudge, when=ANY_DONE)]})
    assert complaint(toy(None, wild)) == (
        "BuildError: `restart` (toy) and `nudge` (wild) both touch Place in RESET; only the order of bundles decides. Say `after=`."
    )


def test_two_owners_are_one_sentence():
    wild = Bundle("wild", systems={"SENSE": [system(drift)]})
    assert complaint(toy(None, wild)) == (
        "BuildError: Distance is written by `measure` and `drift`; a derived component has one writer. "
        "Make one system write it, or make it an ordinary component."
    )


def writing(place: Write[Place]) -> Tensor:
    """A term that writes."""
    return place.x


def test_writing_term_is_one_sentence():
    with pytest.raises(BuildError) as caught:
        term(writing)
    assert str(caught.value) == "Term `writing` declares Write[Place]. A term only reads; keep its state in a system."


# Fresh caches.


def test_stale_read_of_a_term_belongs_to_the_fused_system():
    systems = without("REFRESH", OBSERVE=[fuse(look, toy_terms(), settings={"weight": float}, name="watch")])
    assert complaint(toy(systems)).startswith(
        "BuildError: `watch` (OBSERVE) reads Distance, which `restart` (RESET) made stale"
    )


def test_only_the_first_reader_of_a_stale_cache_is_named():
    systems = without("REFRESH", OBSERVE=[system(note), fuse(look, toy_terms(), settings={"weight": float})])
    text = complaint(toy(systems))
    assert text.count("\n") == 0 and "`note` (OBSERVE) reads Distance" in text


def measure_both(place: Place, distance: Write[Distance], closeness: Write[Closeness]) -> None:
    """Derive two components at once."""
    measure(place, distance)
    invert(distance, closeness)


def test_one_missing_system_is_one_sentence_whatever_it_derives():
    systems = {
        "BEGIN": [system(mark_all)],
        "SENSE": [system(measure_both), system(finish)],
        "RESET": [system(restart, when=ANY_DONE)],
        "OBSERVE": [system(note), system(stare)],
    }
    assert complaint(toy(systems, Bundle("extra", components=[Closeness]))) == (
        "BuildError: `note` (OBSERVE) reads Distance, which `restart` (RESET) made stale by writing Place. "
        "Schedule `measure_both` between them, under any_row(Done.ended) or always."
    )


def test_two_missing_systems_are_two_sentences():
    extra = Bundle(
        "extra",
        components=[Closeness],
        systems={
            "SENSE": [system(invert, after="measure")],
            "OBSERVE": [system(stare), system(note)],
        },
    )
    text = complaint(toy(without("REFRESH", OBSERVE=[]), extra))
    assert [line.split(", which")[0] for line in text.splitlines()] == [
        "BuildError: `stare` (OBSERVE) reads Closeness",
        "`note` (OBSERVE) reads Distance",
    ]


def push_and_gust(wind: Write[Wind], place: Write[Place]) -> None:
    """Change a resource and a component, as a simulator does."""


def test_a_changed_column_says_more_than_a_changed_resource():
    systems = with_(SENSE=[system(measure_in_wind), system(finish)], RESET=[system(push_and_gust)], REFRESH=[])
    assert "which `push_and_gust` (RESET) made stale by writing Place. Schedule `measure_in_wind`" in complaint(
        toy(systems)
    )


def measure_in_wind(wind: Wind, place: Place, distance: Write[Distance]) -> None:
    """Derive from a resource and a component."""


def test_unconditional_writer_needs_an_unconditional_refresh():
    systems = with_(RESET=[system(nudge)])
    assert complaint(toy(systems)) == (
        "BuildError: `look` (OBSERVE) reads Distance, which `nudge` (RESET) made stale by writing Place. "
        "Schedule `measure` between them."
    )


def test_refresh_under_another_condition_does_not_count():
    systems = with_(REFRESH=[system(measure, when=every(2))])
    assert complaint(toy(systems)) == (
        "BuildError: `look` (OBSERVE) reads Distance, which `restart` (RESET) made stale by writing Place. "
        "Schedule `measure` between them, under any_row(Done.ended) or always."
    )


def test_refresh_does_not_count_when_the_mask_changed_in_between():
    systems = with_(RESET=[system(restart, when=ANY_DONE), system(clear)])
    assert complaint(toy(systems)) == (
        "BuildError: `look` (OBSERVE) reads Distance, which `restart` (RESET) made stale by writing Place. `measure` runs between "
        "them under any_row(Done.ended), which may answer differently by then; run it always."
    )


def test_refresh_under_the_same_condition_in_a_later_tick_does_not_count():
    """On tick 2 `nudge` runs after `note`; on tick 3 nothing refreshes, and `note` reads what tick 2 made stale."""
    systems = with_(MOVE=[system(measure, when=every(2)), system(note)], OBSERVE=[system(nudge, when=every(2))])
    systems["REFRESH"] = [system(measure)]
    assert complaint(toy(systems)).startswith(
        "BuildError: `note` (MOVE) reads Distance, which `nudge` (OBSERVE) made stale by writing Place."
    )


def test_readers_under_the_condition_of_the_refresh_are_content():
    scene = with_(
        REFRESH=[],
        OBSERVE=[system(nudge), system(measure, when=every(2)), system(note, when=every(2))],
        SENSE=[system(measure), system(finish)],
    )
    build(toy(scene))


def test_source_of_a_source_counts():
    """Closeness is derived from Distance, which is derived from Place."""
    extra = Bundle(
        "extra",
        components=[Closeness],
        systems={
            "SENSE": [system(invert, after="measure")],
            "OBSERVE": [system(stare)],
        },
    )
    assert complaint(toy(None, extra)) == (
        "BuildError: `stare` (OBSERVE) reads Closeness, which `restart` (RESET) made stale by writing Place. "
        "Schedule `invert` between them, under any_row(Done.ended) or always."
    )


def stare(closeness: Closeness, age: Write[Age]) -> None:
    """Read a closeness."""
    age.moves.add_((closeness.value > 0).long())


def test_cache_refreshed_before_its_source_is_found():
    """The refresh itself reads a stale Distance."""
    extra = Bundle(
        "extra",
        components=[Closeness],
        systems={
            "SENSE": [system(invert, after="measure")],
            "RESET": [system(invert, after="restart")],
            "OBSERVE": [system(stare)],
        },
    )
    assert "`invert` (RESET) reads Distance, which `restart` (RESET) made stale by writing Place." in complaint(
        toy(None, extra)
    )


def test_resource_written_by_a_system_is_a_change_of_source():
    systems = with_(SENSE=[system(drift), system(finish)], RESET=[system(gust)], REFRESH=[])
    assert complaint(toy(systems)) == (
        "BuildError: `look` (OBSERVE) reads Distance, which `gust` (RESET) made stale by writing Wind. "
        "Schedule `drift` between them."
    )
    build(toy(with_(SENSE=[system(drift), system(finish)], RESET=[system(gust)], REFRESH=[system(drift)])))


def push_and_measure(place: Write[Place], distance: Write[Distance]) -> None:
    """Write a cache together with its own source."""
    distance.value.copy_(place.x.add_(0.1).norm(dim=-1))


def test_what_a_writer_also_writes_is_a_source():
    systems = with_(SENSE=[system(push_and_measure), system(finish)], REFRESH=[])
    assert complaint(toy(systems)) == (
        "BuildError: `look` (OBSERVE) reads Distance, which `restart` (RESET) made stale by writing Place. "
        "Schedule `push_and_measure` between them, under any_row(Done.ended) or always."
    )


def tell_time(clock: Clock, distance: Write[Distance]) -> None:
    """Derive something from the clock."""
    distance.value.fill_(float(clock.tick))


def test_clock_changes_at_the_start_of_a_tick():
    systems = {"BEGIN": [system(mark_all)], "MOVE": [system(note)], "REFRESH": [system(tell_time)]}
    assert complaint(toy(systems)) == (
        "BuildError: `note` (MOVE) reads Distance, which the start of the tick made stale by writing Clock. "
        "Schedule `tell_time` between them."
    )


def test_cache_that_nobody_writes():
    systems = {"BEGIN": [system(mark_all)], "OBSERVE": [system(note)]}
    assert complaint(toy(systems)) == (
        "BuildError: `note` (OBSERVE) reads Distance, which no system writes. Schedule the system that derives it."
    )


def test_cache_that_the_first_tick_has_not_written():
    """SENSE lies before RESET, where the first tick enters, and nothing writes Place: never stale, but blank."""
    systems = {"SENSE": [system(measure)], "OBSERVE": [system(note)]}
    assert complaint(toy(systems)) == (
        "BuildError: `note` (OBSERVE) reads Distance, which `measure` has not written yet in the first tick. "
        "Schedule `measure` before it, in BEGIN or after RESET, where the first tick enters."
    )


def test_cache_that_is_never_written_before_its_reader_without_an_entry_phase():
    tick = Tick(phases=("SENSE", "OBSERVE"))
    systems = {"SENSE": [system(note)], "OBSERVE": [system(measure)]}
    assert complaint(toy(systems, tick=tick)) == (
        "BuildError: `note` (SENSE) reads Distance, which `measure` has not written yet. Schedule `measure` before it."
    )


def test_cache_written_only_now_and_then():
    systems = {"OBSERVE": [system(measure, when=every(3)), system(note)]}
    assert complaint(toy(systems)) == (
        "BuildError: `note` (OBSERVE) reads Distance, which `measure` writes only under every(3). "
        "Run it under the same condition, or `measure` always."
    )


def test_mask_that_begin_did_not_set_is_not_trusted_in_the_first_tick():
    """Without BEGIN the refresh of the first tick may not run, so Distance may be blank; and the mask is unwritten."""
    text = complaint(toy(with_(BEGIN=[], RESET=[system(clear)])))
    assert text.startswith(
        "BuildError: `look` (OBSERVE) reads Distance, which `measure` writes only under any_row(Done.ended)."
    )


def test_repeated_group_reads_what_its_last_round_made_stale():
    """In round two `note` sees the Place that round one moved."""
    tick = Tick(phases=("STEP", "SENSE"), repeat=("STEP",))
    systems = {"BEGIN": [system(measure)], "STEP": [system(note), system(nudge)], "SENSE": [system(measure)]}
    assert complaint(toy(systems, tick=tick, repeat=2)) == (
        "BuildError: `note` (STEP) reads Distance, which `nudge` (STEP) made stale by writing Place. "
        "Schedule `measure` between them."
    )
    build(toy(systems, tick=tick, repeat=1))


def test_first_tick_system_does_not_count_later():
    systems = with_(REFRESH=[system(measure, when=first_tick())])
    assert "made stale by writing Place" in complaint(toy(systems))


# Live signals.


def test_signal_read_before_its_writer_names_the_writer():
    systems = with_(MOVE=[system(move), system(count)])
    assert complaint(toy(systems)) == (
        "BuildError: `count` (MOVE) reads Done before any system writes it. Move it after `finish` (SENSE)."
    )


def test_signal_that_the_first_tick_misses():
    """SENSE lies before the entry phase and BEGIN does not mark: RESET would read the mask of no tick at all."""
    systems = with_(BEGIN=[], RESET=[system(restart)], REFRESH=[system(measure)])
    assert complaint(toy(systems)) == (
        "BuildError: `restart` (RESET) reads Done in the first tick, which enters at RESET and so misses `finish` (SENSE). "
        "Write it in BEGIN too, or make it a component that keeps its value."
    )


def test_mask_that_the_first_tick_misses_is_one_sentence():
    assert complaint(toy(with_(BEGIN=[]))) == (
        "BuildError: The condition any_row(Done.ended) of `restart` (RESET) reads Done in the first tick, which enters at RESET "
        "and so misses `finish` (SENSE). Write it in BEGIN too, or make it a component that keeps its value."
    )


def test_condition_reads_its_mask():
    """A skipped writer would leave the mask of an earlier tick, which no snapshot holds."""
    systems = with_(SENSE=[system(measure), system(finish, when=every(2))])
    assert complaint(toy(systems)) == (
        "BuildError: The condition any_row(Done.ended) of `restart` (RESET) reads Done, which is written only under every(2). "
        "Run it under the same condition, or write it always."
    )


def test_signal_written_under_a_condition_needs_a_reader_under_the_same():
    systems = with_(OBSERVE=[system(send, when=every(2)), system(receive)])
    extra = Bundle("extra", components=[Parcel])
    assert complaint(toy(systems, extra)) == (
        "BuildError: `receive` (OBSERVE) reads Parcel, which is written only under every(2). "
        "Run it under the same condition, or write it always."
    )
    build(toy(with_(OBSERVE=[system(send, when=every(2)), system(receive, when=every(2))]), extra))


@signal
class Parcel:
    """Something handed over within a tick."""

    value: Tensor = column()


def send(parcel: Write[Parcel]) -> None:
    """Write it."""
    parcel.value.fill_(1.0)


def receive(parcel: Parcel, age: Write[Age]) -> None:
    """Read it."""
    age.moves.add_(parcel.value.long())


def test_signal_written_under_a_condition_that_changed_since():
    systems = with_(OBSERVE=[system(send, when=ANY_DONE), system(clear), system(receive, when=ANY_DONE)])
    assert complaint(toy(systems, Bundle("extra", components=[Parcel]))) == (
        "BuildError: `receive` (OBSERVE) reads Parcel, which is written only under any_row(Done.ended). "
        "By then the condition may answer differently; write it always."
    )


def test_second_writer_of_a_signal_may_not_build_on_a_conditional_first():
    """`rows |= more` after a skipped first writer would build on the tick before."""
    systems = with_(OBSERVE=[system(send, when=every(2)), system(add_to_parcel)])
    assert complaint(toy(systems, Bundle("extra", components=[Parcel]))) == (
        "BuildError: `add_to_parcel` (OBSERVE) reads Parcel, which is written only under every(2). "
        "Run it under the same condition, or write it always."
    )


def add_to_parcel(parcel: Write[Parcel]) -> None:
    """Change it."""
    parcel.value.add_(1.0)


# Races and order.


def test_after_settles_a_race():
    build(toy(None, Bundle("wild", systems={"RESET": [system(nudge, when=ANY_DONE, after="restart")]})))


def test_after_settles_the_order_with_all_of_that_bundle_whichever_bundle_comes_first():
    systems = with_(RESET=[system(restart), system(nudge)], REFRESH=[system(measure)])
    wild = Bundle("wild", systems={"RESET": [system(shift, after="restart")]})
    main, *_ = toy(systems).bundles
    for bundles in ([main, wild], [wild, main]):
        build(Scene([table("points", rows=4)], bundles, TICK))


def shift(place: Write[Place]) -> None:
    """Move sideways."""
    place.x[:, 0].add_(0.1)


def test_two_bundles_behind_the_same_system_race():
    one = Bundle("one", systems={"RESET": [system(nudge, when=ANY_DONE, after="restart")]})
    two = Bundle("two", systems={"RESET": [system(shift, when=ANY_DONE, after="restart")]})
    assert complaint(toy(None, one, two)) == (
        "BuildError: `nudge` (one) and `shift` (two) both touch Place in RESET; only the order of bundles decides. Say `after=`."
    )
    chained = Bundle("two", systems={"RESET": [system(shift, when=ANY_DONE, after="nudge")]})
    build(toy(None, one, chained))


def test_system_moved_behind_a_third_bundle_still_races():
    """`restart` follows `gust`, so where it stands against `nudge` depends on the order of bundles."""
    systems = with_(RESET=[system(restart, when=ANY_DONE, after="gust")])
    third = Bundle("third", systems={"RESET": [system(gust)]})
    wild = Bundle("wild", systems={"RESET": [system(nudge, when=ANY_DONE)]})
    assert "`restart` (toy) and `nudge` (wild) both touch Place in RESET" in complaint(toy(systems, third, wild))


def test_mask_of_a_condition_takes_part_in_a_race():
    systems = with_(RESET=[system(restart, when=ANY_DONE)], REFRESH=[system(measure)])
    wild = Bundle("wild", systems={"RESET": [system(clear)]})
    assert complaint(toy(systems, wild)) == (
        "BuildError: `restart` (toy) and `clear` (wild) both touch Done in RESET; only the order of bundles decides. Say `after=`."
    )


def test_two_readers_do_not_race():
    build(toy(None, Bundle("wild", systems={"OBSERVE": [system(note)]})))


# The world.


def publish(world: World) -> None:
    """Show everything."""


def test_world_may_be_seen_in_the_last_phase():
    build(toy(None, Bundle("debug", systems={"OBSERVE": [system(publish)]})))


def test_world_may_not_be_seen_earlier():
    assert complaint(toy(None, Bundle("debug", systems={"SENSE": [system(publish)]}))) == (
        "BuildError: `publish` (SENSE) takes the World, which shows everything; it may do so only in OBSERVE, the last phase, "
        "and write nothing."
    )


# Several tables.


def chase(place: Place, ball: Write[Place]) -> None:
    """Put the other table's place on this one's."""
    ball.x.copy_(place.x)


def two_tables(systems: dict[str, list[Any]], *, rows: int = 4) -> Scene:
    """Points and balls; both have a Place and a Distance, only points have Done."""
    points = Bundle("points", [Place, Distance, Done, Age], [], systems, table="points")
    balls = Bundle("balls", [Place, Distance], [], {}, table="balls")
    return Scene([table("points", rows=4), table("balls", rows=rows)], [points, balls], TICK)


def test_write_into_another_table_makes_that_tables_cache_stale():
    systems = {
        "REFRESH": [system(measure), system(chase, tables={"ball": "balls"})],
        "OBSERVE": [system(peek, tables={"distance": "balls"})],
    }
    assert complaint(two_tables(systems)) == (
        "BuildError: `peek` (OBSERVE) reads Distance, which `chase` (REFRESH) made stale by writing Place. "
        "Schedule `measure` between them."
    )


def peek(distance: Distance, age: Write[Age]) -> None:
    """Read a distance of either table."""
    age.moves.add_(distance.value.long())


def test_write_into_another_table_leaves_this_tables_cache_fresh():
    systems = {
        "REFRESH": [system(measure), system(chase, tables={"ball": "balls"})],
        "OBSERVE": [system(peek)],
    }
    build(two_tables(systems))
