"""Bare loops of physics that a tick is measured against: they leave work out, and move every row alike."""

import numpy as np
import pytest
import torch

from benchmarks.tick import LOOPS, bare_batch
from tests.physics.rows import make_rows


@pytest.mark.parametrize("name", LOOPS)
def test_a_bare_loop_moves_rows_as_the_scene_s_physics_does(name: str) -> None:
    rows = make_rows(2)
    for _ in range(3):  # into contact with the floor
        rows.tick(rows.model.robot.default_position + torch.tensor([[0.1], [-0.1]]))
    running = rows.backend._batch
    flags = running.model.opt.disableflags
    loop = bare_batch(running, LOOPS[name])
    loop.state[:] = running.state
    running.step(nstep=4), loop.step(nstep=4)
    np.testing.assert_allclose(loop.bind("qpos"), running.bind("qpos"), atol=1e-7)
    assert running.model.opt.disableflags == flags  # the running model stays as it was
