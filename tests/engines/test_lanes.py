"""The conformance suite of engines: a lane equals the reference, for every zoo architecture, kind and optimizer.

Tolerances, up to a trial's first jump: logit gaps within 1e-3, or 1e-4 of their size; float32 logits of size 10 have
errors of 1e-6, and a few steps multiply these. After a jump, and under AdamW, which turns rounding errors of gradients
near ε into signs: within ten times the change that a last-bit perturbation of the weights makes to the reference's
gap, the largest of four perturbations. (In one chaotic trial, llama-b, LoRA AdamW, with a jump at step 1, the four are
0.03, 0.04, 0.03 and 0.39 logits, so a single one says little.) Outcomes and commit steps are the same wherever the gap
is further from 0 than twice the tolerance.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.core.probe_result import Measured
from phantom_dist.core.trial import Lora
from phantom_dist.engines.lanes.cost import AUTO, Chooser, step_cost
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.support import kinds_of
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.models.load import LoadedModel
from phantom_dist.models.size import ModelSize
from phantom_dist.models.zoo import names
from phantom_dist.records import trial_row

from .problems import CONTEXTS, lanes_for, load, problem

FROM_ZERO = {"name": "cosine", "warmup_steps": 2, "warmup_from_zero": True}

WAYS = {
    "dual": ("full", "sgd", {}),
    "dual-momentum": ("full", "sgd", {"momentum": 0.9}),
    "dual-decay": ("full", "sgd", {"momentum": 0.5, "weight_decay": 0.02, "schedule": FROM_ZERO}),
    "dual-clipped": ("full", "sgd", {"momentum": 0.5, "gradient_clipping": 1.0}),
    "stacked-clipped": ("full", "adamw", {"gradient_clipping": 1.0}),
    "dual-weights-decay": ("full", "sgd", {"momentum": 0.5, "weight_decay": 0.5, "decay": "weights"}),
    "stacked-weights-decay": ("full", "adamw", {"weight_decay": 0.5, "decay": "weights"}),
    "lora-clipped": ("lora", "sgd", {"weight_decay": 0.02, "gradient_clipping": 0.1}),
    "stacked": ("full", "adamw", {}),
    "stacked-sgd": ("full", "sgd", {"momentum": 0.5}),
    "stacked-decay": ("full", "adamw", {"weight_decay": 0.01, "schedule": FROM_ZERO}),
    "lora-adamw": ("lora", "adamw", {}),
    "lora-sgd": ("lora", "sgd", {}),
    "lora-decay": (
        "lora",
        "adamw",
        {"targets": "all-linear", "rslora": True, "weight_decay": 0.01, "schedule": FROM_ZERO},
    ),
}
RATES = (0.5, 1.0, 1.5, 20.0)
"""Multiples of the first-order critical rate: it fails, lies near the boundary, commits, and jumps far beyond it."""

HIGHEST = {"lora-decay": 5.0}
"""Instead of 20, where a step there turns a last-bit difference into one 450 times as large (in float64 lane and
reference agree to the last bit all the same)."""


def kind_of(way: str) -> str:
    """The kind of lanes that a way is trained in."""
    return way.split("-")[0]


def trials_of(
    loaded: LoadedModel, reference: str, way: str, steps: int = 4, half: int | None = None
) -> list[Trial]:
    """Three contexts of different lengths, at four rates; or one half of these: every context at two rates.

    The halves are those of a chessboard, so each has every rate at least once.
    """
    method, optimizer, more = WAYS[way]
    by_length = sorted(CONTEXTS.values(), key=lambda c: len(loaded.tokenizer.encode(c.text)))
    trials = []
    for row, context in enumerate((by_length[0], by_length[len(by_length) // 2], by_length[-1])):
        asked = problem(method, optimizer, context=context, steps=steps, **more)
        measured = probe(loaded, asked.model_copy(update={"model": reference}))
        assert isinstance(measured, Measured), measured
        slope = effective_steps(steps, measured.problem.schedule, measured.problem.optimizer) * measured.kappa
        trials += [
            Trial(measured=measured, learning_rate=abs(measured.gap_0) / slope * rate)
            for column, rate in enumerate((*RATES[:3], HIGHEST.get(way, RATES[3])))
            if half is None or (row + column) % 2 == half
        ]
    return trials


DRAWS = tuple((first, towards) for first in (0, 1) for towards in (math.inf, -math.inf))
"""Perturbations: every second entry, from the first or the second on, moves by one unit in the last place."""


def perturbed(trials: list[Trial]) -> list[dict[str, TrialResult]]:
    """The reference's results with perturbed weights by trial id, one for each of `DRAWS`."""
    answers = []
    for first, towards in DRAWS if trials else ():
        moved = load(trials[0].problem.model)
        with torch.no_grad():
            for parameter in moved.model.parameters():
                flat = parameter.view(-1)
                flat[first::2] = torch.nextafter(flat[first::2], flat.new_tensor(towards))
        answers.append({r.trial.id: r for r in SingleEngine().run(moved, trials)})
    return answers


