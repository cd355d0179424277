"""Recipes: every one is a sweep that the zoo can train, and a sweep's own keys take precedence."""

from __future__ import annotations

from typing import Any

import pytest

from phantom_dist.campaign.preview import plan
from phantom_dist.core.errors import InputError
from phantom_dist.models.zoo.architectures import ZOO
from phantom_dist.spec import expand, from_yaml, load, recipe_named, recipe_names, to_yaml

DATA = {"name": "d", "sha256": "0" * 64, "form": "prompt-completion", "examples": 300, "words": 9}
CONTEXT = {"id": "a", "text": "He felt", "target": " ill", "competitor": " sick"}


def sweep(recipe: str, **keys: Any) -> dict[str, Any]:
    own = {"models": ["zoo:gpt2-a"], "contexts": [CONTEXT], "recipe": recipe, "training": {"data": DATA}}
    without_rate = recipe_named(recipe).learning_rate is None
    return own | ({"learning_rates": [1e-4]} if without_rate else {}) | keys


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_plans_on_every_model_of_the_zoo(name: str) -> None:
    keys = {"steps": [200]} if "epochs" in recipe_named(name).sweep else {}
    preview = plan(sweep(name, models=[f"zoo:{model}" for model in ZOO], **keys))
    shown = preview.to_json()["recipe"]
    assert shown["name"] == name
    assert shown["source"]
    text = str(preview)
    for what in shown["not_expressed"]:
        assert what in text
    assert "methods: " in text


@pytest.mark.parametrize("name", recipe_names())
def test_a_stored_sweep_has_its_recipes_keys_and_no_others(name: str) -> None:
    spec = load(sweep(name, steps=[200]))
    stored = from_yaml(to_yaml(spec))
    assert stored == spec
    assert expand(stored) == expand(spec)
    assert to_yaml(stored) == to_yaml(spec)


def test_own_keys_take_precedence() -> None:
    spec = load(
        sweep("trl-lora", training={"data": DATA, "batch_size": 2}, steps=[12], learning_rates=[1e-3])
    )
    (problem,) = expand(spec)
    assert problem.training is not None
    assert (problem.training.batch_size, problem.training.max_length) == (2, 1024)
    assert (problem.steps, problem.gradient_clipping, problem.precision) == (12, 1.0, "bfloat16-mixed")
    assert problem.lora is not None
    assert (problem.lora.rank, problem.lora.dropout, problem.lora.targets) == (16, 0.05, "peft")


def test_without_a_training_set_the_rest_of_the_recipe_holds() -> None:
    own = {"models": ["zoo:gpt2-a"], "contexts": [CONTEXT], "recipe": "transformers"}
    (problem,) = expand(load(own))
    assert (problem.training, problem.steps, problem.schedule.name) == (None, 8, "linear")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_trains_a_context_alone_and_tells_the_dropout_that_it_leaves_out(name: str) -> None:
    keys = {key: value for key, value in sweep(name).items() if key != "training"}
    alone, on_set = plan(keys).to_json()["recipe"], plan(sweep(name, steps=[200])).to_json()["recipe"]
    (problem,) = expand(load(keys))
    assert problem.lora is None or problem.lora.dropout == 0
    dropped = any(p.lora is not None and p.lora.dropout > 0 for p in expand(load(sweep(name, steps=[200]))))
    told = ["dropout of adapters, where a context is trained on alone"] if dropped else []
    assert alone["not_expressed"] == [*on_set["not_expressed"], *told]


def test_an_unknown_recipe_is_named_with_its_likes() -> None:
    with pytest.raises(InputError, match=r"recipe: there is no recipe 'trl-lra'\. Did you mean 'trl-lora'"):
        load({"models": ["zoo:gpt2-a"], "contexts": [CONTEXT], "recipe": "trl-lra", "learning_rates": [0.1]})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"epochs": [3]}, "epochs: are passes over the data of `training`, which is missing"),
        ({"contexts": [CONTEXT | {"held_out": True}]}, r"contexts\\[0\\].held_out: needs `training`"),
        ({"training": {"data": DATA}, "epochs": [3], "steps": [4]}, "epochs: takes the place of `steps`"),
        (
            {"training": {"data": DATA, "batch_size": 2, "accumulate": 3}},
            "accumulate is 3, and a step has only",
        ),
        (
            {"training": {"data": DATA | {"form": "text"}, "loss": "completion"}},
            "plain texts, which have no completion",
        ),
    ],
)
def test_keys_that_don_t_go_together(keys: dict[str, Any], message: str) -> None:
    own = {"models": ["zoo:gpt2-a"], "contexts": [CONTEXT], "learning_rates": [1e-3]}
    with pytest.raises(InputError, match=message.replace("\\\\", "\\")):
        load(own | keys)
