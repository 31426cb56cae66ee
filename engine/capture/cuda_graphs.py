"""CUDA graphs: records operations of torch on a GPU, as https://docs.pytorch.org/docs/stable/notes/cuda.html says, and replays them.

It was written to that documentation and has not run on a GPU yet.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from engine.capture.launches import Streams, Work, heard_by
from engine.capture.trace import identity


class CudaGraphs:
    """Records what `run` does, in graphs between which other libraries launch theirs. `whole`: in one graph.

    All graphs share their memory, whatever the order in which they are replayed: what one makes is read by no other one, and what
    the host reads afterwards (values of terms) is held as long as the graph is, so that no other one is given its memory.
    """

    def __init__(self, device: torch.device, *, whole: bool = False) -> None:
        self.whole, self.device = whole, device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # the default one cannot record
        self.pool = torch.cuda.graph_pool_handle()
        self.broken: list[torch.cuda.CUDAGraph] = []  # torch's allocator may ask them still whose memory it is

    @contextmanager
    def warm(self) -> Iterator[None]:
        """Where systems run before they are recorded: on the stream that records them, which has its own workspaces."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            current.wait_stream(self.stream)

    def record(self, run: Callable[[], None], streams: Streams) -> list[Work]:
        """What `run` does, as launches in order; nothing has happened yet. Raises what `run` and CUDA do.

        `streams` are those that each graph draws from: a replay tells the graph where they are, and advances them.
        """
        self.streams = [[stream for part in streams for stream in part]] if self.whole else [*map(list, streams)]
        self.parts: list[Work] = []
        collects = gc.isenabled()
        gc.disable()  # an older graph that is freed in the middle would break the recording off
        torch.cuda.synchronize(self.device)
        try:
            with self.warm(), heard_by(self):
                self._begin()
                try:
                    run()
                    self._end()
                except BaseException:
                    self._break_off()
                    raise
        finally:
            if collects:
                gc.enable()
        return self.parts

    def launch(self, work: Work, joins: bool) -> None:
        """Let the work take part in the graph, or keep it for between this graph and the next."""
        if joins or self.whole:
            work()
        else:
            self._end()
            self.parts.append(work)
            self._begin()

    def _begin(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.registered = [*{identity(each): each for each in self.streams.pop(0)}.values()]
        for stream in self.registered:
            self.graph.register_generator_state(stream)
        self.graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")  # other threads write checkpoints

    def _end(self) -> None:
        self.graph.capture_end()
        self.parts.append(self.graph.replay)

    def _break_off(self) -> None:
        """End a recording that has failed, so that others can be made and random streams be drawn from.

        Depending on its version torch then leaves the pool as being recorded to, and streams, its default one too, as being
        recorded. So the pool is another one from now on, and a graph of nothing is recorded to its end with the same streams.
        """
        self.broken.append(self.graph)
        with suppress(RuntimeError):  # which is the same error again
            self.graph.capture_end()
        with suppress(RuntimeError):  # ended already
            torch._C._cuda_endAllocateToPool(self.stream.device_index, self.pool)
        with suppress(RuntimeError):
            self.graph.reset()
        self.pool = torch.cuda.graph_pool_handle()
        with suppress(RuntimeError):
            nothing = torch.cuda.CUDAGraph()
            for stream in self.registered:
                nothing.register_generator_state(stream)
            nothing.capture_begin(pool=torch.cuda.graph_pool_handle(), capture_error_mode="thread_local")
            torch.zeros((), device=self.device)
            nothing.capture_end()
