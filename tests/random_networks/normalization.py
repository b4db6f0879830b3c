"""Operators that normalise by a sample's own statistics."""

from __future__ import annotations

from netc.compiler.graph import Value
from netc.compiler.types import DType

from .maker import Maker
from .recipes import recipe

WIDE = (DType.F32, DType.F64)


@recipe("normalize")
def normalize(m: Maker, name: str) -> Value:
    x = m.operand(WIDE, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 5, 6)))
    axes = m.choice(((x.type.rank - 1,), tuple(range(min(1, x.type.rank - 1), x.type.rank)), (0,)))
    channels = x.type.shape[-1]
    groups = m.choice((1, 2, 3)) if axes[-1] == x.type.rank - 1 else 1
    options = {"eps": m.choice((1e-5, 1e-2)), "center": m.flag()}
    return m.emit(name, x, axes=axes, groups=groups if channels % groups == 0 else 1, **options)


@recipe("l2_normalize")
def l2_normalize(m: Maker, name: str) -> Value:
    x = m.operand(WIDE, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    return m.emit(name, x, axis=m.choice((-1, *range(x.type.rank))), eps=m.choice((1e-6, 1e-12)))


@recipe("local_response_norm")
def local_response_norm(m: Maker, name: str) -> Value:
    x = m.operand(WIDE, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    options = {"alpha": m.choice((1e-4, 0.5)), "beta": m.choice((0.75, 0.6, 1.0)), "k": m.choice((1.0, 2))}
    return m.emit(name, x, size=m.choice((5, 1, 4, 3)), **options)
