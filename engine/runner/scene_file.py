"""Scene files: find the scene function, call it, and say where it failed if it did."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.ecs.scene import Scene
from engine.errors import LockstepError, SceneError, did_you_mean


@contextmanager
def blaming(source: str, action: str) -> Iterator[None]:
    """Turn what a scene's own code raises into a sentence with file and line."""
    try:
        yield
    except LockstepError:
        raise
    except SyntaxError as error:
        raise SceneError(f"{error.filename or source}, line {error.lineno}: {error.msg}.") from error
    except Exception as error:
        frames = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if "importlib" not in f.filename and f.filename != __file__
        ]
        own = [f for f in frames if f.filename == str(Path(source).absolute())]
        deepest = frames[-1] if frames else None
        where = f"{own[-1].filename}, line {own[-1].lineno}" if own else source
        if deepest is not None and (not own or deepest is not own[-1]):
            where += f" (from {deepest.filename}, line {deepest.lineno})"
        raise SceneError(f"{action} failed at {where}: {type(error).__name__}: {error}") from error


def load_scene(text: str) -> tuple[Callable[..., Any], str]:
    """The function `scene` of a file or dotted module, and the source as it can be found again."""
    if text.endswith(".py") or "/" in text or Path(text).is_file():
        path = Path(text).expanduser().absolute()
        module, source = _import_file(path, text), str(path)
    else:
        source = text
        with blaming(text, f"Importing {text}"):
            try:
                module = importlib.import_module(text)
            except ModuleNotFoundError as error:
                if error.name and (text == error.name or text.startswith(error.name + ".")):
                    raise SceneError(
                        f"There is no scene file or module '{text}'.{_near_files(Path(text + '.py'))}"
                    ) from None
                raise
    function = getattr(module, "scene", None)
    if not callable(function):
        near = did_you_mean("scene", [name for name in vars(module) if not name.startswith("_")], 1)
        raise SceneError(f"{text} has no function scene(). A scene file defines scene(...) -> Scene.{near}")
    return function, source


def _import_file(path: Path, text: str) -> Any:
    if not path.exists():
        raise SceneError(f"There is no scene file {text}.{_near_files(path)}")
    try:
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(
            f"The scene file {text} cannot be read ({getattr(error, 'strerror', None) or error})."
        ) from None
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # a scene may import its neighbours
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SceneError(f"{text} is not a Python file; a scene file ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with blaming(str(path), f"Loading {text}"):
        spec.loader.exec_module(module)
    return module


def _near_files(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path("scenes")
    names = [
        str(p.relative_to(Path.cwd()) if p.is_relative_to(Path.cwd()) else p)
        for p in folder.glob("*.py")
        if p.stem != "__init__"
    ]
    wanted = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return did_you_mean(wanted, names)


def make_scene(function: Callable[..., Any], source: str, arguments: dict[str, Any]) -> Scene:
    """Call a scene function; SceneError when it raises or returns anything but a Scene."""
    with blaming(source, "scene()"):
        made = function(**arguments)
    if not isinstance(made, Scene):
        raise SceneError(f"scene() in {source} returned {type(made).__name__} instead of a Scene.")
    return made
