"""What a probe says survives its row, whether the problem was measured or refused, and whenever."""

from __future__ import annotations

import dataclasses

import pytest

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import (
    Measured,
    ModelReading,
    PairReading,
    PathProbe,
    ProbeResult,
    Refused,
)
from phantom_dist.core.quantities import PROBE_COLUMNS
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context, Lora, ModelIdentity, Optimizer, Problem
from phantom_dist.records import probe_result_from_row, probe_row
from phantom_dist.traces import RunDirectory, Store

FULL = Problem(
    model="zoo:gpt2-a",
    context=Context(id="c", text="x", target=" a", competitor=" b"),
    method="full",
    optimizer=Optimizer(name="adamw"),
    steps=4,
)
LORA = FULL.model_copy(update={"method": "lora", "lora": Lora(rank=4, alpha=8)})
MODEL = ModelReading(
    identity=ModelIdentity(weights="0" * 64, architecture="GPT2LMHeadModel", parameters=1000),
    width=8,
    lora_targets=None,
)
PAIR = PairReading(
    tokens=Tokens(prompt=(1, 2), target=3, competitor=4, target_text=" a", competitor_text=" b"),
    gap_0=-0.1,
    loss_0=2.5,
    overlap_0=0.3,
    centred_overlap=0.2,
    synonym_floor=0.1,
)
PATH = PathProbe(learning_rates=(1e-3, 2e-3, 2.1e-3), log_odds_0=-3.0, gap_end=0.01, trial_steps=4.0)
MEASURED = Measured(problem=FULL, model=MODEL, pair=PAIR, kappa=0.7)
REFUSED = Refused(problem=FULL, outcome=Outcome.REFUSED_COMMITTED, message="it leads", model=MODEL, pair=PAIR)

RESULTS: dict[str, ProbeResult] = {
    "measured": MEASURED,
    "measured with its path": dataclasses.replace(MEASURED, path=PATH),
    "measured under LoRA": dataclasses.replace(
        MEASURED, problem=LORA, model=dataclasses.replace(MODEL, lora_targets=("attn.c_proj", "c_attn"))
    ),
    "refused as it stands": REFUSED,
    "refused before the pair was read": dataclasses.replace(REFUSED, pair=None),
    "given up": dataclasses.replace(REFUSED, outcome=Outcome.ERROR, model=None, pair=None),
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_a_result_survives_its_row_and_its_file(result: ProbeResult, tmp_path):
    row = dict.fromkeys(q.name for q in PROBE_COLUMNS) | probe_row(result)
    assert set(row) == {q.name for q in PROBE_COLUMNS}
    assert probe_result_from_row(row, result.problem) == result
    directory = RunDirectory(Store(tmp_path))
    directory.write_probes("batch", [probe_row(result)])
    (stored,) = directory.probes().to_pylist()
    assert probe_result_from_row(stored, result.problem) == result
