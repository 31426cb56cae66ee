"""Locomotion in plain numpy, row by row and foot by foot, for tests to compare with: rewards, observations, feet.

Written from the formulas alone and on purpose without anything of this package. float64, one loop per row, quaternions
scalar first. Numbers of the robot (masses, soles, limits) are given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
DT = 0.02


@dataclass
class Body:
    """What does not change; `foot` and `anchor` are places among bodies."""

    default: Array
    soft: Array
    hard: Array
    names: Sequence[str]  # of joints
    bodies: Sequence[str]
    foot: Sequence[int]
    anchor: int
    sole: Array
    radius: Array
    mass: Array
    com: Array
    inertia: Array


@dataclass
class Row:
    """One row at one moment; `command` is what was asked for while it moved there."""

    root: Array
    turn: Array
    speed: Array
    spin: Array
    q: Array
    qd: Array
    place: Array
    rotation: Array
    linear: Array
    angular: Array
    force: Array  # (feet, 3)
    action: Array
    before: Array
    torque: Array
    qd_before: Array
    command: Array
    self_contacts: float = 0.0


def matrix(q: Array) -> Array:
    """Rotation matrix of a quaternion."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def heading(q: Array) -> float:
    """Yaw of the x axis."""
    forward = matrix(q)[:, 0]
    return math.atan2(forward[1], forward[0])


def sole_of(body: Body, row: Row, foot: int) -> tuple[Array, Array]:
    """Where the sole of a foot is, and how fast."""
    at = body.foot[foot]
    arm = matrix(row.rotation[at]) @ body.sole[foot]
    place = row.place[at] + arm
    place[2] -= body.radius[foot]
    return place, row.linear[at] + np.cross(row.angular[at], arm)


class Feet:
    """Swings of one row's feet: raw ones, and those in which one tick without contact does not count."""

    def __init__(self, count: int) -> None:
        self.air, self.peak, self.landed = [0.0] * count, [0.0] * count, [False] * count
        self.flight, self.flight_peak, self.flight_landed = [0.0] * count, [0.0] * count, [False] * count
        self.down, self.touched = [True] * count, [False] * count

    def step(self, body: Body, row: Row) -> None:
        """Go on by one control step."""
        for foot, force in enumerate(row.force):
            height = sole_of(body, row, foot)[0][2]
            touching = bool(np.linalg.norm(force) > 1.0)
            swung = self.air[foot] > 0.0
            self.peak[foot] = max(self.peak[foot], height) if swung else height
            self.landed[foot] = swung and touching
            self.air[foot] = 0.0 if touching else self.air[foot] + DT
            pushed, was_down = bool(force[2] > 1.0), self.down[foot]
            if was_down:
                self.flight[foot], self.flight_peak[foot] = 0.0, -math.inf
            self.flight[foot] += DT
            self.flight_peak[foot] = max(self.flight_peak[foot], row.place[body.foot[foot]][2])
            self.down[foot] = pushed or self.touched[foot]
            self.flight_landed[foot] = self.down[foot] and not was_down
            self.touched[foot] = pushed


def asked(row: Row) -> float:
    """‖v_xy‖ + |ω_z| of the command."""
    return math.hypot(row.command[0], row.command[1]) + abs(row.command[2])


def tilt_of(q: Array) -> float:
    """g_x² + g_y² of unit gravity in a frame."""
    g = matrix(q).T @ [0.0, 0.0, -1.0]
    return float(g[0] ** 2 + g[1] ** 2)


def sigma(tables: Sequence[Sequence[tuple[str, float]]], speed: float, joint: str) -> float:
    """Tolerance of a joint: the first part of its name that is listed, in the table for a speed."""
    table = tables[0] if speed < 0.05 else tables[1] if speed < 1.5 else tables[2]
    return next(value for part, value in table if part in joint)


def angular_momentum(body: Body, row: Row) -> Array:
    """About the centre of mass of all bodies."""
    centres, speeds, spins = [], [], []
    for b in range(len(body.mass)):
        turn = matrix(row.rotation[b])
        arm = turn @ body.com[b]
        centres.append(row.place[b] + arm)
        speeds.append(row.linear[b] + np.cross(row.angular[b], arm))
        spins.append(turn @ body.inertia[b] @ turn.T @ row.angular[b])
    total = body.mass.sum()
    middle = sum(m * c for m, c in zip(body.mass, centres, strict=True)) / total
    drift = sum(m * v for m, v in zip(body.mass, speeds, strict=True)) / total
    found = np.zeros(3)
    for m, c, v, s in zip(body.mass, centres, speeds, spins, strict=True):
        found += s + m * np.cross(c - middle, v - drift)
    return found


