"""Reference poses: the motion that a tracker follows, one pose for each control step."""

import base64
import binascii
import json
from collections.abc import Sequence

import attrs
import numpy as np
import torch

from engine.errors import SceneError
from systems.deploy.policy import OnnxPolicy
from systems.motion.files import read_clips
from systems.motion.library import build_library
from systems.referee.arena import Arena
from systems.reference import sample_root_and_dofs
from systems.robots.forward_kinematics import ForwardKinematics


@attrs.frozen(eq=False)
class ReferencePoses:
    """A motion at control steps: pose k is the one to have after k control steps, 0 the one to begin with."""

    poses: np.ndarray  # (T, 7 + joints) root pose and joints in the robot's order
    speeds: np.ndarray  # (T, joints) rad/s


def reference_of_export(policy: OnnxPolicy) -> ReferencePoses:
    """The clip that an exported policy follows. SceneError for a file that does not hold it."""
    try:
        texts = json.loads(policy.about["motion_reference"])
        numbers = np.frombuffer(base64.b64decode(texts[policy.clip], validate=True), "<f4").astype(float)
        poses = numbers.reshape(policy.length + 1, 7 + len(policy.joints)) if policy.length else numbers[:0]
        if not len(poses) or not np.isfinite(poses).all():
            raise ValueError
    except (KeyError, ValueError, IndexError, TypeError, binascii.Error):
        raise SceneError(
            f"{policy.path} does not hold the motion that it follows, with which the referee compares. Export the policy again: python "
            f"-m engine.run --export RUN --out {policy.path.name}."
        ) from None
    return ReferencePoses(poses, np.gradient(poses[:, 7:], policy.dt, axis=0))


def clip_poses(text: str, arena: Arena, dt: float) -> ReferencePoses:
    """A clip, as --clip takes it, at control steps of `dt` in s. SceneError for one that the robot cannot play."""
    model = arena.model
    if model is None:
        raise SceneError(f"The clip '{text}' can be followed by robots of ours only, and {arena.name} is a scene's.")
    library = build_library(read_clips(text), model.robot, model, fps=1.0 / dt)
    count = int(library.frames[0])
    times = torch.arange(count) * dt
    place, turn, _, _, joints, speeds = sample_root_and_dofs(library, torch.zeros(count, dtype=torch.int64), times)
    return ReferencePoses(torch.cat((place, turn, joints), 1).double().numpy(), speeds.double().numpy())


def moving(reference: ReferencePoses, arena: Arena, order: np.ndarray, bodies: Sequence[str]) -> dict[str, np.ndarray]:
    """What a policy may see of a motion, (T, …): joints in its own order, its anchor, and `bodies` where the robot has all."""
    model = arena.robot.model
    known = {model.body(at).name for at in range(1, model.nbody)}
    wanted = [arena.anchor, *(bodies if {*bodies} <= known else ())]
    kinematics = ForwardKinematics.of(model, wanted, dtype=torch.float64)
    parts = (torch.from_numpy(reference.poses[:, part]) for part in (slice(0, 3), slice(3, 7), slice(7, None)))
    place, turn = (each.numpy() for each in kinematics.poses(*parts))
    found = {
        "joint_position": reference.poses[:, 7 + order], "joint_velocity": reference.speeds[:, order],
        "place": place[:, 0], "turn": turn[:, 0],
    }  # fmt: skip
    return found if len(wanted) == 1 else {**found, "body_place": place[:, 1:], "body_turn": turn[:, 1:]}
