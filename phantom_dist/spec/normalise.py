"""The normalised form of a sweep, as a run directory stores it, and whether another sweep extends it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

from pydantic import BaseModel
from ruamel.yaml import YAML

from phantom_dist.spec.expand import expand, learning_rates_of, training
from phantom_dist.spec.rates import Critical
from phantom_dist.spec.reference import spellings
from phantom_dist.spec.sweep import SweepSpec


def to_yaml(spec: SweepSpec) -> str:
    """The sweep with its contexts inlined and every default written out; loading it gives an equal spec.

    Equal specs give equal text, whatever the form of their files.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 1_000_000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    # ruamel.yaml breaks lines at the character U+0085; escaping it prevents that
    yaml.allow_unicode = "\x85" not in spec.model_dump_json()
    stream = io.StringIO()
    # `exclude_none` leaves out unset settings of entries, and keeps a null within a list.
    unused = {"steps"} if spec.epochs is not None else set()
    yaml.dump(spec.model_dump(mode="json", exclude_none=True, exclude=unused), stream)
    return stream.getvalue()


def written_out(spec: SweepSpec, keys: Iterable[str]) -> str:
    """Some keys of a sweep as YAML, one a line, with every setting; epochs as steps."""
    values = spec.model_dump(mode="json", exclude_none=True)
    shown = {("steps" if key == "epochs" else key): None for key in keys}
    return "\n".join(f"{key}: {json.dumps(values[key])}" for key in shown if key in values)


def extends(old: SweepSpec, new: SweepSpec) -> list[str]:
    """Why `new` can't continue a run of `old`: one line for every difference; empty if it can.

    `new` extends `old` if every axis has all values of `old`, and everything else is equal. Permissions
    (`allow_pickle`, `trust_remote_code`) and where a search starts may differ.
    """
    differences: list[str] = []
    before, after = _axes(old), _axes(new)
    for axis, values in before.items():
        missing = [value for value in values if value not in after[axis]]
        if missing:
            differences.append(f"{axis}: the directory has {', '.join(missing)}; the sweep does not")
    settings, wanted = _settings(old), _settings(new)
    differences += [
        f"{key}: {settings[key]} in the directory, {wanted[key]} in the sweep"
        for key in settings
        if settings[key] != wanted[key]
    ]
    if differences or set(expand(old)) <= set(expand(new)):
        return differences
    if old.combine == "zip":
        differences.append("combine: values that go side by side in the directory don't in the sweep")
    else:
        # full fine-tuning uses the first seed only, so a new seed before it would change its trials
        differences.append(f"seeds: the directory begins with {old.seeds[0]}, the sweep with {new.seeds[0]}")
    return differences


def spelled_as(spec: SweepSpec, stored: SweepSpec) -> SweepSpec:
    """The sweep with the model references of a stored one.

    A run of an older version may name a model `007`, also in its rows; current versions normalise the reference to
    `./007`.
    """
    stored_names = {spelling: model for model in stored.models for spelling in spellings(model)}
    return spec.model_copy(update={"models": tuple(stored_names.get(model, model) for model in spec.models)})


def _axes(spec: SweepSpec) -> dict[str, list[str]]:
    """The values of every axis, as messages show them; equal texts mean equal values."""
    rates = learning_rates_of(spec)
    return {
        "models": list(spec.models),
        "contexts": [
            f"{c.id} ({c.text!r},{c.target} /{c.competitor}{', held out' * c.held_out})"
            for c in spec.contexts
        ],
        "methods": [f"{_named(m.name, m.adapters)} with {_named(o.name, o)}" for m, o in training(spec)],
        "learning_rates": (
            [f"{multiple:g} times the critical rate" for multiple in rates.multiples]
            if isinstance(rates, Critical)
            else [repr(rate) for rate in rates]
        ),
        "steps": [str(steps) for steps in spec.steps],
        "seeds": [str(seed) for seed in spec.seeds],
        "precision": list(spec.precision),
        "gradient_clipping": ["none" if c is None else repr(c) for c in spec.gradient_clipping],
        "schedule": [_named(*entry.settings) for entry in spec.schedule],
    }


def _settings(spec: SweepSpec) -> dict[str, object]:
    """Settings with one value for the whole sweep."""
    rates = learning_rates_of(spec)
    search = f"a search with tolerance {rates.tolerance}" if isinstance(rates, Critical) else "given rates"
    return {
        "name": spec.name,
        "combine": spec.combine,
        "training": "none" if spec.training is None else spec.training.core().text,
        "learning_rates": search,
        "early_stopping": spec.early_stopping,
        "instruments": ", ".join(spec.instruments) or "none",
        **{f"thresholds.{key}": value for key, value in spec.thresholds.model_dump().items()},
        "execution.threads": spec.execution.threads,
        "execution.device": spec.execution.device,
        "execution.group.ranks": spec.execution.group.ranks,
        "execution.group.stage": spec.execution.group.stage,
    }


def _named(name: str, settings: BaseModel | None) -> str:
    """`sgd(momentum=0.9)`: a name with the settings that are not the default."""
    given = {} if settings is None else settings.model_dump(exclude_defaults=True, exclude={"name"})
    return f"{name}({', '.join(f'{key}={value}' for key, value in given.items())})" if given else name
