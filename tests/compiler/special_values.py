"""Special values of every element type, and graphs in which every operator meets them.

Operators are found in the registry: one that no graph here holds must stand in `ELSEWHERE`, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netc.compiler.errors import ShapeError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.graph.registry import operators
from netc.compiler.ops.quantized.base import Part, QuantizedOperator
from netc.compiler.types import DType, TensorType

FLOATS = (DType.F32, DType.F64, DType.F16)
INTEGERS = (DType.I64, DType.I32, DType.I16, DType.I8, DType.U8)
WIDTH = 23
"""Elements of a row: whole vectors and, behind them, smaller ones and a single element."""
LARGEST_QUOTIENT = 2.0**300

ATTRIBUTES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "cast": [{"dtype": str(dtype)} for dtype in DType],
    "clamp": [{"low": -1.5, "high": 2.5}, {"low": -np.inf, "high": 300}, {"low": 3, "high": -3}],
    "leaky_relu": [{}, {"alpha": 0.0}],
    **{name: [{"rate": 0.0}] for name in ("dropout", "alpha_dropout")},
}
"""How elementwise operators that need attributes are used."""

_MOVES, _SUMS = "moves elements, unchanged", "sums of products"
ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(
        ("param", "constant", "fused", "opaque", "custom_gradient", "if", "while", "map"), "no arithmetic of its own"
    ),
    **dict.fromkeys(("reshape", "transpose", "concat", "slice", "tile", "pad", "gather_nd", "broadcast_to"), _MOVES),
    **dict.fromkeys(("logical_and", "logical_or", "logical_not"), "truth values alone go in"),
    **dict.fromkeys(("relayout", "resize_nearest", "strided_slice", "strided_slice_gradient", "mirror_pad"), _MOVES),
    **dict.fromkeys(("space_to_depth", "depth_to_space", "space_to_batch_nd", "batch_to_space_nd"), _MOVES),
    **dict.fromkeys(("gather", "take_along_axis", "last_update"), _MOVES),
    **dict.fromkeys(("bitcast", "to_bfloat16", "from_bfloat16"), "bits, which are no numbers"),
    **dict.fromkeys(("random_words", "seeded_numbers", "seeded_choices"), "counters, which are whole numbers, go in"),
    "blocked_dense": _SUMS,
    "half_weight": "weights are packed with it: schedules/test_narrow_products.py",
    "scatter_nd": "sums of what is moved",
    "scatter_combine": "products and extremes of what is moved",
    **dict.fromkeys(("rfft", "irfft", "rfft2", "sequence_lstm", "sequence_rnn", "svdf"), _SUMS),
    "scan": "what its body computes",
    **dict.fromkeys(("one_hot", "random_uniform"), "whole numbers alone go in"),
    **dict.fromkeys(("batch_norm", "channel_variance", "contract", "dense", "matmul"), _SUMS),
    **dict.fromkeys((f"transpose_conv{n}d" for n in "123"), _SUMS),
    **dict.fromkeys(("resize", "resize_gradient", "interpolate"), _SUMS),
    **dict.fromkeys(("weighted_gather", "weighted_scatter", "gathered_dot"), _SUMS),
    **dict.fromkeys(("roi_align", "roi_align_max", "roi_align_gradient"), _SUMS),
    "next_nodes": "gives places; tests/frontend/onnx/test_classical.py has it meet NaN",
    "non_max_suppression": "gives positions; tests/compiler/ops/test_detection.py has it meet NaN and infinities",
    "soft_non_max_suppression": "gives positions; LiteRT's kernel doesn't define what NaN and infinities do",
    **dict.fromkeys(("reduce_any", "reduce_all"), "truth values alone go in"),
    **dict.fromkeys(("sort_order", "radix_order"), "argsort is made of it"),
    **dict.fromkeys(("resize_bilinear", "winograd_filter", "normalize", "l2_normalize", "local_response_norm"), _SUMS),
    **dict.fromkeys(("channel_scales", "filter_scales", "strassen_filter"), "schedules pack weights by it"),
    **dict.fromkeys((f"conv{n}d{of}" for n in "123" for of in ("", "_input_gradient", "_weight_gradient")), _SUMS),
    "attention": "sums of products, and exponentials: ops/test_attention.py has special scores",
    **dict.fromkeys(("fake_quantize", "round_to_grid"), "numbers on a grid of integers"),
    **{
        name: "integers on a scale, which have LiteRT's arithmetic"
        for name, operator in operators().items()
        if isinstance(operator, Part | QuantizedOperator)
    },
}


def specials(dtype: DType) -> Any:
    """Numbers that go wrong first."""
    if not dtype.is_float:
        info = np.iinfo(str(dtype.numpy))
        numbers = {int(info.min), int(info.min) + 1, -7, -1, 0, 1, 2, 7, int(info.max) - 1, int(info.max)}
        return np.array(sorted(n for n in numbers if n >= info.min), dtype.numpy)
    limits = np.finfo(str(dtype.numpy))
    ends = [limits.max, limits.min, limits.smallest_subnormal, -limits.tiny / 2]
    return np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.5, *ends, 255.7, -129.0, 65500.0], dtype.numpy)


def elementwise_graph(dtype: DType, *, halves: bool = True) -> tuple[Graph, list[Any], list[str]]:
    """Every elementwise operator on all pairs of special values; inputs, and the operator of each output.

    Without `halves` nothing is converted to f16.
    """
    a, b = _pairs(specials(dtype))
    with np.errstate(all="ignore"):
        is_small = np.abs(a.astype(np.float64) / b.astype(np.float64)) > LARGEST_QUOTIENT
    arrays = [a, b, np.where(is_small & (dtype is DType.F64), a, b)]
    g = GraphBuilder("elementwise")
    x, y, divisor = (g.input(name, TensorType(dtype, a.shape)) for name in ("a", "b", "divisor"))
    outputs: dict[Value, str] = {}
    for name, given in _elementwise_uses(dtype):
        if halves or given.get("dtype") != "f16":
            operands = (x, divisor) if name in ("floor_mod", "fmod") else (x, y)[: len(operators()[name].operands)]
            outputs[g.emit(name, *operands, **given)] = name
    outputs[g.emit("select", g.emit("less", x, y), x, y)] = "select"
    return g.finish(list(outputs)), arrays, list(outputs.values())


def _pairs(values: Any) -> tuple[Any, Any]:
    """Two operands [rows, WIDTH]: each value in every lane, and all pairs of values."""
    count = len(values)
    starts = [(i, i + distance) for i in range(count) for distance in (0, count // 2)]
    starts += [(0, distance) for distance in range(count)]
    places = np.array(starts)[..., np.newaxis] + np.arange(WIDTH)
    a, b = (np.ascontiguousarray(values[places[:, i] % count]) for i in range(2))
    return a, b


def _elementwise_uses(dtype: DType) -> list[tuple[str, Mapping[str, Any]]]:
    """The elementwise operators that take operands of one type, this one, with attributes."""
    uses = [
        (name, given)
        for name, operator in operators().items()
        if operator.elementwise and name not in ELSEWHERE and name != "select"
        for given in ATTRIBUTES.get(name, [{}])
    ]
    return [(name, given) for name, given in uses if _takes(name, given, dtype)]


def _takes(name: str, given: Mapping[str, Any], dtype: DType) -> bool:
    operator = operators()[name]
    try:
        operator.result_types((TensorType(dtype, (2, 3)),) * len(operator.operands), operator.complete(given))
    except ShapeError:
        return False
    return True


def reduction_graph(dtype: DType, *, halves: bool = True) -> tuple[Graph, list[Any], list[str]]:
    """Reductions and pooling, the short and the long way; each special value stands alone, and among its like.

    Nothing is converted to f16, with or without `halves`.
    """
    arrays = [_scattered(dtype, count) for count in (5, 12, 36)]
    g = GraphBuilder("reductions")
    few, many, flat = (g.input(name, TensorType(dtype, x.shape)) for name, x in zip("abc", arrays, strict=True))
    picture = g.emit("reshape", flat, shape=(flat.type.shape[0], 6, 6, WIDTH))
    outputs: dict[Value, str] = {}
    for name in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod"):
        if dtype is not DType.F16 or name in ("reduce_max", "reduce_min"):  # sums of halves are rounded all the way
            for x, axes in ((few, (1,)), (many, (1,)), (many, (2,)), (picture, (1, 2))):
                outputs[g.emit(name, x, axes=axes)] = name
    if dtype is not DType.F16:
        for flags in ({}, {"exclusive": True}, {"reverse": True}):
            outputs[g.emit("cumulative_sum", many, axis=1, **flags)] = "cumulative_sum"
    for axis in (1, -1):
        for name in ("argmax", "argmin", "sort", "argsort"):
            outputs[g.emit(name, many, axis=axis)] = name
        for name in ("top_k_values", "top_k_indices"):
            outputs[g.emit(name, many, axis=axis, k=3)] = name
        for name in ("softmax", "log_softmax", "logsumexp") if dtype in FLOATS[:2] else ():
            outputs[g.emit(name, many, axis=axis)] = name
    for size, strides, padding in (((2, 2), (2, 2), "valid"), ((3, 3), (2, 2), "same"), ((4, 4), (1, 1), "valid")):
        attributes = {"size": size, "strides": strides, "padding": padding}
        y = g.emit("max_pool", picture, **attributes)
        outputs[y] = "max_pool"
        if dtype in FLOATS[:2]:
            outputs |= _float_pooling(g, picture, y, attributes)
    return g.finish(list(outputs)), arrays, list(outputs.values())


def _float_pooling(g: GraphBuilder, x: Value, y: Value, attributes: Mapping[str, Any]) -> dict[Value, str]:
    """What else pools, and what pooling is differentiated to; the pooled values serve as cotangents."""
    index = g.emit("max_pool_index", x, y, **attributes)
    back = {"input_size": (6, 6), **attributes}
    return {
        index: "max_pool_index",
        g.emit("avg_pool", x, **attributes): "avg_pool",
        g.emit("max_pool_gather", x, index, **attributes): "max_pool_gather",
        g.emit("max_pool_gradient", index, y, **back): "max_pool_gradient",
        g.emit("avg_pool_gradient", y, **back): "avg_pool_gradient",
    }


def _scattered(dtype: DType, count: int) -> Any:
    """[cases, count, WIDTH]: ordinary numbers, and in each lane a special one somewhere; or that one alone."""
    values, lanes, lowest = specials(dtype), np.arange(WIDTH), 0 if dtype is DType.U8 else -9
    every = np.stack([np.tile(values[(shift + lanes) % len(values)], (count, 1)) for shift in (0, 5)])
    alone = np.random.default_rng(count).integers(lowest, 9, every.shape).astype(dtype.numpy)
    for i, case in enumerate(alone):
        case[(3 * i + 5 * lanes) % count, lanes] = every[i, 0]
    return np.concatenate([alone, every])
