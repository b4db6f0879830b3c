"""A network seen from outside: what goes in, what comes out, what it says of itself.

`Network` is what code asks for that needs no more than that. A graph is one; of a saved program there is nothing but
its `Signature`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .types import DType, TensorType

Array = NDArray[Any]


class Tensor(Protocol):
    """An input or an output."""

    @property
    def type(self) -> TensorType:
        """Element type, shape, and what integers stand for."""
        ...

    @property
    def name(self) -> str | None:
        """Set where it means something to people."""
        ...


class Network(Protocol):
    """A graph, or the signature of one."""

    @property
    def name(self) -> str:
        """What the network is called."""
        ...

    @property
    def inputs(self) -> Sequence[Tensor]:
        """In the order in which they are given."""
        ...

    @property
    def outputs(self) -> Sequence[Tensor]:
        """All that the network computes for others: results, and behind them new values of its state."""
        ...

    @property
    def results(self) -> Sequence[Tensor]:
        """What a caller gets."""
        ...

    @property
    def states(self) -> Sequence[object]:
        """What the network keeps from run to run."""
        ...

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What it says of itself: `preprocess`, names of outputs."""
        ...


@dataclass(frozen=True, slots=True)
class NamedType:
    """A tensor of a signature."""

    type: TensorType
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """A `Network` without its operations."""

    name: str
    inputs: tuple[NamedType, ...]
    results: tuple[NamedType, ...]
    states: tuple[NamedType, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    gives_probabilities: bool = False
    """The first output is made by softmax."""

    @property
    def outputs(self) -> tuple[NamedType, ...]:
        """Those that a caller gets."""
        return self.results


def output_names(network: Network) -> tuple[str, ...]:
    """The names that the signature gives the outputs; empty if it gives none, or not one of its own to each."""
    given = tuple(network.attributes.get("signature", {}).get("outputs", ()))
    return given if len(set(given)) == len(network.results) and all(given) else ()


def real(x: Array, tensor: Tensor) -> Array:
    """The numbers (f64) that the elements of a tensor stand for."""
    given = tensor.type.quantization
    if given is None or tensor.type.dtype is DType.F32:
        return x.astype(np.float64)
    numbers: Array = (x.astype(np.float64) - given.zero_point) * given.scale
    return numbers
