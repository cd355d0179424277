"""Which trials' steps a page holds, and how tables are encoded."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest

from phantom_dist.reports.column_codec import encode
from phantom_dist.reports.sample import in_turn, sample

from .packed import rows_of

UNDER, OVER, OTHER = "just under η_c", "just over η_c", "other"


def trial(number: int, place: str, outcome: str, ratio: float, *, way: str = "full sgd") -> dict[str, Any]:
    return {
        "run": "r",
        "trial_id": f"{number}-{ratio}",
        "number": number,
        "model": "m",
        "way": way,
        "place": place,
        "outcome": outcome,
        "log_ratio": math.log(ratio),
        "steps": 8,
        "steps_taken": 8,
    }


def problem(number: int, way: str) -> list[dict[str, Any]]:
    return [
        trial(number, UNDER, "kinematic", 0.99, way=way),
        trial(number, OVER, "committed", 1.01, way=way),
        trial(number, OTHER, "committed", 2.0 + number, way=way),
        trial(number, OTHER, "diverged", 90.0 + number, way=way),
        trial(number, OTHER, "kinematic", 0.5, way=way),
    ]


TRIALS = [row for n in range(30) for row in problem(n, "lora adamw" if n >= 20 else "full sgd")]


def test_everything_is_kept_where_it_fits() -> None:
    assert sample(TRIALS) == TRIALS


def test_brackets_come_first_and_then_outcomes_in_turn() -> None:
    chosen = sample(TRIALS, most=9 * (60 + 9))
    assert sum(row["place"] != OTHER for row in chosen) == 60
    others = [row for row in chosen if row["place"] == OTHER]
    assert Counter(row["outcome"] for row in others) == {"committed": 3, "diverged": 3, "kinematic": 3}
    assert sorted(row["number"] for row in others if row["outcome"] == "diverged") == [0, 1, 2], (
        "nearest first"
    )


def test_too_many_brackets_are_shared_out_over_ways_of_training() -> None:
    chosen = sample(TRIALS, most=9 * 20)
    assert Counter(row["way"] for row in chosen) == {"full sgd": 10, "lora adamw": 10}
    assert Counter(Counter(row["number"] for row in chosen).values()) == {2: 10}, "both of each bracket"


def test_in_turn_keeps_everything_and_each_kinds_order() -> None:
    assert in_turn("aabcabb", lambda letter: letter) == ["a", "b", "c", "a", "b", "a", "b"]


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 254],
        [0, None, 300],
        [1e-5, None, math.nan, -3.5],
        [70_000, 1, None],
        ["a", None, "b", "a"],
        [None, None],
        [True, False, None],
        [],
    ],
)
def test_packed_columns_come_back(values: list[Any]) -> None:
    rows = [{"x": value} for value in values]
    found = [row["x"] for row in rows_of({"tables": {"t": encode(rows, ["x"])}}, "t")]
    expected = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    assert [value is None for value in found] == [value is None for value in expected]
    for value, wanted in zip(found, expected, strict=True):
        assert value == (pytest.approx(wanted, rel=1e-6) if isinstance(wanted, float) else wanted)


def test_many_words_take_two_bytes_each() -> None:
    words = [f"context-{random.Random(i).random()}" for i in range(400)]
    packed = encode([{"x": word} for word in words], ["x"])
    assert packed["columns"]["x"]["kind"] == "u16"
    assert [row["x"] for row in rows_of({"tables": {"t": packed}}, "t")] == words
