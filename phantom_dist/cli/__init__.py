"""The command line `phantom-dist`: parse, call, print; no logic.

| file | what it holds |
|---|---|
| `commands` | the commands, each with the options of its own |
| `options` | arguments and options that several commands have in common |
| `manual`, `complete` | what `--help` says beside the options; what the tab key offers |
| `output` | the contract of stdout, stderr and exit status |
| `live`, `doing` | the live terminal view of a run, and what is going on in it |
| `logs` | `--verbose` and `--quiet` |
| `timeline_text` | a run's timeline as text |
"""

from phantom_dist.cli.commands import main

__all__ = ["main"]
