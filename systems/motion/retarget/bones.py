"""Names of bones: which joint of a skeleton is the left knee, whatever program it came from."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from engine.errors import SceneError, did_you_mean, listing
from systems.motion.retarget.bvh import END, BvhFile, read_bvh
from systems.motion.retarget.human import JOINTS, LANDMARKS, SIDES, HumanMotion, from_points

SUFFIX = ".bvh"
_WORDS = {  # of a joint, without side and spelling: what LAFAN1, CMU, Mixamo, Xsens, Rokoko, SMPL and others call it
    "hip": ("upleg", "upperleg", "thigh", "hip", "femur", "hipjoint", "legupper"),
    "knee": ("leg", "lowerleg", "shin", "calf", "knee", "tibia", "leglower", "lowleg"),
    "ankle": ("ankle", "foot"),
    "toe": ("toe", "toebase", "toes", "toe0", "ball", "foot"),
    "shoulder": ("arm", "uparm", "uarm", "upperarm", "shoulder", "humerus", "armupper"),
    "elbow": ("forearm", "farm", "lowerarm", "elbow", "radius", "armlower", "lowarm"),
    "wrist": ("wrist", "hand"),
}
_KNOWN = {word for words in _WORDS.values() for word in words}
_PREFIX = re.compile(r"^(?:.*:|mixamorig\d*[_.\- ]|bip\d*[_.\- ])", re.IGNORECASE)
_SIDED = [  # how a name tells its side
    re.compile(pattern, re.IGNORECASE)
    for pattern in (r"(?P<side>left|right|l|r)[_.\- ]*(?P<rest>.+)", r"(?P<rest>.+?)[_.\- ]*(?P<side>left|right|l|r)")
]


def _parts(name: str) -> tuple[str, str]:
    """Side and joint of a bone's name, in words of `_WORDS`; two empty texts for a bone that is none of them."""
    name = _PREFIX.sub("", name)
    for pattern in _SIDED:
        found = pattern.fullmatch(name)
        word = re.sub(r"[^a-z0-9]", "", found["rest"].lower()) if found else ""
        if found and word in _KNOWN:
            return ("left" if found["side"].lower().startswith("l") else "right"), word
    return "", ""


def find_bones(bvh: BvhFile, source: str, given: Mapping[str, str] | None = None) -> dict[str, int]:
    """The joint of every landmark; `given` names bones that are not found by their names.

    Toes may be end sites. Where a skeleton has a collar called "shoulder" above an "arm", the arm counts.
    Raises SceneError with all bones of the file where some are not found.
    """
    given = dict(given or {})
    names, found = list(bvh.names), {}
    for landmark, bone in given.items():
        if landmark not in LANDMARKS:
            raise SceneError(
                f"'{landmark}' is no landmark; they are {listing(LANDMARKS)}.{did_you_mean(landmark, LANDMARKS)}"
            )
        if bone not in names:
            raise SceneError(
                f"{source} has no bone '{bone}' for {landmark}; it has {listing(names, 80)}.{did_you_mean(bone, names)}"
            )
        found[landmark] = names.index(bone)
    parts = [_parts(name) for name in names]
    for joint in JOINTS:
        for side in SIDES:
            words = _WORDS[joint]
            choices = [(words.index(word), i) for i, (s, word) in enumerate(parts) if s == side and word in words]
            choices = [choice for choice in choices if choice[1] not in found.values()]
            if choices and f"{side}_{joint}" not in found:
                found[f"{side}_{joint}"] = min(choices)[1]
    _take_end_sites(bvh, found)
    missing = [landmark for landmark in LANDMARKS if landmark not in found]
    if missing:
        raise SceneError(
            f"{source}: no bone was found for {listing(missing)}. Its bones are {listing(names, 80)}. Write a file of "
            f'{{"{missing[0]}": "NAME OF A BONE", …}} and name it with --bones FILE.'
        )
    return found


def _take_end_sites(bvh: BvhFile, found: dict[str, int]) -> None:
    """Toes and wrists that have no bone of their own are where the bone before them ends."""
    for joint, before in (("toe", "ankle"), ("wrist", "elbow")):
        for side in SIDES:
            above = found.get(f"{side}_{before}")
            if f"{side}_{joint}" in found or above is None:
                continue
            below = [i for i, each in enumerate(bvh.joints) if each.parent == above]
            ends = [i for i in below if bvh.joints[i].name.endswith(END)] or below
            if ends:
                found[f"{side}_{joint}"] = ends[0]


def read_bones(path: Path) -> dict[str, str]:
    """Bones by landmark from a JSON file such as {"left_hip": "LThigh"}; SceneError where it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise SceneError(f"{path} cannot be read as a list of bones: {error}.") from None
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise SceneError(f'{path} should be like {{"left_hip": "LThigh", …}}, a name of a bone for each landmark.')
    return content


def read_human(
    path: Path, *, unit: str | None = None, up: str | None = None, bones: Mapping[str, str] | None = None
) -> HumanMotion:
    """The human motion in a BVH file; see `find_bones` and `from_points` for what is refused."""
    bvh = read_bvh(path)
    found = find_bones(bvh, str(path), bones)
    positions = bvh.positions()
    places = {landmark: positions[:, index] for landmark, index in found.items()}
    return from_points(path.stem, str(path), bvh.fps, places, unit, up)
