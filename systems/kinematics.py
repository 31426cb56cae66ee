"""Readings of the robot's sensors: motion of the base in its own frame, and feet on the ground."""

import torch

from components.episode import Done, Rewritten
from components.motion import TrackedBodies, TrackedState
from components.robot import (
    BaseFrame,
    BodyState,
    Contact,
    ContactSensors,
    Flight,
    FootForce,
    FootState,
    Robot,
    RootState,
    Soles,
    Swing,
)
from components.terrain import Ground
from engine import Bundle, System, Write, any_row, put_rows, system
from engine.errors import SceneError
from systems.ground.heights import height_above_ground
from systems.maths.bodies import carry
from systems.maths.gradients import write
from systems.maths.quaternion import rotate, to_matrix
from systems.maths.tensors import indices, vector
from systems.tick import REFRESH, RESET, SENSE
from systems.vitals import base_vitals

TOUCHING = 1.0  # N of net force on a foot, above which it bears load


def derive_base_frame(
    root: RootState, base: Write[BaseFrame], *, sensor: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> None:
    """Turn the root's motion into its own axes, as gyro and velocimeter at `sensor` (m, root frame) report it."""
    turn = to_matrix(root.rotation)
    linear, angular = torch.matmul(torch.stack((root.linear_velocity, root.angular_velocity), 1), turn).unbind(1)
    if any(sensor):
        place = vector(tuple(sensor), root.position.device).expand_as(angular)
        write(base.linear_velocity, torch.add, linear, torch.linalg.cross(angular, place))
    else:
        base.linear_velocity.copy_(linear)
    base.angular_velocity.copy_(angular)
    write(base.gravity, torch.neg, turn[:, 2])


def derive_contacts(
    forces: FootForce, sensors: ContactSensors, robot: Robot, contact: Write[Contact], *, threshold: float = 1.0
) -> None:
    """A foot touches when the net contact force on it exceeds `threshold` in N."""
    feet = forces.force.index_select(1, indices(sensors.bodies, robot.foot_names, forces.force.device))
    write(contact.force, torch.linalg.vector_norm, feet, dim=-1)
    torch.gt(contact.force, threshold, out=contact.touching)


def derive_tracked_state(bodies: BodyState, tracked_bodies: TrackedBodies, tracked: Write[TrackedState]) -> None:
    """Pick the tracked bodies out of all bodies, and carry the virtual ones along with their parents."""
    index = tracked_bodies.body_index
    write(tracked.position, torch.index_select, bodies.position, 1, index)
    write(tracked.rotation, torch.index_select, bodies.rotation, 1, index)
    write(tracked.linear_velocity, torch.index_select, bodies.linear_velocity, 1, index)
    write(tracked.angular_velocity, torch.index_select, bodies.angular_velocity, 1, index)
    if len(tracked_bodies.virtual_position):
        motion = (tracked.position, tracked.rotation, tracked.linear_velocity, tracked.angular_velocity)
        carry(*motion, tracked_bodies.virtual_position, tracked_bodies.virtual_rotation)


def kinematics(
    *, sensor: tuple[float, float, float] = (0.0, 0.0, 0.0), feet: bool = True, threshold: float = TOUCHING
) -> Bundle:
    """Base motion and foot contacts, after every physics step and again after rows were rewritten.

    `sensor`: place of gyro and velocimeter in the root frame, m; `threshold` in N makes a contact; a task
    that never asks about feet saves work with `feet` False. Raises SceneError for a `threshold` that has no effect.
    """
    if not feet and threshold != TOUCHING:
        raise SceneError(f"kinematics: threshold={threshold} has no effect with feet=False; leave one of them out.")
    again = any_row(Rewritten, "rows")
    sense: list[System] = [system(derive_base_frame, sensor=sensor)]
    refresh: list[System] = [system(derive_base_frame, when=again, sensor=sensor)]
    if feet:
        sense.append(system(derive_contacts, after="refresh_kinematics", threshold=threshold))
        refresh.append(system(derive_contacts, when=again, after="refresh_kinematics", threshold=threshold))
    return Bundle(
        "kinematics",
        components=[BaseFrame, Contact] if feet else [BaseFrame],
        systems={SENSE: sense, REFRESH: refresh},
        vitals=base_vitals(),
    )


# -- soles -------------------------------------------------------------------------------------------


def derive_feet(bodies: BodyState, robot: Robot, soles: Soles, ground: Ground, feet: Write[FootState]) -> None:
    """Carry the sole of each foot along with its body."""
    index = indices(robot.body_names, robot.foot_names, bodies.position.device)
    arm = rotate(bodies.rotation.index_select(1, index), soles.point)
    spin = bodies.angular_velocity.index_select(1, index)
    write(feet.position, torch.add, bodies.position.index_select(1, index), arm)
    feet.position[..., 2].sub_(soles.radius)
    feet.height.copy_(height_above_ground(ground, feet.position))
    write(feet.linear_velocity, torch.add, bodies.linear_velocity.index_select(1, index), torch.linalg.cross(spin, arm))


def follow_swing(feet: FootState, contact: Contact, swing: Write[Swing], *, dt: float) -> None:
    """Follow each foot while it does not touch: how long, how high its sole, and whether it comes down in this tick."""
    swinging, height = swing.seconds > 0.0, feet.height
    write(swing.peak, torch.where, swinging, torch.maximum(swing.peak, height), height)
    torch.logical_and(swinging, contact.touching, out=swing.landed)
    swing.seconds.add_(dt).masked_fill_(contact.touching, 0.0)


def reset_swing(done: Done, swing: Write[Swing]) -> None:
    """Ended rows start with no foot swinging."""
    for column, value in ((swing.seconds, 0.0), (swing.peak, 0.0), (swing.landed, False)):
        put_rows(column, done.ended, value)


def feet(soles: Soles, *, dt: float = 0.02) -> Bundle:
    """Keeps `FootState` and `Swing`; `dt` is the control step in s. Needs `kinematics`, which tells of contacts."""
    again = any_row(Rewritten, "rows")
    return Bundle(
        "feet",
        components=[FootState, Swing],
        resources=[soles],
        systems={
            SENSE: [
                system(derive_feet, after="derive_contacts"),
                system(follow_swing, after="derive_feet", dt=dt),
            ],
            RESET: [system(reset_swing, when=again)],
            REFRESH: [system(derive_feet, when=again, after="refresh_kinematics")],
        },
    )


# -- flight --------------------------------------------------------------------------------------------


def follow_feet(
    bodies: BodyState, forces: FootForce, sensors: ContactSensors, robot: Robot, ground: Ground, flight: Write[Flight],
    *, dt: float, threshold: float = 1.0,
) -> None:  # fmt: skip
    """Follow each foot through the air: how long, how high, and whether it came down in this tick.

    A foot touches when the ground pushes it up with more than `threshold` in N. A single tick without
    contact does not count as flight, so a foot is down while it touches and in the tick after.
    """
    device = forces.force.device
    feet, sensed = (indices(names, robot.foot_names, device) for names in (robot.body_names, sensors.bodies))
    before = flight.down.clone()  # a gradient needs it as it is
    flight.seconds.masked_fill_(before, 0.0).add_(dt)
    flight.peak.masked_fill_(before, -torch.inf)
    height = height_above_ground(ground, bodies.position.index_select(1, feet))
    write(flight.peak, torch.maximum, flight.peak, height)
    touching = forces.force[..., 2].index_select(1, sensed) > threshold
    down = touching | flight.touched
    torch.gt(down, before, out=flight.landed)
    flight.down.copy_(down)
    flight.touched.copy_(touching)


def reset_flight(done: Done, flight: Write[Flight]) -> None:
    """Ended rows start with both feet down, so that the first contact of an episode is no landing."""
    for column, value in (
        (flight.touched, False),
        (flight.down, True),
        (flight.landed, False),
        (flight.seconds, 0.0),
        (flight.peak, 0.0),
    ):
        put_rows(column, done.ended, value)


def flight(*, dt: float = 0.02, threshold: float = 1.0) -> Bundle:
    """Keeps `Flight`, for rewards on how feet are lifted; `dt` is the control step in s, `threshold` in N."""
    return Bundle(
        "flight",
        components=[Flight],
        systems={
            SENSE: [system(follow_feet, after="refresh_kinematics", dt=dt, threshold=threshold)],
            RESET: [system(reset_flight, when=any_row(Rewritten, "rows"))],
        },
    )