def jump_of(reference: TrialResult) -> int:
    """The step of the first jump, or the number of steps that a trace has."""
    return trial_row(reference)["jump_step"] or len(reference.trace)


def tolerances_of(reference: TrialResult) -> list[float]:
    """Up to the jump, by step."""
    return [max(1e-3, 1e-4 * abs(gap)) for gap in gaps(reference)]


def deviations(reference: TrialResult, lane: TrialResult) -> list[float]:
    return [abs(a - b) for a, b in zip(gaps(reference), gaps(lane), strict=True)]


def is_sensitive(reference: TrialResult, lane: TrialResult) -> bool:
    """Whether the trial jumps, or its lane differs by more than the tolerance before: rounding errors may grow."""
    jump = jump_of(reference)
    within = [d <= t for d, t in zip(deviations(reference, lane), tolerances_of(reference), strict=True)]
    return jump < len(reference.trace) or not all(within[:jump])


def gaps(result: TrialResult) -> list[float]:
    return [m.logit_gap for m in result.trace]


def same_reading(a: Measurement, b: Measurement, gap_tolerance: float) -> None:
    """Every column of a row; probabilities, Φ and its parts have a slope of at most 1 in the logits."""
    assert (a.step, a.readout_hash) == (b.step, b.readout_hash)
    assert (a.gradient_norm is None) == (b.gradient_norm is None)
    for name in ("p_target", "p_competitor", "overlap", "order_parameter", "signal", "drag"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), abs=gap_tolerance), name
    assert a.loss == pytest.approx(b.loss, abs=2 * gap_tolerance)
    if a.gradient_norm is not None:
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=2 * gap_tolerance + 1e-3)
    assert a.embedding_drift == pytest.approx(b.embedding_drift, rel=1e-3, abs=1e-7)


CASES = [
    (name, way)
    for name in names()
    for way in WAYS
    if not way.endswith(("decay", "clipped")) or name in ("gpt2-a", "llama-b")
]


@pytest.mark.parametrize(
    ("name", "way", "half"),
    [(name, way, (names().index(name) + list(WAYS).index(way)) % 2) for name, way in CASES],
)
def test_a_lane_equals_the_reference(name, way, half):
    """Neighbours of an architecture or a kind have the other half of the trials."""
    loaded = load(f"zoo:{name}")
    trials = trials_of(loaded, f"zoo:{name}", way, half=half)
    assert len({len(t.measured.tokens.prompt) for t in trials}) > 1, "padding is part of the question"
    expected = {r.trial.id: r for r in SingleEngine().run(loaded, trials)}
    got = {r.trial.id: r for r in LanesEngine(ways=(kind_of(way),)).run(loaded, trials)}
    assert got.keys() == expected.keys()
    sensitive = [key for key, reference in expected.items() if is_sensitive(reference, got[key])]
    disturbed = perturbed([expected[key].trial for key in sensitive])
    for key, reference in expected.items():
        lane = got[key]
        assert lane.engine == f"{kind_of(way)} lanes", lane.note
        assert lane.stopped_early == reference.stopped_early
        row, jump, tolerances = trial_row(reference), jump_of(reference), tolerances_of(reference)
        if key in sensitive:
            answers = zip(*(gaps(answer[key]) for answer in disturbed), strict=False)
            sensitivity = [
                max(abs(gap - answer) for answer in step)
                for gap, step in zip(gaps(reference), answers, strict=False)
            ]
            adamw = lane.trial.problem.optimizer.name == "adamw"
            for step in range(0 if adamw else jump, len(reference.trace)):
                # A change at one step affects the next: the largest change so far counts.
                tolerances[step] = max(tolerances[step], 10 * max(sensitivity[: step + 1]))
        for step, (deviation, tolerance) in enumerate(
            zip(deviations(reference, lane), tolerances, strict=True)
        ):
            assert deviation <= tolerance, (lane.trial.learning_rate, step, deviation, tolerance)
        for a, b, tolerance in zip(lane.trace[:jump], reference.trace, tolerances, strict=False):
            if tolerance <= 2e-3:
                same_reading(a, b, tolerance)
        if all(abs(gap) > 2 * t for gap, t in zip(gaps(reference), tolerances, strict=True)):
            assert trial_row(lane)["commit_step"] == row["commit_step"]
            if jump == len(reference.trace):
                assert trial_row(lane)["outcome"] == row["outcome"]


