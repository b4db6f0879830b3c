"""Products of stacks of matrices, on floats and on quantized numbers."""

from __future__ import annotations

from typing import Any

from netc.compiler.graph import Value
from netc.compiler.types import DType

from .integers import quantization, quantization_of, quantized
from .maker import FLOATS, Maker, Shape
from .recipes import recipe


def partner(m: Maker, a: Shape, turned_a: bool, turned_b: bool) -> Shape:
    """A shape that `a` can be multiplied by: its leading sizes broadcast against those of `a`."""
    inner, columns = a[-2 if turned_a else -1], m.choice((3, 1, 5, 8, 17))
    count = m.number(0, len(a) - 2)
    lead = tuple(1 if m.flag(3) else size for size in a[len(a) - 2 - count : -2])
    more = (m.choice((2, 1)),) if count == len(a) - 2 and m.flag(3) else ()
    return (*more, *lead, *((columns, inner) if turned_b else (inner, columns)))


def stack(m: Maker) -> Shape:
    return m.shape((2, 3, 3, 4))


def turns(m: Maker) -> dict[str, bool]:
    return {"transpose_a": m.flag(3), "transpose_b": m.flag()}


@recipe("matmul")
def matmul(m: Maker, name: str) -> Value:
    a = m.operand(FLOATS, fits=lambda t: t.rank >= 2, shape=lambda: stack(m))
    given = turns(m)
    b = m.operand((a.type.dtype,), shape=partner(m, a.type.shape, *given.values()))
    return m.emit(name, a, b, **given)


@recipe("contract")
def contract(m: Maker, name: str) -> Value:
    """Labels in a drawn order; the second operand has some of them."""
    a = m.operand(FLOATS, fits=lambda t: 2 <= t.rank <= 4, shape=lambda: stack(m))
    labels = "abcd"[: a.type.rank]
    inner = m.choice(tuple(labels))
    batch = "".join(label for label in labels if label != inner and m.flag(3))
    sizes = {**dict(zip(labels, a.type.shape, strict=True)), "z": m.choice((3, 1, 2, 17))}
    other = m.choice((batch + inner + "z", batch + "z" + inner, inner + batch + "z"))
    result = m.choice((labels.replace(inner, "z"), labels.replace(inner, "") + "z", "z" + labels.replace(inner, "")))
    b = m.operand((a.type.dtype,), shape=tuple(sizes[label] for label in other))
    return m.emit(name, a, b, a_axes=labels, b_axes=other, axes=result)


@recipe("attention")
def attention(m: Maker, name: str) -> Value:
    """Small numbers: where scores are large, rounding decides which key is chosen."""
    lead = m.shape((0, 1, 2), end=())
    queries, keys, depth, features = (m.choice((3, 1, 2, 5, 17)) for _ in range(4))
    dtype = m.dtype(FLOATS)
    inside = len(lead) > 0 and m.flag(3)
    shapes = [
        (*lead[:-1], rows, lead[-1], columns) if inside else (*lead, rows, columns)
        for rows, columns in ((queries, depth), (keys, depth), (keys, features))
    ]
    operands = [m.weight(dtype, shape) for shape in shapes]
    if m.flag():
        operands.append(m.weight(dtype, m.choice(((queries, keys), (keys,), (queries, 1), ()))))
    return m.emit(name, *operands, causal=m.flag(3), scale=m.choice((None, 0.5, 1)), heads_inside=inside)


@recipe("q_matmul", "matmul_sum")
def integer_matmul(m: Maker, name: str) -> Value:
    a = quantized(m, (DType.I8,), lambda: stack(m), lambda t: t.rank >= 2)
    given: dict[str, Any] = dict(turns(m))
    if name == "matmul_sum":
        given["transpose_a"] = False
    b = quantized(m, (DType.I8,), partner(m, a.type.shape, *given.values()))
    if name == "matmul_sum":
        return m.emit(name, a, b, transpose_b=given["transpose_b"], a_zero=quantization_of(a).zero_point)
    return m.emit(name, a, b, **given, a=quantization_of(a), b=quantization_of(b), y=quantization(m, DType.I8))


@recipe("row_sums")
def row_sums(m: Maker, name: str) -> Value:
    a = quantized(m, (DType.I8,), lambda: stack(m), lambda t: t.rank >= 1)
    return m.emit(name, a, a_zero=quantization_of(a).zero_point, factor=m.choice((1, -1, 7, -128)))
