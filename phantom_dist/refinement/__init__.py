"""Closing in on the critical learning rate η_c, where the final gap g_T(η) crosses zero.

| file | what it does |
|---|---|
| `curve` | what is known of one curve g_T(η): its origin and the trials so far |
| `root_search` | from what is known to the next learning rate, a bracket, or a named reason why there is none |
| `search`, `sampler` | the same rules for a run and as an Optuna sampler |
| `studies` | a run's searches as Optuna studies |
| `critical_rate` | the critical rates of a run, from its stored trials |

Every decision is a function of the stored trials alone, so an interrupted search continues where it was.
"""
