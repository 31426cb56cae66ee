"""Logs of the first episode of every row, for whatever the scene has of robot, reference, commands, torque and feet; episode_log()."""

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from components.command import Command
from components.control import Action, DofTarget, DofTorque, PdGains
from components.episode import Done
from components.episode_log import CommandLog, FootLog, ReferenceLog, RobotLog, TorqueLog
from components.motion import MotionCursor, MotionReference, TrackedState
from components.physics import Physics
from components.robot import BaseFrame, BodyState, Contact, DofState, Robot, RootState
from components.side_by_side import Simulator
from engine import Bundle, System, Write, put_rows, system
from engine.ecs.world import Clock
from engine.errors import SceneError
from systems.kinematics import derive_contacts
from systems.locomotion_terms import base_velocity
from systems.maths.quaternion import rotate
from systems.maths.tensors import indices
from systems.robots.model import RobotModel
from systems.robots.soles import soles
from systems.tick import REWARD, SENSE


def log_reference(
    clock: Clock,
    dofs: DofState,
    tracked: TrackedState,
    reference: MotionReference,
    cursor: MotionCursor,
    robot: RobotLog,
    log: Write[ReferenceLog],
) -> None:
    """Keep where the tracked bodies are, and where the reference is."""
    frame = clock.tick - 1  # the first tick with physics is tick 1
    if frame >= log.time.shape[1]:
        return
    log.time[:, frame] = cursor.time
    log.dof_position[:, frame] = reference.dof_position
    log.dof_velocity[:, frame] = reference.dof_velocity
    log.position[:, frame] = tracked.position
    log.rotation[:, frame] = tracked.rotation
    log.reference_position[:, frame] = reference.body_position
    log.reference_rotation[:, frame] = reference.body_rotation
    put_rows(log.clip, robot.running, cursor.clip)


def log_command(clock: Clock, root: RootState, base: BaseFrame, command: Command, log: Write[CommandLog]) -> None:
    """Keep what was asked, and how the base moved."""
    frame = clock.tick - 1
    if frame < log.asked.shape[1]:
        log.asked[:, frame] = command.velocity
        log.moved[:, frame] = torch.cat((base_velocity(root)[:, :2], base.angular_velocity[:, 2:]), -1)


def log_torque(clock: Clock, torque: DofTorque, log: Write[TorqueLog]) -> None:
    """Keep the torque of the last physics step."""
    frame = clock.tick - 1
    if frame < log.value.shape[1]:
        log.value[:, frame] = torque.value


def log_servo_torque(
    clock: Clock, target: DofTarget, dofs: DofState, gains: PdGains, robot: Robot, log: Write[TorqueLog]
) -> None:
    """Keep the torque that the simulator's own servo has when the control step is over: Kp (q* − q) − Kd q̇, within its limit."""
    frame = clock.tick - 1
    if frame < log.value.shape[1]:
        asked = gains.stiffness * (target.position - dofs.position) - gains.damping * dofs.velocity
        log.value[:, frame] = torch.clamp(asked, -robot.torque_limit, robot.torque_limit)


def log_feet(
    clock: Clock, bodies: BodyState, contact: Contact, robot: Robot, physics: Physics, log: Write[FootLog]
) -> None:
    """Keep which feet touch, and how their soles move."""
    frame = clock.tick - 1
    if frame < log.touching.shape[1]:
        device = bodies.position.device
        feet = indices(robot.body_names, robot.foot_names, device)
        arm = rotate(bodies.rotation.index_select(1, feet), sole_points(physics.backend.model).to(device))
        swing = torch.linalg.cross(bodies.angular_velocity.index_select(1, feet), arm)
        log.touching[:, frame] = contact.touching
        log.velocity[:, frame] = bodies.linear_velocity.index_select(1, feet) + swing


@functools.cache
def sole_points(model: RobotModel) -> Tensor:
    """The sole of each foot in the frame of its body, (feet, 3) m; its origin where the foot has no shape."""
    try:
        return soles(model).point
    except SceneError:
        return torch.zeros(len(model.robot.foot_names), 3)


def log_robot(clock: Clock, done: Done, root: RootState, dofs: DofState, action: Action, log: Write[RobotLog]) -> None:
    """Keep the robot, and whether its first episode is over; the last of the logs."""
    frame = clock.tick - 1
    if frame >= log.root.shape[1]:
        return
    log.root[:, frame] = root.position
    log.root_velocity[:, frame] = root.linear_velocity
    log.dof_position[:, frame] = dofs.position
    log.dof_velocity[:, frame] = dofs.velocity
    log.action[:, frame] = action.value
    log.frames.add_(log.running)
    put_rows(log.reason, log.running, done.reason)
    log.failed.logical_or_(done.terminated & log.running)
    log.running.logical_and_(~done.ended)


def episode_log(present: Iterable[type], *, frames: int) -> Bundle | None:
    """Logs for a scene with the components and resources `present`, of `frames` control steps; None without a robot."""
    names = {cls.__name__ for cls in present}

    def has(*classes: Any) -> bool:
        return {cls.__name__ for cls in classes} <= names

    if not has(RootState, DofState, Action, Robot):
        return None
    kept: list[type] = [RobotLog]
    first: list[System] = []
    sense: list[System] = []
    if has(MotionReference, TrackedState, MotionCursor):
        kept.append(ReferenceLog)
        first.append(system(log_reference))
    if has(Command, BaseFrame):
        kept.append(CommandLog)
        first.append(system(log_command))
    if has(DofTorque) or has(DofTarget, PdGains):
        kept.append(TorqueLog)
        first.append(system(log_torque if has(DofTorque) else log_servo_torque))
    if not has(Simulator):  # a learned simulator tells of no contacts
        kept.append(FootLog)
        first.append(system(log_feet))
        if not has(Contact):
            kept.append(Contact)
            sense.append(system(derive_contacts, after="refresh_kinematics"))
    phases = {REWARD: [*first, system(log_robot, after=first[-1].name if first else None)]}
    return Bundle("episode_log", kept, systems={**phases, **({SENSE: sense} if sense else {})}, axes={"frame": frames})
