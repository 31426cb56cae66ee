"""The page on doorways: its notebook trains, steps and plots a scene in ten lines, and its environment can be stepped."""

import matplotlib
import numpy as np
import pytest

from tests.docs.pages import code_lines, fences, namespace
from tests.helpers import REPOSITORY, needs_g1

PAGE = "doorways.md"


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    monkeypatch.chdir(REPOSITORY)


def test_ten_lines_of_a_notebook_train_step_and_plot_a_scene():
    import matplotlib.pyplot as plt

    (block,) = fences(PAGE, "python", "notebook")
    assert code_lines(block.text) <= 10
    assert all("  # " in line for line in block.text.splitlines() if line and not line.startswith(("import", "from")))
    names = namespace()
    block.run(names)
    lengths = [row["episode/length"] for row in names["numbers"]]
    assert len(lengths) == 20 and np.mean(lengths[-3:]) > 1.5 * np.mean(lengths[:3])  # it has learned
    assert names["simulation"].world.clock.tick == 20 * 32 + 100
    curve, histogram = (plt.figure(number).gca() for number in plt.get_fignums())
    assert len(curve.lines[0].get_ydata()) == 20
    assert sum(bar.get_height() for bar in histogram.patches) == len(names["angle"]) == 32
    plt.close("all")


@needs_g1
def test_the_environment_of_the_page_can_be_stepped():
    (block,) = fences(PAGE, "python", "environment")
    names = namespace()
    block.run(names)
    assert names["observation"].shape == (8, 160) and np.isfinite(names["reward"]).all()


def test_the_page_names_every_doorway_and_its_extra():
    import tomllib

    import systems.doorways

    text = (REPOSITORY / "docs" / PAGE).read_text(encoding="utf-8")
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert all(f"`{name}`" in text for name in systems.doorways.__all__)
    for _, extra in systems.doorways.LIBRARIES.values():
        assert extra in extras and f"lockstep-sim[{extra}]" in text
