"""Episodes of a run, re-created: the same numbers as in the run and in its log, from any checkpoint, or a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.replay import compare
from engine.checkpoint import checkpoints
from engine.errors import ReplayError
from engine.failures import FRAMES
from engine.load import load_scene
from engine.recording import Recording
from engine.reenact import Past, last_carrying_tick
from engine.replay_command import main, open_past
from engine.run import main as train
from engine.scene import build
from tests.engine import toy_scene
from tests.engine.test_run import TOY  # noqa: F401
