"""Every measured quantity: its name in code, columns and axis labels, its symbol, unit, range and meaning.

All columns are declared here, once; Arrow schemas, reports and documentation are made from these declarations.
The formulas are this project's reconstruction of quantities that arXiv 2606.07559 names (see `instruments`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

ColumnType = Literal[
    "float64", "int32", "int64", "string", "bool", "timestamp", "list<int32>", "list<float64>"
]

SCHEMA_VERSION = 1
"""Version of the tables; raised when a column changes its meaning or is removed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One column: its name, type, meaning and range.

    `unit` is "1" for dimensionless numbers, "logit" for differences of logits, "nat" for losses, "s" for seconds,
    "" for labels. `is_result` is False if the value depends on the machine (time, host) rather than on the trial, or
    follows from another table: no digest holds it. `is_later` columns came when digests were in use: where a run has
    only nulls there, they are not in its digest, and an older archive lacks them.
    """

    name: str
    type: ColumnType
    description: str
    symbol: str = ""
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    is_result: bool = True
    is_later: bool = False


def _q(
    name: str,
    type: ColumnType,
    unit: str,
    symbol: str,
    description: str,
    low: float = -math.inf,
    high: float = math.inf,
) -> Quantity:
    return Quantity(
        name=name, type=type, unit=unit, symbol=symbol, description=description, low=low, high=high
    )


def _later(quantity: Quantity) -> Quantity:
    return replace(quantity, is_later=True)


def _label(name: str, description: str, type: ColumnType = "string") -> Quantity:
    return Quantity(name=name, type=type, description=description)


def _execution(name: str, type: ColumnType, unit: str, description: str) -> Quantity:
    return Quantity(name=name, type=type, unit=unit, description=description, is_result=False)


SEVERAL = "of a word of several tokens: where the two words differ first"

TRACE_COLUMNS: tuple[Quantity, ...] = (
    _label("trial_id", "content address of the trial"),
    _q("step", "int32", "1", "s", "optimizer steps taken; 0 is the untouched model", 0),
    _q("loss", "float64", "nat", "L", "cross-entropy of the target, -ln P(target word)", 0),
    _q(
        "logit_gap",
        "float64",
        "logit",
        "g",
        "ln P(target) - ln P(competitor), of tokens z_t - z_c; committed when positive",
    ),
    _q("p_target", "float64", "1", "p_t", f"probability of the target; {SEVERAL}", 0, 1),
    _q("p_competitor", "float64", "1", "p_c", f"probability of the competitor; {SEVERAL}", 0, 1),
    _q("rank_target", "int32", "1", "", "rank of the target by logit; 1 is the most likely token", 1),
    _q("rank_competitor", "int32", "1", "", "rank of the competitor by logit; 1 is the most likely token", 1),
    _q("overlap", "float64", "1", "S_tc", "cosine of the readout rows of target and competitor", -1, 1),
    _q("order_parameter", "float64", "1", "Φ", "sum_i p_i (S_ti^2 - S_ci^2) = signal + drag", -1, 1),
    _q("signal", "float64", "1", "σ", "(p_t - p_c)(1 - S_tc^2)", -1, 1),
    _q("drag", "float64", "1", "δ", "sum over all other tokens of p_i (S_ti^2 - S_ci^2)", -1, 1),
    _q(
        "readout_change",
        "float64",
        "1",
        "ΔΦ_p",
        "share of the change of Φ since the last step due to p (midpoint rule)",
    ),
    _q(
        "geometry_change",
        "float64",
        "1",
        "ΔΦ_E",
        "share of the change of Φ since the last step due to the overlaps",
    ),
    _q(
        "embedding_drift",
        "float64",
        "1",
        "‖E_s-E_0‖/‖E_0‖",
        "relative Frobenius distance of the readout matrix",
        0,
    ),
    _q(
        "gradient_norm",
        "float64",
        "nat",
        "‖∇L‖",
        "norm of the loss's gradient over the trained parameters; null in the last row",
        0,
    ),
    _label("readout_hash", "xxh3-128 of the readout matrix's bytes where it is frozen (LoRA), else null"),
    _later(
        _q(
            "training_loss",
            "float64",
            "nat",
            "",
            "mean loss of the batch of the step that follows; null in the last row, and without a training set",
            0,
        )
    ),
)

PROBLEM_COLUMNS: tuple[Quantity, ...] = (
    _label(
        "problem",
        "short name of the problem: all of the sweep that defines the trial, except its learning rate",
    ),
    _label("model", "the model reference as written in the sweep"),
    _label("architecture", "transformers' name of the architecture"),
    _q("parameters", "int64", "1", "", "number of parameters of the model, tied ones once", 1),
    _label("weights", "sha256 over the model's tensors and configuration"),
    _label("context", "id of the context"),
    _label("target", "the correct next token, decoded, with its leading space"),
    _label("competitor", "its near-synonym, decoded, with its leading space"),
    _label("method", "full or lora"),
    _label("optimizer", "the optimizer's name, as in the sweep"),
    _q("momentum", "float64", "1", "μ", "momentum of sgd (dampening 0)", 0, 1),
    _q("weight_decay", "float64", "1", "λ", "weight decay of the optimizer", 0),
    _later(_label("decay", "weights where neither biases nor norms decay; null where everything does")),
    _q("beta1", "float64", "1", "β1", "decay of the optimizer's first moment; null where it has none", 0, 1),
    _q("beta2", "float64", "1", "β2", "decay of the optimizer's second moment; null where it has none", 0, 1),
    _q("epsilon", "float64", "nat", "ε", "epsilon of the optimizer; null where it has none", 0),
    _label(
        "schedule", "the schedule's name, with its settings beside warm-up where these are not the default"
    ),
    _q("warmup_steps", "int32", "1", "", "steps of linear warm-up", 0),
    _q("lora_rank", "int32", "1", "r", "rank of the adapters; null under full fine-tuning", 1),
    _q(
        "lora_alpha",
        "float64",
        "1",
        "α",
        "adapters are scaled by alpha / rank (see lora_rslora); null under full fine-tuning",
        0,
    ),
    _label("lora_targets", "modules with adapters, comma-separated; null under full fine-tuning"),
    _later(
        _q(
            "lora_dropout",
            "float64",
            "1",
            "",
            "share of the adapters' inputs that a step leaves out; null where it leaves out none",
            0,
            1,
        )
    ),
    _later(_label("lora_rslora", "true where adapters are scaled by alpha / sqrt(rank); else null", "bool")),
    _q("steps", "int32", "1", "T", "optimizer steps", 1),
    _q("seed", "int32", "1", "", "seed of the adapters' initialisation", 0),
    _label(
        "precision", "float32, bfloat16, or bfloat16-mixed: float32 weights with an autocast forward pass"
    ),
    _later(
        _q(
            "gradient_clipping",
            "float64",
            "nat",
            "",
            "largest norm of a step's gradient; null where any is allowed",
            0,
        )
    ),
    _later(_label("early_stopping", "true where decided trials end early; else null", "bool")),
    _later(
        _label(
            "training_set",
            "data and batches that are trained on, in one line; null where each context is trained on alone",
        )
    ),
    _later(_label("held_out", "true for a context that chooses no learning rate; else null", "bool")),
)
"""The columns that identify the problem, and with it the curve g_T(eta), of a row."""

PROBED_COLUMNS: tuple[Quantity, ...] = (
    _q("gap_0", "float64", "logit", "g_0", "logit gap of the untouched model"),
    _q("kappa", "float64", "logit", "κ", "rate of the gap per step per unit learning rate at the start"),
    _q("loss_0", "float64", "nat", "L_0", "loss of the untouched model", 0),
    _q("overlap_0", "float64", "1", "S_tc", "overlap of target and competitor before training", -1, 1),
    _q("centred_overlap", "float64", "1", "", "overlap of the mean-centred readout rows", -1, 1),
    _q("synonym_floor", "float64", "1", "", "least centred overlap of near-synonyms for this model", 0),
    replace(
        _later(
            _label(
                "near_synonym",
                "whether the centred overlap reaches the floor; null for words of several tokens, or unread",
                "bool",
            )
        ),
        is_result=False,
    ),
    _q("effective_steps", "float64", "1", "T", "number of steps counted with schedule and momentum", 0),
)
"""Measurements of a problem on the untouched model."""

TRIAL_COLUMNS: tuple[Quantity, ...] = (
    _label("trial_id", "content address of the trial"),
    _later(
        _label(
            "training_id",
            "content address of the training that it shares with other contexts; null without a training set",
        )
    ),
    *PROBLEM_COLUMNS,
    replace(
        _later(
            _label("pair_kind", "single, or several: whether both words are single tokens; null if unread")
        ),
        is_result=False,
    ),
    _q("learning_rate", "float64", "1", "η", "peak learning rate; null for a refused pair of a search", 0),
    _label("outcome", "how the trial ended"),
    _label(
        "silent",
        "not committed although the loss fell at every step; with a training set: although the training loss fell "
        "(last tenth of the steps below the first) and the context's own loss fell",
        "bool",
    ),
    _q("commit_step", "int32", "1", "", "first step with a positive gap; null if there is none", 0),
    _q("jump_step", "int32", "1", "", "step of the largest jump of Φ; null if there is none", 1),
    _q("jump_size", "float64", "1", "|ΔΦ|", "size of that jump", 0, 2),
    _q(
        "jump_readout_share",
        "float64",
        "1",
        "",
        "readout's share of that jump (midpoint rule; may leave [0, 1])",
    ),
    *PROBED_COLUMNS,
    _q("steps_taken", "int32", "1", "", "optimizer steps that were taken", 0),
    _q("gap_final", "float64", "logit", "g_T", "logit gap after the last step"),
    _q("loss_final", "float64", "nat", "L_T", "loss after the last step", 0),
    _q("drag_final", "float64", "1", "δ_T", "drag after the last step", -1, 1),
    _later(
        _q(
            "training_loss_first",
            "float64",
            "nat",
            "",
            "mean training loss of the first tenth of the steps",
            0,
        )
    ),
    _later(
        _q("training_loss_last", "float64", "nat", "", "mean training loss of the last tenth of the steps", 0)
    ),
    _q("pi", "float64", "1", "Π", "dimensionless rate, eta T kappa / |g_0|"),
    _q("structural_drag", "float64", "1", "", "threshold in force for a structural failure", 0),
    _q("jump_threshold", "float64", "1", "", "threshold in force for a jump", 0),
    _q(
        "jump_share_of_range",
        "float64",
        "1",
        "",
        "threshold in force for a jump's share of the range of Φ",
        0,
        1,
    ),
    _q("synonym_floor_rms", "float64", "1", "", "the synonym floor in force, in units of the row's rms", 0),
    _label("stopped_early", "why it has fewer than T steps: non_finite, decided; null if it has them all"),
    _label("error", "what went wrong, for outcomes without training; null otherwise"),
    # how and where the trial ran: not results
    _execution(
        "engine",
        "string",
        "",
        "engine that trained it: single; lora, dual or stacked lanes; deepspeed and its stage",
    ),
    _execution("note", "string", "", "why it was not the configured engine; null if it was"),
    _execution("device", "string", "", "device kind it ran on"),
    _execution("threads", "int32", "1", "CPU threads of the process"),
    _execution("batch", "string", "", "batch of the trial; the unit that is written and repeated"),
    _execution("attempt", "int32", "1", "how many times the batch was started, from 1"),
    _execution("host", "string", "", "host that ran it"),
    _execution("wall_time", "float64", "s", "seconds of training and measuring; a lane's share of its batch"),
    _execution(
        "process_bytes", "int64", "B", "peak resident memory of the process, up to when the batch was stored"
    ),
    _execution("finished_at", "timestamp", "", "when the batch was stored (UTC)"),
    _execution("versions", "string", "", "versions of phantom_dist, torch, transformers and peft"),
)

PROBE_COLUMNS: tuple[Quantity, ...] = (
    *PROBLEM_COLUMNS,
    *PROBED_COLUMNS,
    _label("prompt_tokens", "token ids of the prompt, special tokens included", "list<int32>"),
    _label("target_token", "token id of the target", "int32"),
    _label("competitor_token", "token id of the competitor", "int32"),
    *(
        _later(_label(name, f"token ids {meaning}; null where there are none", "list<int32>"))
        for name, meaning in (
            ("shared", "with which both words begin; target_token and competitor_token follow them"),
            ("target_rest", "of the target after target_token"),
            ("competitor_rest", "of the competitor after competitor_token"),
        )
    ),
    _later(_label("batches", "sha256 over the tokens of all batches; null without a training set")),
    _later(_q("examples_used", "int64", "1", "", "examples with a token that the loss counts", 0)),
    _later(
        _q("examples_cut", "int64", "1", "", "examples that were cut at the training set's max_length", 0)
    ),
    _q("width", "int32", "1", "d", "columns of the readout matrix", 1),
    _q(
        "log_odds_0",
        "float64",
        "1",
        "ℓ_0",
        "ln p_t / (1 - p_t) of the untouched model; null where no rate was predicted",
    ),
    _label(
        "path_rates",
        "successive estimates of eta_c before any training, the best last; null where no rate was predicted",
        "list<float64>",
    ),
    _q("gap_end", "float64", "logit", "", "gap where the path probe's last walk ended; null without one"),
    *(
        _later(quantity)
        for quantity in (
            _q(
                "sample_kappa",
                "float64",
                "logit",
                "",
                "kappa along the mean loss of a stratified sample of a training set; null where no rate was predicted",
            ),
            _q("share", "float64", "1", "", "share of that set's weight in examples with the target", 0, 1),
            _q("drawn", "int64", "1", "", "number of examples with the target in the sample", 0),
            _q(
                "reach",
                "float64",
                "1",
                "",
                "share of the set's loss that first order uses up until the word is learnt",
                0,
            ),
        )
    ),
    _q("probe_trial_steps", "float64", "1", "", "what probing cost, in trial-steps", 0),
    _label("refusal", "outcome of a pair that is not trained; null if it is"),
    _label("error", "why it is not trained; null if it is"),
)
"""One row per problem: measurements before any training."""

PLAN_COLUMNS: tuple[Quantity, ...] = (
    *(q for q in PROBLEM_COLUMNS if q.name not in {"architecture", "parameters", "weights"}),
    _q(
        "learning_rate",
        "float64",
        "1",
        "η",
        "peak learning rate; null for a search before its first round",
        0,
    ),
    _label("batch", "batch of the trial; null for a search before its first round"),
    _q(
        "predicted_trial_steps",
        "float64",
        "1",
        "",
        "predicted trial-steps (each one forward and one backward pass)",
        0,
    ),
    _q("predicted_seconds", "float64", "s", "", "predicted seconds of training and measuring", 0),
    _q("predicted_process_bytes", "float64", "B", "", "predicted peak memory of the worker's process", 0),
    _q("wall_time", "float64", "s", "", "measured seconds; null before it ran", 0),
    _q("process_bytes", "int64", "B", "", "peak memory of the process that ran it; null before it ran", 0),
)
"""One row per planned trial, searches included."""

CRITICAL_RATE_COLUMNS: tuple[Quantity, ...] = (
    *(q for q in PROBLEM_COLUMNS if q.name not in {"parameters", "weights", "beta1", "beta2", "epsilon"}),
    _q("eta_c", "float64", "1", "η_c", "critical learning rate; null if there is none", 0),
    _label("bracket", "the two tested learning rates on either side of it", "list<float64>"),
    _q("pi_c", "float64", "1", "Π_c", "dimensionless critical rate, eta_c T kappa / |g_0|"),
    *(q for q in PROBED_COLUMNS if q.name in {"gap_0", "kappa", "near_synonym"}),
    _q("trials_used", "int32", "1", "", "trials that were trained for it", 0),
    _q("trial_steps_used", "float64", "1", "", "their steps, with those of the probe", 0),
    _label("reason", "why there is no critical rate; null if there is one"),
    _q(
        "eta_loss",
        "float64",
        "1",
        "",
        "the tried rate with the lowest training loss; null without a training set",
        0,
    ),
)
"""One row per probed problem; computed from `probes/` and `trials/`, not stored."""

BY_NAME: dict[str, Quantity] = {q.name: q for q in (*TRACE_COLUMNS, *TRIAL_COLUMNS)}
"""Quantities of traces and trials by name; a name has the same meaning in both tables."""
