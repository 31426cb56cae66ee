"""Vital numbers, the few by which a recorder sees how a robot is doing; each bundle names those of its own data.

They are read after RECORD, before rows start over, and kept as float16: within 0.1 %, up to 65 504.
"""

import torch
from torch import Tensor

from components.control import Action, DofTarget, DofTorque, PdGains
from components.episode import Done, Reward
from components.motion import RelativeTarget, TrackedBodies, TrackedState
from components.robot import BaseFrame, ContactSensors, DofState, FootForce, Robot, RootState
from engine import Term, term
from systems.maths.quaternion import angle_between
from systems.maths.tensors import indices

# -- the base ------------------------------------------------------------------------------------------


def root_height(root: RootState) -> Tensor:
    """Height of the base above the row's own origin; m."""
    return root.position[:, 2]


def tilt(base: BaseFrame) -> Tensor:
    """Angle between the base's z axis and upright; degrees."""
    return torch.rad2deg(torch.acos((-base.gravity[:, 2]).clamp(-1.0, 1.0)))


def linear_speed(base: BaseFrame) -> Tensor:
    """‖v‖ of the base; m/s."""
    return torch.linalg.vector_norm(base.linear_velocity, dim=-1)


def angular_speed(base: BaseFrame) -> Tensor:
    """‖ω‖ of the base; rad/s."""
    return torch.linalg.vector_norm(base.angular_velocity, dim=-1)


def foot_force(forces: FootForce, sensors: ContactSensors, robot: Robot) -> Tensor:
    """Magnitude of the net contact force on each foot (rows, feet); N."""
    feet = indices(sensors.bodies, robot.foot_names, forces.force.device)
    return torch.linalg.vector_norm(forces.force.index_select(1, feet), dim=-1)


# -- control -------------------------------------------------------------------------------------------


def torque_use(torque: DofTorque, robot: Robot) -> Tensor:
    """|τ| of each joint in the last substep, as a share of its limit (rows, dof)."""
    return torque.value.abs() / robot.torque_limit


def servo_torque_use(target: DofTarget, dofs: DofState, gains: PdGains, robot: Robot) -> Tensor:
    """|Kp (q* − q) − Kd q̇| of each joint when the control step is over, as a share of its limit (rows, dof).

    What the simulator's own servo asks for then; above 1 it gets less.
    """
    asked = gains.stiffness * (target.position - dofs.position) - gains.damping * dofs.velocity
    return asked.abs_() / robot.torque_limit


def action_rate(action: Action) -> Tensor:
    """‖a − a_previous‖ over joints."""
    return torch.linalg.vector_norm(action.value - action.previous, dim=-1)


# -- the task ------------------------------------------------------------------------------------------


def reward_terms(reward: Reward) -> Tensor:
    """What each reward term gave in this tick (rows, reward)."""
    return reward.terms


def ended_by(done: Done) -> Tensor:
    """1 where a termination fired in this tick (rows, termination)."""
    return done.reason


def mean_body_error(tracked: TrackedState, target: RelativeTarget) -> Tensor:
    """Mean distance of the tracked bodies from the re-placed reference; m."""
    return torch.linalg.vector_norm(tracked.position - target.position, dim=-1).mean(-1)


def worst_body_error(tracked: TrackedState, target: RelativeTarget) -> Tensor:
    """Largest distance of a tracked body from the re-placed reference; m."""
    return torch.linalg.vector_norm(tracked.position - target.position, dim=-1).amax(-1)


def anchor_height_error(tracked: TrackedState, target: RelativeTarget, bodies: TrackedBodies) -> Tensor:
    """Height of the anchor above the reference's; m."""
    return tracked.position[:, bodies.anchor, 2] - target.position[:, bodies.anchor, 2]


def anchor_angle(tracked: TrackedState, target: RelativeTarget, bodies: TrackedBodies) -> Tensor:
    """Angle between the anchor and the re-placed reference's, which has the same heading; rad."""
    return angle_between(tracked.rotation[:, bodies.anchor], target.rotation[:, bodies.anchor])


# -- what bundles declare --------------------------------------------------------------------------------


def base_vitals() -> dict[str, Term]:
    """How the base stands and moves, and what the feet carry."""
    return {
        "root_height": term(root_height),
        "tilt": term(tilt),
        "linear_speed": term(linear_speed),
        "angular_speed": term(angular_speed),
        "foot_force": term(foot_force, axis="foot"),
    }


def control_vitals(explicit: bool) -> dict[str, Term]:
    """What the motors do; `explicit` says that torques are computed here and not by the simulator's servo."""
    return {
        "torque_use": term(torque_use if explicit else servo_torque_use, axis="dof"),
        "action_rate": term(action_rate),
    }


def task_vitals() -> dict[str, Term]:
    """What was earned, and what ended the episode."""
    return {"reward": term(reward_terms, axis="reward"), "ended_by": term(ended_by, axis="termination")}


def tracking_vitals() -> dict[str, Term]:
    """How far the robot is from the re-placed reference."""
    return {
        "mean_body_error": term(mean_body_error),
        "worst_body_error": term(worst_body_error),
        "anchor_height_error": term(anchor_height_error),
        "anchor_angle": term(anchor_angle),
    }
