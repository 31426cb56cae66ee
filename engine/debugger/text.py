"""Text client of the debugger: commands typed at a prompt, or given on the command line."""

import cmd
import contextlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import attrs
import numpy as np

from engine.debugger.model.schema import ColumnInfo, ColumnPart, find_part, parse_rows, read_columns
from engine.debugger.net.recording_source import RecordingSession
from engine.debugger.net.session import Session
from engine.errors import AttachError, LockstepError, SceneError, did_you_mean
from engine.protocol.framing import pack_array, unpack_array

MOST_ROWS, MOST_ROWS_SET = 64, 1 << 16
_FIRST_DATA = 10.0  # seconds
_QUIET = ("reset", "iteration")  # events that are not printed as they come


class CommandRefused(LockstepError):
    """The run's `error` answer."""


@attrs.frozen
class TextCommand:
    """One command: its usage, its help, and whether the client has to hold control for it."""

    usage: str
    help: str
    function: Callable[["Text", list[str]], None]
    controls: bool


COMMANDS: dict[str, TextCommand] = {}


def _command(usage: str, help: str, controls: bool = False) -> Callable[[Any], Any]:
    def add(function: Callable[["Text", list[str]], None]) -> Callable[["Text", list[str]], None]:
        COMMANDS[usage.split()[0]] = TextCommand(usage, help, function, controls)
        return function

    return add


def _send_command(name: str, help: str, done: Callable[["Text", dict[str, Any]], str]) -> None:
    """Add a command that sends its name and nothing else; `done` says what came of it, from the answer."""

    @_command(name, help, controls=True)
    def send(text: "Text", words: list[str]) -> None:
        text.say(done(text, text.ask(name)).rstrip())


class Text(cmd.Cmd):
    """Commands against a session, given one by one or typed at a prompt. `breaks` are those that were set, by number."""

    prompt = "lockstep> "

    def __init__(self, session: Session | RecordingSession, out: TextIO | None = None) -> None:
        super().__init__(stdout=out or sys.stdout)
        self.session = session
        self.breaks: dict[int, str] = {}
        self.holds_control = session.role == "control"

    # -- the prompt ------------------------------------------------------------------------------------

    def onecmd(self, line: str) -> bool:
        """Do one line; True when it asks to leave."""
        if line.strip() in ("quit", "exit", "EOF"):
            return True
        self.run(line)
        return False

    def completenames(self, text: str, *_: Any) -> list[str]:
        """Commands that begin so."""
        return [name for name in (*COMMANDS, "quit") if name.startswith(text)]

    def completedefault(self, text: str, *_: Any) -> list[str]:
        """Columns, systems and constants that begin so."""
        schema = self.session.schema
        names = [name for column in self.columns for name in (column.address.split(".", 1)[1], column.address)]
        names += [system["name"] for system in schema["systems"]] + [c["address"] for c in schema["constants"]]
        return [name for name in names if name.startswith(text)]

    # -- one command -----------------------------------------------------------------------------------

    @property
    def columns(self) -> list[ColumnInfo]:
        """Every column of the run."""
        return list(read_columns(self.session.schema))

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self.stdout, flush=True)

    def table(self, lines: Sequence[Sequence[str]]) -> None:
        """Print lines of cells, aligned."""
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))] if lines else []
        for line in lines:
            self.say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def run(self, line: str) -> bool:
        """Do one line; False when it failed, after printing why. AttachError when the run is gone."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            self.say(f"'{line.strip()}' cannot be read ({error}); close the quotation.")
            return False
        return self.do(words)

    def do(self, words: list[str]) -> bool:
        """Do one command given as words."""
        if not words:
            return True
        command = COMMANDS.get(words[0])
        if command is None:
            self.say(f"There is no command '{words[0]}'.{did_you_mean(words[0], COMMANDS)} `help` shows all.")
            return False
        try:
            if command.controls and not self.holds_control:
                self.ask("control", do="take")
                self.holds_control = True
            command.function(self, words[1:])
        except LockstepError as error:
            if isinstance(error, AttachError) and self.session.ended:
                raise
            self.say(str(error))
            return False
        except (IndexError, ValueError):
            self.say(f"'{' '.join(words)}' is not understood; it is: {command.usage}")
            return False
        return True

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a command; CommandRefused with the run's sentence when it does not do it."""
        answer = self.session.ask({"t": kind, **fields})
        if answer["t"] != "ok":
            raise CommandRefused(str(answer.get("text", answer.get("code"))))
        return answer

    def wait_for_breaks(self) -> None:
        """Stay until Ctrl-C, since breaks go with whoever set them; AttachError when the run has gone."""
        with contextlib.suppress(KeyboardInterrupt):
            self.say("It lasts as long as this does: Ctrl-C removes it.")
            self.session.stay()

    def place(self, text: str) -> ColumnPart:
        """The column, or part of one, that a word names."""
        return find_part(text, self.columns)

    def any_rows(self, text: str) -> list[int]:
        """Rows of the largest table."""
        return parse_rows(text, max(column.rows for column in self.columns), MOST_ROWS_SET)

    def system(self, text: str) -> int:
        """The number of a system, given by name or number."""
        systems = self.session.schema["systems"]
        for system in systems:
            if text in (system["name"], f"{system['bundle']}.{system['name']}", str(system["id"])):
                return int(system["id"])
        raise SceneError(f"There is no system '{text}'.{did_you_mean(text, [s['name'] for s in systems])}")


