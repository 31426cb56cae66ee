"""Actions of the window: keys, menu entries and buttons, what each does, and what becomes of the run's replies."""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLabel, QMessageBox, QWidget

from engine.debugger.app.main_window import MainWindow
from engine.debugger.app.save import save_chrome_trace, save_selection, selection
from engine.debugger.model.store import Store
from engine.debugger.panels import edit
from engine.debugger.widgets import theme
from engine.debugger.widgets.parts import stack

MENUS = ("File", "Edit", "Run", "Time", "Row", "View", "Help")
_FAILURES = ("nonfinite", "break", "reset", "exception")
_QUIET = ("", "provenance", "asset", "seek", "live")  # commands whose success nobody needs to read
_LOUD = {"break": theme.RED, "nonfinite": theme.RED, "exception": theme.RED, "warning": theme.AMBER}


class WindowActions(QObject):
    """The QAction of every entry of ACTIONS, by name, and the methods that they call."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window, self.store = window, window.store
        self.undoable = edit.Undo()
        self.recording = False
        self.by_name: dict[str, QAction] = {}
        for entry in ACTIONS:
            action = QAction(entry.text, window)
            action.setShortcuts([QKeySequence(key) for key in entry.keys])
            if entry.icon:
                tint = {"record": theme.RED, "break": theme.AMBER}.get(entry.icon, theme.TEXT)
                action.setIcon(theme.icon(entry.icon, tint))
            action.triggered.connect(lambda _=False, entry=entry: entry.do(self))
            action.setToolTip("   ".join((entry.text.rstrip("…"), *entry.keys)))
            self.by_name[entry.name] = action
        self.by_name["record"].setCheckable(True)

    def allow(self, live: bool) -> None:
        """Grey out what needs a run that goes on."""
        for entry in ACTIONS:
            if entry.controls or entry.name == "control":
                self.by_name[entry.name].setEnabled(live)

    def send(self, kind: str, **fields: Any) -> None:
        """Send a command to the run."""
        self.window.client.send({"t": kind, **fields})

    # -- the run ---------------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Run or pause."""
        self.send("pause") if self.store.state.get("mode") == "running" else self.run()

    def run(self) -> None:
        """Go on, at the newest tick."""
        self.store.cursor = None
        self.window.world.call("forget")
        self.send("run")

    def toggle_break(self) -> None:
        """Set or remove a break before the marked system; without one, ask."""
        system = self.window.marked_system()
        if system is None:
            self.ask_break()
            return
        at = edit.break_place(self.store, "before", system)
        held = [n for n, message in self.store.breaks.items() if message.get("at") == at and not message["when"]]
        if held:
            self._unbreak(held)
        else:
            self.send("break", at=at, when="", rows=None, skip=0, action="pause")

    def ask_break(self) -> None:
        """Ask for a break, by default one where the marked column is not finite."""
        picked = self.store.picked
        when = ""
        if picked is not None and picked[0] in self.store.columns:
            when = f"nonfinite({self.store.columns[picked[0]].address})"
        system = self.window.marked_system()
        at = edit.break_place(self.store, "after", system) if system is not None else "tick"
        edit.BreakDialog(self.store, self.window.control, self.window, when, at).open()

    def clear_breaks(self) -> None:
        """Remove all breaks."""
        self._unbreak(list(self.store.breaks))

    def _unbreak(self, numbers: list[int]) -> None:
        for number in numbers:
            self.send("unbreak", **{"break": number})

    def step(self, unit: str) -> None:
        """Step one "system", one "tick", or to the end of the "phase"."""
        self.window.world.call("remember")
        self.send("step", unit=unit, count=1)

    def run_to(self) -> None:
        """Run to the marked system."""
        system = self.window.marked_system()
        if system is None:
            self.window.say("Click a system in the Tick strip first.", theme.AMBER)
        else:
            self.window.world.call("remember")
            self.send("run_to", system=system, tick=None)

    def record(self) -> None:
        """Begin or end a recording."""
        wanted = not self.recording

        def then(answer: dict[str, Any]) -> None:
            if answer.get("t") == "ok":
                self.recording = wanted
            elif answer.get("code") in ("busy", "bad_message"):  # somebody else has begun it, or ended it
                self.recording = answer["code"] == "busy"
            self.by_name["record"].setChecked(self.recording)

        self.by_name["record"].setChecked(self.recording)
        self.window.client.send({"t": "record", "on": wanted, "content": "trace"}, then)

    def control(self) -> None:
        """Take or release control."""
        self.send("control", do="release" if self.window.client.role == "control" else "take")

    def branch(self) -> None:
        """Branch from the tick in view, after a question."""
        cursor = self.store.cursor
        if cursor is None:
            self.window.say("Look at an earlier tick first: drag the Time strip, or press Left.", theme.AMBER)
            return
        question = (
            f"Go on from tick {cursor}? What came after it is given up: its checkpoints are kept as *.abandoned, "
            "and the run is marked as intervened."
        )
        if QMessageBox.question(self.window, "Branch", question) == QMessageBox.StandardButton.Yes:
            self.store.cursor = None
            self.send("branch")

    # -- rows ------------------------------------------------------------------------------------------

    def move_row(self, by: int) -> None:
        """Select the row so many further on, around the end."""
        rows = self.store.table_rows()
        if rows:
            self.window.select((self.store.selected + by) % rows)

    def worst(self) -> None:
        """Select the worst row by what Rows shows; else the one with the least reward."""
        row = self.window.call("Rows", "worst_row")
        if row is None:
            reward = self.store.role("reward_total")
            frame = None if reward is None else self.store.frame(reward.id, 0)
            if frame is not None and len(frame[1]):
                row = int(np.argmin(np.where(np.isfinite(frame[1]), frame[1], -np.inf)))
        if row is None:
            self.window.say("No number of all rows has come yet; open Rows.", theme.AMBER)
        else:
            self.window.select(int(row))

    def next_failure(self) -> None:
        """Select the row of the newest failure that is not the selected one; older ones in turn."""
        rows = [e["row"] for e in self.store.happened() if e["kind"] in _FAILURES and type(e["row"]) is int]
        rows = [row for row in dict.fromkeys(rows) if 0 <= row < self.store.table_rows()]
        if not rows:
            self.window.say("No failure of a single row has been reported yet.", theme.AMBER)
            return
        place = rows.index(self.store.selected) + 1 if self.store.selected in rows else 0
        self.window.select(rows[place % len(rows)])

    # -- numbers ---------------------------------------------------------------------------------------

    def with_marked(self, use: Callable[[int, int | None], object]) -> None:
        """Do something with the marked column and label, or say that none is marked."""
        picked = self.store.picked
        if picked is None or picked[0] not in self.store.columns:
            self.window.say("Mark a column in World first.", theme.AMBER)
        else:
            use(*picked)

    def edit(self, column: int, label: int | None) -> None:
        """Ask for another value of a number."""
        edit.EditDialog(self.store, self.window.control, column, label, self.window).open()

    def constant(self) -> None:
        """Ask for another value of a constant."""
        edit.ConstantDialog(self.store, self.window.control, self.window).open()

    def undo(self) -> None:
        """Undo the last edit."""
        message = self.undoable.take()
        if message is None:
            self.window.say("There is no edit to undo.", theme.AMBER)
            return

        def then(answer: dict[str, Any]) -> None:
            if answer.get("t") != "ok":
                self.undoable.refused(message, answer)

        self.window.client.send(message, then)

    def filter(self) -> None:
        """Type into the filter of World."""
        self.window.show_panel("World")
        self.window.world.call("search")

    # -- files -----------------------------------------------------------------------------------------

    def export_numbers(self) -> None:
        """Export what is plotted, and the marked column, of the selected row, as .npz or CSV."""
        charts = [(chart.column, chart.label) for chart in self.window.call("Plots", "shown_charts") or []]
        wanted = dict.fromkeys([*charts, *([self.store.picked] if self.store.picked else [])])
        known = [each for each in wanted if each[0] in self.store.columns]
        numbers = selection(self.store, known, self.store.selected)
        kinds = "CSV (*.csv);;NumPy (*.npz)"
        self.window.ask_and_write("Export numbers", "numbers.csv", kinds, lambda path: save_selection(numbers, path))

    def export_timing(self) -> None:
        """Export seconds of systems, for trace viewers."""
        ask = self.window.ask_and_write
        ask("Export timing", "timing.json", "Chrome trace (*.json)", lambda path: save_chrome_trace(self.store, path))

    # -- replies of the run ----------------------------------------------------------------------------

    def answered(self, command: dict[str, Any], answer: dict[str, Any]) -> None:
        """Put the answer to a command where a person sees it: breaks, undo, status line, log."""
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
        text = describe_command(command, answer, self.store)
        if kind == "set":
            self.undoable.remember(command, answer)
            self.window.say(text, theme.BLUE)
        if kind not in _QUIET:
            self.store.note(kind, text, self.store.state.get("tick"))

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
        """Put an event about something wrong into the status line."""
        if event["kind"] in _LOUD:
            text, kind = event["text"], event["kind"]
            self.window.say(text if text.startswith(kind) else f"{kind}: {text}", _LOUD[kind])


