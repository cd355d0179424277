"""A group of ranks equals the reference engine, for every zoo architecture: ZeRO 2 and 3, on 2 and on 3 ranks.

Tolerance over 8 steps, up to a trial's first jump: logit gaps within 1e-4; the measured differences are below 3e-6,
float32's rounding of logits of size 10. The tolerances of other columns follow from an error of 1e-4 in a gap.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
from torch import Tensor

from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, ProbeResult, Refused
from phantom_dist.core.quantities import Quantity
from phantom_dist.core.trial import Problem
from phantom_dist.engines.deepspeed_group import DeepSpeedEngine, Ranks, load_sharded
from phantom_dist.engines.deepspeed_group import readout as sharded_readout
from phantom_dist.engines.deepspeed_group.ranks import interface_towards
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.instruments.plugin_instruments import Instrument, Named, Readout
from phantom_dist.models import Permissions
from phantom_dist.models.zoo import names
from phantom_dist.records import trial_row

from .problems import CONTEXT, load, problem
from .ranks import RankProcesses
from .test_training_sets import RATES, SETS, assert_equal, problems, trained
from .test_words_of_several_tokens import WORDS, learnable
from .test_words_of_several_tokens import pair as several

pytestmark = pytest.mark.slow

GAP = 1e-4
STEPS = 8
NULLABLE = {
    "readout_change": {"abs": 2 * GAP},
    "geometry_change": {"abs": 2 * GAP},
    "gradient_norm": {"rel": 1e-3},
}
WAYS = {
    "sgd": ("full", "sgd", {}),
    "momentum": ("full", "sgd", {"momentum": 0.9, "schedule": {"name": "cosine"}, "gradient_clipping": 1.0}),
    "adamw": ("full", "adamw", {"weight_decay": 0.01}),
    "lora": ("lora", "adamw", {}),
}


# -- what ranks do ---------------------------------------------------------------------------------------------------


def measured(
    ranks: Ranks, stage: int, asked: Problem, trials: list[Trial]
) -> tuple[ProbeResult, list[TrialResult], int]:
    """A problem's probe, the results of trials on its model, and the largest exchange of readout entries."""
    model = load_sharded(asked, stage, ranks, Permissions())
    try:
        engine = DeepSpeedEngine()
        probed = engine.probe(model, asked)
        return probed, list(engine.run(model, trials)), model.readout.largest_exchange
    finally:
        model.zero.close()


def in_small_pieces(ranks: Ranks, stage: int, asked: Problem, trials: list[Trial]):
    """The same with pieces of the readout matrix of at most 200 entries."""
    before, sharded_readout.CHUNK = sharded_readout.CHUNK, 200
    try:
        return measured(ranks, stage, asked, trials)
    finally:
        sharded_readout.CHUNK = before


def on_another_way(ranks: Ranks, stage: int, loaded_for: Problem, asked: Problem) -> str:
    model = load_sharded(loaded_for, stage, ranks, Permissions())
    try:
        DeepSpeedEngine().probe(model, asked)
    except ValueError as error:
        return str(error)
    finally:
        model.zero.close()
    return ""


class LogOdds(Instrument):
    """An instrument of another package: ln p_t − ln p_c."""

    columns = (Quantity(name="log_odds", type="float64", description="ln p_t - ln p_c"),)

    def measure(self, readout: Readout) -> dict[str, Tensor]:
        logs_LV = readout.probabilities_LV.log()
        pair = [logs_LV.gather(1, ids[:, None])[:, 0] for ids in (readout.target_L, readout.competitor_L)]
        return {"log_odds": pair[0] - pair[1]}


OUTSIDE = (Named("mylab", LogOdds()),)


def measured_outside(ranks: Ranks, asked: Problem, trials: list[Trial]) -> list[float]:
    model = load_sharded(asked, 3, ranks, Permissions())
    try:
        (result,) = DeepSpeedEngine(OUTSIDE).run(model, trials)
        return [measurement.plugin_values["mylab.log_odds"] for measurement in result.trace]
    finally:
        model.zero.close()


# -- the reference ---------------------------------------------------------------------------------------------------


