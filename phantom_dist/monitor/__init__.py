"""A monitor for fine-tuning in a trainer of the user's: it logs signal, drag, order parameter and gap of watched
near-synonym contexts, and warns once where a word that is being taught fails silently.

| name | for |
|---|---|
| `PhantomCallback` | transformers' `Trainer` |
| `PhantomLightningCallback` | Lightning's `Trainer` |
| `Monitor` | a training loop of your own |
| `find_contexts` | finds contexts worth watching in the training data |
| `MonitorSettings` | interval, budget and thresholds, with the reason for each |

| file | what it does |
|---|---|
| `monitor` | the monitor: when it looks at the model and what it does with the result; read it first |
| `transformers_callback`, `lightning_callback` | thin adapters for two trainers |
| `watch`, `candidates` | the watch list; candidates for it from the training data |
| `look` | one look: all contexts in one forward pass, measured by the instruments |
| `readout_geometry` | overlaps and levers of the readout matrix |
| `batch_independence`, `peft_method`, `whole_model` | checks that a look is possible and shows the model's own values |
| `undisturbed`, `wrappers` | restores everything after a look; unwraps what frameworks put around a model |
| `verdict`, `forecast`, `warning` | the decision whether to warn, from all looks; the warning's text |
| `learning_rate`, `schedule_ahead`, `rate` | current and remaining learning rates; the comparison with the law |
| `pacing`, `settings` | when to look; budget and thresholds |
| `trainer_log` | sends the measured values to the reporters of transformers' Trainer |

The package stands at the top, beside `campaign` and `reports`: it combines lower layers for a user, and none of them
may import it. It uses no engine, since somebody else trains.
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

_LAZY = {"PhantomCallback": "transformers_callback", "PhantomLightningCallback": "lightning_callback"}


def __getattr__(name: str) -> Any:
    """Import the callbacks, and with them their frameworks, on first access."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
