"""The operators that the Edge TPU compiler knows, and what it says of each operator of a model.

`SUPPORT` is the table: since which release an operator maps, up to which version of its TFLite definition, and its
constraints. `REWRITES` says what to write instead of operators that never map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from . import constraints as c
from .facts import QUANTIZED_TYPES, OperatorFacts
from .failures import KNOWN_CUSTOM
from .release import FIRST, Release
from .status import Objection, Status
from .surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Support:
    """How far one kind of operator is supported."""

    version: int = 2
    """The newest version of the operator's TFLite definition that is mapped."""
    checks: tuple[c.Check, ...] = ()
    since: Release = FIRST


_CONVOLUTION = (c.constant_parameters, c.same_dilation)
_RESIZE = Support(3, (c.moderate_scaling,))
_REDUCTION = Support(3, (c.not_over_batch,), Release(14, 1))

SUPPORT: Mapping[str, Support] = MappingProxyType(
    {
        "ADD": Support(3),
        "AVERAGE_POOL_2D": Support(3, (c.no_activation,)),
        "CONCATENATION": Support(3, (c.no_activation, c.zero_constant_operand, c.axis_not_batch)),
        "CONV_2D": Support(5, (*_CONVOLUTION, c.whole_groups)),
        "DEPTHWISE_CONV_2D": Support(6, _CONVOLUTION),
        "EXPAND_DIMS": Support(2, (), Release(14, 1)),
        "FULLY_CONNECTED": Support(8, (c.constant_parameters, c.default_format, c.single_row)),
        "L2_NORMALIZATION": Support(2),
        "LOGISTIC": Support(3),
        "MAXIMUM": Support(3),
        "MAX_POOL_2D": Support(3, (c.no_activation,)),
        "MEAN": Support(3, (c.not_over_batch, c.mean_size)),
        "MINIMUM": Support(3),
        "MUL": Support(4),
        "PACK": Support(3, (c.axis_not_batch,), Release(14, 1)),
        "PAD": Support(3, (c.padding_not_batch,)),
        "PRELU": Support(1, (c.channel_alpha,), Release(14, 1)),
        "QUANTIZE": Support(2, (), Release(2, 0)),
        "REDUCE_MAX": _REDUCTION,
        "REDUCE_MIN": _REDUCTION,
        "RELU": Support(3),
        "RELU6": Support(3),
        "RELU_N1_TO_1": Support(2),
        "RESHAPE": Support(1),
        "RESIZE_BILINEAR": _RESIZE,
        "RESIZE_NEAREST_NEIGHBOR": _RESIZE,
        "RSQRT": Support(2, (), Release(16, 0)),
        "SLICE": Support(3),
        "SOFTMAX": Support(3, (c.single_softmax, c.softmax_size)),
        "SPACE_TO_DEPTH": Support(2),
        "SPLIT": Support(4, (c.axis_not_batch,)),
        "SQUARED_DIFFERENCE": Support(2, (), Release(16, 0)),
        "SQUEEZE": Support(2),
        "STRIDED_SLICE": Support(4, (c.unit_strides,)),
        "SUB": Support(4),
        "SUM": Support(2, (c.not_over_batch,), Release(14, 1)),
        "TANH": Support(3),
        "TILE": Support(2, (), Release(16, 0)),
        "TRANSPOSE": Support(4, (), Release(16, 0)),
        "TRANSPOSE_CONV": Support(3, (), Release(14, 1)),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": Support(1, (), Release(16, 0)),
    }
)

_STATES = "pass the states as inputs and outputs of the model"

REWRITES: Mapping[str, str] = MappingProxyType(
    {
        "ABS": "write maximum(x, -x), with -x as a product with -1",
        "ARG_MAX": "keep it as the last operator: the host computes it",
        "ASSIGN_VARIABLE": _STATES,
        "BATCH_MATMUL": "use dense layers with constant weights, or 1x1 convolutions",
        "BROADCAST_TO": "let the elementwise operator behind it broadcast",
        "CAST": "feed integers, and leave conversions to the host",
        "CONV1D": "use a two-dimensional convolution with a height of 1",
        "DEPTH_TO_SPACE": "use a transposed convolution, or resize by two and convolve",
        "DIV": "multiply by the reciprocal",
        "ELU": "use relu",
        "EXP": "use sigmoid or softmax, which map",
        "GATHER": "use slices or a split",
        "GATHER_ND": "move it behind the network, to the host",
        "GELU": "write x * sigmoid(1.702 * x)",
        "HARD_SWISH": "write x * relu6(x + 3) * (1/6)",
        "LEAKY_RELU": "write maximum(x, alpha * x), or use relu",
        "LOG_SOFTMAX": "use softmax, and take logarithms on the host",
        "MIRROR_PAD": "pad with zeros",
        "ONE_HOT": "let the host make the vectors",
        "PADV2": 'use padding "same" where the window allows it',
        "READ_VARIABLE": _STATES,
        "REVERSE_V2": "turn the weights behind it instead, or leave it to the host",
        "SCATTER_ND": "move it behind the network, to the host",
        "SPLIT_V": "use SPLIT into equal parts, or slices",
        "SQRT": "leave it to the host, or compare squares",
        "SVDF": "write it as a convolution over time and a dense layer",
        "TRANSPOSE": "keep channels last from the input on",
        "UNPACK": "use slices or a split",
        "VAR_HANDLE": _STATES,
    }
)