def reference(
    name: str, way: str, shares: tuple[float, ...] = (0.5, 0.9)
) -> tuple[Measured, list[TrialResult]]:
    """A problem's probe, and trials at these shares of the first-order critical rate, by the reference engine."""
    method, optimizer, more = WAYS[way]
    asked = problem(method, optimizer, steps=STEPS, **more).model_copy(update={"model": f"zoo:{name}"})
    loaded = load(asked.model)
    probed = probe(loaded, asked)
    assert isinstance(probed, Measured), probed
    first_order = abs(probed.gap_0) / (effective_steps(STEPS, asked.schedule, asked.optimizer) * probed.kappa)
    trials = [Trial(measured=probed, learning_rate=share * first_order) for share in shares]
    return probed, list(SingleEngine().run(loaded, trials))


def same_reading(got: Measurement, expected: Measurement) -> None:
    """Every column; probabilities, Φ and its parts have a slope of at most 1 in the logits."""
    assert (got.step, got.readout_hash) == (expected.step, expected.readout_hash)
    for name in ("logit_gap", "p_target", "p_competitor", "overlap", "order_parameter", "signal", "drag"):
        assert getattr(got, name) == pytest.approx(getattr(expected, name), abs=GAP), name
    assert got.loss == pytest.approx(expected.loss, abs=2 * GAP)
    for name, tolerance in NULLABLE.items():
        assert (getattr(got, name) is None) == (getattr(expected, name) is None), name
        if getattr(got, name) is not None:
            assert getattr(got, name) == pytest.approx(getattr(expected, name), **tolerance), name
    for name in ("rank_target", "rank_competitor"):
        assert abs(getattr(got, name) - getattr(expected, name)) <= 1, name  # two words may be that close
    assert got.embedding_drift == pytest.approx(expected.embedding_drift, rel=1e-3, abs=1e-9)


def same_probe(got: Measured, expected: Measured) -> None:
    assert (got.model, got.tokens) == (expected.model, expected.tokens)
    assert got.kappa == pytest.approx(expected.kappa, rel=1e-5)
    for name in ("gap_0", "loss_0"):
        assert getattr(got.pair, name) == pytest.approx(getattr(expected.pair, name), abs=GAP), name
    for name in ("overlap_0", "centred_overlap", "synonym_floor"):
        assert getattr(got.pair, name) == pytest.approx(getattr(expected.pair, name), abs=1e-6), name


def check(processes: RankProcesses, stage: int, name: str, way: str, *shares: float) -> None:
    probed, expected = reference(name, way, shares)
    answers = processes.call(measured, stage, probed.problem, [result.trial for result in expected])
    for got_probed, results, _ in answers:
        same_probe(got_probed, probed)
        for got, solo in zip(results, expected, strict=True):
            assert trial_row(solo)["jump_step"] is None, "chosen below the jump"
            assert (got.engine, got.stopped_early) == (f"deepspeed {stage}", None)
            assert len(got.trace) == STEPS + 1
            for a, b in zip(got.trace, solo.trace, strict=True):
                same_reading(a, b)
            assert trial_row(got)["outcome"] == trial_row(solo)["outcome"]
    traces = {repr([result.trace for result in results]) for _, results, _ in answers}
    assert len(traces) == 1, "every rank has the same results"


ALL = names()
ROTATED = [(name, list(WAYS)[place % len(WAYS)]) for place, name in enumerate(ALL)]
SHIFTED = [(name, list(WAYS)[(place + 2) % len(WAYS)]) for place, name in enumerate(ALL)]


@pytest.mark.parametrize(("name", "way"), ROTATED)
def test_stage_3_on_two_ranks_equals_the_reference(pair, name, way):
    check(pair, 3, name, way, 0.9)


@pytest.mark.parametrize(("name", "way"), SHIFTED)
def test_stage_2_on_three_ranks_equals_the_reference(three, name, way):
    check(three, 2, name, way, 0.5)


@pytest.mark.parametrize("way", WAYS)
def test_stage_2_on_two_ranks_equals_the_reference(pair, way):
    check(pair, 2, "llama-a", way, 0.5, 0.9)


