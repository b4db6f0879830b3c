"""TFLite's pooling, reductions, softmax and products of matrices as operations of the graph."""

from __future__ import annotations

from typing import Any

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.ops.quantized.base import INTEGERS
from ...compiler.types import DType
from .context import Context
from .hybrid import asymmetric, hybrid, hybrid_weight, is_hybrid


def _pool_attributes(c: Context) -> dict[str, Any]:
    return {
        "size": c.positive("filter_height", "filter_width"),
        "strides": c.positive("stride_h", "stride_w"),
        "padding": c.padding,
    }


def average_pool_2d(c: Context) -> Value:
    """AVERAGE_POOL_2D."""
    if c.is_quantized:
        return c.emit("q_avg_pool", c.value(0), **_pool_attributes(c), **c.fused_range())
    return c.activated(c.emit("avg_pool", c.value(0), **_pool_attributes(c)))


def l2_pool_2d(c: Context) -> Value:
    """L2_POOL_2D of floats: the root of the mean square."""
    if c.is_quantized:
        c.unsupported("its quantized form is not supported")
    square = c.emit("square", c.value(0))
    return c.activated(c.emit("sqrt", c.emit("avg_pool", square, **_pool_attributes(c))))


def max_pool_2d(c: Context) -> Value:
    """MAX_POOL_2D."""
    pooled = c.emit("max_pool", c.value(0), **_pool_attributes(c))
    if not c.is_quantized:
        return c.activated(pooled)
    return pooled if c.fused is None else c.emit("clamp", pooled, **c.fused_range())


_OF_TRUTH = {
    "reduce_sum": "reduce_any",
    "reduce_max": "reduce_any",
    "reduce_prod": "reduce_all",
    "reduce_min": "reduce_all",
}
"""What reductions do with truth values."""


def _axes(c: Context) -> dict[str, Any]:
    """Which dimensions are reduced, and whether they stay with size 1."""
    rank = c.type(0).rank
    axes = tuple(sorted({a % rank for a in c.integers(1) if -rank <= a < rank})) if rank else ()
    return {"axes": axes, "keepdims": bool(c.option("keep_dims", False))}


def _reduce(name: str, quantized_sum: bool | None) -> Any:
    """MEAN, SUM (quantized: in fixed point) and REDUCE_MAX, REDUCE_MIN."""

    def convert(c: Context) -> Value:
        given = _axes(c)
        if c.type(0).dtype is DType.BOOL and name in _OF_TRUTH:
            return c.emit(_OF_TRUTH[name], c.value(0), **given)
        if c.is_quantized and quantized_sum is not None:
            x, y = c.quantization(0), c.output_quantization()
            return c.emit("q_mean", c.value(0), **given, sum=quantized_sum, x=x, y=y)
        return c.emit(name, c.value(0), **given)

    return convert


def reduce_prod(c: Context) -> Value:
    """REDUCE_PROD; of quantized numbers in fixed point."""
    if c.is_quantized:
        c.check_form(0, (DType.I8, DType.I16))
        scales = {"x": c.quantization(0), "y": c.output_quantization()}
        return c.emit("q_reduce_prod", c.value(0), **_axes(c), **scales)
    product: Value = _reduce("reduce_prod", None)(c)
    return product


def softmax(c: Context) -> Value:
    """SOFTMAX over the last dimension."""
    beta = float(c.option("beta", 1.0))
    if c.is_quantized:
        c.check_form(0, INTEGERS)
        return c.emit(
            "q_softmax",
            c.value(0),
            x=c.quantization(0),
            y=c.output_quantization(),
            dtype=str(c.output_type().dtype),
            beta=beta,
        )
    x = c.value(0)
    if beta != 1.0:
        x = c.emit("mul", x, c.builder.scalar(beta, x.type.dtype))
    return c.emit("softmax", x, axis=-1)


def log_softmax(c: Context) -> Value:
    """LOG_SOFTMAX over the last dimension."""
    if c.is_quantized:
        c.check_form(0)
        return c.emit("q_log_softmax", c.value(0), x=c.quantization(0), y=c.output_quantization())
    return c.emit("log_softmax", c.value(0), axis=-1)


def batch_matmul(c: Context) -> Value:
    """BATCH_MATMUL of floats, of 8-bit integers, or of floats by 8-bit integers."""
    turned = [bool(c.option(name, False)) for name in ("adj_x", "adj_y")]
    adjoint: dict[str, Any] = dict(zip(("transpose_a", "transpose_b"), turned, strict=True))
    if is_hybrid(c, 0, 1):
        weight, given = hybrid_weight(c, 1, tuple(range(c.type(1).rank)))
        if not given.is_per_tensor:
            c.unsupported("a weight with several scales is not supported")
        return hybrid(c, "matmul", [c.value(0), weight], given, symmetric=not asymmetric(c), attributes=adjoint)
    if c.type(0).dtype.is_float is not c.type(1).dtype.is_float:
        c.unsupported("floats times integers are not supported")
    if not c.is_quantized:
        return c.emit("matmul", c.value(0), c.value(1), **adjoint)
    c.check_form(0, (DType.I8, DType.I16))
    second = c.type(1).quantization
    if second is not None and not second.is_per_tensor:
        c.unsupported("a second operand with several scales, which LiteRT's kernels take for 0, is not supported")
    scales = {"a": c.quantization(0), "b": c.quantization(1), "y": c.output_quantization()}
    return c.emit("q_matmul", c.value(0), c.value(1), **scales, **adjoint)


reads(batch_matmul, "BATCH_MATMUL")
reads(log_softmax, "LOG_SOFTMAX")
reads(average_pool_2d, "AVERAGE_POOL_2D")
reads(l2_pool_2d, "L2_POOL_2D")
reads(max_pool_2d, "MAX_POOL_2D")
reads(_reduce("reduce_mean", False), "MEAN")
reads(_reduce("reduce_sum", True), "SUM")
reads(_reduce("reduce_max", None), "REDUCE_MAX")
reads(_reduce("reduce_min", None), "REDUCE_MIN")
reads(_reduce("reduce_any", None), "REDUCE_ANY")
reads(_reduce("reduce_all", None), "REDUCE_ALL")
reads(reduce_prod, "REDUCE_PROD")
reads(softmax, "SOFTMAX")
