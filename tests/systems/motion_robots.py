"""Robots for the motion tests: compiled straight from MJCF, with forward kinematics of their own."""

import re
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np
import torch

from components.robot import Robot
from tests.helpers import data_path

G1_POSE = {
    "hip_pitch": -0.312,
    "knee": 0.669,
    "ankle_pitch": -0.363,
    "shoulder_pitch": 0.2,
    "left_shoulder_roll": 0.2,
    "right_shoulder_roll": -0.2,
    "elbow": 0.6,
}
G1_TRACKED = ("pelvis", "left_ankle_roll_link", "right_ankle_roll_link", "torso_link", "right_wrist_yaw_link")

DOLL = """
<mujoco>
  <compiler angle="radian"/>
  <default><joint axis="0 1 0" range="-2.5 2.5" limited="true"/><geom type="capsule" size="0.03"/></default>
  <worldbody>
    <body name="hips" pos="0 0 0.5"><freejoint/>
      <geom type="box" size="0.05 0.09 0.05" mass="2"/>
      <body name="chest" pos="0 0 0.08"><joint name="spine"/>
        <geom type="box" size="0.06 0.1 0.1" pos="0 0 0.12" mass="3"/>
        {left_arm}{right_arm}
      </body>
      {left_leg}{right_leg}
    </body>
  </worldbody>
</mujoco>
"""
DOLL_BALL = '<geom type="sphere" size="0.02" mass="0.05"/>'
DOLL_ARM = """
<body name="{s}_upper_arm" pos="0 {y} 0.2"><joint name="{s}_shoulder_pitch"/>{ball}
  <body name="{s}_arm"><joint name="{s}_shoulder_roll" axis="1 0 0"/>{ball}
    <body name="{s}_arm_turn"><joint name="{s}_shoulder_yaw" axis="0 0 1"/>
      <geom fromto="0 0 0 0 0 -0.15" mass="0.4"/>
      <body name="{s}_forearm" pos="0 0 -0.15"><joint name="{s}_elbow" range="-2.5 0"/>
        <geom fromto="0 0 0 0 0 -0.15" mass="0.3"/>
      </body></body></body></body>
"""
DOLL_LEG = """
<body name="{s}_hip" pos="0 {y} -0.03"><joint name="{s}_hip_yaw" axis="0 0 1" range="-1 1"/>{ball}
  <body name="{s}_hip2"><joint name="{s}_hip_roll" axis="1 0 0" range="-1 1"/>{ball}
    <body name="{s}_thigh"><joint name="{s}_hip_pitch"/>
      <geom fromto="0 0 0 0 0 -0.2" mass="0.8"/>
      <body name="{s}_shin" pos="0 0 -0.2"><joint name="{s}_knee" range="-0.1 2.5"/>
        <geom fromto="0 0 0 0 0 -0.2" mass="0.6"/>
        <body name="{s}_ankle" pos="0 0 -0.2"><joint name="{s}_ankle_pitch" range="-1.2 1.2"/>{ball}
          <body name="{s}_foot"><joint name="{s}_ankle_roll" axis="1 0 0" range="-0.5 0.5"/>
            <geom name="{s}_foot1" fromto="-0.04 0.025 -0.03 0.1 0.025 -0.03" size="0.015" mass="0.1"/>
            <geom name="{s}_foot2" fromto="-0.04 -0.025 -0.03 0.1 -0.025 -0.03" size="0.015" mass="0.1"/>
          </body></body></body></body></body></body>
"""


