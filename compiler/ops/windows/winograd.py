"""Winograd's minimal filtering: 3x3 convolutions by fewer multiplications, of stride 1 by a quarter.

F(4x4, 3x3) computes a tile of 4 x 4 results from 6 x 6 inputs d and a filter g as A' [(G g G') * (B' d B)] A, where *
is elementwise and ' transposes: 36 products for each pair of channels instead of 144. Source: Lavin and Gray, Fast
algorithms for convolutional neural networks, 2016. The interpolation points are 0, 2/3, -2/3, 3/2, -3/2 and infinity:
rounding errors are less than half of those at 1, -1, 2, -2 (256 channels: 1.2e-6 of the results' root of the mean
square, 2.7e-6 there, 0.2e-6 by direct sums), with as many instructions but one for each column of an output tile.

With a stride of 2, even inputs meet the outer elements of a filter, and odd ones the middle one. The former is a
convolution of stride 1 with two elements, which has tiles of its own (`S43`, `S23`).

Which convolutions are worth it depends on the machine: backends decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Operator
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Binary, Cast, Const, Expr, Select
from ...types import DType, TensorType

Matrix = tuple[tuple[float, ...], ...]

TILE = 4
"""Results along each side of a tile."""
TAPS = 3
"""Filter elements along each side."""
POINTS = TILE + TAPS - 1
"""Inputs along each side of a tile, and products."""
FEW_TILES = 8
"""For so many, filters may come to their points anew for each few: that takes less time than keeping them there."""


def _rows(text: str) -> Matrix:
    return tuple(tuple(float(Fraction(number)) for number in row.split()) for row in text.strip().splitlines())


INPUT = _rows("""
1   0  -97/36   0    1  0
0 -3/2  -9/4   2/3   1  0
0  3/2  -9/4  -2/3   1  0
0 -2/3  -4/9   3/2   1  0
0  2/3  -4/9  -3/2   1  0
0   1    0   -97/36  0  1
""")
"""B': from inputs to points."""
FILTER = _rows("""
   1      0      0
-27/65 -18/65 -12/65
-27/65  18/65 -12/65
 12/65  18/65  27/65
 12/65 -18/65  27/65
   0      0      1
""")
"""G: from filter elements to points."""
COLUMN = _rows("""
 1  0   0
 1  1  4/9
 1 -1  4/9
4/9 1   1
4/9 -1  1
 0  0   1
""")
"""From the elements of a row, the middle one times `MIDDLE`, to multiples of its points."""
MIDDLE = 2 / 3
SCALES = (1.0, -27 / 65, -27 / 65, 27 / 65, 27 / 65, 1.0)
"""What those multiples are to be multiplied by: `FILTER`, with two products for two pairs of points."""
OUTPUT = _rows("""
1 3/2  3/2 2/3  2/3 0
0  1   -1   1   -1  0
0 2/3  2/3 3/2  3/2 0
0 4/9 -4/9 9/4 -9/4 1
""")
"""A': from points to results."""


