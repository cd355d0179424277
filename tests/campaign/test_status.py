"""What `status` returns: typed, the contract's JSON, and one text in a terminal and in a notebook."""

from __future__ import annotations

import dataclasses
import html
import json
import re

import pytest

import phantom_dist
from phantom_dist.campaign.status import RefusedPair, RunStatus
from phantom_dist.core.problem_columns import PROBLEM_COLUMNS
from phantom_dist.refinement.critical_rate import CriticalRate
from tests.stored_runs import unpacked


@pytest.fixture(scope="module")
def status(tmp_path_factory) -> RunStatus:
    return phantom_dist.status(unpacked("v1", tmp_path_factory.mktemp("runs")))


def test_its_json_is_the_contracts(status):
    value = json.loads(json.dumps(status.to_json(), allow_nan=False))
    assert list(value)[:5] == ["run", "state", "trials", "outcomes", "critical_rates"]
    assert value["trials"] == {"total": 6, "done": 6, "failed": 0}
    more = {
        "problem", "eta_c", "bracket", "pi_c", "gap_0", "kappa", "trials_used", "trial_steps_used", "reason",
        "held_out", "eta_loss", "near_synonym",
    }  # fmt: skip
    assert value["trainings"] == []
    for entry in value["critical_rates"]:
        assert set(entry) == {*PROBLEM_COLUMNS, *more}
        assert (entry["eta_c"] is None) == (entry["bracket"] is None) == (entry["reason"] is not None)


def test_it_comes_back_from_its_json(status):
    """A job prints its result as JSON, from which `submit` makes the same record."""
    assert RunStatus.from_json(json.loads(json.dumps(status.to_json()))) == status
    for rate in status.critical_rates:
        assert CriticalRate.from_json(rate.to_json()) == rate


def test_a_notebook_shows_what_the_terminal_does(status):
    shown = re.sub(r"<[^>]*>", "", status._repr_html_())
    assert html.unescape(shown).split() == str(status).split()
    assert str(status).startswith("run stored: complete, 6 of 6 trials (2 committed, 2 kinematic, ")
    assert "0.0016285" in str(status)
    assert "\nrefused_committed: zoo:gpt2-a swapped: " in str(status)


def test_settings_are_shown_where_rates_differ_in_them(status):
    plain = str(status)
    assert "schedule" not in plain
    rate = next(r for r in status.critical_rates if r.crossing is not None)
    other = dataclasses.replace(rate, schedule="cosine(warmup_from_zero=true)", warmup_steps=3)
    shown = str(dataclasses.replace(status, critical_rates=(rate, other)))
    assert re.search(r"T +schedule +warmup_steps +eta_c", shown)
    assert "cosine(warmup_from_zero=true)" in shown
    elsewhere = dataclasses.replace(other, model="zoo:other")
    assert "schedule" not in str(dataclasses.replace(status, critical_rates=(rate, elsewhere)))


def test_of_many_refused_pairs_a_few_are_listed_and_the_rest_counted(status):
    pair = RefusedPair(model="m", context="c", outcome="refused_tokens", error="too long")
    lines = str(dataclasses.replace(status, refusals=(pair,) * 13)).split("\n")
    assert lines.count("refused_tokens: m c: too long") == 10
    assert lines[-1].startswith("and 3 more, each with its reason")


def test_a_run_that_was_stopped_says_why(status):
    stopped = dataclasses.replace(status, state="interrupted", reason="--max-trials 1: 2 trials were started")
    assert "\nstopped: --max-trials 1: 2 trials were started; continue with `phantom-dist resume DIR`" in str(
        stopped
    )
    assert "peak memory" not in str(stopped)
