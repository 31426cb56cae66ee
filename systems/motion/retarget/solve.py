"""Inverse kinematics with mink: the robot's joints that meet the targets best, frame after frame, within its limits."""

from typing import Any

import attrs
import mujoco
import numpy as np

from engine.errors import SceneError
from systems.maths.rotation import rotate, rotate_inverse
from systems.motion.retarget.limbs import BodyPoint, Limbs
from systems.motion.retarget.targets import RobotTargets
from systems.robots.model import RobotModel
from systems.robots.silence import quiet

SOLVER = "daqp"
MARGIN = 0.01  # rad that joints keep from their limits
SPEED = 0.7  # of a motor's speed that joints are moved with at most
FIRST, FURTHER = 60, 5  # steps of the solver in the first frame, and at most in each other
ROOT_SPEED = (6.0, 12.0)  # m/s and rad/s of the root at most
BENT = 0.1  # rad by which knees are bent at least
SETTLED = 2e-4  # m and rad; a step smaller than this is the last
FEET, ROOT, TRUNK, ELBOW, WRIST = (100.0, 30.0), (5.0, 5.0), (0.0, 4.0), 2.0, 2.0  # costs of position and rotation
SWING, NEAR = 5.0, 3  # cost of the rotation of a foot in the air, and frames before and after in which it is not yet
FREE, ROLL = 6, 2.0  # joints with which a foot goes anywhere, and the cost of its roll where a leg has fewer
POSTURE, REST = 0.05, 0.05  # costs of leaving the default pose, and of moving at all


def need_mink() -> None:
    """Raise SceneError where mink is not installed."""
    try:
        import mink
    except ImportError:
        raise SceneError(
            'Retargeting needs the package mink, which is not installed. pip install "lockstep-sim[retarget]"'
        ) from None
    del mink


@attrs.frozen(eq=False)
class Solution:
    """Motion of the robot."""

    root_position: np.ndarray  # (frames, 3) m
    root_rotation: np.ndarray  # (frames, 4) scalar first
    dof_position: np.ndarray  # (frames, dofs) rad


def _point_task(point: BodyPoint, cost: float) -> Any:
    """A task of mink that brings a point of a body to `target`."""
    from mink import Task

    class PointTask(Task):
        target: np.ndarray

        def compute_error(self, configuration: Any) -> np.ndarray:
            return self._place(configuration.data) - self.target

        def compute_jacobian(self, configuration: Any) -> np.ndarray:
            data, jacobian = configuration.data, np.zeros((3, configuration.nv))
            mujoco.mj_jac(configuration.model, data, jacobian, None, self._place(data), point.body)
            return jacobian

        def _place(self, data: mujoco.MjData) -> np.ndarray:
            return data.xpos[point.body] + data.xmat[point.body].reshape(3, 3) @ point.local

    return PointTask(cost=np.full(3, cost))


