"""skip-padding: don't multiply what only the zeros of the padding would meet."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from ..graph.alike import OncePerKind
from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.windows.convolution import Convolution
from ..ops.windows.window import Window
from .base import Pass

WORTH = 0.8
"""Pieces along a dimension pay if they need at most this part of the multiplications."""
INNER_WORTH = 0.6
"""The same for the innermost spatial dimension, whose pieces leave vector tiles half empty."""
LEAST = 4
"""Places that a smaller piece costs as much as."""


@dataclass(frozen=True)
class SkipPadding(Pass):
    """Leave out elements of convolution windows that only meet padding, and cut results where such elements change.

    A window whose elements stand far apart (atrous pyramids) reaches into the padding nearly everywhere: 36 apart on 33
    places, only its middle counts. Weights are taken for finite.

    Before::

        %0 = conv2d(%x, %w) {dilations = [1,8], padding = [[0,0],[8,8]]} : f32[1,1,12,4]

    After::

        %0 = slice(%w) {begin = [0,1,0,0]} : f32[1,2,4,4]     its left element meets no place there
        %1 = conv2d(%x, %0) {padding = ...} : f32[1,1,4,4]
        ...
        %5 = concat(%1, %3, %4) {axis = 2} : f32[1,1,12,4]
    """

    name = "skip-padding"

    def run(self, graph: Graph) -> Graph:
        cuts_of = OncePerKind(_cuts)

        def cut(b: Rewriter, op: Operation) -> Value | None:
            found = cuts_of(op) if op.operator.contraction else None
            return _joined(b, op, *found, ()) if found is not None else None

        return rewritten(graph, cut)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Places `begin` to `end` of the result along a dimension, and the elements of the window that count there."""

    begin: int
    end: int
    first: int
    last: int


def _cuts(op: Operation) -> tuple[Window, Sequence[Sequence[_Piece]]] | None:
    """A convolution's window, and the pieces along each dimension; None where it stays."""
    if not isinstance(op.operator, Convolution):
        return None
    window = op.operator.window(op.operands[0].type, op.operands[1].type, op.attributes)
    if not all(window.output):
        return None
    depthwise = op.attributes["groups"] == op.operands[0].type.shape[-1] > 1
    dimensions = len(window.size)
    cuts = [_pieces(window, d, None if depthwise else _limit(d, dimensions)) for d in range(dimensions)]
    if not all(cuts) or all(
        len(cut) == 1 and cut[0].last - cut[0].first == k for cut, k in zip(cuts, window.kernel, strict=True)
    ):
        return None
    return window, cuts


def _limit(dimension: int, dimensions: int) -> float:
    return INNER_WORTH if dimension == dimensions - 1 else WORTH


@lru_cache(maxsize=1024)
def _pieces(window: Window, d: int, limit: float | None) -> Sequence[_Piece]:
    """How the result is cut along a spatial dimension; into one piece if more don't pay."""
    cut, begin, places = list[_Piece](), 0, range(window.output[d])
    while begin < len(places):
        found = _elements(window, d, begin)
        changed = partial(_differs, window, d, found)  # and never back: neither end grows from place to place
        end = bisect_left(places, True, begin, key=changed)
        cut.append(_Piece(begin, end, *found))
        begin = end
    needed = [piece for piece in cut if piece.last > piece.first]
    if not needed:  # all of it is padding, and stays as it is
        return []
    first, last = min(piece.first for piece in needed), max(piece.last for piece in needed)
    whole = _Piece(0, begin, first, last)
    cost = sum(max(piece.end - piece.begin, LEAST) * (piece.last - piece.first) for piece in cut)
    pays = limit is not None and len(needed) == len(cut) and cost <= limit * begin * (last - first)
    return cut if pays else [whole]


def _elements(window: Window, d: int, place: int) -> tuple[int, int]:
    """The elements of a window at a place of the result that lie on the tensor: from, and up to."""
    start, step = place * window.strides[d] - window.padding[d][0], window.dilations[d]
    first = max(0, -(start // step))
    last = min(window.kernel[d], -((start - window.size[d]) // step))
    return (first, max(first, last))


def _differs(window: Window, d: int, elements: tuple[int, int], place: int) -> bool:
    return _elements(window, d, place) != elements


def _joined(
    b: Rewriter, op: Operation, window: Window, cuts: Sequence[Sequence[_Piece]], chosen: tuple[_Piece, ...]
) -> Value:
    """The result for the pieces chosen along the first dimensions: joined along the next one."""
    d = len(chosen)
    if d == len(cuts):
        return _piece(b, op, window, chosen)
    parts = [_joined(b, op, window, cuts, (*chosen, piece)) for piece in cuts[d]]
    name = op.result.name if d == 0 else None
    return parts[0] if len(parts) == 1 else b.emit("concat", *parts, axis=d + 1, location=op.location, name=name)


def _piece(b: Rewriter, op: Operation, window: Window, pieces: tuple[_Piece, ...]) -> Value:
    """The convolution for a piece in each dimension."""
    x, weight, *bias = (b[v] for v in op.operands)
    spans = [_span(window, d, piece) for d, piece in enumerate(pieces)]
    kernel = _sliced(b, op, weight, [(piece.first, piece.last) for piece in pieces], first=0)
    data = _sliced(b, op, x, [(begin, end) for begin, end, *_ in spans], first=1)
    padding = tuple((before, after) for *_, before, after in spans)
    whole = math.prod(p.end - p.begin for p in pieces) == math.prod(window.output)
    attributes = {**op.attributes, "padding": padding}
    name = op.result.name if whole else None
    operands = (data, kernel, *bias)
    return b.operation(op.operator, operands, attributes, location=op.location, name=name).result


def _span(window: Window, d: int, piece: _Piece) -> tuple[int, int, int, int]:
    """The places of the tensor that a piece reads, from and up to, and the padding before and after them."""
    stride, dilation, size = window.strides[d], window.dilations[d], window.size[d]
    begin = piece.begin * stride + piece.first * dilation - window.padding[d][0]
    end = begin + (piece.end - piece.begin - 1) * stride + (piece.last - piece.first - 1) * dilation + 1
    return max(begin, 0), min(end, size), max(-begin, 0), max(end - size, 0)


def _sliced(b: Rewriter, op: Operation, value: Value, spans: list[tuple[int, int]], first: int) -> Value:
    """A part of a tensor along the dimensions from `first` on."""
    shape = value.type.shape
    begin, size = [0] * len(shape), [*shape]
    for d, (start, end) in enumerate(spans, first):
        begin[d], size[d] = start, end - start
    if tuple(size) == shape:
        return value
    return b.emit("slice", value, begin=tuple(begin), size=tuple(size), location=op.location)


skip_padding = SkipPadding()
