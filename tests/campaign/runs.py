"""Runs in this process, and what they stored."""

from __future__ import annotations

import phantom_dist
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.digest import results_digest


def run(sweep, out, **how):
    return phantom_dist.run(sweep, out, executor="inprocess", **how)


def rows(out):
    return RunDirectory(Store(out)).trials().to_pylist()


def digest(out):
    return results_digest(RunDirectory(Store(out)))
