"""Near-synonym contexts: load them from a file, tokenise them, check them against a model.

| file | what it does |
|---|---|
| `tokens` | a context as token ids: prompt, target and competitor |
| `reading` | how a tokenizer encodes and decodes text for a model |
| `near_synonym` | the test for near-synonyms, and the choice of an `auto` competitor |
| `usable` | check that a tokenizer can be used at all |
| `swords` | convert a published set of pairs that people judged to be interchangeable |
| `shipped` | the contexts that ship with the package |
| `pair` | choose and tokenise the pair of a context on a model |

`spec` defines the file's format, and also accepts contexts inline. README.md lists what is refused.
"""

from phantom_dist.contexts.near_synonym import check_pair, choose_competitor, synonym_floor
from phantom_dist.contexts.pair import choose_pair
from phantom_dist.contexts.reading import Tokenizer
from phantom_dist.contexts.shipped import SHIPPED, SHIPPED_FOR_ZOO, contexts_or_shipped
from phantom_dist.contexts.tokens import AUTO, competitor_filter, prompts_and_target, token_text, tokenise
from phantom_dist.contexts.usable import check_tokenizer
from phantom_dist.spec import load_contexts

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
    "contexts_or_shipped",
    "load_contexts",
    "prompts_and_target",
    "synonym_floor",
    "token_text",
    "tokenise",
]
