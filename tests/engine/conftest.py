"""What several tests of the engine share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.inspect.server import DebugServer
from tests.engine.server_clients import RUN, SCHEMA


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short private folder: a socket's path must fit into 103 bytes."""
    with tempfile.TemporaryDirectory(prefix="server", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def server(folder: Path) -> Iterator[DebugServer]:
    made = DebugServer(RUN, lambda: SCHEMA, folder=folder)
    assert made.start() == []
    yield made
    made.close()
    assert made.sockets.last_error == ""
