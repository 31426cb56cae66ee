"""Rules of the project that no type checker knows hold here, and each notices a fault that is planted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import architecture
from tests.architecture import RULES, Sources
from tests.helpers import REPOSITORY

Rule = Callable[[Path], list[str]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule: Rule):
    findings = rule(REPOSITORY)
    assert not findings, "\n" + "\n".join(findings)


def test_there_is_something_to_check():
    assert len(Sources(REPOSITORY).within("engine")) > 50


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python files of the repository, to plant faults in."""
    root = tmp_path_factory.mktemp("copy")
    for file in Sources(REPOSITORY).files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, root / file)
    return root


def planted(copy: Path, rule: Rule, file: str, text: str) -> list[str]:
    """What a rule finds when `text` stands at the end of a file, which is put back afterwards."""
    path = copy / file
    before = path.read_text(encoding="utf-8") if path.exists() else None
    sound = rule(copy)
    try:
        path.write_text((before or "") + text, encoding="utf-8")
        return [finding for finding in rule(copy) if finding not in sound]
    finally:
        path.unlink() if before is None else path.write_text(before, encoding="utf-8")


FAULTS: list[tuple[Rule, str, str, str]] = [
    (architecture.foreign_imports, "engine/ecs/table.py", "\nimport msgpack\n", "the kernel imports torch, numpy and"),
    (architecture.foreign_imports, "systems/rewards.py", "\nimport rich\n", "belongs to engine/runner/"),
    (architecture.foreign_imports, "systems/film/planted.py", "import av\n", "do it in the function"),
    (architecture.foreign_imports, "components/robot.py", "\nfrom . import control\n", "imports relatively"),
    (architecture.foreign_imports, "engine/protocol/framing.py", "\nimport torch\n", "where torch is not installed"),
    (
        architecture.upward_imports,
        "engine/ecs/world.py",
        "\nimport engine.snapshot.snapshot\n",
        "may import ecs, errors",
    ),
    (architecture.upward_imports, "engine/ecs/world.py", "\ndef f():\n    from engine import Scene\n", "may import"),
    (architecture.upward_imports, "engine/files.py", "\nfrom engine.ecs.world import World\n", "may import files, err"),
    (architecture.upward_imports, "engine/debugger/model/planted.py", "import engine.debugger.panels.panel\n", "order"),
    (architecture.upward_imports, "engine/debugger/net/planted.py", "import engine.protocol.schema\n", "needs torch"),
    (
        architecture.upward_imports,
        "engine/runner/planted.py",
        "import engine.inspect.inspector\n",
        "only engine/runner",
    ),
    (architecture.imports_of_what_nobody_imports, "systems/rewards.py", "\nimport scenes.cartpole\n", "only scenes"),
    (architecture.circles, "components/control.py", "\nfrom systems import rewards\n", "components.control"),
    (architecture.oversized, "engine/ecs/planted.py", "#\n" * 2500, "2500 are the most"),
    (architecture.words_unknown_to_the_kernel, "engine/ecs/table.py", "\n# a robot\n", "says 'robot'"),
    (architecture.words_unknown_to_the_kernel, "engine/ecs/table.py", "\npolicy_rows = 1\n", "says 'policy'"),
    (
        architecture.repeated_classes,
        "systems/rewards.py",
        '\nclass Scene:\n    """A scene."""\n',
        "class Scene stands in",
    ),
    (architecture.modules_of_systems_without_a_system, "systems/planted.py", "def f(x: int) -> int: ...\n", "package"),
    (architecture.postponed_annotations, "scenes/planted.py", "from __future__ import annotations\n", "postpones"),
    (
        architecture.undocumented,
        "benchmarks/planted.py",
        '"""A."""\n\n\nclass A:\n    def b(self): ...\n',
        "A.b has no",
    ),
    (
        architecture.components_with_behaviour,
        "components/planted.py",
        "@signal\nclass A:\n    def b(self): ...\n",
        "A has",
    ),
]


@pytest.mark.parametrize(("rule", "file", "text", "finding"), FAULTS)
def test_a_planted_fault_is_found(copy: Path, rule: Rule, file: str, text: str, finding: str):
    found = planted(copy, rule, file, text)
    assert any(finding in each for each in found), found


@pytest.mark.parametrize(
    "files",
    [
        {"engine/ecs/a.py": "from engine.ecs import b\n", "engine/ecs/b.py": "import engine.ecs.a\n"},
        {"systems/a.py": "import systems.b\n", "systems/b.py": "def f():\n    from systems.a import x\n"},
        {"tests/a.py": "import benchmarks.b\n", "benchmarks/b.py": "import docs.tools.c\n", "docs/tools/c.py": "import tests.a\n"},
        {"engine/debugger/app/a.py": "import engine.debugger.app.b\n", "engine/debugger/app/b.py": "if TYPE_CHECKING:\n    from engine.debugger.app.a import X\n"},
    ],
    ids=lambda files: next(iter(files)),
)  # fmt: skip
def test_a_circle_is_found_wherever_it_lies(copy: Path, files: dict[str, str]):
    before = architecture.circles(copy)
    try:
        for file, text in files.items():
            (copy / file).write_text(text, encoding="utf-8")
        found = [each for each in architecture.circles(copy) if each not in before]
    finally:
        for file in files:
            (copy / file).unlink()
    assert found == [" <-> ".join(sorted(Sources.module(file) for file in files))]
