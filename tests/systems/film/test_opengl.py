"""What the environment says of OpenGL: physics does not care, and films are painted where it does not work."""

import json
import os
import subprocess
import sys

import pytest

from engine.render.process import _environment, without_opengl
from tests.helpers import REPOSITORY

SAYS = """
import json, os, sys
import torch  # takes long, and does not care
for settings in json.loads(sys.argv[1]):
    if os.fork():
        os.wait()
        continue
    os.environ.update(settings)
    assert "mujoco" not in sys.modules
    from systems.robots import mjcf
    import mujoco
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>")
    mujoco.mj_step(model, mujoco.MjData(model))
    print(os.environ.get("MUJOCO_GL"), "OpenGL" in sys.modules, flush=True)
    break
"""
SETTINGS = [
    {"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "osmesa"},  # a library that may be absent
    {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "osmesa"},  # another platform than PyOpenGL's
    {"MUJOCO_GL": "bogus", "DISPLAY": ":77", "PYOPENGL_PLATFORM": "bogus"},  # no value that there is
]


def test_physics_runs_whatever_the_environment_says_of_opengl_and_leaves_it_alone() -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", SAYS, json.dumps(SETTINGS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{settings['MUJOCO_GL']} False" for settings in SETTINGS], done.stderr
    assert done.returncode == 0


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
