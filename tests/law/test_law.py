"""A law predicts within its domain, reports problems outside it, and survives its file unchanged."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.law.closure import Closure
from phantom_dist.law.domain import domain_of
from phantom_dist.law.file import read_law, write_law
from phantom_dist.law.file_format import to_json
from phantom_dist.law.law import LEVEL, WIDENED, fit_law
from phantom_dist.law.validation import RULES, HeldOutPrediction, beats_core, leave_one_out, summary, validate
from tests.law.rows import changed, rows


@pytest.fixture(scope="module")
def law():
    return fit_law(rows(models=12, contexts=6, constant=0.05, noise=0.005))


def test_it_predicts_with_an_interval(law):
    row = rows(models=1, contexts=1, seed=77, constant=0.05, noise=0.0)[0]
    prediction = law.predict(row.law_input)
    assert prediction.in_domain, prediction.reason
    assert prediction.reason is None
    assert prediction.level == LEVEL
    assert prediction.eta_c == pytest.approx(row.eta_c, rel=0.02)
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
        ({"parameters": 10**12}, "parameters: 1e+12, the nearest calibrated model has 1.2e+04"),
        ({"parameters": 100}, "parameters: 100, the nearest calibrated model has 1e+03"),
        ({"weight_decay": 10.0}, "decayed (weight_decay x η x T"),
        ({"momentum": 0.9}, "momentum (ln(1 / (1 - momentum))) is 2.3, calibrated: 0 to 0"),
        ({"schedule": "cosine"}, "not calibrated with schedule cosine, calibrated: constant"),
        ({"warmup_steps": 2}, "warmup (warmup_steps / T) is 0."),
    ],
)
def test_outside_its_domain_it_says_so_and_widens(law, change, word):
    row = rows(models=1, contexts=1, seed=77)[0]
    inside, outside = (law.predict(r.law_input) for r in (row, changed(row, **change)))
    assert not outside.in_domain
    assert word in outside.reason
    if not change.keys() & {
        "gap_0",
        "steps",
        "log_odds_0",
        "parameters",
    }:  # those change the width as groups, too
        width = [math.log(p.interval[1] / p.interval[0]) for p in (inside, outside)]
        assert width[1] == pytest.approx(WIDENED * width[0])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"epsilon": 1e-4}, "epsilon"),
        ({"beta1": 0.5}, "beta1 (Adam's beta1) is 0.5"),
        ({"beta2": 0.95}, "beta2 (Adam's beta2) is 0.95"),
        ({"precision": "bfloat16"}, "precision bfloat16"),
        ({"precision": "bfloat16-mixed"}, "precision bfloat16-mixed"),
        ({"gradient_clipping": 1.0}, "clipping (1 / gradient_clipping) is 1"),
        ({"schedule": "inverse_sqrt"}, "schedule inverse_sqrt"),
        ({"decay": "weights", "weight_decay": 0.01}, "decay weights"),
    ],
)
def test_in_settings_where_no_width_was_measured_there_is_no_interval(law, change, word):
    row = rows(models=1, contexts=1, seed=77)[0]
    said = law.predict(changed(row, **change).law_input)
    assert (said.interval, said.in_domain) == (None, False)
    assert said.eta_c == law.predict(row.law_input).eta_c
    assert word in said.reason


def test_a_size_between_those_that_were_calibrated_is_outside_too():
    """Models of a thousand and of ten million parameters are no evidence for one of a hundred thousand."""
    made = [
        changed(row, parameters=10**7) if row.model == "m0" else row for row in rows(models=12, contexts=6)
    ]
    known = fit_law(made)
    assert known.predict(replace(made[0].law_input, parameters=2 * 10**7)).in_domain
    assert "parameters: 3e+05" in known.predict(replace(made[0].law_input, parameters=300_000)).reason


@pytest.mark.parametrize(("sign", "side"), [(1, "above"), (-1, "below")])
def test_a_path_that_did_not_close_is_outside_and_has_no_interval(sign, side):
    """Its last correction is clipped: the true size is unknown, and no interval accounts for that."""
    made = rows(models=12, contexts=6)
    wide = [changed(row, path_rates=[1.0, 1.0, math.exp(sign * 0.2)]) for row in made[:2]]
    known = fit_law([*wide, *made[2:]])
    said = known.predict(wide[0].law_input)
    assert (said.interval, said.in_domain) == (None, False)
    assert said.eta_c is not None
    assert "the path did not close" in said.reason
    assert f"lies {side}" in said.reason
    assert known.predict(made[3].law_input).in_domain
    almost = replace(made[3].law_input, path_rates=(1.0, 1.0, math.exp(sign * 0.1999)))
    assert known.predict(almost).interval is not None


def test_a_path_whose_rate_fell_by_half_is_open_whatever_its_end_says():
    """As on SmolLM2, " garbage" / " trash": the gap is closed, the last correction small, the rate 2.7 times off."""
    known = fit_law(rows(models=12, contexts=6))
    row = rows(models=1, contexts=1, seed=77)[0].law_input
    for fall, interval in ((1.9, True), (2.1, False), (6.0, False)):
        rates = tuple(fall ** (1 - n / 20) for n in range(21))
        assert abs(math.log(rates[-1] / rates[-2])) < 0.1
        said = known.predict(replace(row, path_rates=rates))
        assert said.eta_c is not None
        assert (said.interval is not None) == interval
        assert interval or f"fell to {1 / fall:.2g} of the first walk's" in said.reason


@pytest.mark.parametrize(
    ("method", "optimizer", "most"), [("full", "sgd", 0.2), ("full", "adamw", 0.1), ("lora", "adamw", 0.2)]
)
def test_a_walk_that_leaves_much_of_the_gap_has_no_interval_however_small_its_correction(
    method, optimizer, most
):
    """As on Gemma-3-270M, " weary" / " tired": 0.22 of the gap is left, the correction is small, the error is not."""
    known = fit_law(rows(models=12, contexts=6, method=method, optimizer=optimizer))
    row = rows(models=1, contexts=1, seed=77, method=method, optimizer=optimizer)[0].law_input
    for share, interval in ((most - 0.01, True), (most + 0.01, False), (-most - 0.01, False)):
        said = known.predict(replace(row, gap_end=share * row.gap_0))
        assert said.eta_c is not None
        assert (said.interval is not None, said.in_domain) == (interval, interval)
        assert interval or f"leaves {abs(share):.2g} of the gap" in said.reason


def test_validation_counts_what_becomes_of_rows_out_of_domain():
    """Each architecture has one open path, whose interval is withheld; one row has a gap beyond all others."""
    made = rows(models=12, contexts=6, noise=0.02)
    opened = [changed(row, path_rates=[1.0, 1.0, math.exp(0.2)]) for row in made if row.context == "c0"]
    far = changed(next(row for row in made if (row.model, row.context) == ("m3", "c1")), gap_0=-30.0)
    others = [row for row in made if row.context != "c0" and row.problem != far.problem]
    held = leave_one_out([*opened, far, *others], Closure())
    entries = [e.to_json() for e in validate(held) if e.rule == "law"]
    assert sum(e["withheld"] for e in entries) == len(opened)
    outside = [h for h in held if not h.in_domain and h.given is not None]
    assert any(h.row is far for h in outside)
    for entry in entries:
        own = [h for h in outside if h.row.steps == entry["steps"]]
        assert entry["out_of_domain"] - entry["withheld"] == len(own)
        share = sum(abs(h.error) <= WIDENED * h.half_width for h in own) / len(own) if own else None
        assert entry["coverage_out_of_domain"] == share


def test_a_group_that_the_closure_uses_bounds_the_domain(law):
    rows_ = rows(models=12, contexts=6)
    assert "bend" not in domain_of(rows_).ranges
    assert "bend" in domain_of(rows_, ("bend",)).ranges


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            {"lora_rank": 16, "lora_alpha": 32.0},
            "rank (ln(lora_rank / 8)) is 0.693, calibrated: -0.693 to -0.693",
        ),
        ({"lora_alpha": 64.0}, "scale ("),
        ({"lora_rslora": True}, "scale ("),
        ({"adapters": "q_proj,v_proj"}, "not calibrated with adapters q_proj,v_proj, calibrated: attention"),
    ],
)
def test_adapters_of_another_rank_scale_or_place_are_outside_of_its_domain(change, word):
    plain = rows(models=12, contexts=6, method="lora", optimizer="adamw")
    made = [changed(row, lora_rank=4, lora_alpha=8.0) for row in plain]
    known, row = fit_law(made), made[0]
    assert known.predict(row.law_input).in_domain
    outside = known.predict(changed(row, **change).law_input)
    assert not outside.in_domain
    assert word in outside.reason


def test_what_decays_of_an_adapter_makes_no_difference():
    made = rows(models=12, contexts=6, method="lora", optimizer="adamw")
    known = fit_law([changed(row, weight_decay=0.01) for row in made])
    said = known.predict(changed(made[0], weight_decay=0.01, decay="weights").law_input)
    assert said.in_domain, said.reason


def test_a_class_that_was_not_calibrated_is_withheld(law):
    prediction = law.predict(rows(models=1, contexts=1, method="lora")[0].law_input)
    assert (prediction.eta_c, prediction.interval, prediction.in_domain) == (None, None, False)
    assert "lora sgd was not calibrated, calibrated: full sgd" in prediction.reason


def test_without_enough_architectures_there_is_a_rate_and_no_interval():
    few = fit_law(rows(models=5))
    prediction = few.predict(rows(models=1, contexts=1, seed=3)[0].law_input)
    assert prediction.eta_c is not None
    assert prediction.interval is None
    assert "too few architectures" in prediction.reason


def test_it_comes_back_from_its_file_as_it_was(law, tmp_path):
    write_law(law, tmp_path / "deep" / "law.json")
    again = read_law(tmp_path / "deep" / "law.json")
    assert again.classes == law.classes
    assert again.rows == law.rows
    row = rows(models=1, contexts=1, seed=5)[0]
    assert again.predict(row.law_input) == law.predict(row.law_input)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["law.json"], "no partial file stays"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no law file"),
        ("[]", "no law file"),
        ('{"format": 1}', "no law file"),
        ('{"format": 99}', "format 99; this version reads up to 3"),
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
    with pytest.raises(InputError, match=r"at least 3 models; there are 24 critical rate\(s\) of 2"):
        fit_law(rows(models=2))


def test_a_law_without_intervals_is_plain_json_and_its_validation_says_so(tmp_path):
    few = fit_law(rows(models=5))
    write_law(few, tmp_path / "law.json")
    text = (tmp_path / "law.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["classes"]["full sgd"]["interval"] is None
    assert read_law(tmp_path / "law.json").classes == few.classes
    entry = next(e for e in validate(leave_one_out(few.rows)) if e.rule == "law")
    assert (entry.intervals.coverage_90, entry.intervals.interval_width_median) == (None, None)


@pytest.mark.parametrize("form", [1, 2])
def test_a_file_of_an_earlier_format_is_read_as_it_was_meant(law, tmp_path, form):
    """Both stored settings as a list, format 1 outside the domain, and a missing interval as an infinite one."""
    now = to_json(law)
    old = now | {"format": form, "classes": {}}
    settings = [{"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "precision": "float32"}]
    for name, item in now["classes"].items():
        ranges = {
            key: item["domain"]["ranges"][key]
            for key in ("gap", "length", "last", "earlier", "overlap", "odds")
        }
        domain = {"ranges": ranges, "settings": settings, "parameters": item["domain"]["parameters"]}
        interval = {key: item["interval"][key] for key in ("weights", "quantile")}
        old["classes"][name] = (
            item
            | {"interval": interval}
            | ({"domain": ranges, "settings": settings} if form == 1 else {"domain": domain})
        )
    (tmp_path / "law.json").write_text(json.dumps(old))
    assert read_law(tmp_path / "law.json").classes == {
        name: replace(item, interval=replace(item.interval, by_cell={})) for name, item in law.classes.items()
    }
    for item in old["classes"].values():
        item["interval"]["quantile"] = math.inf
    (tmp_path / "law.json").write_text(json.dumps(old))
    assert all(item.interval is None for item in read_law(tmp_path / "law.json").classes.values())


def test_a_law_that_only_fits_what_it_saw_does_not_beat_the_core():
    some = rows(models=8, contexts=6)
    worse, better = (
        [
            HeldOutPrediction(
                row, factor * math.log(row.eta_c / row.law_input.path_rates[-1]), 0.1, True, 0.1
            )
            for row in some
        ]
        for factor in (2, 0.5)
    )
    assert not beats_core(worse)
    assert beats_core(better)


@pytest.fixture(scope="module")
def one_apart():
    """Held-out predictions for all rows of twelve architectures; the rates of m3 are shifted."""
    return leave_one_out(
        [
            changed(row, eta_c=row.eta_c * math.exp(0.2)) if row.model == "m3" else row
            for row in rows(models=12, contexts=6, noise=0.002)
        ]
    )


def test_validation_leaves_the_architecture_out_of_everything(one_apart):
    """The error for a shifted architecture is about the shift, so none of its rows has leaked into the fit."""
    held = [h for h in one_apart if h.row.model == "m3"]
    assert len(held) == 6
    assert all(h.error == pytest.approx(0.2, abs=0.02) for h in held)


def test_the_table_counts_and_compares(one_apart):
    entries = [e.to_json() for e in validate(one_apart)]
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
    assert result.context_error_max == pytest.approx(0.21)
    assert result.architecture_error_max == pytest.approx(0.21)
    assert result.architecture_error_median == pytest.approx(0.105), "0 and 21 %: opposite errors cancel"


def test_the_file_is_json_and_a_row_is_a_line(law, tmp_path):
    write_law(law, tmp_path / "law.json")
    text = (tmp_path / "law.json").read_text()
    assert len(json.loads(text)["calibration"]) == len(law.rows)
    assert sum('"path_rates"' in line for line in text.splitlines()) == len(law.rows)
