"""A run directory on disk: Arrow schemas, atomic files, leases, readers.

| file | contents |
|---|---|
| `schema` | the tables' Arrow schemas, made from `core.quantities` |
| `store` | named files under a local path or an object-store URI, each visible whole or not at all |
| `run_directory` | the layout: who writes which file, what a reader sees |
| `table_files` | a table's Parquet files as one dataset |
| `decode` | rows of the tables as typed records |
| `formats` | tables as Arrow, Polars or pandas |
| `migrations` | converts tables of older schema versions |
| `claim`, `object_claim` | one driver at a time: through a file lock, or a conditionally created object |
| `leases` | which attempt may still write |
| `process` | whether a recorded process may still be alive |
| `digest` | one hash of all results of a run |
| `event_log`, `json_lines` | `events.jsonl`: the events of a run, one per line |
| `training_data` | the examples of a training set in a run directory |
| `monitor_log` | writes and reads the record of a monitored training |
"""

from phantom_dist.traces.run_directory import RunDirectory, directory_and_sweep, directory_and_sweeps
from phantom_dist.traces.store import Store

__all__ = ["RunDirectory", "Store", "directory_and_sweep", "directory_and_sweeps"]
