"""How often stopping decided trials early gives another outcome, and the steps it saves.

`python -m tests.benchmarks.early_stopping` trains the zoo in full (three ways of training, four schedules, two lengths,
nine rates around each critical one; and watched words of training sets), and applies the rule of
`instruments.forecast` to the traces at several values of its one number. Ten minutes on two cores.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.core.outcome import Outcome, Thresholds
from phantom_dist.core.probe_result import Measured
from phantom_dist.core.schedule import Schedule
from phantom_dist.core.trial import Lora, Optimizer, Problem
from phantom_dist.engines import engine_named
from phantom_dist.engines.probe import probe
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.instruments.forecast import SAFETY, is_decided
from phantom_dist.instruments.outcome import ends, outcome
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.models.zoo.architectures import ZOO
from tests.engines.problems import CONTEXTS
from tests.engines.test_training_sets import RATES, SETS
from tests.engines.test_training_sets import problems as set_problems

WAYS = {
    "full sgd": ("full", Optimizer(name="sgd")),
    "full adamw": ("full", Optimizer(name="adamw")),
    "lora adamw": ("lora", Optimizer(name="adamw")),
}
SCHEDULES = (
    Schedule(),
    Schedule(name="linear"),
    Schedule(name="cosine", warmup_steps=2),
    Schedule(name="inverse_sqrt", warmup_steps=4),
)
LENGTHS = (16, 48)
WORDS = 3
SHARES = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)
"""Rates as multiples of the first-order critical one."""

SAFETIES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
HELD_OUT = ("gemma3-a", "llama-b", "opt-a", "qwen3-a")
"""Models on which the number was not fixed."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A trial trained in full."""

    model: str
    way: str
    schedule: Schedule
    steps: int
    at: tuple[int, ...]
    gap: tuple[float, ...]
    drag: tuple[float, ...]
    loss: tuple[float, ...]
    training_losses: tuple[float, ...]
    vocabulary_size: int

    @property
    def final(self) -> Outcome:
        """Its outcome."""
        return self.outcome_after(len(self.at))

    def outcome_after(self, measured: int) -> Outcome:
        """Its outcome as the first measurements say."""
        losses: Sequence[float] = self.loss[:measured]
        if self.training_losses:
            first, last = ends(self.training_losses[: self.at[measured - 1]])
            assert first is not None
            assert last is not None
            losses = (first, last)
        return outcome(
            loss=losses,
            logit_gap=self.gap[:measured],
            drag=self.drag[:measured],
            vocabulary_size=self.vocabulary_size,
            thresholds=Thresholds(),
        )

    def stop(self, safety: float) -> int:
        """How many measurements there are where it is decided; all where it never is."""
        for measured in range(1, len(self.at)):
            taken = self.at[measured - 1]
            alone = not self.training_losses
            if is_decided(
                self.schedule,
                self.steps,
                self.at[:measured],
                gap=self.gap[:measured],
                drag=self.drag[:measured],
                loss=(self.loss[0], self.loss[measured - 1]) if alone else ends(self.training_losses[:taken]),
                structural_drag=Thresholds().structural_drag,
                safety=safety,
            ):
                return measured
        return len(self.at)


def traces_of(name: str) -> list[Trace]:
    """Every trial of a model."""
    torch.set_num_threads(1)
    loaded = load(f"zoo:{name}")
    return [*_alone(name, loaded), *_sets(name, loaded)]


