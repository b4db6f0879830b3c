"""Operators that say how to differentiate: where a gradient ends, and what it is where a user knows better."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Graph, Operation, Operator, Value
from ..graph.registry import register
from ..types import TensorType
from .core import PassThrough


@register
class StopGradient(PassThrough):
    """x itself, but a constant to differentiation."""

    name = "stop_gradient"
    piecewise_constant = True

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return operands[0]


@register
class CustomGradient(Operator):
    """y itself, with a gradient of its own: y was made from the values, and `gradient` says how they get theirs.

    The graph `gradient` takes y, the values and dy, the cotangent of y, and returns the cotangents of the values. They
    must be linear in dy. Differentiation doesn't look behind y: a value that isn't listed gets no gradient from it.
    `decompose` leaves only y.
    """

    name = "custom_gradient"
    internal = True
    operands = ("y", "*values")
    passive_operands = 1
    attributes = {"gradient": AttributeSpec(Graph, "graph from y, the values and dy to the values' cotangents")}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        gradient: Graph = attributes["gradient"]
        y, *values = operands
        for what, wanted, given in (
            ("take", [y, *values, y], gradient.inputs),
            ("return", values, gradient.outputs),
        ):
            types = [v.type.dense() for v in given]
            if types != [t.dense() for t in wanted]:
                raise ShapeError(
                    f"custom_gradient: @{gradient.name} must {what} ({', '.join(map(str, wanted))}), "
                    f"not ({', '.join(map(str, types))})"
                )
        if any(op.name == "param" for op in gradient.operations):
            raise ShapeError(
                f"custom_gradient: @{gradient.name} can't hold parameters", hint="pass them among the values"
            )
        return (y.dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return operands[:1]

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return operands[0]

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        # Reading the result, not operand 0, lets higher derivatives use the custom gradient again.
        rule: Graph = op.attributes["gradient"]
        values = b.inline(rule, (op.result, *op.operands[1:], *cotangents))
        return None, *(None if _is_nought(rule, y) else v for y, v in zip(rule.outputs, values, strict=True))


def _is_nought(graph: Graph, value: Value) -> bool:
    """Whether a value is nothing but zeros, as `none` of a gradient is: what is behind it isn't reached."""
    op = graph.producers.get(value)
    while op is not None and op.name == "broadcast_to":
        op = graph.producers.get(op.operands[0])
    return op is not None and op.name == "constant" and not np.any(op.attributes["value"])
