"""The path probe: an optimizer's whole path to the crossing g = 0, from gradients at a few points of it.

| file | what it does |
|---|---|
| `probe` | measures at a few points; the critical rate that follows |
| `cost` | which trainings can be walked, where to measure, and what it costs |
| `walk` | the base class of walks: measured points, distances, the target's log-odds along the path |
| `sgd`, `adam` | each optimizer's steps on the gradient interpolated between the points |
| `interpolation` | polynomials through measured points |
"""
