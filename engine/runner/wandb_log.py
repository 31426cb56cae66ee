"""Weights & Biases beside TensorBoard: the numbers of a run in the folder `wandb` of it, offline unless asked otherwise.

What is kept offline goes nowhere until somebody sends it with `wandb sync`. Nothing here asks for an account.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import attrs

from engine.errors import SceneError
from engine.files import Say, absolute

Mode = Literal["offline", "online"]


def import_wandb() -> Any:
    """The package; SceneError with the cure where it is not installed."""
    with suppress(ImportError):
        wandb = import_module("wandb")
        if hasattr(wandb, "init"):  # a folder of that name, which its runs leave, can be imported as well
            return wandb
    raise SceneError(
        "--wandb needs the package wandb, which is not installed: pip install 'lockstep-sim[wandb]'. TensorBoard's events are "
        "written without it."
    )


def refuse_unknown(mode: Mode | None) -> None:
    """SceneError where W&B is asked for and cannot be had, before anything is built."""
    if mode is None:
        return
    wandb = import_wandb()
    if mode == "online" and not wandb.api.api_key:
        raise SceneError(
            "--wandb online sends numbers to an account, and this machine knows none. Say --wandb, which keeps them in the run's "
            "folder, or type `wandb login` first."
        )


@attrs.define
class WandbLog:
    """The numbers of one run for W&B; after a failure there are no more of them, and training goes on."""

    warn: Say
    run: Any

    @classmethod
    def begin(
        cls, mode: Mode | None, folder: Path, scene: str, config: Mapping[str, Any], warn: Say
    ) -> "WandbLog | None":
        """Begin, or go on with, the run of a folder; None where nobody asked for it."""
        if mode is None:
            return None
        identity = hashlib.sha256(str(absolute(folder)).encode()).hexdigest()[:12]
        made = cls(warn, None)
        made.run = made._tried(
            lambda: import_wandb().init(
                project=f"lockstep-{scene}", name=folder.name, id=identity, resume="allow", dir=str(folder), mode=mode,
                config=dict(config),
            )
        )  # fmt: skip
        return made

    def write(self, iteration: int, values: Mapping[str, Any]) -> None:
        """The numbers of one iteration."""
        if self.run is not None:
            numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
            self._tried(lambda: self.run.log(numbers, step=iteration))

    def close(self) -> None:
        """Finish what is written."""
        if self.run is not None:
            self._tried(lambda: self.run.finish())

    def _tried(self, work: Any) -> Any:
        try:
            return work()
        except Exception as error:  # whatever another program's logger does, the training goes on
            self.run = None
            self.warn(f"W&B gets no more numbers ({type(error).__name__}: {error}).")
            return None
