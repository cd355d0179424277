"""The search for the critical learning rate η_c, where the final gap g_T(η) crosses zero.

| file | what it does |
|---|---|
| `curve` | one curve g_T(η): its value and slope at η = 0, and the trials so far |
| `root_search` | from a curve to the next learning rates, a bracket, or a named reason why there is none |
| `search`, `sampler` | the same rules for a run and as an Optuna sampler |
| `shared_search` | the next learning rates where each training answers for many words |
| `trainings` | what each training on a training set taught |
| `studies` | a run's searches as Optuna studies |
| `critical_rate` | the critical rates of a run, from its stored trials |

Every decision is a function of the stored trials only, so an interrupted search continues where it stopped.
"""
