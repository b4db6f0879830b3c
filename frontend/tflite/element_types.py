"""Which element types each operator computes with; operators on others stay opaque.

TFLite's kernels have floats of 32 bits, some have whole numbers of 32 and 64 bits; what moves elements has them all.
Which quantized numbers an operator takes, its converter knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from ...compiler.tflite.reading.encodings import PACKED
from ...compiler.types import DType
from .context import Context

_Value = TypeVar("_Value")

_FLOATS = frozenset({DType.F32})
_NUMBERS = frozenset({DType.F32, DType.I32, DType.I64})
_ANY = frozenset(DType)
_QUANTIZED = frozenset({DType.I8, DType.U8, DType.I16})


def _each(names: str, value: _Value) -> dict[str, _Value]:
    """One value for all of some names."""
    return dict.fromkeys(names.split(), value)


_TYPES: Mapping[str, frozenset[DType]] = MappingProxyType(
    {
        **_each("ADD SUB MUL DIV FLOOR_DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE SQUARE NEG ABS SIGN", _NUMBERS),
        **_each("MEAN TOPK_V2 RANGE", _NUMBERS),
        "RESIZE_NEAREST_NEIGHBOR": _NUMBERS | {DType.BOOL},
        **_each("LESS LESS_EQUAL GREATER GREATER_EQUAL", _NUMBERS),
        **_each("CUMSUM FLOOR_MOD ADD_N", _NUMBERS),
        **_each("LOGICAL_AND LOGICAL_OR LOGICAL_NOT", frozenset({DType.BOOL})),
        **_each("BITWISE_XOR RIGHT_SHIFT", frozenset({DType.I8, DType.U8, DType.I16, DType.I32})),
        **_each("BITCAST STABLEHLO_ADD STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_MINIMUM STABLEHLO_AND", _ANY),
        **_each("STABLEHLO_OR STABLEHLO_GATHER STABLEHLO_PAD STABLEHLO_SCATTER DILATE", _ANY),
        **_each("REDUCE_WINDOW STABLEHLO_REDUCE_WINDOW", _ANY),
        **_each("STABLEHLO_SHIFT_LEFT", frozenset({DType.I8, DType.I16, DType.I32})),
        "POW": frozenset({DType.F32, DType.I32}),
        **_each("REDUCE_ANY REDUCE_ALL", frozenset({DType.BOOL})),
        **_each("SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD ARG_MAX ARG_MIN", _NUMBERS | {DType.BOOL}),
        **_each("EQUAL NOT_EQUAL", _NUMBERS | {DType.BOOL}),
        **_each("RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE CONCATENATION PACK UNPACK SPLIT SPLIT_V SLICE", _ANY),
        **_each("STRIDED_SLICE TILE PAD PADV2 GATHER GATHER_ND SPACE_TO_DEPTH DEPTH_TO_SPACE FILL", _ANY),
        **_each("MIRROR_PAD REVERSE_V2 SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND EMBEDDING_LOOKUP SCATTER_ND", _ANY),
        **_each("ONE_HOT ZEROS_LIKE REVERSE_SEQUENCE DYNAMIC_UPDATE_SLICE DENSIFY", _ANY),
        # Their kernels leave the memory of truth values as it was.
        **_each("MATRIX_DIAG MATRIX_SET_DIAG", _ANY - {DType.BOOL}),
        **_each("SPARSE_TO_DENSE BUCKETIZE BROADCAST_ARGS HASHTABLE_LOOKUP", _ANY),
        **_each("SEGMENT_SUM UNSORTED_SEGMENT_SUM UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN", _NUMBERS),
        **_each("UNSORTED_SEGMENT_PROD NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5", _NUMBERS),
        **_each("BROADCAST_TO SELECT SELECT_V2 SHAPE RANK CAST QUANTIZE DEQUANTIZE", _ANY),
    }
)
"""Plain element types by operator; of all others floats."""
_SCALED: Mapping[str, frozenset[DType]] = MappingProxyType({"QUANTIZE": _QUANTIZED | {DType.I32}})
"""Types of quantized numbers by operator, where they aren't those of 8 and 16 bits."""
_OPERANDS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        **_each("CONV_2D CONV_3D DEPTHWISE_CONV_2D FULLY_CONNECTED", (0,)),
        **_each("UNIDIRECTIONAL_SEQUENCE_LSTM LSTM BIDIRECTIONAL_SEQUENCE_LSTM SVDF", (0,)),
        **_each("RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN", (0,)),
        **_each("CUMSUM RFFT2D REDUCE_WINDOW MULTINOMIAL", (0,)),
        **_each("RANDOM_UNIFORM RANDOM_STANDARD_NORMAL", ()),
        "EMBEDDING_LOOKUP_SPARSE": (3, 4),
        **_each("CONV_3D_TRANSPOSE TRANSPOSE_CONV", (2,)),
        **_each("MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD REDUCE_ANY REDUCE_ALL ARG_MAX ARG_MIN TOPK_V2", (0,)),
        **_each("RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR", (0,)),
    }
)
"""Which inputs an operator computes with, where that isn't all of them; weights and biases have rules of their own."""
_CARELESS: Mapping[str, str] = MappingProxyType(
    {
        **_each(
            "FAKE_QUANT LSTM UNIDIRECTIONAL_SEQUENCE_LSTM EMBEDDING_LOOKUP_SPARSE",
            "its kernel reads the bytes of {} as floats",
        ),
        **_each("MATRIX_DIAG MATRIX_SET_DIAG", "its kernel has no form for truth values, and leaves the result unset"),
    }
)
"""Reasons why types are refused that LiteRT's kernels take without looking at them."""
_ROWS = ("GATHER", "EMBEDDING_LOOKUP")
"""Operators that fetch rows of packed numbers."""
_UNPACKED: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        **_each("CAST DEQUANTIZE DENSIFY FULLY_CONNECTED", (4, 2)),
        **_each("CONV_2D DEPTHWISE_CONV_2D GATHER EMBEDDING_LOOKUP", (4,)),
    }
)
"""Operators whose kernels take numbers of so many bits apart."""
_COMPLEX = ("RFFT2D", "REAL", "IMAG", "COMPLEX_ABS", "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
"""Operators on complex numbers, whose last dimension in netc are their two parts."""
_OWN_RESULTS = frozenset(
    {
        "MULTINOMIAL",
        "LESS",
        "LESS_EQUAL",
        "GREATER",
        "GREATER_EQUAL",
        "EQUAL",
        "NOT_EQUAL",
        "ARG_MAX",
        "ARG_MIN",
        "TOPK_V2",
    }
)
"""Operators whose result has another type than what they compute with."""

_TYPE_OPTIONS: Mapping[str, str] = MappingProxyType({"SHAPE": "out_type", **_each("ARG_MAX ARG_MIN", "output_type")})
"""Options that say of which type a result is."""
_TYPE_CODES: Mapping[int, DType] = MappingProxyType({2: DType.I32, 4: DType.I64})


def packed_problem(c: Context) -> str | None:
    """Why an operator's kernel doesn't read its constants of 4 or 2 bits as they are meant; None if it does.

    Kernels that move elements move bytes, and rows that don't fill whole bytes begin at wrong places.
    """
    place = next((i for i in range(c.count) if c.has(i) and c.tensor(i).element in PACKED), None)
    if place is None:
        return None
    name, tensor = c.operator.name, c.tensor(place)
    bits = PACKED[tensor.element]
    if bits not in _UNPACKED.get(name, ()):
        return f"its kernel doesn't unpack numbers of {bits} bits"
    if name == "DEPTHWISE_CONV_2D" and c.has(0) and c.tensor(0).element == "INT16":
        return f"its kernel for i16 doesn't unpack weights of {bits} bits"
    if name not in _ROWS:
        return None
    axis = int(c.option("axis", 0)) % max(len(tensor.shape), 1) if name == "GATHER" else 0
    row = math.prod(tensor.shape[axis + 1 :])
    return f"its kernel reads rows of {row} numbers of {bits} bits from wrong places" if row * bits % 8 else None


def result_problem(c: Context) -> str | None:
    """Why a result can't have the type that the file states; None if it can.

    Some kernels decide the type of their result, and that of the tensor is only what the file says of it.
    """
    name = c.operator.name
    given: DType | None = None
    if name == "RANK":
        given = DType.I32
    elif name == "ONE_HOT" and c.has(2):
        given = c.type(2).dtype
    elif name in _TYPE_OPTIONS:
        given = _TYPE_CODES.get(c.option(_TYPE_OPTIONS[name], 0))
    stated = None if given is None else c.output(0).type
    if stated is None or stated.dtype is given:
        return None
    return f"its result is of type {given}, but the file states {stated.dtype}"


def check_element_types(c: Context) -> None:
    """Leave an operator opaque if netc lacks one of its element types, or the operator can't compute with it."""
    problem = packed_problem(c) or result_problem(c)
    if problem is not None:
        c.unsupported(problem)
    name, outputs = c.operator.name, range(len(c.operator.outputs))
    tensors = [*(c.tensor(place) for place in range(c.count) if c.has(place)), *map(c.output, outputs)]
    if name not in _COMPLEX and any(t.is_complex for t in tensors):
        c.unsupported("its form for COMPLEX64 is not supported")
    inputs = {place: c.type(place) for place in range(c.count) if c.has(place)}
    results = [c.output_type(place) for place in outputs]
    computed = [type_ for place, type_ in inputs.items() if place in _OPERANDS.get(name, inputs)]
    allowed = _TYPES.get(name, _FLOATS)
    for type_ in computed if name in _OWN_RESULTS else (*computed, *results):
        if type_.dtype not in (allowed if type_.quantization is None else _SCALED.get(name, _QUANTIZED)):
            reason = f"its form for {type_.dtype} is not supported"
            c.unsupported(_CARELESS.get(name, reason).format(type_.dtype))
