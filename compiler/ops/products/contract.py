"""Products of two tensors that are summed over axes in any places, so that no transpose has to come before or behind.

`assign-axes` makes `contract` of `matmul` and `dense` whose operands or results lie in another order of axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Expr
from ...types import TensorType
from ..facets import INTEGER, TFLITE, IntegerForm
from ..gradients import reshaped
from ..rules import expanded


@dataclass(frozen=True, slots=True)
class Labels:
    """A letter for each axis of both operands and of the result; the same letter stands for the same axis."""

    a: str
    b: str
    result: str

    @staticmethod
    def of(attributes: Attributes) -> Labels:
        """Those that a use of `contract` states."""
        return Labels(attributes["a_axes"], attributes["b_axes"], attributes["axes"])

    @property
    def all(self) -> tuple[str, str, str]:
        """Those of a, b and the result."""
        return self.a, self.b, self.result

    @property
    def inner(self) -> str:
        """What is summed over, as `a` has it."""
        return "".join(label for label in self.a if label not in self.result)

    @property
    def swapped(self) -> Labels:
        """The same with the operands exchanged."""
        return Labels(self.b, self.a, self.result)

    def attributes(self) -> dict[str, Any]:
        """What `contract` states."""
        return {"a_axes": self.a, "b_axes": self.b, "axes": self.result}


@dataclass(frozen=True, slots=True)
class Product:
    """How a contraction is a stack of products of matrices: which axes are rows, inner ones and columns.

    Columns stand last in the result, and in `b` unless a kernel has to pack it. Each of the three is a run of axes that
    are neighbours wherever they occur. All others, the outer ones, number the matrices.
    """

    rows: str
    inner: str
    columns: str
    outer: str
    packs: bool = False
    """Whether columns of `b` are gathered into panels, since they don't stand last there."""


MOST_PACKED = 256
"""Inner size up to which a kernel packs: a panel should stay in the L1 cache."""


def product_of(labels: Labels, sizes: Mapping[str, int]) -> Product | None:
    """A contraction as products of matrices whose columns are those of `b`; None where there are none."""
    own = [label for label in labels.result if label not in labels.a]
    columns = _run(labels.b, labels.result, len(labels.result), lambda label: label in own)
    inner = labels.inner
    if not columns or not inner or inner not in labels.a or inner not in labels.b:
        return None
    packs = not labels.b.endswith(columns)
    if packs and math.prod(sizes[label] for label in inner) > MOST_PACKED:
        return None
    rest = labels.result[: len(labels.result) - len(columns)]
    runs = [_run(labels.a, rest, end, lambda label: label not in labels.b) for end in range(1, len(rest) + 1)]
    rows = max(runs, key=lambda run: math.prod(sizes[label] for label in run) if run else 0, default="")
    return Product(rows, inner, columns, "".join(label for label in rest if label not in rows), packs)


def _run(operand: str, result: str, end: int, fits: Callable[[str], bool]) -> str:
    """The longest run of fitting labels that ends at `end` in the result and that the operand has, too."""
    start = end
    while start > 0 and fits(result[start - 1]) and result[start - 1 : end] in operand:
        start -= 1
    return result[start:end]


