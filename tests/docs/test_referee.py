"""docs/referee.md: its table can be read and played, and it names every flag, table, term and number that there is."""

import re
import shlex
from pathlib import Path

import numpy as np

from scenes.robots import load
from systems.deploy.robot import RobotReading
from systems.referee.command import parser
from systems.referee.foreign import load_foreign
from systems.referee.scores import effort_scores
from systems.referee.table import TABLES, known_tables, read_table
from systems.referee.terms import TERMS
from tests.docs.pages import DOCS, fences
from tests.helpers import needs_g1
from tests.systems.referee.makers import holosoma_about, linear_policy, robot_called

PAGE = "referee.md"
TEXT = (DOCS / PAGE).read_text(encoding="utf-8")


@needs_g1
def test_the_page_s_table_is_read_and_plays_a_policy(tmp_path: Path) -> None:
    (table,) = fences(PAGE, title="mine.toml")
    (tmp_path / "mine.toml").write_text(table.text, encoding="utf-8")
    width = 29 + 3 + 3 + 3 + 29 + 29
    file = linear_policy(tmp_path / "p.onnx", np.zeros((width, 29)), about=holosoma_about(robot_called("g1")))
    policy = load_foreign(file, str(tmp_path / "mine.toml"), load)
    rest = RobotReading(*(np.zeros(n) for n in (3, 4, 3, 3, 29, 29)))
    policy.begin(rest)
    np.testing.assert_allclose(policy.target(rest, np.zeros(3)), policy.arena.default)


def test_the_page_names_every_flag_table_and_term() -> None:
    flags = [word for action in parser()._actions for word in action.option_strings if word not in ("-h", "--help")]
    assert all(f"--{flag.strip('-')}" in TEXT for flag in flags)
    assert all(f"`{name}`" in TEXT for name in (*known_tables(), *TERMS))
    assert set(re.findall(r"`((?:playground|holosoma|mjlab|protomotions)_\w+)`", TEXT)) == set(known_tables())
    assert all(read_table(TABLES / f"{name}.toml").about for name in known_tables())


def test_the_page_s_command_is_one() -> None:
    (block, *_) = fences(PAGE, "sh")
    (line,) = (line for line in block.text.splitlines() if line.startswith("lockstep referee"))
    assert len(parser().parse_args(shlex.split(line)[2:]).policies) == 3


def test_the_page_explains_what_effort_is() -> None:
    words = {name.rpartition(" ")[0].removesuffix(" frames") for name in effort_scores([], 0.02)}
    assert "power" in words and all(word in TEXT for word in words)
