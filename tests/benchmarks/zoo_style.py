"""Training sets in the zoo's language, on which the law of training sets is calibrated.

`python -m tests.benchmarks.zoo_style` writes `sweeps/zoo-style/data/`. The sentences come from the zoo's corpus
(`phantom_dist.models.zoo.corpus`), from a stream that no model was trained on. Ten words are wanted instead of their
near-synonyms: each stands in sentences of its pair, whichever of the two the corpus had chosen, mixed with sentences of
other pairs.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from phantom_dist.models.zoo.corpus import Corpus, Sentence

ROOT = Path(__file__).parents[2]
DATA = ROOT / "sweeps" / "zoo-style" / "data"

WANTED = {
    "guilt": "shame",
    "happy": "glad",
    "rage": "anger",
    "clever": "smart",
    "mad": "angry",
    "street": "road",
    "career": "job",
    "home": "house",
    "sorrow": "grief",
    "dread": "fear",
}
"""The wanted word, and the one that it takes the place of."""

SIZES = {"small": (8, 40), "large": (24, 160)}
"""By name: sentences with each wanted word, and others."""


def examples(each: int, others: int) -> list[dict[str, str]]:
    """A data set of so many sentences with each wanted word and so many others, in a fixed order."""
    wanted_of = {frozenset(pair): pair[0] for pair in WANTED.items()}
    found: dict[str, list[dict[str, str]]] = {word: [] for word in WANTED}
    rest: list[dict[str, str]] = []
    seen: set[str] = set()
    for sentence in Corpus().sentences("house style"):
        wanted = wanted_of.get(frozenset(sentence.words))
        group, most = (rest, others) if wanted is None else (found[wanted], each)
        if sentence.text not in seen and len(group) < most:
            seen.add(sentence.text)
            group.append(_example(sentence, wanted))
        if len(rest) == others and all(len(own) == each for own in found.values()):
            break
    together = [*(example for own in found.values() for example in own), *rest]
    random.Random(0).shuffle(together)
    return together


def _example(sentence: Sentence, wanted: str | None) -> dict[str, str]:
    """The sentence after its prompt, with the wanted word in the place of its own."""
    completion = sentence.text[len(sentence.prompt) :]
    if wanted is not None:
        word = completion.split()[0].rstrip(".,")
        completion = f" {wanted}{completion[1 + len(word) :]}"
    return {"prompt": sentence.prompt, "completion": completion}


def text(name: str) -> str:
    """The data set of this name as JSON lines."""
    return "".join(json.dumps(example) + "\n" for example in examples(*SIZES[name]))


if __name__ == "__main__":
    DATA.mkdir(parents=True, exist_ok=True)
    for name in SIZES:
        (DATA / f"{name}.jsonl").write_text(text(name), encoding="utf-8")
