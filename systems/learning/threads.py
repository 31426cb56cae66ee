"""Thread pool for large tensor work; results do not depend on the number of threads."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

THREADS = 2  # at most


@contextmanager
def thread_pool() -> Iterator[Callable[..., list[Any]]]:
    """A `map` that returns a list; calls run without gradients, on one thread each, up to THREADS at the same time."""
    available = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:

            def run(work: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
                """One call is made here: work that other threads launch is in no recording of this one."""
                apart = available > 1 and len(columns[0]) > 1
                return list((pool.map if apart else map)(torch.no_grad()(work), *columns))

            yield run
    finally:
        torch.set_num_threads(available)


def pieces(rows: Tensor, most: int) -> tuple[Tensor, ...]:
    """`rows` in pieces of at most `most`, as many as a CPU's cache holds; in one where they are few, or on a GPU."""
    many = rows.is_cpu and 4 * len(rows) > most
    return rows.chunk(THREADS * math.ceil(len(rows) / (THREADS * most)) if many else 1)
