"""Terms of locomotion: what is observed, rewarded and measured of a robot that is asked for a velocity.

"Moving" rows are asked for more than a little: ‖v_xy‖ + |ω_z| of the command, in m/s and rad/s, exceeds a threshold. A
foot's height is that of its sole above the ground; terms from HumanoidVerse look at the frame of the foot's body instead.
"""

import functools
import math
from itertools import pairwise

import torch
from torch import Tensor

from components.command import Command, GaitClock
from components.robot import (
    BaseFrame,
    BodyInertia,
    BodyState,
    Contact,
    ContactSensors,
    DofState,
    Flight,
    FootForce,
    FootState,
    Robot,
    RootState,
    Swing,
)
from components.terrain import Ground
from systems.ground.heights import ground_normal, height_above_ground
from systems.maths.quaternion import rotate, rotate_inverse
from systems.maths.tensors import by_pattern, indices, vector
from systems.observations import feet_force
from systems.rewards import squares

Numbers = tuple[tuple[str, float], ...]  # pattern of joint names, number; the first that matches counts


# -- what was asked, and what happens ------------------------------------------------------------------


def commanded(command: Command) -> Tensor:
    """‖v_xy‖ + |ω_z| of the command."""
    return command.velocity[:, :2].norm(dim=-1) + command.velocity[:, 2].abs()


def is_moving(command: Command, least: float) -> Tensor:
    """1 for rows that are asked for more than `least`, else 0."""
    return (commanded(command) > least).to(torch.float32)


def base_velocity(root: RootState) -> Tensor:
    """Velocity of the root's frame origin in its own axes; (rows, 3) m/s."""
    return rotate_inverse(root.rotation, root.linear_velocity)


def momentum(bodies: BodyState, inertia: BodyInertia) -> Tensor:
    """Angular momentum of all bodies about their common centre of mass, world axes; (rows, 3) kg·m²/s."""
    arm = rotate(bodies.rotation, inertia.com)
    place = bodies.position + arm
    speed = bodies.linear_velocity + torch.linalg.cross(bodies.angular_velocity, arm)
    share = (inertia.mass / inertia.mass.sum()).unsqueeze(-1)
    place, speed = (value - (value * share).sum(1, keepdim=True) for value in (place, speed))
    own = rotate_inverse(bodies.rotation, bodies.angular_velocity).unsqueeze(-1)
    spin = rotate(bodies.rotation, (inertia.inertia @ own).squeeze(-1))
    return (spin + torch.linalg.cross(place, speed) * inertia.mass.unsqueeze(-1)).sum(1)


# -- observations --------------------------------------------------------------------------------------


def velocity_command(command: Command) -> Tensor:
    """The velocity that is asked for; 3 numbers, m/s and rad/s."""
    return command.velocity


def linear_command(command: Command) -> Tensor:
    """The horizontal velocity that is asked for; 2 numbers, m/s."""
    return command.velocity[:, :2]


def turn_command(command: Command) -> Tensor:
    """The yaw rate that is asked for; 1 number, rad/s."""
    return command.velocity[:, 2:]


def feet_height(feet: FootState) -> Tensor:
    """Height of each sole above the ground; one per foot, m."""
    return feet.height


def feet_air_time(swing: Swing) -> Tensor:
    """How long each foot has been in the air; one per foot, s."""
    return swing.seconds


def log_feet_force(forces: FootForce, sensors: ContactSensors, robot: Robot) -> Tensor:
    """sign(f) ln(1 + |f|) of the net contact force on each foot in world axes; 3 per foot, of N."""
    force = feet_force(forces, sensors, robot)
    return force.abs().log1p().copysign(force)


def gait_sine(clock: GaitClock) -> Tensor:
    """sin 2πφ of the first foot's phase φ; 1 number."""
    return (2.0 * math.pi * clock.phase[:, :1]).sin()


def gait_cosine(clock: GaitClock) -> Tensor:
    """cos 2πφ of the first foot's phase φ; 1 number."""
    return (2.0 * math.pi * clock.phase[:, :1]).cos()


def gait_phase(clock: GaitClock) -> Tensor:
    """The first foot's phase, in [0, 1); 1 number."""
    return clock.phase[:, :1]


# -- following the command -----------------------------------------------------------------------------


