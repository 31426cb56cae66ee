"""The text client against a scripted run: every command, what it prints, and how it fails."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.debugger import __main__ as command
from engine.debugger.__main__ import main
from engine.debugger.model.schema import find_part, parse_rows, read_columns
from engine.debugger.net.connection import Address
from engine.debugger.net.session import Session
from engine.debugger.text import COMMANDS, Text, print_event, prompt
from engine.errors import AttachError, SceneError
from engine.inspect.listener import ListenOptions
from engine.inspect.server import DebugServer
from engine.protocol.discovery import write_note
from engine.protocol.framing import unpack_array
from tests.debugger.scripted import PATIENCE, ScriptedServer
from tests.debugger.scripted_run import JOINTS, ScriptedRun
from tests.helpers import REPOSITORY


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of live runs, empty."""
    with tempfile.TemporaryDirectory(prefix="txt", dir="/tmp") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setenv("TMPDIR", str(tmp_path))  # of the commands that a test starts
        folder = Path(name) / "lockstep"
        folder.mkdir(mode=0o700)
        yield folder


@pytest.fixture
def server(runtime: Path) -> Iterator[ScriptedServer]:
    """A scripted run that can be found."""
    stem = runtime / str(os.getpid())
    note = {"protocol": [1, 0], "pid": os.getpid(), "host": socket.gethostname(), "scene": "scripted", "run": "walk/1",
            "started": "now"}  # fmt: skip
    write_note(stem.with_suffix(".json"), note)
    with ScriptedServer(stem.with_suffix(".sock")) as made:
        yield made


@pytest.fixture
def text(server: ScriptedServer) -> Iterator[Text]:
    made = Text(Session.attach(Address(path=str(server.path))), io.StringIO())
    yield made
    made.session.close()


def output(text: Text, line: str, well: bool = True) -> str:
    """What one command prints."""
    assert isinstance(text.stdout, io.StringIO)
    text.stdout.seek(0)
    text.stdout.truncate()
    assert text.run(line) is well, text.stdout.getvalue()
    return text.stdout.getvalue()


