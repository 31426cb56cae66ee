"""Figures for pictures in files, whatever MPLBACKEND says.

Notebooks put the name of their own backend into the environment of every command that they start, and where that backend is
not installed matplotlib does not even import. A picture in a file needs no backend.
"""

import io
import os
import sys
import warnings
from typing import Any, Literal

_SETTING = "MPLBACKEND"


def file_figure(
    width: float, height: float, *, dpi: float = 100.0, layout: Literal["constrained"] | None = "constrained"
) -> Any:
    """The empty figure (of matplotlib) of a picture that is written to a file, in inches.

    "constrained" measures all text and makes room for it, which takes as long as drawing; with None the caller places its panels.
    Letters that no font has are drawn as boxes, without a warning.
    """
    warnings.filterwarnings("ignore", message="Glyph .* missing from")
    try:
        from matplotlib.figure import Figure
    except ValueError:  # the backend that the environment names is unknown here
        named = os.environ.pop(_SETTING)
        for half in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[half]
        try:
            from matplotlib.figure import Figure
        finally:
            os.environ[_SETTING] = named
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def svg_of(figure: Any) -> bytes:
    """A figure as an SVG, the same bytes for the same picture; its text stays text."""
    from matplotlib import rc_context

    written = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "figure"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()