def outside(q: float, low: float, high: float) -> float:
    """How far beyond a range."""
    return max(0.0, low - q) + max(0.0, q - high)


def mjlab(body: Body, row: Row, feet: Feet, tables: Sequence[Sequence[tuple[str, float]]]) -> dict[str, float]:
    """Values of all terms before their weights, exponentials taken."""
    turn = matrix(row.turn)
    v, w = turn.T @ row.speed, turn.T @ row.spin
    c = row.command
    speed = asked(row)
    moving = 1.0 if speed > 0.05 else 0.0
    soles = [sole_of(body, row, foot) for foot in range(len(row.force))]
    sizes = [float(np.linalg.norm(f)) for f in row.force]
    spread = [
        ((q - d) / sigma(tables, speed, name)) ** 2 for q, d, name in zip(row.q, body.default, body.names, strict=True)
    ]
    return {
        "linear_velocity": math.exp(-((v[0] - c[0]) ** 2 + (v[1] - c[1]) ** 2 + v[2] ** 2) / 0.25),
        "angular_velocity": math.exp(-((w[2] - c[2]) ** 2 + w[0] ** 2 + w[1] ** 2) / 0.5),
        "upright": math.exp(-tilt_of(row.rotation[body.anchor]) / 0.2),
        "posture": math.exp(-sum(spread) / len(spread)),
        "joint_limits": sum(outside(q, *pair) for q, pair in zip(row.q, body.soft, strict=True)),
        "action_rate": float(((row.action - row.before) ** 2).sum()),
        "foot_clearance": moving * sum(abs(p[2] - 0.1) * math.hypot(u[0], u[1]) for p, u in soles),
        "swing_height": moving
        * sum((peak / 0.1 - 1) ** 2 for peak, down in zip(feet.peak, feet.landed, strict=True) if down),
        "foot_slip": moving * sum(u[0] ** 2 + u[1] ** 2 for (_, u), f in zip(soles, sizes, strict=True) if f > 1.0),
        "soft_landing": moving * sum(f for f, down in zip(sizes, feet.landed, strict=True) if down),
        "body_angular_velocity": float((row.angular[body.anchor][:2] ** 2).sum()),
        "angular_momentum": float((angular_momentum(body, row) ** 2).sum()),
        "self_collision": row.self_contacts,
        "air_time": float(sum(0.05 < t < 0.5 for t in feet.air)) * (1.0 if speed > 0.5 else 0.0),
    }


