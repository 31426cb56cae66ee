"""Rules of the project that no type checker knows, as functions that return what breaks them under a folder."""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("engine", "components", "systems", "scenes", "benchmarks")
PRODUCT = ("engine", "components", "systems", "scenes")
MAY_IMPORT = {  # of each package: packages of the repository, and libraries
    "engine": {"engine", "torch", "numpy", "attrs", "msgpack", "msgspec", "tyro"},
    "components": {"components", "engine", "torch", "numpy", "attrs"},
    "systems": {"systems", "components", "engine", "torch", "numpy", "attrs", "msgpack"},
}
KERNEL = "engine/ecs/"
KERNEL_MAY_IMPORT = {"engine", "torch", "numpy", "attrs"}
ROOMS = {  # of engine, with what else of engine each may import
    "errors": (),
    "terminal": (),
    "files": ("errors",),
    "render": ("errors",),
    "ecs": ("errors",),
    "tools": ("ecs", "errors"),
    "capture": ("tools", "ecs", "errors"),
    "snapshot": ("ecs", "files", "errors"),
    "ranks": ("snapshot", "ecs", "files", "errors"),
    "protocol": ("ecs", "errors"),
    "recording": ("protocol", "snapshot", "ecs", "files", "errors"),
    "inspect": ("recording", "protocol", "snapshot", "ecs", "files", "errors"),
    "runner": (
        "inspect",
        "capture",
        "tools",
        "recording",
        "protocol",
        "ranks",
        "snapshot",
        "ecs",
        "files",
        "terminal",
        "errors",
    ),
    "debugger": ("protocol", "recording.file", "render", "files", "terminal", "errors"),
}
DOORS = (
    "engine/__init__.py",
    "engine/run.py",
    "engine/replay.py",
    "engine/curve.py",
    "engine/trained.py",
)  # to any room
ONE_FILE = {"inspect": "engine/runner/debugging.py"}  # the only file of the runner that may import this room
DEBUGGER_ROOMS = ("widgets", "model", "net", "diagnosis", "body", "panels", "app")  # each may import those before it
WITHOUT_TORCH = (
    "engine/protocol/framing.py",
    "engine/protocol/messages.py",
    "engine/protocol/discovery.py",
    "systems/deploy/__init__.py",
    "systems/deploy/command.py",
    "systems/deploy/player.py",
    "systems/deploy/policy.py",
    "systems/deploy/robot.py",
    "systems/deploy/window.py",
)
WITHOUT_QT = ("engine/debugger/model/", "engine/debugger/diagnosis/", "engine/debugger/text.py")
QT = {"PySide6", "PyQt6", "PyQt5", "pyqtgraph"}
MOST_LINES = {"engine/ecs": 2500}
UNKNOWN_TO_THE_KERNEL = (
    r"robots?|joints?|motors?|polic(y|ies)|learn\w*|train\w*|debug\w*|runs? folder|checkpoints?|films?|rewards?"
)
ONLY_HERE = {  # libraries that belong to few files
    "mujoco": (
        "systems/__init__.py",  # without OpenGL, before anybody else
        "systems/physics/",
        "systems/robots/",
        "systems/film/",
        "systems/motion/retarget/",
        "systems/deploy/",
        "systems/referee/",
        "engine/render/program.py",
        "benchmarks/",
        "docs/tools/",
        "tests/",
    ),
    "onnx": ("systems/deploy/", "tests/"),
    "onnxruntime": ("systems/deploy/", "tests/"),
    "yaml": ("systems/referee/", "tests/"),
    "gymnasium": ("systems/doorways/", "tests/"),
    "stable_baselines3": ("systems/doorways/", "benchmarks/", "tests/"),
    "rsl_rl": ("systems/doorways/", "benchmarks/", "tests/"),
    "tensordict": ("systems/doorways/", "tests/"),
    "mcap": ("engine/runner/", "tests/"),
    "mink": ("systems/motion/retarget/", "tests/"),
    "qpsolvers": ("systems/motion/retarget/", "tests/"),
    "OpenGL": ("engine/render/program.py",),  # a process of its own, which the window starts
    "mujoco_warp": ("systems/physics/", "benchmarks/", "tests/"),
    "warp": ("systems/physics/", "benchmarks/", "tests/"),
    "isaacgym": ("systems/physics/isaacgym/worker/", "tests/standins/"),
    "rich": ("engine/runner/", "tests/"),
    "tyro": ("engine/runner/", "tests/"),
    "msgspec": ("engine/protocol/", "engine/inspect/", "engine/debugger/net/", "tests/"),
    "tensorboard": ("engine/runner/", "tests/"),
    "matplotlib": ("engine/tools/figures.py", "benchmarks/", "tests/"),
    "PySide6": ("engine/debugger/", "benchmarks/", "docs/tools/", "tests/debugger/"),
    "PyQt6": ("engine/debugger/", "tests/debugger/"),
    "PyQt5": ("engine/debugger/", "tests/debugger/"),
    "pyqtgraph": ("engine/debugger/", "tests/debugger/"),
    "pickle": ("systems/motion/array_pickle.py", "systems/motion/writers.py", "tests/"),
    "av": ("systems/film/", "docs/tools/", "tests/"),
    "jinja2": ("systems/reporting/",),
    "PIL": ("systems/film/", "benchmarks/", "docs/tools/", "tests/"),
}
LAZY = {
    "rich",
    "av",
    "gymnasium",
    "stable_baselines3",
    "rsl_rl",
    "tensordict",
    "mcap",
    "mink",
    "onnx",
    "onnxruntime",
    "qpsolvers",
    "PIL",
    "jinja2",
    "tyro",
    "tensorboard",
    "matplotlib",
    "yaml",
    "mujoco_warp",
    "warp",
    "isaacgym",
    *QT,
}
MAY_BE_EAGER = (
    "engine/runner/console.py",  # what a person without a window looks at
    "engine/debugger/",
    "systems/physics/warp_simulation.py",  # which is imported when somebody asks for that simulator
    "systems/doorways/",  # each of whose modules is imported when somebody asks for its library
    "systems/physics/isaacgym/worker/",  # which is imported when Isaac Gym is
    "benchmarks/",
    "docs/tools/",
    "tests/",
)
LIFETIMES = {"component", "derived", "signal"}
DATA = {*LIFETIMES, "resource"}


