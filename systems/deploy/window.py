"""The window of `lockstep play`: the robot on a floor with a grid, followed by the camera; needs no torch."""

from typing import Any

import mujoco
import numpy as np

from systems.deploy.robot import MujocoRobot
from systems.film.scenery import LAMP, scene_of_mjcf

AWAY = 4.0  # m, of the camera from the robot, in times of its height


class PlayWindow:
    """MuJoCo's window on a robot that is simulated elsewhere; `pressed` are keys that nobody has dealt with yet.

    MuJoCo's own keys change how things look, and so does steering by letters; looks are put back in every frame.
    """

    def __init__(self, mjcf: str) -> None:
        scene = scene_of_mjcf(mjcf)
        self.model, self.data, self.height = scene.model, mujoco.MjData(scene.model), scene.height
        self.pressed: list[int] = []
        self._window: Any = None
        option = mujoco.MjvOption()
        self._looks = option.flags.copy(), option.geomgroup.copy(), mujoco.MjvScene().flags.copy()

    def __enter__(self) -> "PlayWindow":
        """Open it."""
        from mujoco import viewer

        self._window = viewer.launch_passive(
            self.model, self.data, key_callback=self.pressed.append, show_left_ui=False, show_right_ui=False
        ).__enter__()
        camera = self._window.cam
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, 1
        camera.distance, camera.azimuth, camera.elevation = AWAY * self.height, 135.0, -15.0
        return self

    def __exit__(self, *raised: object) -> None:
        """Close it."""
        self._window.__exit__(*raised)

    @property
    def _flags(self) -> tuple[np.ndarray, ...]:
        return self._window.opt.flags, self._window.opt.geomgroup, self._window.user_scn.flags

    @property
    def open(self) -> bool:
        """Whether nobody has closed it."""
        return bool(self._window.is_running())

    def show(self, robot: MujocoRobot) -> None:
        """Draw the robot where it is now."""
        with self._window.lock():
            self.data.qpos[:] = robot.data.qpos
            self.model.light_pos[0] = np.add(LAMP, (*robot.data.qpos[:2], 0.0))
            mujoco.mj_kinematics(self.model, self.data)
            mujoco.mj_comPos(self.model, self.data)  # what the camera follows
            mujoco.mj_camlight(self.model, self.data)
            for flags, look in zip(self._flags, self._looks, strict=True):
                flags[:] = look
        self._window.sync()