def humanoidverse(body: Body, row: Row, feet: Feet, *, base: float, lift: float, upper: str) -> dict[str, float]:
    """Values of HumanoidVerse's terms; `upper` are parts of the names of arm and waist joints, with | between."""
    turn = matrix(row.turn)
    v, w = turn.T @ row.speed, turn.T @ row.spin
    c, anchor = row.command, body.anchor
    own = matrix(row.rotation[anchor]).T @ row.angular[anchor]
    places = [row.place[at] for at in body.foot]
    sizes = [float(np.linalg.norm(f)) for f in row.force]
    hips = [q for q, name in zip(row.q, body.names, strict=True) if "hip_roll" in name or "hip_yaw" in name]
    arms = [
        abs(q - d)
        for q, d, name in zip(row.q, body.default, body.names, strict=True)
        if any(part in name for part in upper.split("|"))
    ]
    walking = 1.0 if math.hypot(c[0], c[1]) > 0.1 else 0.0
    return {
        "tracking_lin_vel": math.exp(-((v[0] - c[0]) ** 2 + (v[1] - c[1]) ** 2) / 0.25),
        "tracking_ang_vel": math.exp(-((w[2] - c[2]) ** 2) / 0.25),
        "penalty_lin_vel_z": v[2] ** 2,
        "penalty_ang_vel_xy": w[0] ** 2 + w[1] ** 2,
        "penalty_ang_vel_xy_torso": own[0] ** 2 + own[1] ** 2,
        "penalty_orientation": tilt_of(row.turn),
        "penalty_torques": float((row.torque**2).sum()),
        "penalty_dof_acc": float((((row.qd_before - row.qd) / DT) ** 2).sum()),
        "penalty_action_rate": float(((row.action - row.before) ** 2).sum()),
        "base_height": (row.root[2] - base) ** 2,
        "penalty_slippage": sum(
            float(np.linalg.norm(row.linear[at])) for at, f in zip(body.foot, sizes, strict=True) if f > 1.0
        ),
        "penalty_feet_ori": sum(math.sqrt(tilt_of(row.rotation[at])) for at in body.foot),
        "limits_dof_pos": sum(
            outside(q, 0.5 * (a + b) - 0.45 * (b - a), 0.5 * (a + b) + 0.45 * (b - a))
            for q, (a, b) in zip(row.q, body.hard, strict=True)
        ),
        "feet_air_time": walking
        * sum(t - 0.5 for t, down in zip(feet.flight, feet.flight_landed, strict=True) if down),
        "penalty_feet_height": max(0.0, min(abs(p[2] - lift) for p in places) - 0.02),
        "feet_heading_alignment": sum(
            abs((heading(row.rotation[at]) - heading(row.turn) + math.pi) % (2 * math.pi) - math.pi) for at in body.foot
        ),
        "penalty_close_feet_xy": 1.0 if math.hypot(*(places[0] - places[1])[:2]) < 0.15 else 0.0,
        "penalty_hip_pos": sum(q * q for q in hips),
        "upperbody_joint_angle_freeze": sum(arms),
        "feet_max_height_for_this_air": sum(
            max(0.0, lift - peak) for peak, down in zip(feet.flight_peak, feet.flight_landed, strict=True) if down
        ),
        "penalty_feet_contact_forces": sum(max(0.0, f - 200.0) for f in sizes),
        "penalty_in_the_air": 0.0 if any(feet.down) else 1.0,
        "penalty_stumble": 1.0 if any(math.hypot(f[0], f[1]) > 5.0 * abs(f[2]) for f in row.force) else 0.0,
        "penalty_feet_swing_height": sum((p[2] - lift) ** 2 for p, f in zip(places, sizes, strict=True) if not f > 1.0),
    }


def von_mises(angle: float, concentration: float = 4.0) -> float:
    """P(X < angle) around 0, by numerical integration; 0 and 1 beyond half a turn."""
    if abs(angle) >= math.pi:
        return float(angle > 0)
    whole = np.linspace(-math.pi, math.pi, 20_001)
    part = np.linspace(-math.pi, angle, 20_001)
    return float(
        np.trapezoid(np.exp(concentration * np.cos(part)), part)
        / np.trapezoid(np.exp(concentration * np.cos(whole)), whole)
    )


def gait(body: Body, row: Row, phases: Sequence[float]) -> dict[str, float]:
    """Values of the terms of the gait clock, by the phase of each foot."""
    kept, period = 0.0, 0.0
    for at, force, phase in zip(body.foot, row.force, phases, strict=True):
        size, speed = float(np.linalg.norm(force)), float(np.linalg.norm(row.linear[at]))
        kept += float((phase < 0.55) == (size > 1.0))
        edge = [von_mises(2 * math.pi * (phase - limit)) for limit in (0.0, 0.5, 1.0)]
        period += edge[0] * (1 - edge[1]) * math.exp(-size * size)
        period += edge[1] * (1 - edge[2]) * math.exp(-200 * speed * speed)
    return {"gait_contact": kept, "gait_period": period}


def actor(body: Body, row: Row) -> Array:
    """mjlab's actor observation without noise; `command` is the one for the next step."""
    turn = matrix(row.turn)
    return np.concatenate(
        (
            turn.T @ row.speed,
            turn.T @ row.spin,
            turn.T @ [0.0, 0.0, -1.0],
            row.q - body.default,
            row.qd,
            row.action,
            row.command,
        )
    )


def critic(body: Body, row: Row, feet: Feet) -> Array:
    """mjlab's critic observation."""
    heights = [sole_of(body, row, foot)[0][2] for foot in range(len(row.force))]
    touching = [float(np.linalg.norm(f) > 1.0) for f in row.force]
    squeezed = [math.copysign(math.log(1.0 + abs(x)), x) for f in row.force for x in f]
    return np.concatenate((actor(body, row), heights, feet.air, touching, squeezed))
