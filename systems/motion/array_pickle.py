"""Safe unpickler of numpy arrays, joblib's among them: nothing that a pickle may name is run.

A joblib file is a pickle in which each array is replaced by a small wrapper object (shape, order, dtype)
and followed, right after the instruction that fills the wrapper, by the array's raw bytes. The reader
knows a handful of names, all of which it answers with code of its own; every other name is refused.
"""

import io
import math
import pickle
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.errors import SceneError

MAX_BYTES = 1 << 31  # of an unpacked file; stops a small file from filling the memory


class _Array:
    """Stands for `numpy.ndarray`, which a pickle may name but not call."""


class _Wrapper:
    """Stands for joblib's NumpyArrayWrapper; the pickle fills its attributes."""

    shape: Any = ()
    order: Any = "C"
    dtype: Any = None
    numpy_array_alignment_bytes: Any = None

    def __setstate__(self, state: Any) -> None:
        for name in ("shape", "order", "dtype", "numpy_array_alignment_bytes"):
            if name in state:
                setattr(self, name, state[name])


def _plain(dtype: Any) -> np.dtype[Any]:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise pickle.UnpicklingError("it holds an array of Python objects; only plain numbers and text are read")
    return dtype


def _reconstruct(kind: Any, shape: Any, code: Any) -> np.ndarray:
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _scalar(dtype: Any, content: bytes = b"") -> Any:
    return np.frombuffer(content, _plain(dtype), 1)[0]


def _dtype(*arguments: Any) -> np.dtype[Any]:
    return _plain(np.dtype(arguments[0]))


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _from_buffer(content: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> np.ndarray:
    array = np.frombuffer(content, _plain(dtype)).reshape(shape, order="F" if order == "F" else "C")
    return array if axes is None else array.transpose(axes)


_KNOWN: dict[tuple[str, str], Any] = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,  # how older pickles spell bytes
    **{(module, "bytes"): _empty_bytes for module in ("__builtin__", "builtins")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


_PythonUnpickler: Any = pickle._Unpickler  # the one in C has no `dispatch`


class _Unpickler(_PythonUnpickler):  # type: ignore[misc]
    """Knows a handful of names, and reads the raw bytes that follow each wrapper."""

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.stream = stream

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Forbidden(f"{module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], (_Wrapper, np.ndarray, np.dtype)):
            raise pickle.UnpicklingError("it sets attributes of something that is not an array")
        super().load_build()
        if isinstance(self.stack[-1], _Wrapper):
            self.stack.append(self.read_array(self.stack.pop()))

    dispatch[pickle.BUILD[0]] = load_build

    def read_array(self, wrapper: _Wrapper) -> np.ndarray:
        """The array of a wrapper; since joblib 1.2 its bytes follow a padding, whose length comes first."""
        dtype = _plain(wrapper.dtype)
        shape = tuple(int(size) for size in wrapper.shape)
        if wrapper.numpy_array_alignment_bytes is not None:
            self.stream.read(self.stream.read(1)[0])
        wanted = math.prod(shape) * dtype.itemsize
        content = self.stream.read(wanted)
        if len(content) < wanted or min(shape, default=0) < 0:
            raise EOFError(f"an array of shape {shape} needs {wanted} bytes and {len(content)} are left")
        array = np.frombuffer(content, dtype)
        return array.reshape(shape, order="F") if wrapper.order == "F" else array.reshape(shape)


class _Forbidden(Exception):
    """A pickle named a class that is not numpy's."""


def _unpack(content: bytes) -> bytes:
    if content[:1] == b"\x78" or content[:2] == b"\x1f\x8b":
        unpacked = zlib.decompressobj(wbits=47)  # 32 + 15: zlib or gzip, as its header says
        content = unpacked.decompress(content, MAX_BYTES)
        if not unpacked.eof:
            raise EOFError(
                "its compressed content stops early" if len(content) < MAX_BYTES else "it unpacks to over 2 GiB"
            )
    return content


def read_array_pickle(path: Path) -> Any:
    """The dictionaries, lists, numbers, texts and arrays in a pickle, joblib's or plain, zlib or gzip or bare.

    Raises SceneError when the file is truncated, is no pickle, or names any class other than numpy's.
    """
    try:
        return _Unpickler(io.BytesIO(_unpack(path.read_bytes()))).load()
    except _Forbidden as error:
        raise SceneError(
            f"{path} asks for the class '{error}' while it is being read, and a motion file may name numpy's arrays "
            "only. "
            "It was not loaded, since a pickle can run any code; save the clip as plain arrays."
        ) from None
    except Exception as error:  # a damaged pickle fails in as many ways as there are instructions
        raise SceneError(
            f"{path} is truncated or not a pickle of arrays: {str(error) or type(error).__name__}. Fetch or convert "
            "it again."
        ) from None
