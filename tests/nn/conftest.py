"""One tiny model and six pictures that the tests of this folder share; they leave both as they found them."""

import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))  # for `tiny`, which is no test module


@pytest.fixture(scope="session")
def vlm():
    from tiny import tiny_vlm

    return tiny_vlm()


@pytest.fixture(scope="session")
def pictures():
    return torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(7))
