"""A training that debuggers may attach to: its socket, its inspector, and what becomes of its files when it goes back."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from engine.errors import SceneError
from engine.inspect.commands import handle
from engine.inspect.inspector import Inspector
from engine.inspect.listener import parse_debug
from engine.inspect.run_handle import RunHandle
from engine.inspect.server import DebugServer
from engine.protocol.schema import schema_for_debuggers
from engine.runner.checkpoint import checkpoint_name, checkpoints, moment

if TYPE_CHECKING:
    from engine.runner.run import Training


@contextmanager
def attended(training: "Training") -> Iterator[None]:
    """Let debuggers attach as long as this lasts; a training that cannot listen goes on without, and says so."""
    given = training.plan.given
    expose = bool(given.get("debug_expose"))
    debug = parse_debug(given.get("debug") or "on", expose)
    if debug is None:
        yield
        return
    simulation, path = training.simulation, training.folder.path
    run = {
        "name": path.name,
        "scene": simulation.scene.name,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "folder": str(path),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(simulation.world.device),
        "seed": simulation.world.seed,
    }
    server = DebugServer(run, partial(schema_for_debuggers, simulation), debug=debug, expose=expose)
    try:
        for notice in server.start():
            training.warn(notice)
    except SceneError as error:
        training.warn(str(error))
        yield
        return
    stay = given.get("debug_on_detach") == "stay"
    training.inspector = Inspector(simulation, server, handle, TrainingHandle(training), stay=stay)
    training.warn.also = partial(training.inspector.event, "warning")
    try:
        yield
    except BaseException as error:
        recorder = training.watch.recorder
        training.inspector.failed(error, recorder.latest if recorder is not None else None)
        raise
    finally:
        training.warn.also = None
        training.inspector.close()


class TrainingHandle(RunHandle):
    """A training, as its debugger sees it."""

    def __init__(self, training: "Training") -> None:
        self.training = training
        self.folder = training.folder.path

    @property
    def stopping(self) -> bool:
        """Whether the training is asked to end."""
        return self.training.stop.requested

    def save_checkpoint(self) -> str:
        """Write a checkpoint of this moment; its name."""
        return save_now(self.training)

    def continue_from(self, tick: int) -> None:
        """Set aside what was written of later ticks."""
        go_back(self.training, tick)

    def may_change(self, tick: int) -> bool:
        """After an iteration the scene's report may write to the world."""
        return tick % self.training.length == 0


def save_now(training: "Training") -> str:
    """Write a checkpoint of this moment; its name. SceneError where it cannot be written."""
    now = divmod(training.world.clock.tick, training.length)
    training.watch.flush()
    training.folder.save(training.world, *now)
    training.folder.drain()
    name = checkpoint_name(*now)
    if training.folder.failing or getattr(training.folder.saved, "name", "") != name:
        raise SceneError(f"The checkpoint {name} could not be written; the run's warnings say why.")
    return name


def go_back(training: "Training", tick: int) -> None:
    """The run goes on from an earlier tick: its later checkpoints are set aside, its later rows forgotten."""
    folder, here, newest = training.folder, divmod(max(tick, 0), training.length), None
    folder.drain()
    try:
        for path in checkpoints(folder.path):
            if moment(path) > here:
                path.rename(path.with_suffix(".abandoned"))
            else:
                newest = newest or path
        folder.go_on(newest, here[0], max(tick, 0))
        training.watch.rewind()
    except OSError as error:
        training.warn(f"The files of the run do not go back to tick {tick} ({error.strerror or error}).")
    training.start_iteration()
    training.warn(f"A debugger went on from tick {tick}; later checkpoints are kept as *.abandoned.")
