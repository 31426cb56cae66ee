"""Dialogs that change a running simulation, and the list of what can be undone."""

from typing import Any

import attrs
import numpy as np
from PySide6 import QtWidgets
from PySide6.QtCore import Qt

from engine.debugger.model.schema import ColumnInfo
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import PanelControl
from engine.debugger.widgets import theme
from engine.debugger.widgets.format import format_number, format_value
from engine.errors import SceneError, WireError
from engine.protocol.framing import pack_array, unpack_array

_LATER = ("not_controller", "not_paused", "offline", "lost")  # refusals of the moment, not of what was asked for


def parse_values(text: str, info: ColumnInfo, count: int, force: bool = False) -> np.ndarray:
    """What was typed as `count` values of a column: one number for all, or one each. SceneError for anything else."""
    words = text.replace(",", " ").split()
    if len(words) not in (1, count) or not words:
        raise SceneError(f"Give one number, or {count} of them with spaces in between; here are {len(words)}.")
    if info.dtype == "bool":
        known = {"yes": 1, "true": 1, "1": 1, "no": 0, "false": 0, "0": 0}
        wrong = [word for word in words if word.lower() not in known]
        if wrong:
            raise SceneError(f"'{wrong[0]}' is not yes or no.")
        numbers: list[float] = [known[word.lower()] for word in words]
    else:
        try:
            numbers = [float(word) if info.is_float else int(word) for word in words]
        except ValueError as error:
            kind = "a number" if info.is_float else "a whole number"
            raise SceneError(f"{str(error).rpartition(':')[2].strip()} is not {kind}.") from None
    if info.dtype != "bool" and not info.is_float:
        range_ = np.iinfo(info.dtype)
        if not all(range_.min <= number <= range_.max for number in numbers):
            raise SceneError(f"A value of type {info.dtype} lies between {range_.min} and {range_.max}.")
    dtype: Any = info.dtype if info.dtype in np.sctypeDict else np.float32  # numpy has no bfloat16
    with np.errstate(over="ignore"):  # what is too large for the type is found to be infinite below
        values = np.array(numbers * (count if len(numbers) == 1 else 1), dtype)
    if values.dtype.kind == "f" and not np.isfinite(values).all() and not force:
        raise SceneError("What is not finite spreads through everything. Tick 'also if not finite' if that is meant.")
    return values


@attrs.define
class Undo:
    """Edits that were accepted, newest last, as the messages that take them back."""

    messages: list[dict[str, Any]] = attrs.field(factory=list)
    _taken: list[dict[str, Any]] = attrs.field(factory=list)  # sent, and not answered

    def remember(self, command: dict[str, Any], answer: dict[str, Any]) -> None:
        """Keep what an accepted `set` replaced; what took an edit back is not kept, so that the edit before it is next."""
        if command in self._taken:
            self._taken.remove(command)
            return
        if answer.get("t") != "ok" or "old" not in answer:
            return
        if "address" in command:
            back = {"t": "set", "address": command["address"], "value": str(answer["old"])}
        else:
            keys = ("column", "rows", "labels")
            back = {"t": "set", **{key: command[key] for key in keys}, "values": answer["old"], "force": True}
        self.messages.append({**back, "reason": f"undo: {command.get('reason', '')}".strip()})

    def take(self) -> dict[str, Any] | None:
        """The message that takes the newest edit back."""
        if not self.messages:
            return None
        self._taken.append(self.messages.pop())
        return self._taken[-1]

    def refused(self, message: dict[str, Any], answer: dict[str, Any]) -> None:
        """What was taken has changed nothing: it is next again where the run would take it at another time, and columns still
        have the numbers that it names."""
        if message not in self._taken:
            return
        self._taken.remove(message)
        if answer.get("code") in _LATER:
            self.messages.append(message)

    def clear(self) -> None:
        """Forget all: columns have other numbers now."""
        self.messages.clear()
        self._taken.clear()


