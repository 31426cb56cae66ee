"""Digests of robots and clips: the same for the same, another for whatever changes."""

import subprocess
import sys

import attrs
import numpy as np
import torch

from scenes import robots
from systems.motion.digests import digest, robot_and_clips
from systems.motion.files import read_clips
from systems.motion.library import build_library
from systems.robots.model import build_robot
from tests.helpers import REPOSITORY

PROGRAM = "import tests.systems.motion.test_digests as t; print(sorted(t.parts(clip='wave').items()))"


def parts(robot: str = "humanoid", clip: str = "squat,wave", dt: float = 0.005) -> dict[str, str]:
    model = build_robot(robots.load(robot), dt=dt)
    return robot_and_clips(model, build_library(read_clips(clip), model.robot, model))


def test_two_processes_come_to_the_same_digests() -> None:
    other = subprocess.run([sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(sorted(parts(clip="wave").items()))


def test_one_frame_of_one_clip_changes_that_clip_alone() -> None:
    model = build_robot(robots.load("humanoid"), dt=0.005)
    library = build_library(read_clips("squat,wave"), model.robot, model)
    before = robot_and_clips(model, library)
    vectors = library.vectors.clone()
    vectors[-1, 3] += 1e-4
    after = robot_and_clips(model, attrs.evolve(library, vectors=vectors))
    assert {name for name in before if before[name] != after[name]} == {"clip wave"}


def test_weights_and_the_physics_of_the_robot_count() -> None:
    before = parts()
    weights = parts(clip="squat=2,wave=1")
    assert {name for name in before if before[name] != weights[name]} == {"weights of the clips"}
    model = build_robot(robots.load("humanoid"), dt=0.005)
    library = build_library(read_clips("squat,wave"), model.robot, model)
    model.model.body_mass[3] *= 1.01
    heavier = robot_and_clips(model, library)
    assert {name for name in before if before[name] != heavier[name]} == {"robot humanoid"}


def test_the_last_bits_of_float64_do_not_count_and_everything_else_does() -> None:
    value = np.array([0.1, 2.0])
    assert digest(value) == digest(value * (1 + 1e-15)) != digest(value * (1 + 1e-6))
    values = [1, 1.0, "1", True, None, (1,), (1, 1), {"a": 1}, {"b": 1}, torch.ones(1), torch.ones(1, 1), b"1"]
    assert len({digest(each) for each in values}) == len(values)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
