"""Words of several tokens on every engine: against whole sequences and a plain loop, and each engine against another.

The zoo's tokenizer has one token for each word, so here two words make one of several tokens.
"""

from __future__ import annotations

import math

import pytest
import torch

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import Measured
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context, Problem
from phantom_dist.engines import engine_named
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.path.probe import probe_path
from phantom_dist.engines.probe import probe
from phantom_dist.instruments.word_prompts import log_odds
from phantom_dist.models.load import LoadedModel, load

from .problems import CONTEXT, problem
from .test_training_sets import SETS, assert_equal, problems, trained

WORDS = {
    "longer target": ("{t} {c}", "{c}"),
    "longer competitor": ("{t}", "{c} {t}"),
    "both": ("{t} {t}", "{c} {t}"),
    "begin alike": ("{c} {t}", "{c} {c}"),
}


def pair(words: str) -> Context:
    target, competitor = (
        " " + form.format(t=CONTEXT.target.strip(), c=CONTEXT.competitor.strip()) for form in WORDS[words]
    )
    return CONTEXT.model_copy(
        update={"id": words.replace(" ", "-"), "target": target, "competitor": competitor}
    )


def learnable(loaded: LoadedModel, asked: Problem) -> tuple[Problem, Measured]:
    """The problem, or with its words exchanged: one of them the model doesn't prefer yet."""
    probed = probe(loaded, asked, SETS)
    if not isinstance(probed, Measured):
        context = asked.context
        other = context.model_copy(update={"target": context.competitor, "competitor": context.target})
        asked = asked.model_copy(update={"context": other})
        probed = probe(loaded, asked, SETS)
    assert isinstance(probed, Measured), probed
    return asked, probed


def log_probability(model: torch.nn.Module, prompt: tuple[int, ...], word: tuple[int, ...]) -> torch.Tensor:
    """ln P(word | prompt) from one pass over the whole sequence."""
    logits_KV = model(input_ids=torch.tensor([prompt + word])).logits[0].double()
    log_p_KV = torch.log_softmax(logits_KV, dim=-1)[len(prompt) - 1 : -1]
    return log_p_KV.gather(1, torch.tensor(word)[:, None]).sum()


def both(tokens: Tokens) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (
        (*tokens.shared, tokens.target, *tokens.target_rest),
        (*tokens.shared, tokens.competitor, *tokens.competitor_rest),
    )


@pytest.mark.parametrize("words", WORDS)
def test_the_reference_is_a_plain_loop_over_whole_sequences(words: str) -> None:
    loaded, reference = load("zoo:gpt2-a"), load("zoo:gpt2-a").model
    _, measured = learnable(loaded, problem("full", "sgd", context=pair(words), steps=4))
    (result,) = engine_named("single").run(loaded, [Trial(measured=measured, learning_rate=0.02)])
    target, competitor = both(measured.tokens)
    prompt = measured.tokens.prompt
    before = {name: parameter.detach().clone() for name, parameter in reference.named_parameters()}
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.02)
    for measurement in result.trace:
        loss = -log_probability(reference, prompt, target)
        gap = -loss - log_probability(reference, prompt, competitor)
        # the conformance suite's tolerance: rounding grows with the steps
        assert measurement.loss == pytest.approx(loss.item(), rel=1e-4, abs=1e-3)
        assert measurement.logit_gap == pytest.approx(gap.item(), rel=1e-4, abs=1e-3)
        if measurement.step == 0:
            assert measurement.loss == pytest.approx(loss.item(), rel=1e-5)
            assert measurement.logit_gap == pytest.approx(gap.item(), abs=1e-4)
        assert measurement.loss >= -math.log(measurement.p_target) - 1e-9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.copy_(before[name])
    assert result.trace[0].logit_gap == pytest.approx(measured.gap_0, abs=1e-4)
    assert result.trace[0].loss == pytest.approx(measured.pair.loss_0, rel=1e-5)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("way", [("full", "sgd"), ("full", "adamw"), ("lora", "adamw")], ids="-".join)
