"""Render process: poses in, pictures out, by MuJoCo's renderer. OpenGL may end the process that calls it.

Run as a script, with a model file (MJCF, or MJB as `mj_saveModel` writes it) and options in JSON as its arguments. It imports
nothing of the project, so that it starts quickly. Little-endian, over the pipes:

    first, out := u32 length, JSON {joints: [[name, first place in qpos]], free: place of the free joint or null,
                                    size of qpos, renderer, shapes}
    each in    := u16 width, u16 height, 6 f64 camera, f64 qpos, and with a ghost the f64 qpos of that
    each out   := u16 width, u16 height, width × height × 3 bytes RGB from the top left

Camera: what to look at (m), distance (m), azimuth and elevation (degrees). The end of stdin ends it. Options, all of them with
a default: `alone` (only the robot, lit plainly, and black where there is nothing), `field_of_view` (degrees), `samples` (of a
pixel at edges), `ghost` (whether a translucent second pose comes), `lamp` (m from what is looked at to the first light, its height
from 0 unless `climbs`).
"""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import mujoco
import numpy as np

SIZE, LENGTH = struct.Struct("<HH"), struct.Struct("<I")
CAMERA = 6  # float64
LARGEST = (1280, 960)  # pixels of a picture of the robot alone; others are at most as large as the model says
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")  # names of renderers without a GPU
GHOST = (0.1, 0.45, 0.95, 0.35)


def read_exactly(pipe: BinaryIO, count: int) -> bytes | None:
    """`count` bytes, or None where the pipe ends before."""
    data = pipe.read(count)
    return data if data is not None and len(data) == count else None


def load(path: str, options: dict[str, Any]) -> Any:
    """A compiled model from a file, with the options that are settings of a model."""
    made = mujoco.MjModel.from_binary_path if Path(path).suffix == ".mjb" else mujoco.MjModel.from_xml_path
    model = made(path)
    model.vis.quality.offsamples = options.get("samples", 0)
    model.vis.global_.fovy = options.get("field_of_view", model.vis.global_.fovy)
    if options.get("alone"):  # dark parts on a dark background need light
        model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = 0.45, 0.55
        model.vis.global_.offwidth, model.vis.global_.offheight = LARGEST
    return model


def choose_shapes(model: Any, gpu: bool) -> str:
    """Hide the floor, and without a GPU also what has no collision shape, where collision shapes are left over."""
    floor = np.asarray(model.geom_type) == mujoco.mjtGeom.mjGEOM_PLANE
    solid = ((np.asarray(model.geom_contype) | np.asarray(model.geom_conaffinity)) != 0) & ~floor
    coarse = not gpu and bool(solid.any())
    hidden = floor | ~solid if coarse else floor
    model.geom_matid[hidden] = -1
    model.geom_rgba[hidden, 3] = 0.0
    if coarse:
        model.geom_group[solid] = 0  # viewers hide the groups in which collision shapes usually are
    return "collision" if coarse else "all"


