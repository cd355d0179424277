"""Refusals and their messages; `test_single.py` tests κ itself."""

from __future__ import annotations

import dataclasses

import pytest

from phantom_dist.core.measurement import Trial
from phantom_dist.core.outcome import Outcome, Thresholds
from phantom_dist.core.probe_result import Measured, Refused
from phantom_dist.core.trial import Context
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine

from .problems import CONTEXT, problem


def refused(loaded, **changes):
    answer = probe(loaded, problem(context=CONTEXT.model_copy(update=changes)))
    assert isinstance(answer, Refused)
    return answer


def test_a_pair_that_the_model_completes_rightly_is_refused(loaded):
    answer = refused(loaded, target=CONTEXT.competitor, competitor=CONTEXT.target)
    assert answer.outcome is Outcome.REFUSED_COMMITTED
    assert "already prefers" in answer.message
    assert answer.pair.gap_0 > 0


@pytest.mark.parametrize(
    ("competitor", "message"),
    [("auto", "`auto` finds competitors of single tokens only"), (CONTEXT.target, "begin alike")],
)
def test_a_target_of_several_tokens_needs_a_competitor_that_differs(loaded, competitor, message):
    answer = refused(loaded, target=CONTEXT.target + CONTEXT.target, competitor=competitor)
    assert answer.outcome is Outcome.REFUSED_TOKENS
    assert message in answer.message


def test_target_and_competitor_the_same_is_refused(loaded):
    answer = refused(loaded, competitor=CONTEXT.target)
    assert answer.outcome is Outcome.REFUSED_TOKENS
    assert "same token" in answer.message


def test_a_named_pair_that_is_no_near_synonym_is_measured_and_flagged(loaded):
    named = probe(loaded, problem(context=CONTEXT))
    strangers = probe(
        loaded, problem(context=CONTEXT.model_copy(update={"competitor": " the", "either": True}))
    )
    assert isinstance(strangers, Measured)
    assert strangers.pair.centred_overlap < strangers.pair.synonym_floor
    assert (named.pair.near_synonym, strangers.pair.near_synonym) == (True, False)


@pytest.mark.parametrize("words", [" {t}", " {t} {t}"], ids=["single", "several"])
@pytest.mark.parametrize("exchanged", [False, True])
def test_either_word_is_learnt_in_the_direction_that_the_model_has_to_learn(loaded, exchanged, words):
    own = (words.format(t=word.strip()) for word in (CONTEXT.target, CONTEXT.competitor))
    first, second = reversed(list(own)) if exchanged else own
    given = CONTEXT.model_copy(update={"target": first, "competitor": second})
    directed = [probe(loaded, problem(context=words)) for words in (given, given.directions[-1])]
    both = given.model_copy(update={"either": True})
    directed.append(probe(loaded, problem(context=both.directions[-1].model_copy(update={"either": False}))))
    expected = next(answer for answer in directed if isinstance(answer, Measured))
    found = probe(loaded, problem(context=both))
    assert found == dataclasses.replace(expected, problem=found.problem)
    assert found.gap_0 < 0


def test_either_needs_two_words():
    with pytest.raises(ValueError, match="`either` needs two words"):
        Context(id="a", text="t", target=" a", either=True)


def test_auto_finds_no_competitor_below_the_floor(loaded):
    thresholds = Thresholds(synonym_floor_rms=1000)
    auto = problem(context=CONTEXT.model_copy(update={"competitor": "auto"}))
    answer = probe(loaded, auto.model_copy(update={"thresholds": thresholds}))
    assert isinstance(answer, Refused)
    assert answer.outcome is Outcome.REFUSED_NOT_SYNONYM


def test_auto_finds_the_strongest_near_synonym(loaded):
    measured = probe(loaded, problem(context=CONTEXT.model_copy(update={"competitor": "auto"})))
    if isinstance(measured, Measured):
        assert measured.gap_0 < 0
        assert measured.pair.centred_overlap >= measured.pair.synonym_floor
        assert measured.tokens.competitor_text == CONTEXT.competitor


@pytest.mark.parametrize("text", [CONTEXT.text])
def test_the_measured_gap_is_the_models_own(loaded, text):
    import torch

    measured = probe(
        loaded,
        problem(context=Context(id="x", text=text, target=CONTEXT.target, competitor=CONTEXT.competitor)),
    )
    ids = torch.tensor([loaded.tokenizer.encode(text)], device=loaded.model.device)
    logits_V = loaded.model(input_ids=ids).logits[0, -1]
    t, c = measured.tokens.target, measured.tokens.competitor
    assert measured.gap_0 == pytest.approx(float(logits_V[t] - logits_V[c]), abs=1e-5)
    assert loaded.tokenizer.decode([t]) == CONTEXT.target == measured.tokens.target_text


@pytest.mark.parametrize(
    ("method", "optimizer", "more"),
    [
        ("full", "sgd", {}),
        ("full", "sgd", {"weight_decay": 0.1}),
        ("lora", "sgd", {}),
        ("full", "adamw", {"epsilon": 1e-2}),
    ],
    ids=str,
)
def test_the_gaps_rate_under_clipping_is_that_of_the_first_step_taken(loaded, method, optimizer, more):
    """Clipped to a fifth: one short step of the reference engine changes the gap by κ η; ε makes AdamW notice, too."""
    free = problem(method, optimizer, steps=1)
    settings = free.optimizer.model_copy(update=more)
    free = free.model_copy(update={"optimizer": settings})
    measured = probe(loaded, free)
    rate = 1e-3 * abs(measured.gap_0 / measured.kappa)
    (whole,) = SingleEngine().run(loaded, [Trial(measured=measured, learning_rate=rate)])
    clipped = free.model_copy(update={"gradient_clipping": whole.trace[0].gradient_norm / 5})
    short = probe(loaded, clipped)
    assert short.kappa < 0.9 * measured.kappa
    if optimizer == "sgd" and not more:
        assert short.kappa == pytest.approx(measured.kappa / 5, rel=1e-5)
    rate = 1e-2 * abs(short.gap_0 / short.kappa)
    (result,) = SingleEngine().run(loaded, [Trial(measured=short, learning_rate=rate)])
    rise = (result.trace[1].logit_gap - result.trace[0].logit_gap) / rate
    assert rise == pytest.approx(short.kappa, rel=0.03), "the curvature over a hundredth of the way"
    assert result.id != whole.id
