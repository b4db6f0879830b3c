"""Kernels that serve layouts: filling margins with zeros (or zero points), and copying into another layout."""

from __future__ import annotations

import math

from ..loops.ir import (
    Binary,
    Buffer,
    Const,
    Expr,
    If,
    Kernel,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    VectorType,
    const,
)
from ..targets.target import Target
from ..types import TensorType
from .group import Group
from .kernel import Names, Scheduled, let
from .loops import LINE, kind_for, loop, vector_loop


def has_filled_margins(type_: TensorType) -> bool:
    """True if the tensor has margins before its last dimension, which readers expect to hold zeros."""
    return any(margin != (0, 0) for margin in type_.margins[:-1])


def clear_margins(type_: TensorType, target: Target) -> Kernel:
    """A kernel that fills the margins of all dimensions but the last with zeros (quantized tensors: zero points).

    Threads share out the rows of pictures, those of margins too, much as where these rows are computed and read; or
    else the images.
    """
    names = Names()
    dimensions = [d for d in range(type_.rank - 1) if type_.margins[d] != (0, 0)]
    whole = type_.buffer_shape
    work = sum(math.prod(type_.shape[:d]) * sum(type_.margins[d]) * math.prod(whole[d + 1 :]) for d in dimensions)
    outside = 0 in dimensions
    rows = sum(math.prod(type_.shape[1 : d + 1]) for d in dimensions)
    lines = type_.shape[0] * rows + work * type_.dtype.itemsize // LINE
    kind = LoopKind.SERIAL if outside else kind_for(work, lines)
    if kind is LoopKind.PARALLEL and type_.rank > 3:
        return _clear_rows(type_, target, names)
    views = {d: _view(type_, d, names) for d in dimensions}
    border = _clear_dimension(type_, 0, views[0], (), names, target) if outside else []

    def image(n: Expr) -> list[Stmt]:
        index = (n + type_.margins[0][0],)
        return [s for d in dimensions if d > 0 for s in _clear_dimension(type_, d, views[d], index, names, target)]

    return Kernel("", tuple(views.values()), (*border, *loop("n", type_.shape[0], image, kind)))


def _clear_rows(type_: TensorType, target: Target, names: Names) -> Kernel:
    """The kernel that shares out the rows of all images, which have no margins between them."""
    height, (before, after), rows = type_.shape[1], type_.margins[1], type_.buffer_shape[1]
    inner = [d for d in range(2, type_.rank - 1) if type_.margins[d] != (0, 0)]
    views = {d: _view(type_, d, names) for d in sorted({2, *inner})}

    def row(p: Expr) -> list[Stmt]:
        block: list[Stmt] = []
        index = (p // rows, let(block, "row", p % rows))
        sides = [s for d in inner for s in _clear_dimension(type_, d, views[d], index, names, target)]
        for part, test in ((before, (index[1], Const(before))), (after, (Const(before + height - 1), index[1]))):
            if part:
                whole = _fill(type_, views[2], index, (0, views[2].shape[-1]), names, target)
                sides = [If(Binary("lt", *test), tuple(whole), tuple(sides))]
        return [*block, *sides]

    return Kernel("", tuple(views.values()), tuple(loop("p", type_.shape[0] * rows, row, LoopKind.PARALLEL)))


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

    def fill(index: tuple[Expr, ...], start: int, length: int) -> list[Stmt]:
        return _fill(type_, view, index, (start, length), names, target)

    def nest(index: tuple[Expr, ...]) -> list[Stmt]:
        e = len(index)
        if e == d:
            return [*fill(index, 0, before), *fill(index, second, after)]
        first = type_.margins[e][0]
        return loop(names.fresh("i"), type_.shape[e], lambda i: nest((*index, i + first)))

    return nest(outer)


def _fill(
    type_: TensorType, view: Buffer, index: tuple[Expr, ...], part: tuple[int, int], names: Names, target: Target
) -> list[Stmt]:
    """Zeros in part of a row: from where on, how many."""
    start, length = part
    return vector_loop(
        names,
        length,
        target.copied(type_.dtype.itemsize),
        lambda c, width: [Store(view, (*index, c + start), const(type_.zero_point, VectorType(type_.dtype, width)))],
    )


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

    body = loop("p", shared, row, kind_for(source.size, source.bytes // LINE))
    arguments = (group.outer[group.anchor.operands[0]], group.operation.result)
    return (Scheduled(Kernel("", (x, y), tuple(body)), arguments),)


def _rows(type_: TensorType) -> tuple[int, ...]:
    *outer, width, channels = type_.buffer_shape
    return (*outer, width * channels)
