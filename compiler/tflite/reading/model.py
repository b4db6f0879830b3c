"""A TFLite model as plain data: what `read_model` makes of a file, checked, before it becomes a graph.

What an operator does with its tensors is checked where it becomes an operation of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar

import numpy as np

from ...errors import NetcError
from ...graph.ir import Array
from ...types import TensorType
from .flatbuffer import Record

Coded = TypeVar("Coded")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the file; `data` holds the bytes of a constant."""

    name: str
    element: str
    """The schema's name of the element type."""
    special: str
    """What makes elements other than plain numbers or numbers of a scale, as an addition to that name."""
    type: TensorType | None
    """None for elements that netc doesn't have, such as STRING, and for shapes that are not known."""
    shape: tuple[int, ...]
    """-1 stands for a size that is not known before the model runs."""
    data: memoryview | None
    is_variable: bool
    path: str

    @property
    def type_name(self) -> str:
        """What the elements are, for messages."""
        return self.element + self.special

    @property
    def is_dynamic(self) -> bool:
        """True if the shape is not known."""
        return any(size < 0 for size in self.shape)

    def array(self) -> Array | None:
        """The value of a constant."""
        if self.data is None or self.type is None:
            return None
        dtype = self.type.dtype.numpy
        flat = np.frombuffer(self.data, dtype.newbyteorder("<"))
        return flat.astype(dtype, copy=False).reshape(self.type.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """One use of an operator: indices of tensors (-1: an optional input that is left out) and its options."""

    number: int
    """Its place among the operators."""
    name: str
    version: int
    is_custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Record | None
    has_unknown_options: bool
    custom_options: bytes
    path: str

    def fail(self, problem: str, hint: str | None = None) -> NoReturn:
        """Raise the error about this operator."""
        raise NetcError(f"{self.path} ({self.name}): {problem}", hint=hint)

    def option(self, name: str, default: Any = None) -> Any:
        """A field of the options; `default` if there are none. Raises `NetcError` for options of another operator."""
        if self.options is None:
            return default
        if name not in self.options.values:
            self.fail(f"its options are {self.options.table}, which have no {name}")
        return self.options[name]

    def coded(self, name: str, codes: Sequence[Coded]) -> Coded:
        """What a field of the options stands for that is a code. Raises `NetcError` for others than these."""
        code = self.option(name, 0)
        if not 0 <= code < len(codes):
            self.fail(f"{name} can't be {code}")
        named: Coded = codes[code]
        return named


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A function of the file: its tensors, and the operators that compute them, in order."""

    name: str
    tensors: Sequence[Tensor]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    path: str


@dataclass(frozen=True, slots=True)
class Signature:
    """Names under which people know inputs and outputs of a subgraph."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Model:
    """A file: its subgraphs, of which `main` says the one that is run, and what belongs to the file as a whole."""

    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...] = ()
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    main: int = 0

    def at(self, subgraph: int) -> Model:
        """The same file, run from another of its subgraphs."""
        return replace(self, main=subgraph)

    @property
    def subgraph(self) -> Subgraph:
        """The subgraph that is run."""
        return self.subgraphs[self.main]

    @property
    def signature(self) -> Signature | None:
        """The first signature of the subgraph that is run."""
        return next((s for s in self.signatures if s.subgraph == self.main), None)

    @property
    def tensors(self) -> Sequence[Tensor]:
        """The tensors of the subgraph that is run."""
        return self.subgraph.tensors

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators of the subgraph that is run."""
        return self.subgraph.operators

    @property
    def inputs(self) -> tuple[int, ...]:
        """Which tensors are inputs of the subgraph that is run."""
        return self.subgraph.inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        """Which tensors are outputs of the subgraph that is run."""
        return self.subgraph.outputs
