"""A law predicts within its domain, says when it is outside, and comes back from its file as it was."""

from __future__ import annotations

import json
import math

import pytest

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.law.file import read_law, write_law
from phantom_dist.law.law import LEVEL, WIDENED, fit_law
from phantom_dist.law.validation import RULES, leave_one_out, summary, validate
from tests.law.rows import rows


@pytest.fixture(scope="module")
def law():
    return fit_law(rows(models=12, contexts=6, constant=0.05, noise=0.005))


def test_it_predicts_with_an_interval(law):
    row = rows(models=1, contexts=1, seed=77, constant=0.05, noise=0.0)[0]
    prediction = law.predict(row)
    assert prediction.in_domain, prediction.reason
    assert prediction.reason is None
    assert prediction.level == LEVEL
    assert prediction.eta_c == pytest.approx(row["eta_c"], rel=0.02)
    low, high = prediction.interval
    assert low < prediction.eta_c < high
    assert low * high == pytest.approx(prediction.eta_c**2), "symmetric in ln η"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"gap_0": -30.0}, "gap"),
        ({"steps": 1024}, "length"),
        ({"overlap_0": 0.05}, "overlap"),
        ({"log_odds_0": -60.0}, "odds"),
        ({"parameters": 10**12}, "ln parameters"),
        ({"weight_decay": 0.1}, "weight_decay 0.1"),
        ({"momentum": 0.9}, "momentum 0.9"),
        ({"schedule": "cosine"}, "schedule cosine"),
        ({"precision": "bfloat16"}, "precision bfloat16"),
    ],
)
def test_outside_its_domain_it_says_so_and_widens(law, change, word):
    row = rows(models=1, contexts=1, seed=77)[0]
    inside, outside = law.predict(row), law.predict(row | change)
    assert not outside.in_domain
    assert word in outside.reason
    if not change.keys() & {"gap_0", "steps", "log_odds_0"}:  # those change the width as groups, too
        width = [math.log(p.interval[1] / p.interval[0]) for p in (inside, outside)]
        assert width[1] == pytest.approx(WIDENED * width[0])


@pytest.mark.parametrize("change", [{"lora_rank": 16}, {"lora_alpha": 64.0}])
def test_adapters_of_another_rank_or_scale_are_outside_of_its_domain(change):
    plain = rows(models=12, contexts=6, method="lora", optimizer="adamw")
    made = [row | {"lora_rank": 4, "lora_alpha": 8.0} for row in plain]
    known, row = fit_law(made), made[0]
    assert known.predict(row).in_domain
    (name, value), outside = next(iter(change.items())), known.predict(row | change)
    assert not outside.in_domain
    assert f"not calibrated with {name} {value}" in outside.reason


def test_a_class_that_was_not_calibrated_is_withheld(law):
    prediction = law.predict(rows(models=1, contexts=1, method="lora")[0])
    assert (prediction.eta_c, prediction.interval, prediction.in_domain) == (None, None, False)
    assert "lora sgd was not calibrated; calibrated: full sgd" in prediction.reason


def test_without_enough_architectures_there_is_a_rate_and_no_interval():
    few = fit_law(rows(models=5))
    prediction = few.predict(rows(models=1, contexts=1, seed=3)[0])
    assert prediction.eta_c is not None
    assert prediction.interval is None
    assert "too few architectures" in prediction.reason


def test_it_comes_back_from_its_file_as_it_was(law, tmp_path):
    write_law(law, tmp_path / "deep" / "law.json")
    again = read_law(tmp_path / "deep" / "law.json")
    assert again.classes == law.classes
    assert again.rows == law.rows
    row = rows(models=1, contexts=1, seed=5)[0]
    assert again.predict(row) == law.predict(row)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["law.json"], "no partial file stays"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no law file"),
        ("[]", "no law file"),
        ('{"format": 1}', "no law file"),
        ('{"format": 99}', "format 99; this version reads up to 1"),
    ],
)
def test_a_file_that_is_no_law_is_named(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_law(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_an_unwritable_place_are_named(law, tmp_path):
    with pytest.raises(InputError, match=r"none\.json: can't read the law"):
        read_law(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write the law"):
        write_law(law, tmp_path / "file" / "law.json")


def test_two_models_are_too_few():
    with pytest.raises(InputError, match="at least 3 models; found 2"):
        fit_law(rows(models=2))


def test_validation_leaves_the_architecture_out_of_everything():
    """An architecture with a shift of its own is missed by about that shift: nothing of it has leaked into the fit."""
    made = rows(models=12, contexts=6, noise=0.002)
    for row in made:
        if row["model"] == "m3":
            row["eta_c"] *= math.exp(0.2)
    held = [h for h in leave_one_out(made) if h.row["model"] == "m3"]
    assert len(held) == 6
    assert all(h.error == pytest.approx(0.2, abs=0.02) for h in held)


def test_the_table_counts_and_compares():
    made = rows(models=12, contexts=6, noise=0.002)
    entries = validate(leave_one_out(made))
    assert {e["rule"] for e in entries} == {"law", *RULES}
    assert {e["steps"] for e in entries} == {8, 32}
    by_rule = {e["rule"]: e for e in entries if e["steps"] == 8}
    assert by_rule["law"]["architectures"] == 12
    assert by_rule["law"]["contexts"] == 36
    # κ spreads over three decades here and the widths know nothing of it
    assert by_rule["law"]["context_error_median"] < 0.01 < 0.3 < by_rule["a constant"]["context_error_median"]
    assert 0.85 <= by_rule["law"]["coverage_90"] <= 1.0
    assert by_rule["law"]["interval_width_median"] > 1.0


def test_errors_are_shares_and_architectures_are_geometric_means():
    import numpy as np

    made = rows(models=2, contexts=2)
    result = summary(made, np.log([1.1, 1 / 1.1, 1.21, 1.21]))
    assert result["context_error_max"] == pytest.approx(0.21)
    assert result["architecture_error_max"] == pytest.approx(0.21)
    assert result["architecture_error_median"] == pytest.approx(0.105), "0 and 21 %: opposite errors cancel"


def test_the_file_is_json_and_a_row_is_a_line(law, tmp_path):
    write_law(law, tmp_path / "law.json")
    text = (tmp_path / "law.json").read_text()
    assert len(json.loads(text)["calibration"]) == len(law.rows)
    assert sum('"path_rates"' in line for line in text.splitlines()) == len(law.rows)
