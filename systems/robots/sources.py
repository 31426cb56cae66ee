"""Reader of model files: an MJCF or URDF file, or MJCF text, becomes a spec that asks for no file that is missing.

What only a picture needs may be missing; it is left out with a note. A shape that touches or weighs something is needed.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mujoco

from engine.errors import SceneError, did_you_mean, listing
from systems.robots.urdf import read_urdf
from systems.robots.xml_files import xml_bytes

FOREIGN = {  # by ending: what such a file is, and how it becomes one that is read
    ".sdf": ("an SDF file", "convert it to URDF (gz sdf, pysdf) or MJCF"),
    ".world": ("a Gazebo world", "give the robot's own URDF"),
    ".xacro": ("a xacro template", "expand it first: xacro FILE > robot.urdf"),
    ".mjb": ("a compiled MuJoCo model", "give the MJCF that it was compiled from"),
    ".zip": ("an archive", "unpack it and give the MJCF file in it"),
    ".mjz": ("an archive", "unpack it and give the MJCF file in it"),
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), ("a USD file", "export MJCF or URDF from where it was made")),
    **dict.fromkeys(
        (".stl", ".obj", ".dae", ".fbx", ".glb", ".gltf"), ("a mesh", "give the MJCF or URDF that uses it")
    ),
}
ROOTS = {  # by the first element of an XML file
    "sdf": FOREIGN[".sdf"],
    "mujocoinclude": ("a part for other files to include", "give the file that includes it"),
    "COLLADA": FOREIGN[".dae"],
    "html": ("a web page", "fetch the file itself, not the page that shows it"),
}
CURES = {  # by what MuJoCo says
    "mass and inertia of moving bodies": "Give the body an <inertial> or a shape with a mass, or take its joint out",
    "free joint can only be used on top level": "Put the body with the free joint directly into <worldbody>",
    "A + B >= C": 'Mend the inertia, or write <compiler balanceinertia="true"/> into the file (into <mujoco> of a URDF)',
    "Error opening file": "Copy the file that it names to where it is looked for, beside this one",
    "global coordinates": "Look for a newer version of the file",
}
LFS = b"version https://git-lfs"  # how a pointer begins that stands for a file
MODELS = (".xml", ".mjcf", ".urdf")


def read_source(model: Path | Callable[[], str], robot: str) -> tuple[mujoco.MjSpec, list[str]]:
    """The spec of a robot's file or generated MJCF, and what was left out of it, one sentence each.

    Raises SceneError for a file that is missing, is no robot model, or does not parse.
    """
    if callable(model):
        try:
            return mujoco.MjSpec.from_string(model()), []
        except ValueError as error:
            raise SceneError(f"Robot '{robot}': its generated MJCF is not valid MJCF: {reason(error)}") from None
    if not model.is_file():
        raise SceneError(f"Robot '{robot}' needs the model file {model}, which does not exist.{near_files(model)}")
    of = kind(model)
    _check_numbers(model)
    if of == "robot":
        return read_urdf(model)
    try:
        spec = _parse(model)
    except ValueError as error:
        raise SceneError(f"Robot '{robot}': {model} is not valid MJCF: {reason(error)}") from None
    return spec, _without_missing_files(spec, model)


def _parse(path: Path) -> mujoco.MjSpec:
    """The spec of an MJCF file; MuJoCo reads what ends in .xml and is UTF-8, and what does not is handed to it as such."""
    text = xml_bytes(path)
    if path.suffix == ".xml" and text == path.read_bytes():
        return mujoco.MjSpec.from_file(str(path))
    name = f"{path}.xml"
    return mujoco.MjSpec.from_file(name, include={name: text})


def _check_numbers(path: Path) -> None:
    """SceneError where a number of a model is nan, which MuJoCo takes for one that is not there."""
    for number, line in enumerate(xml_bytes(path).splitlines(), 1):
        for found in re.finditer(
            rb"""\s(?!name|class)(\w+)\s*=\s*["']([^"']*\bnan\b[^"']*)["']""", line, re.IGNORECASE
        ):
            with suppress(ValueError):
                [float(word) for word in found[2].split()]
                raise SceneError(
                    f'Line {number} of {path} has {found[1].decode()}="{found[2].decode()[:40]}". Every number must be finite; '
                    "export the file again."
                )


