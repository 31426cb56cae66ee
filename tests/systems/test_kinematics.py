"""Base motion, feet and tracked bodies against numpy."""

import numpy as np
import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from components.episode import Done
from components.motion import TrackedBodies, TrackedState
from components.robot import BaseFrame, BodyState, Contact, ContactForce, ContactSensors, Flight, RootState
from components.terrain import Ground
from engine import SceneError
from systems.kinematics import (
    derive_base_frame,
    derive_contacts,
    derive_tracked_state,
    flight,
    follow_feet,
    kinematics,
    reset_flight,
)
from systems.tick import REFRESH, RESET, SENSE
from tests.systems.task_rows import BODIES, generator, matrix, random_rotations, small_robot

SENSORS = ContactSensors(bodies=("left_foot", "right_foot", "torso"))
AXES = {"body": 4, "foot": 2, "tracked": 2, "sensed": SENSORS.bodies}


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
    forces.force[0, 0] = tensor([3.0, 0.0, 4.0])
    forces.force[0, 1] = tensor([0.0, 0.0, 1.0])
    forces.force[0, 2] = 100.0
    contact = Contact.make(1, AXES)
    derive_contacts(forces, SENSORS, small_robot(), contact, threshold=1.0)
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


# -- virtual bodies ------------------------------------------------------------------------------------


def test_a_virtual_body_moves_as_if_welded_to_its_parent():
    """Position p + R o, velocity v + ω × R o with the turned offset, rotation q ⊗ r: no side may be mixed up."""
    rng, rows = generator(5), 4
    bodies = BodyState.make(
        rows, AXES, position=torch.randn(rows, 4, 3, generator=rng), rotation=random_rotations(rows, 4),
        linear_velocity=torch.randn(rows, 4, 3, generator=rng), angular_velocity=torch.randn(rows, 4, 3, generator=rng),
    )  # fmt: skip
    offset, twist = tensor([[0.25, 0.1, -0.3], [0.0, 0.0, 0.42]]), random_rotations(2, seed=9)
    index = TrackedBodies(
        names=("torso", "left_foot", "hand", "head"), body_index=tensor([3, 1, 1, 3]), anchor=0,
        end_effectors=tensor([1]), virtual_position=offset, virtual_rotation=twist,
    )  # fmt: skip
    tracked = TrackedState.make(rows, {**AXES, "tracked": 4})
    derive_tracked_state(bodies, index, tracked)
    for row in range(rows):
        for place, (parent, virtual) in enumerate([(3, None), (1, None), (1, 0), (3, 1)]):
            turn = matrix(bodies.rotation[row, parent])
            arm = np.zeros(3) if virtual is None else turn @ offset[virtual].numpy()
            spin = bodies.angular_velocity[row, parent].numpy()
            own = turn if virtual is None else turn @ matrix(twist[virtual])
            expected = bodies.position[row, parent].numpy() + arm
            np.testing.assert_allclose(tracked.position[row, place], expected, atol=1e-6)
            moved = bodies.linear_velocity[row, parent].numpy() + np.cross(spin, arm)
            np.testing.assert_allclose(tracked.linear_velocity[row, place], moved, atol=1e-6)
            np.testing.assert_allclose(tracked.angular_velocity[row, place], spin)
            np.testing.assert_allclose(matrix(tracked.rotation[row, place]), own, atol=1e-6)


def test_a_turning_hand_by_hand():
    """An elbow turned left by 90° about z and spinning at 2 rad/s: a hand 0.25 m ahead of it moves backwards."""
    half = 0.5**0.5
    bodies = BodyState.make(1, {"body": 1}, rotation=[half, 0.0, 0.0, half], angular_velocity=[0.0, 0.0, 2.0])
    index = TrackedBodies(
        names=("elbow", "hand"), body_index=tensor([0, 0]), anchor=0, end_effectors=tensor([0]),
        virtual_position=tensor([[0.25, 0.0, 0.0]]), virtual_rotation=tensor([[1.0, 0.0, 0.0, 0.0]]),
    )  # fmt: skip
    tracked = TrackedState.make(1, {"tracked": 2})
    derive_tracked_state(bodies, index, tracked)
    assert_close(tracked.position[0, 1], tensor([0.0, 0.25, 0.0]))
    assert_close(tracked.linear_velocity[0, 1], tensor([-0.5, 0.0, 0.0]))  # the unturned offset would give +y


# -- flight --------------------------------------------------------------------------------------------


def fly(heights: list[float], pushes: list[float]) -> list[tuple[bool, bool, float, float]]:
    """The left foot through ticks of (height, upward force): down, landed, seconds, peak after each."""
    robot, flight = small_robot(), Flight.make(1, AXES)
    foot = BODIES.index("left_foot")
    seen = []
    for height, push in zip(heights, pushes, strict=True):
        bodies, forces = BodyState.make(1, AXES), ContactForce.make(1, AXES)
        bodies.position[0, foot, 2], forces.force[0, 0, 2] = height, push
        follow_feet(bodies, forces, SENSORS, robot, Ground(), flight, dt=0.02)
        left = (flight.down[0, 0], flight.landed[0, 0], flight.seconds[0, 0], flight.peak[0, 0])
        seen.append((bool(left[0]), bool(left[1]), round(float(left[2]), 4), round(float(left[3]), 4)))
    return seen


def test_a_step_is_followed_from_lift_off_to_landing():
    heights = [0.03, 0.03, 0.05, 0.09, 0.06, 0.03, 0.03]
    pushes = [300.0, 0.0, 0.0, 0.0, 0.0, 200.0, 200.0]
    assert fly(heights, pushes) == [
        (True, False, 0.02, 0.03),
        (True, False, 0.02, 0.03),  # a tick without contact is not yet flight
        (False, False, 0.02, 0.05),
        (False, False, 0.04, 0.09),
        (False, False, 0.06, 0.09),
        (True, True, 0.08, 0.09),  # landed; the peak is of this flight
        (True, False, 0.02, 0.03),
    ]


def test_only_a_push_from_below_is_a_contact():
    assert [down for down, *_ in fly([0.1] * 4, [0.9, -50.0, 0.0, 1.1])] == [False, False, False, True]


def test_the_first_contact_of_an_episode_is_no_landing():
    flight = Flight.make(2, AXES, touched=True, down=False, landed=True, seconds=0.4, peak=0.3)
    reset_flight(Done.make(2, {"termination": 1}, ended=[True, False]), flight)
    assert flight.down.tolist() == [[True, True], [False, False]]
    assert flight.touched.tolist() == [[False, False], [True, True]]
    assert not flight.landed[0].any() and not flight.seconds[0].any() and not flight.peak[0].any()
    assert_close(flight.peak[1], tensor([0.3, 0.3]))
    bodies, forces = BodyState.make(2, AXES), ContactForce.make(2, AXES, force=[0.0, 0.0, 100.0])
    follow_feet(bodies, forces, SENSORS, small_robot(), Ground(), flight, dt=0.02)
    assert flight.landed.tolist() == [[False, False], [True, True]]


def test_flight_is_followed_where_bodies_are_and_reset_with_its_row():
    bundle = flight(dt=0.02)
    assert [(s.name, s.after) for s in bundle.systems[SENSE]] == [("follow_feet", "refresh_kinematics")]
    assert [s.name for s in bundle.systems[RESET]] == ["reset_flight"]


def test_a_contact_threshold_without_feet_is_refused():
    with pytest.raises(SceneError) as error:
        kinematics(feet=False, threshold=5.0)
    assert str(error.value) == "kinematics: threshold=5.0 has no effect with feet=False; leave one of them out."
