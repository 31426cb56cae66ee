"""Promises of the live debugger, measured line by line on the tracking task: value, bound, and whether it is reached.

    python -m benchmarks.debugger [--rows 4096,512] [--rounds 6] [--only attached,unread,...] [--json]

What debuggers cost is measured in this process, on a training that a client is attached to in every other block of ticks:
attached at each of `--rows`, since most of it is the same for any number of rows while a tick is not; the rest on trainings started by `python -m engine.run` without any flag about debuggers. The subscriptions are those
of the default panels, as the window made them; the black box is left out where the cost is judged. Where other processes
keep the machine busy, shares by the wall clock say little; those of CPU time of the ticking thread are judged.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from benchmarks.debugger_cost import CLIENTS, Bench, attached, unattended, unread, watch
from engine.debugger.net.connection import Address
from engine.debugger.net.session import Session
from engine.protocol.discovery import live_runs
from engine.protocol.framing import column_ids, pack_array

FRAMES = 100_000  # of the fuzz
PLANTED = ("robot.EncoderBias.value", "draw_encoder_bias")
"""The column that a value that is not finite is written into, and the system that writes it."""
ROWS = 8  # of which every column is compared after a rewind


@attrs.frozen
class Promise:
    """One line of the table."""

    what: str
    measured: str
    bound: str
    reached: bool | None  # None: not measured

    def __str__(self) -> str:
        verdict = {True: "ok", False: "NOT REACHED", None: "not measured"}[self.reached]
        return f"{self.what:<34} {self.measured:<76} {self.bound:<28} {verdict}"


@contextmanager
def training(rows: int = 32) -> Iterator[tuple[int, str, Path]]:
    """A training of its own process, without any flag about debuggers: its pid, socket and folder."""
    folder = Path(tempfile.mkdtemp(prefix="lockstep-debugger-benchmark")) / "run"
    flags = [
        "--num-envs",
        str(rows),
        "--learning.hidden",
        "32",
        "--iterations",
        "100000",
        "--no-film",
        "--out",
        str(folder),
    ]
    started = subprocess.Popen(
        [sys.executable, "-m", "engine.run", "scenes/motion_tracking.py", *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not (found := [run for run in live_runs() if run.pid == started.pid]):
            if started.poll() is not None:
                raise SystemExit("The training ended before it could be attached to.")
            time.sleep(0.1)
        yield started.pid, str(found[0].socket), folder
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def look(socket: str, seconds: float) -> dict[str, Any]:
    """What the window sees of a run, as benchmarks/debugger_clients.py tells it."""
    made = subprocess.run(
        [sys.executable, "-m", CLIENTS, "window", socket, str(time.time()), str(seconds)],
        capture_output=True, text=True, timeout=60 + seconds,
    )  # fmt: skip
    if made.returncode:
        raise SystemExit(f"The window ended with status {made.returncode}:\n{made.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(made.stdout)
    return found


# -- the lines -----------------------------------------------------------------------------------------


def cost_lines(sizes: list[int], rounds: int, only: Callable[[str], bool]) -> Iterator[Promise]:
    """Attached, of each size; nobody attached and clients that do not read, of the last."""
    if only("attached"):
        for rows in sizes:
            yield from attached_lines(rows, rounds)
    if not only("nobody") and not only("unread"):
        return
    bench = Bench.open(sizes[-1])
    if only("nobody"):
        alone = unattended(bench)
        yield Promise("nobody attached", f"{alone['microseconds']:.2f} µs a tick, {alone['wakes']:.0f} wakes",
                   "≤ 1 µs, 0 wakes", alone["microseconds"] <= 1.0 and not alone["wakes"])  # fmt: skip
    if only("unread"):
        wanted = default_subscriptions(bench)
        for name, shares in unread(bench, wanted, rounds).items():
            text = ", ".join(f"{clock.replace('_', ' ')} {value:+.1%}" for clock, value in shares.items())
            yield Promise(f"{name} client", text, "p99 at most +5 % (CPU)", shares["cpu_p99"] <= 0.05)


def default_subscriptions(bench: Bench) -> list[dict[str, Any]]:
    """Those of the default panels, without the black box."""
    return [each for each in watch(bench)["subscriptions"] if each["kind"] != "vitals"]


def attached_lines(rows: int, rounds: int) -> Iterator[Promise]:
    """What a client that reads costs, and what it gets for it."""
    bench = Bench.open(rows)
    wanted = default_subscriptions(bench)
    cost = attached(bench, wanted, rounds)
    yield Promise(f"attached, {len(wanted)} subscriptions, {rows} rows",
               f"CPU {cost['cpu']:+.2%} (± {cost['noise']:.2%}), hooks {cost['hooks']:.2%} (snapshots {cost['snapshots']:.2%}); wall {cost['wall']:+.1%}; "
               f"tick {1e3 * cost['tick_seconds']:.0f} ms", "≤ 0.5 % of tick time",
               cost["hooks"] <= 0.005)  # fmt: skip
    yield Promise("  frames that were sent",
               f"{cost['frames_per_second']:.0f}/s of {cost['asked_per_second']:.0f}/s asked for; other thread "
               f"{cost['sockets']:.2%} of a core, {cost['wakes']:.1f} wakes a tick", "", True)  # fmt: skip


def attach_line() -> Promise:
    """From the start of the window's process to the schema and to the first picture."""
    with training() as (_, socket, _):
        time.sleep(3.0)
        seen = look(socket, 1.0)
    schema, picture = (seen[name] - seen["attach"] for name in ("schema", "picture"))
    text = (
        f"schema {schema:.2f} s, picture {picture:.2f} s after attaching; {seen['picture']:.2f} s after the start of the "
        f"process ({seen['picture_cpu']:.2f} s of CPU)"
    )
    return Promise("attach to a run without flags", text, "≤ 1 s to the first picture", 0 < picture <= 1.0)


