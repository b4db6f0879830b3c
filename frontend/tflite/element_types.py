"""Which element types each operator computes with; operators on others stay opaque.

TFLite's kernels have floats of 32 bits, some have whole numbers of 32 and 64 bits; what moves elements has them all.
Which quantized numbers an operator takes, its converter knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...compiler.graph.types import DType
from .context import Context
from .model import Tensor

_FLOATS = frozenset({DType.F32})
_NUMBERS = frozenset({DType.F32, DType.I32, DType.I64})
_ANY = frozenset(DType)
_QUANTIZED = frozenset({DType.I8, DType.U8, DType.I16})


def _of(names: str, types: frozenset[DType]) -> dict[str, frozenset[DType]]:
    return dict.fromkeys(names.split(), types)


_TYPES: Mapping[str, frozenset[DType]] = MappingProxyType(
    {
        **_of("ADD SUB MUL DIV FLOOR_DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE SQUARE NEG ABS SIGN", _NUMBERS),
        **_of("SUM REDUCE_MAX REDUCE_MIN ARG_MAX RANGE RESIZE_NEAREST_NEIGHBOR", _NUMBERS),
        **_of("LESS LESS_EQUAL GREATER GREATER_EQUAL", _NUMBERS),
        **_of("EQUAL NOT_EQUAL", _NUMBERS | {DType.BOOL}),
        **_of("RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE CONCATENATION PACK UNPACK SPLIT SPLIT_V SLICE STRIDED_SLICE", _ANY),
        **_of("TILE PAD PADV2 GATHER GATHER_ND SPACE_TO_DEPTH DEPTH_TO_SPACE FILL BROADCAST_TO SELECT SELECT_V2", _ANY),
        **_of("SHAPE RANK CAST QUANTIZE DEQUANTIZE", _ANY),
    }
)
"""Plain element types by operator; of all others floats."""
_OPERANDS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        **dict.fromkeys("CONV_2D CONV_3D DEPTHWISE_CONV_2D FULLY_CONNECTED UNIDIRECTIONAL_SEQUENCE_LSTM".split(), (0,)),
        "TRANSPOSE_CONV": (2,),
        **dict.fromkeys("MEAN SUM REDUCE_MAX REDUCE_MIN ARG_MAX".split(), (0,)),
        **dict.fromkeys("RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR".split(), (0,)),
    }
)
"""Which inputs an operator computes with, where that isn't all of them; weights and biases have rules of their own."""
_OWN_RESULTS = frozenset("LESS LESS_EQUAL GREATER GREATER_EQUAL EQUAL NOT_EQUAL ARG_MAX".split())
"""Operators whose result has another type than what they compute with."""


def check_element_types(c: Context) -> None:
    """Leave an operator opaque if it computes with plain elements of a type that it doesn't have."""
    name = c.operator.name
    allowed = _TYPES.get(name, _FLOATS)
    places = _OPERANDS.get(name, range(c.count))
    tensors: list[Tensor] = [c.tensor(i) for i in places if c.has(i)]
    if name not in _OWN_RESULTS:
        tensors += [c.output(i) for i in range(len(c.operator.outputs))]
    for tensor in tensors:
        type_ = tensor.type
        if type_ is None or tensor.is_variable:
            continue
        if type_.dtype not in (allowed if type_.quantization is None else _QUANTIZED):
            c.unsupported(f"its form for {type_.dtype} is not supported")
