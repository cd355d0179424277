"""What a training will teach, from the predictions of its words; and a whole prediction on a training set."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phantom_dist
from phantom_dist.calibration.calibrate import calibrate
from phantom_dist.calibration.predicted_rate import PredictedRate, predictions_text, unpredicted
from phantom_dist.calibration.predicted_training import PredictedTraining
from phantom_dist.core.trial import Context, Optimizer, Problem
from phantom_dist.engines.set_probe import OnSet
from phantom_dist.law.law import fit_law
from phantom_dist.records import problem_row
from phantom_dist.spec import default_rates, load_contexts

ROOT = Path(__file__).parents[2]
CONTEXTS = load_contexts(ROOT / "sweeps/contexts/zoo.yaml")
PROBLEM = Problem(
    model="zoo:gpt2-a",
    context=Context(id="a", text="It was", target=" a", competitor=" b"),
    method="full",
    optimizer=Optimizer(name="adamw"),
    steps=8,
)
UNKNOWN = unpredicted(problem_row(PROBLEM), "the first steps widen the gap (kappa = -1)")
REFUSED = unpredicted(problem_row(PROBLEM), "refused_committed: the model already completes it")


def word(rate: float, factor: float | None = 2.0, **more) -> PredictedRate:
    interval = None if factor is None else (rate / factor, rate * factor)
    return dataclasses.replace(UNKNOWN, eta_c=rate, interval=interval, reason=None, **more)


def training(*words: PredictedRate, rise: float | None = 1.0) -> PredictedTraining:
    return PredictedTraining(words=words, probed=OnSet(rate_of_rise=rise, examples=9, steps=8.0))


def test_reasons_that_all_words_share_and_what_groups_mean_stand_once_below_the_table():
    size, share = (
        "parameters: 9, the nearest has 1, over 3 times off",
        "share (of (all) examples) is {}, calibrated: 1",
    )
    words = [
        dataclasses.replace(word(1e-3), in_domain=False, reason=f"{share.format(place)}; {size}")
        for place in range(3)
    ]
    words += [
        dataclasses.replace(words[0], reason=size),
        dataclasses.replace(words[0], eta_c=None, reason="why"),
    ]
    shown, *below = predictions_text(words)
    assert list(shown.columns[-1].cells) == [
        *(f"out of domain: share is {place}, calibrated: 1" for place in range(3)),
        "out of domain",
        "out of domain: why",
    ]
    assert below == [f"All of these are out of domain: {size}", "share: of (all) examples"]
    # A single prediction has no one to share with, and one inside the domain shares nothing.
    assert [list(each.columns[-1].cells) for each, *_ in (tuple(predictions_text(words[3:4])),)] == [
        [f"out of domain: {size}"]
    ]
    assert len(tuple(predictions_text([word(1e-3), *words]))) == 2


def test_the_window_begins_where_nine_of_ten_words_are_learnt():
    ten = [word(1e-4 * n) for n in range(1, 11)]
    made = training(*ten)
    assert made.rate() == pytest.approx(9e-4)
    assert made.interval() == pytest.approx((4.5e-4, 1.8e-3))
    # Refused pairs need not be learnt; those without a prediction are never learnt.
    assert training(*ten, REFUSED).rate() == pytest.approx(9e-4)
    assert training(*ten, UNKNOWN).rate() == pytest.approx(1e-3)
    assert training(*ten, UNKNOWN, UNKNOWN).rate() is None
    assert training(*ten[:-2], *(word(1e-3, None) for _ in range(2))).interval() is None


def test_where_a_rate_lies():
    made = training(*(word(1e-4 * n) for n in range(1, 11)), rise=0.1)
    assert [made.place(rate) for rate in (1e-5, 8.9e-4, 9.1e-4, 0.09, 0.1, 1.0)] == [
        "below", "below", "inside", "inside", "above", "above",
    ]  # fmt: skip
    assert training(UNKNOWN).place(1e-3) is None
    mostly = training(*(word(1e-4 * n) for n in range(1, 11)), UNKNOWN, UNKNOWN)
    assert [mostly.place(rate) for rate in (8.5e-4, 1.1e-3)] == ["below", None], "whatever the other two do"
    assert training(UNKNOWN, rise=0.1).place(1.0) == "above"


def test_held_out_prompts_are_counted_apart():
    made = training(word(1e-4), word(1e-2, held_out=True))
    assert made.rate() == 1e-4
    assert made.rate(held_out=True) == 1e-2
    assert (made.learnt(1e-3).expected, made.learnt(1e-3, held_out=True).expected) == (1.0, 0.0)


@given(
    rates=st.lists(st.floats(1e-6, 1e-1), min_size=1, max_size=20),
    unknown=st.integers(0, 3),
    rate=st.floats(1e-7, 1.0),
    factor=st.floats(1.01, 10),
)
def test_what_a_rate_teaches_is_a_share_within_its_band(rates, unknown, rate, factor):
    made = training(*(word(each, factor) for each in rates), *[UNKNOWN] * unknown)
    learnt, more = made.learnt(rate), made.learnt(rate * 2)
    assert 0 <= learnt.least <= learnt.expected <= learnt.most <= 1
    assert learnt.expected <= more.expected
    assert learnt.expected == sum(each <= rate for each in rates) / (len(rates) + unknown)
    assert learnt.most >= unknown / (len(rates) + unknown), "those without a prediction may be learnt"
    window = made.rate()
    if window is not None:
        assert made.learnt(window).expected >= 0.9 - 1e-9


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> dict[str, object]:
    data = tmp_path_factory.mktemp("data") / "data.jsonl"
    examples = [{"prompt": c.text, "completion": f"{c.target}."} for c in CONTEXTS]
    data.write_text("\n".join(map(json.dumps, examples)))
    return {
        "name": "set",
        "models": "zoo:gpt2-a",
        "contexts": [c.model_dump() for c in CONTEXTS[:2]]
        + [CONTEXTS[2].model_copy(update={"held_out": True}).model_dump()],
        "training": {"data": str(data), "batch_size": 4},
        "methods": ["full"],
        "optimizers": ["adamw"],
        "steps": 6,
        "learning_rates": {"critical": {"tolerance": 0.05}},
    }


@pytest.fixture(scope="module")
def run(sweep, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    phantom_dist.run(sweep, out, executor="inprocess")
    return out


def test_a_run_on_a_training_set_calibrates(run):
    """Every word with a critical rate becomes a row; what the law needs of its training is measured then."""
    known = {c.context: c for c in phantom_dist.status(run).critical_rates if c.eta_c is not None}
    found = calibrate([run])
    assert len(found.rows) + sum(found.dropped.values()) == 3
    assert found.rows
    for row in found.rows:
        assert row.training_class == "full adamw on sets"
        assert row.eta_c == known[row.context].eta_c
        assert row.law_input.on_set is not None
        assert row.law_input.on_set.batch_size == 4
        assert row.law_input.on_set.epochs == pytest.approx(6 * 4 / len(CONTEXTS))
        assert 0 < row.law_input.on_set.share < 1


def test_a_prediction_says_what_the_training_will_teach(sweep, run):
    # A law from this one run, as if three architectures had measured the same.
    rows = [dataclasses.replace(row, model=f"m{n}") for n in range(3) for row in calibrate([run]).rows]
    result = phantom_dist.predict_sweep(sweep, law=fit_law(rows))
    (made,) = result.trainings
    assert made.words == result.predictions
    assert [w.held_out for w in made.words] == [False, False, True]
    assert made.probed.rate_of_rise is not None
    entry = result.to_json()["trainings"][0]
    assert (entry["words"], entry["words_held_out"]) == (len(made.own()), len(made.own(held_out=True)))
    assert [each["learning_rate"] for each in entry["defaults"]] == [
        rate for rate, _ in default_rates(["full"])
    ]
    assert {each["place"] for each in entry["defaults"]} <= {"below", "inside", "above", None}
    shown = str(result)
    assert "default rates" in shown
    assert "transformers" in shown
    measured = {known.context: known.eta_c for known in phantom_dist.status(run).critical_rates}
    for word in made.words:
        known = measured[word.context]
        if known is not None and word.eta_c is not None:
            assert abs(math.log(known / word.eta_c)) < math.log(4), "the law has seen these words"
