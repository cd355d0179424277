"""What to run, in which batches, on what, at which predicted cost. Pure: nothing here looks at a machine or a file.

| file | what it does |
|---|---|
| `plan` | `make_plan`: specification, models' metadata and resources in, a `Plan` out; read it first |
| `resources` | the workers there is room for, as data that is recorded with a run |
| `batches` | trials into batch groups |
| `probes` | problems into probe tasks |
| `rank_groups` | which problems take a group of ranks, and how large a one |
| `sizes` | how much work makes a good batch |
| `cost` | predicted time and memory |
| `summary` | a plan as rows of `plan.parquet` and as JSON |

`scheduling` executes what is planned here; `campaign` looks the resources up.
"""
