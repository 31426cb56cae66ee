"""Session of a client without a window: ask, and wait for the answer; a thread listens."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from engine.debugger.net.connection import Address, Connection, ended_by, user_name
from engine.errors import AttachError
from engine.protocol.messages import RefusedMessage, SchemaBounds, parse

NextFrame = Callable[[float], dict[str, Any] | None]  # waits some seconds for the next data message
ANSWER = 30.0  # seconds for which an answer is waited for; a tick of a large run may take that long
_EVENTS = 1000  # kept
_LAST_WORDS = 0.5  # seconds
_END = 5.0  # seconds in which the thread that listens has to end


@attrs.define(eq=False, slots=False)
class Session:
    """One run, as a program uses it. state: the latest `state`; events: the latest events; ended: why there is no run;
    name: what others see this client called.

    Every method may raise AttachError once the connection is gone. `on_event` is called on the listening thread, but not
    with what only repeats a command that this client waits to be answered.
    """

    connection: Connection
    on_event: Callable[[dict[str, Any]], None] | None = None
    name: str = ""
    state: dict[str, Any] = attrs.field(factory=dict, init=False)
    events: deque[dict[str, Any]] = attrs.field(factory=lambda: deque(maxlen=_EVENTS), init=False)
    ended: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._news = threading.Condition()
        self._answers: dict[int, dict[str, Any] | None] = {}
        self._data: dict[int, deque[dict[str, Any]]] = {}
        self._number = 0
        self._broken: BrokenPipeError | None = None
        self.schema: dict[str, Any] = self.connection.schema or {}
        self._known = SchemaBounds.of(self.schema)
        self._listener = threading.Thread(target=self._listen, name="debugger session", daemon=True)
        self._listener.start()

    @classmethod
    def attach(
        cls, address: Address, *, role: str = "observe", on_event: Callable[[dict[str, Any]], None] | None = None
    ) -> "Session":
        """Attach and begin to listen; AttachError with what is wrong."""
        name = f"text {user_name()}"
        return cls(Connection.attach(address, role=role, client=name), on_event, name)

    @property
    def role(self) -> str:
        """The rights of this client: observe or control."""
        return str(self.connection.welcome.get("role"))

    @property
    def greeting(self) -> str:
        """A sentence about the run that this client is attached to."""
        run = self.connection.hello.get("run", {})
        text = f"Attached to {run.get('name')} ({run.get('scene')}, process {run.get('pid')})."
        holder = self.connection.welcome.get("controller")
        return text if holder is None or self.role == "control" else f"{text} {holder} holds control."

    # -- asking ----------------------------------------------------------------------------------------

    def ask(self, message: Mapping[str, Any], seconds: float = ANSWER) -> dict[str, Any]:
        """Send a command and wait for its `ok` or `error`; AttachError when none comes in time, with what the run does.

        A command that the run would not understand is refused here: the run hangs up on clients that keep sending such.
        """
        with self._news:
            self._number += 1
            number = self._number
            self._answers[number] = None
        try:
            parse({**message, "id": number}, self._known)
            self.connection.send({**message, "id": number})
            answer: dict[str, Any] | None = self._wait(lambda: self._answers[number], seconds)
        except RefusedMessage as refused:
            return {"t": refused.answer, "id": number, "code": refused.code, "text": str(refused)}
        except AttachError:
            self._wait(lambda: None, _LAST_WORDS)  # the run may have sent the reason
            raise
        finally:
            with self._news:
                del self._answers[number]
        if answer is None:
            why = f"; it is {self.state['why']}" if self.state.get("stuck") else ""
            raise AttachError(f"The run has not answered '{message['t']}' for {seconds:g} s{why}.")
        return answer

    @contextmanager
    def watch(self, kind: str, columns: list[list[Any]], rows: list[int]) -> Iterator[NextFrame]:
        """Subscribe for as long as the block lasts.

        AttachError when the run does not want to.
        """
        frames: deque[dict[str, Any]] = deque(maxlen=256)
        with self._news:
            self._data[self._number + 1] = frames
        asked = {"t": "sub", "kind": kind, "columns": columns, "rows": rows, "hz": 10.0}
        answer = self.ask(asked)
        number = answer["id"]
        try:
            if answer["t"] in ("error", "sub_no"):
                raise AttachError(str(answer.get("text")))
            yield lambda seconds: self._wait(lambda: frames.popleft() if frames else None, seconds)
        finally:
            with self._news:
                self._data.pop(number, None)
            if not self.ended:
                self.connection.send({"t": "unsub", "id": number})

    def wait_for_state(self) -> dict[str, Any]:
        """The latest state, as soon as there is one; {} when none comes in time."""
        self._wait(lambda: self.state or None, 5.0)
        return self.state

    def standing(self, seconds: float = 1.0) -> dict[str, Any]:
        """The state of a run that has just answered that it stands still; a run sends its state before the answer."""
        self._wait(lambda: self.state if self.state.get("mode") != "running" else None, seconds)
        return self.state

    def _wait(self, found: Callable[[], Any], seconds: float) -> Any:
        end = time.monotonic() + seconds
        with self._news:
            while (thing := found()) is None:
                if self.ended:
                    raise self._broken or AttachError(self.ended)
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._news.wait(left)
            return thing

    def stay(self) -> None:
        """Wait until the run has gone; AttachError with the reason."""
        while True:
            self._wait(lambda: None, ANSWER)

    def close(self) -> None:
        """Leave; the thread that listens is gone then, unless it waits for whoever reads what is printed."""
        self.connection.hang_up()
        self._listener.join(_END)
        self.connection.close()

    # -- listening -------------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            while True:
                message = self.connection.receive()
                if message is not None:
                    self._receive(message)
        except AttachError as error:
            self._end(str(error))
        except BrokenPipeError as error:  # of what on_event writes to
            self._broken = error
            self._end("Whoever read what is printed has gone.")

    def _end(self, why: str) -> None:
        with self._news:
            self.ended = self.ended or why
            self._news.notify_all()

    def _receive(self, message: dict[str, Any]) -> None:
        kind, number = message["t"], message.get("id")
        with self._news:
            if kind in ("ok", "error", "sub_ok", "sub_no") and number in self._answers:
                self._answers[number] = message
            elif kind == "data" and message.get("sub") in self._data:
                self._data[message["sub"]].append(message)
            elif kind == "state":
                self.state = message
            elif kind == "event":
                self.events.append(message)
            elif kind == "bye":
                self.ended = str(ended_by(message))
            self._news.notify_all()
        if kind == "event" and self.on_event is not None and not self._echoes(message):
            self.on_event(message)

    def _echoes(self, event: dict[str, Any]) -> bool:
        by = (event.get("fields") or {}).get("client" if event.get("kind") == "edit" else "controller")
        return event.get("kind") in ("edit", "control") and by == self.name and bool(self._answers)
