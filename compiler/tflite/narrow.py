"""Integers of 8 and 16 bits that TFLite's kernels would not take as netc means them.

Most kernels take such integers for quantized numbers, also where the file states no scale: they reckon with one of 0,
or abort. Operators that say themselves what their integers stand for (`q_add`) aren't concerned.
"""

from __future__ import annotations

from ..graph.ir import Operation
from ..ops.facets import Narrow, TfliteForm
from ..ops.quantized.base import INTEGERS
from ..ops.quantized.comparison import compares_integers
from ..types import Quantization, TensorType


def misread(op: Operation, form: TfliteForm) -> TensorType | None:
    """The type of an operand or result that TFLite takes for something else."""
    if form.narrow is Narrow.COPIED:
        return None
    if any(isinstance(a, Quantization) for a in op.attributes.values()) or "inputs" in op.attributes:
        return None  # each type was held against the attributes
    narrow = [v.type for v in (*op.operands, *op.results) if v.type.dtype in INTEGERS and v.type.dtype not in form.raw]
    alike = len({t.quantization for t in narrow}) == 1
    return next((t for t in narrow if not (alike and _is_read(op, form, t))), None)


def _is_read(op: Operation, form: TfliteForm, type_: TensorType) -> bool:
    """True if the kernel means what netc means, if all its integers are like this."""
    if type_.quantization is None:
        return form.narrow is Narrow.ALIKE or type_.dtype in form.plain
    if form.narrow is Narrow.COMPARED:
        return compares_integers(op.name, type_.dtype, type_.quantization)
    return form.narrow is Narrow.ALIKE
