"""A world without models: problems whose curves are formulas, so that a whole run takes milliseconds.

The gap after training at η is g_0 + s η, with a slope s for each context; from η = `diverges` on, training diverges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from phantom_dist.core.measurement import Trial
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, ModelReading, PairReading, ProbeResult, Refused
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import ModelIdentity, Problem
from phantom_dist.models import ModelMetadata
from phantom_dist.planning.plan import Plan, make_plan
from phantom_dist.planning.resources import Resources
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.spec import load

WORDS = ("shame", "guilt", "dread", "fear", "house", "home", "sea", "ocean")


def sweep(
    contexts: int = 2, *, rates: object = None, models: tuple[str, ...] = ("zoo:gpt2-a",), **more: object
):
    """A sweep over so many contexts."""
    return {
        "name": "scripted",
        "models": list(models),
        "contexts": [
            {"id": f"c{i}", "text": f"words {WORDS[i]}", "target": " a", "competitor": " b"}
            for i in range(contexts)
        ],
        "learning_rates": rates or {"critical": {"tolerance": 0.05}},
        "steps": [8],
    } | more


def training_set(contexts: int, held_out: int = 1, **more: object):
    """The same with a training set, whose last contexts are held out."""
    made = sweep(contexts + held_out, **more)
    for context in made["contexts"][contexts:]:
        context["held_out"] = True
    data = {"name": "d", "sha256": "0" * 64, "form": "text", "examples": 40, "words": 9}
    return made | {"training": {"data": data, "batch_size": 4}}


def plan_of(sweep: object, *, memory_bytes: float = 10e9, count: int = 2, engine: str = "auto") -> Plan:
    """The plan of a sweep, with models that are never loaded."""
    spec = load(sweep)
    kind = WorkerKind(count=count, memory_bytes=memory_bytes)
    models = {name: metadata(name) for name in spec.models}
    return make_plan(spec, models, Resources(kinds=(kind,)), engine=engine)


def metadata(name: str) -> ModelMetadata:
    return ModelMetadata(
        reference=name,
        title=name,
        architecture="GPT2LMHeadModel",
        parameters=100_000,
        width=64,
        layers=2,
        heads=2,
        vocabulary_size=500,
        tied=True,
    )


@dataclass
class World:
    """What workers would measure; `refused` by context, `failing` contexts whose trials end in an error."""

    refused: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    diverges: float = 10.0
    trained: list[tuple[str, float]] = field(default_factory=list)

    def probe(self, problem: Problem) -> ProbeResult:
        number = 1 + int(problem.context.id[1:])
        model = ModelReading(
            identity=ModelIdentity(weights=problem.model, architecture="x", parameters=1),
            width=64,
            lora_targets=None if problem.lora is None else ("c_attn",),
            batches=None if problem.training is None else "batches",
        )
        if problem.context.id in self.refused:
            return Refused(
                problem=problem, outcome=Outcome.REFUSED_TOKENS, message="no such word", model=model
            )
        tokens = Tokens(prompt=(number,), target=1, competitor=2, target_text=" a", competitor_text=" b")
        pair = PairReading(
            tokens=tokens,
            gap_0=-1.0,
            loss_0=1.0,
            overlap_0=0.9,
            centred_overlap=0.8,
            synonym_floor=0.6,
        )
        return Measured(problem=problem, model=model, pair=pair, kappa=number / problem.steps)

    def train(self, trials: Iterable[Trial]) -> Iterator[TrialSummary]:
        for trial in trials:
            rate = trial.learning_rate
            self.trained.append((trial.problem.context.id, rate))
            gap = trial.measured.gap_0 + rate * trial.measured.kappa * trial.problem.steps * 0.9
            outcome = Outcome.COMMITTED if gap > 0 else Outcome.KINEMATIC
            if rate >= self.diverges:
                outcome, gap = Outcome.DIVERGED, float("nan")
            if trial.problem.context.id in self.failing:
                outcome, gap = Outcome.ERROR, None
            yield summary(trial, outcome, gap)


def summary(trial: Trial, outcome: Outcome, gap: float | None) -> TrialSummary:
    problem = trial.problem
    return TrialSummary(
        trial_id=trial.id,
        problem=problem.key,
        model=problem.model,
        context=problem.context.id,
        learning_rate=trial.learning_rate,
        outcome=outcome,
        gap_final=gap,
        steps_taken=problem.steps,
        drag_final=0.1,
        structural_drag=0.95,
        batch="b",
        wall_time=0.1,
        process_bytes=1,
        error=None,
        note=None,
    )