@cache
def _text(path: Path, changed: int) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _imports(text: str) -> tuple[tuple[str, tuple[str, ...], int, bool], ...]:
    """(module, names that are imported from it, line, whether it is imported when the file is) of every import."""
    found = []
    waiting: list[tuple[ast.AST, bool]] = [(_parse(text), True)]
    while waiting:
        node, eager = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(alias.name, (), node.lineno, eager) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            found.append(("." * node.level + (node.module or ""), names, node.lineno, eager))
        elif not isinstance(node, ast.expr):
            inside = eager and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            waiting += [(inner, inside) for inner in ast.iter_child_nodes(node)]
    return tuple(found)


class Sources:
    """The Python files under a folder, parsed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        found = [p for top in (*PACKAGES, "tests", "docs") for p in (root / top).rglob("*.py")]
        self.files = sorted(p.relative_to(root).as_posix() for p in found)
        self.modules = {self.module(file): file for file in self.files}

    @staticmethod
    def module(file: str) -> str:
        """The dotted name of a file."""
        return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def within(self, *places: str) -> list[str]:
        """Files in these folders."""
        return [file for file in self.files if file.startswith(tuple(f"{place}/" for place in places))]

    def text(self, file: str) -> str:
        """What a file says now."""
        path = self.root / file
        return _text(path, path.stat().st_mtime_ns)

    def tree(self, file: str) -> ast.Module:
        """A file's syntax; files of the same text are parsed once, a copy of the repository not again."""
        return _parse(self.text(file))

    def imports(self, file: str) -> Iterator[tuple[str, int, bool]]:
        """(dotted module, line, whether it is imported when the file is) of every import in a file.

        What is imported from a package is the module of that name where there is one, else the package.
        """
        for start, names, line, eager in _imports(self.text(file)):
            parts = [f"{start}.{name}" for name in names]
            for each in dict.fromkeys([p if p in self.modules else start for p in parts] or [start]):
                yield each, line, eager


def _lies_in(file: str, places: Iterable[str]) -> bool:
    return file.startswith(tuple(places))


