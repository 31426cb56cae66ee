"""docs/many_clips.md: its commands work, and its table names every number of adaptive sampling with its value."""

import re
import shlex
from pathlib import Path

import pytest

from engine.runner.cli import reporting_errors
from scenes.robots import clip_tools
from systems.sampling import START_SHARES, sampling
from tests.docs.pages import DOCS, command, fences
from tests.helpers import REPOSITORY, needs_g1
from tests.systems.motion.test_library import bare_library

PAGE = "many_clips.md"


@needs_g1
def test_the_commands_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenes").symlink_to(REPOSITORY / "scenes")
    monkeypatch.chdir(tmp_path)
    for line in (line for block in fences(PAGE, "bash") for line in block.text.splitlines()):
        program, *words = shlex.split(line)
        if program == "lockstep":
            assert reporting_errors(clip_tools.main, words[1:]) == 0, line
        else:
            status, out, err = command(*words[2:], "--num-envs", "2")
            assert (status, err) == (0, ""), f"{line}\n{out}{err}"


def test_modes_and_numbers_of_sampling_are_those_of_the_code() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    assert all(f"| `{mode}`" in text for mode in (*START_SHARES, "adaptive"))
    starts = sampling(bare_library([101]), "adaptive", order="weight", dt=0.02, on_frames=True)
    known = {f"{s.name}.{n}": v for group in starts.systems.values() for s in group for n, v in s.constants.items()}
    listed = {
        m[1]: float(m[2]) for m in re.finditer(r"^\| `tracking\.([\w.]+)` .* \| ([\d.]+) \|$", text, re.MULTILINE)
    }
    assert listed == {
        name: value for name, value in known.items() if name not in ("draw_motion.dt", "draw_motion.on_frames")
    }
