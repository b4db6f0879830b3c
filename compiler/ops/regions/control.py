"""Conditions and loops: operators that run graphs, of which each knows nothing but its inputs.

They mean what ONNX's If and Loop and TFLite's IF and WHILE do, within fixed shapes: branches give the same types, and
what goes from iteration to iteration keeps its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ShapeError
from ...graph.interpreter import evaluate_body
from ...graph.ir import Array, Attributes, AttributeSpec, Graph, Operator, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED


def _types(values: Sequence[Value]) -> list[TensorType]:
    return [v.type.dense() for v in values]


def _text(types: Sequence[TensorType]) -> str:
    return f"({', '.join(map(str, types))})"


class _Control(Operator):
    internal = True
    non_differentiable = "which operations run is known only while they do"

    def check(self, graph: Graph, takes: Sequence[TensorType], gives: Sequence[TensorType] | None) -> None:
        """Raise `ShapeError` unless a graph has these types and no parameters."""
        for verb, values, wanted in (("take", graph.inputs, takes), ("return", graph.outputs, gives)):
            if wanted is not None and _types(values) != [t.dense() for t in wanted]:
                raise ShapeError(f"{self.name}: @{graph.name} must {verb} {_text(wanted)}, not {_text(_types(values))}")
        if graph.parameters:
            raise ShapeError(f"{self.name}: @{graph.name} can't hold parameters", hint="pass them among the values")

    def check_condition(self, type_: TensorType) -> None:
        """Raise `ShapeError` unless a type is that of one truth value."""
        if type_.dtype is not DType.BOOL or type_.size != 1:
            raise ShapeError(f"{self.name}: a condition is one truth value, not {type_}")


@register
class If(_Control):
    """The results of the graph `then` on the values where the condition holds, else those of the graph `else`."""

    name = "if"
    operands = ("condition", "*values")
    attributes = {
        "then": AttributeSpec(Graph, "graph from the values to the results"),
        "else": AttributeSpec(Graph, "another one, of the same types"),
    }
    regions = ("then", "else")

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        condition, *values = operands
        self.check_condition(condition)
        results = _types(attributes["then"].outputs)
        if not results:
            raise ShapeError("if: its graphs return nothing")
        for name in self.regions:
            self.check(attributes[name], values, results)
        return tuple(results)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        condition, *values = operands
        return evaluate_body(attributes["then" if condition.item() else "else"], tuple(values))


@register
class While(_Control):
    """As long as the graph `condition` holds on the values, those of them that `body` returns are replaced.

    `body` takes all values and returns new ones for the first of them; the others stay as they are. The results are the
    values that `body` returns, at the end. The condition is asked first, so that they may be the operands.
    """

    name = "while"
    operands = ("*values",)
    attributes = {
        "condition": AttributeSpec(Graph, "graph from the values to one truth value"),
        "body": AttributeSpec(Graph, "graph from the values to new ones for the first of them"),
    }
    regions = ("condition", "body")

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        condition: Graph = attributes["condition"]
        results = [t.dense() for t in operands[: len(attributes["body"].outputs)]]
        if not results:
            raise ShapeError("while: nothing goes from iteration to iteration")
        self.check(condition, operands, None)
        self.check(attributes["body"], operands, results)
        if len(condition.outputs) != 1:
            raise ShapeError(f"while: @{condition.name} must return one truth value")
        self.check_condition(condition.outputs[0].type)
        return tuple(results)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        condition, body = attributes["condition"], attributes["body"]
        count = len(body.outputs)
        values = operands
        while evaluate_body(condition, values)[0].item():
            values = (*evaluate_body(body, values), *values[count:])
        return values[:count]


_REASON = "conditions and loops hold graphs of their own"
INTEGER.none(_REASON, If, While)
PERMUTED.none(_REASON, If, While)