def foreign_imports(root: Path) -> list[str]:
    """Imports that a package of the repository may not have, and relative ones."""
    sources, found = Sources(root), []
    for file in sources.files:
        package = file.split("/")[0]
        for module, line, eager in sources.imports(file):
            top = module.split(".")[0]
            if not top:
                found.append(f"{file}:{line} imports relatively; say the whole name")
            elif top in ONLY_HERE:
                if not _lies_in(file, ONLY_HERE[top]):
                    found.append(f"{file}:{line} imports {module}, which belongs to {', '.join(ONLY_HERE[top])}")
                if eager and top in LAZY and not _lies_in(file, MAY_BE_EAGER):
                    found.append(f"{file}:{line} imports {module} when it is imported itself; do it in the function")
                if top in QT and _lies_in(file, WITHOUT_QT):
                    found.append(f"{file}:{line} imports {module}, but works without a window")
            elif package in MAY_IMPORT and top not in MAY_IMPORT[package] | sys.stdlib_module_names:
                found.append(f"{file}:{line} imports {module}; {package} may import {', '.join(MAY_IMPORT[package])}")
            if file.startswith(KERNEL) and top not in KERNEL_MAY_IMPORT | sys.stdlib_module_names:
                found.append(f"{file}:{line} imports {module}; the kernel imports torch, numpy and attrs only")
            if file in WITHOUT_TORCH and (top == "torch" or module.startswith("engine.ecs")):
                found.append(f"{file}:{line} imports {module}, but must load where torch is not installed")
    return found


def upward_imports(root: Path) -> list[str]:
    """Imports within engine, its debugger and systems against the order of their rooms."""
    sources, found = Sources(root), []
    for file in sources.within("engine"):
        if file in DOORS:
            continue
        room = file.split("/")[1].removesuffix(".py")
        for module, line, _ in sources.imports(file):
            if not (module + ".").startswith("engine."):
                continue
            inner = module.removeprefix("engine").removeprefix(".")
            allowed = (room, *ROOMS.get(room, ()))
            if not inner or not any((inner + ".").startswith(place + ".") for place in allowed):
                found.append(f"{file}:{line} imports {module}; engine/{room} may import {', '.join(allowed)}")
            other = inner.split(".")[0]
            if room == "runner" and other in ONE_FILE and file != ONE_FILE[other]:
                found.append(f"{file}:{line} imports {module}, which only {ONE_FILE[other]} may")
            if room == "debugger":
                found += _within_the_debugger(file, module, line)
    return found


def _within_the_debugger(file: str, module: str, line: int) -> list[str]:
    here, there = file.split("/"), module.split(".")
    if module == "engine.protocol.schema":
        return [f"{file}:{line} imports {module}, which needs torch"]
    if len(here) < 4 or len(there) < 3 or there[1] != "debugger":
        return []
    mine, other = here[2], there[2]
    if other in DEBUGGER_ROOMS and DEBUGGER_ROOMS.index(other) <= DEBUGGER_ROOMS.index(mine):
        return []
    return [f"{file}:{line} imports {module}; the rooms of the debugger in order are {', '.join(DEBUGGER_ROOMS)}"]


def imports_of_what_nobody_imports(root: Path) -> list[str]:
    """Imports of scenes, tests and benchmarks by the product, and of the command line by what lies below it."""
    sources, found = Sources(root), []
    for file in sources.within(*PRODUCT):
        for module, line, _ in sources.imports(file):
            top = module.split(".")[0]
            if top in ("scenes", "tests", "benchmarks", "docs") and not file.startswith("scenes/"):
                found.append(f"{file}:{line} imports {module}; only scenes import scenes, and nobody tests")
            if top in ("tests", "benchmarks", "docs") and file.startswith("scenes/"):
                found.append(f"{file}:{line} imports {module}")
            below = _lies_in(file, ("components/", "systems/", "scenes/"))
            if below and module.startswith("engine.runner.") and module != "engine.runner.experiment":
                found.append(f"{file}:{line} imports {module}; the command line is for people")
    return found


def circles(root: Path) -> list[str]:
    """Groups of files that import each other, lazily or not, anywhere in the repository."""
    sources = Sources(root)
    edges = {
        name: sorted({m for m, _, _ in sources.imports(file) if m in sources.modules and m != name})
        for name, file in sources.modules.items()
    }
    return [" <-> ".join(sorted(group)) for group in _strongly_connected(edges) if len(group) > 1]


