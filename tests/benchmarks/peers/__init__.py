"""This framework beside Ray Tune on the same machine in one run (`make bench-peers`).

| file | what it does |
|---|---|
| `__main__` | runs the parts, prints tables and the one JSON object |
| `idle` | trials that do nothing, or sleep, through the production path |
| `tuned` | the same under Ray Tune, and the settings that are tried |
| `local_ray` | a Ray of the benchmark's own |
| `rate` | trials per second, the same for both |
| `job` | the critical rates of the quickstart to 1 %, by `phantom-dist run` and by Ray Tune |
| `searches` | bisection and Optuna's samplers as searchers of Ray Tune, one for each critical rate |
| `training` | the quickstart's trials as a Trainable: a plain loop, the model loaded once for each actor |
"""