def until(holds: Callable[[], Any]) -> None:
    """Wait for what another thread brings about."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


# -- looking -------------------------------------------------------------------------------------------


def test_list_shows_columns_with_type_and_writer(text: Text):
    lines = output(text, "list torque").splitlines()
    assert lines[0].split() == ["robot.DofTorque.value", "29", "N·m", "signal", "pd_torque"]
    assert lines[-1] == "1 of 32 columns."
    assert output(text, "list").count("robot.") == 32
    assert output(text, "list nothing-like-this") == "0 of 32 columns.\n"


def test_print_shows_the_numbers_of_the_run(text: Text, server: ScriptedServer):
    lines = output(text, "print RootState.position 0,2048").splitlines()
    assert lines[0] == "robot.RootState.position [m] at tick 1000"
    assert lines[1].split() == ["row", "0", "row", "2048"]
    rows = np.array([0, 2048])
    expected = server.run.sample(0, np.array([1000, 1000]), rows)
    for place, label in enumerate("xyz"):
        words = lines[2 + place].split()
        assert words[0] == label
        np.testing.assert_allclose([float(w) for w in words[1:]], expected[:, place], rtol=1e-5)


def test_print_of_one_label_has_a_line_for_each_row(text: Text, server: ScriptedServer):
    lines = output(text, "print 'DofTorque.value[left_knee]' 0-3").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["row", "0", "1", "2", "3"]
    assert server.wait("sub")["columns"] == [[12, [JOINTS.index("left_knee")]]]
    assert server.wait("unsub")["id"] == server.wait("sub")["id"]


def test_watch_prints_values_as_they_come(text: Text, server: ScriptedServer):
    server.advance(3)
    assert output(text, "watch Episode.step 5 1").splitlines()[0] == "tick  value"
    assert server.wait("unsub")["id"] == server.wait("sub")["id"]


def test_provenance_names_writer_and_readers(text: Text):
    assert output(text, "provenance 'DofTorque.value[left_knee]' 7").splitlines() == [
        "robot.DofTorque.value was written by pd_torque at tick 1000 (observed).",
        "  from: robot.DofTarget, robot.DofState, robot.PdGains",
        "  read by: step_physics",
    ]


def test_systems_constants_state_log_and_help(text: Text, server: ScriptedServer):
    assert output(text, "systems STEP").split()[:3] == ["4", "STEP", "physics.step_physics"]
    assert output(text, "constants std").split() == ["tracking.reward.body_position.std", "float", "0.3"]
    assert "mode              running" in output(text, "state")
    server.event("break", "nonfinite(robot.DofTorque.value) hit", row=7)
    until(lambda: text.session.events)
    assert output(text, "log") == "[1000] break row 7: nonfinite(robot.DofTorque.value) hit\n"
    for name in COMMANDS:
        assert COMMANDS[name].usage in output(text, "help")
        assert output(text, f"help {name}").startswith(f"  {name}")


def test_the_tab_key_completes_commands_columns_systems_and_constants(text: Text):
    assert text.completenames("st") == ["state", "step"]
    assert text.completedefault("DofT") == ["DofTarget.position", "DofTorque.value"]
    assert text.completedefault("robot.Reward.to") == ["robot.Reward.total"]
    assert text.completedefault("step_") == ["step_physics"]
    assert text.completedefault("tracking.reward.body_position.s") == ["tracking.reward.body_position.std"]


# -- changing ------------------------------------------------------------------------------------------


def test_a_command_that_changes_something_takes_control_first(text: Text, server: ScriptedServer):
    assert output(text, "pause") == "paused before fill_gains at tick 1000 paused by hand\n"
    kinds = [m["t"] for m in list(server.received) if m["t"] not in ("auth", "pong")]
    assert kinds == ["control", "pause"]
    output(text, "run")
    assert server.received[-1]["t"] == "run"
    assert len(server.messages("control")) == 1


def test_stepping_says_where_the_run_stands(text: Text):
    assert output(text, "step", well=False) == "Pause before stepping.\n"
    output(text, "pause")
    assert output(text, "step system 2") == "paused before aim at tick 1000 stepped\n"
    assert output(text, "step 3") == "paused before aim at tick 1003 stepped\n"
    assert output(text, "to reward") == "paused before reward at tick 1004 arrived\n"
    assert output(text, "to 1010").startswith("paused before fill_gains at tick 1010")


def test_set_writes_into_rows_and_says_what_was_there(text: Text, server: ScriptedServer):
    assert output(text, "set 'PdGains.stiffness[left_knee]' 0-1 120.5 because too soft") == (
        "PdGains.stiffness[left_knee] of 2 row(s): 99, 99 → 120.5\n"
    )
    message = server.wait("set")
    assert (message["rows"], message["labels"]) == ([0, 1], [JOINTS.index("left_knee")])
    assert (message["reason"], message["force"]) == ("too soft", False)
    np.testing.assert_array_equal(unpack_array(message["values"]), np.float32([120.5]))
    assert output(text, "print 'PdGains.stiffness[left_knee]' 0,2").splitlines()[2:] == ["0    120.5", "2    99"]
    output(text, "set RootState.position 4 0,0,0.8 force")
    assert server.wait("set")["force"] is True


def test_set_changes_a_constant_by_its_address(text: Text, server: ScriptedServer):
    assert (
        output(text, "set tracking.reward.body_position.std 0.2")
        == "tracking.reward.body_position.std: 0.3 → 0.2 (live)\n"
    )
    assert server.wait("set")["address"] == "tracking.reward.body_position.std"


def test_breaks_are_set_listed_and_removed(text: Text, server: ScriptedServer):
    line = "break --at 'before reward' --rows 0-3 --skip 2 --mark nonfinite(robot.DofTorque.value)"
    assert output(text, line) == "break 1: nonfinite(robot.DofTorque.value)\n"
    message = server.wait("break")
    assert (message["at"], message["rows"], message["skip"], message["action"]) == (
        "before reward",
        [0, 1, 2, 3],
        2,
        "mark",
    )
    assert output(text, "break").split() == ["1", "nonfinite(robot.DofTorque.value)"]
    assert output(text, "unbreak 1") == "break 1 removed\n"
    assert output(text, "break").startswith("No break is set; it is: break [--at MOMENT]")


def test_time_travel_and_the_rest(text: Text, server: ScriptedServer):
    assert output(text, "seek -35").startswith("viewing tick 965;")
    assert output(text, "branch").startswith("on from tick 965, still paused;")
    assert server.tick == 965
    assert "at tick 965" in output(text, "live")
    assert output(text, "reset 3,4") == "2 row(s) go through RESET in the next tick\n"
    assert server.wait("reset")["rows"] == [3, 4]
    assert output(text, "record on trace") == "recording on\n"
    assert server.wait("record")["content"] == "trace"
    assert output(text, "record off") == "recording off records/1.rec\n"
    assert output(text, "snapshot") == "snapshot iteration_000001_tick_965.lockstep\n"
    assert output(text, "control release") == "control: nobody\n"
    assert text.holds_control is False


# -- failing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("prnt x", "There is no command 'prnt'. Did you mean print or run? `help` shows all."),
        ("print Dof.pos", "The run has no column 'Dof.pos'. Did you mean DofState.position"),
        ("print position", "'position' may be robot.RootState.position or robot.DofState.position or"),
        ("print 'DofTorque.value[left_nee]'", "robot.DofTorque.value has no value 'left_nee'. Did you mean left_knee"),
        ("print Reward.total 9999", "There is no row 9999; the table has 4096, counted from 0."),
        ("print Reward.total 0-99", "'0-99' names 100 rows; 1 to 64 can be asked for at once."),
        ("print Reward.total x", "'x' names no rows; say a number, 0,7,9 or 0-7."),
        ("print", "'print' is not understood; it is: print COLUMN[LABEL] [ROWS]"),
        ("print 'x", "cannot be read (No closing quotation)"),
        ("to nowhere", "There is no system 'nowhere'."),
        ("set Reward.total 0 soft", "'soft' is not a number; say 2.5, or 1,2,3, or yes, or nan."),
        (
            "set Reward.total 0",
            "robot.Reward.total is a column: say also of which rows, as in `set Reward.total 0 1.5`.",
        ),
        ("set RootState.position 3 1,2", "set has 2 values for 1 row of 3; give 1 or 3."),
        ("set", "'set' is not understood; it is: set COLUMN"),
        ("watch Reward.total 0-3", "'0-3' names 4 rows; one can be asked for at once."),
        ("log -3", "'log -3' is not understood; it is: log [COUNT]"),
        ("break --loudly x", "is not understood; it is: break"),
        ("record maybe", "'record maybe' is not understood"),
        ("step banana", "unit of 'step' is 'banana', not system or phase or tick."),
        ("step tick 0", "count of 'step' is 0, not a whole number from 1 to 1000000."),
        ("break --at noon x > 1", "at of 'break' is 'noon', not 'tick', 'before <system>' or 'after <system>'."),
        ("help me", "There is no command 'me'."),
    ],
)
def test_a_mistake_is_a_sentence(text: Text, line: str, sentence: str):
    output(text, "pause")
    assert sentence in output(text, line, well=False)


def test_what_the_run_would_not_understand_is_not_sent_since_it_hangs_up_on_who_says_it_often(
    text: Text, server: ScriptedServer
):
    output(text, "pause")
    for _ in range(5):
        output(text, "step tick 0", well=False)
    assert not server.messages("step")
    assert output(text, "step").startswith("paused")


def test_numbers_are_sent_as_typed_so_that_the_run_can_say_what_a_column_does_not_hold(
    text: Text, server: ScriptedServer
):
    output(text, "set Episode.step 3 2.5")
    assert unpack_array(server.wait("set")["values"]).tolist() == [2.5]


def test_what_repeats_an_own_command_is_not_printed_and_what_others_do_is(server: ScriptedServer):
    out = io.StringIO()
    text = Text(Session.attach(Address(path=str(server.path)), on_event=partial(print_event, out=out)), out)
    mine, fields = text.session.name, {"controller": "ann", "client": "ann"}
    server.deaf.add("pause")

    def ask() -> None:
        with pytest.raises(AttachError):
            text.session.ask({"t": "pause"})

    asking = threading.Thread(target=ask)
    asking.start()
    server.wait("pause")
    server.event("control", f"{mine} holds control.", fields={"controller": mine})
    server.event("edit", f"{mine}: set x", fields={"client": mine})
    server.event("edit", "ann: set y", fields=fields)
    server.event("control", "ann holds control.", fields=fields)
    server.event("warning", "break: hot")
    until(lambda: "hot" in out.getvalue())
    text.session.close()
    asking.join()
    printed = [line.partition("] ")[2] for line in out.getvalue().splitlines()]
    assert printed == ["edit: ann: set y", "control: ann holds control.", "warning: break: hot"]


def test_a_break_does_not_say_twice_that_it_is_one(text: Text, server: ScriptedServer):
    server.event("break", "break: any(x < 1) hit at row 3", row=3)
    until(lambda: text.session.events)
    assert output(text, "log 1") == "[1000] break row 3: any(x < 1) hit at row 3\n"


def test_a_refusal_of_the_run_is_shown(text: Text, server: ScriptedServer):
    server.refuse["pause"] = ("not_controller", "ann holds control.")
    assert output(text, "pause", well=False) == "ann holds control.\n"


def test_a_run_that_ends_ends_the_prompt(server: ScriptedServer):
    out = io.StringIO()
    text = Text(Session.attach(Address(path=str(server.path)), on_event=partial(print_event, out=out)), out)
    server.event("warning", "it is getting hot")
    server.event("reset", "not shown")
    server.end("the run was interrupted")
    until(lambda: text.session.ended)
    assert prompt(text, io.StringIO("list torque\npause\nlist\n")) == 1
    assert out.getvalue().splitlines()[0] == "[1000] warning: it is getting hot"
    assert "not shown" not in out.getvalue()
    assert out.getvalue().splitlines()[-1] == "the run was interrupted"


def test_a_run_that_does_not_answer_says_where_it_is(text: Text, server: ScriptedServer):
    server.deaf.add("pause")
    server._all({**server.state(), "stuck": 41.0, "why": "in step_physics for 41 s"})
    until(lambda: "stuck" in text.session.state)
    with pytest.raises(AttachError, match=r"has not answered 'pause' for 0.2 s; it is in step_physics for 41 s\."):
        text.session.ask({"t": "pause"}, 0.2)


def test_a_session_that_was_left_listens_no_more_before_its_socket_s_number_is_free(server: ScriptedServer):
    for _ in range(20):
        session = Session.attach(Address(path=str(server.path)))
        session.close()
        assert not session._listener.is_alive() and session.connection.socket.fileno() == -1


def test_another_version_is_explained(server: ScriptedServer):
    server.protocol = (2, 0)
    with pytest.raises(AttachError, match=r"protocol 2\.0, the debugger 1\.0: upgrade the debugger"):
        Session.attach(Address(path=str(server.path)))


# -- the command line ----------------------------------------------------------------------------------


def test_the_only_run_is_attached_to(server: ScriptedServer, capsys: pytest.CaptureFixture[str]):
    assert main(["--list"]) == 0
    assert "walk/1  (scripted on" in capsys.readouterr().out
    assert main(["--text", "print", "Reward.total", "0"]) == 0
    assert "robot.Reward.total [1] at tick 1000" in capsys.readouterr().out
    assert main(["--text", "print Reward.total 0"]) == 0
    assert main(["--text", "--run", "walk", "state"]) == 0
    assert main(["--text", "--run", str(os.getpid()), "seek", "-3"]) == 0
    assert main(["--text", "nonsense"]) == 1


def test_commands_can_be_read_up_without_a_run(runtime: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--text", "help"]) == 0
    assert "provenance COLUMN[LABEL] [ROW]" in capsys.readouterr().out
    assert main(["--text", "help", "seek"]) == 0
    assert capsys.readouterr().out.startswith("  seek TICK|-TICKS\n")
    assert main(["--text", "help sek"]) == 1


def test_a_command_with_options_is_to_be_quoted(server: ScriptedServer, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--text", "break", "--mark", "nonfinite(robot.DofTorque.value)"])
    assert "--mark is no option here; quote a command that has options" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--wild"])
    assert "there is no option --wild" in capsys.readouterr().err


def test_a_break_of_the_command_line_lasts_until_it_is_stopped_and_tells_when_it_is_hit(
    server: ScriptedServer,
):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "engine.debugger", "--text", "--control", "break --mark nonfinite(robot.DofState.velocity)"]  # fmt: skip
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert next(line for line in lines if line.startswith("break 1: nonfinite("))
        assert next(lines) == "It lasts as long as this does: Ctrl-C removes it.\n"
        server.event("break", "break: it is hit")
        assert next(line for line in lines if "hit" in line) == "[1000] break: it is hit\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20.0) == 0


def test_a_break_of_the_command_line_ends_quietly_when_nobody_reads_any_more(server: ScriptedServer):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "engine.debugger", "--text", "break --mark nonfinite(robot.DofState.velocity)"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        while "Ctrl-C" not in process.stdout.readline():
            pass
        process.stdout.close()
        server.event("break", "it is hit")
        assert process.wait(20.0) == 0
        assert process.stderr.read() == ""


def test_who_asks_for_control_and_does_not_get_it_hears_who_has_it(runtime: Path):
    hub = DebugServer({"name": "r", "scene": "s", "pid": 5}, ScriptedRun().schema(), folder=runtime)
    hub.start()
    try:
        first, second = (Session.attach(Address(path=f"{hub.stem}.sock"), role="control") for _ in range(2))
        assert first.greeting == "Attached to r (s, process 5)."
        assert second.greeting == f"Attached to r (s, process 5). {first.name} holds control."
        first.close()
        second.close()
    finally:
        hub.close()


def test_commands_come_from_a_pipe(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdin", io.StringIO("pause\nstep system\nquit\n"))
    assert main(["--text"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("Attached to scripted/2026-01-01_12-00-00 (scripted, process")
    assert out[-1] == "paused before act at tick 1000 stepped"


def test_which_run_is_meant_must_be_clear(server: ScriptedServer, runtime: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--text", "--run", "sprint", "state"]) == 1
    assert "No run called 'sprint' on this machine" in capsys.readouterr().err
    note = {"protocol": [1, 0], "pid": os.getppid(), "host": socket.gethostname(), "scene": "s", "run": "walk/2", "started": "now"}  # fmt: skip
    write_note(runtime / f"{os.getppid()}.json", note)
    assert main(["--text", "state"]) == 1
    assert "2 runs on this machine; name one" in capsys.readouterr().err
    assert main(["--text", "--run", "walk/1", "state"]) == 0
    assert main(["--text", "--run", "walk/2", "state"]) == 1
    assert "No run listens at" in capsys.readouterr().err


def test_without_runs_it_says_how_to_start_one(runtime: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--list"]) == 0
    assert capsys.readouterr().out == "No run is alive.\n"
    assert main(["--text", "state"]) == 1
    assert "No run is alive on this machine. Start one" in capsys.readouterr().err


def test_notes_of_processes_that_are_gone_are_removed(runtime: Path, capsys: pytest.CaptureFixture[str]):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ended = subprocess.Popen([sys.executable, "-c", ""])  # and nobody has waited for it
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    note = {
        "protocol": [1, 0],
        "pid": gone.pid,
        "host": socket.gethostname(),
        "scene": "s",
        "run": "r",
        "started": "now",
    }
    write_note(runtime / f"{gone.pid}.json", note)
    (runtime / f"{gone.pid}.sock").touch()
    write_note(runtime / f"{ended.pid}.json", {**note, "pid": ended.pid})
    write_note(runtime / "77.json", {**note, "host": "elsewhere"})
    (runtime / "junk.json").write_text("[" * 100_000)
    (runtime / "half.json").write_text('{"pid": -1}')
    assert main(["--list"]) == 0
    assert "r  (s on elsewhere since now)" in capsys.readouterr().out
    left = sorted(path.name for path in runtime.iterdir() if sys.platform == "linux" or path.stem != str(ended.pid))
    assert left == ["77.json", "half.json", "junk.json"]
    ended.wait()


def test_without_a_display_it_says_so_before_qt_starts(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert main([]) == 1
    assert "There is no display: use `ssh -X` or --text here" in capsys.readouterr().err
    assert main(["nowhere.rec"]) == 1
    assert "There is no recording nowhere.rec." in capsys.readouterr().err


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no DISPLAY")
PLUGIN = 'qt.core.library: "/qt/plugins/platforms/libqxcb.so" cannot load: Cannot load library /qt/plugins/platforms/libqxcb.so: '
CURSOR = "qt.qpa.plugin: From 6.5.0, xcb-cursor0 or libxcb-cursor0 is needed to load the Qt xcb platform plugin."
INSTALL = (
    "On Debian and Ubuntu: apt install libegl1 libgl1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1."
)


@LINUX
@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        (
            "qt.qpa.xcb: could not connect to display :9753\nqt.qpa.plugin: Could not load the Qt platform plugin",
            "There is no display :9753 that can be reached: use `ssh -X` or --text here, or record and open the file elsewhere.",
        ),
        (
            f"{PLUGIN}libxcb-icccm.so.4: cannot open shared object file: No such file or directory\n{CURSOR}\n",
            f"Qt cannot open a window here, for it lacks libxcb-icccm.so.4. {INSTALL} Without it there is --text.",
        ),
        (
            'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n'
            "ImportError: libEGL.so.1: cannot open shared object file: No such file or directory\n",
            f"Qt cannot open a window here, for it lacks libEGL.so.1. {INSTALL} Without it there is --text.",
        ),
        (
            'qt.qpa.plugin: Could not find the Qt platform plugin "nonsense" in ""\n',
            'Qt cannot open a window here (qt.qpa.plugin: Could not find the Qt platform plugin "nonsense" in ""). '
            "Without it there is --text.",
        ),
        ("", "Qt cannot open a window here (it gave no reason). Without it there is --text."),
    ],
    ids=("no display", "no X library", "no OpenGL library", "no plugin", "silence"),
)
def test_what_keeps_qt_from_opening_a_window_is_a_sentence(
    printed: str,
    sentence: str,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.setenv("DISPLAY", ":9753")
    monkeypatch.setattr(command, "_try_qt", lambda: printed)
    assert main([]) == 1
    assert capsys.readouterr().err == f"{sentence}\n"


@LINUX
@pytest.mark.parametrize("library", ["", "libEGL.so.1", "libGL.so.1", "libxcb-cursor.so.0"])
@pytest.mark.parametrize("platform", ["", "nonsense"])
def test_a_display_that_does_not_answer_is_a_sentence_and_no_core_dump_whichever_library_is_lacking(
    library: str,
    platform: str,
    server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "QT_LOGGING_RULES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":9753")
    if platform:
        monkeypatch.setenv("QT_QPA_PLATFORM", platform)
    if library:  # a file that is no library is found before the one of the system
        (tmp_path / library).write_text("none")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert main([]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    here = r"There is no display :9753 that can be reached|Qt cannot open a window here, for it lacks lib\S+\.so\S*\."
    needed_by_all = library.startswith(("libEGL", "libGL"))
    if needed_by_all:
        assert re.match(rf"Qt cannot open a window here, for it lacks {library}\.", error)
    elif platform:
        assert re.match(
            rf"{here}|Qt cannot open a window here \(qt.qpa.plugin: Could not find the Qt platform plugin", error
        )
    else:
        assert re.match(here, error) and (not library or "for it lacks libxcb" in error)


def test_a_qt_that_cannot_be_loaded_is_a_sentence(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setitem(sys.modules, "engine.debugger.app.window", None)
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("The window needs Qt, which cannot be loaded (")
    monkeypatch.setitem(sys.modules, "PySide6", None)
    assert main(["--demo"]) == 1
    assert "The window needs Qt: pip install" in capsys.readouterr().err


def test_over_tcp_with_a_token_file(runtime: Path, capsys: pytest.CaptureFixture[str]):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hub = DebugServer({"name": "tcp/1", "scene": "toy"}, ScriptedRun().schema, debug=ListenOptions(port=port))
    hub.start()
    assert hub.stem is not None
    token = hub.stem.with_suffix(".token")
    try:
        assert main(["--text", "--tcp", f"127.0.0.1:{port}", "--token-file", str(token), "list", "torque"]) == 0
        assert "1 of 32 columns." in capsys.readouterr().out
        for arguments, sentence in (
            (["--tcp", f"127.0.0.1:{port}"], "--tcp needs --token-file"),
            (["--tcp", "nowhere", "--token-file", str(token)], "is not HOST:PORT"),
            (["--tcp", "127.0.0.1:1", "--token-file", str(token)], "No run listens at 127.0.0.1:1"),
        ):
            assert main(["--text", *arguments, "state"]) == 1
            assert sentence in capsys.readouterr().err
        token.chmod(0o644)
        assert main(["--text", "--tcp", f"127.0.0.1:{port}", "--token-file", str(token), "state"]) == 1
        assert "chmod 600" in capsys.readouterr().err
        token.chmod(0o600)
        token.write_text("0" * 64)
        assert main(["--text", "--tcp", f"127.0.0.1:{port}", "--token-file", str(token), "state"]) == 1
        assert "The token is not this run's" in capsys.readouterr().err
    finally:
        hub.close()


SSH = """#!/bin/sh
# What ssh does, without another machine: run the command here; a forwarded socket is a link to the socket.
if [ "$1" = -N ]; then
  while [ "$1" != -L ]; do shift; done
  [ "$4" = broken ] && { echo "connect failed" >&2; exit 255; }
  ln -s "${2#*:}" "${2%%:*}"
  exec sleep 60