def frames_line() -> Promise:
    """The window on 4096 rows: pictures per second of its CPU time, and of the clock."""
    server = subprocess.Popen([sys.executable, "-m", "tests.debugger.scripted"])
    try:
        while not (found := [run for run in live_runs() if run.pid == server.pid]):
            time.sleep(0.1)
        seen = look(str(found[0].socket), 8.0)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
    rate, clock = seen["drawn"] / max(seen["cpu"], 1e-9), seen["drawn"] / seen["wall"]
    text = f"{rate:.0f} frames per CPU second; {clock:.0f} frames/s at {seen['cpu'] / seen['wall']:.0%} of a core"
    return Promise("window at 4096 rows", text, "≥ 20 frames/s on one core", rate >= 20.0)


def break_line() -> Promise:
    """A value that is not finite is written into one row; the break names where it is and who writes there."""
    with training() as (_, socket, _):
        session = Session.attach(Address(path=socket), role="control")
        number = column_ids(session.schema)[PLANTED[0]]
        asked = session.ask({"t": "break", "at": "tick", "when": f"nonfinite({PLANTED[0]})", "rows": None, "skip": 0,
                             "action": "pause"})  # fmt: skip
        planted = session.ask({"t": "set", "column": number, "rows": [5], "labels": [3], "force": True, "reason": "",
                               "values": pack_array(np.array([np.nan], np.float32))})  # fmt: skip
        if "error" in (asked["t"], planted["t"]):
            return Promise("break on a non-finite value", str(asked.get("text") or planted.get("text")), "", False)
        end = time.monotonic() + 20.0
        while not (hits := [e for e in session.events if e["kind"] == "break"]) and time.monotonic() < end:
            time.sleep(0.05)
        labels = next(c["labels"] for c in _columns(session.schema) if c["id"] == number)
        session.close()
    hit = hits[0] if hits else {}
    named = (
        hit.get("row") == 5
        and hit.get("column") == PLANTED[0]
        and hit.get("system") == PLANTED[1]
        and hit.get("fields", {}).get("label") == labels[3]
    )
    return Promise(
        "break on a non-finite value", str(hit.get("text", "no break"))[:76], "row, label, column, writer", named
    )


