"""The base classes of the three kinds of lanes, and their interface for leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.adapter_dropout import AdapterDropout
from phantom_dist.engines.lanes.parameters import LaneParameters, LaneTensor
from phantom_dist.engines.optimizers import undecayed_parameters
from phantom_dist.engines.recorder import Geometry


class NotFusable(Exception):
    """A problem can't be trained as lanes; the reference engine trains it and records the reason."""


class Matrix(Protocol):
    """A weight matrix W (o x i) of every lane that multiplies activations."""

    def product(self, x: Tensor) -> Tensor:
        """x Wᵀ lane by lane; x (L, …, i), or (L · n, i) with the lanes outermost, -> the same with o."""
        ...


class Vector(Protocol):
    """A gain or bias of every lane."""

    @property
    def value(self) -> Tensor:
        """(L, *shape), or (1, *shape) where all lanes share it."""
        ...


class Table(Protocol):
    """A weight matrix W (o x i) of every lane whose rows are looked up."""

    def rows(self, ids_LK: Tensor) -> Tensor:
        """The rows of W with these indices, lane by lane; (L, K) -> (L, K, i)."""
        ...


class Weights(Protocol):
    """What leaves compute with: a lane-aware counterpart of each parameter."""

    def vector(self, parameter: Tensor) -> Vector:
        """That of a gain or bias."""
        ...

    def matrix(self, parameter: Tensor, *, transposed: bool = False) -> Matrix:
        """That of a matrix, stored as (o, i) or, transposed, as (i, o)."""
        ...

    def table(self, parameter: Tensor) -> Table:
        """That of a matrix whose rows are looked up; it may be tied to the readout."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The dimensions of a batch.

    `first`: lanes at the start, one for each context (see `training.train`). `lanes`: lanes after step 0.
    `steps`: the largest T. `tokens`: K of the longest prompt. `in_batches`: whether lanes train batches of examples,
    whose tokens change from step to step.
    """

    first: int
    lanes: int
    steps: int
    tokens: int
    in_batches: bool = False


class Lanes(ABC):
    """The lanes of one batch. Abstract; the three kinds are final.

    Call order: `replacements`, `allocate`. Then for each step: `begin_step`, a forward pass, a backward pass,
    `squared_gradient_norms`, `select` where lanes leave or are repeated, `clip`
    where gradients are clipped, `update`.

    `rows`: how many rows of the model's input each lane has in the next forward pass, one after another: 1, or the
    examples of a batch, or the prompts that are watched.
    """

    rows = 1
    dropout: AdapterDropout | None = None

    def __init__(self, optimizer: Optimizer, shape: Shape, readout: nn.Parameter) -> None:
        self.optimizer = optimizer
        self.shape = shape
        self.readout = readout
        self.parameters = LaneParameters()

    @abstractmethod
    def replacements(self, model: Any) -> dict[nn.Module, nn.Module]:
        """The replacement of each module of the model that needs one.

        Raises:
            NotFusable: the model has a module with parameters that no leaf supports.
        """

    @abstractmethod
    def geometry(self) -> Geometry:
        """The instruments' view of every lane's readout matrix."""

    def allocate(self) -> None:
        """Allocate memory for the batch and initialise its first lanes with the untouched model's weights."""
        self.parameters.allocate(self.optimizer, self.shape.first, self.shape.lanes)

    def close(self) -> None:  # noqa: B027
        """Called when the batch has ended; a no-op unless the lanes have memory to leave to the next one."""

    def begin_step(self, step: int, *, learns: bool) -> None:
        """Prepare for the forward pass of `step`; if it `learns`, a backward pass follows."""
        if learns:
            self.parameters.clear_gradients()

    def squared_gradient_norms(self) -> Tensor:
        """‖∇L‖² of each lane over all its trained parameters; (L,), float64."""
        return self.parameters.squared_gradient_norms()

    def select(self, index: Sequence[int]) -> None:
        """Replace lane j by lane index[j]; see `lane_buffers.select_rows`."""
        self.parameters.select(index)

    def clip(self, scales: Sequence[float]) -> None:
        """Multiply each lane's gradient, before `update`."""
        self.parameters.scale_gradients(scales)

    def update(self, rates: Sequence[float]) -> None:
        """One optimizer step of each lane at its learning rate, with the gradients of the backward pass."""
        self.parameters.update(rates)


class FullLanes(Lanes):
    """Lanes that train every parameter: each replaced leaf gets its weights from the methods here."""

    def __init__(self, optimizer: Optimizer, shape: Shape, readout: nn.Parameter) -> None:
        super().__init__(optimizer, shape, readout)
        self._undecayed: set[int] = set()
        self._vectors: dict[int, LaneTensor] = {}
        self._tables: set[int] = set()

    def leave_undecayed(self, model: nn.Module) -> None:
        """Register the parameters that get no weight decay, before they are asked for.

        Raises:
            NotFusable: one of them is a matrix.
        """
        undecayed = undecayed_parameters(model) if self.optimizer.decay == "weights" else ()
        if any(parameter.ndim > 1 for parameter in undecayed):
            raise NotFusable("a matrix that doesn't decay beside others that do")
        self._undecayed = {id(parameter) for parameter in undecayed}

    def vector(self, parameter: Tensor) -> LaneTensor:
        """A trained gain or bias, of which every lane has its own copy. Modules that share it share the copies."""
        if id(parameter) not in self._vectors:
            self._vectors[id(parameter)] = self.parameters.vector(
                parameter, decays=id(parameter) not in self._undecayed
            )
        return self._vectors[id(parameter)]

    def _only_table(self, parameter: Tensor) -> None:
        """Register a matrix as a lookup table.

        Raises:
            NotFusable: another module looks up its rows too, and each module would keep copies of its own.
        """
        if id(parameter) in self._tables:
            raise NotFusable("two modules look up rows of the same matrix, and lanes support only one")
        self._tables.add(id(parameter))

    @abstractmethod
    def matrix(self, parameter: Tensor, *, transposed: bool = False) -> Matrix:
        """A trained matrix, stored as (o, i) or, transposed, as (i, o)."""

    @abstractmethod
    def table(self, parameter: Tensor) -> Table:
        """A trained matrix whose rows are looked up; it may be tied to the readout."""
