"""Commands that run a sweep: `plan`, `run`, `resume`, `cancel`, `submit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_dist.cli.commands.app import app
from phantom_dist.cli.manual import RUNNING, examples
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
from phantom_dist.cli.output import Printed, answer
from phantom_dist.core.imports import importing

if TYPE_CHECKING:  # a command imports what it needs when it runs, so that `--help` stays fast
    from phantom_dist.campaign.status import RunStatus
    from phantom_dist.cli.live import LiveView


@app.command(rich_help_panel=RUNNING, epilog=examples("plan sweeps/quickstart.yaml"))
def plan(spec: Spec, engine: EngineName = "auto", as_json: AsJson = False) -> None:
    """Show what `run` would do, without doing it.

    Lists trials, batches, predicted time and memory. Writes nothing.
    """
    with importing():
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
    out: Annotated[str, typer.Option(metavar="DIR", help="run directory; a run in it is continued")],
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

    A run of the same sweep in DIR is continued. If SPEC has more values on its axes, they are added to the run.
    """

    def work(view: Any) -> RunStatus:
        _check_ray(address, executor)
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

    _with_live_view(work, as_json)


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

    Stored trials are not run again.
    """

    def work(view: Any) -> RunStatus:
        _check_ray(address, executor)
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

    _with_live_view(work, as_json)


@app.command(rich_help_panel=RUNNING, epilog=examples("cancel runs/quickstart"))
def cancel(directory: Directory, as_json: AsJson = False) -> None:
    """Stop a live run from another shell or machine.

    Stored results are kept; `resume` continues the run.
    """
    from phantom_dist.campaign.run import cancel as cancel_run

    def work() -> Printed:
        status = cancel_run(directory)
        return Printed(status.to_json(), f"run {status.run}: stop requested")

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

    Submitting the same run again follows the job that is already running.
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


def _check_ray(address: str | None, executor: str) -> None:
    """Fail before torch is imported if Ray can't be used: the import takes seconds and makes a folder below TMPDIR."""
    if executor == "ray":
        from phantom_dist.scheduling.address import chosen_address
        from phantom_dist.scheduling.ray_place import check_place

        check_place(chosen_address(address))


def _with_live_view(work: Callable[[LiveView], RunStatus], as_json: bool) -> None:
    from phantom_dist.cli.live import LiveView

    def with_view() -> RunStatus:
        with LiveView() as view:
            return work(view)

    answer(with_view, failed=lambda status: status.errors, as_json=as_json)
