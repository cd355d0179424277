"""The path probe: an optimizer's whole way to the crossing, from gradients at a few points of it.

| file | what it does |
|---|---|
| `probe` | where to measure, and the critical rate that follows |
| `walk` | what any walk knows: points measured, the way gone, the target's log-odds along it |
| `sgd`, `adam` | how each optimizer walks where the gradient is known between the points |
| `interpolation` | polynomials through what was measured |
"""

from __future__ import annotations

from phantom_dist.engines.path.probe import WALKS, can_be_walked, probe_path, shares, unwalked, walked_bytes

__all__ = ["WALKS", "can_be_walked", "probe_path", "shares", "unwalked", "walked_bytes"]
