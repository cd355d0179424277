"""Commands that predict critical rates without a sweep: `fit`, `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_dist.cli import complete
from phantom_dist.cli.commands.app import app
from phantom_dist.cli.manual import LAW, examples
from phantom_dist.cli.options import AsJson, Contexts
from phantom_dist.cli.output import answer
from phantom_dist.core.errors import InputError
from phantom_dist.core.imports import importing

if TYPE_CHECKING:
    from phantom_dist.calibration.fit import FitResult
    from phantom_dist.calibration.predict import PredictResult


@app.command(rich_help_panel=LAW, epilog=examples("fit runs/quickstart --out law.json"))
def fit(
    out: Annotated[Path, typer.Option(metavar="law.json", help="the law file to write")],
    directories: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DIR…]", help="run directories or archives whose critical rates are added"),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="law.json",
            help="law whose calibration is extended",
            show_default="the shipped one",
        ),
    ] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="use the given runs only, no earlier calibration")
    ] = False,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR", help="run that is only used to learn where LoRA suffices; may be repeated"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit the critical-rate law to runs and the shipped calibration."""
    with importing():
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
        "predict sweeps/smollm2.yaml --out rates.json",
    ),
)
def predict(
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPEC]",
            help="sweep file whose models, trainings and contexts are predicted, instead of --model",
            autocompletion=complete.yaml_files,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="model, as in a sweep", autocompletion=complete.models)
    ] = None,
    law: Annotated[
        Path | None,
        typer.Option(metavar="law.json", help="law to predict with", show_default="the shipped one"),
    ] = None,
    contexts: Contexts = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="full or lora", show_default="full", autocompletion=complete.one_of("full", "lora")
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="sgd or adamw", show_default="sgd", autocompletion=complete.one_of("sgd", "adamw")),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="optimizer steps T", show_default="8")] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="save predictions in this file, and continue after those it contains"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict critical learning rates, with intervals.

    Of a model's contexts, or of a whole sweep file. Costs 4 trial-steps per context; 5 or 6 for T > 32.
    """
    settings = {"contexts": contexts, "method": method, "optimizer": optimizer, "steps": steps}
    given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    with importing():
        from phantom_dist.calibration.predict import predict as predict_model
        from phantom_dist.calibration.predict import predict_sweep
    from phantom_dist.cli.live import Countdown

    def work() -> PredictResult:
        view = Countdown("contexts predicted")
        if spec is None and model is not None:
            return predict_model(model, law=law, out=out, observer=view, **given)
        if spec is None or model is not None:
            raise InputError("give either a sweep file or --model")
        if given:
            raise InputError(f"--{next(iter(given))} is for --model; a sweep file says it itself")
        return predict_sweep(spec, law=law, out=out, observer=view)

    answer(work, as_json=as_json)
