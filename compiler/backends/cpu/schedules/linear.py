"""Small constant matrices times vectors of registers, with few instructions: the transforms of Winograd's filtering.

Matrices of polynomials at pairs of points p, -p hold pairs of rows or columns that are equal but for signs. Sums and
differences that such a pair shares are computed once. Of integers, coefficients are whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ....loops.ir import Expr, Fma, const

Row = tuple[float, ...]
Bind = Callable[[Expr], Expr]
"""Gives a value a name, so that it is computed once."""


def product(matrix: Sequence[Row], values: Sequence[Expr], bind: Bind) -> list[Expr]:
    """`matrix` times a column of scalars or vectors of one type."""
    matrix, values = _fold_columns(matrix, values, bind)
    results: list[Expr] = []
    while (i := len(results)) < len(matrix):
        if i + 1 < len(matrix) and (signs := _signs(matrix[i], matrix[i + 1])) and any(matrix[i]):
            results += _pair(matrix[i], signs, values, bind)
        else:
            results.append(bind(_sum(matrix[i], values)))
    return results


def square(matrix: Sequence[Row], values: Sequence[Sequence[Expr]], bind: Bind) -> list[list[Expr]]:
    """`matrix` times a square array of values times the matrix transposed."""
    rows = [product(matrix, row, bind) for row in values]
    columns = [product(matrix, column, bind) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def squares(matrix: Sequence[Row], element: Callable[[int, int], Expr], bind: Bind) -> Iterator[tuple[int, int, Expr]]:
    """The same of `element(row, column)`: rows, columns and values.

    Parts of the matrix that share no columns come after each other, so that few values are needed at a time.
    """
    parts = list(_parts(matrix))
    for rows, ys in parts:
        for columns, xs in parts:
            down, along = (
                [tuple(matrix[i][k] for k in part[1]) for i in part[0]] for part in ((rows, ys), (columns, xs))
            )
            values = [[element(y, x) for x in xs] for y in ys]
            between = [product(along, row, bind) for row in values]
            found = zip(*(product(down, column, bind) for column in zip(*between, strict=True)), strict=True)
            yield from (
                (i, j, value) for i, row in zip(rows, found, strict=True) for j, value in zip(columns, row, strict=True)
            )


def _parts(matrix: Sequence[Row]) -> Iterator[tuple[list[int], list[int]]]:
    """Rows of a matrix and their columns, such that each of these is in one part."""
    left = list(range(len(matrix)))
    while left:
        rows, columns = [left.pop(0)], set[int]()
        for row in rows:
            columns |= {k for k, factor in enumerate(matrix[row]) if factor}
            rows += (found := [i for i in left if any(matrix[i][k] for k in columns)])
            left = [i for i in left if i not in found]
        yield sorted(rows), sorted(columns)


def _signs(one: Row, other: Row) -> list[float] | None:
    """For each place +1 or -1, if the rows are equal but for these signs, of which both occur; else None."""
    if any(abs(a) != abs(b) for a, b in zip(one, other, strict=True)):
        return None
    signs = [1.0 if a == b else -1.0 for a, b in zip(one, other, strict=True)]
    return signs if len(set(signs)) == 2 else None


def _fold_columns(matrix: Sequence[Row], values: Sequence[Expr], bind: Bind) -> tuple[Sequence[Row], Sequence[Expr]]:
    """Replace pairs of columns that are equal but for signs by one each: of the sum, and of the difference."""
    columns = list(zip(*matrix, strict=True))
    folded: list[Row] = []
    inputs: list[Expr] = []
    while columns:
        first, value, values = columns.pop(0), values[0], values[1:]
        signs = _signs(first, columns[0]) if columns else None
        if signs is None:
            folded.append(first)
            inputs.append(value)
            continue
        columns.pop(0)
        inputs += [bind(value + values[0]), bind(value - values[0])]
        folded += [tuple(c if s == kept else 0.0 for c, s in zip(first, signs, strict=True)) for kept in (1.0, -1.0)]
        values = values[1:]
    return [tuple(row) for row in zip(*folded, strict=True)], inputs


def _pair(row: Row, signs: list[float], values: Sequence[Expr], bind: Bind) -> list[Expr]:
    """Two rows that differ in signs: what they share, plus and minus the rest."""
    shared = tuple(c if s > 0 else 0.0 for c, s in zip(row, signs, strict=True))
    rest = tuple(c if s < 0 else 0.0 for c, s in zip(row, signs, strict=True))
    # One of the rest needs no product of its own: the factor is that of the sum, unless one is 1 and all aren't alike.
    factor = next(c for c in rest if c)
    unlike = any(abs(c) not in (0.0, abs(factor)) for c in rest)
    if unlike and (1.0 in map(abs, rest) or not values[0].type.dtype.is_float):
        factor = 1.0
    base, step = bind(_sum(shared, values)), bind(_sum(tuple(c / factor for c in rest), values))
    return [bind(_add(base, sign * factor, step)) for sign in (1.0, -1.0)]


def _sum(row: Row, values: Sequence[Expr]) -> Expr:
    """The sum of the values times the coefficients of a row, those of 1 first, which need no product."""
    terms = sorted(((c, v) for c, v in zip(row, values, strict=True) if c), key=lambda t: (t[0] != 1, abs(t[0]) != 1))
    (first, value), *others = terms
    total = value if first == 1 else value * first
    for coefficient, value in others:
        total = _add(total, coefficient, value)
    return total


def _add(total: Expr, coefficient: float, value: Expr) -> Expr:
    """Total + coefficient * value."""
    if abs(coefficient) == 1:
        return total + value if coefficient > 0 else total - value
    if not value.type.dtype.is_float:
        return total + value * coefficient
    return Fma(const(coefficient, value.type), value, total)
