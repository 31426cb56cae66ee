"""Render scene of a film: the robot with its own looks on a floor with a grid, and the same robot as plain convex parts."""

from pathlib import Path

import attrs
import mujoco
import numpy as np

from components.robot import RobotDescription
from components.terrain import Ground
from engine.errors import SceneError
from systems.ground.grid import Terrain
from systems.maths.rotation import rotate
from systems.robots import mjcf
from systems.robots.silence import quiet

MOST_FACES = 30_000  # of all meshes together: more take a software renderer seconds per frame, and a film hours
FINEST = 0.003  # m, about a pixel
HULL_VERTICES = 40  # of a convex part; more cannot be distinguished in a film
SHOWN_GROUPS = 3  # MuJoCo's viewers show geom groups 0 to 2
FIELD_OF_VIEW = 40.0  # degrees, from bottom to top
LAMP = (-1.5, -2.0, 5.0)  # m, from what the camera looks at
_GEOM = mujoco.mjtGeom
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
    ground: Ground | None = None  # that it stands on; None: a plane at height 0

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


def build_render_scene(
    description: RobotDescription, *, size: tuple[int, int] = (640, 480), terrain: Terrain | None = None
) -> RenderScene:
    """The robot as its file draws it, on terrain or a plane, for pictures of `size` (width, height) pixels.

    Raises SceneError for an unusable model.
    """
    spec, _ = mjcf.read_spec(description)
    mjcf.strip(spec, visual=True)
    shown = [geom for geom in spec.geoms if geom.group < SHOWN_GROUPS]
    for geom in spec.geoms if shown else ():
        if geom.group >= SHOWN_GROUPS:
            spec.delete(geom)
    mjcf.drop_unused_meshes(spec)
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 1  # MuJoCo finds convex hulls of what could collide
        geom.group = 0
    for mesh in spec.meshes:
        mesh.maxhullvert = HULL_VERTICES
    mjcf.lock_joints(spec, description.locked_joints)
    spec.compiler.boundmass = spec.compiler.boundinertia = 1e-3  # nothing is simulated
    _light(spec, size)
    if terrain is None:
        spec.worldbody.add_geom(name="floor", type=_GEOM.mjGEOM_PLANE, size=[0, 0, 1], material="grid")
    else:
        mjcf.add_terrain(spec, terrain, material="grid", rgba=[0.5, 0.5, 0.5, 1.0])  # which leaves it to the material
    model = _compile(spec, description.name)
    if model.mesh_facenum.sum() > MOST_FACES:
        _coarsen(spec, model)
        model = _compile(spec, description.name)
    own = np.flatnonzero(model.geom_bodyid > 0).tolist()
    parts = tuple(part for geom in own if (part := _convex_part(model, geom)) is not None)
    height = _height(model, parts)
    model.stat.extent = height  # distances of fog and shadows are shares of it
    return RenderScene(model, parts, height, ground=None if terrain is None else terrain.ground())


def _compile(spec: mujoco.MjSpec, robot: str) -> mujoco.MjModel:
    try:
        with quiet():
            return spec.compile()
    except ValueError as error:
        raise SceneError(f"The model of robot '{robot}' does not compile: {error}") from None


def _coarsen(spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    """Give every mesh fewer faces, as coarse as needed for all of them together to stay below MOST_FACES."""
    full = {model.mesh(i).name: _mesh(model, i) for i in range(model.nmesh)}
    cell = FINEST
    coarse = {name: _solid(*cluster(*mesh, cell)) for name, mesh in full.items()}
    while sum(len(faces) for _, faces in coarse.values()) > MOST_FACES:
        cell *= 1.3
        coarse = {name: _solid(*cluster(*mesh, cell)) for name, mesh in full.items()}
    for name, (vertices, faces) in coarse.items():
        mesh = spec.add_mesh(name=f"coarse {name}", maxhullvert=HULL_VERTICES)
        mesh.uservert, mesh.userface = vertices.astype(np.float32).ravel(), faces.astype(np.int32).ravel()
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL  # a coarse mesh need not be closed
    for geom in spec.geoms:
        if geom.meshname:
            geom.meshname = f"coarse {geom.meshname}"
    mjcf.drop_unused_meshes(spec)


def _mesh(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of a mesh as its file has them, and its faces."""
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
    vertices = model.mesh_vert[first : first + count].astype(np.float64)
    return rotate(model.mesh_quat[mesh][None], vertices) + model.mesh_pos[mesh], faces


def _solid(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A mesh that has a volume: the same, or a box around one that became flat or a line."""
    if len(vertices) > 3 and len(faces) and np.linalg.matrix_rank(vertices - vertices[0], tol=1e-5) == 3:
        return vertices, faces
    middle, half = vertices.mean(0), np.maximum(0.5 * np.ptp(vertices, axis=0), 0.5 * FINEST)
    corners = middle + half * np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3, indexing="ij"), -1).reshape(8, 3)
    quads = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    return corners, np.concatenate((quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]))


def cluster(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """A coarser mesh: vertices (V, 3) in one cube of side `cell` become their mean, faces (F, 3) without area go.

    Rossignac & Borrel, "Multi-resolution 3D approximations for rendering complex scenes", 1993.
    """
    cells = np.floor((vertices - vertices.min(0)) / cell).astype(np.int64)
    _, group = np.unique(np.ravel_multi_index(tuple(cells.T), tuple(cells.max(0) + 1)), return_inverse=True)
    sums = np.stack([np.bincount(group, vertices[:, axis]) for axis in range(3)], 1)
    merged = sums / np.bincount(group)[:, None]
    faces = group[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    least = faces.argmin(1)[:, None]
    turned = np.take_along_axis(faces, (least + np.arange(3)) % 3, 1)  # the same face, smallest index first
    _, kept = np.unique(np.ravel_multi_index(tuple(turned.T), (len(merged),) * 3), return_index=True)
    return merged, turned[kept]


def _light(spec: mujoco.MjSpec, size: tuple[int, int]) -> None:
    """A lamp that casts shadows, a bright sky and the looks of a floor with squares of half a metre."""
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
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.93, 0.95, 0.97], rgb2=[0.72, 0.77, 0.83], width=64, height=384,
    )  # fmt: skip
    spec.add_texture(
        name="grid", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.88, 0.90, 0.93], rgb2=[0.82, 0.85, 0.89], mark=mujoco.mjtMark.mjMARK_EDGE, markrgb=[0.66, 0.69, 0.73],
        width=256, height=256,
    )  # fmt: skip
    floor = spec.add_material(name="grid", texrepeat=[2, 2], texuniform=True, reflectance=0.0)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "grid"


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
