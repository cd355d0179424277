"""llama-b of the zoo with its tokenizer stored in other formats: the same results, or a clear refusal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

import phantom_dist
from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Context
from phantom_dist.models.zoo import folder
from tests.contexts.tokenizer_kinds import zoo_as_sentencepiece

from .runs import rows, run

RAGE = {
    "id": "rage",
    "text": "After the unfair tax, the king was filled with",
    "target": " rage",
    "competitor": " anger",
}
AUTO = {
    "id": "auto",
    "text": "After deceiving her closest brother, mary was filled with",
    "target": " guilt",
    "competitor": "auto",
}
CONTEXTS = [RAGE, AUTO]
GAP_0 = -5.6441


def copied(path: Path) -> Path:
    shutil.copytree(folder("llama-b"), path / "m")
    return path / "m"


def sweep(model: Path | str, contexts: list[dict[str, str]] = CONTEXTS) -> dict[str, Any]:
    return {
        "name": "words",
        "models": [str(model)],
        "contexts": contexts,
        "methods": ["full"],
        "optimizers": ["sgd"],
        "learning_rates": [0.003],
        "steps": [2],
    }


def edit(model: Path, change: Callable[[Tokenizer], Tokenizer | None]) -> None:
    file = str(model / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    (change(tokenizer) or tokenizer).save(file)


MEASURED = ("target", "competitor", "gap_0", "kappa", "overlap_0", "gap_final", "outcome")


def measured(model: Path | str, out: Path) -> dict[str, dict[str, Any]]:
    assert run(sweep(model), out).outcomes.keys() & {"error", "refused_tokens"} == set()
    return {row["context"]: {key: row[key] for key in MEASURED} for row in rows(out)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return measured("zoo:llama-b", tmp_path_factory.mktemp("reference"))


def test_the_reference(reference: dict[str, dict[str, Any]]) -> None:
    assert reference["rage"]["gap_0"] == pytest.approx(GAP_0, abs=1e-4)
    assert (reference["rage"]["target"], reference["rage"]["competitor"]) == (" rage", " anger")


# -- the same tokens, written in another way --------------------------------------------------------------------------


def template(single: str) -> Callable[[Tokenizer], None]:
    def change(tokenizer: Tokenizer) -> None:
        tokenizer.post_processor = TemplateProcessing(
            single=single, special_tokens=[("<s>", 1), ("<unk>", 0)]
        )

    return change


def truncating(tokenizer: Tokenizer) -> None:
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=32)


ALIKE: dict[str, Callable[[Tokenizer], Tokenizer | None]] = {
    "SentencePiece's space": zoo_as_sentencepiece,
    "end of text appended": template("<s> $A <s>"),
    "two tokens appended": template("<s> $A <unk> <s>"),
    "truncation and padding": truncating,
}


@pytest.mark.parametrize("change", ALIKE.values(), ids=ALIKE)
def test_the_same_results(
    change: Callable[[Tokenizer], Tokenizer | None], reference: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    model = copied(tmp_path)
    edit(model, change)
    assert measured(model, tmp_path / "out") == reference


def test_an_option_that_appends_the_end_of_text(reference: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    model = copied(tmp_path)
    config = model / "tokenizer_config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"add_bos_token": True, "add_eos_token": True})
    )
    assert measured(model, tmp_path / "out") == reference


# -- words that can't be measured -------------------------------------------------------------------------------------


def refused(model: Path | str, contexts: list[dict[str, str]], out: Path) -> dict[str, str]:
    """The message for each refused context; the context RAGE is measured."""
    result = run(sweep(model, [*contexts, RAGE]), out)
    found = {row["context"]: row for row in rows(out)}
    assert found["rage"]["gap_0"] == pytest.approx(GAP_0, abs=1e-4)
    assert result.outcomes["refused_tokens"] == len(contexts)
    predicted = phantom_dist.predict(str(model), [Context(**c) for c in [*contexts, RAGE]])
    reasons = {p.context: p.reason for p in predicted.predictions}
    for context in contexts:
        assert found[context["id"]]["error"] in reasons[context["id"]]
    assert predicted.predictions[-1].eta_c is not None
    return {context["id"]: found[context["id"]]["error"] for context in contexts}


def test_unknown_words_are_named(tmp_path: Path) -> None:
    unknown = {
        "target": RAGE | {"target": " fury"},
        "auto": AUTO | {"target": " fury"},
        "competitor": RAGE | {"competitor": " fury"},
        "text": RAGE | {"text": "After the unfair tax, the knight was filled with"},
        "spaceless": RAGE | {"target": "rage"},
    }
    said = refused("zoo:llama-b", [c | {"id": name} for name, c in unknown.items()], tmp_path / "out")
    assert "the target ' fury' is not in the tokenizer's vocabulary" in said["target"]
    assert "the target ' fury' is not in" in said["auto"]
    assert "the competitor ' fury' is not in" in said["competitor"]
    assert "the word 'knight' that is not in" in said["text"]
    assert "write ' rage'" in said["spaceless"]


def test_added_tokens_without_rows_are_refused_one_by_one(tmp_path: Path) -> None:
    model = copied(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(model)
    size = len(tokenizer)
    tokenizer.add_tokens([" fury"])
    tokenizer.save_pretrained(model)
    beyond = {
        "target": RAGE | {"target": " fury"},
        "competitor": RAGE | {"competitor": " fury"},
        "text": RAGE | {"text": "After the unfair fury, the king was filled with"},
    }
    said = refused(model, [c | {"id": name} for name, c in beyond.items()], tmp_path / "out")
    for message in said.values():
        assert f"token {size} (' fury'), for which the model has no row: it has {size};" in message


# -- tokenizers that can't be used ------------------------------------------------------------------------------------


def no_words(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = None  # type: ignore[assignment]


def asked(way: str, model: Path, out: Path) -> object:
    if way == "run":
        return run(sweep(model), out)
    return phantom_dist.predict(str(model), [Context(**RAGE)])


@pytest.mark.parametrize("way", ["run", "predict"])
def test_a_property_is_told_once(way: str, tmp_path: Path) -> None:
    model = copied(tmp_path)
    edit(model, no_words)
    with pytest.raises(InputError, match=r"its tokenizer .* does not split a text at its spaces"):
        asked(way, model, tmp_path / "out")


@pytest.mark.parametrize("way", ["run", "predict"])
def test_a_class_that_is_not_the_file_s_is_told_once(way: str, tmp_path: Path) -> None:
    model = copied(tmp_path)
    config = model / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tokenizer_class": "GemmaTokenizer"}))
    with pytest.raises(InputError, match=r"GemmaTokenizer.*tokenizer\.json.*PreTrainedTokenizerFast"):
        asked(way, model, tmp_path / "out")
