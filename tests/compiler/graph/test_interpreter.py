"""The interpreter: binding of inputs and parameters, fused bodies, outputs one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph import Array, GraphBuilder, evaluate, evaluate_outputs, parse_graph
from netc.compiler.graph.interpreter import evaluate_operation
from netc.compiler.types import DType, TensorType
from tests.random_networks import random_case

GRAPH = parse_graph("""\
graph @g(%x: f32[2], %y: f32[2]) -> (f32[2], f32[2]) {
  %w = param : f32[2]
  %0 = mul(%x, %w) : f32[2]
  %1 = fused(%a = %0, %b = %y) {
    %0 = add(%a, %b) : f32[2]
    return %0
  } : f32[2]
  return %1, %x
}
""")
X = np.array([1, 2], np.float32)
Y = np.array([10, 20], np.float32)
W = np.array([3, 4], np.float32)


@pytest.mark.parametrize("inputs", [(X, Y), [X, Y], {"y": Y, "x": X}], ids=["tuple", "list", "mapping"])
def test_inputs_by_position_or_name(inputs: tuple[Array, ...] | list[Array] | dict[str, Array]) -> None:
    first, second = evaluate(GRAPH, inputs, {"w": W})
    np.testing.assert_array_equal(first, [13, 28])
    np.testing.assert_array_equal(second, X)


WRONG: list[tuple[tuple[Array, ...] | dict[str, Array], dict[str, Array], str]] = [
    ((X,), {"w": W}, r"@g takes 2 inputs \(x, y\), not 1"),
    ({"x": X}, {"w": W}, "@g needs the inputs y"),
    ({"x": X, "yy": Y}, {"w": W}, "@g has no input `yy`"),
    ((X, Y[:1]), {"w": W}, r"input `y` is f32\[2\], but float32\[1\] was given"),
    ((X, Y.astype(np.float64)), {"w": W}, r"input `y` is f32\[2\], but float64\[2\] was given"),
    ((X, Y), {"v": W}, "there is no value for the parameter `w`"),
    ((X, Y), {"w": W[:1]}, r"parameter `w` is f32\[2\], but float32\[1\] was given"),
]


@pytest.mark.parametrize(("inputs", "params", "message"), WRONG)
def test_values_that_do_not_fit(
    inputs: tuple[Array, ...] | dict[str, Array], params: dict[str, Array], message: str
) -> None:
    with pytest.raises(NetcError, match=message):
        evaluate(GRAPH, inputs, params)


SETUP = parse_graph("""\
graph @setup() -> (f32[100000], f32[4], f32[4], f32[100000]) {
  %big = param : f32[100000]
  %small = param : f32[4]
  %0 = neg(%big) : f32[100000]
  %1 = exp(%small) : f32[4]
  %2 = neg(%1) : f32[4]
  return %0, %1, %2, %big
}
""")


class Recorder(Mapping[str, Array]):
    """Parameters that note when they are looked up."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values_ = values
        self.read: list[str] = []

    def __getitem__(self, key: str) -> Array:
        self.read.append(key)
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __contains__(self, key: object) -> bool:
        return key in self.values_


def test_outputs_come_one_by_one_from_what_they_need() -> None:
    params = Recorder({"big": np.ones(100000, np.float32), "small": np.zeros(4, np.float32)})
    outputs = evaluate_outputs(SETUP, params)
    np.testing.assert_array_equal(next(outputs), -np.ones(100000))
    assert params.read == ["big"]
    np.testing.assert_array_equal(next(outputs), np.ones(4))
    np.testing.assert_array_equal(next(outputs), -np.ones(4))
    assert params.read == ["big", "small"], "a small shared value is computed once"
    next(outputs)
    assert params.read == ["big", "small", "big"], "a large one is not kept"


@pytest.mark.parametrize("seed", range(5))
def test_outputs_one_by_one_equal_all_at_once(seed: int) -> None:
    case = random_case(seed)
    graph = passes.run(case.graph, "fold-batch-norm,fuse")
    static = [op.results[0] for op in graph.operations if not op.operands]
    setup = passes.dce(type(graph)("setup", (), graph.operations, tuple(static)))
    for one, all_ in zip(evaluate_outputs(setup, case.params), evaluate(setup, (), case.params), strict=True):
        np.testing.assert_array_equal(one, all_)


def test_outputs_one_by_one_take_no_inputs() -> None:
    with pytest.raises(InternalError, match="without inputs"):
        next(evaluate_outputs(GRAPH, {"w": W}))


def test_operations_on_numbers_give_arrays() -> None:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.I16, ()))
    (op,) = b.finish([b.emit("right_shift", x, x)]).operations
    (found,) = evaluate_operation(op, (np.array(6, np.int16), np.array(1, np.int16)))
    assert isinstance(found, np.ndarray)
    assert found == 3
