"""The law's predictions beside a run's rates, and which of them are inside the law's domain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phantom_dist.law.file_format import row_to_json
from phantom_dist.law.law import fit_law
from phantom_dist.law.law_input import law_input
from phantom_dist.refinement.critical_rate import CriticalRate, Crossing
from phantom_dist.reports.predictions import CALIBRATED, NEW, OUTSIDE, predictions
from tests.law.rows import rows


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ({}, CALIBRATED),
        ({"weights": "of another model"}, NEW),
        ({"momentum": 0.9}, OUTSIDE),
        ({"weights": "of another model", "gap_0": -30.0}, OUTSIDE),
    ],
)
def test_a_prediction_says_what_it_stands_on(change, known):
    made = rows(models=12, contexts=6)
    law = fit_law(made)
    probe = row_to_json(made[0]) | {"problem": "asked"} | change
    measured = CriticalRate(
        problem="asked",
        **made[0].problem_columns(),
        crossing=Crossing(eta_c=1.0, bracket=(0.99, 1.01), pi_c=1.0),
        reason=None,
        trials_used=2,
        trial_steps_used=20.0,
        gap_0=-1.0,
        kappa=1.0,
    )
    (found,) = predictions(law, [measured], [probe], {})
    said = law.predict(law_input(probe, None))
    assert found.source == known
    assert (found.rate, found.predicted, found.interval) == (measured, said.eta_c, said.interval)
    lost = replace(measured, crossing=None, reason="no_crossing_found")
    assert predictions(law, [lost], [probe], {}) == []
