"""Rules of the project that no type checker knows: who imports whom, where, and what says what it does."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY

PACKAGES = ("engine", "components", "systems", "scenes", "benchmarks")
DECLARING = ("engine", "components", "systems", "scenes")
MAY_IMPORT = {
    "engine": {"engine", "torch", "numpy", "attrs", "msgpack"},
    "components": {"components", "engine", "torch", "numpy", "attrs"},
    "systems": {"systems", "components", "engine", "torch", "numpy", "attrs"},
}
ONLY_HERE = {
    "mujoco": ("systems/physics/", "engine/debugger/body/render.py", "benchmarks/", "tests/"),
    "OpenGL": ("engine/debugger/body/render.py",),  # a process of its own, which the window starts
    "mujoco_warp": ("systems/physics/", "benchmarks/", "tests/"),
    "warp": ("systems/physics/", "benchmarks/", "tests/"),
    "rich": ("engine/runner/commands.py", "engine/runner/console.py", "engine/runner/replay_command.py", "tests/"),
    "tensorboard": ("engine/runner/run.py", "engine/runner/console.py", "engine/runner/run_folder.py", "tests/"),
    "matplotlib": (
        "engine/runner/run.py",
        "engine/runner/console.py",
        "engine/runner/run_folder.py",
        "engine/runner/plot.py",
        "engine/runner/replay_command.py",
        "benchmarks/",
        "tests/",
    ),
    "PySide6": ("engine/debugger/", "benchmarks/debugger_clients.py", "docs/tools/make_pictures.py", "tests/debugger/"),
    "PyQt6": ("engine/debugger/", "tests/debugger/"),
    "PyQt5": ("engine/debugger/", "tests/debugger/"),
    "pyqtgraph": ("engine/debugger/", "tests/debugger/"),
    "pickle": ("systems/motion/array_pickle.py", "tests/"),
    "av": ("systems/film/film.py", "tests/"),
    "PIL": ("systems/film/film.py", "systems/film/painter.py", "benchmarks/", "tests/"),
}
LAZY = {
    "rich",
    "av",
    "PIL",
    "tensorboard",
    "matplotlib",
    "PySide6",
    "PyQt6",
    "PyQt5",
    "pyqtgraph",
    "mujoco_warp",
    "warp",
}
MAY_BE_EAGER = (
    "engine/runner/console.py",
    "engine/debugger/",
    "benchmarks/",
    "tests/",
)  # the panel is what a person without a window looks at


def sources(*packages: str) -> list[Path]:
    """Python files of packages, relative to the repository."""
    found = [path for package in packages for path in (REPOSITORY / package).rglob("*.py")]
    return sorted(path.relative_to(REPOSITORY) for path in found)


def parse(path: Path) -> ast.Module:
    return ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(dotted module, line, whether it is imported when the file is) of every import in a file."""
    tree = parse(path)
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, id(node) not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; say the whole name"
            yield node.module or "", node.lineno, id(node) not in lazy


ALL = sources(*PACKAGES, "tests")


def places(path: Path, allowed: tuple[str, ...]) -> bool:
    return any(path.as_posix().startswith(place) for place in allowed)


def test_there_is_something_to_check():
    assert len(sources("engine")) > 10


@pytest.mark.parametrize("path", sources(*MAY_IMPORT), ids=str)
def test_layers_import_only_what_lies_below(path: Path):
    allowed = MAY_IMPORT[path.parts[0]] | sys.stdlib_module_names
    for module, line, _ in imports(path):
        top = module.split(".")[0]
        if top not in ONLY_HERE:
            assert top in allowed, (
                f"{path}:{line} imports {module}; {path.parts[0]} may import {', '.join(sorted(MAY_IMPORT[path.parts[0]]))}"
            )


@pytest.mark.parametrize("path", ALL, ids=str)
def test_libraries_stay_in_their_place(path: Path):
    for module, line, eager in imports(path):
        top = module.split(".")[0]
        if top in ONLY_HERE:
            assert places(path, ONLY_HERE[top]), (
                f"{path}:{line} imports {module}, which belongs to {ONLY_HERE[top] or 'nobody'}"
            )
            assert not (eager and top in LAZY) or places(path, MAY_BE_EAGER), f"{path}:{line} imports {module} eagerly"


@pytest.mark.parametrize("path", sources("engine", "components", "systems"), ids=str)
def test_nothing_imports_scenes(path: Path):
    for module, line, _ in imports(path):
        assert module.split(".")[0] not in ("scenes", "tests", "benchmarks"), f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", sources("components", "systems", "scenes"), ids=str)
def test_nothing_below_knows_the_command_line(path: Path):
    for module, line, _ in imports(path):
        assert module not in ("engine.run", "engine.runner.console", "engine.runner.run_folder"), (
            f"{path}:{line} imports {module}"
        )


@pytest.mark.parametrize("path", sources(*DECLARING, "tests"), ids=str)
def test_annotations_are_not_postponed(path: Path):
    for node in parse(path).body:
        postponed = (
            isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
        )
        assert not postponed, f"{path}:{node.lineno} postpones annotations; the engine reads real types"


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Public functions, classes and methods, by name."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            decorators = {ast.unparse(d) for d in node.decorator_list}
            if "overload" not in decorators:
                yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=str)
def test_everything_public_has_a_docstring(path: Path):
    tree = parse(path)
    assert ast.get_docstring(tree) or not tree.body, f"{path} does not say what it is"
    for name, node in public(tree.body):
        assert ast.get_docstring(node), f"{path}: {name} has no docstring"  # type: ignore[arg-type]


@pytest.mark.parametrize("path", sources("components"), ids=str)
def test_components_have_no_behaviour(path: Path):
    """An attrs class of tensors has no methods; what acts on it is a system."""
    lifetimes = {"component", "derived", "signal"}
    for node in parse(path).body:
        if isinstance(node, ast.ClassDef) and lifetimes & {ast.unparse(d) for d in node.decorator_list}:
            methods = [inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)]
            assert not methods, f"{path}: component {node.name} has methods: {', '.join(methods)}"
