"""Equal ids mean equal results, whatever somebody does to a model's folder."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pytest
import torch

from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial, content_address
from phantom_dist.core.probe_result import Refused
from phantom_dist.core.trial import Context, Optimizer, Problem
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.models import cache as cache_module
from phantom_dist.models import zoo
from phantom_dist.models.description import describe
from phantom_dist.models.load import load

from . import documented
from .changed import CHANGES

RAGE = Context(
    id="rage", text="After the unfair tax, the king was filled with", target=" rage", competitor=" anger"
)


@dataclass(frozen=True)
class Measured:
    """The id of a trial of two steps, and all its measurements, bit for bit."""

    id: str
    results: str
    parameters: int


def measure(reference: str) -> Measured:
    """Measure a trial from the reference to the trace, as a worker does."""
    loaded = load(reference)
    problem = Problem(model=reference, context=RAGE, method="full", optimizer=Optimizer(name="sgd"), steps=2)
    probed = probe(loaded, problem)
    if isinstance(probed, Refused):
        return Measured(content_address(probed, 1e-3), f"{probed.outcome}", loaded.identity.parameters)
    trial = Trial(measured=probed, learning_rate=1e-3)
    (result,) = SingleEngine().run(loaded, [trial])
    with torch.no_grad():
        logits_LV = loaded.model(torch.tensor([probed.tokens.prompt])).logits[0]
    rows = [dataclasses.asdict(row) for row in result.trace]
    results = repr((probed.gap_0, probed.kappa, rows, logits_LV.tolist()))
    return Measured(trial.id, results, loaded.identity.parameters)


@pytest.fixture(scope="module")
def unchanged() -> Measured:
    return measure("zoo:llama-b")


@pytest.fixture
def m(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model that was loaded once, so the caches have entries for its folder."""
    monkeypatch.setattr(cache_module, "WORTH_CACHING_S", 0.0)
    folder = tmp_path / "m"
    shutil.copytree(zoo.folder("llama-b"), folder)
    load(str(folder))
    return folder


def outcome(m: Path, unchanged: Measured) -> str:
    try:
        measured = measure(str(m))
    except InputError as error:
        return f"refused: {error}"
    assert describe(str(m)).parameters == measured.parameters
    if measured.id != unchanged.id:
        return "counts"
    assert measured.results == unchanged.results, "equal ids, other results"
    return "nothing"


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_counts_or_changes_nothing_or_is_refused(what: str, m: Path, unchanged: Measured) -> None:
    change, expected = CHANGES[what]
    change(m)
    found = outcome(m, unchanged)
    kind, _, sentence = expected.partition(": ")
    assert "\n" not in found
    if kind == "refused":
        assert found.startswith("refused: "), found
        assert re.search(sentence, found), found
        assert documented.FOLDERS[what] in found
    else:
        assert kind in ("any", found), found


def test_the_documentation_lists_what_is_refused() -> None:
    refused = {what for what, (_, expected) in CHANGES.items() if expected.startswith("refused")}
    assert set(documented.FOLDERS) == refused


def test_a_copy_is_the_same_model(m: Path, unchanged: Measured) -> None:
    assert measure(str(m)) == unchanged


@pytest.mark.parametrize("name", zoo.names())
def test_ids_are_those_that_the_shipped_law_was_fitted_to(name: str) -> None:
    law = json.loads(resources.files("phantom_dist.law").joinpath("shipped.json").read_text())
    assert load(f"zoo:{name}").identity.weights == law["provenance"]["weights"][f"zoo:{name}"]
