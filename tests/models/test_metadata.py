from __future__ import annotations

import pytest
from transformers import CONFIG_MAPPING

from phantom_dist.models.metadata import describe_config, describe_recorded, recorded

# counted by the models' authors, or by the Hugging Face hub over the safetensors
PUBLISHED = {
    "EleutherAI/pythia-70m": 70_426_624,
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-410m": 405_334_016,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "distilgpt2": 81_912_576,
    "facebook/opt-125m": 125_239_296,
    "google/gemma-3-270m": 268_098_176,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
}


@pytest.mark.parametrize("name", sorted(recorded()))
def test_recorded_facts_are_those_of_the_recorded_configuration(name: str) -> None:
    settings = dict(recorded()[name]["config"])
    config = CONFIG_MAPPING[settings.pop("model_type")](**settings)
    built = describe_config(config, name, name.rsplit("/", 1)[-1])
    said = describe_recorded(name, name, "unreachable")
    assert said is not None
    assert {**_facts(said), "verified": True, "reason": None} == _facts(built)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_recorded_parameters_are_the_published_ones(name: str) -> None:
    assert recorded()[name]["parameters"] == PUBLISHED[name]


def test_nothing_is_made_up_about_an_unknown_model() -> None:
    assert describe_recorded("nobody/nothing", "nobody/nothing", "unreachable") is None


def _facts(metadata: object) -> dict[str, object]:
    return {name: getattr(metadata, name) for name in metadata.__slots__}
