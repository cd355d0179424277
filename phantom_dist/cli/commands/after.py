"""The command that looks at a finished training of any tool: `diagnose`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from phantom_dist.cli import complete
from phantom_dist.cli.commands.app import app
from phantom_dist.cli.manual import SHOWING, examples
from phantom_dist.cli.options import AsJson, Contexts
from phantom_dist.cli.output import answer
from phantom_dist.core.imports import importing

if TYPE_CHECKING:
    from phantom_dist.diagnosis import DiagnoseResult


@app.command(
    rich_help_panel=SHOWING,
    epilog=examples(
        "diagnose peft:my-adapter",
        "diagnose my-checkpoint --before gguf:smollm2-135m-instruct --contexts my-words.yaml",
    ),
)
def diagnose(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="the trained model as in a sweep, or the output folder of a trainer",
            autocompletion=complete.models,
        ),
    ],
    before: Annotated[
        str | None,
        typer.Option(
            metavar="BASE",
            help="the model that the training began with",
            show_default="an adapter's base",
            autocompletion=complete.models,
        ),
    ] = None,
    contexts: Contexts = None,
    as_json: AsJson = False,
) -> None:
    """Say what a finished training did to each word, from its files."""
    with importing():
        from phantom_dist.diagnosis import diagnose as diagnose_model

    def work() -> DiagnoseResult:
        return diagnose_model(model, before, contexts)

    answer(work, as_json=as_json)
