"""Recipes: the defaults of tools that people fine-tune with, as keys of a sweep.

Each YAML file here is one recipe: `description`, `source` (where the values were read), `not_expressed` (what the tool
does and a sweep can't say) and `sweep` (the keys). A sweep that names a recipe has these keys where it gives none.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ruamel.yaml import YAML

from phantom_dist.core.errors import did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A tool's defaults.

    Attributes:
        name: as sweeps name it.
        description: one or two sentences.
        source: the tool's version and file where the values were read.
        not_expressed: what the tool does beside it.
        sweep: keys of a sweep file.
    """

    name: str
    description: str
    source: str
    not_expressed: tuple[str, ...]
    sweep: Mapping[str, Any]

    @property
    def learning_rate(self) -> float | None:
        """The tool's default rate; None where it depends on the model."""
        rates = self.sweep.get("learning_rates")
        return None if rates is None else float(rates[0])

    @property
    def methods(self) -> set[str]:
        """`full`, `lora`, or both."""
        return {method if isinstance(method, str) else next(iter(method)) for method in self.sweep["methods"]}

    def unexpressed(self, *, on_set: bool) -> tuple[str, ...]:
        """What the tool does beside a sweep with this recipe; `on_set`: whether the sweep has a training set."""
        dropout = any(
            "dropout" in method.get("lora", {}) for method in self.sweep["methods"] if method != "full"
        )
        alone = (
            ("dropout of adapters, where a context is trained on alone",) if dropout and not on_set else ()
        )
        return (*self.not_expressed, *alone)

    def under(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """A sweep's own keys, with the recipe's where it has none.

        The keys of `training` are merged one by one. Without a training set a recipe has neither `training` nor
        `epochs` nor dropout, because the one context is measured in the pass that it is trained in. `steps` and
        `epochs` take each other's place.
        """
        keys = dict(self.sweep)
        for one, other in (("steps", "epochs"), ("epochs", "steps")):
            if one in own:
                keys.pop(other, None)
        settings = own.get("training")
        if isinstance(settings, Mapping):
            return keys | dict(own) | {"training": {**keys["training"], **settings}}
        del keys["training"]
        keys.pop("epochs", None)
        keys["methods"] = [_without_dropout(method) for method in keys["methods"]]
        return keys | dict(own)


def _without_dropout(method: Any) -> Any:
    if isinstance(method, str) or "lora" not in method:
        return method
    return {"lora": {key: value for key, value in method["lora"].items() if key != "dropout"}}


@functools.cache
def recipe_names() -> tuple[str, ...]:
    """The names of all recipes, sorted."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


@functools.cache
def recipe_named(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in recipe_names():
        raise ValueError(f"there is no recipe {name!r}.{did_you_mean(name, recipe_names())}")
    text = resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    values = YAML(typ="safe", pure=True).load(text)
    return Recipe(name=name, **values | {"not_expressed": tuple(values["not_expressed"])})


def default_rates(methods: Collection[str]) -> list[tuple[float, str]]:
    """The default rates of the recipes with one of these methods, ascending, each with its recipes' names."""
    names: dict[float, list[str]] = {}
    for recipe in map(recipe_named, recipe_names()):
        if recipe.learning_rate is not None and recipe.methods & set(methods):
            names.setdefault(recipe.learning_rate, []).append(recipe.name)
    return [(rate, ", ".join(sorted(of))) for rate, of in sorted(names.items())]
