"""The processes that learn together: joining them, what they exchange, and the errors when one of them is lost.

They are started by torchrun, or by anything that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Tensors go by gloo, or by
NCCL from GPU to GPU. A thread of each process beats once a second into the rendezvous' store: what it runs, and whether it
waits for others or is paused by a debugger. It ends the process when another one is lost, or when this one has waited too long
for one that neither waits nor is paused. `torch.distributed` itself never times out.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import LockstepError, SceneError

FOREVER = timedelta(days=30)
BEAT = 0.5  # s
PATIENCE = (
    25.0  # s that one process waits for another; with torchrun's 30 s for those that do not end, less than a minute
)
LOST = 1  # exit status of a process that another one was lost for
_MANY = 1 << 15  # numbers from which on a sum is made in parts, one by each process


class RankError(LockstepError):
    """Another process is lost or does not agree; without a text when a process has reported it already. `status` is that to leave with."""

    def __init__(self, text: str = "", status: int = LOST) -> None:
        super().__init__(text)
        self.status = status


def asked_for(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process was started as one of several, or of a torchrun of one."""
    known = os.environ if environment is None else environment
    return "RANK" in known and "WORLD_SIZE" in known


def _number(name: str, least: int) -> int:
    text = os.environ.get(name, "")
    if not text.isdigit() or int(text) < least:
        raise SceneError(
            f"{name}={text!r} in the environment is no number from {least}; torchrun sets it, or whatever starts the processes."
        )
    return int(text)


