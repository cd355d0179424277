"""Commands that publish results: `archive pack`, `archive verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_dist.cli.commands.app import app
from phantom_dist.cli.logs import Commands
from phantom_dist.cli.manual import PUBLISHING, examples
from phantom_dist.cli.options import AsJson
from phantom_dist.cli.output import answer

if TYPE_CHECKING:
    from phantom_dist.archive.pack import PackResult


archive = Commands(
    help="Publish runs as a data set that others can open, cite and check.", no_args_is_help=True
)
app.add_typer(archive, name="archive", rich_help_panel=PUBLISHING)


@archive.command(
    "pack",
    epilog=examples("archive pack runs/quickstart --out quickstart-archive --author 'Family, Given'"),
)
def archive_pack(
    directories: Annotated[list[str], typer.Argument(metavar="DIR…", help="run directories")],
    out: Annotated[
        str, typer.Option(metavar="ARCHIVE", help="the archive: a local folder that does not exist yet")
    ],
    title: Annotated[
        str | None, typer.Option(help="title of the data set", show_default="the sweeps' names")
    ] = None,
    author: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="'Family, Given', or a group's name; may be repeated"),
    ] = None,
    license: Annotated[str, typer.Option(help="SPDX licence expression")] = "CC-BY-4.0",
    law: Annotated[
        list[Path] | None, typer.Option(metavar="law.json", help="law to include; may be repeated")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pack one or several runs into one archive.

    It contains sorted Parquet tables, sweeps, laws, checksums, and documents that describe them.

    Equal trials are merged. If the results of a trial differ by more than rounding, an error names it, and nothing is
    written.
    """
    from phantom_dist.archive import archive_pack as pack
    from phantom_dist.cli.live import Phases

    def work() -> PackResult:
        return pack(
            directories,
            out,
            title=title,
            authors=author or [],
            license=license,
            laws=law or [],
            observer=Phases(),
        )

    answer(work, as_json=as_json, interrupted="interrupted; nothing was written")


@archive.command("verify", epilog=examples("archive verify quickstart-archive"))
def archive_verify(
    folder: Annotated[str, typer.Argument(metavar="ARCHIVE", help="an archive that `archive pack` made")],
    as_json: AsJson = False,
) -> None:
    """Check an archive: files, checksums, rows, documents.

    Exit status 1 and a list of problems if anything is wrong. Nothing in the archive is executed.
    """
    from phantom_dist.archive import archive_verify as verify
    from phantom_dist.cli.live import Phases

    answer(
        lambda: verify(folder, observer=Phases()),
        as_json=as_json,
        failed=lambda result: result.problems,
    )
