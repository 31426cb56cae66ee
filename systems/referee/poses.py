"""Reference poses: the motion that a tracker follows, one pose for each control step."""

import base64
import binascii
import json

import attrs
import numpy as np

from engine.errors import SceneError
from systems.deploy.policy import OnnxPolicy


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
        poses = numbers.reshape(-1, 7 + len(policy.joints))
    except (KeyError, ValueError, IndexError, TypeError, binascii.Error):
        raise SceneError(
            f"{policy.path} does not hold the motion that it follows, with which the referee compares. Export the policy again: python "
            f"-m engine.run --export RUN --out {policy.path.name}."
        ) from None
    return ReferencePoses(poses, np.gradient(poses[:, 7:], policy.dt, axis=0))
