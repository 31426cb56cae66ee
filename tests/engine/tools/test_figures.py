"""Figures for files: drawn under any name of a backend."""

import io
import os
import subprocess
import sys
import warnings

import pytest

from engine.tools.figures import file_figure

PROGRAM = """
import io, os
from engine.tools.figures import file_figure
figure = file_figure(2.0, 1.0, dpi=50.0)
figure.savefig(picture := io.BytesIO(), format="png")
print(picture.getvalue()[1:4], figure.get_size_inches(), os.environ["MPLBACKEND"])
"""


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no such backend", "agg"])
def test_a_figure_is_drawn_under_any_backend_and_the_environment_stays(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | {"MPLBACKEND": backend}, capture_output=True, text=True
    )
    assert done.stdout == f"b'PNG' [2. 1.] {backend}\n", done.stderr


def test_letters_that_no_font_has_are_drawn_without_a_warning() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        figure = file_figure(2.0, 1.0, dpi=50.0)
        figure.suptitle("\U000e0041 左足")
        figure.savefig(io.BytesIO(), format="png")
    assert warned == []