def describe_command(command: dict[str, Any], answer: dict[str, Any], store: Store) -> str:
    """A command that was done, in words."""
    if command.get("t") == "set":
        return edit.describe_edit(command, answer, store)
    if command.get("t") == "break":
        condition = f" when {command['when']}" if command["when"] else ""
        return f"{answer.get('break')}: {edit.describe_place(store, command['at'])}{condition}, {command['action']}"
    where = answer.get("path") or answer.get("name") or ""
    given = " ".join(str(v) for k, v in command.items() if k not in ("t", "id") and type(v) in (str, int))
    return f"{given} {where}".strip() or "done"


class KeyList(QDialog):
    """All keys, by menu."""

    def __init__(self, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        above, columns = QWidget(), []
        for menus in (("Run", "File", "Help"), ("Time", "Row", "Edit", "View")):
            columns.append(QWidget())
            form = QFormLayout(columns[-1], horizontalSpacing=18, verticalSpacing=3)
            for menu in menus:
                form.addRow(_coloured(menu, theme.BLUE))
                for entry in (entry for entry in ACTIONS if entry.menu == menu and entry.keys):
                    form.addRow(_coloured("  ".join(entry.keys), theme.AMBER), QLabel(entry.text.rstrip("…")))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        stack(above, *columns, across=True)
        stack(self, above, buttons, margins=(8, 8, 8, 8))


def _coloured(text: str, colour: str) -> QLabel:
    label = QLabel(text)
    theme.set_colour(label, colour)
    return label


@attrs.frozen
class ActionEntry:
    """Name in code, text in menus, keys, menu, what it does, an icon, and whether it changes the run."""

    name: str
    text: str
    keys: tuple[str, ...]
    menu: str
    do: Callable[[WindowActions], object]
    icon: str = ""
    controls: bool = False


_A = WindowActions
ACTIONS = (
    ActionEntry("toggle", "Run or pause", ("Space",), "Run", _A.toggle, "", True),
    ActionEntry("run", "Run", ("F5",), "Run", _A.run, "run", True),
    ActionEntry("pause", "Pause", ("F6",), "Run", lambda a: a.send("pause"), "pause", True),
    ActionEntry("break", "Break before the marked system", ("F9",), "Run", _A.toggle_break, "break", True),
    ActionEntry("break_when", "Break when…", ("Ctrl+B",), "Run", _A.ask_break, "", True),
    ActionEntry("clear_breaks", "Remove all breaks", (), "Run", _A.clear_breaks, "", True),
    ActionEntry("step_system", "Step one system", ("F10",), "Run", lambda a: a.step("system"), "step_system", True),
    ActionEntry("step_tick", "Step one tick", ("F11",), "Run", lambda a: a.step("tick"), "step_tick", True),
    ActionEntry("step_phase", "Step to the end of the phase", ("Shift+F11",), "Run", lambda a: a.step("phase"), "", True),
    ActionEntry("run_to", "Run to the marked system", ("Ctrl+F10",), "Run", _A.run_to, "", True),
    ActionEntry("record", "Record", ("Ctrl+R",), "Run", _A.record, "record", True),
    ActionEntry("snapshot", "Snapshot", (), "Run", lambda a: a.send("snapshot"), "", True),
    ActionEntry("control", "Take or release control", ("Ctrl+T",), "Run", _A.control),
    ActionEntry("back", "One tick back", ("Left",), "Time", lambda a: a.window.time.call("scrub", -1)),
    ActionEntry("forward", "One tick forward", ("Right",), "Time", lambda a: a.window.time.call("scrub", 1)),
    ActionEntry("back_far", "Ten ticks back", ("Shift+Left",), "Time", lambda a: a.window.time.call("scrub", -10)),
    ActionEntry("forward_far", "Ten ticks forward", ("Shift+Right",), "Time", lambda a: a.window.time.call("scrub", 10)),
    ActionEntry("live", "Live", ("End",), "Time", lambda a: a.window.time.call("go_live"), "live"),
    ActionEntry("branch", "Branch from the tick in view…", (), "Time", _A.branch, "", True),
    ActionEntry("previous_row", "Previous row", ("[",), "Row", lambda a: a.move_row(-1)),
    ActionEntry("next_row", "Next row", ("]",), "Row", lambda a: a.move_row(1)),
    ActionEntry("worst", "Worst", ("W",), "Row", _A.worst),
    ActionEntry("next_failure", "Next failure", ("N",), "Row", _A.next_failure),
    ActionEntry("reset_row", "Reset this row", (), "Row", lambda a: a.send("reset", rows=[a.store.selected]), "", True),
    ActionEntry("plot", "Plot the marked number", ("P",), "Edit", lambda a: a.with_marked(a.window.plot)),
    ActionEntry("histogram", "Histogram of the marked number", ("H",), "Edit", lambda a: a.with_marked(a.window.histogram)),
    ActionEntry("edit", "Edit the marked number…", ("E",), "Edit", lambda a: a.with_marked(a.edit), "", True),
    ActionEntry("constant", "Set a constant…", (), "Edit", _A.constant, "", True),
    ActionEntry("undo", "Undo the last edit", ("Ctrl+Z",), "Edit", _A.undo, "", True),
    ActionEntry("filter", "Filter columns", ("Ctrl+F",), "Edit", _A.filter),
    ActionEntry("save", "Save what was received…", ("Ctrl+S",), "File", lambda a: a.window.ask_and_save()),
    ActionEntry("export_numbers", "Export numbers of this row…", (), "File", _A.export_numbers),
    ActionEntry("export_timing", "Export timing…", (), "File", _A.export_timing),
    ActionEntry("screenshot", "Screenshot", ("Ctrl+Shift+S",), "File", lambda a: a.window.screenshot()),
    ActionEntry("quit", "Quit", ("Ctrl+Q",), "File", lambda a: a.window.close()),
    ActionEntry("timing_history", "Tick strip: last tick or last minutes", ("T",), "View",
                lambda a: a.window.tick.call("toggle_history")),
    ActionEntry("reset_layout", "Reset layout", (), "View", lambda a: a.window.reset_layout()),
    ActionEntry("keys", "Key list", ("?",), "Help", lambda a: KeyList(a.window).open()),
)  # fmt: skip
