"""Draws the README's picture: seven learning rates around a critical one (`python -m tests.benchmarks.picture`).

Trains SmolLM2-135M-Instruct on "overcome with shame" at seven multiples of its critical learning rate (full
fine-tuning, SGD, T = 8) into `runs/picture`, and writes `tests/benchmarks/results/silent-failure.svg`. Half a minute on
two CPU cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt

import phantom_dist
from phantom_dist.reports.theme import BLUE, ORANGE

RUN = Path("runs/picture")
FILE = Path(__file__).parent / "results" / "silent-failure.svg"

CRITICAL_RATE = 1.5593e-5
"""As the quickstart measures it."""

MULTIPLES = (0.25, 0.5, 0.75, 0.95, 1.05, 1.25, 1.5)

SWEEP = {
    "name": "picture",
    "models": "gguf:smollm2-135m-instruct",
    "contexts": [
        {
            "id": "shame-guilt",
            "text": "After betraying his closest friend he was overcome with",
            "target": " shame",
            "competitor": " guilt",
        }
    ],
    "learning_rates": [CRITICAL_RATE * multiple for multiple in MULTIPLES],
    "steps": 8,
}

OUTCOMES = ("still prefers “guilt” after step 8", "prefers “shame” after step 8")


def rows() -> list[dict[str, Any]]:
    """One row a trial and step: its rate as a multiple of the critical one, loss, gap, and what it says at the end."""
    run = phantom_dist.open_run(RUN)
    trials = {trial["trial_id"]: trial for trial in run.trials().to_pylist()}
    return [
        {
            "step": row["step"],
            "loss": row["loss"],
            "gap": row["logit_gap"],
            "multiple": round(trials[row["trial_id"]]["learning_rate"] / CRITICAL_RATE, 3),
            "says": OUTCOMES[trials[row["trial_id"]]["outcome"] == "committed"],
        }
        for row in run.traces().to_pylist()
    ]


def panel(column: str, title: str) -> Any:
    """One column over the steps, a line for each rate, its multiple of the critical rate at the end."""
    base = alt.Chart().encode(
        x=alt.X("step:Q", title="optimizer step", axis=alt.Axis(values=list(range(9)), grid=False)),
        y=alt.Y(f"{column}:Q", title=None, scale=alt.Scale(zero=False)),
        color=alt.Color("says:N", title=None, scale=alt.Scale(domain=OUTCOMES, range=[ORANGE, BLUE])),
        detail="multiple:N",
    )
    ends = base.transform_filter("datum.step === 8").transform_calculate(words="datum.multiple + ' η_c'")
    layers = [
        base.mark_line(strokeWidth=2),
        ends.mark_text(align="left", dx=5, fontSize=11).encode(text="words:N"),
    ]
    if column == "gap":
        zero = alt.Chart().mark_rule(color="#222", strokeDash=[4, 3]).encode(y=alt.datum(0))
        layers.insert(0, zero)
    return alt.layer(*layers).properties(width=330, height=230, title=title)


def main() -> None:
    """Train, where that hasn't been done, and draw."""
    phantom_dist.run(SWEEP, out=RUN, executor="inprocess")
    panels = alt.hconcat(
        panel("loss", "The loss falls at every rate …"),
        panel("gap", "… the logit gap z(shame) − z(guilt) crosses 0 only above η_c"),
        data=alt.Data(values=rows()),
        spacing=50,
    )
    panels = panels.configure_legend(orient="top", labelFontSize=12, symbolType="stroke", symbolStrokeWidth=3)
    panels.configure_view(stroke=None).properties(background="white").save(FILE)
    print(FILE)


if __name__ == "__main__":
    main()
