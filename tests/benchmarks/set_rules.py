"""A whole training's rate: the law beside the rules that people use (`python -m tests.benchmarks.set_rules RUN...`).

RUN: runs of `sweeps/calibration-sets-*.yaml`. For each training on a data set, the rate from which nine of ten words
are learnt, as the run measured it, against

- the law, fitted without the model, and whether its interval covers;
- first order: the same quantile of the words' |g_0| / (κ T);
- the range test (Smith 2017; fastai's steepest point of the smoothed loss): one training of growing rate, 100 steps;
- critical sharpness (arXiv 2601.16979): the rate at which the first step raises the loss, 2 / λ_c;
- a constant: what the other models' trainings of the same kind needed;
- LoRA = 10 x full: ten times what full AdamW measured on the same model and data;
- tinker-cookbook's formula, 5e-5 x 10 x (2000 / d)^P, for LoRA on Llama (P = 0.781) and Qwen (0.0775);
- the tools' defaults, as they are.

Range test and critical sharpness answer another question, so both get a factor, fitted to the other models for each
kind of training. A second table compares the rate at which the first step raises the loss with the rate from which on
trainings measured a loss that rose or was NaN. The rows are JSON on the last line.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from phantom_dist.calibration.predicted_training import MOST_WORDS, quantile
from phantom_dist.core.trial import Problem, problems_by_training
from phantom_dist.engines.optimizers import clip_scale, torch_optimizer
from phantom_dist.engines.set_probe import probe_on_set
from phantom_dist.engines.trainable import trainable
from phantom_dist.engines.training_sets import TrainingSets, losses
from phantom_dist.instruments.kernel_rate import gradient_norm
from phantom_dist.law.calibration_row import CalibrationRow
from phantom_dist.law.file import read_law
from phantom_dist.law.groups import first_order_rate
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.refinement.critical_rate import critical_rates_of
from phantom_dist.spec import default_rates, expand
from phantom_dist.traces import directory_and_sweeps
from phantom_dist.traces.decode import probe_summaries, trial_summaries
from phantom_dist.traces.training_data import read_examples
from tests.benchmarks.range_test import HIGH, LOW, steepest

TINKER = {"LlamaForCausalLM": 0.781, "Qwen3ForCausalLM": 0.0775}
console = Console(width=150)


@dataclass(kw_only=True)
class Training:
    """One training: what was measured, and what each rule says; rates, dimensionless."""

    problem: Problem
    architecture: str
    width: int
    needed: float
    risen: tuple[float, float] | None  # the largest rate whose loss fell, and the next one, whose loss rose
    said: dict[str, float | None] = field(default_factory=dict)
    interval: tuple[float, float] | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """What trainings share that differ in their models only."""
        problem = self.problem.without_context.model_copy(update={"model": ""})
        return (problem.model_dump_json(),)

    @property
    def name(self) -> str:
        """For the table."""
        size = f" rank {self.problem.lora.rank}" if self.problem.lora else ""
        return f"{self.problem.method} {self.problem.optimizer.name}{size}, T = {self.problem.steps}"


def range_test(loaded: LoadedModel, problem: Problem, sets: TrainingSets, *, steps: int = 100) -> float:
    """The rate that a range test on the training's own batches answers with."""
    rates = [LOW * (HIGH / LOW) ** (step / (steps - 1)) for step in range(steps)]
    batches = sets.batches(loaded, problem)
    assert batches is not None
    found: list[float] = []
    with trainable(loaded, problem) as ready:
        optimizer = torch_optimizer(ready.parameters, problem.optimizer, ())
        for step, rate in enumerate(rates):
            total = 0.0
            optimizer.zero_grad()
            for part in losses(ready.model, batches[step], 1, ready.readout_Vd.device):
                loss = part()
                loss.backward()
                total += float(loss.detach())
            found.append(total)
            if not math.isfinite(total) or total > 4 * min(found) + 1:
                break
            scale = clip_scale(
                gradient_norm(parameter.grad for parameter in ready.parameters), problem.gradient_clipping
            )
            for parameter in ready.parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(scale)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
    return steepest(smoothed(found), rates)


def smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Running means with exponential weights, corrected for the start, as learning-rate finders smooth batches."""
    means: list[float] = []
    total = 0.0
    for place, value in enumerate(values, start=1):
        total = weight * total + (1 - weight) * value
        means.append(total / (1 - weight**place))
    return means


def trainings_of(location: str, rows: dict[str, CalibrationRow]) -> Iterable[Training]:
    """All trainings of a run, with what the law, first order, the range test and critical sharpness say."""
    directory, specs = directory_and_sweeps(location)
    trials = directory.trials()
    problems = [problem for spec in specs for problem in expand(spec)]
    rates = critical_rates_of(specs, probe_summaries(directory.probes()), trial_summaries(trials))
    measured = {rate.problem: rate for rate in rates if not (rate.reason or "").startswith("refused")}
    seen: dict[str, dict[float, bool]] = defaultdict(dict)
    for trial in trials.to_pylist():
        if trial["learning_rate"] is not None and trial["training_loss_first"] is not None:
            last = trial["training_loss_last"]
            rose = last is None or not last <= trial["training_loss_first"]
            seen[trial["problem"]][trial["learning_rate"]] = rose
    sets = TrainingSets(functools.partial(read_examples, directory))
    name, loaded = "", None
    for words in track(list(problems_by_training(problems).values()), location, console=console):
        own = [word for word in words if not word.context.held_out and word.key in measured]
        needed = quantile([measured[word.key].eta_c for word in own], MOST_WORDS)
        if needed is None:
            continue
        if words[0].model != name:
            name, loaded = words[0].model, load(words[0].model)
        assert loaded is not None
        known = [rows.get(word.key) for word in own]
        _, on_set = probe_on_set(loaded, words, sets)
        training = Training(
            problem=words[0],
            architecture=loaded.identity.architecture,
            width=next(row.width for row in known if row is not None),
            needed=needed,
            risen=_risen(seen[own[0].key]),
        )
        training.said = {
            "law": quantile([row and row.held_out and row.held_out.eta_c for row in known], MOST_WORDS),
            "first order": quantile([row and first_order_rate(row.law_input) for row in known], MOST_WORDS),
            "range test": range_test(loaded, words[0], sets),
            "critical sharpness": on_set.rate_of_rise,
        }
        ends = [
            quantile(
                [
                    row and row.held_out and row.held_out.interval and row.held_out.interval[end]
                    for row in known
                ],
                MOST_WORDS,
            )
            for end in (0, 1)
        ]
        training.interval = None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
        yield training


def _risen(rose: dict[float, bool]) -> tuple[float, float] | None:
    high = min((rate for rate, is_risen in rose.items() if is_risen), default=None)
    low = max((rate for rate in rose if high is not None and rate < high), default=None)
    return None if low is None or high is None else (low, high)


def _with_factor(trainings: Sequence[Training], of: Callable[[Training], float | None], name: str) -> None:
    """A rule's rate times the factor that fits the other models' trainings of the same kind (geometric mean)."""
    known = {id(each): rate for each in trainings if (rate := of(each)) is not None}
    for each in trainings:
        others = [
            math.log(other.needed / known[id(other)])
            for other in trainings
            if other.kind == each.kind and other.problem.model != each.problem.model and id(other) in known
        ]
        rate = known.get(id(each))
        each.said[name] = None if rate is None or not others else rate * math.exp(float(np.mean(others)))


def add_rules(trainings: Sequence[Training]) -> None:
    """What the rules say that need the other trainings, or nothing."""
    _with_factor(trainings, lambda each: each.said["range test"], "range test, fitted")
    _with_factor(trainings, lambda each: each.said["critical sharpness"], "critical sharpness, fitted")
    _with_factor(trainings, lambda each: 1.0, "a constant, fitted")
    full = {
        (each.problem.model, each.problem.training): each.needed
        for each in trainings
        if each.problem.method == "full" and each.problem.optimizer.name == "adamw"
    }
    for each in trainings:
        if each.problem.method != "lora":
            continue
        base = full.get((each.problem.model, each.problem.training))
        each.said["LoRA = 10 x full"] = None if base is None else 10 * base
        power = TINKER.get(each.architecture)
        each.said["tinker-cookbook"] = None if power is None else 5e-5 * 10 * (2000 / each.width) ** power
    for each in trainings:
        for rate, names in default_rates((each.problem.method,)):
            each.said[f"default {rate:g} ({names})"] = rate


def rows_of(trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """For each kind and rule: trainings, errors |measured / said - 1|, and the geometric mean of said / measured."""
    found = []
    groups: dict[str, list[Training]] = defaultdict(list)
    for each in trainings:
        groups[each.name].append(each)
    for name, of in groups.items():
        for rule in dict.fromkeys(rule for each in of for rule in each.said):
            logs = [math.log(rate / each.needed) for each in of if (rate := each.said.get(rule)) is not None]
            if not logs:
                continue
            errors = np.expm1(np.abs(logs))
            row = {
                "training": name,
                "rule": rule,
                "trainings": len(of),
                "answered": len(logs),
                "said_over_measured": math.exp(float(np.mean(logs))),
                "error_median": float(np.median(errors)),
                "error_p90": float(np.quantile(errors, 0.9)),
            }
            if rule == "law":
                pairs = [(each.interval, each.needed) for each in of if each.interval is not None]
                row["intervals"] = len(pairs)
                row["covered"] = sum(low <= needed <= high for (low, high), needed in pairs)
                row["width_median"] = float(np.median([high / low for (low, high), _ in pairs]))
            found.append(row)
    return found


def risen_rows(trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """The rate at which the first step raises the loss over the measured rate whose training's loss rose."""
    groups: dict[str, list[float]] = defaultdict(list)
    for each in trainings:
        rate = each.said["critical sharpness"]
        if rate is not None and each.risen is not None:
            groups[each.name].append(math.log(rate / math.sqrt(math.prod(each.risen))))
    return [
        {
            "training": name,
            "trainings": len(logs),
            "first_step_over_measured": [
                math.exp(float(np.quantile(logs, share))) for share in (0.1, 0.5, 0.9)
            ],
        }
        for name, logs in groups.items()
    ]


