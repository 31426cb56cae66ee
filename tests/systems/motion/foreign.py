"""Clips as other programs write them, made from one sound motion."""

import pickle
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from systems.motion.joint_orders import DOCUMENTED_ORDER

_THEIRS = "protomotions.simulator.base_simulator.simulator_state"
JOINTS = DOCUMENTED_ORDER[29]


@attrs.frozen(eq=False)
class Motion:
    """Root position, quaternion scalar first and joint angles at so many frames per second."""

    position: np.ndarray
    rotation: np.ndarray
    angles: np.ndarray
    fps: float = 50.0

    @property
    def xyzw(self) -> np.ndarray:
        """The quaternions scalar last."""
        return np.roll(self.rotation, -1, -1)

    @property
    def qpos(self) -> np.ndarray:
        """MuJoCo's order of all of it."""
        return np.concatenate((self.position, self.rotation, self.angles), 1)

    @property
    def bodies(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and rotations of the root and of a body a metre above it."""
        above = self.position + np.array([0.0, 0.0, 1.0])
        return np.stack((self.position, above), 1), np.stack((self.rotation, self.rotation), 1)


def motion(seed: int = 0, frames: int = 12, joints: int = 29) -> Motion:
    """A motion that is no one's: every number differs from every other."""
    draw = np.random.default_rng(seed)
    rotation = draw.normal(size=(frames, 4))
    position = draw.normal(size=(frames, 3)) + np.array([0.0, 0.0, 0.8])
    return Motion(
        position, rotation / np.linalg.norm(rotation, axis=-1, keepdims=True), draw.uniform(-3, 3, (frames, joints))
    )


def rotation_vectors(motion: Motion, axes: np.ndarray | None = None) -> np.ndarray:
    """`pose_aa` of ASAP and PHC: root, joints about the axes in their names and three bodies more."""
    named = [0 if "roll" in name else 2 if "yaw" in name else 1 for name in JOINTS]
    axes = np.eye(3)[named] if axes is None else axes
    pose = np.zeros((len(motion.angles), motion.angles.shape[1] + 4, 3))
    pose[:, 1:-3] = motion.angles[..., None] * axes
    return pose


def asap(m: Motion) -> dict[str, Any]:
    """ASAP and PHC."""
    return {
        "root_trans_offset": m.position,
        "root_rot": m.xyzw,
        "dof": m.angles,
        "pose_aa": rotation_vectors(m),
        "fps": m.fps,
    }


def gmr(m: Motion) -> dict[str, Any]:
    """GMR and TWIST."""
    arrays = {"root_pos": m.position, "root_rot": m.xyzw, "dof_pos": m.angles, "local_body_pos": None}
    return {"fps": m.fps, **arrays, "link_body_list": None}


def mjlab(m: Motion) -> dict[str, Any]:
    """BeyondMimic and mjlab."""
    position, rotation = m.bodies
    return {
        "fps": np.array([m.fps]),
        "joint_pos": m.angles,
        "joint_vel": m.angles,
        "body_pos_w": position,
        "body_quat_w": rotation,
    }


def holosoma(m: Motion) -> dict[str, Any]:
    """holosoma, whose joint_pos begins with the root."""
    content = {**mjlab(m), "joint_pos": m.qpos, "joint_names": np.array(JOINTS)}
    return {**content, "joint_vel": np.concatenate((np.zeros((len(m.angles), 6)), m.angles), 1)}


def isaac_lab(m: Motion) -> dict[str, Any]:
    """Isaac Lab's AMP."""
    position, rotation = m.bodies
    names = {"dof_names": np.array(JOINTS), "body_names": np.array(["pelvis", "above"])}
    arrays = {"dof_positions": m.angles, "dof_velocities": m.angles}
    return {"fps": m.fps, **names, **arrays, "body_positions": position, "body_rotations": rotation}


def protomotions(m: Motion) -> dict[str, Any]:
    """ProtoMotions' .motion."""
    import torch

    position, rotation = m.bodies
    arrays = {
        "dof_pos": m.angles,
        "dof_vel": m.angles,
        "rigid_body_pos": position,
        "rigid_body_rot": np.roll(rotation, -1, -1),
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    return {"state_conversion": _state_conversion(), "fps": m.fps, **tensors}


def _state_conversion() -> Any:
    """A value of an enumeration that only ProtoMotions has."""
    return Enum("StateConversion", {"COMMON": "common"}, module=_THEIRS)("common")


def holomotion(m: Motion) -> dict[str, Any]:
    """HoloMotion."""
    position, rotation = m.bodies
    arrays = {"ref_dof_pos": m.angles, "ref_global_translation": position}
    return {**arrays, "ref_global_rotation_quat": np.roll(rotation, -1, -1), "motion_fps": m.fps}


def ergocub(m: Motion) -> dict[str, Any]:
    """ergoCub's AMP data set: lists of one array per frame."""
    lists = {"joint_positions": list(m.angles), "root_position": list(m.position), "root_quaternion": list(m.xyzw)}
    return {"joints_list": list(JOINTS), **lists, "fps": m.fps}


def loco_mujoco(m: Motion) -> dict[str, Any]:
    """LocoMuJoCo, whose joint names begin with the free joint."""
    names = np.array(["root", *JOINTS])
    return {
        "qpos": m.qpos,
        "qvel": m.qpos[:, 1:],
        "joint_names": names,
        "frequency": m.fps,
        "split_points": np.array([0, len(m.qpos)]),
    }


def qpos(m: Motion) -> dict[str, Any]:
    """MuJoCo's qpos."""
    return {"qpos": m.qpos, "fps": m.fps}


def own(m: Motion) -> dict[str, Any]:
    """A program that nobody published."""
    return {"base_pos": m.position, "base_quat_xyzw": m.xyzw, "joint_angles": m.angles, "dt": 1.0 / m.fps}


LAYOUTS: dict[str, Callable[[Motion], dict[str, Any]]] = {
    layout.__name__: layout
    for layout in (asap, gmr, mjlab, holosoma, isaac_lab, protomotions, holomotion, ergocub, loco_mujoco, qpos, own)
}


@contextmanager
def _their_modules(content: Any) -> Iterator[None]:
    """The modules that a program has while it saves a clip, and we do not have while we read it."""
    names = [".".join(_THEIRS.split(".")[: i + 1]) for i in range(_THEIRS.count(".") + 1)]
    sys.modules.update({name: types.ModuleType(name) for name in names})
    sys.modules[_THEIRS].StateConversion = type(content.get("state_conversion"))  # type: ignore[attr-defined]
    yield
    for name in names:
        del sys.modules[name]


def write(path: Path, content: Any) -> str:
    """Save arrays in the container that the path's ending names."""
    if path.suffix in (".motion", ".pt"):
        import torch

        with _their_modules(content):
            torch.save(content, path)
    elif path.suffix == ".npz":
        np.savez(path, **{key: value for key, value in content.items() if value is not None})
    else:
        path.write_bytes(pickle.dumps(content))
    return str(path)
