"""The commands. Each has its function in the Python API; here they are parsed, called and printed."""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from phantom_dist.cli import complete
from phantom_dist.cli.logs import Commands, show_warnings
from phantom_dist.cli.manual import LAW, MACHINE, MANUAL, PUBLISHING, RUNNING, SHOWING, examples
from phantom_dist.cli.options import (
    Address,
    AsJson,
    Directory,
    EngineName,
    ExecutorName,
    MaxHours,
    MaxTrials,
    Retry,
    RunsEngine,
    Spec,
    Workers,
)
from phantom_dist.cli.output import Printed, answer, interrupted_early
from phantom_dist.core.activity import Activity, activity

if TYPE_CHECKING:  # a command loads what it runs, and nothing before
    from phantom_dist.archive.pack import PackResult
    from phantom_dist.calibration.fit import FitResult
    from phantom_dist.calibration.predict import PredictResult
    from phantom_dist.campaign.status import RunStatus
    from phantom_dist.cli.live import LiveView


class _Commands(TyperGroup):
    """The commands; one that is interrupted before its work begins says so as the others do."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            interrupted_early(as_json="--json" in sys.argv)


app = Commands(
    name="phantom-dist",
    cls=_Commands,
    help="Sweeps that find the critical learning rate at which a fine-tuned language model learns the right word "
    "over its near-synonym.",
    epilog=MANUAL,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from phantom_dist import __version__

        typer.echo(f"phantom-dist {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="show the version", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(rich_help_panel=RUNNING, epilog=examples("plan sweeps/quickstart.yaml"))
def plan(spec: Spec, engine: EngineName = "auto", as_json: AsJson = False) -> None:
    """Show what `run` would do, without doing it.

    Trials, batches, predicted time and memory. Nothing is written.
    """
    from phantom_dist.campaign.preview import plan as make_plan

    answer(lambda: make_plan(spec, engine=engine), as_json=as_json)


@app.command(
    rich_help_panel=RUNNING,
    epilog=examples(
        "run sweeps/quickstart.yaml --out runs/quickstart",
        "run sweeps/zoo.yaml --out s3://BUCKET/zoo --address ray://HEAD:10001",
    ),
)
def run(
    spec: Spec,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="run directory; a run that is there already is continued")
    ],
    address: Address = None,
    executor: ExecutorName = "ray",
    engine: RunsEngine = None,
    workers: Workers = None,
    retry: Retry = None,
    max_hours: MaxHours = None,
    max_trials: MaxTrials = None,
    as_json: AsJson = False,
) -> None:
    """Run a sweep, or continue it.

    On a directory of the same sweep it continues; more values on its axes extend it.
    """

    def work(view: Any) -> RunStatus:
        _look_at_ray(address, executor)
        with activity(Activity.STARTING, "loading PyTorch and transformers"):
            from phantom_dist.campaign.run import run as run_sweep

        return run_sweep(
            spec,
            out,
            address=address,
            executor=executor,
            engine=engine,
            workers=workers,
            retry=retry,
            max_hours=max_hours,
            max_trials=max_trials,
            observer=view,
        )

    _watched(work, as_json)


@app.command(
    rich_help_panel=RUNNING,
    epilog=examples("resume runs/quickstart", "resume runs/quickstart --retry failed"),
)
def resume(
    directory: Directory,
    address: Address = None,
    executor: ExecutorName = "ray",
    engine: RunsEngine = None,
    workers: Workers = None,
    retry: Retry = None,
    max_hours: MaxHours = None,
    max_trials: MaxTrials = None,
    as_json: AsJson = False,
) -> None:
    """Continue an interrupted run.

    Nothing that is stored is run again.
    """

    def work(view: Any) -> RunStatus:
        _look_at_ray(address, executor)
        with activity(Activity.STARTING, "loading PyTorch and transformers"):
            from phantom_dist.campaign.run import resume as resume_run

        return resume_run(
            directory,
            address=address,
            executor=executor,
            engine=engine,
            workers=workers,
            retry=retry,
            max_hours=max_hours,
            max_trials=max_trials,
            observer=view,
        )

    _watched(work, as_json)


@app.command(rich_help_panel=RUNNING, epilog=examples("cancel runs/quickstart"))
def cancel(directory: Directory, as_json: AsJson = False) -> None:
    """Stop a live run from another shell or machine.

    What was stored is kept; `resume` continues.
    """
    from phantom_dist.campaign.run import cancel as cancel_run

    def work() -> Printed:
        status = cancel_run(directory)
        return Printed(status.to_json(), f"run {status.run}: asked to stop")

    answer(work, as_json=as_json)


@app.command(
    rich_help_panel=RUNNING,
    epilog=examples("submit sweeps/zoo.yaml --out s3://BUCKET/zoo --address http://HEAD:8265"),
)
def submit(
    spec: Spec,
    out: Annotated[
        str,
        typer.Option(
            metavar="URI", help="s3://…, gs://…, or an absolute path that all nodes of the cluster share"
        ),
    ],
    address: Annotated[str, typer.Option(help="job server of the cluster's head: http://HOST:8265")],
    engine: RunsEngine = None,
    workers: Workers = None,
    retry: Retry = None,
    max_hours: MaxHours = None,
    max_trials: MaxTrials = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="follow the job to its end")] = True,
    as_json: AsJson = False,
) -> None:
    """Run a sweep as a job of a Ray cluster, and follow it.

    Sent again while it runs, it is followed again.
    """
    from phantom_dist.campaign.submit import submit as submit_sweep

    def show(text: str) -> None:
        typer.echo(text, err=True, nl=False)

    answer(
        lambda: submit_sweep(
            spec,
            out,
            address=address,
            engine=engine,
            workers=workers,
            retry=retry,
            max_hours=max_hours,
            max_trials=max_trials,
            wait=wait,
            show=show,
        ),
        failed=lambda submitted: submitted.status is not None and submitted.status.errors,
        as_json=as_json,
    )


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
        bool, typer.Option("--timeline", help="where the time went, and what was retried, lost or copied")
    ] = False,
    why: Annotated[
        str | None,
        typer.Option(metavar="ID", help="what happened to a trial or a batch: the beginning of its id"),
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
        value, went = result.to_json(), timeline_of(directory)
        # The key `errors` means that the command failed; what a past run's trials ended in is no failure of `status`.
        value |= {"failed": value.pop("errors"), "timeline": None if went is None else went.to_json()}
        text = f"{result}\n\n{timeline_text(value['timeline'])}" if timeline else str(result)
        if why is not None:
            value["why"] = explain(directory, why).to_json()
            text = why_text(value["why"])
        return Printed(value, text)

    answer(work, as_json=as_json)


@app.command(rich_help_panel=LAW, epilog=examples("fit runs/quickstart --out law.json"))
def fit(
    out: Annotated[Path, typer.Option(metavar="law.json", help="the law file to write")],
    directories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIR…]", help="run directories or archives whose critical rates join the calibration"
        ),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option("--with", metavar="law.json", help="law to build on", show_default="the shipped one"),
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="build on no earlier calibration")] = False,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="run that only says where LoRA suffices; may be repeated"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit the critical-rate law to runs, and to what ships."""
    from phantom_dist.calibration.fit import fit as fit_to
    from phantom_dist.cli.live import Countdown

    def work() -> FitResult:
        view = Countdown("paths probed")
        return fit_to(directories or [], out=out, prior=prior, alone=alone, lora=lora or [], observer=view)

    answer(
        work,
        as_json=as_json,
        interrupted="interrupted; no law was written, and the paths probed so far are not kept",
    )


