"""Operators on single elements: arithmetic, functions, comparisons, choice, conversions, rounding."""

from __future__ import annotations

import numpy as np

from netc.compiler.graph import Array, GraphBuilder, Value
from netc.compiler.graph.registry import operators
from netc.compiler.ops.quantized.base import INTEGERS as QUANTIZED
from netc.compiler.types import DType, Quantization, TensorType

from .maker import ALL, BYTES, FLOATS, INTEGERS, Maker, Shape
from .recipes import recipe

NUMBERS = (*FLOATS, *INTEGERS)


def partner(m: Maker, x: Value, values: str = "any") -> Value:
    """A second operand that broadcasts with x, or to it."""
    kind = m.number(0, 6)
    if kind == 6 and values == "any" and x.type.rank > 1:
        return _mask(m, x)
    if kind == 0:
        return m.operand((x.type.dtype,), shape=x.type.shape, values=values)
    if kind == 1 and values == "any":
        return x
    if kind == 2:
        return _scalar(m, x.type.dtype, values)
    return m.weight(x.type.dtype, broadcast_shape(m, x.type.shape), values)


def _mask(m: Maker, x: Value) -> Value:
    """Numbers that are the same for all samples, seen in the shape that they broadcast from."""
    shape = (1, *(1 if m.flag(3) else size for size in x.type.shape[1:]))
    return m.emit("reshape", m.weight(x.type.dtype, tuple(size for size in shape if size != 1)), shape=shape)


def _scalar(m: Maker, dtype: DType, values: str) -> Value:
    numbers = (1, 2, 6, 0.5, 3) if values == "positive" else (0, 1, 6, 0.5, -1, 2)
    array = np.asarray(m.choice(numbers)).astype(dtype.numpy)
    if values == "positive" and not array:
        array = np.ones_like(array)
    return m.given(array)


def broadcast_shape(m: Maker, shape: Shape) -> Shape:
    """A shape that broadcasts with another: leading dimensions dropped or added, some sizes 1."""
    kept = list(shape[m.number(0, len(shape)) :])
    for d, size in enumerate(kept):
        if m.flag(4):
            kept[d] = 1 if size != 1 else m.choice((3, 1, 2))
    if len(kept) == len(shape) < 6 and m.flag(6):
        kept.insert(0, m.choice((2, 1)))
    return tuple(kept)


def _pair(m: Maker, a: Value, b: Value, commutes: bool = True) -> tuple[Value, Value]:
    return (b, a) if commutes and m.flag(3) else (a, b)


def _not_zero(a: Array) -> bool:
    return float(np.abs(a.astype(np.float64)).min(initial=1)) > 0.2


def binary(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS if operators()[name].floats_only else NUMBERS)
    return m.emit(name, *_pair(m, x, partner(m, x)))


@recipe("div")
def div(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS)
    if not x.type.dtype.is_float:
        return m.emit(name, x, partner(m, x))
    if m.flag(3):
        return m.emit(name, m.leaf(x.type.dtype, x.type.shape), m.operand((x.type.dtype,), test=_not_zero))
    return m.emit(name, x, partner(m, x, "positive"))


@recipe("floor_div")
def floor_div(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS)
    return m.emit(name, x, partner(m, x, "any" if not x.type.dtype.is_float else "positive"))


