"""Joint gains from what the maker says about a motor."""

import math

from components.robot import Motor

FREQUENCY = 10.0  # Hz, natural frequency of an unloaded joint under its servo
DAMPING_RATIO = 2.0


def geared(
    inertia: tuple[float, float, float], gears: tuple[float, float], torque: float, speed: float, count: int = 1
) -> Motor:
    """The servo of a motor with a two-stage planetary gearbox; `count` of them may drive one joint.

    `inertia`: of rotor and stages in kg·m², `gears`: ratios of the stages, `torque`: N·m, `speed`: rad/s.
    Armature I1 (g2 g3)² + I2 g3² + I3.
    """
    rotor, first, second = inertia
    armature = count * (rotor * (gears[0] * gears[1]) ** 2 + first * gears[1] ** 2 + second)
    return servo(armature, count * torque, speed)


def servo(armature: float, torque: float, speed: float) -> Motor:
    """The servo of a joint with the reflected inertia `armature` in kg·m²: stiffness I ω², damping 2 ζ I ω."""
    omega = 2.0 * math.pi * FREQUENCY
    return Motor(
        stiffness=armature * omega**2,
        damping=2.0 * DAMPING_RATIO * armature * omega,
        torque=torque,
        speed=speed,
        armature=armature,
    )
