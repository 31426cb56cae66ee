"""Policies of ours, exported once."""

from pathlib import Path

import pytest

from scenes.velocity import CONFIGS, experiment
from systems.deploy.export import write_onnx
from tests.systems.deploy.test_deploy import SMALL, played, tracker


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with track.onnx and walk.onnx, and their networks alone in network.onnx and steps.onnx."""
    folder = tmp_path_factory.mktemp("exported")
    walker = experiment(CONFIGS["mjlab_velocity"].replace(**SMALL))
    for simulation, whole, alone in ((played(tracker()), "track", "network"), (played(walker), "walk", "steps")):
        write_onnx(simulation, folder / f"{whole}.onnx", "signals", {"command": "made"})
        write_onnx(simulation, folder / f"{alone}.onnx", "observation", {"command": "made"})
    return folder