@pytest.mark.parametrize("way", WAYS)
def test_stage_3_on_three_ranks_equals_the_reference(three, way):
    check(three, 3, "gpt2-b", way, 0.5, 0.9)


@pytest.mark.parametrize("stage", [2, 3])
def test_every_trial_starts_from_the_untouched_weights_and_a_fresh_optimizer(pair, stage):
    """Other trials run in between, one of them with momentum and a schedule, one that becomes NaN or Inf."""
    _, (plain, _) = reference("gpt2-a", "sgd")
    _, (other, _) = reference("gpt2-a", "momentum")
    blown = dataclasses.replace(plain.trial, learning_rate=1e30)
    (solo,) = SingleEngine().run(load("zoo:gpt2-a"), [blown])
    assert solo.stopped_early == "non_finite"
    trials = [plain.trial, other.trial, plain.trial, blown, plain.trial, other.trial]
    _, results, _ = pair.call(measured, stage, plain.trial.problem, trials)[0]
    first, with_momentum, again, gone, last, with_momentum_again = results
    assert repr(first.trace) == repr(again.trace) == repr(last.trace)
    assert repr(with_momentum.trace) == repr(with_momentum_again.trace)
    for a, b in zip(with_momentum.trace, other.trace, strict=True):
        same_reading(a, b)
    assert (gone.stopped_early, len(gone.trace)) == (solo.stopped_early, len(solo.trace))
    assert not math.isfinite(gone.trace[-1].logit_gap)
    assert gone.trace[-1].gradient_norm is None


@pytest.mark.parametrize("way", ["sgd", "lora"])
def test_the_readout_matrix_is_read_without_gathering_it(three, way):
    """Instead of E's V d entries, ranks exchange 3 V sums, two tokens' rows and pieces to hash; equal results."""
    probed, (expected, _) = reference("gpt2-a", way)
    vocabulary_size, width = expected.vocabulary_size, probed.model.width
    for got_probed, (got,), largest in three.call(in_small_pieces, 3, probed.problem, [expected.trial]):
        assert largest == 3 * vocabulary_size
        assert largest < vocabulary_size * width / 10
        same_probe(got_probed, probed)
        for a, b in zip(got.trace, expected.trace, strict=True):
            same_reading(a, b)


def test_instruments_of_other_packages_measure_on_a_group_too(pair):
    _, (expected, _) = reference("gpt2-a", "sgd")
    gaps = [measurement.logit_gap for measurement in expected.trace]
    for got in pair.call(measured_outside, expected.trial.problem, [expected.trial]):
        assert got == pytest.approx(gaps, abs=GAP)


def test_a_pair_that_cannot_be_trained_is_refused_as_the_reference_refuses_it(pair):
    preferred = CONTEXT.model_copy(update={"target": CONTEXT.competitor, "competitor": CONTEXT.target})
    asked = problem("full", "sgd", context=preferred, steps=STEPS)
    expected = probe(load(asked.model), asked)
    assert isinstance(expected, Refused)
    assert expected.outcome is Outcome.REFUSED_COMMITTED
    got, _, _ = pair.call(measured, 3, asked, [])[0]
    assert isinstance(got, Refused)
    assert (got.outcome, got.model) == (expected.outcome, expected.model)


@pytest.mark.parametrize(("stage", "way"), [(2, "adamw"), (3, "lora")])
def test_bfloat16_takes_the_same_way_as_the_reference(pair, stage, way):
    """Weights and optimizer are rounded to 2^-9 at every step on both sides, logits of size 10 to 2^-5."""
    method, optimizer, more = WAYS[way]
    asked = problem(method, optimizer, steps=STEPS, precision="bfloat16", **more)
    loaded = load(asked.model, precision="bfloat16")
    probed = probe(loaded, asked)
    rate = 2 * abs(probed.gap_0) / (STEPS * probed.kappa)
    (expected,) = SingleEngine().run(loaded, [Trial(measured=probed, learning_rate=rate)])
    got_probed, (got,), _ = pair.call(measured, stage, asked, [expected.trial])[0]
    assert got_probed.kappa == pytest.approx(probed.kappa, rel=1e-2)
    moved = [result.trace[-1].logit_gap - probed.gap_0 for result in (got, expected)]
    assert moved[0] == pytest.approx(moved[1], rel=0.1)


