"""Products of matrices beside transposes, with an axis for each dimension that the transposes know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from string import ascii_lowercase, ascii_uppercase

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.gradients import reshaped
from ..ops.moves.axes import groups_of
from ..ops.moves.shape import Reshape, Transpose
from ..ops.products.contract import Contract, Labels
from ..ops.products.matmul import MatMul
from ..ops.products.product_orders import has_product
from .dce import dce


def with_axes_apart(graph: Graph) -> Graph:
    """The graph whose products beside transposes have an axis for each dimension; this one where none changes."""
    found = rewritten(graph, partial(_with_own_axes, graph))
    return graph if found is graph else with_one_reshape(found)


def with_one_reshape(graph: Graph) -> Graph:
    """The graph with one reshape in place of two that follow each other."""
    found = rewritten(graph, partial(_with_one_reshape, graph))
    return graph if found is graph else dce(found)


def _with_one_reshape(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """One reshape in place of two."""
    before = graph.producers.get(op.operands[0]) if isinstance(op.operator, Reshape) else None
    if before is None or not isinstance(before.operator, Reshape) or before.operands[0].type.layout is not None:
        return None
    source = b[before.operands[0]]
    return source if source.type == op.result.type else b.emit("reshape", source, **op.attributes, location=op.location)


def _with_own_axes(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """A product as `contract` of operands without broadcast dimensions, whose merged rows are axes each; or None.

    Before::

        %0 = transpose(%x) {permutation = [0,2,1,3]}
        %1 = matmul(%0, %y) : f32[1,4,64,32]          // %y: f32[1,1,16,32]

    After::

        %0 = transpose(%x) {permutation = [0,2,1,3]}
        %1 = reshape(%y) {shape = [1,16,32]}
        %2 = contract(%0, %1) {a_axes = "abxy", b_axes = "ayz", axes = "abxz"}
    """
    values, types = op.operands, [v.type for v in (*op.operands, *op.results)]
    plain = all(t.layout is None and t.quantization is None and t.size for t in types)
    if not isinstance(op.operator, MatMul | Contract) or not plain or not _is_beside(graph, op):
        return None
    letters = letters_of(op)
    new = [_split(graph, value, own, letters) for value, own in zip(values, letters[:2], strict=True)]
    split = {label: parts for found in new for label, parts in found.items()}
    names = iter(c for c in ascii_uppercase if not any(c in own for own in letters))
    fresh = {label: "".join(next(names) for _ in sizes) for label, sizes in split.items()}
    sizes = _sizes(op, letters)
    kept = [
        [label for label, size in zip(own, v.type.shape, strict=True) if size == sizes[label]]
        for own, v in zip(letters[:2], values, strict=True)
    ]
    if not split and all(len(k) == len(own) for k, own in zip(kept, letters[:2], strict=True)):
        return None
    labels = Labels(*("".join(fresh.get(label, label) for label in own) for own in (*kept, letters[2])))
    sizes |= {c: size for label, parts in split.items() for c, size in zip(fresh[label], parts, strict=True)}
    if not has_product(labels, sizes):
        return None
    operands = [
        reshaped(b, b[v], tuple(sizes[label] for label in own))
        for v, own in zip(values, (labels.a, labels.b), strict=True)
    ]
    total = b.operation(Contract(), operands, labels.attributes(), location=op.location).result
    return reshaped(b, total, op.result.type.shape)


def letters_of(op: Operation) -> tuple[str, str, str]:
    """A letter for each axis of both operands and of the result; those of broadcast dimensions have one element."""
    if isinstance(op.operator, Contract):
        return Labels.of(op.attributes).all
    outer = ascii_lowercase[: op.result.type.rank - 2]
    a, b = (outer[len(outer) - v.type.rank + 2 :] for v in op.operands)
    left, right = ("yx" if op.attributes["transpose_a"] else "xy"), ("zy" if op.attributes["transpose_b"] else "yz")
    return a + left, b + right, f"{outer}xz"


def _sizes(op: Operation, letters: Sequence[str]) -> dict[str, int]:
    """The size of each axis, broadcast ones as the result has them."""
    sizes: dict[str, int] = {}
    for own, value in zip(letters, (*op.operands, op.result), strict=True):
        for label, size in zip(own, value.type.shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return sizes


def _split(graph: Graph, value: Value, own: str, letters: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The sizes of what a reshape behind a transpose merges into axes that this operand alone has."""
    reshape = graph.producers.get(value)
    if reshape is None or not isinstance(reshape.operator, Reshape) or not _is_transpose(graph, reshape.operands[0]):
        return {}
    old, new = reshape.operands[0].type.shape, value.type.shape
    found: dict[str, tuple[int, ...]] = {}
    for merged, parts in groups_of(old, new):
        parts = [d for d in parts if new[d] != 1]
        factors = _factors([old[d] for d in merged], [new[d] for d in parts])
        for d, sizes in zip(parts, factors, strict=False):
            if len(sizes) > 1 and sum(own[d] in other for other in letters[:2]) == 1:
                found[own[d]] = sizes
    return found


def _factors(old: Sequence[int], new: Sequence[int]) -> list[tuple[int, ...]]:
    """The sizes that each new dimension is merged from, where a reshape merges and splits; none where they overlap."""
    rest, found = list(old), list[tuple[int, ...]]()
    for size in new:
        sizes: list[int] = []
        while size > 1:
            factor = math.gcd(size, rest[0])
            if factor not in (size, rest[0]):
                return []
            sizes.append(factor)
            size //= factor
            rest[0] //= factor
            if rest[0] == 1:
                rest.pop(0)
        found.append(tuple(sizes))
    return found


def _is_beside(graph: Graph, op: Operation) -> bool:
    """True if a transpose makes an operand or reads the result, but for a reshape or a binary operation between."""
    if any(_is_transpose(graph, v) or _is_transpose(graph, _before_reshape(graph, v)) for v in op.operands):
        return True
    users = list(graph.users[op.result])
    users += [u for user in users if len(user.results) == 1 for u in graph.users[user.result]]
    return any(isinstance(user.operator, Transpose) for user in users)


def _before_reshape(graph: Graph, value: Value) -> Value:
    maker = graph.producers.get(value)
    return maker.operands[0] if maker is not None and isinstance(maker.operator, Reshape) else value


def _is_transpose(graph: Graph, value: Value) -> bool:
    maker = graph.producers.get(value)
    return maker is not None and isinstance(maker.operator, Transpose)
