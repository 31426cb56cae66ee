"""The kernel's docstring is its manual: the example in it runs, and its reading order names every file."""

import textwrap
from pathlib import Path

import engine.ecs

MANUAL = engine.ecs.__doc__ or ""


def section(title: str) -> str:
    """The lines under a title, up to the next one."""
    after = MANUAL.split(f"{title}\n{'-' * len(title)}\n", 1)[1].split("\n")
    rules = [i for i, line in enumerate(after) if line and set(line) == {"-"}]
    return "\n".join(after[: rules[0] - 1] if rules else after)


def test_the_example_runs_as_it_stands() -> None:
    names: dict[str, object] = {"__name__": "manual"}
    exec(textwrap.dedent(section("An example")), names)
    energy = names["simulation"].world[names["Energy"]].value  # type: ignore[attr-defined]
    assert energy.shape == (1000,) and bool((energy > 0).all())


def test_the_reading_order_names_every_file_once() -> None:
    files = {path.stem for path in Path(engine.ecs.__path__[0]).glob("*.py")} - {"__init__"}
    named = section("Reading order").split()
    assert sorted(named) == sorted(files)


def test_no_file_imports_one_that_is_read_later() -> None:
    order = section("Reading order").split()
    for place, name in enumerate(order):
        text = (Path(engine.ecs.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
        assert [later for later in order[place:] if f"engine.ecs.{later} import" in text] == []