_NOWHERE = Surroundings()


def objection(op: OperatorFacts, release: Release, around: Surroundings = _NOWHERE) -> Objection | None:
    """What keeps an operator by itself off the Edge TPU; None if nothing does. `around` serves to explain it.

    The order of the checks is that of the statuses in published logs: rank before data type (float reshapes of rank 4
    are blamed for the rank), data type before operator (DEQUANTIZE and custom operators are blamed for the type).
    """
    return (
        _shape(op, around)
        or _dynamic(op)
        or c.rank(op, release)
        or _border(op, around)
        or _data_type(op)
        or _known(op, release)
        or next((found for check in _checks(op) if (found := check(op, release))), None)
    )


def _checks(op: OperatorFacts) -> tuple[c.Check, ...]:
    return SUPPORT[op.kind].checks


def _shape(op: OperatorFacts, around: Surroundings) -> Objection | None:
    makers = (op, *map(around.maker, op.activations))
    if not any(maker is not None and around.computes_shape(maker) for maker in makers):
        return None
    cause = "a shape is computed at run time"
    return Objection(Status.DATA_TYPE, cause, "fix the batch and all other sizes before converting", common=True)


def _border(op: OperatorFacts, around: Surroundings) -> Objection | None:
    """QUANTIZE of floats and DEQUANTIZE: at the border of the model, or around an operator on floats."""
    data = op.input(0)
    if op.kind == "QUANTIZE" and data is not None and c.is_floating(data):
        maker = around.maker(data)
        if maker is None:
            return c.limited(
                "floats enter here: the host quantizes them",
                "give the model an integer input (int8 or uint8) to spare this",
            )
        name = maker.written_as or maker.kind
        return c.limited(f"{name} in front of it works on floats", f"quantize {name}, or write it as what has integers")
    if op.kind == "DEQUANTIZE" and c.is_floating(op.output):
        readers = [o.written_as or o.kind for o in around.readers(op.output)]
        cure = "let the model end in integers; the host converts them"
        if readers:
            cure = f"quantize {readers[0]} behind it, or write it as what has integers"
        return Objection(Status.DATA_TYPE, f"works on floats: {op.output}", cure)
    return None


def _dynamic(op: OperatorFacts) -> Objection | None:
    if any(t.dynamic for t in (*op.activations, *op.outputs)):
        cause = "a size is only known at run time; the real compiler then refuses the whole model"
        return Objection(Status.LIMITATION, cause, "fix all sizes", common=True)
    return None


def _data_type(op: OperatorFacts) -> Objection | None:
    if op.kind == "CUSTOM" and any(t.dtype not in QUANTIZED_TYPES for t in (*op.activations, *op.outputs)):
        name = op.written_as or "it"
        return Objection(Status.DATA_TYPE, f"{name} is a custom operator", _custom_cure(name))
    for tensor in (*op.activations, *op.outputs):
        if tensor.dtype not in QUANTIZED_TYPES:
            kind = "floats" if c.is_floating(tensor) else tensor.dtype.lower()
            cure = (
                "quantize the model to int8"
                if c.is_floating(tensor)
                else "compute this on 8-bit tensors, or on the host"
            )
            return Objection(Status.DATA_TYPE, f"works on {kind}: {tensor}", REWRITES.get(op.kind, cure))
    return None


def _custom_cure(name: str) -> str:
    """Some custom operators are made for the host."""
    if name in KNOWN_CUSTOM:
        return "nothing: it is meant to run on the CPU, behind the network"
    return "leave it to the program that runs the model"


def _known(op: OperatorFacts, release: Release) -> Objection | None:
    support = SUPPORT.get(op.kind)
    name = op.written_as or op.kind
    if support is None:
        if op.kind == "CUSTOM":
            return Objection(Status.NOT_SUPPORTED, f"{name} is a custom operator", _custom_cure(name))
        return Objection(Status.NOT_SUPPORTED, f"the Edge TPU has no {name}", REWRITES.get(op.kind, ""))
    if support.since > release:
        cure = REWRITES.get(op.kind) or f"use release {support.since} of the compiler"
        return Objection(Status.NOT_SUPPORTED, f"release {release} does not map {name} yet", cure)
    newest = 2 if op.kind.startswith("RESIZE_") and release < Release(16, 0) else support.version
    if op.version > newest:
        cause = f"version {op.version} of {op.kind} is newer than what release {release} maps ({newest})"
        cure = "without half-pixel centers it is version 1" if op.kind.startswith("RESIZE_") else "reshape to one row"
        return Objection(Status.VERSION, cause, cure if op.kind != "CONV_2D" else "")
    return None