class OffscreenScene:
    """One model, its scene, and the buffer it is drawn to."""

    def __init__(self, path: str, options: dict[str, Any]) -> None:
        self.model, self.lamp, self.climbs = load(path, options), options.get("lamp"), options.get("climbs")
        self.largest = self.model.vis.global_.offwidth, self.model.vis.global_.offheight
        self.context = mujoco.GLContext(*self.largest)
        self.context.make_current()
        self.renderer, self.shapes = renderer_name(), "all"
        if options.get("alone"):
            self.shapes = choose_shapes(self.model, gpu=not any(s in self.renderer.lower() for s in SOFTWARE))
        self.drawing = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.drawing)
        self.scene = mujoco.MjvScene(self.model, maxgeom=3 * self.model.ngeom + 16)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE") if options.get("alone") else ():
            self.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        if not options.get("alone"):
            self.scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = 1
        self.robot, self.ghost = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self.camera, self.option = mujoco.MjvCamera(), mujoco.MjvOption()

    def about(self) -> dict[str, Any]:
        """What the parent has to know to make poses of this model."""
        kinds = mujoco.mjtJoint
        joints = [(self.model.joint(i).name, int(self.model.jnt_qposadr[i])) for i in range(self.model.njnt)]
        kind = self.model.jnt_type.tolist()
        free = [place for i, (_, place) in enumerate(joints) if kind[i] == int(kinds.mjJNT_FREE)]
        moving = (int(kinds.mjJNT_HINGE), int(kinds.mjJNT_SLIDE))
        return {
            "joints": [joint for i, joint in enumerate(joints) if kind[i] in moving],
            "free": free[0] if free else None,
            "size": int(self.model.nq),
            "renderer": self.renderer,
            "shapes": self.shapes,
        }

    def picture(self, width: int, height: int, camera: np.ndarray, poses: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 of the poses (1, qpos), or (2, qpos) with a ghost."""
        self._pose(self.robot, poses[0])
        self.camera.lookat[:], self.camera.distance = camera[:3], camera[3]
        self.camera.azimuth, self.camera.elevation = camera[4:6]
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self.model, self.robot, self.option, None, self.camera, everything, self.scene)
        if self.lamp is not None:
            high = self.lamp[2] + (camera[2] if self.climbs else 0.0)
            self.scene.lights[0].pos = [camera[0] + self.lamp[0], camera[1] + self.lamp[1], high]
        for pose in poses[1:]:
            self._add_ghost(pose)
        place = mujoco.MjrRect(0, 0, min(width, self.largest[0]), min(height, self.largest[1]))
        mujoco.mjr_render(place, self.scene, self.drawing)
        image = np.zeros((place.height, place.width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, place, self.drawing)
        return image[::-1]

    def _add_ghost(self, pose: np.ndarray) -> None:
        self._pose(self.ghost, pose)
        solid, moving = self.scene.ngeom, mujoco.mjtCatBit.mjCAT_DYNAMIC
        mujoco.mjv_addGeoms(self.model, self.ghost, self.option, mujoco.MjvPerturb(), moving, self.scene)
        for geom in self.scene.geoms[solid : self.scene.ngeom]:
            geom.rgba = GHOST

    def _pose(self, data: Any, pose: np.ndarray) -> None:
        data.qpos[:] = pose
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)


def renderer_name() -> str:
    """How OpenGL calls what draws; 'software' where it does not say, since that is the careful guess."""
    try:
        from OpenGL import GL  # type: ignore[import-untyped]

        return bytes(GL.glGetString(GL.GL_RENDERER) or b"software").decode(errors="replace")
    except Exception:  # PyOpenGL is missing, or has another platform than MuJoCo
        return "software"


def serve(path: str, options: dict[str, Any], inward: BinaryIO, outward: BinaryIO) -> None:
    """Draw what comes in until nothing comes any more."""
    show = OffscreenScene(path, options)
    about = json.dumps(show.about()).encode()
    outward.write(LENGTH.pack(len(about)) + about)
    outward.flush()
    count = CAMERA + show.model.nq * (2 if options.get("ghost") else 1)
    while (head := read_exactly(inward, SIZE.size)) is not None:
        body = read_exactly(inward, 8 * count)
        if body is None:
            return
        width, height = SIZE.unpack(head)
        numbers = np.frombuffer(body, "<f8")
        picture = show.picture(width, height, numbers[:CAMERA], numbers[CAMERA:].reshape(-1, show.model.nq))
        outward.write(SIZE.pack(picture.shape[1], picture.shape[0]) + picture.tobytes())
        outward.flush()


def main() -> None:
    """The process: what libraries print goes to stderr, so that it cannot get between the pictures."""
    outward = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.argv[1], json.loads(sys.argv[2]), sys.stdin.buffer, outward)


if __name__ == "__main__":
    main()
