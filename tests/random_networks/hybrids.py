"""Contractions and recurrent layers of floats with 8-bit weights, and the parts that they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from netc.compiler.graph import Value
from netc.compiler.ops.quantized.hybrid_recurrent import is_quantized
from netc.compiler.ops.sequences.sequence_layer import ACTIVATIONS
from netc.compiler.types import DType, Quantization

from .contractions import convolution_of, enlarging, groups_and_channels
from .integers import SCALES
from .maker import Maker, Shape, UnfitError
from .products import partner, stack, turns
from .recipes import recipe
from .recurrent import lstm_shapes, sizes, svdf_shapes


def _floats(m: Maker, shape: Shape) -> Value:
    """Finite floats, one at least."""
    if 0 in shape:
        raise UnfitError
    return m.leaf(DType.F32, shape)


def _weight(m: Maker, shape: Shape, *, by_channel: bool = True) -> tuple[Value, Quantization]:
    if by_channel and m.flag() and shape[-1]:
        given = Quantization(tuple(m.choice(SCALES) for _ in range(shape[-1])), (0,) * shape[-1], len(shape) - 1)
    else:
        given = Quantization.of(m.choice(SCALES))
    return m.weight(DType.I8, shape, quantization=given if m.flag() else None), given


def _emit(
    m: Maker,
    name: str,
    x: Value,
    weight: tuple[Value, Quantization],
    attributes: dict[str, Any],
    *,
    biased: bool = True,
) -> Value:
    value, given = weight
    bias = [m.weight(DType.F32, value.type.shape[-1:])] if biased and m.flag() else []
    return m.emit(name, x, value, *bias, weight=given, symmetric=m.flag(), **attributes)


@recipe("hybrid_conv2d")
def conv(m: Maker, name: str) -> Value:
    x = _floats(m, m.image(2))
    shape, attributes = convolution_of(m, x)
    return _emit(m, name, x, _weight(m, shape), attributes)


@recipe("hybrid_dense")
def dense(m: Maker, name: str) -> Value:
    x = _floats(m, m.shape((2, 4, 3, 1)))
    return _emit(m, name, x, _weight(m, (x.type.shape[-1], m.choice((4, 1, 3, 8, 17, 33)))), {})


@recipe("blocked_dense")
def blocked_dense(m: Maker, name: str) -> Value:
    x = _floats(m, m.shape((2, 4, 3, 1)))
    elements, units = x.type.shape[-1], m.choice((4, 1, 3, 8, 17))
    blocks = m.choice([n for n in range(1, elements + 1) if not elements % n])
    scales, bias = m.weight(DType.F32, (units, blocks)), [m.weight(DType.F32, (units,))] if m.flag() else []
    return m.emit(name, x, m.weight(DType.I8, (units, elements)), scales, *bias)


@recipe("hybrid_matmul")
def matmul(m: Maker, name: str) -> Value:
    x, given = _floats(m, stack(m)), turns(m)
    shape = partner(m, x.type.shape, *given.values())
    if 0 in shape:
        raise UnfitError
    return _emit(m, name, x, _weight(m, shape, by_channel=False), given, biased=False)


@recipe("hybrid_transpose_conv2d")
def transpose_conv(m: Maker, name: str) -> Value:
    x = _floats(m, m.image(2))
    groups, features = groups_and_channels(m, x.type.shape[-1])
    attributes = {**enlarging(m, x.type.shape[1:-1]), "groups": groups}
    shape = (*attributes.pop("kernel"), x.type.shape[-1] // groups, features)
    return _emit(m, name, x, _weight(m, shape), attributes)


@recipe("row_extremes")
def extremes(m: Maker, name: str) -> Value:
    return m.emit(name, _floats(m, m.shape((3,))))


@recipe("dynamic_parameters")
def parameters(m: Maker, name: str) -> Value:
    return m.emit(name, extremes(m, "row_extremes"), symmetric=m.flag())


def _parameters(m: Maker, rows: Shape) -> Value:
    """Scale, inverse and zero point of each row."""
    count = int(np.prod(rows))
    ends = m.emit("row_extremes", _floats(m, (count, 1, 3)))
    return m.emit("reshape", m.emit("dynamic_parameters", ends), shape=(*rows, 3))


@recipe("dynamic_quantize")
def quantize(m: Maker, name: str) -> Value:
    x = _floats(m, m.shape((2, 1, 3, 4)))
    padding = tuple((m.number(0, 2), m.number(0, 2)) for _ in x.type.shape) if m.flag() else None
    given = _parameters(m, tuple(m.choice((s, 1)) for s in x.type.shape[:-1]))
    if padding and any(sum(p) for p in padding[:-1]) and given.type.shape[:-1] != (1,) * (x.type.rank - 1):
        raise UnfitError
    return m.emit(name, x, given, symmetric=m.flag(), padding=padding)


@recipe("dynamic_rescale")
def rescale(m: Maker, name: str) -> Value:
    shape = m.shape((2, 1, 3, 4))
    if 0 in shape:
        raise UnfitError
    x, given = m.leaf(DType.I32, shape, "100000"), _parameters(m, shape[:-1])
    sums = m.leaf(DType.I32, shape[-1:], "1000")
    rest = [m.leaf(DType.F32, shape[-1:]) for _ in range(2 if m.flag() else 1)]
    return m.emit(name, x, given, sums, *rest, apart=m.flag())


def _whole(m: Maker, count: int) -> dict[str, Any]:
    """The attributes of a layer with so many weights of i8."""
    return {"scales": tuple(m.choice(SCALES) for _ in range(count)), "symmetric": m.flag()}


@recipe("hybrid_lstm")
def lstm(m: Maker, name: str) -> Value:
    time_major, steps, batch, inputs = sizes(m)
    cells = m.choice((2, 1, 5))
    units = cells if m.flag() else m.choice((1, 3))
    shapes = lstm_shapes(m, inputs, cells, units)
    types = {role: DType.I8 if is_quantized(role) else DType.F32 for role in shapes}
    limits = {key: m.choice((0.0, 0.5, 1.0)) for key in ("cell_clip", "projection_clip")}
    return m.emit(
        name,
        _floats(m, (steps, batch, inputs) if time_major else (batch, steps, inputs)),
        *(m.weight(DType.F32, (batch, n)) for n in (units, cells)),
        *(m.weight(types[role], shape) for role, shape in shapes.items()),
        roles=tuple(shapes),
        activation=m.choice(("tanh", "", "sigmoid")),
        time_major=time_major,
        **limits,
        **_whole(m, sum(dtype is DType.I8 for dtype in types.values())),
    )


@recipe("hybrid_rnn")
def rnn(m: Maker, name: str) -> Value:
    time_major, steps, batch, inputs = sizes(m)
    cells = m.choice((2, 1, 5))
    x = _floats(m, (steps, batch, inputs) if time_major else (batch, steps, inputs))
    types, shapes = (
        (DType.F32, DType.I8, DType.I8, DType.F32),
        ((batch, cells), (inputs, cells), (cells,) * 2, (cells,)),
    )
    weights = [m.weight(dtype, shape) for dtype, shape in zip(types, shapes, strict=True)]
    given = {"activation": m.choice(ACTIVATIONS[3:]), "time_major": time_major}
    return m.emit(name, x, *weights, **given, **_whole(m, 2))


@recipe("hybrid_svdf")
def svdf(m: Maker, name: str) -> Value:
    rank, (x, *rest) = svdf_shapes(m)
    types = (DType.F32, DType.I8, DType.I8, DType.F32)
    weights = [m.weight(dtype, shape) for dtype, shape in zip(types, rest, strict=True)][: m.choice((4, 3))]
    return m.emit(name, _floats(m, x), *weights, rank=rank, activation=m.choice(ACTIVATIONS), **_whole(m, 2))
