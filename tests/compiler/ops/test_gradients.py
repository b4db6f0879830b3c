"""Every gradient rule against central differences in f64, and that every operator has one or says why not."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph import GraphBuilder, evaluate, parse_graph, verify
from netc.compiler.graph.ir import Operator
from netc.compiler.graph.registry import lookup, operators
from netc.compiler.ops.quantized.base import Part, QuantizedOperator
from netc.compiler.passes import differentiate
from netc.compiler.types import DType, TensorType
from tests.derivatives import Point, check_derivatives, with_loss

from ..cases import CASES, OpCase

OTHER_THAN_DIFFERENCES = {
    "custom_gradient": "the gradient is what the user says",
    "channel_variance": "the rule holds at the mean",
    "cast": "differences need f64 throughout",
    "fake_quantize": "the rule takes rounding for the identity",
}
"""Operators whose rules are tested elsewhere."""


def is_differentiable(case: OpCase) -> bool:
    operator = lookup(case.op)
    if not any(case.dtype(operand).is_float for operand in range(len(case.shapes))):
        return False
    return not (operator.piecewise_constant or operator.non_differentiable or case.op in OTHER_THAN_DIFFERENCES)


DIFFERENTIABLE = [c for c in CASES if is_differentiable(c)]
SMALL = [c for c in DIFFERENTIABLE if max((int(np.prod(s)) for s in c.shapes), default=0) <= 3_000]


def point_of(case: OpCase) -> tuple[Point, list[str]]:
    """Operands by name, and the names of those that have gradients."""
    arrays = case.operands(DType.F64)
    names = [f"w{i}" if i >= case.weights else f"x{i}" for i in range(len(arrays))]
    values = dict(zip(names, arrays, strict=True))
    inputs = {n: v for n, v in values.items() if n.startswith("x")}
    wrt = [n for i, n in enumerate(names) if case.dtype(i) is DType.F32 and i not in case.below]
    return Point(inputs, {n: v for n, v in values.items() if n not in inputs}), wrt


@pytest.mark.parametrize("name", operators())
def test_every_operator_has_a_gradient_or_says_why_not(name: str) -> None:
    operator = lookup(name)
    has_rule = type(operator).gradient is not Operator.gradient
    if not operator.operands:
        assert not has_rule
    elif operator.non_differentiable:
        assert not has_rule
        assert not operator.piecewise_constant
    else:
        assert has_rule or operator.piecewise_constant


def test_every_operator_has_cases() -> None:
    """Those of integers or of drawn numbers, and those that run graphs on conditions, have cases elsewhere."""
    integer = {n for n, o in operators().items() if isinstance(o, Part | QuantizedOperator)}
    elsewhere = {"param", "constant", "fused", "opaque", "if", "while", "map", "blocked_dense"}
    elsewhere |= {"random_words", "seeded_numbers", "seeded_choices"}
    assert operators().keys() - integer - {case.op for case in CASES} == elsewhere


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda c: c.id)
def test_gradient(case: OpCase) -> None:
    point, wrt = point_of(case)
    check_derivatives(with_loss(case.graph(DType.F64)), point, wrt)


@pytest.mark.parametrize("case", SMALL, ids=lambda c: c.id)
def test_second_derivatives(case: OpCase) -> None:
    point, wrt = point_of(case)
    first = differentiate(with_loss(case.graph(DType.F64)), 0, wrt)
    verify(first)
    check_derivatives(with_loss(first, seed=1), point, wrt, tolerance=1e-5)


def gradient_at(op: str, x: list[float], **attributes: float) -> list[float]:
    """Derivative of the sum of an operator's results, element by element."""
    b = GraphBuilder("g")
    value = b.input("x", TensorType(DType.F64, (len(x),)))
    graph = differentiate(b.finish([b.emit(op, value, **attributes)]), 0, ["x"])
    return [float(v) for v in evaluate(graph, [np.array(x, np.float64)])[1]]


@pytest.mark.parametrize(
    ("op", "x", "expected"),
    [
        ("relu", [-1, 0, 2], [0, 0, 1]),
        ("relu6", [0, 3, 6], [0, 1, 0]),
        ("abs", [-2, 0, 2], [-1, 0, 1]),
        ("reduce_max", [1, 3, 3], [0, 0.5, 0.5]),
        ("reduce_min", [1, 3, 1], [0.5, 0, 0.5]),
        ("stop_gradient", [1, 2], [0, 0]),
        ("sign", [-1, 0, 1], [0, 0, 0]),
    ],
)
def test_gradient_where_it_is_a_convention(op: str, x: list[float], expected: list[float]) -> None:
    assert gradient_at(op, x) == expected


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_equal_operands_share_the_gradient(op: str) -> None:
    b = GraphBuilder("g")
    vector = TensorType(DType.F64, (3,))
    graph = b.finish([b.emit(op, b.input("a", vector), b.input("b", vector))])
    _, da, db = evaluate(differentiate(graph, 0, ["a", "b"]), [np.array([1.0, 2, 3]), np.array([2.0, 2, 2])])
    assert list(da + db) == [1, 1, 1]
    assert (da[1], db[1]) == (0.5, 0.5)


def test_the_first_of_equal_elements_takes_the_gradient_of_max_pool() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F64, (1, 2, 4, 1)))
    graph = b.finish([b.emit("max_pool", x, size=(2, 2), strides=(2, 2), padding="valid")])
    image = np.array([[1.0, 5, 0, 0], [5, 5, 0, 0]]).reshape(1, 2, 4, 1)
    gradient = evaluate(differentiate(graph, 0, ["x"]), [image])[1]
    assert gradient.reshape(2, 4).tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]


def test_padding_takes_no_gradient_from_max_pool() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F64, (1, 3, 1)))
    graph = b.finish([b.emit("max_pool", x, size=(3,), strides=(1,), padding="same")])
    gradient = evaluate(differentiate(graph, 0, ["x"]), [np.full((1, 3, 1), -2.0)])[1]
    assert gradient.reshape(3).tolist() == [2, 1, 0]


def test_cast_between_floats_passes_the_gradient_on() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (2,)))
    y = b.emit("exp", b.emit("cast", x, dtype="f64"))
    graph = differentiate(b.finish([y]), 0, ["x"])
    assert graph.outputs[1].type == x.type
    at = np.array([0.5, 1], np.float32)
    np.testing.assert_allclose(evaluate(graph, [at])[1], np.exp(at), rtol=1e-6)


def test_an_operator_without_a_rule_says_where_it_stands() -> None:
    graph = parse_graph("""\
graph @g(%x: f32[2,3]) -> (i32[2]) {
  %0 = argmax(%x) : i32[2]  // net.net:3:7
  return %0
}
""")
    op = graph.operations[0]
    with pytest.raises(NetcError, match=r"net.net:3:7: error: argmax can't be differentiated: its results"):
        op.operator.gradient(GraphBuilder("g"), op, ())
