"""Reward panel: what each term gives, which decide, which are dead, which are saturated."""

from typing import Any, ClassVar

import numpy as np
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout

from engine.debugger.diagnosis.indicators import TermIndicators, kernel_indicators, kernel_slope, term_indicators
from engine.debugger.model.evidence import reward_subs
from engine.debugger.model.history import EvidenceHistory
from engine.debugger.model.schema import ColumnInfo, Declared, RewardTerm
from engine.debugger.panels.panel import RolePanel
from engine.debugger.widgets import theme
from engine.debugger.widgets.bars import Bar, BarList, round_up
from engine.debugger.widgets.format import format_number, format_share
from engine.debugger.widgets.parts import scroll_area, stack
from engine.debugger.widgets.sparkline import SmallHistogram

BINS = 40
WIDE, TALL = 560, 320  # px from which the histogram is beside or below the bars


class RewardPanel(RolePanel):
    """Bars of the selected row with marks of the mean of all rows; a histogram of one term over all rows."""

    title: ClassVar[str] = "Reward"
    role, what = "reward_terms", "reward terms"
    also = ("reward_total",)
    measured = (reward_subs,)
    every = 5

    def _build(self) -> None:
        self.bars = BarList(("sign", "share", "spread"), "terms of a tick: bar row, mark mean of all rows")
        self.histogram = SmallHistogram()
        self.histogram.setToolTip("exp(−e²/σ²) of all rows; amber: how steep it is there; red: hardly any signal")
        self.chosen: int | None = None  # None: the term most in need of a look
        self._statistics: tuple[Any, dict[int, TermIndicators], dict[int, str]] = (None, {}, {})
        self._box = stack(self, (scroll_area(self.bars), 3), (self.histogram, 2), across=True)
        self.bars.picked.connect(self._pick)
        self.bars.opened.connect(self.chart)
        self.refresh()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """The histogram beside the bars, below them, or not at all where there is no room."""
        super().resizeEvent(event)
        beside = self.width() >= WIDE
        way = QBoxLayout.Direction.LeftToRight if beside else QBoxLayout.Direction.TopToBottom
        if self._box.direction() != way:
            self._box.setDirection(way)
        self.histogram.setVisible(beside or self.height() >= TALL)

    def schema_changed(self) -> None:
        """Other terms."""
        self.chosen = None
        self._statistics = (None, {}, {})
        super().schema_changed()

    def _pick(self, place: int) -> None:
        self.chosen = None if place == self.chosen else place
        self._statistics = (None, *self._statistics[1:])
        self._until_statistics = 0
        self.refresh()

    def clear(self, why: str) -> None:
        """Say why there are no bars."""
        self.bars.show_bars((), 0.0, 1.0, title=why)
        self.histogram.show_counts(np.zeros(0), 0.0, 1.0, title="")

    def measure(self, data: EvidenceHistory, column: ColumnInfo) -> None:
        """Statistics of all rows, where their terms are new."""
        known = data.declared
        fresh = tuple((label, len(kept), kept[-1][0]) for label, kept in data.latest_terms())
        if fresh != self._statistics[0]:
            terms = data.terms()
            signs = {i: s for i, values in terms.items() if (s := term_indicators(values)) is not None}
            self._statistics = (fresh, signs, {i: describe_term(known.terms[i], terms[i], s) for i, s in signs.items()})
            self._show_histogram(known, terms)

    def draw(self, data: EvidenceHistory, column: ColumnInfo, row: np.ndarray | None) -> None:
        """Redraw the row."""
        known, (_, signs, words) = data.declared, self._statistics
        whole = sum(abs(s.mean) for s in signs.values()) or 1.0
        bars = []
        for i, term in enumerate(known.terms):
            sign = signs.get(i)
            value = float(row[i]) if row is not None and i < len(row) else None
            mark = sign.mean if sign else None
            figures = (format_share(abs(sign.mean) / whole), format_number(sign.spread, 2)) if sign else ()
            texts = (words.get(i, ""), *figures) if sign else ()
            colour = theme.RED if value is not None and value < 0 else theme.GREEN
            bars.append(Bar(term.name, value, mark, 0.0, texts, colour, tip=_tip(term, sign)))
        ends = [0.0, *(x for b in bars for x in (b.value, b.mark) if x is not None and np.isfinite(x))]
        low = -round_up(-min(ends)) if min(ends) < 0 else 0.0
        high = round_up(max(ends)) if max(ends) > 0 or not low else 0.0
        here = "bar row" if row is not None else f"no data of row {self.store.selected} yet"
        title = f"terms of a tick: {here}, mark mean of all rows"
        self.bars.show_bars(bars, low, high, self._shown(known), title)

    def _shown(self, known: Declared) -> int:
        if self.chosen is not None:
            return self.chosen
        words = self._statistics[2]
        worst = next((i for i, word in words.items() if word.startswith(("no signal", "non-finite"))), None)
        kernels = [i for i, term in enumerate(known.terms) if term.sigma]
        return worst if worst is not None else kernels[0] if kernels else 0 if known.terms else -1

    def _show_histogram(self, known: Declared, terms: dict[int, np.ndarray]) -> None:
        place = self._shown(known)
        if place not in terms:
            self.histogram.show_counts(np.zeros(0), 0.0, 1.0, title="all rows: no data yet")
            return
        term, values = known.terms[place], terms[place]
        kernel = kernel_indicators(values, term.scale, term.sigma) if term.sigma and term.scale else None
        if kernel is not None and term.sigma:
            counts, edges = np.histogram(kernel.value, BINS, (0.0, 1.0))
            caption = f"{format_share(kernel.low)} < 0.05, {format_share(kernel.high)} > 0.95"
            caption += f", median error {kernel.error:.2g}" if kernel.error and not term.unclear else ""
            self.histogram.show_counts(
                counts,
                0.0,
                1.0,
                title=f"{term.name}, σ {term.sigma:.3g}",
                caption=caption,
                curve=kernel_slope(np.linspace(0.0, 1.0, 60)),
                hot=edges[1:] <= 0.05 + 1e-9,
            )
            return
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        high = high if high > low else low + (abs(low) or 1.0) * 0.1
        counts, _ = np.histogram(finite, BINS, (low, high))
        bad = len(values) - len(finite)
        caption = f"{bad} of {len(values)} not finite" if bad else ""
        self.histogram.show_counts(counts, low, high, title=f"{term.name}: all rows", caption=caption)


def describe_term(term: RewardTerm, values: np.ndarray, signs: TermIndicators) -> str:
    """One or two words for a term that does not do its work; empty for one that does."""
    if signs.nonfinite:
        return "non-finite"
    kernel = kernel_indicators(values, term.scale, term.sigma) if term.sigma and term.scale else None
    if kernel is not None and kernel.low > 0.4:
        return f"no signal {format_share(kernel.low)}"
    if kernel is not None and kernel.high > 0.95:
        return "at its top"
    if signs.spread == 0:
        return "always 0" if signs.mean == 0 else "constant"
    return ""


def _tip(term: RewardTerm, sign: TermIndicators | None) -> str:
    lines = [term.name]
    if term.scale is not None:
        lines.append(f"weight × dt {format_number(term.scale)}" + (f", {term.word}" if term.sigma else ""))
    if sign is not None:
        spread = f"spread {format_number(sign.spread)} over {sign.samples} samples"
        lines.append(f"mean {format_number(sign.mean)}, {spread}")
    return "\n".join(lines)
