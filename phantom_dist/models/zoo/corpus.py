"""A seeded generator of a small English-like language with near-synonyms.

A sentence is a cause, a carrier with one word of a near-synonym pair, and an ending. The cause hints at the pair and
the ending identifies it, but neither identifies the word. So both words of a pair occur in the same contexts, and their
readout rows come to overlap. Which of the two occurs depends on the *register* of the preceding phrases: every phrase w
that can be chosen has a register r_w ~ N(0, 1), and

    ln P(first) / P(second) = bias + sensitivity * (sum of r_w over the phrases chosen so far),

with one bias and one sensitivity per pair. Small preferences add up to strong ones: a context may prefer one word by
e^7 although neither word is rare. Causes differ in how reliably they determine the pair, so the two words share between
a fifth and nearly all of the probability. The generator computes the probability of each sentence that it draws, and
hence the entropy of its language.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from phantom_dist.models.zoo.lexicon import CLASSES, FORMS, SUBJECTS, Pair

CORPUS_SEED = 2606
BIAS = 0.7
"""Standard deviation of a pair's bias, nat."""
SENSITIVITY = (2.0, 6.0)
"""Range of a pair's sensitivity to register, nat."""
LOOSENESS = (0.0, 0.8)
"""Range of the probability that a cause is followed by another pair of its class."""

T = TypeVar("T")
_SLOT = re.compile(r"\{([^{}]*)\}|\b(HE|HIS|HIM|SUBJECT)\b")
_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """One sentence with its probabilities.

    `prompt` ends before the near-synonym; `log_odds` (nat) is that of `words[0]` against `words[1]` there;
    `log_probability` (nat) is the sentence's.
    """

    text: str
    prompt: str
    words: tuple[str, str]
    log_odds: float
    log_probability: float


class Corpus:
    """The language of one seed: registers of phrases, bias and sensitivity of pairs, and sentences."""

    def __init__(self, seed: int = CORPUS_SEED) -> None:
        self.seed = seed
        self._registers: dict[str, float] = {}

    def sentences(self, stream: str) -> Iterator[Sentence]:
        """An endless stream of sentences; equal seeds and stream names give equal sentences on every machine."""
        source = random.Random(f"{self.seed}/stream/{stream}")
        while True:
            yield self._sentence(source)

    def register(self, phrase: str) -> float:
        """r_w of a phrase that can be chosen, dimensionless."""
        if phrase not in self._registers:
            self._registers[phrase] = random.Random(f"{self.seed}/register/{phrase}").gauss(0.0, 1.0)
        return self._registers[phrase]

    def leaning(self, pair: Pair) -> tuple[float, float]:
        """Bias and sensitivity of a pair, nat."""
        source = random.Random(f"{self.seed}/pair/{'/'.join(pair.words)}")
        return source.gauss(0.0, BIAS), source.uniform(*SENSITIVITY)

    def looseness(self, cause: str) -> float:
        """Probability that a cause is followed by another pair of its class."""
        return random.Random(f"{self.seed}/looseness/{cause}").uniform(*LOOSENESS)

    def _sentence(self, source: random.Random) -> Sentence:
        speaker = _Speaker(source, self)
        word_class = speaker.one_of(CLASSES)
        pair = speaker.one_of(word_class.pairs)
        template = speaker.one_of(pair.causes)
        cause = speaker.say(template)
        pair = speaker.stray(pair, word_class.pairs, self.looseness(template))
        before, after = speaker.one_of(word_class.carriers).split("*")
        prompt = _capitalised(f"{cause}, {speaker.say(before).strip()}")
        bias, sensitivity = self.leaning(pair)
        log_odds = bias + sensitivity * speaker.register
        word = speaker.lean(pair.words, log_odds)
        rest = speaker.say(f"{after} {speaker.one_of(pair.endings)}.")
        return Sentence(
            text=f"{prompt} {word}{rest}",
            prompt=prompt,
            words=pair.words,
            log_odds=log_odds,
            log_probability=speaker.log_probability,
        )


class _Speaker:
    """Generates one sentence, and tracks the probability and register of its choices."""

    def __init__(self, source: random.Random, corpus: Corpus) -> None:
        self.source = source
        self.corpus = corpus
        self.log_probability = 0.0
        self.register = 0.0
        self.gender: str | None = None

    def one_of(self, options: Sequence[T]) -> T:
        self.log_probability -= math.log(len(options))
        return options[int(self.source.random() * len(options))]

    def lean(self, words: tuple[str, str], log_odds: float) -> str:
        first = 1.0 / (1.0 + math.exp(-log_odds))
        says_first = self.source.random() < first
        self.log_probability += math.log(first if says_first else 1.0 - first)
        return words[0] if says_first else words[1]

    def stray(self, pair: Pair, pairs: Sequence[Pair], probability: float) -> Pair:
        if self.source.random() >= probability:
            self.log_probability += math.log(1.0 - probability)
            return pair
        self.log_probability += math.log(probability)
        return self.one_of([other for other in pairs if other is not pair])

    def say(self, template: str) -> str:
        return _SLOT.sub(self._fill, template)

    def _fill(self, slot: re.Match[str]) -> str:
        if slot[1] is not None:
            phrase: str = self.one_of(slot[1].split("|"))
            self.register += self.corpus.register(phrase)
            return phrase
        # The gender is drawn only where it first shows; an invisible choice would make the probability wrong.
        self.gender = self.gender or self.one_of(tuple(SUBJECTS))
        if slot[2] == "SUBJECT":
            return self.one_of(SUBJECTS[self.gender])
        return FORMS[self.gender][slot[2]]


def vocabulary() -> list[str]:
    """The words of the language, each with the leading space that it has inside a sentence.

    Words that open a sentence are also listed capitalised, without a space; at the start they occur only in that form.
    The order is alphabetical, so token ids carry no meaning.
    """
    inner: set[str] = set()
    opening: set[str] = set()
    for word_class in CLASSES:
        for pair in word_class.pairs:
            inner.update(*map(_words, (*pair.words, *pair.endings, *pair.causes)))
            opening.update(_capitalised(_words(cause)[0]) for cause in pair.causes)
        inner.update(*map(_words, word_class.carriers))
    for gender, subjects in SUBJECTS.items():
        inner.update(*map(_words, (*subjects, *FORMS[gender].values())))
    return sorted({f" {word}" for word in inner if word.islower()} | opening | {",", "."})


def take(corpus: Corpus, stream: str, count: int) -> list[Sentence]:
    """The first `count` sentences of a stream."""
    return list(islice(corpus.sentences(stream), count))


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]