# -- looking -------------------------------------------------------------------------------------------


@_command("list [FILTER]", "columns whose address, unit or writer contains FILTER")
def _list(text: Text, words: list[str]) -> None:
    wanted = words[0].lower() if words else ""
    lines = [
        [c.address, c.type, c.lifetime, ", ".join(c.writers), c.doc]
        for c in text.columns
        if wanted in f"{c.address} {c.unit} {' '.join(c.writers)}".lower()
    ]
    text.table(lines)
    text.say(f"{len(lines)} of {len(text.columns)} columns.")


@_command("systems [FILTER]", "systems in the order in which they run, by phase")
def _systems(text: Text, words: list[str]) -> None:
    wanted = words[0].lower() if words else ""
    lines = [
        [str(s["id"]), s["phase"], f"{s['bundle']}.{s['name']}", s["doc"]]
        for s in text.session.schema["systems"]
        if wanted in f"{s['phase']} {s['bundle']}.{s['name']}".lower()
    ]
    text.table(lines)


@_command("constants [FILTER]", "constants by address, as --set and `set` take them")
def _constants(text: Text, words: list[str]) -> None:
    wanted = words[0] if words else ""
    constants = [c for c in text.session.schema["constants"] if wanted in c["address"]]
    text.table([[c["address"], c["type"], str(c["value"])] for c in constants])


@_command(
    "print COLUMN[LABEL] [ROWS]", "values of rows: print DofState.position[left_knee] 0,7 (row 0 if none is named)"
)
def _print(text: Text, words: list[str]) -> None:
    place = text.place(words[0])
    rows = parse_rows(words[1] if len(words) > 1 else "0", place.column.rows, MOST_ROWS)
    with text.session.watch("values", [[place.column.id, place.labels]], rows) as next_frame:
        frame = next_frame(_FIRST_DATA)
    if frame is None:
        raise SceneError(f"No values came within {_FIRST_DATA:g} s; `state` says what the run is doing.")
    text.say(f"{place.column.address} [{place.column.unit or place.column.dtype}] at tick {frame['ticks'][1]}")
    values = _values(frame, len(rows))
    if values.shape[1] <= len(rows) or place.names == [""]:
        heads, names = ["row", *(name or "value" for name in place.names)], list(map(str, rows))
    else:
        heads, names, values = ["", *(f"row {row}" for row in rows)], place.names, values.T
    text.table([heads, *([name, *map(_number_text, v)] for name, v in zip(names, values, strict=True))])


@_command("watch COLUMN[LABEL] [ROW] [COUNT]", "values of a row as they come, until Ctrl-C or COUNT of them")
def _watch(text: Text, words: list[str]) -> None:
    place = text.place(words[0])
    rows = parse_rows(words[1] if len(words) > 1 else "0", place.column.rows, 1)
    left = int(words[2]) if len(words) > 2 else -1
    text.say(f"tick  {'  '.join(name or 'value' for name in place.names)}")
    with (
        contextlib.suppress(KeyboardInterrupt),
        text.session.watch("values", [[place.column.id, place.labels]], rows) as next_frame,
    ):
        while left != 0:
            frame = next_frame(1.0)
            if frame is not None:
                text.say(f"{frame['ticks'][1]}  {'  '.join(map(_number_text, _values(frame, 1)[0]))}")
                left -= 1


@_command("provenance COLUMN[LABEL] [ROW]", "who wrote a number, when, from what, and who reads it")
def _provenance(text: Text, words: list[str]) -> None:
    place = text.place(words[0])
    label = place.labels[0] if place.labels else None
    row = parse_rows(words[1] if len(words) > 1 else "0", place.column.rows, 1)[0]
    found = text.ask("provenance", column=place.column.id, label=label, row=row)
    when = f"at tick {found.get('tick')} ({found.get('kind')})"
    text.say(f"{place.column.address} was written by {found.get('writer')} {when}.")
    text.say(f"  from: {', '.join(found.get('sources', ())) or 'nothing'}")
    text.say(f"  read by: {', '.join(found.get('readers', ())) or 'nobody'}")


