"""Why panel, the diagnosis: how episodes end, what is most likely the matter in sentences, and the pictures that prove it."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QFontMetricsF, QPainter, QResizeEvent
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QTabWidget

from engine.debugger.diagnosis.failure_alignment import FailureAlignment, align_failures
from engine.debugger.diagnosis.finding import ORDER, RuleFinding
from engine.debugger.diagnosis.indicators import lifted
from engine.debugger.diagnosis.rules import RULES, diagnose
from engine.debugger.diagnosis.rules_run import busiest_clip, end_table, vital_words, worst_reason
from engine.debugger.model.evidence import Evidence, Foot, all_subs
from engine.debugger.model.history import history_of
from engine.debugger.model.schema import short
from engine.debugger.model.subscription import Subscription
from engine.debugger.panels.panel import Panel
from engine.debugger.widgets import theme
from engine.debugger.widgets.bars import Bar, BarList, round_up
from engine.debugger.widgets.format import format_share
from engine.debugger.widgets.parts import Canvas, draw_line, fill, scroll_area, stack, table, write
from engine.debugger.widgets.sparkline import SmallHistogram

SHADES = {"wrong": theme.RED, "attention": theme.AMBER, "note": theme.TEXT, "unknown": theme.DIM}
WORDS = {"wrong": "WRONG", "attention": "LOOK", "note": "note", "unknown": "cannot tell"}
PICTURES = 380  # least height of the panel that shows pictures, px
LINES = 6  # of the table that are seen without scrolling
BINS = 50
STEPS = 200  # ticks of gait that are drawn
MOST_BARS = 14


class GaitStrip(Canvas):
    """Contact of each foot of one row over the last ticks, above the reference's."""

    def __init__(self) -> None:
        super().__init__()
        self.feet: list[Foot] = []  # all of one row
        self.setMinimumSize(140, 60)

    def paint(self, painter: QPainter) -> None:
        """Paint the gait of every foot."""
        if not self.feet:
            text = "no contacts of the watched rows were received"
            write(painter, theme.DIM, QRectF(self.rect()), text, Qt.AlignmentFlag.AlignCenter)
            return
        metrics = QFontMetricsF(self.font())
        names = [short(foot.name) for foot in self.feet]
        left = max(metrics.horizontalAdvance(name) for name in names) + 12
        last = max(int(foot.ticks[-1]) for foot in self.feet)
        across = (self.width() - left - 6) / STEPS
        text = f"row {self.feet[0].row}, last {STEPS} ticks: green bears load, blue is the reference"
        write(painter, theme.DIM, QRectF(4, 0, self.width() - 8, 16), text)
        tall = min(34.0, (self.height() - 18) / len(self.feet))
        for i, foot in enumerate(self.feet):
            top = 18 + i * tall
            where = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            write(painter, theme.TEXT, QRectF(0, top, left - 6, tall), names[i], where)
            place = QRectF(left, top + 2, across * STEPS, 0.45 * tall)
            _bars(painter, foot.ticks, foot.touching, last, place, theme.GREEN)
            if foot.reference_height is not None:
                down = ~lifted(foot.reference_height)
                place = QRectF(left, top + 2 + 0.5 * tall, across * STEPS, 0.25 * tall)
                _bars(painter, foot.ticks, down, last, place, theme.BLUE)
        draw_line(painter, theme.LINE, left, 18, left, 18 + tall * len(self.feet))


def _bars(painter: QPainter, ticks: np.ndarray, on: np.ndarray, last: int, place: QRectF, shade: str) -> None:
    """A bar from each rise to the next fall, over the last STEPS ticks, which fill a place."""
    recent, across = ticks > last - STEPS, place.width() / STEPS
    ticks, flags = ticks[recent], np.r_[False, on[recent], False].astype(int)
    for a, b in zip(np.flatnonzero(np.diff(flags) > 0), np.flatnonzero(np.diff(flags) < 0), strict=True):
        start, stop = int(ticks[a]) - (last - STEPS) - 1, int(ticks[b - 1]) - (last - STEPS)
        bar = QRectF(place.left() + start * across, place.top(), max(1.0, (stop - start) * across), place.height())
        painter.fillRect(bar, theme.brush(shade))


