"""The state of a run, live or dead, from its files alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.result import Result, duration, table
from phantom_dist.core.summaries import ProbeSummary, TrialSummary
from phantom_dist.refinement.critical_rate import CriticalRate, critical_rates, critical_rates_of
from phantom_dist.refinement.trainings import Training, trainings
from phantom_dist.spec import SweepSpec, tolerance_of
from phantom_dist.traces import directory_and_sweep
from phantom_dist.traces.claim import alive
from phantom_dist.traces.decode import probe_summaries, trial_summaries

if TYPE_CHECKING:
    from rich.table import Table

REFUSALS = 10
"""Number of refused pairs that the text lists, one line each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCounts:
    """Number of trials of a run: expected in total, finished, and finished with the outcome `error`."""

    total: int
    done: int
    failed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedTrial:
    """A trial that ended in `error`, and why."""

    trial_id: str
    model: str
    context: str
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedPair:
    """A model and context that are not trained: the outcome, and why."""

    model: str
    context: str
    outcome: str
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus(Result):
    """The state of a run; returned by `run`, `resume` and `status`.

    Attributes:
        run: name of the sweep.
        state: `running`, `complete` or `interrupted`.
        outcomes: finished trials by outcome.
        critical_rates: one for each probed problem.
        trainings: each training on a training set, and what it taught; empty without one.
        data_notes: examples of the training set that were cut or left out, one sentence for each model.
        errors: trials that ended in `error`.
        refusals: pairs that are not trained.
        notes: number of trials that an engine other than the configured one trained, by the reason.
        models: the title of each model reference.
        reason: why the run stopped before its end; None if it did not.
        workers: the largest number at one time; `seconds`: time of all starts; `peak_memory_bytes`: of all processes
            together. None before the first heartbeat.
    """

    run: str
    state: Literal["running", "complete", "interrupted"]
    trials: TrialCounts
    outcomes: Mapping[str, int]
    critical_rates: tuple[CriticalRate, ...]
    errors: tuple[FailedTrial, ...]
    refusals: tuple[RefusedPair, ...]
    notes: Mapping[str, int]
    models: Mapping[str, str]
    reason: str | None
    workers: int | None
    seconds: float | None
    peak_memory_bytes: int | None
    trainings: tuple[Training, ...] = ()
    data_notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `phantom-dist run` and `status`."""
        return {
            "run": self.run,
            "state": self.state,
            "trials": asdict(self.trials),
            "outcomes": dict(self.outcomes),
            "critical_rates": [rate.to_json() for rate in self.critical_rates],
            "errors": [asdict(trial) for trial in self.errors],
            "refusals": [asdict(pair) for pair in self.refusals],
            "notes": dict(self.notes),
            "models": dict(self.models),
            "reason": self.reason,
            "workers": self.workers,
            "seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "trainings": [training.to_json() for training in self.trainings],
            "data_notes": list(self.data_notes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Decode an object of `to_json`, possibly from another machine."""
        same = (
            "run",
            "state",
            "outcomes",
            "notes",
            "models",
            "reason",
            "workers",
            "seconds",
            "peak_memory_bytes",
        )
        return cls(
            **{name: value[name] for name in same},
            trials=TrialCounts(**value["trials"]),
            critical_rates=tuple(map(CriticalRate.from_json, value["critical_rates"])),
            errors=tuple(FailedTrial(**entry) for entry in value["errors"]),
            refusals=tuple(RefusedPair(**entry) for entry in value["refusals"]),
            trainings=tuple(Training(**entry) for entry in value.get("trainings", ())),
            data_notes=tuple(value.get("data_notes", ())),
        )

    def parts(self) -> Iterable[str | Table]:
        """State, critical rates, refusals and errors."""
        yield f"run {_head(self.run, self.state, self.trials, self.outcomes)}"
        if self.reason:
            yield f"stopped: {self.reason}; continue with `phantom-dist resume DIR`"
        if self.state == "complete" and self.seconds and self.peak_memory_bytes is not None:
            yield (
                f"took {duration(self.seconds)} with {self.workers} worker(s); "
                f"peak memory of all its processes {self.peak_memory_bytes / 1e9:.2f} GB"
            )
        yield from (f"{name}: {title}" for name, title in self.models.items() if title != name)
        yield from (f"{count} trial(s) on the reference engine: {why}" for why, count in self.notes.items())
        yield from self.data_notes
        if self.critical_rates:
            yield rates_table(self.critical_rates)
        if self.trainings:
            yield trainings_table(self.trainings)
        shown = self.refusals[:REFUSALS]
        yield from (f"{pair.outcome}: {pair.model} {pair.context}: {pair.error}" for pair in shown)
        if (more := len(self.refusals) - REFUSALS) > 0:
            yield f"and {more} more, each with its reason in the column `error` of trials"
        yield from (f"error: {trial.model} {trial.context}: {trial.error}" for trial in self.errors)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveStatus(Result):
    """The contents of an archive of runs; fields as in `RunStatus`, `run` names all its sweeps."""

    run: str
    trials: TrialCounts
    outcomes: Mapping[str, int]
    critical_rates: tuple[CriticalRate, ...]
    state: Literal["archived"] = "archived"

    def to_json(self) -> dict[str, Any]:
        """The part of the JSON object of `status` that exists for an archive."""
        return {
            "run": self.run,
            "state": self.state,
            "trials": asdict(self.trials),
            "outcomes": dict(self.outcomes),
            "critical_rates": [rate.to_json() for rate in self.critical_rates],
        }

    def parts(self) -> Iterable[str | Table]:
        """Its sweeps, trials and critical rates."""
        yield _head(self.run, self.state, self.trials, self.outcomes)
        if self.critical_rates:
            yield rates_table(self.critical_rates)


