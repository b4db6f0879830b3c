"""NumericVerify, which TensorFlow's quantization debugger leaves in files: how far a quantized tensor is from floats.

Source: tensorflow/lite/kernels/numeric_verify.cc.
"""

from __future__ import annotations

from ..errors import NetcError
from ..graph.ir import Value
from .custom import CustomCall, custom_operator

CHECKED = 0.1
"""From this tolerance on LiteRT stops where the difference is larger, if it is asked to."""


@custom_operator("NumericVerify")
def difference(call: CustomCall) -> Value:
    """What quantized numbers stand for, less the floats: x i8, u8 or i16 and reference f32 of one shape."""
    if len(call.operands) != 2 or len(call.results) != 1:
        raise NetcError("only its form with two operands and one result is supported")
    x, reference = call.operands
    given = x.type.quantization
    if given is None or not given.is_per_tensor or x.type.shape != reference.type.shape:
        raise NetcError(f"its form for {x.type} and {reference.type} is not supported")
    if call.number("tolerance", 0) >= CHECKED and call.options.get("log_if_failed"):
        raise NetcError("it stops the network where numbers differ too much, which programs of netc can't do")
    return call.emit("sub", call.emit("dequantize", x, x=given), reference)
