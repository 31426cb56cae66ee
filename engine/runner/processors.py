"""Processors that a run is bound to, where settings of OpenMP bind it to fewer than there are.

torch's OpenMP (libgomp) binds the thread that loads it. All threads that this one starts, the simulator's and the learner's,
inherit its few processors.
"""

import os
from collections.abc import Mapping

_BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")  # any of them binds, unless the first says false


def pinned_threads(environment: Mapping[str, str], bound: int, processors: int) -> str | None:
    """A sentence about settings by which this thread, and so all of a run, has `bound` of the machine's `processors`; None without."""
    given = [name for name in _BINDING if environment.get(name, "").strip()]
    if not given or bound >= processors or environment.get(_BINDING[0], "").strip().lower() == "false":
        return None
    settings = " ".join(f"{name}={environment[name].strip()}" for name in given)
    return (
        f"{settings} in the environment binds this run to {bound} of {processors} processors: simulator and learner share them, "
        f"which makes training slower. Type `unset {' '.join(given)}` and start it again."
    )


def pinned_here() -> str | None:
    """The sentence about this process, once torch is loaded; None where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):  # macOS binds no threads
        return None
    return pinned_threads(os.environ, len(os.sched_getaffinity(0)), os.cpu_count() or 1)
