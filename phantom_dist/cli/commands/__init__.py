"""The commands: each parses its options, calls the function of the Python API that does the work, and prints.

| file | commands |
|---|---|
| `app` | none: the application that the others register with, and its entry point |
| `running` | `plan`, `run`, `resume`, `cancel`, `submit` |
| `results` | `status`, `report`, `studies` |
| `law` | `fit`, `predict` |
| `after` | `diagnose` |
| `publishing` | `archive pack`, `archive verify` |
| `machine` | `doctor` |
"""

# Importing a module registers its commands; `--help` lists them in this order.
from phantom_dist.cli.commands import (  # isort: skip
    running as running,
    results as results,
    law as law,
    after as after,
    machine as machine,
    publishing as publishing,
)
from phantom_dist.cli.commands.app import app, main

__all__ = ["app", "main"]
