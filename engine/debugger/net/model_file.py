"""Model file of a run: fetched chunk by chunk while the window goes on, and kept by its hash for the next time.

No Qt here. Size and hash of what a run sends are checked before anything is kept.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from engine.debugger.model.subscription import PanelControl
from engine.files import write_shared_file

LARGEST = 64 << 20  # bytes of a model that are fetched, at most


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/lockstep/models, or the same under ~/.cache."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "lockstep" / "models"


def kept(digest: str) -> Path | None:
    """The model of this hash, if it was fetched before; one with another hash than its name is removed."""
    path = cache_folder() / f"{digest}.xml"
    try:
        if not digest or path.stat().st_size > LARGEST:
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
        path.unlink()
    except OSError:
        pass
    return None


class Fetch:
    """One model on its way. `path` is set when it is here, `problem` when it will not come, as a sentence.

    `text` is the progress in a sentence. Answers reach it on the thread that made it.
    """

    def __init__(self, control: PanelControl, digest: str) -> None:
        self.digest = digest
        self.path: Path | None = None
        self.problem = ""
        self.text = "Fetching the model from the run."
        self._control = control
        self._data = bytearray()
        self._size: int | None = None
        self._closed = False
        self._ask()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.path is not None or bool(self.problem)

    def close(self) -> None:
        """Forget what was fetched, and ask for no more."""
        self._closed = True
        self._data.clear()

    def _ask(self) -> None:
        self._control.send({"t": "asset", "hash": self.digest, "offset": len(self._data)}, self._take)

    def _take(self, answer: dict[str, Any]) -> None:
        if self._closed or self.over:
            return
        if answer.get("t") != "ok":
            self._fail(str(answer.get("text") or "the run gave no reason"))
            return
        size, offset, data = answer.get("size"), answer.get("offset"), answer.get("data")
        if type(size) is not int or not isinstance(data, bytes) or offset != len(self._data):
            self._fail("the run answered with something else than the next part of it")
        elif size > LARGEST:
            self._fail(f"it has {size:,} bytes, and {LARGEST:,} are the most that are taken")
        elif self._size not in (None, size):
            self._fail(f"its size changed on the way, from {self._size:,} to {size:,} bytes")
        elif not data or len(self._data) + len(data) > size:
            self._fail(f"{len(self._data) + len(data):,} bytes came of {size:,} that the run had announced")
        else:
            self._size = size
            self._data += data
            self.text = f"Fetching the model from the run: {-(-len(self._data) >> 10)} of {-(-size >> 10)} KB."
            if len(self._data) < size:
                self._ask()
            else:
                self._keep()

    def _keep(self) -> None:
        found = hashlib.sha256(self._data).hexdigest()
        if found != self.digest:
            self._fail(f"what came has the hash {found[:12]}…, not {self.digest[:12]}…")
            return
        path = cache_folder() / f"{self.digest}.xml"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_shared_file(path, bytes(self._data))
            path.chmod(0o600)
            self.path = path
        except OSError as error:
            self._fail(f"it cannot be kept in {cache_folder()}: {error.strerror or error}")
        self._data.clear()

    def _fail(self, why: str) -> None:
        self.problem = f"No mesh view: the model was not fetched: {why.removesuffix('.')}."
        self._data.clear()
