"""Render process of the mesh view: poses in, pictures out, by MuJoCo's renderer. OpenGL may end the process that calls it.

Run as a script, with a model file (MJCF, or MJB as `mj_saveModel` writes it) as its argument. It imports nothing of the
project, so that it starts quickly, and MuJoCo only there. Little-endian, over the pipes:

    first, out := u32 length, JSON {joints: [[name, first place in qpos]], free: place of the free joint or null,
                                    size of qpos, renderer, shapes}
    each in    := u16 width, u16 height, 6 f64 camera, f64 qpos
    each out   := u16 width, u16 height, width × height × 3 bytes RGB from the top left; black where there is nothing

Camera: what to look at (m), distance (m), azimuth and elevation (degrees). The end of stdin ends it.
"""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SIZE = struct.Struct("<HH")
LENGTH = struct.Struct("<I")
CAMERA = 6  # float64
LARGEST = (1280, 960)  # pixels
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")  # names of renderers without a GPU


def read_exactly(pipe: BinaryIO, count: int) -> bytes | None:
    """`count` bytes, or None where the pipe ends before."""
    data = pipe.read(count)
    return data if data is not None and len(data) == count else None


def load(path: str) -> Any:
    """A compiled model from a file, without multisampling."""
    import mujoco

    if Path(path).suffix == ".mjb":
        model = mujoco.MjModel.from_binary_path(path)
    else:
        model = mujoco.MjModel.from_xml_path(path)
    model.vis.quality.offsamples = 0
    model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = 0.45, 0.55  # dark parts on a dark background
    model.vis.global_.offwidth, model.vis.global_.offheight = LARGEST
    return model


def choose_shapes(model: Any, gpu: bool) -> str:
    """Hide the floor, and without a GPU also what has no collision shape, where collision shapes are left over."""
    import mujoco

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
    """One model, its scene without shadows, reflections and sky, and the buffer it is drawn to."""

    def __init__(self, path: str) -> None:
        import mujoco

        self.mujoco = mujoco
        self.model = load(path)
        self.context = mujoco.GLContext(*LARGEST)
        self.context.make_current()
        self.renderer = renderer_name()
        self.shapes = choose_shapes(self.model, gpu=not any(s in self.renderer.lower() for s in SOFTWARE))
        self.drawing = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.drawing)
        self.scene = mujoco.MjvScene(self.model, maxgeom=self.model.ngeom + 16)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE"):
            self.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self.data, self.camera, self.option = mujoco.MjData(self.model), mujoco.MjvCamera(), mujoco.MjvOption()

    def about(self) -> dict[str, Any]:
        """What the window has to know to make poses of this model."""
        kinds = self.mujoco.mjtJoint
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

    def picture(self, width: int, height: int, camera: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8."""
        mujoco = self.mujoco
        self.data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        self.camera.lookat[:], self.camera.distance = camera[:3], camera[3]
        self.camera.azimuth, self.camera.elevation = camera[4:6]
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self.model, self.data, self.option, None, self.camera, everything, self.scene)
        place = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(place, self.scene, self.drawing)
        image = np.zeros((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, place, self.drawing)
        return image[::-1]


def renderer_name() -> str:
    """How OpenGL calls what draws; 'software' where it does not say, since that is the careful guess."""
    try:
        from OpenGL import GL  # type: ignore[import-untyped]

        return bytes(GL.glGetString(GL.GL_RENDERER) or b"software").decode(errors="replace")
    except Exception:  # PyOpenGL is missing, or has another platform than MuJoCo
        return "software"


def serve(path: str, field_of_view: float, inward: BinaryIO, outward: BinaryIO) -> None:
    """Draw what comes in until nothing comes any more."""
    show = OffscreenScene(path)
    show.model.vis.global_.fovy = field_of_view
    about = json.dumps(show.about()).encode()
    outward.write(LENGTH.pack(len(about)) + about)
    outward.flush()
    count = CAMERA + show.model.nq
    while (head := read_exactly(inward, SIZE.size)) is not None:
        body = read_exactly(inward, 8 * count)
        if body is None:
            return
        width, height = SIZE.unpack(head)
        numbers = np.frombuffer(body, "<f8")
        picture = show.picture(min(width, LARGEST[0]), min(height, LARGEST[1]), numbers[:CAMERA], numbers[CAMERA:])
        outward.write(SIZE.pack(picture.shape[1], picture.shape[0]) + picture.tobytes())
        outward.flush()


def main() -> None:
    """The process: what libraries print goes to stderr, so that it cannot get between the pictures."""
    outward = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.argv[1], float(sys.argv[2]), sys.stdin.buffer, outward)


if __name__ == "__main__":
    main()