@pytest.mark.parametrize("way", WAYS)
def test_every_row_keeps_the_theorys_identities(loaded, way):
    for result in LanesEngine(ways=(kind_of(way),)).run(loaded, trials_of(loaded, "zoo:gpt2-a", way)):
        for before, m in zip((None, *result.trace), result.trace, strict=False):
            assert m.order_parameter == pytest.approx(m.signal + m.drag, abs=1e-12)
            if before is not None:
                change = m.order_parameter - before.order_parameter
                assert m.readout_change + m.geometry_change == pytest.approx(change, abs=1e-12)
                if result.trial.problem.method == "lora":
                    assert (m.geometry_change, m.embedding_drift) == (0.0, 0.0)
        assert [m.step for m in result.trace] == list(range(len(result.trace)))


@pytest.mark.parametrize("way", WAYS)
def test_leaves_the_model_bit_for_bit_as_it_was(loaded, way):
    before = {n: p.detach().cpu().numpy().tobytes() for n, p in loaded.model.named_parameters()}
    modules = {n: type(m) for n, m in loaded.model.named_modules()}
    list(LanesEngine(ways=(kind_of(way),)).run(loaded, trials_of(loaded, "zoo:gpt2-a", way)))
    assert {n: p.detach().cpu().numpy().tobytes() for n, p in loaded.model.named_parameters()} == before
    assert {n: type(m) for n, m in loaded.model.named_modules()} == modules
    assert all(p.requires_grad and p.grad is None for p in loaded.model.parameters())


@pytest.mark.parametrize("way", WAYS)
def test_the_same_batch_twice_is_bit_identical(loaded, way):
    trials = trials_of(loaded, "zoo:gpt2-a", way)
    first, second = ([r.trace for r in lanes_for(trials[0].problem).run(loaded, trials)] for _ in range(2))
    assert repr(first) == repr(second)


@pytest.mark.parametrize("way", ["dual", "dual-momentum", "stacked", "lora-adamw"])
def test_a_lane_that_becomes_nan_or_inf_affects_no_other(loaded, way):
    """Two lanes become NaN or Inf; the others equal a batch without these, up to another batch's rounding."""
    quiet = [t for t in trials_of(loaded, "zoo:gpt2-a", way, steps=6) if t.learning_rate]
    quiet = [t for place, t in enumerate(quiet) if place % len(RATES) < 3]
    blown = [
        dataclasses.replace(quiet[0], learning_rate=1e30),
        dataclasses.replace(quiet[4], learning_rate=1e30),
    ]
    alone = {r.trial.id: r for r in lanes_for(quiet[0].problem).run(loaded, quiet)}
    together = [blown[0], *quiet[:4], blown[1], *quiet[4:]]
    mixed = {r.trial.id: r for r in lanes_for(quiet[0].problem).run(loaded, together)}
    for trial in blown:
        result = mixed[trial.id]
        (solo,) = SingleEngine().run(loaded, [trial])
        assert (result.stopped_early, len(result.trace)) == (solo.stopped_early, len(solo.trace))
        if solo.stopped_early:
            assert result.trace[-1].rank_target is None
            assert result.trace[-1].gradient_norm is None
    assert any(mixed[trial.id].stopped_early for trial in blown)
    for trial in quiet:
        assert len(mixed[trial.id].trace) == len(alone[trial.id].trace)
        tolerance = 1e-3 if way != "stacked" else 1e-2
        assert gaps(mixed[trial.id]) == pytest.approx(gaps(alone[trial.id]), abs=tolerance, rel=1e-4)


def test_lanes_of_different_length_end_each_at_its_own_step(loaded):
    short, long = (trials_of(loaded, "zoo:gpt2-a", "dual", steps=steps)[:2] for steps in (2, 5))
    from phantom_dist.engines.lanes.training import train

    lanes = train(loaded, [*short, *long], "dual")
    assert [len(lane.trace) for lane in lanes] == [3, 3, 6, 6]
    for lane in lanes:
        (solo,) = SingleEngine().run(loaded, [lane.trial])
        assert [m.logit_gap for m in lane.trace] == pytest.approx(gaps(solo), abs=1e-3)
        assert [m.gradient_norm is None for m in lane.trace] == [m.gradient_norm is None for m in solo.trace]


def test_lora_lanes_start_from_the_references_own_adapters(loaded):
    """Seeds differ within a batch; each lane has the adapters of its solo run."""
    trials = []
    for seed in (0, 1, 2):
        measured = probe(loaded, problem("lora", "sgd", seed=seed))
        trials.append(
            Trial(measured=measured, learning_rate=0.5 * abs(measured.gap_0) / (4 * measured.kappa))
        )
    got = {r.trial.id: r for r in lanes_for(trials[0].problem).run(loaded, trials)}
    for solo in SingleEngine().run(loaded, trials):
        assert gaps(got[solo.trial.id]) == pytest.approx(gaps(solo), abs=1e-3)
    assert len({result.trace[-1].logit_gap for result in got.values()}) == 3


