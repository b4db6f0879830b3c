"""In which orders of their axes products of two tensors can be taken: `dense`, `matmul` and `contract`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import ascii_lowercase

from ...graph.ir import Attributes, Operation, Operator
from ..facets import Permuted
from ..moves.axes import Permutation
from .contract import Contract, Labels, product_of
from .dense import Dense
from .matmul import MatMul


def contracted(op: Operation, place: int, permutation: Permutation) -> Permuted | None:
    """The form of a dense layer or a product of matrices that has one tensor in another order of its axes.

    `place` is the number of the operand, or 2 for the result. None where operands broadcast, or have a bias.
    """
    labels = _labelled(op)
    if labels is None:
        return None
    letters = "".join(labels.all[place][d] for d in permutation)
    new = reordered(labels, Contract().sizes(tuple(v.type for v in op.operands), labels), place, letters)
    return None if new is None else _form(labels, new)


def as_it_stands(op: Operation) -> Permuted | None:
    """The form that a dense layer or a product of matrices has; None for other operations."""
    labels = _labelled(op)
    return None if labels is None else _form(labels, labels)


def with_operand(op: Operation, form: Permuted, place: int, permutation: Permutation) -> Permuted | None:
    """Another form of a dense layer or a product of matrices, with one tensor in another order and all else as it is.

    None where no kernel takes it so.
    """
    labels = _labelled(op)
    if labels is None:
        return None
    orders = [*form.operands, form.result]
    orders[place] = permutation
    new = Labels(*("".join(old[d] for d in order) for old, order in zip(labels.all, orders, strict=True)))
    sizes = Contract().sizes(tuple(v.type for v in op.operands), labels)
    return _form(labels, new) if has_product(new, sizes) else None


def _form(old: Labels, new: Labels) -> Permuted:
    a, b, result = (tuple(map(x.index, y)) for x, y in zip(old.all, new.all, strict=True))
    operator, attributes = _spelled(new)
    return Permuted(attributes, result, (a, b), operator)


def _labelled(op: Operation) -> Labels | None:
    """A letter for each axis of an operation's operands and its result, if it is a sum of products of two tensors."""
    operator, types = op.operator, tuple(v.type for v in op.operands)
    if len(types) != 2 or any(t.layout is not None or not t.size for t in types):
        return None
    if isinstance(operator, Contract):
        return Labels.of(op.attributes)
    if isinstance(operator, Dense):
        rows = ascii_lowercase[: types[0].rank - 1]
        return Labels(f"{rows}y", "yz", f"{rows}z") if rows else None
    if not isinstance(operator, MatMul):
        return None
    outer = ascii_lowercase[: op.result.type.rank - 2]
    own = ["" if t.rank == 2 else outer for t in types]
    if any(t.rank != 2 and t.shape[:-2] != op.result.type.shape[:-2] for t in types):
        return None
    left = own[0] + ("yx" if op.attributes["transpose_a"] else "xy")
    return Labels(left, own[1] + ("zy" if op.attributes["transpose_b"] else "yz"), f"{outer}xz")


def _spelled(labels: Labels) -> tuple[Operator, Attributes]:
    """The simplest operator that is such a contraction, and its attributes."""
    inner = labels.inner
    if len(inner) == 1:
        if len(labels.b) == 2 and labels.b[0] == inner == labels.a[-1] and labels.result == labels.a[:-1] + labels.b[1]:
            return Dense(), {}
        outer, x, z = labels.result[:-2], labels.result[-2], labels.result[-1]
        lefts = [outer + x + inner, outer + inner + x, x + inner, inner + x]
        rights = [outer + inner + z, outer + z + inner, inner + z, z + inner]
        if labels.a in lefts and labels.b in rights and (outer in labels.a or outer in labels.b):
            return MatMul(), {"transpose_a": labels.a.endswith(x), "transpose_b": labels.b.endswith(inner)}
    return Contract(), labels.attributes()


def reordered(labels: Labels, sizes: Mapping[str, int], place: int, letters: str) -> Labels | None:
    """The contraction with one tensor (operand 0, 1, or 2 for the result) in another order of its axes.

    What else moves does so because products of matrices come out of it that need no transpose: an axis that is summed
    over gives way to what the other operand has in its place.
    """
    for found in _candidates(labels, place, letters):
        if has_product(found, sizes):
            return found
    return None


def has_product(labels: Labels, sizes: Mapping[str, int]) -> bool:
    """True if a contraction is a stack of products of matrices as it stands."""
    return product_of(labels, sizes) is not None or product_of(labels.swapped, sizes) is not None


def _candidates(labels: Labels, place: int, letters: str) -> Iterator[Labels]:
    if place == 1:
        yield from (found.swapped for found in _candidates(labels.swapped, 0, letters))
        return
    own, other = (
        "".join(label for label in x if label not in y) for x, y in ((labels.a, labels.b), (labels.b, labels.a))
    )
    if place == 0:
        result = _replaced(letters, labels.inner, other)
        yield Labels(letters, labels.b, result)
        yield Labels(letters, _replaced(result, own, labels.inner), result)
        yield Labels(letters, labels.b, labels.result)
        return
    left, right = _replaced(letters, other, labels.inner), _replaced(letters, own, labels.inner)
    yield Labels(left, labels.b, letters)
    yield Labels(labels.a, right, letters)
    yield Labels(labels.a, labels.b, letters)
    yield Labels(left, right, letters)


def _replaced(letters: str, old: str, new: str) -> str:
    """Labels with others in the place of the first of the old ones, which all go."""
    first = min((i for i, label in enumerate(letters) if label in old), default=len(letters))
    return letters[:first] + new + "".join(label for label in letters[first:] if label not in old)
