"""A run directory on disk: Arrow schemas, whole-or-nothing files, readers.

| file | what it holds |
|---|---|
| `schema` | the tables' Arrow schemas, made from `core.quantities` |
| `store` | named files under a local path or an object-store URI, each visible whole or not at all |
| `run_directory` | the layout: who writes which file, what a reader sees |
| `decode` | rows of the tables as the records that the packages above read |
| `formats` | tables as Arrow, Polars or pandas |
| `migrations` | tables of older versions in today's form |
| `claim`, `object_claim` | one driver at a time: by a lock, or by an object that is created on condition |
| `leases` | which attempt may still write |
| `process` | whether the process that wrote a name down may still live |
| `digest` | one number for all results of a run |
| `event_log`, `json_lines` | `events.jsonl`: what happened in a run, one event a line |
| `monitor_log` | what the monitor kept of a training, read again |
"""

from phantom_dist.traces.run_directory import RunDirectory, directory_and_sweep, directory_and_sweeps
from phantom_dist.traces.store import Store

__all__ = ["RunDirectory", "Store", "directory_and_sweep", "directory_and_sweeps"]