def reason(error: Exception) -> str:
    """What MuJoCo says of a model that it cannot use, on one line, and what to do about it where that is known."""
    text = " ".join(str(error).split()).removeprefix("Error: ").rstrip(".")
    return f"{text}.{next((f' {cure}.' for words, cure in CURES.items() if words in text), '')}"


def kind(path: Path) -> str:
    """The first element of a model file, "mujoco" or "robot" (URDF); SceneError for any other file."""
    foreign = next((FOREIGN[end] for end in FOREIGN if path.name.lower().endswith(end)), None)
    root, text = "", b""
    if foreign is None:
        text = xml_bytes(path)
        found = re.search(rb"<([A-Za-z_][\w:.-]*)", re.sub(rb"<!--.*?-->|<\?.*?\?>", b"", text, flags=re.DOTALL))
        root = found[1].decode() if found else ""
        foreign = ROOTS.get(root)
    if text.startswith(LFS):
        foreign = ("only a pointer of Git LFS to the real file", "fetch it with git lfs pull")
    if root == "robot" and b"<xacro:" in text:
        foreign = FOREIGN[".xacro"]
    if foreign is not None:
        what, cure = foreign
        raise SceneError(f"{path} is {what}, and a robot is read from MJCF or URDF; {cure.replace('FILE', path.name)}.")
    if root not in ("mujoco", "robot"):
        begins = f"its first element is <{root}>" if root else "it holds no XML"
        raise SceneError(f"{path} is neither MJCF (<mujoco>) nor URDF (<robot>): {begins}.")
    return root


def near_files(path: Path) -> str:
    """' Did you mean …?' for model files beside one that does not exist; '' where nothing is near."""
    folder = path.parent
    names = [each.name for each in folder.iterdir() if each.suffix.lower() in MODELS] if folder.is_dir() else []
    return did_you_mean(path.name, names)


def weighs(spec: mujoco.MjSpec, geom: mujoco.MjsGeom) -> bool:
    """Whether a geom's mass counts: its body has no inertia of its own, or the file wants none of those."""
    from_geoms = int(spec.compiler.inertiafromgeom)
    own = geom.parent.explicitinertial and from_geoms != int(mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_TRUE)
    return geom.mass != 0.0 and not own


def touches(geom: mujoco.MjsGeom) -> bool:
    """Whether a geom can collide with anything."""
    return bool(geom.contype or geom.conaffinity)


def _without_missing_files(spec: mujoco.MjSpec, path: Path) -> list[str]:
    """Take out what needs a file that is missing; SceneError where it touches or weighs something."""
    home = path.parent

    def missing(folder: str, file: str) -> bool:
        return bool(file) and not _is_there(home / folder / (Path(file).name if spec.strippath else file))

    gone = {mesh.name: mesh.file for mesh in spec.meshes if missing(mesh.compiler.meshdir, mesh.file)}
    users = [geom for geom in spec.geoms if geom.meshname in gone]
    needed = [geom for geom in users if touches(geom) or weighs(spec, geom)]
    if needed:
        files = dict.fromkeys(gone[geom.meshname] for geom in needed)
        raise SceneError(
            f"{path} needs {listing(files, 5)} beside it (folder {home / needed[0].compiler.meshdir}), for shapes that "
            "touch or weigh something. Copy what is missing there."
        )
    for part in (*users, *(mesh for mesh in spec.meshes if mesh.name in gone)):
        spec.delete(part)
    _drop_textures(spec, missing)
    if not users:
        return []
    return [
        f"{len(gone)} mesh files that only pictures need are missing ({listing(gone.values(), 3)}); films show the rest."
    ]


def _is_there(file: Path) -> bool:
    """Whether a file exists and holds more than a pointer of Git LFS."""
    if not file.is_file():
        return False
    with file.open("rb") as content:
        start = content.read(len(LFS))
    return bool(start) and start != LFS


def _drop_textures(spec: mujoco.MjSpec, missing: Callable[[str, str], bool]) -> None:
    """Take out pictures whose files are missing, and materials that are made of them."""
    gone = set()
    for texture in list(spec.textures):
        if any(missing(texture.compiler.texturedir, file) for file in (texture.file, *texture.cubefiles)):
            gone.add(texture.name)
            spec.delete(texture)
    for material in list(spec.materials):
        if gone & set(material.textures):
            for geom in spec.geoms:
                geom.material = "" if geom.material == material.name else geom.material
            spec.delete(material)
