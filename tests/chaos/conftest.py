"""What a run leaves that nothing happened to."""

from __future__ import annotations

import pytest
import torch

from tests.chaos.sweep import run_here
from tests.chaos.writes import forked


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    torch.set_num_threads(1)  # before the first fork: a thread pool doesn't survive one
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert forked(lambda: run_here(out)) == 0
    return out
