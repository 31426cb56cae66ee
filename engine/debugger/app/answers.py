"""What the run answers and reports, put where a person sees it: status line, log, breaks, undo."""

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject

from engine.debugger.model.store import Store
from engine.debugger.panels.edit import say_edit, say_moment
from engine.debugger.widgets import theme

if TYPE_CHECKING:
    from engine.debugger.app.window import Window

_QUIET = ("", "provenance", "asset", "seek", "live")  # nobody needs to read that these were done
_LOUD = {"break": theme.RED, "nonfinite": theme.RED, "exception": theme.RED, "warning": theme.AMBER}


class Answers(QObject):
    """Listens to the client on behalf of the window."""

    def __init__(self, window: "Window") -> None:
        super().__init__(window)
        self.window, self.store = window, window.store

    def take(self, command: dict[str, Any], answer: dict[str, Any]) -> None:
        """One command and its answer."""
        kind = str(command.get("t", ""))
        if answer.get("t") != "ok":
            self._refused(kind, answer)
            return
        if kind == "break":
            self.store.breaks[int(answer.get("break", 0))] = command
        elif kind == "unbreak":
            self.store.breaks.pop(command["break"], None)
        elif kind == "control":
            taken = "control" if command["do"] == "take" else "observe"
            self.window.client.role = str(answer.get("role", taken))
        said = say_command(command, answer, self.store)
        if kind == "set":
            self.window.deeds.undoable.remember(command, answer)
            self.window.say(said, theme.BLUE)
        if kind not in _QUIET:
            self.store.note(kind, said, self.store.state.get("tick"))

    def _refused(self, kind: str, answer: dict[str, Any]) -> None:
        if kind in ("", "provenance") or answer.get("code") == "lost":
            return
        if kind in ("seek", "live") and answer.get("code") == "offline":
            return  # what was received is shown
        text = str(answer.get("text") or answer.get("code") or "The run refused.")
        if answer.get("code") == "not_controller":
            text += " Press Ctrl+T to take control."
        self.store.note("error", f"{kind}: {text}")
        self.window.say(text, theme.RED)

    def happened(self, event: dict[str, Any]) -> None:
        """One event; what is wrong is said at once."""
        if event["kind"] in _LOUD:
            text, kind = event["text"], event["kind"]
            self.window.say(text if text.startswith(kind) else f"{kind}: {text}", _LOUD[kind])


def say_command(command: dict[str, Any], answer: dict[str, Any], store: Store) -> str:
    """A command that was done, in words."""
    if command.get("t") == "set":
        return say_edit(command, answer, store)
    if command.get("t") == "break":
        condition = f" when {command['when']}" if command["when"] else ""
        return f"{answer.get('break')}: {say_moment(store, command['at'])}{condition}, {command['action']}"
    where = answer.get("path") or answer.get("name") or ""
    given = " ".join(str(v) for k, v in command.items() if k not in ("t", "id") and type(v) in (str, int))
    return f"{given} {where}".strip() or "done"
