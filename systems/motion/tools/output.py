"""Output of the clip tools: clips into one file or a folder, never over another file unawares."""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from engine.errors import SceneError, listing
from engine.files import file_errors, write_file
from systems.motion.tools.fitted import FittedClip
from systems.motion.writers import CONTAINERS, clip_bytes


def add_output(parser: argparse.ArgumentParser) -> None:
    """The arguments for where clips are written."""
    ends = listing(f".{container}" for container in CONTAINERS)
    parser.add_argument(
        "--out",
        type=path_of,
        required=True,
        metavar="FILE",
        help=f"what to write; its ending ({ends}) says as what, and without one it is a folder",
    )
    parser.add_argument("--to", choices=CONTAINERS, help="what the files in a folder are; npz when left out")
    add_force(parser)


def add_force(parser: argparse.ArgumentParser) -> None:
    """The argument that allows files to be replaced."""
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def write_clips(clips: Sequence[FittedClip], options: argparse.Namespace, *, breadth_first: bool = False) -> int:
    """Write clips where the options say, and a line about each; the exit status 0.

    Nothing is written before every clip is there. Raises SceneError where a file exists or cannot hold the clips.
    """
    weighted = [each.clip.name for each in clips if each.clip.weight != 1.0]
    if weighted:
        raise SceneError(f"No file can keep the weight of {listing(weighted, 6)}; leave out what stands behind '='.")
    contents = _contents(clips, options.out, options.to)
    refuse_existing(contents, force=options.force)
    for path, part in contents.items():
        kept, container = [each.clip for each in part], path.suffix[1:].lower()
        write_whole(path, clip_bytes(kept, part[0].model, container, breadth_first=breadth_first))
        for each in part:
            print(_line(path, each, named=len(part) > 1))
    return 0


def path_of(text: str) -> Path:
    """The path that was typed; ~ is a home."""
    return Path(text).expanduser()


def refuse_existing(paths: Iterable[Path], *, force: bool) -> None:
    """Raise SceneError where a file exists and was not meant to be replaced."""
    existing = [str(path) for path in paths if path.exists()]
    if existing and not force:
        raise SceneError(f"{listing(existing, 6)} would be replaced. Add --force to do so, or name another --out.")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, with its folder where there is none."""
    with file_errors(f"The folder {path.parent} cannot be made"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with file_errors(f"{path} cannot be written"):
        write_file(path, content)


def _contents(clips: Sequence[FittedClip], out: Path, to: str | None) -> dict[Path, list[FittedClip]]:
    """Which clips each file holds."""
    ending = out.suffix[1:].lower()
    if out.is_dir() or not ending:
        return {path: [clip] for path, clip in zip(paths_in(out, clips, to or "npz"), clips, strict=True)}
    if ending not in CONTAINERS:
        ends = listing(f".{container}" for container in CONTAINERS)
        raise SceneError(f"--out {out} ends in '{out.suffix}'; clips are written as {ends}, or into a folder.")
    if to not in (None, ending):
        raise SceneError(f"--out {out} is no {to} file by its ending. Leave out --to {to}, or end the name in .{to}.")
    if len(clips) == 1:
        return {out: [attrs.evolve(clips[0], clip=attrs.evolve(clips[0].clip, name=out.stem))]}
    robots = sorted({clip.model.robot.name for clip in clips})
    if ending != "pkl" or len(robots) > 1:
        why = f"for {listing(robots)}" if len(robots) > 1 else f"and a {ending} file holds one"
        raise SceneError(
            f"There are {len(clips)} clips, {why}. Name a folder: --out {out.with_suffix('')} --to {ending}."
        )
    names = distinct([each.clip.name for each in clips])
    return {out: [attrs.evolve(c, clip=attrs.evolve(c.clip, name=n)) for c, n in zip(clips, names, strict=True)]}


def paths_in(folder: Path, clips: Sequence[FittedClip], ending: str) -> list[Path]:
    """A file for each clip in a folder, by its name."""
    plain = [re.sub(r"[^\w.+-]+", "_", each.clip.name) for each in clips]
    return [folder / f"{name}.{ending}" for name in distinct(plain)]


def distinct(names: Sequence[str]) -> list[str]:
    """Names with _2, _3, … after those that occur before, which some disks take for the same in other capitals."""
    taken: dict[str, str] = {}
    for name in names:
        number, choice = 1, name
        while choice.casefold() in taken:
            number += 1
            choice = f"{name}_{number}"
        taken[choice.casefold()] = choice
    return list(taken.values())


def _line(path: Path, found: FittedClip, *, named: bool) -> str:
    clip = found.clip
    lines = [
        f"{path}{f'#{clip.name}' if named else ''}: {clip.num_frames} frames at {clip.fps:g} per second, "
        f"{clip.seconds:.2f} s, {len(found.model.robot.dof_names)} joints of {found.model.robot.name}"
    ]
    return "\n".join([*lines, *(f"  ! {text}" for text in found.remarks)])
