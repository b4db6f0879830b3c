"""Permutations of axes, as `transpose` takes them, and axes that a reshape merges and splits.

Dimension d of the result is dimension permutation[d] of the operand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Permutation = tuple[int, ...]


def inverse(permutation: Permutation) -> Permutation:
    """The permutation that undoes another."""
    return tuple(permutation.index(d) for d in range(len(permutation)))


def composed(first: Permutation, second: Permutation) -> Permutation:
    """The permutation that does what two do one after the other."""
    return tuple(first[d] for d in second)


def is_identity(permutation: Permutation) -> bool:
    """True if all dimensions stay where they are."""
    return permutation == tuple(range(len(permutation)))


def is_free(shape: Sequence[int], permutation: Permutation) -> bool:
    """True if a transpose of such a shape moves dimensions of size 1 only, so that elements stay in their order."""
    moved = [d for d in permutation if shape[d] != 1]
    return moved == sorted(moved)


def spread(dimension: int, axis: int, count: int) -> range:
    """The dimensions that stand for one of x where `count` of them have come in the place of an axis (`gather`)."""
    if dimension == axis:
        return range(axis, axis + count)
    start = dimension if dimension < axis else dimension + count - 1
    return range(start, start + 1)


def groups_of(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Neighbouring dimensions of two shapes with as many elements, the fewest at a time.

    Old dimensions of size 1 stand in no group; new ones with the dimension before them, or first, with none.
    """
    groups: list[tuple[list[int], list[int]]] = [([], [])]
    rest = [d for d, size in enumerate(old) if size != 1]
    new_rest = [d for d, size in enumerate(new) if size != 1]
    while rest:
        merged, parts = [rest.pop(0)], [new_rest.pop(0)]
        while (had := math.prod(old[d] for d in merged)) != (has := math.prod(new[d] for d in parts)):
            if had < has:
                merged.append(rest.pop(0))
            else:
                parts.append(new_rest.pop(0))
        groups.append((merged, parts))
    for d in (d for d, size in enumerate(new) if size == 1):
        _, parts = next(g for g in reversed(groups) if not g[0] or g[1][0] < d)
        parts.append(d)
        parts.sort()
    return groups


def regrouped(sizes: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    """Sizes that broadcast to a reshaped shape, made of those that broadcast to it before; None if there are none.

    A group of dimensions that are merged or split must be broadcast as a whole or not at all.
    """
    found = [1] * len(new)
    for merged, parts in groups_of(old, new):
        given = [sizes[d] for d in merged]
        if given == [old[d] for d in merged]:
            for d in parts:
                found[d] = new[d]
        elif any(size != 1 for size in given):
            return None
    return tuple(found)
