"""Self-check: what the worker assumes of Isaac Gym, measured where it is installed, as a report that can be pasted into an issue."""

import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from components.robot import DofState, Motor, RobotDescription, RootState
from engine.ecs.component import make
from engine.errors import LockstepError
from engine.files import write_file
from systems.physics.isaacgym.backend import start
from systems.physics.isaacgym.launch import WorkerProcess, find_python
from systems.physics.isaacgym.worker.assumptions import FRICTION, SECOND_SETTER, SPIN_AXES, VELOCITY_POINT
from systems.robots.model import RobotModel, build_robot

PASS, FAIL, INFO = "PASS", "FAIL", "INFO"
_FRICTIONS = {"average": 0.5, "maximum": 1.0, "minimum or product": 0.0}  # of a shape with 1 on ground with 0
_ROBOT = """<mujoco><compiler angle="radian"/><worldbody><body name="base" pos="0 0 1"><freejoint/>
<geom size="0.1" mass="2"/>{}</body></worldbody></mujoco>"""
_LEG = """<body name="{0}" pos="0 {1} 0"><joint name="{0}_hip" axis="0 1 0" range="-2 1" armature="0.02"/>
<geom type="capsule" fromto="0 0 -0.1 0 0 -0.3" size="0.03" mass="1"/><body name="{0}_foot" pos="0 0 -0.3">
<joint name="{0}_knee" axis="0 1 0" range="0 2"/><geom type="sphere" size="0.05" mass="0.5"/></body></body>"""


@attrs.frozen
class Line:
    """One line of a report."""

    status: str
    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.status:<5} {self.name:<44} {self.value}"


def probe_robot() -> RobotModel:
    """A robot of two legs that stand in its file against the order of their names."""
    legs = _LEG.format("right", -0.2) + _LEG.format("left", 0.2)
    description = RobotDescription(
        name="probe",
        model=lambda: _ROBOT.format(legs),
        motors={".*": Motor(stiffness=40.0, damping=2.0, torque=8.0, speed=10.0)},
        feet=("right_foot", "left_foot"),
    )
    return build_robot(description)