def linear_velocity(root: RootState, command: Command, *, vertical: bool = True) -> Tensor:
    """‖v_xy − v_xy of the command‖² of the base, and v_z² where `vertical`; (m/s)²."""
    moved = base_velocity(root)
    error = squares(moved[:, :2], command.velocity[:, :2]).sum(-1)
    return error + moved[:, 2].square() if vertical else error


def angular_velocity(base: BaseFrame, command: Command, *, tilting: bool = True) -> Tensor:
    """(ω_z − ω_z of the command)² of the base, and ω_x² + ω_y² where `tilting`; (rad/s)²."""
    error = squares(base.angular_velocity[:, 2], command.velocity[:, 2])
    return error + tilt_rate(base) if tilting else error


def linear_error(root: RootState, command: Command) -> Tensor:
    """‖v_xy − v_xy of the command‖ of the base; m/s."""
    return (base_velocity(root)[:, :2] - command.velocity[:, :2]).norm(dim=-1)


def turn_error(base: BaseFrame, command: Command) -> Tensor:
    """|ω_z − ω_z of the command| of the base; rad/s."""
    return (base.angular_velocity[:, 2] - command.velocity[:, 2]).abs()


def asked(command: Command, *, place: int) -> Tensor:
    """|number `place` of the command|: 0 forward, 1 sideways, 2 the yaw rate; m/s or rad/s."""
    return command.velocity[:, place].abs()


# -- how the body is held ------------------------------------------------------------------------------


def anchor_tilt(bodies: BodyState, robot: Robot) -> Tensor:
    """g_x² + g_y² of unit gravity in the frame of the anchor body: 0 upright, 1 lying down."""
    rotation = bodies.rotation[:, robot.body_names.index(robot.anchor_body)]
    down = vector((0.0, 0.0, -1.0), rotation.device).expand(len(rotation), 3)
    return rotate_inverse(rotation, down)[:, :2].square().sum(-1)


def posture(
    dofs: DofState, robot: Robot, command: Command, *, standing: Numbers, walking: Numbers, running: Numbers,
    walk: float = 0.05, run: float = 1.5,
) -> Tensor:  # fmt: skip
    """Mean over joints of ((q − q_default) / σ)²; σ in rad by what is asked for: `standing` below `walk`, `running` from `run` on."""
    device = dofs.position.device
    widths = torch.stack([by_pattern(robot.dof_names, tuple(each), device) for each in (standing, walking, running)])
    speed = commanded(command)
    chosen = widths.index_select(0, (speed >= walk).long() + (speed >= run).long())
    return ((dofs.position - robot.default_position) / chosen).square().mean(-1)


def ground_tilt(bodies: BodyState, robot: Robot, ground: Ground, *, reach: float = 0.3) -> Tensor:
    """n_x² + n_y² of the ground's normal n in the frame of the anchor body: 0 where it stands parallel to the ground.

    The normal is that of a plane through the ground `reach` m before, behind, left and right of the body.
    """
    anchor = robot.body_names.index(robot.anchor_body)
    normal = ground_normal(ground, bodies.position[:, anchor], reach)
    return rotate_inverse(bodies.rotation[:, anchor], normal)[:, :2].square().sum(-1)


def anchor_tilt_rate(bodies: BodyState, robot: Robot, *, own_axes: bool = False) -> Tensor:
    """ω_x² + ω_y² of the anchor body in world axes, or in its `own_axes`; (rad/s)²."""
    anchor = robot.body_names.index(robot.anchor_body)
    spin = bodies.angular_velocity[:, anchor]
    return (rotate_inverse(bodies.rotation[:, anchor], spin) if own_axes else spin)[:, :2].square().sum(-1)


def angular_momentum(bodies: BodyState, inertia: BodyInertia) -> Tensor:
    """Squared norm of the whole body's angular momentum about its centre of mass; (kg·m²/s)²."""
    return momentum(bodies, inertia).square().sum(-1)


def momentum_size(bodies: BodyState, inertia: BodyInertia) -> Tensor:
    """Norm of the whole body's angular momentum about its centre of mass; kg·m²/s."""
    return momentum(bodies, inertia).norm(dim=-1)


def tilt_rate(base: BaseFrame) -> Tensor:
    """ω_x² + ω_y² of the base in its own axes; (rad/s)²."""
    return base.angular_velocity[:, :2].square().sum(-1)


