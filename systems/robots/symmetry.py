"""Symmetry of a robot: which joint is the mirror image of which, and whether its angle turns the other way.

It follows from where the axes of the joints are when every joint is at its zero, and from nothing else: names and the
frames of bodies differ from maker to maker.
"""

import attrs
import mujoco
import numpy as np

from engine.errors import SceneError, listing
from systems.maths.rotation import rotate
from systems.robots.model import RobotModel

FAR, SKEW = 2e-3, 0.02  # m and rad by which the two sides may differ; more than rounding in a model file makes
LEVER = 0.1  # m that a rad counts for where the nearest joint is looked for
REFLECTION = np.array((1.0, -1.0, 1.0))  # in the plane y = 0 of the root's frame


@attrs.frozen(eq=False)
class JointMirror:
    """Along axis `dof`: the mirror image has `angle[image] * sign + offset` where the robot has `angle`."""

    image: np.ndarray  # (D,) joint whose angle each joint takes
    sign: np.ndarray  # (D,) 1 or −1
    offset: np.ndarray  # (D,) rad; 0 unless the model's zero is not at 0


@attrs.frozen(eq=False)
class _Axes:
    """Of every joint, with all joints at zero: a point of its axis, its direction, what it hangs on, if it slides."""

    point: np.ndarray
    direction: np.ndarray
    parent: list[int]
    slides: np.ndarray


def joint_mirror(model: RobotModel) -> JointMirror:
    """The mirror images of a robot's joints; SceneError naming the joints that have none."""
    axes = _axes(model)
    image = _images(axes)
    names, wrong = model.robot.dof_names, []
    for joint, other in enumerate(image):
        if other is None:
            wrong.append(f"{names[joint]} has no counterpart")
            continue
        distance, angle = _misfit(axes, joint, other)
        if distance > FAR or angle > SKEW:
            far = f"{1000.0 * distance:.1f} mm and {np.degrees(angle):.1f}° off"
            wrong.append(f"{names[joint]} is {far} the mirror image of {names[other]}")
    if wrong:
        raise SceneError(
            f"Robot '{model.robot.name}' is not symmetric about the plane y = 0 of {model.robot.body_names[0]}, so its "
            f"clips have no mirror image: {listing(wrong, 6)}. Up to {1000.0 * FAR:g} mm and {np.degrees(SKEW):.0f}° are "
            "accepted; mend the model, or mirror the motion before it is retargeted."
        )
    chosen = np.array([other for other in image if other is not None])
    turned = (axes.direction[chosen] * REFLECTION * axes.direction).sum(-1)
    sign = np.where(np.where(axes.slides, turned, -turned) > 0.0, 1.0, -1.0)
    zero = model.model.qpos0[7:]
    return JointMirror(chosen, sign, zero - sign * zero[chosen])


def _axes(model: RobotModel) -> _Axes:
    compiled = model.model
    still, bodies = np.zeros((1, 3)), compiled.jnt_bodyid[1:] - 1
    upright, zero = np.array([[1.0, 0.0, 0.0, 0.0]]), compiled.qpos0[None, 7:]
    position, rotation, _, _ = model.kinematics(still, upright, zero, still, still, np.zeros_like(zero))
    turn = rotation[0, bodies]
    hung: dict[int, int] = {}  # body: the last joint that moves it
    parent = []
    for joint, body in enumerate(compiled.jnt_bodyid[1:].tolist()):
        above = body
        while above and above not in hung:
            above = int(compiled.body_parentid[above])
        parent.append(hung.get(above, -1))
        hung[body] = joint
    return _Axes(
        point=position[0, bodies] + rotate(turn, compiled.jnt_pos[1:]),
        direction=rotate(turn, compiled.jnt_axis[1:]),
        parent=parent,
        slides=compiled.jnt_type[1:] == mujoco.mjtJoint.mjJNT_SLIDE,
    )


def _images(axes: _Axes) -> list[int | None]:
    """The nearest joint to where each joint's mirror image should be, among those that hang on the right joint."""
    count = len(axes.parent)
    image: list[int | None] = [None] * count
    for joint in range(count):  # parents come first
        parent = axes.parent[joint]
        wanted = -1 if parent < 0 else image[parent]
        near = [k for k in range(count) if axes.parent[k] == wanted and axes.slides[k] == axes.slides[joint]]
        image[joint] = min(near, key=lambda k: _cost(axes, joint, k), default=None)
    return [other if other is not None and image[other] == joint else None for joint, other in enumerate(image)]


def _cost(axes: _Axes, joint: int, other: int) -> float:
    apart = float(np.linalg.norm(axes.point[joint] * REFLECTION - axes.point[other]))
    return apart + LEVER * _misfit(axes, joint, other)[1]


def _misfit(axes: _Axes, joint: int, other: int) -> tuple[float, float]:
    """Distance (m) and angle (rad) between the mirror image of a joint's axis and another's."""
    axis, image = axes.direction[other], axes.direction[joint] * REFLECTION
    apart = axes.point[joint] * REFLECTION - axes.point[other]
    angle = np.arcsin(min(float(np.linalg.norm(np.cross(axis, image))), 1.0))
    return 0.0 if axes.slides[joint] else float(np.linalg.norm(np.cross(axis, apart))), float(angle)
