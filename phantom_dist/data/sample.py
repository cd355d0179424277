"""A few examples that stand for a whole training, where only some steps' worth of gradients can be paid for.

To first order a training moves its weights by −Σ_s η_s ∇L_s, so what counts is the gradient of the mean loss of its
steps, each weighted by its learning rate η_s. Here that mean is estimated from a stratified sample: the examples that
hold a word that is watched are a stratum of their own, because they move its gap most and may be few. Every stratum has
the weight in the sample that it has in the training. This is our reconstruction, not the paper's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from phantom_dist.data.batches import Batches, Tokenised

_SEED = 2606


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Examples whose weighted losses estimate a training's mean loss.

    Attributes:
        sequences: the examples.
        weights: of each one's summed token losses; those of all examples of a training sum up with its tokens to 1.
        shares: by watched token, the share of the training's weight in examples that hold it.
        drawn: by watched token, the examples of the sample that hold it.
    """

    sequences: tuple[Tokenised, ...]
    weights: tuple[float, ...]
    shares: Mapping[int, float]
    drawn: Mapping[int, int]

    @property
    def tokens(self) -> int:
        """Number of tokens of all its sequences."""
        return sum(len(sequence.ids) for sequence in self.sequences)

    @property
    def weight(self) -> float:
        """What its weights sum up to with its counted tokens: 1 for a whole sample."""
        return sum(w * sum(each.counted) for w, each in zip(self.weights, self.sequences, strict=True))

    def thinned(self, size: int) -> Sample:
        """Some `size` examples, spread over all strata; their weights sum up to a part of the whole."""
        stride = -(-len(self.sequences) // size)
        return replace(self, sequences=self.sequences[::stride], weights=self.weights[::stride])


def stratified(batches: Batches, factors: Sequence[float], watched: Collection[int], size: int) -> Sample:
    """Draw a sample, always the same one for the same arguments.

    Args:
        batches: the training's batches.
        factors: η_s / η of each of its steps.
        watched: tokens that make an example a member of their stratum, where the loss counts them; the first one that
            an example holds.
        size: number of examples; at least one is drawn from each stratum, and never more than there are.
    """
    whole = sum(factors)
    weights: dict[Tokenised, float] = {}
    for step, factor in enumerate(factors):
        batch = batches[step]
        for sequence in batch.sequences:
            weights[sequence] = weights.get(sequence, 0.0) + factor / whole / batch.counted
    strata: dict[int | None, list[Tokenised]] = {}
    for sequence in weights:
        strata.setdefault(_stratum(sequence, watched), []).append(sequence)
    # Shares by weight and not by number: an example of a step at the end of a decay hardly counts.
    masses = {name: sum(weights[each] * sum(each.counted) for each in own) for name, own in strata.items()}
    everything = sum(masses.values())
    generator = np.random.Generator(np.random.PCG64(_SEED))
    sequences: list[Tokenised] = []
    drawn_weights: list[float] = []
    drawn: dict[int, int] = dict.fromkeys(watched, 0)
    for name in sorted(strata, key=lambda name: -1 if name is None else name):
        own = [each for each in strata[name] if weights[each] > 0]
        count = min(len(own), max(1, round(size * masses[name] / everything)))
        chosen = [own[place] for place in sorted(generator.permutation(len(own))[:count].tolist())]
        if not chosen:
            continue
        # The drawn examples' tokens stand for all of their stratum's.
        scale = masses[name] / sum(weights[each] * sum(each.counted) for each in chosen)
        sequences += chosen
        drawn_weights += [weights[each] * scale for each in chosen]
        if name is not None:
            drawn[name] = count
    return Sample(
        sequences=tuple(sequences),
        weights=tuple(drawn_weights),
        shares={token: masses.get(token, 0.0) / everything for token in watched},
        drawn=drawn,
    )


def _stratum(sequence: Tokenised, watched: Collection[int]) -> int | None:
    pairs = zip(sequence.ids, sequence.counted, strict=True)
    return next((token for token, counts in pairs if counts and token in watched), None)
