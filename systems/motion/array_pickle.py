"""Safe unpickler of numpy arrays, joblib's and torch's among them: nothing that a pickle may name is run.

A joblib file is a pickle in which each array is replaced by a small wrapper object (shape, order, dtype)
and followed, right after the instruction that fills the wrapper, by the array's raw bytes. A torch file is a
zip archive of a pickle, in which tensors refer to the other members by number. The reader knows a handful of
names, all of which it answers with code of its own; every other name is refused.
"""

import bz2
import io
import lzma
import math
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.errors import SceneError

_OLD_TORCH = 0x1950A86A20F9469CFC6C  # what such a file begins with
MAX_BYTES = 1 << 31  # of an unpacked file; stops a small file from filling the memory


class ObjectArray:
    """Stands for an array of Python objects, which was not read."""


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
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufcSU" or dtype.subdtype is not None:
        raise pickle.UnpicklingError("it holds an array of Python objects; only plain numbers and text are read")
    return dtype


def _reconstruct(kind: Any, shape: Any, code: Any) -> np.ndarray:
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _scalar(dtype: Any, content: bytes = b"") -> Any:
    return np.frombuffer(content, _plain(dtype), 1)[0]


def _of_objects(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "O" and dtype.subdtype is None


def _dtype(*arguments: Any) -> np.dtype[Any]:
    dtype = np.dtype(arguments[0])
    return dtype if _of_objects(dtype) else _plain(dtype)


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
        filled, state = self.stack[-2:]
        if not isinstance(filled, (_Wrapper, np.ndarray, np.dtype)):
            raise pickle.UnpicklingError("it sets attributes of something that is not an array")
        if isinstance(filled, np.ndarray):
            if _of_objects(state[2]):
                self.stack[-2:] = [ObjectArray()]
                return
            _plain(state[2])
        super().load_build()
        if isinstance(self.stack[-1], _Wrapper):
            self.stack.append(self.read_array(self.stack.pop()))

    dispatch[pickle.BUILD[0]] = load_build

    def read_array(self, wrapper: _Wrapper) -> Any:
        """The array of a wrapper; since joblib 1.2 its bytes follow a padding, whose length comes first."""
        if _of_objects(wrapper.dtype):
            return type(self)(self.stream).load()
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
        unpacked: Any = zlib.decompressobj(wbits=47)  # 32 + 15: zlib or gzip, as its header says
    elif content[:6] == b"\xfd7zXZ\x00" or content[:3] == b"\x5d\x00\x00":
        unpacked = lzma.LZMADecompressor()
    elif content[:3] == b"BZh":
        unpacked = bz2.BZ2Decompressor()
    else:
        return content
    content = unpacked.decompress(content, MAX_BYTES)
    if not unpacked.eof:
        raise EOFError("its compressed content stops early" if len(content) < MAX_BYTES else "it unpacks to over 2 GiB")
    return content


_STORAGE = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1",
    "Byte": "u1", "Bool": "?", "BFloat16": "<V2",
}  # fmt: skip


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    steps = [(int(n), int(step)) for n, step in zip(size, stride, strict=True)]
    last = int(offset) + sum((n - 1) * step for n, step in steps)
    empty = any(n == 0 for n, _ in steps)
    if min((int(offset), *(part for pair in steps for part in pair))) < 0 or (last >= len(storage) and not empty):
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    if math.prod(n for n, _ in steps) * storage.itemsize > MAX_BYTES:
        raise pickle.UnpicklingError("a tensor is larger than 2 GiB")
    strides = [step * storage.itemsize for _, step in steps]
    start = storage[:0] if empty else storage[int(offset) :]
    return np.lib.stride_tricks.as_strided(start, [n for n, _ in steps], strides).copy()


def _size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values)


def _word(value: Any) -> str:
    return str(value)


def _member(kind: Any, name: Any) -> str:
    """A member of an enumeration by name, which is how Python 3.11.0 to 3.11.3 write one; of nothing else."""
    if kind is not _word:
        raise pickle.UnpicklingError("it asks for an attribute of something that is not an enumeration")
    return str(name)


_TORCH: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("collections", "OrderedDict"): dict,
    ("torch", "Size"): _size,
    ("protomotions.simulator.base_simulator.simulator_state", "StateConversion"): _word,
    **{(module, "getattr"): _member for module in ("__builtin__", "builtins")},
    **{("torch", f"{name}Storage"): dtype for name, dtype in _STORAGE.items()},
}


class _TorchUnpickler(_Unpickler):
    """Knows tensors as well, whose numbers are members of the archive."""

    def __init__(self, archive: zipfile.ZipFile, place: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{place}data.pkl")))
        self.archive, self.place = archive, place

    def find_class(self, module: str, name: str) -> Any:
        return _TORCH[module, name] if (module, name) in _TORCH else super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, count = pid
        if kind != "storage" or dtype not in _STORAGE.values():
            raise pickle.UnpicklingError("it refers to objects outside the file")
        content = self.archive.read(f"{self.place}data/{key}")
        if dtype == _STORAGE["BFloat16"]:  # the upper half of a float32
            return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")[: int(count)]
        return np.frombuffer(content, dtype)[: int(count)]


def read_torch_pickle(path: Path) -> Any:
    """What `torch.save` wrote to a zip archive, tensors as arrays. Raises SceneError as `read_array_pickle` does."""
    with _refusing(path), zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise EOFError("it unpacks to over 2 GiB")
        place = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
        return _TorchUnpickler(archive, place.removesuffix("data.pkl")).load()


def read_array_pickle(path: Path) -> Any:
    """The dictionaries, lists, numbers, texts and arrays in a pickle, joblib's or plain, zlib or gzip or bare.

    Raises SceneError when the file is truncated, is no pickle, or names any class other than numpy's.
    """
    with _refusing(path):
        content = _Unpickler(io.BytesIO(_unpack(path.read_bytes()))).load()
    if isinstance(content, int) and content == _OLD_TORCH:
        raise SceneError(
            f"{path} is a torch file of the old kind, which is not read. Save it again in the new one: "
            f"torch.save(torch.load('{path.name}'), '{path.name}')."
        )
    return content


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except _Forbidden as error:
        if str(error).startswith("torch."):
            raise SceneError(
                f"{path} holds torch tensors in a pickle. Save them as arrays: {{name: value.numpy() for name, value in "
                "clip.items()}, or with torch.save as a .pt file."
            ) from None
        raise SceneError(
            f"{path} asks for the class '{error}' while it is being read, and a motion file may name numpy's arrays "
            "only. It was not loaded, since a pickle can run any code; save the clip as plain arrays."
        ) from None
    except Exception as error:  # a damaged pickle fails in as many ways as there are instructions
        raise SceneError(
            f"{path} is truncated or not a pickle of arrays: {str(error) or type(error).__name__}. Fetch or convert "
            "it again."
        ) from None
