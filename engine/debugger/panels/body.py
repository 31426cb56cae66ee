"""Body panel: the selected row's figure with its reference, contacts, slips and path, drawn with QPainter."""

from collections import deque
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QContextMenuEvent, QKeySequence
from PySide6.QtWidgets import QFileDialog, QMenu

from engine.debugger.body import skeleton
from engine.debugger.body.painter import BodyPose
from engine.debugger.body.render_client import MeshView
from engine.debugger.body.skeleton import Skeleton
from engine.debugger.body.terrain import TerrainHeights, onto_ground, read_terrain
from engine.debugger.body.viewport import Viewport
from engine.debugger.model.frames import Value
from engine.debugger.model.history import history_of
from engine.debugger.model.schema import ColumnInfo, clip_name
from engine.debugger.model.subscription import Subscription
from engine.debugger.net.model_file import Fetch, kept
from engine.debugger.panels.panel import Panel
from engine.debugger.widgets.parts import stack
from engine.debugger.widgets.theme import AMBER, DIM, RED, WHITE
from engine.protocol.framing import pack_array

TRAILS = 200  # pieces of slip trail that are kept
LONGEST_STEP = 10  # ticks between two poses from which a speed is still taken
LONGEST_PATH = 600  # samples of the root path
ROLES = ("episode_step", "clip", "clip_time", "terminated", "command", "root_velocity")
PUSH = 1.0  # m/s


@attrs.define(eq=False)
class RowHistory:
    """What poses leave behind for the ones after them, of one row."""

    row: int = -1
    tick: int = -1
    step: float = -1.0
    position: np.ndarray | None = None
    force: np.ndarray | None = None
    shot: BodyPose | None = None
    slips: np.ndarray = attrs.field(factory=lambda: np.zeros(0))
    trails: deque[np.ndarray] = attrs.field(factory=lambda: deque(maxlen=TRAILS))
    failure: BodyPose | None = None
    ended: bool = False
    failed: bool = True  # as far as is known: only a pose taken at the very end of an episode knows