def _columns(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns of the first table with the label of each flat value."""
    table = schema["tables"][0]
    axes = {axis["name"]: axis["labels"] for axis in table["axes"]}
    found = []
    for component in table["components"]:
        for column in component["columns"]:
            labels = axes.get(column["axes"][0]) if column["axes"] else None
            found.append({**column, "labels": labels or []})
    return found


def rewind_line(ticks: int = 60) -> Promise:
    """Every column of a few rows at two ticks, then the first sought and the second returned to."""
    with training() as (_, socket, _):
        session = Session.attach(Address(path=socket), role="control")
        first = session.ask({"t": "pause"})["tick"] + 7  # a tick without a snapshot, which has to be run again
        session.ask({"t": "run_to", "system": None, "tick": first}, 60.0)
        seen = [digest(session)]
        session.ask({"t": "run_to", "system": None, "tick": first + ticks}, 60.0)
        seen.append(digest(session))
        start = time.perf_counter()
        answer = session.ask({"t": "seek", "tick": first}, 60.0)
        seconds = time.perf_counter() - start
        seen.append(digest(session))
        session.ask({"t": "live"})
        seen.append(digest(session))
        session.close()
    same = seen[0] == seen[2] and seen[1] == seen[3] and seen[0] != seen[1]
    text = f"{ticks} ticks back in {seconds:.2f} s, digests {' '.join(each[:8] for each in seen)}, exact: {answer.get('exact')}"
    return Promise("rewind", text, "the same bytes", same and answer.get("exact") is True)


def digest(session: Session) -> str:
    """A SHA-256 over every column of the first rows of the run, which stands still."""
    columns = [[column["id"], None] for column in _columns(session.schema)]
    total = hashlib.sha256()
    for start in range(0, len(columns), 16):
        with session.watch("values", columns[start : start + 16], list(range(ROWS))) as frames:
            frame = frames(20.0)
            if frame is None:
                raise SystemExit("The run that stands still sent no values within 20 s.")
        for _, dtype, shape, data in sorted(frame["cols"]):
            total.update(f"{dtype}{shape}".encode() + data)
    return total.hexdigest()


def fuzz_line(frames: int = FRAMES) -> Promise:
    """Frames that nobody should send, by tests/debugger/fuzz.py."""
    if importlib.util.find_spec("tests.debugger.fuzz") is None:
        return Promise("malformed input", "tests/debugger/fuzz.py is not here", "no exception, < 16 MiB", None)
    made = subprocess.run(
        [sys.executable, "-m", "tests.debugger.fuzz", "--frames", str(frames)], capture_output=True, text=True
    )
    output = (made.stdout.strip() or made.stderr.strip() or "nothing").splitlines()[-1]
    return Promise(f"{frames} malformed frames", output[:76], "no exception, < 16 MiB", made.returncode == 0)


LINES: dict[str, Callable[[], Promise]] = {
    "attach": attach_line,
    "frames": frames_line,
    "break": break_line,
    "rewind": rewind_line,
    "fuzz": fuzz_line,
}
COST = ("nobody", "attached", "unread")


def numbers(text: str) -> list[int]:
    """Numbers that are separated by commas."""
    return [int(part) for part in text.split(",")]


def main() -> int:
    """Print the table, or a list of lines as JSON with --json; the exit status is 1 where a bound is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=numbers, default="4096,512", help="sizes, separated by commas")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", default=",".join((*COST, *LINES)), help="lines to measure, separated by commas")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := [name for name in names if name not in (*COST, *LINES)]:
        parser.error(f"there is no line '{unknown[0]}'; choose among {', '.join((*COST, *LINES))}")

    def lines() -> Iterator[Promise]:
        if set(names) & set(COST):
            yield from cost_lines(given.rows, given.rounds, names.__contains__)
        for name, measure in LINES.items():
            if name in names:
                yield measure()

    found = []
    for line in lines():
        found.append(line)
        if not given.json:
            print(line, flush=True)
    if given.json:
        print(json.dumps([attrs.asdict(line) for line in found], indent=1))
    print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return 0 if all(line.reached is not False for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
