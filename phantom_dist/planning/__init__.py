"""Plans a run: which batches, on which workers, at which predicted cost. Pure: reads no machine and no file.

| file | what it does |
|---|---|
| `plan` | `make_plan`: specification, models' metadata and resources in, a `Plan` out; read it first |
| `resources` | the available workers, as data that is recorded with a run |
| `batches` | packs trials into batch groups |
| `probes` | packs problems into probe tasks |
| `rank_groups` | which problems need a group of ranks, and its size |
| `sizes` | how much work a batch should have |
| `durations`, `memory` | predicted time; predicted memory |
| `summary` | a plan as rows of `plan.parquet` and as JSON |

`scheduling` executes the plan; `campaign` looks up the resources.
"""
