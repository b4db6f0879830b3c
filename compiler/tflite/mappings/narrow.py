"""Which operators on integers of 8 and 16 bits TFLite's kernels carry out as netc means them.

Most kernels take such integers for quantized numbers, also where the file states no scale: they reckon with one of 0,
or abort. Operators that say themselves what their integers stand for (`q_add`) aren't concerned.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...graph.ir import Operation
from ...graph.types import DType, Quantization, TensorType
from ...ops.quantized.base import INTEGERS
from ...ops.quantized.comparison import compares_integers
from ..emitter import Emitter, Mapping_

_MOVING = ("identity", "stop_gradient", "reinterpret", "reshape", "transpose", "broadcast_to", "slice", "tile")
_COPYING = frozenset({*_MOVING, "opaque", "quantize", "gather_nd", "select", "cast"})
"""Operators whose kernels don't look at scales, or, if they do, as netc does."""
_REDUCING = ("reduce_max", "reduce_min", "max_pool", "q_avg_pool", "argmax")
_CHOOSING = ("maximum", "minimum", "clamp", "relu", "relu6")
_ALIKE = frozenset({*_REDUCING, *_CHOOSING, "concat", "pad", "resize_bilinear", "resize_nearest"})
"""Operators whose kernels take the integers as they are where all have one scale, or none."""
_COMPARING = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
_SHORTS = ("add", "mul", "neg", "abs", "less", "less_equal", "greater", "greater_equal", "equal")
_ARITHMETIC: Mapping[str, frozenset[DType]] = MappingProxyType(
    {**dict.fromkeys(_SHORTS, frozenset({DType.I16})), "floor_div": frozenset({DType.I8, DType.I16})}
)
"""Operators whose kernels compute with plain integers, and of which types."""


def checked(name: str, emit: Mapping_) -> Mapping_:
    """The mapping of an operator, which refuses integers that TFLite would misread."""

    def write(c: Emitter, op: Operation) -> None:
        misread = _misread(op)
        if misread is not None:
            hint = "cast it to i32 or f32 first, or use operators on quantized numbers"
            c.fail(op, f"TFLite's form of {name} takes {misread} for quantized numbers, which netc doesn't", hint)
        emit(c, op)

    return emit if name in _COPYING else write


def _misread(op: Operation) -> TensorType | None:
    """The type of an operand or result that TFLite takes for something else."""
    if any(isinstance(a, Quantization) for a in op.attributes.values()) or "inputs" in op.attributes:
        return None  # each type was held against the attributes
    narrow = [v.type for v in (*op.operands, *op.results) if v.type.dtype in INTEGERS]
    alike = len({t.quantization for t in narrow}) == 1
    return next((t for t in narrow if not (alike and _is_read(op.name, t))), None)


def _is_read(name: str, type_: TensorType) -> bool:
    """True if the kernel means what netc means, if all its integers are like this."""
    if type_.quantization is None:
        return name in _ALIKE or type_.dtype in _ARITHMETIC.get(name, ())
    if name in _COMPARING:
        return compares_integers(name, type_.dtype, type_.quantization)
    return name in _ALIKE
