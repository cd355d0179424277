"""The whole story: plan -> run -> refine -> repeat. Every command of the command line has its function here.

| file | what it does |
|---|---|
| `run` | `run`, `resume`, `cancel`: whose directory it is, which executor, then the course |
| `submit` | `run` on a cluster that this machine only sends to |
| `course` | the main path: probes, trials, refinement, until every critical rate is bracketed |
| `budget` | hours and trials after which a run stops in order |
| `plan` | what `run` would do, without doing it |
| `grouping` | which problems are trained by a group of ranks, and by how large a one |
| `cost` | predicted time and memory |
| `progress` | where a run stands, for the live view |
| `memory` | peak memory of the run's processes |
| `calibrate` | rows that a law is fitted to: what runs measured, with the path probed for it |
| `fit`, `predict` | a law from runs; critical rates from a law, without a sweep |
| `suffices` | where LoRA suffices, counted |
| `kept` | predictions kept in a file as they are made |
| `status` | the JSON object of a run directory, live or dead |

Nothing is imported here: `status` needs no torch, and shall not wait for what `run` does.
"""
