"""The zoo's tokenizer: one token per word, leading space included, as in byte-level vocabularies.

One special token both begins every text and ends every sentence of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

UNKNOWN, BOUNDARY = "<unk>", "<s>"
_SPACE = "Ġ"
"""A space, as the byte-level pre-tokenizer writes it."""


def build(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """The tokenizer for `words` (each with its leading space, if any); token ids follow their order."""
    entries = [UNKNOWN, BOUNDARY, *(word.replace(" ", _SPACE) for word in words)]
    tokenizer = Tokenizer(models.WordLevel({entry: i for i, entry in enumerate(entries)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOUNDARY} $A",
        pair=f"{BOUNDARY} $A $B",
        special_tokens=[(BOUNDARY, entries.index(BOUNDARY))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        bos_token=BOUNDARY,
        eos_token=BOUNDARY,
        pad_token=BOUNDARY,
    )