class _Tasks:
    """All tasks of a robot, and how they are aimed at a frame of the targets."""

    def __init__(self, model: RobotModel, limbs: Limbs) -> None:
        from mink import DampingTask, FrameTask, PostureTask

        def frame(body: int, costs: tuple[float, float]) -> Any:
            return FrameTask(body, "body", *costs, lm_damping=1e-3)

        self.feet = [frame(leg.body, FEET) for leg in limbs.legs]
        self.soles: list[Any] = []
        self.middles = [rotate_inverse(foot.rotation, foot.middle) for foot in limbs.feet]
        if min(leg.joints for leg in limbs.legs) < FREE:  # as a rule it is the roll of the ankle that is missing
            for task in self.feet:
                task.set_position_cost(0.0)
            pairs = zip(limbs.legs, self.middles, strict=True)
            self.soles = [_point_task(BodyPoint(leg.body, middle), FEET[0]) for leg, middle in pairs]
        self.root, self.trunk = frame(limbs.root, ROOT), frame(limbs.trunk, TRUNK)
        self.elbows = [_point_task(arm.hinge, ELBOW) for arm in limbs.arms]
        self.wrists = [_point_task(arm.tip, WRIST) for arm in limbs.arms]
        self.posture, self.rest = PostureTask(model.model, POSTURE), DampingTask(model.model, REST)
        turning = [self.trunk] if limbs.trunk != limbs.root else []
        self.all = [*self.feet, *self.soles, self.root, *turning, *self.elbows, *self.wrists, self.posture, self.rest]

    def aim(self, targets: RobotTargets, frame: int) -> None:
        """Take the targets of one frame."""
        from mink import SE3, SO3

        def pose(rotation: np.ndarray, position: np.ndarray) -> Any:
            return SE3.from_rotation_and_translation(SO3(rotation), position)

        for side, task in enumerate(self.feet):
            task.set_target(pose(targets.feet.rotation[frame, side], targets.feet.position[frame, side]))
            near = targets.feet.stands[max(frame - NEAR, 0) : frame + NEAR + 1, side].any()
            cost = FEET[1] if near else SWING
            task.set_orientation_cost((ROLL if self.soles else cost, cost, cost))
        for side, task in enumerate(self.soles):
            turned = rotate(targets.feet.rotation[frame, side], self.middles[side])
            task.target = targets.feet.position[frame, side] + turned
        self.root.set_target(pose(targets.root_rotation[frame], targets.root_position[frame]))
        self.trunk.set_target(pose(targets.trunk_rotation[frame], np.zeros(3)))
        for arm, (elbow, wrist) in enumerate(zip(self.elbows, self.wrists, strict=True)):
            elbow.target, wrist.target = targets.elbows[frame, arm], targets.wrists[frame, arm]


def solve(model: RobotModel, limbs: Limbs, targets: RobotTargets, fps: float) -> Solution:
    """The motion of the robot that meets the targets best; joints stay within their ranges and speeds."""
    need_mink()
    from mink import Configuration, ConfigurationLimit, FreeJointVelocityLimit, VelocityLimit

    robot, frames = model.robot, len(targets.root_position)
    start = np.concatenate(
        (targets.root_position[0], targets.root_rotation[0], robot.default_position.double().cpu().numpy())
    )
    configuration, tasks = Configuration(model.model, start), _Tasks(model, limbs)
    tasks.posture.set_target(start)
    within = ConfigurationLimit(model.model, min_distance_from_limits=MARGIN)
    _bend_knees(model, limbs, within)
    speeds = SPEED * robot.velocity_limit.double().cpu().numpy()
    slow = VelocityLimit(model.model, dict(zip(robot.dof_names, speeds.tolist(), strict=True)))
    steady = FreeJointVelocityLimit(model.model, *ROOT_SPEED)
    states = np.zeros((frames, model.model.nq))
    with quiet():
        for frame in range(frames):
            tasks.aim(targets, frame)
            limits = [within, slow, steady] if frame else [within]
            _settle(configuration, tasks.all, limits, FURTHER if frame else FIRST, 1.0 / fps)
            states[frame] = configuration.q
    return Solution(root_position=states[:, :3], root_rotation=states[:, 3:7], dof_position=states[:, 7:])


def _bend_knees(model: RobotModel, limbs: Limbs, within: Any) -> None:
    """Narrow the limits so that knees bend as a human's do, at least by BENT."""
    for leg in limbs.legs:
        place = int(model.model.jnt_qposadr[leg.hinge_joint])
        least = leg.straight + leg.forward * BENT
        if leg.forward > 0.0:
            within.lower[place] = max(within.lower[place], least)
        else:
            within.upper[place] = min(within.upper[place], least)


def _settle(configuration: Any, tasks: list[Any], limits: list[Any], steps: int, seconds: float) -> None:
    """Up to `steps` steps of the solver, which together take `seconds`."""
    from mink import build_ik
    from qpsolvers import solve_problem

    step = seconds / steps
    for _ in range(steps):
        result = solve_problem(build_ik(configuration, tasks, step, 1e-6, limits), solver=SOLVER)
        if not result.found or result.x is None:
            return
        configuration.integrate_inplace(result.x, 1.0)
        if np.abs(result.x).max() < SETTLED:
            return
