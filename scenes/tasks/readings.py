"""Readings for terms: the bundles that derive what the terms of a tracking task read, and no others."""

from components.episode import PenaltyScale, SoftLimits
from components.motion import DofFar, MotionFar
from components.observation import ObservationNoise
from components.robot import BodyInertia, Contact, Flight, FootState, Point, Swing
from engine import Bundle
from scenes.tasks import Tables
from systems.humanoidverse import humanoidverse_curricula
from systems.kinematics import feet, flight, kinematics
from systems.robots.model import RobotModel
from systems.robots.soles import body_inertia, soles


def readings(
    tables: Tables,
    model: RobotModel,
    *,
    sensor: Point = (0.0, 0.0, 0.0),
    moving: bool,
    noise: bool = False,
    dt: float,
) -> list[Bundle]:
    """Sensors of base and feet, masses and curricula, as far as the terms read them.

    `sensor` is the place of gyro and velocimeter in the root frame, m. Curricula stand still unless `moving`; `noise` turns on that
    of observation noise.
    """
    read, soled = tables.read, FootState in tables.read or Swing in tables.read
    hardened = read & {SoftLimits, MotionFar, DofFar}
    if any(each.settings.get("penalty") for each in tables.rewards.values()):
        hardened |= {PenaltyScale}
    if noise:
        hardened |= {ObservationNoise}
    return [
        kinematics(sensor=sensor, feet=soled or Contact in read),
        *([feet(soles(model), dt=dt)] if soled else []),
        *([flight(dt=dt)] if Flight in read else []),
        *([Bundle("masses", resources=[body_inertia(model)])] if BodyInertia in read else []),
        *(
            [humanoidverse_curricula(moving=hardened if moving else (), noise=noise, dof_far=DofFar in read)]
            if hardened
            else []
        ),
    ]