class SelfCheck:
    """Runs the measurements, each group in a worker of its own, and gathers lines."""

    def __init__(self, python: str, *, gpu: bool, say: Callable[[str], None]) -> None:
        self.python = find_python(python)
        self.gpu, self._say = gpu, say
        self.lines: list[Line] = []
        self.about: dict[str, Any] = {"host_python": sys.version.split()[0], "platform": platform.platform()}

    @property
    def failed(self) -> bool:
        """Whether an assumption does not hold, or could not be measured."""
        return any(line.status == FAIL for line in self.lines)

    def note(self, status: str, name: str, value: Any) -> None:
        """Add a line."""
        self.lines.append(Line(status, name, value))
        self._say(str(self.lines[-1]))

    def holds(self, name: str, is_so: bool, value: Any) -> None:
        """Add whether an assumption holds."""
        self.note(PASS if is_so else FAIL, name, value)

    def run(self, envs: Sequence[int]) -> None:
        """Everything; a group that cannot be measured is one line that fails."""
        for group in (self._defaults, self._floating, self._standing, self._robot):
            try:
                group()
            except LockstepError as error:
                self.note(FAIL, group.__name__.strip("_"), error)
        for rows in envs:
            try:
                self._speed(rows)
            except LockstepError as error:
                self.note(FAIL, f"speed at {rows} rows", error)

    def _measured(self, what: str) -> Mapping[str, Any]:
        worker = WorkerProcess(self.python, 1, 1, 1)
        try:
            self.about |= worker.greet()
            with tempfile.TemporaryDirectory(prefix="isaacgym") as folder:
                return worker.ask("measure", what=what, folder=folder, gpu=self.gpu)
        finally:
            worker.close()

    def _defaults(self) -> None:
        found = self._measured("defaults")["found"]
        self.note(INFO, "runtime", self.about["runtime"])
        for name in ("python", "numpy", "torch", "ninja", "compiler", "folder"):
            self.note(INFO, f"{name} of the worker", self.about[name])
        if self.gpu and torch.cuda.is_available():
            self.about["card"] = torch.cuda.get_device_name()
            self.note(INFO, "card", f"{self.about['card']}, compute capability {torch.cuda.get_device_capability()}")
        for name, value in found.items():
            self.note(INFO, f"default {name}", f"{value:g}")

    def _floating(self) -> None:
        found = self._measured("floating")
        center = np.allclose(found["center"], [0.1, 0.0, 0.0], atol=1e-4)
        inertia = np.allclose(found["inertia"], [0.02, 0.03, 0.04], rtol=0.01)
        self.holds("the importer keeps a mass", abs(found["mass"] - 2.0) < 1e-3, f"{found['mass']:.4g} kg of 2 kg")
        self.holds("the importer keeps a centre of mass", bool(center), found["center"])
        self.holds("the importer keeps an inertia", bool(inertia), found["inertia"])
        limits = np.allclose(found["limits"], [-1.0, 0.5, -0.25, 2.0], atol=1e-4)
        self.holds("the importer keeps joint ranges", bool(limits), found["limits"])
        self.note(INFO, "joints that stand right, left in the file", ", ".join(found["joints"]))
        moved, turned = np.array(found["moved"]), np.array(found["turned"])
        points = {"centre of mass": np.array([0.0, -0.2, 0.0]), "origin": np.zeros(3)}
        self._nearest("linear velocity is that of the", moved, points, VELOCITY_POINT)
        axes = {"world": np.array([0.0, 0.0, 1.0]), "body": np.array([1.0, 0.0, 0.0])}
        self._nearest("angular velocity is in the axes of", turned, axes, SPIN_AXES)
        second = "adds" if found["first_setter_kept"] else "replaces"
        kept = bool(found["second_setter_kept"]) and second == SECOND_SETTER
        self.holds("a second setter before simulate", kept, f"{second}; assumed: {SECOND_SETTER}")
        self.note(INFO, "bodies right after a setter", "stale" if found["stale"] else "fresh")

    def _nearest(self, name: str, value: np.ndarray, known: Mapping[str, np.ndarray], assumed: str) -> None:
        distances = {word: float(np.abs(value - expected).max()) for word, expected in known.items()}
        word = min(distances, key=lambda each: distances[each])
        sure = distances[word] < 0.05
        self.holds(
            name,
            sure and word == assumed,
            f"{word if sure else 'neither'} ({value.round(3).tolist()}); assumed: {assumed}",
        )

    def _standing(self) -> None:
        found, weight = self._measured("standing"), 3.001 * 9.81
        fall = found["expected_fall"]
        self.holds(
            "free fall over 0.1 s", abs(found["fallen"] - fall) < 1e-3, f"{found['fallen']:.5f} m of {fall:.5f} m"
        )
        self.holds(
            "a box presses with its weight",
            abs(found["weight"] / weight - 1.0) < 0.02,
            f"{found['weight']:.2f} N of {weight:.2f} N",
        )
        self.holds("nothing presses in flight", found["flying"] < 1e-3, f"{found['flying']:.3g} N")
        self.holds("nothing presses right after lift-off", found["after_lift"] < 1e-3, f"{found['after_lift']:.3g} N")
        near = min(_FRICTIONS, key=lambda word: abs(_FRICTIONS[word] - found["friction"]))
        value = f"{near} ({found['friction']:.3f} of 1 on 0); assumed: {FRICTION}"
        self.holds(
            "friction of two shapes", near == FRICTION and abs(_FRICTIONS[near] - found["friction"]) < 0.05, value
        )
        clamped = "clamped" if found["effort_applied"] < 2.0 else "not clamped"
        self.note(INFO, "an effort of 10 N·m over a limit of 1", f"{clamped} ({found['effort_applied']:.3g} N·m)")

    def _robot(self) -> None:
        model = probe_robot()
        device = "cuda" if self.gpu else "cpu"
        made = start(model, 4, sensed=model.axes["sensed"], python=str(self.python), device=device)
        made.link.close()
        self.holds("a robot is read back as it was written", True, f"{len(model.robot.dof_names)} joints, by name")

    def _speed(self, rows: int) -> None:
        model, device = probe_robot(), "cuda" if self.gpu else "cpu"
        made = start(model, rows, sensed=model.axes["sensed"], python=str(self.python), device=device)
        root = make(RootState, rows, model.axes, device=torch.device(device))
        dofs = make(DofState, rows, model.axes, device=torch.device(device))
        root.position[:, 2], root.rotation[:, 0] = model.robot.default_height, 1.0
        dofs.position.copy_(model.robot.default_position)
        diverged = torch.zeros(rows, dtype=torch.bool, device=device)
        target = dofs.position.clone()
        made.restart(~diverged, root, dofs)
        made.step(4, target, root, dofs, diverged)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < 2.0:
            made.step(4, target, root, dofs, diverged)
            count += 1
        each = (time.perf_counter() - began) / count
        made.link.close()
        self.note(INFO, f"{rows} rows, 4 steps at a time", f"{1e3 * each:.2f} ms, {rows / each:,.0f} control steps/s")

    def report(self) -> dict[str, Any]:
        """Everything as plain data."""
        lines = [{"status": line.status, "name": line.name, "value": str(line.value)} for line in self.lines]
        return {"isaacgym_selfcheck": 1, "holds": not self.failed, "gpu": self.gpu, **self.about, "lines": lines}

    def write(self, path: Path) -> None:
        """The report as a JSON file."""
        write_file(path, (json.dumps(self.report(), indent=1, ensure_ascii=False) + "\n").encode())
