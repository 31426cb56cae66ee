"""The scene as text and as a graph."""

from itertools import pairwise

from torch import Tensor

from engine import Bundle, Scene, Write, build, resource, system, table, term
from engine.tools.explain import explain, graph
from tests.engine.toy import ANY_DONE, TICK, Age, Place, restart, toy

EXPECTED = """\
SCENE toy

TABLES
  points: 4 rows
    seen                    3  position[0], position[1], far

COLUMNS, under the component that a signature names; a system that writes one may read it too
  points.Place (state, tests/engine/toy.py): Where a point is.
    written by move (MOVE, tests/engine/toy.py), restart (RESET when any_row(Done.ended), tests/engine/toy.py)
    read by measure (SENSE, tests/engine/toy.py), measure (REFRESH, tests/engine/toy.py), look.position (OBSERVE, tests/engine/toy.py)
    x                    (row, 2) = (4, 2) float32  [m]  from the row's own origin
  points.Age (state, tests/engine/toy.py): How many moves a point has made.
    written by move (MOVE, tests/engine/toy.py)
    read by no other system
    moves                (row) = (4,) int64
  points.Distance (derived, tests/engine/toy.py): How far a point is from its origin.
    written by measure (SENSE, tests/engine/toy.py), measure (REFRESH when any_row(Done.ended), tests/engine/toy.py)
    read by finish (SENSE, tests/engine/toy.py), look.far (OBSERVE, tests/engine/toy.py)
    value                (row) = (4,) float32  [m]
  points.Done (signal, tests/engine/toy.py): Which points start over.
    written by mark_all (BEGIN, tests/engine/toy.py), finish (SENSE, tests/engine/toy.py)
    read by the condition of restart (RESET), restart (RESET, tests/engine/toy.py), the condition of measure (REFRESH)
    ended                (row) = (4,) bool
  points.Seen (state, tests/engine/toy.py): What an onlooker wrote down.
    written by look (OBSERVE, tests/engine/toy.py)
    read by no other system
    value                (row, seen) = (4, 3) float32

RESOURCES
  Clock: Where in time the run is. Tick 0 is the first tick; `begun` is false until it has run.
    written by no system
    read by no other system
  Wind: Blows every point the same way.
    written by no system
    read by move (MOVE, tests/engine/toy.py)

TICK
  first tick: BEGIN, then from RESET
  BEGIN
    mark_all (toy)  Say that every point starts over.
      reads nothing; writes Done
  MOVE × 3
    move (toy)  Take a random step with the wind.
      reads Wind; writes Place, Age; draws
  SENSE
    measure (toy)  Recompute the distance.
      reads Place; writes Distance
    finish (toy)  End the walk of points that are too far away.
      reads Distance; writes Done
  RESET
    restart (toy)  when any_row(Done.ended)  Put ended points back on their origin.
      reads Done; writes Place
  REFRESH
    measure (toy)  when any_row(Done.ended)  Recompute the distance.
      reads Place; writes Distance
  OBSERVE
    look (toy)  Write the terms down side by side.
      reads Place, Distance; writes Seen
      terms position, far

ADDRESSES
  toy.move.step = 0.3
  toy.finish.limit = 1.0
  toy.look.far.scale = 1.0
  toy.look.far.weight = 2"""


def test_explanation_of_the_toy_scene():
    assert explain(build(toy())) == EXPECTED


def test_explanation_shows_what_after_moved():
    extra = Bundle("extra", [], [], {"RESET": [system(restart, name="again", after="restart", when=ANY_DONE)]})
    assert "    again (extra)  when any_row(Done.ended)  after restart  Put" in explain(build(toy(None, extra)))


@resource
class Silent:
    pass


def height(place: Place) -> Tensor:
    """Second coordinate."""
    return place.x[:, 1]


def test_who_records_a_component_is_named_with_the_function_behind_the_name():
    recorded = Bundle("recorded", vitals={"up": term(height)})
    lines = explain(build(toy(None, recorded))).splitlines()
    assert "    recorded as up = height (tests/engine/tools/test_explain.py)" in lines


def test_missing_docstring_is_no_problem():
    silent = Silent()
    silent.__class__.__doc__ = None
    assert "\n  Silent\n" in explain(build(toy(None, Bundle("silent", resources=[silent]))))


def test_axes_with_many_labels_are_cut():
    scene = Scene([table("t", rows=1, axes={"dof": [f"j{i}" for i in range(6)]})], [], TICK)
    assert "    dof                     6  j0, j1, j2, j3, …" in explain(build(scene))


def chase(age: Age, place: Place, ball: Write[Place]) -> None:
    """Move the ball."""
    ball.x.copy_(place.x)


def test_other_tables_are_named():
    points = Bundle("points", [Place, Age], [], {"OBSERVE": [system(chase, tables={"ball": "balls"})]}, table="points")
    scene = Scene(
        [table("points", rows=2), table("balls", rows=2)], [points, Bundle("balls", [Place], table="balls")], TICK
    )
    simulation = build(scene)
    text = explain(simulation)
    assert "    chase (points) on points  Move the ball.\n      reads Age, Place; writes balls.Place" in text
    dot = graph(simulation)
    assert '"points.Place" -> "OBSERVE.points.chase.points" [color=gray];' in dot
    assert '"OBSERVE.points.chase.points" -> "balls.Place" [color=red];' in dot


def test_graph_has_every_system_in_order_and_every_access():
    dot = graph(build(toy()))
    assert dot.startswith("digraph tick {\n") and dot.endswith("}\n") and dot.count("{") == dot.count("}")
    order = ["BEGIN.toy.mark_all", "MOVE.toy.move", "SENSE.toy.measure", "SENSE.toy.finish", "RESET.toy.restart"]
    order += ["REFRESH.toy.measure", "OBSERVE.toy.look"]
    for one, next_one in pairwise(order):
        assert f'"{one}.points" -> "{next_one}.points" [style=bold];' in dot
    assert '"Distance" -> "SENSE.toy.finish.points" [color=gray];' in dot
    assert '"SENSE.toy.finish.points" -> "Done" [color=red];' in dot
    assert '"Distance" -> "OBSERVE.toy.look.points" [color=gray];' in dot, (
        "what a term reads belongs to the fused system"
    )
    assert dot.count("[shape=box") == len(order)
    assert all(f'"{name}" [shape=ellipse];' in dot for name in ("Place", "Age", "Distance", "Done", "Seen", "Wind"))
    assert dot.count('label="SENSE"') == 1
