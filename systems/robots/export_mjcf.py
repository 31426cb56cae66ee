"""MJCF export of a compiled robot, as one text that any version of MuJoCo can draw without other files.

Only what a picture needs: bodies, joints, collision shapes, and terrain. A mesh is given by its convex hull, which is what it collides
as and what keeps the text small; one that nothing collides with is given whole.
"""

from xml.etree import ElementTree

import mujoco
import numpy as np

_DIGITS = 6
_JOINTS = {
    int(mujoco.mjtJoint.mjJNT_HINGE): "hinge",
    int(mujoco.mjtJoint.mjJNT_SLIDE): "slide",
    int(mujoco.mjtJoint.mjJNT_BALL): "ball",
}
_SIZES = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): ("sphere", 1),
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): ("capsule", 2),
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): ("cylinder", 2),
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): ("ellipsoid", 3),
    int(mujoco.mjtGeom.mjGEOM_BOX): ("box", 3),
}
_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
_FIELD = int(mujoco.mjtGeom.mjGEOM_HFIELD)
_EARTH = (0.42, 0.44, 0.47)
_PLASTIC = (0.7, 0.72, 0.75)  # collision shapes are often see-through, or of a colour that says so


def export_mjcf(model: mujoco.MjModel) -> bytes:
    """The robot of a compiled model as MJCF, on its terrain. The same model gives the same bytes."""
    root = ElementTree.Element("mujoco", model="robot")
    ElementTree.SubElement(root, "compiler", angle="radian", inertiafromgeom="false", autolimits="false")
    assets = ElementTree.SubElement(root, "asset")
    places = [ElementTree.SubElement(root, "worldbody")]
    ElementTree.SubElement(places[0], "light", pos="0 0 4", dir="0 0 -1")
    for body in range(1, model.nbody):
        places.append(_add_body(model, body, places[int(model.body_parentid[body])]))
    shown = [*_terrain(model, assets), *_shown(model)]
    for mesh in sorted({int(model.geom_dataid[geom]) for geom in shown if model.geom_type[geom] == _MESH}):
        points, faces = _hull(model, mesh)
        ElementTree.SubElement(
            assets, "mesh", name=f"mesh{mesh}", vertex=_numbers(points), face=_numbers(faces), inertia="shell"
        )
    for geom in shown:
        _add_geom(model, geom, places[int(model.geom_bodyid[geom])])
    return ElementTree.tostring(root, "utf-8")


def physics_mjcf(model: mujoco.MjModel, spec: mujoco.MjSpec) -> str:
    """The MJCF text of a compiled spec, floor, motors and sensors included, with meshes inside: it simulates as the model does."""
    whole = spec.copy()
    for mesh in whole.meshes:
        at = model.mesh(mesh.name).id
        first, count = int(model.mesh_vertadr[at]), int(model.mesh_vertnum[at])
        face, faces = int(model.mesh_faceadr[at]), int(model.mesh_facenum[at])
        turned = [np.zeros(3) for _ in range(count)]
        for point, vertex in zip(turned, model.mesh_vert[first : first + count].astype(float), strict=True):
            mujoco.mju_rotVecQuat(point, vertex, model.mesh_quat[at])
        mesh.uservert = (np.array(turned) + model.mesh_pos[at]).astype(np.float32).ravel()
        mesh.userface = model.mesh_face[face : face + faces].astype(np.int32).ravel()
        mesh.file, mesh.scale = "", [1.0, 1.0, 1.0]
    whole.compile()
    return whole.to_xml()


def _add_body(model: mujoco.MjModel, body: int, parent: ElementTree.Element) -> ElementTree.Element:
    place = ElementTree.SubElement(
        parent,
        "body",
        name=model.body(body).name,
        pos=_numbers(model.body_pos[body]),
        quat=_numbers(model.body_quat[body]),
    )
    ElementTree.SubElement(place, "inertial", pos="0 0 0", mass="1", diaginertia="1 1 1")  # a moving body needs one
    for joint in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
        name, kind = model.joint(joint).name, int(model.jnt_type[joint])
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            ElementTree.SubElement(place, "freejoint", name=name)
        else:
            given = {
                "type": _JOINTS[kind],
                "pos": _numbers(model.jnt_pos[joint]),
                "axis": _numbers(model.jnt_axis[joint]),
            }
            if kind != mujoco.mjtJoint.mjJNT_BALL:
                given["ref"] = _numbers(model.qpos0[model.jnt_qposadr[joint]])
            ElementTree.SubElement(place, "joint", {"name": name, **given})
    return place


def _terrain(model: mujoco.MjModel, assets: ElementTree.Element) -> list[int]:
    """Geoms of the ground other than planes; its height fields become `assets`."""
    ground = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == 0]
    for field in range(model.nhfield):
        rows, columns, first = int(model.hfield_nrow[field]), int(model.hfield_ncol[field]), model.hfield_adr[field]
        heights = model.hfield_data[first : first + rows * columns].reshape(rows, columns)[::-1]  # the largest y first
        given = {"name": f"hfield{field}", "nrow": str(rows), "ncol": str(columns)}
        sizes = {"size": _numbers(model.hfield_size[field]), "elevation": _numbers(heights)}
        ElementTree.SubElement(assets, "hfield", {**given, **sizes})
    return [geom for geom in ground if int(model.geom_type[geom]) in (*_SIZES, _FIELD)]


def _shown(model: mujoco.MjModel) -> list[int]:
    """Geoms of the robot that collide, or all of them where none does."""
    own = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] > 0]
    own = [geom for geom in own if int(model.geom_type[geom]) in (*_SIZES, _MESH)]
    return [g for g in own if model.geom_contype[g] or model.geom_conaffinity[g]] or own


def _add_geom(model: mujoco.MjModel, geom: int, body: ElementTree.Element) -> None:
    kind = int(model.geom_type[geom])
    given = {
        "pos": _numbers(model.geom_pos[geom]),
        "quat": _numbers(model.geom_quat[geom]),
        "rgba": _numbers((*(_PLASTIC if model.geom_bodyid[geom] else _EARTH), 1.0)),
    }
    if kind == _FIELD:
        given |= {"type": "hfield", "hfield": f"hfield{int(model.geom_dataid[geom])}"}
    elif kind == _MESH:
        given |= {"type": "mesh", "mesh": f"mesh{int(model.geom_dataid[geom])}"}
    else:
        name, count = _SIZES[kind]
        given |= {"type": name, "size": _numbers(model.geom_size[geom, :count])}
    ElementTree.SubElement(body, "geom", given)


def _hull(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in m and triangles (F, 3) of a mesh's convex hull, or of the mesh where it has none."""
    first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    points = model.mesh_vert[first : first + count]
    start = int(model.mesh_graphadr[mesh])
    if start < 0:
        face, faces = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        return points, model.mesh_face[face : face + faces]
    corners, triangles = (int(number) for number in model.mesh_graph[start : start + 2])
    body = model.mesh_graph[start + 2 :]  # see mjModel.mesh_graph: two numbers a corner, then edges, then triangles
    kept = body[corners : 2 * corners]
    skip = 2 * corners + corners + 3 * triangles
    faces = body[skip : skip + 3 * triangles].reshape(-1, 3)
    order = np.argsort(kept)
    return points[kept], order[np.searchsorted(kept, faces, sorter=order)]


def _numbers(values: object) -> str:
    return " ".join(f"{value:.{_DIGITS}g}" for value in np.asarray(values).reshape(-1).tolist())
