"""Widgets and number formats that know nothing of a run: they import Qt, pyqtgraph and numpy, nothing of the debugger.

`theme` (colours, pens, icons), `format` (text for numbers; without Qt), `TimeChart`, `Sparkline`, `SmallHistogram`,
`Histogram`, `HeatMap`, `BarList`, and `parts`: their base `Canvas`, layouts, `ElidedLabel`, tables of text.
"""