@_command("state", "what the run is doing")
def _state(text: Text, words: list[str]) -> None:
    state = text.session.wait_for_state()
    shown = {key: value for key, value in state.items() if key not in ("t", "stack")} or {"state": "unknown"}
    text.table([[key, f"{value:.4g}" if isinstance(value, float) else str(value)] for key, value in shown.items()])
    for line in state.get("stack", ()):
        text.say(f"    {line}")


@_command("log [COUNT]", "the latest events")
def _log(text: Text, words: list[str]) -> None:
    count = int(words[0]) if words else 20
    if count < 1:
        raise ValueError
    for event in list(text.session.events)[-count:]:
        text.say(_event_line(event))


# -- changing ------------------------------------------------------------------------------------------


def _where(text: Text, answer: dict[str, Any]) -> str:
    """Where the run stands, once it has answered."""
    state = text.session.standing()
    following = state.get("next")
    systems = {system["id"]: system["name"] for system in text.session.schema["systems"]}
    before = f" before {systems.get(following, following)}" if following is not None else ""
    return f"{state.get('mode', 'paused')}{before} at tick {state.get('tick')} {state.get('why') or ''}".rstrip()


_send_command("pause", "stop at the next boundary; the run goes on 30 s after its last controller has gone", _where)
_send_command("run", "go on", lambda text, _: "running")


@_command(
    "step [system|phase|tick] [COUNT]", "go on by a few units while paused; one tick if none is named", controls=True
)
def _step(text: Text, words: list[str]) -> None:
    unit = words.pop(0) if words and not words[0].isdigit() else "tick"
    text.say(_where(text, text.ask("step", unit=unit, count=int(words[0]) if words else 1)))


@_command("to SYSTEM|TICK", "go on until just before a system, or to the end of a tick", controls=True)
def _to(text: Text, words: list[str]) -> None:
    where = {"tick": int(words[0])} if words[0].isdigit() else {"system": text.system(words[0])}
    text.say(_where(text, text.ask("run_to", **where)))


@_command("set COLUMN[LABEL] ROWS VALUES [force] [because REASON] | set ADDRESS VALUE", "write values (1 or 1,2,3) into rows, or a constant", controls=True)  # fmt: skip
def _set(text: Text, words: list[str]) -> None:
    reason = ""
    if "because" in words:
        at = words.index("because")
        words, reason = words[:at], " ".join(words[at + 1 :])
    force = words[-1] == "force"
    words = words[:-1] if force else words
    if len(words) == 2:
        with contextlib.suppress(SceneError):  # of what is no column
            column = text.place(words[0]).column
            if words[0] not in [constant["address"] for constant in text.session.schema["constants"]]:
                example = f"say also of which rows, as in `set {words[0]} 0 1.5`."
                raise CommandRefused(f"{column.address} is a column: {example}")
        answer = text.ask("set", address=words[0], value=words[1], reason=reason)
        text.say(f"{words[0]}: {answer.get('old')} → {answer.get('new')} ({answer.get('when')})")
        return
    where, which, values = words
    place = text.place(where)
    rows = parse_rows(which, place.column.rows, MOST_ROWS_SET)
    array = np.array([_number(value) for value in values.split(",")])  # the run says what the column cannot hold
    answer = text.ask("set", column=place.column.id, rows=rows, labels=place.labels, values=pack_array(array), force=force, reason=reason)  # fmt: skip
    old = unpack_array(answer["old"]).reshape(-1)
    before = ", ".join(map(_number_text, old[:8])) + (" …" if len(old) > 8 else "")
    text.say(f"{where} of {len(rows)} row(s): {before} → {values}")


@_command("break [--at MOMENT] [--rows ROWS] [--skip N] [--mark|--keep] EXPRESSION", "stop where it holds: break nonfinite(robot.DofState.velocity)", controls=True)  # fmt: skip
def _break(text: Text, words: list[str]) -> None:
    fields: dict[str, Any] = {"at": "tick", "rows": None, "skip": 0, "action": "pause"}
    readers: dict[str, Callable[[str], Any]] = {"at": str, "rows": text.any_rows, "skip": int}
    while words and words[0].startswith("--"):
        option = words.pop(0)[2:]
        if option in ("mark", "keep"):
            fields["action"] = option
        elif option in readers:
            fields[option] = readers[option](words.pop(0))
        else:
            raise ValueError
    if not words:
        text.table([[str(number), expression] for number, expression in text.breaks.items()])
        if not text.breaks:
            text.say(f"No break is set; it is: {COMMANDS['break'].usage}")
        return
    expression = " ".join(words)
    number = text.ask("break", when=expression, **fields)["break"]
    text.breaks[number] = expression
    text.say(f"break {number}: {expression}")


