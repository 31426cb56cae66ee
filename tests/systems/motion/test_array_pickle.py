"""Pickles of arrays are read without running what they name; anything else is one sentence."""

import gzip
import pickle
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from engine.errors import SceneError
from systems.motion.array_pickle import ObjectArray, read_array_pickle, read_torch_pickle
from tests.helpers import data_path
from tests.systems.motion.foreign import motion, protomotions, write

CONTENT = {
    "clip": {
        "dof": np.arange(12.0).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "names": np.array(["hip", "knee"]),
        "empty": np.zeros((0, 3)),
        "fps": np.float64(29.97),
        "count": 7,
    }
}


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.victim,)


def check(read: dict[str, dict[str, object]]) -> None:
    """`read` equals CONTENT."""
    assert read.keys() == CONTENT.keys()
    for name, value in CONTENT["clip"].items():
        assert_array_equal(read["clip"][name], value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickle_of_every_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "clip.pkl"
    file.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    check(read_array_pickle(file))


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3)])
def test_joblib_file_is_read_as_joblib_reads_it(tmp_path: Path, compress: object) -> None:
    joblib = pytest.importorskip("joblib")
    file = tmp_path / "clip.pkl"
    joblib.dump(CONTENT, file, compress=compress)
    check(read_array_pickle(file))


def test_compressed_plain_pickle_is_read(tmp_path: Path) -> None:
    for pack in (zlib.compress, gzip.compress):
        file = tmp_path / "clip.pkl"
        file.write_bytes(pack(pickle.dumps(CONTENT)))
        check(read_array_pickle(file))


def test_every_clip_of_the_data_folder_reads_as_joblib_reads_it() -> None:
    joblib = pytest.importorskip("joblib")
    for file in data_path("motions", "asap_g1_23dof").glob("*.pkl"):
        ours, theirs = read_array_pickle(file), joblib.load(file)
        for name, clip in theirs.items():
            for key, value in clip.items():
                assert_array_equal(ours[name][key], value)


def test_pickle_that_names_another_class_is_refused_and_not_run(tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "clip.pkl"
    file.write_bytes(pickle.dumps({"clip": Evil(victim)}))
    with pytest.raises(
        SceneError, match=r"asks for the class 'pathlib.*' while it is being read, and a motion file may name"
    ):
        read_array_pickle(file)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["numpy.load", "numpy.lib.npyio.load", "joblib.load", "builtins.eval", "os.system"])
def test_functions_of_numpy_and_others_are_refused_too(tmp_path: Path, name: str) -> None:
    module, attribute = name.rsplit(".", 1)
    file = tmp_path / "clip.pkl"
    file.write_bytes(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n.")
    with pytest.raises(SceneError, match=f"asks for the class '{name}'"):
        read_array_pickle(file)


def test_array_of_objects_is_left_out_and_marked(tmp_path: Path) -> None:
    file = tmp_path / "clip.pkl"
    content = {"names": np.array([{}, []], dtype=object), "dof": np.arange(3.0)}
    file.write_bytes(pickle.dumps(content))
    read = read_array_pickle(file)
    assert isinstance(read["names"], ObjectArray)
    assert_array_equal(read["dof"], content["dof"])


def test_attributes_of_the_readers_own_functions_cannot_be_set(tmp_path: Path) -> None:
    file = tmp_path / "clip.pkl"
    file.write_bytes(b"cnumpy\ndtype\n}S'x'\nI1\nsb.")
    with pytest.raises(SceneError, match="sets attributes of something that is not an array"):
        read_array_pickle(file)


def test_truncated_joblib_file_says_so() -> None:
    whole = data_path("motions", "asap_g1_23dof", "asap_walk_level1.pkl").read_bytes()
    for size in (0, 1, 200, 1000, len(whole) // 2, len(whole) - 1):
        with pytest.raises(SceneError, match="is truncated or not a pickle of arrays"):
            _read_bytes(whole[:size])


def test_wrapper_that_promises_more_than_the_file_holds_is_refused() -> None:
    whole = data_path("motions", "asap_g1_23dof", "asap_walk_level1.pkl").read_bytes()
    lied = whole.replace(b"K\x98K\x03\x86", b"J\xff\xff\xff\x7f\x85", 1)  # shape (152, 3) -> (2147483647,)
    with pytest.raises(SceneError, match=r"an array of shape .2147483647,. needs 8589934588 bytes"):
        _read_bytes(lied)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_pickle_is_read_or_refused_but_never_fails_otherwise(data: st.DataObject) -> None:
    content = bytearray(pickle.dumps(CONTENT, protocol=data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(SceneError):
        _read_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))


class _Bytes:
    """Just enough of a path for the reader."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read_bytes(self) -> bytes:
        """What a file would hold."""
        return self.content

    def __str__(self) -> str:
        return "clip.pkl"


def _read_bytes(content: bytes) -> object:
    return read_array_pickle(_Bytes(content))  # type: ignore[arg-type]


class Attribute:
    """Is pickled as an attribute of something else."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> Any:
        return getattr, (self.owner, self.name)


def test_member_of_an_enumeration_may_be_named_and_no_other_attribute(tmp_path: Path) -> None:
    value = protomotions(motion())["state_conversion"]
    named = write(tmp_path / "a.pt", {"state_conversion": value, "again": Attribute(type(value), "COMMON")})
    assert read_torch_pickle(Path(named))["again"] == "COMMON"
    other = write(tmp_path / "b.pt", {"state_conversion": value, "again": Attribute("text", "join")})
    with pytest.raises(SceneError, match="an attribute of something that is not an enumeration"):
        read_torch_pickle(Path(other))
