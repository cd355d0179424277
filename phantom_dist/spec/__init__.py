"""Sweep file -> `SweepSpec` -> problems.

`load` reads a file, a mapping or a spec; `expand` lists the problems that its axes span; `to_yaml` writes the
normalised form that a run directory keeps; `extends` says what keeps a run from continuing as another sweep.
Read `sweep` first, then the axes: `methods`, `optimizers`, `rates`, `schedules`; `reference` spells models so that
every reader of the tables takes them for text. `yaml_lines` reads any YAML file; its errors name the line.
"""

from phantom_dist.spec.expand import expand, learning_rates_of, tolerance_of
from phantom_dist.spec.json_schema import json_schema
from phantom_dist.spec.load import from_yaml, load
from phantom_dist.spec.normalise import extends, spelled_as, to_yaml
from phantom_dist.spec.rates import Critical
from phantom_dist.spec.sweep import Execution, SweepSpec, load_contexts

__all__ = [
    "Critical",
    "Execution",
    "SweepSpec",
    "expand",
    "extends",
    "from_yaml",
    "json_schema",
    "learning_rates_of",
    "load",
    "load_contexts",
    "spelled_as",
    "to_yaml",
    "tolerance_of",
]
