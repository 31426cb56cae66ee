"""What several tests of the engine share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.inspect.server import Hub
from tests.engine.hub_clients import RUN, SCHEMA


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short private folder: a socket's path must fit into 103 bytes."""
    with tempfile.TemporaryDirectory(prefix="hub", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    made = Hub(RUN, lambda: SCHEMA, folder=folder)
    assert made.start() == []
    yield made
    made.close()
    assert made.trouble == ""
