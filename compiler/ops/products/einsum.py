"""Einstein's summation convention for one or two tensors: transposes, reshapes, sums and a product of matrices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...errors import NetcError, ShapeError
from ...graph.ir import Value
from ..gradients import reshaped
from ..layer import LayerBuilder, layer

_FORM = 'write it with letters and an arrow, one group for each tensor: "bhqd,bhkd->bhqk"'


class Labelled(NamedTuple):
    """A tensor with a letter for each dimension."""

    value: Value
    labels: str


@layer("einsum")
def einsum(b: LayerBuilder, equation: str, *tensors: Value) -> Value:
    """Sum of products of one or two tensors by an equation such as "bhqd,bhkd->bhqk", as in NumPy.

    Dimensions with the same letter run together; letters behind the arrow are the dimensions of the result, and all
    others are summed over. There is no ellipsis, and no letter may occur twice in one group.
    """
    groups, result = _parsed(equation, len(tensors))
    sizes = _sizes(equation, groups, tensors)
    wanted = set(result)
    if unknown := [label for label in result if label not in sizes]:
        raise NetcError(f'einsum "{equation}": `{unknown[0]}` of the result is no dimension of an operand', hint=_FORM)
    operands = [Labelled(*pair) for pair in zip(tensors, groups, strict=True)]
    for i, operand in enumerate(operands):
        elsewhere = wanted.union(*(o.labels for o in operands[:i] + operands[i + 1 :]))
        operands[i] = _summed(b, operand, elsewhere)
    total = operands[0] if len(operands) == 1 else _product(b, operands[0], operands[1], wanted, sizes)
    return _ordered(b, total, result).value


def _parsed(equation: str, count: int) -> tuple[list[str], str]:
    """The letters of each operand, and of the result."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    groups = left.split(",")
    if not arrow or not all(g.isascii() and (g.isalpha() or not g) for g in (*groups, result)):
        raise NetcError(f'einsum can\'t read the equation "{equation}"', hint=_FORM)
    if count not in (1, 2) or len(groups) != count:
        given = f"{count} tensor{'s' * (count != 1)}"
        raise NetcError(
            f'einsum "{equation}" is about {len(groups)} tensors, but is given {given}; it takes one or two'
        )
    for group in (*groups, result):
        if twice := [label for label, number in Counter(group).items() if number > 1]:
            raise NetcError(f'einsum "{equation}": `{twice[0]}` occurs twice in `{group}`')
    return groups, result


def _sizes(equation: str, groups: Sequence[str], tensors: Sequence[Value]) -> dict[str, int]:
    """The size of the dimensions with each letter."""
    sizes: dict[str, int] = {}
    for group, tensor in zip(groups, tensors, strict=True):
        shape = tensor.type.shape
        if len(group) != len(shape):
            raise ShapeError(
                f'einsum "{equation}": `{group}` names {len(group)} dimensions, but {tensor.type} has others'
            )
        for label, size in zip(group, shape, strict=True):
            if sizes.setdefault(label, size) != size:
                types = ", ".join(str(t.type) for t in tensors)
                raise ShapeError(f'einsum "{equation}": `{label}` is both {sizes[label]} and {size} in {types}')
    return sizes


def _summed(b: LayerBuilder, x: Labelled, kept: set[str]) -> Labelled:
    """Sums over the dimensions that neither another operand nor the result has."""
    axes = tuple(d for d, label in enumerate(x.labels) if label not in kept)
    if not axes:
        return x
    labels = "".join(label for label in x.labels if label in kept)
    return Labelled(b.emit("reduce_sum", x.value, axes=axes), labels)


def _ordered(b: LayerBuilder, x: Labelled, labels: str) -> Labelled:
    """The tensor with its dimensions in another order."""
    if labels == x.labels:
        return x
    return Labelled(b.emit("transpose", x.value, permutation=tuple(map(x.labels.index, labels))), labels)


def _product(b: LayerBuilder, x: Labelled, y: Labelled, wanted: set[str], sizes: Mapping[str, int]) -> Labelled:
    """The product of two tensors, summed over the letters that only they have."""
    common = [label for label in x.labels if label in y.labels]
    batch = "".join(label for label in common if label in wanted)
    inner = "".join(label for label in common if label not in wanted)
    rows, columns = ("".join(c for c in o.labels if c not in common) for o in (x, y))

    def matrices(operand: Labelled, first: str, second: str) -> tuple[Value, bool]:
        """The operand as a stack of matrices, and whether these lie transposed in it."""
        turned = operand.labels != batch + first + second and operand.labels == batch + second + first
        if turned:
            first, second = second, first
        ordered = _ordered(b, operand, batch + first + second).value
        lead = tuple(sizes[label] for label in batch)
        return reshaped(b, ordered, (*lead, _count(first, sizes), _count(second, sizes))), turned

    left, turned_left = matrices(x, rows, inner)
    right, turned_right = matrices(y, inner, columns)
    if inner:
        total = b.emit("matmul", left, right, transpose_a=turned_left, transpose_b=turned_right)
    else:
        total = b.emit("mul", left, right)
    labels = batch + rows + columns
    return Labelled(reshaped(b, total, tuple(sizes[label] for label in labels)), labels)


def _count(labels: str, sizes: Mapping[str, int]) -> int:
    return math.prod(sizes[label] for label in labels)
