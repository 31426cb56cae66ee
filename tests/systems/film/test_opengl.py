"""What the environment says of OpenGL: physics does not care, and films are painted where it does not work."""

import os
import subprocess
import sys

import pytest

from engine.render.process import _environment, without_opengl
from tests.helpers import REPOSITORY

SAYS = """
import os
from systems.robots import mjcf
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>")
mujoco.mj_step(model, mujoco.MjData(model))
print(os.environ.get("MUJOCO_GL"), "OpenGL" in __import__("sys").modules)
"""
SETTINGS = {
    "a library that may be absent": {"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "osmesa"},
    "another platform than PyOpenGL's": {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "osmesa"},
    "no value that there is": {"MUJOCO_GL": "bogus", "DISPLAY": ":77", "PYOPENGL_PLATFORM": "bogus"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_physics_runs_whatever_the_environment_says_of_opengl_and_leaves_it_alone(settings: dict[str, str]) -> None:
    environment = {**os.environ, **settings, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", SAYS], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"{settings['MUJOCO_GL']} False\n", 0), done.stderr


@pytest.mark.parametrize("before", [{"MUJOCO_GL": "osmesa"}, {}], ids=["set", "not set"])
def test_the_setting_is_put_back(before: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(before))
    with without_opengl():
        assert os.environ == {"MUJOCO_GL": "disable"}
    assert os.environ == before


def test_the_render_process_follows_the_platform_that_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setenv("PYOPENGL_PLATFORM", "osmesa")
    tried = _environment("egl")
    assert tried["MUJOCO_GL"] == "egl" and "PYOPENGL_PLATFORM" not in tried
    assert _environment("") == dict(os.environ)