def status(location: str | os.PathLike[str]) -> RunStatus:
    """The state of the run in a directory.

    Raises:
        InputError: there is no run in the directory.
        StoreError: one of its Parquet files is damaged or foreign.
    """
    directory, spec = directory_and_sweep(location)
    trials = trial_summaries(directory.trials())
    probes = probe_summaries(directory.probes())
    rates = critical_rates(probes, trials, tolerance_of(spec))
    recorded = directory.read_state()
    live = alive(recorded)
    # A refused pair has a row for each learning rate and training configuration, but is listed once.
    refusals = {(t.model, t.context, t.outcome.value): t.error for t in trials if t.outcome.refused}
    return RunStatus(
        run=spec.name,
        state=_state(recorded.get("state", "interrupted"), live=live),
        trials=_counts(trials, expected=int(recorded.get("expected_trials", 0))),
        outcomes=_outcomes(trials),
        critical_rates=tuple(rates),
        errors=tuple(
            FailedTrial(trial_id=t.trial_id, model=t.model, context=t.context, error=t.error)
            for t in trials
            if t.outcome is Outcome.ERROR
        ),
        refusals=tuple(
            RefusedPair(model=model, context=context, outcome=outcome, error=error)
            for (model, context, outcome), error in refusals.items()
        ),
        notes=Counter(trial.note for trial in trials if trial.note),
        models=recorded.get("models", {}),
        reason=None if live else recorded.get("reason"),
        workers=recorded.get("workers"),
        seconds=recorded.get("seconds"),
        peak_memory_bytes=recorded.get("peak_memory_bytes"),
        trainings=trainings(probes, trials, spec.recipe),
        data_notes=tuple(_data_notes(spec, probes)),
    )


def _data_notes(spec: SweepSpec, probes: Iterable[ProbeSummary]) -> Iterable[str]:
    """What became of a training set's examples, where some were not used whole."""
    if spec.training is None:
        return
    content, longest = spec.training.content, spec.training.max_length
    yield from content.notes
    counts = {p.model: (p.examples_used, p.examples_cut) for p in probes if p.examples_used is not None}
    for model, (used, cut) in counts.items():
        if cut:
            yield f"{content.name} on {model}: {cut} of {content.examples} examples are cut at {longest} tokens"
        if used is not None and used < content.examples:
            left = content.examples - used
            yield f"{content.name} on {model}: {left} example(s) have no token that the loss counts, and are left out"


