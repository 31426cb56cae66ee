"""Human motion for tests: landmarks of our own robot's own clips, and BVH files of a skeleton with known angles."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from systems.maths.rotation import rotate
from systems.motion.kinematics import body_poses
from systems.motion.retarget.human import LANDMARKS, HumanMotion
from systems.motion.retarget.limbs import BodyPoint, find_limbs
from systems.robots.model import RobotModel
from tests.made_clips import clip_made_once

LAFAN1 = {  # bones by landmark, without the side
    "hip": "UpLeg",
    "knee": "Leg",
    "ankle": "Foot",
    "toe": "Toe",
    "shoulder": "Arm",
    "elbow": "ForeArm",
    "wrist": "Hand",
}
TREE = (  # of a standing person facing z, y up, in cm: joint, the one it hangs on, place
    ("Hips", None, (0, 95, 0)),
    *((f"{s}UpLeg", "Hips", (x, -5, 0)) for s, x in (("Left", 10), ("Right", -10))),
    *((f"{s}Leg", f"{s}UpLeg", (0, -42, 1)) for s in ("Left", "Right")),
    *((f"{s}Foot", f"{s}Leg", (0, -40, -1)) for s in ("Left", "Right")),
    *((f"{s}Toe", f"{s}Foot", (0, -7, 14)) for s in ("Left", "Right")),
    ("Spine", "Hips", (0, 12, 0)),
    *((f"{s}Arm", "Spine", (x, 38, 0)) for s, x in (("Left", 18), ("Right", -18))),
    *((f"{s}ForeArm", f"{s}Arm", (0, -28, 0)) for s in ("Left", "Right")),
    *((f"{s}Hand", f"{s}ForeArm", (0, -24, 4)) for s in ("Left", "Right")),
)


def bvh_text(
    tree: Sequence[tuple[str, str | None, tuple[float, float, float]]] = TREE,
    angles: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    *,
    order: str = "ZXY",
    frames: int = 30,
    size: float = 1.0,
    fps: float = 30.0,
    names: Mapping[str, str] | None = None,
) -> str:
    """A BVH file of a skeleton; `angles` are degrees of some joints, frame by frame, about the axes of `order`."""
    names, angles = names or {}, angles or {}
    numbers: list[list[float]] = [[] for _ in range(frames)]

    def joint(name: str, above: str | None, place: tuple[float, float, float], indent: str) -> list[str]:
        scaled = " ".join(f"{size * x:.6f}" for x in place)
        kind = "ROOT" if above is None else "JOINT"
        turns = " ".join(f"{axis}rotation" for axis in order)
        moves = "Xposition Yposition Zposition " if above is None else ""
        for frame, row in enumerate(numbers):
            row += [size * x for x in place] if above is None else []
            row += angles[name][frame] if name in angles else (0.0, 0.0, 0.0)
        lines = [f"{kind} {names.get(name, name)}", "{", f"  OFFSET {scaled}"]
        lines.append(f"  CHANNELS {6 if above is None else 3} {moves}{turns}")
        below = [part for part in tree if part[1] == name]
        for part in below:
            lines += joint(*part, indent + "  ")
        if not below:
            lines += ["  End Site", "  {", f"    OFFSET 0 0 {size * 5}", "  }"]
        return [indent + line for line in [*lines, "}"]]

    skeleton = joint(*tree[0], "")
    rows = [" ".join(f"{number:.6f}" for number in row) for row in numbers]
    return "\n".join(["HIERARCHY", *skeleton, "MOTION", f"Frames: {frames}", f"Frame Time: {1 / fps:.7f}", *rows, ""])


@cache
def human_from_clip(model: RobotModel, name: str, *, size: float = 1.0) -> HumanMotion:
    """The landmarks of the robot when it plays one of our built-in clips, `size` as large."""
    clip, limbs = clip_made_once(name, model.robot, model), find_limbs(model)
    position, rotation = body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position)

    def at(point: BodyPoint) -> np.ndarray:
        return position[:, point.body - 1] + rotate(rotation[:, point.body - 1], point.local)

    places: dict[str, np.ndarray] = {}
    for joints, chains in ((("hip", "knee", "ankle"), limbs.legs), (("shoulder", "elbow", "wrist"), limbs.arms)):
        for side, chain in zip(("left", "right"), chains, strict=True):
            for joint, point in zip(joints, (chain.top, chain.hinge, chain.tip), strict=True):
                places[f"{side}_{joint}"] = at(point)
    for side, chain, foot in zip(("left", "right"), limbs.legs, limbs.feet, strict=True):
        toe = BodyPoint(chain.body, np.array((0.12, 0.0, foot.soles[:, 2].min())))
        places[f"{side}_toe"] = at(toe)
    points = size * np.stack([places[landmark] for landmark in LANDMARKS], 1)
    return HumanMotion(name=name, fps=clip.fps, points=points, source="made")
