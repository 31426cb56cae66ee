"""Robots for the tests of the clip tools, with models of their own, and a way to type a command."""

from functools import cache
from pathlib import Path

import attrs

from components.robot import Motor, RobotDescription
from engine.runner.cli import reporting_errors
from scenes.robots import clip_tools, humanoid, load
from systems.robots.model import RobotModel, build_robot

TWISTED = """
<mujoco model="twisted"><compiler angle="radian"/>
  <default><geom type="capsule" size="0.03"/><joint range="-2 2"/></default>
  <worldbody><body name="hips" pos="0 0 0.9"><freejoint/><geom type="sphere" size="0.1" mass="5"/>
    <body name="spine" pos="0.01 0 0.1"><joint name="S" axis="0 0 -1"/><geom fromto="0 0 0 0 0 0.3" mass="4"/></body>
    <body name="A1" pos="0 0.1 0"><joint name="A_swing" axis="0 1 0"/><joint name="A_lift" axis="1 0 0.5" pos="0 0.01 0"/>
      <geom fromto="0 0 0 0 0 -0.4" mass="2"/>
      <body name="A2" pos="0 0 -0.4"><joint name="A_reach" type="slide" axis="0 0.6 -0.8" range="-0.1 0.1"/>
        <geom type="box" size="0.1 0.04 0.02" pos="0.03 0 -0.4" mass="1"/></body></body>
    <body name="B1" pos="0 -0.1 0" euler="0 0 3.14159265358979"><joint name="B_swing" axis="0 1 0"/>
      <joint name="B_lift" axis="-1 0 0.5" pos="0 0.01 0"/><geom fromto="0 0 0 0 0 -0.4" mass="2"/>
      <body name="B2" pos="0 0 -0.4"><joint name="B_reach" type="slide" axis="0 -0.6 0.8" range="-0.1 0.1"/>
        <geom type="box" size="0.1 0.04 0.02" pos="-0.03 0 -0.4" mass="1"/></body></body>
  </body></worldbody>
</mujoco>
"""


def twisted(text: str = TWISTED) -> RobotDescription:
    """A robot whose names tell no left from right, whose sides have other frames and axes, and of which a joint slides."""
    motor = Motor(stiffness=100.0, damping=5.0, torque=50.0, speed=20.0)
    feet = ("A2", "B2")
    return RobotDescription("twisted", lambda: text, {".*": motor}, feet=feet, end_effectors=feet, default_height=0.84)


@cache
def model(name: str) -> RobotModel:
    """A robot, built once: humanoid, twisted, or one that has a name in scenes."""
    return build_robot(twisted() if name == "twisted" else humanoid.humanoid() if name == "humanoid" else load(name))


def lopsided(part: str, changed: str) -> RobotModel:
    """The built-in humanoid with one part of its model changed."""
    text = humanoid.mjcf().replace(part, changed)
    assert text != humanoid.mjcf()
    return build_robot(attrs.evolve(humanoid.humanoid(), model=lambda: text))


def clips(*words: "str | Path") -> int:
    """Type `lockstep clips` and some words; its exit status."""
    return reporting_errors(clip_tools.main, [str(word) for word in words])
