"""Learner panel: the numbers of each update, with their usual bands shaded."""

from collections.abc import Mapping
from typing import ClassVar

import attrs
import numpy as np
from PySide6.QtWidgets import QGridLayout, QWidget

from engine.debugger.model.evidence import LEARNER_SUB
from engine.debugger.model.history import history_of, learner
from engine.debugger.model.schema import Declared
from engine.debugger.panels.panel import Panel
from engine.debugger.widgets import theme
from engine.debugger.widgets.bars import Bar, BarList
from engine.debugger.widgets.format import format_number
from engine.debugger.widgets.parts import headline, scroll_area, stack
from engine.debugger.widgets.sparkline import Sparkline

CHART = 210  # least width of a chart, px


@attrs.frozen
class UsualRange:
    """What is shown of one number, and within which bounds it usually is; `beside` names another one in the same chart."""

    name: str
    title: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    beside: str = ""


FIXED = (
    UsualRange("reward/per_step", "reward of a tick"),
    UsualRange("episode/length", "episode length"),
    UsualRange("learn/explained_variance", "explained variance", 0.5, 1.0),
    UsualRange("learn/kl", "KL divergence", log=True),
    UsualRange("learn/clip_fraction", "clip share", 0.02, 0.3),
    UsualRange("learn/entropy", "entropy"),
    UsualRange("learn/action_std", "action deviation", 0.05, 1.5),
    UsualRange("learn/learning_rate", "learning rate", log=True),
    UsualRange("learn/gradient_norm", "gradient norm", 0.0, 100.0),
    UsualRange("learn/value_loss", "value loss"),
    UsualRange("learn/surrogate_loss", "surrogate loss"),
    UsualRange("learn/skipped_steps", "steps left out", 0.0, 0.0),
    UsualRange("imagine/real_reward", "reward (blue: imagined)", beside="imagine/imagined_reward"),
    UsualRange("imagine/gap", "imagined − real", -0.25, 0.25),
    UsualRange("imagine/imagined_ends", "imagined rows that end"),
    UsualRange("imagine/gradient_norm", "gradient norm", 0.0, 100.0),
    UsualRange("imagine/kl", "KL divergence", log=True),
    UsualRange("imagine/one_step_loss", "model loss", log=True),
    UsualRange("imagine/error_1", "model error, 1 tick", log=True),
    UsualRange("imagine/error_4", "model error, 4 ticks", log=True),
    UsualRange("imagine/error_8", "model error, 8 ticks", log=True),
    UsualRange("imagine/error_16", "model error, 16 ticks", log=True),
    UsualRange("imagine/parted", "iterations apart", 0.0, 0.0),
    UsualRange("imagine/taken_back", "policies taken back", 0.0, 0.0),
    UsualRange("imagine/skipped_steps", "steps left out", 0.0, 0.0),
)
LEARNERS = ("learn/", "imagine/")  # groups of numbers, of which a run has those of its learner
JOINTS = "imagine/error_16/"  # and a joint


def usual_ranges(known: Declared) -> tuple[UsualRange, ...]:
    """The charts, with bands that the run's constants give."""
    target = known.number("improve_policy.desired_kl")
    rates = known.number("improve_policy.lowest_rate"), known.number("improve_policy.highest_rate")
    bands = {"learn/kl": (target / 2, 2 * target) if target else None}
    if rates[0] is not None and rates[1] is not None:
        bands["learn/learning_rate"] = (1.01 * rates[0], 0.99 * rates[1])
    gap, kl = known.number("compare_rewards.most_gap"), known.number("improve_in_imagination.kl")
    bands |= {"imagine/gap": (-gap, gap) if gap else None, "imagine/kl": (0.0, 1.01 * kl) if kl else None}
    return tuple(attrs.evolve(e, low=b[0], high=b[1]) if (b := bands.get(e.name)) else e for e in FIXED)


