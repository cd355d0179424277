"""The whole story: plan -> run -> refine -> repeat. Every command of the command line has its function here.

| file | what it does |
|---|---|
| `run` | `run`, `resume`, `cancel`: the main path; read it first |
| `options` | the options that these share |
| `submit` | `run` on a cluster that this machine only sends to |
| `planner`, `preview` | what a plan is made from; `plan`: what `run` would do, without doing it |
| `ownership`, `restore` | whose directory it is; what earlier starts stored |
| `workers` | the cluster, and the workers of each phase |
| `run_state` | what is measured, and what follows: a pure state machine |
| `run_driver` | carries out what it decides, and stores it |
| `heartbeat` | where the run stands, in `state.json` |
| `interruption` | what an interrupted run has kept |
| `search_start` | where searches start: at the law's prediction |
| `budget` | hours and trials after which a run stops in order |
| `progress`, `progress_view` | where a run stands, for the live view |
| `peak_memory` | peak memory of the run's processes |
| `timeline` | where a run's time went, and why a trial took as long, or as many attempts, as it did |
| `status` | the JSON object of a run directory, live or dead |

Nothing is imported here: `status` needs no torch, and shall not wait for what `run` does.
"""
