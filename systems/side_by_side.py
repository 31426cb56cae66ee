"""Side by side: the simulator moves a second set of columns by the targets that a learned simulator's rows follow.

Both begin at the same place whenever a row starts over; from there on nothing brings them together again, so what parts
them is the error of the learned simulator over so many steps (open loop).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from components.control import DofTarget
from components.episode import Rewritten
from components.footage import Footage
from components.robot import DofState, RootState
from components.side_by_side import ModelError, ModelErrorAfter, SimulatedDofs, SimulatedRoot, Simulator
from engine import Bundle, World, Write, put_rows, system
from engine.ecs.bundle import deferred
from engine.ecs.world import Clock
from systems.maths.quaternion import angle_between
from systems.maths.tensors import vector
from systems.physics import REWRITTEN, make_backend
from systems.robots.model import RobotModel
from systems.tick import REFRESH, REWARD, SENSE, STEP

STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # after which the error is kept
SOME = 16  # of which a film speaks, beside the most
TITLE = "Learned simulator beside MuJoCo"


Read = Callable[[World, Path], Mapping[str, Any]]  # what is read of a world whose trial has ended


def step_simulation(
    target: DofTarget, simulator: Write[Simulator], root: Write[SimulatedRoot], dofs: Write[SimulatedDofs],
    error: Write[ModelError], *, substeps: int,
) -> None:  # fmt: skip
    """Let the simulator's servo pull the joints beside to the same targets."""
    simulator.backend.begin(error.diverged)
    simulator.backend.step(substeps, target.position, root, dofs, error.diverged)


def compare(
    root: RootState, dofs: DofState, simulated_root: SimulatedRoot, simulated_dofs: SimulatedDofs,
    error: Write[ModelError], after: Write[ModelErrorAfter],
) -> None:  # fmt: skip
    """How far both are apart after one step more."""
    error.steps.add_(1)
    error.joints.copy_((dofs.position - simulated_dofs.position).abs().mean(-1))
    error.position.copy_((root.position - simulated_root.position).norm(dim=-1))
    error.rotation.copy_(angle_between(root.rotation, simulated_root.rotation))
    steps = vector(STEPS[: after.reached.shape[1]], error.steps.device, torch.int64)
    now = (error.steps.unsqueeze(1) == steps) & ~after.reached
    for name in ("joints", "position", "rotation"):
        column = getattr(after, name)
        column.copy_(torch.where(now, getattr(error, name).unsqueeze(1), column))
    after.reached.logical_or_(now)


def restart_simulation(
    rewritten: Rewritten, root: RootState, dofs: DofState, simulator: Write[Simulator],
    simulated_root: Write[SimulatedRoot], simulated_dofs: Write[SimulatedDofs], error: Write[ModelError],
) -> None:  # fmt: skip
    """Begin again where rows were written by hand."""
    for here, there in ((root, simulated_root), (dofs, simulated_dofs)):
        for name, column in vars(here).items():
            put_rows(getattr(there, name), rewritten.rows, column)
    for column in (error.steps, error.joints, error.position, error.rotation):
        put_rows(column, rewritten.rows, 0)
    simulator.backend.restart(rewritten.rows, simulated_root, simulated_dofs)


def keep_simulated_frame(clock: Clock, root: SimulatedRoot, dofs: SimulatedDofs, footage: Write[Footage]) -> None:
    """The simulated robot is the ghost of a film of learned dynamics."""
    frame = clock.tick - 1
    if frame < footage.ghost.shape[1]:
        footage.ghost[:, frame] = torch.cat((root.position, root.rotation, dofs.position), -1)


def side_by_side(
    model: RobotModel, *, rows: int, decimation: int, nthread: int = 0, longest: int, filmed: bool = False
) -> Bundle:
    """MuJoCo beside rows that something else moves by joint targets, and the error over up to `longest` control steps.

    `filmed`: the scene keeps footage, whose ghost is the simulated robot.
    """

    def simulator(axes: Mapping[str, Sequence[str]], seed: int, device: torch.device) -> Simulator:
        return Simulator(backend=make_backend(model, rows=rows, nthread=nthread, sensed=()))

    waits = "the simulator reads and writes host memory"
    steps = tuple(str(step) for step in STEPS if step <= longest)
    return Bundle(
        "side_by_side",
        components=[SimulatedRoot, SimulatedDofs, ModelError, ModelErrorAfter],
        resources=[deferred(Simulator, simulator)],
        axes={"error_steps": steps or (str(STEPS[0]),)},
        systems={
            STEP: [system(step_simulation, substeps=decimation, may_sync=waits)],
            SENSE: [system(compare)],
            REFRESH: [system(restart_simulation, when=REWRITTEN, may_sync=waits)],
            **({REWARD: [system(keep_simulated_frame, after="keep_frame")]} if filmed else {}),
        },
    )


# -- what is read of it --------------------------------------------------------------------------------


def error_by_steps(world: World) -> list[dict[str, float]]:
    """Means over the rows that got so far, for each number of control steps that one of them reached."""
    after = world[ModelErrorAfter]
    found = []
    for place, steps in enumerate(STEPS[: after.reached.shape[1]]):
        rows = after.reached[:, place]
        if bool(rows.any()):
            columns = {"joints rad": after.joints, "root m": after.position, "root rad": after.rotation}
            means = {name: float(column[rows, place].double().mean()) for name, column in columns.items()}
            found.append({"steps": steps, "rows": int(rows.sum()), **means})
    return found


def measured_beside(world: World, path: Path, *, read: Read) -> dict[str, Any]:
    """What `read` measures of the rows in the learned simulator, and a table of its error by steps."""
    return {**read(world, path), "tables": {TITLE: error_by_steps(world)}}


def filmed_beside(world: World, path: Path, *, read: Read) -> dict[str, str]:
    """What `read` films of the rows in the learned simulator, its error in words, and who the ghost is."""
    found = error_by_steps(world)
    texts = [
        f"after {each['steps']:g} steps joints {each['joints rad']:.3f} rad, root {each['root m']:.3f} m and "
        f"{each['root rad']:.3f} rad"
        for each in found
        if each["steps"] in (SOME, found[-1]["steps"])
    ]
    seen = {"robot": "moved by the learned simulator", "ghost": "moved by MuJoCo, by the same joint targets"}
    return {**read(world, path), **seen, "model error": "; ".join(texts)}