def judge(value: float, each: UsualRange) -> tuple[str, str]:
    """The last value with a word, and the colour of both."""
    if not np.isfinite(value):
        return f"{format_number(value)} not finite", theme.RED
    if each.low is not None and value < each.low:
        return f"{format_number(value)} low", theme.AMBER
    if each.high is not None and value > each.high:
        return f"{format_number(value)} high", theme.AMBER
    return format_number(value) + (" usual" if each.low is not None else ""), theme.TEXT


class LearnerPanel(Panel):
    """A grid of small charts over iterations."""

    title: ClassVar[str] = "Learner"
    rate: ClassVar[float] = 2.0
    needs = (LEARNER_SUB,)

    def _build(self) -> None:
        self.head = headline("waiting for the first iteration")
        self.charts = {each.name: Sparkline(each.title, each.log) for each in FIXED}
        self._inner = QWidget()
        self._grid = QGridLayout(self._inner)
        self._grid.setSpacing(3)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self.joints = BarList(("error",), title="model error of a joint, 16 ticks ahead")
        inside = QWidget()
        stack(inside, (self._inner, 1), self.joints)
        stack(self, self.head, (scroll_area(inside), 1))
        self._seen: tuple[object, ...] = ()
        self._placed: tuple[int, tuple[str, ...]] = (0, ())
        self.refresh()

    def schema_changed(self) -> None:
        """Other constants, hence other bands."""
        self._seen = ()
        self.refresh()

    def refresh(self) -> None:
        """Redraw after an iteration, or when the width of the panel changed."""
        reports = self.store.learner
        seen = (len(reports), reports[-1][0] if reports else -1, self.width() // CHART)
        if seen == self._seen:
            return
        self._seen = seen
        known = history_of(self.store).know(self.store.schema)
        numbers = learner(self.store)
        self._place(tuple(e.name for e in FIXED if e.name in numbers))
        foreign = tuple(g for g in LEARNERS if not any(name.startswith(g) for name in numbers))
        missing = [e.title for e in FIXED if e.name not in numbers and not (numbers and e.name.startswith(foreign))]
        self._show_joints(numbers)
        if not reports:
            theme.set_text(self.head, "waiting for the first iteration")
            return
        out = []
        for each in usual_ranges(known):
            values = numbers.get(each.name)
            if values is None:
                continue
            absent = each.name not in reports[-1][1]  # as the length of episodes where none has ended
            word, shade = ("not in this one", theme.DIM) if absent else judge(float(values[-1]), each)
            band = (each.low, each.high) if each.low is not None and each.high is not None else None
            beside = numbers.get(each.beside)
            self.charts[each.name].show_line(numbers["iteration"], values, band, word, shade, beside)
            out += [each.title] if shade not in (theme.TEXT, theme.DIM) else []
        text = f"iteration {reports[-1][0]} · "
        text += f"outside the usual band: {', '.join(out)}" if out else "all within their usual bands"
        text += f" · not reported: {', '.join(missing)}" if missing else ""
        theme.set_text(self.head, text)

    def _show_joints(self, numbers: Mapping[str, np.ndarray]) -> None:
        """The error of each joint, as the last iteration has it."""
        last = {name.removeprefix(JOINTS): float(v[-1]) for name, v in numbers.items() if name.startswith(JOINTS)}
        known = [error for error in last.values() if np.isfinite(error)]
        bars = [Bar(name, error, texts=(f"{format_number(error)} rad",)) for name, error in last.items()]
        self.joints.show_bars(bars, 0.0, max(known, default=1.0) or 1.0)
        self.joints.setVisible(bool(bars))

    def _place(self, names: tuple[str, ...]) -> None:
        across = max(1, self.width() // CHART)
        if (across, names) == self._placed:
            return
        self._placed = (across, names)
        for chart in self.charts.values():
            self._grid.removeWidget(chart)
            chart.setParent(None)
        for place, name in enumerate(names):
            self._grid.addWidget(self.charts[name], place // across, place % across)
            self.charts[name].show()
