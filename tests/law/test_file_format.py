"""Rows of law files survive decoding and encoding, key by key, whatever version wrote them."""

from __future__ import annotations

import dataclasses

import pytest

from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.law.calibration_row import HeldOutRate
from phantom_dist.law.file_format import calibration_digest, keys_of, row_from_json, row_to_json
from phantom_dist.law.law_input import AdapterSettings, TrainingSettings, law_input
from tests.law.rows import changed, rows

STORED = {
    "beta1": None, "beta2": None, "epsilon": None, "warmup_steps": 0, "gap_end": None, "lora_rank": None,
    "lora_alpha": None, "lora_targets": None, "seed": 0,
}  # fmt: skip


def test_a_row_has_the_keys_that_its_file_has():
    """Rows of older files lack settings, and still lack them when written back."""
    (old,) = rows(models=1, contexts=1)
    new = changed(old, **STORED)
    assert "beta1" not in row_to_json(old)
    assert row_to_json(new)["beta1"] is None
    assert old.law_input == new.law_input, "what is not there has its default"
    for row in (old, new):
        assert row_from_json(row_to_json(row)) == row
        assert list(row_to_json(row)) == list(row.keys)


def test_new_rows_have_all_keys_and_those_of_lora_one_more():
    (row,) = rows(models=1, contexts=1)
    (lora,) = rows(models=1, contexts=1, method="lora", optimizer="adamw")
    own = keys_of(row.law_input)
    assert set(row_to_json(dataclasses.replace(changed(row, **STORED), keys=own))) == set(own)
    assert set(keys_of(lora.law_input)) - set(own) == {"adapters"}


def test_words_of_several_tokens_stay_such_in_a_law_file():
    (row,) = rows(models=1, contexts=1)
    for columns, kind in (({"target_rest": [3]}, "several"), ({"target_rest": None}, "single")):
        inputs = law_input(row_to_json(changed(row, **STORED)) | columns, None)
        assert inputs.pair_kind == kind
        again = row_from_json(row_to_json(dataclasses.replace(row, law_input=inputs, keys=keys_of(inputs))))
        assert again.law_input == inputs


@pytest.mark.parametrize("interval", [None, (0.9, 1.1)])
def test_the_prediction_without_its_architecture_is_no_part_of_the_digest(interval):
    (row,) = rows(models=1, contexts=1)
    predicted = dataclasses.replace(row, held_out=HeldOutRate(eta_c=1.0, interval=interval))
    value = row_to_json(predicted)
    assert value["held_out_interval"] == (None if interval is None else list(interval))
    assert row_from_json(value) == predicted
    assert calibration_digest([predicted]) == calibration_digest([row])
    assert calibration_digest([changed(row, eta_c=2.0)]) != calibration_digest([row])


def test_settings_have_defaults_and_the_targets_are_the_sweeps():
    (row,) = rows(models=1, contexts=1, method="lora", optimizer="adamw")
    probe = row_to_json(row) | {"lora_rank": 4, "lora_alpha": 8.0, "lora_targets": "h.0.q", "beta2": 0.95}
    problem = Problem(
        model="m",
        context=Context(id="c", text="t", target=" a"),
        method="lora",
        lora=Lora(rank=4, alpha=8, targets=("q", "v")),
        optimizer=Optimizer(name="adamw"),
        steps=8,
    )
    assert law_input(probe, problem).settings == TrainingSettings(
        beta2=0.95, adapters=AdapterSettings(rank=4, alpha=8.0, targets="q,v")
    )
    unknown = law_input(probe, None).settings.adapters
    assert unknown is not None
    assert unknown.targets == "attention"
