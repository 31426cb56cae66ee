"""Action panel: what the policy asks of each joint, and whether the motors can do it."""

from typing import ClassVar

import numpy as np

from engine.debugger.diagnosis.indicators import ChannelIndicators, channel_indicators, nan_quantiles, saturation
from engine.debugger.diagnosis.rules_robot import torque_use
from engine.debugger.model.evidence import Evidence, action_subs, vitals_subs
from engine.debugger.model.history import EvidenceHistory, row_samples, vitals
from engine.debugger.model.schema import ColumnInfo, short
from engine.debugger.panels.panel import RolePanel
from engine.debugger.widgets import theme
from engine.debugger.widgets.bars import Bar, BarList, round_up
from engine.debugger.widgets.format import counted, format_number, format_share
from engine.debugger.widgets.parts import headline, scroll_area, stack

HEADINGS = ("limit", "torque", "noise", "clip", "rate")
SHARES = (True, True, False, True, False)  # which of them are shares
LEGEND = (
    "bar: selected row · mark: mean ± deviation of watched rows · noise: exploration · rate: change per tick · "
    "clip: share of ticks at the action limit · torque: median share of its limit · limit: share of ticks at it"
)


class ActionPanel(RolePanel):
    """One line per joint."""

    title: ClassVar[str] = "Action"
    role, what = "action", "actions"
    measured = (action_subs, vitals_subs)

    def _build(self) -> None:
        self.head = headline("waiting for a run", LEGEND.replace(" · ", "\n"))
        self.bars = BarList(HEADINGS)
        stack(self, self.head, (scroll_area(self.bars), 1))
        self._joints: ChannelIndicators | None = None
        self._noise = self._use = self._share = np.zeros(0)
        self.bars.opened.connect(self.chart)
        self.refresh()

    def clear(self, why: str) -> None:
        """Say why there are no bars."""
        theme.set_text(self.head, why)
        self.bars.show_bars((), 0.0, 1.0)

    def measure(self, data: EvidenceHistory, column: ColumnInfo) -> None:
        """Statistics of the joints of watched rows."""
        known, noise, width = data.declared, data.exploration(), column.size
        limit = known.number("act.limit", "clip_action.limit")
        found = Evidence(known, actions=row_samples(self.store, column))
        found.vitals = vitals(self.store, known)
        found.torques = {} if known.vitals else row_samples(self.store, known.roles.get("torque"))
        self._joints = channel_indicators(list(found.actions.values()), limit)
        blank = np.full(width, np.nan)
        self._noise = blank
        if noise is not None and noise.shape[1] == width and np.isfinite(noise).any():
            self._noise = np.sqrt((np.nan_to_num(noise, posinf=0.0, neginf=0.0) ** 2).mean(0))
        use = torque_use(found)
        values = use[0] if use is not None and use[0].shape[1] == width else blank[None]
        self._use = nan_quantiles(np.where(np.isfinite(values), values, np.nan), (0.5,))[0]
        self._share = saturation(values)

    def draw(self, data: EvidenceHistory, column: ColumnInfo, row: np.ndarray | None) -> None:
        """Redraw the row."""
        joints, limit = self._joints, data.declared.number("act.limit", "clip_action.limit")
        sizes = [0.0, *(np.abs(row[np.isfinite(row)]) if row is not None else ())]
        tip = LEGEND.replace(" · ", "\n")
        bars, wrong = [], 0
        for i, label in enumerate(column.labels):
            mean = float(joints.mean[i]) if joints is not None else None
            spread = float(joints.spread[i]) if joints is not None else 0.0
            sizes += [abs(mean) + spread] if mean is not None and np.isfinite(mean + spread) else []
            value = float(row[i]) if row is not None else None
            bad = self._share[i] > 0.15 or (joints is not None and joints.at_limit[i] > 0.2) or self._noise[i] < 0.05
            wrong += bool(bad)
            texts = self._texts(i, joints, limit)
            colours = (theme.AMBER, theme.AMBER) if bad else (theme.BLUE, theme.TEXT)
            bars.append(Bar(short(label), value, mean, spread, texts, *colours, f"{label}\n{tip}"))
        reach = round_up(max(sizes))
        self.bars.show_bars(bars, -reach, reach)
        samples = joints.samples if joints is not None else 0
        text = f"{counted(column.size, 'joint')} · {samples} samples"
        text += f" · action limit ±{format_number(limit)}" if limit else " · no action limit"
        text += f" · {wrong} amber: at a limit, or without exploration" if wrong else ""
        theme.set_text(self.head, text if row is not None else f"{text} · no data of row {self.store.selected} yet")

    def _texts(self, i: int, joints: ChannelIndicators | None, limit: float | None) -> tuple[str, ...]:
        clip, rate = (np.nan, np.nan) if joints is None else (joints.at_limit[i] if limit else np.nan, joints.rate[i])
        values = (self._share[i], self._use[i], self._noise[i], clip, rate)
        return tuple(
            "–" if np.isnan(value) else format_share(value) if share else format_number(value, 2)
            for value, share in zip(map(float, values), SHARES, strict=True)
        )
