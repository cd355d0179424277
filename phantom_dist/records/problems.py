"""The columns that identify the problem of a row; every table has them."""

from __future__ import annotations

from phantom_dist.core.trial import OPTIMIZER_SETTINGS, Problem
from phantom_dist.records.row import Row


def problem_row(problem: Problem) -> Row:
    """The columns that identify a problem, with values as in the sweep."""
    optimizer, lora = problem.optimizer, problem.lora
    own = OPTIMIZER_SETTINGS[optimizer.name]
    targets = None if lora is None else lora.targets
    return {
        "problem": problem.key,
        "model": problem.model,
        "context": problem.context.id,
        "target": problem.context.target,
        "competitor": problem.context.competitor,
        "method": problem.method,
        "optimizer": optimizer.name,
        "momentum": optimizer.momentum,
        "weight_decay": optimizer.weight_decay,
        "decay": None if optimizer.decay == "all" else optimizer.decay,
        "beta1": optimizer.beta1 if "beta1" in own else None,
        "beta2": optimizer.beta2 if "beta2" in own else None,
        "epsilon": optimizer.epsilon if "epsilon" in own else None,
        "schedule": problem.schedule.text,
        "warmup_steps": problem.schedule.warmup_steps,
        "lora_rank": None if lora is None else lora.rank,
        "lora_alpha": None if lora is None else lora.alpha,
        "lora_targets": targets if targets is None or isinstance(targets, str) else ",".join(targets),
        "lora_rslora": None if lora is None or not lora.rslora else True,
        "lora_dropout": None if lora is None or not lora.dropout else lora.dropout,
        "steps": problem.steps,
        "seed": problem.seed,
        "precision": problem.precision,
        "gradient_clipping": problem.gradient_clipping,
        "early_stopping": True if problem.early_stopping else None,
        "training_set": None if problem.training is None else problem.training.text,
        "held_out": True if problem.context.held_out else None,
    }
