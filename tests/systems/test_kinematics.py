"""Base motion, feet and tracked bodies against numpy."""

import numpy as np
import torch
from torch import tensor
from torch.testing import assert_close

from components.motion import TrackedBodies, TrackedState
from components.robot import BaseFrame, BodyState, Contact, ContactForce, RootState
from systems.kinematics import derive_base_frame, derive_contacts, derive_tracked_state, kinematics
from systems.tick import REFRESH, SENSE
from tests.systems.task_rows import BODIES, generator, matrix, random_rotations, small_robot

AXES = {"body": 4, "foot": 2, "tracked": 2}


def test_the_base_frame_is_the_world_turned_back():
    rng = generator(3)
    rotation = random_rotations(5)
    linear, angular = torch.randn(5, 3, generator=rng), torch.randn(5, 3, generator=rng)
    root = RootState.make(5, rotation=rotation, linear_velocity=linear, angular_velocity=angular)
    base, offset = BaseFrame.make(5), (0.04525, 0.0, -0.08339)
    derive_base_frame(root, base)
    moved = BaseFrame.make(5)
    derive_base_frame(root, moved, sensor=offset)
    for i in range(5):
        back = matrix(rotation[i]).T
        np.testing.assert_allclose(base.linear_velocity[i], back @ linear[i].numpy(), atol=1e-6)
        np.testing.assert_allclose(base.angular_velocity[i], back @ angular[i].numpy(), atol=1e-6)
        np.testing.assert_allclose(base.gravity[i], back @ [0, 0, -1], atol=1e-6)
        # a point fixed to the root moves with v + ω × r, all in root axes
        arm = np.cross(back @ angular[i].numpy(), offset)
        np.testing.assert_allclose(moved.linear_velocity[i], back @ linear[i].numpy() + arm, atol=1e-6)
        np.testing.assert_allclose(moved.angular_velocity[i], base.angular_velocity[i])


def test_an_upright_base_feels_gravity_straight_down():
    base = BaseFrame.make(1)
    derive_base_frame(RootState.make(1, rotation=[1.0, 0.0, 0.0, 0.0]), base)
    assert_close(base.gravity, tensor([[0.0, 0.0, -1.0]]))


def test_a_foot_touches_above_the_threshold():
    forces = ContactForce.make(1, AXES)
    forces.force[0, BODIES.index("left_foot")] = tensor([3.0, 0.0, 4.0])
    forces.force[0, BODIES.index("right_foot")] = tensor([0.0, 0.0, 1.0])
    forces.force[0, BODIES.index("torso")] = 100.0
    contact = Contact.make(1, AXES)
    derive_contacts(forces, small_robot(), contact, threshold=1.0)
    assert_close(contact.force, tensor([[5.0, 1.0]]))
    assert contact.touching.tolist() == [[True, False]]


def test_tracked_bodies_are_picked_in_their_own_order():
    bodies = BodyState.make(1, AXES)
    for column in (bodies.position, bodies.rotation, bodies.linear_velocity, bodies.angular_velocity):
        column[0, :, 0] = torch.arange(4.0)
    tracked = TrackedState.make(1, AXES)
    index = TrackedBodies(names=("torso", "left_foot"), body_index=tensor([3, 1]), anchor=0, end_effectors=tensor([1]))
    derive_tracked_state(bodies, index, tracked)
    for column in (tracked.position, tracked.rotation, tracked.linear_velocity, tracked.angular_velocity):
        assert column[0, :, 0].tolist() == [3.0, 1.0]


def test_a_task_without_feet_does_not_pay_for_them():
    names = {s.name for phase in (SENSE, REFRESH) for s in kinematics(feet=False).systems[phase]}
    assert names == {"derive_base_frame"}
