"""What is done with a trained world: evaluate it, film it, export its policy."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.ecs.scene import Scene, Simulation
from engine.errors import SceneError, SnapshotError
from engine.files import write_file
from engine.runner import flags as command
from engine.runner.console import make_console, results_table
from engine.runner.run_folder import Origin, json_bytes, refuse_unusable
from engine.snapshot.snapshot import about, edited_constants, extract, identity, restore

if TYPE_CHECKING:
    from engine.runner.run import Plan, Relay, Stop

PROGRAM = "python -m engine.run"
T = TypeVar("T")


class Interrupted(Exception):
    """Ctrl-C while something other than a tick was running."""


def print_facts(console: Any, facts: Mapping[str, str]) -> None:
    """One line each; empty ones are left out."""
    for name, value in facts.items():
        if value:
            console.print(f"  {name:<11} {value}", markup=False, soft_wrap=True)


def evaluate(
    plan: "Plan", scene: Scene, data: bytes, stop: "Stop", warn: Callable[[str], None]
) -> dict[str, Any] | None:
    """Measure a snapshot as the scene says; None without an evaluation, or when it was interrupted.

    The scene's function gets `progress`, to call with a share from 0 to 1, and if it has a parameter `overrides` the --set
    values, and those that constants were edited to while the run went on.
    """
    if scene.evaluate is None:
        return None
    edited = _edited(plan, data)
    if "overrides" in inspect.signature(scene.evaluate).parameters:
        if edited:
            said = ", ".join(f"{address} = {text}" for address, text in edited.items())
            warn(f"Measured with what was edited in the run: {said}.")
    elif plan.overrides or edited:
        warn("The scene evaluates without the values given with --set, and without what was edited in the run.")
    done = _watched(scene.evaluate, plan, (data,), "evaluating", stop)
    if done is None:
        warn("The evaluation was interrupted; --eval does it again.")
    return done


def film(
    plan: "Plan", scene: Scene, data: bytes, path: Path, stop: "Stop", warn: Callable[[str], None]
) -> Mapping[str, str] | None:
    """Film a snapshot as the scene does and say what is seen; None when it was interrupted.

    The scene's function gets the path to write, and the rest as that of `evaluate`.
    """
    assert scene.film is not None
    done = _watched(scene.film, plan, (data, path), "filming", stop)
    if done is None:
        warn("The film was interrupted; --play makes it again.")
    return done


def _edited(plan: "Plan", data: bytes) -> dict[str, str]:
    """Constants that a debugger changed before the snapshot was taken, but for those that the command line sets."""
    return {address: text for address, text in edited_constants(data).items() if address not in plan.given["set"]}


def _watched(function: Callable[..., T], plan: "Plan", given: tuple[Any, ...], doing: str, stop: "Stop") -> T | None:
    """Call a scene's function under a progress bar; None when it was interrupted."""
    more: dict[str, Any] = {"seed": plan.run["seed"], "device": plan.run["device"]}
    if "overrides" in inspect.signature(function).parameters:
        more["overrides"] = plan.overrides | _edited(plan, given[0])

    from rich.progress import BarColumn, Progress, TextColumn

    console = make_console()
    if not console.is_terminal:
        console.print(doing)
    with Progress(
        TextColumn(doing), BarColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=1.0)

        def progress(share: float) -> None:
            if stop.requested:
                raise Interrupted
            bar.update(task, completed=share)

        try:
            return function(*given, progress=progress, **more)
        except Interrupted:
            return None


def _refuse_foreign(path: Path, data: bytes, scene: Scene) -> None:
    theirs = identity(data)["scene"]
    if theirs != scene.name:
        raise SceneError(f"{path} was trained in the scene '{theirs}', but this is '{scene.name}'; name that scene.")


@contextmanager
def _blaming(path: Path, scene: Scene) -> Iterator[None]:
    """Say which file does not fit which scene."""
    try:
        yield
    except SnapshotError as error:
        raise SceneError(f"{path} does not fit the scene '{scene.name}' with these flags: {error}") from None