@app.command(
    rich_help_panel=LAW,
    epilog=examples(
        "predict --model zoo:gpt2-a --contexts sweeps/contexts/zoo.yaml",
        "predict --model gguf:smollm2-135m-instruct --method lora --optimizer adamw --steps 32 --out rates.json",
    ),
)
def predict(
    model: Annotated[str, typer.Option(help="model, as in a sweep", autocompletion=complete.models)],
    law: Annotated[
        Path | None, typer.Option(metavar="law.json", help="the law", show_default="the shipped one")
    ] = None,
    contexts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="contexts file",
            show_default="near-synonyms that ship with the package",
            autocompletion=complete.yaml_files,
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="full or lora", autocompletion=complete.one_of("full", "lora"))
    ] = "full",
    optimizer: Annotated[
        str, typer.Option(help="sgd or adamw", autocompletion=complete.one_of("sgd", "adamw"))
    ] = "sgd",
    steps: Annotated[int, typer.Option(help="optimizer steps T")] = 8,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="keep predictions in this file, and go on from what it holds"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict critical learning rates, with intervals.

    It takes 4 trial-steps a context; for T > 32, 5 or 6.
    """
    from phantom_dist.calibration.predict import predict as predict_rates
    from phantom_dist.cli.live import Countdown

    def work() -> PredictResult:
        view = Countdown("contexts predicted")
        return predict_rates(
            model, contexts, law=law, method=method, optimizer=optimizer, steps=steps, out=out, observer=view
        )

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
    """Write one self-contained page of a run, or of several.

    The critical rates and the figures, as HTML that needs no network.
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
        str, typer.Option(metavar="FILE|URL", help="a journal to write, or an Optuna storage (sqlite:///…)")
    ] = "studies.log",
    as_json: AsJson = False,
) -> None:
    """Write a run's searches as Optuna studies, for optuna-dashboard.

    They are a copy of what `trials/` holds, one study for each critical rate that is searched for:
    `optuna-dashboard studies.log` shows them.
    """

    def work() -> Printed:
        from phantom_dist.notebook import open_run

        names = sorted(open_run(directory).studies(out))
        return Printed({"storage": out, "studies": names}, f"{len(names)} studies: {out}")

    answer(work, as_json=as_json)


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
        str | None, typer.Option(help="of the data set", show_default="made of the sweeps' names")
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
    """Make one archive of one or many runs.

    Sorted Parquet, sweeps, laws, checksums, and documents that describe it.

    Of equal trials one stays; one whose results differ is named, and nothing is written.
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

    Exit status 1 and the list if anything is wrong. Nothing in the archive is run.
    """
    from phantom_dist.archive import archive_verify as verify
    from phantom_dist.cli.live import Phases

    answer(
        lambda: verify(folder, observer=Phases()),
        as_json=as_json,
        failed=lambda result: result.problems,
    )


