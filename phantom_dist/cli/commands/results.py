"""Commands that show results: `status`, `report`, `studies`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from phantom_dist.cli import complete
from phantom_dist.cli.commands.app import app
from phantom_dist.cli.manual import SHOWING, examples
from phantom_dist.cli.options import AsJson, Directory
from phantom_dist.cli.output import Printed, answer


@app.command(
    rich_help_panel=SHOWING,
    epilog=examples(
        "status runs/quickstart", "status runs/quickstart --watch", "status runs/quickstart --timeline"
    ),
)
def status(
    directory: Directory,
    watch: Annotated[
        bool, typer.Option("--watch", help="show again every two seconds until the run ends")
    ] = False,
    timeline: Annotated[
        bool,
        typer.Option("--timeline", help="where the time went, and which tasks were retried, lost or copied"),
    ] = False,
    why: Annotated[
        str | None,
        typer.Option(metavar="ID", help="what happened to one trial or batch; ID: the beginning of its id"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the progress and the results of a run, live or dead."""
    from phantom_dist.campaign.status import status as status_of
    from phantom_dist.campaign.timeline import explain, timeline_of
    from phantom_dist.cli.timeline_text import timeline_text, why_text

    def work() -> Printed:
        result = status_of(directory)
        while watch and result.state == "running":
            typer.echo(f"{result}\n", err=True)
            time.sleep(2.0)
            result = status_of(directory)
        value, recorded = result.to_json(), timeline_of(directory)
        # The key `errors` means that the command failed; errors of a past run's trials are no failure of `status`.
        value |= {
            "failed": value.pop("errors"),
            "timeline": None if recorded is None else recorded.to_json(),
        }
        text = f"{result}\n\n{timeline_text(value['timeline'])}" if timeline else str(result)
        if why is not None:
            value["why"] = explain(directory, why).to_json()
            text = why_text(value["why"])
        return Printed(value, text)

    answer(work, as_json=as_json)


@app.command(rich_help_panel=SHOWING, epilog=examples("report runs/quickstart --out report.html"))
def report(
    directories: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR…",
            help="run directories or archives; several are compared",
            autocompletion=complete.folders,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="the page to write")] = Path("report.html"),
    as_json: AsJson = False,
) -> None:
    """Write a self-contained HTML page about one or several runs.

    It shows the critical rates and the figures, and needs no network.
    """
    from phantom_dist.reports import report as write_report

    answer(
        lambda: write_report(directories, out),
        as_json=as_json,
        interrupted="interrupted; no page was written",
    )


@app.command(
    rich_help_panel=SHOWING,
    epilog=examples("studies runs/quickstart --out studies.log"),
)
def studies(
    directory: Directory,
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL", help="journal file to write, or URL of an Optuna storage (sqlite:///…)"
        ),
    ] = "studies.log",
    as_json: AsJson = False,
) -> None:
    """Write a run's searches as Optuna studies, for optuna-dashboard.

    There is one study per searched critical rate, copied from `trials/`. `optuna-dashboard studies.log` shows them.
    """

    def work() -> Printed:
        from phantom_dist.notebook import open_run

        names = sorted(open_run(directory).studies(out))
        return Printed({"storage": out, "studies": names}, f"{len(names)} studies: {out}")

    answer(work, as_json=as_json)
