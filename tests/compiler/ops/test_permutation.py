"""Operators commute with a permutation of axes as their rules say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pytest

from netc.compiler.graph import Array, GraphBuilder, Operation
from netc.compiler.graph.interpreter import evaluate, evaluate_operation
from netc.compiler.graph.registry import operators
from netc.compiler.ops.facets import PERMUTED, Permuted
from netc.compiler.ops.functions.elementwise import UnaryOperator
from netc.compiler.ops.moves.axes import Permutation, composed, inverse, is_identity
from netc.compiler.ops.permutation import leads
from netc.compiler.types import DType, Quantization, TensorType
from tests.random_networks import RECIPES, Seeded, draw_network

from ..cases import CASES, OpCase

WITH_RULE = tuple(name for name, operator in operators().items() if PERMUTED.of(operator))
SUMS = {"reduce_sum", "reduce_mean", "softmax", "log_softmax", "logsumexp", "normalize", "l2_normalize", "reduce_prod"}
SUMS |= {"attention", "dense", "matmul"}
"""Operators that add up floats, in an order that may become another, as where several operations stand for one."""
CONDITIONAL = {"conv1d", "conv2d", "conv3d", "max_pool", "avg_pool", "gather"}
"""Operators of which some uses don't commute with any permutation, as convolutions with larger windows."""
TOLERANCE = {2: 5e-3, 4: 2e-6, 8: 1e-14}
"""Of sums, by the bytes of an element, relative to the largest result."""
SEEDS = 12


def some_permutations(rank: int) -> list[Permutation]:
    """All of them up to rank 3, else that of itself and some more."""
    if rank <= 3:
        return list(permutations(range(rank)))
    random = np.random.default_rng(rank)
    return [tuple(range(rank)), *(tuple(map(int, random.permutation(rank))) for _ in range(6))]


def permuted(op: Operation, permutation: Permutation) -> Permuted | None:
    """What the operator's rule says."""
    rule = PERMUTED.of(op.operator)
    assert rule is not None
    return rule(tuple(v.type for v in op.operands), op.attributes, permutation)


def transposed(type_: TensorType, permutation: Permutation) -> TensorType:
    """The type of a transposed tensor, with its quantization."""
    given = type_.quantization
    if given is not None and given.axis is not None:
        given = Quantization(given.scales, given.zero_points, permutation.index(given.axis))
    return TensorType(type_.dtype, tuple(type_.shape[d] for d in permutation), None, given)


def check(op: Operation, arrays: tuple[Array, ...]) -> set[Permutation]:
    """Hold an operation against itself on transposed operands; returns the permutations with which it commutes."""
    (expected,) = map(np.asarray, evaluate_operation(op, arrays))
    found = set()
    types = tuple(v.type for v in op.operands)
    rank = next(t.rank for place, t in enumerate(types) if leads(op.operator, types, place))
    for permutation in some_permutations(rank):
        moved = permuted(op, permutation)
        if moved is None:
            continue
        b = GraphBuilder("moved")
        pairs = list(zip(op.operands, moved.operands, strict=True))
        values = [b.input(str(i), transposed(v.type, order)) for i, (v, order) in enumerate(pairs)]
        if moved.emit is not None:
            result = moved.emit(b, tuple(values))
        else:
            result = b.operation(moved.operator or op.operator, values, moved.attributes).result
        assert result.type == transposed(op.result.type.dense(), moved.result), permutation
        turned = tuple(a.transpose(order).copy() for a, order in zip(arrays, moved.operands, strict=True))
        (got,) = map(np.asarray, evaluate(b.finish([result]), turned))
        assert got.dtype == expected.dtype
        wanted = expected.transpose(moved.result)
        if (op.name in SUMS or moved.emit is not None) and np.issubdtype(got.dtype, np.floating):
            atol = TOLERANCE[got.dtype.itemsize] * float(np.abs(wanted).max(initial=1))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=atol, err_msg=str(permutation))
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=str(permutation))
        found.add(permutation)
    return found


@pytest.mark.parametrize("case", [c for c in CASES if c.op in WITH_RULE], ids=lambda case: case.id)
def test_cases(case: OpCase) -> None:
    (op,) = case.graph(with_params=False).operations
    found = check(op, tuple(case.operands()))
    assert op.name in CONDITIONAL or any(map(is_identity, found))


def drawn(name: str) -> Iterator[tuple[Operation, tuple[Array, ...]]]:
    """Random uses of an operator, with the values of their operands."""
    for seed in range(SEEDS):
        network = draw_network(Seeded(seed), names=(name,), operations=2)
        values = dict(zip(network.graph.inputs, network.inputs.values(), strict=True))
        for op in network.graph.operations:
            operands = tuple(values[v] for v in op.operands)
            values.update(zip(op.results, evaluate_operation(op, operands, network.params), strict=True))
            if op.name == name:
                yield op, tuple(map(np.asarray, operands))


@pytest.mark.parametrize("name", [name for name in WITH_RULE if name in RECIPES])
def test_random_uses(name: str) -> None:
    found = [check(op, operands) for op, operands in drawn(name)]
    assert any(not is_identity(permutation) for each in found for permutation in each)


def test_every_rule_is_tried() -> None:
    assert set(WITH_RULE) <= set(RECIPES)


SHAPES = ((), (1,), (4,), (1, 1), (3, 1), (1, 4), (3, 4), (2, 1, 1), (2, 3, 1), (2, 1, 4), (1, 3, 4), (2, 3, 4))


def broadcasts_to(array: Array, wanted: Array) -> bool:
    """True if an array becomes another by broadcasting."""
    try:
        return np.array_equal(np.broadcast_to(array, wanted.shape), wanted)
    except ValueError:
        return False


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_operand_that_broadcasts_is_transposed_wherever_that_is_possible(shape: tuple[int, ...]) -> None:
    whole = (2, 3, 4)
    operand = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    b = GraphBuilder("sum")
    b.emit("add", b.input("x", TensorType(DType.F32, whole)), b.input("y", TensorType(DType.F32, shape)))
    for permutation in permutations(range(3)):
        moved = permuted(b.operations[-1], permutation)
        wanted = np.broadcast_to(operand, whole).transpose(permutation)
        fitting = [o for o in permutations(range(operand.ndim)) if broadcasts_to(operand.transpose(o), wanted)]
        assert (moved is None) == (not fitting), permutation
        assert moved is None or moved.operands[1] in fitting


def test_a_new_elementwise_operator_has_a_rule() -> None:
    class Cube(UnaryOperator):
        name = "cube"

        def function(self, x: Array, attributes: object) -> Array:
            return x * x * x

        element = chain = function

    rule = PERMUTED.of(Cube())
    assert rule is not None
    x = TensorType(DType.F32, (2, 3))
    assert rule((x,), {"alpha": 0.5}, (1, 0)) == Permuted({"alpha": 0.5}, (1, 0), ((1, 0),))
    assert rule((x,), {"x": Quantization.of(0.5)}, (1, 0)) is not None
    assert rule((x,), {"x": Quantization((0.5, 1.0), (0, 0), 0)}, (1, 0)) is None, "whose axis is it?"


def test_permutations() -> None:
    x = np.zeros((2, 3, 5, 7))
    first, second = (2, 0, 3, 1), (1, 3, 2, 0)
    assert x.transpose(first).transpose(second).shape == x.transpose(composed(first, second)).shape
    assert is_identity(composed(first, inverse(first)))
    assert is_identity(composed(inverse(first), first))
    assert not is_identity(first)
