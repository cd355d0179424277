"""Sweep files: every form that is read, and the text of every complaint."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from phantom_dist.core.errors import InputError
from phantom_dist.core.schedule import Schedule
from phantom_dist.core.trial import Context, Optimizer
from phantom_dist.spec import Critical, SweepSpec, from_yaml, learning_rates_of, load
from phantom_dist.spec.optimizers import AdamW, OptimizerEntry, Sgd

BASE = "models: zoo:gpt2-a\ncontexts: [{id: a, text: He felt, target: ' ill'}]\n"
RATES = BASE + "learning_rates: critical\n"


def complaint(text: str) -> str:
    with pytest.raises(InputError) as caught:
        from_yaml(text, source="x.yaml")
    return str(caught.value)


def test_defaults() -> None:
    spec = from_yaml(RATES)
    assert spec.models == ("zoo:gpt2-a",)
    assert [method.name for method in spec.methods] == ["full"]
    assert [entry.core() for entry in spec.optimizers] == [Optimizer(name="sgd")]
    assert [entry.core(8) for entry in spec.schedule] == [Schedule(name="constant")]
    assert (spec.steps, spec.seeds, spec.precision) == ((8,), (0,), ("float32",))
    assert learning_rates_of(spec) == Critical(tolerance=0.01)
    assert not spec.execution.allow_pickle
    assert not spec.execution.trust_remote_code


def test_optimizers_have_the_defaults_of_core() -> None:
    for entry, name in ((Sgd(), "sgd"), (AdamW(), "adamw")):
        core = Optimizer(name=name).model_dump(include=set(type(entry).model_fields))
        assert entry.model_dump(exclude_none=True) == core


def test_a_single_value_stands_for_a_list() -> None:
    short = (
        RATES
        + "methods: lora\noptimizers: adamw\nsteps: 8\nseeds: 1\nprecision: bfloat16\nschedule: cosine\n"
    )
    long = BASE + (
        "learning_rates: {critical: {}}\nmethods: [{lora: {}}]\noptimizers: [{adamw: }]\n"
        "steps: [8]\nseeds: [1]\n"
        "precision: [bfloat16]\nschedule: [{cosine: {warmup_steps: 0}}]\n"
    )
    assert from_yaml(short) == from_yaml(long)


@pytest.mark.parametrize(
    ("written", "rates"),
    [
        ("1e-3", (1e-3,)),
        ("[1e-3, 2, 5e-324]", (1e-3, 2.0, 5e-324)),
        ("{log: [1e-6, 1e-3, 4]}", (1e-6, 1e-5, 1e-4, 1e-3)),
        ("{critical: {tolerance: 0.5}}", Critical(tolerance=0.5)),
        ("critical", Critical(tolerance=0.01)),
    ],
)
def test_learning_rates(written: str, rates: tuple[float, ...] | Critical) -> None:
    found = learning_rates_of(from_yaml(BASE + f"learning_rates: {written}"))
    if isinstance(rates, Critical) or isinstance(found, Critical):
        assert found == rates
    else:
        assert found == pytest.approx(rates, rel=1e-12)


def test_a_log_range_keeps_its_ends_and_equal_ratios() -> None:
    rates = learning_rates_of(from_yaml(BASE + "learning_rates: {log: [3e-7, 0.11, 13]}"))
    assert isinstance(rates, tuple)
    assert (rates[0], rates[-1], len(rates)) == (3e-7, 0.11, 13)
    ratios = [b / a for a, b in pairwise(rates)]
    assert ratios == pytest.approx([math.exp(math.log(0.11 / 3e-7) / 12)] * 12)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[0]", "learning_rates[0]: should be greater than 0; got 0"),
        ("[1e-3, -2]", "learning_rates[1]: should be greater than 0; got -2"),
        ("[.inf]", "learning_rates[0]: should be a finite number; got inf"),
        ("[.nan]", "learning_rates[0]: should be a finite number; got nan"),
        ("1e400", "learning_rates: should be a finite number; got inf"),
        ("[fast]", "learning_rates[0]: should be a valid number; got 'fast'"),
        ("[]", "learning_rates: should have at least one value; it has none"),
        (
            "{critical: {tolerance: 0.1, multiples: [3, 1.05]}}",
            "learning_rates.critical.multiples[1]: lies within the search's bracket; allowed: above 1 + tolerance, 1.1",
        ),
        ("[1e-3, 0.001]", "learning_rates[1]: is the same as entry 0; give every value once"),
        (
            "true",
            "learning_rates: should be a list of rates, {log: [low, high, count]} or "
            "{critical: {tolerance: 0.01}}; got True",
        ),
        (
            "{crit: {}}",
            "learning_rates: unknown form 'crit'. Did you mean 'critical'? Allowed: critical, log.",
        ),
        (
            "{log: [1e-3, 1e-4, 5]}",
            "learning_rates.log: the lowest rate 0.001 should be below the highest, 0.0001",
        ),
        ("{log: [1e-3, 1e-2]}", "learning_rates.log[2]: is missing"),
        ("{log: [0, 1e-2, 3]}", "learning_rates.log[0]: should be greater than 0; got 0"),
        ("{log: [1e-3, 1e-2, 1]}", "learning_rates.log[2]: should be greater than or equal to 2; got 1"),
        ("{critical: {tolerance: 0}}", "learning_rates.critical.tolerance: should be greater than 0; got 0"),
        (
            "{critical: {tolerance: 0.6}}",
            "learning_rates.critical.tolerance: should be less than or equal to 0.5; got 0.6",
        ),
        (
            "{critical: {tolerence: 0.1}}",
            "learning_rates.critical.tolerence: unknown key. Did you mean 'tolerance'? Allowed: multiples, start, "
            "tolerance.",
        ),
    ],
)
def test_wrong_learning_rates(line: str, message: str) -> None:
    assert complaint(BASE + f"learning_rates: {line}") == f"x.yaml:3: {message}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("steps: 0", "steps: should be greater than 0; got 0"),
        ("steps: []", "steps: should have at least one value; it has none"),
        ("steps: [8, 8]", "steps[1]: is the same as entry 0; give every value once"),
        ("steps: [8.0]", "steps[0]: should be a valid integer; got 8.0"),
        ("seeds: [-1]", "seeds[0]: should be greater than or equal to 0; got -1"),
        ("seeds: [4294967296]", "seeds[0]: should be less than or equal to 2147483647; got 4294967296"),
        (
            "precision: [float23]",
            "precision[0]: unknown value 'float23'. Did you mean 'float32' or 'bfloat16'? "
            "Allowed: bfloat16, bfloat16-mixed, float32.",
        ),
        ("methods: [ful]", "methods[0]: unknown method 'ful'. Did you mean 'full'? Allowed: full, lora."),
        (
            "methods: [lora, lora]",
            "methods[1]: is the same method as entry 0; name all its optimizers in one entry",
        ),
        (
            "methods: [full, {full: {optimizers: adamw}}]",
            "methods[1]: is the same method as entry 0; name all its optimizers in one entry",
        ),
        (
            "methods: [{full: {}, lora: {}}]",
            "methods[0]: needs one method, alone or with its settings; got {'full': {}, 'lora': {}}. "
            "Allowed: full, lora.",
        ),
        (
            "methods: [{lora: {rnk: 8}}]",
            "methods[0].lora.rnk: unknown key. Did you mean 'rank'? "
            "Allowed: alpha, dropout, optimizers, rank, rslora, targets.",
        ),
        ("methods: [{lora: {rank: 0}}]", "methods[0].lora.rank: should be greater than 0; got 0"),
        (
            "methods: [{lora: {targets: atention}}]",
            "methods[0].lora.targets: should be attention, mlp, all-linear, peft or a list of module names; "
            "got 'atention'",
        ),
        (
            "methods: [{lora: {targets: []}}]",
            "methods[0].lora.targets: should be attention, mlp, all-linear, peft or a list of module names; got []",
        ),
        (
            "methods: [{lora: {targets: [q_proj, q_proj]}}]",
            "methods[0].lora.targets[1]: is the same as entry 0; give every value once",
        ),
        (
            "methods: [{lora: {optimizers: [adm]}}]",
            "methods[0].lora.optimizers[0]: unknown optimizer 'adm'. Did you mean 'adamw'? "
            "Allowed: adamw, sgd.",
        ),
        (
            "optimizers: [sgd, {sgd: {momentm: 0.9}}]",
            "optimizers[1].sgd.momentm: unknown key. Did you mean 'momentum'? "
            "Allowed: decay, momentum, weight_decay.",
        ),
        (
            "optimizers: [{adamw: {momentum: 0.9}}]",
            "optimizers[0].adamw.momentum: unknown key. Allowed: beta1, beta2, decay, epsilon, weight_decay.",
        ),
        ("optimizers: [{sgd: {momentum: 1}}]", "optimizers[0].sgd.momentum: should be less than 1; got 1"),
        ("optimizers: [{sgd: 0.9}]", "optimizers[0].sgd: should be a mapping of keys to values; got 0.9"),
        (
            "optimizers: [{sgd: {}}, sgd]",
            "optimizers[1]: is the same as entry 0; give every value once",
        ),
        (
            "optimizers: [3]",
            "optimizers[0]: needs one optimizer, alone or with its settings; got 3. Allowed: adamw, sgd.",
        ),
        (
            "seeds: [0, 1]\nsteps: [4, 8, 16]\ncombine: zip",
            "seeds: has 2 values and steps has 3; with `combine: zip` allowed: 1 or 3",
        ),
        (
            "steps: [4, 8, 4]\nprecision: [float32, bfloat16, float32]\ncombine: zip",
            "steps[2]: goes side by side with the same values as entry 0",
        ),
        (
            "methods: [{lora: {optimizers: [sgd, adamw]}}]\ncombine: zip",
            "methods[0].lora: with `combine: zip` a method may name one optimizer",
        ),
        (
            "schedule: {warmup_stable_decay: {warmup_steps: 4, decay_steps: 5}}",
            "schedule.warmup_stable_decay.warmup_steps: 4 warm-up steps and 5 steps of decay are more than 8 steps; "
            "allowed: together up to 8",
        ),
        (
            "schedule: [{linear: {warmup_steps: 1}}, {linear: {warmup_ratio: 0.125}}]",
            "schedule[1].linear: is the same as entry 0 where steps is 8; give every schedule once",
        ),
        (
            "optimizers: {adamw: {decay: weights}}",
            "optimizers.adamw: decay weights needs a weight_decay above 0",
        ),
        (
            "schedule: {linear: {warmup_steps: 1, warmup_ratio: 0.125}}",
            "schedule.linear: takes warmup_steps or warmup_ratio, not both",
        ),
        (
            "schedule: [linear, {cosine: {warmup_steps: 8}}]",
            "schedule[1].cosine.warmup_steps: 8 warm-up steps leave none of 8 steps for the schedule; "
            "allowed: 0 to 7",
        ),
        (
            "schedule: exponential",
            "schedule: unknown schedule 'exponential'. Allowed: constant, cosine, cosine_with_min_lr, inverse_sqrt, "
            "linear, warmup_stable_decay.",
        ),
        ("name: my sweep", "name: should match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]*$'; got 'my sweep'"),
        (
            "thresholds: {jump_sizes: 0.2}",
            "thresholds.jump_sizes: unknown key. Did you mean 'jump_size'? "
            "Allowed: jump_share_of_range, jump_size, structural_drag, synonym_floor_rms.",
        ),
        (
            "execution: {device: gpu}",
            "execution.device: unknown value 'gpu'. Did you mean 'cpu'? Allowed: auto, cpu, cuda.",
        ),
        ("execution: {threads: 0}", "execution.threads: should be greater than or equal to 1; got 0"),
        (
            "execution: {group: {ranks: 1}}",
            "execution.group.ranks: should be auto or a whole number from 2 to 1024; got 1",
        ),
        (
            "execution: {group: {ranks: many}}",
            "execution.group.ranks: should be auto or a whole number from 2 to 1024; got 'many'",
        ),
        (
            "execution: {group: {stage: 1}}",
            "execution.group.stage: unknown value 1. Allowed: 2, 3, auto.",
        ),
        (
            "execution: {group: {rank: 2}}",
            "execution.group.rank: unknown key. Did you mean 'ranks'? Allowed: ranks, stage, timeout.",
        ),
        (
            "execution: {group: {timeout: 0}}",
            "execution.group.timeout: should be greater than 0; got 0",
        ),
        (
            "seed: 0",
            "seed: unknown key. Did you mean 'seeds'? Allowed: combine, contexts, early_stopping, epochs, execution, "
            "gradient_clipping, instruments, learning_rates, methods, models, name, optimizers, precision, recipe, "
            "schedule, seeds, steps, thresholds, training.",
        ),
    ],
)
def test_wrong_axes(line: str, message: str) -> None:
    assert complaint(RATES + line) == f"x.yaml:4: {message}"


@pytest.mark.parametrize(
    "name", ["lm_head", "wte", "model.embed_tokens", "embed_out", "embed_in", "embed_positions"]
)
def test_adapters_on_embedding_or_readout_are_refused(name: str) -> None:
    assert complaint(RATES + f"methods:\n  - lora:\n      targets: [q_proj,\n        {name}]") == (
        f"x.yaml:7: methods[0].lora.targets[1]: '{name}' is an embedding or the readout; adapters there "
        "would move the overlaps. Allowed: linear modules of the attention and the feed-forward part"
    )


def test_models_and_learning_rates_are_needed() -> None:
    assert complaint("contexts: [{id: a, text: He felt, target: ' ill'}]").splitlines() == [
        "x.yaml:1: models: is missing",
        "x.yaml:1: learning_rates: is missing",
    ]
    assert complaint(RATES.replace("zoo:gpt2-a", "[a, b, a]")) == (
        "x.yaml:1: models[2]: is the same as entry 0; give every value once"
    )
    assert complaint(RATES.replace("zoo:gpt2-a", "['']")) == (
        "x.yaml:1: models[0]: should have at least 1 character; got ''"
    )


def test_ids_of_contexts_are_unique() -> None:
    pairs = "  - {id: a, text: x, target: y}\n  - {id: a, text: z, target: y}\n"
    text = f"models: a\nlearning_rates: 1\ncontexts:\n{pairs}"
    assert complaint(text) == "x.yaml:5: contexts[1].id: the id 'a' is taken by entry 0; ids are unique"


KEYS = st.sampled_from([*SweepSpec.model_fields, "sgd", "lora", "critical", "log", "id", "text", "x"])
WILD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), KEYS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, WILD, max_size=8))
def test_whatever_a_mapping_holds_the_answer_is_a_sweep_or_one_message(data: dict[str, Any]) -> None:
    try:
        load(data)
        message = ""
    except InputError as error:
        message = str(error)
    assert all(line.startswith("sweep: ") for line in message.splitlines())


@given(st.text(max_size=60))
def test_whatever_a_file_holds_the_answer_is_one_message(text: str) -> None:
    assert complaint(text).startswith("x.yaml")


class TestFiles:
    """Sweep and contexts files in a folder."""

    @pytest.fixture
    def sweep(self, tmp_path: Path) -> Path:
        (tmp_path / "contexts").mkdir()
        (tmp_path / "contexts" / "pairs.yaml").write_text("- {id: a, text: He felt, target: ' ill'}\n")
        path = tmp_path / "My sweep.yaml"
        path.write_text("models: zoo:gpt2-a\ncontexts: contexts/pairs.yaml\nlearning_rates: [1e-3]\n")
        return path

    def test_contexts_are_found_beside_the_sweep_and_the_file_gives_the_name(self, sweep: Path) -> None:
        spec = load(sweep)
        assert spec.contexts == (Context(id="a", text="He felt", target=" ill"),)
        assert spec.name == "My-sweep"

    def test_no_contexts_file(self, sweep: Path) -> None:
        (sweep.parent / "contexts" / "pairs.yaml").unlink()
        with pytest.raises(InputError) as caught:
            load(sweep)
        assert str(caught.value) == (
            f"{sweep}:2: contexts: there is no contexts file '{sweep.parent}/contexts/pairs.yaml'; "
            "the path is relative to the sweep file"
        )

    def test_a_wrong_contexts_file_is_named_itself(self, sweep: Path) -> None:
        pairs = sweep.parent / "contexts" / "pairs.yaml"
        pairs.write_text(
            "- {id: a, text: He felt, target: ' ill'}\n- {id: b, txt: He felt, target: ' ill'}\n"
        )
        with pytest.raises(InputError) as caught:
            load(sweep)
        assert str(caught.value).splitlines() == [
            f"{pairs}:2: [1].text: is missing",
            f"{pairs}:2: [1].txt: unknown key. Did you mean 'text'? "
            "Allowed: competitor, either, held_out, id, target, text.",
        ]

    def test_no_sweep_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"none\.yaml: no such file"):
            load(tmp_path / "none.yaml")


class TestNotebook:
    """The same sweep from Python."""

    def test_a_mapping_in_the_form_of_the_file(self) -> None:
        spec = load(
            {
                "models": ["zoo:gpt2-a"],
                "contexts": [Context(id="a", text="He felt", target=" ill")],
                "learning_rates": np.array([1e-4, 1e-3]),
                "optimizers": ("sgd", {"sgd": {"momentum": np.float64(0.9)}}),
            }
        )
        assert learning_rates_of(spec) == (1e-4, 1e-3)
        assert [entry.core().momentum for entry in spec.optimizers] == [0.0, 0.9]
        assert load(spec) is spec

    def test_a_wrong_mapping(self) -> None:
        with pytest.raises(InputError) as caught:
            load({"models": "zoo:gpt2-a", "contexts": [], "learning_rate": 1})
        assert [line.partition(". Did")[0] for line in str(caught.value).splitlines()] == [
            "sweep: contexts: should have at least one value; it has none",
            "sweep: learning_rates: is missing",
            "sweep: learning_rate: unknown key",
        ]

    @pytest.mark.parametrize("settings", [{}, {"sgd": Sgd(), "adamw": AdamW()}])
    def test_an_entry_names_exactly_one_thing(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValidationError, match="needs exactly one of sgd, adamw"):
            OptimizerEntry(**settings)

    def test_keyword_arguments(self) -> None:
        spec = SweepSpec(
            models=["zoo:gpt2-a"],  # type: ignore[arg-type]
            contexts=[Context(id="a", text="He felt", target=" ill")],  # type: ignore[arg-type]
            learning_rates="critical",  # type: ignore[arg-type]
        )
        assert spec == from_yaml(RATES)
