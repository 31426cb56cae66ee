"""Render scene of a robot that a description names: with its own looks, coarse enough to be drawn without a GPU."""

import mujoco
import numpy as np

from components.robot import RobotDescription
from engine.errors import SceneError
from systems.film.scenery import GRID, HULL_VERTICES, RenderScene, finished, light
from systems.ground.grid import Terrain
from systems.maths.rotation import rotate
from systems.robots import mjcf
from systems.robots.silence import quiet

MOST_FACES = 30_000  # of all meshes together: more take a software renderer seconds per frame, and a film hours
FINEST = 0.003  # m, about a pixel
SHOWN_GROUPS = 3  # MuJoCo's viewers show geom groups 0 to 2


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
    light(spec, size, floor=terrain is None)
    if terrain is not None:
        mjcf.add_terrain(spec, terrain, material=GRID, rgba=[0.5, 0.5, 0.5, 1.0])  # which leaves it to the material
    model = _compile(spec, description.name)
    if model.mesh_facenum.sum() > MOST_FACES:
        _coarsen(spec, model)
        model = _compile(spec, description.name)
    return finished(model, ground=None if terrain is None else terrain.ground())


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
