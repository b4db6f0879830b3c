"""A subgraph on its way to operations: what its tensors are so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ...compiler.errors import NetcError
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.ir import Array, Value
from ...compiler.tflite.reading import Model
from ...compiler.types import Quantization
from .context import Context
from .lists import with_list_writes
from .opaque import stand_in
from .variables import Key, Variables

MAX_DEPTH = 16
"""How deep subgraphs may call each other."""
MAX_OPERATORS = 1 << 16
"""How many operators subgraphs may have in all, as often as they are called."""

Convert = Callable[[Context, Mapping[int, str]], None]
"""Adds one operator to the graph, and its results, under names by tensor, to the values."""


@dataclass
class Budget:
    """How many more operators are converted."""

    left: int = MAX_OPERATORS


@dataclass
class Walk:
    """The subgraph that `model` runs, operator by operator."""

    model: Model
    builder: GraphBuilder
    variables: Variables
    convert: Convert
    names: Mapping[int, str] = field(default_factory=dict)
    """Names for tensors by number."""
    depth: int = 0
    budget: Budget = field(default_factory=Budget)
    values: dict[int, Value] = field(default_factory=dict)
    """Tensors that have a value so far."""
    weights: dict[tuple[object, ...], tuple[Value, Quantization | None]] = field(default_factory=dict)
    """Weights that have been turned over, by tensor and form."""
    arrays: dict[int, Array] = field(default_factory=dict)
    """What tensors hold that are the same in every run."""
    handles: dict[int, Key] = field(default_factory=dict)
    """The variables that tensors refer to."""
    guesses: bool = False
    """True once sizes that the file leaves free were taken as it states them, because nothing tells them."""

    def settle(self, index: int, shape: tuple[int, ...]) -> None:
        """Give an input its shape; if the file states another one, all others follow from it."""
        assert isinstance(self.model.tensors, list)  # see `own_tensors`
        tensor = self.model.tensors[index]
        if tensor.shape != shape:
            for other in {i for operator in self.model.operators for i in operator.outputs}:
                self.model.tensors[other] = self.model.tensors[other].without_shape()
            self.model.tensors[index] = tensor.with_shape(shape)

    def run(self) -> None:
        """Convert all operators."""
        for operator in self.model.operators:
            if self.depth:
                self.budget.left -= 1
            if self.budget.left < 0:
                operator.fail(f"subgraphs that are called have more than {MAX_OPERATORS:,} operators in all")
            self.convert(Context(self, operator), self.names)

    def output(self, index: int) -> Value:
        """A tensor at the end of the walk."""
        if index in self.values:
            return self.values[index]
        tensor = self.model.tensors[index]
        if tensor.is_variable and tensor.type is not None:
            return self.variables.read_tensor((self.model.main, index), tensor.name, tensor.type)
        array = self.arrays.get(index, tensor.array())
        if array is None:
            raise NetcError(f"{tensor.path}: nothing gives this output a value")
        return self.builder.constant(array, quantization=stand_in(tensor).quantization)

    def inner(self, c: Context, subgraph: int, builder: GraphBuilder, variables: Variables) -> Walk:
        """The walk through a subgraph that an operator calls; it has no inputs yet."""
        if not 0 <= subgraph < len(self.model.subgraphs):
            c.fail(f"there is no subgraph {subgraph}, only {len(self.model.subgraphs)}")
        if self.depth >= MAX_DEPTH:
            c.fail(f"subgraphs call each other more than {MAX_DEPTH} deep")
        model = with_list_writes(own_tensors(self.model.at(subgraph)))
        depth = self.depth + 1
        return Walk(model, builder, variables, self.convert, depth=depth, budget=self.budget, guesses=self.guesses)


def own_tensors(model: Model) -> Model:
    """The model with tensors that may be replaced, in the subgraph that is run."""
    subgraphs = list(model.subgraphs)
    subgraphs[model.main] = replace(model.subgraph, tensors=list(model.tensors))
    return replace(model, subgraphs=tuple(subgraphs))
