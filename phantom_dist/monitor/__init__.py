"""A monitor for other people's fine-tuning: signal, drag, order parameter and gap of watched near-synonym contexts, and
one clear warning where a word that is being taught fails silently.

| name | for |
|---|---|
| `PhantomCallback` | transformers' `Trainer` |
| `PhantomLightningCallback` | Lightning's `Trainer` |
| `Monitor` | a loop of one's own |
| `find_contexts` | contexts worth watching, from the training data |
| `MonitorSettings` | interval, budget and thresholds, with the argument for each |

| file | what it does |
|---|---|
| `monitor` | the monitor: when to look, what follows from a look; read it first |
| `transformers_callback`, `lightning_callback` | the shells for two trainers |
| `watch`, `candidates` | what is watched, and candidates from the training data |
| `look` | one look: all contexts in one forward pass, and the instruments on it |
| `readout_geometry` | what the instruments read of the readout matrix |
| `own_value`, `peft_method`, `whole_model` | whether a look reads what the model itself says, or can't be taken |
| `undisturbed`, `wrappers` | a look leaves no trace; what frameworks put around a model |
| `verdict`, `forecast`, `warning` | from the looks to a warning |
| `learning_rate`, `schedule_ahead`, `rate` | the rate in use, the rate still to come, and what the law says of it |
| `pacing`, `settings` | when to look; budget and thresholds |
| `trainer_log` | what the monitor sees, to the trainer's reporters |

It stands beside `campaign` and `reports`, at the top: it puts together what the layers below offer, for a user, and
nothing below may know of it. It needs no engine, for others train.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from phantom_dist.monitor.candidates import find_contexts
from phantom_dist.monitor.monitor import Monitor
from phantom_dist.monitor.settings import MonitorSettings
from phantom_dist.monitor.warning import SilentFailure

if TYPE_CHECKING:
    from phantom_dist.monitor.lightning_callback import PhantomLightningCallback
    from phantom_dist.monitor.transformers_callback import PhantomCallback

__all__ = [
    "Monitor",
    "MonitorSettings",
    "PhantomCallback",
    "PhantomLightningCallback",
    "SilentFailure",
    "find_contexts",
]

_SHELLS = {"PhantomCallback": "transformers_callback", "PhantomLightningCallback": "lightning_callback"}


def __getattr__(name: str) -> Any:
    """The callbacks, whose frameworks are imported when they are asked for."""
    if name not in _SHELLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_SHELLS[name]}"), name)
