"""Set-up of every test.

Runs that tests start register themselves in a folder of this process alone: a debugger of one test never finds the run of
another, nor a test a run that the machine really has. pytest-qt is a plugin of these tests only where Qt can be loaded:
elsewhere it would end pytest before the first test. A shell starts what it puts into the background with Ctrl-C ignored,
and every process below inherits that: tests, and the commands that they start and interrupt, take Ctrl-C as ever.
Tests run in several processes at a time, and so each of these, and each that a test starts, computes on one thread unless
it asks for more: OpenMP's threads wait for each other by spinning, which takes fifty times as long where they lack processors.
"""

import gc
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from importlib import import_module

import pytest

_RUNTIME = tempfile.TemporaryDirectory(prefix="run", dir="/tmp")  # short: sockets have names of 103 bytes at most
os.environ["XDG_RUNTIME_DIR"] = _RUNTIME.name
os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

try:
    for each in ("QtCore", "QtGui", "QtTest", "QtWidgets"):
        import_module(f"PySide6.{each}")
except ImportError:
    pytest_plugins = []
else:
    pytest_plugins = ["pytestqt.plugin"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays: the garbage collector need not look through it again and again, now and while tests run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def built_in_clips_are_made_once() -> Iterator[None]:
    """Scenes and clip tools of a process share the built-in clips that they are built with."""
    from systems.motion import library
    from systems.motion.tools import fitted
    from tests.made_clips import clip_made_once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "make_clip", clip_made_once)
        patch.setattr(fitted, "make_clip", clip_made_once)
        yield
