"""Display of a robot for debuggers: its figure, the roles of columns, and limits."""

from functools import partial

import numpy as np
from torch import Tensor

from engine.protocol.display import Figure, Limb, ModelFile, View
from engine.protocol.roles import USUAL_COLUMNS
from systems.maths.bodies import tracked_bodies
from systems.robots.export_mjcf import export_mjcf
from systems.robots.model import RobotModel

THIN, THICK = 0.02, 0.08  # m, of a limb


def limbs(model: RobotModel) -> list[Limb]:
    """One limb for each body: as thick as its mass says, a leaf as long as its centre of mass is far, twice."""
    parents = [int(parent) - 1 for parent in model.model.body_parentid[1:]]
    leaves = set(range(len(parents))) - set(parents)
    radius = np.clip(0.03 * np.cbrt(model.body_mass), THIN, THICK)  # m, of kg
    made = []
    for body, (name, parent) in enumerate(zip(model.robot.body_names, parents, strict=True)):
        x, y, z = (2.0 * float(value) for value in model.body_com[body])
        made.append(Limb(name, parent, float(radius[body]), (x, y, z) if body in leaves else None))
    return made


def robot_view(model: RobotModel, *, table: str, dt: float, threshold: float | None) -> View:
    """The view of one robot; `threshold` (m) is how far a tracked body may be from its reference."""
    robot = model.robot
    tracked = tracked_bodies(robot).body_index.tolist()
    figure = Figure(
        table=table,
        name=robot.name,
        bodies=limbs(model),
        position=f"{table}.BodyState.position",
        rotation=f"{table}.BodyState.rotation",
        root=f"{table}.RootState.position",
        reference=f"{table}.MotionReference.body_position",
        tracked=tracked,
        threshold=threshold,
        force=f"{table}.ContactForce.force",
        model=None if model.file is None or model.terrain is not None else str(model.file),  # the file has no terrain
        terrain=model.terrain is not None,
        asset=ModelFile(partial(export_mjcf, model.model)),
    )
    limits = {
        f"{table}.DofState.position": _pairs(robot.position_limit),
        f"{table}.DofState.velocity": _symmetric(robot.velocity_limit),
        f"{table}.DofTorque.value": _symmetric(robot.torque_limit),
    }
    return View([figure], {role: f"{table}.{column}" for role, column in USUAL_COLUMNS.items()}, limits, dt)


def _pairs(limit: Tensor) -> list[tuple[float, float]]:
    return [(float(low), float(high)) for low, high in limit]


def _symmetric(limit: Tensor) -> list[tuple[float, float]]:
    return [(-float(most), float(most)) for most in limit]
