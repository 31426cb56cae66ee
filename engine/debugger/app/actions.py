"""What happens when a key is pressed, or a menu entry or button is chosen."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMessageBox

from engine.debugger.app.export import save_chrome_trace, save_selection, selection
from engine.debugger.app.keys import DEEDS, KeyList
from engine.debugger.panels.edit import BreakDialog, ConstantDialog, EditDialog, Undo, break_message, moment
from engine.debugger.widgets import theme

if TYPE_CHECKING:
    from engine.debugger.app.window import Window

_FAILURES = ("nonfinite", "break", "reset", "exception")


class Deeds(QObject):
    """One method for each entry of DEEDS, and the QAction that calls it."""

    def __init__(self, window: "Window") -> None:
        super().__init__(window)
        self.window, self.store = window, window.store
        self.undoable = Undo()
        self.recording = False
        self.actions: dict[str, QAction] = {}
        for deed in DEEDS:
            action = QAction(deed.text, window)
            action.setShortcuts([QKeySequence(key) for key in deed.keys])
            if deed.icon:
                tint = theme.RED if deed.icon == "record" else theme.AMBER if deed.icon == "break" else theme.TEXT
                action.setIcon(theme.icon(deed.icon, tint))
            method: Callable[[], None] = getattr(self, f"do_{deed.name}")
            action.triggered.connect(lambda _=False, method=method: method())
            action.setToolTip("   ".join((deed.text.rstrip("…"), *deed.keys)))
            self.actions[deed.name] = action
        self.actions["record"].setCheckable(True)

    def allow(self, live: bool) -> None:
        """Grey out what needs a run that goes on."""
        for deed in DEEDS:
            if deed.controls or deed.name == "control":
                self.actions[deed.name].setEnabled(live)

    def _send(self, message: dict[str, Any], then: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.window.send(message, then)

    # -- the run ---------------------------------------------------------------------------------------

    def do_toggle(self) -> None:
        """Run or pause."""
        self.do_pause() if self.store.state.get("mode") == "running" else self.do_run()

    def do_run(self) -> None:
        """Run."""
        self.store.cursor = None
        self.window.world.call("forget")
        self._send({"t": "run"})

    def do_pause(self) -> None:
        """Pause."""
        self._send({"t": "pause"})

    def do_break(self) -> None:
        """Toggle a break before the marked system; without one, ask."""
        system = self.window.marked_system()
        if system is None:
            self.do_break_when()
            return
        at = moment(self.store, "before", system)
        held = [
            number for number, message in self.store.breaks.items() if message.get("at") == at and not message["when"]
        ]
        if held:
            self._unbreak(held)
        else:
            self._send(break_message(at))

    def do_break_when(self) -> None:
        """Break when."""
        picked = self.store.picked
        when = ""
        if picked is not None and picked[0] in self.store.columns:
            when = f"nonfinite({self.store.columns[picked[0]].address})"
        system = self.window.marked_system()
        at = moment(self.store, "after", system) if system is not None else "tick"
        BreakDialog(self.store, self.window.control, self.window, when, at).open()

    def do_clear_breaks(self) -> None:
        """Remove all breaks."""
        self._unbreak(list(self.store.breaks))

    def _unbreak(self, numbers: list[int]) -> None:
        for number in numbers:
            self._send({"t": "unbreak", "break": number})

    def do_step_system(self) -> None:
        """Step one system."""
        self._step("system")

    def do_step_tick(self) -> None:
        """Step one tick."""
        self._step("tick")

    def do_step_phase(self) -> None:
        """Step to the end of the phase."""
        self._step("phase")

    def _step(self, unit: str) -> None:
        self.window.world.call("remember")
        self._send({"t": "step", "unit": unit, "count": 1})

    def do_run_to(self) -> None:
        """Run to the marked system."""
        system = self.window.marked_system()
        if system is None:
            self.window.say("Click a system in the Tick strip first.", theme.AMBER)
        else:
            self.window.world.call("remember")
            self._send({"t": "run_to", "system": system, "tick": None})

    def do_record(self) -> None:
        """Record."""
        wanted = not self.recording

        def then(answer: dict[str, Any]) -> None:
            if answer.get("t") == "ok":
                self.recording = wanted
            elif answer.get("code") in ("busy", "bad_message"):  # somebody else has begun it, or ended it
                self.recording = answer["code"] == "busy"
            self.actions["record"].setChecked(self.recording)

        self.actions["record"].setChecked(self.recording)
        self._send({"t": "record", "on": wanted, "content": "trace"}, then)

    def do_snapshot(self) -> None:
        """Snapshot."""
        self._send({"t": "snapshot"})

    def do_control(self) -> None:
        """Take or release control."""
        taken = self.window.client.role == "control"
        self._send({"t": "control", "do": "release" if taken else "take"})

    # -- time ------------------------------------------------------------------------------------------

    def do_back(self) -> None:
        """One tick back."""
        self.window.time.call("scrub", -1)

    def do_forward(self) -> None:
        """One tick forward."""
        self.window.time.call("scrub", 1)

    def do_back_far(self) -> None:
        """Ten ticks back."""
        self.window.time.call("scrub", -10)

    def do_forward_far(self) -> None:
        """Ten ticks forward."""
        self.window.time.call("scrub", 10)

    def do_live(self) -> None:
        """Live."""
        self.window.time.call("go_live")

    def do_branch(self) -> None:
        """Branch from the tick in view."""
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
            self._send({"t": "branch"})

    # -- rows ------------------------------------------------------------------------------------------

    def do_previous_row(self) -> None:
        """Previous row."""
        self._move_row(-1)

    def do_next_row(self) -> None:
        """Next row."""
        self._move_row(1)

    def _move_row(self, by: int) -> None:
        rows = self.store.table_rows()
        if rows:
            self.window.select((self.store.selected + by) % rows)

    def do_worst(self) -> None:
        """The worst row by what Rows shows; else the one with the least reward."""
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

    def do_next_failure(self) -> None:
        """The row of the newest failure that is not the selected one; older ones in turn."""
        rows = [e["row"] for e in self.store.happened() if e["kind"] in _FAILURES and type(e["row"]) is int]
        rows = [row for row in dict.fromkeys(rows) if 0 <= row < self.store.table_rows()]
        if not rows:
            self.window.say("No failure of a single row has been reported yet.", theme.AMBER)
            return
        place = rows.index(self.store.selected) + 1 if self.store.selected in rows else 0
        self.window.select(rows[place % len(rows)])

    def do_reset_row(self) -> None:
        """Reset this row."""
        self._send({"t": "reset", "rows": [self.store.selected]})

    # -- numbers ---------------------------------------------------------------------------------------

    def _picked(self) -> tuple[int, int | None] | None:
        picked: tuple[int, int | None] | None = self.store.picked
        if picked is None or picked[0] not in self.store.columns:
            self.window.say("Mark a column in World first.", theme.AMBER)
            return None
        return picked

    def do_plot(self) -> None:
        """Plot the marked number."""
        picked = self._picked()
        if picked is not None:
            self.window.plot(picked[0], picked[1] or 0)

    def do_histogram(self) -> None:
        """Histogram of the marked number."""
        picked = self._picked()
        if picked is not None:
            self.window.histogram(*picked)

    def do_edit(self) -> None:
        """Edit the marked number."""
        picked = self._picked()
        if picked is not None:
            EditDialog(self.store, self.window.control, picked[0], picked[1], self.window).open()

    def do_constant(self) -> None:
        """Set a constant."""
        ConstantDialog(self.store, self.window.control, self.window).open()

    def do_undo(self) -> None:
        """Undo the last edit."""
        message = self.undoable.take()
        if message is None:
            self.window.say("There is no edit to undo.", theme.AMBER)
            return

        def then(answer: dict[str, Any], message: dict[str, Any] = message) -> None:
            if answer.get("t") != "ok":
                self.undoable.refused(message, answer)

        self._send(message, then)

    def do_filter(self) -> None:
        """Filter columns."""
        self.window.show_panel("World")
        self.window.world.call("search")

    # -- the window ------------------------------------------------------------------------------------

    def do_save(self) -> None:
        """Save what was received."""
        self.window.ask_and_save()

    def do_export_numbers(self) -> None:
        """What is plotted, and the marked column, of the selected row, as .npz or CSV."""
        window = self.window
        charts = [(chart.column, chart.label) for chart in window.call("Plots", "shown_charts") or []]
        wanted = dict.fromkeys([*charts, *([self.store.picked] if self.store.picked else [])])
        known = [each for each in wanted if each[0] in self.store.columns]
        numbers = selection(self.store, known, self.store.selected)
        window.ask_and_write("Export numbers", "numbers.csv", "CSV (*.csv);;NumPy (*.npz)", lambda path: save_selection(numbers, path))  # fmt: skip

    def do_export_timing(self) -> None:
        """Seconds of systems, for trace viewers."""
        ask = self.window.ask_and_write
        ask("Export timing", "timing.json", "Chrome trace (*.json)", lambda path: save_chrome_trace(self.store, path))

    def do_screenshot(self) -> None:
        """Screenshot."""
        self.window.screenshot()

    def do_quit(self) -> None:
        """Quit."""
        self.window.close()

    def do_timing_history(self) -> None:
        """Tick strip: last tick or last minutes."""
        self.window.tick.call("toggle_history")

    def do_reset_layout(self) -> None:
        """Reset layout."""
        self.window.reset_layout()

    def do_keys(self) -> None:
        """Key list."""
        KeyList(self.window).open()