def test_a_model_serves_the_way_it_was_loaded_for_alone(pair):
    sgd, adamw = problem("full", "sgd"), problem("full", "adamw")
    assert "was loaded to be trained as" in pair.call(on_another_way, 2, sgd, adamw)[0]


def test_the_interface_is_the_one_that_reaches_the_address():
    assert interface_towards("127.0.0.1") == "lo"


# -- training sets ----------------------------------------------------------------------------------------------------


def on_set(
    ranks: Ranks, stage: int, of: list[Problem], rates: list[float]
) -> tuple[list[ProbeResult], list[TrialResult]]:
    """The probes of problems that share a training, and the results of all of them at some rates."""
    model = load_sharded(of[0], stage, ranks, Permissions())
    try:
        engine = DeepSpeedEngine((), SETS)
        probed = [engine.probe(model, asked) for asked in of]
        trials = [
            Trial(measured=m, learning_rate=rate) for rate in rates for m in probed if isinstance(m, Measured)
        ]
        return probed, list(engine.run(model, trials))
    finally:
        model.zero.close()


SET_WAYS = {
    "sgd": ("full sgd", {"gradient_clipping": None}),
    "adamw": ("full adamw", {"training": {"batch_size": 5, "accumulate": 2, "loss": "all"}}),
    "lora": ("lora adamw", {"training": {"batch_size": 3, "measure_every": 2}}),
}
"""Batches of 4, 5 and 3 sequences on two and three ranks, in passes of 3 and 2: a rank without any among them."""


@pytest.mark.parametrize(("count", "way"), [*(("pair", way) for way in SET_WAYS), ("three", "adamw")])
@pytest.mark.parametrize("stage", [2, 3])
def test_ranks_share_batches_and_prompts(request, count, stage, way):
    kind, more = SET_WAYS[way]
    of, rates = problems(kind, **more), [0.3 * RATES[kind], RATES[kind]]
    loaded = load("zoo:gpt2-a")
    expected = trained(loaded, of, rates)
    answers = request.getfixturevalue(count).call(on_set, stage, of, rates)
    for probed, results in answers:
        for got, asked in zip(probed, of, strict=True):
            solo = probe(loaded, asked, SETS)
            assert isinstance(solo, Measured)
            same_probe(got, solo)
        assert {r.engine for r in results} == {f"deepspeed {stage}"}
        by_name = {
            (r.trial.problem.context.id, r.trial.learning_rate, r.trial.problem.seed): r for r in results
        }
        assert_equal(expected, by_name)
    assert len({repr([r.trace for r in results]) for _, results in answers}) == 1, "the same on every rank"


@pytest.mark.parametrize("stage", [2, 3])
def test_words_of_several_tokens(pair, stage):
    """Alone, where each token has its own backward pass, and watched in a training on a set."""
    loaded = load("zoo:gpt2-a")
    for words in WORDS:
        asked, probed = learnable(loaded, problem("full", "adamw", context=several(words), steps=STEPS))
        rate = 0.5 * abs(probed.gap_0) / (STEPS * probed.kappa)
        (expected,) = SingleEngine().run(loaded, [Trial(measured=probed, learning_rate=rate)])
        got_probed, (got,), _ = pair.call(measured, stage, asked, [expected.trial])[0]
        same_probe(got_probed, probed)
        for a, b in zip(got.trace, expected.trace, strict=True):
            same_reading(a, b)
    of = [
        learnable(loaded, asked.model_copy(update={"context": several(words)}))[0]
        for asked, words in zip(problems("full sgd") * 2, WORDS, strict=False)
    ]
    expected = trained(loaded, of, [0.003])
    _, results = pair.call(on_set, stage, of, [0.003])[0]
    assert_equal(
        expected,
        {(r.trial.problem.context.id, r.trial.learning_rate, r.trial.problem.seed): r for r in results},
    )


def test_dropout_is_refused_by_name():
    (asked, *_) = problems("lora adamw", lora={"dropout": 0.1})
    with pytest.raises(InputError, match="LoRA with dropout: groups of ranks don't support it"):
        load_sharded(asked, 2, None, Permissions())