class FindingList(QListWidget):
    """Findings as wrapped sentences, each with a word for how bad it is."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.setSpacing(1)
        self.setMinimumSize(120, 52)  # three lines
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QListWidget.Shape.NoFrame)
        self.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setStyleSheet(f"background: {theme.BACKGROUND};")
        self.findings: list[RuleFinding] = []

    def show_findings(self, findings: list[RuleFinding]) -> None:
        """List other findings; those that only cannot judge come together in one line."""
        shown = [f for f in findings if f.severity != "unknown"]
        silent = [f for f in findings if f.severity == "unknown"]
        if silent:
            shown.append(RuleFinding("unknown", "; ".join(f.text for f in silent), silent[0].panel, 0.0))
        if shown == self.findings:
            return
        self.findings = shown
        while self.count() > len(shown):
            self.takeItem(self.count() - 1)
        for place, found in enumerate(shown):
            item = self.item(place) if place < self.count() else QListWidgetItem(self)
            item.setText(f"{WORDS[found.severity]}  {found.text}")
            item.setForeground(theme.brush(SHADES[found.severity]))
            item.setToolTip(f"{found.text}\nclick: show {found.panel}")


class DiagnosisPanel(Panel):
    """Opens first. The rules take turns, one each refresh, so that none of them holds the window up."""

    title: ClassVar[str] = "Why"

    def _build(self) -> None:
        self.reasons = table(("why episodes end", "share", "step", "trend"))
        self.sentences = FindingList()
        self.pictures = QTabWidget(documentMode=True)
        self.clip, self.gait = SmallHistogram(), GaitStrip()
        self.autopsy = BarList(("before the end",), "autopsy: too few data")
        for name, widget in (("clip", self.clip), ("autopsy", scroll_area(self.autopsy)), ("gait", self.gait)):
            self.pictures.addTab(widget, name)
        stack(self, self.reasons, (self.sentences, 3), (self.pictures, 2))
        self.reason: str | None = None  # None: the most frequent failure
        self.evidence: Evidence | None = None
        self.findings: list[RuleFinding] = []
        self._examined: tuple[Any, ...] = ()
        self._turn: Iterator[None] | None = None
        self._news: Any = None
        self.reasons.cellClicked.connect(self._choose)
        self.sentences.itemClicked.connect(self._open)
        self.pictures.hide()
        self._show()

    def subscriptions(self) -> list[Subscription]:
        """A little of everything."""
        return all_subs(history_of(self.store).know(self.store.schema))

    def schema_changed(self) -> None:
        """Another run: forget what was found in the last one."""
        self.reason, self.evidence, self.findings = None, None, []
        self._turn, self._news, self._examined = None, None, ()
        self._show()

    def refresh(self) -> None:
        """Take the next step of the diagnosis; the last one shows it."""
        history_of(self.store).collect(self.store)
        if self._turn is None:
            news = dict(self.store.seen)
            news.pop("state", None)
            if news == self._news:
                return
            self._news, self._turn = news, self._diagnosis()
        if next(self._turn, "done") == "done":
            self._turn = None

    def _diagnosis(self) -> Iterator[None]:
        evidence = history_of(self.store).gather(self.store)
        yield
        findings: list[RuleFinding] = []
        for rule in RULES:
            findings += diagnose(evidence, (rule,))
            yield
        self.evidence = evidence
        self.findings = sorted(findings, key=lambda f: (ORDER.index(f.severity), -f.likely))
        self._show()

    def _show(self) -> None:
        if self.evidence is None or self.store.schema is None:
            fill(self.reasons, [], [])
            self.sentences.show_findings([RuleFinding("unknown", "waiting for data", "Why", 0.0)])
            self._fit(0)
            return
        lines = end_table(self.evidence)
        limits = self.evidence.declared.time_limits
        failing = (theme.RED, *[theme.AMBER] * len(lines))
        shades = [theme.TEXT if line[0] in limits else shade for line, shade in zip(lines, failing, strict=False)]
        fill(self.reasons, [_end_texts(*line) for line in lines], shades)
        self._fit(len(lines))
        found = self.findings
        if all(f.severity in ("note", "unknown") for f in found):
            found = [RuleFinding("note", "nothing stands out in what was received so far", "Why", 1.0), *found]
        self.sentences.show_findings(found)
        if not self.pictures.isHidden():
            self._show_pictures(self.evidence)

    def _fit(self, lines: int) -> None:
        head = max(18, self.reasons.horizontalHeader().sizeHint().height())
        line = max(self.reasons.verticalHeader().defaultSectionSize(), self.reasons.rowHeight(0))
        tall = head + line * min(LINES, max(1, lines)) + 2 * self.reasons.frameWidth()
        if self.reasons.maximumHeight() != tall:
            self.reasons.setFixedHeight(tall)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Pictures only where there is room for them."""
        super().resizeEvent(event)
        roomy = self.height() >= PICTURES
        if roomy == self.pictures.isHidden():
            self.pictures.setVisible(roomy)
            if roomy and self.evidence is not None:
                self._show_pictures(self.evidence)

    def _choose(self, line: int, _: int) -> None:
        item = self.reasons.item(line, 0)
        self.reason = item.text() if item is not None else None
        if self.evidence is not None:
            self._show_pictures(self.evidence)

    def _open(self, item: QListWidgetItem) -> None:
        place = self.sentences.row(item)
        if 0 <= place < len(self.sentences.findings):
            found = self.sentences.findings[place]
            self.control.show(found.panel)
            if found.column is not None and found.label is not None:
                self.control.plot(found.column, found.label)

    def _show_pictures(self, evidence: Evidence) -> None:
        reason = self.reason or worst_reason(evidence)
        self._show_clip(evidence, reason)
        row = self.store.selected if any(f.row == self.store.selected for f in evidence.feet) else None
        row = row if row is not None else next((f.row for f in evidence.feet), -1)
        self.gait.feet = [f for f in evidence.feet if f.row == row]
        self.gait.update()
        fresh = (reason, id(evidence))
        if fresh != self._examined:
            self._examined = fresh
            found = align_failures(evidence, reason) if reason else "autopsy: no failures were received"
            self._show_autopsy(found, evidence.declared.dt)

    def _show_clip(self, evidence: Evidence, reason: str | None) -> None:
        ends = [e for e in evidence.ends if np.isfinite(e.time) and (reason is None or reason in e.reasons)]
        if not ends:
            self.clip.show_counts(np.zeros(0), 0.0, 1.0, title="where in the clip episodes end: no data yet")
            return
        clip, times, reach = busiest_clip(evidence, ends)
        reach, others = reach or 1.0, len({e.clip for e in ends}) - 1
        found, _ = np.histogram(times, BINS, (0.0, reach))
        names = evidence.declared.clips
        name = names[clip] if 0 <= clip < len(names) else f"clip {clip}" if clip >= 0 else "the episode"
        title = f"where in {name} episodes end: {reason or 'any reason'}"
        caption = f"{len(times)} ends" + (f", {others} other clips" if others else "")
        now = evidence.cursors.get(self.store.selected)
        lines = [(float(now.values[-1, 2]), theme.WHITE)] if now is not None and now.values[-1, 1] == clip else []
        self.clip.show_counts(found, 0.0, reach, title=title, caption=caption, unit="s", lines=lines)

    def _show_autopsy(self, found: "FailureAlignment | str", dt: float | None) -> None:
        if isinstance(found, str):
            self.autopsy.show_bars((), 0.0, 1.0, title=found)
            return
        scale, unit = (dt, "s") if dt else (1.0, "ticks")
        order = found.first()[:MOST_BARS]
        title = f"{found.reason}: when {found.failures} failures left the survivors' p5–p95"
        bars = []
        for place, i in enumerate(order):
            before = float(found.departure[i]) * scale
            side = "high" if found.above[i] >= 0.5 else "low"
            share = format_share(float(found.outside[0, i]))
            tip = f"{found.names[i]}: too {side}; at the end {share} of failures are outside"
            text = f"{before:.2f} {unit}" if dt else f"{before:.0f} {unit}"
            shade = theme.RED if place == 0 else theme.AMBER
            bars.append(Bar(f"{vital_words(found.names[i])} {side}", before, None, 0.0, (text,), shade, tip=tip))
        reach = round_up(max([float(found.departure[i]) * scale for i in order], default=1.0))
        self.autopsy.show_bars(bars, 0.0, reach, title=title)


def _end_texts(reason: str, share: float, step: float, change: float) -> tuple[str, str, str, str]:
    trend = "" if not np.isfinite(change) else "steady" if abs(change) < 0.02 else f"{100 * change:+.0f} points"
    return reason, format_share(share), "–" if not np.isfinite(step) else f"{step:.0f}", trend.replace("-", "−")
