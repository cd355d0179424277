"""How often do today's defaults fail silently? (`python -m tests.benchmarks.census --swords FILE`)

FILE is the public file of SWORDS (see `phantom_dist.contexts.swords`), which is no part of this project: Mina Lee,
Chris Donahue, Robin Jia, Alexander Iyabor, Percy Liang, "Swords: A Benchmark for Lexical Substitution with Improved
Data Coverage and Quality", NAACL 2021; CC-BY-3.0-US.

Every pair of words that people judged to be interchangeable, in the direction that the model has to learn, is trained
on with the default rate of every recipe that has one:

- alone: eight optimizer steps on the one prompt, and
- as a set: all pairs of the model as the recipe's training set, in its batches, epochs and schedule.

Both in float32: bfloat16 passes are slow on CPUs. What a recipe does and a sweep can't say stands in
`sweeps/README.md`.

Every run is kept under `runs/census` and not done again; `--cells` limits a call to some of them (`smollm2 trl-lora
set`), so that a census can be measured in parts. The tables, one JSON object on the last line, a figure
(`tests/benchmarks/results/census.svg`), and with `--archive` the runs as an archive.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
from rich.console import Console
from rich.table import Table

import phantom_dist
from phantom_dist.contexts.swords import parts_of_speech, swords_contexts
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Context
from phantom_dist.reports.theme import BLUE, LILAC, MAROON, ORANGE, SAGE
from phantom_dist.spec import recipe_named, recipe_names

RUNS = Path("runs/census")
FIGURE = Path(__file__).parent / "results" / "census.svg"
MODELS = ("gguf:smollm2-135m-instruct", "gguf:gemma-3-270m")
ALONE, SET = "alone", "set"
STEPS = 8
FIRST = "trl-lora"
"""The recipe whose runs alone say in which direction each model has to learn a pair; every set needs them."""

Row = dict[str, Any]

ENDS = ("learnt", "silent", "told", "structural", "relapsed", "diverged")
"""How a word ended: learnt; not learnt, and its loss fell at every step (silent) or did not (told), both kinematic;
structural, relapsed, diverged as elsewhere."""


def end_of(row: Row) -> str:
    """One of `ENDS`."""
    match row["outcome"]:
        case "committed":
            return "learnt"
        case "kinematic":
            return "silent" if row["silent"] else "told"
        case outcome:
            return str(outcome)


@dataclass(frozen=True, order=True)
class Cell:
    """One run of the census: a model, a recipe, and what is trained on (`ALONE` or `SET`)."""

    model: str
    recipe: str
    what: str

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.model.rsplit(':', 1)[-1]}-{self.recipe}-{self.what}"

    @property
    def rate(self) -> float:
        """The recipe's default rate."""
        rate = recipe_named(self.recipe).learning_rate
        assert rate is not None
        return rate

    def sweep(self, contexts: Sequence[Context]) -> Row:
        """Its sweep file."""
        common = {
            "name": self.name,
            "models": self.model,
            "recipe": self.recipe,
            "precision": "float32",
            "execution": {"threads": 1},
        }
        if self.what == ALONE:
            return common | {"contexts": [context.model_dump() for context in contexts], "steps": STEPS}
        settled = directions(self.model, contexts)
        data = RUNS / f"{self.model.rsplit(':', 1)[-1]}.jsonl"
        lines = (json.dumps({"prompt": c.text, "completion": c.target}, ensure_ascii=False) for c in settled)
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return common | {
            "contexts": [context.model_dump() for context in settled],
            "training": {"data": str(data.absolute()), "measure_every": 1000},
        }

    def run(self, contexts: Sequence[Context]) -> None:
        """Measure what is missing."""
        phantom_dist.run(self.sweep(contexts), RUNS / self.name, executor="inprocess")

    def rows(self) -> list[Row]:
        """Its trained trials."""
        trials = phantom_dist.open_run(RUNS / self.name).trials().to_pylist()
        return [row for row in trials if Outcome(row["outcome"]).trained]


def directions(model: str, contexts: Sequence[Context]) -> list[Context]:
    """The pairs with the word first that this model has to learn, from its runs alone; those that it can't be asked
    (as where a word is no continuation of the prompt) are left out."""
    found = {row["context"]: row for row in Cell(model, FIRST, ALONE).rows()}
    return [
        Context(id=c.id, text=c.text, target=found[c.id]["target"], competitor=found[c.id]["competitor"])
        for c in contexts
        if c.id in found
    ]


def cells() -> list[Cell]:
    """Every cell, those first that others need."""
    recipes = sorted(
        (name for name in recipe_names() if recipe_named(name).learning_rate is not None),
        key=lambda name: (name != FIRST, "full" in recipe_named(name).methods, name),
    )
    return [Cell(model, recipe, what) for model in MODELS for what in (ALONE, SET) for recipe in recipes]


def interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = statistics.NormalDist().inv_cdf(0.975)
    share, width = hits / of, z * math.sqrt(hits * (of - hits) / of + z * z / 4) / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = width / (1 + z * z / of)
    return middle - half, middle + half


