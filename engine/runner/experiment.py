"""An experiment: a scene to train, and what is done with the policy that it learns."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from engine.ecs.scene import Scene, Simulation
from engine.ecs.world import World
from engine.errors import SceneError
from engine.protocol.display import View


@attrs.frozen
class Trial:
    """A scene that plays a trained policy for some ticks, and what is read from its world afterwards.

    `scene` makes it anew each time, with every constant that the trial itself decides (each clip from its start, no noise); where
    it has a parameter `rows` with a default, somebody may ask for another number of them.
    `restores` names the resources that are taken from the trained world; without any, nothing is; `cures` says by name of such
    a resource what to do where the trained world has none. `identical` names the
    parts of `Scene.identity` that must be those of the trained world ("robot"). `over` says after a tick whether nothing that
    comes later counts any more, as when every row's episode has ended; the trial then ends before its last tick. `read` gets
    the world after the last tick and the path of the file that it may write (a film); it returns numbers or captions by name.
    `worst` names columns of a table that it returns, by which its rows are compared where they are too many to be printed,
    with "-" in front where less is better; more tables, lists of rows by title, may stand under `tables`. `beside` are other
    scenes by name, in which the policy then plays as well, on the processor; their summaries stand in one table with that of the
    trial's own scene, which is `called` so there.
    """

    scene: Callable[[], Scene]
    ticks: int
    read: Callable[[World, Path], Mapping[str, Any]]
    restores: tuple[str, ...] = ("Policy",)
    cures: Mapping[str, str] = attrs.field(factory=dict)
    identical: tuple[str, ...] = ()
    over: Callable[[World], bool] | None = None
    worst: tuple[str, ...] = ()
    called: str = ""
    beside: Mapping[str, Callable[[], Scene]] = attrs.field(factory=dict)


@attrs.frozen
class EpisodeFile:
    """A kind of file that episodes are kept in: how its name may end, and the function that writes it.

    `write` gets episodes by name, each as columns of a row by address, one sample per tick, and a path; it returns what was
    written, by name. Files whose names end in one of `several` hold as many episodes as there are, others one.
    """

    endings: tuple[str, ...]
    write: Callable[[Mapping[str, Mapping[str, Any]], Path], Mapping[str, str]]
    several: tuple[str, ...] = ()


@attrs.frozen
class Experiment:
    """What a scene file declares: the scene to train, and how it is measured, shown and reported.

    `train` makes the scene, anew each time. `evaluate` measures a trained policy, `film` shows one, `film_episode` films the
    columns (by address, one sample per tick) that engine.replay re-creates of a row, and `clip_episode` keeps those of
    several rows as motion clips; `policy` is a trained one that comes with the scene. `export` writes a policy for other programs, an .onnx file: it gets
    the simulation that plays it, as `film` or `evaluate` makes it, the path, what the file is to take ("signals", "observation" or "observation_json")
    and how the policy was made; it returns captions by name. `report` turns a world into the numbers of one learning iteration; `titles` says in words with a unit
    what they are, by name or by 'group/' (numbers with the same title share a panel of curve.png), `panel` names those that
    the console shows, and `best` the one by which the best checkpoint is kept, with "-" in front where less is better.
    `alarms` turns it into sentences by name about what goes wrong in the learning; each is warned of once, for as long as it
    is among them. `display` says what debuggers draw. `sources` names what else decides the numbers ("robot g1", "clip squat", …) with a
    digest of each, so that a resumed run notices changes. `go_on` is called with the world of a checkpoint and the scene's flags
    (by name, with values) that its run did not have, and brings into that world what they change of it. `facts` are what a person checks first ("robot", "feet", …), by
    name; `--check` prints them.
    """

    train: Callable[[], Scene]
    evaluate: Trial | None = None
    film: Trial | None = None
    film_episode: Callable[[Mapping[str, Any], Path], Mapping[str, str]] | None = None
    clip_episode: EpisodeFile | None = None
    policy: Path | None = None
    export: Callable[[Simulation, Path, str, Mapping[str, Any]], Mapping[str, str]] | None = None
    go_on: Callable[[World, Mapping[str, Any]], None] | None = None
    report: Callable[[World], Mapping[str, float]] | None = None
    alarms: Callable[[World], Mapping[str, str]] | None = None
    titles: Mapping[str, str] = attrs.field(factory=dict)
    panel: Sequence[str] = ()
    display: View = attrs.field(factory=View)
    iterations: int = 100
    best: str | None = None
    sources: Mapping[str, str] = attrs.field(factory=dict)
    facts: Mapping[str, str] = attrs.field(factory=dict)


def check_device(text: str, *, typed: bool = True) -> None:
    """SceneError for a device that does not exist or is not there; `typed` as a flag, else given in Python."""
    flag = "--device" if typed else "device"
    try:
        device = torch.device(text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SceneError(f"{flag} is '{text}'; it takes cpu, cuda or cuda:N.")
    if device.type == "cuda" and not torch.cuda.is_available():
        cure = "--device cpu" if typed else "device='cpu'"
        raise SceneError(f"{flag} is '{text}', but torch finds no CUDA device here. Use {cure}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SceneError(f"{flag} is '{text}', but there are {torch.cuda.device_count()} CUDA devices, counted from 0.")
