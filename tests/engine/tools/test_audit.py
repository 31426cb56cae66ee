"""Run-time proofs: what a system did beyond its declaration, non-finite values, waiting for the host."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import Bundle, Scene, Simulation, Write, build, resource, system, table
from engine.ecs.table import tensors_in
from engine.snapshot.snapshot import save
from engine.tools.audit import Audit
from tests.engine.toy import TICK, Age, Place, Wind, run, toy, toy_systems


def audited(function: Callable[..., None], *more: Bundle, ticks: int = 3, **options: Any) -> list[str]:
    """What an audit finds when that system is added to OBSERVE."""
    systems = toy_systems()
    systems["OBSERVE"].append(system(function, **options))
    simulation = build(toy(systems, *more), check=False)
    return texts(simulation, ticks)


def texts(simulation: Simulation, ticks: int = 3) -> list[str]:
    audit = Audit(simulation.schedule)
    simulation.run(ticks)
    audit.detach()
    return [finding.text for finding in audit.findings]


def test_sound_scene_has_no_findings():
    assert texts(run(0), ticks=20) == []


def sneak(place: Place, age: Write[Age]) -> None:
    """Write what is only read."""
    place.x.add_(1.0)
    age.moves.add_(1)


def test_undeclared_write_to_a_component_is_found_once():
    assert audited(sneak) == [
        "`sneak` (OBSERVE) changed Place.x without declaring it. Type its parameter Write[Place], or leave it alone."
    ]


def sneak_by_view(place: Place) -> None:
    """Write through a view."""
    place.x[:, 0].zero_()


def test_write_through_a_view_is_found():
    assert audited(sneak_by_view)[0].startswith("`sneak_by_view` (OBSERVE) changed Place.x without declaring it.")


def still(wind: Wind) -> None:
    """Stop the wind, without saying so."""
    wind.push.zero_()


def test_undeclared_write_to_a_resource_is_found():
    assert audited(still) == [
        "`still` (OBSERVE) changed Wind.push without declaring it. Type its parameter Write[Wind], or leave it alone."
    ]


def replace(wind: Wind) -> None:
    """Replace the tensor of a resource."""
    wind.push = torch.zeros(2)


def test_replaced_tensor_of_a_resource_is_found():
    assert audited(replace)[0].startswith("`replace` (OBSERVE) changed Wind.push without declaring it.")


def count_gusts(wind: Wind) -> None:
    """Change a plain number of a resource."""
    wind.gusts += 1


def test_changed_number_of_a_resource_is_found():
    assert audited(count_gusts)[0].startswith("`count_gusts` (OBSERVE) changed Wind.gusts without declaring it.")


def blow(wind: Write[Wind]) -> None:
    """Change the wind, and say so."""
    wind.push.add_(1.0)
    wind.gusts += 1


def test_declared_write_to_a_resource_is_fine():
    assert audited(blow) == []


@resource
class Learner:
    """A network among other things."""

    network: nn.Module
    rates: list[Tensor]


def learn(learner: Learner) -> None:
    """Train, without saying so."""
    with torch.no_grad():
        learner.network.weight.add_(1.0)  # type: ignore[operator]
        learner.rates[0].add_(1.0)


def test_parameters_and_lists_of_a_resource_are_watched():
    learner = Learner(network=nn.Linear(1, 1), rates=[torch.zeros(1)])
    found = audited(learn, Bundle("learner", resources=[learner]))
    assert [text.split(" without")[0] for text in found] == [
        "`learn` (OBSERVE) changed Learner.network.weight",
        "`learn` (OBSERVE) changed Learner.rates.0",
    ]


def test_tensors_of_a_resource_have_paths():
    learner = Learner(network=nn.Linear(1, 1, bias=False), rates=[torch.zeros(1), torch.zeros(1)])
    assert [path for path, _ in tensors_in(learner)] == ["network.weight", "rates.0", "rates.1"]


# Tables.


def grow(place: Write[Place], other: Place) -> None:
    """Write both, though only one is declared."""
    place.x.add_(1.0)
    other.x.add_(1.0)


def test_same_component_of_two_tables_is_told_apart():
    points = Bundle(
        "points", [Place, Age], [], {"OBSERVE": [system(grow_old, tables={"other": "balls"})]}, table="points"
    )
    scene = Scene(
        [table("points", rows=2), table("balls", rows=2)], [points, Bundle("balls", [Place], table="balls")], TICK
    )
    assert texts(build(scene, check=False)) == [
        "`grow_old` (OBSERVE) changed balls.Place.x without declaring it. Type its parameter Write[Place], or leave it alone."
    ]


def grow_old(age: Age, place: Write[Place], other: Place) -> None:
    """Write both places, though only one is declared."""
    grow(place, other)


# Values.


def divide(place: Write[Place]) -> None:
    """Make one number not a number."""
    place.x[2, 1] = float("nan")


def test_non_finite_value_is_found_with_row_column_and_system():
    assert audited(divide)[0] == "Place.x is nan in row 2 at (1,), written by `divide` (OBSERVE)."


def explode(place: Write[Place]) -> None:
    """Make a number too large, past the version counters, as a simulator does."""
    place.x.numpy()[1, 0] = float("inf")


def test_write_by_numpy_is_blamed_on_the_system_that_declares_it():
    found = audited(explode, may_sync="writes through numpy")
    assert found[0] == "Place.x is inf in row 1 at (0,), written by `explode` (OBSERVE)."


# Waiting.


def look_at_one(place: Place, age: Write[Age]) -> None:
    if place.x[0, 0] > 0:
        age.moves.add_(1)


def index_by_mask(place: Place, age: Write[Age]) -> None:
    age.moves.add_(len(place.x[place.x[:, 0] > 0]))


def write_by_mask(place: Write[Place]) -> None:
    place.x[place.x > 1e9] = torch.zeros(0)


def list_rows(place: Place, age: Write[Age]) -> None:
    age.moves.add_(len(place.x.tolist()))


def to_numpy(place: Place, age: Write[Age]) -> None:
    age.moves.add_(int(place.x.numpy().shape[0]))


def to_host(place: Place, age: Write[Age]) -> None:
    age.moves.add_(place.x.cpu().long()[:, 0])


def find_rows(place: Place, age: Write[Age]) -> None:
    age.moves.add_(torch.where(place.x[:, 0] > 0)[0].numel())


def find_labels(age: Write[Age]) -> None:
    age.moves.add_(torch.unique(age.moves).numel())


WAITING = [
    (look_at_one, "local_scalar_dense"),
    (index_by_mask, "index with a mask"),
    (write_by_mask, "index with a mask"),
    (list_rows, "tolist"),
    (to_numpy, "numpy"),
    (to_host, "cpu"),
    (find_rows, "nonzero"),
    (find_labels, "unique"),
]


@pytest.mark.parametrize(("function", "operation"), WAITING)
def test_waiting_for_the_host_is_found(function: Callable[..., None], operation: str):
    assert audited(function) == [
        f"`{function.__name__}` (OBSERVE) waits for device values ({operation}); on a GPU every tick would stall there. "
        "Use masks and put_rows, or say may_sync= with a reason."
    ]


@pytest.mark.parametrize(("function", "operation"), WAITING)
def test_system_with_a_reason_may_wait(function: Callable[..., None], operation: str):
    assert audited(function, may_sync="it is a test") == []


# Itself.


def test_finding_carries_its_tick():
    simulation = build(toy({**toy_systems(), "MOVE": [system(sneak)]}), check=False)
    audit = Audit(simulation.schedule)
    simulation.run(3)
    assert [finding.tick for finding in audit.findings] == [1]


def test_change_between_systems_is_nobodys_fault():
    simulation = run(1)
    audit = Audit(simulation.schedule)
    for _ in range(3):
        simulation.world[Wind].push.add_(0.1)
        simulation.world[Place].x.add_(0.1)
        simulation.run()
    assert audit.findings == []


def test_audit_does_not_change_the_run():
    one, two = run(0), run(0)
    texts(one, ticks=5)
    two.run(5)
    assert save(one.world) == save(two.world)


def test_detached_audit_sees_nothing():
    simulation = build(toy({**toy_systems(), "MOVE": [system(sneak)]}), check=False)
    audit = Audit(simulation.schedule)
    audit.detach()
    simulation.run(3)
    assert audit.findings == [] and simulation.schedule.wrap is None
