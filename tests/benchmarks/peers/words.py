"""A job as people have it: the critical rates of twelve words on a data set, by `phantom-dist run` and Tune with TRL.

Both sides train LoRA on the sentences of `sweeps/house-style/` with the same settings, on as many processes with as
many threads, each side a process of its own, timed from its start to its end. Tune's side is what a skilled user
writes: a class Trainable whose actor loads the model once and is reused, TRL's `SFTTrainer` in each trial, and every
word read from every trial. Its rates follow a rule for a hand: a grid of eight over three decades first, then the
middle of each word's open bracket in ln η, unless one inside it is being trained. Both sides measure the twelve words
alone, without the sweep's held-out prompts.

As a module it is Tune's process: a file for the answer, seconds after which it is stopped.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import trl
import yaml
from ray import tune
from ray.tune.search import Searcher

from phantom_dist.contexts import tokenise
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Context
from phantom_dist.engines.trainable import lora_targets
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import load
from phantom_dist.refinement.curve import Point, curve
from phantom_dist.refinement.root_search import bracket
from phantom_dist.spec import SweepSpec
from phantom_dist.spec import load as load_sweep
from tests.benchmarks.peers.local_ray import local_ray
from tests.benchmarks.peers.tuned import CORES, Setting, fit

SWEEP = Path(__file__).parents[3] / "sweeps/house-style/lora.yaml"

GRID = [10 ** (-5 + 3 * place / 7) for place in range(8)]
"""Where a hand begins: 1e-5 to 1e-2."""

TOLERANCE = 0.05
MOST = 120
"""Trials after which Tune's side gives up."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a side took; `found`: words whose critical rate is bracketed."""

    seconds: float
    trainings: int
    found: int


def ours(out: Path) -> Words:
    """`phantom-dist run` on the sweep.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    sweep = yaml.safe_load(SWEEP.read_text())
    sweep["training"]["data"] = str(SWEEP.parent / sweep["training"]["data"])
    sweep["contexts"] = [context.model_dump() for context in _watched(settings())]
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(sweep))
    began = time.perf_counter()
    command = [sys.executable, "-m", "phantom_dist", "run", str(file), "--out", str(out), "--json"]
    status = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return Words(
        seconds=time.perf_counter() - began,
        trainings=len(status["trainings"]),
        found=sum(rate["eta_c"] is not None for rate in status["critical_rates"]),
    )


def ray_tune(folder: Path, budget: float) -> Words:
    """Ray Tune with TRL, stopped after `budget` seconds.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    answer = folder / "words.json"
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.peers.words", str(answer), str(budget)], check=True
    )
    return Words(seconds=time.perf_counter() - began, **json.loads(answer.read_text()))


def settings() -> SweepSpec:
    """The sweep, whose settings both sides have."""
    return load_sweep(SWEEP)


def _watched(spec: SweepSpec) -> list[Context]:
    return [context for context in spec.contexts if not context.held_out]


class TrlTraining(tune.Trainable):
    """One training of TRL at a learning rate; the model is loaded once for each actor."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load model, data and words, with as many threads as `phantom-dist run` gives a worker."""
        spec = settings()
        torch.set_num_threads(spec.execution.threads)
        assert spec.training is not None
        self._spec, self._loaded = spec, load(spec.models[0])
        assert isinstance(spec.training.data, str)
        lines = Path(spec.training.data).read_text().splitlines()
        self._data = datasets.Dataset.from_list([json.loads(line) for line in lines])
        self._words = {c.id: tokenise(self._loaded.tokenizer, c) for c in _watched(spec)}
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next training on this actor."""
        self._rate: float = new_config["learning_rate"]
        return True

    def step(self) -> dict[str, Any]:
        """The whole training, and every word's gap at its end."""
        spec, base = self._spec, self._loaded.model
        lora = spec.methods[0].adapters
        assert lora is not None
        assert spec.training is not None
        torch.manual_seed(0)
        config = peft.LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=list(lora_targets(base, lora)),
            task_type="CAUSAL_LM",
        )
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl.SFTTrainer(
                model=peft.get_peft_model(base, config),
                args=trl.SFTConfig(
                    output_dir=folder,
                    per_device_train_batch_size=spec.training.batch_size,
                    max_steps=spec.steps[0],
                    learning_rate=self._rate,
                    weight_decay=0.01,
                    lr_scheduler_type="cosine",
                    warmup_steps=3,
                    max_grad_norm=1.0,
                    bf16=False,
                    use_cpu=True,
                    gradient_checkpointing=False,
                    report_to=[],
                    save_strategy="no",
                    logging_strategy="no",
                    disable_tqdm=True,
                ),
                train_dataset=self._data,
                processing_class=self._loaded.tokenizer,
            )
            trainer.train()
        model = trainer.model.eval()
        gaps = {}
        with torch.no_grad():
            for name, tokens in self._words.items():
                logits_V = last_logits(model, tokens.prompt)
                gaps[name] = float(logits_V[tokens.target] - logits_V[tokens.competitor])
        model.unload()
        return {"gaps": gaps, "learning_rate": self._rate, "done": True}


class ByHand(Searcher):
    """A grid, then the middle of each open bracket."""

    def __init__(self) -> None:
        super().__init__(metric="learning_rate", mode="max")
        self._grid = list(GRID)
        self._running: dict[str, float] = {}
        self._gaps: dict[float, dict[str, float]] = {}

    @property
    def trainings(self) -> int:
        """How many ended."""
        return len(self._gaps)

    @property
    def found(self) -> int:
        """Words whose bracket is narrow enough."""
        names = next(iter(self._gaps.values()), {})
        return sum(not self._is_open(name) for name in names)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next rate; None while all that are wanted are being trained."""
        rate = self._grid.pop(0) if self._grid else self._middle()
        if rate is None:
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = rate
        return {"learning_rate": rate}

    def _middle(self) -> float | None:
        if any(rate in GRID for rate in self._running.values()):
            return None  # the grid first
        for name in next(iter(self._gaps.values()), {}):
            found = bracket(self._curve(name))
            if found is None or found.width <= TOLERANCE:
                continue
            middle = math.sqrt(found.low * found.high)
            others = [*self._running.values()]
            if all(abs(math.log(middle / other)) > TOLERANCE / 2 for other in others) and not any(
                found.low < other < found.high for other in others
            ):
                return middle
        return None

    def _curve(self, name: str) -> Any:
        points = [
            Point(
                learning_rate=rate,
                gap=gaps[name],
                outcome=Outcome.COMMITTED if gaps[name] > 0 else Outcome.KINEMATIC,
            )
            for rate, gaps in self._gaps.items()
        ]
        return curve(-1.0, 1.0, points)

    def _is_open(self, name: str) -> bool:
        found = bracket(self._curve(name))
        return found is None or found.width > TOLERANCE

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Read every word; a trial that the budget stopped has none. Tune has flattened the result."""
        rate = self._running.pop(trial_id)
        gaps = {
            name.removeprefix("gaps/"): gap
            for name, gap in (result or {}).items()
            if name.startswith("gaps/")
        }
        if gaps:
            self._gaps[rate] = gaps

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is kept."""


def _search(out: Path, budget: float) -> dict[str, int]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    search = ByHand()
    setting = Setting(files="none", concurrent=CORES // settings().execution.threads)
    with local_ray():
        fit(TrlTraining, out, samples=MOST, setting=setting, search=search, budget=budget)
    return {"trainings": search.trainings, "found": search.found}


if __name__ == "__main__":
    answer = Path(sys.argv[1])
    answer.write_text(json.dumps(_search(answer.with_suffix(".tune"), float(sys.argv[2]))))