def test_kappa_is_the_rate_of_the_first_step(words: str, way: tuple[str, str]) -> None:
    loaded = load("zoo:gpt2-a")
    _, measured = learnable(loaded, problem(*way, context=pair(words), steps=1))
    assert measured.kappa > 0
    rate = 0.01 / measured.kappa
    (result,) = engine_named("single").run(loaded, [Trial(measured=measured, learning_rate=rate)])
    risen = result.trace[-1].logit_gap - result.trace[0].logit_gap
    # a rise of 0.18 was off by 3 % for its second order, which one of 0.01 has to 0.2 %; float32's rounding of two gaps
    assert risen == pytest.approx(0.01, rel=0.01, abs=2e-5)


def test_lanes_leave_a_word_alone_to_the_reference() -> None:
    loaded = load("zoo:gpt2-a")
    _, several = learnable(loaded, problem("full", "sgd", context=pair("both"), steps=3))
    single = probe(loaded, problem("full", "sgd", steps=3))
    assert isinstance(single, Measured)
    trials = [Trial(measured=m, learning_rate=rate) for m in (several, single) for rate in (0.01, 0.02)]
    results = {
        (r.trial.measured.tokens.pair_kind, r.engine, r.note)
        for r in LanesEngine(ways=("dual",)).run(loaded, trials)
    }
    assert results == {("several", "single", "lanes train single tokens"), ("single", "dual lanes", None)}


@pytest.mark.parametrize("kind", ["full sgd", "lora adamw"])
@pytest.mark.parametrize("name", ["gpt2-a", "llama-a"])
def test_lanes_watch_them_as_the_reference_does(name: str, kind: str) -> None:
    loaded = load(f"zoo:{name}")
    of = [
        learnable(loaded, asked.model_copy(update={"context": pair(words)}))[0]
        for asked, words in zip(problems(kind, model=f"zoo:{name}") * 2, WORDS, strict=False)
    ] + problems(kind, model=f"zoo:{name}")[:1]
    rates = [0.003, 0.01]

    def run(engine: str) -> dict[object, TrialResult]:
        return dict(trained(loaded, of, rates, engine))

    assert len({asked.context.id for asked in of}) == len(WORDS) + 1
    assert_equal(run("single"), run("lanes"))


@pytest.mark.parametrize(("method", "optimizer"), [("full", "sgd"), ("full", "adamw"), ("lora", "adamw")])
@pytest.mark.parametrize("words", WORDS)
def test_training_at_the_rate_of_their_path_closes_most_of_the_gap(
    words: str, method: str, optimizer: str
) -> None:
    """Words said twice, with log-odds of -13 to -16, lie beyond what paths are accurate for: a fifth may be left."""
    loaded = load("zoo:gpt2-a")
    asked, measured = learnable(loaded, problem(method, optimizer, context=pair(words), steps=8))
    probed = probe_path(loaded, asked)
    assert isinstance(probed, Measured)
    assert probed.kappa == pytest.approx(measured.kappa)
    assert probed.path is not None
    rate = probed.path.learning_rates[-1]
    (result,) = engine_named("single").run(loaded, [Trial(measured=probed, learning_rate=rate)])
    assert abs(result.trace[-1].logit_gap) < 0.2 * abs(result.trace[0].logit_gap)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_log_odds_are_those_of_the_whole_word(scale: float) -> None:
    """Also where the word is nearly certain and 1 - P has no digits left beside 1."""
    logits_V = scale * torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = int(logits_V.argmax())
    rests_3 = -torch.tensor([0.3, 0.01, 2.0], dtype=torch.float64) / scale**3
    log_p = torch.log_softmax(logits_V, 0)[target]
    others = torch.cat([logits_V[:target], logits_V[target + 1 :]])
    log_left = torch.logsumexp(others, 0) - torch.logsumexp(logits_V, 0)  # of the token alone: ln(1 - p)
    assert log_odds(logits_V, target, None) == pytest.approx(float(log_p - log_left), rel=1e-12)
    whole = float(log_p + rests_3[0] + rests_3[1])
    # ln P / (1 - P) with 1 - P = (1 - p) + p (1 - the rest's probability), both terms positive
    left = math.exp(float(log_left)) - math.exp(float(log_p)) * math.expm1(float(rests_3[0] + rests_3[1]))
    assert log_odds(logits_V, target, rests_3) == pytest.approx(whole - math.log(left), rel=1e-9)
