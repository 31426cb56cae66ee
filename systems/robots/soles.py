"""Soles: where each foot of a robot meets the ground, and the masses of its bodies, as tensors."""

import numpy as np
import torch

from components.robot import BodyInertia, Soles
from engine.errors import SceneError
from systems.robots.model import RobotModel

LEVEL = 0.01  # m; points of a foot that lie this little above its lowest one are part of the sole


def soles(model: RobotModel) -> Soles:
    """The middle of the points on which each foot stands in the default pose. Raises SceneError for a foot without a shape."""
    robot, zero = model.robot, np.zeros((1, 3))
    pose = robot.default_position.double().numpy()[None]
    upright = np.array([[1.0, 0.0, 0.0, 0.0]])
    position, rotation, _, _ = model.kinematics(zero, upright, pose, zero, zero, np.zeros_like(pose))
    height = model.foot_points(position, rotation)[0, :, 2]
    body = np.array(model.foot_point_body, int)
    points, radii = [], []
    for name in robot.foot_names:
        own = np.flatnonzero(body == robot.body_names.index(name))
        if not own.size:
            raise SceneError(
                f"The foot '{name}' of robot '{robot.name}' has no collision shape, so that nobody knows where its sole is. "
                "Give it a shape in its model file or description."
            )
        low = own[height[own] <= height[own].min() + LEVEL]
        points.append(model.foot_point_local[low].mean(0))
        radii.append(float(model.foot_point_radius[low].mean()))
    return Soles(
        point=torch.tensor(np.array(points).reshape(-1, 3), dtype=torch.float32),
        radius=torch.tensor(radii, dtype=torch.float32),
    )


def body_inertia(model: RobotModel) -> BodyInertia:
    """Masses, centres of mass and inertias of the robot's bodies."""
    arrays = (model.body_mass, model.body_com, model.body_inertia)
    mass, com, inertia = (torch.tensor(np.array(each), dtype=torch.float32) for each in arrays)
    return BodyInertia(mass=mass, com=com, inertia=inertia)
