"""Work done once for operations that are alike: a deep network has thousands of them, but few kinds."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .ir import Operation

T = TypeVar("T")


def likeness(op: Operation) -> Hashable:
    """The same for operations that differ in operands, results, names and places in the text, but not in their types.

    It tells types, attributes and bodies apart by identity, so it counts only as long as such an operation is kept.
    """
    types = [id(v.type) for v in op.operands], [id(r.type) for r in op.results]
    return op.operator, id(op.attributes), id(op.body), op.algorithm, *types[0], None, *types[1]


class OncePerKind(Generic[T]):
    """A function of what `likeness` tells apart, which is asked once for each kind of operation."""

    def __init__(self, find: Callable[[Operation], T]) -> None:
        self._find = find
        self._found: dict[Hashable, tuple[T, Operation]] = {}
        """With the operations: identities are those of what lives."""

    def __call__(self, op: Operation) -> T:
        """What the function gives for the operation, or gave for one like it."""
        key = likeness(op)
        known = self._found.get(key)
        if known is None:
            known = self._found[key] = self._find(op), op
        return known[0]
