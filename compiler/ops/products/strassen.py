"""Strassen's multiplication of matrices, in Winograd's form: 7 products of halves instead of 8, and 15 sums.

With rows, sums and columns each cut into halves, A B = C of such blocks is made of products of sums of blocks. Source:
Strassen, Gaussian elimination is not optimal, 1969; Higham, Accuracy and stability of numerical algorithms, 2002,
chapter 23, has this form, and what it rounds: errors are small beside the largest of A times the largest of B, not
beside each result.

Which products are worth it depends on the machine: backends decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Operator
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Binary, Bitcast, Const, Expr, Select, const, maximum
from ...types import DType, TensorType

PRODUCTS = 7
"""Of blocks."""
HALVES = 2


class _Block(Protocol):
    def __add__(self, other: Self, /) -> Self: ...

    def __sub__(self, other: Self, /) -> Self: ...


B = TypeVar("B", bound=_Block)
Blocks = tuple[B, B, B, B]
"""Of a matrix: upper left, upper right, lower left, lower right."""


def left_factors(a: Blocks[B]) -> tuple[B, ...]:
    """What the products multiply of the left matrix."""
    a11, a12, a21, a22 = a
    s1 = a21 + a22
    s2 = s1 - a11
    return (a11, a12, s2, a11 - a21, s1, a12 - s2, a22)


def right_factors(b: Blocks[B]) -> tuple[B, ...]:
    """What they multiply it by, of the right matrix."""
    b11, b12, b21, b22 = b
    t1 = b12 - b11
    t2 = b22 - t1
    return (b11, b21, t2, b22 - b12, t1, b22, b21 - t2)


class Goal(NamedTuple):
    """Where a product goes: it is added to one of two kept sums, and kept, or a block of the result."""

    sum: int | None
    """None: none is kept yet."""
    kept: int | None = None
    block: tuple[int, int] | None = None


GOALS = (
    (Goal(None, kept=0),),
    (Goal(0, block=(0, 0)),),
    (Goal(0, kept=0),),
    (Goal(0, kept=1),),
    (Goal(1, block=(1, 1)), Goal(0, kept=0)),
    (Goal(0, block=(0, 1)),),
    (Goal(1, block=(1, 0)),),
)
"""Of each product, one after the other."""
FIRST, OTHERS = 1, 4
"""Number of the first product that makes a block of the result, and from where on all do."""
LOWER, RIGHT = 2, (6, 4)
"""A block that product q makes is the lower of two, and made of the second sum, if (q + 1) % 2; the right if
q % 6 // 4."""
LAST_KEPT, SECOND = 4, 2
"""The last product that is kept. Behind the first one all that are kept are added to the first sum, and kept as the
second one if q % 2."""


_EXPONENT = 0x7F800000
"""Its bits in single precision."""


_SIGNIFICAND = 1 << 23
"""What one more in the exponent adds to the bits of a number."""
_NONE, _ALL = 0, 255
"""Exponents of zeros, and of what isn't finite."""
_ONE = 127
"""That of 1."""
_BLOCK = 1 << 15
"""Weights that are scaled at a time, so that they stay in the cache."""
_FARTHEST = 12
"""Exponents by which a weight counts as smaller than the largest of its channel, at most."""


