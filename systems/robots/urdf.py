"""Reader of URDF: MuJoCo's compiler parses it, with a free joint on the root link and mesh files found where they are.

URDF says a few things that MJCF does not: how fast a joint turns, and which folder of which package a mesh lies in.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import mujoco

from engine.errors import SceneError, listing
from systems.robots.xml_files import parse_xml

MESHES = (".stl", ".obj", ".msh")  # that MuJoCo reads
MOVING = ("revolute", "continuous", "prismatic")
LEVELS = 4  # folders above the file in which a package is looked for


def read_urdf(path: Path) -> tuple[mujoco.MjSpec, list[str]]:
    """The spec of a URDF file on a free base, and what was left out of it, one sentence each.

    Links without an <inertial> weigh nothing, as URDF has it. Raises SceneError where the file is no single robot.
    """
    root = parse_xml(path)
    _check_names(root, path)
    base = _base(root, path)
    notes = [*_continuous(root), *_find_meshes(root, path)]
    extension = root.find("mujoco")
    if extension is None:
        extension = ElementTree.SubElement(root, "mujoco")
    compiler = extension.find("compiler")
    if compiler is None:
        compiler = ElementTree.SubElement(extension, "compiler")
    compiler.attrib.pop("meshdir", None)
    compiler.attrib |= {"discardvisual": "false", "strippath": "false", "fusestatic": "false"}
    try:
        spec = mujoco.MjSpec.from_string(ElementTree.tostring(root, "unicode"))
    except ValueError as error:
        raise SceneError(f"{path} is not valid URDF: {' '.join(str(error).split())}") from None
    for geom in spec.geoms:
        if not geom.parent.explicitinertial:
            geom.mass = 0.0
    body = spec.body(base)
    if not body.joints:
        body.add_freejoint()
    return spec, notes


def speed_limits(path: Path) -> dict[str, float]:
    """rad/s of every joint whose URDF says it; none for other files."""
    found = {}
    for joint in parse_xml(path).iterfind("joint"):
        limit = joint.find("limit")
        speed = abs(_number(limit, "velocity")) if limit is not None else 0.0
        if speed:
            found[joint.get("name", "")] = speed
    return found


def _check_names(root: ElementTree.Element, path: Path) -> None:
    """SceneError where two links or two joints have one name."""
    for kind in ("link", "joint"):
        names = [part.get("name", "") for part in root.iterfind(kind)]
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            raise SceneError(f"{path} has two {kind}s called {twice or 'nothing'}; give each a name of its own.")


def _base(root: ElementTree.Element, path: Path) -> str:
    """The link that all others hang on; a link called world, and one that only the base floats on, is taken out."""
    ground = {"world"}
    for joint in list(root.iterfind("joint")):
        parent = joint.find("parent")
        on = "" if parent is None else parent.get("link", "")
        if (on == "world" and joint.get("type") == "fixed") or (on and joint.get("type") == "floating"):
            root.remove(joint)
            ground.add(on)
    held = {part.get("link") for joint in root.iterfind("joint") for part in joint if part.tag in ("parent", "child")}
    for link in list(root.iterfind("link")):
        if link.get("name") == "world" or (link.get("name") in ground and link.get("name") not in held):
            root.remove(link)
    joints = list(root.iterfind("joint"))
    odd = [f"{j.get('name')} ({j.get('type')})" for j in joints if j.get("type") not in (*MOVING, "fixed")]
    if odd:
        raise SceneError(
            f"{path} has joints of a kind that is not supported: {listing(odd)}. A robot has one free base, which is "
            "added, and revolute, continuous, prismatic and fixed joints."
        )
    children = {child.get("link") for joint in joints if (child := joint.find("child")) is not None}
    roots = [name for link in root.iterfind("link") if (name := link.get("name", "")) not in children]
    if len(roots) != 1:
        raise SceneError(
            f"{path} is {'no tree' if not roots else 'several trees'} of links (roots: {listing(roots) or 'none'}); a robot "
            "hangs on one root link."
        )
    return roots[0]


def _continuous(root: ElementTree.Element) -> list[str]:
    """Give continuous joints a range of one turn."""
    found = []
    for joint in root.iterfind("joint"):
        if joint.get("type") == "continuous":
            joint.set("type", "revolute")
            limit = joint.find("limit")
            if limit is None:
                limit = ElementTree.SubElement(joint, "limit")
            limit.attrib |= {"lower": str(-math.pi), "upper": str(math.pi)}
            found.append(joint.get("name", ""))
    return [f"Continuous joints may turn by π to either side here: {listing(found, 8)}."] if found else []


def _find_meshes(root: ElementTree.Element, path: Path) -> list[str]:
    """Replace mesh names by paths, and take out looks whose file is missing or of a format that MuJoCo does not read."""
    lost = []
    for link in root.iterfind("link"):
        for role in ("visual", "collision"):
            for shape in list(link.iterfind(role)):
                mesh = shape.find("geometry/mesh")
                if mesh is None:
                    continue
                name = mesh.get("filename", "")
                file = next((each for each in _places(name, path) if each.is_file()), None)
                if file is not None and file.suffix.lower() in MESHES:
                    mesh.set("filename", str(file.absolute()))
                elif role == "visual":
                    link.remove(shape)
                    lost.append(name)
                else:
                    fault = (
                        "is not there"
                        if file is None
                        else f"is no {', '.join(MESHES)}, which are the formats that are read"
                    )
                    raise SceneError(
                        f"{path}: link '{link.get('name')}' collides as the mesh {name}, which {fault}. Put it there or "
                        "replace it by a box, cylinder or sphere."
                    )
    if not lost:
        return []
    return [
        f"{len(lost)} meshes that only pictures need are missing or of another format ({listing(lost, 2)}); films show the rest."
    ]


def _places(name: str, path: Path) -> Iterable[Path]:
    """Where a mesh of that name may lie, likeliest first."""
    home, (scheme, _, rest) = path.absolute().parent, name.rpartition("://")
    yield home / rest
    if scheme == "file":
        yield Path(rest)
    for folder in [home, *home.parents][:LEVELS]:
        yield folder / rest  # package://NAME/… where the package's folder keeps its name
        yield folder / rest.partition("/")[2]  # and where it does not
    yield home / "meshes" / Path(rest).name


def _number(element: ElementTree.Element, name: str) -> float:
    try:
        return float(element.get(name, "0"))
    except ValueError:
        return 0.0
