"""Common subexpressions: the first of those that are equal stays, however many they are."""

from __future__ import annotations

import numpy as np

from netc.compiler.graph import GraphBuilder, Value
from netc.compiler.passes import cse
from netc.compiler.types import DType, TensorType


def _operands_left(b: GraphBuilder, *values: Value) -> list[Value]:
    """What the operands of an operation on these values are after the pass."""
    graph = cse(b.finish([b.emit("concat", *values, axis=0)]))
    return list(graph.operations[-1].operands)


def test_all_equal_expressions_become_the_first() -> None:
    b = GraphBuilder("three")
    x, y = (b.input(name, TensorType(DType.F32, (4,))) for name in "xy")
    sums = [b.emit("add", x, y), b.emit("add", y, x), b.emit("add", x, y)]
    other = b.emit("sub", x, y), b.emit("sub", y, x)
    first, second, third, *rest = _operands_left(b, *sums, *other)
    assert first is second is third is sums[0]
    assert rest == list(other)


def test_attributes_tell_operations_of_the_same_operands_apart() -> None:
    b = GraphBuilder("attributes")
    x = b.input("x", TensorType(DType.F32, (4, 4)))
    made = [b.emit("clamp", x, low=0.0, high=high) for high in (1.0, 2.0, 1.0, 2.0)]
    assert _operands_left(b, *made) == [made[0], made[1], made[0], made[1]]


def test_constants_are_compared_to_their_end() -> None:
    numbers = np.zeros(10_000, np.float32)
    longer = numbers.copy()
    longer[-1] = 1
    b = GraphBuilder("constants")
    made = [b.constant(array) for array in (numbers, longer, numbers.copy(), longer.copy(), -numbers)]
    assert _operands_left(b, *made) == [made[0], made[1], made[0], made[1], made[4]]
