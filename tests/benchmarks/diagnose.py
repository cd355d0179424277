"""`diagnose` on trainings that were made to be each case (`python -m tests.benchmarks.diagnose`).

A hundred seeded trainings on the zoo's models: full checkpoints and adapters whose words are learnt, fail kinematically
or structurally, adapters trained at the rate 0, checkpoints without their adapter, adapters merged twice, and adapters
on another base. Which case a training is follows from how it was made and, for the failure modes, from plain torch's
gap and drag. A confusion table; its rows are JSON on the last line.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import peft
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import AutoModelForCausalLM

from phantom_dist.contexts import SHIPPED_FOR_ZOO
from phantom_dist.core.trial import Context
from phantom_dist.diagnosis import DiagnoseResult, diagnose
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.models.quiet import quiet
from phantom_dist.spec import load_contexts

COUNT = 100
MODELS = ("zoo:llama-a", "zoo:gpt2-a", "zoo:qwen3-a", "zoo:phi-a", "zoo:gpt-neox-a")
CASES = ("learnt", "kinematic", "structural", "rate 0", "not loaded", "merged_twice", "wrong_base")
STRUCTURAL = 0.01
console = Console(width=150)


class Bench:
    """One model with a word, in a folder of its own, and what was made of it."""

    def __init__(self, reference: str, context: Context, folder: Path, seed: int) -> None:
        self.loaded: LoadedModel = load(reference)
        self.context, self.folder, self.seed = context, folder, seed
        self.base = self.save(self.loaded.model, "base")
        tokenizer = self.loaded.tokenizer
        self.prompt = tokenizer(context.text).input_ids
        self.target, self.competitor = (
            tokenizer(context.text + word).input_ids[len(self.prompt)]
            for word in (context.target, context.competitor)
        )

    def save(self, model: Any, name: str) -> Path:
        """Save a model with the tokenizer."""
        with quiet():
            model.save_pretrained(self.folder / name)
            self.loaded.tokenizer.save_pretrained(self.folder / name)
        return self.folder / name

    def fresh(self, folder: Path | None = None) -> Any:
        """A model as transformers loads it."""
        with quiet():
            return AutoModelForCausalLM.from_pretrained(folder or self.base, dtype=torch.float32)

    def trained(self, model: Any, rate: float, token: int, steps: int = 8) -> Any:
        """Trained on one token after the prompt."""
        if rate:
            optimizer = torch.optim.AdamW(
                [p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0
            )
            for _ in range(steps):
                optimizer.zero_grad()
                logits_V = model(input_ids=torch.tensor([self.prompt])).logits[0, -1]
                (-logits_V.log_softmax(-1)[token]).backward()
                optimizer.step()
        return model

    def adapter(self, rate: float) -> Path:
        """A trained LoRA adapter."""
        torch.manual_seed(self.seed)
        settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = self.trained(peft.get_peft_model(self.fresh(), settings), rate, self.target)
        with quiet():
            model.save_pretrained(self.folder / "adapter")
        return self.folder / "adapter"

    def on_base(self, adapter: Path, base: Path) -> str:
        """The adapter with another base."""
        shutil.copytree(adapter, self.folder / "moved")
        file = self.folder / "moved" / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}))
        return f"peft:{self.folder / 'moved'}"

    @torch.no_grad()
    def gap_and_drag(self, model: Any) -> tuple[float, float]:
        """By their definitions, in float64."""
        logits_V = model.eval()(input_ids=torch.tensor([self.prompt])).logits[0, -1].double()
        rows = model.get_output_embeddings().weight.double()
        rows = rows / rows.norm(dim=1, keepdim=True)
        t, c = self.target, self.competitor
        parts = logits_V.softmax(-1) * ((rows @ rows[t]) ** 2 - (rows @ rows[c]) ** 2)
        return float(logits_V[t] - logits_V[c]), float(parts.sum() - parts[t] - parts[c])

    def leaning(self) -> int:
        """The token that leans to the competitor most."""
        rows = self.loaded.model.get_output_embeddings().weight.detach().double()
        rows = rows / rows.norm(dim=1, keepdim=True)
        lever = (rows @ rows[self.target]) ** 2 - (rows @ rows[self.competitor]) ** 2
        lever[[self.target, self.competitor]] = torch.inf
        return int(lever.argmin())

    def failure(self, model: Any) -> str:
        """The case of a training by the definitions of the outcomes."""
        (_, drag_0), (gap, drag) = self.gap_and_drag(self.fresh()), self.gap_and_drag(model)
        if gap > 0:
            return "learnt"
        return "structural" if drag < drag_0 - STRUCTURAL else "kinematic"


def made(case: str, bench: Bench, draw: random.Random) -> tuple[str, DiagnoseResult]:
    """Make a case; what it is, and what `diagnose` says."""
    words, base = [bench.context], str(bench.base)
    if case in ("learnt", "kinematic", "structural"):
        token = bench.leaning() if case == "structural" else bench.target
        rate = {"learnt": 1e-2, "kinematic": 1e-5, "structural": 1e-3}[case] * draw.uniform(0.5, 2)
        if case != "structural" and draw.random() < 0.5:
            folder = bench.adapter(10 * rate)
            with quiet():
                model = peft.PeftModel.from_pretrained(bench.fresh(), folder)
            return bench.failure(model), diagnose(str(folder), contexts=words)
        model = bench.trained(bench.fresh(), rate, token)
        return bench.failure(model), diagnose(str(bench.save(model, "full")), base, words)
    if case == "rate 0":
        return "unchanged", diagnose(str(bench.adapter(0.0)), contexts=words)
    if case == "not loaded":
        bench.adapter(1e-2)
        return "unchanged", diagnose(str(bench.save(bench.fresh(), "without")), base, words)
    adapter = bench.adapter(10 ** draw.uniform(-4, -1.5))
    if case == "merged_twice":
        with quiet():
            merged = peft.PeftModel.from_pretrained(bench.fresh(), adapter).merge_and_unload()
        dtype = draw.choice([torch.float32, torch.bfloat16])
        return case, diagnose(bench.on_base(adapter, bench.save(merged.to(dtype), "merged")), base, words)
    other = bench.fresh()
    torch.manual_seed(bench.seed)
    for parameter in other.parameters():
        parameter.data += draw.uniform(0.01, 0.3) * parameter.data.std() * torch.randn_like(parameter)
    return case, diagnose(bench.on_base(adapter, bench.save(other, "other")), base, words)


def main() -> None:
    """Make all trainings, and print which case each was said to be."""
    torch.set_num_threads(1)
    draw = random.Random(0)
    contexts = load_contexts(SHIPPED_FOR_ZOO)
    said: Counter[tuple[str, str]] = Counter()
    for number in track(range(COUNT), "trainings", console=console):
        case, model = CASES[number % len(CASES)], draw.choice(MODELS)
        while True:
            context = draw.choice(contexts)
            with tempfile.TemporaryDirectory() as folder:
                bench = Bench(model, context, Path(folder), number)
                if bench.gap_and_drag(bench.loaded.model)[0] >= 0:
                    continue  # known before: nothing to train
                truth, result = made(case, bench, draw)
            break
        (word,) = result.words
        found = word.verdict.value if result.finding is None else result.finding.value
        said[truth, found] += 1
    names = sorted({name for pair in said for name in pair})
    table = Table(title="made (rows) and said (columns)", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for truth in names:
        table.add_row(truth, *(str(said[truth, found] or "") for found in names))
    console.print(table)
    right = sum(count for (truth, found), count in said.items() if truth == found)
    console.print(f"{right} of {sum(said.values())} right")
    print(json.dumps({"right": right, "rows": [[*pair, count] for pair, count in sorted(said.items())]}))


if __name__ == "__main__":
    main()
