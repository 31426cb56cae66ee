"""Every call that the worker makes of Isaac Gym is one that the published type stubs have, and so is every call of the stand-in."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY
from tests.standins.here import FOLDER

WORKER = REPOSITORY / "systems" / "physics" / "isaacgym" / "worker"
USERS = ("simulation.py", "measurements.py", "tensors.py")
GYMTORCH = """from typing import Any
from isaacgym import gymapi
def wrap_tensor(gym_tensor: gymapi.Tensor) -> Any: ...
def unwrap_tensor(torch_tensor: Any) -> gymapi.Tensor: ...
"""


def published() -> str:
    """The text of the stubs, whose two properties named by a keyword are renamed."""
    try:
        found = next(each for each in files("isaacgym-stubs") or () if each.name == "gymapi.pyi")
    except PackageNotFoundError:
        pytest.skip("isaacgym-stubs is not installed: pip install 'lockstep-sim[dev]'")
    text = Path(str(found.locate())).read_text(encoding="utf-8")
    return re.sub(r"def lambda\(|lambda\.setter", lambda match: match[0].replace("lambda", "lambda_"), text)


@pytest.fixture(scope="module")
def stubs() -> ast.Module:
    return ast.parse(published())


def classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def methods(of: ast.ClassDef) -> dict[str, list[ast.FunctionDef]]:
    found: dict[str, list[ast.FunctionDef]] = {}
    for node in of.body:
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, []).append(node)
    return found


def fits(call: ast.Call, function: ast.FunctionDef) -> bool:
    """Whether a method takes so many arguments."""
    own = function.args
    most = 99 if own.vararg else len(own.args) - 1
    given = len(call.args) + len(call.keywords)
    return most >= given >= len(own.args) - 1 - len(own.defaults) and {k.arg for k in call.keywords} <= {
        a.arg for a in own.args
    }


def gym_calls() -> Iterator[tuple[str, ast.Call]]:
    """Calls of methods of the gym in the worker, with where they are."""
    for name in USERS:
        for node in ast.walk(ast.parse((WORKER / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                whose = ast.unparse(node.func.value)
                if whose in ("gym", "self.gym", "self._gym", "probe.gym"):
                    yield f"{name}:{node.lineno} {node.func.attr}", node


def test_every_call_of_the_worker_is_published_with_so_many_arguments(stubs: ast.Module) -> None:
    gym, seen = methods(classes(stubs)["Gym"]), 0
    for where, call in gym_calls():
        assert isinstance(call.func, ast.Attribute)
        known = gym.get(call.func.attr)
        assert known, f"{where} is no call of Isaac Gym"
        assert any(fits(call, each) or each.args.vararg for each in known), f"{where} has other arguments"
        seen += 1
    assert seen > 50


def test_every_name_that_the_worker_takes_from_gymapi_is_published(stubs: ast.Module) -> None:
    own = {*classes(stubs)}
    for node in stubs.body:
        own |= {node.name} if isinstance(node, ast.FunctionDef) else set()
        own |= {ast.unparse(node.target)} if isinstance(node, ast.AnnAssign) else set()
    for name in USERS:
        taken = set(re.findall(r"\bgymapi\.(\w+)", (WORKER / name).read_text(encoding="utf-8")))
        assert taken <= own and (taken or name == "tensors.py"), taken - own


def test_the_stand_in_has_nothing_that_isaac_gym_has_not(stubs: ast.Module) -> None:
    theirs = classes(stubs)
    mine = classes(ast.parse((FOLDER / "isaacgym" / "gymapi.py").read_text(encoding="utf-8")))
    assert len(mine) > 20
    for name, own in mine.items():
        if name.startswith("_"):
            continue
        assert name in theirs, f"Isaac Gym has no {name}"
        if name == "Gym":
            real = methods(theirs["Gym"])
            for method, (mine_is, *_) in methods(own).items():
                if method.startswith("_"):
                    continue
                assert method in real, f"Isaac Gym has no {method}"
                names = [argument.arg for argument in mine_is.args.args[1:]]
                theirs_are = [[a.arg for a in each.args.args[1:]] for each in real[method]]
                assert any(names == each for each in theirs_are) or any(e.args.vararg for e in real[method]), method
        fields = re.findall(r'"(\w+)":', ast.unparse(own).replace("'", '"')) if "FIELDS" in ast.unparse(own) else []
        known = {
            getattr(node, "name", None) or ast.unparse(getattr(node, "target", node)) for node in theirs[name].body
        }
        assert set(fields) <= known, f"{name} has no {set(fields) - known}"


def too_new(text: str) -> list[str]:
    """What Python 3.8 does not run: newer syntax, and types that it cannot subscript or join."""
    try:
        tree = ast.parse(text, feature_version=(3, 8))
    except SyntaxError as error:
        return [str(error)]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("list", "dict", "tuple", "set", "type"):
            found.append(ast.unparse(node))
        if isinstance(node, (ast.arg, ast.AnnAssign)) and isinstance(node.annotation, ast.BinOp):
            found.append(ast.unparse(node.annotation))
        if isinstance(node, ast.Call) and any(keyword.arg == "strict" for keyword in node.keywords):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Attribute) and node.attr in ("removeprefix", "removesuffix"):
            found.append(node.attr)
    return found


@pytest.mark.parametrize("path", sorted(WORKER.glob("*.py")), ids=lambda path: path.name)
def test_the_worker_is_python_3_8_and_imports_numpy_msgpack_and_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert too_new(text) == []
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            known = {*sys.stdlib_module_names, "numpy", "msgpack", "isaacgym"}
            assert name.split(".")[0] in known or name.startswith("systems.physics.isaacgym.worker"), name


def test_what_python_3_8_lacks_is_noticed() -> None:
    for text in (
        "match 1:\n    case 1: pass",
        "x: list[int]",
        "def f(a: int | None): ...",
        "zip(a, b, strict=True)",
        "'a'.removeprefix('b')",
    ):
        assert too_new(text), text


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stubs as mypy can read them, and a stub of gymtorch, which has none."""
    folder = tmp_path_factory.mktemp("stubs")
    package = folder / "stubs" / "isaacgym"
    package.mkdir(parents=True)
    (package / "__init__.pyi").write_text("from . import gymapi as gymapi, gymtorch as gymtorch\n")
    (package / "gymapi.pyi").write_text(published())
    (package / "gymtorch.pyi").write_text(GYMTORCH)
    settings = "[mypy]\nstrict = True\nfollow_imports = silent\nwarn_unused_ignores = False\n"
    (folder / "mypy.ini").write_text(
        settings + "disallow_any_generics = False\n[mypy-isaacgym.*]\nignore_errors = True\n"
    )
    return folder


def checked(folder: Path, worker: Path) -> subprocess.CompletedProcess[str]:
    """mypy over the worker, with the stubs in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(folder / "mypy.ini"), "--python-version", "3.10",
         "--cache-dir", str(folder / "cache"), *map(str, (worker / name for name in USERS))],
        env=os.environ | {"MYPYPATH": str(folder / "stubs")}, cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_the_worker_type_checks_against_the_published_stubs(repaired: Path) -> None:
    found = checked(repaired, WORKER)
    assert found.returncode == 0, found.stdout


@pytest.mark.slow
def test_a_misspelt_option_and_a_row_number_for_an_env_do_not_type_check(repaired: Path, tmp_path: Path) -> None:
    faulty = tmp_path / "faulty"
    faulty.mkdir()
    for name in USERS:
        (faulty / name).write_text((WORKER / name).read_text(encoding="utf-8"))
    path = faulty / "simulation.py"
    text = path.read_text().replace("options.angular_damping", "options.angular_dampening")
    path.write_text(text.replace("set_actor_dof_properties(self._envs[row]", "set_actor_dof_properties(row"))
    output = checked(repaired, faulty).stdout
    assert 'has no attribute "angular_dampening"' in output and 'incompatible type "int"; expected "Env"' in output
