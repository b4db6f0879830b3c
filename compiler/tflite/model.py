"""What a TFLite file holds, as plain data: tensors, operators and the names people use for them.

`emitter` makes a `Model` from a graph, `serialize` turns it into bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..graph.ir import Array
from ..types import TensorType

Field = int | float | bool | str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor; `data` is the value of a constant. A `variable` one keeps its elements from run to run.

    A `resource` refers to a variable that operators read and assign; its type counts for nothing.
    """

    name: str
    type: TensorType
    data: Array | None = None
    variable: bool = False
    complex: bool = False
    """Its elements are complex numbers of 32-bit floats; `type` says f32."""
    resource: bool = False
    scales: int | None = None
    """Elements are integers of 4 bits: the place of the tensor that holds a scale for each block of a row."""
    block: int = 0
    """Elements of such a block."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of an operator: a table of the schema, such as Conv2DOptions, and its fields, named as in the schema."""

    table: str
    fields: Mapping[str, Field] = field(default_factory=dict[str, Field])


@dataclass(frozen=True, slots=True)
class Node:
    """One use of an operator: its name in the schema, its version, places of tensors (-1: an input left out)."""

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options | None = None
    custom_code: str = ""
    custom_options: bytes = b""
    intermediates: tuple[int, ...] = ()
    """Tensors that only tell what is computed between the operator's parts."""


@dataclass(frozen=True, slots=True)
class Function:
    """A subgraph that operators call by its number."""

    name: str
    tensors: Sequence[Tensor]
    nodes: Sequence[Node]
    inputs: Sequence[int]
    outputs: Sequence[int]


@dataclass(frozen=True, slots=True)
class Model:
    """A file: its first subgraph and what belongs to it.

    `signature` names inputs and outputs, `metadata` holds buffers by name. `functions` are the other subgraphs, which
    have numbers from 1 up.
    """

    name: str
    tensors: Sequence[Tensor]
    nodes: Sequence[Node]
    inputs: Sequence[int]
    outputs: Sequence[int]
    input_names: Sequence[str]
    output_names: Sequence[str]
    signature: str = "serving_default"
    metadata: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    functions: Sequence[Function] = ()