@pytest.mark.parametrize("way", ["stacked", "lora-adamw", "dual"])
def test_bfloat16_takes_the_same_way_as_the_reference(loaded, way):
    """Both engines round weights to 2^-9 at every step, in another order of operations."""
    short = load("zoo:gpt2-a", precision="bfloat16")
    method, optimizer, more = WAYS[way]
    measured = probe(short, problem(method, optimizer, precision="bfloat16", **more))
    slope = effective_steps(4, measured.problem.schedule, measured.problem.optimizer) * measured.kappa
    rate = 2 * abs(measured.gap_0) / slope
    trials = [Trial(measured=measured, learning_rate=rate), Trial(measured=measured, learning_rate=rate / 2)]
    (kind,) = kinds_of(measured.problem)
    assert kind == ("lora" if way == "lora-adamw" else "stacked")
    engines = (LanesEngine(ways=(kind,)), SingleEngine())
    (lane, _), (solo, _) = (list(engine.run(short, trials)) for engine in engines)
    assert lane.engine == f"{kind} lanes"
    moved = [gaps(result)[-1] - gaps(solo)[0] for result in (lane, solo)]
    assert moved[0] == pytest.approx(moved[1], rel=0.3)


def test_a_lone_trial_takes_the_way_that_was_measured_faster(loaded):
    for way, engine in (("dual", "single"), ("stacked", "single"), ("lora-adamw", "single")):
        method, optimizer, more = WAYS[way]
        measured = probe(loaded, problem(method, optimizer, **more))
        (result,) = LanesEngine().run(loaded, [Trial(measured=measured, learning_rate=1e-4)])
        assert (result.engine or "single", result.note) == (engine, None)


SMOLLM2 = ModelSize(parameters=134_515_008, width=576, layers=30, vocabulary_size=49_152, tied=True)


@pytest.mark.parametrize(
    ("tokens", "steps", "lanes", "way"),
    [
        (10, 8, 48, "dual"),
        (10, 8, 1, "dual"),
        (110, 16, 8, "reference"),  # where dual lanes took 237 s, the reference 170 s
        (10, 512, 1, "reference"),
        (2048, 8, 48, "reference"),
    ],
)
def test_the_cheapest_way_follows_from_tokens_steps_and_lanes(tokens, steps, lanes, way):
    assert AUTO.cheapest(problem("full", "sgd", steps=steps), SMOLLM2, tokens, lanes) == way


@pytest.mark.parametrize(
    ("chooser", "lanes", "ways"),
    [
        (Chooser(on_gpu=True), 24, ("dual", "stacked", "lora")),
        (Chooser(on_gpu=True), 1, ("dual", "stacked", "lora")),
        (Chooser(ways=("dual", "stacked", "lora")), 24, ("stacked", "stacked", "lora")),
        (Chooser(ways=("reference",)), 24, ("reference",) * 3),
        (AUTO, 24, ("reference", "reference", "reference")),  # LoRA lanes would save 3 %
    ],
)
def test_what_is_allowed_and_the_device_decide_first(chooser, lanes, ways):
    """With 500 tokens and 64 steps: on a CPU dual lanes never win there, on a GPU lanes always do."""
    for way, kind in zip(ways, (("full", "sgd"), ("full", "adamw"), ("lora", "adamw")), strict=True):
        assert chooser.cheapest(problem(*kind, steps=64), SMOLLM2, 500, lanes) == way
    mixed = problem("full", "adamw", precision="bfloat16-mixed")
    assert chooser.cheapest(mixed, SMOLLM2, 10, lanes) == "reference"


def test_more_lanes_and_fewer_tokens_never_cost_more():
    for way in ("reference", "dual", "stacked", "lora"):
        asked = problem("lora" if way == "lora" else "full", "sgd")
        costs = [[step_cost(way, asked, SMOLLM2, k, n).seconds for n in (1, 4, 48)] for k in (8, 64, 512)]
        assert all(row == sorted(row, reverse=True) for row in costs)
        assert all(column == tuple(sorted(column)) for column in zip(*costs, strict=True))


def test_targets_are_resolved_as_the_reference_resolves_them():
    assert kinds_of(problem("lora", "adamw")) == ("lora",)
    assert kinds_of(problem("full", "sgd", momentum=0.9)) == ("dual", "stacked")
    assert kinds_of(problem("full", "adamw")) == ("stacked",)
    assert kinds_of(problem("full", "adamw", precision="bfloat16-mixed")) == ()
    assert problem("lora", "adamw").lora == Lora(rank=4, alpha=8)
