"""Makes the recording that `python -m engine.debugger --demo` opens, from a short training of the humanoid that ships as code.

    python -m docs.tools.make_demo [--out engine/debugger/demo.rec] [--iterations 25]

The robot has begun to learn to walk and still falls. What moves is kept of 8 rows at every tick, the rest of their columns at
every tenth; the rewards of all rows at every fourth; the black box, what the learner reported, and what each system took.
Same seed, same numbers, but for the seconds.
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from components.episode import Episode, Reward
from engine import Simulation, build
from engine.ecs.schedule import Observer
from engine.ecs.table import as_numpy
from engine.protocol.framing import encode_frame, pack_array, unpack_array
from engine.protocol.schema import make_schema
from engine.protocol.vitals import find_ends
from engine.recording.file import TERMINAL, RecordingWriter
from engine.recording.recorder import Recorder
from scenes.motion_tracking import CONFIGS, experiment

ROWS = 64
WATCHED = range(0, ROWS, 8)
SHOWN = 120  # ticks
SELDOM, WHOLE = 10, 4  # ticks between samples of what is not plotted, and of all rows
SAMPLES = 40  # of the black box
LARGEST = 3 << 20  # bytes
OFTEN = (
    "RootState.", "DofState.", "BodyState.position", "BodyState.rotation", "ContactForce.", "Action.value", "DofTarget.position",
    "BaseFrame.", "Episode.", "Earned.", "Done.", "MotionCursor.", "MotionReference.body_position", "Reward.",
)  # fmt: skip
"""What is kept at every tick: what Body draws and Plots begin with."""


def _extend(messages: list[dict[str, Any]], simulation: Simulation) -> None:
    messages.extend(endings(simulation))


def make(iterations: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train, watch the last SHOWN ticks; schema and messages."""
    numbers = {"robot": "humanoid", "clip": "walk", "num_envs": ROWS, "hidden": (64, 64), "physics_threads": 1}
    trained = experiment(CONFIGS["laptop"].replace(**numbers))
    simulation = build(trained.train(), seed=1)
    length = simulation.scene.iteration
    recorder = Recorder(simulation, rows=list(WATCHED), samples=SAMPLES)
    recorder.check = None
    messages: list[dict[str, Any]] = []
    watched = iterations * length - SHOWN
    for iteration in range(1, iterations + 1):
        for _ in range(length):
            if simulation.world.clock.tick == watched:
                recorder.attach()
                simulation.schedule.attach(Observer(at_finish=partial(_extend, messages, simulation)))
            before = [(entry.seconds, entry.calls) for entry in simulation.schedule.entries]
            start = time.perf_counter()
            simulation.run()
            took = time.perf_counter() - start
            if simulation.world.clock.tick > watched:
                messages += [*watch(simulation), timing(simulation, before, took)]
        found = trained.report(simulation.world) if trained.report is not None else {}
        messages.append({"t": "data", "sub": "learner", "iteration": iteration, "values": found})
    names = dict(enumerate(simulation.world.columns()))
    for message in recorder.trace.messages():
        messages += thinned(message, names)
    return make_schema(simulation), [*messages, *recorder.black_box.messages()]


def endings(simulation: Simulation) -> Iterator[dict[str, Any]]:
    """An event for each episode that ends in this tick, of all rows."""
    ends = find_ends(simulation)["robot"]
    assert ends.reason is not None
    for row in np.flatnonzero(as_numpy(ends.ended)).tolist():
        names = [label for label, on in zip(ends.labels, as_numpy(ends.reason)[row], strict=True) if on]
        place = {"tick": simulation.world.clock.tick, "row": row, "text": ", ".join(names)}
        yield {"t": "event", "kind": "reset", **place, "fields": {"reasons": names, "count": 1}}


def watch(simulation: Simulation) -> Iterator[dict[str, Any]]:
    """Of all rows, now and then: the reward and its terms, and how old episodes are."""
    world = simulation.world
    tick = world.clock.tick
    if tick % WHOLE:
        return
    ids = {address: number for number, address in enumerate(world.columns())}
    of_all = [("Reward.total", 0, world[Reward].total), ("Episode.step", 0, world[Episode].step)]
    of_all += [("Reward.terms", i, term) for i, term in enumerate(world[Reward].terms.T)]
    for address, label, values in of_all:
        column = [ids[f"robot.{address}"], *pack_array(as_numpy(values).astype(np.float32))]
        yield {"t": "data", "sub": "column", "ticks": [tick, tick], "labels": [label], "cols": [column]}


def timing(simulation: Simulation, before: list[tuple[float, int]], took: float) -> dict[str, Any]:
    """What each system took in the tick that is over, of `took` seconds."""
    tick, entries = simulation.world.clock.tick, simulation.schedule.entries
    spent = [(e.seconds - seconds, e.calls - calls) for e, (seconds, calls) in zip(entries, before, strict=True)]
    message = {"t": "data", "sub": "timing", "ticks": [tick, tick], "tick_seconds": took}
    seconds = pack_array(np.array([s for s, _ in spent], np.float32))
    return {**message, "seconds": seconds, "calls": pack_array(np.array([c for _, c in spent], np.int32))}


def thinned(message: dict[str, Any], names: dict[int, str]) -> Iterator[dict[str, Any]]:
    """A message of the trace as two: what is kept at every tick, and the rest with fewer samples."""
    often = [each for each in message["cols"] if names[each[0]].partition(".")[2].startswith(OFTEN)]
    yield {**message, "cols": often}
    at, moment = unpack_array(message["at"]), unpack_array(message["moment"])
    kept = (at % SELDOM == 0) | ((moment == TERMINAL) & unpack_array(message["present"]).any(1))
    rest = [[n, *pack_array(unpack_array(array)[kept])] for n, *array in message["cols"] if [n, *array] not in often]
    sampled = {key: pack_array(unpack_array(message[key])[kept]) for key in ("at", "moment", "present")}
    yield {**message, **sampled, "sub": "values", "cols": rest}


def main(arguments: "list[str] | None" = None) -> int:
    """Make the file, and refuse one that is too large or knows the machine that it was made on."""
    parser = argparse.ArgumentParser("python -m docs.tools.make_demo")
    parser.add_argument("--out", type=Path, default=Path("engine/debugger/demo.rec"))
    parser.add_argument("--iterations", type=int, default=25)
    given = parser.parse_args(arguments)
    schema, messages = make(given.iterations)
    writer = RecordingWriter.create(given.out, schema)
    for message in messages:
        writer.append(message)
    writer.close()
    recorded = b"".join(encode_frame({**m, "cols": []}) for m in [{**schema, "t": "schema"}, *messages])
    private = [word for word in (os.getcwd(), str(Path.home()), socket.gethostname()) if len(word) > 3]
    found = [word for word in private if word.encode() in recorded]
    size = given.out.stat().st_size
    print(f"{given.out}: {size:,} bytes, {len(messages)} messages")
    if found or size > LARGEST:
        print(f"It names {found}." if found else f"It has more than {LARGEST:,} bytes.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
