"""The path probe: an optimizer's whole path to the crossing g = 0, from gradients at a few points of it.

| file | what it does |
|---|---|
| `probe` | where to measure, and the critical rate that follows |
| `walk` | the base class of walks: measured points, distances, the target's log-odds along the path |
| `sgd`, `adam` | each optimizer's steps on the gradient interpolated between the points |
| `interpolation` | polynomials through measured points |
"""

from __future__ import annotations

from phantom_dist.engines.path.probe import WALKS, can_be_walked, probe_path, shares, unwalked, walked_bytes

__all__ = ["WALKS", "can_be_walked", "probe_path", "shares", "unwalked", "walked_bytes"]
