"""Writers of motion clips: npz (mjlab, BeyondMimic), csv with a header, pkl (ASAP, PHC).

A file says everything that it takes to read it: rate, joints, units, order of quaternions. The same clip gives the same
bytes. What a policy did and which feet bore load are kept in npz and pkl, where the clip knows. Bodies are computed from the joints, and the root is written as the clip has it.
"""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch

from components.motion import Clip
from engine.errors import SceneError
from systems.maths import quaternion
from systems.motion.kinematics import angular_velocity, continuous, differentiate
from systems.robots.model import RobotModel

FORMAT_VERSION = 1  # of the npz; it changes when a name or its meaning does
ROOT_COLUMNS = ("root_x (m)", "root_y (m)", "root_z (m)", "root_qw", "root_qx", "root_qy", "root_qz")
CONTAINERS = ("npz", "csv", "pkl")
_MOVING = ("root_position", "root_rotation", "dof_position")
_PICKLE = 3  # the newest protocol that names things in plain text; Python 3.8 reads it


def clip_bytes(clips: Sequence[Clip], model: RobotModel, container: str, *, breadth_first: bool = False) -> bytes:
    """The content of a file with verified clips, whose joints are in the order of the robot; npz and csv hold one.

    With `breadth_first` an npz counts joints and bodies as PhysX does; SceneError for another container.
    """
    if breadth_first and container != "npz":
        raise SceneError(
            f"A {container} file has its joints in the order of the robot; only npz can count breadth first."
        )
    if container == "pkl":
        return _pickle({clip.name: _asap(clip, model) for clip in clips})
    (clip,) = clips
    return _table(clip, model) if container == "csv" else _archive(_mjlab(clip, model, breadth_first))


def _rate(fps: float) -> int | float:
    return int(fps) if float(fps).is_integer() else float(fps)


def _mjlab(clip: Clip, model: RobotModel, breadth_first: bool) -> dict[str, np.ndarray]:
    """What the MotionLoader of mjlab and of BeyondMimic reads, and the names that neither has.

    It is float32 there. Bodies are computed from what is written, so that reading and writing again changes nothing.
    """
    clip = attrs.evolve(clip, **{name: getattr(clip, name).astype(np.float32).astype(np.float64) for name in _MOVING})
    linear = differentiate(clip.root_position, clip.fps)
    angular = angular_velocity(clip.root_rotation, clip.fps)
    speed = differentiate(clip.dof_position, clip.fps)
    root = clip.root_position, clip.root_rotation, clip.dof_position
    position, rotation, body_linear, body_angular = model.kinematics(*root, linear, angular, speed)
    position[:, 0], rotation = clip.root_position, continuous(rotation)
    rotation[:, 0] = clip.root_rotation
    joints, bodies = _order(model, breadth_first)
    moving = {
        "joint_pos": clip.dof_position[:, joints],
        "joint_vel": speed[:, joints],
        "body_pos_w": position[:, bodies],
        "body_quat_w": rotation[:, bodies],
        "body_lin_vel_w": body_linear[:, bodies],
        "body_ang_vel_w": body_angular[:, bodies],
    }
    return {
        "fps": np.array([_rate(clip.fps)]),
        **{name: value.astype(np.float32) for name, value in {**moving, **_beside(clip, joints)}.items()},
        "joint_names": np.array(model.robot.dof_names)[joints],
        "body_names": np.array(model.robot.body_names)[bodies],
        "format_version": np.array([FORMAT_VERSION]),
    }


def _beside(clip: Clip, joints: np.ndarray) -> dict[str, np.ndarray]:
    """What the policy did and which feet bore load, where the clip knows; an action for each joint in the order `joints`."""
    action, kept = clip.action, {"action": clip.action, "contact_mask": clip.contact_mask}
    if action is not None and action.shape[1] == len(joints):
        kept["action"] = action[:, joints]
    return {name: value for name, value in kept.items() if value is not None}


def _order(model: RobotModel, breadth_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Joints and bodies in the order of the file: that of the robot, or one level of its tree after the other."""
    parents, joint_bodies = model.model.body_parentid, model.model.jnt_bodyid[1:]
    if not breadth_first:
        return np.arange(len(joint_bodies)), np.arange(len(parents) - 1)
    depth = np.zeros(len(parents), int)
    for body in range(1, len(parents)):  # parents come first
        depth[body] = depth[parents[body]] + 1
    return np.argsort(depth[joint_bodies], kind="stable"), np.argsort(depth[1:], kind="stable")


def _archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz without the time of day that numpy's own has in it."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue())
    return whole.getvalue()


def _table(clip: Clip, model: RobotModel) -> bytes:
    """One frame a line; a header names time, root, quaternion parts, joints and units. No digit is lost."""
    time = np.arange(clip.num_frames) / clip.fps
    table = np.concatenate((time[:, None], clip.root_position, clip.root_rotation, clip.dof_position), 1)
    header = ("time (s)", *ROOT_COLUMNS, *(f"{name}_dof (rad)" for name in model.robot.dof_names))
    lines = [",".join(header), *(",".join(map(repr, row)) for row in table.tolist())]
    return ("\n".join(lines) + "\n").encode()


def _asap(clip: Clip, model: RobotModel) -> dict[str, Any]:
    """What the motion library of ASAP and of PHC reads, quaternions scalar last, joints as angle × axis too; and names."""
    turn = quaternion.to_rotation_vector(torch.from_numpy(clip.root_rotation)).numpy()
    joints = clip.dof_position[..., None] * model.model.jnt_axis[1:]
    return {
        "root_trans_offset": clip.root_position,
        "root_rot": np.roll(clip.root_rotation, -1, -1),
        "dof": clip.dof_position,
        "pose_aa": np.concatenate((turn[:, None], joints), 1).astype(np.float32),
        **_beside(clip, np.arange(len(model.robot.dof_names))),
        "fps": _rate(clip.fps),
        "joint_names": list(model.robot.dof_names),
    }


def _pickle(content: Mapping[str, Any]) -> bytes:
    """A pickle of plain arrays that any numpy can read: from version 2 on numpy gives its core another name."""
    plain = {key: {name: _packed(value) for name, value in clip.items()} for key, clip in content.items()}
    data = pickle.dumps(plain, protocol=_PICKLE)
    pieces, done = [], 0
    for instruction, argument, place in pickletools.genops(data):
        if instruction.name == "GLOBAL" and str(argument).startswith("numpy._core.") and place is not None:
            start = place + 1 + len("numpy.")
            pieces.append(data[done:start])
            done = start + 1
    return b"".join([*pieces, data[done:]])


def _packed(value: Any) -> Any:
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
