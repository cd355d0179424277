"""A lane equals its trial's solo run: for every causal architecture of transformers, and every rotary embedding.

Prompts of 1 to 64 tokens share a batch; lanes of every kind are compared with the reference engine, trial by trial.
The outcome of each architecture is a row of the table in `phantom_dist/engines/lanes/README.md`;
`PHANTOM_DIST_TABLE=FILE` writes the rows to a file instead of comparing them.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, MistralConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from phantom_dist.core.errors import InputError
from phantom_dist.engines.single import SingleEngine
from phantom_dist.models.forward_state import ForwardState

from .lengths import WAYS, check_lanes, loaded_as, near, trials_of
from .problems import lanes_for
from .tiny_architectures import LARGEST, NotBuilt, build, types

TABLE = Path(__file__).parents[2] / "phantom_dist/engines/lanes/README.md"


@functools.cache
def table() -> dict[str, list[str]]:
    """The table's rows, by architecture."""
    rows = [
        line.strip("| \n").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in rows}


@pytest.mark.parametrize("name", types())
def test_an_architecture_is_exact_or_refused_by_name(name, monkeypatch):
    try:
        loaded = loaded_as(build(name))
    except NotBuilt as error:
        found = [f"not built: {reason(error)}", *["—"] * (len(WAYS) - 1)]
    else:
        assert loaded.identity.parameters < LARGEST
        found = [outcome(loaded, way, monkeypatch) for way in WAYS]
        if found[1] == found[0] and found[0].startswith("reference"):
            found[1] = "the same"
    if "PHANTOM_DIST_TABLE" in os.environ:
        with Path(os.environ["PHANTOM_DIST_TABLE"]).open("a") as file:
            file.write(f"| `{name}` | {' | '.join(found)} |\n")
        return
    assert found == table()[name]


def outcome(loaded, way, monkeypatch) -> str:
    try:
        trials = trials_of(loaded, way, [1, 10, 10, 64])
    except (InputError, RuntimeError, AssertionError) as error:
        return f"refused: {reason(error)}"
    return check_lanes(loaded, trials, monkeypatch)


def reason(error: Exception) -> str:
    kind = "" if isinstance(error, (InputError, NotBuilt)) else f"{type(error).__name__}: "
    line = " ".join(str(error).split()).replace("|", "/")
    return kind + (line if len(line) < 160 else line[:160] + "…")


def test_the_table_has_every_architecture():
    assert sorted(table()) == types() == sorted({config.model_type for config in MODEL_FOR_CAUSAL_LM_MAPPING})
    built = {name: row for name, row in table().items() if not row[0].startswith("not built")}
    exact = [name for name, row in built.items() if any(cell.startswith("lanes") for cell in row)]
    assert len(built) >= 100
    assert len(exact) >= 60


# -- rotary embeddings ---------------------------------------------------------------------------------------

THRESHOLD = 10
"""Number of tokens at which length-dependent rotary embeddings change."""

LENGTHS = [1, 2, 9, 10, 11, 11, 30, 64]

ROPES = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": THRESHOLD},
    "longrope": {
        "factor": 4.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": THRESHOLD,
    },
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": THRESHOLD,
    },
    "proportional": {"partial_rotary_factor": 0.5},
}
FOLLOW_THE_LENGTH = ("dynamic", "longrope")


def llama(rope: str):
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=96,
        max_position_embeddings=THRESHOLD if rope == "dynamic" else 64,
        rope_parameters={"rope_type": rope, "rope_theta": 100.0, **ROPES[rope]},
        attn_implementation="eager",
    )
    return enlarged(LlamaForCausalLM(config))


def enlarged(model):
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return model


def test_every_rotary_embedding_is_here():
    assert set(ROPES) == {"default", *ROPE_INIT_FUNCTIONS}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rope", ROPES)
