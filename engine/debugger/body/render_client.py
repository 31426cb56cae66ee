"""Mesh view: pictures of a render process that a thread asks for, of the model that the run or a person names."""

import importlib.util
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtGui import QImage

from engine.debugger.body.skeleton import Skeleton
from engine.debugger.model.store import Store
from engine.debugger.model.subscription import PanelControl
from engine.debugger.net.model_file import Fetch, kept
from engine.render.camera import FIELD_OF_VIEW, OrbitCamera
from engine.render.process import NoPictures, RenderChild, platforms

PATIENCE = 20.0  # s that a picture, or the start, may take
OPTIONS = {"alone": True, "field_of_view": FIELD_OF_VIEW}
LARGEST = 640 * 480  # pixels of a picture; a larger panel shows it enlarged


class RenderProcess:
    """One render process and the thread that talks to it. The latest pose wins; a picture that fails ends it."""

    def __init__(self, model: Path, platform: str = "", program: Path | None = None) -> None:
        self.about: dict[str, Any] = {}
        self.problem = ""
        self._wanted: tuple[int, int, np.ndarray] | None = None
        self._picture: np.ndarray | None = None
        self._closed = False
        self._news = threading.Condition()
        self.child = RenderChild(model, OPTIONS, platform, PATIENCE, program)
        threading.Thread(target=self._work, name="mesh view", daemon=True).start()

    def ask(self, camera: OrbitCamera, qpos: np.ndarray) -> None:
        """Wish for a picture; one that was wished for and is not begun is forgotten."""
        share = min(1.0, (LARGEST / max(1, camera.size[0] * camera.size[1])) ** 0.5)
        width, height = (max(16, int(share * side)) for side in camera.size)
        numbers = np.array([*camera.look_at, camera.distance, camera.azimuth, camera.elevation, *qpos])
        with self._news:
            self._wanted = width, height, numbers
            self._news.notify()

    def take(self) -> np.ndarray | None:
        """The newest picture (height, width, 3) uint8, once; None where there is no new one."""
        with self._news:
            picture, self._picture = self._picture, None
        return picture

    def close(self) -> None:
        """End the process."""
        with self._news:
            self._closed = True
            self._news.notify()
        self.child.kill()

    def _work(self) -> None:
        try:
            self.about = self.child.about()
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._wanted is not None or self._closed)
                    wanted, self._wanted = self._wanted, None
                if self._closed or wanted is None:
                    return
                self.child.ask(*wanted)
                picture = self.child.take()
                with self._news:
                    self._picture = picture
        except NoPictures as error:
            if not self._closed:
                self.problem = f"No mesh view: {error}."
        finally:
            self.child.close()


