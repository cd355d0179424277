"""The law's predictions beside a run's rates: which of them the scope guard stands behind."""

from __future__ import annotations

import pytest

from phantom_dist.law.file_format import row_to_json
from phantom_dist.law.law import fit_law
from phantom_dist.law.law_input import law_input
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
    (found,) = predictions(law, [{"problem": "asked", "eta_c": 1.0}], [probe], {})
    said = law.predict(law_input(probe, None))
    assert found["known"] == known
    assert (found["predicted"], found["low"], found["high"]) == (said.eta_c, *said.interval)