@app.command(rich_help_panel=MACHINE, epilog=examples("doctor"))
def doctor(as_json: AsJson = False) -> None:
    """Show what this machine can run, and what is missing.

    Packages, processors, memory, the cluster, plug-ins; and how to get what is missing.
    """
    from phantom_dist.machine import doctor as examine

    answer(examine, as_json=as_json)


def _look_at_ray(address: str | None, executor: str) -> None:
    """Say at once where there is none, before torch is loaded: it takes seconds, and makes a folder below TMPDIR."""
    if executor == "ray":
        from phantom_dist.scheduling.address import chosen_address
        from phantom_dist.scheduling.ray_place import check_place

        check_place(chosen_address(address))


def _watched(work: Callable[[LiveView], RunStatus], as_json: bool) -> None:
    from phantom_dist.cli.live import LiveView

    def with_view() -> RunStatus:
        with LiveView() as view:
            return work(view)

    answer(with_view, failed=lambda status: status.errors, as_json=as_json)


def main() -> None:
    """Entry point of the console script. A request to end (SIGTERM) is taken like Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    show_warnings()
    try:
        app()
    finally:
        _end_at_once()


def _end_at_once() -> None:
    """Let Python end without a last look through all of torch and transformers for garbage: 1.2 s of 1.4.

    What is frozen then is never freed. DuckDB, which no command loads beside torch, counts what is left of its own
    at the end and prints a line for each.
    """
    if "torch" in sys.modules and "duckdb" not in sys.modules:
        gc.freeze()
