"""A whole run: plan -> run -> refine -> repeat, and the Python functions of `plan`, `run`, `resume`, `status`, ….

| file | what it does |
|---|---|
| `run` | `run`, `resume`, `cancel` |
| `execution` | the main path; read it first |
| `options` | the options that these share |
| `submit` | `run` as a job on a remote cluster |
| `planner`, `preview` | the inputs of a plan; `plan`: what `run` would do, without doing it |
| `ownership`, `restore` | checks that the directory belongs to this sweep; reads what earlier starts stored |
| `trackers` | mirrors trainings into TensorBoard, MLflow, Weights & Biases |
| `workers` | the workers of each phase |
| `run_state` | results in, tasks out: a pure state machine |
| `run_driver` | executes the decisions of `run_state` |
| `heartbeat` | writes the run's state to `state.json` |
| `interruption` | the message of an interrupted run |
| `search_start` | starts searches at the law's prediction |
| `budget` | hours and trials after which a run stops |
| `progress`, `progress_view` | a run's progress, for the live view |
| `peak_memory` | peak memory of the run's processes |
| `timeline` | where a run's time went, and the history of a trial or a batch |
| `status` | the state of a run directory, live or dead |

This file imports nothing: `status` needs no torch, and should not wait for the imports of `run`.
"""
