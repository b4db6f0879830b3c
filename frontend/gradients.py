"""Gradients that users give for their blocks: what a gradient takes, what it returns, and the graph that it becomes.

`gradient f(x, n, y, dy) { ... }` says how the block `f(x, n)` is differentiated: from the block's arguments, its result
y and the cotangent dy of the result it computes the cotangents of the tensors among the arguments, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..compiler.errors import Location
from ..compiler.graph.builder import GraphBuilder
from ..compiler.graph.ir import Graph, Value
from . import ast
from .budget import Budget
from .values import Definition, Tensor, contains_tensor, describe, error


class GradientCall:
    """One use of a gradient: for a call of its block with certain arguments."""

    def __init__(self, gradient: Definition, given: Mapping[str, Any], location: Location, budget: Budget) -> None:
        """`given` are the block's arguments by parameter, `location` is where the block is called."""
        assert isinstance(gradient.node, ast.Gradient)
        self.node = gradient.node
        self.name = gradient.name
        self.given = given
        self.location = location
        for name, value in given.items():
            if isinstance(value, tuple) and contains_tensor(value, budget):
                hint = "its gradient has one result for each tensor: pass them one by one"
                raise error(f"`{name}` of {self.node.name.id} can't be a list of tensors", location, hint)

    @cached_property
    def tensors(self) -> Mapping[str, Value]:
        """The tensors among the arguments, by parameter."""
        return {name: value for name, value in self.given.items() if isinstance(value, Tensor)}

    def checked_result(self, result: Any) -> Value:
        """The result of the block, which must be one tensor of real numbers."""
        if not isinstance(result, Tensor) or not result.type.dtype.is_float:
            what = f"{self.node.name.id}, whose gradient is given, must return one tensor of real numbers"
            raise error(f"{what}, not {describe(result)}", self.location)
        return result

    def refuse_parameters(self, met: Iterable[tuple[str, Location]]) -> None:
        """Refuse parameters that the block or its gradient uses, by name, and where."""
        for name, place in met:
            hint = "make them outside the block and pass them, or what comes of them, as arguments"
            raise error(f"{self.node.name.id}, whose gradient is given, can't hold parameters ({name})", place, hint)

    def inputs(self, b: GraphBuilder, result: Value) -> dict[str, Any]:
        """Declare the inputs of the gradient's graph; values for all its parameters."""
        *_, y, dy = (p.name.id for p in self.node.parameters)
        primal = {y: b.input(y, result.type.dense())}
        arguments = {name: b.input(name, value.type.dense()) for name, value in self.tensors.items()}
        return {**self.given, **primal, **arguments, dy: b.input(dy, result.type.dense())}

    def finish(self, b: GraphBuilder, returned: Any) -> Graph:
        """The gradient's graph from what its body returns: a tensor for each argument, or `none` for nought."""
        values = returned if isinstance(returned, tuple) else (returned,)
        if len(values) != len(self.tensors):
            names = ", ".join(self.tensors) or "no tensors"
            hint = f"one for each tensor that the block takes: {names}"
            raise error(
                f"the {self.name} returns {len(values)} value{'s' * (len(values) != 1)}, not {len(self.tensors)}",
                self._place,
                hint,
            )
        pairs = zip(values, self.tensors.items(), strict=True)
        return b.finish([self._cotangent(b, value, name, tensor) for value, (name, tensor) in pairs])

    def _cotangent(self, b: GraphBuilder, value: Any, name: str, tensor: Value) -> Value:
        wanted = tensor.type.dense()
        if value is None:
            zero = b.emit("constant", value=np.zeros((), wanted.dtype.numpy), location=self._place)
            return b.emit("broadcast_to", zero, shape=wanted.shape, location=self._place)
        if not isinstance(value, Tensor) or value.type.dense() != wanted:
            raise error(f"the {self.name} returns {describe(value)} for `{name}`, which is {wanted}", self._place)
        return value

    @property
    def _place(self) -> Location:
        return self.node.name.location
