"""Instruments of other packages: scalar columns of every step, in addition to the built-in ones.

In every engine, an instrument gets the readout at the last position, of all lanes at once. It can't influence training
or other measurements. Its columns are stored as `NAME.COLUMN`, where NAME is its entry point's (`core.plugins`); they
are float64, NaN where they have no value.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from phantom_dist.core import plugins
from phantom_dist.core.errors import InputError
from phantom_dist.core.quantities import Quantity

if TYPE_CHECKING:  # plans name instruments, and do without torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Readout:
    """The input of an instrument after `step` optimizer steps, for L lanes; it must not change it.

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
    """The base class of other packages' instruments, which measure their columns at each step."""

    columns: ClassVar[tuple[Quantity, ...]]
    """Name, unit, range and meaning of every column that `measure` returns, of type float64."""

    @abstractmethod
    def measure(self, readout: Readout) -> Mapping[str, Tensor]:
        """Each column by its name, one number a lane: shape (L,)."""


@dataclass(frozen=True, slots=True)
class Named:
    """An instrument and its name, the prefix of its columns."""

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
            InputError: the instrument raises, or returns other columns or shapes than it declares.
        """
        lanes = len(readout.target_L)
        try:
            given = self.instrument.measure(readout)
        except Exception as error:  # another package's code may raise anything
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
        return {f"{self.name}.{name}": given[name].detach().double() for name in expected}


def load(names: Iterable[str]) -> tuple[Named, ...]:
    """The instruments that a sweep lists.

    Raises:
        InputError: for one of them, no package or several packages provide it, or it can't be loaded.
    """
    return tuple(Named(name, _made(plugins.named(plugins.INSTRUMENTS, name))) for name in names)


def columns_of(instruments: Iterable[Named]) -> tuple[Quantity, ...]:
    """The columns of all instruments as they are stored."""
    return tuple(column for instrument in instruments for column in instrument.columns)


def _made(plugin: plugins.Plugin) -> Instrument:
    instrument: Instrument = plugin.load(Instrument)()
    columns = getattr(instrument, "columns", ())
    if not columns or not all(isinstance(c, Quantity) and c.type == "float64" for c in columns):
        raise InputError(f"plug-in {plugin}: `columns` must be quantities of type float64, one or more.")
    return instrument
