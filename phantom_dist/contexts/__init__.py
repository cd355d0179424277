"""Near-synonym contexts: read from a file, turned into tokens, checked against a model.

| file | what it does |
|---|---|
| `tokens` | the rule: prompt, target and competitor as token ids |
| `reading` | how a tokenizer reads a text for a model |
| `near_synonym` | which words are near-synonyms for a model |
| `usable` | what keeps a tokenizer from reading any context |
| `pair` | the pair of words of a context for a model: chosen, tokenised, checked |

The file's format belongs to `spec`, which also takes contexts inline. README.md lists what is refused.
"""

from pathlib import Path

from phantom_dist.contexts.near_synonym import check_pair, choose_competitor, synonym_floor
from phantom_dist.contexts.pair import choose_pair
from phantom_dist.contexts.reading import Tokenizer
from phantom_dist.contexts.tokens import AUTO, competitor_filter, prompt_and_target, token_text, tokenise
from phantom_dist.contexts.usable import check_tokenizer
from phantom_dist.spec import load_contexts

SHIPPED = Path(__file__).parent / "near_synonyms.yaml"
"""The near-synonyms that ship for real models."""

SHIPPED_FOR_ZOO = Path(__file__).parent / "zoo.yaml"
"""Those for the built-in models."""

__all__ = [
    "AUTO",
    "SHIPPED",
    "SHIPPED_FOR_ZOO",
    "Tokenizer",
    "check_pair",
    "check_tokenizer",
    "choose_competitor",
    "choose_pair",
    "competitor_filter",
    "load_contexts",
    "prompt_and_target",
    "synonym_floor",
    "token_text",
    "tokenise",
]