def main() -> None:
    """Compare; print both tables, and their rows as JSON."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    options = parser.parse_args()
    rows = {row.problem: row for row in read_law().rows if row.law_input.on_set is not None}
    trainings = [training for run in options.runs for training in trainings_of(run, rows)]
    add_rules(trainings)
    table = Table(title="the rate from which nine of ten words are learnt", title_justify="left")
    for column in (
        "training",
        "rule",
        "trainings",
        "said / measured",
        "median error",
        "90th percentile",
        "covered",
    ):
        table.add_column(column, justify="left" if column in ("training", "rule") else "right")
    found = rows_of(trainings)
    for row in found:
        covered = (
            f"{row['covered']} of {row['intervals']}, {row['width_median']:.1f} wide"
            if "covered" in row
            else ""
        )
        table.add_row(
            row["training"],
            row["rule"],
            f"{row['answered']} of {row['trainings']}",
            f"{row['said_over_measured']:.3g}",
            f"{100 * row['error_median']:.0f} %",
            f"{100 * row['error_p90']:.0f} %",
            covered,
        )
    console.print(table)
    rises = risen_rows(trainings)
    second = Table(
        title="where the first step raises the loss / where the training's loss rose", title_justify="left"
    )
    for column in ("training", "trainings", "10 %", "median", "90 %"):
        second.add_column(column, justify="left" if column == "training" else "right")
    for row in rises:
        second.add_row(
            row["training"],
            str(row["trainings"]),
            *(f"{value:.2g}" for value in row["first_step_over_measured"]),
        )
    console.print(second)
    print(json.dumps({"rules": found, "rises": rises}))


if __name__ == "__main__":
    main()
