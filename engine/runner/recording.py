"""Observers of a training: the failure log, always, and the flight recorder with --record, which also looks at a trial."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import attrs

from engine.ecs.scene import Simulation
from engine.protocol.display import View
from engine.recording.failures import FailureLog
from engine.recording.recorder import Recorder, parse_rows, watched_table
from engine.terminal import signals_handled


def rows_to_record(asked: "str | None", simulation: Simulation) -> list[int] | None:
    """Rows that --record names, 16 of them where it names none; None without it. SceneError for rows that do not exist."""
    if asked is None:
        return None
    return parse_rows(asked or True, simulation.world.tables[watched_table(simulation)].rows)


@contextmanager
def recorded(
    simulation: Simulation, asked: "str | None", folder: Path, warn: Callable[[str], None], display: View
) -> Iterator[Recorder | None]:
    """Record the rows that --record names as long as this lasts, and write the recording at the end, or when it fails."""
    rows = rows_to_record(asked, simulation)
    if rows is None:
        yield None
        return
    recorder = Recorder(simulation, rows=rows, folder=folder, warn=warn, view=display)
    recorder.attach()
    try:
        yield recorder
        recorder.keep("end", "The policy was played to the end.")
    except Exception as error:
        recorder.keep_failure(error)
        raise
    finally:
        recorder.detach()


@attrs.define(eq=False)
class RunObservers:
    """Observers of one training, and the files that they keep in its folder."""

    failures: FailureLog
    recorder: Recorder | None = None

    @classmethod
    def begin(
        cls,
        simulation: Simulation,
        folder: Path,
        say: Callable[[str], None],
        rows: list[int] | None = None,
        resumed: Path | None = None,
        display: View | None = None,
        shared: tuple[Callable[[Any], list[Any]], int, int] | None = None,
        records: Path | None = None,
    ) -> Self:
        """Observers of a simulation that is about to run; `rows` are recorded.

        `resumed` is the run folder whose checkpoint the world was restored from. OSError where its files cannot be
        cut back to that checkpoint. `display` is part of the schema of what they write. `shared` is how several processes tell
        each other what they log, the rank of this one, and how many they are. `records` is where recordings go, by default a
        folder in the run's.
        """
        view, recorder = display or View(), None
        if rows is not None:
            recorder = Recorder(simulation, rows=rows, folder=records or folder / "records", warn=say, view=view)
        failures = FailureLog(simulation, folder, say, recorder, view)
        if shared is not None:
            failures.share(*shared)
        if resumed is not None:
            failures.resume(resumed)
        return cls(failures, recorder)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Observe every tick as long as this lasts; SIGUSR1 asks a single process for a recording, and an exception makes one."""
        recorder = self.recorder
        observers = [each for each in (recorder, self.failures) if each is not None]
        for each in observers:
            each.attach()
        try:
            asks = (
                recorder is not None and self.failures.exchange is None
            )  # several processes are stopped by that signal
            with signals_handled((signal.SIGUSR1,) if asks else (), self._on_signal):
                yield
            if recorder is not None:
                recorder.keep("end", "The training ended.")
        except Exception as error:
            if recorder is not None:
                recorder.keep_failure(error)
            raise
        finally:
            for each in observers:
                each.detach()
            self.failures.close()

    def flush(self) -> None:
        """Bring the files up to date; called before a checkpoint is written."""
        self.failures.flush()

    def rewind(self) -> None:
        """The world has gone back to an earlier tick of this run: forget what came after it. OSError."""
        self.failures.rewind()
        if self.recorder is not None:
            self.recorder.rewind()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.recorder is not None:
            self.recorder.ask()