def play(plan: "Plan", console: Any, warn: "Relay", stop: "Stop") -> int:
    """--play: film a policy; the exit status."""
    scene, out = plan.scene(), plan.given.get("out")
    if scene.film is None:
        raise SceneError(f"The scene '{scene.name}' has no film, so there is nothing to --play.")
    if plan.origin is None and scene.policy is None:
        raise SceneError(
            f"The scene '{scene.name}' comes without a trained policy; name a run folder or checkpoint behind --play."
        )
    origin = plan.origin or Origin.find(Path(scene.policy or ""))
    path, data, _ = origin.load(warn)
    _refuse_foreign(path, data, scene)
    home = out or origin.folder or Path("runs") / scene.name
    target = home if home.suffix == ".mp4" else home / "film.mp4"
    with stop.listening(), _blaming(path, scene):
        seen = film(plan, scene, data, target, stop, warn)
    if seen is None:
        return 130
    made = about(data)
    trained = f"{made['command']}, seed {made['seed']}, {made['iterations']} iterations" if made else ""
    print_facts(console, {"policy": str(path), "trained by": trained, **seen, "film": str(target)})
    return 0


def export(plan: "Plan", console: Any, warn: "Relay", stop: "Stop") -> int:
    """--export: write a policy and how it was made, and nothing else; the exit status."""
    origin, out = plan.origin, plan.given.get("out")
    assert origin is not None
    if out is None or out.is_dir():
        raise SceneError("--export writes one file; say which with --out FILE.")
    path, data, _ = origin.load(warn)
    simulation = plan.build()
    _refuse_foreign(path, data, simulation.scene)
    world = simulation.world
    usable = [cls.__name__ for cls in world.resources if hasattr(cls, "exported")]
    made = about(data)
    with _blaming(path, simulation.scene):
        restore(world, data, only=tuple(usable) if made else (*usable, "Clock"))
    small = extract(world, made or _making(plan, simulation))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, small)
    except OSError as error:
        raise SceneError(f"{out} cannot be written ({error.strerror or error}).") from None
    print_facts(console, {"policy": f"{out} ({len(small) / 1e6:.2f} MB)", "play it": f"{PROGRAM} --play {out}"})
    return 0


def _making(plan: "Plan", simulation: Simulation) -> dict[str, Any]:
    """How a policy was made: enough to make it again, and nothing about the machine's folders."""
    source = "/".join(Path(plan.source).parts[-2:])
    said = {f.name: plan.flags[f.name] for f in plan.scene_flags if plan.flags.get(f.name, f.default) != f.default}
    shown = [f"--{name.replace('_', '-')} {_spoken(value)}" for name, value in said.items()]
    shown += [f"--set {address}={text}" for address, text in plan.overrides.items()]
    config = plan.origin.config if plan.origin and plan.origin.config else {}
    tick, rows = simulation.world.clock.tick, next(iter(simulation.world.tables.values())).rows
    return {
        "command": " ".join([PROGRAM, source, *shown]),
        "seed": plan.run["seed"],
        "iterations": tick // simulation.scene.iteration,
        "steps": tick * rows,
        "versions": config.get("versions", {}),
        "config": {
            "source": source,
            "flags": {name: command.to_plain(value) for name, value in plan.flags.items()},
            "run": {name: command.to_plain(value) for name, value in plan.run.items()},
            "overrides": dict(plan.overrides),
        },
    }


def _spoken(value: Any) -> str:
    """A flag's value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def evaluate_only(plan: "Plan", console: Any, warn: "Relay", stop: "Stop") -> int:
    """--eval: measure a policy; the exit status."""
    origin, out = plan.origin, plan.given.get("out")
    if origin is None:
        raise SceneError("--eval takes a run folder or a checkpoint.")
    if out:
        refuse_unusable(out)
    path, data, _ = origin.load(warn)
    scene = plan.scene()
    if scene.evaluate is None:
        raise SceneError(f"The scene '{scene.name}' has no evaluation.")
    _refuse_foreign(path, data, scene)
    with stop.listening(), _blaming(path, scene):
        result = evaluate(plan, scene, data, stop, warn)
    if result is None:
        return 130
    console.print(results_table(result))
    home = out or origin.folder
    if home:
        try:
            home.mkdir(parents=True, exist_ok=True)
            write_file(home / "evaluation.json", json_bytes({"checkpoint": path.name, **result}))
        except OSError as error:
            raise SceneError(f"{home / 'evaluation.json'} cannot be written ({error.strerror or error}).") from None
        console.print(f"  evaluation  {home / 'evaluation.json'}", markup=False, soft_wrap=True)
    return 0