class Ranks:
    """This process among those that learn together.

    `folder` is the run's folder as rank 0 has it, `runs` is the entry of the schedule that runs now, `paused` says whether a debugger holds this process.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.size, self.rank = _number("WORLD_SIZE", 1), _number("RANK", 0)
        self.local, self.local_size = (
            int(os.environ.get("LOCAL_RANK", self.rank)),
            int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
        )
        self.attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        self.host, self.patience = socket.gethostname(), patience
        self.runs: Any = None
        self.folder = Path()  # of the run, as the first process has it
        self.tick: Callable[[], int] = lambda: 0
        self.paused: Callable[[], bool] = lambda: False
        self.waited, self.sent, self.exchanges = 0.0, 0, 0  # s, bytes and how often, since the run began
        self._waiting: float | None = None  # since when
        self._steps = 0
        self._left = threading.Event()
        self._store: Any = None
        self._beats: Any = None
        self._run = f"lockstep/{os.environ.get('TORCHELASTIC_RUN_ID', '')}/{self.attempt}"

    # -- joining and leaving ---------------------------------------------------------------------------

    @classmethod
    def join(cls, patience: float = PATIENCE) -> "Ranks":
        """Meet the other processes. SceneError where that is not possible."""
        ranks = cls(patience)
        if ranks.rank >= ranks.size:
            raise SceneError(
                f"RANK={ranks.rank} of WORLD_SIZE={ranks.size} in the environment: ranks are counted from 0."
            )
        host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
        if not host or not port.isdigit():
            raise SceneError(
                f"MASTER_ADDR={host!r} and MASTER_PORT={port!r} in the environment do not say where the processes meet; torchrun sets "
                "them: torchrun --nproc-per-node 2 -m engine.run SCENE."
            )
        import torch.distributed as dist
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        hosts_store = ranks.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        patient = timedelta(seconds=max(5.0, patience))
        try:
            store = TCPStore(host, int(port), None, hosts_store, patient, wait_for_workers=False)
            ranks._store = PrefixStore(ranks._run, store)
            beats = TCPStore(host, int(port), None, False, patient, wait_for_workers=False)
            ranks._beats = PrefixStore(ranks._run, beats)
        except (RuntimeError, ValueError, OSError) as error:
            taken = "EADDRINUSE" in str(error) or "in use" in str(error)
            why = "the port is taken" if taken else "nobody answers there"
            cure = (
                "Choose another --master-port."
                if taken
                else "Start all processes within this time, and let them reach it."
            )
            raise SceneError(
                f"The processes cannot meet at {host}:{port}: {why} (waited up to {patient.seconds} s). {cure}"
            ) from None
        ranks._arrive()
        kinds = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(
            kinds,
            store=PrefixStore(f"{ranks._run}/group", store),
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=FOREVER,
        )
        threading.Thread(target=ranks._keep_beating, name="beats", daemon=True).start()
        return ranks

    def _arrive(self) -> None:
        """Wait for the others, as long as patience lasts."""
        if self._store.add(f"here/{self.rank}", 1) > 1:
            raise SceneError(
                f"Rank {self.rank} is there twice: two jobs meet at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}. Give each its "
                "own --master-port, or --rdzv-id."
            )
        last = time.monotonic() + max(5.0, self.patience)
        while missing := [rank for rank in range(self.size) if not self._store.check([f"here/{rank}"])]:
            if time.monotonic() > last:
                if self.rank == min(set(range(self.size)) - set(missing)):
                    raise SceneError(
                        f"Of {self.size} processes, rank {', '.join(map(str, missing))} did not come within {max(5.0, self.patience):g} s. Start "
                        "as many as WORLD_SIZE says, or give them longer: --rank-timeout."
                    )
                raise RankError()
            time.sleep(0.05)

    def leave(self) -> None:
        """Part from the others, who may go on or end; no exchange is possible any more."""
        self._left.set()
        with suppress(Exception):
            self._beats.set(f"beat/{self.rank}", json.dumps({"left": True}))

    def end_together(self) -> None:
        """Wait until rank 0 ends, too: torchrun ends the others as soon as one leaves with a status that is not 0."""
        with suppress(Exception):
            if self.rank == 0:
                self._store.set("done", "")
            while not self._store.check(["done"]):
                time.sleep(0.1)

    # -- exchanging ------------------------------------------------------------------------------------

    def gather(self, own: Tensor) -> Tensor:
        """What every process has of a tensor of one shape: (processes, *shape), in order of ranks."""

        if self.size == 1:
            return own.unsqueeze(0)
        flat = own.contiguous().view(-1)
        plain = flat.view(torch.uint8) if flat.dtype == torch.bool else flat
        everything = plain.new_empty((self.size, plain.numel()))
        with self._together(plain.nbytes):
            _all_gather(everything.view(-1), plain)
        return everything.view(own.dtype).view(self.size, *own.shape)

    def reduced(self, own: Tensor, finish: Callable[[Tensor], Tensor]) -> Tensor:
        """`finish` of what all processes have, (processes, nodes, numbers) to (numbers,); it treats every number alike.

        Of many numbers each process finishes a part, which then goes to all.
        """
        import torch.distributed as dist

        nodes, numbers = own.shape
        if self.size <= 2 or numbers < _MANY:
            return finish(self.gather(own))
        part = -(-numbers // self.size)
        padded = own.new_zeros((nodes, part * self.size))
        padded[:, :numbers] = own
        outgoing = padded.view(nodes, self.size, part).transpose(0, 1).contiguous()
        incoming = torch.empty_like(outgoing)
        with self._together(outgoing.nbytes):
            dist.all_to_all_single(incoming.view(-1), outgoing.view(-1))
        return self.gather(finish(incoming)).view(-1)[:numbers]

    def collect(self, own: Tensor) -> Tensor | None:
        """What every process has of a tensor of one shape, (processes, *shape), at rank 0; None elsewhere."""
        import torch.distributed as dist

        if self.size == 1:
            return own.unsqueeze(0)
        rows = [torch.empty_like(own) for _ in range(self.size)] if self.rank == 0 else None
        with self._together(own.nbytes):
            dist.gather(own, rows, dst=0)
        return torch.stack(rows) if rows is not None else None

    def words(self, own: Any) -> list[Any]:
        """What every process says, as JSON can carry it, in order of ranks."""
        data = torch.frombuffer(bytearray(json.dumps(own).encode()), dtype=torch.uint8)
        lengths = self.gather(torch.tensor([len(data)])).view(-1).tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(data)] = data
        rows = self.gather(padded)
        return [json.loads(row[:length].numpy().tobytes()) for row, length in zip(rows, lengths, strict=True)]

    @contextmanager
    def _together(self, num_bytes: int) -> Iterator[None]:
        self._waiting = start = time.monotonic()
        try:
            yield
        except RuntimeError as error:
            raise self.lost(str(error)) from None
        finally:
            self.waited += time.monotonic() - start
            self.sent += num_bytes * (self.size - 1)
            self.exchanges += 1
            self._steps += 1
            self._waiting = None

    # -- beats, and who is lost ------------------------------------------------------------------------

    def _beat(self) -> dict[str, Any]:
        entry = self.runs
        return {
            "host": self.host,
            "pid": os.getpid(),
            "tick": self.tick(),
            "system": entry.place if entry is not None else "",
            "waits": self._waiting is not None,
            "paused": bool(self.paused()),
            "steps": self._steps,
            "at": time.monotonic_ns(),
        }

    def _keep_beating(self) -> None:
        while not self._left.wait(BEAT):
            try:
                self._beats.set(f"beat/{self.rank}", json.dumps(self._beat()))
                if self._beats.check(["verdict"]):
                    self._end_soon()
                if self._waiting is not None and time.monotonic() - self._waiting > self.patience:
                    self._look_around()
            except Exception:  # the store is gone, and with it the process that held it
                if not self._left.wait(2 * BEAT):
                    if self.rank in (0, 1):
                        _say(
                            "The process at the rendezvous is gone, and with it the job; rank 0 or torchrun on its host ended or was killed."
                        )
                    _end()

    def _end_soon(self) -> None:
        """A process was lost, and another one reported it; this process ends, unless it does so by itself."""
        if not self._left.wait(3.0):
            _end()

    def _look_around(self) -> None:
        """Say who keeps everybody waiting, and end; nobody does who is paused."""
        beats = self.beats()
        if any(beat.get("paused") for beat in beats.values()):
            self._waiting = time.monotonic() if self._waiting is not None else None
            return
        late = [
            rank
            for rank, beat in beats.items()
            if rank != self.rank and (self._stale(rank, beat) or not beat.get("waits"))
        ]
        if late and self.first_to_speak():
            _say(
                f"{self._name(late[0], beats[late[0]])} keeps the others waiting for {self.patience:g} s{self._last_words(beats[late[0]])}"
            )
        if late:
            _end()

    def _stale(self, rank: int, beat: Mapping[str, Any]) -> bool:
        time.sleep(3 * BEAT)
        return bool(self.beats()[rank].get("at") == beat.get("at"))

    def beats(self) -> dict[int, dict[str, Any]]:
        """The last beat of every process; empty where there was none."""
        found = {}
        for rank in range(self.size):
            known = self._beats.check([f"beat/{rank}"])
            found[rank] = json.loads(self._beats.get(f"beat/{rank}")) if known else {}
        return found

    def first_to_speak(self) -> bool:
        """Whether no other process has reported yet why the job ends."""
        return bool(self._beats.add("verdict", 1) == 1)

    def lost(self, why: str) -> RankError:
        """The error for an exchange that failed: who is lost, unless a process has reported it itself."""
        time.sleep(4 * BEAT)  # for the last words of whoever failed, and its beats
        try:
            if not self.first_to_speak():
                return RankError()
            before = self.beats()
            time.sleep(3 * BEAT)
            now = self.beats()
        except Exception:
            return RankError(f"The other processes are gone ({why.splitlines()[0]})." if self.rank in (0, 1) else "")
        gone = [
            r
            for r, beat in now.items()
            if r != self.rank and not beat.get("left") and beat.get("at") == before[r].get("at")
        ]
        if not gone:
            return RankError(
                f"An exchange between the processes failed on rank {self.rank} ({self.host}): {why.splitlines()[0]}"
            )
        return RankError(
            f"{self._name(gone[0], now[gone[0]])} is gone: it was killed, or ended without a word{self._last_words(now[gone[0]])}"
        )

    def _name(self, rank: int, beat: Mapping[str, Any]) -> str:
        return f"Rank {rank} of {self.size} (host {beat.get('host', 'unknown')}, process {beat.get('pid', 'unknown')})"

    @staticmethod
    def _last_words(beat: Mapping[str, Any]) -> str:
        if not beat.get("system"):
            return ", before its first system."
        doing = "waited after" if beat.get("waits") else "was in"
        return f"; at tick {beat['tick']} it {doing} {beat['system']}. The newest checkpoint is whole: go on with --resume."

    def failed(self, error: BaseException) -> str:
        """The sentence of a process that fails by itself; '' when another one has spoken already."""
        entry, text = self.runs, " ".join(str(error).split()) or "no more is known"
        kind = "" if isinstance(error, LockstepError) else f"{type(error).__name__}: "
        where = f" in {entry.place}" if entry is not None else ""
        with suppress(Exception):
            if not self.first_to_speak():
                return ""
        return f"Rank {self.rank} of {self.size} (host {self.host}) failed at tick {self.tick()}{where}: {kind}{text}"


def _all_gather(everything: Tensor, own: Tensor) -> None:
    """torch's function for it, which has a new name from 2.13 on."""
    import torch.distributed as dist

    function = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    function(everything, own)


def _say(text: str) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)


def _end() -> None:
    """End this process, whatever its other threads are in."""
    sys.stdout.flush()
    os._exit(LOST)