def vertical_velocity(root: RootState) -> Tensor:
    """v_z² of the base in its own axes; (m/s)²."""
    return base_velocity(root)[:, 2].square()


def base_height(root: RootState, ground: Ground, *, height: float) -> Tensor:
    """(h − `height`)² of the base, h above the ground; m²."""
    return (height_above_ground(ground, root.position) - height).square()


def joint_deviation(dofs: DofState, robot: Robot, *, joints: tuple[str, ...]) -> Tensor:
    """Σ |q − q_default| over the joints that match; rad."""
    index = indices(robot.dof_names, tuple(joints), dofs.position.device)
    return (dofs.position - robot.default_position).index_select(1, index).abs().sum(-1)


def joint_angle(dofs: DofState, robot: Robot, *, joints: tuple[str, ...]) -> Tensor:
    """Σ q² over the joints that match; rad²."""
    return dofs.position.index_select(1, indices(robot.dof_names, tuple(joints), dofs.position.device)).square().sum(-1)


# -- feet ----------------------------------------------------------------------------------------------


def foot_clearance(feet: FootState, command: Command, *, height: float = 0.1, moving: float = 0.05) -> Tensor:
    """Σ over feet of |h − `height`| ‖v_xy‖, of soles, while moving; m²/s."""
    speed = feet.linear_velocity[..., :2].norm(dim=-1)
    return ((feet.height - height).abs() * speed).sum(-1) * is_moving(command, moving)


def swing_height(swing: Swing, command: Command, *, height: float = 0.1, moving: float = 0.05) -> Tensor:
    """Σ over feet that land in this tick of (peak / `height` − 1)², while moving."""
    return ((swing.peak / height - 1.0).square() * swing.landed).sum(-1) * is_moving(command, moving)


def foot_slip(feet: FootState, contact: Contact, command: Command, *, moving: float = 0.05) -> Tensor:
    """Σ over feet that touch of ‖v_xy‖², while moving; (m/s)²."""
    speed = feet.linear_velocity[..., :2].square().sum(-1)
    return (speed * contact.touching).sum(-1) * is_moving(command, moving)


def landing_force(swing: Swing, contact: Contact, command: Command, *, moving: float = 0.05) -> Tensor:
    """Σ over feet that land in this tick of the force on them, while moving; N."""
    return (contact.force * swing.landed).sum(-1) * is_moving(command, moving)


def air_time(swing: Swing, command: Command, *, least: float = 0.05, most: float = 0.5, moving: float = 0.5) -> Tensor:
    """Number of feet that have been in the air for more than `least` and less than `most` s, while moving."""
    inside = (swing.seconds > least) & (swing.seconds < most)
    return inside.sum(-1, dtype=torch.float32) * is_moving(command, moving)


def walking_flight_time(flight: Flight, command: Command, *, least: float = 0.5, moving: float = 0.1) -> Tensor:
    """Σ over feet that land in this tick of their time in the air beyond `least` in s, where ‖v_xy‖ > `moving` m/s is asked for."""
    walks = command.velocity[:, :2].norm(dim=-1) > moving
    return ((flight.seconds - least) * flight.landed).sum(-1) * walks


def slip_speed(feet: FootState, contact: Contact) -> Tensor:
    """Mean horizontal speed of the feet that touch; m/s, nan where none does."""
    speed = feet.linear_velocity[..., :2].norm(dim=-1) * contact.touching
    return speed.sum(-1) / contact.touching.sum(-1)


def mean_landing_force(swing: Swing, contact: Contact) -> Tensor:
    """Mean force on the feet that land in this tick; N, nan where none does."""
    return (contact.force * swing.landed).sum(-1) / swing.landed.sum(-1)


def mean_swing_peak(swing: Swing) -> Tensor:
    """Mean height that the soles which land in this tick had reached; m, nan where none does."""
    return (swing.peak * swing.landed).sum(-1) / swing.landed.sum(-1)


def in_the_air(flight: Flight) -> Tensor:
    """1 where no foot is down."""
    return (~flight.down.any(-1)).to(torch.float32)


def hard_contact(contact: Contact, *, most: float = 200.0) -> Tensor:
    """Σ over feet of the force beyond `most`; N."""
    return (contact.force - most).clamp_min_(0.0).sum(-1)


