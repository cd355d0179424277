"""A straight loop with transformers, peft and torch.optim, written independently of the package."""

from __future__ import annotations

import copy

import peft
import torch
from transformers import Trainer, get_scheduler


def gaps(loaded, problem, tokens, learning_rate) -> list[float]:
    """Logit gaps g_0 .. g_T of one trial."""
    model = copy.deepcopy(loaded.model)
    if problem.lora is not None:
        torch.manual_seed(problem.seed)
        targets = sorted(problem.lora.targets)
        model = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=problem.lora.rank,
                lora_alpha=problem.lora.alpha,
                target_modules=targets,
                use_rslora=problem.lora.rslora,
            ),
        )
    model.eval()
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = trained
    if problem.optimizer.decay == "weights":
        decayed = Trainer.get_decay_parameter_names(None, model)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        groups = [
            {"params": [p for n, p in named if n in decayed]},
            {"params": [p for n, p in named if n not in decayed], "weight_decay": 0.0},
        ]
        assert all(group["params"] for group in groups) or problem.lora is not None
    if problem.optimizer.name == "sgd":
        optimizer = torch.optim.SGD(
            groups,
            lr=learning_rate,
            momentum=problem.optimizer.momentum,
            weight_decay=problem.optimizer.weight_decay,
        )
    else:
        optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=problem.optimizer.weight_decay)
    scheduler = get_scheduler(problem.schedule.name, optimizer, problem.schedule.warmup_steps, problem.steps)
    ids = torch.tensor([tokens.prompt], device=model.device)
    target = torch.tensor(tokens.target, device=model.device)
    result = []
    for step in range(problem.steps + 1):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=problem.precision == "bfloat16-mixed"):
            logits = model(input_ids=ids).logits[0, -1].float()
        result.append(float(logits[tokens.target] - logits[tokens.competitor]))
        if step < problem.steps:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, target).backward()
            if problem.gradient_clipping is not None:
                torch.nn.utils.clip_grad_norm_(trained, problem.gradient_clipping)
            optimizer.step()
            scheduler.step()
    return result
