"""Real Ray workers that die inside a write: which process, and at which step, is drawn by a seed.

Every Python process of the cluster takes the next number when it starts. One in three is armed: it dies at a drawn
step of what it writes under the run directory. No batch is hit twice: three deaths would split it, and halves are
other batches, whose sums are rounded otherwise.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

from tests.chaos.hit import Hit
from tests.chaos.writes import dies_at

ONE_IN = 3
FIRST_STEPS = 14
"""Steps of writing one batch: its traces and its trials."""


def environment(told: Path, under: Path, seed: int) -> dict[str, str]:
    """What a cluster has to be started with; `told`: an empty folder, `under`: where run directories are."""
    settings = json.dumps({"told": str(told), "under": str(under), "seed": seed})
    places = [
        str(Path(__file__).parent / "site"),
        str(Path(__file__).parents[2]),
        os.environ.get("PYTHONPATH"),
    ]
    return {"PHANTOM_DIST_CHAOS": settings, "PYTHONPATH": os.pathsep.join(p for p in places if p)}


def arm() -> None:
    """Take a number; perhaps die later."""
    settings = json.loads(os.environ["PHANTOM_DIST_CHAOS"])
    told = Path(settings["told"])
    number = _next_number(told)
    draw = random.Random(f"{settings['seed']} {number}")
    moment = draw.randint(1, FIRST_STEPS)

    def may(file: Path) -> bool:
        """It is a run's, and nobody has died of this batch."""
        if not file.is_relative_to(settings["under"]):
            return False
        try:
            (told / f"batch-{file.name.split('.')[1]}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    if draw.randrange(ONE_IN) == 0:
        dies_at(moment, told / f"died-{number}", may)


def deaths(told: Path) -> list[Hit]:
    """The processes that died."""
    hits = []
    for path in told.glob("died-*"):
        process = told / f"process-{path.name.removeprefix('died-')}"
        time, began = path.stat().st_mtime, process.stat().st_mtime
        hits.append(Hit(who="worker", time=time, process=int(process.read_text()), age=time - began))
    return hits


def steps_of_deaths(told: Path) -> list[str]:
    """The steps at which processes died."""
    return [path.read_text() for path in told.glob("died-*")]


def _next_number(folder: Path) -> int:
    number = len(list(folder.glob("process-*")))
    while True:
        try:
            with (folder / f"process-{number}").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            number += 1
        else:
            return number