def _strongly_connected(edges: dict[str, list[str]]) -> list[list[str]]:
    """Tarjan's algorithm, without recursion."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    groups: list[list[str]] = []
    for start in edges:
        work = [(start, iter(edges[start]))] if start not in number else []
        if work:
            number[start] = low[start] = len(number)
            stack.append(start)
            on_stack.add(start)
        while work:
            node, rest = work[-1]
            following = next(rest, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    at = stack.index(node)
                    groups.append(stack[at:])
                    on_stack -= set(stack[at:])
                    del stack[at:]
            elif following not in number:
                number[following] = low[following] = len(number)
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(edges[following])))
            elif following in on_stack:
                low[node] = min(low[node], number[following])
    return groups


def oversized(root: Path) -> list[str]:
    """Rooms with more lines than they may have."""
    sources, found = Sources(root), []
    for place, most in MOST_LINES.items():
        lines = sum(len((root / file).read_text(encoding="utf-8").splitlines()) for file in sources.within(place))
        if lines > most:
            found.append(f"{place} has {lines} lines; {most} are the most")
    return found


def words_unknown_to_the_kernel(root: Path) -> list[str]:
    """Words of robots, learning, runs and debugging in the kernel's names, comments and sentences."""
    sources, found = Sources(root), []
    pattern = re.compile(rf"(?<![a-z])({UNKNOWN_TO_THE_KERNEL})(?![a-z])", re.IGNORECASE)
    for file in sources.within(KERNEL.rstrip("/")):
        for number, line in enumerate((root / file).read_text(encoding="utf-8").splitlines(), 1):
            found += [f"{file}:{number} says '{match[0]}'" for match in pattern.finditer(line)]
    return found


def repeated_classes(root: Path) -> list[str]:
    """Public classes of one name in several places: one name has one meaning."""
    sources, homes = Sources(root), defaultdict(list)
    for file in sources.within(*PACKAGES):
        for node in sources.tree(file).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(f"{file}:{node.lineno}")
    return [f"class {name} stands in {' and '.join(places)}" for name, places in homes.items() if len(places) > 1]


def modules_of_systems_without_a_system(root: Path) -> list[str]:
    """Modules directly in systems/ that hold no system, no term, no bundle and no tick."""
    sources = Sources(root)
    data = {
        node.name
        for file in sources.within("engine", "components", "systems", "scenes")
        for node in sources.tree(file).body
        if isinstance(node, ast.ClassDef) and DATA & {ast.unparse(d).split("(")[0] for d in node.decorator_list}
    }
    return [
        f"{file} holds no system, term, bundle or tick; it belongs into a package of systems/"
        for file in sources.within("systems")
        if file.count("/") == 1 and not file.endswith("__init__.py") and not _holds_a_system(sources.tree(file), data)
    ]


def _holds_a_system(tree: ast.Module, data: set[str]) -> bool:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            touched = [ast.unparse(a.annotation).strip("'\"") for a in node.args.args if a.annotation]
            if any(re.sub(r"Write\[(\w+)\]", r"\1", each) in data for each in touched):
                return True
            if node.returns and re.search(r"\b(Bundle|System|Term)\b", ast.unparse(node.returns)):
                return True
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Tick":
            return True
    return False


def postponed_annotations(root: Path) -> list[str]:
    """Files that postpone annotations, of which the engine reads real types."""
    sources = Sources(root)
    return [
        f"{file}:{node.lineno} postpones annotations; the engine reads real types"
        for file in sources.within(*PRODUCT, "tests")
        for node in sources.tree(file).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
    ]


def _public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Public functions, classes and methods, by name."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if "overload" not in {ast.unparse(d) for d in node.decorator_list}:
                yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, f"{node.name}.")


def undocumented(root: Path) -> list[str]:
    """Modules, packages, classes, functions and methods without a docstring."""
    sources, found = Sources(root), []
    for file in sources.within(*PACKAGES):
        tree = sources.tree(file)
        if not ast.get_docstring(tree):
            found.append(f"{file} does not say what it is")
        found += [
            f"{file}: {name} has no docstring" for name, node in _public(tree.body) if not ast.get_docstring(node)
        ]  # type: ignore[arg-type]
    return found


def components_with_behaviour(root: Path) -> list[str]:
    """Components with methods; what acts on a component is a system."""
    sources, found = Sources(root), []
    for file in sources.within("components"):
        for node in sources.tree(file).body:
            if isinstance(node, ast.ClassDef) and LIFETIMES & {ast.unparse(d) for d in node.decorator_list}:
                methods = [inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)]
                if methods:
                    found.append(f"{file}: component {node.name} has methods: {', '.join(methods)}")
    return found


RULES = (
    foreign_imports,
    upward_imports,
    imports_of_what_nobody_imports,
    circles,
    oversized,
    words_unknown_to_the_kernel,
    repeated_classes,
    modules_of_systems_without_a_system,
    postponed_annotations,
    undocumented,
    components_with_behaviour,
)
