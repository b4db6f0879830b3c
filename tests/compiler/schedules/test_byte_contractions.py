"""What becomes contractions of bytes, for which there are dot products: 16-bit numbers, phases and narrow groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import netc
from netc import pipeline
from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph import Array, Graph, GraphBuilder, evaluate
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, Quantization, TensorType

BIAS = {DType.I16: np.int64}
"""Others have biases of 32 bits."""


def _graph(name: str, dtype: DType, x: tuple[int, ...], weight: tuple[int, ...], **attributes: Any) -> Graph:
    rng = np.random.default_rng(sum(x) + sum(weight))
    short, unsigned = dtype is DType.I16, dtype is DType.U8
    given = Quantization.of(1e-4 if short else 0.02, 0 if short else 100 if unsigned else -5)
    y = Quantization.of(0.01 if short else 1.5, 0 if short else 3)
    filters = weight[-1]
    zero = 120 if unsigned else 0
    scales = Quantization(tuple(np.linspace(0.005, 0.02, filters).tolist()), (zero,) * filters, len(weight) - 1)
    b = GraphBuilder("case")
    low, high = (0, 256) if unsigned else (-127, 128)
    filter_type = np.uint8 if unsigned else np.int8
    operands = [
        b.input("x", TensorType(dtype, x, None, given)),
        b.constant(rng.integers(low, high, weight).astype(filter_type)),
        b.constant(rng.integers(-1000, 1000, filters).astype(BIAS.get(dtype, np.int32))),
    ]
    return b.finish([b.emit(name, *operands, x=given, weight=scales, y=y, **attributes)])


def _sample(graph: Graph) -> Array:
    type_ = graph.inputs[0].type
    info = np.iinfo(str(type_.dtype.numpy))
    values: Array = np.random.default_rng(1).integers(info.min, info.max, type_.shape, type_.dtype.numpy, endpoint=True)
    return values


SAME = {"strides": (1, 1), "padding": "same", "dilations": (1, 1), "groups": 1}
DOUBLED = {"size": (14, 12), "strides": (2, 2), "padding": ((1, 1), (1, 1))}
CASES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "convolution": ("q_conv2d", (1, 7, 6, 8), (3, 3, 8, 5), SAME),
    "depthwise": ("q_conv2d", (1, 7, 6, 16), (3, 3, 1, 16), {**SAME, "groups": 16}),
    "dense": ("q_dense", (3, 40), (40, 9), {}),
    "groups of two": ("q_conv2d", (1, 7, 6, 8), (3, 3, 2, 8), {**SAME, "groups": 4}),
    "groups of three": ("q_conv2d", (1, 7, 6, 9), (3, 3, 3, 12), {**SAME, "groups": 3}),
    "transposed": ("q_transpose_conv2d", (1, 7, 6, 8), (4, 4, 8, 5), DOUBLED),
    "transposed, of fewer taps than the stride": (
        "q_transpose_conv2d",
        (1, 4, 3, 4),
        (1, 2, 4, 3),
        {"size": (12, 9), "strides": (3, 3), "padding": ((0, 0), (0, 0))},
    ),
    "transposed, cut, dilated, in groups": (
        "q_transpose_conv2d",
        (1, 5, 4, 8),
        (3, 2, 4, 6),
        {"size": (9, 7), "strides": (2, 1), "padding": ((3, 0), (0, 0)), "dilations": (2, 3), "groups": 2},
    ),
    "transposed, smaller than the stride": (
        "q_transpose_conv2d",
        (1, 1, 1, 4),
        (3, 3, 4, 3),
        {"size": (2, 2), "strides": (3, 3), "padding": ((0, 0), (0, 0))},
    ),
}


@pytest.mark.parametrize(
    ("dtype", "longest"), [(DType.I8, None), (DType.U8, None), (DType.I16, None), (DType.I8, 0), (DType.U8, 0)]
)
def test_results_are_exact(dtype: DType, longest: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cases are one graph, which is compiled once; the last two with epilogues as loops."""
    if longest is not None:
        target = replace(host_target(), longest_epilogue=longest)
        monkeypatch.setattr(pipeline, "target_of", lambda cpu: target)
    graphs = [_graph(operator, dtype, x, weight, **given) for operator, x, weight, given in CASES.values()]
    b = GraphBuilder("all")
    inputs = [b.input(f"x{i}", graph.inputs[0].type) for i, graph in enumerate(graphs)]
    whole = b.finish([b.inline(graph, [x])[0] for graph, x in zip(graphs, inputs, strict=True)])
    samples = [_sample(graph) for graph in graphs]
    with netc.compile(whole, threads=1) as program:
        for name, got, expected in zip(CASES, program(*samples), evaluate(whole, samples), strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=name)


def test_sums_of_32_bits_wrap_around() -> None:
    graph = _graph("q_dense", DType.I16, (1, 1024), (1024, 3))
    (op,) = (op for op in graph.operations if op.name == "q_dense")
    b = GraphBuilder("narrow")
    x = b.input("x", graph.inputs[0].type)
    weight = b.constant(np.full((1024, 3), 127, np.int8))
    results = [b.emit("q_dense", x, weight, **{**op.attributes, "sums": sums}) for sums in ("i32", "i64")]
    graph = b.finish(results)
    sample = np.full((1, 1024), 32767, np.int16)
    narrow, wide = evaluate(graph, [sample])
    assert (narrow < 0).all()
    assert (wide == 32767).all()
    with netc.compile(graph, threads=1) as program:
        for got, expected in zip(program(sample), (narrow, wide), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [DType.I8, DType.I16])
@pytest.mark.parametrize("name", ["convolution", "dense", "groups of two", "groups of three", "transposed"])
def test_dot_products_are_used(name: str, dtype: DType) -> None:
    operator, x, weight, attributes = CASES[name]
    target = find_target("znver4")
    module = lower(optimize(_graph(operator, dtype, x, weight, **attributes), pipelines.INFERENCE, target), target, 1)
    assert "dot4(" in str(module)
