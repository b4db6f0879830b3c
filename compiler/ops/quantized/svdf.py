"""TensorFlow Lite's SVDF on 8-bit numbers, with a memory of 16 bits or 8; facts: its reference/svdf.h.

The memory of 8 bits is that of TensorFlow Lite for Microcontrollers (micro/kernels/svdf_common.cc).
"""

from __future__ import annotations

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..facets import PERMUTED
from ..regions.scan import evaluated
from ..sequences.sequence_rnn import check_svdf, remembered
from . import fixed_point as fp
from .base import QuantizedOperator, check_activations, quantization


@register
class QSvdf(QuantizedOperator):
    """SVDF of x i8 [N, I] to i8 [N, F / rank] and the next memory, as `svdf`; filters over the features are i8.

    The memory and filters over time are i16 or i8; the bias is i32.
    """

    name = "q_svdf"
    operands = ("x", "memory", "features", "time", "bias?")
    attributes = {
        "rank": AttributeSpec(int, "filters that make up a unit"),
        "x": quantization("x"),
        "memory": quantization("the memory"),
        "features_scale": AttributeSpec(float, "scale of the filters over the features"),
        "time_scale": AttributeSpec(float, "scale of the filters over time"),
        "y": quantization("the result"),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, memory, features, time, *bias = operands
        check_activations(self, (x,), attributes, "x", beside=("memory", "y"))
        check_svdf(self, operands, attributes["rank"])
        units = features.shape[1] // attributes["rank"]
        if (x.dtype, features.dtype) != (DType.I8, DType.I8) or memory.dtype not in (DType.I8, DType.I16):
            raise ShapeError(f"q_svdf takes i8 with a memory of type i16 or i8, not {x}, {features} and {memory}")
        if time.dtype is not memory.dtype or (bias and (bias[0].dtype, bias[0].shape) != (DType.I32, (units,))):
            raise ShapeError(f"q_svdf can't take {', '.join(map(str, operands[3:]))} with {units} units")
        _factors(attributes)
        return (TensorType(DType.I8, (x.shape[0], units), None, attributes["y"]), memory.with_layout(None))

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return evaluated(self, operands, attributes)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, ...]:
        x, memory, features, time, *bias = operands
        kept, shown = _factors(attributes)
        total = b.emit("dense_sum", x, features, x_zero=attributes["x"].zero_point, weight_zero=0)
        stored = memory.type.quantization
        new = b.emit("scaled_sum", total, factor=kept, dtype=str(memory.type.dtype))
        zero = b.scalar(attributes["memory"].zero_point, DType.I32)
        if attributes["memory"].zero_point:  # which is added after the number was limited, and wraps around
            new = b.emit("cast", b.emit("add", b.emit("cast", new, dtype="i32"), zero), dtype=str(memory.type.dtype))
        if stored is not None:
            new = b.emit("reinterpret", new, y=stored)
        after = remembered(b, memory, new, time.type.shape)
        held = b.emit("sub", b.emit("cast", after, dtype="i32"), zero)
        products = b.emit("mul", held, b.emit("cast", time, dtype="i32"))
        weighed = b.emit("reduce_sum", products, axes=(-1,))
        batch, rank = x.type.shape[0], attributes["rank"]
        units = features.type.shape[1] // rank
        sums = b.emit("reduce_sum", b.emit("reshape", weighed, shape=(batch, units, rank)), axes=(-1,))
        for value in bias:
            sums = b.emit("add", sums, value)
        result = b.emit("scaled_sum", sums, factor=shown, zero=attributes["y"].zero_point)
        y = b.emit("reinterpret", result, y=attributes["y"])
        return y, b.emit("reshape", after, shape=memory.type.shape)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return operands[0].shape[0] * (operands[2].size + operands[3].size)


def _factors(attributes: Attributes) -> tuple[tuple[int, int], tuple[int, int]]:
    """From sums over the features to the memory, and from sums over time to the result; combined in f32."""
    kept = fp.single_ratio(attributes["x"].scale, attributes["features_scale"], over=attributes["memory"].scale)
    shown = fp.single_ratio(attributes["memory"].scale, attributes["time_scale"], over=attributes["y"].scale)
    return fp.quantize_multiplier(kept), fp.quantize_multiplier(shown)


PERMUTED.none("the step in time and the channels have places", QSvdf)
