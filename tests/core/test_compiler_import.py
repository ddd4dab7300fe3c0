"""A training imports no compiler, and steps of optimizers stay what they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In a process of its own: other tests import the compiler.
TRAINING = """
import sys
from pathlib import Path
from core.checkpoint import CheckpointFolder
from core.datasets.synthetic import build_synthetic
from core.evaluation.profiling import count_flops
from core.preprocessing.prepare import prepare
from tests.core.training_runs import network, train

data = prepare(build_synthetic(Path(sys.argv[1]), num_sensors=4, split=(2, 1, 1)))
checkpoints = CheckpointFolder(Path(sys.argv[2]))
count_flops(train(data, checkpoints=checkpoints).trainer.model)
train(data, checkpoints=checkpoints)  # its optimizer is loaded
print("torch._dynamo" in sys.modules)
"""
STEPS = """
import json, sys
import torch
from core.compiler_import import leave_compiler_out, step_optimizer
from core.training.config import OPTIMIZERS

def weights_after(step, optimizer_class):
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 3)
    optimizer = optimizer_class(layer.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        layer(torch.randn(7, 5)).square().sum().backward()
        step(optimizer)
    return [weight.tolist() for weight in layer.parameters()]

leave_compiler_out()
ours = [weights_after(step_optimizer, one) for one in OPTIMIZERS.values()]
hooked = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
without = "torch._dynamo" not in sys.modules
called = []
hooked.register_step_post_hook(lambda *_: called.append(True))
step_optimizer(hooked)
theirs = [weights_after(lambda one: one.step(), each) for each in OPTIMIZERS.values()]
after = [weights_after(step_optimizer, one) for one in OPTIMIZERS.values()]
print(json.dumps([without, called, ours == theirs, after == theirs]))
"""


def printed(script: str, *arguments: Path) -> str:
    alone = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(120)
def test_a_training_imports_no_compiler(tmp_path: Path) -> None:
    assert printed(TRAINING, tmp_path / "synthetic", tmp_path / "checkpoints") == "False\n"


def test_its_steps_are_those_of_the_optimizer_and_hooks_are_called() -> None:
    without_compiler, called, same, same_with_compiler = json.loads(printed(STEPS))
    assert without_compiler
    assert called == [True]
    assert same
    assert same_with_compiler
