"""A run directory on disk: Arrow schemas, whole-or-nothing files, readers.

| file | what it holds |
|---|---|
| `schema` | the tables' Arrow schemas, made from `core.quantities` |
| `store` | named files under a local path or an object-store URI, each visible whole or not at all |
| `run_directory` | the layout: who writes which file, who may write, what a reader sees |
"""

from phantom_dist.traces.run_directory import RunDirectory, open_run
from phantom_dist.traces.store import Store

__all__ = ["RunDirectory", "Store", "open_run"]
