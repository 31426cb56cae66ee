"""Says of every clip what a training on it would say. Nothing is written.

The exit status is 0 where all clips can be trained on, and 1 where any is refused.
"""

import argparse
from collections.abc import Sequence

from components.motion import Clip
from engine.errors import SceneError
from systems.motion.files import read_clips
from systems.motion.tools.fitted import AnyClip, add_clips, fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lockstep clips verify`."""
    add_clips(parser, many=True)


def run(options: argparse.Namespace) -> int:
    """Print a line for each clip, and what is wrong or suspicious about it below."""
    refused = 0
    clips: list[AnyClip] = []
    for spec in options.clips:
        try:
            clips += read_clips(spec)
        except SceneError as error:
            refused += 1
            _say("refused", spec, [str(error)])
    model = options.robots.model(options.robot, clips)
    for clip in clips:
        title = f"{clip.name} ({clip.source})" if isinstance(clip, Clip) and clip.source else clip.name
        try:
            found = fit(clip, model, options.clip_height)
        except SceneError as error:
            refused += 1
            _say("refused", title, [str(error)])
        else:
            _say("ok", f"{title}: {found.clip.seconds:.2f} s for {model.robot.name}", found.warnings)
    return 1 if refused else 0


def _say(verdict: str, title: str, findings: Sequence[str]) -> None:
    print("\n".join([f"{verdict:8}{title}", *(f"  ! {text}" for text in findings)]))
