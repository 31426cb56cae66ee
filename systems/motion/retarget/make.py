"""The whole way from human motion to a clip of a robot."""

import attrs
import numpy as np

from components.motion import Clip
from engine.errors import SceneError
from systems.maths.rotation import rotate, yaw, yawed
from systems.motion.check import verify_clip
from systems.motion.clips.stance import mass_centre
from systems.motion.kinematics import body_poses
from systems.motion.retarget.balance import correction
from systems.motion.retarget.contact import on_level_floor
from systems.motion.retarget.human import HumanMotion, sample
from systems.motion.retarget.limbs import Limbs, find_limbs
from systems.motion.retarget.quality import ClipQuality, measure_quality
from systems.motion.retarget.solve import Solution, solve
from systems.motion.retarget.targets import RobotTargets, make_targets
from systems.robots.model import RobotModel

ROUNDS = 2  # in which the motion is corrected for balance
GAIN = 1.25  # the legs, which weigh, do not move as far as the rest
MOST_ASIDE = 0.2  # of the leg's length that the robot is moved for balance
MARGIN = 0.015  # m within the soles where the floor shall push
FPS = 50.0  # of the clips that are made, the rate of the tick


@attrs.frozen(eq=False)
class Retargeted:
    """A human motion on a robot."""

    clip: Clip
    quality: ClipQuality
    notes: tuple[str, ...]  # what was decided about the human motion
    findings: tuple[str, ...]  # what is not as it should be, one sentence each; empty for a sound clip


def retarget(human: HumanMotion, model: RobotModel, *, fps: float = FPS, limbs: Limbs | None = None) -> Retargeted:
    """The clip of a robot that moves like `human`; SceneError for a robot without two legs or a missing package.

    `limbs` are found where they are not given, once for many motions of one robot.
    """
    if not 1.0 <= fps <= 1000.0:
        raise SceneError(f"Clips of {fps:g} frames per second cannot be made; 1 to 1000 can. Say e.g. --fps 50.")
    limbs = limbs or find_limbs(model)
    human = on_level_floor(sample(human, fps))
    targets = make_targets(human, limbs)
    solution = solve(model, limbs, targets, fps)
    wanted, aside = targets, np.zeros((len(targets.root_position), 2))
    for _ in range(ROUNDS):
        aside = _at_most(MOST_ASIDE * limbs.leg, aside + _keep_balance(model, limbs, targets, solution, fps))
        targets = wanted.moved(aside, limbs, fps)
        solution = solve(model, limbs, targets, fps)
    clip = Clip(
        name=human.name,
        fps=fps,
        root_position=solution.root_position,
        root_rotation=solution.root_rotation,
        dof_position=solution.dof_position,
        dof_names=model.robot.dof_names,
        source=human.source,
    )
    quality = measure_quality(clip, model)
    faults = [f"{clip.title}: {fault}." for fault in quality.faults()]
    try:
        _, warnings = verify_clip(clip, model.robot, model)
    except SceneError as refused:
        warnings = [str(refused)]
    return Retargeted(clip=clip, quality=quality, notes=human.notes, findings=(*faults, *warnings))


def _at_most(length: float, lines: np.ndarray) -> np.ndarray:
    """Lines (frames, 2) cut to a length."""
    return lines * np.minimum(1.0, length / np.maximum(np.linalg.norm(lines, axis=1, keepdims=True), 1e-9))


def _keep_balance(model: RobotModel, limbs: Limbs, targets: RobotTargets, solution: Solution, fps: float) -> np.ndarray:
    """How the robot must move aside, (frames, 2) m, for its feet to hold it."""
    position, rotation = body_poses(model, solution.root_position, solution.root_rotation, solution.dof_position)
    soles = [
        targets.feet.position[:, side, None] + rotate(yawed(yaw(targets.feet.rotation[:, side]))[:, None], foot.soles)
        for side, foot in enumerate(limbs.feet)
    ]
    stands = [np.repeat(targets.feet.stands[:, side, None], len(foot.soles), 1) for side, foot in enumerate(limbs.feet)]
    centre = mass_centre(model, position, rotation, slice(None))
    return GAIN * correction(centre, np.concatenate(soles, 1), np.concatenate(stands, 1), MARGIN, fps)
