"""The lanes of one batch, as one way of training needs them, and what a leaf may ask of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes.parameters import LaneParameters, LaneTensor
from phantom_dist.engines.recorder import Geometry


class NotFusable(Exception):
    """A problem can't be trained as lanes: it goes to the reference engine, with the reason."""


class Matrix(Protocol):
    """A weight matrix W (o x i) of every lane, that activations are multiplied with."""

    def product(self, x: Tensor) -> Tensor:
        """x Wᵀ lane by lane; x (L, …, i), or (L · n, i) with the lanes outermost, -> the same with o."""
        ...


class Table(Protocol):
    """A weight matrix W (o x i) of every lane, whose rows are looked up."""

    def rows(self, ids_LK: Tensor) -> Tensor:
        """The rows of W with these numbers, lane by lane; (L, K) -> (L, K, i)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A batch: lanes at its start (one for each context), lanes in all, steps T, tokens K of its longest prompt."""

    first: int
    lanes: int
    steps: int
    tokens: int


class Lanes(ABC):
    """The lanes of one batch. Abstract; the three kinds are final.

    Life: `replacements`, `allocate`. Then for each step: `begin_step`, a forward pass, a backward pass,
    `squared_gradient_norms`, perhaps `select`, `update`.
    """

    def __init__(self, optimizer: Optimizer, shape: Shape, readout: nn.Parameter) -> None:
        self.optimizer = optimizer
        self.shape = shape
        self.readout = readout
        self.parameters = LaneParameters()

    @abstractmethod
    def replacements(self, model: Any) -> dict[nn.Module, nn.Module]:
        """What stands for which module of the model.

        Raises:
            NotFusable: the model has a leaf that is unknown here.
        """

    @abstractmethod
    def geometry(self) -> Geometry:
        """What the instruments need to know of every lane's readout matrix."""

    def allocate(self) -> None:
        """Room for the batch; its first lanes are there, with the untouched model's weights."""
        self.parameters.allocate(self.optimizer, self.shape.first, self.shape.lanes)

    def begin_step(self, step: int, *, learns: bool) -> None:
        """A forward pass of step `step` comes; a backward pass follows if it `learns`."""
        if learns:
            self.parameters.clear_gradients()

    def squared_gradient_norms(self) -> Tensor:
        """‖∇L‖² of each lane over everything that it trains; (L,), float64."""
        return self.parameters.squared_gradient_norms()

    def select(self, index: Sequence[int]) -> None:
        """Lane j becomes what lane index[j] was; see `lane_buffers.select_rows`."""
        self.parameters.select(index)

    def update(self, rates: Sequence[float]) -> None:
        """The optimizer step of each lane at its learning rate, from the gradients of the backward pass."""
        self.parameters.update(rates)


class FullLanes(Lanes):
    """Lanes that train every parameter: each leaf of the model is replaced, and asks here for its weights."""

    def __init__(self, optimizer: Optimizer, shape: Shape, readout: nn.Parameter) -> None:
        super().__init__(optimizer, shape, readout)
        self._vectors: dict[int, LaneTensor] = {}
        self._tables: set[int] = set()

    def vector(self, parameter: Tensor) -> LaneTensor:
        """A trained gain or bias; every lane has its own. Modules that share it share it here."""
        if id(parameter) not in self._vectors:
            self._vectors[id(parameter)] = self.parameters.vector(parameter)
        return self._vectors[id(parameter)]

    def _only_table(self, parameter: Tensor) -> None:
        """Note that rows of a matrix are looked up.

        Raises:
            NotFusable: another module does so too, and each would have rows of its own.
        """
        if id(parameter) in self._tables:
            raise NotFusable("two modules look rows of one matrix up, and lanes keep the rows of one of them")
        self._tables.add(id(parameter))

    @abstractmethod
    def matrix(self, parameter: Tensor, *, transposed: bool = False) -> Matrix:
        """A trained matrix, stored as (o, i) or, transposed, as (i, o)."""

    @abstractmethod
    def table(self, parameter: Tensor) -> Table:
        """A trained matrix whose rows are looked up; where the parameter is tied, it is the readout's too."""
