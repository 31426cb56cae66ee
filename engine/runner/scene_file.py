"""Scene files: find the experiment that one declares, make it, and say where the file failed if it did.

A scene file is a Python file or module with either

- a function `experiment` that returns an `Experiment`, or, where nothing is measured or shown,
- a function `scene` that returns a `Scene`.

Its parameters are flags of the command line: keyword parameters with defaults, or exactly one parameter that is annotated
with an attrs class, each of whose fields is a flag, also those of attrs classes inside it (engine/runner/flags.py). A
dictionary `CONFIGS` of such a class names complete configurations: `--config NAME` picks one, by default the first, and
flags change single fields of it. Without `CONFIGS` the class must have a default for every field.

A path is kept absolute in the run's configuration, so that the run goes on from any folder: annotate it with Path, or a text
that names files with Annotated[str, "help", function], where the function makes their paths in it absolute.

A parameter or field with the name of one of the run's settings (seed, device, threads, iterations, …) gets its value.
`Experiment.train` and `Trial.scene` make their scene anew each time that they are called, and share nothing between calls.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from engine.ecs.component import real_types
from engine.errors import LockstepError, SceneError, did_you_mean
from engine.runner.experiment import Experiment
from engine.runner.flags import flat, supported


@contextmanager
def error_context(source: str, action: str) -> Iterator[None]:
    """Turn what a scene's own code raises into a sentence with file and line."""
    try:
        yield
    except LockstepError:
        raise
    except SyntaxError as error:
        raise SceneError(f"{error.filename or source}, line {error.lineno}: {error.msg}.") from error
    except Exception as error:
        stack = traceback.extract_tb(error.__traceback__)
        frames = [f for f in stack if "importlib" not in f.filename and f.filename != __file__]
        own = [f for f in frames if f.filename == str(Path(source).absolute())][-1:]
        where = f"{own[0].filename}, line {own[0].lineno}" if own else source
        if frames[-1:] != own:
            where += f" (from {frames[-1].filename}, line {frames[-1].lineno})"
        raise SceneError(f"{action} failed at {where}: {type(error).__name__}: {error}") from error


@attrs.frozen
class SceneFile:
    """A loaded scene file: its function, and its named configurations.

    `source` is the file's absolute path or the module's name. `configs` has at least one, named "" where the file names none.
    """

    source: str
    function: Callable[..., Any]
    configs: Mapping[str, Any]

    @property
    def named(self) -> bool:
        """Whether the file names its configurations, so that there is a flag --config."""
        return "" not in self.configs

    @property
    def called(self) -> str:
        """Its function, as error sentences name it."""
        return f"{self.function.__name__}() in {self.source}"

    @property
    def about(self) -> str:
        """The docstring of its function, or of the file."""
        return inspect.cleandoc(self.function.__doc__ or inspect.getmodule(self.function).__doc__ or "")

    def config(self, name: str | None = None) -> Any:
        """A configuration by name, the first by default; SceneError for an unknown name."""
        name = next(iter(self.configs)) if name is None else name
        if name not in self.configs:
            raise SceneError(
                f"--config takes one of {', '.join(self.configs)}, but was given '{name}'."
                if self.named
                else f"{self.source} has no CONFIGS, so there is no --config."
            )
        return self.configs[name]

    def experiment(self, config: Any) -> Experiment:
        """The experiment of a configuration; SceneError when the file's function fails or returns anything else."""
        values = {flag.name: getattr(config, flag.name) for flag in attrs.fields(type(config))}
        with error_context(self.source, f"{self.function.__name__}()"):
            if _config_class(self.function) is not None:
                made = self.function(config)
            elif self.function.__name__ == "scene":
                return Experiment(train=error_context(self.source, "scene()")(partial(self.function, **values)))
            else:
                made = self.function(**values)
        if not isinstance(made, Experiment):
            raise SceneError(f"{self.called} returned {type(made).__name__} instead of an Experiment.")
        return made