class _ActionDialog(QtWidgets.QDialog):
    """A form whose answer may be refused: it stays open, and says why."""

    def __init__(
        self, store: Store, control: PanelControl, parent: QtWidgets.QWidget | None, title: str, action: str
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(460)
        self.store, self.control = store, control
        self.form = QtWidgets.QFormLayout(self)
        self.problem = QtWidgets.QLabel(wordWrap=True)
        theme.set_colour(self.problem, theme.RED)
        self.buttons = QtWidgets.QDialogButtonBox(QtWidgets.QDialogButtonBox.StandardButton.Cancel)
        self.confirm = self.buttons.addButton(action, QtWidgets.QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.accepted.connect(self.submit)
        self.buttons.rejected.connect(self.reject)

    def fill_form(self, *rows: tuple[str, QtWidgets.QWidget]) -> None:
        """A line for each widget, with its name before it; below them the problem and the buttons."""
        for name, widget in rows:
            self.form.addRow(name, widget)
        self.form.addRow(self.problem)
        self.form.addRow(self.buttons)

    def submit(self) -> None:
        """Send what the form says, or say what is wrong with it."""
        try:
            self.ask()
        except SceneError as error:
            theme.set_text(self.problem, str(error))

    def ask(self) -> None:
        raise NotImplementedError

    def answered(self, answer: dict[str, Any]) -> None:
        """Close behind `ok`, or show the sentence of a refusal."""
        if answer.get("t") == "ok":
            self.accept()
        else:
            self.confirm.setEnabled(True)
            theme.set_text(self.problem, str(answer.get("text", answer.get("code", "The run refused."))))

    def send(self, message: dict[str, Any]) -> None:
        self.confirm.setEnabled(False)
        theme.set_text(self.problem, "")
        self.control.send(message, self.answered)


class EditDialog(_ActionDialog):
    """New values for one number, or for a whole column, of the selected row or of all."""

    def __init__(
        self, store: Store, control: PanelControl, column_id: int, label: int | None, parent: QtWidgets.QWidget | None
    ) -> None:
        self.info = store.columns[column_id]
        self.label = 0 if self.info.size == 1 else label
        label_text = f"[{self.info.labels[self.label]}]" if self.label is not None and self.info.size > 1 else ""
        super().__init__(store, control, parent, f"Edit {self.info.address}{label_text}", "Set")
        self.value = QtWidgets.QLineEdit()
        self.rows = QtWidgets.QComboBox()
        self.rows.addItems([f"row {store.selected}", f"all {self.info.rows} rows"])
        self.reason = QtWidgets.QLineEdit(placeholderText="why; kept in interventions.jsonl")
        self.force = QtWidgets.QCheckBox("also if not finite")
        held = store.value(column_id, store.selected)
        now = None if held is None else held[1].reshape(-1)
        if now is not None:
            now = now if self.label is None else now[self.label : self.label + 1]
            self.value.setText(" ".join(format_value(value, self.info.dtype) for value in now[:64]))
            self.value.selectAll()
        place = self.info.labels[self.label] if self.label is not None else f"{self.info.size} values"
        lines = [("column", QtWidgets.QLabel(f"{self.info.address}   {place}"))]
        lines += [("", QtWidgets.QLabel(self.info.doc, wordWrap=True))] if self.info.doc else []
        limits = []
        if self.label is not None and self.info.limits is not None:
            low, high = (format_number(end) for end in self.info.limits[self.label])
            limits = [("limits", QtWidgets.QLabel(f"{low} … {high}"))]
        value, more = f"value [{self.info.unit or self.info.dtype}]", (("reason", self.reason), ("", self.force))
        self.fill_form(*lines, (value, self.value), *limits, ("of", self.rows), *more)
        if self.info.lifetime == "derived":
            writer = self.info.writers[0] if self.info.writers else "a system"
            theme.set_text(self.problem, f"This column is derived by {writer} and cannot be set; edit what it reads.")
            self.confirm.setEnabled(False)

    def ask(self) -> None:
        """Send `set`."""
        count = self.info.size if self.label is None else 1
        values = parse_values(self.value.text(), self.info, count, self.force.isChecked())
        rows = [self.store.selected] if self.rows.currentIndex() == 0 else list(range(self.info.rows))
        shaped = np.broadcast_to(values, (len(rows), count))
        message = {
            "t": "set",
            "column": self.info.id,
            "rows": rows,
            "labels": None if self.label is None else [self.label],
            "values": pack_array(shaped if self.label is not None else shaped.reshape(len(rows), *self.info.shape)),
            "force": self.force.isChecked(),
            "reason": self.reason.text(),
        }
        self.send(message)


class ConstantDialog(_ActionDialog):
    """A new value for a constant, by its address."""

    def __init__(self, store: Store, control: PanelControl, parent: QtWidgets.QWidget | None) -> None:
        super().__init__(store, control, parent, "Set a constant", "Set")
        self.constants = {c["address"]: c for c in (store.schema or {}).get("constants", [])}
        self.address = QtWidgets.QComboBox(editable=True)
        self.address.addItems(sorted(self.constants))
        completer = QtWidgets.QCompleter(sorted(self.constants), self.address)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        self.address.setCompleter(completer)
        self.value, self.now = QtWidgets.QLineEdit(), QtWidgets.QLabel()
        self.reason = QtWidgets.QLineEdit(placeholderText="why; kept in interventions.jsonl")
        above = (("address", self.address), ("now", self.now))
        self.fill_form(*above, ("value", self.value), ("reason", self.reason))
        self.address.currentTextChanged.connect(self._show)
        self._show(self.address.currentText())

    def _show(self, address: str) -> None:
        found = self.constants.get(address)
        theme.set_text(self.now, f"{found['value']}   ({found['type']})" if found else "there is no such constant")
        if found:
            self.value.setText(str(found["value"]))

    def ask(self) -> None:
        """Send `set`."""
        address = self.address.currentText()
        if address not in self.constants:
            raise SceneError(f"The scene has no constant '{address}'. Choose one of the list.")
        message = {"t": "set", "address": address, "value": self.value.text(), "reason": self.reason.text()}
        self.send(message)


class BreakDialog(_ActionDialog):
    """Where and when to stop."""

    def __init__(
        self, store: Store, control: PanelControl, parent: QtWidgets.QWidget | None, when: str = "", at: str = "tick"
    ) -> None:
        super().__init__(store, control, parent, "Break", "Set break")
        self.at = QtWidgets.QComboBox()
        systems = range(len(store.systems))
        for each in ("tick", *(break_place(store, word, number) for word in ("before", "after") for number in systems)):
            self.at.addItem(describe_place(store, each), each)
        self.at.setCurrentIndex(self.at.findData(at))
        self.when = QtWidgets.QLineEdit(when, placeholderText="any(robot.RootState.position[z] < 0.4); empty: always")
        self.rows = QtWidgets.QComboBox()
        self.rows.addItems(["any row", f"row {store.selected}"])
        self.skip = QtWidgets.QSpinBox(maximum=1_000_000)
        self.action = QtWidgets.QComboBox()
        self.action.addItems(["pause", "mark", "keep"])
        where = (("at", self.at), ("when", self.when), ("of", self.rows))
        self.fill_form(*where, ("skip the first", self.skip), ("then", self.action))

    def ask(self) -> None:
        """Send `break`."""
        rows = [self.store.selected] if self.rows.currentIndex() else None
        message = {"t": "break", "at": self.at.currentData(), "when": self.when.text().strip(), "rows": rows}
        self.send({**message, "skip": self.skip.value(), "action": self.action.currentText()})


def break_place(store: Store, word: str, system: int) -> str:
    """'before' or 'after' a system, as a run understands it: by number where several systems have its name."""
    name = store.systems[system]["name"]
    return f"{word} {name if [each['name'] for each in store.systems].count(name) == 1 else system}"


def describe_place(store: Store, at: str) -> str:
    """Place in the tick for people: 'before sample_reference in COMMAND' where that name alone would not tell."""
    word, _, system = at.partition(" ")
    if not system.isdecimal() or int(system) >= len(store.systems):
        return at
    found = store.systems[int(system)]
    return f"{word} {found['name']} in {found['phase']}"


def describe_edit(command: dict[str, Any], answer: dict[str, Any], store: Store) -> str:
    """An accepted `set` in words: what, of whom, from what to what."""
    if "address" in command:
        now = "" if answer.get("when", "live") == "live" else ", from the next reset on"
        return f"{command['address']}: {answer.get('old')} → {answer.get('new')}{now}"
    info = store.columns.get(command.get("column", -1))
    if info is None:
        return "edited"
    try:
        old, new = unpack_array(answer["old"]).reshape(-1), unpack_array(command["values"]).reshape(-1)
        labels = command.get("labels")
        place = f"[{info.labels[labels[0]]}]" if labels and info.size > 1 else ""
        rows = command["rows"]
        who = f"row {rows[0]}" if len(rows) == 1 else f"{len(rows)} rows"
        change = f"{format_value(old[0], info.dtype)} → {format_value(new[0], info.dtype)}"
        return f"{info.address}{place} of {who}: {change}" + (" …" if len(new) > len(rows) else "")
    except (WireError, KeyError, TypeError, IndexError, ValueError):
        return f"{info.address}: edited"