def summary(cell: Cell, rows: list[Row]) -> Row:
    """One line of the table."""
    ends = Counter(map(end_of, rows))
    learnt = ends["learnt"]
    # To first order a rate of default / pi would have sufficed; a word whose first step widens the gap has none.
    enough = sorted(1 / row["pi"] for row in rows if row["pi"] is not None and row["pi"] > 0)
    return {
        "model": cell.model.rsplit(":", 1)[-1],
        "recipe": cell.recipe,
        "what": cell.what,
        "rate": cell.rate,
        "pairs": len(rows),
        "ends": {end: ends[end] for end in ENDS},
        "learnt": learnt / len(rows),
        "interval": interval(learnt, len(rows)),
        "failing_silently": (
            sum(bool(r["silent"]) and r["outcome"] != "committed" for r in rows),
            len(rows) - learnt,
        ),
        "enough_over_default": [float(q) for q in statistics.quantiles(enough, n=20)]
        if len(enough) > 1
        else None,
    }


def quarters(rows: list[Row], of: str) -> list[Row]:
    """Shares learnt and failing silently, by quarter of a column's size."""
    ordered = sorted(rows, key=lambda row: abs(row[of]))
    parts = [ordered[len(ordered) * n // 4 : len(ordered) * (n + 1) // 4] for n in range(4)]
    return [_part(f"{of} {abs(p[0][of]):.2g} to {abs(p[-1][of]):.2g}", p) for p in parts if p]


def _part(name: str, rows: list[Row]) -> Row:
    failing = [row for row in rows if row["outcome"] != "committed"]
    return {
        "of": name,
        "pairs": len(rows),
        "learnt": 1 - len(failing) / len(rows),
        "silent": sum(bool(row["silent"]) for row in failing),
        "failing": len(failing),
    }


def by_part_of_speech(rows: list[Row], kinds: dict[str, str]) -> list[Row]:
    """The same by the written word's part of speech."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(kinds[row["context"]], []).append(row)
    return [_part(name, some) for name, some in sorted(grouped.items())]


def drawing(lines: Sequence[Row]) -> Any:
    """Stacked shares of how the words ended, a bar for each recipe, a panel for each model and what is trained on."""
    colours = {
        "learnt": BLUE, "silent": ORANGE, "told": LILAC, "structural": MAROON, "relapsed": SAGE, "diverged": "#222",
    }  # fmt: skip
    values = [
        {
            "panel": f"{line['model']}, {'each pair alone' if line['what'] == ALONE else 'all pairs as a set'}",
            "recipe": f"{line['recipe']} {line['rate']:.0e}",
            "end": end,
            "order": order,
            "share": line["ends"][end] / line["pairs"],
        }
        for line in lines
        for order, end in enumerate(ENDS)
    ]
    shown = [end for end in ENDS if any(value["end"] == end and value["share"] for value in values)]
    bars = (
        alt.Chart(alt.Data(values=values))
        .mark_bar()
        .encode(
            x=alt.X(
                "share:Q",
                title="share of the pairs",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=alt.Y("recipe:N", title=None, sort=None),
            color=alt.Color(
                "end:N", title=None, scale=alt.Scale(domain=shown, range=[colours[end] for end in shown])
            ),
            order="order:Q",
        )
        .properties(width=260)
        .facet(facet=alt.Facet("panel:N", title=None, sort=None), columns=2)
    )
    return bars.configure_legend(orient="top").properties(background="white")


def table_of(lines: Iterable[Row]) -> Table:
    """The table of the census."""
    table = Table(title="census: the defaults of recipes on human-judged pairs", title_justify="left")
    for column in (
        "model",
        "recipe",
        "rate",
        "trained",
        "pairs",
        "learnt (95 %)",
        *ENDS[1:],
        "enough / default",
    ):
        table.add_column(column)
    for line in lines:
        low, high = line["interval"]
        enough = line["enough_over_default"]
        table.add_row(
            line["model"],
            line["recipe"],
            f"{line['rate']:.0e}",
            line["what"],
            str(line["pairs"]),
            f"{line['learnt']:.0%} ({low:.0%} to {high:.0%})",
            *(str(line["ends"][end]) for end in ENDS[1:]),
            "–" if enough is None else f"{enough[9]:.2g} ({enough[1]:.2g} to {enough[17]:.2g})",
        )
    return table


def main() -> None:
    """Measure, count, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swords", type=Path, required=True, help="SWORDS' public file")
    parser.add_argument("--cells", nargs="+", default=[], help="parts of the names of the cells to measure")
    parser.add_argument("--archive", type=Path, help="write the runs as an archive here")
    options = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    contexts, kinds = swords_contexts(options.swords), parts_of_speech(options.swords)
    for cell in cells():
        if all(part in cell.name for part in options.cells):
            cell.run(contexts)
    done = {cell: cell.rows() for cell in cells() if (RUNS / cell.name).is_dir()}
    lines = [summary(cell, rows) for cell, rows in done.items()]
    console = Console(width=180)
    console.print(table_of(lines))
    for what in (ALONE, SET):
        rows = [row for cell, some in done.items() if cell.what == what for row in some]
        for part in (
            [*quarters(rows, "gap_0"), *quarters(rows, "overlap_0"), *by_part_of_speech(rows, kinds)]
            if rows
            else []
        ):
            console.print(
                f"{what}, {part['of']}: {part['pairs']} trials, {part['learnt']:.0%} learnt, "
                f"{part['silent']} of {part['failing']} failures silent"
            )
    drawing(lines).save(FIGURE)
    if options.archive:
        phantom_dist.archive_pack([RUNS / cell.name for cell in done], out=options.archive)
    print(json.dumps({"lines": lines}))


if __name__ == "__main__":
    main()
