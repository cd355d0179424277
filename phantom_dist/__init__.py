"""phantom_dist: sweeps that find the critical learning rate at which a fine-tuned language model learns the right word.

    import phantom_dist
    phantom_dist.plan("sweeps/quickstart.yaml")
    phantom_dist.run("sweeps/quickstart.yaml", out="runs/quickstart")
    phantom_dist.report(["runs/quickstart"], out="report.html")
    phantom_dist.open_run("runs/quickstart").traces(as_="polars")
    phantom_dist.predict("gguf:smollm2-135m-instruct")
    phantom_dist.diagnose("peft:my-adapter")
    phantom_dist.archive_pack(["runs/quickstart"], out="quickstart-archive")

The map of the layers, top to bottom; imports only go down, and rows side by side don't know each other:

    cli
    notebook
    archive
    campaign | calibration | diagnosis | reports | machine | monitor
    planning
    refinement | scheduling
    law | engines
    records
    traces | models | contexts | data | instruments
    spec
    core

Public names are loaded when they are first used, so `import phantom_dist` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from phantom_dist.archive import archive_pack, archive_verify
    from phantom_dist.calibration.fit import fit
    from phantom_dist.calibration.predict import predict, predict_sweep
    from phantom_dist.campaign.preview import plan
    from phantom_dist.campaign.run import cancel, resume, run
    from phantom_dist.campaign.status import status
    from phantom_dist.campaign.submit import submit
    from phantom_dist.diagnosis import diagnose
    from phantom_dist.machine import doctor
    from phantom_dist.notebook import open_run
    from phantom_dist.reports import report
    from phantom_dist.traces.monitor_log import open_monitor_log

_WHERE = {
    "archive_pack": "phantom_dist.archive",
    "archive_verify": "phantom_dist.archive",
    "cancel": "phantom_dist.campaign.run",
    "diagnose": "phantom_dist.diagnosis",
    "doctor": "phantom_dist.machine",
    "fit": "phantom_dist.calibration.fit",
    "open_monitor_log": "phantom_dist.traces.monitor_log",
    "open_run": "phantom_dist.notebook",
    "plan": "phantom_dist.campaign.preview",
    "predict": "phantom_dist.calibration.predict",
    "predict_sweep": "phantom_dist.calibration.predict",
    "resume": "phantom_dist.campaign.run",
    "run": "phantom_dist.campaign.run",
    "status": "phantom_dist.campaign.status",
    "submit": "phantom_dist.campaign.submit",
    "report": "phantom_dist.reports",
}

__all__ = [
    "__version__",
    "archive_pack",
    "archive_verify",
    "cancel",
    "diagnose",
    "doctor",
    "fit",
    "open_monitor_log",
    "open_run",
    "plan",
    "predict",
    "predict_sweep",
    "report",
    "resume",
    "run",
    "status",
    "submit",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'phantom_dist' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
