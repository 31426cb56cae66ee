"""What the robot's sensors would say: motion of the base in its own frame, feet on the ground."""

import torch

from components.episode import Rewritten
from components.motion import TrackedBodies, TrackedState
from components.robot import BaseFrame, BodyState, Contact, ContactForce, Robot, RootState
from engine import Bundle, System, Write, any_row, system
from systems.constants import indices, vector
from systems.quaternion import to_matrix
from systems.tick import REFRESH, SENSE


def derive_base_frame(
    root: RootState, base: Write[BaseFrame], *, sensor: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> None:
    """Turn the root's motion into its own axes, as gyro and velocimeter at `sensor` (m, root frame) report it."""
    turn = to_matrix(root.rotation)
    linear, angular = torch.matmul(torch.stack((root.linear_velocity, root.angular_velocity), 1), turn).unbind(1)
    if any(sensor):
        place = vector(tuple(sensor), root.position.device).expand_as(angular)
        torch.add(linear, torch.linalg.cross(angular, place), out=base.linear_velocity)
    else:
        base.linear_velocity.copy_(linear)
    base.angular_velocity.copy_(angular)
    torch.neg(turn[:, 2], out=base.gravity)


def derive_contacts(forces: ContactForce, robot: Robot, contact: Write[Contact], *, threshold: float = 1.0) -> None:
    """A foot touches when the net contact force on it exceeds `threshold` in N."""
    feet = forces.force.index_select(1, indices(robot.body_names, robot.foot_names, forces.force.device))
    torch.linalg.vector_norm(feet, dim=-1, out=contact.force)
    torch.gt(contact.force, threshold, out=contact.touching)


def derive_tracked_state(bodies: BodyState, tracked_bodies: TrackedBodies, tracked: Write[TrackedState]) -> None:
    """Pick the tracked bodies out of all bodies."""
    index = tracked_bodies.body_index
    torch.index_select(bodies.position, 1, index, out=tracked.position)
    torch.index_select(bodies.rotation, 1, index, out=tracked.rotation)
    torch.index_select(bodies.linear_velocity, 1, index, out=tracked.linear_velocity)
    torch.index_select(bodies.angular_velocity, 1, index, out=tracked.angular_velocity)


def kinematics(
    *, sensor: tuple[float, float, float] = (0.0, 0.0, 0.0), feet: bool = True, threshold: float = 1.0
) -> Bundle:
    """Base motion and foot contacts, after every physics step and again after rows were rewritten.

    `sensor`: place of gyro and velocimeter in the root frame, m; `threshold` in N makes a contact; a task
    that never asks about feet saves work with `feet` False.
    """
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
    )
