"""Scene files with configurations: named ones, nested ones, and the flags that change them."""

import json
from pathlib import Path

import pytest

from engine.runner.config import make_plan
from engine.runner.run import main
from engine.runner.run_folder import RunFolder

NAMED = '''
"""A file of configurations."""
from typing import Annotated, Literal
import attrs
from engine import Experiment
from tests.engine import toy_scene

@attrs.frozen
class Pace:
    """How fast the rows are."""
    pause: float = 0.0  # seconds that a step takes
    widths: tuple[int, ...] = (4, 2)

@attrs.frozen(kw_only=True)
class Config:
    """Every number."""
    task: object = attrs.field(metadata={"flag": False})
    num_envs: int  # rows that wander
    mood: Annotated[Literal["calm", "wild"], "how they feel"] = "calm"
    iterations: int = attrs.field(
        default=2
    )  # learning iterations
    pace: Pace = Pace()

CONFIGS = {
    "small": Config(task=object(), num_envs=3),
    "large": Config(task=object(), num_envs=9, iterations=4, pace=Pace(widths=(8, 8))),
}

def experiment(c: Config) -> Experiment:
    """Rows with a pace."""
    return Experiment(train=lambda: toy_scene.make_scene(c.num_envs, c.pace.pause), iterations=c.iterations)
'''


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunFolder, "draw_curve", lambda self: None)
    Path("named.py").write_text(NAMED)


def shown(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["named.py", *arguments, "--help"]) == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_the_first_configuration_is_the_default_and_help_shows_the_values_in_force(
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = shown(capsys=capsys)
    assert "Rows with a pace." in usual and "--config small|large named configuration (default: small)" in usual
    assert "--num-envs INT rows that wander (default: 3)" in usual and "--task" not in usual
    assert "--mood calm|wild how they feel (default: calm)" in usual
    assert "--pace.pause FLOAT seconds that a step takes (default: 0.0)" in usual
    large = shown("--config", "large", capsys=capsys)
    assert "(default: large)" in large and "--num-envs INT rows that wander (default: 9)" in large
    assert "--pace.widths A,B (default: 8,8)" in large and "learning iterations in all (default: 4)" in large


def test_flags_change_single_fields_of_a_configuration_and_those_inside_it() -> None:
    plan = make_plan(["named.py", "--config", "large", "--pace.widths", "1,2,3", "--mood", "wild", "--iterations", "7"])
    assert (plan.config.num_envs, plan.config.mood, plan.config.pace.widths) == (9, "wild", (1, 2, 3))
    assert plan.settings.iterations == 7 and plan.experiment().iterations == 7
    assert make_plan(["named.py", "--pace.widths", "5", "6"]).config.pace.widths == (5, 6)


def test_a_run_goes_on_with_its_configuration_and_refuses_another(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--config", "large", "--iterations", "1", "--pace.widths", "1,2"]
    assert main(["named.py", *flags, "--out", "run", "--debug", "off"]) == 0
    kept = json.loads(Path("run/config.json").read_text())
    assert kept["config"] == "large"
    assert kept["flags"] == {"num_envs": 9, "mood": "calm", "pace.pause": 0.0, "pace.widths": [1, 2]}
    plan = make_plan(["--resume", "run", "--iterations", "3"])
    assert (plan.name, plan.config.num_envs, plan.config.pace.widths) == ("large", 9, (1, 2))
    capsys.readouterr()
    for more, sentence in {
        ("--config", "small"): "--num-envs is 9 in the run's configuration, but 3 was asked for.",
        ("--pace.pause", "1"): "--pace.pause is 0.0 in the run's configuration, but 1.0 was asked for.",
    }.items():
        assert main(["--resume", "run", "--iterations", "3", *more]) == 2
        assert capsys.readouterr().err.startswith(f"error: {sentence}")


BAD = {
    ("--config", "medium"): "--config takes one of small, large, but was given 'medium'.",
    ("--pace.wdths", "1"): "Unknown flag --pace.wdths. Did you mean --pace.widths",
    ("--pace.widths", "1,x"): "--pace.widths takes a whole number, repeated with commas between, but was given '1,x'.",
    ("--iterations", "0"): "--iterations is 0; it must be at least 1.",
}


@pytest.mark.parametrize("arguments", BAD)
def test_what_a_configuration_cannot_be_is_one_sentence(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["named.py", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {BAD[arguments]}") and printed.err.count("\n") == 1 and printed.out == ""


def test_configurations_that_do_not_fit_the_function_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("named.py").write_text(NAMED.replace("CONFIGS = {", "CONFIGS = {'none': 3, "))
    assert main(["named.py", "--check"]) == 2
    assert (
        "must be a dictionary of one attrs class, which the only parameter of experiment()" in capsys.readouterr().err
    )
    Path("named.py").write_text(NAMED.replace("CONFIGS = {", "OTHERS = {"))
    assert main(["named.py", "--check"]) == 2
    assert "has fields without a default" in capsys.readouterr().err


def test_check_prints_the_facts_of_an_experiment_before_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    facts = "iterations=c.iterations, facts={'rows': f'{c.num_envs} [calm]', 'feet': ''})"
    Path("facts.py").write_text(NAMED.replace("iterations=c.iterations)", facts))
    assert main(["facts.py", "--check"]) == 0
    assert capsys.readouterr().out == "  rows        3 [calm]\nok\n"
