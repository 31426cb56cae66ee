"""Provenance of a run: digests of its code and sources, and versions, so that a resumed run can say what changed since."""

import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from engine.runner.experiment import Experiment

OWN = ("engine", "components", "systems")
PACKAGES = ("lockstep-sim", "torch", "numpy", "mujoco")
_SLOW = "it may not reach the same bytes"


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def provenance(source: str, experiment: Experiment) -> dict[str, Any]:
    """Digests of the scene file, the modules that it imported, Lockstep and the experiment's sources; versions, threads, processor.

    `source` is a scene file or a dotted module.
    """
    file = scene_file(source)
    return {
        "scene_file": _digest(file),
        "modules": {name: _digest(path) for name, path in sorted(own_modules(file).items())},
        "lockstep": _own_digest(),
        "parts": dict(experiment.sources),
        "versions": versions(),
        "torch_threads": torch.get_num_threads(),
        "processor": {"model": _processor(), "capability": torch.backends.cpu.get_cpu_capability()},
    }


def scene_file(source: str) -> Path:
    """The file of a scene given as a file or a dotted module."""
    return Path(source if source.endswith(".py") else str(sys.modules[source].__file__))


def own_modules(file: Path) -> dict[str, Path]:
    """Modules that are loaded and belong to the user, by their path from the folder of the scene file.

    They lie beside or below that file, in no folder that packages are installed to, and are not Lockstep's.
    """
    home = file.absolute().parent
    installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    elsewhere = [folder for folder in {*installed, *_own_folders()} if not home.is_relative_to(folder)]
    paths = [Path(getattr(module, "__file__", None) or "/") for module in list(sys.modules.values())]
    below = [path for path in paths if path.is_relative_to(home) and path != file.absolute() and path.is_file()]
    own = [path for path in below if not any(path.is_relative_to(folder) for folder in elsewhere)]
    return {path.relative_to(home).as_posix(): path for path in own}


def differences(before: Mapping[str, Any], source: str, experiment: Experiment) -> tuple[list[str], list[str]]:
    """Changes since a configuration was written, as sentences: first what makes another run of it, then what may only change its last bits."""
    kept: Mapping[str, Any] = before.get("provenance", {})
    now = provenance(source, experiment)
    changed, shaky = [], []
    if not kept:
        shaky.append("The run does not say what it was made of; changes of its scene, robot or clips are not noticed.")
    else:
        scene = f"scene file {source}"
        modules = {scene_file(source).absolute().parent / name: digest for name, digest in kept["modules"].items()}
        then = {scene: kept["scene_file"], **{f"module {path}": digest for path, digest in modules.items()}}
        here = {f"module {path}": _digest(path) for path in modules if path.is_file()}
        changed += _parts(then, {scene: now["scene_file"], **here})
        if kept["lockstep"] != now["lockstep"]:
            changed.append(f"Lockstep's own sources ({', '.join(OWN)}) changed since.")
        changed += _parts(kept["parts"], now["parts"])
        was, is_now = (f"{each['processor']['model']} ({each['processor']['capability']})" for each in (kept, now))
        if was != is_now:
            shaky.append(f"The processor was {was}, here it is {is_now}; {_SLOW}.")
    theirs = before.get("versions", {})
    for name in dict.fromkeys([*theirs, *now["versions"]] if theirs else ()):
        was, is_now = (known.get(name, "not installed") for known in (theirs, now["versions"]))
        if was != is_now:
            changed.append(f"{name} was {was}, here it is {is_now}.")
    threads = before.get("torch_threads", now["torch_threads"])
    if threads != now["torch_threads"]:
        shaky.append(f"torch had {threads} threads, here it has {now['torch_threads']}; {_SLOW}.")
    return changed, shaky


def changed_parts(before: Mapping[str, Any] | None, experiment: Experiment) -> list[str]:
    """Parts that a configuration was written with, such as robot and clips, and that have other content now: one sentence each."""
    kept: Mapping[str, str] = (before or {}).get("provenance", {}).get("parts", {})
    here = {name: digest for name, digest in experiment.sources.items() if name in kept}
    return _parts({name: kept[name] for name in here}, here)


def _parts(kept: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    gone = [f"The {name} is gone." for name in kept if name not in now]
    new = [f"The {name} is new." for name in now if name not in kept]
    return gone + new + [f"The {name} changed since." for name in kept if name in now and kept[name] != now[name]]


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _own_folders() -> list[Path]:
    found = [importlib.util.find_spec(name) for name in OWN]
    return [Path(place).absolute() for spec in found if spec for place in spec.submodule_search_locations or ()]


def _own_digest() -> str:
    whole = hashlib.sha256()
    for folder in _own_folders():
        decisive = (path for path in folder.rglob("*.py") if folder / "debugger" not in path.parents)  # another process
        for path in sorted(decisive):
            whole.update(f"{folder.name}/{path.relative_to(folder).as_posix()} {_digest(path)}\n".encode())
    return whole.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
