"""Built-in clips, so that nothing need be downloaded: made for whatever humanoid is at hand, when it is loaded.

A clip is a function that says what it wants of pelvis, feet and arms (`planted.py`, `stepping.py`), in
curves that begin and end at rest. Legs and the horizontal place of the pelvis are then solved for flat feet
and a centre of mass that keeps the robot from falling (`legs.py`, `balance.py`). docs/clips.md shows all.
"""

from collections.abc import Callable

from components.motion import Clip
from components.robot import Robot
from engine.errors import SceneError, did_you_mean, listing
from engine.snapshot.snapshot import one_thread
from systems.motion.clips.balance import balance
from systems.motion.clips.legs import check_feet
from systems.motion.clips.outline import FPS, Outline
from systems.motion.clips.planted import squat, stand, sway, twist, wave
from systems.motion.clips.stance import Stance, stand_up
from systems.motion.clips.stepping import march, side_step, turn, walk
from systems.motion.kinematics import Kinematics

MAKERS: dict[str, Callable[[Stance], Outline]] = {
    "stand": stand,
    "sway": sway,
    "twist": twist,
    "squat": squat,
    "wave": wave,
    "march": march,
    "side-step": side_step,
    "turn": turn,
    "walk": walk,
}
BUILT_IN = tuple(MAKERS)


def make_clip(name: str, robot: Robot, model: Kinematics) -> Clip:
    """A built-in clip for this robot at 50 fps; raises SceneError for an unknown name or a robot that cannot do it."""
    if name not in MAKERS:
        raise SceneError(
            f"There is no built-in clip '{name}'; there are {listing(MAKERS)}.{did_you_mean(name, MAKERS)}"
        )
    with one_thread():  # of many small operations
        stance = stand_up(robot, model)
        outline = MAKERS[name](stance)
        motion = balance(stance, outline)
        check_feet(name, stance, outline, motion)
    position, rotation, dofs = motion
    return Clip(
        name=name, fps=FPS, root_position=position, root_rotation=rotation, dof_position=dofs, dof_names=robot.dof_names
    )