@_command("unbreak NUMBER", "remove a break", controls=True)
def _unbreak(text: Text, words: list[str]) -> None:
    text.ask("unbreak", **{"break": int(words[0])})
    text.breaks.pop(int(words[0]), None)
    text.say(f"break {int(words[0])} removed")


@_command("seek TICK|-TICKS", "look at an earlier tick: a number, or how far back", controls=True)
def _seek(text: Text, words: list[str]) -> None:
    tick = int(words[0])
    if tick < 0:
        tick += int(text.session.wait_for_state().get("tick") or 0)
    text.ask("seek", tick=max(0, tick))
    further = "" if isinstance(text.session, RecordingSession) else ", `branch` goes on from here"
    text.say(f"viewing tick {max(0, tick)}; `live` goes back{further}")


_send_command("live", "back to the latest tick", _where)
_send_command(
    "branch",
    "go on from the tick in view",
    lambda text, _: f"on from tick {text.session.standing().get('tick')}, still paused; `run` goes on",
)


@_command("reset ROWS", "send rows through RESET", controls=True)
def _reset(text: Text, words: list[str]) -> None:
    rows = text.any_rows(words[0])
    text.ask("reset", rows=rows)
    text.say(f"{len(rows)} row(s) go through RESET in the next tick")


@_command("record on|off [CONTENT]", "begin or end a recording in the run's folder", controls=True)
def _record(text: Text, words: list[str]) -> None:
    if words[0] not in ("on", "off"):
        raise ValueError
    content = {"content": " ".join(words[1:])} if len(words) > 1 else {}
    answer = text.ask("record", on=words[0] == "on", **content)
    text.say(f"recording {words[0]} {answer.get('path', '')}".rstrip())


_send_command(
    "snapshot", "write a snapshot into the run's folder", lambda text, answer: f"snapshot {answer.get('name', '')}"
)


@_command("control take|release", "hold control, or give it back; commands that change something take it")
def _control(text: Text, words: list[str]) -> None:
    answer = text.ask("control", do=words[0])
    text.holds_control = words[0] == "take"
    text.say(f"control: {answer.get('controller') or 'nobody'}")


@_command("help [COMMAND]", "this")
def _help(text: Text, words: list[str]) -> None:
    if words and words[0] not in COMMANDS:
        raise SceneError(f"There is no command '{words[0]}'.{did_you_mean(words[0], COMMANDS)}")
    for name, command in COMMANDS.items():
        if not words or name == words[0]:
            text.say(f"  {command.usage}\n      {command.help}")
    if not words:
        text.say(
            "  quit\n      leave; the run goes on\nROWS are 5 or 0,7,9 or 0-7 or all. A COLUMN may be the end of its address."
        )


# -- words ---------------------------------------------------------------------------------------------


def _values(frame: dict[str, Any], rows: int) -> np.ndarray:
    return unpack_array(frame["cols"][0][1:]).reshape(rows, -1)


def _number_text(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return str(value) if isinstance(value, np.integer) else f"{float(value):.6g}"


def _number(word: str) -> float:
    words = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
    try:
        return words[word] if word in words else float(word)
    except ValueError:
        raise SceneError(f"'{word}' is not a number; say 2.5, or 1,2,3, or yes, or nan.") from None


def _event_line(event: dict[str, Any]) -> str:
    row = f" row {event['row']}" if event.get("row") is not None else ""
    fields = ", ".join(f"{key} {value}" for key, value in (event.get("fields") or {}).items())
    tick = f"[{event['tick']}] " if event.get("tick") is not None else ""
    kind = str(event.get("kind"))
    text = str(event.get("text") or fields).removeprefix(f"{kind}: ")
    return f"{tick}{kind}{row}: {text}"


# -- the prompt ----------------------------------------------------------------------------------------


def prompt(text: Text, source: TextIO) -> int:
    """Do lines until there are no more, or `quit`; 0, or 1 when the run has gone."""
    text.stdin, text.use_rawinput = source, source.isatty()
    text.prompt = text.prompt if text.use_rawinput else ""
    try:
        text.cmdloop(f"{text.session.greeting} `help` shows the commands.")
    except KeyboardInterrupt:
        text.say("")
    except AttachError as error:
        text.say(str(error))
        return 1
    return 0


def print_event(event: dict[str, Any], out: TextIO | None = None) -> None:
    """Print an event that a person at a prompt should see at once."""
    if event.get("kind") not in _QUIET:
        print(_event_line(event), file=out, flush=True)
