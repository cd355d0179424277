"""The monitor reads words as sweeps do, whatever the tokenizer."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from phantom_dist.contexts import SHIPPED_FOR_ZOO, load_contexts
from phantom_dist.core.errors import InputError
from phantom_dist.core.outcome import Thresholds
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.models.zoo import folder
from phantom_dist.monitor.candidates import find_contexts
from phantom_dist.monitor.watch import choose
from tests.contexts.tokenizer_kinds import zoo_as_sentencepiece

CONTEXTS = load_contexts(SHIPPED_FOR_ZOO)


@pytest.fixture(scope="module")
def llama() -> LoadedModel:
    return load("zoo:llama-b")


@pytest.fixture(scope="module")
def sentencepiece() -> PreTrainedTokenizerFast:
    own = Tokenizer.from_file(str(folder("llama-b") / "tokenizer.json"))
    return PreTrainedTokenizerFast(tokenizer_object=zoo_as_sentencepiece(own))


def test_what_is_watched_is_the_reference_s(
    llama: LoadedModel, sentencepiece: PreTrainedTokenizerFast
) -> None:
    watched, refused, _ = choose(llama.model, sentencepiece, CONTEXTS, Thresholds())
    assert (watched, refused) == choose(llama.model, llama.tokenizer, CONTEXTS, Thresholds())[:2]
    assert len(watched) == len(CONTEXTS)


def test_the_same_contexts_are_found(llama: LoadedModel, sentencepiece: PreTrainedTokenizerFast) -> None:
    texts = [context.text + context.target + "." for context in CONTEXTS]
    found = find_contexts(llama.model, sentencepiece, texts)
    assert found == find_contexts(llama.model, llama.tokenizer, texts)
    assert found
    assert all(context.target[0] == context.competitor[0] == " " for context in found)


def test_a_tokenizer_that_reads_no_context_is_named_once(llama: LoadedModel) -> None:
    own = Tokenizer.from_file(str(folder("llama-b") / "tokenizer.json"))
    own.pre_tokenizer = None  # type: ignore[assignment]
    with pytest.raises(InputError, match="does not split a text at its spaces"):
        choose(llama.model, PreTrainedTokenizerFast(tokenizer_object=own), CONTEXTS, Thresholds())
