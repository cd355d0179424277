"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phantom_dist.cli import complete

Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC", help="sweep file, e.g. sweeps/quickstart.yaml", autocompletion=complete.yaml_files
    ),
]
Directory = Annotated[
    str,
    typer.Argument(
        metavar="DIR", help="run directory: a local path, s3://… or gs://…", autocompletion=complete.folders
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="print one JSON object on stdout, everything else on stderr")
]
Contexts = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="contexts file",
        show_default="near-synonyms that ship with the package",
        autocompletion=complete.yaml_files,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: local starts one on this machine; auto or ray://HOST:10001 joins one",
        show_default="local",
        autocompletion=complete.one_of("local", "auto", "ray://"),
    ),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        help="ray, or inprocess: one worker in this process",
        autocompletion=complete.one_of("ray", "inprocess"),
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="auto: what costs least, and deepspeed for models too large for one worker; lanes: always lanes; "
        "single: the reference implementation",
        autocompletion=complete.one_of("auto", "single", "lanes", "deepspeed"),
    ),
]
RunsEngine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="as for `plan`",
        show_default="as the run in DIR began, else auto",
        autocompletion=complete.one_of("auto", "single", "lanes", "deepspeed"),
    ),
]
Retry = Annotated[
    str | None,
    typer.Option(
        help="failed: run trials again that ended in error or out_of_memory",
        metavar="failed",
        autocompletion=complete.one_of("failed"),
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="number of workers", show_default="as many as fit")]
MaxHours = Annotated[
    float | None,
    typer.Option(metavar="H", help="start nothing more after H hours; running batches finish"),
]
MaxTrials = Annotated[
    int | None, typer.Option(metavar="N", help="start no further batch once N trials were started")
]
