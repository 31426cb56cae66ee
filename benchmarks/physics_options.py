"""Cost of each choice of contacts, solver and control in the physics of a standing G1, as ratios.

    python -m benchmarks.physics_options [--rows 256] [--rounds 7]

Every case runs the same 0.3 s from the same start on one thread, right after the first case, and is divided by
it; the median over rounds of processor time, so that other work on the machine disturbs little. Above 1 is slower.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median

import attrs
import mujoco
import numpy as np
import torch
from mujoco.batch import Batch

from components.robot import BodyState, Box, Capsule, ContactForce, DofState, RobotDescription, RootState
from engine.ecs.component import make
from scenes.robots.g1 import g1
from systems.physics import make_backend
from systems.robots.mjcf import Solver
from systems.robots.model import RobotModel, build_robot

VELOCITY = int(mujoco.mjtStage.mjSTAGE_VEL)
SECONDS = 0.3
FOOT = ".*_ankle_roll_link"
OUTPUTS = ("xpos", "xquat", "cvel", "subtree_com", "sensordata")


def with_feet(*shapes: Capsule | Box) -> RobotDescription:
    """The G1 on other soles."""
    robot = g1()
    return attrs.evolve(robot, shapes=(*(s for s in robot.shapes if s.body != FOOT), *shapes))


def capsule_feet() -> RobotDescription:
    """Seven capsules along each foot."""
    long = (
        (-0.018, -0.044, 0.123),
        (-0.01, -0.052, 0.13),
        (0.0, -0.054, 0.132),
        (0.01, -0.052, 0.13),
        (0.018, -0.044, 0.123),
    )
    short = ((-0.026, 0.05, 0.1), (0.026, 0.05, 0.1))
    return with_feet(
        *(Capsule(FOOT, 0.01, (back, y, -0.025), (front, y, -0.025)) for y, back, front in (*long, *short))
    )


def box_feet() -> RobotDescription:
    """One box for each foot."""
    return with_feet(Box(FOOT, (0.035, 0.0, -0.03), (0.085, 0.0275, 0.005)))


def start(model: RobotModel, batch: Batch) -> None:
    """Every row in the default pose, pressing on the floor, with slightly different targets."""
    rng = np.random.default_rng(0)
    rest = model.robot.default_position.numpy()
    batch.state[:] = 0.0
    batch.bind("qpos")[:] = np.concatenate(([0.0, 0.0, model.robot.default_height - 0.003, 1.0, 0.0, 0.0, 0.0], rest))
    noise = rng.standard_normal((batch.nsim, rest.size))
    batch.bind("ctrl")[:] = rest + 0.05 * noise if model.control == "servo" else 2.0 * noise


def bare(
    model: RobotModel, rows: int, *, substeps: int = 4, persistent: bool = False, current: bool = False
) -> Callable[[], float]:
    """A loop of nothing but native steps; with `current`, bodies and forces are computed and copied out."""
    batch = Batch(model.model, rows, 1, persistent)
    if current:
        for name in OUTPUTS:
            batch.bind(name)
    ticks = round(SECONDS / (substeps * model.dt))

    def run() -> float:
        start(model, batch)
        began = time.process_time()
        for _ in range(ticks):
            batch.step(nstep=substeps, stage=VELOCITY if current else 0)
        return time.process_time() - began

    return run


def backend(model: RobotModel, rows: int) -> Callable[[], float]:
    """Our backend: controls in, steps, quarantine, columns and bodies out."""
    simulator = make_backend(model, rows=rows, nthread=1)
    root, dofs = make(RootState, rows, model.axes), make(DofState, rows, model.axes)
    bodies, forces = make(BodyState, rows, model.axes), make(ContactForce, rows, model.axes)
    diverged, everyone = torch.zeros(rows, dtype=torch.bool), torch.ones(rows, dtype=torch.bool)
    rest = model.robot.default_position.expand(rows, -1)
    noise = torch.randn(rest.shape, generator=torch.Generator().manual_seed(0))
    control = rest + 0.05 * noise if model.control == "servo" else 2.0 * noise
    calls = 1 if model.control == "servo" else 4

    def run() -> float:
        for tensor in (*vars(root).values(), *vars(dofs).values()):
            tensor.zero_()
        root.position[:, 2], root.rotation[:, 0] = model.robot.default_height - 0.003, 1.0
        dofs.position.copy_(rest)
        simulator.restart(everyone, root, dofs)
        began = time.process_time()
        for _ in range(round(SECONDS / (4 * model.dt))):
            simulator.begin(diverged)
            for _ in range(calls):
                simulator.step(4 // calls, control, root, dofs, diverged)
            simulator.kinematics(root, dofs, bodies, forces)
        return time.process_time() - began

    return run


def cases(rows: int) -> Iterator[tuple[str, Callable[[], float]]]:
    """Name and runner of every option; the first is what the others are compared with."""
    plain = build_robot(g1())
    torque = build_robot(g1(), control="torque")
    yield "4 spheres a foot, servo, 4 x 0.005 s", bare(plain, rows)
    yield "box feet", bare(build_robot(box_feet()), rows)
    yield "7 capsules a foot", bare(build_robot(capsule_feet()), rows)
    yield "joint friction loss", bare(build_robot(g1(), solver=Solver(joint_friction=True)), rows)
    yield "elliptic cone", bare(build_robot(g1(), solver=Solver(elliptic=True)), rows)
    yield "search for islands", bare(build_robot(g1(), solver=Solver(islands=True)), rows)
    yield "dense Jacobians", bare(build_robot(g1(), solver=Solver(sparse=False)), rows)
    yield "solver: 5 iterations", bare(build_robot(g1(), solver=Solver(iterations=5)), rows)
    yield "solver: 50 iterations", bare(build_robot(g1(), solver=Solver(iterations=50, line_search=50)), rows)
    yield "3 x 1/150 s", bare(build_robot(g1(), dt=1 / 150), rows, substeps=3)
    yield "self-collision", bare(build_robot(g1(), self_collision=True), rows)
    yield "contact sensors on feet only", bare(build_robot(g1(), contact_bodies=g1().feet), rows)
    yield "no contact sensors", bare(build_robot(g1(), contact_bodies=()), rows)
    yield "bodies current, copied out", bare(plain, rows, current=True)
    yield "persistent", bare(plain, rows, persistent=True)
    yield "persistent, bodies current", bare(plain, rows, persistent=True, current=True)
    yield "explicit torque, bare", bare(torque, rows)
    yield "backend, servo", backend(plain, rows)
    yield "backend, explicit torque", backend(torque, rows)
    yield "backend, servo, self-collision", backend(build_robot(g1(), self_collision=True), rows)
    yield "backend, 23 joints, servo", backend(build_robot(g1(23)), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    (reference, run_reference), *others = cases(options.rows)
    run_reference()
    scale = options.rows * SECONDS / 0.02 / 1e6
    print(
        f"{reference:40s} {1.0:6.2f}   {min(run_reference() for _ in range(5)) / scale:7.1f} µs of one processor per control step"
    )
    for name, run in others:
        run()
        print(f"{name:40s} {median(run() / run_reference() for _ in range(options.rounds)):6.2f}", flush=True)


if __name__ == "__main__":
    main()
