"""What can be done in the window: keys, menu entries and buttons are made from this one list."""

import attrs
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QLabel, QVBoxLayout, QWidget

from engine.debugger.widgets import theme


@attrs.frozen
class Deed:
    """One thing to do: its name in code, what menus say, its keys, its menu, an icon, and whether it changes the run."""

    name: str
    text: str
    keys: tuple[str, ...]
    menu: str
    icon: str = ""
    controls: bool = False


DEEDS = (
    Deed("toggle", "Run or pause", ("Space",), "Run", controls=True),
    Deed("run", "Run", ("F5",), "Run", "run", True),
    Deed("pause", "Pause", ("F6",), "Run", "pause", True),
    Deed("break", "Break before the marked system", ("F9",), "Run", "break", True),
    Deed("break_when", "Break when…", ("Ctrl+B",), "Run", "", True),
    Deed("clear_breaks", "Remove all breaks", (), "Run", "", True),
    Deed("step_system", "Step one system", ("F10",), "Run", "step_system", True),
    Deed("step_tick", "Step one tick", ("F11",), "Run", "step_tick", True),
    Deed("step_phase", "Step to the end of the phase", ("Shift+F11",), "Run", "", True),
    Deed("run_to", "Run to the marked system", ("Ctrl+F10",), "Run", "", True),
    Deed("record", "Record", ("Ctrl+R",), "Run", "record", True),
    Deed("snapshot", "Snapshot", (), "Run", "", True),
    Deed("control", "Take or release control", ("Ctrl+T",), "Run"),
    Deed("back", "One tick back", ("Left",), "Time"),
    Deed("forward", "One tick forward", ("Right",), "Time"),
    Deed("back_far", "Ten ticks back", ("Shift+Left",), "Time"),
    Deed("forward_far", "Ten ticks forward", ("Shift+Right",), "Time"),
    Deed("live", "Live", ("End",), "Time", "live"),
    Deed("branch", "Branch from the tick in view…", (), "Time", "", True),
    Deed("previous_row", "Previous row", ("[",), "Row"),
    Deed("next_row", "Next row", ("]",), "Row"),
    Deed("worst", "Worst", ("W",), "Row"),
    Deed("next_failure", "Next failure", ("N",), "Row"),
    Deed("reset_row", "Reset this row", (), "Row", "", True),
    Deed("plot", "Plot the marked number", ("P",), "Edit"),
    Deed("histogram", "Histogram of the marked number", ("H",), "Edit"),
    Deed("edit", "Edit the marked number…", ("E",), "Edit", "", True),
    Deed("constant", "Set a constant…", (), "Edit", "", True),
    Deed("undo", "Undo the last edit", ("Ctrl+Z",), "Edit", "", True),
    Deed("filter", "Filter columns", ("Ctrl+F",), "Edit"),
    Deed("save", "Save what was received…", ("Ctrl+S",), "File"),
    Deed("export_numbers", "Export numbers of this row…", (), "File"),
    Deed("export_timing", "Export timing…", (), "File"),
    Deed("screenshot", "Screenshot", ("Ctrl+Shift+S",), "File"),
    Deed("quit", "Quit", ("Ctrl+Q",), "File"),
    Deed("timing_history", "Tick strip: last tick or last minutes", ("T",), "View"),
    Deed("reset_layout", "Reset layout", (), "View"),
    Deed("keys", "Key list", ("?",), "Help"),
)
MENUS = ("File", "Edit", "Run", "Time", "Row", "View", "Help")


class KeyList(QDialog):
    """All keys, by menu."""

    def __init__(self, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        grid = QGridLayout()
        grid.setHorizontalSpacing(18)
        grid.setVerticalSpacing(3)
        columns: tuple[tuple[str, ...], ...] = (("Run", "File", "Help"), ("Time", "Row", "Edit", "View"))
        for place, menus in enumerate(columns):
            line = 0
            for menu in menus:
                heading = QLabel(menu)
                theme.set_colour(heading, theme.BLUE)
                grid.addWidget(heading, line, 2 * place)
                line += 1
                for deed in DEEDS:
                    if deed.menu == menu and deed.keys:
                        key = QLabel("  ".join(deed.keys))
                        theme.set_colour(key, theme.AMBER)
                        grid.addWidget(key, line, 2 * place)
                        grid.addWidget(QLabel(deed.text.rstrip("…")), line, 2 * place + 1)
                        line += 1
        layout = QVBoxLayout(self)
        layout.addLayout(grid)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
