"""What fuse and assign-layouts promise, checked on random networks."""

from __future__ import annotations

import pytest

from netc.compiler import passes
from netc.compiler.graph import Operation, Value, static_values
from netc.compiler.ops.windows.convolution import Conv2D
from tests.random_networks import random_case

SEEDS = pytest.mark.parametrize("seed", range(15))


def convolutions(op: Operation) -> list[tuple[Operation, Value]]:
    """The conv2d operations in `op`, with what each reads."""
    if op.body is None:
        return [(op, op.operands[0])] if op.name == "conv2d" else []
    outside = dict(zip(op.body.inputs, op.operands, strict=True))
    return [(inner, outside[inner.operands[0]]) for inner in op.body.operations if inner.name == "conv2d"]


def reduces_rows(op: Operation) -> bool:
    """True if `op` gives one element for each row, as the parts of a softmax do."""
    return op.name.startswith("reduce_") and op.result.type.shape == (*op.operands[0].type.shape[:-1], 1)


@SEEDS
def test_no_convolution_reads_outside_its_buffer(seed: int) -> None:
    graph = passes.run(random_case(seed).graph, "fold-batch-norm,fuse,assign-layouts")
    static = static_values(graph)
    for op in graph.operations:
        for conv, read in convolutions(op):
            if (
                read in static
            ):  # what is known when weights are loaded lies there without margins, and is read in bounds
                continue
            x, weight = conv.operands[0].type, conv.operands[1].type
            assert x == read.type
            assert isinstance(conv.operator, Conv2D)
            window = conv.operator.window(x, weight, conv.attributes)
            for d in range(2):
                before, after = x.margins[1 + d]
                reach = (window.output[d] - 1) * window.strides[d] + window.kernel[d] - window.padding[d][0]
                assert before >= window.padding[d][0]
                assert after >= reach - window.size[d]


@SEEDS
def test_only_one_value_leaves_a_group(seed: int) -> None:
    graph = passes.run(random_case(seed).graph, "simplify-inference,decompose,fuse")
    static = static_values(graph)
    for op in graph.operations:
        if op.body is None:
            continue
        members = [m for m in op.body.operations if m.name != "constant"]
        assert 2 <= len(members) <= passes.Fuse().limit
        assert op.body.outputs == (members[-1].result,)
        anchors = [m for m in members if m.operator.anchor]
        assert len(anchors) <= 1 or all(reduces_rows(m) for m in anchors)
        assert all(m.operator.anchor or m.operator.elementwise for m in members)
        reduced = [v for m in members if m.name.startswith("reduce_") for v in (*m.operands, *m.results)]
        assert {m.result.type.shape for m in members} <= {v.type.shape for v in (op.result, *reduced)}
        assert op.result not in static


@SEEDS
def test_nothing_more_can_be_fused_into_a_contraction(seed: int) -> None:
    graph = passes.run(random_case(seed).graph, "simplify-inference,decompose,fuse")
    for op in graph.operations:
        if not op.operator.contraction or op.result in graph.outputs:
            continue
        (user, *others) = graph.users[op.result]
        alone = not others and user.operator.elementwise
        assert not (alone and user.result.type.shape == op.result.type.shape)


def test_the_limit_of_a_group() -> None:
    graph = random_case(3, 40).graph
    sizes = [len(op.body.operations) for op in passes.run(graph, "fuse{limit=2}").operations if op.body]
    assert sizes
    assert max(sizes) <= 2 + 1, "two members and a constant"
