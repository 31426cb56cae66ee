"""The command `lockstep play`: exported policies in plain MuJoCo, with a window, as a film, or on a recorded log."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from engine.errors import SceneError, listing
from engine.files import refuse_unwritable
from systems.deploy.player import ACTIONS, Event, Player, read_script, save_log
from systems.deploy.policy import OnnxPolicy
from systems.deploy.robot import MujocoRobot, RecordedRobot

PROGRAM = "lockstep play"
BLEND = 0.3  # s
SECONDS = 10.0  # of a policy that follows commands
FALLEN = 1.2  # rad of tilt
KEYS = "w s forward, a d sideways, q e turn, space stops, 1…9 change over, n next clip, p pushes, backspace resets"
STEP = 0.1  # m/s or rad/s, by which a key changes the command
PUSH = 0.8  # m/s
LATEST = 0.1  # s, by which the window may be behind real time


class _Parser(argparse.ArgumentParser):
    """argparse's parser, which raises a sentence for what it cannot parse."""

    def error(self, message: str) -> NoReturn:
        raise SceneError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """What may be typed."""
    actions = "\n".join(f"  TIME {name} {'N ' * count:8} {about}" for name, (count, about) in ACTIONS.items())
    made = _Parser(
        PROGRAM,
        description="Play policies that `python -m engine.run --export RUN --out policy.onnx` wrote, without torch.",
        epilog=f"A script has a line for each event, TIME in s:\n{actions}\n\nKeys in the window: {KEYS}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("policies", nargs="+", type=Path, metavar="policy.onnx", help="the first plays from the start")
    made.add_argument("--clip", help="clip to follow (default: the first that the policy was trained on)")
    made.add_argument(
        "--command",
        nargs=3,
        type=float,
        metavar=("X", "Y", "TURN"),
        help="velocity to walk with, m/s, m/s and rad/s (default: 0 0 0)",
    )
    made.add_argument("--script", type=Path, help="file of events")
    made.add_argument("--seconds", type=float, help=f"how long (default: to the end of the clip; else {SECONDS:g})")
    made.add_argument("--blend", type=float, help=f"s of a change over to another policy (default: {BLEND:g})")
    made.add_argument("--film", type=Path, metavar="FILE.mp4", help="write a film instead of opening a window")
    made.add_argument("--no-film", action="store_true", help="play as fast as possible, and show nothing")
    made.add_argument("--record", type=Path, metavar="LOG.npz", help="write what was read of the robot and sent to it")
    made.add_argument("--log", type=Path, metavar="LOG.npz", help="play on a recorded log, and compare targets")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Play exported policies in plain MuJoCo, without torch."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    _refuse_senseless(options)
    policies = [OnnxPolicy.load(path) for path in options.policies]
    if options.clip is not None:
        policies[0].choose(options.clip)
    if options.log is not None:
        return _compare(RecordedRobot.load(options.log), policies)
    first = policies[0]
    if "mjcf" not in first.about:
        raise SceneError(f"{first.path} does not hold its robot's model. Export the policy again.")
    robot = MujocoRobot(first.about["mjcf"], first.dt, first.numbers["joint_torque_limit"])
    player = Player(robot, policies, BLEND if options.blend is None else options.blend)
    script = read_script(options.script) if options.script else []
    if options.command is not None:
        script = [Event(0.0, "command", tuple(options.command)), *script]
    window = _has_screen() and options.film is None and not options.no_film
    _refuse_events(options, script, policies, window)
    steps = _steps(options, player, script)
    if window:
        _in_window(player, script, steps)
    else:
        _run(player, script, steps)
    _tell(player, options)
    return 0


def _refuse_senseless(options: argparse.Namespace) -> None:
    for name in ("film", "record"):
        if getattr(options, name) is not None:
            refuse_unwritable(getattr(options, name), f"--{name}")
    if options.film is not None and options.no_film:
        raise SceneError("--film and --no-film contradict each other; leave one out.")
    if options.film is not None and options.film.suffix != ".mp4":
        raise SceneError(
            f"--film writes an mp4 film, not {options.film.name}. Say --film {options.film.with_suffix('.mp4')}."
        )
    if options.seconds is not None and not 0.0 < options.seconds < np.inf:
        raise SceneError(f"--seconds is {options.seconds:g}; give a number above 0.")
    if options.record is not None and options.record.suffix != ".npz":
        raise SceneError(
            f"--record writes an npz file, not {options.record.name}. Say --record {options.record.with_suffix('.npz')}."
        )
    if options.blend is not None and not 0.0 <= options.blend < np.inf:
        raise SceneError(f"--blend is {options.blend:g} s; give a number from 0 up.")
    names = ("clip", "command", "script", "seconds", "blend", "film", "no_film", "record")
    idle = [name.replace("_", "-") for name in names if getattr(options, name) not in (None, False)]
    if options.log is not None and idle:
        raise SceneError(f"--{idle[0]} has no effect with --log, whose robot does what it did. Leave one of them out.")


def _refuse_events(
    options: argparse.Namespace, script: Sequence[Event], policies: Sequence[OnnxPolicy], window: bool
) -> None:
    """SceneError for a script that cannot be followed, and for policies that nobody changes over to, before anything moves."""
    path, playing, played, asked = options.script, 0, {0}, np.zeros(3)
    for event in script:
        if options.seconds is not None and event.time >= options.seconds:
            raise SceneError(
                f"{path}: '{event.action}' at {event.time:g} s comes after --seconds {options.seconds:g}. Play longer, or leave it out."
            )
        if event.action == "policy":
            if not (event.numbers[0].is_integer() and 1 <= event.numbers[0] <= len(policies)):
                raise SceneError(
                    f"{path}: there is no policy {event.numbers[0]:g} at {event.time:g} s; {len(policies)} were given, from 1."
                )
            playing = int(event.numbers[0]) - 1
            played.add(playing)
        elif event.action == "clip" and len(policies[playing].clips) < 2:
            raise SceneError(
                f"{path}: {policies[playing].path} has no next clip to play at {event.time:g} s; it was trained on "
                f"{listing(policies[playing].clips) or 'none'}. Leave the action 'clip' out."
            )
        elif event.action == "command":
            asked = np.array(event.numbers)
        if event.action == "command" or (asked.any() and policies[playing].ranges is not None):
            policies[playing].refuse(asked)
    idle = [number for number in range(len(policies)) if number not in played]
    if idle and not window:
        raise SceneError(
            f"Nobody changes over to {policies[idle[0]].path}: without a window a --script does, with a line such as '5 policy "
            f"{idle[0] + 1}'. Give one, or leave the policy out."
        )


def _steps(options: argparse.Namespace, player: Player, script: Sequence[Event]) -> int:
    """How many control steps are played."""
    length, dt = player.policy.length, player.policy.dt
    if options.seconds is not None:
        return max(1, round(options.seconds / dt))
    return (
        length if length is not None and not script else round(max(SECONDS, *(e.time + 2.0 for e in script), 0.0) / dt)
    )


def _has_screen() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _run(player: Player, script: Sequence[Event], steps: int) -> None:
    """Play without a window, as fast as possible."""
    waiting = list(script)
    for number in range(steps):
        while waiting and waiting[0].time <= number * player.policy.dt + 1e-9:
            player.take(waiting.pop(0))
        if not player.step():
            raise SceneError(
                f"The simulation of the robot failed after {number + 1} control steps. Push less, or play another policy."
            )


def _in_window(player: Player, script: Sequence[Event], steps: int) -> None:
    """Play in real time in MuJoCo's window, by keys and script, until it is closed."""
    from systems.deploy.window import PlayWindow

    assert isinstance(player.robot, MujocoRobot)
    waiting, number = list(script), 0
    print(f"Keys: {KEYS}. Close the window to end.", flush=True)
    with PlayWindow(player.policies[0].about["mjcf"]) as window:
        begun = time.perf_counter()
        while window.open:
            while waiting and waiting[0].time <= number * player.policy.dt:
                player.take(waiting.pop(0))
            while window.pressed:
                press(player, window.pressed.pop(0))
            if player.policy.length is not None and player.policy.steps >= player.policy.length:
                player.reset()
            if not player.step():
                player.reset()
            number += 1
            window.show(player.robot)
            late = time.perf_counter() - begun - number * player.policy.dt
            begun += max(0.0, late - LATEST)  # a machine that is too slow plays slowly, and does not hurry afterwards
            time.sleep(max(0.0, -late))


def press(player: Player, key: int) -> None:
    """What a key of the window does; commands stay within what the policy was trained for."""
    moves = {"W": (0, 1.0), "S": (0, -1.0), "A": (1, 1.0), "D": (1, -1.0), "Q": (2, 1.0), "E": (2, -1.0)}
    letter = chr(key) if 0 < key < 0x110000 else ""
    ranges = player.policy.ranges
    if letter in moves and ranges is not None:
        axis, sign = moves[letter]
        player.command[axis] = np.clip(player.command[axis] + sign * STEP, *ranges[axis])
    elif letter == " ":
        player.command[:] = 0.0
    elif letter.isdigit() and 1 <= int(letter) <= len(player.policies):
        player.change_over(int(letter) - 1)
    elif letter == "N" and len(player.policy.clips) > 1:
        player.next_clip()
    elif letter == "P":
        player.push(0.0, PUSH)
    elif key == 259:  # backspace, as GLFW counts keys
        player.reset()


def _tell(player: Player, options: argparse.Namespace) -> None:
    robot = player.robot
    assert isinstance(robot, MujocoRobot)
    lines = {
        "policy": listing([policy.name for policy in player.policies]),
        "played": f"{len(player.targets) * player.policy.dt:.2f} s",
    }
    if player.readings:
        lines["robot"] = "fell" if robot.tilt > FALLEN else f"stands, {player.readings[-1].base_position[2]:.2f} m high"
    if options.record is not None:
        save_log(options.record, player)
        lines["log"] = str(options.record)
    if player.readings and not options.no_film and (options.film is not None or not _has_screen()):
        lines["film"] = str(_film(player, options.film or Path(f"{player.policies[0].name}.mp4")))
    for name, text in lines.items():
        print(f"  {name:8}{text}")


def _film(player: Player, path: Path) -> Path:
    """The film of what was played."""
    from systems.film.film import FilmShot, write_film
    from systems.film.scenery import scene_of_mjcf

    states = np.array(
        [np.concatenate((r.base_position, r.base_orientation, r.joint_position)) for r in player.readings]
    )
    dt = player.policy.dt
    captions = tuple((player.policies[0].name, f"{number * dt:5.2f} s") for number in range(len(states)))
    shot = FilmShot(player.policies[0].name, states, None, captions)
    write_film(path, scene_of_mjcf(player.policies[0].about["mjcf"]), [shot], fps=1.0 / dt)
    return path


def _compare(robot: RecordedRobot, policies: Sequence[OnnxPolicy]) -> int:
    """Play on a log; the exit status."""
    for policy in policies:
        robot.at = 0
        robot.sent.clear()
        player = Player(robot, [policy])
        for command, begins, clip in zip(robot.commands, robot.begins, robot.clips.tolist(), strict=True):
            player.command = command
            if begins and policy.clips and clip:
                policy.choose(clip)
            if begins:
                policy.begin(robot.read())
            player.step()
        apart: Any = np.abs(np.array(robot.sent) - robot.targets)
        at = int(apart.max(1).argmax())
        print(
            f"  {policy.name}: targets differ by {apart.mean():.2g} rad on average and by at most {apart.max():.2g} rad (step {at}, "
            f"{robot.joints[int(apart[at].argmax())]}), over {len(apart)} control steps"
        )
    return 0
