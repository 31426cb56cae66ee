"""Scenery of a film: a robot as plain convex parts on a floor with a grid, under a lamp; needs no torch."""

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import mujoco
import numpy as np

from engine.render.camera import FIELD_OF_VIEW

if TYPE_CHECKING:
    from components.terrain import Ground

GRID, SKY = "lockstep grid", "lockstep sky"  # which no robot's file has
HULL_VERTICES = 40  # of a convex part; more cannot be distinguished in a film
LAMP = (-1.5, -2.0, 5.0)  # m, from what the camera looks at
_GEOM = mujoco.mjtGeom
PLASTIC = (0.55, 0.6, 0.68)  # of collision shapes, whose own colours say nothing
_AROUND, _RINGS = 12, 4  # segments of a round part, and rings of half a sphere


@attrs.frozen(eq=False)
class ConvexPart:
    """A convex part of the robot: `vertices` (V, 3) m in its geom's frame, `faces` (F, 3) counter-clockwise from outside."""

    geom: int
    vertices: np.ndarray
    faces: np.ndarray
    color: tuple[float, float, float]


@attrs.frozen(eq=False)
class RenderScene:
    """A robot to look at. Its state is root position (m), root rotation (scalar first) and joints (rad), (7 + dof)."""

    model: mujoco.MjModel
    parts: tuple[ConvexPart, ...]
    height: float  # m, of the robot as its file poses it
    field_of_view: float = FIELD_OF_VIEW  # degrees, from bottom to top
    ground: "Ground | None" = None  # that it stands on; None: a plane at height 0

    def save(self, path: Path) -> None:
        """Write the compiled model for another process."""
        mujoco.mj_saveModel(self.model, str(path))

    def poses(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the parts are: (T, 7 + dof) -> (T, parts, 3) m and rotation matrices (T, parts, 3, 3)."""
        data = mujoco.MjData(self.model)
        geoms = [part.geom for part in self.parts]
        position = np.zeros((len(states), len(geoms), 3))
        rotation = np.zeros((len(states), len(geoms), 3, 3))
        for frame, state in enumerate(states):
            data.qpos[:] = state
            mujoco.mj_kinematics(self.model, data)
            position[frame] = data.geom_xpos[geoms]
            rotation[frame] = data.geom_xmat[geoms].reshape(-1, 3, 3)
        return position, rotation


def scene_of_mjcf(text: str, *, size: tuple[int, int] = (640, 480)) -> RenderScene:
    """The robot that an MJCF text simulates, as its collision shapes draw it, for pictures of `size` (width, height) pixels."""
    spec = mujoco.MjSpec.from_string(text)
    for geom in list(spec.worldbody.geoms):
        spec.delete(geom)
    for geom in spec.geoms:
        geom.group = 0
        geom.rgba = (*PLASTIC, 1.0)
    light(spec, size)
    return finished(spec.compile())


def finished(model: mujoco.MjModel, *, ground: "Ground | None" = None) -> RenderScene:
    """The scene of a compiled model that was lit, on the `ground` that is part of it or on a plane."""
    own = np.flatnonzero(model.geom_bodyid > 0).tolist()
    parts = tuple(part for geom in own if (part := _convex_part(model, geom)) is not None)
    height = _height(model, parts)
    model.stat.extent = height  # distances of fog and shadows are shares of it
    return RenderScene(model, parts, height, ground=ground)


def light(spec: mujoco.MjSpec, size: tuple[int, int], *, floor: bool = True) -> None:
    """A lamp that casts shadows, a bright sky, and the looks of a floor with squares of half a metre, and such a `floor`."""
    for light in list(spec.lights):
        spec.delete(light)
    spec.worldbody.add_light(  # a spot, since software renderers speckle the floor under a directional light
        type=mujoco.mjtLightType.mjLIGHT_SPOT, pos=LAMP, dir=[-x for x in LAMP], cutoff=80, exponent=0,
        castshadow=True, diffuse=[0.4] * 3, specular=[0.15] * 3,
    )  # fmt: skip
    look, quality = spec.visual, spec.visual.quality
    look.headlight.ambient, look.headlight.diffuse, look.headlight.specular = [0.42] * 3, [0.45] * 3, [0.1] * 3
    look.global_.offwidth, look.global_.offheight, look.global_.fovy = *size, FIELD_OF_VIEW
    look.map.shadowscale, look.map.fogstart, look.map.fogend = 0.5, 2.0, 9.0
    look.rgba.fog = look.rgba.haze = [0.88, 0.91, 0.94, 1.0]
    quality.offsamples, quality.shadowsize = 4, 1024
    spec.add_texture(
        name=SKY, type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.93, 0.95, 0.97], rgb2=[0.72, 0.77, 0.83], width=64, height=384,
    )  # fmt: skip
    spec.add_texture(
        name=GRID, type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.88, 0.90, 0.93], rgb2=[0.82, 0.85, 0.89], mark=mujoco.mjtMark.mjMARK_EDGE, markrgb=[0.66, 0.69, 0.73],
        width=256, height=256,
    )  # fmt: skip
    looks = spec.add_material(name=GRID, texrepeat=[2, 2], texuniform=True, reflectance=0.0)
    looks.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = GRID
    if floor:
        spec.worldbody.add_geom(name="floor", type=_GEOM.mjGEOM_PLANE, size=[0, 0, 1], material=GRID)


def _height(model: mujoco.MjModel, parts: tuple[ConvexPart, ...]) -> float:
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    heights = [
        data.geom_xpos[part.geom, 2] + part.vertices @ data.geom_xmat[part.geom].reshape(3, 3)[2] for part in parts
    ]
    return float(np.ptp(np.concatenate(heights))) if heights else 1.0


def _convex_part(model: mujoco.MjModel, geom: int) -> ConvexPart | None:
    kind, size = _GEOM(int(model.geom_type[geom])), model.geom_size[geom]
    if kind == _GEOM.mjGEOM_MESH:
        vertices, faces = _hull(model, int(model.geom_dataid[geom]))
    elif kind == _GEOM.mjGEOM_BOX:
        vertices, faces = _turned([(0.0, -1.0), (2**0.5, -1.0), (2**0.5, 1.0), (0.0, 1.0)], 4)
        vertices = vertices * size
    elif kind == _GEOM.mjGEOM_CYLINDER:
        vertices, faces = _turned([(0.0, -1.0), (1.0, -1.0), (1.0, 1.0), (0.0, 1.0)], _AROUND)
        vertices = vertices * size[[0, 0, 1]]
    elif kind in (_GEOM.mjGEOM_SPHERE, _GEOM.mjGEOM_ELLIPSOID, _GEOM.mjGEOM_CAPSULE):
        angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 2 * _RINGS)
        vertices, faces = _turned(list(zip(np.cos(angles), np.sin(angles), strict=True)), _AROUND)
        long = size[1] if kind == _GEOM.mjGEOM_CAPSULE else 0.0
        vertices = np.sign(vertices) * (0, 0, long) + vertices * (size if kind == _GEOM.mjGEOM_ELLIPSOID else size[0])
    else:
        return None
    material = model.geom_matid[geom]
    rgba = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
    red, green, blue = (float(x) for x in rgba[:3])
    return ConvexPart(geom, vertices, faces, (red, green, blue))


def _turned(profile: list[tuple[float, float]], around: int) -> tuple[np.ndarray, np.ndarray]:
    """The solid that a profile of (radius, height), bottom to top, sweeps about z; triangles."""
    angles = 2.0 * np.pi * (np.arange(around) + 0.5) / around
    vertices = np.array([(r * np.cos(a), r * np.sin(a), z) for r, z in profile for a in angles])
    faces = []
    for ring in range(len(profile) - 1):
        for i in range(around):
            a, b = ring * around + i, ring * around + (i + 1) % around
            faces += [(a, b, b + around), (a, b + around, a + around)]
    points = vertices[np.array(faces)]
    area = np.linalg.norm(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=-1)
    return vertices, np.array(faces)[area > 1e-9]


def _hull(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """The convex hull that the compiler found, faces turned outwards; see mesh_graph of mjModel for its layout."""
    first = model.mesh_vertadr[mesh]
    vertices = model.mesh_vert[first : first + model.mesh_vertnum[mesh]].astype(np.float64)
    graph = model.mesh_graph[model.mesh_graphadr[mesh] :]
    count, faces = int(graph[0]), int(graph[1])
    used = graph[2 + count : 2 + 2 * count]
    triangles = graph[2 + 3 * count + 3 * faces :][: 3 * faces].reshape(-1, 3)
    place = np.zeros(len(vertices), np.int64)
    place[used] = np.arange(count)
    vertices, triangles = vertices[used], place[triangles]
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    outwards = (np.cross(b - a, c - a) * (a - vertices.mean(0))).sum(-1) > 0.0
    return vertices, np.where(outwards[:, None], triangles, triangles[:, ::-1])
