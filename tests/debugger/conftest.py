"""Tests of the debugger: windows are drawn offscreen, garbage is collected between tests, and nothing is left running."""

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from tests.debugger.scripted import PATIENCE

os.environ["QT_QPA_PLATFORM"] = "offscreen"  # before anything imports Qt

try:
    import_module("PySide6.QtWidgets")
except ImportError as error:
    NO_QT = str(error)
else:
    NO_QT = ""


class WithoutQt(pytest.Module):
    """A file of tests that is skipped where importing it needs Qt."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        """Tests of the file; skipped with the reason why Qt cannot be loaded."""
        try:
            return list(super().collect())
        except self.CollectError:
            pytest.skip(f"Qt cannot be loaded: {NO_QT}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Files as pytest collects them, but where Qt cannot be loaded."""
    return WithoutQt.from_parent(parent, path=module_path) if NO_QT else None


@pytest.fixture
def qtbot(qtbot):
    """The robot of pytest-qt, as patient as this machine needs it where a test does not say otherwise."""
    for name in ("waitUntil", "waitSignal"):
        setattr(qtbot, name, partial(getattr(qtbot, name), timeout=int(1e3 * PATIENCE)))
    return qtbot


def sockets() -> set[str]:
    """Sockets that this process has open; none where the system does not tell."""
    found = set()
    for each in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            found.add(os.readlink(each))
    return {name for name in found if name.startswith("socket:")}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaves threads or sockets, and frees objects of Qt between tests, in this thread."""
    gc.disable()
    threads, before = set(threading.enumerate()), sockets()
    yield
    gc.collect()
    end = time.monotonic() + PATIENCE
    while (left := set(threading.enumerate()) - threads) or sockets() - before:
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    gc.enable()
    assert not left, f"threads are left: {', '.join(sorted(thread.name for thread in left))}"
    assert not (more := sockets() - before), f"{len(more)} sockets are left open"
