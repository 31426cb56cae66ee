"""Says of every clip what a training on all of them would say. Nothing is written.

The exit status is 0 where all clips can be trained on, and 1 where any is refused; with --skip-unfit, where all are.
"""

import argparse
import logging
from collections.abc import Sequence

from engine.errors import SceneError
from systems.motion.files import read_clips
from systems.motion.tools.fitted import AnyClip, add_clips, made, try_all
from systems.motion.unfit import CURE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips verify`."""
    add_clips(parser, many=True)


def run(options: argparse.Namespace) -> int:
    """Print a line for each clip, and what is wrong or suspicious about it below."""
    refused, sound = 0, 0
    clips: list[AnyClip] = []
    for spec in options.clips:
        try:
            clips += read_clips(spec)
        except SceneError as error:
            refused += 1
            _say("refused", spec, [str(error).replace(CURE, "") if options.skip_unfit else str(error)])
            clips += _rest(spec)
    model = options.robots.model(options.robot, clips)
    raw = [made(clip, model) for clip in clips]
    for clip, found in zip(raw, try_all([(clip, model) for clip in raw], options.clip_height), strict=True):
        title = f"{clip.name} ({clip.source})" if clip.source else clip.name
        if isinstance(found, str):
            refused += 1
            _say("refused", title, [found])
        else:
            sound += 1
            _say("ok", f"{title}: {found.clip.seconds:.2f} s for {model.robot.name}", found.remarks)
    return 1 if refused and not (options.skip_unfit and sound) else 0


def _rest(spec: str) -> list[AnyClip]:
    """The clips of a folder or list that can be read although others cannot, without another word about those."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return read_clips(spec, skip_unfit=True)
    except SceneError:
        return []
    finally:
        logging.disable(before)


def _say(verdict: str, title: str, findings: Sequence[str]) -> None:
    print(f"{verdict:8}{title}")
    for text in findings:
        print("  ! " + text.replace("\n", "\n    "))