def load_scene(text: str) -> SceneFile:
    """The scene file at a path, or the dotted module, of this name; SceneError for what it lacks."""
    if text.endswith(".py") or "/" in text or Path(text).is_file():
        path = Path(text).expanduser().absolute()
        module, source = _import_file(path, text), str(path)
    else:
        source = text
        with error_context(text, f"Importing {text}"):
            try:
                module = importlib.import_module(text)
            except ModuleNotFoundError as error:
                if error.name and (text == error.name or text.startswith(error.name + ".")):
                    near = _near_files(Path(f"{text}.py"))
                    raise SceneError(f"There is no scene file or module '{text}'.{near}") from None
                raise
    found = [name for name in ("experiment", "scene") if callable(getattr(module, name, None))]
    if len(found) > 1:
        raise SceneError(f"{text} has both experiment() and scene(); keep experiment(), which makes the scene itself.")
    if not found:
        names = [name for name in vars(module) if not name.startswith("_")]
        near = did_you_mean("experiment", names, 1) or did_you_mean("scene", names, 1)
        raise SceneError(
            f"{text} has no function experiment() or scene(). A scene file defines experiment(...) -> Experiment, or "
            f"scene(...) -> Scene.{near}"
        )
    function = getattr(module, found[0])
    return SceneFile(source, function, _configs(function, source, getattr(module, "CONFIGS", None)))


def _config_class(function: Callable[..., Any]) -> type | None:
    """The attrs class of a function's only parameter, if that is what it has."""
    parameters = list(inspect.signature(function).parameters.values())
    kind = real_types(function).get(parameters[0].name) if len(parameters) == 1 else None
    return kind if isinstance(kind, type) and attrs.has(kind) else None


def _configs(function: Callable[..., Any], source: str, named: Any) -> dict[str, Any]:
    """The configurations of a scene file: those in CONFIGS, else the defaults of the function or of its class."""
    cls, where = _config_class(function), f"{function.__name__}() in {source}"
    if named is not None:
        if cls is None or not isinstance(named, dict) or not named or {type(each) for each in named.values()} != {cls}:
            raise SceneError(
                f"CONFIGS in {source} must be a dictionary of one attrs class, which the only parameter of "
                f"{function.__name__}() is annotated with."
            )
        return dict(named)
    if cls is not None:
        try:
            found = cls()
        except TypeError as error:
            raise SceneError(
                f"{cls.__name__}, the configuration of {where}, has fields without a default ({error}). Give them one, or "
                "name complete configurations in CONFIGS."
            ) from None
    else:
        found = _signature(function, where)
    for flag in flat(found).values():
        if not supported(flag.type):
            raise SceneError(
                f"Parameter '{flag.name}' of {where} has type {getattr(flag.type, '__name__', flag.type)}, which a flag "
                "cannot carry. Use int, float, str, bool, Path, Literal, None or a tuple of them."
            )
    return {"": found}


def _signature(function: Callable[..., Any], where: str) -> Any:
    """The keyword parameters of a function as a configuration."""
    hints, made = real_types(function), {}
    for parameter in inspect.signature(function).parameters.values():
        which = f"Parameter '{parameter.name}' of {where}"
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise SceneError(f"{which} has no name to make a flag of; write it as a keyword with a default.")
        if parameter.default is parameter.empty:
            raise SceneError(f"{which} has no default; every flag needs one.")
        kind = hints.get(parameter.name, type(parameter.default))
        made[parameter.name] = attrs.field(type=kind, default=parameter.default)
    return attrs.make_class("Parameters", made, frozen=True, eq=False)()


def _import_file(path: Path, text: str) -> Any:
    if not path.exists():
        raise SceneError(f"There is no scene file {text}.{_near_files(path)}")
    try:
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SceneError(f"The scene file {text} cannot be read ({reason}).") from None
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # a scene may import its neighbours
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SceneError(f"{text} is not a Python file; a scene file ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with error_context(str(path), f"Loading {text}"):
        spec.loader.exec_module(module)
    return module


def _near_files(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path("scenes")
    others = [each for each in folder.glob("*.py") if each.stem != "__init__"]
    wanted, *names = (str(p.relative_to(Path.cwd()) if p.is_relative_to(Path.cwd()) else p) for p in (path, *others))
    return did_you_mean(wanted, names)
