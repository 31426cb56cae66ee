"""Containers of motion: bytes of a file to named arrays, whatever program wrote them. No code in a file is run."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SceneError, listing
from systems.motion.array_pickle import ObjectArray, read_array_pickle, read_torch_pickle
from systems.motion.tables import read_table
from systems.motion.unfit import NoMotion

TABLES = (".csv", ".tsv")
BINARIES = (".pkl", ".npz", ".npy", ".motion", ".pt", ".pth", ".joblib", ".pickle")
ENDINGS = (".pkl", ".csv", ".npz", *(each for each in (*BINARIES, *TABLES) if each not in (".pkl", ".csv", ".npz")))
ARCHIVES = (".npz", ".npy", ".motion", ".pt", ".pth")
PACKED = (".gz", ".zip", ".7z", ".tar", ".tgz", ".xz", ".bz2", ".zst", ".rar")
OTHER_ENDINGS = {  # files in which people have motions, and what to do
    **dict.fromkeys(PACKED, "a packed file. Unpack it first"),
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".parquet"), "not read. Save its arrays with np.savez under known names"),
    **dict.fromkeys((".yaml", ".yml"), "a list of clips or settings. Name the clips themselves, or their folder"),
    **dict.fromkeys(
        (".txt", ".json"),
        "text that is not read, such as motions of DeepMimic and AMP. Save its frames as a table with a header, or as "
        "arrays with np.savez under known names",
    ),
}
_TEXT = re.compile(rb"[\x09\x0a\x0d\x20-\x7e]*\d[\x09\x0a\x0d\x20-\x7e]*")
PERSON_ENDINGS = {
    ".bvh": "a BVH file",
    ".fbx": "an FBX file",
    ".c3d": "a C3D file of markers",
    ".trc": "a TRC file of markers",
    ".amc": "an AMC file",
    ".asf": "an ASF file",
}
FOLDER_PARTS = ("joint_pos.csv", "body_pos.csv", "body_quat.csv")  # a clip in a folder of tables, as GR00T writes it
_ROOT_COLUMNS = {"body_pos.csv": 3, "body_quat.csv": 4}
_LFS = b"version https://git-lfs"


def persons_motion(source: str, what: str, error: Callable[[str], SceneError] = SceneError) -> SceneError:
    """What to say of a file that holds a person's motion."""
    return error(
        f"{source} is {what}: the motion of a person, not of a robot. Turn it into the robot's joints first: BVH files "
        "with lockstep clips retarget, SMPL and AMASS data, FBX and C3D with a retargeter such as GMR."
    )


def read_container(path: Path) -> Any:
    """What a file holds: a dictionary of arrays, of dictionaries, or one array.

    Raises SceneError when the file is no motion clip, is damaged, or would run code.
    """
    if path.is_dir():
        return _read_folder(path)
    ending = path.suffix.lower()
    if ending in PERSON_ENDINGS:
        raise persons_motion(str(path), PERSON_ENDINGS[ending], lambda text: NoMotion(text, "person"))
    if ending not in (*ENDINGS, *OTHER_ENDINGS):
        raise SceneError(f"{path} ends in '{path.suffix}', which no reader knows. A clip ends in {listing(ENDINGS)}.")
    try:
        if ending in OTHER_ENDINGS and not (ending == ".txt" and _is_table(path)):
            text = f"{path} is {OTHER_ENDINGS[ending]}. A clip ends in {listing(ENDINGS)}."
            raise SceneError(text) if Path(path.stem).suffix.lower() in ENDINGS else NoMotion(text, "packed")
        return _read(path, ending)
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror or error}.") from None


def _is_table(path: Path) -> bool:
    """Whether a text is lines of numbers and not JSON."""
    with path.open("rb") as file:
        return not file.read(400).lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"["))


def _read(path: Path, ending: str) -> Any:
    """By what the file begins with: an ending may be wrong."""
    with path.open("rb") as file:
        start = file.read(400)
    _check_fetched(path, start.lstrip().lower())
    if start[:2] == b"PK":
        return _read_zip(path)
    if start[:6] == b"\x93NUMPY":
        return _read_npy(path)
    if ending in (*TABLES, ".txt") and start[:2] == b"\x1f\x8b":
        raise SceneError(f"{path} is packed with gzip. Unpack it first, e.g. with gunzip.")
    if ending in (*TABLES, ".txt") or (ending in ARCHIVES and _TEXT.fullmatch(start)):
        return read_table(path)
    if ending == ".npz":
        raise _damaged(path, "it is no zip archive")
    return read_array_pickle(path)


def _read_folder(path: Path) -> dict[str, np.ndarray]:
    """Joint angles and the first body's pose, which is the root's, from the tables of a folder."""
    tables = {name: read_table(path / name).numbers() for name in FOLDER_PARTS}
    return {name: table[:, : _ROOT_COLUMNS.get(name)] for name, table in tables.items()}


def _check_fetched(path: Path, start: bytes) -> None:
    if start.startswith(_LFS):
        raise SceneError(f"{path} is only a pointer of Git LFS to the real file. Fetch it with git lfs pull.")
    if start.startswith((b"<!doctype", b"<html")):
        raise SceneError(f"{path} is a web page, not a motion clip. Fetch the file itself, not the page that shows it.")


def _damaged(path: Path, why: object) -> SceneError:
    return SceneError(f"{path} is truncated or not an npz of plain arrays: {why}. Fetch or convert it again.")


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
    except Exception as error:  # a damaged archive fails in a dozen ways
        raise _damaged(path, error) from None
    return read_torch_pickle(path) if pickled else _read_npz(path)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: _member(file, name) for name in file.files}
    except Exception as error:  # a damaged archive fails in a dozen ways
        raise _damaged(path, error) from None
    foreign = [name for name, value in found.items() if isinstance(value, bytes)]
    if foreign:
        raise SceneError(
            f"{path} is an archive of files ({listing(foreign, 4)}). Unpack it first, and name what is in it."
        )
    return found


def _member(file: Any, name: str) -> Any:
    try:
        return file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        return ObjectArray()


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise _damaged(path, error) from None
        raise SceneError(
            f"{path} holds a Python object, such as a dictionary, and not an array of numbers. Reading objects can run "
            f"any code, so it was not read. Save it as plain arrays: np.savez('{path.stem}.npz', "
            f"**np.load('{path.name}', allow_pickle=True).item())."
        ) from None
    except Exception as error:  # a damaged file fails in a dozen ways
        raise _damaged(path, error) from None
