"""What the pages show is what happens: their files are written, their commands run, their outputs compared."""

import importlib.util
import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import scenes.robots
from components.episode import Earned, Reward
from components.robot import BaseFrame
from engine import Bundle, Scene, build, system, table, term
from engine.runner.scene_file import load_scene
from systems.episode import episode, mark_rewritten
from systems.terminations import terminations, time_limit
from systems.tick import TERMINATE, TICK
from tests.docs.pages import DOCS, Fence, assembled, code_lines, command, fences, namespace, restored
from tests.helpers import REPOSITORY

WALKED = ("first_task.md", "add_a_reward.md", "add_a_robot.md", "tick.md")
NEIGHBOURS = {"add_a_reward.md": ("first_task.md",)}  # pages whose files lie in the same folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A reader's folder, from which the project's scenes can be reached as in a clone."""
    (tmp_path / "scenes").symlink_to(REPOSITORY / "scenes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    known = set(sys.modules)
    with restored(scenes.robots.ROBOTS):
        yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def write_files(page: str, folder: Path) -> None:
    """Write every file that a page shows."""
    for title in {fence.title for fence in fences(page) if "." in fence.title}:
        text = "\n".join(fence.text for fence in fences(page, title=title))
        (folder / title).write_text(assembled(page, title) or text, encoding="utf-8")


def shows(excerpt: str, output: str) -> bool:
    """Whether an output has the lines of an excerpt, in which … stands for any number of lines."""
    at = 0
    for piece in re.split(r"^…\n", excerpt, flags=re.MULTILINE):
        found = output.find(piece.rstrip("\n"), at)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def runs(page: str) -> Iterator[tuple[Fence, str]]:
    """The command blocks of a page, each with the output that stands right after it ('' where none does).

    Blocks of language sh take long or leave this process; they are not among them.
    """
    blocks = fences(page)
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "bash":
            yield block, following.text if following is not None and following.language == "text" else ""


def of_the_run(line: str, folder: Path) -> str:
    """A command line with the name of the reader's first run in the place of <time>."""
    run = min((folder / "runs/hover").glob("2*"), default=folder)
    return line.replace("<time>", run.name)


@pytest.mark.parametrize("page", WALKED)
def test_a_reader_who_types_what_the_page_says_sees_what_it_shows(page: str, folder: Path):
    for neighbour in (page, *NEIGHBOURS.get(page, ())):
        write_files(neighbour, folder)
    for block, expected in runs(page):
        for line in block.text.splitlines():
            words = shlex.split(of_the_run(line, folder))
            assert words[:3] == ["python", "-m", "engine.run"], block.place
            status, out, err = command(*words[3:])
            assert status == (2 if block.title == "fails" else 0), f"{block.place}: {out}{err}"
        assert shows(expected, out + err), f"{block.place} shows\n{expected}\nbut it prints\n{out}{err}"
    for block in fences(page, "sh"):
        for line in block.text.splitlines():
            assert command(*shlex.split(line)[3:], "--check")[0] == 0, f"{block.place} does not fit together"
    check_scores(page, folder)


def check_scores(page: str, folder: Path) -> None:
    """The numbers that a page promises of its trainings."""
    if page == "first_task.md":
        assert reported(folder, "reward/at_height") > 0.9
        (run,) = (folder / "runs/hover").glob("2*")
        assert json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["summary"]["return"] > 3.0
        assert (run / "film.mp4").stat().st_size > 1000
    if page == "add_a_reward.md":
        assert reported(folder, "reward/effort") < 0.0


def reported(folder: Path, name: str) -> float:
    """The mean of a number over the last tenth of the one run in a folder, where it was reported."""
    (run,) = (folder / "runs/hover").glob("2*")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [row[name] for row in rows[-max(len(rows) // 10, 3) :] if name in row]
    return sum(last) / len(last)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["first_task.md", "adding_a_task.md"])
def test_tests_on_pages_pass(page: str, folder: Path):
    write_files(page, folder)
    found = [load(folder / fence.title) for fence in fences(page, "python") if fence.title.startswith("test_")]
    tests = [test for module in found for name, test in vars(module).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_first_task_has_at_most_70_lines():
    assert code_lines(assembled("first_task.md", "hover.py")) <= 70


@pytest.mark.parametrize("file", ["upright.py", "gentle.py"])
def test_a_reward_takes_at_most_4_lines(file: str):
    imports, added = fences("add_a_reward.md", "python", file)
    assert all(line.startswith(("from ", "import ")) for line in imports.text.splitlines() if line)
    assert code_lines(added.text) <= 4


def test_added_reward_is_paid_weighted_and_per_second(folder: Path):
    write_files("add_a_reward.md", folder)
    file = load_scene("upright.py")
    made = file.experiment(file.config().replace(robot="humanoid", clip="stand", num_envs=3, physics_threads=1))
    simulation = build(made.train())
    simulation.run(3)
    world = simulation.world
    place = world.tables["robot"].axes["reward"].index("upright")
    earned = world[Reward]
    torch.testing.assert_close(earned.terms.sum(-1), earned.total)
    assert world[Earned].sums.shape[1] == earned.terms.shape[1] == place + 1
    upright = -world[BaseFrame].gravity[:, 2]
    running = ~torch.isclose(earned.terms[:, place], torch.zeros(3))
    torch.testing.assert_close(earned.terms[running, place], 0.2 * 0.02 * upright[running], atol=1e-4, rtol=0.0)
    assert running.any()


# Pages whose blocks are shorter than a file.


def concepts() -> dict[str, Any]:
    """What the blocks of docs/concepts.md take for granted."""
    names = namespace()
    exec(
        "from torch import Tensor\n"
        "from components.control import ActionDelay\n"
        "from components.episode import Done\n"
        "from engine import *\n"
        "from systems.reward_sum import reward\n"
        "from systems.tracking_terms import body_position\n",
        names,
    )
    return names


def test_blocks_of_the_concepts_run():
    names = concepts()
    for fence in fences("concepts.md", "python"):
        fence.run(names)
    names["system"](names["reset_delay"], steps=(0, 2))


def test_the_readme_builds_what_it_shows():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = namespace()
    exec(
        "import torch\n"
        "from torch import Tensor\n"
        "from engine import *\n"
        "from systems.rewards import rewards\n"
        "from systems.tick import REWARD, STEP\n",
        names,
    )
    exec(code, names)
    ball = names["Ball"].make(3, height=2.0)
    names["fall"](ball, gravity=10.0, dt=0.1)
    assert torch.allclose(ball.height, torch.tensor(1.9))
    assert names["at_height"](ball, target=1.9, std=0.3).tolist() == pytest.approx([1.0] * 3)
    endless = [terminations({"time_limit": term(time_limit, kind="time_limit")}), system(mark_rewritten)]
    rest = Bundle("rest", [Reward, Earned], systems={TERMINATE: endless})
    home = table("ball", rows=3, axes={"reward": ("at_height",), "termination": ("time_limit",)})
    simulation = build(Scene([home], [names["balls"], rest, episode()], TICK))
    simulation.world[names["Ball"]].height.fill_(1.0)
    simulation.run(2)  # the first tick enters at RESET, so the ball falls once: by 9.81 × 0.02² m
    off = 9.81 * 0.02**2
    assert simulation.world[Reward].total.tolist() == pytest.approx([0.02 * math.exp(-((off / 0.3) ** 2))] * 3)


def test_the_start_page_and_the_readme_say_the_same_commands():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for fence in fences("index.md", "sh"):
        for words in re.findall(r"(?:python3|\.venv/bin/pip|-m engine\.run) [^&\n]+", fence.text):
            assert words.strip() in readme, f"{fence.place}: the README does not say {words}"


# The site.


def test_the_site_builds_without_warnings(tmp_path: Path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed; it comes with the extra dev")
    pytest.importorskip("material", reason="mkdocs-material is not installed; it comes with the extra dev")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    pages = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]
    assert all((tmp_path / "site" / page).is_file() for page in pages)
    html = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html"))
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"https?://", html), "the site fetches from elsewhere"
