"""Tracked and virtual bodies: where they are in a robot, and how a virtual one moves with its parent."""

import torch
from torch import Tensor

from components.motion import TrackedBodies
from components.robot import Robot
from engine.errors import SceneError
from systems.maths.quaternion import multiply, rotate


def tracked_parents(robot: Robot) -> list[int]:
    """Where each tracked body is in axis `body`; of a virtual one, its parent."""
    parent = {body.name: body.parent for body in robot.virtual_bodies}
    return [robot.body_names.index(parent.get(name, name)) for name in robot.tracked_bodies]


def virtual_frames(robot: Robot) -> tuple[Tensor, Tensor]:
    """Place (virtual, 3) in m and rotation (virtual, 4) of the virtual bodies in their parents' frames."""
    device = robot.default_position.device
    places = torch.tensor([body.position for body in robot.virtual_bodies], device=device)
    turns = torch.tensor([body.rotation for body in robot.virtual_bodies], device=device)
    return places.view(-1, 3), turns.view(-1, 4)


def tracked_bodies(robot: Robot) -> TrackedBodies:
    """The robot's tracked bodies, anchor and end effectors as indices.

    Raises SceneError when the anchor or an end effector is not tracked.
    """
    for name in (robot.anchor_body, *robot.end_effectors):
        if name not in robot.tracked_bodies:
            raise SceneError(
                f"Robot '{robot.name}' tracks {', '.join(robot.tracked_bodies)}, but not '{name}'; track it too."
            )
    device = robot.default_position.device
    position, rotation = virtual_frames(robot)
    ends = [robot.tracked_bodies.index(name) for name in robot.end_effectors]
    return TrackedBodies(
        names=robot.tracked_bodies,
        body_index=torch.tensor(tracked_parents(robot), dtype=torch.int64, device=device),
        virtual_position=position,
        virtual_rotation=rotation,
        anchor=robot.tracked_bodies.index(robot.anchor_body),
        end_effectors=torch.tensor(ends, dtype=torch.int64, device=device),
    )


def carry(position: Tensor, rotation: Tensor, linear: Tensor, angular: Tensor, offset: Tensor, twist: Tensor) -> None:
    """Move the last bodies from their parents' frames to their own, in place.

    `position`, `linear`, `angular`: (..., bodies, 3), `rotation`: (..., bodies, 4) in world axes, of which the
    last hold the parents'; `offset`: (virtual, 3) and `twist`: (virtual, 4) in these. The position becomes
    p + R(q) o, the velocity v + ω × R(q) o, the rotation q ⊗ r; the angular velocity stays.
    """
    last = slice(-len(offset), None)
    turned = rotation[..., last, :].clone()  # a gradient needs it as it is
    arm = rotate(turned, offset)
    position[..., last, :] += arm
    linear[..., last, :] += torch.linalg.cross(angular[..., last, :], arm)
    rotation[..., last, :] = multiply(turned, twist)
