"""Sweep file -> `SweepSpec` -> problems.

`load` reads a file, a mapping or a spec; `expand` lists the problems that its axes span; `to_yaml` writes the
normalised form that a run directory stores; `extends` lists why a run can't be continued with another sweep.

| file | what it does |
|---|---|
| `sweep` | `SweepSpec`, with every key; read it first |
| `axis` | what all axes share |
| `methods`, `optimizers`, `rates`, `schedules` | the axes with settings of their own |
| `reference` | model references that no table reader takes for a number or a date |
| `recipes/` | the defaults of tools that people fine-tune with, as keys of a sweep |
| `training` | the key `training`: a data set, and how its examples become batches |
| `load`, `yaml_lines`, `messages` | reading files, with errors that name the line, the value and what is allowed |
| `expand` | the problems that the axes span |
| `normalise` | the form that a run directory stores, and whether another sweep extends it |
| `json_schema` | the schema for editors |
"""

from phantom_dist.spec.expand import expand, learning_rates_of, multiples_of, tolerance_of
from phantom_dist.spec.json_schema import json_schema
from phantom_dist.spec.load import from_yaml, load
from phantom_dist.spec.normalise import extends, spelled_as, to_yaml, written_out
from phantom_dist.spec.rates import Critical
from phantom_dist.spec.recipes import Recipe, default_rates, recipe_named, recipe_names
from phantom_dist.spec.sweep import Execution, SweepSpec, load_contexts
from phantom_dist.spec.training import CONTEXTS, DataContent

__all__ = [
    "CONTEXTS",
    "Critical",
    "DataContent",
    "Execution",
    "Recipe",
    "SweepSpec",
    "default_rates",
    "expand",
    "extends",
    "from_yaml",
    "json_schema",
    "learning_rates_of",
    "load",
    "load_contexts",
    "multiples_of",
    "recipe_named",
    "recipe_names",
    "spelled_as",
    "to_yaml",
    "tolerance_of",
    "written_out",
]