def test_lanes_of_every_rotary_embedding(rope, way, monkeypatch):
    loaded = loaded_as(llama(rope))
    by_length = "lanes by length" if rope in FOLLOW_THE_LENGTH else "lanes"
    assert check_lanes(loaded, trials_of(loaded, way, LENGTHS), monkeypatch) == by_length


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rope", FOLLOW_THE_LENGTH)
def test_layers_may_have_rotary_embeddings_of_their_own(rope, way, monkeypatch):
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=96,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=THRESHOLD,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": rope, "rope_theta": 100.0, **ROPES[rope]},
        },
        attn_implementation="eager",
    )
    loaded = loaded_as(enlarged(Gemma3ForCausalLM(config)))
    assert check_lanes(loaded, trials_of(loaded, way, LENGTHS), monkeypatch) == "lanes by length"


@pytest.mark.parametrize("rope", FOLLOW_THE_LENGTH)
def test_the_reference_doesnt_remember_what_it_trained_before(rope):
    loaded = loaded_as(llama(rope))
    trials = trials_of(loaded, "SGD", [64, 1, 10, 11, 30])
    alone = {}
    for trial in trials:
        (result,) = SingleEngine().run(loaded_as(llama(rope)), [trial])
        alone[trial.id] = result.trace
    for order in (trials, trials[::-1]):
        for result in SingleEngine().run(loaded, order):
            assert repr(result.trace) == repr(alone[result.trial.id])


def test_what_shares_a_batch_changes_nothing_but_rounding():
    loaded = loaded_as(llama("longrope"))
    trials = trials_of(loaded, "SGD", LENGTHS)
    apart = {
        r.trial.id: r
        for part in (trials[:4], trials[4:])
        for r in lanes_for(part[0].problem).run(loaded, part)
    }
    for result in lanes_for(trials[0].problem).run(loaded, trials):
        near(result, apart[result.trial.id])


# -- models of one's own -------------------------------------------------------------------------------------


class Across(nn.Module):
    """Mixes rows: adds a tenth of the batch's mean to every row."""

    def forward(self, x):
        return x + 0.1 * x.mean(dim=0, keepdim=True)


class Backwards(nn.Module):
    """Not causal: adds a tenth of the last position to every position."""

    def forward(self, x):
        return x + 0.1 * x[:, -1:]


class Counting(nn.Module):
    """Keeps state: scales its output by the number of tokens and passes so far."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self.register_buffer("loudness", torch.zeros(1))

    def forward(self, x):
        self.read += x.shape[1]
        self.loudness += 0.1
        return x * (1 + 0.01 * self.read + self.loudness)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("strange", "expected"),
    [
        (Across, "mixes the rows of a batch|own logits"),
        (Backwards, "lanes by length"),
        (Counting, "lanes by length"),
    ],
)
def test_custom_models_are_exact_or_refused(strange, expected, way, monkeypatch):
    model = llama("default")
    model.model.layers[0].post_attention_layernorm = nn.Sequential(
        model.model.layers[0].post_attention_layernorm, strange()
    )
    loaded = loaded_as(model)
    found = check_lanes(loaded, trials_of(loaded, way, [1, 10, 10, 64], steps=1), monkeypatch)
    if expected.startswith("lanes"):
        assert found == expected
    else:
        assert found.startswith("reference: ")
        assert any(part in found for part in expected.split("|"))
    assert all(p.requires_grad and p.grad is None for p in loaded.model.parameters())


@pytest.mark.parametrize("way", WAYS)
def test_no_forward_pass_leaves_anything_in_a_model(way):
    loaded = loaded_as(llama("dynamic"))
    before = ForwardState(loaded.model)
    trials = trials_of(loaded, way, [64, 3])
    assert before.changes() == ""
    list(lanes_for(trials[0].problem).run(loaded, trials))
    list(SingleEngine().run(loaded, trials))
    assert before.changes() == ""
    loaded.model(input_ids=torch.ones(1, 64, dtype=torch.int64))
    assert before.changes() != ""


def test_a_window_shorter_than_the_prompt_is_a_window_in_lanes(monkeypatch):
    from transformers import MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=96,
        sliding_window=5,
        attn_implementation="eager",
    )
    loaded = loaded_as(enlarged(MistralForCausalLM(config)))
    for way in WAYS:
        assert check_lanes(loaded, trials_of(loaded, way, [1, 4, 5, 6, 20, 64]), monkeypatch) == "lanes"