def stumble(forces: FootForce, sensors: ContactSensors, robot: Robot, *, ratio: float = 5.0) -> Tensor:
    """1 where the force on a foot is more than `ratio` times as strong sideways as it is upwards."""
    force = feet_force(forces, sensors, robot).unflatten(-1, (-1, 3))
    return (force[..., :2].norm(dim=-1) > ratio * force[..., 2].abs()).any(-1).to(torch.float32)


def lowest_foot_height(bodies: BodyState, robot: Robot, ground: Ground, *, height: float, free: float = 0.02) -> Tensor:
    """How far the foot that is closest to `height` above the ground is off, beyond `free`; m, of the frames of the feet's bodies."""
    off = (height_above_ground(ground, _feet(bodies, robot)) - height).abs().amin(-1)
    return (off - free).clamp_min_(0.0)


def swinging_foot_height(bodies: BodyState, contact: Contact, robot: Robot, ground: Ground, *, height: float) -> Tensor:
    """Σ over feet that do not touch of (h − `height`)²; m², h of the frames of the feet's bodies above the ground."""
    off = height_above_ground(ground, _feet(bodies, robot)) - height
    return (off.square() * ~contact.touching).sum(-1)


def bodies_close(bodies: BodyState, robot: Robot, *, names: tuple[str, ...], least: float) -> Tensor:
    """1 where two of the bodies that match are closer than `least` in m, seen from above."""
    index = indices(robot.body_names, tuple(names), bodies.position.device)
    place = bodies.position.index_select(1, index)[..., :2]
    first, second = torch.triu_indices(len(index), len(index), 1, device=place.device)
    return ((place[:, first] - place[:, second]).norm(dim=-1) < least).any(-1).to(torch.float32)


def _feet(bodies: BodyState, robot: Robot) -> Tensor:
    return bodies.position.index_select(1, indices(robot.body_names, robot.foot_names, bodies.position.device))


# -- the gait ------------------------------------------------------------------------------------------


def gait_contact(clock: GaitClock, contact: Contact, *, stance: float = 0.55) -> Tensor:
    """Number of feet that touch in the first `stance` of their cycle, and only then."""
    return ((clock.phase < stance) == contact.touching).sum(-1, dtype=torch.float32)


def gait_period(
    clock: GaitClock, contact: Contact, bodies: BodyState, robot: Robot, *, concentration: float = 4.0
) -> Tensor:
    """Σ over feet of E_swing exp(−F²) + E_stance exp(−200 v²): no force while swinging, no speed while standing.

    E = P(A < φ) (1 − P(B < φ)) of phase φ, A and B von Mises distributed around the limits of swing (0 and half a cycle)
    or stance (half and a whole one) with `concentration`; F in N, v in m/s of the foot's body.
    """
    index = indices(robot.body_names, robot.foot_names, bodies.position.device)
    speed = bodies.linear_velocity.index_select(1, index).square().sum(-1)
    passed = [_von_mises(2.0 * math.pi * (clock.phase - limit), concentration) for limit in (0.0, 0.5, 1.0)]
    swings, stands = (before * (1.0 - after) for before, after in pairwise(passed))
    return (swings * (-contact.force.square()).exp() + stands * (-200.0 * speed).exp()).sum(-1)


def _von_mises(angle: Tensor, concentration: float) -> Tensor:
    """P(X < angle) of a von Mises distribution around 0, for angles in [−2π, 2π]; held at 0 and 1 beyond ±π."""
    held = angle.clamp(-math.pi, math.pi)
    orders = torch.arange(1, _ORDERS + 1, device=angle.device, dtype=angle.dtype)
    weights = vector(_bessel_ratios(concentration), angle.device, angle.dtype) / orders
    waves = (held.unsqueeze(-1) * orders).sin() @ weights
    return (0.5 + (0.5 * held + waves) / math.pi).clamp_(0.0, 1.0)


_ORDERS = 30


@functools.cache
def _bessel_ratios(concentration: float) -> tuple[float, ...]:
    """I_n(κ) / I_0(κ) for n = 1 … 30, by the trapezoidal rule, which is exact for periodic functions."""
    angle = torch.linspace(0.0, 2.0 * math.pi, 257, dtype=torch.float64)[:-1]
    density = torch.exp(concentration * (angle.cos() - 1.0))
    return tuple(float((density * (n * angle).cos()).sum() / density.sum()) for n in range(1, _ORDERS + 1))
