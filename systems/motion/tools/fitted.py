"""Clips together with the robot that they are for."""

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np

from components.motion import BuiltInClip, Clip
from components.robot import RobotDescription
from engine.errors import SceneError
from systems.motion.check import Verification
from systems.motion.clips import make_clip
from systems.motion.files import read_clips
from systems.motion.unfit import Unfit
from systems.robots.model import RobotModel, build_robot

UNIT = 1e-6  # a quaternion this near to length 1 stays as it was written

AnyClip = Clip | BuiltInClip


@attrs.frozen
class KnownRobots:
    """The robots that a command may name, and how the one for some clips is chosen."""

    load: Callable[[str], RobotDescription]  # by name or file
    fitting: Callable[[Sequence[AnyClip]], str]  # the name that `auto` stands for
    built: dict[str, RobotModel] = attrs.field(factory=dict)

    def model(self, name: str, clips: Sequence[AnyClip]) -> RobotModel:
        """A robot by name or file, or the one that fits some clips where the name is `auto`; it is built once."""
        name = self.fitting(clips) if name == "auto" else name
        if name not in self.built:
            self.built[name] = build_robot(self.load(name))
        return self.built[name]


@attrs.frozen(eq=False)
class FittedClip:
    """A verified clip with its joints in the order of a robot, that robot, and what verification noticed."""

    clip: Clip
    model: RobotModel
    warnings: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()  # about it and those that came with it, which say no more of it

    @property
    def remarks(self) -> tuple[str, ...]:
        """All that a person should see."""
        return (*self.decided, *self.warnings)


def add_clips(parser: argparse.ArgumentParser, *, many: bool, height: bool = True) -> None:
    """The arguments for clips and for the robot that they are for."""
    about = "a file, a folder, or the name of a built-in clip, as --clip takes it: walk.csv:xyzw:60fps"
    parser.add_argument("clips", nargs="+" if many else 1, metavar="FILE", help=about)
    parser.add_argument(
        "--robot", default="auto", help="a robot by name, an MJCF or URDF file, or auto: the G1 with the clip's joints"
    )
    parser.add_argument("--skip-unfit", action="store_true", help="go on without clips that do not fit, and say which")
    if height:
        about = "auto lowers or raises clips until the feet meet the floor"
        parser.add_argument("--clip-height", choices=("keep", "auto"), default="keep", help=about)


def read_all(options: argparse.Namespace) -> list[AnyClip]:
    """The clips that were named, as they were read; SceneError that lists what cannot be read, unless it may be left out."""
    clips: list[AnyClip] = []
    unfit = Unfit(skip=options.skip_unfit)
    for spec in options.clips:
        with unfit.caught():
            clips += read_clips(spec, skip_unfit=options.skip_unfit)
    unfit.settle(len(clips))
    return clips


def fitted(
    options: argparse.Namespace,
    *,
    before: Callable[[Clip], Clip] = lambda clip: clip,
    after: Callable[[FittedClip], FittedClip] = lambda found: found,
) -> list[FittedClip]:
    """The clips that were named, each for its robot, changed before and after they are verified.

    Raises SceneError that lists the clips that cannot be right or changed, unless they may be left out.
    """
    found: list[FittedClip] = []
    prepared: list[tuple[Clip, RobotModel]] = []
    unfit = Unfit(skip=options.skip_unfit)
    for clip in read_all(options):
        with unfit.caught():
            model = options.robots.model(options.robot, [clip])
            prepared.append((before(made(clip, model)), model))
    for each in try_all(prepared, options.clip_height):
        with unfit.caught():
            if isinstance(each, str):
                raise SceneError(each)
            found.append(after(each))
    unfit.settle(len(found))
    return found


def made(clip: AnyClip, model: RobotModel) -> Clip:
    """The clip itself, or the built-in one made for a robot."""
    if isinstance(clip, Clip):
        return clip
    return attrs.evolve(make_clip(clip.name, model.robot, model), weight=clip.weight)


def try_all(clips: Sequence[tuple[Clip, RobotModel]], height: str = "keep") -> list[FittedClip | str]:
    """Each clip as its robot plays it, or why it cannot; clips of one robot are verified together, as in a training."""
    results: list[FittedClip | str] = [""] * len(clips)
    places: dict[RobotModel, list[int]] = defaultdict(list)
    for place, (_, model) in enumerate(clips):
        places[model].append(place)
    for model, group in places.items():
        unfit = Unfit(skip=True)
        verification = Verification(model.robot, model, unfit, height=height)
        raw = [clips[place][0] for place in group]
        sound = verification.verify(raw)
        decided: dict[int, list[str]] = defaultdict(list)
        for finding in verification.decided:
            decided[_about(finding.text, {at: raw[at] for at in sorted(sound)})].append(finding.text)
        for at, place in enumerate(group):
            if at in sound:
                clip, findings = sound[at]
                texts = tuple(finding.text for finding in findings)
                results[place] = FittedClip(_as_written(clip, raw[at], model), model, texts, tuple(decided[at]))
            else:
                results[place] = next((text for text in unfit.found if raw[at].title in text), "\n".join(unfit.found))
    return results


def _about(text: str, clips: Mapping[int, Clip]) -> int:
    """The first clip that a sentence is about: by its title, its file, or what was typed to name it and others."""
    for field in ("title", "source", "typed"):
        for at, clip in clips.items():
            name: str = getattr(clip, field)
            if name and name in text:
                return at
    return next(iter(clips), 0)


def fit(clip: Clip, model: RobotModel) -> FittedClip:
    """A clip as a robot plays it; raises SceneError where it cannot be right."""
    (found,) = try_all([(clip, model)])
    if isinstance(found, str):
        raise SceneError(found)
    return found


def _as_written(sound: Clip, raw: Clip, model: RobotModel) -> Clip:
    """A verified clip with the names of its joints, and with its file's own digits where quaternions have length 1.

    What is read and written again stays the same so.
    """
    same = sound.root_rotation.shape == raw.root_rotation.shape
    if same and np.abs(sound.root_rotation - raw.root_rotation).max() < UNIT:
        sound = attrs.evolve(sound, root_rotation=raw.root_rotation)
    return attrs.evolve(sound, dof_names=model.robot.dof_names)
