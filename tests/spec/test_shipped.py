"""The files that ship: sweeps, and the JSON Schema that editors check them with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from phantom_dist.data.of_sweep import with_data
from phantom_dist.models.zoo.architectures import ZOO
from phantom_dist.spec import Critical, expand, from_yaml, json_schema, learning_rates_of, load, to_yaml
from phantom_dist.spec.json_schema import SCHEMA_FILE

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))
SHORT_FORMS = """
models: zoo:gpt2-a
contexts: contexts/zoo.yaml
methods: [full, {lora: {targets: [q_proj], optimizers: adamw}}]
optimizers: [sgd, {sgd: {momentum: 0.9}}, {adamw: }]
learning_rates: {log: [1e-6, 1e-3, 13]}
steps: 8
schedule: [constant, {cosine: {warmup_steps: 2}}]
"""


def plain(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_four_sweeps_ship() -> None:
    assert {path.stem for path in SWEEPS} >= {"quickstart", "paper", "zoo", "template"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_shipped_sweep_loads_fits_the_schema_and_names_it(
    path: Path, validator: Draft202012Validator
) -> None:
    text = path.read_text()
    schema = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / schema).resolve() == SCHEMA_FILE
    assert [error.message for error in validator.iter_errors(plain(text))] == []
    spec = load(path)
    assert spec.name == path.stem
    read = with_data(spec).spec
    assert len(expand(read)) > 0
    assert from_yaml(to_yaml(read)) == read


def test_the_published_schema_is_up_to_date() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema(), "run `make schema`"


@pytest.mark.parametrize(
    "rates", ["critical", "1e-3", "[1e-3, 2e-3]", "{critical: {tolerance: 0.01}}", "{log: [1e-6, 1e-3, 13]}"]
)
def test_the_schema_allows_every_form(rates: str, validator: Draft202012Validator) -> None:
    data = plain(SHORT_FORMS) | {"learning_rates": plain(rates)}
    assert [error.message for error in validator.iter_errors(data)] == []


@pytest.mark.parametrize(
    "line",
    [
        "seed: 0",
        "steps: 0",
        "steps: []",
        "learning_rates: [0]",
        "learning_rates: []",
        "learning_rates: {log: [1e-3, 1e-2]}",
        "learning_rates: {critical: {tolerance: 2}}",
        "methods: [ful]",
        "methods: [{full: {}, lora: {}}]",
        "methods: [{lora: {rnk: 3}}]",
        "optimizers: [{sgd: {beta1: 0.9}}]",
        "optimizers: []",
        "precision: float16",
        "models: []",
        "contexts: [{id: a, text: x}]",
    ],
)
def test_the_schema_refuses_what_load_refuses(line: str, validator: Draft202012Validator) -> None:
    data = plain(SHORT_FORMS) | plain(line)
    assert not validator.is_valid(data)


@pytest.mark.parametrize(
    "line", ["steps: [8, 8]", "optimizers: [sgd, sgd]", "gradient_clipping: [1.0, null, 1.0]"]
)
def test_only_values_side_by_side_may_occur_again(line: str, validator: Draft202012Validator) -> None:
    crossed = plain(SHORT_FORMS) | plain(line)
    assert not validator.is_valid(crossed)
    assert validator.is_valid(crossed | {"combine": "zip"})


def test_the_quickstart_pairs_methods_with_optimizers() -> None:
    spec = load(next(path for path in SWEEPS if path.stem == "quickstart"))
    problems = expand(spec)
    assert len(problems) == 8
    assert {(p.method, p.optimizer.name) for p in problems} == {("full", "sgd"), ("lora", "adamw")}
    assert {p.steps for p in problems} == {8}
    assert learning_rates_of(spec) == Critical(tolerance=0.01, multiples=(30, 300))


def test_the_template_states_the_defaults() -> None:
    text = next(path for path in SWEEPS if path.stem == "template").read_text()
    shown = from_yaml(text)
    left_out = {
        key: value for key, value in plain(text).items() if key in ("models", "contexts", "learning_rates")
    }
    default = load(left_out)
    for key in ("steps", "seeds", "precision", "schedule", "thresholds", "execution"):
        assert getattr(shown, key) == getattr(default, key)
    written = {key for name in ("thresholds", "execution") for key in plain(text)[name]}
    assert written == {*type(default.thresholds).model_fields, *type(default.execution).model_fields}
    in_comments = {"recipe", "training", "epochs"}
    assert set(plain(text)) == set(type(default).model_fields) - in_comments
    assert all(f"{key}: " in text or f"# {key}:" in text for key in in_comments)


def test_the_zoo_has_every_built_in_model() -> None:
    text = next(path for path in SWEEPS if path.stem == "zoo").read_text()
    assert sorted(plain(text)["models"]) == sorted(f"zoo:{name}" for name in ZOO)


def test_the_paper_has_five_models_and_ten_contexts() -> None:
    spec = load(next(path for path in SWEEPS if path.stem == "paper"))
    assert (len(spec.models), len(spec.contexts)) == (5, 10)
