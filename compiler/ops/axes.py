"""Permutations of axes, as `transpose` takes them.

Dimension d of the result is dimension permutation[d] of the operand.
"""

from __future__ import annotations

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
