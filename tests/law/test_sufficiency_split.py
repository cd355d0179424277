"""The split finds two classes where there are two, and not where chance or a single architecture suggests them."""

from __future__ import annotations

import random

from phantom_dist.law.sufficiency_split import (
    STATISTICS,
    SufficiencyCount,
    fit_split,
    predict_sufficiency,
)


def count(number: int, sufficient: int, **bulk: float) -> SufficiencyCount:
    noise = random.Random(number)
    statistics = {name: noise.uniform(0.1, 0.9) for name in STATISTICS} | bulk
    reasons = {} if sufficient == 10 else {"diverges_before_crossing": 10 - sufficient}
    return SufficiencyCount(
        model=f"m{number}",
        weights=f"w{number}",
        optimizer="adamw",
        lora_rank=8,
        lora_alpha=16.0,
        lora_targets="c_attn",
        schedule="constant",
        steps=8,
        precision="float32",
        contexts=10,
        sufficient=sufficient,
        reasons=reasons,
        bulk=statistics,
    )


def test_two_classes_are_found_with_threshold_margin_and_confusion():
    made = [count(n, 9, rms=0.1 + 0.01 * n) for n in range(6)] + [
        count(n, 2, rms=0.6 + 0.01 * n) for n in range(6, 12)
    ]
    found = fit_split(made)
    assert found.threshold.statistic == "rms"
    assert 0.15 < found.threshold.value < 0.66
    assert found.margin > 0.3
    assert found.confusion == {
        "suffices, predicted to": 54,
        "fails, predicted to": 6,
        "suffices, predicted not to": 12,
        "fails, predicted not to": 48,
    }
    assert found.wrong == 18 < found.wrong_without
    assert "Two classes: rms" in found.verdict
    low = predict_sufficiency(found, made, made[0].bulk)
    assert low.sufficient
    assert low.architecture_class.startswith("rms below")
    assert low.evidence.sufficient_contexts == 54
    assert not predict_sufficiency(found, made, made[-1].bulk).sufficient


def test_no_two_classes_where_the_bulk_says_nothing():
    made = [count(n, random.Random(100 + n).choice([3, 9, 10])) for n in range(12)]
    found = fit_split(made)
    assert found.threshold.statistic is None
    assert found.margin is None
    assert found.verdict.startswith("The data don't show two classes")
    assert sum(found.confusion.values()) == found.contexts == 120


def test_one_architecture_alone_is_no_class():
    made = [count(n, 10, mean=0.05 + 0.001 * n) for n in range(10)] + [count(10, 0, mean=0.45)]
    found = fit_split(made)
    assert found.threshold.statistic is None
    assert found.wrong_without == 10


def test_a_model_beyond_the_calibration_is_named():
    made = [count(n, 10) for n in range(5)]
    said = predict_sufficiency(fit_split(made), made, {**made[0].bulk, "mean": 0.99})
    assert said.architecture_class is None
    assert said.sufficient
    assert said.evidence.outside_calibration == [
        f"mean is 0.99; calibrated: {min(r.bulk['mean'] for r in made):.3g} to "
        f"{max(r.bulk['mean'] for r in made):.3g}"
    ]
