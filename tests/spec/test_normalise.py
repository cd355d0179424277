"""The normalised form, and what continues a run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.outcome import Thresholds
from phantom_dist.spec import SweepSpec, expand, extends, from_yaml, load, to_yaml
from phantom_dist.spec.reference import as_text

BASE = """
models: [m]
contexts: [{id: a, text: He felt, target: " ill", competitor: " sick"}]
methods: [full, lora]
optimizers: [sgd]
learning_rates: [1e-3]
seeds: [0]
"""

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
rates = st.floats(min_value=1e-300, max_value=1e300, allow_nan=False)
optimizer = st.one_of(
    st.sampled_from(["sgd", "adamw"]),
    st.fixed_dictionaries({}, optional={"momentum": st.floats(0, 0.99), "weight_decay": st.floats(0, 9)}).map(
        lambda settings: {"sgd": settings}
    ),
    st.fixed_dictionaries({}, optional={"beta1": st.floats(0, 0.99), "epsilon": st.floats(1e-12, 1)}).map(
        lambda settings: {"adamw": settings}
    ),
)


def is_accepted(reference: str) -> bool:
    """Others, as `0:`, are refused; tests/traces/test_partition_names.py has them."""
    try:
        as_text(reference)
    except ValueError:
        return False
    return True


def axis(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(entries, min_size=1, max_size=3, unique_by=repr)


sweeps = st.fixed_dictionaries(
    {
        "models": axis(st.from_regex(r"\S(.*\S)?", fullmatch=True).filter(is_accepted)),
        "contexts": st.lists(
            st.fixed_dictionaries(
                {"id": names, "text": words, "target": words}, optional={"competitor": words}
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda context: context["id"],
        ),
        "learning_rates": st.one_of(
            axis(rates),
            st.just("critical"),
            st.floats(1e-6, 0.5).map(lambda t: {"critical": {"tolerance": t, "multiples": [1.5 + t, 30]}}),
            st.tuples(st.floats(1e-9, 1e-3), st.floats(0.01, 1), st.integers(2, 9)).map(
                lambda v: {"log": list(v)}
            ),
        ),
    },
    optional={
        "name": names,
        "methods": st.sampled_from(
            [["full"], "lora", ["full", {"lora": {"rank": 2, "targets": ["q", "v"]}}]]
        ),
        "optimizers": optimizer,
        "steps": axis(st.integers(5, 2**31 - 1)),
        "seeds": axis(st.integers(0, 2**31 - 1)),
        "precision": st.sampled_from([["float32"], "bfloat16", ["bfloat16", "float32"]]),
        "schedule": st.sampled_from(["cosine", ["constant", {"linear": {"warmup_ratio": 0.3}}]]),
        "gradient_clipping": st.sampled_from([[1.0], None, [None, 0.5]]),
        "early_stopping": st.booleans(),
        "thresholds": st.fixed_dictionaries({"jump_size": st.floats(1e-3, 1)}),
        "execution": st.fixed_dictionaries({"threads": st.integers(1, 8), "allow_pickle": st.booleans()}),
    },
)


@given(sweeps)
def test_loading_the_normalised_form_gives_the_same_sweep(data: dict[str, Any]) -> None:
    spec = load(data)
    text = to_yaml(spec)
    again = from_yaml(text)
    assert again == spec
    assert expand(again) == expand(spec)
    assert to_yaml(again) == text
    assert extends(spec, again) == []


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "1e-6",
        "null",
        " ill",
        "two\nlines\n",
        "a: b # c",
        "'\"",
        "\u0085",
        "\u2028 x",
        "\ufeff",
        "\t",
        "глаз",
    ],
)
def test_words_stay_as_they_are(text: str) -> None:
    spec = load({"models": "m", "contexts": [{"id": "a", "text": text, "target": text}], "learning_rates": 1})
    assert from_yaml(to_yaml(spec)).contexts == spec.contexts
    assert spec.contexts[0].target == text


def test_every_default_is_written_and_contexts_are_inlined() -> None:
    text = to_yaml(
        from_yaml("models: m\ncontexts: [{id: a, text: x, target: ' y'}]\nlearning_rates: critical\n")
    )
    assert text == (
        "name: sweep\n"
        "models:\n- m\n"
        "contexts:\n- id: a\n  text: x\n  target: ' y'\n  competitor: auto\n"
        "combine: product\nmethods:\n- full: {}\n"
        "optimizers:\n- sgd:\n    momentum: 0.0\n    weight_decay: 0.0\n"
        "learning_rates:\n  critical:\n    tolerance: 0.01\n    start: auto\n    multiples: []\n"
        "steps:\n- 8\n"
        "seeds:\n- 0\n"
        "precision:\n- float32\n"
        "schedule:\n- constant:\n    warmup_steps: 0\n"
        "gradient_clipping:\n- null\n"
        "early_stopping: false\n"
        "instruments: []\nthresholds:\n  structural_drag: 0.01\n  jump_size: 0.1\n  jump_share_of_range: 0.5\n"
        f"  synonym_floor_rms: {Thresholds().synonym_floor_rms}\n"
        "execution:\n  threads: 1\n  device: auto\n"
        "  group:\n    ranks: auto\n    stage: auto\n    timeout: 30.0\n"
        "  report_to: []\n  allow_pickle: false\n  trust_remote_code: false\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("models: [m]", "models: [n, m]"),
        ("models: [m]", "models: m"),
        ("learning_rates: [1e-3]", "learning_rates: [1e-4, 1e-3]"),
        ("learning_rates: [1e-3]", "learning_rates: {log: [1e-3, 1, 4]}"),
        ("optimizers: [sgd]", "optimizers: [{adamw: {beta1: 0.5}}, sgd]"),
        ("methods: [full, lora]", "methods: [{lora: {rank: 2}}, full, {lora: {optimizers: [adamw, sgd]}}]"),
        ("seeds: [0]", "seeds: [0, 1]"),
        ("seeds: [0]", "seeds: [0]\nexecution: {allow_pickle: true}"),
        ("seeds: [0]", "seeds: [0]\nprecision: [bfloat16, float32]"),
    ],
)
def test_more_values_extend_a_run(old: str, new: str) -> None:
    more = from_yaml(BASE.replace(old, new))
    assert extends(from_yaml(BASE), more) == []
    assert set(expand(from_yaml(BASE))) <= set(expand(more))


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("models: [m]", "models: [n]", "models: the directory has m; the sweep does not"),
        (
            '" sick"',
            '" well"',
            "contexts: the directory has a ('He felt', ill / sick); the sweep does not",
        ),
        (
            "optimizers: [sgd]",
            "optimizers: [adamw]",
            "methods: the directory has full with sgd, lora with sgd; the sweep does not",
        ),
        (
            "methods: [full, lora]",
            "methods: [full, {lora: {rank: 2}}]",
            "methods: the directory has lora with sgd; the sweep does not",
        ),
        (
            "learning_rates: [1e-3]",
            "learning_rates: [2e-3]",
            "learning_rates: the directory has 0.001; the sweep does not",
        ),
        ("seeds: [0]", "steps: [16]", "steps: the directory has 8; the sweep does not"),
        ("seeds: [0]", "schedule: [cosine]", "schedule: the directory has constant; the sweep does not"),
        ("seeds: [0]", "seeds: [1, 0]", "seeds: the directory begins with 0, the sweep with 1"),
        ("seeds: [0]", "name: other", "name: sweep in the directory, other in the sweep"),
        (
            "seeds: [0]",
            "instruments: mylab",
            "instruments: none in the directory, mylab in the sweep",
        ),
        (
            "seeds: [0]",
            "thresholds: {jump_size: 0.2}",
            "thresholds.jump_size: 0.1 in the directory, 0.2 in the sweep",
        ),
        ("seeds: [0]", "execution: {threads: 2}", "execution.threads: 1 in the directory, 2 in the sweep"),
    ],
)
def test_other_sweeps_are_told_apart(old: str, new: str, difference: str) -> None:
    assert extends(from_yaml(BASE), from_yaml(BASE.replace(old, new))) == [difference]


def test_a_search_and_given_rates_are_different_sweeps() -> None:
    search: SweepSpec = from_yaml(BASE.replace("[1e-3]", "critical"))
    finer = from_yaml(BASE.replace("[1e-3]", "{critical: {tolerance: 0.001}}"))
    assert extends(search, from_yaml(BASE)) == [
        "learning_rates: a search with tolerance 0.01 in the directory, given rates in the sweep"
    ]
    assert extends(search, finer) == [
        "learning_rates: a search with tolerance 0.01 in the directory, "
        "a search with tolerance 0.001 in the sweep"
    ]
