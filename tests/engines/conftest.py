"""Settings of all tests of engines: one thread, and the model that most of them share.

The suites of this folder run on a GPU as well: `PHANTOM_DIST_TEST_DEVICE=cuda pytest tests/engines`.
"""

from __future__ import annotations

import os

import pytest
import torch

from phantom_dist.models.load import LoadedModel
from tests.engines.problems import DEVICE, load
from tests.engines.ranks import RankProcesses, ranks_here


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if DEVICE == "cuda":  # what a worker sets
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    return load("zoo:gpt2-a")


@pytest.fixture(scope="module")
def pair():
    processes = RankProcesses(ranks_here(2))
    yield processes
    processes.close()


@pytest.fixture(scope="module")
def three():
    processes = RankProcesses(ranks_here(3))
    yield processes
    processes.close()
