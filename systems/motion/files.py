"""Clips by name: what `--clip` may say, and the files that it means.

A clip is named by a word (`squat`, made on the spot) or by a path with options after colons, and a list
joins them with commas and gives weights, which multiply how often each frame of a clip is drawn:

    walk.csv:xyzw:60fps:10-250=2,kicks.pkl#kick_3=1,folder

`xyzw` or `wxyz` says how the file orders quaternions, `60fps` its frame rate, `deg` or `rad` and `m`, `cm` or `mm`
its units, `dof` or `pose_aa` which of the two gives the joint angles, `10-250` which frames to take (from 1, both
included), and `#kick_3` which clip of a file of many. The order of the options does not matter. On a folder they
apply to every clip in it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import attrs

from components.motion import BuiltInClip, Clip
from engine.errors import SceneError, did_you_mean, listing
from systems.motion.clips import BUILT_IN
from systems.motion.containers import ENDINGS, FOLDER_PARTS, PACKED, PERSON_ENDINGS, read_container
from systems.motion.layouts import clip_of, clips_within
from systems.motion.options import PATTERN, ClipOptions, unknown_option
from systems.motion.places import MOST_COMMAS, absolute_clips, path_end
from systems.motion.unfit import Unfit

ClipNames = Annotated[
    str, f"a built-in clip ({listing(BUILT_IN)}), a file, a folder, or a list a=2,b=1", absolute_clips
]
SkipUnfit = Annotated[bool, "go on without the clips that cannot be used, and say which"]
_TAIL = re.compile(rf"(?P<before>(?::{PATTERN})*)(?:#(?P<key>.+?))?(?P<after>(?::{PATTERN})*)$")


@attrs.frozen
class _Request:
    typed: str
    path: str
    key: str | None
    words: tuple[str, ...]
    weight: float


def read_clips(spec: str, *, skip_unfit: bool = False) -> list[Clip | BuiltInClip]:
    """The clips that `spec` names (see the top of this file); a folder stands for all clips in it.

    A weight applies to every clip of its item. Raises SceneError for a clip that does not exist, and one that lists
    all that cannot be read; with `skip_unfit` these are left out with a warning.
    """
    clips: list[Clip | BuiltInClip] = []
    unfit = Unfit(skip=skip_unfit)
    for request in _requests(spec):
        built_in = request.path.replace("_", "-")
        if built_in in BUILT_IN and not request.words and not request.key:
            clips.append(BuiltInClip(built_in, request.weight))
        else:
            clips += _read_item(request, unfit)
    unfit.settle(len(clips))
    return clips


def _read_item(request: _Request, unfit: Unfit) -> list[Clip]:
    files = _files(request)
    options = ClipOptions(request.words, request.typed)
    clips: list[Clip] = []
    for file in files:
        with unfit.caught(beside=len(files) > 1):
            for name, source, content in clips_within(file, read_container(file), request.key):
                with unfit.caught(beside=len(files) > 1):
                    clip = clip_of(content, name=name, source=source, options=options)
                    clips.append(attrs.evolve(clip, weight=request.weight, typed=request.typed))
    if clips:
        options.check()
    return clips


def _requests(spec: str) -> Iterator[_Request]:
    if not spec.strip():
        raise SceneError(f"The clip list is empty. Name a built-in clip ({listing(BUILT_IN)}) or a file.")
    for item in _items(spec):
        if not item:
            raise SceneError(
                f"The clip list '{spec}' has an empty entry. Name a built-in clip ({listing(BUILT_IN)}) or a file."
            )
        yield _request(item)


def _items(spec: str) -> Iterator[str]:
    """The entries of a list; a comma that belongs to the name of a file does not part two entries."""
    parts = spec.split(",")
    at = 0
    while at < len(parts):
        most = min(len(parts), at + MOST_COMMAS + 1)
        whole = (
            n for n in range(most, at + 1, -1) if path_end(",".join(parts[at:n]), len(",".join(parts[at : n - 1])))
        )
        end = next(whole, at + 1)
        while end < len(parts) and _is_of_a_key(",".join(parts[at:end]), parts[end]):
            end += 1
        yield ",".join(parts[at:end]).strip()
        at = end


def _is_of_a_key(item: str, following: str) -> bool:
    """Whether a comma belongs to the name of a clip within a file: what follows it is neither a file nor a clip."""
    word = re.split(r"[:#=]", following)[0].strip()
    known = not word or word.replace("_", "-") in BUILT_IN or path_end(following.strip())
    return "#" in item[path_end(item) :] and not known and not Path(word).suffix and "/" not in word


def _request(item: str) -> _Request:
    if re.match(r"\w+://", item):
        raise SceneError(f"'{item}' is an address on the network. Fetch the file first and name it here.")
    path = item[: path_end(item)]
    known = bool(path)
    if not known:  # nothing of that name is there: it ends where options begin, which a drive's colon does not
        drive = 2 if re.match(r"[A-Za-z]:[\\/]", item) else 0
        path = item[:drive] + re.split(r"[:#=]", item[drive:], maxsplit=1)[0]
    rest = item[len(path) :]
    typed, weight = item, 1.0
    if "=" in rest:
        rest, text = rest.rsplit("=", 1)
        typed, weight = item[: len(path) + len(rest)], _weight(item, text)
    match = _TAIL.match(rest)
    if match is None:
        if not known:
            _missing(typed)
        raise unknown_option(typed, rest)
    words = tuple(word for word in (match["before"] + match["after"]).split(":") if word)
    return _Request(typed, path.strip(), match["key"], words, weight)


def _weight(item: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0.0 < weight < float("inf"):
        raise SceneError(f"The weight '{text}' in '{item}' is not a positive number. Write it like a.pkl=2.")
    return weight


def _files(request: _Request) -> list[Path]:
    place = Path(request.path).expanduser()
    if place.is_file():
        return [place]
    if not place.exists() and request.path.replace("_", "-") in BUILT_IN:
        raise SceneError(f"'{request.typed}' gives options to a built-in clip, which has none; write {request.path}.")
    if not place.is_dir():
        _missing(request.path)
    if request.key is not None:
        raise SceneError(
            f"{request.path} is a folder, which has no clip '#{request.key}'; the mark # names one clip of a file of "
            f"many. Write {request.path}/FILE#{request.key}."
        )
    found = sorted(_within(place))
    whole = {file.parent for file in found if all((file.parent / part).is_file() for part in FOLDER_PARTS)}
    clips = [file for file in found if _is_clip(file) and file.parent not in whole]
    beside = [file for file in found if file.suffix.lower() in (*PERSON_ENDINGS, *PACKED) and not _is_packed_clip(file)]
    if not (clips or whole or beside):
        raise SceneError(f"Folder {request.path} holds no motion clips; a clip ends in {listing(ENDINGS)}.")
    return sorted([*clips, *whole, *beside])


def _within(place: Path) -> Iterator[Path]:
    """The files under a folder, and links that lead nowhere; folders that links lead to count once."""
    seen = set()
    for folder, folders, files in os.walk(place, followlinks=True):
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        yield from (Path(folder) / name for name in files if not name.startswith("."))


def _is_clip(file: Path) -> bool:
    """Whether a file of a folder is a clip by its name, or one that is packed and not there unpacked."""
    return file.suffix.lower() in ENDINGS or (_is_packed_clip(file) and not file.with_suffix("").exists())


def _is_packed_clip(file: Path) -> bool:
    return file.suffix.lower() in PACKED and Path(file.stem).suffix.lower() in ENDINGS


def _missing(path: str) -> NoReturn:
    place = Path(path).expanduser()
    if re.search(r"[*?\[]", path):
        raise SceneError(
            f"There is no clip '{path}', and patterns of names are not looked up. Name the folder, which stands for all clips "
            "in it, or join files with commas."
        )
    several = [part for part in re.split(r"[;\s]+", path) if part]
    if len(several) > 1 and all(path_end(part) or part in BUILT_IN for part in several):
        raise SceneError(f"There is no clip '{path}'. Commas part the clips of a list: write {','.join(several)}.")
    if place.suffix.lower() in (*ENDINGS, *PERSON_ENDINGS) or "/" in path or os.sep in path:
        near = [file.name for file in place.parent.iterdir()] if place.parent.is_dir() else []
        raise SceneError(f"The clip file {path} does not exist. Check the path.{did_you_mean(place.name, near)}")
    raise SceneError(
        f"There is no clip '{path}': it is neither a file or folder nor one of the built-in clips "
        f"{listing(BUILT_IN)}.{did_you_mean(path, BUILT_IN)}"
    )