fi
[ "$2" = nowhere ] && { echo "Could not resolve hostname" >&2; exit 255; }
exec sh -c "$3"
"""


def test_runs_of_another_machine_through_ssh(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert main(["--ssh", "me@server", "--list"]) == 0
    assert "walk/1" in capsys.readouterr().out
    assert main(["--ssh", "me@server", "--text", "--run", "walk/1", "list", "torque"]) == 0
    assert "1 of 32 columns." in capsys.readouterr().out
    server.path.with_suffix(".json").write_text(
        server.path.with_suffix(".json").read_text().replace("walk/1", "gone/1")
    )
    assert main(["--ssh", "broken", "--text", "--run", "gone/1", "state"]) == 1
    assert "could not forward" in capsys.readouterr().err
    assert main(["--ssh", "nowhere", "--list"]) == 1
    assert "Could not resolve hostname" in capsys.readouterr().err
    assert main(["--ssh=-oProxyCommand=evil", "--list"]) == 1
    assert "is not a host for --ssh" in capsys.readouterr().err


def test_the_text_client_needs_neither_torch_nor_qt():
    script = (
        "import sys, engine.debugger.__main__, engine.debugger.text, engine.debugger.net.session, engine.inspect.server\n"
        "assert not {'torch', 'PySide6', 'pyqtgraph', 'mujoco'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


# -- words ---------------------------------------------------------------------------------------------


def test_places_are_found_by_the_end_of_an_address_and_by_labels():
    columns = list(read_columns(ScriptedRun().schema()))
    knee = JOINTS.index("left_knee")
    assert find_part("robot.DofTorque.value", columns).labels is None
    assert find_part("DofTorque.value[left_knee]", columns).labels == [knee]
    assert find_part("DofTorque.value[3]", columns).labels == [3]
    assert find_part("BodyState.position[left_knee]", columns).names == ["left_knee.x", "left_knee.y", "left_knee.z"]
    assert find_part("BodyState.position[left_knee.y]", columns).labels == [3 * (knee + 1) + 1]
    assert find_part("RootState.rotation[w]", columns).labels == [0]
    assert find_part("Observation.actor[command[3]]", columns).labels == [3]
    assert len(find_part("Observation.actor[command]", columns).labels or ()) == 58
    assert find_part("Reward.total", columns).names == [""]


@pytest.mark.parametrize(
    ("text", "rows"), [("5", [5]), ("0,7,9", [0, 7, 9]), ("2-4", [2, 3, 4]), ("all", list(range(10))), ("1,3-4", [1, 3, 4])]
)  # fmt: skip
def test_rows_are_read(text: str, rows: list[int]):
    assert parse_rows(text, 10, 64) == rows


@pytest.mark.parametrize("text", ["", "-1", "1-", "4-2", "a", "1.5", "10", "²", "0-9999999999"])
def test_what_names_no_rows_is_refused(text: str):
    with pytest.raises(SceneError):
        parse_rows(text, 10, 64)
