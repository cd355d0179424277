"""`tokenizer_class` with a `tokenizer.json`: loading splits text as the file does, or an error names the class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from phantom_dist.core.errors import InputError
from phantom_dist.models import Permissions
from phantom_dist.models.adapter import ModelFolder
from phantom_dist.models.load import load
from phantom_dist.models.quiet import quiet
from phantom_dist.models.tokenizer import SAMPLE, load_tokenizer
from phantom_dist.models.zoo import folder, names
from tests.contexts.tokenizer_kinds import SENTENCES, byte_level, metaspace, prepended, word_level, word_piece

BUILT = {
    "byte-level BPE": byte_level,
    "BPE, Metaspace": lambda: metaspace("BPE", "always", True, True, "strip"),
    "BPE, Prepend": lambda: prepended("BPE"),
    "Unigram": lambda: metaspace("Unigram", "always", True, False, "own"),
    "WordPiece": word_piece,
    "WordLevel": word_level,
}
AS_IT_IS = ("PreTrainedTokenizerFast", "TokenizersBackend", "NoClassAtAll", None)
OWN = {
    "byte-level BPE": ("GPT2Tokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer", "GPTNeoXTokenizer"),
    "BPE, Metaspace": ("LlamaTokenizer", "LlamaTokenizerFast"),
    "BPE, Prepend": ("LlamaTokenizer", "LlamaTokenizerFast"),
}
CLASSES = (
    *AS_IT_IS,
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "Qwen2Tokenizer",
    "GPTNeoXTokenizer",
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "GemmaTokenizer",
    "T5Tokenizer",
    "XLNetTokenizer",
    "XLMRobertaTokenizer",
    "AlbertTokenizer",
    "BertTokenizer",
    "CLIPTokenizer",
    "CohereTokenizer",
    "ByT5Tokenizer",
)


def written(tokenizer: Tokenizer, named: str | None, path: Path) -> ModelFolder:
    shutil.copy(folder("llama-b") / "config.json", path)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(path)
    config = path / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tokenizer_class": named}))
    return ModelFolder(reference="m", path=path, title="m")


@pytest.mark.parametrize("named", CLASSES)
@pytest.mark.parametrize("built", BUILT)
def test_as_the_file_or_the_class_is_named(built: str, named: str | None, tmp_path: Path) -> None:
    model = written(BUILT[built](), named, tmp_path)
    own = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    said = None
    try:
        with quiet():
            loaded = load_tokenizer(model, Permissions())
    except InputError as refused:
        said = str(refused)
    if said is not None:
        assert named not in (*AS_IT_IS, *OWN.get(built, ())), said
        assert said.startswith("model 'm': ")
        assert "\n" not in said
        assert f"{named}" in said
        assert "tokenizer_config.json" in said
        return
    for text in (
        *map(str.strip, SENTENCES),
        "the dog was very glad",
        "Glad? the 12 dogs, 3.5 cafés; it's happy-sad",
        *SAMPLE,
    ):
        assert loaded.encode(text, add_special_tokens=False) == own.encode(text, add_special_tokens=False).ids


def test_the_message_names_class_file_and_way_out(tmp_path: Path) -> None:
    model = written(byte_level(), "GemmaTokenizer", tmp_path)
    with pytest.raises(InputError) as refused, quiet():
        load_tokenizer(model, Permissions())
    assert str(refused.value) == (
        f"model 'm': GemmaTokenizer (tokenizer_config.json) doesn't split text as {tmp_path / 'tokenizer.json'} does, "
        "as in 'After betraying his ': ['<unk>', 'b', 'e'] instead of ['Ġ', 'b', 'e']; set `tokenizer_class` to "
        "PreTrainedTokenizerFast, which uses the file unchanged, or use the class's own tokenizer.json"
    )
    config = tmp_path / "tokenizer_config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    load_tokenizer(model, Permissions())


@pytest.mark.parametrize("name", names())
def test_every_zoo_tokenizer_is_its_file_s(name: str) -> None:
    tokenizer = load(f"zoo:{name}").tokenizer
    own = Tokenizer.from_file(str(folder(name) / "tokenizer.json"))
    for text in (*SAMPLE, "After the unfair tax, the king was filled with rage"):
        assert tokenizer.encode(text) == own.encode(text).ids