def _parts(weight: Array) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of blocks of a matrix, which lie together in memory."""
    outer = 0 if weight.strides[0] >= weight.strides[1] else 1
    step = max(1, _BLOCK // weight.shape[1 - outer])
    for start in range(0, weight.shape[outer], step):
        part = slice(start, start + step)
        yield (part, slice(None)) if outer == 0 else (slice(None), part)


def _mean_scales(weight: Array) -> Array:
    """The power of two in the middle of each channel's weights [C, F], [C, 1]; 1 where all are zero or not finite."""
    exponents = (weight.view(np.int32) >> 23).astype(np.uint8)  # the sign is beyond the eight bits
    counts = (exponents > _NONE) & (exponents < _ALL)
    exponents *= counts  # 0 counts for nothing
    lowest = np.maximum(exponents.max(axis=1, keepdims=True).astype(np.int32) - _FARTHEST, 0).astype(np.uint8)
    total = np.maximum(exponents, lowest * counts).sum(axis=1, keepdims=True, dtype=np.int32)
    count = counts.sum(axis=1, keepdims=True, dtype=np.int32)
    mean = np.where(count == 0, _ONE, (2 * total + count) // (2 * np.maximum(count, 1)))
    return np.asarray((np.maximum(mean, 1) * _SIGNIFICAND).astype(np.int32).view(np.float32))


def _mean_scale(c: Compute, filters: tuple[int, ...], load: Callable[[tuple[Expr, ...]], Expr]) -> Expr:
    """The same of an element's channel."""

    def exponent(r: tuple[Expr, ...]) -> Expr:
        bits = Bitcast(maximum(load(r), load(r) * -1), DType.I32)
        return Binary("and", bits, const(_EXPONENT, bits.type)) // _SIGNIFICAND

    def counted(r: tuple[Expr, ...], yes: Callable[[Expr], Expr]) -> Expr:
        found = exponent(r)
        none, every = const(_NONE, found.type), const(_ALL, found.type)
        counts = Binary("and", Binary("lt", none, found), Binary("lt", found, every))
        return Select(counts, yes(found), none)

    def summed(op: str, yes: Callable[[Expr], Expr]) -> Expr:
        return c.reduce(Reduction(op, filters, lambda r: counted(r, yes), dtype=DType.I32))

    lowest = summed("max", lambda e: e) - _FARTHEST
    total = summed("add", lambda e: maximum(e, lowest))
    count = summed("add", lambda e: const(1, e.type))
    mean = (total * 2 + count) // (maximum(count, const(1, count.type)) * 2)
    chosen = Select(Binary("eq", count, const(0, count.type)), const(_ONE, mean.type), mean)
    return Bitcast(maximum(chosen, const(1, chosen.type)) * _SIGNIFICAND, DType.F32)


class _OfWeights(Operator):
    """Base of what takes weights [C, F], of which neither dimension is empty, and scales of these dimensions."""

    operands: ClassVar[tuple[str, ...]] = ("weight",)
    floats_only = True
    non_differentiable = "schedules pack weights by it, long after differentiation"

    def _matrix(self, weight: TensorType) -> tuple[int, int]:
        if weight.rank != 2 or weight.dtype is not DType.F32 or not weight.size:
            raise ShapeError(f"{self.name} takes weights [C, F] of f32, not {weight}")
        channels, filters = weight.shape
        return channels, filters

    def _check_scales(self, what: str, scales: TensorType, count: int) -> None:
        if scales.shape != (count,):
            raise ShapeError(f"{self.name} takes {count} scales of {what}, not {scales}")


@register
class ChannelScales(_OfWeights):
    """For each channel of weights [C, F] the power of two in the middle of them (the mean of their exponents), [C].

    Inputs are multiplied by these powers and weights divided, so that a channel of large numbers with small weights
    doesn't have the others rounded to its size. The mean doesn't depend on how large filters are, as maxima would.
    """

    name = "channel_scales"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        channels, _ = self._matrix(operands[0])
        return (TensorType(DType.F32, (channels,)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (_mean_scales(operands[0])[:, 0],)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return _mean_scale(c, c.type(0).shape[1:], lambda r: c.load(0, (*index, *r)))


@register
class FilterScales(_OfWeights):
    """Powers of two at or below the largest weights of filters [C, F], [F]; 1 where all are zero or one isn't finite.

    Channels are divided by their `channel_scales` before. Errors of Strassen's multiplication are small beside the
    largest filter: so all of them are brought to one size.
    """

    name = "filter_scales"
    operands = ("weight", "channels")

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        channels, filters = self._matrix(operands[0])
        self._check_scales("channels", operands[1], channels)
        return (TensorType(DType.F32, (filters,)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        weight, channels = operands
        largest = np.zeros(weight.shape[1], np.float32)
        for rows, columns in _parts(weight):
            block = weight[rows, columns] / channels[rows, np.newaxis]
            goal = largest[columns]
            np.maximum(goal, np.abs(block, out=block).max(0), out=goal)
        exponents = largest.view(np.int32) & np.int32(_EXPONENT)
        has_none = (exponents == 0) | (exponents == _EXPONENT)
        return (np.where(has_none, np.float32(1), exponents.view(np.float32)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        def scaled(r: tuple[Expr, ...]) -> Expr:
            return c.load(0, (*r, *index)) / c.load(1, r)

        largest = c.reduce(Reduction("max", c.type(0).shape[:1], lambda r: maximum(scaled(r), scaled(r) * -1)))
        bits = Bitcast(largest, DType.I32)
        exponent = Binary("and", bits, const(_EXPONENT, bits.type))
        has_none = Binary("or", *(Binary("eq", exponent, const(end, bits.type)) for end in (0, _EXPONENT)))
        return Select(has_none, const(1.0, largest.type), Bitcast(exponent, DType.F32))


@register
class StrassenFilter(_OfWeights):
    """Weights [C, F] of a 1x1 convolution or a dense layer as Strassen's right factors, in panels of `width` filters.

    That is [panel, 7, C / 2, width], each element divided by the scales of its channel and its filter. The first of two
    halves has `half` filters; the second one and the last panel are filled with zeros.
    """

    name = "strassen_filter"
    operands = ("weight", "channels", "filters")
    attributes = {
        "half": AttributeSpec(int, "filters of the first half"),
        "width": AttributeSpec(int, "filters of a panel"),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        channels, filters = self._matrix(operands[0])
        self._check_scales("channels", operands[1], channels)
        self._check_scales("filters", operands[2], filters)
        half, width = attributes["half"], attributes["width"]
        if channels % HALVES or width < 1 or not half <= filters <= HALVES * half:
            raise ShapeError(f"{self.name} can't cut {operands[0]} into halves of {half} filters and panels of {width}")
        return (TensorType(DType.F32, (-(-half // width), PRODUCTS, channels // HALVES, width)),)

    def works_by_rows(self, operands: tuple[TensorType, ...]) -> bool:
        return True

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (self.rows(operands, attributes, 0, -(-attributes["half"] // attributes["width"])),)

    def rows(self, operands: tuple[Array, ...], attributes: Attributes, start: int, stop: int) -> Array:
        weight, channels, filters = operands
        half, width, count = attributes["half"], attributes["width"], len(weight) // HALVES
        weight, channels = weight.reshape(HALVES, count, -1), channels.reshape(HALVES, count, 1)
        panels = np.empty((stop - start, PRODUCTS, count, width), np.float32)
        step = max(1, _BLOCK // (HALVES * HALVES * width))
        for panel, first in zip(panels, range(start * width, stop * width, width), strict=True):
            last = min(first + width, half)
            parts = [slice(at + first, max(at + first, min(at + last, len(filters)))) for at in (0, half)]
            for begin in range(0, count, step):
                goals, rows = panel[:, begin : begin + step], slice(begin, begin + step)
                blocks = np.zeros((HALVES, HALVES, *goals.shape[1:]), np.float32)
                for there, part in zip(blocks, parts, strict=True):
                    block = there[..., : part.stop - part.start]
                    # A copy along channels, which lie side by side in files: along filters it would take longer.
                    np.positive(weight[:, rows, part].swapaxes(1, 2), out=block.swapaxes(1, 2))
                    block /= channels[:, rows]
                    block /= filters[part]
                (b11, b21), (b12, b22) = blocks
                factors: tuple[Array, ...] = right_factors((b11, b12, b21, b22))
                for goal, factor in zip(goals, factors, strict=True):
                    goal[...] = factor
        return panels

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        panel, number, channel, f = index
        half, width = attributes["half"], attributes["width"]
        channels, filters = c.type(0).shape
        at = panel * width + f
        beyond = at // half * filters
        """What is added to the place of a filter that is in neither half."""

        def element(i: int, j: int) -> Expr:
            row, column = channel + i * (channels // HALVES), at + beyond + j * half
            by_channel = c.load_padded(0, (row, column), 0) / c.load(1, (row,))
            return by_channel / c.load_padded(2, (column,), 1)

        b11, b12, b21, b22 = (element(i, j) for i in range(HALVES) for j in range(HALVES))
        factors = right_factors((b11, b12, b21, b22))
        chosen = factors[0]
        for i, factor in enumerate(factors[1:], 1):
            chosen = Select(c.splat(Binary("eq", number, Const(i))), factor, chosen)
        return chosen
