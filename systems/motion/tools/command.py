"""The command `lockstep clips`: a table of sub-commands, each of which is a module that is imported when it is asked for."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from engine.errors import SceneError, did_you_mean, listing
from systems.motion.tools.fitted import KnownRobots

PROGRAM = "lockstep clips"
SUB_COMMANDS = {  # name: the module with its `add_arguments` and `run`, and what it does
    "info": ("systems.motion.tools.info", "What is in clips, and how it was read"),
    "verify": ("systems.motion.tools.verify", "Whether a robot can be trained on clips; exit status 1 if not on all"),
    "plot": ("systems.motion.tools.plot", "Draw joints, heights and speeds against their limits"),
    "cut": ("systems.motion.tools.cut", "Keep some frames or seconds"),
    "resample": ("systems.motion.tools.resample", "Change the frame rate"),
    "mirror": ("systems.motion.tools.mirror", "Make left right"),
    "height": ("systems.motion.tools.height", "Put the feet on the floor"),
    "convert": ("systems.motion.tools.convert", "Write clips as npz, csv or pkl"),
    "retarget": ("systems.motion.retarget.command", "Make clips for a robot out of human motion"),
}


class _Parser(argparse.ArgumentParser):
    """argparse's parser, which raises a sentence for what it cannot parse."""

    def error(self, message: str) -> NoReturn:
        raise SceneError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def usage() -> str:
    """A line for each sub-command."""
    width = max(map(len, SUB_COMMANDS))
    lines = [f"usage: {PROGRAM} SUB-COMMAND [words of the sub-command]", "", "sub-commands:"]
    lines += [f"  {name:{width}}  {text}" for name, (_, text) in SUB_COMMANDS.items()]
    return "\n".join([*lines, "", f"`{PROGRAM} SUB-COMMAND --help` says more about one."])


def main(words: Sequence[str], robots: KnownRobots) -> int:
    """Run a sub-command; its exit status. Raises SceneError for what a person can mend."""
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, *rest = words
    if name not in SUB_COMMANDS:
        raise SceneError(
            f"{PROGRAM} has no sub-command '{name}'; there are {listing(SUB_COMMANDS)}.{did_you_mean(name, SUB_COMMANDS)}"
        )
    module, text = SUB_COMMANDS[name]
    tool = import_module(module)
    parser = _Parser(
        f"{PROGRAM} {name}",
        description=f"{text}.",
        epilog=tool.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tool.add_arguments(parser)
    options = parser.parse_args(rest)
    options.robots = robots
    status: int = tool.run(options)
    return status