def _alone(name: str, loaded: LoadedModel) -> Iterator[Trace]:
    engine = engine_named("lanes")
    for way, (method, optimizer) in WAYS.items():
        for steps in LENGTHS:
            trials = []
            for schedule in SCHEDULES:
                for context in list(CONTEXTS.values())[:WORDS]:
                    problem = Problem(
                        model=f"zoo:{name}",
                        context=context,
                        method=method,
                        lora=Lora(rank=4, alpha=8) if method == "lora" else None,
                        optimizer=optimizer,
                        schedule=schedule,
                        steps=steps,
                    )
                    probed = probe(loaded, problem)
                    if isinstance(probed, Measured) and probed.kappa > 0:
                        whole = effective_steps(steps, schedule, optimizer)
                        rate = abs(probed.gap_0) / (whole * probed.kappa)
                        trials += [Trial(measured=probed, learning_rate=share * rate) for share in SHARES]
            yield from (_trace(name, way, result) for result in engine.run(loaded, trials))


def _sets(name: str, loaded: LoadedModel) -> Iterator[Trace]:
    for way, rate in RATES.items():
        for schedule in SCHEDULES:
            of = set_problems(way, model=f"zoo:{name}", schedule=schedule, steps=48)
            probed = [probe(loaded, problem, SETS) for problem in of]
            trials = [
                Trial(measured=m, learning_rate=share * rate)
                for share in SHARES
                for m in probed
                if isinstance(m, Measured)
            ]
            results = engine_named("lanes", (), SETS).run(loaded, trials)
            yield from (_trace(name, f"set, {way}", result) for result in results)


def _trace(name: str, way: str, result: TrialResult) -> Trace:
    def values(quantity: str) -> tuple[float, ...]:
        return tuple(getattr(measurement, quantity) for measurement in result.trace)

    trace: Sequence[Measurement] = result.trace
    return Trace(
        model=name,
        way=way,
        schedule=result.trial.problem.schedule,
        steps=result.trial.problem.steps,
        at=tuple(measurement.step for measurement in trace),
        gap=values("logit_gap"),
        drag=values("drag"),
        loss=values("loss"),
        training_losses=result.training_losses,
        vocabulary_size=result.vocabulary_size,
    )


def figures(traces: Iterable[Trace], safety: float) -> dict[str, float]:
    """Trials, how many have another outcome, and the share of the steps that is saved."""
    count = differ = saved = steps = 0
    for trace in traces:
        stop = trace.stop(safety)
        count += 1
        steps += trace.at[-1]
        saved += trace.at[-1] - trace.at[stop - 1]
        differ += trace.outcome_after(stop) is not trace.final
    return {"trials": count, "other_outcome": differ / count, "steps_saved": saved / max(1, steps)}


def main() -> None:
    """Print a table for each value of the number, then one for each way and schedule at the shipped one."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        traces = []
        for done, some in enumerate(pool.imap(traces_of, list(ZOO)), start=1):
            traces += some
            print(f"{done} of {len(ZOO)} models", file=sys.stderr, flush=True)
    fixed_on = [trace for trace in traces if trace.model not in HELD_OUT]
    held_out = [trace for trace in traces if trace.model in HELD_OUT]
    print("| SAFETY | other outcome | steps saved | other outcome, held-out models | steps saved |")
    print("|---|---|---|---|---|")
    for safety in SAFETIES:
        own, other = figures(fixed_on, safety), figures(held_out, safety)
        print(
            f"| {safety:g} | {own['other_outcome']:.2%} | {own['steps_saved']:.1%} | {other['other_outcome']:.2%} "
            f"| {other['steps_saved']:.1%} |"
        )
    print(f"\n| at SAFETY {SAFETY:g} | trials | other outcome | steps saved |\n|---|---|---|---|")
    for label, key in (
        ("way", lambda t: t.way),
        ("schedule", lambda t: t.schedule.name),
        ("steps", lambda t: str(t.steps)),
    ):
        for value in sorted({key(trace) for trace in traces}):
            own = figures([trace for trace in traces if key(trace) == value], SAFETY)
            print(
                f"| {label} {value} | {own['trials']} | {own['other_outcome']:.2%} | {own['steps_saved']:.1%} |"
            )
    print(json.dumps(figures(traces, SAFETY) | {"held_out": figures(held_out, SAFETY)["other_outcome"]}))


if __name__ == "__main__":
    main()
