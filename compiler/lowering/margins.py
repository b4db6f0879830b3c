"""Kernels that serve layouts: filling margins with zeros (or zero points), and copying into another layout."""

from __future__ import annotations

import math

from ..loops.ir import Buffer, Expr, Kernel, Load, LoopKind, Space, Stmt, Store, VectorType, const
from ..targets.target import Target
from ..types import TensorType
from .group import Group
from .kernel import Names, Scheduled
from .loops import kind_for, loop, vector_loop


def has_filled_margins(type_: TensorType) -> bool:
    """True if the tensor has margins before its last dimension, which readers expect to hold zeros."""
    return any(margin != (0, 0) for margin in type_.margins[:-1])


def clear_margins(type_: TensorType, target: Target) -> Kernel:
    """A kernel that fills the margins of all dimensions but the last with zeros (quantized tensors: zero points).

    Threads share out the images, unless there are margins between these.
    """
    names = Names()
    dimensions = [d for d in range(type_.rank - 1) if type_.margins[d] != (0, 0)]
    views = {d: _view(type_, d, names) for d in dimensions}
    whole = type_.buffer_shape
    work = sum(math.prod(type_.shape[:d]) * sum(type_.margins[d]) * math.prod(whole[d + 1 :]) for d in dimensions)
    outside = [s for d in dimensions[:1] if d == 0 for s in _clear_dimension(type_, d, views[d], (), names, target)]

    def image(n: Expr) -> list[Stmt]:
        index = (n + type_.margins[0][0],)
        return [s for d in dimensions if d > 0 for s in _clear_dimension(type_, d, views[d], index, names, target)]

    inside = loop("n", type_.shape[0], image, LoopKind.SERIAL if outside else kind_for(work))
    return Kernel("", tuple(views.values()), (*outside, *inside))


def _view(type_: TensorType, d: int, names: Names) -> Buffer:
    """The buffer as rows that hold dimension d and all after it."""
    whole = type_.buffer_shape
    return Buffer(names.fresh("y"), type_.dtype, (*whole[:d], math.prod(whole[d:])), Space.OUT)


def _clear_dimension(
    type_: TensorType, d: int, view: Buffer, outer: tuple[Expr, ...], names: Names, target: Target
) -> list[Stmt]:
    """Zero what lies before and after dimension d, inside the interior of the dimensions between `outer` and it."""
    rest = math.prod(type_.buffer_shape[d + 1 :])
    before, after = (m * rest for m in type_.margins[d])
    second = view.shape[-1] - after
    zero = type_.zero_point

    def fill(index: tuple[Expr, ...], start: int, length: int) -> list[Stmt]:
        return vector_loop(
            names,
            length,
            target.copied(type_.dtype.itemsize),
            lambda c, width: [Store(view, (*index, c + start), const(zero, VectorType(type_.dtype, width)))],
        )

    def nest(index: tuple[Expr, ...]) -> list[Stmt]:
        e = len(index)
        if e == d:
            return [*fill(index, 0, before), *fill(index, second, after)]
        first = type_.margins[e][0]
        return loop(names.fresh("i"), type_.shape[e], lambda i: nest((*index, i + first)))

    return nest(outer)


def schedule_relayout(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Copy row by row where rows (width times channels) are contiguous on both sides."""
    if group.anchor.name != "relayout" or len(group.members) != 1:
        return ()
    source, result = group.anchor.operands[0].type, group.result.type
    if source.rank < 3 or source.margins[-1] != (0, 0) or result.margins[-1] != (0, 0):
        return ()
    names = Names()
    x = Buffer("x", source.dtype, _rows(source))
    y = Buffer("y", result.dtype, _rows(result), Space.OUT)
    *outer, width, channels = source.shape

    def copy(index: tuple[Expr, ...]) -> list[Stmt]:
        read = tuple(i + m[0] for i, m in zip(index, source.margins, strict=False))
        write = tuple(i + m[0] for i, m in zip(index, result.margins, strict=False))
        x0, y0 = (t.margins[-2][0] * channels for t in (source, result))
        return vector_loop(
            names,
            width * channels,
            target.copied(source.dtype.itemsize),
            lambda c, lanes: [Store(y, (*write, c + y0), Load(x, (*read, c + x0), lanes))],
        )

    def inner(index: tuple[Expr, ...]) -> list[Stmt]:
        d = len(index)
        return copy(index) if d == len(outer) else loop(f"i{d}", outer[d], lambda i: inner((*index, i)))

    shared = outer[0] * outer[1] if len(outer) > 1 else outer[0]

    def row(p: Expr) -> list[Stmt]:
        return inner((p // outer[1], p % outer[1]) if len(outer) > 1 else (p,))

    body = loop("p", shared, row, kind_for(source.size))
    arguments = (group.outer[group.anchor.operands[0]], group.operation.result)
    return (Scheduled(Kernel("", (x, y), tuple(body)), arguments),)


def _rows(type_: TensorType) -> tuple[int, ...]:
    *outer, width, channels = type_.buffer_shape
    return (*outer, width * channels)
