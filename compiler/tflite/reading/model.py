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
from .encodings import PACKED, Blocks, Sparsity, unpacked
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
    """None for elements that netc doesn't have, such as STRING. Its sizes are those of `shape`."""
    shape: tuple[int, ...]
    """-1 stands for a size that is not known before the model runs."""
    data: memoryview | None
    is_variable: bool
    path: str
    signature: tuple[int, ...] = ()
    """The shape with -1 in place of sizes that whoever runs the model may change; empty where none is stated."""
    has_shape: bool = True
    """False where nothing tells a scalar from a tensor whose shape is left out."""
    is_open: bool = False
    """True for what an operator gives whose sizes are not known before the model runs."""
    sparsity: Sparsity | None = None
    """How the elements of a sparse constant lie in `data`."""
    blocks: Blocks | None = None
    """The scales of a constant that is quantized block by block, and stands for floats."""

    @property
    def type_name(self) -> str:
        """What the elements are, for messages."""
        return self.element + self.special

    @property
    def is_dynamic(self) -> bool:
        """True if the shape is not known."""
        return any(size < 0 for size in self.shape)

    @property
    def is_free(self) -> tuple[bool, ...]:
        """For each dimension whether the file leaves its size to whoever runs the model."""
        signature = self.signature or self.shape
        return tuple(size < 0 or free < 0 for size, free in zip(self.shape, signature, strict=True))

    @property
    def is_complex(self) -> bool:
        """True for complex numbers of two 32-bit floats."""
        return self.type_name == "COMPLEX64"

    @property
    def is_encoded(self) -> bool:
        """True for constants whose array is not a view of the file."""
        return self.sparsity is not None or self.blocks is not None or self.element in PACKED

    def with_shape(self, shape: tuple[int, ...]) -> Tensor:
        """The same tensor with a shape that is known."""
        type_ = None if self.type is None else replace(self.type, shape=shape)
        return replace(self, shape=shape, type=type_, signature=(), has_shape=True, is_open=False)

    def without_shape(self) -> Tensor:
        """The same tensor with a shape that is to be found."""
        return replace(self.with_shape(()), has_shape=False)

    def states(self, shape: tuple[int, ...]) -> bool:
        """True if the file says of this tensor that it has that shape, or leaves it open."""
        if not self.shape and not self.has_shape:
            return True
        sizes = zip(shape, self.shape, self.is_free, strict=False)
        return len(shape) == len(self.shape) and all(free or size == own for size, own, free in sizes)

    def array(self) -> Array | None:
        """The value of a constant."""
        if self.data is None or self.type is None:
            return None
        stored = self.type if self.blocks is None else self.blocks.stored
        dtype, shape = stored.dtype.numpy, stored.shape
        if self.element in PACKED:
            count = self.type.size if self.sparsity is None else self.sparsity.count
            flat = unpacked(np.frombuffer(self.data, np.uint8), self.element, count)
        else:
            flat = np.frombuffer(self.data, dtype.newbyteorder("<")).astype(dtype, copy=False)
        array = flat.reshape(shape) if self.sparsity is None else self.sparsity.dense(flat, shape)
        return array if self.blocks is None else self.blocks.floats(array)

    def integers(self) -> Array:
        """The integers of a constant that is quantized block by block."""
        assert self.blocks is not None
        array = replace(self, type=self.blocks.stored, blocks=None).array()
        assert array is not None
        return array


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
    chosen: Signature | None = None
    """The signature that was asked for, of those of the subgraph that is run."""

    def at(self, subgraph: int) -> Model:
        """The same file, run from another of its subgraphs."""
        return replace(self, main=subgraph, chosen=None)

    def by(self, signature: Signature) -> Model:
        """The same file, run by a signature."""
        return replace(self, main=signature.subgraph, chosen=signature)

    @property
    def subgraph(self) -> Subgraph:
        """The subgraph that is run."""
        return self.subgraphs[self.main]

    @property
    def signature(self) -> Signature | None:
        """The signature that was asked for, or the first one of the subgraph that is run."""
        return self.chosen or next((s for s in self.signatures if s.subgraph == self.main), None)

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