@recipe("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
def comparison(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    return m.emit(name, *_pair(m, x, partner(m, x)))


@recipe("select")
def select(m: Maker, name: str) -> Value:
    a = m.operand(ALL)
    b = partner(m, a)
    condition = m.operand((DType.BOOL,), shape=lambda: broadcast_shape(m, a.type.shape))
    return m.emit(name, condition, *_pair(m, a, b))


def simple(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(NUMBERS))


def flags(m: Maker, name: str) -> dict[str, bool]:
    """Values of an operator's attributes that are flags."""
    return {key: m.flag() for key, spec in operators()[name].attributes.items() if spec.kind is bool}


def function(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(FLOATS), **flags(m, name))


@recipe("sqrt", "log")
def positive(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(FLOATS, values="positive", test=lambda a: float(a.min(initial=1)) > 0.2))


@recipe("clamp")
def clamp(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS)
    ranges = ((0, 6), (0, 1), (-1, 1), (0, 3))
    low, high = m.choice((*ranges, (-0.5, 0.75), (-1.5, 0.0)) if x.type.dtype.is_float else ranges)
    if x.type.dtype is DType.U8:
        low = max(low, 0)
    named = x.type.dtype in QUANTIZED and x.type.quantization is None and m.flag(3)
    return m.emit(name, x, low=low, high=high, activation=m.choice(("relu", "relu6")) if named else None)


@recipe("leaky_relu")
def leaky_relu(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(FLOATS), alpha=m.choice((0.01, 0.5, 0, -0.25, 2.0, 1)))


@recipe("identity", "relayout", "stop_gradient")
def same(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(ALL))


@recipe("dropout", "alpha_dropout")
def dropout(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    shared = tuple(d for d in range(x.type.rank) if m.flag(4))
    return m.emit(name, x, rate=m.choice((0.5, 0, 0.25)), shared=shared)


@recipe("custom_gradient")
def custom_gradient(m: Maker, name: str) -> Value:
    """A value made from another one of the same type, with twice the cotangent for it."""
    y = m.operand(FLOATS)
    x = m.operand((y.type.dtype,), shape=y.type.shape)
    b = GraphBuilder("doubled")
    given = TensorType(y.type.dtype, y.type.shape)
    _, _, dy = (b.input(n, given) for n in ("y", "x", "dy"))
    return m.emit(name, y, x, gradient=b.finish([b.emit("add", dy, dy)]))


@recipe("cast")
def cast(m: Maker, name: str) -> Value:
    """Between any two types; floats that the new type can't hold are left out."""
    goal = m.dtype(ALL)

    def holds(a: Array) -> bool:
        if goal is DType.BOOL or goal.is_float or a.dtype.kind != "f":
            return True
        info = np.iinfo(str(goal.numpy))
        low, high = max(info.min, -(1 << 30)), min(info.max, 1 << 30)
        return bool((a.astype(np.float64) > low - (low == 0)).all() and (a.astype(np.float64) < high).all())

    return m.emit(name, m.operand(ALL, test=holds), dtype=str(goal))


@recipe("bitcast")
def bits(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(tuple(d for d in DType if d is not DType.BOOL)), dtype=str(m.choice(tuple(DType))))


@recipe("one_hot")
def one_hot(m: Maker, name: str) -> Value:
    labels = m.operand(INTEGERS, fits=lambda t: t.size <= 40, values="6", shape=lambda: m.shape((1, 0, 2)))
    depth = m.choice((3, 1, 5, 10, 300 if labels.type.size < 4 else 7))
    dtype = m.dtype(ALL)
    given = {"dtype": str(dtype), "axis": m.choice((-1, *range(labels.type.rank)))}
    if dtype is not DType.BOOL and m.flag():
        given |= {"on": 3, "off": 2}
    return m.emit(name, labels, depth=depth, **given)


def _grid(m: Maker) -> dict[str, int]:
    lowest, highest = m.choice(((-128, 127), (-127, 127), (0, 255), (-3, 4), (0, 1)))
    return {"lowest": lowest, "highest": highest}


def _per_channel(m: Maker, x: Value) -> Shape:
    return () if not x.type.rank or m.flag() else x.type.shape[-1:]


@recipe("round_to_grid")
def round_to_grid(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS)
    shape = _per_channel(m, x)
    scale = m.weight(x.type.dtype, shape, "positive")
    return m.emit(name, x, scale, m.weight(x.type.dtype, shape, "4"), **_grid(m))


@recipe("fake_quantize")
def fake_quantize(m: Maker, name: str) -> Value:
    x = m.operand(tuple(d for d in FLOATS if d is not DType.F16))
    shape = _per_channel(m, x)
    low, high = (m.weight(x.type.dtype, shape) for _ in range(2))
    options = {"momentum": m.choice((0.0, 0.1)), "gradient_scale": m.choice((1.0, 0.5))}
    return m.emit(name, x, low, high, **_grid(m), **options)


@recipe("lookup")
def lookup(m: Maker, name: str) -> Value:
    """Entries of all types; whole numbers may stand for others."""
    x, dtype = m.operand(BYTES), m.dtype(ALL)
    y = Quantization.of(m.choice((0.5, 0.1))) if dtype in BYTES and m.flag() else None
    return m.emit(name, x, m.weight(dtype, (256,)), y=y)
