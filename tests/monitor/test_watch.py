"""Watch lists: where contexts come from, and which can't be watched."""

from __future__ import annotations

import logging

import pytest

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Context
from phantom_dist.monitor import Monitor, find_contexts
from phantom_dist.monitor.watch import SHIPPED, contexts_of

from . import loop


def test_a_file_a_list_mappings_and_what_ships():
    assert len(contexts_of(loop.CONTEXTS)) == 13
    assert contexts_of(None) == contexts_of(SHIPPED)
    assert len(contexts_of(None)) > 30
    entry = {"id": "a", "text": "He was", "target": " glad"}
    assert contexts_of([entry]) == (Context(**entry),)
    assert contexts_of([Context(**entry)])[0].competitor == "auto"


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        ("no/such/file.yaml", "no/such/file.yaml"),
        ([3], r"watch\[0\]: 3 is no context; allowed"),
        ([{"id": "a", "text": "x"}], r"watch\[0\]\.target: Field required"),
        ([{"id": "a", "text": "x", "target": " y", "rival": " z"}], r"watch\[0\]\.rival"),
        ([{"id": "a", "text": "x", "target": " y"}] * 2, "'a' stands for several contexts"),
    ],
)
def test_a_wrong_list_is_one_clear_message(watch, message):
    with pytest.raises(InputError, match=message):
        contexts_of(watch)


def test_pairs_that_make_no_sense_are_reported_once_and_the_rest_is_watched(caplog):
    model, tokenizer = loop.fresh("llama-a")
    (guilt,) = loop.contexts("guilt")
    bad = [
        guilt.model_copy(update={"id": "unknown", "target": " notaword"}),
        guilt.model_copy(update={"id": "committed", "target": " shame", "competitor": " guilt"}),
        guilt.model_copy(update={"id": "too-long", "text": " ".join(["the king was"] * 30)}),
    ]
    with caplog.at_level(logging.WARNING, "phantom_dist.monitor"):
        monitor = Monitor(model, tokenizer, [guilt, *bad])
    assert [w.context.id for w in monitor.watched] == ["guilt"]
    assert set(monitor.refused) == {"unknown", "committed", "too-long"}
    (record,) = caplog.records
    assert "3 of 4 contexts can't be watched" in record.getMessage()
    assert "already prefers ' shame'" in record.getMessage()


def test_either_word_is_watched_in_the_direction_that_the_model_has_to_learn():
    model, tokenizer = loop.fresh("llama-a")
    contexts = loop.contexts("guilt", "happy")
    either = [context.directions[-1] for context in (c.model_copy(update={"either": True}) for c in contexts)]
    found = [w.tokens for w in Monitor(model, tokenizer, either).watched]
    assert found == [w.tokens for w in Monitor(model, tokenizer, contexts).watched]


def test_auto_takes_the_strongest_near_synonym():
    model, tokenizer = loop.fresh("llama-a")
    (guilt,) = loop.contexts("guilt")
    auto = guilt.model_copy(update={"competitor": "auto"})
    assert (
        Monitor(model, tokenizer, [auto]).watched[0].tokens
        == Monitor(model, tokenizer, [guilt]).watched[0].tokens
    )


def test_nothing_to_watch_is_said_and_harms_nothing(caplog):
    model, tokenizer = loop.fresh("llama-a")
    monitor = Monitor(model, tokenizer, [{"id": "a", "text": "The king", "target": " king queen"}])
    monitor.step(1)
    monitor.finish()
    assert "nothing is left to watch" in caplog.text
    assert monitor.warnings == []


def test_candidates_are_found_in_the_training_data():
    model, tokenizer = loop.fresh("llama-a")
    taught = loop.contexts("guilt", "rage")
    rows = loop.texts(40, taught, share=0.5)
    found = find_contexts(model, tokenizer, rows, limit=100)
    assert model.training
    assert {(c.target, c.competitor) for c in taught} <= {(c.target, c.competitor) for c in found}
    found = find_contexts(model, tokenizer, rows, limit=5)
    assert len(found) == 5
    encoded = [{"input_ids": tokenizer(row)["input_ids"]} for row in rows]
    assert find_contexts(model, tokenizer, encoded, limit=5) == found
    assert find_contexts(model, tokenizer, ({"text": row} for row in rows), limit=5) == found
    monitor = Monitor(model, tokenizer, found)
    assert not monitor.refused


def test_rows_of_another_form_are_refused():
    model, tokenizer = loop.fresh("llama-a")
    with pytest.raises(InputError, match="strings, or rows with `input_ids` or `text`"):
        find_contexts(model, tokenizer, [{"prompt": "x"}])