class MuJoCoRobot:
    """The part of a robot model that motion code asks for, computed with one `mj_forward` per frame."""

    def __init__(
        self, model: mujoco.MjModel, pose: dict[str, float], height: float, feet: str, tracked: Sequence[str]
    ) -> None:
        self.model = model
        names = [model.body(i).name for i in range(1, model.nbody)]
        dofs = [model.joint(i).name for i in range(1, model.njnt)]
        limit = torch.tensor(model.jnt_range[1:], dtype=torch.float32)
        middle, half = limit.mean(1), 0.45 * (limit[:, 1] - limit[:, 0])
        foot_bodies = [name for name in names if re.fullmatch(feet, name)]
        one = torch.ones(len(dofs))
        default = [next((v for k, v in reversed(pose.items()) if k in name), 0.0) for name in dofs]
        self.robot = Robot(
            name="test",
            dof_names=tuple(dofs),
            body_names=tuple(names),
            foot_names=tuple(foot_bodies),
            tracked_bodies=tuple(tracked),
            anchor_body=tracked[0],
            end_effectors=tuple(tracked[-1:]),
            default_position=torch.tensor(default),
            default_height=height,
            position_limit=limit,
            soft_position_limit=torch.stack((middle - half, middle + half), 1),
            velocity_limit=30.0 * one,
            torque_limit=one,
            stiffness=one,
            damping=one,
            armature=one,
            action_scale=one,
        )
        self.feet = [
            i
            for i in range(model.ngeom)
            if model.body(model.geom_bodyid[i]).name in foot_bodies
            and model.geom_type[i] == mujoco.mjtGeom.mjGEOM_CAPSULE
        ]
        self.foot_point_body = tuple(int(model.geom_bodyid[g]) - 1 for g in self.feet for _ in (0, 1))
        self.body_mass = model.body_mass[1:].copy()
        self.body_com = model.body_ipos[1:].copy()
        self.body_inertia = np.zeros((len(names), 3, 3))
        axes = np.zeros(9)
        for i, inertia in enumerate(self.body_inertia, start=1):
            mujoco.mju_quat2Mat(axes, model.body_iquat[i])
            inertia[:] = axes.reshape(3, 3) @ np.diag(model.body_inertia[i]) @ axes.reshape(3, 3).T

    def kinematics(
        self,
        root_position: np.ndarray,
        root_rotation: np.ndarray,
        dof_position: np.ndarray,
        root_linear_velocity: np.ndarray,
        root_angular_velocity: np.ndarray,
        dof_velocity: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pose and velocity of every body, one frame after the other."""
        data = mujoco.MjData(self.model)
        bodies = self.model.nbody - 1
        out = tuple(np.zeros((len(root_position), bodies, width)) for width in (3, 4, 3, 3))
        velocity, turned = np.zeros(6), np.zeros(3)
        moving = any(np.any(v) for v in (root_linear_velocity, root_angular_velocity, dof_velocity))
        for i in range(len(root_position)):
            data.qpos[:] = np.concatenate((root_position[i], root_rotation[i], dof_position[i]))
            mujoco.mj_kinematics(self.model, data)
            out[0][i], out[1][i] = data.xpos[1:], data.xquat[1:]
            if not moving:
                continue
            mujoco.mju_rotVecQuat(turned, root_angular_velocity[i], root_rotation[i] * np.array((1.0, -1, -1, -1)))
            data.qvel[:] = np.concatenate((root_linear_velocity[i], turned, dof_velocity[i]))
            mujoco.mj_comPos(self.model, data)
            mujoco.mj_comVel(self.model, data)
            for b in range(bodies):
                mujoco.mj_objectVelocity(self.model, data, mujoco.mjtObj.mjOBJ_XBODY, b + 1, velocity, 0)
                out[2][i, b], out[3][i, b] = velocity[3:], velocity[:3]
        return out

    def foot_points(self, body_position: np.ndarray, body_rotation: np.ndarray) -> np.ndarray:
        """Bottoms of both ends of every foot capsule."""
        points = []
        matrix, rotated = np.zeros(9), np.zeros(3)
        for frame in range(len(body_position)):
            for geom in self.feet:
                body = int(self.model.geom_bodyid[geom]) - 1
                mujoco.mju_quat2Mat(matrix, self.model.geom_quat[geom])
                axis = matrix.reshape(3, 3)[:, 2] * self.model.geom_size[geom][1]
                for end in (-1.0, 1.0):
                    mujoco.mju_rotVecQuat(rotated, self.model.geom_pos[geom] + end * axis, body_rotation[frame, body])
                    points.append(body_position[frame, body] + rotated - (0.0, 0.0, self.model.geom_size[geom][0]))
        return np.array(points).reshape(len(body_position), -1, 3)


def g1(dofs: int = 29) -> MuJoCoRobot:
    """The G1 of the optional test data; skips where it is missing."""
    file = {29: "g1_29dof_nomesh.xml", 23: "g1_23dof_lockwrist_nomesh.xml"}[dofs]
    path: Path = data_path("robots", "unitree_g1", file)
    model = mujoco.MjModel.from_xml_path(str(path))
    return MuJoCoRobot(model, G1_POSE, 0.76, ".*_ankle_roll_link", G1_TRACKED)


def doll() -> MuJoCoRobot:
    """A half-metre humanoid of capsules with 17 joints, so that tests need no files."""
    parts = {
        f"{side}_{part}": text.format(s=side, y=sign * y, ball=DOLL_BALL)
        for side, sign in (("left", 1), ("right", -1))
        for part, text, y in (("arm", DOLL_ARM, 0.13), ("leg", DOLL_LEG, 0.07))
    }
    pose = {"hip_pitch": -0.3, "knee": 0.6, "ankle_pitch": -0.3, "elbow": -0.4}
    tracked = ("hips", "left_foot", "right_foot", "chest", "right_forearm")
    return MuJoCoRobot(mujoco.MjModel.from_xml_string(DOLL.format(**parts)), pose, 0.457, ".*_foot", tracked)