def archive_status(
    specs: Sequence[SweepSpec], probes: Sequence[ProbeSummary], trials: Sequence[TrialSummary]
) -> ArchiveStatus:
    """The contents of an archive; each problem is judged by its own sweep's tolerance."""
    return ArchiveStatus(
        run=", ".join(spec.name for spec in specs),
        trials=_counts(trials),
        outcomes=_outcomes(trials),
        critical_rates=tuple(critical_rates_of(specs, probes, trials)),
    )


SETTINGS = (
    "momentum", "weight_decay", "decay", "schedule", "warmup_steps", "lora_rank", "lora_alpha", "lora_targets", "seed",
    "precision", "gradient_clipping", "lora_rslora", "lora_dropout",
)  # fmt: skip
"""Columns that a table of critical rates has where rates of one model, method and optimizer differ in them."""


def rates_table(rates: Iterable[CriticalRate]) -> Table:
    """A table with one line for each critical rate; settings are shown where they differ."""
    rates = tuple(rates)
    varying = [name for name in SETTINGS if _differs(rates, name)]
    shown = table(
        "critical learning rates",
        ("model", "context", "target / competitor", "method", "T", *varying),
        ("eta_c", "bracket", "Pi_c", "trials"),
    )
    for rate in rates:
        common = (
            rate.model,
            rate.context + " (held out)" * rate.held_out,
            f"{rate.target} /{rate.competitor}",
            rate.way,
            str(rate.steps),
            *("" if (value := getattr(rate, name)) is None else str(value) for name in varying),
        )
        if rate.crossing is None:
            shown.add_row(*common, "none", rate.reason, "", str(rate.trials_used))
            continue
        low, high = rate.crossing.bracket
        width = f"{low:.5g} … {high:.5g} ({100 * (high / low - 1):.2g} %)"
        eta_c, pi_c = rate.crossing.eta_c, rate.crossing.pi_c
        shown.add_row(*common, f"{eta_c:.5g}", width, f"{pi_c:.4g}", str(rate.trials_used))
    return shown


def trainings_table(trainings: Iterable[Training]) -> Table:
    """A table with one line for each training: its rate, its loss, and the shares of words that it taught."""
    shown = table("trainings", ("model",), ("learning rate", "training loss", "learnt", "learnt, held out"))
    for t in trainings:
        shares = ("" if share is None else f"{share:.0%}" for share in (t.learnt, t.learnt_held_out))
        loss = "" if t.training_loss is None else f"{t.training_loss:.4g}"
        shown.add_row(t.model, f"{t.learning_rate:.5g}", loss, *shares)
    return shown


def _differs(rates: Iterable[CriticalRate], name: str) -> bool:
    groups: dict[tuple[str, str], set[object]] = {}
    for rate in rates:
        groups.setdefault((rate.model, rate.way), set()).add(getattr(rate, name))
    return any(len(values) > 1 for values in groups.values())


def _state(recorded: str, *, live: bool) -> Literal["running", "complete", "interrupted"]:
    if live:
        return "running"
    return "complete" if recorded == "complete" else "interrupted"


def _counts(trials: Sequence[TrialSummary], expected: int = 0) -> TrialCounts:
    return TrialCounts(
        total=max(expected, len(trials)),
        done=len(trials),
        failed=sum(trial.outcome is Outcome.ERROR for trial in trials),
    )


def _outcomes(trials: Iterable[TrialSummary]) -> dict[str, int]:
    return dict(sorted(Counter(trial.outcome.value for trial in trials).items()))


def _head(run: str, state: str, trials: TrialCounts, outcomes: Mapping[str, int]) -> str:
    listed = ", ".join(f"{count} {name}" for name, count in outcomes.items()) or "none"
    return f"{run}: {state}, {trials.done} of {trials.total} trials ({listed})"
