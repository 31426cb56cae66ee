"""Nothing that the next tick depends on is missing from a snapshot, in any scene that ships."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from components.learning import Policy
from components.physics import Physics
from engine import Scene, Simulation, World, build
from engine.ecs.constants import addresses
from engine.snapshot import snapshot
from engine.snapshot.snapshot import Snapshot, capture, restore, save
from scenes import cartpole, replay_motion, velocity
from systems.physics.mujoco_backend import MujocoBackend
from tests.engine import film_scene, toy_scene
from tests.engine.toy import toy
from tests.exactness.everything import FIXED, SCRATCH, everything
from tests.helpers import tracking_scene

MOMENT, MORE = 17, 30  # ticks before the snapshot, which is inside a learning iteration, and after it
OFTEN = {
    "randomization.draw_first_push.interval": "(0.1, 0.4)",
    "randomization.push.interval": "(0.1, 0.4)",
    "randomization.gravity.interval": "(0.1, 0.4)",
}  # s, so that rows are pushed, and drawn for, within the ticks of a test


def tracking(**arguments: Any) -> Scene:
    """Four little humanoids with all of the published noise, whose episodes are short."""
    small: dict[str, Any] = {"robot": "humanoid", "clip": "squat,wave", "num_envs": 4, "hidden": (8,), "horizon": 6}
    return tracking_scene(**small, robustness=1.0, seconds=0.4, **{"physics_threads": 1, **arguments})


def walking(config: str = "laptop", **arguments: Any) -> Scene:
    """Four little humanoids that are asked for velocities, with a gait clock, new commands and short episodes."""
    small: dict[str, Any] = {"robot": "humanoid", "num_envs": 4, "hidden": (8,), "horizon": 6, "physics_threads": 1}
    made = velocity.CONFIGS[config].replace(**small, robustness=1.0, seconds=0.4, gait_period=0.5, **arguments)
    return velocity.experiment(made).train()


SCENES: dict[str, Callable[[], Scene]] = {
    "velocity": walking,
    "velocity with a curriculum and collisions": partial(walking, "mjlab_velocity"),
    "modern": tracking,
    "colliding": partial(tracking, self_collision=True),
    "explicit P": partial(tracking, control="P"),
    "kinematic": partial(tracking, backend="kinematic", physics_threads=0),
    "randomised": partial(tracking, randomise="extra,gains,mjlab_tracking,control_delay", privileged=True),
    "randomised motors": partial(tracking, control="P", substeps=6, randomise="pbhc"),
    "humanoidverse": partial(tracking, config="humanoidverse_tracking"),
    "humanoidverse with a curriculum": partial(tracking, config="humanoidverse_tracking", noise_curriculum=True),
    "cartpole": lambda: cartpole.experiment(num_envs=4, horizon=6, hidden=(8,)).train(),
    "replay": lambda: replay_motion.experiment(clip="squat,wave", robot="humanoid").train(),
    "toy": toy,
    "toy with a runner": toy_scene.make_scene,
    "toy with a policy": lambda: film_scene.experiment().train(),
}


def simulated(scene: Scene, seed: int = 0, ticks: int = MOMENT) -> Simulation:
    """That scene, built and run."""
    known = addresses(scene.bundles)
    simulation = build(
        scene, seed=seed, overrides={address: often for address, often in OFTEN.items() if address in known}
    )
    simulation.run(ticks)
    return simulation


@pytest.fixture(params=SCENES, scope="module")
def running(request: pytest.FixtureRequest) -> Simulation:
    """Each scene, inside a learning iteration; tests may run it on, but leave a sound world behind."""
    return simulated(SCENES[request.param]())


# (a) Each piece of state on its own.


def gaps(simulation: Simulation, start: str = "") -> list[str]:
    """What a snapshot does not see, or does not bring back, of the state whose path starts so.

    Each piece is changed by itself, and must be seen; then all of them are, and must be back as they were.
    """
    world, found = simulation.world, []
    whole = save(world)
    state = [leaf for leaf in everything(simulation) if leaf.role == "state"]
    chosen = [(number, leaf) for number, leaf in enumerate(state) if leaf.path.startswith(start)]
    before = {leaf.path: leaf.bits() for leaf in state}
    for number, leaf in chosen:
        undo = leaf.undo()
        leaf.change_one(7 * number)
        if save(world) == whole:
            found.append(f"{leaf.path} is not part of the snapshot")
        undo()
    for _, leaf in chosen:
        leaf.change()
    restore(world, whole)
    after = {leaf.path: leaf.bits() for leaf in everything(simulation) if leaf.role == "state"}
    found += [f"{path} is not restored" for path in before if after.get(path) != before[path]]
    return found if found or save(world) == whole else ["the snapshot is another one than before"]


def test_every_piece_of_state_is_seen_and_brought_back(running: Simulation) -> None:
    assert gaps(running) == []


def test_what_counts_as_fixed_does_not_change(running: Simulation) -> None:
    """A wrong line in FIXED would hide state: nothing that it names may move while the scene runs."""
    simulation = running
    before = {leaf.path: leaf.bits() for leaf in everything(simulation) if leaf.role == "fixed"}
    simulation.run(MORE)
    after = {leaf.path: leaf.bits() for leaf in everything(simulation) if leaf.role == "fixed"}
    assert {path for path in before if before[path] != after[path]} == set()


def test_columns_streams_and_resources_are_all_found(running: Simulation) -> None:
    """The walk meets what the world lists; the rest of what it finds is what a list would have missed."""
    simulation = running
    paths = {leaf.path.removeprefix("signal ") for leaf in everything(simulation)}
    assert {name for name, column in simulation.world.columns().items() if column.numel()} <= paths
    assert {f"stream {name}" for name in simulation.world.generators} <= paths
    assert {path.split(".")[0] for path in paths} >= {cls.__name__ for cls in simulation.world.resources}


def test_every_number_of_the_physics_rows_counts() -> None:
    simulation = simulated(SCENES["modern"]())
    world = simulation.world
    whole, batch = save(world), world[Physics].backend._batch
    for place in range(batch.state.shape[1]):
        row = place % len(batch.state)
        before = batch.state[row, place]
        batch.state[row, place] += 1.0
        assert save(world) != whole, f"number {place} of row {row}"
        batch.state[row, place] = before
    assert save(world) == whole
    batch.state[...] = np.nan
    restore(world, whole)
    assert save(world) == whole


# (b) Everything at once, and what becomes of it.


def goes_on_exactly(simulation: Simulation, other: Simulation) -> bool:
    """Whether `other`, which is ruined first, goes on from a snapshot of `simulation` as that does itself."""
    start = save(simulation.world)
    course = onwards(simulation)
    ruin(other)
    restore(other.world, start)
    return onwards(other) == course


def onwards(simulation: Simulation) -> list[bytes]:
    """Where a simulation comes in the next 30 ticks: soon, after the next update of the policy, after another."""
    course = []
    for ticks in (1, 7, MORE - 8):
        simulation.run(ticks)
        course.append(save(simulation.world))
    assert len(set(course)) == len(course)
    return course


def ruin(simulation: Simulation) -> None:
    """Go somewhere else, and then overwrite all there is."""
    rng = np.random.default_rng(1)
    for stream in simulation.world.generators.values():
        stream.manual_seed(12345)
    simulation.run(9)
    for leaf in everything(simulation):
        if leaf.role != "fixed" and leaf.writable:
            leaf.scramble(rng)
    torch.manual_seed(int(rng.integers(2**31)))
    for key, (version, holds) in simulation.world.condition_cache.items():
        simulation.world.condition_cache[key] = (version + 1, not holds)


@pytest.mark.parametrize("name", SCENES)
def test_a_ruined_world_goes_on_exactly(name: str) -> None:
    simulation = simulated(SCENES[name]())
    assert goes_on_exactly(simulation, simulation)


@pytest.mark.parametrize("name", ["modern", "humanoidverse with a curriculum", "cartpole"])
def test_a_ruined_world_of_another_seed_goes_on_exactly(name: str) -> None:
    assert goes_on_exactly(simulated(SCENES[name]()), simulated(SCENES[name](), seed=99, ticks=2))


# Model fields of single rows, which no scene that ships has yet, but the backend offers.


def vary(simulation: Simulation) -> None:
    """Give half of the rows a body, feet and motors of their own."""
    backend = simulation.world[Physics].backend
    model, rows = backend.model.model, torch.tensor([True, False, True, False])

    def like(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.tile(values.astype(np.float32), (4,) + (1,) * values.ndim))

    values = {
        "friction": like(model.geom_friction[list(backend.model.shape_geoms), 0]) * 0.7,
        "body_mass": 1.2 * like(model.body_mass[1:]),
        "body_com": like(model.body_ipos[1:]) + 0.01,
        "armature": 1.3 * like(model.dof_armature[6:]),
        "gravity": 0.9 * like(model.opt.gravity),
        "stiffness": 0.7 * like(model.actuator_gainprm[:, 0]),
        "damping": -0.7 * like(model.actuator_biasprm[:, 2]),
    }
    backend.change(rows, values)


def test_model_fields_of_single_rows_are_seen_and_brought_back() -> None:
    simulation = simulated(SCENES["modern"]())
    vary(simulation)
    simulation.run(2)
    paths = {leaf.path.removeprefix("Physics.backend._batch._expanded.") for leaf in everything(simulation)}
    fields = {
        "geom_friction",
        "body_mass",
        "body_inertia",
        "body_ipos",
        "dof_armature",
        "opt.gravity",
        "actuator_gainprm",
    }
    assert fields <= paths
    assert gaps(simulation) == []


def test_rows_with_model_fields_of_their_own_go_on_exactly() -> None:
    simulation = simulated(SCENES["modern"]())
    vary(simulation)
    assert goes_on_exactly(simulation, simulated(tracking(), seed=99, ticks=2))


def test_model_fields_that_came_later_are_forgotten() -> None:
    simulation = simulated(SCENES["modern"]())
    start = save(simulation.world)
    simulation.run(MORE)
    end = save(simulation.world)
    vary(simulation)
    simulation.run(2)
    restore(simulation.world, start)
    assert save(simulation.world) == start
    simulation.run(MORE)
    assert save(simulation.world) == end


# (c) These tests can fail: leave something out, and see.


def without_column(address: str, patch: pytest.MonkeyPatch, world: World) -> None:
    """A snapshot that has never heard of a column."""
    whole = snapshot._kept_columns

    def kept(world: World) -> dict[str, torch.Tensor]:
        return {name: column for name, column in whole(world).items() if name != address}

    patch.setattr(snapshot, "_kept_columns", kept)


def without_resource(cls: str, patch: pytest.MonkeyPatch, world: World) -> None:
    """A snapshot in which a resource says nothing, and takes nothing."""
    state, load = snapshot.resource_state, snapshot.load_resource
    patch.setattr(snapshot, "resource_state", lambda item: {} if type(item).__name__ == cls else state(item))
    patch.setattr(snapshot, "load_resource", lambda item, s: None if type(item).__name__ == cls else load(item, s))


def without_policy_part(name: str, patch: pytest.MonkeyPatch, world: World) -> None:
    """A policy that forgets one of its tensors."""
    whole = Policy._tensors
    patch.setattr(Policy, "_tensors", lambda self: {k: v for k, v in whole(self).items() if k != name})


class Forgetful(dict[str, torch.Generator]):
    """Random streams, one of which is not listed."""

    hidden = ""

    def __iter__(self) -> Iterator[str]:
        return (name for name in super().__iter__() if name != self.hidden)

    def items(self) -> Any:
        return [(name, stream) for name, stream in super().items() if name != self.hidden]


def without_stream(name: str, patch: pytest.MonkeyPatch, world: World) -> None:
    """A world that does not list one of its streams."""
    listed = Forgetful(world.generators)
    listed.hidden = name
    patch.setattr(world, "generators", listed)


def without_physics_part(name: str, patch: pytest.MonkeyPatch, world: World) -> None:
    """A simulator that always says the same of one of its arrays."""
    whole = MujocoBackend.state
    blank = np.zeros_like(whole(world[Physics].backend)[name])
    patch.setattr(MujocoBackend, "state", lambda self: {**whole(self), name: blank})


LEFT_OUT: dict[str, tuple[Callable[[str, pytest.MonkeyPatch, World], None], str, str]] = {
    "a column of the task": (without_column, "robot.MotionCursor.time", "robot.MotionCursor.time"),
    "a column of the learner": (without_column, "robot.Rollout.log_prob", "robot.Rollout.log_prob"),
    "a timer": (without_column, "robot.PushTimer.wait", "robot.PushTimer.wait"),
    "the metrics": (without_resource, "Metrics", "Metrics.sums"),
    "the physics": (without_resource, "Physics", "Physics.backend._batch.state"),
    "a normaliser": (without_policy_part, "actor.normaliser.mean", "Policy.actor.normaliser.mean"),
    "a moment": (without_policy_part, "optimiser.exp_avg_sq", "Policy.optimiser.moments.exp_avg_sq"),
    "the learning rate": (without_policy_part, "learning_rate", "Policy.optimiser.rate"),
    "a random stream": (without_stream, "tracking.observe", "system observe.rng"),
    "simulator rows": (without_physics_part, "simulation", "Physics.backend._batch.state"),
    "contact forces": (without_physics_part, "force", "Physics.backend._force"),
}


Course = tuple[Simulation, Snapshot, list[bytes]]


@pytest.fixture(scope="module")
def course() -> Course:
    """A scene that learns, a snapshot of it, and where it comes from there."""
    simulation = simulated(SCENES["modern"]())
    start = capture(simulation.world)
    return simulation, start, onwards(simulation)


@pytest.mark.parametrize("what", LEFT_OUT)
def test_leaving_something_out_is_noticed(what: str, course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out, name, path = LEFT_OUT[what]
    simulation, start, _ = course
    restore(simulation.world, start)
    leave_out(name, monkeypatch, simulation.world)
    assert gaps(simulation, path), "nobody noticed"


@pytest.mark.parametrize("what", [w for w in LEFT_OUT if w != "contact forces"])  # which no term of this task asks for
def test_leaving_something_out_changes_what_follows(what: str, course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out, name, _ = LEFT_OUT[what]
    simulation, start, whole = course
    restore(simulation.world, start)
    leave_out(name, monkeypatch, simulation.world)
    part = save(simulation.world)
    ruin(simulation)
    restore(simulation.world, part)
    monkeypatch.undo()
    assert onwards(simulation) != whole


def test_no_line_of_the_lists_is_idle() -> None:
    """A reason that applies to nothing any more would one day hide something new."""
    paths = {leaf.path for name in SCENES for leaf in everything(simulated(SCENES[name](), ticks=2))}
    idle = [pattern for pattern in (*FIXED, *SCRATCH) if not any(re.fullmatch(pattern, path) for path in paths)]
    assert idle == []
