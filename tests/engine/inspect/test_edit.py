"""Changes by hand: what may be edited when, what is refused and how, and that every change is written down."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from components.episode import Done, Episode
from components.observation import FinalObservation, Observation
from engine import build
from engine.errors import EditError
from engine.inspect.edit import Editor
from engine.protocol.framing import unpack_array
from engine.snapshot.snapshot import restore, save
from scenes import cartpole
from tests.engine.inspected import Live, paused_toy, toy
from tests.engine.toy_scene import Ended

POSITION, DISTANCE, ENDED, BEGAN = (
    "point.Point.position", "point.Distance.value", "point.Ended.rows", "point.Walk.began",
)  # fmt: skip


def refused(editor: Editor, *arguments: object, **more: object) -> tuple[str, str]:
    before = save(editor.simulation.world)
    with pytest.raises(EditError) as caught:
        editor.set_column(*arguments, **more)  # type: ignore[arg-type]
    assert save(editor.simulation.world) == before
    return caught.value.code, str(caught.value)


# -- columns -------------------------------------------------------------------------------------------


def test_an_edit_of_state_gives_the_old_values_back_and_derives_again_what_comes_from_it() -> None:
    simulation = toy()
    simulation.run(3)
    editor, columns = Editor(simulation), simulation.world.columns()
    before = columns[POSITION].clone()
    old = editor.set_column(POSITION, [2, 5], np.array([[3.0, 4.0], [-5.0, 12.0]]))
    np.testing.assert_array_equal(old, before[[2, 5]].numpy())
    assert columns[POSITION][[2, 5]].tolist() == [[3.0, 4.0], [-5.0, 12.0]]
    assert columns[DISTANCE][[2, 5]].tolist() == [5.0, 13.0]
    editor.set_column(POSITION, [2, 5], old)  # undone
    assert torch.equal(columns[POSITION], before)


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        ([7.0], None, [[7.0, 7.0], [7.0, 7.0]]),
        ([1.0, 2.0], None, [[1.0, 2.0], [1.0, 2.0]]),
        ([1.0, 2.0, 3.0, 4.0], None, [[1.0, 2.0], [3.0, 4.0]]),
        ([9.0, 8.0], [1], [[0.0, 9.0], [0.0, 8.0]]),
        ([9.0], [0], [[9.0, 0.0], [9.0, 0.0]]),
    ],
)
def test_one_value_or_one_row_of_values_goes_into_all_rows(
    values: list[float], labels: list[int] | None, expected: list[list[float]]
) -> None:
    simulation = toy()
    Editor(simulation).set_column(POSITION, [1, 6], np.array(values), labels)
    assert simulation.world.columns()[POSITION][[1, 6]].tolist() == expected


def test_what_cannot_be_edited_is_refused_in_a_sentence_and_changes_nothing() -> None:
    simulation = toy()
    simulation.run(2)
    editor = Editor(simulation)
    assert refused(editor, DISTANCE, [0], np.array([1.0])) == (
        "not_editable",
        f"{DISTANCE} is derived by `measure`; edit Point.",
    )
    assert refused(editor, ENDED, [0], np.array([True])) == (
        "not_editable",
        f"{ENDED} is a signal: it counts only between `mark` and its last reader. Pause there to edit it.",
    )
    assert refused(editor, POSITION, [0], np.array([np.nan, 0.0])) == (
        "not_editable",
        f"{POSITION}: a value is not finite. Ask for it with force.",
    )
    assert refused(editor, POSITION, [0], np.array([1e300, 0.0]))[0] == "not_editable"
    assert refused(editor, POSITION, [0, 1], np.zeros(3)) == (
        "bad_shape",
        f"{POSITION}: 3 values were given for 2 rows × 2 values.",
    )
    assert refused(editor, BEGAN, [0], np.array([1.5])) == (
        "bad_shape",
        f"{BEGAN} holds int64; 1.5 is not a valid value.",
    )
    assert refused(editor, POSITION, [0, 3, 0], np.zeros(1)) == ("bad_message", f"{POSITION}: row 0 is named twice.")
    assert refused(editor, "point.Point.positon", [0], np.zeros(2)) == (
        "unknown_column",
        f"There is no column 'point.Point.positon'. Did you mean {POSITION} or point.Ended.side or {ENDED}?",
    )


def test_values_that_are_not_finite_are_written_by_force() -> None:
    simulation = toy()
    Editor(simulation).set_column(POSITION, [0], np.array([np.nan, np.inf]), force=True)
    assert not simulation.world.columns()[POSITION][0].isfinite().any()


def test_integers_and_truths_keep_their_kind() -> None:
    simulation = toy()
    editor = Editor(simulation, frozenset({("point", Ended)}))
    editor.set_column(BEGAN, [3], np.array([41.0]))
    editor.set_column(ENDED, [3], np.array([1]))
    assert simulation.world.columns()[BEGAN][3] == 41 and bool(simulation.world.columns()[ENDED][3])
    with pytest.raises(EditError, match="holds bool; 2 is not a valid value"):
        editor.set_column(ENDED, [3], np.array([2]))


# -- constants -----------------------------------------------------------------------------------------


def test_a_constant_counts_at_once_or_at_the_next_reset() -> None:
    simulation = toy()
    editor = Editor(simulation)
    assert editor.set_constant("toy.wander.step", "0.0") == ("0.3", "0.0", "live")
    simulation.run(2)
    before = simulation.world.columns()[POSITION].clone()
    simulation.run(5)
    assert torch.equal(simulation.world.columns()[POSITION], before)
    cart = Editor(build(cartpole.experiment(num_envs=4).train()))
    assert cart.set_constant("cart.start_over.spread", "0.01") == ("0.05", "0.01", "at_reset")
    assert cart.set_constant("cart.push.force", "5")[2] == "live"


def test_a_constant_that_two_systems_share_is_edited_for_both() -> None:
    simulation = build(cartpole.experiment(num_envs=4).train())
    Editor(simulation).set_constant("task.observe.limit", "0.0")
    simulation.run(3)
    assert not simulation.world[Observation].critic.any()
    simulation.world[Episode].step.fill_(10_000)
    simulation.run(1)
    assert simulation.world[Done].truncated.all() and not simulation.world[FinalObservation].critic.any()


@pytest.mark.parametrize(
    ("address", "value", "code", "text"),
    [
        (
            "toy.wander.stepp",
            "1",
            "unknown_column",
            "There is no constant 'toy.wander.stepp'. Did you mean toy.wander.step or toy.dawdle.pause?",
        ),
        ("toy.wander.step", "far", "bad_message", "toy.wander.step takes float, but was given 'far'. It is 0.3 now."),
    ],
)
def test_a_constant_that_is_not_there_or_not_of_its_kind_is_refused(
    address: str, value: str, code: str, text: str
) -> None:
    with pytest.raises(EditError) as caught:
        Editor(toy()).set_constant(address, value)
    assert (caught.value.code, str(caught.value)) == (code, text)


def test_a_constant_of_the_first_tick_is_refused() -> None:
    from engine import Scene, Tick, first_tick, system, table
    from engine.ecs.bundle import Bundle
    from tests.engine.toy_scene import Point, wander

    systems = {"RESET": [system(wander, when=first_tick())]}
    scene = Scene(
        [table("point", rows=2)], [Bundle("only", [Point], [], systems)], Tick(phases=("RESET",)), name="only"
    )
    with pytest.raises(EditError) as caught:
        Editor(build(scene, check=False)).set_constant("only.wander.step", "1.0")
    assert caught.value.code == "not_editable"
    assert str(caught.value) == "only.wander.step counts only when the run begins; give it with --set to a new one."


def test_an_edited_constant_is_part_of_the_world() -> None:
    simulation, plain = toy(), toy()
    simulation.run(3)
    early = save(simulation.world)
    plain.run(3)
    assert save(plain.world) == early
    editor = Editor(simulation)
    editor.set_constant("toy.wander.step", "0.05")
    edited = save(simulation.world)
    simulation.run(10)
    later = save(simulation.world)
    other = toy(seed=9)
    restore(other.world, edited)
    other.run(10)
    assert save(other.world) == later
    restore(other.world, early)  # and with it the constant that the scene was built with
    assert other.world.constants == {} and Editor(other).value("toy.wander.step") == "0.3"
    other.run(10)
    plain.run(10)
    assert save(other.world) == save(plain.world)


# -- through the inspector -----------------------------------------------------------------------------


def test_edits_are_written_down_told_and_counted(folder: Path, tmp_path: Path) -> None:
    with paused_toy(folder, folder=tmp_path) as (live, client):
        tick = live.world.clock.tick
        old = client.ask("set", **client.set(POSITION, [4], [0.5], [1]))["old"]
        event = client.event("edit")
        assert event["column"] == POSITION and event["row"] == 4 and event["text"] == f"me: set {POSITION} of row 4"
        answer = client.ask("set", address="toy.wander.step", value="0.1", reason="too wild")
        assert (answer["old"], answer["new"], answer["when"]) == ("0.3", "0.1", "live")
        fields = client.event("edit")["fields"]
        assert (fields["address"], fields["new"], fields["old"]) == ("toy.wander.step", "0.1", "0.3")
        client.ask("reset", rows=[1, 2])
        client.ask("set", **client.set(POSITION, [4], unpack_array(old), [1]))  # undone
        client.until(lambda: client.state["intervened"] == 4)
        lines = [json.loads(line) for line in (tmp_path / "interventions.jsonl").read_text().splitlines()]
        assert [line["what"] for line in lines] == ["set", "set", "reset", "set"]
        assert [line["tick"] for line in lines] == [tick] * 4 and {line["client"] for line in lines} == {"me"}
        assert lines[1]["reason"] == "too wild" and (lines[1]["old"], lines[1]["new"]) == ("0.3", "0.1")
        assert lines[0]["old"] == lines[3]["new"] and lines[0]["new"] == lines[3]["old"] == [[0.5]]
    with paused_toy(folder, folder=tmp_path) as (live, client):  # a run that goes on in the same folder
        assert client.state["intervened"] == 4


def test_a_debugger_that_comes_later_is_told_what_constants_are_now(folder: Path) -> None:
    def value_and_hash(name: str) -> tuple[float, str]:
        schema = live.client("observe", name).connection.schema
        assert schema is not None
        (value,) = [each["value"] for each in schema["constants"] if each["address"] == "toy.stray.limit"]
        return value, schema["hash"]

    with paused_toy(folder) as (live, client):
        client.ask("step", unit="tick", count=5)
        tick, first = client.state["tick"], value_and_hash("first")
        assert first[0] == 1.0
        client.ask("set", address="toy.stray.limit", value="0.5", reason="")
        edited = value_and_hash("second")
        assert edited[0] == 0.5 and edited[1] != first[1]
        client.ask("seek", tick=tick - 2)
        assert value_and_hash("third") == first


def test_a_signal_is_edited_between_its_writer_and_its_last_reader(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        edit = client.set(ENDED, [6], [True])
        code, text = client.refused("set", **edit)
        assert code == "not_editable" and "Pause there to edit it" in text
        client.ask("run_to", system=client.systems.index("stray"), tick=None)
        assert client.refused("set", **edit)[0] == "not_editable"  # the writer comes only now
        client.ask("set", address="toy.wander.step", value="0.0", reason="")
        client.ask("set", **client.set(POSITION, list(range(8)), [0.25]))
        client.ask("run_to", system=client.systems.index("stray"), tick=None)
        client.ask("break", when=f"any({DISTANCE} >= 0)", at="after stray")
        client.ask("set", **client.set(POSITION, [0], [3.0]))
        client.ask("run")
        client.until(lambda: client.state["mode"] == "paused" and client.next == "return_home")
        client.ask("set", **edit)
        client.ask("unbreak", **{"break": 1})
        client.ask("step", unit="tick", count=1)
        assert live.column(POSITION)[6].tolist() == [0.0, 0.0] and live.column(POSITION)[5].tolist() == [0.25, 0.25]


def test_a_reset_sends_rows_through_reset_like_those_that_ended(folder: Path) -> None:
    with paused_toy(folder) as (live, client):
        client.ask("set", address="toy.wander.step", value="0.0", reason="")
        client.ask("set", **client.set(POSITION, list(range(8)), [0.25]))
        client.sub("trace", POSITION, rows=[2, 3])
        client.ask("reset", rows=[2, 7])
        client.ask("step", unit="tick", count=1)
        client.drain()
        assert live.column(POSITION)[:, 0].tolist() == [0.25, 0.25, 0, 0.25, 0.25, 0.25, 0.25, 0]
        assert live.column(BEGAN)[[2, 7]].tolist() == [live.world.clock.tick] * 2
        assert unpack_array(client.frames("trace")[-1]["ended"]).tolist() == [[True, False], [False, False]]
        code, text = client.refused("reset", rows=[2, 8])
        assert code == "bad_message" and "no row 8" in text


def test_what_is_done_to_the_past_counts_only_if_the_run_goes_on_from_there(folder: Path, tmp_path: Path) -> None:
    with paused_toy(folder, folder=tmp_path) as (live, client):
        client.ask("step", unit="tick", count=20)
        tick, present = live.world.clock.tick, save(live.world)
        client.ask("set", address="toy.wander.step", value="0.2", reason="")
        client.events.clear()
        client.ask("seek", tick=tick - 5)
        back = [e["fields"] for e in client.events if e["kind"] == "edit"]
        assert [(f["address"], f["new"]) for f in back] == [("toy.wander.step", "0.3")]
        client.ask("set", **client.set(POSITION, [4], [0.5], [1]))
        client.ask("set", address="toy.stray.limit", value="2.0", reason="")
        assert client.state["intervened"] == 1
        client.ask("live")
        assert save(live.world) != present  # it has the constant that was edited
        assert live.world.constants == {"toy.wander.step": "0.2"} and client.state["intervened"] == 1
        client.ask("seek", tick=tick - 5)
        client.ask("set", **client.set(POSITION, [4], [0.5], [1]))
        client.ask("branch")
        client.drain()
        assert client.state["intervened"] == 3 and live.column(POSITION)[4, 1] == 0.5
        lines = [json.loads(line)["what"] for line in (tmp_path / "interventions.jsonl").read_text().splitlines()]
        assert lines == ["set", "set", "branch"]


def test_values_in_a_log_are_limited_and_readable(folder: Path, tmp_path: Path) -> None:
    with Live(toy(rows=2000), folder, folder=tmp_path) as live:
        client = live.client()
        client.ask("pause")
        client.ask("set", **client.set(POSITION, list(range(2000)), [0.5]))
        client.ask("set", **client.set(POSITION, [0], [np.nan], force=True))
        first, second = (json.loads(line) for line in (tmp_path / "interventions.jsonl").read_text().splitlines())
        assert len(first["old"]) == 1025 and first["old"][-1] == "and 976 more"
        assert second["new"] == [["nan", "nan"]]
