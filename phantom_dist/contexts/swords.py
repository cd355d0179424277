"""Contexts from SWORDS, the Stanford Word Substitution Benchmark: pairs that people judged to be interchangeable.

`python -m phantom_dist.contexts.swords swords-v1.1_dev.json.gz > swords.yaml` converts its public file, which is not
part of this project (Lee, Donahue, Jia, Iyabor and Liang, NAACL 2021; CC-BY-3.0-US: name them where you publish).
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Context

T = TypeVar("T")

LEAST_SCORE = 0.5
"""Share of the annotators who must accept a substitute."""

WORDS = (5, 40)
"""Fewest words before the target, and most: earlier ones are cut off."""


def swords_contexts(path: Path) -> list[Context]:
    """For each target word in its base form: its best substitute, and the text before it.

    The target stands as `competitor` and the substitute as `target`, with `either: true`: which of the two a model has
    to learn depends on the model. The best substitute is one word of letters with the highest score, the first in the
    alphabet of equal ones.

    Raises:
        InputError: no file in SWORDS' format.
    """
    return list(_read(path, _contexts))


def parts_of_speech(path: Path) -> dict[str, str]:
    """`NOUN`, `VERB`, `ADJ` or `ADV` of each target word, by its context's id.

    Raises:
        InputError: no file in SWORDS' format.
    """
    return dict(_read(path, lambda content: ((_id(key), t["pos"]) for key, t in content["targets"].items())))


def _read(path: Path, of: Callable[[Mapping[str, Any]], Iterable[T]]) -> list[T]:
    try:
        raw = path.read_bytes()
        return list(of(json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)))
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(
            f"{path}: no file in the format of SWORDS ({type(error).__name__}: {error}). It is published as "
            f"swords-v1.1_dev.json.gz and swords-v1.1_test.json.gz at github.com/p-lambda/swords."
        ) from None


def _id(key: str) -> str:
    return key.removeprefix("t:")[:8]


def _contexts(content: Mapping[str, Any]) -> Iterator[Context]:
    labels = content["substitute_labels"]
    scored: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for key, entry in content["substitutes"].items():
        scored[entry["target_id"]].append((_score(labels[key]), entry["substitute"]))
    for key, target in content["targets"].items():
        word, before = target["target"], content["contexts"][target["context_id"]]["context"]
        before = before[: target["offset"]]
        text = before.split()
        good = [
            (-score, other)
            for score, other in scored[key]
            if score >= LEAST_SCORE and other.isalpha() and other != word
        ]
        in_base_form = word == target["extra"]["coinco_lemma"]
        if good and in_base_form and len(text) >= WORDS[0] and before[-1].isspace():
            yield Context(
                id=_id(key),
                text=" ".join(text[-WORDS[1] :]),
                target=f" {min(good)[1]}",
                competitor=f" {word}",
                either=True,
            )


def _score(labels: Sequence[str]) -> float:
    return labels.count("TRUE") / len(labels)


def main(arguments: Sequence[str]) -> None:
    """Print the contexts file of a SWORDS file."""
    if len(arguments) != 1:
        sys.exit("usage: python -m phantom_dist.contexts.swords FILE > contexts.yaml")
    for context in swords_contexts(Path(arguments[0])):
        sys.stdout.write(f"- {json.dumps(context.model_dump(mode='json'), ensure_ascii=False)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