class MeshView:
    """The mesh view of one figure: which columns it needs, and its pictures with nothing behind the robot."""

    def __init__(self, store: Store, control: PanelControl) -> None:
        self.store, self.control = store, control
        self.problem = ""
        self.columns: tuple[int, ...] = ()
        self.chosen: Path | None = None  # a model file that a person has chosen; wins over the one that the run names
        self._figure: Skeleton | None = None
        self._renderer: RenderProcess | None = None
        self._fetch: Fetch | None = None
        self._progress = ""
        self._platforms: list[str] = []
        self._image: QImage | None = None

    @property
    def running(self) -> bool:
        """Whether there is a render process, or will be once its model is here."""
        return self._renderer is not None or self._fetch is not None

    @property
    def progress(self) -> str:
        """How far a model is that is on its way; '' where none is."""
        return "" if self._fetch is None else self._fetch.text

    def refusal(self, figure: Skeleton | None) -> str:
        """Why there can be no mesh view, as a sentence; '' where there can."""
        if figure is None:
            return "There is no figure to draw."
        if importlib.util.find_spec("mujoco") is None:
            return "The mesh view needs MuJoCo, which is not installed here: pip install mujoco."
        if self.chosen is not None and not self.chosen.is_file():
            return f"The model file {self.chosen} is gone: choose another one from the menu of this panel."
        if self._model(figure) is None and not figure.model_hash:
            if not figure.model:
                return "The run names no model file: choose one from the menu of this panel."
            return f"The model file {figure.model} is not on this machine: choose a copy from the menu of this panel."
        if self._root(figure) is None:
            return f"The figure '{figure.name}' has no column for the pose of its root, which meshes need."
        return ""

    def open(self, figure: Skeleton | None) -> None:
        """Start the render process, or first fetch its model from the run; `refusal` has to be empty."""
        self.close()
        root = None if figure is None else self._root(figure)
        if figure is None or root is None:
            return
        self.problem, self._figure = "", figure
        joints = self.store.column(f"{figure.table}.DofState.position")
        self.columns = (*root, *(() if joints is None else (joints.id,)))
        self._platforms = platforms()
        model = self._model(figure)
        if model is None:
            self._fetch = Fetch(self.control, figure.model_hash)
        else:
            self._start(model)

    def _start(self, model: Path) -> None:
        self._renderer = RenderProcess(model, self._platforms.pop(0))

    def close(self) -> None:
        """End the render process, or what is being done to start it."""
        if self._renderer is not None:
            self._renderer.close()
        if self._fetch is not None:
            self._fetch.close()
        self._fetch, self._progress = None, ""
        self._renderer, self._image, self.columns = None, None, ()

    def poll(self) -> bool:
        """Whether there is a new picture, or something new to say."""
        if self._fetch is not None:
            return self._await_model(self._fetch)
        renderer = self._renderer
        if renderer is None:
            return False
        if renderer.problem:
            model = None if self._figure is None else self._model(self._figure)
            if not renderer.about and self._platforms and model is not None:
                self._start(model)
                return False
            self.problem = renderer.problem
            self.close()
            return True
        picture = renderer.take()
        if picture is None:
            return False
        self._image = cut_out(picture)
        return True

    def _await_model(self, fetch: Fetch) -> bool:
        if fetch.path is not None:
            self._fetch = None
            self._start(fetch.path)
        elif fetch.problem:
            self.close()
            self.problem = fetch.problem
        elif fetch.text == self._progress:
            return False
        self._progress = fetch.text
        return True

    def draw(self, camera: OrbitCamera, row: int) -> QImage | None:
        """Wish for this row's pose, and get the newest picture that there is."""
        renderer, figure = self._renderer, self._figure
        if renderer is not None and figure is not None and renderer.about:
            qpos = self._qpos(figure, renderer.about, row)
            if qpos is not None:
                renderer.ask(camera, qpos)
        return self._image

    def _model(self, figure: Skeleton) -> Path | None:
        """The file to draw from, None where it is not on this machine: a person's choice, the run's own, one fetched."""
        if self.chosen is not None:
            return self.chosen if self.chosen.is_file() else None
        here = self.store.run.get("host") in (None, socket.gethostname())  # a recording does not say
        if here and figure.model and Path(figure.model).is_file():
            return Path(figure.model)
        return kept(figure.model_hash)

    def _root(self, figure: Skeleton) -> tuple[int, int] | None:
        """Columns of the root's position and rotation."""
        return None if figure.rotation is None else (figure.root, figure.rotation)

    def _qpos(self, figure: Skeleton, about: Mapping[str, Any], row: int) -> np.ndarray | None:
        """A pose in the order of the model; joints that the run does not have stay at 0."""
        qpos = np.zeros(int(about["size"]))
        position, rotation = (self.store.value(column, row) for column in self.columns[:2])
        if position is None or rotation is None:
            return None
        if about["free"] is not None:
            place = int(about["free"])
            qpos[place : place + 3] = position[1].reshape(-1, 3)[0]
            qpos[place + 3 : place + 7] = rotation[1].reshape(-1, 4)[0]
        places = {name: int(place) for name, place in about["joints"]}
        for column in self.columns[2:]:
            held = self.store.value(column, row)
            if held is None:
                return None
            for label, value in zip(self.store.columns[column].labels, held[1].reshape(-1).tolist(), strict=True):
                if label in places:
                    qpos[places[label]] = value
        return qpos if np.isfinite(qpos).all() else None


def cut_out(picture: np.ndarray) -> QImage:
    """A picture (height, width, 3) as an image that is transparent where it is black."""
    height, width = picture.shape[:2]
    colors = np.empty((height, width, 4), np.uint8)
    colors[..., :3] = picture
    colors[..., 3] = 255 * picture.any(-1)
    return QImage(colors.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888_Premultiplied).copy()
