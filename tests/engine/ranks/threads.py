"""Processes that learn together, as threads of one: what each of them gathers stands on a board that all see."""

import json
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PATIENCE = 120.0  # s, of a machine with much else to do


class ThreadRanks:
    """One of several threads, with what systems and snapshots ask of `engine.ranks.ranks.Ranks`."""

    def __init__(self, rank: int, size: int, board: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size, self.board, self.barrier = rank, size, board, barrier
        self.runs: Any = None
        self.host, self.exchanges = "here", 0

    def _all(self, own: Any) -> list[Any]:
        self.exchanges += 1
        self.board[self.rank] = own
        self.barrier.wait(PATIENCE)
        found = list(self.board)
        self.barrier.wait(PATIENCE)
        return found

    def gather(self, own: Tensor) -> Tensor:
        """What every thread has."""
        return torch.stack(self._all(own.clone()))

    def reduced(self, own: Tensor, finish: Callable[[Tensor], Tensor]) -> Tensor:
        """`finish` of what every thread has."""
        return finish(self.gather(own))

    def collect(self, own: Tensor) -> Tensor | None:
        """What every thread has, for the first of them."""
        found = self.gather(own)
        return found if self.rank == 0 else None

    def words(self, own: Any) -> list[Any]:
        """What every thread says."""
        return [json.loads(text) for text in self._all(json.dumps(own))]

    def first_to_speak(self) -> bool:
        """Always."""
        return True


def together(size: int, function: Callable[[ThreadRanks], Any]) -> list[Any]:
    """What `function` returns, or raises, in each of so many threads, in order of their ranks."""
    board, barrier = [None] * size, threading.Barrier(size)
    results: list[Any] = [None] * size

    def run(rank: int) -> None:
        torch.set_num_threads(1)
        try:
            results[rank] = function(ThreadRanks(rank, size, board, barrier))
        except BaseException as error:
            results[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
