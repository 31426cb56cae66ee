"""Several processes that train together: one of those that torchrun starts, and all of them on one machine with --shards."""

import os
import signal
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.errors import LockstepError, SceneError
from engine.ranks.ranks import PATIENCE, RankError, Ranks
from engine.runner.stop import REQUEUE

_CPUS = Path("/sys/devices/system/cpu")


def run_together(arguments: list[str], command: Callable[[list[str], Any], int]) -> int:
    """Run a command as one of several processes; one of them says what goes wrong."""
    ranks = Ranks.join(_patience(arguments))
    pin(ranks)
    if ranks.rank:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 the console is rank 0's
    try:
        status = command(_again(arguments, ranks), ranks)
    except RankError as error:
        if str(error):
            print(f"error: {error}", file=sys.stderr, flush=True)
        return _leave(ranks, error.status)
    except LockstepError as error:
        if ranks.runs is not None:
            return _fail(ranks, error)
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr, flush=True)
        return _leave(ranks, 2)  # all of them know, and none of them has begun
    except Exception as error:
        return _fail(ranks, error)
    ranks.leave()
    ranks.end_together()
    return _leave(ranks, status)


def _fail(ranks: Ranks, error: Exception) -> int:
    text = ranks.failed(error)
    if text:
        print(f"error: {text}", file=sys.stderr, flush=True)
    return _leave(ranks, 1)


def _leave(ranks: Ranks, status: int) -> NoReturn:
    ranks.leave()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads of the process group may not end in order


def _value(arguments: Sequence[str], name: str) -> str | None:
    for at, word in enumerate(arguments):
        if word == name:
            return arguments[at + 1] if at + 1 < len(arguments) else ""
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _without(arguments: Sequence[str], name: str) -> list[str]:
    """The words without a flag and its value."""
    kept, at = list[str](), 0
    while at < len(arguments):
        if arguments[at] == name:
            at += 1
        elif not arguments[at].startswith(f"{name}="):
            kept.append(arguments[at])
        at += 1
    return kept


def _patience(arguments: Sequence[str]) -> float:
    text = _value(arguments, "--rank-timeout")
    try:
        return float(text) if text else PATIENCE
    except ValueError:
        return PATIENCE  # the error comes when the flags are read


def _again(arguments: list[str], ranks: Ranks) -> list[str]:
    """The words with which the processes go on when torchrun has started them again."""
    if not ranks.attempt or _value(arguments, "--resume") is not None:
        return arguments
    out = _value(arguments, "--out")
    if not out:
        raise SceneError(
            "torchrun has started the processes again, and nothing says which run they are to go on with. Name its folder from the "
            "beginning: --out FOLDER."
        )
    if not (Path(out) / "config.json").is_file():
        return arguments
    return [*_without(arguments, "--out"), "--resume", out]


def pin(ranks: Ranks) -> None:
    """Keep this process on its share of its host's processors, so that threads of several do not take turns on one."""
    if ranks.local_size < 2 or not hasattr(os, "sched_setaffinity"):
        return
    free = _in_order(os.sched_getaffinity(0))
    count = len(free) // ranks.local_size
    if count:
        os.sched_setaffinity(0, free[ranks.local * count : (ranks.local + 1) * count])
        import torch

        if "OMP_NUM_THREADS" not in os.environ or os.environ.get("LOCKSTEP_SHARDS"):
            torch.set_num_threads(min(count, torch.get_num_threads()) if count < torch.get_num_threads() else count)


def _in_order(processors: "set[int] | frozenset[int]") -> list[int]:
    """Processors by socket and shared cache, so that neighbours share them."""
    return sorted(
        processors,
        key=lambda number: (
            _text(number, "topology/physical_package_id"),
            _text(number, "cache/index3/shared_cpu_list"),
            number,
        ),
    )


def _text(processor: int, name: str) -> str:
    try:
        return (_CPUS / f"cpu{processor}" / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def domains() -> int:
    """Sockets and shared caches among the processors that this process may use."""
    free = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    return len({(_text(n, "topology/physical_package_id"), _text(n, "cache/index3/shared_cpu_list")) for n in free})


def shards_asked_for(arguments: Sequence[str]) -> int:
    """How many processes --shards asks for; 0 without it. SceneError for what is no number."""
    text = _value(arguments, "--shards")
    if text is None:
        return 0
    if text == "auto":
        return domains()
    if not text.isdigit() or int(text) < 1:
        raise SceneError(f"--shards takes a number of processes, or auto, but was given '{text}'.")
    return int(text)


def start_shards(arguments: Sequence[str], count: int) -> int:
    """Start processes on this machine that run the command together; the exit status of the first that fails, else 0."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count > free:
        raise SceneError(
            f"--shards {count} asks for more processes than this machine has processors, {free}. Say --shards {free}, or auto."
        )
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, free // count)))
    os.environ["LOCKSTEP_SHARDS"] = str(count)
    launch = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=uuid.uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        max_restarts=0, monitor_interval=0.1,
    )  # fmt: skip
    words = ["-m", "engine.run", *_without(arguments, "--shards")]
    try:
        elastic_launch(launch, sys.executable)(*words)
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        return next((code for code in codes if code > 0), 1)
    except SignalException as stopped:  # which every process got, too
        return 130 if stopped.sigval == signal.SIGINT else REQUEUE
    except Exception as error:
        raise SceneError(f"The processes could not be started: {error}") from None
    return 0
