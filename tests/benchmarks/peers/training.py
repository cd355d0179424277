"""The quickstart's trials as a Trainable of Ray Tune: a plain torch loop that reports the final gap alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from ray import tune
from torch import nn

from phantom_dist.contexts import tokenise
from phantom_dist.core.trial import Problem
from phantom_dist.engines.optimizers import torch_optimizer
from phantom_dist.engines.trainable import trainable
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.spec import Critical, SweepSpec, expand, tolerance_of
from phantom_dist.spec import load as load_sweep
from phantom_dist.spec.rates import CriticalSearch

QUICKSTART = Path(__file__).parents[3] / "sweeps/quickstart.yaml"


def quickstart() -> SweepSpec:
    """The sweep of `make quickstart` without its rates beyond the critical ones, for which no peer searches."""
    spec = load_sweep(QUICKSTART)
    search = CriticalSearch(critical=Critical(tolerance=tolerance_of(spec)))
    return spec.model_copy(update={"learning_rates": search})


def final_gap(loaded: LoadedModel, problem: Problem, learning_rate: float) -> float:
    """g_T (logits) after T steps, without instruments; the model is untouched afterwards."""
    tokens = tokenise(loaded.tokenizer, problem.context)
    target = torch.tensor(tokens.target)
    with trainable(loaded, problem) as ready:
        optimizer = torch_optimizer(ready.parameters, problem.optimizer)
        for factor in problem.schedule.factors(problem.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * factor
            optimizer.zero_grad()
            nn.functional.cross_entropy(last_logits(ready.model, tokens.prompt), target).backward()
            optimizer.step()
        with torch.no_grad():
            logits_V = last_logits(ready.model, tokens.prompt)
    return float(logits_V[tokens.target] - logits_V[tokens.competitor])


class FinalGap(tune.Trainable):
    """Trains a problem at a learning rate; the model is loaded once for each actor."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load the model, with as many threads as `phantom-dist run` gives a worker."""
        spec = quickstart()
        torch.set_num_threads(spec.execution.threads)
        self._problems = {problem.key: problem for problem in expand(spec)}
        self._loaded = load(spec.models[0])
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial on this actor."""
        self._problem = self._problems[new_config["problem"]]
        self._rate: float = new_config["learning_rate"]
        return True

    def step(self) -> dict[str, Any]:
        """The whole trial; `size` is what Optuna minimises, which takes no value that is not finite."""
        gap = final_gap(self._loaded, self._problem, self._rate)
        return {"gap": gap, "size": abs(gap) if math.isfinite(gap) else 1e3, "done": True}
