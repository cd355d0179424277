"""Instruments that other packages add: scalar columns of every step, beside the built-in ones.

An instrument reads the readout at the last position, all lanes at once, in every engine. It can't change what is
trained or measured otherwise. Its columns are stored as `NAME.COLUMN`, NAME being its entry point's (`core.plugins`);
they are float64, NaN where they have no value.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from phantom_dist.core import plugins
from phantom_dist.core.errors import InputError
from phantom_dist.core.quantities import Quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class Readout:
    """What an instrument may read after `step` optimizer steps, for L lanes; to be left as it is.

    Attributes:
        logits_LV: z, float32.
        probabilities_LV: p = softmax(z), float64.
        lever_LV: M_i = S_ti² − S_ci², float64, by which Φ = Σ_i p_i M_i.
        target_L, competitor_L: token ids, int64.
        overlap_L: S_tc, float64.
    """

    step: int
    logits_LV: Tensor
    probabilities_LV: Tensor
    lever_LV: Tensor
    target_L: Tensor
    competitor_L: Tensor
    overlap_L: Tensor


class Instrument(ABC):
    """What another package measures at each step."""

    columns: ClassVar[tuple[Quantity, ...]]
    """Name, unit, range and meaning of every column that `measure` gives, of type float64."""

    @abstractmethod
    def measure(self, readout: Readout) -> Mapping[str, Tensor]:
        """Each column by its name, one number a lane: shape (L,)."""


@dataclass(frozen=True, slots=True)
class Named:
    """An instrument under the name that its columns begin with."""

    name: str
    instrument: Instrument

    @property
    def columns(self) -> tuple[Quantity, ...]:
        """The columns as they are stored."""
        return tuple(
            dataclasses.replace(column, name=f"{self.name}.{column.name}")
            for column in self.instrument.columns
        )

    def measure(self, readout: Readout) -> dict[str, Tensor]:
        """The columns as they are stored; float64, shape (L,).

        Raises:
            InputError: the instrument fails, or gives other columns or shapes than it should.
        """
        lanes = len(readout.target_L)
        try:
            given = self.instrument.measure(readout)
        except Exception as error:  # a stranger's code
            raise InputError(
                f"instrument {self.name!r} failed at step {readout.step}: {type(error).__name__}: {error}"
            ) from error
        expected = [column.name for column in self.instrument.columns]
        if set(given) != set(expected) or any(tuple(given[name].shape) != (lanes,) for name in expected):
            shapes = {name: tuple(value.shape) for name, value in given.items()}
            raise InputError(
                f"instrument {self.name!r} gave {shapes}; "
                f"it should give {', '.join(expected)}, each of shape ({lanes},)"
            )
        return {f"{self.name}.{name}": given[name].detach().to(torch.float64) for name in expected}


def load(names: Iterable[str]) -> tuple[Named, ...]:
    """The instruments that a sweep lists.

    Raises:
        InputError: no package adds one of them, two do, or one can't be loaded.
    """
    return tuple(Named(name, _made(plugins.named(plugins.INSTRUMENTS, name))) for name in names)


def columns_of(instruments: Iterable[Named]) -> tuple[Quantity, ...]:
    """All their columns as they are stored."""
    return tuple(column for instrument in instruments for column in instrument.columns)


def _made(plugin: plugins.Plugin) -> Instrument:
    instrument: Instrument = plugin.load(Instrument)()
    columns = getattr(instrument, "columns", ())
    if not columns or not all(isinstance(c, Quantity) and c.type == "float64" for c in columns):
        raise InputError(f"plug-in {plugin}: `columns` must be quantities of type float64, one or more.")
    return instrument