@register
class Contract(Operator):
    """Products of the elements of a and b, summed over the axes that the result lacks.

    The attributes hold a letter for each axis, as in NumPy's einsum: contract(x, w) {a_axes = "bkc", b_axes = "kn",
    axes = "bnc"} is a dense layer along axis 1. An axis that is summed over stands in both operands, one of the
    result in one or both. No letter occurs twice in a tensor.
    """

    name = "contract"
    operands = ("a", "b")
    floats_only = True
    anchor = True
    attributes = {
        "a_axes": AttributeSpec(str, "a letter for each axis of a"),
        "b_axes": AttributeSpec(str, "a letter for each axis of b"),
        "axes": AttributeSpec(str, "a letter for each axis of the result"),
    }

    def sizes(self, operands: Sequence[TensorType], labels: Labels) -> dict[str, int]:
        """The size of each axis. Raises `ShapeError` where letters and shapes don't fit."""
        sizes: dict[str, int] = {}
        for type_, letters in zip(operands, (labels.a, labels.b), strict=True):
            if len(letters) != type_.rank or len(set(letters)) != len(letters):
                raise ShapeError(f'contract: "{letters}" doesn\'t name each axis of {type_} once')
            for letter, size in zip(letters, type_.shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    raise ShapeError(f"contract: axis {letter} is both {sizes[letter]} and {size}")
        return sizes

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        labels = Labels.of(attributes)
        sizes = self.sizes(operands, labels)
        both = set(labels.a) & set(labels.b)
        wanted = set(labels.result)
        if len(wanted) != len(labels.result) or not wanted <= sizes.keys() or not sizes.keys() - wanted <= both:
            raise ShapeError(f'contract: "{labels.result}" is no result of "{labels.a}" and "{labels.b}"')
        return (TensorType(operands[0].dtype, tuple(sizes[label] for label in labels.result)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        labels = Labels.of(attributes)
        return (np.einsum(f"{labels.a},{labels.b}->{labels.result}", *operands, optimize=True),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        labels = Labels.of(attributes)
        sizes = self.sizes((c.type(0), c.type(1)), labels)
        place = dict(zip(labels.result, index, strict=True))

        def term(r: tuple[Expr, ...]) -> Expr:
            at = {**place, **dict(zip(labels.inner, r, strict=True))}
            left, right = (tuple(at[label] for label in letters) for letters in (labels.a, labels.b))
            return c.load(0, left) * c.load(1, right)

        return Reduction("add", tuple(sizes[label] for label in labels.inner), term)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        """A product of matrices where the axes allow it; else rows, inner axes and columns become one axis each."""
        labels = Labels.of(attributes)
        sizes = self.sizes(tuple(v.type for v in operands), labels)
        ways = [(labels, operands), (labels.swapped, operands[::-1])]
        found = [(way, values, p) for way, values in ways if (p := product_of(way, sizes)) is not None]
        found.sort(key=lambda each: each[2].packs)
        for way, values, product in found:
            plain = _as_matmul(b, way, values, product, sizes)
            if plain is not None:
                return plain
        if not found:
            return self.expand(b, operands, attributes)
        return _merged(b, *found[0], sizes, attributes)

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """Transposes around a dense layer, or around products of matrices."""
        labels = Labels.of(attributes)
        for way, (x, y) in ((labels, operands), (labels.swapped, operands[::-1])):
            if len(way.inner) == 1 and len(way.b) == 2 and not set(way.b) & set(way.a) - set(way.inner):
                lead = "".join(label for label in way.a if label != way.inner)
                free = next(label for label in way.b if label != way.inner)
                weight = _ordered(b, y, way.b, way.inner + free)
                total = b.emit("dense", _ordered(b, x, way.a, lead + way.inner), weight)
                return _ordered(b, total, lead + free, way.result)
        return _by_matmul(b, operands, labels, self.sizes(tuple(v.type for v in operands), labels))

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return math.prod(self.sizes(operands, Labels.of(attributes)).values())

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,), (x, y), labels = cotangents, op.operands, Labels.of(op.attributes)
        return (
            b.emit(self.name, dy, y, **Labels(labels.result, labels.b, labels.a).attributes()),
            b.emit(self.name, dy, x, **Labels(labels.result, labels.a, labels.b).attributes()),
        )


def _ordered(b: Builder, x: Value, labels: str, wanted: str) -> Value:
    """A value with its axes in another order."""
    return x if labels == wanted else b.emit("transpose", x, permutation=tuple(map(labels.index, wanted)))


def _shape(labels: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[label] for label in labels)


def _by_matmul(b: Builder, operands: Sequence[Value], labels: Labels, sizes: Mapping[str, int]) -> Value:
    """One product of stacks of matrices, with transposes before and behind it."""
    outer = "".join(label for label in labels.result if label in labels.a and label in labels.b)
    rows, columns = (
        "".join(label for label in labels.result if label in own and label not in outer) for own in (labels.a, labels.b)
    )
    count = [math.prod(_shape(part, sizes)) for part in (rows, labels.inner, columns)]
    left = _ordered(b, operands[0], labels.a, outer + rows + labels.inner)
    right = _ordered(b, operands[1], labels.b, outer + labels.inner + columns)
    lead = _shape(outer, sizes)
    total = b.emit("matmul", reshaped(b, left, (*lead, *count[:2])), reshaped(b, right, (*lead, *count[1:])))
    made = outer + rows + columns
    return _ordered(b, reshaped(b, total, _shape(made, sizes)), made, labels.result)


def _as_matmul(
    b: Builder, labels: Labels, operands: Sequence[Value], product: Product, sizes: Mapping[str, int]
) -> Value | None:
    """A plain product of stacks of matrices, if all axes stand as it wants them."""
    left, right = ("".join(label for label in product.outer if label in letters) for letters in (labels.a, labels.b))
    turned = labels.a == left + product.inner + product.rows
    fits = turned or labels.a == left + product.rows + product.inner
    if not fits or labels.b != right + product.inner + product.columns:
        return None
    if labels.result != product.outer + product.rows + product.columns:
        return None
    rows, inner, columns = (math.prod(_shape(part, sizes)) for part in (product.rows, product.inner, product.columns))

    def stack(value: Value, own: str, matrix: tuple[int, int]) -> Value:
        lead = tuple(sizes[label] if label in own else 1 for label in product.outer) if own else ()
        return reshaped(b, value, (*lead, *matrix))

    x = stack(operands[0], left, (inner, rows) if turned else (rows, inner))
    y = stack(operands[1], right, (inner, columns))
    return reshaped(b, b.emit("matmul", x, y, transpose_a=turned), _shape(labels.result, sizes))


def _merged(
    b: Builder,
    labels: Labels,
    operands: Sequence[Value],
    product: Product,
    sizes: Mapping[str, int],
    given: Attributes,
) -> Value | None:
    """The contraction whose rows, inner axes and columns are one axis each; None if the given one is so already."""
    merged = {run[0]: run for run in (product.rows, product.inner, product.columns) if run}
    parts: list[str] = []
    for letters in (labels.a, labels.b, labels.result):
        gone = {label for run in merged.values() for label in run[1:]}
        parts.append("".join(label for label in letters if label not in gone))
    attributes = Labels(*parts).attributes()
    if attributes == dict(given):
        return None
    counts = {label: math.prod(_shape(merged.get(label, label), sizes)) for label in sizes}
    x, y = (reshaped(b, v, _shape(p, counts)) for v, p in zip(operands, parts[:2], strict=True))
    return reshaped(b, b.emit("contract", x, y, **attributes), _shape(labels.result, sizes))


INTEGER.add(IntegerForm(None, prepare=expanded), Contract)
TFLITE.none("made of others", Contract)
