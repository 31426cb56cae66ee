"""Clients for benchmarks/debugger.py, each a process of its own.

    python -m benchmarks.debugger_clients window SOCKET BEGAN SECONDS   the window without a screen, for some seconds
    python -m benchmarks.debugger_clients plain SOCKET SUBSCRIPTIONS    subscribes to the same, reads and acknowledges

`window` prints one line of JSON: seconds since BEGAN (of time.time) until it begins to attach, until the schema and until
the first picture of the robot was drawn (and CPU seconds until then), pictures and CPU seconds of the time after a warm-up, and what it had subscribed to.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WARM_UP = 3.0  # s


def window(socket: str, began: float, seconds: float) -> dict[str, Any]:
    """Open the window on a run, watch it for `seconds`, and tell what was seen."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from PySide6.QtCore import QEvent, QObject, QSettings, QTimer
    from PySide6.QtWidgets import QApplication

    from engine.debugger.app.window import Window
    from engine.debugger.model.store import Store
    from engine.debugger.net.connection import Address
    from engine.debugger.net.qt_client import Client
    from engine.debugger.panels.body import BodyPanel
    from engine.debugger.widgets import theme

    app = QApplication([])
    theme.apply(app)
    store, found = Store(), {"schema": 0.0, "picture": 0.0, "picture_cpu": 0.0, "drawn": 0}
    client = Client(store, Address(path=socket))
    folder = Path(tempfile.mkdtemp(prefix="lockstep-window"))
    shown = Window(store, client, QSettings(str(folder / "settings.ini"), QSettings.Format.IniFormat))
    panel = shown.hosts["Body"].panel
    assert isinstance(panel, BodyPanel)
    view = panel.view

    class Eyes(QObject):
        """Sees when the picture of the robot is painted."""

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
            if event.type() == QEvent.Type.Paint and view.shot is not None:
                found["drawn"] += 1
                if not found["picture"]:
                    found.update(picture=time.time() - began, picture_cpu=time.process_time())
            return False

    eyes = Eyes()
    view.installEventFilter(eyes)
    client.schema_changed.connect(lambda: found.update(schema=found["schema"] or time.time() - began))
    warm: dict[str, float] = {}
    QTimer.singleShot(
        round(1e3 * WARM_UP), lambda: warm.update(drawn=found["drawn"], cpu=time.process_time(), at=time.time())
    )
    QTimer.singleShot(round(1e3 * (WARM_UP + seconds)), app.quit)
    found["attach"] = time.time() - began
    client.start()
    shown.show()
    app.exec()
    subscriptions = [
        {"kind": s.kind, "columns": [[c, None if places is None else list(places)] for c, places in s.columns], "hz": s.hz,
         "rows": s.rows if s.rows == "selected" else list(s.rows)} for s in client._subs
    ]  # fmt: skip
    seen = {
        "drawn": found["drawn"] - warm["drawn"],
        "cpu": time.process_time() - warm["cpu"],
        "wall": time.time() - warm["at"],
    }
    client.close()
    return found | seen | {"subscriptions": subscriptions}


def subscribe(connection: Any, subscriptions: list[dict[str, Any]]) -> None:
    """Send the subscriptions over an attached connection, numbered from 1."""
    for number, each in enumerate(subscriptions, 1):
        connection.send({"t": "sub", "id": number, **each})


def plain(socket: str, path: str) -> None:
    """Read and acknowledge whatever comes, until the run ends or this process does."""
    from engine.debugger.net.connection import Address, Connection
    from engine.errors import AttachError

    connection = Connection.attach(Address(path=socket))
    connection.send({"t": "select", "rows": [0]})
    subscribe(connection, json.loads(Path(path).read_text(encoding="utf-8")))
    pinged = 0.0
    try:
        while True:
            connection.receive(1.0)
            if time.monotonic() - pinged > 1.0:
                pinged = time.monotonic()
                connection.send({"t": "ping", "n": 1})
    except AttachError:
        return


if __name__ == "__main__":
    if sys.argv[1] == "window":
        print(json.dumps(window(sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))), flush=True)
        os._exit(0)  # what Qt does while it is torn down is not what is measured
    plain(sys.argv[2], sys.argv[3])