class BodyPanel(Panel):
    """Where the selected row's body is, where it should be, and what pushes it."""

    title: ClassVar[str] = "Body"
    rate: ClassVar[float] = 30.0

    def _build(self) -> None:
        self.view = Viewport()
        self.view.moved = self._camera_moved
        stack(self, self.view)
        self.mesh = mesh = MeshView(self.store, self.control)
        self.destroyed.connect(lambda: mesh.close())
        self._figures: list[Skeleton] = []
        self._ground: TerrainHeights | None = None
        self._model: Fetch | None = None
        self._terrain_hash = ""
        self._memory = RowHistory()
        self._drawn: object = None
        self._actions = self._make_actions()
        self.schema_changed()

    def _make_actions(self) -> list[QAction]:
        made = []
        for text, key, act in (
            ("Three-quarter view, whole figure", "0", lambda: self._stand(145.0, -12.0, True)),
            ("Front view", "1", lambda: self._stand(180.0, -5.0)),
            ("Side view", "2", lambda: self._stand(90.0, -5.0)),
            ("Top view", "3", lambda: self._stand(0.0, -89.0)),
            ("Push the row away from here", "K", self._push),
            ("Start the next clip", "G", self._next_clip),
            ("Follow the root", "C", self._toggle_follow),
            ("Meshes instead of capsules", "M", self._toggle_mesh),
        ):
            action = self.addAction(text, QKeySequence(key), act)
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            made.append(action)
        for action in made[-2:]:
            action.setCheckable(True)
        made[-2].setChecked(True)
        return made

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802 - Qt's name
        """Every key of the panel as a menu entry, and the figures to choose from."""
        menu = QMenu(self)
        menu.addActions(self._actions)
        menu.setToolTipsVisible(True)
        self._actions[-1].setToolTip(self.mesh.refusal(self.view.figure) or "Drawn by MuJoCo in a process of its own")
        menu.addAction("Choose a model file for meshes…").triggered.connect(self._choose_model)
        if len(self._figures) > 1:
            menu.addSeparator()
            for figure in self._figures:
                chosen = menu.addAction(f"Show {figure.name}")
                chosen.triggered.connect(lambda _=False, figure=figure: self._choose(figure))
        menu.exec(event.globalPos())

    def _choose(self, figure: Skeleton) -> None:
        self.view.figure, self.view.shot, self._memory, self._drawn = figure, None, RowHistory(), None
        self.view.frame_figure()
        self._find_terrain()
        self.mesh.close()
        self.changed.emit()

    def _choose_model(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Model of the robot", "", "Models (*.xml *.mjb)")
        if name:
            self.mesh.close()
            self.mesh.chosen = Path(name)
            self._toggle_mesh()

    def _stand(self, azimuth: float, elevation: float, whole: bool = False) -> None:
        """Look along a direction that turns with the root's heading."""
        shot = self.view.shot
        facing = skeleton.heading(None if shot is None or shot.rotation is None else shot.rotation[0])
        if whole:
            self.view.frame_figure()
        self.view.look(facing + azimuth, elevation)

    def _push(self) -> None:
        """Make the root of the selected row faster by PUSH in the direction that is looked along, or say why not."""
        figure, row = self.view.figure, self.store.selected
        column = None if figure is None else self.store.role("root_velocity", figure.table)
        held = None if column is None else self._array(column.id, row, (3,))
        if column is None or held is None:
            self._answered({"text": "The velocity of this figure is not known, so that nothing can push it."})
            return
        along = np.radians(self.view.camera().azimuth)
        faster = held + PUSH * np.array((np.cos(along), np.sin(along), 0.0))
        self._write(column, row, faster[None], "push")

    def _next_clip(self) -> None:
        """Have the selected row start its next clip from the first frame, or say why not."""
        figure = self.view.figure
        column = None if figure is None else self.store.role("next_clip", figure.table)
        if column is None:
            self._answered({"text": "This figure follows no clips, so that there is no next one."})
            return
        self._write(column, self.store.selected, np.ones(1), "next clip")

    def _write(self, column: ColumnInfo, row: int, values: np.ndarray, reason: str) -> None:
        what = {"column": column.id, "rows": [row], "labels": None, "values": pack_array(values.astype(column.dtype))}
        self.control.send({"t": "set", **what, "force": False, "reason": reason}, self._answered)

    def _answered(self, answer: dict[str, Any]) -> None:
        self.view.note = "" if answer.get("t") == "ok" else str(answer.get("text", "The run refused it."))
        self.view.update()

    def _toggle_follow(self) -> None:
        self.view.follow = not self.view.follow
        self._actions[-2].setChecked(self.view.follow)

    def _toggle_mesh(self) -> None:
        """Start or end the render process; where it cannot start, say why under the picture."""
        if self.mesh.running or self.mesh.refusal(self.view.figure):
            self.mesh.close()
        else:
            self.mesh.open(self.view.figure)
        self._actions[-1].setChecked(self.mesh.running)
        self.view.note = "" if self.mesh.running else self.mesh.refusal(self.view.figure)
        self.view.mesh, self._drawn = None, None
        self.changed.emit()
        self.refresh()

    def _camera_moved(self) -> None:
        self._drawn = None

    def schema_changed(self) -> None:
        """Read the figures anew; the camera stays where it is."""
        self._figures = skeleton.read_skeletons(self.store.schema)
        self._figures = [f for f in self._figures if all(column in self.store.columns for column in f.columns)]
        old = self.view.figure
        same = next((f for f in self._figures if old is not None and f.name == old.name), None)
        self.view.figure = same or next(iter(self._figures), None)
        self.view.shot, self._memory, self._drawn = None, RowHistory(), None
        self._find_terrain()
        self.changed.emit()

    def _find_terrain(self) -> None:
        """Read the terrain of the figure from the run's model, once that is here."""
        figure = self.view.figure
        wanted = figure.model_hash if figure is not None and figure.terrain else ""
        if wanted == self._terrain_hash:
            return
        if self._model is not None:
            self._model.close()
        path = kept(wanted)
        self._terrain_hash, self._ground = wanted, None if path is None else read_terrain(path)
        self._model = Fetch(self.control, wanted) if wanted and path is None else None

    def _await_terrain(self) -> bool:
        """Whether the terrain has come since this was last asked."""
        if self._model is None or not self._model.over:
            return False
        path, self._model = self._model.path, None
        self._ground = None if path is None else read_terrain(path)
        return self._ground is not None

    def subscriptions(self) -> list[Subscription]:
        """Poses of the selected row, and its root tick by tick."""
        figure = self.view.figure
        if figure is None:
            return []
        columns = list(figure.columns)
        columns += [c.id for role in ROLES if (c := self.store.role(role, figure.table)) is not None]
        columns += [column for column in self.mesh.columns if column not in columns]
        return [
            Subscription("pose", tuple((column, None) for column in dict.fromkeys(columns)), "selected", self.rate),
            Subscription("trace", ((figure.root, (0, 1, 2)),), "selected", 10.0),
        ]

    def refresh(self) -> None:
        """Draw the pose of the selected row, if another one has come."""
        view, row = self.view, self.store.selected
        if view.figure is None:
            empty = self.store.schema is not None
            self._say([[("This scene declares no figure to draw (Scene.figures).", DIM)]] if empty else [])
            return
        held = self.store.value(view.figure.position, row)
        new_picture = self._await_terrain() | self.mesh.poll()
        seen = self.store.seen["trace"], self.store.seen["pose"]  # others may bring positions before the rest
        now = (row, self.store.cursor, None if held is None else (held[0], held[2]), *seen)
        if now == self._drawn and not new_picture:
            return
        self._drawn = now
        view.shot = None if held is None else self._take(view.figure, row, held)
        view.lines = self._words(view.figure, row, held)
        view.track()
        if self.mesh.running and view.shot is not None:
            view.mesh, view.note = self.mesh.draw(view.camera(), row), self.mesh.progress
        elif view.mesh is not None or self.mesh.problem:
            view.mesh, view.note = None, self.mesh.problem
            self._actions[-1].setChecked(False)
        view.update()

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Nobody looks, so nothing is rendered."""
        super().hideEvent(event)
        self._drawn = None

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """End the render process with the panel."""
        self.mesh.close()
        super().closeEvent(event)

    def _say(self, lines: list[list[tuple[str, str]]]) -> None:
        if self.view.lines != lines:
            self.view.lines, self.view.shot = lines, None
            self.view.update()

    def _array(self, column: int | None, row: int, shape: tuple[int, ...]) -> np.ndarray | None:
        held = None if column is None else self.store.value(column, row)
        return None if held is None or held[1].shape != shape else np.asarray(held[1], np.float64)

    def _force(self, figure: Skeleton, row: int) -> np.ndarray | None:
        """(bodies, 3) N, for each body the force in the place of its name; 0 where it is not measured."""
        info = None if figure.force is None else self.store.columns.get(figure.force)
        held = None if info is None else self._array(figure.force, row, info.shape)
        if info is None or held is None or len(info.shape) != 2 or info.shape[1] != 3:
            return None
        force = np.zeros((len(figure.bodies), 3))
        for name, value in zip(info.axes[0], held, strict=True):
            if name in figure.bodies:
                force[figure.bodies.index(name)] = value
        return force

    def _take(self, figure: Skeleton, row: int, held: Value) -> BodyPose | None:
        """Put together what is drawn of this tick, and remember it for the next one."""
        count = len(figure.bodies)
        position = self._array(figure.position, row, (count, 3))
        if position is None:
            return None
        rotation = self._array(figure.rotation, row, (count, 4))
        reference = self._array(figure.reference, row, (len(figure.tracked), 3))
        force = self._force(figure, row)
        command_role = self.store.role("command", figure.table)
        command = None if command_role is None else self._array(command_role.id, row, command_role.shape)
        self._remember(figure, row, held, position, force)
        memory = self._memory
        shot = BodyPose(
            position=position,
            rotation=rotation,
            reference=reference,
            force=force,
            errors=skeleton.tracking_errors(figure, position, reference),
            command=None if command is None or command.shape not in ((2,), (3,)) else command,
            path=self._path(figure, row, held[0]),
            trails=np.array(memory.trails).reshape(-1, 2, 3),
            failure=memory.failure,
            ground=self._ground,
        )
        memory.shot = attrs.evolve(shot, failure=None)
        return shot

    def _remember(
        self, figure: Skeleton, row: int, held: Value, position: np.ndarray, force: np.ndarray | None
    ) -> None:
        """Slip trails since the last pose, and the last pose of an episode that has ended by failing."""
        memory, (tick, _, ended) = self._memory, held
        step = self.store.number(self.store.role("episode_step", figure.table), row)
        if memory.row != row:
            memory = self._memory = RowHistory(row=row)
        passed = tick - memory.tick
        new_episode = memory.ended or (step is not None and step < memory.step) or passed < 0
        if new_episode and passed >= 0 and memory.shot is not None and memory.failed:
            memory.failure = memory.shot
        if new_episode:
            memory.trails.clear()
        seconds = history_of(self.store).know(self.store.schema).dt
        memory.slips = np.zeros(len(position))
        follows = not new_episode and 0 < passed <= LONGEST_STEP
        if follows and seconds and memory.position is not None and memory.force is not None and force is not None:
            memory.slips = skeleton.slip_speeds(memory.position, position, memory.force, force, passed * seconds)
            for body in np.flatnonzero(memory.slips > skeleton.SLIP).tolist():
                piece = np.stack((memory.position[body], position[body]))
                memory.trails.append(onto_ground(piece, self._ground))
        memory.tick, memory.position, memory.force, memory.ended = tick, position, force, ended
        memory.step = -1.0 if step is None else step
        terminated = self.store.number(self.store.role("terminated", figure.table), row)
        memory.failed = not ended or terminated is None or terminated > 0.0

    def _path(self, figure: Skeleton, row: int, tick: int) -> np.ndarray:
        """Where the root was since the episode began, up to a tick."""
        (ticks, x, breaks), (_, y, _), (_, z, _) = (self.store.trace(figure.root, label, row) for label in range(3))
        if not len(x) == len(y) == len(z):
            return np.zeros((0, 3))
        end = int(np.searchsorted(ticks, tick, "right"))
        first = max(0, end - LONGEST_PATH)
        begun = np.flatnonzero(breaks[first:end])
        first += int(begun[-1]) if len(begun) else 0
        return np.stack((x[first:end], y[first:end], z[first:end]), 1)

    def _words(self, figure: Skeleton, row: int, held: Value | None) -> list[list[tuple[str, str]]]:
        """Row, episode, clip; and the two largest violations."""
        head = [(f"row {row}", WHITE)]
        if held is None:
            ended = self.store.state.get("mode") == "ended"
            return [head, [("nothing was received of its pose" if ended else "waiting for its pose", DIM)]]
        roles = (self.store.role(role, figure.table) for role in ("episode_step", "clip", "clip_time"))
        step, clip, time = (self.store.number(role, row) for role in roles)
        seconds = history_of(self.store).know(self.store.schema).dt
        if step is not None:
            head.append((f"episode {step * seconds:.2f} s (step {step:.0f})" if seconds else f"step {step:.0f}", WHITE))
        if name := clip_name(history_of(self.store).know(self.store.schema).clips, clip):
            head.append((f"clip {name}" + ("" if time is None or np.isnan(time) else f" @ {time:.2f} s"), WHITE))
        if held[2]:
            head.append(("episode ends in this tick", AMBER))
        shot = self.view.shot
        if shot is None:
            return [head, [(f"its pose is not one of {len(figure.bodies)} bodies", DIM)]]
        worst = skeleton.violations(figure, shot.position, shot.errors, self._memory.slips)[:2]
        return [head, [(text, RED if share > 1.0 else AMBER if share > 0.7 else DIM) for text, share in worst]]
