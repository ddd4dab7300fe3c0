from __future__ import annotations

import pytest
import torch

from core.devices import choose_device
from core.errors import ConfigError


@pytest.fixture
def gpus(request, monkeypatch) -> int:
    """As many GPUs as the test asks for, as far as torch says."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    count: int = request.param
    return count


@pytest.mark.parametrize("gpus", [0], indirect=True)
def test_without_a_gpu(gpus):
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(ConfigError, match=f"device '{name}' needs a GPU .* use --device cpu"):
            choose_device(name)


@pytest.mark.parametrize("gpus", [2], indirect=True)
def test_with_gpus(gpus):
    assert choose_device() == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"must be cuda:0 to cuda:1, got 'cuda:2'; choose one"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "meta", "mps"])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match=f"must be auto, cpu, cuda or cuda:INDEX, got '{name}'"):
        choose_device(name)