@dataclass(frozen=True, slots=True)
class Filtering:
    """The matrices for tiles of one size."""

    tile: int
    """Results along each side."""
    input: Matrix
    filter: Matrix
    """All further points are multiplied by what stands at the last one."""
    output: Matrix
    stride: int = 1

    @property
    def points(self) -> int:
        """Inputs along each side of a tile, and products."""
        return len(self.input)

    @property
    def products(self) -> int:
        """Of a tile."""
        return self.points**2

    @property
    def filter_points(self) -> int:
        """Along each side of a filter."""
        return len(self.filter)

    def tiles_of(self, size: int) -> int:
        """Tiles that cover `size` results in one dimension."""
        return -(-size // self.tile)

    def reach(self, size: int) -> int:
        """Inputs of the tiles that cover `size` results in one dimension."""
        return self.tiles_of(size) * self.tile * self.stride + TAPS - self.stride


F43 = Filtering(TILE, INPUT, FILTER, OUTPUT)
F23 = Filtering(
    2,
    _rows("""
1  0 -1  0
0  1  1  0
0 -1  1  0
0 -1  0  1
"""),
    _rows("""
 1    0   0
1/2  1/2 1/2
1/2 -1/2 1/2
 0    0   1
"""),
    _rows("""
1 1  1 0
0 1 -1 1
"""),
)
"""F(2x2, 3x3), at the points 0, 1, -1 and infinity: 16 products instead of 36."""


def _by_phases(tile: int, even: Matrix, taps: Matrix, output: Matrix) -> Filtering:
    """F(m, 3) of stride 2: of the even inputs F(m, 2) with the outer filter elements, whose matrices these are.

    Each odd input belongs to one result, and is multiplied by the middle element as it is.
    """
    sums = range(tile + 1)
    inputs = [tuple(row[i // 2] if i % 2 == 0 else 0.0 for i in range(2 * tile + 1)) for row in even]
    odd = [tuple(float(i == 2 * t + 1) for i in range(2 * tile + 1)) for t in range(tile)]
    results = [(*row[: len(sums)], *(float(t == r) for t in range(tile))) for r, row in enumerate(output)]
    outer = [(first, 0.0, last) for first, last in taps]
    return Filtering(tile, (*inputs, *odd), (*outer, (0.0, 1.0, 0.0)), tuple(results), stride=2)


S43 = _by_phases(
    4,
    _rows("""
 1/2   1  -1/2 -1 0
 1/2  -1  -1/2  1 0
-1/4 -1/4   1   1 0
-1/4  1/4   1  -1 0
 1/4   0  -5/4  0 1
"""),
    _rows("""
4/3  2/3
4/3 -2/3
2/3  2/3
2/3 -2/3
 0    1
"""),
    _rows("""
 1    1  1  1 0
1/2 -1/2 1 -1 0
1/4  1/4 1  1 0
1/8 -1/8 1 -1 1
"""),
)
"""F(4x4, 3x3) of stride 2, at the points 1/2, -1/2, 1, -1 and infinity: 81 products instead of 144, by a filter's 36
points. Rounding errors are 0.6 of those of `F43` (128 channels: 5.5e-7 of the results' root of the mean square, 4.2e-7
by direct sums)."""
S23 = _by_phases(2, _rows("1 -1 0\n0 1 0\n0 -1 1"), _rows("1 0\n1 1\n0 1"), _rows("1 1 0\n0 1 1"))
"""F(2x2, 3x3) of stride 2, at the points 0, 1 and infinity: 25 products instead of 36, by a filter's 16 points. Errors
are 2.5e-7."""
FORMS = {(form.tile, form.stride): form for form in (F43, F23, S43, S23)}
"""By results along each side of a tile, and strides."""
_SCALED: Matrix = ((1.0, 0.0, 0.0), (0.0, MIDDLE, 0.0), (0.0, 0.0, 1.0))
AT_POINTS, HALFWAY, SCALED = STAGES = ("points", "halfway", "scaled")
"""How far packed filters are on the way to their points: there, with columns there, or with no more than the middle row
and column scaled, so that a machine has little to do."""
_PART = 8192
"""Filters that are brought to their points at a time, of several small groups, so that they stay in the cache."""


def tiles_of(size: int) -> int:
    """Tiles that cover `size` results in one dimension."""
    return -(-size // TILE)


def is_served(
    dtype: DType, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], stride: int = 1
) -> bool:
    """True if an ungrouped convolution has the form that this is for, with this stride.

    It is in single precision, or sums products of bytes (see `quantized.winograd`): in double precision, people want
    rounding errors that are as small as they can be.
    """
    window = tuple(kernel), tuple(strides), tuple(dilations)
    return dtype in (DType.F32, DType.I8, DType.U8) and window == ((TAPS, TAPS), (stride, stride), (1, 1))


@register
class WinogradFilter(Operator):
    """Filters [..., 3, 3, C, F] of a convolution at the points of F(4x4, 3x3), [..., 36, C, F]: packed weights.

    Or of F(2x2, 3x3), [..., 16, C, F]; with a stride of 2 there are as many. Or less: columns of the former alone,
    [..., 6 * 3, C, F], with the middle element of each row times 2/3; or filters with the middle row and the middle
    column times 2/3, [..., 9, C, F].
    """

    name = "winograd_filter"
    operands = ("weight",)
    floats_only = True
    attributes = {
        "tile": AttributeSpec(int, "results along each side of a tile", TILE),
        "stride": AttributeSpec(int, "of the convolution", 1),
        "flip": AttributeSpec(bool, "turn the filters by 180 degrees before", False),
        "stage": AttributeSpec(
            str, '"points", "halfway": columns at their points, but not rows; or "scaled": neither', AT_POINTS
        ),
    }
    non_differentiable = "schedules pack weights by it, long after differentiation"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (weight,) = operands
        if weight.rank < 4 or weight.shape[-4:-2] != (TAPS, TAPS):
            raise ShapeError(f"winograd_filter takes filters of size {TAPS} x {TAPS}, not {weight}")
        tile, stride, stage = (attributes[name] for name in ("tile", "stride", "stage"))
        if stage not in STAGES:
            raise ShapeError(f"winograd_filter: stage can't be {stage!r}", hint=f"use {', '.join(STAGES)}")
        if (tile, stride) not in FORMS or (stage != AT_POINTS and (tile, stride) != (TILE, 1)):
            what = "" if stride == 1 else f" with a stride of {stride}"
            what += "" if stage == AT_POINTS else f" are {stage}"
            raise ShapeError(f"winograd_filter: no filters for tiles of {tile} x {tile}{what}")
        columns, rows = _matrices(attributes)
        return (TensorType(weight.dtype, (*weight.shape[:-4], len(columns) * len(rows), *weight.shape[-2:])),)

    def works_by_rows(self, operands: tuple[TensorType, ...]) -> bool:
        return operands[0].rank > 4

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (weight,) = operands
        *outer, _, _, channels, filters = weight.shape
        taps = weight.reshape(-1, TAPS, TAPS, channels * filters)
        if attributes["flip"]:
            taps = taps[:, ::-1, ::-1]
        columns, rows = _matrices(attributes)
        points = np.empty((len(taps), len(columns), len(rows), channels * filters), weight.dtype)
        together = max(1, _PART // max(1, channels * filters))
        for first, start in product(range(0, len(taps), together), range(0, channels * filters, _PART)):
            part = slice(first, first + together), ..., slice(start, start + _PART)
            here, there = taps[part], points[part]
            between = np.empty((len(columns), len(here), TAPS, here.shape[-1]), weight.dtype)
            _multiply(columns, here.swapaxes(0, 1), between)
            _multiply(rows, between.transpose(2, 1, 0, 3), there.transpose(2, 0, 1, 3))
        return (points.reshape(*outer, len(columns) * len(rows), channels, filters),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        *outer, point, channel, f = index
        down, along = _matrices(attributes)

        def term(taps: tuple[Expr, ...]) -> Expr:
            y, x = ((TAPS - 1) - t for t in taps) if attributes["flip"] else taps
            dtype, across = c.type(0).dtype, len(along)
            rows, columns = _entry(down, point // across, taps[0]), _entry(along, point % across, taps[1])
            return c.splat(Cast(rows * columns, dtype)) * c.load(0, (*outer, y, x, channel, f))

        return Reduction("add", (TAPS, TAPS), term)


def _matrices(attributes: Attributes) -> tuple[Matrix, Matrix]:
    """What `winograd_filter` multiplies columns by, and rows."""
    at_points, stage = FORMS[attributes["tile"], attributes["stride"]].filter, attributes["stage"]
    return (_SCALED if stage == SCALED else at_points, at_points if stage == AT_POINTS else _SCALED)


def _multiply(matrix: Matrix, rows: Array, points: Array) -> None:
    """Bring rows to their points, summed up element by element: BLAS would round as its blocks fall."""
    singles, whole = _lines(matrix)
    for i, k in singles:
        np.multiply(rows[k], rows.dtype.type(matrix[i][k]), out=points[i])
    if whole.start < whole.stop:
        factors = np.array(matrix[whole], rows.dtype).T.reshape(len(rows), -1, *[1] * (rows.ndim - 1))
        goal = np.multiply(factors[0], rows[0], out=points[whole])
        for factor, row in zip(factors[1:], rows[1:], strict=True):
            goal += factor * row


@cache
def _lines(matrix: Matrix) -> tuple[tuple[tuple[int, int], ...], slice]:
    """Lines with one factor, and where it stands; and those with several, which stand together."""
    places = [[k for k, factor in enumerate(line) if factor] for line in matrix]
    singles = tuple((i, found[0]) for i, found in enumerate(places) if len(found) == 1)
    several = [i for i, found in enumerate(places) if len(found) > 1]
    first = several[0] if several else 0
    assert several == list(range(first, first + len(several)))
    return singles, slice(first, first + len(several))


def _entry(matrix: Matrix, row: Expr, column: Expr) -> Expr:
    """An element of a matrix, in double precision, at a place that is not known before the program runs."""
    chosen: Expr = Const(0.0, DType.F64)
    for i, j in np.ndindex(len(matrix), len(matrix[0])):
        here = Binary("and", Binary("eq", row, Const(i)), Binary("eq", column, Const(j)))
        chosen = Select(here, Const(matrix[i][j], DType.F64), chosen)
    return chosen
