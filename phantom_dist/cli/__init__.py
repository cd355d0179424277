"""The command line `phantom-dist`: parse, call, print; no logic.

| file | contents |
|---|---|
| `commands/` | the commands, each with its own options |
| `options` | arguments and options that several commands share |
| `manual` | the texts of `--help` beside the options |
| `complete` | shell completion |
| `output` | what goes to stdout and stderr, and the exit status |
| `live`, `current_work` | the live view of a run, and what the run is doing at the moment |
| `logs` | `--verbose` and `--quiet` |
| `timeline_text` | a run's timeline as text |
"""

from phantom_dist.cli.commands import main

__all__ = ["main"]
