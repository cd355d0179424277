"""Starts a search at the law's prediction of η_c, if the problem was probed for one."""

from __future__ import annotations

import functools

from phantom_dist.core.probe_result import Measured
from phantom_dist.law.file import read_law
from phantom_dist.law.law import Law
from phantom_dist.law.law_input import law_input
from phantom_dist.records import probe_row
from phantom_dist.refinement.root_search import Expected


class LawStart:
    """Predicts the root of a problem's search with the shipped law, which is read on first use."""

    def __call__(self, measured: Measured) -> Expected | None:
        """The law's lower bound, η_c and upper bound; the probe's own estimate of η_c if the law makes no prediction.

        None if the problem wasn't probed for one: the search then starts at first order.
        """
        estimated = measured.estimated
        if estimated is None:
            return None
        predicted = self._law.predict(law_input(probe_row(measured), measured.problem))
        if predicted.eta_c is None or predicted.interval is None:
            rate = estimated.learning_rates[-1]
            return rate, rate, rate
        return predicted.interval[0], predicted.eta_c, predicted.interval[1]

    @functools.cached_property
    def _law(self) -> Law:
        return read_law()
