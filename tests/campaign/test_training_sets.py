"""A sweep over a training set through the whole product: run, resume, status, archive, page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import vl_convert

import phantom_dist
from phantom_dist import reports
from phantom_dist.core.errors import InputError
from phantom_dist.spec import recipe_named, recipe_names
from tests.engines.problems import CONTEXTS

from .runs import digest, run

WATCHED = list(CONTEXTS.values())[:4]
HELD_OUT = list(CONTEXTS.values())[6:8]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = tmp_path_factory.mktemp("data") / "words.jsonl"
    rows = [{"prompt": c.text, "completion": c.target} for c in WATCHED] * 4
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "name": "set",
        "models": ["zoo:gpt2-a"],
        "contexts": [c.model_dump() for c in WATCHED]
        + [c.model_dump() | {"held_out": True} for c in HELD_OUT],
        "training": {"data": str(data), "batch_size": 4, "measure_every": 3},
        "methods": ["full"],
        "optimizers": ["adamw"],
        "steps": [8],
        "learning_rates": {"critical": {"tolerance": 0.05}},
    }


@pytest.fixture(scope="module")
def finished(sweep: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "set"
    run(sweep, out)
    return out


def test_words_are_bracketed_and_share_their_trainings(finished: Path) -> None:
    status = phantom_dist.status(finished)
    assert status.state == "complete"
    searched = [rate for rate in status.critical_rates if not rate.held_out]
    assert {rate.context for rate in searched} == {c.id for c in WATCHED}
    for rate in searched:
        assert rate.bracket is not None
        assert rate.bracket[1] / rate.bracket[0] <= 1.05 * (1 + 1e-9)
    trainings = status.to_json()["trainings"]
    assert {rate.trials_used for rate in status.critical_rates} == {len(trainings)}
    assert len(trainings) <= 8 + 2 * len(WATCHED)
    assert trainings[0]["learnt"] < 1
    assert max(training["learnt"] for training in trainings) == 1
    losses = {t["learning_rate"]: t["training_loss"] for t in trainings}
    assert {rate.eta_loss for rate in status.critical_rates} == {min(losses, key=losses.__getitem__)}


def test_an_interrupted_run_goes_on_with_the_same_trainings(
    sweep: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    first = run(sweep, out, max_trials=7)
    assert first.state == "interrupted"
    Path(sweep["training"]["data"]).rename(tmp_path / "away.jsonl")  # the directory holds the data
    try:
        assert phantom_dist.resume(out, executor="inprocess").state == "complete"
    finally:
        (tmp_path / "away.jsonl").rename(sweep["training"]["data"])
    assert digest(out) == digest(finished)


def test_a_search_starts_at_the_laws_predictions_and_equal_trials_stay_equal(
    sweep: dict[str, Any], tmp_path: Path
) -> None:
    """Where it starts changes which rates are trained, and nothing of any trial."""
    found = {}
    for start in ("law", "first_order"):
        out = tmp_path / start
        run(sweep | {"learning_rates": {"critical": {"tolerance": 0.05, "start": start}}}, out)
        found[start] = phantom_dist.open_run(out)
    probes = {start: of.probes().to_pylist() for start, of in found.items()}
    assert all(probe["path_rates"] and probe["drawn"] >= 0 for probe in probes["law"])
    assert all(probe["sample_kappa"] is None for probe in probes["first_order"])
    kappas = [{probe["problem"]: probe["kappa"] for probe in of} for of in probes.values()]
    assert kappas[0] == kappas[1]
    trials = [{row["trial_id"]: row["gap_final"] for row in of.trials().to_pylist()} for of in found.values()]
    assert trials[0].keys() != trials[1].keys()
    assert all(trials[0][key] == trials[1][key] for key in trials[0].keys() & trials[1].keys())
    brackets = [
        {
            rate.context: rate.bracket
            for rate in phantom_dist.status(tmp_path / start).critical_rates
            if not rate.held_out
        }
        for start in found
    ]
    for context, (low, high) in brackets[0].items():
        assert low <= brackets[1][context][1]
        assert high >= brackets[1][context][0]
    phantom_dist.archive_pack([tmp_path / "law", tmp_path / "first_order"], tmp_path / "archive")
    assert not phantom_dist.archive_verify(tmp_path / "archive").problems


@pytest.mark.ray
@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_changes_nothing(
    workers: int, sweep: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    phantom_dist.run(sweep, tmp_path / "set", workers=workers)
    assert digest(tmp_path / "set") == digest(finished)


def test_an_archive_of_it_is_verified_and_edits_are_noticed(finished: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    phantom_dist.archive_pack([finished], archive)
    assert not phantom_dist.archive_verify(archive).problems
    assert not (archive / "data").exists(), "the examples may not be ours to publish"


def test_the_page_shows_words_over_rates(finished: Path, tmp_path: Path) -> None:
    phantom_dist.report([finished], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert 'id="h-trainings"' in page
    assert 'id="words-learnt-title"' in page
    assert "trl-lora" not in page, "no recipe for LoRA on a page of full fine-tuning"
    assert "trl-full" in page
    rows = reports.Rows.of([reports.read_run(finished)])
    for drawing in (reports.figures.word_map, reports.figures.words_learnt):
        assert vl_convert.vegalite_to_svg(drawing(rows).to_dict()).startswith("<svg")
    (trained, *_, held_out) = (
        r for r in rows.trainings if r["learning_rate"] == rows.trainings[0]["learning_rate"]
    )
    assert (trained["prompts"], trained["watched"]) == ("prompts in the data", 4)
    assert (held_out["prompts"], held_out["watched"]) == ("held-out prompts", 2)


def test_examples_that_are_cut_or_left_out_are_told(sweep: dict[str, Any], tmp_path: Path) -> None:
    data = tmp_path / "long.jsonl"
    rows = [{"prompt": c.text, "completion": c.target} for c in WATCHED] * 3
    rows += [{"prompt": "word " * 40, "completion": " end"}, {"prompt": "a", "completion": " "}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    training = {"data": str(data), "batch_size": 4, "max_length": 24}
    status = run(sweep | {"training": training, "learning_rates": [1e-4], "steps": [2]}, tmp_path / "run")
    assert status.data_notes == (
        "long.jsonl: 1 empty example(s) are left out",
        "long.jsonl on zoo:gpt2-a: 1 of 13 examples are cut at 24 tokens",
        "long.jsonl on zoo:gpt2-a: 1 example(s) have no token that the loss counts, and are left out",
    )
    assert all(note in str(status) for note in status.data_notes)


def test_a_directory_whose_data_are_others_is_refused(
    sweep: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(Path(sweep["training"]["data"]).read_text() + '{"prompt": "a", "completion": " b"}\n')
    with pytest.raises(InputError, match="training: "):
        run(sweep | {"training": sweep["training"] | {"data": str(other)}}, finished)


def test_a_prompt_that_is_held_out_and_stands_in_the_data_is_told(sweep: dict[str, Any]) -> None:
    from phantom_dist.data.of_sweep import with_data
    from phantom_dist.spec import load

    contexts = [WATCHED[0].model_dump() | {"held_out": True}, WATCHED[1].model_dump()]
    told = with_data(load(sweep | {"contexts": contexts}))
    assert told.notes == (f"words.jsonl holds the prompts of held-out contexts: {WATCHED[0].id}",)
    assert with_data(load(sweep)).notes == ()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_runs_on_the_smallest_model(name: str, sweep: dict[str, Any], tmp_path: Path) -> None:
    own = {key: sweep[key] for key in ("models", "contexts")} | {"recipe": name, "learning_rates": [1e-3]}
    steps = 102 if name == "torchtune-lora" else 8  # its warm-up takes a hundred
    training = {"data": sweep["training"]["data"], "batch_size": 4, "accumulate": 2, "measure_every": 50}
    status = run(own | {"steps": [steps], "training": training}, tmp_path / "run")
    (training_of,) = status.trainings
    assert training_of.training_loss is not None
    assert training_of.recipe == name
    assert recipe_named(name).description
