"""Adam: the bits of torch's own, steps that change nothing, and what is not imported for it."""

import subprocess
import sys

import torch
from torch import nn

from systems.learning.adam import Adam


def test_steps_have_the_bits_of_torchs_own_fused_adam():
    start = torch.randn(37, generator=torch.Generator().manual_seed(0))
    mine, theirs = start.clone(), nn.Parameter(start.clone())
    gradient, rate = torch.zeros(37), torch.tensor(3e-3)
    theirs.grad = gradient
    adam, reference = Adam(mine, gradient, rate), torch.optim.Adam([theirs], lr=rate, fused=True)
    for number in range(20):
        gradient.copy_(torch.randn(37, generator=torch.Generator().manual_seed(number + 1)))
        rate.mul_(0.9)
        unsound = torch.tensor(float(number % 4 == 3))
        adam.step(unsound)
        setattr(reference, "found_inf", unsound)
        reference.step()
        assert torch.equal(mine, theirs)
    for name, tensor in adam.moments.items():
        assert torch.equal(tensor, reference.state[theirs][name]), name
    assert adam.moments["step"] == 15


def test_an_unsound_step_changes_nothing():
    vector, gradient = torch.ones(3), torch.tensor([1.0, torch.nan, 2.0])
    adam = Adam(vector, gradient, torch.tensor(0.1))
    adam.step(torch.ones(()))
    assert torch.equal(vector, torch.ones(3))
    assert [float(tensor.abs().sum()) for tensor in adam.moments.values()] == [0.0, 0.0, 0.0]


def test_the_first_step_is_as_long_as_the_rate():
    vector, gradient = torch.zeros(2), torch.tensor([4.0, -0.5])
    Adam(vector, gradient, torch.tensor(0.1)).step(torch.zeros(()))
    torch.testing.assert_close(vector, torch.tensor([-0.1, 0.1]))  # m / √v is the gradient's sign


PROGRAM = """
import sys
from engine import build
from scenes.cartpole import experiment
simulation = build(experiment(num_envs=4).train())
simulation.run(simulation.scene.iteration + 1)
assert simulation.world.clock.tick == simulation.scene.iteration
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_a_first_iteration_of_learning_imports_no_compiler():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]", found.stdout
