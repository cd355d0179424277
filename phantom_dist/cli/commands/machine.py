"""The command that checks this machine: `doctor`."""

from __future__ import annotations

from phantom_dist.cli.commands.app import app
from phantom_dist.cli.manual import MACHINE, examples
from phantom_dist.cli.options import AsJson
from phantom_dist.cli.output import answer


@app.command(rich_help_panel=MACHINE, epilog=examples("doctor"))
def doctor(as_json: AsJson = False) -> None:
    """Show what this machine can run, and what is missing.

    Checks packages, processors, memory, the cluster and plug-ins, and says how to get what is missing.
    """
    from phantom_dist.machine import doctor as examine

    answer(examine, as_json=as_json)
