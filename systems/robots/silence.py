"""Silence of MuJoCo: its warnings stay off the terminal and out of MUJOCO_LOG.TXT; the backend counts them instead."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import mujoco


class _LogConfig(ctypes.Structure):
    """mjLogConfig of mujoco/mjtype.h."""

    _fields_ = [
        ("to_console", ctypes.c_bool),
        ("to_file", ctypes.c_bool),
        ("file", ctypes.c_char * 1024),
        ("topics", ctypes.c_int),
    ]


@cache
def _library() -> ctypes.CDLL | None:
    found = sorted(
        p for p in Path(mujoco.__file__).parent.glob("*mujoco.*") if {".so", ".dylib", ".dll"} & set(p.suffixes)
    )
    if not found:
        return None
    library = ctypes.CDLL(str(found[0]))
    library.mju_getLogConfig.restype = _LogConfig
    library.mju_setLogConfig.argtypes = [_LogConfig]
    library.mju_setLogConfig.restype = None
    return library


@contextmanager
def quiet() -> Iterator[None]:
    """Run native calls without MuJoCo printing or logging its warnings; the counters still count."""
    library = _library()
    if library is None:
        yield
        return
    before = library.mju_getLogConfig()
    silent = _LogConfig(False, False, before.file, before.topics)
    library.mju_setLogConfig(silent)
    try:
        yield
    finally:
        library.mju_setLogConfig(before)
