"""What the debugger asks of whoever runs a simulation: files, checkpoints, and whether it is to end."""

from pathlib import Path

from engine.errors import EditError


class RunHandle:
    """The run that a debugger looks into. As it stands here, a simulation that only ticks: it keeps no checkpoints.

    folder: where interventions.jsonl and recordings go, None for nowhere. stopping: whether the run is asked to end.
    """

    folder: Path | None = None

    @property
    def stopping(self) -> bool:
        """Whether a run that stands still is to go on, as it is about to end."""
        return False

    def save_checkpoint(self) -> str:
        """Write a checkpoint of this moment; its name. LockstepError where it cannot be written."""
        raise EditError("unsupported", "A checkpoint is written between ticks of a training only.")

    def continue_from(self, tick: int) -> None:
        """The run goes on from this tick after it went back: what it wrote of later ticks no longer holds."""

    def may_change(self, tick: int) -> bool:
        """Whether somebody else than the tick's systems may have written to the world before this tick."""
        return True
