"""The law's inputs on training sets, through a law file and back; and the data on which they are calibrated."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from phantom_dist.core.training_set import TrainingSet
from phantom_dist.law.file_format import keys_of, row_from_json, row_to_json
from phantom_dist.law.groups import BY_NAME, LEAST_SHARE, difficulty, first_order_rate
from phantom_dist.law.law import fit_law
from phantom_dist.law.law_input import LawInput, SetReading
from tests.benchmarks import zoo_style

from .rows import rows as synthetic

SET = TrainingSet(data="0" * 64, loss="all", batch_size=16, words=9, max_length=64)
ON_SET = SetReading(batch_size=16, epochs=2.0, share=0.05, drawn=3, reach=0.4)


def on_set(row, **changed):
    inputs = dataclasses.replace(
        row.law_input, on_set=dataclasses.replace(ON_SET, **changed), path_rates=row.law_input.path_rates[:1]
    )
    return dataclasses.replace(
        row, law_input=inputs, training_set=SET.text, warmup_steps=0, keys=keys_of(inputs)
    )


@pytest.fixture
def row():
    return synthetic()[0]


def test_a_row_comes_back_from_its_file_as_it_was(row):
    example = on_set(row)
    again = row_from_json(json.loads(json.dumps(row_to_json(example))))
    assert again == example
    assert again.law_input.training_class == again.training_class == f"{row.training_class} on sets"


def test_groups_of_training_sets(row):
    values = {name: BY_NAME[name].value for name in ("batch", "epochs", "share", "reach", "last", "earlier")}
    probed = on_set(row).law_input
    assert {name: value(probed) for name, value in values.items()} == pytest.approx(
        {
            "batch": math.log(2),
            "epochs": math.log(2),
            "share": math.log(0.05),
            "reach": math.log(1.4),
            "last": 0,
            "earlier": 0,
        }
    )
    *_, drawn, widens, size = difficulty(probed)
    assert (drawn, widens, size) == (pytest.approx(math.log(4)), 0, 0)
    widening = dataclasses.replace(probed, kappa=-1.0)
    assert difficulty(widening)[-2] == BY_NAME["widens"].value(widening) == 1
    assert first_order_rate(widening) == probed.path_rates[0]
    assert BY_NAME["share"].value(on_set(row, share=0.0).law_input) == math.log(LEAST_SHARE)
    alone: LawInput = row.law_input
    assert difficulty(alone)[-1] == pytest.approx(math.log(alone.parameters / 1e6))
    assert all(BY_NAME[name].value(alone) == 0 for name in ("batch", "epochs", "share", "reach", "widens"))


def test_sets_have_laws_of_their_own():
    rows = synthetic()
    law = fit_law([*rows, *(on_set(row) for row in rows)])
    names = {row.training_class for row in rows}
    assert set(law.classes) == names | {f"{name} on sets" for name in names}


@pytest.mark.parametrize("name", zoo_style.SIZES)
def test_the_calibrations_data_are_those_of_their_generator(name: str):
    file = Path(zoo_style.DATA) / f"{name}.jsonl"
    assert file.read_text(encoding="utf-8") == zoo_style.text(name)
