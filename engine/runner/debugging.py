"""Debug server of a training: its socket, its inspector, and what becomes of its files when it goes back."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import attrs

from engine.ecs.scene import Simulation
from engine.ecs.schedule import Entry
from engine.errors import SceneError
from engine.files import file_errors
from engine.inspect.commands import handle
from engine.inspect.inspector import Inspector
from engine.inspect.interventions import counted
from engine.inspect.listener import parse_debug
from engine.inspect.run_handle import RunHandle
from engine.inspect.server import DebugServer
from engine.protocol.schema import schema_for_debuggers
from engine.runner.checkpoint import checkpoint_name, checkpoints, moment
from engine.runner.config import RunPlan
from engine.runner.console import Warnings
from engine.runner.experiment import Experiment
from engine.runner.recording import RunObservers
from engine.runner.run_folder import RunFolder
from engine.runner.stop import StopRequest

__all__ = ["Inspector", "ObservedTraining", "counted", "debug_server", "parse_debug"]


@attrs.define
class ObservedTraining:
    """A training, and all of it that its debug server needs."""

    plan: RunPlan
    experiment: Experiment
    simulation: Simulation
    folder: RunFolder
    warn: Warnings
    observers: RunObservers
    stop: StopRequest = attrs.field(factory=StopRequest)
    began: float = 0.0  # when its iteration began, and at which tick
    first_tick: int = 0
    spent: dict[int, float] = attrs.field(factory=dict)  # seconds of each entry of the schedule until then

    @property
    def length(self) -> int:
        """Ticks of an iteration."""
        return self.simulation.scene.iteration

    @property
    def clocked(self) -> list[Entry]:
        """Everything that a tick calls, with the seconds that it took."""
        return self.simulation.schedule.entries

    def start_iteration(self) -> None:
        """Begin to count the time of an iteration."""
        self.began, self.first_tick = time.perf_counter(), self.simulation.world.clock.tick
        self.spent = {id(entry): entry.seconds for entry in self.clocked}


@contextmanager
def debug_server(run: ObservedTraining) -> Iterator[Inspector | None]:
    """Let debuggers attach as long as this lasts; a run that cannot listen goes on without, and warns."""
    options = run.plan.options
    debug = parse_debug(options.debug, options.debug_expose)
    if debug is None:
        yield None
        return
    ranks = run.plan.ranks
    simulation, path, display = run.simulation, run.folder.path, run.experiment.display
    about = {
        "name": path.name if ranks is None or ranks.rank == 0 else f"{ranks.folder.name}, rank {ranks.rank}",
        "scene": simulation.scene.name,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "folder": str(path),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(simulation.world.device),
        "seed": simulation.world.seed,
    }
    schema = partial(schema_for_debuggers, simulation, display)
    server = DebugServer(about, schema, debug=debug, expose=options.debug_expose)
    try:
        for notice in server.start():
            run.warn(notice)
    except SceneError as error:
        run.warn(str(error))
        yield None
        return
    stay = options.debug_on_detach == "stay"
    inspector = Inspector(simulation, server, handle, TrainingHandle(run), stay=stay, view=display)
    if ranks is not None and ranks.size > 1:
        inspector.history = inspector.history[0], 0  # several processes do not go back together
    run.warn.listener = partial(inspector.event, "warning")
    try:
        yield inspector
    except BaseException as error:
        recorder = run.observers.recorder
        inspector.failed(error, recorder.latest if recorder is not None else None)
        raise
    finally:
        run.warn.listener = None
        inspector.close()


class TrainingHandle(RunHandle):
    """A training, as its debugger sees it."""

    def __init__(self, run: ObservedTraining) -> None:
        self.run = run
        self.folder = run.folder.path

    @property
    def stopping(self) -> bool:
        """Whether the training is asked to end."""
        return self.run.stop.requested

    def save_checkpoint(self) -> str:
        """Write a checkpoint of this moment; its name. SceneError where it cannot be written."""
        if self.run.plan.ranks is not None and self.run.plan.ranks.size > 1:
            raise SceneError(
                "Several processes write their checkpoints together, between iterations: --checkpoint-every says how often."
            )
        folder, world = self.run.folder, self.run.simulation.world
        now = divmod(world.clock.tick, self.run.length)
        self.run.observers.flush()
        folder.save(world, *now)
        folder.drain()
        if folder.failing or not folder.saved_is(*now):
            raise SceneError(
                f"The checkpoint {checkpoint_name(*now)} could not be written; the run's warnings say why."
            )
        return checkpoint_name(*now)

    def continue_from(self, tick: int) -> None:
        """Go on from an earlier tick: later checkpoints are renamed, later rows forgotten."""
        run, folder, newest = self.run, self.run.folder, None
        here = divmod(max(tick, 0), run.length)
        folder.drain()
        with file_errors(f"The files of the run do not go back to tick {tick}", run.warn):
            for path in checkpoints(folder.path):
                if moment(path) > here:
                    path.rename(path.with_suffix(".abandoned"))
                else:
                    newest = newest or path
            folder.truncate_to(newest, here[0], max(tick, 0))
            run.observers.rewind()
        run.start_iteration()
        run.warn(f"A debugger went on from tick {tick}; later checkpoints are kept as *.abandoned.")

    def may_change(self, tick: int) -> bool:
        """After an iteration the experiment's report may write to the world."""
        return tick % self.run.length == 0
