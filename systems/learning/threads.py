"""Large pieces of work side by side, each on one thread."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

Run = Callable[..., list[Any]]


@contextmanager
def side_by_side(most: int) -> Iterator[Run]:
    """A `map` without gradients that gives a list; up to `most` calls run at once, on as many threads as torch may use.

    Each call computes on one thread. Torch's own way, every operation on all threads, makes them wait for each
    other after each of thousands of operations: on a machine with other work that takes several times as long.
    What is computed does not depend on the number of threads.
    """
    available = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if min(most, available) < 2:
            yield lambda function, *columns: [function(*row) for row in zip(*columns, strict=True)]
            return
        with ThreadPoolExecutor(min(most, available), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda function, *columns: list(pool.map(torch.no_grad()(function), *columns))
    finally:
        torch.set_num_threads(available)
